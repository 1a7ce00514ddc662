"""The numbers of a dataset: moments of pixels, frequencies and correlations of attributes, people, landmarks, words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from celebgen_cli.data.attributes import ATTRIBUTES

LANDMARKS = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")
"""CelebA's five points, in its order; left and right are the picture's."""

MIN_COUNT = 10
"""A pair of attributes is judged where independence would let at least so many images have both."""

SIGNIFICANCE = 0.01
"""Chance that any of all pairs is called a surprise although no attributes depend on each other (Bonferroni)."""


# ------------------------------------------------------------------------------------------------ pixels


@dataclass(frozen=True)
class Moments:
    """Of a channel's levels 0 to 255, over the whole population (divided by n): None where the spread is zero.

    Attributes:
        mean, std: in levels.
        skewness: third central moment divided by std^3.
        kurtosis: excess, fourth central moment divided by std^4, minus 3: a normal distribution has 0.
    """

    mean: float
    std: float
    skewness: float | None
    kurtosis: float | None


def moments(counts: np.ndarray) -> Moments:
    """Exact moments from a histogram, int64 [256], of at least one value."""
    levels = np.arange(len(counts), dtype=np.float64)
    share = counts / counts.sum()
    mean = float(share @ levels)
    variance, third, fourth = (float(share @ (levels - mean) ** power) for power in (2, 3, 4))
    std = math.sqrt(variance)
    if std < 1e-9:
        return Moments(mean, 0.0, None, None)
    return Moments(mean, std, third / std**3, fourth / variance**2 - 3)


def channels(histograms: np.ndarray) -> dict[str, Any]:
    """Moments of each channel from int64 [3, 256], by name."""
    return {name: asdict(moments(row)) for name, row in zip(("red", "green", "blue"), histograms, strict=True)}


# ------------------------------------------------------------------------------------------------ attributes


@dataclass(frozen=True)
class Together:
    """How attributes meet, over the rows that know both of a pair.

    Attributes:
        known: int64 [40, 40], rows that know both; the diagonal is the rows that know the attribute.
        both: int64 [40, 40], rows that have both; the diagonal is the rows that have the attribute.
        first: int64 [40, 40], rows that have the first (the row of the table) and know both.
        phi: float64 [40, 40], Pearson's correlation of the two as 0 and 1; NaN where one of them never changes.
    """

    known: np.ndarray
    both: np.ndarray
    first: np.ndarray
    phi: np.ndarray


def together(attributes: np.ndarray) -> Together:
    """Count every pair in int8 [N, 40] of -1 absent, 1 present, 0 unknown; unknown values are left out."""
    present = (attributes == 1).astype(np.float64)
    knows = (attributes != 0).astype(np.float64)
    known, both, first = knows.T @ knows, present.T @ present, present.T @ knows
    second = first.T
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = first * (known - first) * second * (known - second)
        phi = np.where(spread > 0, (known * both - first * second) / np.sqrt(spread), np.nan)
    return Together(known.astype(np.int64), both.astype(np.int64), first.astype(np.int64), phi)


def frequencies(attributes: np.ndarray) -> dict[str, dict[str, Any]]:
    """By name: rows that have the attribute, rows that know it, and the share, None where no row knows it."""
    present, known = (attributes == 1).sum(0), (attributes != 0).sum(0)
    return {
        name: {"present": int(p), "known": int(k), "share": int(p) / int(k) if k else None}
        for name, p, k in zip(ATTRIBUTES, present, known, strict=True)
    }


@dataclass(frozen=True)
class Surprise:
    """Two attributes that meet more or less often than they would if they were independent.

    Attributes:
        both: images that have both; `expected`: how many would by chance.
        lift: both / expected.
        phi: correlation.
        z: how far `both` is from `expected`, in standard deviations of the hypergeometric distribution.
    """

    first: str
    second: str
    both: int
    expected: float
    lift: float
    phi: float
    z: float


@dataclass(frozen=True)
class Surprises:
    """The pairs above independence, the largest lift first, and those below it, the smallest lift first.

    Attributes:
        pairs: how many pairs were looked at: those of two attributes that both change.
        z: the limit that |z| of a pair is beyond; None where there was no pair.
    """

    above: list[Surprise]
    below: list[Surprise]
    pairs: int
    z: float | None


def surprises(table: Together) -> Surprises:
    """The pairs that depend on each other.

    A pair counts where at least `MIN_COUNT` images are expected and |z| = |phi| sqrt(n - 1) is beyond what the largest
    of all pairs reaches with chance `SIGNIFICANCE` (two-sided, Bonferroni).
    """
    size = len(ATTRIBUTES)
    pairs = [(i, j) for i in range(size) for j in range(i + 1, size) if not np.isnan(table.phi[i, j])]
    above: list[Surprise] = []
    below: list[Surprise] = []
    if not pairs:
        return Surprises(above, below, 0, None)
    limit = critical_z(len(pairs))
    for i, j in pairs:
        n, both, phi = int(table.known[i, j]), int(table.both[i, j]), float(table.phi[i, j])
        expected = int(table.first[i, j]) * int(table.first[j, i]) / n
        z = phi * math.sqrt(n - 1)
        if expected >= MIN_COUNT and abs(z) > limit:
            pair = Surprise(ATTRIBUTES[i], ATTRIBUTES[j], both, expected, both / expected, phi, z)
            (above if z > 0 else below).append(pair)
    above.sort(key=lambda pair: -pair.lift)
    below.sort(key=lambda pair: (pair.lift, pair.z))
    return Surprises(above, below, len(pairs), limit)


def critical_z(pairs: int) -> float:
    """The |z| that a pair must exceed where so many are looked at."""
    return NormalDist().inv_cdf(1 - SIGNIFICANCE / (2 * pairs))


# ------------------------------------------------------------------------------------------------ people


def people(identity: np.ndarray) -> dict[str, Any] | None:
    """Who is in int64 [N] of people's numbers (-1 unknown, left out); None where nobody is known."""
    known = identity[identity >= 0]
    if not len(known):
        return None
    counts = np.unique(known, return_counts=True)[1]
    images, number = np.unique(counts, return_counts=True)
    return {
        "images": len(known),
        "unknown": len(identity) - len(known),
        "people": len(counts),
        "images_per_person": {
            "mean": float(counts.mean()), "median": float(np.median(counts)), "min": int(counts.min()),
            "max": int(counts.max()),
        },
        "people_by_images": dict(zip(map(str, images.tolist()), number.tolist(), strict=True)),
    }  # fmt: skip


