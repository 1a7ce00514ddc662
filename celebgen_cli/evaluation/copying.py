"""Whether a model copies its training pictures: how near its faces come to them, against faces it never saw.

Every face and every held-out photograph gets its nearest training pictures, mirrored ones too, in two spaces of
features. A model that memorises comes nearer to its training set than photographs that were held out do. Three figures
say whether it does:

- the ratio of the distances, generated over held-out, at the median and at the 1 % quantile, where copies would be;
- the Mann-Whitney U of the two sets of distances, as a z-score, the data-copying test of Meehan et al. 2020
  (arXiv 2004.05675) over one cell: below 0 where generated faces are nearer, as copies and smooth faces are;
- the distance to the nearest relative to the mean of the 50 nearest (as Carlini et al. 2023, arXiv 2301.13188, search
  for copies), because smooth, average faces are near to everything without being a copy of anything.

`celebgen_cli.evaluation.diversity` has the other half of the question: whether seeds of one prompt differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from celebgen_cli.evaluation.extraction import features_of
from celebgen_cli.evaluation.features import FeatureExtractor
from celebgen_cli.evaluation.neighbours import Joined, Mirrored, Neighbours, nearer, nearest
from celebgen_cli.evaluation.options import Listener, estimate
from celebgen_cli.evaluation.pictures import MADE_HERE, pick
from celebgen_cli.evaluation.similarity import wilson
from celebgen_cli.evaluation.sources import ImageSource
from celebgen_cli.files import atomic_write_bytes
from celebgen_cli.images import encode_png, grid

CROWD = 50
"""Nearest neighbours whose mean distance the nearest one is compared with."""

SHOWN = 8
"""Closest pairs of each space in the picture."""


@dataclass(frozen=True)
class Space:
    """Distances of one feature space.

    Attributes:
        features: the network and the layer.
        generated_median, held_out_median: of the distance to the nearest training picture.
        ratio_median, ratio_1_percent: of those distances' medians and 1 % quantiles, generated over held-out; 1 for a
            model that is as near to its training set as new photographs are, 0 for copies; None where the photographs'
            own is 0.
        z: the Mann-Whitney statistic, standard normal where both come equally near, negative where generated faces do.
        nearer: the chance that a generated face is nearer to the training set than a held-out photograph; 0.5 is even.
        below_1_percent: share of generated faces nearer than 99 % of the held-out ones are, 0.01 where nothing is
            copied; `below_1_percent_interval` has its 95 % bounds, which allow for chance in both sets.
        relative_1_percent: 1 % quantile of nearest / mean of the `CROWD` nearest, generated; that of the photographs is
            `relative_1_percent_held_out`. Well below it are faces with a single, suspiciously near neighbour.
        held_out_copies: held-out photographs that are training pictures, at no distance at all.
        closest: the nearest pairs: `generated` and `train` rows, `distance`, `relative`, nearest first.
    """

    features: str
    generated_median: float
    held_out_median: float
    ratio_median: float | None
    ratio_1_percent: float | None
    z: float
    nearer: float
    below_1_percent: float
    below_1_percent_interval: tuple[float, float]
    relative_1_percent: float
    relative_1_percent_held_out: float
    held_out_copies: int
    closest: tuple[dict[str, Any], ...]


def measure_copying(
    spaces: dict[str, FeatureExtractor],
    generated: ImageSource,
    train: ImageSource,
    held_out: ImageSource,
    *,
    count: int | None = None,
    train_count: int | None = None,
    held_out_count: int | None = None,
    batch_size: int = 32,
    pairs: Path | None = None,
    listener: Listener | None = None,
    cache: bool = False,
) -> tuple[dict[str, Space], tuple[int, int, int]]:
    """The figures of each space, and how many pictures were generated, of the training set and held out.

    Args:
        spaces: what gives the features of each, by the name of the space.
        count, train_count, held_out_count: the first so many of each set; None is all.
        pairs: the PNG that receives the closest pairs.

    Raises:
        CelebgenError: a set has fewer images than were asked for, or the picture cannot be written.
    """
    listener = listener or Listener()
    extractors = list(spaces.values())
    both = [*extractors, *(Mirrored(extractor) for extractor in extractors)]

    def features(
        source: ImageSource, wanted: list[FeatureExtractor], number: int | None, label: str
    ) -> list[np.ndarray]:
        number = len(source) if number is None else number
        if source.kind == "model":  # drawn once for all spaces; of what is on disk each space has its own cache
            joined = Joined(wanted)
            return joined.split(extract(source, joined, number, label))
        return [extract(source, extractor, number, f"{label}, {extractor.name}") for extractor in wanted]

    def extract(source: ImageSource, extractor: FeatureExtractor, number: int, label: str) -> np.ndarray:
        long = source is train or source.kind == "model"  # how long the others take is not worth a sentence
        timing = estimate(number, 0, listener) if long else None
        return features_of(
            source, extractor, number, batch_size=batch_size, progress=listener.progress(label), timing=timing,
            cache=cache,
        )  # fmt: skip

    searched = features(train, extractors, train_count, "training pictures")
    known = features(held_out, both, held_out_count, "held-out pictures")
    made = features(generated, both, count, "generated faces")
    figures, found = {}, {}
    for i, name in enumerate(spaces):
        near = [_both_ways(side[i], side[len(spaces) + i], searched[i]) for side in (made, known)]
        figures[name] = space_figures(f"{extractors[i].name}, {extractors[i].layer}", *near)
        found[name] = near[0]
    if pairs is not None:
        _save_pairs(pairs, generated, train, figures, found)
    return figures, (len(made[0]), len(searched[0]), len(known[0]))


def space_figures(features: str, generated: Neighbours, held_out: Neighbours) -> Space:
    """The figures of two sets of queries that were searched for in the same training set."""
    from scipy.stats import mannwhitneyu

    near, known = generated.distances[:, 0], held_out.distances[:, 0]
    m, n = len(near), len(known)
    both = m * n / (m + n)  # trials: the quantile, from n distances, has the spread of a share of n
    statistic = float(mannwhitneyu(near, known).statistic)
    z = float((statistic - m * n / 2) / _rank_deviation(near, known))
    low = float(np.quantile(known, 0.01))
    below = float((near < np.quantile(known, 0.01, method="weibull")).mean())  # of the next draw 0.01 are below it
    relative, relative_known = _relative(generated), _relative(held_out)
    order = np.argsort(near, kind="stable")[:SHOWN]
    return Space(
        features=features,
        generated_median=float(np.median(near)),
        held_out_median=float(np.median(known)),
        ratio_median=_ratio(float(np.median(near)), float(np.median(known))),
        ratio_1_percent=_ratio(float(np.quantile(near, 0.01)), low),
        z=z,
        nearer=1 - statistic / (m * n),
        below_1_percent=below,
        below_1_percent_interval=wilson(below * both, both),
        relative_1_percent=float(np.quantile(relative, 0.01)),
        relative_1_percent_held_out=float(np.quantile(relative_known, 0.01)),
        held_out_copies=int((known == 0).sum()),
        closest=tuple(
            {"generated": int(i), "train": int(generated.rows[i, 0]), "distance": float(near[i]),
             "relative": float(relative[i])}
            for i in order
        ),
    )  # fmt: skip


def _both_ways(plain: np.ndarray, mirrored: np.ndarray, searched: np.ndarray) -> Neighbours:
    k = min(CROWD, len(searched))
    return nearer(nearest(plain, searched, k), nearest(mirrored, searched, k))


def _relative(found: Neighbours) -> np.ndarray:
    """Distance of the nearest over the mean distance of the nearest `CROWD`: float64 [N] in 0..1, 0 for a copy."""
    mean = found.distances.mean(axis=1)
    return np.where(mean > 0, found.distances[:, 0] / np.where(mean > 0, mean, 1), 0.0)


def _ratio(above: float, below: float) -> float | None:
    return above / below if below > 0 else None


def _rank_deviation(a: np.ndarray, b: np.ndarray) -> float:
    """Standard deviation of Mann-Whitney's U where both sets are alike, corrected for ties; at least tiny."""
    n = len(a) + len(b)
    _, ties = np.unique(np.concatenate([a, b]), return_counts=True)
    correction = float(((ties.astype(np.float64) ** 3 - ties).sum()) / (n * (n - 1)))
    return max(float(np.sqrt(len(a) * len(b) / 12 * (n + 1 - correction))), 1e-12)


def _save_pairs(
    path: Path, generated: ImageSource, train: ImageSource, figures: dict[str, Space], found: dict[str, Neighbours]
) -> None:
    """One row a pair: the generated face and its three nearest training pictures, the closest pairs of each space."""
    tiles: list[np.ndarray] = []
    labels: list[str] = []
    for name, space in figures.items():
        rows = [pair["generated"] for pair in space.closest]
        for pair, face in zip(space.closest, pick(generated, rows), strict=True):
            near = found[name].rows[pair["generated"], :3]
            tiles += [face, *pick(train, near.tolist())]
            labels += [f"{name}: face {pair['generated']}"]
            labels += _distances(found[name].distances[pair["generated"], : len(near)])
    columns = 1 + min(3, next(iter(found.values())).rows.shape[1])
    atomic_write_bytes(path, encode_png(grid(np.stack(tiles), columns, labels), None, MADE_HERE))


def _distances(distances: np.ndarray) -> list[str]:
    return [f"train, {distance:.3g}" for distance in distances]
