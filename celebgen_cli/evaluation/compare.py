"""From two words on the command line to a figure: which set each word names, how long it will take, the measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from os import environ
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celebgen_cli.data.captions import CaptionSource
from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.evaluation.extraction import missing
from celebgen_cli.evaluation.features import FeatureExtractor, Inception, probe
from celebgen_cli.evaluation.fid import FidResult, caveats, check_network, measure, statistics_of
from celebgen_cli.evaluation.floor import floor_of, with_floor
from celebgen_cli.evaluation.options import Listener, Options, duration, estimate
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
    import numpy as np

    from celebgen_cli.pipeline import Model

__all__ = [
    "DATASET_VARIABLE", "REFERENCE_FILE", "Listener", "Options", "compare", "compare_sets", "duration",
    "load_extractor", "load_inception", "load_pipeline", "make_statistics", "open_real", "open_real_images",
    "shipped_reference",
]  # fmt: skip

REFERENCE_FILE = "celeba-valid-face178-128.safetensors"
"""The statistics that ship in `celebgen_cli.reference`."""

DATASET_VARIABLE = "CELEBGEN_DATASET"
NEED_FEATURES = ("kid", "prc")
"""Metrics of single images' features, which a statistics file may not have."""


def compare(
    generated: str | None, real: str | None, options: Options, listener: Listener | None = None, *, metric: str = "fid"
) -> FidResult:
    """The figures of a metric between what two words name.

    Args:
        generated: model, image folder or zip, `DATASET[:split]` or statistics file; None: the model in the box.
        real: the same kinds but a model; None is the valid split of `$CELEBGEN_DATASET`, else the shipped statistics.
        metric: "fid" (with KID unless the options say no), "kid", "prc" or "fd".

    Raises:
        UsageError: a word names nothing that can be measured.
        CelebgenError: weights, images or the reference are missing or damaged.
    """
    listener = listener or Listener()
    reference = open_real(real)
    generated = None if generated is None else str(find(generated, strict=False))
    kind = "model" if generated is None else kind_of(generated)
    if options.repeats > 1 and kind != "model":
        raise UsageError(f"--repeats draws other faces with other seeds, and {generated} is a {kind}: name a model")
    if kind == "statistics" and isinstance(reference, Statistics) and options.floor_set is None:
        made = load_statistics(Path(generated or ""))
        result = measure(made, reference, metric=metric, kid=options.kid)
        return _with_floor(result, made.n, reference, None, options)
    # Weights are looked for before anything slow begins.
    extractor = load_extractor(options, listener)
    if isinstance(reference, Statistics):
        _check_reference(reference, extractor, metric)
    if kind == "statistics":
        return compare_sets(load_statistics(Path(generated or "")), reference, extractor, options, listener, metric)
    if kind == "model":
        sets = _model_images(generated, reference, options)
        return compare_sets(sets, reference, extractor, options, listener, metric)
    return compare_sets(open_images(generated or ""), reference, extractor, options, listener, metric)


def compare_sets(
    generated: Statistics | ImageSource | Sequence[ImageSource],
    real: Statistics | ImageSource,
    extractor: FeatureExtractor,
    options: Options,
    listener: Listener | None = None,
    metric: str = "fid",
) -> FidResult:
    """The figures of a metric between sets, each of which is a source of images or statistics made earlier.

    Args:
        generated: several sources are sets that were drawn with other seeds.
    """
    listener = listener or Listener()
    sets: list[Any] = list(generated) if isinstance(generated, list | tuple) else [generated]
    other = open_images(options.floor_set) if options.floor and options.floor_set else None

    def wanted(which: ImageSource) -> int:
        return options.num or len(which)

    def lacking(which: ImageSource, count: int) -> int:
        return missing(which, extractor, count) if options.cache else count

    drawn = [which for which in sets if not isinstance(which, Statistics)]
    num = sets[0].n if isinstance(sets[0], Statistics) else wanted(sets[0])
    other_count = min(num, len(other)) if other is not None else 0
    real_todo = 0 if isinstance(real, Statistics) else lacking(real, len(real))
    real_todo += lacking(other, other_count) if other is not None else 0
    timing = estimate(sum(lacking(which, wanted(which)) for which in drawn), real_todo, listener)

    def side(which: Statistics | ImageSource, count: int, label: str) -> Statistics:
        if isinstance(which, Statistics):
            return which
        made = statistics_of(
            which,
            extractor,
            count,
            batch_size=options.batch_size or 32,
            progress=listener.progress(label),
            timing=timing,
            cache=options.cache,
        )
        if isinstance(which, ModelImages):
            which.save_all(count, options.batch_size or 32)
        return made

    labels = ["generated"] if len(sets) == 1 else [f"generated {i + 1}/{len(sets)}" for i in range(len(sets))]
    made = [side(which, num, label) for which, label in zip(sets, labels, strict=True)]
    reference = real if isinstance(real, Statistics) else side(real, len(real), "real")
    result = measure(made, reference, metric=metric, kid=options.kid)
    apart = None if other is None else side(other, other_count, "floor")
    return _with_floor(result, num, reference, apart, options)


