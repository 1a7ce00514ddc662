"""Between faces: noise that stays noise, ends that are `sample`'s own faces, neighbours at any distance."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from celebgen_cli.diffusion.noise import CODE, image_noise
from celebgen_cli.drawing import chain_noise
from celebgen_cli.editing.between import interpolate, mixed_features, neighbours, slerp, vary
from celebgen_cli.errors import UsageError
from celebgen_cli.pipeline import Model, load_model
from celebgen_cli.sampling.jobs import Job, resolve
from tests.networks import write_tiny_model

PROMPTS = ("woman", "smiling old man with a big beard and eyeglasses")


@pytest.fixture(scope="module")
def model(model_folder: Path) -> Model:
    return load_model(model_folder, "cpu", "fp32")


def settings_of(model: Model, **given: Any) -> dict[str, Any]:
    return resolve(model, Job(0, "x", 0, given))


def test_slerp_is_the_great_circle() -> None:
    a, b = torch.eye(2)[:1].expand(3, 2), torch.eye(2)[1:].expand(3, 2)
    angles = torch.tensor([0.25, 0.5, 1.0]) * torch.pi / 2
    expected = torch.stack([angles.cos(), angles.sin()], 1)
    torch.testing.assert_close(slerp(a, b, torch.tensor([0.25, 0.5, 1.0])), expected)


def test_slerp_has_exact_ends_and_is_constant_between_equals() -> None:
    a, b = image_noise([0, 0, 0], (4, 8, 8)), image_noise([1, 1, 1], (4, 8, 8))
    mixed = slerp(a, b, torch.tensor([0.0, 1.0, 0.5]))
    assert torch.equal(mixed[0], a[0])
    assert torch.equal(mixed[1], b[1])
    assert float(mixed[2].norm()) == pytest.approx(float(a[0].norm() + b[0].norm()) / 2, rel=1e-6)
    torch.testing.assert_close(slerp(a, a, torch.tensor([0.3, 0.5, 0.9])), a)


@pytest.mark.parametrize("amount", [0.1, 0.5, 0.9])
def test_neighbours_are_standard_normal(amount: float) -> None:
    own, new = image_noise([0], (4, 128, 128)), image_noise([1], (4, 128, 128))
    mixed = neighbours(own, new, amount)
    assert float(mixed.std()) == pytest.approx(1, abs=0.02)
    assert float((mixed * own).mean()) == pytest.approx((1 - amount**2) ** 0.5, abs=0.02)


def test_mixed_features_have_exact_ends(model: Model) -> None:
    for prompts in (PROMPTS, PROMPTS[::-1]):
        texts = model.text([*prompts, ""])
        mixed = mixed_features(texts, torch.tensor([0.0, 0.25, 1.0]))
        for row, end in ((0, 0), (2, 1)):
            assert torch.equal(mixed.mask[row], texts.mask[end])
            assert torch.equal(mixed.tokens[row][mixed.mask[row]], texts.tokens[end][texts.mask[end]])
            assert torch.equal(mixed.pooled[row], texts.pooled[end])
        assert torch.equal(mixed.mask[1], texts.mask[0] | texts.mask[1])
        torch.testing.assert_close(mixed.pooled[1], 0.75 * texts.pooled[0] + 0.25 * texts.pooled[1])


@pytest.mark.parametrize("given", [{}, {"sampler": "ddpm", "guidance": 3.0}, {"eta": 0.7}, {"negative": "hat"}])
@pytest.mark.parametrize("seeds", [(3, 3), (3, 8)])
def test_the_ends_are_the_faces_of_sample(model: Model, given: dict[str, Any], seeds: tuple[int, int]) -> None:
    settings = settings_of(model, steps=3, **given)
    way = interpolate(model, PROMPTS, seeds, [0.0, 0.5, 1.0], settings, batch_size=2).astype(int)
    ends = model.sample(PROMPTS, seeds, **settings).astype(int)
    assert np.abs(way[[0, 2]] - ends).max() <= 1
    assert np.abs(way[1] - way[0]).max() > 1
    assert np.abs(way[1] - way[2]).max() > 1


def test_each_end_leads_away_from_its_own_negative_prompt(model: Model) -> None:
    settings, away = settings_of(model, steps=3, guidance=4.0), ("smiling", "hat, eyeglasses, bangs")
    way = interpolate(model, PROMPTS, (3, 8), [0.0, 0.5, 1.0], settings, negatives=away).astype(int)
    for at, end in ((0, 0), (2, 1)):
        own = {**settings, "negative": away[end]}
        face = model.sample(PROMPTS[end : end + 1], ((3, 8)[end],), **own).astype(int)[0]
        assert np.abs(way[at] - face).max() <= 1
        other = {**settings, "negative": away[1 - end]}
        assert np.abs(way[at] - model.sample(PROMPTS[end : end + 1], ((3, 8)[end],), **other)[0]).max() > 1


def test_ends_and_neighbours_where_a_code_is_drawn_first(tmp_path: Path) -> None:
    model = load_model(write_tiny_model(tmp_path / "coarse", init="coarse"), "cpu", "fp32")
    settings = settings_of(model, steps=3)
    ends = model.sample(PROMPTS, (3, 8), **settings).astype(int)
    way = interpolate(model, PROMPTS, (3, 8), [0.0, 0.5, 1.0], settings).astype(int)
    assert np.abs(way[[0, 2]] - ends).max() <= 1
    assert np.abs(way[1] - way[0]).max() > 1
    still, far = (vary(model, PROMPTS[0], 3, [8], amount, settings).astype(int)[0] for amount in (0.0, 1.0))
    assert np.abs(still - ends[0]).max() <= 1
    assert np.abs(far - model.sample(PROMPTS[:1], (8,), **settings).astype(int)[0]).max() <= 1


def test_codes_are_mixed_after_they_were_drawn(tmp_path: Path) -> None:
    """Noise mixed before would choose another part of the mixture on the way, and the face would jump."""
    model, shown = load_model(write_tiny_model(tmp_path / "coarse", init="coarse"), "cpu", "fp32"), []
    coarse = model.unet.coarse
    assert coarse is not None
    coarse.part_means.copy_(100 * torch.arange(len(coarse.part_means))[:, None])
    model.unet.register_forward_pre_hook(lambda unet, given: shown.append(given[3].mean))
    settings = settings_of(model, steps=1, guidance=1.0)
    new = range(10, 26)
    vary(model, "man", 3, new, 0.6, settings)
    interpolate(model, ("man", "man"), (3, 8), [0.25, 0.5], settings)
    own, others, end = (chain_noise(model.unet, seeds, (4, 8, 8), CODE) for seeds in ([3], new, [8]))
    assert own.shape == (1, len(coarse.basis))
    assert float((others - own).abs().max()) > 50  # not all of one part
    mixed = torch.cat([
        0.8 * own + 0.6 * others, slerp(own.expand(2, -1), end.expand(2, -1), torch.tensor([0.25, 0.5]))
    ])  # fmt: skip
    wanted = coarse.coordinates(coarse.draw(model.text(["man"]).pooled, mixed)).mean
    torch.testing.assert_close(torch.cat(shown), wanted, rtol=1e-3, atol=1e-2)


def test_equal_ends_are_a_still(model: Model) -> None:
    way = interpolate(model, ("man", "man"), (1, 1), [0, 0.3, 1], settings_of(model)).astype(int)
    assert np.abs(way - way[0]).max() <= 1


@pytest.mark.parametrize("given", [{}, {"sampler": "ddpm"}, {"calibrate": False}])
def test_amounts_0_and_1_are_faces_of_sample(model: Model, given: dict[str, Any]) -> None:
    settings = settings_of(model, steps=3, **given)
    own = model.sample(["old man"], [5], **settings).astype(int)
    new = model.sample(["old man"] * 3, [0, 1, 2], **settings).astype(int)
    assert np.abs(vary(model, "old man", 5, [0, 1, 2], 0, settings, batch_size=2) - own).max() <= 1
    assert np.abs(vary(model, "old man", 5, [0, 1, 2], 1, settings, batch_size=2) - new).max() <= 1


def test_neighbours_go_away_with_the_amount(model: Model) -> None:
    settings = settings_of(model, steps=3)
    own = model.sample(["man"], [5], **settings).astype(int)
    near, far = (np.abs(vary(model, "man", 5, range(4), a, settings) - own).mean() for a in (0.1, 0.6))
    assert 0 < near < far


def test_what_is_no_neighbour(model: Model) -> None:
    with pytest.raises(UsageError, match="the face's own"):
        vary(model, "man", 5, [4, 5], 0.3, settings_of(model))
    with pytest.raises(UsageError, match="--amount"):
        vary(model, "man", 5, [4], 1.5, settings_of(model))
