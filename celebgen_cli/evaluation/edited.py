"""Photographs that a model edits to be measured, as numbers of each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from celebgen_cli.data.attributes import ATTRIBUTES
from celebgen_cli.editing.change import as_description, plain_change, read_change
from celebgen_cli.evaluation.drawn import made_by
from celebgen_cli.evaluation.judging import JudgeFeatures
from celebgen_cli.evaluation.similarity import lpips, network_digest
from celebgen_cli.evaluation.sources import SplitImages
from celebgen_cli.spread import edit

if TYPE_CHECKING:
    from celebgen_cli.data.captions import CaptionSource
    from celebgen_cli.pipeline import Model
    from celebgen_cli.training.perceptual import LPIPS


class Picked:
    """Some rows of a split, in their order: an `ImageSource` that can be taken up in the middle."""

    kind = "dataset"

    def __init__(self, images: SplitImages, rows: Sequence[int]) -> None:
        self.images, self.rows = images, list(rows)
        self.label, self.size, self.crop, self.filter = images.label, images.size, images.crop, images.filter
        self.lossy = images.lossy
        self.attributes: np.ndarray | None = None
        self.captions: CaptionSource | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self, count: int, batch_size: int, start: int = 0) -> Iterator[np.ndarray]:
        for first in range(start, count, batch_size):
            rows = self.rows[first : min(first + batch_size, count)]
            yield np.stack([self.images.split.images[row] for row in rows])

    def fingerprint(self) -> str:
        return self.part_fingerprint(0, len(self))

    def part_fingerprint(self, start: int, stop: int) -> str:
        parts = [self.images.fingerprint(), self.rows[start:stop]]
        return hashlib.sha256(json.dumps(parts).encode("utf-8")).hexdigest()

    def settings(self) -> dict[str, Any]:
        return self.images.settings()


class Edited:
    """What becomes of photographs by one prompt, as numbers of each: the judge's 40 answers, and LPIPS.

    A `FeatureExtractor`, so that its numbers are cached and gone on with as features are.

    Args:
        how: strength, method, detail and calibrate, as `editing.edit.edit` takes them.
        judge: says what is seen in the end. reader: says what a photograph shows (see `read_change`); None: nobody.
    """

    name = "edit"

    def __init__(
        self, model: Model, judge: JudgeFeatures, network: LPIPS | None, prompt: str, settings: Mapping[str, Any],
        how: Mapping[str, Any], reader: JudgeFeatures | None,
    ) -> None:  # fmt: skip
        self.model, self.judge, self.network, self.prompt = model, judge, network, prompt
        self._settings, self._how, self._reader = settings, how, reader
        self.dimensions = len(ATTRIBUTES) + (network is not None)
        self.layer = "judge" + (",lpips" if network is not None else "")
        parts = [*made_by(model, "editing", "data/captions"), judge.weights_sha256]
        parts += [network_digest(network), json.dumps([prompt, dict(settings), dict(how)], sort_keys=True)]
        parts += [reader.weights_sha256 if reader else ""]
        self.weights_sha256 = hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def pictures(self, photos: np.ndarray) -> np.ndarray:
        """Photographs uint8 [B, S, S, 3], edited."""
        changes = [plain_change(as_description(self.prompt))] * len(photos)
        if self._reader is not None:
            read = [read_change(self.prompt, sure, unknown=self.model.unknown_words) for sure in self._reader(photos)]
            changes = [change or plain for change, plain in zip(read, changes, strict=True)]
        return edit(self.model, photos, changes, self._settings, **self._how)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """uint8 [N, S, S, 3] to float32 [N, dimensions]."""
        made = self.pictures(images)
        columns = [self.judge(made)]
        if self.network is not None:
            columns.append(lpips(images, made, self.network)[:, None].astype(np.float32))
        return np.concatenate(columns, axis=1)


class Rebuilt(Edited):
    """What becomes of photographs in the CVAE alone."""

    name = "rebuilt"

    def __init__(self, model: Model, judge: JudgeFeatures, network: LPIPS | None, calibrate: bool = True) -> None:
        super().__init__(model, judge, network, "", {}, {"calibrate": calibrate}, None)

    def pictures(self, photos: np.ndarray) -> np.ndarray:
        """Photographs uint8 [B, S, S, 3], reconstructed."""
        return self.model.reconstruct(photos, **self._how)
