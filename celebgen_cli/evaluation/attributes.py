"""Whether faces show what their prompts say: an attribute judge's verdict between a floor and a ceiling.

The judge errs, so its hit rate alone says little. Real faces that have what the prompts name are its ceiling; the
generated faces against prompts that are not theirs are the floor. It says yes as often as the labels of real faces do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from celebgen_cli.data.attributes import ATTRIBUTES
from celebgen_cli.data.captions import is_true_of
from celebgen_cli.errors import UsageError
from celebgen_cli.evaluation import compare
from celebgen_cli.evaluation.asked_images import AskedImages, open_asked, save_worst
from celebgen_cli.evaluation.asking import LARGEST, WORDINGS, Asked
from celebgen_cli.evaluation.extraction import features_of, missing
from celebgen_cli.evaluation.judging import JudgeFeatures, has_judge, open_judge
from celebgen_cli.evaluation.obedience import Score, Tally, score, thresholds
from celebgen_cli.evaluation.options import Listener, Options, estimate
from celebgen_cli.evaluation.similarity import wilson
from celebgen_cli.evaluation.sources import ImageSource, SplitImages
from celebgen_cli.evaluation.statistics import tool_versions
from celebgen_cli.images import refuse_foreign

__all__ = ["AttributesResult", "evaluate_attributes", "has_judge", "measure_attributes"]

DEFAULT_NUM = 500
WORST = 16
"""Prompts that are named as the worst."""


@dataclass(frozen=True)
class AttributesResult:
    """What `evaluate attributes` says.

    Attributes:
        total: figures over all prompts in the proportions of real faces. intervals: 95 %, of its figures.
        wordings, values, sizes, attributes: the same apart by wording; by what is named, "present" or "absent"; by the
            number of attributes that were chosen; by attribute and then "present" or "absent", where prompts for one
            attribute alone count too and the ceiling is of all real faces that have it so. None: nobody asked for it.
        hits: 95 % intervals of the hit rates by attribute and value (Wilson).
        worst: prompts whose faces show least of what they name, worst first.
        accuracy: of the judge on the real faces, the mean over the attributes, a yes being more likely than not.
        thresholds: from where on an answer is a yes here, by attribute; see `obedience.thresholds`.
        n, alone, size, crop, seed, source, real, settings, judge, judge_sha256: what was measured, on how many faces.
    """

    total: Tally
    intervals: dict[str, tuple[float, float] | None]
    wordings: dict[str, Tally | None]
    values: dict[str, Tally | None]
    sizes: dict[str, Tally | None]
    attributes: dict[str, dict[str, Tally | None]]
    hits: dict[str, dict[str, tuple[float, float] | None]]
    worst: tuple[dict[str, Any], ...]
    accuracy: float
    n: int
    alone: int
    size: int | None
    crop: str | None
    seed: int
    source: str
    real: str
    settings: dict[str, Any]
    judge: str
    judge_sha256: str
    thresholds: dict[str, float]
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `obedience` is the headline, and more is better."""

        def plain(tally: Tally | None) -> dict[str, Any] | None:
            return None if tally is None else tally.to_dict()

        table = {
            name: {
                way: None if tally is None else {**tally.to_dict(), "hit_interval": _pair(self.hits[name][way])}
                for way, tally in both.items()
            }
            for name, both in self.attributes.items()
        }
        return {
            **self.total.to_dict(),
            **{f"{name}_interval": _pair(interval) for name, interval in self.intervals.items()},
            "wordings": {name: plain(tally) for name, tally in self.wordings.items()},
            "named_as": {name: plain(tally) for name, tally in self.values.items()},
            "sizes": {name: plain(tally) for name, tally in self.sizes.items()},
            "attributes": table,
            "worst": list(self.worst),
            "faces": self.n,
            "alone": self.alone,
            "size": self.size,
            "crop": self.crop,
            "seed": self.seed,
            "source": self.source,
            "real": self.real,
            "settings": self.settings,
            "judge": {"source": self.judge, "sha256": self.judge_sha256, "accuracy": self.accuracy},
            "thresholds": self.thresholds,
            "warnings": list(self.warnings),
            "versions": tool_versions(),
        }


