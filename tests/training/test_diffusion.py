"""The denoiser's task: coordinates of rows, with text and without, and the channel statistics of the baseline."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from celebgen_cli.data.dataset import open_dataset
from celebgen_cli.diffusion.schedule import Schedule
from celebgen_cli.models.layers import Gaussian, TextFeatures
from celebgen_cli.models.presets import tiny
from celebgen_cli.training.batches import batch_rows, numpy_generator, training_and_held_out
from celebgen_cli.training.diffusion import (
    PREVIEW_PROMPTS,
    DiffusionLossConfig,
    DiffusionTask,
    channel_statistics,
    stratified_timesteps,
)
from celebgen_cli.training.latents import Latents, encode
from tests.networks import randomise, tiny_cvae, tiny_text

BATCH = 12
Call = tuple[torch.Tensor, torch.Tensor, TextFeatures, Gaussian]


@pytest.fixture(scope="module")
def latents_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("latents")


def task(dataset: Path, folder: Path, init: str = "prior", **loss: float) -> tuple[DiffusionTask, list[Call]]:
    cvae, text = tiny_cvae(), tiny_text()
    train, held = (
        (e, encode(cvae, text, e, folder, nullcontext)) for e in training_and_held_out(open_dataset(dataset))
    )
    config = replace(tiny().unet, init=init)
    settings = DiffusionLossConfig(**loss)
    made = DiffusionTask(config, Schedule.cosine(1000), cvae, text, train, held, BATCH, 0, settings)
    randomise(made.module)
    calls: list[Call] = []
    made.module.register_forward_pre_hook(lambda _, inputs: calls.append(inputs))
    return made, calls


def own_captions(made: DiffusionTask, step: int) -> list[str]:
    """The captions that the task draws for this step."""
    rng = numpy_generator(0, step, 0)
    rng.random(BATCH)  # which rows are mirrored
    rows = batch_rows(len(made.train[0]), BATCH, step, 0)
    return made.train[0].captions(rows, rng).texts


def test_a_row_is_whitened_by_its_own_caption(dataset32: Path, latents_folder: Path) -> None:
    made, calls = task(dataset32, latents_folder, drop_text=0.0, foreign=0.0)
    made.loss(0)
    _, t, text, coordinates = calls[0]
    own = tiny_text()(own_captions(made, 0))
    torch.testing.assert_close(text.pooled, own.pooled, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(coordinates.mean, made.cvae.prior(own).mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(coordinates.logvar, made.cvae.prior(own).logvar, rtol=1e-4, atol=1e-4)
    assert t.min() >= 1
    assert t.max() <= 1000


def test_rows_without_text_are_in_foreign_coordinates(dataset32: Path, latents_folder: Path) -> None:
    made, calls = task(dataset32, latents_folder, drop_text=1.0, foreign=0.0, empty=0.5)
    made.loss(0)
    _, _, text, coordinates = calls[0]
    empty = tiny_text()([""])
    torch.testing.assert_close(text.pooled, empty.pooled.expand(BATCH, -1), rtol=1e-4, atol=1e-5)
    own = made.cvae.prior(tiny_text()([*own_captions(made, 0), ""])).mean
    distance = (coordinates.mean[:, None] - own[None]).flatten(2).abs().amax(2)
    source = distance.argmin(1)
    assert distance.amin(1).max() < 1e-4  # each row's coordinates are some caption's of the batch, or nobody's
    assert (source == BATCH).any()
    assert (source != BATCH).any()


def test_all_in_the_coordinates_of_no_text(dataset32: Path, latents_folder: Path) -> None:
    made, calls = task(dataset32, latents_folder, drop_text=0.0, foreign=1.0, empty=1.0)
    made.loss(0)
    _, _, text, coordinates = calls[0]
    nobody = made.cvae.prior(tiny_text()([""])).mean.expand(BATCH, -1, -1, -1)
    torch.testing.assert_close(coordinates.mean, nobody, rtol=1e-4, atol=1e-4)
    own = tiny_text()(own_captions(made, 0)).pooled  # but they keep their text
    torch.testing.assert_close(text.pooled, own, rtol=1e-4, atol=1e-5)


def test_the_input_is_the_whitened_latent_with_noise(dataset32: Path, latents_folder: Path) -> None:
    """At the lowest noise levels what the network sees, taken back from its coordinates, is the posterior's draw."""
    made, calls = task(dataset32, latents_folder, drop_text=0.5, foreign=0.5)
    for step in range(60):
        made.loss(step)
    found = 0
    for step, (u, t, _, coordinates) in enumerate(calls):
        rows = batch_rows(len(made.train[0]), BATCH, step, 0)
        flipped = numpy_generator(0, step, 0).random(BATCH) < 0.5
        q = made.train[1].posterior(rows, flipped)
        for i in (t < 20).nonzero().flatten().tolist():
            bar = made.schedule.alpha_bar(int(t[i]))
            z = coordinates.mean[i] + coordinates.log_std[i].exp() * u[i] / bar**0.5
            error = (z - q.mean[i]) / (q.logvar[i].exp() + (1 - bar) / bar * (2 * coordinates.log_std[i]).exp()).sqrt()
            assert 0.7 < float(error.square().mean()) < 1.4
            found += 1
    assert found > 3


