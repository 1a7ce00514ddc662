"""Pictures that are there twice: byte-identical pixels, and near-identical ones, mirrored ones too.

A perceptual hash that is compared bit by bit misses pairs whose bits lie near their thresholds. Here it stays what it
was before it is rounded, the lowest cosine waves, so that distances keep their meaning: two descriptors are never
farther apart than the gray images, no pair within `RADIUS` is missed, and pixels then decide.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

from celebgen_cli.exploration.faces import mirror_signs

RADIUS = 4.0
"""Largest distance of descriptors, in levels. Encoding again moves low waves by about 0.1, other tones by 1 to 4."""

DISTANCE = 16.0
"""Largest root mean square difference of the pixels, in levels, once each channel's mean is subtracted. Encoding again
makes about 3; the same photograph cut a little differently or with other tones 4 to 15."""

CONTRAST = 1 / 3
"""That difference is at most so much of the fainter image's standard deviation: two gray walls are no duplicates."""

MAX_CANDIDATES = 50_000
_LEAF = 1024


@dataclass(frozen=True)
class Pair:
    """Two rows, a < b, that show nearly the same.

    Attributes:
        distance: root mean square difference of the pixels in levels, without each channel's mean.
        mirrored: whether b is compared mirrored.
    """

    a: int
    b: int
    distance: float
    mirrored: bool


@dataclass(frozen=True)
class Duplicates:
    """Groups of rows with identical pixels, each ascending, and pairs of near-identical pictures, the nearest first, in
    which a group is represented by its first row (`count_pairs` counts its other rows, too). `complete` is False where
    there were too many candidates."""

    identical: list[list[int]]
    near: list[Pair]
    complete: bool


def find_duplicates(
    digests: Sequence[bytes],
    descriptors: np.ndarray,
    load: Callable[[np.ndarray], np.ndarray],
    progress: Callable[[int, int], None] | None = None,
) -> Duplicates:
    """Search all pairs of N images, within and across splits.

    Args:
        digests: of each image's pixels.
        descriptors: float32 [N, 63] of `describe_images`.
        load: gives the images uint8 [M, size, size, 3] of some rows.
        progress: receives the number of pairs looked at and that of all candidates.
    """
    groups: dict[bytes, list[int]] = defaultdict(list)
    for row, digest in enumerate(digests):
        groups[digest].append(row)
    first = np.array([rows[0] for rows in groups.values()])
    candidates, complete = _candidates(descriptors[first], RADIUS)
    best: dict[tuple[int, int], Pair] = {}
    for done, (i, j, mirrored) in enumerate(candidates, 1):
        a, b = int(first[i]), int(first[j])
        distance = _distance(load(np.array([a, b])), mirrored)
        if distance is not None and ((a, b) not in best or distance < best[a, b].distance):
            best[a, b] = Pair(a, b, distance, mirrored)
        if progress and (done % 64 == 0 or done == len(candidates)):
            progress(done, len(candidates))
    near = sorted(best.values(), key=lambda pair: (pair.distance, pair.a, pair.b))
    return Duplicates([rows for rows in groups.values() if len(rows) > 1], near, complete)


def count_pairs(found: Duplicates, part_of: np.ndarray) -> dict[tuple[int, int], dict[str, int]]:
    """Pairs by the parts of their two rows (i <= j): how many are identical, near-identical, mirrored.

    Every row of a group counts, so that a near pair of two groups is as many pairs as their rows make.
    """
    counts: dict[tuple[int, int], dict[str, int]] = defaultdict(lambda: {"identical": 0, "near": 0, "mirrored": 0})
    groups: dict[int, Counter[int]] = {}  # by the first row: how many rows in each part
    for rows in found.identical:
        groups[rows[0]] = Counter(part_of[rows].tolist())
        members = sorted(groups[rows[0]].items())
        for i, count in members:
            counts[i, i]["identical"] += count * (count - 1) // 2
        for (i, one), (j, other) in combinations(members, 2):
            counts[i, j]["identical"] += one * other
    for pair in found.near:
        kind = "mirrored" if pair.mirrored else "near"
        a, b = (groups.get(row) or Counter([int(part_of[row])]) for row in (pair.a, pair.b))
        for (i, one), (j, other) in product(a.items(), b.items()):
            counts[min(i, j), max(i, j)][kind] += one * other
    return {key: value for key, value in sorted(counts.items()) if any(value.values())}


def _distance(images: np.ndarray, mirrored: bool) -> float | None:
    """Root mean square difference of two images uint8 [2, H, W, 3], or None where they are not near-identical."""
    a, b = images
    b = b[:, ::-1] if mirrored else b
    step = max(1, len(a) // 16)
    if _compare(a[::step, ::step], b[::step, ::step])[0] > 2 * DISTANCE:  # these few pixels settle most pairs
        return None
    distance, contrast = _compare(a, b)
    return distance if distance <= DISTANCE and distance <= CONTRAST * contrast else None


def _compare(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Root mean square difference without each channel's mean, and the smaller standard deviation, in levels."""
    x, y = (image.reshape(-1, 3).astype(np.float32) for image in (a, b))
    x, y = x - x.mean(0), y - y.mean(0)
    spread = min(float(np.mean(x**2)), float(np.mean(y**2)))
    return math.sqrt(float(np.mean((x - y) ** 2))), math.sqrt(spread)


def _candidates(descriptors: np.ndarray, radius: float) -> tuple[list[tuple[int, int, bool]], bool]:
    """Pairs (i < j, mirrored) whose descriptors are within the radius, ascending; and whether these are all."""
    count = len(descriptors)
    points = np.concatenate([descriptors, descriptors * mirror_signs()])
    found = np.empty(0, np.int64)
    for leaf in _leaves(points, radius):
        plain = leaf[leaf < count]
        for start in range(0, len(plain), _LEAF):
            a = plain[start : start + _LEAF]
            x, y = points[a], points[leaf]
            squared = (x**2).sum(1)[:, None] + (y**2).sum(1)[None] - 2 * (x @ y.T)
            i, j = np.nonzero(squared <= 1.01 * radius**2)  # float32 is off by less than that
            one, other = a[i], leaf[j]
            keep = one < other % count  # each pair once: mirroring both changes nothing
            found = np.union1d(found, one[keep] * (2 * count) + other[keep])
            if len(found) > MAX_CANDIDATES:
                return _unpack(found[:MAX_CANDIDATES], count), False
    return _unpack(found, count), True


def _unpack(keys: np.ndarray, count: int) -> list[tuple[int, int, bool]]:
    one, other = keys // (2 * count), keys % (2 * count)
    return list(zip(one.tolist(), (other % count).tolist(), (other >= count).tolist(), strict=True))


def _leaves(points: np.ndarray, radius: float) -> Iterator[np.ndarray]:
    """Sets of indices such that every two points within the radius are together in one of them.

    A set is halved at the median of its widest direction, and both halves reach radius / 2 over it: of two points
    that are no farther apart than the radius, either none lies beyond the left half or none beyond the right.
    """
    stack = [np.arange(len(points))]
    while stack:
        index = stack.pop()
        if len(index) > _LEAF:
            inside = points[index]
            values = inside[:, int(np.argmax(inside.var(0)))]
            middle = float(np.median(values))
            halves = index[values <= middle + radius / 2], index[values >= middle - radius / 2]
            if max(map(len, halves)) <= 0.9 * len(index):
                stack.extend(halves)
                continue
        yield index
