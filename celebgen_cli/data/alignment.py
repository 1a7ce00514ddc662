"""Portraits into CelebA's frame: a similarity transform takes five landmarks to where CelebA's mean face has them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from celebgen_cli.data.crops import CROPS, FULL, resize
from celebgen_cli.errors import CelebgenError

if TYPE_CHECKING:
    from PIL import Image

MEAN_FACE = np.array([[69, 111], [108, 111], [88, 136], [72, 152], [105, 152]], dtype=np.float64) + 0.5
"""Mean of CelebA's aligned landmarks, rounded: x and y of left eye, right eye, nose and the corners of the mouth.

In the continuous coordinates of the 178x218 image, where the first pixel's centre is at 0.5.
"""

MIRRORED = [1, 0, 2, 4, 3]
"""The order of the points in which left and right are exchanged."""

MAX_SCALE = 16.0  # a face enlarged more than this has no detail at all


def similarity(points: np.ndarray, target: np.ndarray = MEAN_FACE) -> np.ndarray:
    """The rotation, scale and shift that take `points` to `target` with the least squared distance.

    In complex numbers w = a z + b this is a linear regression; Umeyama 1991 is the general case, without reflections
    here.

    Args:
        points, target: float [5, 2], x and y.

    Returns:
        float64 [2, 3]: target ~ points @ M[:, :2].T + M[:, 2].

    Raises:
        CelebgenError: the points are all in one place, the face would be enlarged more than `MAX_SCALE` times, or the
            points fit much better with left and right exchanged: as the person sees them, not the viewer.
    """
    z, w = (p[:, 0] + 1j * p[:, 1] for p in (np.asarray(points, dtype=np.float64), target))
    centered = z - z.mean()
    with np.errstate(over="ignore"):
        spread = float((np.abs(centered) ** 2).sum())
    if not spread < math.inf:
        raise CelebgenError("the landmarks are infinitely far apart")
    if spread == 0:
        raise CelebgenError("the landmarks are all in one place")
    a, distance = _fit(centered, w - w.mean())
    if _fit(centered, (w - w.mean())[MIRRORED])[1] < distance / 2:  # of a full profile both fit about as well
        raise CelebgenError("left and right of the landmarks seem to be exchanged; left is the viewer's left")
    b = w.mean() - a * z.mean()
    if not 0 < abs(a) <= MAX_SCALE:
        raise CelebgenError(f"the face is too small to be aligned: it would be enlarged {abs(a):.0f} times")
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def _fit(z: np.ndarray, w: np.ndarray) -> tuple[complex, float]:
    """The a of w ~ a z, for points around their means, and the squared distance that is left."""
    a = complex((np.conj(z) * w).sum() / (np.abs(z) ** 2).sum())
    return a, float((np.abs(w - a * z) ** 2).sum())


def align(image: Image.Image, points: np.ndarray, crop: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Align a portrait and cut the named crop, in one warp at the final size.

    Where the crop reaches beyond the picture, its border pixels are repeated.

    Args:
        image: RGB, upright.
        points: float [5, 2], landmarks in continuous coordinates of `image` (first pixel's centre at 0.5).
        crop: a name in `CROPS`.
        size: pixels of the result's side.

    Returns:
        uint8 [size, size, 3], and the landmarks in it, float64 [5, 2].

    Raises:
        CelebgenError: see `similarity`; or the crop would lie wholly outside of the picture.
    """
    from PIL import Image as PIL

    left, top, right, bottom = CROPS[crop] or FULL
    matrix = similarity(points)
    matrix[:, 2] -= left, top
    scale = size / (right - left)
    matrix *= scale
    canvas = (size, max(1, round((bottom - top) * scale)))
    shrink = math.hypot(matrix[0, 0], matrix[1, 0])
    if shrink < 1:  # a warp does not average, so shrink with a proper filter first
        smaller = (max(1, round(image.width * shrink)), max(1, round(image.height * shrink)))
        ratio = np.array(smaller) / image.size
        image = image.resize(smaller, PIL.Resampling.LANCZOS)
        matrix[:, :2] = matrix[:, :2] / ratio
    inverse = np.linalg.inv(matrix[:, :2])
    corners = np.array([[0, 0], [canvas[0], 0], [0, canvas[1]], canvas], dtype=np.float64)
    source = (corners - matrix[:, 2]) @ inverse.T
    if (source.max(0) < 0).any() or (source.min(0) > image.size).any():
        raise CelebgenError("the landmarks lie outside of the picture")
    low, high = np.floor(source.min(0)).astype(int) - 3, np.ceil(source.max(0)).astype(int) + 3
    first = np.clip(low, 0, np.array(image.size) - 1)  # only what the crop sees of a large picture
    last = np.clip(high, first + 1, image.size)
    pixels = np.asarray(image.crop((*first.tolist(), *last.tolist())))
    (before_x, before_y), (after_x, after_y) = np.maximum(first - low, 0), np.maximum(high - last, 0)
    edge = PIL.fromarray(np.pad(pixels, ((before_y, after_y), (before_x, after_x), (0, 0)), mode="edge"))
    shift = -inverse @ matrix[:, 2] - first + (before_x, before_y)
    coefficients = (*inverse[0], shift[0], *inverse[1], shift[1])
    warped = edge.transform(canvas, PIL.Transform.AFFINE, coefficients, PIL.Resampling.BICUBIC)
    return resize(warped, size), transform_points(points, crop, size)


def transform_points(points: np.ndarray, crop: str, size: int, aligned: bool = False) -> np.ndarray:
    """Landmarks of a portrait after `align`, or (`aligned`) of a 178x218 image after its crop and resize.

    Args:
        points: float [..., 5, 2] in continuous coordinates.

    Returns:
        float64 of the same shape, in pixels of the prepared image, which spans 0 to `size`.
    """
    points = np.asarray(points, dtype=np.float64)
    if not aligned:
        matrix = similarity(points)
        points = points @ matrix[:, :2].T + matrix[:, 2]
    left, top, right, bottom = CROPS[crop] or FULL
    return (points - (left, top)) * (size / (right - left), size / (bottom - top))
