"""A photograph as the model takes it: cut and resized as `prepare` does it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from celebgen_cli.data import crops
from celebgen_cli.data.alignment import align
from celebgen_cli.data.annotations.portraits import read_named_landmarks
from celebgen_cli.data.sources import BadImage, decode_rgb
from celebgen_cli.errors import CelebgenError, UsageError


@dataclass(frozen=True)
class Photo:
    """One photograph, cut.

    Attributes:
        pixels: uint8 [size, size, 3]. cut: how it was cut, "landmarks", "already" or the crop's name. sha256: of the
        file. points: the landmarks it was aligned by, [5][2] in pixels of the file's picture; None without.
    """

    pixels: np.ndarray
    cut: str
    sha256: str
    points: list[list[float]] | None = None


def read_photo(path: Path, crop: str, size: int, *, landmarks: Path | None = None, already: str | None = None) -> Photo:
    """Read a photograph for a model of `crop` and `size` pixels.

    An aligned 178x218 image is cut by the model's crop, any other to its central square; with `landmarks` (a file as
    `prepare --landmarks` takes it) the face is moved to where CelebA has it, then cut. `already`: the photograph is cut
    to that crop, which must be the model's, and only resized.

    Raises:
        UsageError: both ways at once, or another crop than the model's.
        CelebgenError: the photograph or its landmarks cannot be read or used; the sentence names the file.
    """
    if landmarks is not None and already is not None:
        raise UsageError("--already says that the photo is cut, so --landmarks has no use; leave one of them out")
    box = crop if crop in crops.CROPS else "face178"
    if already is not None and crops.check_crop(already) != box:
        raise UsageError(f"the model was trained on the crop {box}, not {already}; give the photo cut like that")
    if path.exists() and not path.is_file():
        raise CelebgenError(f"{path} is no file; give a JPEG, PNG, WebP or AVIF")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CelebgenError(f"{path} cannot be read ({error.strerror}); give a JPEG, PNG, WebP or AVIF") from error
    sha256 = hashlib.sha256(data).hexdigest()
    points = None if landmarks is None else _points_of(path, landmarks)
    try:
        image = decode_rgb(data)
        if points is not None:
            return Photo(align(image, points + 0.5, box, size)[0], "landmarks", sha256, points.tolist())
        if already is not None:
            return Photo(crops.resize_square(image, size), "already", sha256)
        name = box if image.size == crops.ALIGNED_SIZE else "square"
        return Photo(crops.crop_and_resize(image, name, size), name, sha256)
    except (BadImage, CelebgenError) as error:
        raise CelebgenError(f"{path} cannot be edited: {error}") from error


def _points_of(path: Path, landmarks: Path) -> np.ndarray:
    found = read_named_landmarks(landmarks).find(str(path), path)
    if found is None:
        raise CelebgenError(f"{landmarks} has no row for {path}; add one with its five points")
    return found
