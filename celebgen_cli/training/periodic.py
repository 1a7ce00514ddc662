"""FID now and then while the denoiser trains: a curve to compare steps of one run by, not a figure to publish."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from celebgen_cli.diffusion.schedule import Schedule
from celebgen_cli.drawing import generate
from celebgen_cli.errors import UsageError
from celebgen_cli.models.cvae import CVAE, to_uint8
from celebgen_cli.models.text_encoder import TextEncoder
from celebgen_cli.models.unet import UNet
from celebgen_cli.training.batches import Examples, chunks, numpy_generator
from celebgen_cli.training.observers import Observer

if TYPE_CHECKING:
    from celebgen_cli.evaluation.features import FeatureExtractor
    from celebgen_cli.evaluation.statistics import Statistics

STEPS, GUIDANCE, BATCH = 10, 1.5, 32
"""DDIM steps and guidance of the faces that are measured, and how many are drawn at a time."""


class PeriodicFID(Observer):
    """FID of `count` faces by the averaged weights against the held-out pictures, every `every` steps.

    Captions are those of held-out pictures in turn; they and the seeds are the same each time, so that a difference
    between two steps is one of the weights. `settings` are those of `drawing.generate`; None: 10 steps, guidance 1.5.
    """

    def __init__(
        self,
        every: int,
        count: int,
        extractor: "FeatureExtractor",
        text: TextEncoder,
        cvae: CVAE,
        schedule: Schedule,
        held_out: Examples,
        autocast: Callable[[], AbstractContextManager[None]],
        seed: int = 0,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        if len(held_out) < 2:
            raise UsageError(
                f"--fid-every needs at least 2 held-out pictures and there is {len(held_out)}; leave it out, or give "
                "more with --valid"
            )
        self.every, self.count, self.extractor, self.held_out = every, count, extractor, held_out
        self.text, self.cvae, self.schedule, self.autocast = text, cvae, schedule, autocast
        self.settings = {"steps": STEPS, "guidance": GUIDANCE} if settings is None else dict(settings)
        captions = [
            held_out.captions(rows, numpy_generator(seed, i, 95)).texts
            for i, rows in enumerate(chunks(len(held_out), 128))
        ]
        every_caption = [caption for part in captions for caption in part]
        self.prompts = [every_caption[i % len(every_caption)] for i in range(count)]
        self._real: Statistics | None = None

    def stepped(self, step: int, ema: nn.Module) -> Mapping[str, float]:
        if step % self.every:
            return {}
        from celebgen_cli.evaluation.frechet import frechet_distance
        from celebgen_cli.evaluation.statistics import from_features

        if self._real is None:
            self._real = self._reference()
        assert isinstance(ema, UNet)
        drawn = np.concatenate([self.extractor(self._faces(ema, rows)) for rows in chunks(self.count, BATCH)])
        return {"fid": frechet_distance(from_features(drawn), self._real), "fid_images": self.count}

    def _reference(self) -> "Statistics":
        """Of the held-out pictures; a whole split's features are kept in the cache that `evaluate` has."""
        from celebgen_cli.evaluation.extraction import statistics_of
        from celebgen_cli.evaluation.sources import SplitImages
        from celebgen_cli.evaluation.statistics import from_features

        split, rows = self.held_out.split, self.held_out.rows
        if np.array_equal(rows, np.arange(len(split))):
            return statistics_of(SplitImages(split, split.name), self.extractor, batch_size=BATCH)
        pictures = (split.gather(rows[part]) for part in chunks(len(rows), BATCH))
        return from_features(np.concatenate([self.extractor(part) for part in pictures]))

    @torch.no_grad()
    def _faces(self, ema: UNet, rows: np.ndarray) -> np.ndarray:
        with self.autocast():
            faces = generate(
                self.text, self.cvae, ema, self.schedule, [self.prompts[row] for row in rows],
                [int(row) for row in rows], **self.settings,
            )  # fmt: skip
        return to_uint8(faces)


def inception(device: torch.device) -> "FeatureExtractor":
    """torch-fidelity's InceptionV3, from this machine alone: a training run downloads nothing by the way.

    Raises:
        UsageError: its weights are not at hand.
    """
    from celebgen_cli.evaluation.features import find_inception_weights, load_inception

    if find_inception_weights() is None:
        raise UsageError(
            "--fid-every needs torch-fidelity's Inception weights, which are not at hand; name the file in "
            "$CELEBGEN_INCEPTION_WEIGHTS, or fetch it by running celebgen evaluate fid once"
        )
    return load_inception(device=device)
