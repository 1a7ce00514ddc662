"""The CVAE's loss: which term moves which part, what is dropped, and the figures."""

from pathlib import Path

import numpy as np
import pytest
import torch

from celebgen_cli.data.dataset import open_dataset
from celebgen_cli.models.cvae import cross_entropy, kl_divergence, kl_to_standard
from celebgen_cli.models.layers import Gaussian, TextFeatures
from celebgen_cli.models.presets import tiny
from celebgen_cli.training.batches import training_and_held_out
from celebgen_cli.training.drawn import Drawn
from celebgen_cli.training.vae import CVAELossConfig, CVAETask
from tests.networks import randomise, tiny_text

Gradients = dict[str, torch.Tensor]


def task(dataset: Path, perceptual: object = None, drawn: Drawn | None = None, **loss: float) -> CVAETask:
    train, held = training_and_held_out(open_dataset(dataset))
    made = CVAETask(
        tiny().cvae,
        train,
        held,
        tiny_text(),
        perceptual,
        4,
        0,
        CVAELossConfig(**loss),  # type: ignore[arg-type]
        drawn,
    )
    randomise(made.module)
    return made


def gradients(made: CVAETask) -> Gradients:
    made.module.zero_grad()
    made.loss(0)[0].backward()
    return {name: p.grad.clone() for name, p in made.module.named_parameters() if p.grad is not None}


def part(values: Gradients, name: str) -> torch.Tensor:
    return torch.cat([v.flatten() for k, v in values.items() if k.startswith(name)])


def test_the_prior_is_fitted_by_its_own_term_alone(dataset32: Path) -> None:
    plain, heavy = (gradients(task(dataset32, beta=beta)) for beta in (0.0, 10.0))
    assert torch.equal(part(plain, "prior."), part(heavy, "prior."))
    assert part(plain, "prior.").abs().max() > 0
    assert not torch.allclose(part(plain, "encoder."), part(heavy, "encoder."))


def test_the_encoder_feels_the_prior_only_through_beta(dataset32: Path) -> None:
    found = []
    for beta in (0.0, 1.0):
        pair = []
        for seed in (5, 6):
            made = task(dataset32, beta=beta)
            randomise(made.model.prior, seed)  # another prior, the same encoder
            pair.append(part(gradients(made), "encoder."))
        found.append(torch.allclose(pair[0], pair[1], rtol=1e-4, atol=1e-6))
    assert found == [True, False]