def test_perturbed_inputs_have_more_noise_than_their_target(dataset32: Path, latents_folder: Path) -> None:
    """x_t has the further noise at sigma(t) times the share; nothing else is drawn otherwise."""
    (plain, calls), (made, more) = (task(dataset32, latents_folder, input_perturbation=x) for x in (0.0, 0.5))
    plain.loss(0)
    made.loss(0)
    assert torch.equal(calls[0][1], more[0][1])
    difference = (more[0][0] - calls[0][0]).flatten(1)
    expected = 0.5 * made.schedule.sigma(calls[0][1], difference)
    # 256 values a row: the standard deviation of a standard deviation is 4.4 %
    torch.testing.assert_close(difference.std(1), expected.flatten(), rtol=0.2, atol=1e-6)


def test_noise_variant_has_one_gaussian_a_channel(dataset32: Path, latents_folder: Path) -> None:
    made, calls = task(dataset32, latents_folder, "noise", drop_text=0.3, foreign=0.3)
    made.loss(0)
    mean, log_std = channel_statistics(made.train[1])
    coordinates = calls[0][3]
    torch.testing.assert_close(coordinates.mean, mean[None, :, None, None].expand(BATCH, 4, 8, 8))
    torch.testing.assert_close(coordinates.log_std, log_std[None, :, None, None].expand(BATCH, 4, 8, 8))


def test_mean_face_variant_has_the_coordinates_of_no_text(dataset32: Path, latents_folder: Path) -> None:
    made, calls = task(dataset32, latents_folder, "mean", drop_text=0.3, foreign=0.3)
    made.loss(0)
    nobody = made.cvae.prior(tiny_text()([""]))
    for part, wanted in zip(calls[0][3], nobody, strict=True):
        torch.testing.assert_close(part, wanted.expand(BATCH, -1, -1, -1), rtol=1e-4, atol=1e-4)


def test_noise_with_the_prior_as_an_input(dataset32: Path, latents_folder: Path) -> None:
    """The same rows of noise as without the input, and the same input as where denoising starts from the prior."""
    arms = {}
    for init in ("noise", "noise+prior", "prior"):
        made, calls = task(dataset32, latents_folder, init, drop_text=0.3, foreign=0.3)
        made.loss(0)
        arms[init] = calls[0]
    assert torch.equal(arms["noise+prior"][0], arms["noise"][0])
    assert not torch.equal(arms["noise+prior"][0], arms["prior"][0])
    assert torch.equal(arms["noise+prior"][3].mean, arms["prior"][3].mean)
    assert torch.equal(arms["noise+prior"][3].logvar, arms["prior"][3].logvar)


