"""Refitting the prior p(z|c) on cached latents once the CVAE is frozen, to the best held-out likelihood."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from celebgen_cli.models.cvae import Prior, cross_entropy
from celebgen_cli.models.text_encoder import TextEncoder
from celebgen_cli.training.batches import Examples, batch_rows, chunks, numpy_generator
from celebgen_cli.training.engine import Task
from celebgen_cli.training.health import LatentHealth
from celebgen_cli.training.latents import Latents
from celebgen_cli.training.parts import Part


class PriorTask(Task):
    """Fits the prior alone; see `celebgen_cli.training.engine.Task`."""

    kind = "prior"

    def __init__(
        self,
        prior: Prior,
        train: tuple[Examples, Latents],
        held_out: tuple[Examples, Latents],
        text: TextEncoder,
        batch_size: int,
        seed: int,
        drop_text: float = 0.1,
    ) -> None:
        self.module: nn.Module = prior
        self.train, self.held_out, self.text = train, held_out, text
        self.batch_size, self.seed, self.drop_text = batch_size, seed, drop_text

    def parameter_groups(self) -> Sequence[Sequence[nn.Parameter]]:
        return [list(self.module.parameters())]

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    def loss(self, step: int, part: Part | None = None) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        examples, latents = self.train
        part = part or Part(0, self.batch_size)
        rows = batch_rows(len(examples), self.batch_size, step, self.seed)
        rng = numpy_generator(self.seed, step, 0)
        texts = examples.captions(rows, rng).texts
        texts = [
            "" if drop else text for text, drop in zip(texts, rng.random(len(texts)) < self.drop_text, strict=True)
        ]
        mirrored = rng.random(len(rows)) < 0.5
        q = latents.posterior(part.of(rows), part.of(mirrored), self.device)
        with torch.no_grad():
            features = self.text(part.of(texts))
        return cross_entropy(q, self.module(features)).mean(), {}

    def rows(self, step: int) -> Sequence[int]:
        examples = self.train[0]
        return examples.rows[batch_rows(len(examples), self.batch_size, step, self.seed)].tolist()

    def validate(self, ema: nn.Module) -> Mapping[str, float]:
        """Held-out nats a dimension with text and without, and the latent's health: its whitened variance near 1."""
        examples, latents = self.held_out
        rng, health = numpy_generator(self.seed, 0, 90), LatentHealth()
        with_text, without, count = 0.0, 0.0, min(2048, len(examples))
        nothing = ema(self.text([""]))
        for rows in chunks(count, 128):
            q = latents.posterior(rows, np.zeros(len(rows), dtype=bool), self.device)
            p = ema(self.text(examples.captions(rows, rng).texts))
            with_text += float(cross_entropy(q, p).mean()) * len(rows)
            without += float(cross_entropy(q, nothing).mean()) * len(rows)
            health.add(q, p, nothing)
        return {
            "valid_nll": with_text / count,
            "valid_nll_without_text": without / count,
            **health.figures(),
            "score": with_text / count,
        }

    def preview(self, ema: nn.Module, path: Path) -> None:
        """Nothing to draw: the CVAE's own preview shows what the prior draws."""
