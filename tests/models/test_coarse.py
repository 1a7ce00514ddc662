"""The code between text and latent: its principal components, and what is drawn with them."""

import numpy as np
import pytest
import torch
from torch import Tensor

from celebgen_cli.models.coarse import Coarse
from celebgen_cli.models.unet import UNet
from tests.networks import fit_at_random, tiny_unet


def made(components: int = 6) -> tuple[Coarse, float]:
    coarse = Coarse(components, 4, 8, 16, 3)
    return coarse, fit_at_random(coarse)


def latents(count: int = 300, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    layout = torch.randn(3, 4, 8, 8, generator=generator)
    strength = torch.randn(count, 3, generator=generator) * torch.tensor([4.0, 2.0, 1.0])
    return torch.einsum("nk,kchw->nchw", strength, layout) + 0.3 * torch.randn(count, 4, 8, 8, generator=generator) + 2


def test_components_are_those_of_a_singular_value_decomposition() -> None:
    z = latents()
    coarse = Coarse(3, 4, 8, 2, 3)
    said = coarse.fit(z, z, torch.zeros(len(z), 2))
    scaled = (z - z.mean((0, 2, 3))[:, None, None]) / z.std((0, 2, 3), correction=0)[:, None, None]
    flat = scaled.flatten(1).double().numpy()
    _, strength, rows = np.linalg.svd(flat - flat.mean(0), full_matrices=False)
    cosines = np.abs(coarse.basis.flatten(1).numpy() @ rows[:3].T)
    np.testing.assert_allclose(cosines, np.eye(3), atol=1e-3)
    assert said == pytest.approx((strength[:3] ** 2).sum() / (strength**2).sum(), abs=1e-3)
    variances = torch.from_numpy(strength[:3] ** 2 / len(z)).float()
    torch.testing.assert_close(coarse.factor @ coarse.factor.T, variances.diag(), rtol=1e-3, atol=1e-2)


def test_a_latent_lies_where_its_code_says_but_for_the_rest() -> None:
    coarse, said = made()
    z = coarse.mean[:, None, None] + torch.randn(50, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    code = coarse.code(z)
    place = coarse.coordinates(code)
    torch.testing.assert_close(coarse.code(place.mean), code, rtol=1e-3, atol=1e-3)
    rest = (z - place.mean) * torch.exp(-coarse.log_scale)[:, None, None]
    torch.testing.assert_close(rest.flatten(1) @ coarse.basis.flatten(1).T, torch.zeros(50, 6), rtol=0, atol=1e-3)
    assert 0.5 < said < 1


def test_what_was_fitted_is_white_in_its_own_coordinates() -> None:
    z = latents(2000)
    coarse = Coarse(3, 4, 8, 2, 3)
    coarse.fit(z, z, torch.zeros(len(z), 2))
    place = coarse.coordinates(coarse.code(z))
    u = (z - place.mean) * torch.exp(-place.log_std)
    torch.testing.assert_close(u.mean(0), torch.zeros(4, 8, 8), rtol=0, atol=1e-3)
    torch.testing.assert_close(u.square().mean(0), torch.ones(4, 8, 8), rtol=1e-3, atol=0)


def test_drawn_codes_are_spread_like_those_of_latents_and_follow_the_text() -> None:
    generator = torch.Generator().manual_seed(1)
    pooled = torch.randn(4000, 2, generator=generator)
    strength = torch.randn(4000, 2, generator=generator) * torch.tensor([3.0, 1.0]) + 2 * pooled
    z = torch.einsum("nk,kchw->nchw", strength, torch.randn(2, 4, 8, 8, generator=generator))
    z = z + 0.1 * torch.randn(z.shape, generator=generator)
    coarse = Coarse(2, 4, 8, 2, 3)
    coarse.fit(z, z, pooled)
    codes = coarse.code(z)
    drawn = coarse.draw(pooled, coarse.unsaid(torch.randn(4000, 5, generator=generator)))
    scale = float(codes.std())
    torch.testing.assert_close(drawn.mean(0), codes.mean(0), rtol=0, atol=0.1 * scale)
    torch.testing.assert_close(drawn.T.cov(), codes.T.cov(), rtol=0.1, atol=0.1 * scale**2)
    by_text, theirs = (torch.linalg.lstsq(pooled, x - x.mean(0)).solution for x in (drawn, codes))
    torch.testing.assert_close(by_text, theirs, rtol=0.1, atol=0.1 * scale)


def test_drawn_codes_have_the_shape_of_those_of_latents_not_only_their_spread() -> None:
    """Two clusters, of which the rare one is broader: what no Gaussian has."""
    generator = torch.Generator().manual_seed(1)
    side = (torch.rand(4000, 1, generator=generator) < 0.25).float()
    along, across = torch.randn(4000, 1, generator=generator), torch.randn(4000, 1, generator=generator)
    strength = torch.cat([8 * side + along, (1 + 3 * side) * across], dim=1)
    z = torch.einsum("nk,kchw->nchw", strength, torch.randn(2, 4, 8, 8, generator=generator))
    z = z + 0.1 * torch.randn(z.shape, generator=generator)
    coarse, none = Coarse(2, 4, 8, 2, 8), torch.zeros(4000, 2)
    coarse.fit(z, z, none)
    drawn = coarse.draw(none, coarse.unsaid(torch.randn(4000, 3, generator=generator)))
    theirs = coarse.code(z)
    for part in range(2):
        ours, wanted = (x[:, part].sort().values for x in (drawn, theirs))
        gaussian = torch.randn(4000, generator=generator).sort().values * wanted.std() + wanted.mean()
        near, far = (float((x - wanted).abs().mean() / wanted.std()) for x in (ours, gaussian))  # Wasserstein distances
        assert near < 0.08 < 0.12 < far


def test_parts_of_weight_zero_are_never_drawn() -> None:
    coarse, _ = made()
    coarse.part_weights.copy_(torch.tensor([0.5, 0.49, 0.0]))  # as rounding leaves them
    coarse.part_means[2] = 1e6
    noise = torch.zeros(3, 7)
    noise[:, 6] = torch.tensor([-9.0, 2.5, 9.0])
    drawn = coarse.unsaid(noise)
    torch.testing.assert_close(drawn, coarse.part_means[[0, 1, 1]])


def test_guidance_moves_the_mean_alone() -> None:
    coarse, _ = made()
    generator = torch.Generator().manual_seed(2)
    text, other, noise = (torch.randn(3, width, generator=generator) for width in (16, 16, 6))
    near, far = coarse.draw(other, noise), coarse.draw(text, noise)
    torch.testing.assert_close(coarse.draw(text, noise, other, 1.0), far)
    torch.testing.assert_close(coarse.draw(text, noise, other, 0.0), near)
    torch.testing.assert_close(coarse.draw(text, noise, other, 3.0), near + 3 * (far - near), rtol=1e-4, atol=1e-3)


def test_folded_guidance_draws_the_same_codes() -> None:
    coarse, _ = made()
    generator = torch.Generator().manual_seed(2)
    text, other, noise = (torch.randn(3, width, generator=generator) for width in (16, 16, 6))
    wanted = coarse.draw(text, noise, other[:1].expand(3, -1), 2.5)
    coarse.fold(other[0], 2.5)
    torch.testing.assert_close(coarse.draw(text, noise), wanted, rtol=1e-4, atol=1e-3)


def test_more_components_than_latents_still_give_a_distribution() -> None:
    z = latents(4)
    coarse = Coarse(6, 4, 8, 16, 3)
    coarse.fit(z, z + 0.1 * torch.randn(z.shape, generator=torch.Generator().manual_seed(0)), torch.randn(4, 16))
    place = coarse.coordinates(coarse.draw(torch.zeros(2, 16), coarse.unsaid(torch.randn(2, 7))))
    assert all(part.isfinite().all() for part in (*place, coarse.factor))
    with pytest.raises(ValueError, match="at least two"):
        coarse.fit(z[:1], z[:1], torch.zeros(1, 16))


def test_it_travels_with_the_weights() -> None:
    unet = tiny_unet(init="coarse")
    other = UNet(unet.config)
    other.load_state_dict(unet.state_dict())
    assert unet.coarse is not None
    assert other.coarse is not None
    assert torch.equal(other.coarse.basis, unet.coarse.basis)
    assert not [*unet.coarse.parameters()]
    assert tiny_unet().coarse is None