def shared_people(identities: Sequence[np.ndarray]) -> dict[tuple[int, int], int]:
    """How many people are in both of two parts, for each two (i < j) that share any."""
    sets = [set(identity[identity >= 0].tolist()) for identity in identities]
    pairs = ((i, j, len(sets[i] & sets[j])) for i in range(len(sets)) for j in range(i + 1, len(sets)))
    return {(i, j): count for i, j, count in pairs if count}


# ------------------------------------------------------------------------------------------------ landmarks


def landmark_figures(points: np.ndarray) -> dict[str, Any] | None:
    """Where the five points lie, in float [N, 5, 2] pixels; rows with any NaN are left out; None where none is whole.

    Standard deviations are those of the population.
    """
    whole = points[~np.isnan(points).any(axis=(1, 2))].astype(np.float64)
    if not len(whole):
        return None
    between = whole[:, 1] - whole[:, 0]
    distance, roll = np.hypot(between[:, 0], between[:, 1]), np.degrees(np.arctan2(between[:, 1], between[:, 0]))
    mean, std = whole.mean(0), whole.std(0)
    return {
        "images": len(whole),
        "points": {name: {"mean": mean[i].tolist(), "std": std[i].tolist()} for i, name in enumerate(LANDMARKS)},
        "eye_distance": {"mean": float(distance.mean()), "std": float(distance.std())},
        "eye_roll_degrees": {"mean": float(roll.mean()), "std": float(roll.std())},
    }


# ------------------------------------------------------------------------------------------------ captions


def caption_figures(captions: Iterable[str]) -> dict[str, Any] | None:
    """Words of captions, split at white space; words are counted in lower case without punctuation at their ends."""
    lengths: Counter[int] = Counter()
    words: Counter[str] = Counter()
    distinct: set[int] = set()  # 64 bits of each: millions of captions fit
    for caption in captions:
        parts = caption.split()
        lengths[len(parts)] += 1
        distinct.add(hash(caption))
        words.update(bare for part in parts if (bare := part.lower().strip(".,;:!?\"'()")))
    total = lengths.total()
    if not total:
        return None
    numbers = np.array(sorted(lengths.elements()))
    return {
        "captions": total,
        "distinct": len(distinct),
        "words_per_caption": {
            "mean": float(numbers.mean()), "std": float(numbers.std()), "median": float(np.median(numbers)),
            "min": int(numbers[0]), "max": int(numbers[-1]),
        },
        "captions_by_words": {str(length): lengths[length] for length in sorted(lengths)},
        "vocabulary": len(words),
        "most_common": [[word, count] for word, count in words.most_common(20)],
    }  # fmt: skip
