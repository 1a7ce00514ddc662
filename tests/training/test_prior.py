"""Refitting the prior: it finds the distribution that is there, and says how well it whitens."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from celebgen_cli.data.attributes import INDEX
from celebgen_cli.data.dataset import open_dataset
from celebgen_cli.models.cvae import CVAE, cross_entropy
from celebgen_cli.models.layers import Gaussian
from celebgen_cli.models.presets import tiny
from celebgen_cli.training.batches import Examples, training_and_held_out
from celebgen_cli.training.engine import Trainer
from celebgen_cli.training.latents import Latents
from celebgen_cli.training.prior import PriorTask
from tests.networks import randomise, tiny_cvae, tiny_text
from tests.training.toy import CONFIG

MEAN, SPREAD = np.array([1.0, -1.0, 0.5, 0.0]), np.array([0.5, 1.5, 1.0, 0.25])


def made_up(examples: Examples, seed: int) -> Latents:
    """Latents of independent channels N(MEAN, SPREAD^2), where men and women differ in the first channel's mean."""
    rng = np.random.default_rng(seed)
    male = examples.attributes(np.arange(len(examples)))[:, INDEX["Male"]] > 0
    mean = MEAN + np.where(male[:, None], 2.0, -2.0) * np.array([1.0, 0, 0, 0])
    noise = rng.normal(size=(2, len(examples), 4, 8, 8)) * (0.9 * SPREAD)[:, None, None]
    logvar = np.broadcast_to(np.log(0.19 * SPREAD**2)[:, None, None], noise.shape)  # 0.81 + 0.19 = 1
    return Latents((mean[None, :, :, None, None] + noise).astype(np.float16), logvar.astype(np.float16))


def task(dataset: Path, drop_text: float = 0.1) -> PriorTask:
    train, held = training_and_held_out(open_dataset(dataset))
    prior = CVAE(tiny().cvae).prior
    pairs = (train, made_up(train, 0)), (held, made_up(held, 1))
    return PriorTask(prior, *pairs, tiny_text(), 16, 0, drop_text)


def test_it_finds_the_distribution(dataset32: Path, tmp_path: Path) -> None:
    made = task(dataset32)
    config = replace(CONFIG, steps=200, batch_size=16, learning_rate=5e-3, checkpoint_every=200, sample_every=200)
    before = made.validate(made.module)
    trainer = Trainer(made, tmp_path, config, device=torch.device("cpu"), settings={})
    after = trainer.train()
    spread = np.sqrt(SPREAD**2 + [4.0, 0, 0, 0])  # men and women together; the random text encoder tells little
    best = float(np.mean(0.5 * np.log(2 * math.pi * math.e * spread**2)))
    assert before["valid_nll"] > best + 0.5
    assert after["valid_nll_without_text"] < before["valid_nll_without_text"]
    assert after["valid_nll"] < best + 0.1
    assert 0.6 < after["whitened_variance_min"] <= after["whitened_variance_max"] < 1.8
    assert after["score"] == after["valid_nll"]


def test_figures_by_hand(dataset32: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = task(dataset32)
    p = Gaussian(torch.full((1, 4, 8, 8), 0.3), torch.full((1, 4, 8, 8), 0.2))

    class Fixed(torch.nn.Module):
        def forward(self, text: object) -> Gaussian:
            return p

    figures = made.validate(Fixed())
    examples, latents = made.held_out
    rows = np.arange(len(examples))
    q = latents.posterior(rows, np.zeros(len(rows), dtype=bool))
    assert figures["valid_nll"] == pytest.approx(float(cross_entropy(q, p).mean()), rel=1e-4)
    u = (q.mean - 0.3) / math.exp(0.1)
    variance = (u**2 + q.logvar.exp() / math.exp(0.2)).mean((0, 2, 3)) - u.mean((0, 2, 3)) ** 2
    assert figures["whitened_variance_min"] == pytest.approx(float(variance.min()), rel=1e-4)
    assert figures["whitened_variance_max"] == pytest.approx(float(variance.max()), rel=1e-4)


@pytest.mark.parametrize("drop", [0.0, 1.0])
def test_text_is_dropped(dataset32: Path, drop: float) -> None:
    made = task(dataset32, drop)
    seen: list[torch.Tensor] = []
    made.module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].pooled))
    made.loss(0)
    empty = tiny_text()([""]).pooled
    assert ((seen[0] - empty).abs().amax(1) < 1e-5).all() == bool(drop)


def test_the_loss_is_a_function_of_the_step(dataset32: Path) -> None:
    made = task(dataset32)
    made.module = randomise(tiny_cvae().prior)
    assert float(made.loss(1)[0]) == float(made.loss(1)[0]) != float(made.loss(2)[0])