def evaluate_attributes(
    generated: str | None,
    real: str | None,
    options: Options,
    *,
    judge: Path | None = None,
    worst: Path | None = None,
    listener: Listener | None = None,
) -> AttributesResult:
    """Judge the faces that a word names.

    Args:
        generated: a model, which draws faces for prompts made from the real faces' attributes, or a folder of pictures
            made by celebgen, which say their prompts; None: the model in the box.
        real: `DATASET[:SPLIT]` with attributes; None is the valid split of `$CELEBGEN_DATASET`.
        options: `num` faces (None: 500 of a model, all of a folder), sampling, seed, device, cache, `save`.
        judge: a train-judge run or a model; see `open_judge`.
        worst: folder for the faces of the worst prompts.

    Raises:
        UsageError: a word names nothing of the kind, there is no judge, or no attributes are known.
        CelebgenError: something is missing or damaged.
    """
    listener = listener or Listener()
    refuse_foreign("--worst", [worst / "worst.png", *worst.glob("[0-9][0-9]-*.png")] if worst else [])
    reference = compare.open_real_images(real)
    if not isinstance(reference, SplitImages) or not reference.split.attributes.any():
        raise UsageError(
            f"the attributes of {reference.label} are not known and the ceiling needs them: name a prepared dataset"
        )
    source, asked = open_asked(generated, reference, options, DEFAULT_NUM)
    network = open_judge(judge, generated if isinstance(source, AskedImages) else None, options.device)
    return measure_attributes(source, asked, reference, network, options, worst=worst, listener=listener)


def measure_attributes(
    source: ImageSource,
    asked: Sequence[Asked],
    reference: SplitImages,
    judge: JudgeFeatures,
    options: Options,
    *,
    worst: Path | None = None,
    listener: Listener | None = None,
) -> AttributesResult:
    """Judge `source`, whose i-th image was made for `asked[i]`; see `evaluate_attributes`."""
    listener = listener or Listener()
    count, size = len(asked), options.batch_size or 16
    todo = [missing(s, judge, n) if options.cache else n for s, n in ((source, count), (reference, len(reference)))]
    timing = estimate(todo[0], todo[1], listener)
    seen = features_of(
        source, judge, count, batch_size=size, progress=listener.progress("generated"), timing=timing,
        cache=options.cache,
    )  # fmt: skip
    if isinstance(source, AskedImages):
        source.save_all(count, size)
    truth = features_of(
        reference, judge, batch_size=64, progress=listener.progress("real"), cache=options.cache
    )  # fmt: skip
    labels = reference.split.attributes
    named = np.stack([one.named for one in asked])
    bar = thresholds(truth, labels)
    answers = seen > bar
    ceiling, unmatched = _ceiling(asked, named, truth > bar, labels)
    alone = np.array([one.alone for one in asked])
    units = [one.unit for one in asked]
    marks = score(named, answers, ceiling, alone.astype(int), units)
    common = ~alone[:, None]
    total = marks.tally(common)
    if total is None:
        raise UsageError(f"the prompts of {source.label} name no attribute that the judge knows; ask for other faces")
    table, hits = _table(replace(marks, ceiling=_ceiling_by_value(named, truth > bar, labels)))
    warnings = []
    if unmatched:
        warnings.append(
            f"{unmatched} of {count} prompts name what no face of {reference.label} has together; there the ceiling is "
            "of faces that have each attribute alone"
        )
    known = labels != 0
    right = ((truth > 0.5) == (labels > 0)) & known
    each = right.sum(axis=0)[known.any(axis=0)] / known.sum(axis=0)[known.any(axis=0)]
    return AttributesResult(
        total=total,
        # the prompts of a folder are those that it has; its pictures are drawn
        intervals=marks.intervals(
            [i if one.wording == "own" else one.unit for i, one in enumerate(asked)], options.seed, common
        ),
        wordings=_apart(marks, common, [one.wording for one in asked], (*WORDINGS, "own")),
        values={"present": marks.tally(common & (named > 0)), "absent": marks.tally(common & (named < 0))},
        sizes=_apart(marks, common, [str(one.size) for one in asked], [str(n) for n in range(1, LARGEST + 1)]),
        attributes=table,
        hits=hits,
        worst=_worst(source, asked, named, seen, answers, worst),
        accuracy=float(each.mean()),
        n=count,
        alone=int(alone.sum()),
        size=source.size,
        crop=source.crop,
        seed=options.seed,
        source=source.label,
        real=reference.label,
        settings=source.settings(),
        judge=judge.source,
        judge_sha256=judge.weights_sha256,
        thresholds={name: float(at) for name, at in zip(ATTRIBUTES, bar, strict=True)},
        warnings=tuple(warnings),
    )  # fmt: skip


