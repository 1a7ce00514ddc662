"""How much of an image survives the CVAE: PSNR, SSIM, LPIPS and rFID, each with its 95 % interval.

The images go through encoder and decoder without text, and what comes out through the filter of the model's
calibration, as a photograph to edit does. `celebgen_cli.evaluation.prior` measures the other half of the CVAE.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.evaluation.drawn import made_by
from celebgen_cli.evaluation.extraction import features_of
from celebgen_cli.evaluation.features import FeatureExtractor, find_inception_weights
from celebgen_cli.evaluation.fid import Progress
from celebgen_cli.evaluation.nuclear import fid_interval, frechet
from celebgen_cli.evaluation.options import Listener, Options
from celebgen_cli.evaluation.pictures import pick, save_pairs
from celebgen_cli.evaluation.similarity import (
    LPIPS_VARIABLE,
    find_lpips,
    interval,
    lpips,
    mean_squared_error,
    network_digest,
    psnr,
    ssim,
)
from celebgen_cli.evaluation.sources import ImageSource, NamedModel, pixels
from celebgen_cli.images import refuse_foreign

if TYPE_CHECKING:
    from celebgen_cli.evaluation.prior import PriorResult
    from celebgen_cli.training.perceptual import LPIPS

WORST = 8


class Autoencoder(NamedModel, Protocol):
    """The part of `celebgen_cli.pipeline.Model` that reconstructs."""

    @property
    def reconstruct(self) -> Callable[..., np.ndarray]:
        """`reconstruct(images, calibrate=...)`: uint8 [N, H, W, 3] to the same shape and type."""


@dataclass(frozen=True)
class ReconstructionResult:
    """Figures over the images of a source. An `_interval` is half the width of a 95 % interval, None for one image.

    Attributes:
        psnr: mean over the images of each image's PSNR, in dB.
        psnr_pooled: PSNR of the mean squared error over all pixels of all images, in dB; never above `psnr`.
        ssim: mean structural similarity, at most 1.
        lpips: mean LPIPS distance (AlexNet), 0 for equal images; None without its weights.
        rfid: Frechet Inception Distance between the images and their reconstructions, or None.
        worst: indices of the images with the lowest PSNR, worst first.
        n, size, crop: what was measured.
        source, model, model_sha256: between what.
        calibrate: whether they went through the filter of the model's calibration, where it has one.
        prior: what the CVAE's prior is worth, where it was measured.
        pictures: files of the worst cases, where they were asked for.
    """

    psnr: float
    psnr_interval: float | None
    psnr_pooled: float
    ssim: float
    ssim_interval: float | None
    lpips: float | None
    lpips_interval: float | None
    rfid: float | None
    rfid_interval: float | None
    worst: tuple[int, ...]
    n: int
    size: int | None
    crop: str | None
    source: str
    model: str
    model_sha256: str
    calibrate: bool
    prior: PriorResult | None = None
    pictures: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


class Through:
    """What becomes of images in a model, as numbers of each: MSE, SSIM, LPIPS and features of the reconstruction.

    A `FeatureExtractor`, so that its numbers are cached and gone on with as features are.

    Args:
        model: encodes and decodes.
        extractor: of the reconstructions' features, which follow the other columns; None for none.
        network: LPIPS; None leaves its column out.
        calibrate: as `Model.reconstruct` takes it.
    """

    name = "reconstruction"

    def __init__(
        self, model: Autoencoder, extractor: FeatureExtractor | None, network: LPIPS | None, calibrate: bool = True
    ) -> None:
        self.model, self.extractor, self.network, self.calibrate = model, extractor, network, calibrate
        self.columns = 2 + (network is not None)
        self.dimensions = self.columns + (extractor.dimensions if extractor else 0)
        self.layer = "mse,ssim" + (",lpips" if network else "") + (f",{extractor.layer}" if extractor else "")
        seen_by = f"{extractor.name} {extractor.weights_sha256}" if extractor else ""
        parts = [*made_by(model), seen_by, network_digest(network), str(calibrate)]
        self.weights_sha256 = hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """uint8 [N, H, W, 3] to float32 [N, dimensions]."""
        back = self.model.reconstruct(images, calibrate=self.calibrate)
        if back.shape != images.shape:
            raise CelebgenError(
                f"{self.model.name} turned images {list(images.shape)} into {list(back.shape)}; they must match"
            )
        columns = [mean_squared_error(images, back), ssim(images, back)]
        if self.network is not None:
            columns.append(lpips(images, back, self.network))
        parts = [np.stack(columns, axis=1).astype(np.float32)]
        if self.extractor is not None:
            parts.append(self.extractor(back))
        return np.concatenate(parts, axis=1)


def evaluate_reconstruction(
    model: str | None,
    real: str | None,
    options: Options,
    *,
    rfid: bool = True,
    prior: bool = True,
    calibrate: bool = True,
    worst: Path | None = None,
    lpips_weights: Path | None = None,
    listener: Listener | None = None,
) -> ReconstructionResult:
    """Both halves of a model's CVAE on real images: reconstruction, and the prior where `prior` asks for it.

    FIDs are left out where no Inception weights are on this machine, LPIPS where its own are not, the prior where
    nothing is known of what the images show; the listener hears of each.

    Args:
        model: folder, name or hf:// address; None is the model in the box.
        real: folder or zip of images, or `DATASET[:split]`; None is the valid split of `$CELEBGEN_DATASET`.
        rfid: whether FIDs are wanted. worst: folder for pictures of the worst cases.
        calibrate: whether reconstructions go through the filter of the model's calibration.
        lpips_weights: folder, see `celebgen_cli.training.perceptual`; None looks for AlexNet's.

    Raises:
        UsageError: `model` is no model, or `real` names no images of its size.
        CelebgenError: weights that were named, or images, are missing or damaged.
    """
    # compare has the names of this module too, for those who look for them there
    from celebgen_cli.evaluation import compare
    from celebgen_cli.evaluation.prior import WithPrior, measure_prior
    from celebgen_cli.evaluation.subjects import open_model

    listener = listener or Listener()
    refuse_foreign("--worst", worst.glob("[0-9][0-9]-image-*.png") if worst else [])
    images = compare.open_real_images(real)
    pipeline = open_model(model, options)
    count = checked_count(pipeline, images, options.num, listener.say)
    extractor = None
    if rfid and find_inception_weights(options.inception_weights) is not None:
        extractor = compare.load_extractor(options, listener)
    elif rfid:
        listener.say("rFID is left out: no Inception weights are here (--inception-weights FILE)")
    network = find_lpips(lpips_weights, options.device)
    if network is None:
        listener.say(f"LPIPS is left out: no AlexNet is here (--perceptual-weights DIR, or ${LPIPS_VARIABLE})")
    batch_size = options.batch_size or 32
    result = measure_reconstruction(
        pipeline, images, count, extractor=extractor, network=network, calibrate=calibrate, batch_size=batch_size,
        progress=listener.progress("reconstruction"), worst=worst, cache=options.cache,
    )  # fmt: skip
    if not prior or not isinstance(pipeline, WithPrior):
        return result
    if images.captions is None:
        listener.say(f"the prior is left out: nothing is known of what the images of {images.label} show")
        return result
    measured = measure_prior(
        pipeline, images, images.captions, count, seed=options.seed, extractor=extractor, batch_size=batch_size,
        encoding=listener.progress("prior"), drawing=listener.progress("draws of the prior"), cache=options.cache,
    )  # fmt: skip
    return replace(result, prior=measured)


def measure_reconstruction(
    model: Autoencoder,
    source: ImageSource,
    count: int | None = None,
    *,
    extractor: FeatureExtractor | None = None,
    network: LPIPS | None = None,
    calibrate: bool = True,
    batch_size: int = 32,
    progress: Progress | None = None,
    warn: Callable[[str], None] | None = None,
    worst: Path | None = None,
    cache: bool = False,
) -> ReconstructionResult:
    """Send the first `count` images (None: all) through the model, without text, and compare.

    Args:
        extractor: for rFID; None leaves it out, and so does a set of fewer than two images.
        network: for LPIPS; None leaves it out.
        calibrate: off leaves out the model's correction of decoded faces.
        progress: called with (images done, images in all) while images are reconstructed.
        warn: called with a sentence about what makes the figures hard to compare.
        worst: folder that receives the worst cases, original beside reconstruction, as PNG.
        cache: whether numbers of images that were measured before are used again.

    Raises:
        UsageError: the images are not of the model's size.
        CelebgenError: the source has fewer than `count` images, or the pictures cannot be written.
    """
    count = checked_count(model, source, count, warn)
    extractor = extractor if count > 1 else None
    through = Through(model, extractor, network, calibrate)
    rows = features_of(source, through, count, batch_size=batch_size, progress=progress, cache=cache)
    rfid, spread = None, None
    if extractor is not None:
        real = features_of(source, extractor, count, batch_size=batch_size, cache=cache)
        rfid, spread = frechet(rows[:, through.columns :], real), fid_interval(rows[:, through.columns :], real)
    mse = rows[:, 0].astype(np.float64)
    decibels, alike = psnr(mse), rows[:, 1].astype(np.float64)
    apart = rows[:, 2].astype(np.float64) if network is not None else None
    last = [int(i) for i in np.argsort(decibels, kind="stable")[:WORST]]
    pictures: list[str] = []
    if worst is not None:
        originals = pick(source, last)
        names = [f"{place + 1:02d}-image-{i:06d}-{decibels[i]:.1f}dB.png" for place, i in enumerate(last)]
        pictures = save_pairs(worst, names, originals, model.reconstruct(originals, calibrate=calibrate))
    return ReconstructionResult(
        psnr=float(decibels.mean()),
        psnr_interval=interval(decibels),
        psnr_pooled=float(psnr(mse.mean())),
        ssim=float(alike.mean()),
        ssim_interval=interval(alike),
        lpips=None if apart is None else float(apart.mean()),
        lpips_interval=None if apart is None else interval(apart),
        rfid=rfid,
        rfid_interval=spread,
        worst=tuple(last),
        n=count,
        size=source.size,
        crop=source.crop,
        source=source.label,
        model=model.name,
        model_sha256=model.sha256,
        calibrate=calibrate,
        pictures=tuple(pictures),
    )


def checked_count(
    model: NamedModel, source: ImageSource, count: int | None, warn: Callable[[str], None] | None = None
) -> int:
    """How many images to measure, once they are sure to suit the model.

    Raises:
        UsageError: the images are not of the model's size.
        CelebgenError: the source has fewer than `count` images.
    """
    count = len(source) if count is None else count
    if not 0 < count <= len(source):
        raise CelebgenError(f"{source.label} has {len(source)} images and {count} were asked for; ask for others")
    if source.size != model.size:
        raise UsageError(f"the images of {source.label} are {pixels(source)} and {model.name} is for {model.size} px")
    if warn and source.crop is not None and model.crop not in (source.crop, "unknown"):
        warn(f"the crop differs ({source.crop} and {model.crop}): the model never saw faces cut like these")
    return count