def test_a_code_is_that_of_the_rows_own_latent(dataset32: Path, latents_folder: Path) -> None:
    """Whatever is said of the row, and text only moves where codes are drawn; what the code says is whitened away."""
    made, calls = task(dataset32, latents_folder, "coarse", drop_text=0.3, foreign=0.3)
    coarse = made.model.coarse
    assert coarse is not None
    assert coarse.weight.abs().max() > 0
    made.loss(0)
    u, _, _, coordinates = calls[0]
    flat = coarse.basis.flatten(1)
    code = (coordinates.mean - coarse.mean[:, None, None]) * torch.exp(-coarse.log_scale)[:, None, None] - coarse.center
    code = code.flatten(1) @ flat.T
    torch.testing.assert_close(coarse.coordinates(code).mean, coordinates.mean, rtol=1e-3, atol=1e-3)
    assert len({tuple(row) for row in code.tolist()}) == BATCH
    rng = numpy_generator(0, 0, 0)
    mirrored = rng.random(BATCH) < 0.5
    q = made.train[1].posterior(batch_rows(len(made.train[0]), BATCH, 0, 0), mirrored)
    unsure = (q.logvar.exp() * torch.exp(-2 * coarse.log_scale)[:, None, None]).flatten(1) @ flat.square().T
    error = (code - coarse.code(q.mean)) / unsure.sqrt()
    assert float(error.square().mean()) == pytest.approx(1, abs=0.5)
    assert u.shape == coordinates.mean.shape


def test_channel_statistics_by_hand() -> None:
    rng = np.random.default_rng(0)
    scale, shift = np.array([0.5, 2.0, 1.0])[:, None, None], np.array([3.0, -1.0, 0.0])[:, None, None]
    mean = (rng.normal(size=(2, 3000, 3, 4, 4)) * scale + shift).astype(np.float16)
    logvar = np.full(mean.shape, np.log(0.25), dtype=np.float16)
    got_mean, got_log_std = channel_statistics(Latents(mean, logvar))
    assert got_mean.tolist() == pytest.approx([3.0, -1.0, 0.0], abs=0.03)
    assert got_log_std.exp().tolist() == pytest.approx(np.sqrt([0.5, 4.25, 1.25]).tolist(), rel=0.02)


def test_the_loss_is_a_function_of_the_step(dataset32: Path, latents_folder: Path) -> None:
    made, _ = task(dataset32, latents_folder)
    assert float(made.loss(1)[0].detach()) == float(made.loss(1)[0].detach()) != float(made.loss(2)[0].detach())


def test_only_the_denoiser_is_trained(dataset32: Path, latents_folder: Path) -> None:
    made, _ = task(dataset32, latents_folder)
    made.loss(0)[0].backward()
    assert all(p.grad is not None for p in made.module.parameters())
    assert not any(p.requires_grad for p in made.cvae.parameters())
    (group,) = made.parameter_groups()
    assert {id(p) for p in group} == {id(p) for p in made.module.parameters()}


def test_validation_is_the_same_each_time(dataset32: Path, latents_folder: Path) -> None:
    made, _ = task(dataset32, latents_folder)
    with torch.no_grad():
        first, second = made.validate(made.model), made.validate(made.model)
        assert first == second
        randomise(made.module, seed=8)
        assert made.validate(made.model) != first


def test_preview(dataset32: Path, latents_folder: Path, tmp_path: Path) -> None:
    from PIL import Image

    made, _ = task(dataset32, latents_folder)
    made.model.eval()
    made.preview(made.model, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.size == (8 * 34 - 2, len(PREVIEW_PROMPTS) * 2 // 8 * (34 + 14) - 2)


def test_stratified_timesteps_are_uniform_and_spread() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([stratified_timesteps(10, 1000, generator) for _ in range(2000)])
    assert (drawn.min(), drawn.max()) == (1, 1000)
    assert torch.equal(((drawn - 1) // 100).sort(dim=1).values, torch.arange(10).expand(2000, 10))
    first = drawn[:, 0].float()  # one entry alone is uniform: mean 500.5, standard deviation 288.7
    assert abs(first.mean() - 500.5) < 4 * 288.7 / 2000**0.5
    assert first.std() == pytest.approx(288.7, rel=0.05)
