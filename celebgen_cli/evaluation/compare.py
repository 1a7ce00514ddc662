"""From two words on the command line to a figure: which set each word names, how long it will take, the measurement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from os import environ
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.evaluation.features import Inception, find_inception_weights, load_inception
from celebgen_cli.evaluation.fid import FidResult, Progress, Timing, cached, measure, statistics_of
from celebgen_cli.evaluation.reconstruction import ReconstructionResult, measure_reconstruction
from celebgen_cli.evaluation.sources import (
    ImageSource,
    ModelImages,
    kind_of,
    open_images,
    open_split,
)
from celebgen_cli.evaluation.statistics import Statistics, load_statistics, save_statistics
from celebgen_cli.models.registry import find

if TYPE_CHECKING:
    from celebgen_cli.pipeline import Model

REFERENCE_FILE = "celeba-valid-face178-128.safetensors"
"""The statistics that ship in `celebgen_cli.reference`."""

DATASET_VARIABLE = "CELEBGEN_DATASET"
ARITHMETIC_SECONDS = 20.0
"""What the matrix square root and the KID subsets add at 2,048 dimensions on one core."""


@dataclass(frozen=True)
class Options:
    """How to measure.

    Attributes:
        num: images on the generated side; None is as many as the real side has for a model, and all for anything else.
        sampling: what `Model.sample` takes (steps, guidance, ...), for a model; None values are its defaults.
        seed: of the first image that a model draws.
        batch_size: images drawn or read at a time; None is 32.
        device: "cuda", "mps" or "cpu"; None is the best that is there (Inception: CUDA or CPU).
        inception_weights: file, None looks for one.
        kid: whether KID is wanted too.
        cache: whether features of sets on disk are kept and used again.
        save: folder for the images that a model draws, as PNG.
    """

    num: int | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    batch_size: int | None = None
    device: str | None = None
    inception_weights: Path | None = None
    kid: bool = True
    cache: bool = True
    save: Path | None = None


class Listener:
    """Hears what happens during a measurement; this one is deaf. The command line has one that prints."""

    def say(self, sentence: str) -> None:
        """One sentence for the user."""

    def progress(self, label: str) -> Progress:
        """A function that is told (images done, images in all) of the set called `label`."""
        return lambda done, total: None


def compare(generated: str | None, real: str | None, options: Options, listener: Listener | None = None) -> FidResult:
    """FID and KID between what two words name.

    Args:
        generated: model, image folder or zip, `DATASET[:split]` or statistics file; None: the model in the box.
        real: the same kinds but a model; None is the valid split of `$CELEBGEN_DATASET`, else the shipped statistics.

    Raises:
        UsageError: a word names nothing that can be measured.
        CelebgenError: weights, images or the reference are missing or damaged.
    """
    listener = listener or Listener()
    reference = open_real(real)
    generated = None if generated is None else str(find(generated, strict=False))
    kind = "model" if generated is None else kind_of(generated)
    if kind == "statistics" and isinstance(reference, Statistics):
        return measure(load_statistics(Path(generated or "")), reference, kid=options.kid)
    # Weights are looked for before anything slow begins.
    extractor = _inception(options, listener)
    made: Statistics | ImageSource
    if kind == "statistics":
        made = load_statistics(Path(generated or ""))
    elif kind == "model":
        made = _model_images(generated, reference, options)
    else:
        made = open_images(generated or "")
    return compare_sets(made, reference, extractor, options, listener)


def compare_sets(
    generated: Statistics | ImageSource,
    real: Statistics | ImageSource,
    extractor: Inception,
    options: Options,
    listener: Listener | None = None,
) -> FidResult:
    """FID and KID between two sets, each of which is a source of images or statistics made earlier."""
    listener = listener or Listener()
    batch_size = options.batch_size or 32
    num = None if isinstance(generated, Statistics) else (options.num or len(generated))
    real_todo = 0
    if not isinstance(real, Statistics) and not (options.cache and cached(real, extractor)):
        real_todo = len(real)
    timing = _estimate(num or 0, real_todo, listener)

    def side(which: Statistics | ImageSource, count: int | None, label: str) -> Statistics:
        if isinstance(which, Statistics):
            return which
        return statistics_of(
            which,
            extractor,
            count,
            batch_size=batch_size,
            progress=listener.progress(label),
            timing=timing,
            cache=options.cache,
        )

    return measure(side(generated, num, "generated"), side(real, None, "real"), kid=options.kid)


def make_statistics(
    source: str,
    output: Path,
    options: Options,
    *,
    name: str | None = None,
    keep_features: bool = False,
    listener: Listener | None = None,
) -> Statistics:
    """Measure a set of images and write its statistics file.

    Args:
        name: what figures call the set; None is the name of its folder.
        keep_features: write the features of every image too.

    Raises:
        UsageError: `source` names no images.
        CelebgenError: weights or images are missing or damaged, or the file cannot be written.
    """
    listener = listener or Listener()
    images = open_images(source)
    images.label = name or images.label
    count = options.num or len(images)
    statistics = statistics_of(
        images,
        _inception(options, listener),
        count,
        batch_size=options.batch_size or 32,
        progress=listener.progress("images"),
        timing=_estimate(count, 0, listener),
        cache=options.cache,
    )
    save_statistics(output, statistics, keep_features=keep_features)
    return statistics


def reconstruct(
    model: str | None, real: str | None, options: Options, *, rfid: bool = True, listener: Listener | None = None
) -> ReconstructionResult:
    """PSNR of real images through a model, and rFID where `rfid` asks for it and Inception weights are on this machine.

    Raises:
        UsageError: `model` is no model folder, or `real` names no images of its size.
    """
    listener = listener or Listener()
    images = open_real_images(real)
    model = None if model is None else str(find(model, strict=False))
    if model is not None and kind_of(model) != "model":
        raise UsageError(f"{model} is not a model folder (it has no model.json)")
    extractor = None
    if rfid and find_inception_weights(options.inception_weights) is not None:
        extractor = _inception(options, listener)
    elif rfid:
        listener.say("rFID is left out: no Inception weights are here (--inception-weights FILE)")
    return measure_reconstruction(
        load_pipeline(model, options.device),
        images,
        options.num,
        extractor=extractor,
        batch_size=options.batch_size or 32,
        progress=listener.progress("reconstruction"),
        warn=listener.say,
    )


def open_real(word: str | None) -> Statistics | ImageSource:
    """The reference that a word names.

    Raises:
        UsageError: the word names a model, or nothing.
        CelebgenError: no word is given, `$CELEBGEN_DATASET` is not set and no statistics ship with this build.
    """
    if word is None:
        dataset = environ.get(DATASET_VARIABLE)
        return open_split(Path(dataset), "valid") if dataset else shipped_reference()
    kind = kind_of(word)
    if kind == "statistics":
        return load_statistics(Path(word))
    if kind == "model":
        raise UsageError(f"{word} is a model and the real side is images or statistics: give the model first")
    return open_images(word)


def open_real_images(word: str | None) -> ImageSource:
    """Like `open_real`, for what needs the images themselves.

    Raises:
        UsageError: only statistics are there.
    """
    if word is None and not environ.get(DATASET_VARIABLE):
        raise UsageError(f"name a dataset or a folder of images, or set ${DATASET_VARIABLE} to a prepared dataset")
    real = open_real(word)
    if isinstance(real, Statistics):
        raise UsageError(f"{word} is a statistics file and images are needed here: name a dataset or a folder")
    return real


def shipped_reference() -> Statistics:
    """The statistics of CelebA's valid split that are part of the package.

    Raises:
        CelebgenError: this build has none.
    """
    file = resources.files("celebgen_cli.reference") / REFERENCE_FILE
    with resources.as_file(file) as path:
        if not path.is_file():
            raise CelebgenError(
                f"this build has no reference statistics: name a dataset, or set ${DATASET_VARIABLE} to a prepared one"
            )
        return load_statistics(path)


def duration(seconds: float) -> str:
    """A length of time in words that promise no more than an estimate can keep."""
    if seconds < 50:
        return "less than a minute"
    if seconds < 90:
        return "about a minute"
    if seconds < 90 * 60:
        return f"about {round(seconds / 60)} minutes"
    return f"about {seconds / 3600:.1f} hours"


def _estimate(num: int, real_todo: int, listener: Listener) -> Timing:
    """A `timing` function that says once how long everything will take, from the first batch."""
    said: list[bool] = []

    def timing(images_seconds: float, features_seconds: float, batch: int) -> None:
        if not said:
            rest = (num * (images_seconds + features_seconds) + real_todo * features_seconds) / batch
            todo = f"{num:,} images" + (f" and {real_todo:,} of the real side" if real_todo and num else "")
            todo = todo if num else f"{real_todo:,} images of the real side"
            listener.say(f"measuring {todo} will take {duration(rest + ARITHMETIC_SECONDS)} on this machine")
        said.append(True)

    return timing


def _model_images(word: str | None, reference: Statistics | ImageSource, options: Options) -> ModelImages:
    rows = reference.attributes if isinstance(reference, Statistics) else reference.captions
    if rows is None or not len(rows):
        rows = shipped_reference().attributes  # any faces to ask for, where the reference says nothing of its own
    if rows is None:
        raise UsageError("the reference has no attributes and no captions of its own: name a prepared dataset")
    count = options.num or (reference.n if isinstance(reference, Statistics) else len(reference))
    return ModelImages(
        load_pipeline(word, options.device),
        rows,
        count,
        seed=options.seed,
        settings=options.sampling,
        save=options.save,
    )


def load_pipeline(word: str | None, device: str | None) -> Model:
    """The model in a folder, or the one in the box."""
    from celebgen_cli.pipeline import load_model

    return load_model(None if word is None else Path(word), device)


def _inception(options: Options, listener: Listener) -> Inception:
    import torch

    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    return load_inception(options.inception_weights, device, announce=listener.say)
