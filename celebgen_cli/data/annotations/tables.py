"""The five tables of CelebA.

The official files are text: a count line and a header line (attributes, landmarks, boxes), then columns separated by a
varying number of spaces; partition and identity have neither count nor header. Kaggle's are CSV with a header. The
dialect is read off the content, not off the file ending, because renamed files are common. Any of them may be gzipped.
Columns are found by their names, and whole numbers may be written as 1.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from celebgen_cli.data.annotations.rows import Layout, read_rows
from celebgen_cli.data.attributes import ATTRIBUTES

POINTS = ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
"""The five landmarks in CelebA's order; left and right as the viewer sees them."""

BOX = ("x_1", "y_1", "width", "height")
"""The columns of a bounding box: its upper left corner and its size."""

COORDINATES = tuple(f"{point}_{axis}" for point in POINTS for axis in "xy")
FARTHEST = 100_000  # pixels; what is beyond is no coordinate of any image

_ATTRIBUTES = Layout(ATTRIBUTES, True, -1, 1, (-1, 1), "CelebA's 40 attribute names")
_PARTITION = Layout(("partition",), False, 0, 2, (), "image_id,partition")
_IDENTITY = Layout(("identity",), False, 0, 2**62, (), "image_id,identity")
_LANDMARKS = Layout(COORDINATES, False, -FARTHEST, FARTHEST, (), "the ten columns lefteye_x to rightmouth_y")
_BOXES = Layout(BOX, False, -FARTHEST, FARTHEST, (), f"the four columns {' '.join(BOX)}")


@dataclass(frozen=True)
class Attributes:
    """The attribute table: ids int64 [N] (image numbers, ascending), values int8 [N, 40], -1 absent or 1 present."""

    ids: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Numbers:
    """One whole number an image: ids int64 [N] (image numbers, ascending), values int64 [N]."""

    ids: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Landmarks:
    """Five points an image: ids int64 [N] (image numbers, ascending), values int32 [N, 5, 2].

    Points are in the order of `POINTS`, each x (to the right) and y (down) in pixels of the aligned 178x218 image.
    """

    ids: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Boxes:
    """The face's box: ids int64 [N] (image numbers, ascending), values int32 [N, 4]: x, y, width, height.

    In pixels of the photograph as it was before it was aligned and cropped.
    """

    ids: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


def read_attributes(path: Path) -> Attributes:
    """Read `list_attr_celeba` as official text or Kaggle CSV, plain or gzipped; columns in any order, by their names.

    Returns:
        ids int64 [N], ascending, and values int8 [N, 40] in -1/1, columns in the official order.

    Raises:
        CelebgenError: unreadable, unknown or missing columns, a row of another length, a value that is not -1 or 1,
            a name without a number, an image named twice, fewer or more rows than the count line says. The sentence
            names the file and the line.
    """
    ids, values = read_rows(path, _ATTRIBUTES)
    return Attributes(ids, np.ascontiguousarray(values, dtype=np.int8))


def read_partition(path: Path) -> Numbers:
    """Read `list_eval_partition`: values 0 train, 1 valid, 2 test.

    Raises:
        CelebgenError: as `read_attributes`, and where a value is not 0, 1 or 2.
    """
    ids, values = read_rows(path, _PARTITION)
    return Numbers(ids, values[:, 0].astype(np.int64))


def read_identity(path: Path) -> Numbers:
    """Read `identity_CelebA`: the number of the person in each image, at least 0.

    Raises:
        CelebgenError: as `read_attributes`, and where a value is not a whole number.
    """
    ids, values = read_rows(path, _IDENTITY)
    return Numbers(ids, values[:, 0].astype(np.int64))


def read_landmarks(path: Path) -> Landmarks:
    """Read `list_landmarks_align_celeba`, with its header (columns in any order) or without (the official order).

    Points outside of the image are read as they are; `cross_check` reports them.

    Raises:
        CelebgenError: as `read_attributes`, and where a value is not a whole number or is beyond `FARTHEST`.
    """
    ids, values = read_rows(path, _LANDMARKS)
    return Landmarks(ids, np.ascontiguousarray(values, dtype=np.int32).reshape(-1, len(POINTS), 2))


def read_boxes(path: Path) -> Boxes:
    """Read `list_bbox_celeba`, with its header (columns in any order) or without (the official order).

    Empty boxes are read as they are, for the official file has some; `cross_check` reports them.

    Raises:
        CelebgenError: as `read_landmarks`.
    """
    ids, values = read_rows(path, _BOXES)
    return Boxes(ids, np.ascontiguousarray(values, dtype=np.int32))


def look_up(table: Numbers, ids: np.ndarray, missing: int = -1) -> np.ndarray:
    """The value of each of `ids` int64 [M] in the table, `missing` where it has none; int64 [M]."""
    if len(table) == 0:
        return np.full(len(ids), missing, dtype=np.int64)
    place = np.minimum(np.searchsorted(table.ids, ids), len(table) - 1)
    return np.where(table.ids[place] == ids, table.values[place], missing)