def make_statistics(
    source: str,
    output: Path,
    options: Options,
    *,
    name: str | None = None,
    keep_features: bool = False,
    listener: Listener | None = None,
) -> Statistics:
    """Measure a set of images and write its statistics file, and beside it what it is as JSON.

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
    extractor = load_extractor(options, listener)
    statistics = statistics_of(
        images,
        extractor,
        count,
        batch_size=options.batch_size or 32,
        progress=listener.progress("images"),
        timing=estimate(missing(images, extractor, count) if options.cache else count, 0, listener),
        cache=options.cache,
    )
    if options.floor:
        statistics = with_floor(statistics, "fid" if options.features == "inception" else "fd")
    save_statistics(output, statistics, keep_features=keep_features)
    return statistics


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


def _with_floor(
    result: FidResult, num: int, reference: Statistics, other: Statistics | None, options: Options
) -> FidResult:
    if not options.floor:
        return result
    metric = "fid only" if result.metric == "fid" and result.kid is None else result.metric
    floor = floor_of(reference, num, metric, other, cache=options.cache)
    if other is None:
        return replace(result, floor=floor)
    new = [f"of the floor: {sentence}" for sentence in caveats(other, reference, result.metric)]
    return replace(result, floor=floor, warnings=(*result.warnings, *new))


def _check_reference(reference: Statistics, extractor: FeatureExtractor, metric: str) -> None:
    """Find out before anything is drawn that a reference cannot be compared with.

    Raises:
        CelebgenError: it is of another network, or has no features where the metric needs them.
    """
    ours = {"network": extractor.name, "layer": extractor.layer, "probe": probe(extractor)}
    check_network(replace(reference, info=ours), reference)
    if metric in NEED_FEATURES and reference.features is None:
        raise CelebgenError(
            f"{'KID' if metric == 'kid' else 'precision and recall'} needs the features of every image and the "
            f"statistics of {reference.info.get('source')} have none: name the images themselves, a dataset or a "
            f"folder, or set ${DATASET_VARIABLE}"
        )


def rows_to_ask(rows: np.ndarray | CaptionSource | None) -> np.ndarray | CaptionSource:
    """What captions are made of: a reference's own rows, or where it says nothing of its own the shipped statistics'.

    Raises:
        UsageError: these have none either.
    """
    if rows is not None and (rows.speaks if isinstance(rows, CaptionSource) else len(rows)):
        return rows
    shipped = shipped_reference().attributes
    if shipped is None:
        raise UsageError("the reference has no attributes and no captions of its own: name a prepared dataset")
    return shipped


def _model_images(word: str | None, reference: Statistics | ImageSource, options: Options) -> list[ModelImages]:
    """The sets that a model draws, one after the other in their seeds."""
    rows = rows_to_ask(reference.attributes if isinstance(reference, Statistics) else reference.captions)
    count = options.num or (reference.n if isinstance(reference, Statistics) else len(reference))
    model = load_pipeline(word, options.device)
    sets = []
    for i in range(options.repeats):
        seed = options.seed + i * count
        save = options.save and (options.save if options.repeats == 1 else options.save / f"seed-{seed}")
        sets.append(ModelImages(model, rows, count, seed=seed, settings=options.sampling, save=save))
    return sets


def load_pipeline(word: str | None, device: str | None) -> Model:
    """The model in a folder, or the one in the box; in many processes, each draws its share."""
    from celebgen_cli.spread import load_model

    return load_model(None if word is None else Path(word), device)


def load_inception(*args: Any, **settings: Any) -> Inception:
    """Inception as `features.load_inception` gives it; in many processes, each looks at its share."""
    from celebgen_cli.spread import load_inception as load

    return load(*args, **settings)


def load_extractor(options: Options, listener: Listener) -> FeatureExtractor:
    """The network that the options name."""
    import torch

    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if options.features == "inception":
        return load_inception(options.inception_weights, device, announce=listener.say)
    from celebgen_cli.evaluation.networks import load_network

    return load_network(options.features, device, announce=listener.say)