def test_the_total_is_the_sum_of_its_terms(dataset32: Path) -> None:
    class Distance(torch.nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return (a - b).square().mean((1, 2, 3))

    made = task(dataset32, Distance(), beta=0.3, anchor=0.2, lpips=0.7)
    total, logged = made.loss(2)
    terms = {name: float(value) for name, value in logged.items()}
    expected = terms["l1"] + 0.3 * terms["kl"] + 0.2 * terms["anchor"] + terms["prior_nll"] + 0.7 * terms["lpips"]
    expected += 0.25 * terms["scale"]
    assert float(total) == pytest.approx(expected, rel=1e-5)
    assert float(made.loss(2)[0]) == float(total)
    assert float(made.loss(3)[0]) != float(total)


def test_the_logged_terms_are_what_they_are_called(dataset32: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = task(dataset32)
    q, p = (Gaussian(*torch.randn(2, 4, 4, 8, 8)) for _ in range(2))
    monkeypatch.setattr(made.model, "encode", lambda images, text: q)
    monkeypatch.setattr(made.model.prior, "forward", lambda text: p)
    logged = made.loss(0)[1]
    assert float(logged["kl"]) == pytest.approx(float(kl_divergence(q, p).mean()), rel=1e-5)
    assert float(logged["anchor"]) == pytest.approx(float(kl_to_standard(q).mean()), rel=1e-5)
    assert float(logged["prior_nll"]) == pytest.approx(float(cross_entropy(q, p).mean()), rel=1e-5)


@pytest.mark.parametrize("rate", [0.0, 1.0])
@pytest.mark.parametrize("which", ["encoder", "decoder", "prior"])
def test_text_is_dropped_where_it_should_be(
    dataset32: Path, which: str, rate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = {f"drop_text_{name}": 0.5 for name in ("encoder", "decoder", "prior")}
    made = task(dataset32, **rates | {f"drop_text_{which}": rate})
    seen: list[TextFeatures] = []
    getattr(made.model, which).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[-1]))
    made.loss(0)
    empty = tiny_text()([""]).pooled
    same = (seen[0].pooled - empty).abs().amax(1) < 1e-5
    assert same.tolist() == [bool(rate)] * 4


def test_clipping_groups_hold_every_parameter_once(dataset32: Path) -> None:
    made = task(dataset32)
    autoencoder, prior = made.parameter_groups()
    assert {id(p) for p in prior} == {id(p) for p in made.model.prior.parameters()}
    assert sorted(map(id, [*autoencoder, *prior])) == sorted(map(id, made.module.parameters()))


def test_a_frozen_encoder_stays_and_the_decoder_learns(dataset32: Path) -> None:
    made = task(dataset32, freeze_encoder=True, adversarial=0.5)
    found = gradients(made)
    assert {name.split(".")[1] for name in found if name.startswith("cvae.")} == {"decoder"}
    assert part(found, "cvae.decoder.").abs().max() > 0
    learning = {id(p) for group in made.parameter_groups() for p in group}
    assert learning == {id(p) for p in made.module.parameters() if p.requires_grad}


def test_the_critic_learns_alone_at_first(dataset32: Path) -> None:
    """Before `adversarial_from` the decoder's gradient is that of a run without a critic, afterwards it is not."""
    decoders = [
        part(gradients(task(dataset32, **settings)), "cvae.decoder." if "adversarial" in settings else "decoder.")
        for settings in ({}, {"adversarial": 0.5, "adversarial_from": 1}, {"adversarial": 0.5, "adversarial_from": 0})
    ]
    assert torch.allclose(decoders[0], decoders[1], rtol=1e-4, atol=1e-7)
    assert not torch.allclose(decoders[0], decoders[2], rtol=1e-2, atol=1e-5)


def drawn_pool(scale: float = 1.0) -> Drawn:
    generator = torch.Generator().manual_seed(7)
    latents = scale * torch.randn(9, 4, 8, 8, generator=generator)
    return Drawn(latents.half(), ["man", "bald man", "smiling woman"] * 3)


def test_drawn_latents_take_their_share_of_the_batch(dataset32: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, seen = task(dataset32, drawn=drawn_pool(), freeze_encoder=True, adversarial=0.5, drawn_share=0.75), []
    monkeypatch.setattr(made.model, "decode", lambda z, text: seen.append((z, text)) or torch.zeros(len(z), 3, 32, 32))
    made.loss(0)
    (z, text), pool = seen[0], drawn_pool()
    assert len(z) == len(text.pooled) == 4
    rows = [[i for i, latent in enumerate(pool.latents.float()) if torch.equal(latent, one)] for one in z]
    assert [len(found) for found in rows] == [0, 1, 1, 1]
    spoken = tiny_text()([pool.captions[found[0]] for found in rows[1:]])
    torch.testing.assert_close(text.pooled[1:], spoken.pooled, rtol=1e-4, atol=1e-5)


def test_drawn_latents_move_the_decoder_through_the_critic_alone(dataset32: Path) -> None:
    settings = {"freeze_encoder": True, "adversarial": 0.5}
    found = [
        [part(gradients(task(dataset32, drawn=drawn_pool(scale), **settings, adversarial_from=begin)), "cvae.decoder.")
         for scale in (1.0, 2.0)]
        for begin in (1, 0)
    ]  # fmt: skip
    assert torch.allclose(*found[0], rtol=1e-4, atol=1e-7)
    assert not torch.allclose(*found[1], rtol=1e-2, atol=1e-5)


def test_drawn_latents_move_the_decoder_towards_their_targets(dataset32: Path) -> None:
    """By the share of the gradient that was asked for; with no share a run is one that only looks."""
    seen = []

    class Towards:
        def __call__(
            self, decoded: torch.Tensor, rows: np.ndarray, generator: torch.Generator
        ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            seen.append((decoded, rows))
            return decoded.square().mean(), 0 * decoded.sum(), torch.tensor(0.5)

    def decoder(share: float, scale: float = 1.0) -> torch.Tensor:
        made = task(dataset32, drawn=drawn_pool(scale), freeze_encoder=True, transport=share, drawn_share=0.75)
        made.transport = Towards()  # type: ignore[assignment]
        return part(gradients(made), "decoder.")

    none, half, whole = decoder(0), decoder(0.5), decoder(1)
    torch.testing.assert_close(half - none, 0.5 * (whole - none), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(none, decoder(0, 2.0), rtol=1e-4, atol=1e-7)
    assert not torch.allclose(whole, none, rtol=1e-2, atol=1e-4)
    made = task(dataset32, drawn=drawn_pool(), freeze_encoder=True, transport=1, drawn_share=0.75)
    made.transport = Towards()  # type: ignore[assignment]
    _, logged = made.loss(0)
    assert float(logged["transport"]) == 0.5
    assert made.watched == "l1"
    decoded, rows = seen[-1]
    pool = drawn_pool()
    expected = made.model.decode(pool.latents[rows].float(), tiny_text()([pool.captions[row] for row in rows]))
    torch.testing.assert_close(decoded, expected, rtol=1e-4, atol=1e-4)


def test_a_critic_learns_beside_targets(dataset32: Path) -> None:
    """What balances the targets lets gradients through to the decoder alone: the critic's loss must not be in it."""

    class Towards:
        def __call__(
            self, decoded: torch.Tensor, rows: np.ndarray, generator: torch.Generator
        ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            return decoded.square().mean(), 0 * decoded.sum(), torch.tensor(0.5)

    settings = {"freeze_encoder": True, "adversarial": 0.5, "adversarial_from": 0, "drawn_share": 0.75}
    found = []
    for towards in (None, Towards()):
        made = task(dataset32, drawn=drawn_pool(), transport=1, **settings)
        made.transport = towards  # type: ignore[assignment]
        found.append(part(gradients(made), "critic."))
    assert float(found[0].abs().max()) > 0
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-7)


def test_the_halved_latent_is_compared_with_the_halved_picture(
    dataset32: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = task(dataset32)
    images, z = torch.rand(4, 3, 32, 32), torch.rand(4, 4, 8, 8)
    blocks = images.unflatten(3, (16, 2)).unflatten(2, (16, 2)).mean((3, 5))
    seen = []

    def decode(latent: torch.Tensor, text: TextFeatures) -> torch.Tensor:
        seen.append(latent)
        return blocks + 0.25

    monkeypatch.setattr(made.model, "decode", decode)
    assert float(made._scale_loss(z, images, tiny_text()([""] * 4))) == pytest.approx(0.25, rel=1e-5)
    torch.testing.assert_close(seen[0], z.unflatten(3, (4, 2)).unflatten(2, (4, 2)).mean((3, 5)))


def test_psnr_of_held_out_pictures(dataset32: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = task(dataset32)
    monkeypatch.setattr(made.model, "reconstruct", lambda images, text: images * 0.98)
    images = made.held_out.images(torch.arange(len(made.held_out)).numpy())
    mse = (0.02 * images).square().mean((1, 2, 3))
    expected = float((10 * torch.log10(4 / mse)).mean())
    figures = made.validate(made.model)
    assert figures["valid_psnr"] == pytest.approx(expected, rel=1e-4)
    assert figures["score"] == -figures["valid_psnr"]
    assert "valid_lpips" not in figures


def test_preview(dataset32: Path, tmp_path: Path) -> None:
    from PIL import Image

    with torch.no_grad():
        made = task(dataset32)
        made.preview(made.model, tmp_path / "samples" / "x.png")
    with Image.open(tmp_path / "samples" / "x.png") as image:
        assert image.size == (8 * 34 - 2, 3 * 34 - 2)