def _ceiling(
    asked: Sequence[Asked], named: np.ndarray, truth: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, int]:
    """What the judge says of real faces that have what is named [N, 40], and how many prompts fit no face at all.

    That is the face that a prompt was made of, else every face that has all that it names.
    """
    ceiling, unmatched = np.zeros(named.shape), 0
    wanted = named > 0
    for i, one in enumerate(asked):
        if one.row >= 0:
            ceiling[i] = truth[one.row] == wanted[i]
            continue
        fit = is_true_of(named[i], labels) & ~((named[i] != 0) & (labels == 0)).any(axis=1)
        if fit.any():
            ceiling[i] = (truth[fit] == wanted[i]).mean(axis=0)
            continue
        unmatched += 1
        ceiling[i] = _ceiling_by_value(named[i : i + 1], truth, labels)[0]
    return ceiling, unmatched


def _ceiling_by_value(named: np.ndarray, truth: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Of each attribute alone [N, 40]: how often the judge sees it as named in all real faces that have it so.

    Single attributes have few prompts, and so their ceiling does not hang on the few faces of those.
    """
    ceiling = np.ones(named.shape)
    for value in (1, -1):
        some = labels == value
        right = ((truth == (value > 0)) & some).sum(axis=0) / np.maximum(some.sum(axis=0), 1)
        ceiling = np.where((named == value) & some.any(axis=0), right, ceiling)
    return ceiling


def _apart(
    marks: Score, common: np.ndarray, keys: Sequence[str], names: Sequence[str]
) -> dict[str, Tally | None]:
    """Figures of the prompts of each key among `names`; those of keys that no prompt has are left out."""
    column = np.array(keys)[:, None]
    return {name: marks.tally(common & (column == name)) for name in names if name in keys}


def _table(marks: Score) -> tuple[dict[str, dict[str, Tally | None]], dict[str, dict[str, Any]]]:
    """Figures and intervals by attribute and value."""
    table: dict[str, dict[str, Tally | None]] = {}
    hits: dict[str, dict[str, Any]] = {}
    for i, name in enumerate(ATTRIBUTES):
        column = np.zeros((1, len(ATTRIBUTES)), dtype=bool)
        column[0, i] = True
        ways = {"present": column & (marks.named > 0), "absent": column & (marks.named < 0)}
        table[name] = {way: marks.tally(where) for way, where in ways.items()}
        hits[name] = {
            way: None if tally is None else wilson(tally.hit * tally.named, tally.named)
            for way, tally in table[name].items()
        }
    return table, hits


def _worst(
    source: ImageSource,
    asked: Sequence[Asked],
    named: np.ndarray,
    seen: np.ndarray,
    answers: np.ndarray,
    folder: Path | None,
) -> tuple[dict[str, Any], ...]:
    """The prompts whose faces miss the largest share of what they name, the judge's doubt deciding between equals."""
    told = named != 0
    wrong, count = told & (answers != (named > 0)), np.maximum(told.sum(axis=1), 1)
    doubt = np.where(told, np.where(named > 0, seen, 1 - seen), 0).sum(axis=1) / count
    hit = 1 - wrong.sum(axis=1) / count
    order = [int(i) for i in np.lexsort((doubt, hit)) if hit[i] < 1][:WORST]
    paths: list[str | None] = [None] * len(order)
    if folder is not None and order:
        paths = [*save_worst(folder, source, asked, order)]
    return tuple(
        {
            "prompt": asked[i].prompt,
            "index": i,
            "hit": float(hit[i]),
            "missed": [
                f"{'' if named[i, a] > 0 else 'not '}{ATTRIBUTES[a]}"
                for a in np.flatnonzero(wrong[i])
            ],
            "path": path,
        }
        for i, path in zip(order, paths, strict=True)
    )


def _pair(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else list(interval)
