"""Training of the attribute judge: pictures and their 40 labels, no text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from celebgen_cli.data.attributes import ATTRIBUTES
from celebgen_cli.models.judge import Judge, JudgeConfig, probabilities, shrink
from celebgen_cli.training.augment import DRAWS, Augmentation, augment
from celebgen_cli.training.batches import Examples, batch_rows, chunks, torch_generator
from celebgen_cli.training.engine import Task
from celebgen_cli.training.parts import Part


@dataclass(frozen=True)
class JudgeLossConfig:
    """What is done to pictures and features in training."""

    augmentation: Augmentation = field(default_factory=Augmentation)
    dropout: float = 0.15  # of the last level's channels, whole ones (Tompson et al. 2015, arXiv 1411.4280)


class JudgeTask(Task):
    """Trains a `Judge`; see `celebgen_cli.training.engine.Task`."""

    kind = "judge"

    def __init__(
        self,
        config: JudgeConfig,
        train: Examples,
        held_out: Examples,
        batch_size: int,
        seed: int,
        loss: JudgeLossConfig | None = None,
    ) -> None:
        self.config, self.train, self.held_out = config, train, held_out
        self.batch_size, self.seed = batch_size, seed
        self.settings = loss or JudgeLossConfig()
        torch.manual_seed(seed)
        self.model = Judge(config)
        self.module: nn.Module = self.model

    def parameter_groups(self) -> Sequence[Sequence[nn.Parameter]]:
        return [list(self.model.parameters())]

    @property
    def device(self) -> torch.device:
        return self.model.head.weight.device

    def loss(self, step: int, part: Part | None = None) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        part = part or Part(0, self.batch_size)
        rows = part.of(batch_rows(len(self.train), self.batch_size, step, self.seed))
        generator = torch_generator(self.seed, step, 0)
        draws = part.of(torch.rand(self.batch_size, DRAWS, generator=generator))
        chances = part.of(torch.rand(self.batch_size, self.config.widths[-1], generator=generator))
        images = shrink(self.train.images(rows, self.device), self.config.image_size)
        kept = 1 - self.settings.dropout
        keep = (chances < kept).to(self.device, torch.float32) / kept
        logits = self.model(augment(images, draws, self.settings.augmentation), keep)
        return label_loss(logits, torch.from_numpy(self.train.attributes(rows)).to(self.device)), {}

    def rows(self, step: int) -> Sequence[int]:
        examples = self.train
        return examples.rows[batch_rows(len(examples), self.batch_size, step, self.seed)].tolist()

    def validate(self, ema: nn.Module) -> Mapping[str, float]:
        """Mean accuracy over the attributes on at most 4,096 held-out pictures."""
        accuracy = float(np.nanmean(self.accuracies(ema, 4096)))
        return {"accuracy": accuracy, "score": 1 - accuracy}

    def preview(self, ema: nn.Module, path: Path) -> None:
        """Nothing to draw: this network makes no pictures."""

    def accuracies(self, ema: nn.Module, count: int | None = None) -> np.ndarray:
        """float64 [40]: share of right answers for each attribute; NaN where no held-out label is known."""
        assert isinstance(ema, Judge)
        right, known = np.zeros(len(ATTRIBUTES)), np.zeros(len(ATTRIBUTES))
        for rows in chunks(min(count or len(self.held_out), len(self.held_out)), 512):
            answers = probabilities(ema, self.held_out.split.gather(self.held_out.rows[rows])) > 0.5
            labels = self.held_out.attributes(rows)
            right += ((answers == (labels > 0)) & (labels != 0)).sum(axis=0)
            known += (labels != 0).sum(axis=0)
        return np.where(known > 0, right / np.maximum(known, 1), np.nan)


def label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy in nats, the mean over each row's known labels, then over rows.

    Args:
        logits: [B, 40]. labels: [B, 40] in -1 / 1, 0 where unknown; a row that knows nothing counts as 0.
    """
    known = (labels != 0).float()
    each = F.binary_cross_entropy_with_logits(logits.float(), (labels > 0).float(), reduction="none")
    return ((each * known).sum(dim=1) / known.sum(dim=1).clamp(min=1)).mean()
