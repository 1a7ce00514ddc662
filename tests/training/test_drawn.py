"""The pool of drawn latents: what is in it, that it is drawn once, and when it is drawn anew."""

from pathlib import Path
from typing import Any

import pytest
import torch

from celebgen_cli.data.dataset import open_dataset
from celebgen_cli.diffusion.schedule import Schedule
from celebgen_cli.models.cvae import CVAE
from celebgen_cli.models.presets import tiny
from celebgen_cli.models.unet import UNet
from celebgen_cli.pipeline import draw_latents
from celebgen_cli.training import drawn
from celebgen_cli.training.batches import training_and_held_out
from tests.networks import randomise, tiny_text

SETTINGS: dict[str, Any] = {"sampler": "ddim", "steps": 2, "guidance": 2.0}


def pool(dataset: Path, folder: Path, count: int = 5, seed: int = 0, unet_seed: int = 1) -> drawn.Drawn:
    cvae, unet = randomise(CVAE(tiny().cvae), 0).eval(), randomise(UNet(tiny().unet), unet_seed).eval()
    train, _ = training_and_held_out(open_dataset(dataset))
    return drawn.draw_pool(folder, count, tiny_text(), cvae, unet, Schedule.cosine(100), train, SETTINGS, seed)


def test_latents_are_those_that_the_denoiser_draws(dataset32: Path, tmp_path: Path) -> None:
    made = pool(dataset32, tmp_path)
    cvae, unet = randomise(CVAE(tiny().cvae), 0).eval(), randomise(UNet(tiny().unet), 1).eval()
    seeds = [2_000_000_000 + i for i in range(5)]
    z, _ = draw_latents(tiny_text(), cvae, unet, Schedule.cosine(100), made.captions, seeds, **SETTINGS)
    assert len(made) == 5 and made.latents.shape == (5, 4, 8, 8)
    torch.testing.assert_close(made.latents.float(), z.float().clone(), rtol=2e-3, atol=2e-3)


def test_the_pool_is_drawn_once(dataset32: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = pool(dataset32, tmp_path)
    monkeypatch.setattr(drawn, "draw_latents", lambda *_, **__: pytest.fail("drawn twice"))
    second = pool(dataset32, tmp_path)
    assert torch.equal(first.latents, second.latents) and first.captions == second.captions
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"]


@pytest.mark.parametrize("other", [{"seed": 1}, {"unet_seed": 2}])
def test_another_denoiser_or_seed_is_another_pool(dataset32: Path, tmp_path: Path, other: dict[str, int]) -> None:
    first, second = pool(dataset32, tmp_path), pool(dataset32, tmp_path, **other)
    assert len(list(tmp_path.iterdir())) == 2
    assert not torch.equal(first.latents, second.latents)


def test_a_larger_pool_begins_with_the_smaller_one(dataset32: Path, tmp_path: Path) -> None:
    first, second = pool(dataset32, tmp_path), pool(dataset32, tmp_path, count=6)
    assert first.captions == second.captions[:5]
    torch.testing.assert_close(first.latents, second.latents[:5], rtol=2e-3, atol=2e-3)
