"""Landmarks of people's own portraits: CelebA's layout, but images are named as people name theirs."""

from __future__ import annotations

import csv
import io
import math
from itertools import takewhile
from pathlib import Path, PurePosixPath

import numpy as np

from celebgen_cli.data.annotations.files import fail, read_bytes
from celebgen_cli.data.annotations.rows import column_order, split_fields
from celebgen_cli.data.annotations.tables import COORDINATES, FARTHEST, POINTS
from celebgen_cli.errors import CelebgenError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".avif", ".bmp", ".gif", ".tif", ".tiff")
"""Endings that are taken off a name to get its stem; `anna.2` keeps its own."""


def image_stem(name: str) -> str:
    """The name of an image file without its folder and without the ending of an image format."""
    last = PurePosixPath(name.replace("\\", "/")).name
    stem, dot, suffix = last.rpartition(".")
    return stem if stem and f"{dot}{suffix}".lower() in SUFFIXES else last


Parts = tuple[str, ...]
"""The folders and the stem of an image's name."""


def image_parts(name: str) -> Parts:
    """The folders in a name and the image's stem (see `image_stem`); empty where there is no name."""
    stem = image_stem(name)
    return (*PurePosixPath(name.replace("\\", "/")).parts[:-1], stem) if stem else ()


class NamedLandmarks:
    """Landmarks of images by their paths; a row may have more or fewer folders than are known of the image.

    Attributes:
        path: the file that they are from.
        points: float64 [5, 2] of each row, x and y of the points in the order of
            `celebgen_cli.data.annotations.POINTS`, in pixels of the image as it is.
        unused: rows that were found for no image so far.
    """

    def __init__(self, path: Path, points: dict[Parts, np.ndarray]) -> None:
        self.path = path
        self.points = points
        self.unused = set(points)
        self._ending: dict[Parts, list[Parts]] = {}
        for row in points:
            for start in range(len(row)):
                self._ending.setdefault(row[start:], []).append(row)

    def find(self, name: str, place: Path) -> np.ndarray | None:
        """The points of an image: `name` is the end of the row's path or the other way round.

        A row with folders is of an image in a folder of that name, so all of them may have moved. Of several such rows
        it is the one that has most in common with the end of the image's whole path.

        Args:
            name: the image as it is called, with the folders that a row with folders must agree with.
            place: where the image is.

        Raises:
            CelebgenError: two rows fit equally well.
        """
        called, whole = image_parts(name), image_parts(place.absolute().as_posix())
        whole = tuple(part[:-4] if part.lower().endswith(".zip") else part for part in whole)
        shorter = [called[start:] for start in range(1, len(called)) if called[start:] in self.points]
        longer = [row for row in self._ending.get(called, []) if _common(row, whole) >= min(2, len(row))]
        ranks = {row: (_common(row, whole), row == called) for row in shorter + longer}
        if not ranks:
            return None
        most = max(ranks.values())
        best = [row for row, rank in ranks.items() if rank == most]
        self.unused.difference_update(best)
        if len(best) > 1:
            rows = " and ".join(repr("/".join(row)[:80]) for row in best[:2])
            raise CelebgenError(f"the rows {rows} of {self.path} fit {name} equally well; leave one of them out")
        return self.points[best[0]]


def _common(one: Parts, other: Parts) -> int:
    """How many parts two paths have in common, from their ends."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(reversed(one), reversed(other), strict=False)))


def read_named_landmarks(path: Path) -> NamedLandmarks:
    """Read landmarks in the layout of `list_landmarks_align_celeba` for images with any names.

    Text or CSV, with a header (columns in any order) or without, with a count line or without, plain or gzipped.
    Names may have an ending and a folder or not, and spaces in either dialect. Values may have fractions.

    Raises:
        CelebgenError: unreadable, a row of another length, a value that is no number, a path that is there twice, other
            columns than expected, fewer or more rows than the count line says. The sentence names file and line.
    """
    lines = read_bytes(path).decode("utf-8").splitlines()
    rows = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    count = None
    if rows and rows[0][1].strip().isascii() and rows[0][1].strip().isdigit():
        count = int(rows.pop(0)[1])
    order = list(range(len(COORDINATES)))
    comma = bool(rows) and "," in rows[0][1]
    if rows and (found := _header(path, rows[0], comma)) is not None:
        order = found
        rows.pop(0)
    points: dict[Parts, np.ndarray] = {}
    for number, line in rows:
        name, values = _row(path, number, line, comma)
        parts = image_parts(name)
        if not parts:
            fail(path, number, "a row has no image name")
        if parts in points:
            called = "/".join(parts)[:80]
            fail(path, number, f"the image {called!r} has a row already; images with landmarks need paths of their own")
        points[parts] = np.array(values, dtype=np.float64)[order].reshape(len(POINTS), 2)
    if count is not None and count != len(points):
        fail(path, 1, f"the count says {count} rows and the file has {len(points)}; it is cut off or was edited")
    if not points:
        raise CelebgenError(f"{path} has no rows; a row is an image's name and ten numbers")
    return NamedLandmarks(path, points)


def _header(path: Path, row: tuple[int, str], comma: bool) -> list[int] | None:
    """Where each coordinate is among the columns, or None where the row is no header."""
    number, line = row
    names = [name.lower() for name in split_fields(line, comma)]
    order = column_order(names, COORDINATES)
    if order is None and set(names) & set(COORDINATES):
        missing = sorted(set(COORDINATES) - set(names)) or sorted(set(names) - set(COORDINATES))
        fail(path, number, f"the header is not the ten columns lefteye_x to rightmouth_y (see {missing[0]!r})")
    return order


def _row(path: Path, number: int, line: str, comma: bool) -> tuple[str, list[float]]:
    width = len(COORDINATES)
    try:
        fields = next(csv.reader(io.StringIO(line), strict=True)) if comma else line.strip().rsplit(None, width)
    except csv.Error as error:
        fail(path, number, f"the row cannot be read as CSV ({error})")
    if len(fields) != width + 1:
        fail(path, number, f"a row has {len(fields)} columns, not {width + 1}")
    values = []
    for field in fields[1:]:
        try:
            value = float(field)
        except ValueError:
            value = math.nan
        if not abs(value) <= FARTHEST:  # also refuses NaN
            fail(path, number, f"the value {field.strip()[:40]!r} is not a number of pixels")
        values.append(value)
    return fields[0].strip(), values
