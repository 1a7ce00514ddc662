"""One pass over every pixel: histograms, sums of faces, and what duplicates are searched with.

Every sum is exact. A chunk has at most 256 images, because 256 squares of 255 add up to less than 2^24, so a product of
float32 matrices holds them exactly in whatever order it adds; chunks are added up in float64, exact up to 2^53.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from celebgen_cli.data.attributes import ATTRIBUTES
from celebgen_cli.exploration.parts import Parts, read_rows

WAVES = 8
"""Cosine waves a direction in a descriptor; the level, wave (0, 0), is left out."""

_LUMA = (0.299, 0.587, 0.114)
_CHUNK_BYTES = 256 * 128 * 128 * 3


@dataclass(frozen=True)
class Faces:
    """What the pass over all rows found. N rows, P parts, G groups of rows.

    Groups are: all rows; for each attribute the rows that have it; then, for each attribute that is unknown in some
    rows, those rows.

    Attributes:
        histograms: int64 [P, 3, 256], how often each channel has each level.
        sums: float64 [G, size, size, 3], the sum of the group's images.
        squares: float64 [G, size, size, 3], the sum of their squares.
        counts: int64 [G], rows in each group.
        unknown: for an attribute's index, the group of the rows that do not know it.
        descriptors: float32 [N, 63], the orthonormal cosine transform of the gray image, eight waves a direction
            without the level, divided by the side: the Euclidean distance of two descriptors is at most the root mean
            square of the difference of the two gray images once each has its mean subtracted.
        digests: SHA-256 of each row's pixels.
    """

    histograms: np.ndarray
    sums: np.ndarray
    squares: np.ndarray
    counts: np.ndarray
    unknown: dict[int, int]
    descriptors: np.ndarray
    digests: list[bytes]

    def average(self) -> Average:
        """The mean face and the variance face of all rows."""
        return _average(self.sums[0], self.squares[0], int(self.counts[0]))

    def with_attribute(self, attribute: int) -> Average | None:
        """Those of the rows that have an attribute; None where none has."""
        group = 1 + attribute
        count = int(self.counts[group])
        return _average(self.sums[group], self.squares[group], count) if count else None

    def without_attribute(self, attribute: int) -> Average | None:
        """Those of the rows that are known not to have it; None where there are none."""
        minus = [1 + attribute] + ([self.unknown[attribute]] if attribute in self.unknown else [])
        sums = self.sums[0] - self.sums[minus].sum(0)
        squares = self.squares[0] - self.squares[minus].sum(0)
        count = int(self.counts[0] - self.counts[minus].sum())
        return _average(sums, squares, count) if count else None


@dataclass(frozen=True)
class Average:
    """mean and variance float64 [size, size, 3], in levels and levels squared, of `count` images (divided by count)."""

    mean: np.ndarray
    variance: np.ndarray
    count: int


def _average(sums: np.ndarray, squares: np.ndarray, count: int) -> Average:
    return Average(sums / count, (count * squares - sums**2) / count**2, count)


def measure_faces(parts: Parts, progress: Callable[[int, int], None] | None = None) -> Faces:
    """Read every image once. `progress` receives the number of images so far and in all."""
    total, side = len(parts), parts.size
    groups, unknown = _groups(parts.attributes)
    histograms = np.zeros((len(parts.parts), 3, 256), np.int64)
    sums = np.zeros((groups.shape[1], side * side * 3))
    squares = np.zeros_like(sums)
    descriptors = np.empty((total, WAVES * WAVES - 1), np.float32)
    digests: list[bytes] = []
    waves = cosine_waves(side)
    step = max(1, min(256, _CHUNK_BYTES // (side * side * 3)))
    for index, part in enumerate(parts.parts):
        for start in range(0, len(part), step):
            images = read_rows(part.split.images, start, min(start + step, len(part)))
            rows = slice(part.first + start, part.first + start + len(images))
            histograms[index] += level_counts(images)
            digests.extend(hashlib.sha256(image).digest() for image in images)
            values = images.reshape(len(images), -1).astype(np.float32)
            descriptors[rows] = describe_images(values.reshape(images.shape), waves)
            members = np.ascontiguousarray(groups[rows].T)
            sums += members @ values
            values *= values
            squares += members @ values
            if progress:
                progress(rows.stop, total)
    shape = (-1, side, side, 3)
    counts = groups.sum(0, dtype=np.float64).astype(np.int64)
    return Faces(histograms, sums.reshape(shape), squares.reshape(shape), counts, unknown, descriptors, digests)


def level_counts(images: np.ndarray) -> np.ndarray:
    """int64 [3, 256]: how often each channel of uint8 [N, H, W, 3] has each level."""
    from PIL import Image

    strip = Image.fromarray(images.reshape(-1, images.shape[2], 3))  # five times as fast as numpy.bincount
    return np.array(strip.histogram(), np.int64).reshape(3, 256)


def cosine_waves(size: int) -> np.ndarray:
    """The first waves of the orthonormal DCT-II, float32 [8, size]."""
    k, x = np.arange(WAVES)[:, None], np.arange(size)[None]
    waves = np.cos(np.pi * (2 * x + 1) * k / (2 * size)) * np.sqrt(2 / size)
    waves[0] /= np.sqrt(2)
    return waves.astype(np.float32)


def describe_images(images: np.ndarray, waves: np.ndarray) -> np.ndarray:
    """Descriptors float32 [N, 63] of float32 [N, size, size, 3], row by row of the waves from top to bottom."""
    count, size = images.shape[:2]
    gray = images.reshape(-1, 3) @ np.array(_LUMA, np.float32)
    across = (gray.reshape(-1, size) @ waves.T).reshape(count, size, WAVES)
    return np.matmul(waves, across).reshape(count, -1)[:, 1:] / np.float32(size)


def mirror_signs() -> np.ndarray:
    """float32 [63]: a descriptor times these is that of the mirrored image, for odd waves from left to right turn."""
    signs = np.tile((-1.0) ** np.arange(WAVES), WAVES)[1:]
    return signs.astype(np.float32)


def _groups(attributes: np.ndarray) -> tuple[np.ndarray, dict[int, int]]:
    """Membership float32 [N, G], and the group of rows that do not know an attribute."""
    present, missing = attributes == 1, attributes == 0
    columns = [np.ones((len(attributes), 1), bool), present]
    partly = np.flatnonzero(missing.any(0))
    columns.append(missing[:, partly])
    unknown = {int(attribute): 1 + len(ATTRIBUTES) + i for i, attribute in enumerate(partly)}
    return np.concatenate(columns, axis=1).astype(np.float32), unknown
