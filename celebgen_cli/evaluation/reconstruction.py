"""How much of an image survives the CVAE: peak signal-to-noise ratio, and rFID where Inception weights are at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from celebgen_cli.data.captions import CaptionSource
from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.evaluation.features import FeatureExtractor
from celebgen_cli.evaluation.fid import Progress, frechet_distance, statistics_of
from celebgen_cli.evaluation.sources import ImageSource, NamedModel

PEAK = 255.0
IDENTICAL_PSNR = 100.0
"""Decibels given to an image that comes back without any error, whose ratio is infinite."""


class Autoencoder(NamedModel, Protocol):
    """The part of `celebgen_cli.pipeline.Model` that reconstructs."""

    def reconstruct(self, images: np.ndarray) -> np.ndarray:
        """uint8 [N, H, W, 3] to the same shape and type."""


@dataclass(frozen=True)
class ReconstructionResult:
    """Figures over the images of a source.

    Attributes:
        psnr: mean over the images of each image's PSNR, in dB.
        psnr_interval: half the width of its 95 % interval over images, in dB.
        psnr_pooled: PSNR of the mean squared error over all pixels of all images, in dB; never above `psnr`.
        worst: indices of the images with the lowest PSNR, worst first.
        rfid: Frechet Inception Distance between the images and their reconstructions, or None.
        n, size, crop: what was measured.
        source, model, model_sha256: between what.
    """

    psnr: float
    psnr_interval: float
    psnr_pooled: float
    worst: tuple[int, ...]
    rfid: float | None
    n: int
    size: int | None
    crop: str | None
    source: str
    model: str
    model_sha256: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def mean_squared_error(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Per image, over pixels and channels: uint8 [N, H, W, 3] twice to float64 [N], 0 to 255^2."""
    difference = a.astype(np.int32) - b.astype(np.int32)
    return np.square(difference).reshape(len(a), -1).mean(axis=1, dtype=np.float64)


def psnr(mse: np.ndarray | float) -> np.ndarray:
    """10 log10(255^2 / MSE) in dB, `IDENTICAL_PSNR` where nothing differs."""
    error = np.asarray(mse, dtype=np.float64)
    return np.where(error > 0, 10 * np.log10(PEAK**2 / np.where(error > 0, error, 1)), IDENTICAL_PSNR)


@dataclass
class Reconstructed:
    """A source seen through a model's encoder and decoder; its errors are collected as batches go by."""

    source: ImageSource
    model: Autoencoder

    def __post_init__(self) -> None:
        self.label = f"{self.source.label} through {self.model.name}"
        self.kind = "model"
        self.size = self.source.size
        self.crop = self.source.crop
        self.filter = self.source.filter
        self.lossy = False
        self.attributes: np.ndarray | None = None
        self.captions: CaptionSource | None = None
        self.errors: list[np.ndarray] = []

    def __len__(self) -> int:
        return len(self.source)

    def batches(self, count: int, batch_size: int) -> Iterator[np.ndarray]:
        self.errors = []
        for images in self.source.batches(count, batch_size):
            back = self.model.reconstruct(images)
            if back.shape != images.shape:
                raise CelebgenError(
                    f"{self.model.name} turned images {list(images.shape)} into {list(back.shape)}; they must match"
                )
            self.errors.append(mean_squared_error(images, back))
            yield back

    def fingerprint(self) -> str | None:
        return None

    def settings(self) -> dict[str, Any]:
        return {"model_sha256": self.model.sha256}


def measure_reconstruction(
    model: Autoencoder,
    source: ImageSource,
    count: int | None = None,
    *,
    extractor: FeatureExtractor | None = None,
    batch_size: int = 32,
    progress: Progress | None = None,
    warn: Callable[[str], None] | None = None,
) -> ReconstructionResult:
    """Send the first `count` images (None: all) through the model, without text, and compare.

    Args:
        extractor: for rFID; None leaves it out, and so does a set of fewer than two images.
        progress: called with (images done, images in all) while images are reconstructed.
        warn: called with a sentence about what makes the figures hard to compare.

    Raises:
        UsageError: the images are not of the model's size.
        CelebgenError: the source has fewer than `count` images.
    """
    count = len(source) if count is None else count
    if not 0 < count <= len(source):
        raise CelebgenError(f"{source.label} has {len(source)} images and {count} were asked for; ask for others")
    if source.size != model.size:
        raise UsageError(f"{source.label} has images of {source.size} px and {model.name} is for {model.size} px")
    if warn and source.crop is not None and model.crop not in (source.crop, "unknown"):
        warn(f"the crop differs ({source.crop} and {model.crop}): the model never saw faces cut like these")
    through = Reconstructed(source, model)
    rfid = None
    if extractor is not None and count > 1:
        back = statistics_of(through, extractor, count, batch_size=batch_size, progress=progress)
        rfid = frechet_distance(back, statistics_of(source, extractor, count, batch_size=batch_size))
    else:
        seen = 0
        for batch in through.batches(count, batch_size):
            seen += len(batch)
            if progress:
                progress(seen, count)
    mse = np.concatenate(through.errors)
    each = psnr(mse)
    spread = 1.96 * float(each.std(ddof=1)) / np.sqrt(count) if count > 1 else 0.0
    return ReconstructionResult(
        psnr=float(each.mean()),
        psnr_interval=float(spread),
        psnr_pooled=float(psnr(mse.mean())),
        worst=tuple(int(i) for i in np.argsort(each, kind="stable")[:8]),
        rfid=rfid,
        n=count,
        size=source.size,
        crop=source.crop,
        source=source.label,
        model=model.name,
        model_sha256=model.sha256,
    )
