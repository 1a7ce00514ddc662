"""CelebA's annotation files, in both dialects that are found in the wild, read strictly.

The official files are text: a count line and a header line (attributes, landmarks, boxes), then columns separated by a
varying number of spaces; partition and identity have neither count nor header. Kaggle's are CSV with a header. The
dialect is read off the content, not off the file ending, because renamed files are common. Any of them may be gzipped.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NoReturn

import numpy as np

from celebgen_cli.data.attributes import ATTRIBUTES
from celebgen_cli.errors import CelebgenError

PARTITIONS = ("train", "valid", "test")
"""Names of the partitions 0, 1 and 2."""

NAMES: dict[str, tuple[str, ...]] = {
    "attributes": ("list_attr_celeba",),
    "partition": ("list_eval_partition",),
    "identity": ("identity_CelebA", "identity_celeba"),
    "landmarks": ("list_landmarks_align_celeba",),
    "boxes": ("list_bbox_celeba",),
}
"""Usual file names, without their endings, of each kind of annotation."""

ENDINGS = (".txt", ".csv", ".txt.gz", ".csv.gz")
MAX_BYTES = 512 * 2**20  # the largest official file has 26 MB; a gzip bomb stops here
_VALUES = {"1": 1, "-1": -1}


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
class AnnotationFiles:
    """Where each kind of annotation lies; None where the folder has no such file."""

    attributes: Path | None = None
    partition: Path | None = None
    identity: Path | None = None
    landmarks: Path | None = None
    boxes: Path | None = None


def image_number(name: str) -> int | None:
    """The number in an image's file name (`img_align_celeba/000042.jpg` is 42), whatever the folder and the ending.

    Returns None where the stem is anything but ASCII digits, or more digits than an int64 holds.
    """
    stem = PurePosixPath(name.replace("\\", "/")).name.partition(".")[0]
    return int(stem) if stem.isascii() and stem.isdigit() and len(stem) <= 18 else None


def find_annotations(folder: Path) -> AnnotationFiles:
    """Find annotation files by their usual names, in `folder` or in the subfolders that archives put them in.

    These are the official `Anno` and `Eval`, and folders named like a file, which unpackers make. No other is looked
    into: a neighbouring folder may hold somebody else's annotations.

    A plain file is taken before a gzipped one, and text before CSV.

    Raises:
        CelebgenError: the folder does not exist.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CelebgenError(f"the annotations folder {folder} does not exist; name the one with list_attr_celeba.txt")
    usual = ("anno", "eval", "list_", "identity_")
    nested = (entry for entry in folder.iterdir() if entry.name.lower().startswith(usual) and entry.is_dir())
    places = [folder, *sorted(nested)]

    def find(stems: Iterable[str]) -> Path | None:
        for place in places:
            for stem in stems:
                for ending in ENDINGS:
                    if (path := place / (stem + ending)).is_file():
                        return path
        return None

    return AnnotationFiles(**{kind: find(stems) for kind, stems in NAMES.items()})


def read_attributes(path: Path) -> Attributes:
    """Read `list_attr_celeba` as official text or Kaggle CSV, plain or gzipped; columns in any order, by their names.

    Returns:
        ids int64 [N], ascending, and values int8 [N, 40] in -1/1, columns in the official order.

    Raises:
        CelebgenError: unreadable, unknown or missing columns, a row of another length, a value that is not -1 or 1,
            a name without a number, an image named twice, fewer or more rows than the count line says. The sentence
            names the file and the line.
    """
    lines = _read_lines(path)
    start, count = _count_line(lines)
    if len(lines) <= start:
        raise CelebgenError(f"{path} has no header line with the names of the 40 attributes; get the file again")
    header = lines[start]
    comma = "," in header
    names = [name.strip() for name in (header.split(",") if comma else header.split())]
    if len(names) == len(ATTRIBUTES) + 1:  # CSV names the first column too (image_id)
        names = names[1:]
    if sorted(names) != sorted(ATTRIBUTES):
        unknown = sorted(set(names) - set(ATTRIBUTES)) or sorted(set(ATTRIBUTES) - set(names)) or names
        _fail(path, start + 1, f"the header is not CelebA's 40 attribute names (see {unknown[0]!r})")

    ids: list[int] = []
    table = bytearray()
    width = len(ATTRIBUTES)
    separator = "," if comma else None
    for number, line in enumerate(lines[start + 1 :], start + 2):
        fields = line.split(separator)
        if len(fields) != width + 1:
            if not line.strip():
                continue
            _fail(path, number, f"a row has {len(fields)} columns, not {width + 1}")
        ids.append(_row_id(path, number, fields[0]))
        try:
            table += bytes([_VALUES[field] + 1 for field in fields[1:]])
        except KeyError:
            try:  # CSV may pad its fields
                table += bytes([_VALUES[field.strip()] + 1 for field in fields[1:]])
            except KeyError as error:
                _fail(path, number, f"the value {error.args[0]!r} is neither -1 nor 1")
    _check_count(path, count, len(ids))
    values = np.frombuffer(bytes(table), dtype=np.uint8).reshape(-1, width).astype(np.int8) - np.int8(1)
    order = [names.index(name) for name in ATTRIBUTES]
    if order != list(range(width)):
        values = values[:, order]
    sorted_ids, rows = _sorted_ids(path, ids)
    return Attributes(sorted_ids, np.ascontiguousarray(values[rows]))


def read_partition(path: Path) -> Numbers:
    """Read `list_eval_partition`: values 0 train, 1 valid, 2 test.

    Raises:
        CelebgenError: as `read_attributes`, and where a value is not 0, 1 or 2.
    """
    return _read_numbers(path, lowest=0, highest=2)


def read_identity(path: Path) -> Numbers:
    """Read `identity_CelebA`: the number of the person in each image, at least 0.

    Raises:
        CelebgenError: as `read_attributes`, and where a value is not a whole number.
    """
    return _read_numbers(path, lowest=0, highest=2**62)


def look_up(table: Numbers, ids: np.ndarray, missing: int = -1) -> np.ndarray:
    """The value of each of `ids` int64 [M] in the table, `missing` where it has none; int64 [M]."""
    if len(table) == 0:
        return np.full(len(ids), missing, dtype=np.int64)
    place = np.minimum(np.searchsorted(table.ids, ids), len(table) - 1)
    return np.where(table.ids[place] == ids, table.values[place], missing)


def _read_numbers(path: Path, lowest: int, highest: int) -> Numbers:
    """Two columns, an image and a whole number, in either dialect, with or without a header."""
    lines = _read_lines(path)
    start, count = _count_line(lines)
    comma = "," in next(iter(lines), "")
    ids: list[int] = []
    values: list[int] = []
    for number, line in enumerate(lines[start:], start + 1):
        fields = line.split("," if comma else None)
        if len(fields) != 2:
            if not line.strip():
                continue
            _fail(path, number, f"a row has {len(fields)} columns, not 2")
        if number == start + 1 and image_number(fields[0].strip()) is None:
            continue  # the header of Kaggle's CSV
        ids.append(_row_id(path, number, fields[0]))
        try:
            value = int(fields[1])
        except ValueError:
            _fail(path, number, f"the value {fields[1].strip()!r} is not a whole number")
        if not lowest <= value <= highest:
            _fail(path, number, f"the value {value} is not between {lowest} and {highest}")
        values.append(value)
    _check_count(path, count, len(ids))
    sorted_ids, rows = _sorted_ids(path, ids)
    return Numbers(sorted_ids, np.array(values, dtype=np.int64)[rows])


def _read_lines(path: Path) -> list[str]:
    try:
        with Path(path).open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if packed:
                with gzip.open(file) as unpacked:
                    data = unpacked.read(MAX_BYTES + 1)
            else:
                data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise CelebgenError(f"the annotation file {path} does not exist") from error
    except (OSError, EOFError, zlib.error) as error:
        raise CelebgenError(f"the annotation file {path} cannot be read ({error}); get it again") from error
    if len(data) > MAX_BYTES:
        raise CelebgenError(f"{path} holds more than {MAX_BYTES >> 20} MiB, so it is not an annotation file of CelebA")
    if data[:512].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise CelebgenError(f"{path} is a web page, not an annotation file: the download failed; get it again")
    try:
        return data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise CelebgenError(f"{path} is not text (byte {error.start}), so it is not an annotation file") from error


def _count_line(lines: list[str]) -> tuple[int, int | None]:
    """How many lines come before header or rows, and the number of rows that the count line says, if there is one."""
    first = lines[0].strip() if lines else ""
    return (1, int(first)) if first.isascii() and first.isdigit() else (0, None)


def _check_count(path: Path, count: int | None, rows: int) -> None:
    if count is not None and count != rows:
        _fail(path, 1, f"the count says {count} rows and the file has {rows}; it is cut off or was edited")
    if rows == 0:
        raise CelebgenError(f"{path} has no rows; get the file again")


def _row_id(path: Path, line: int, name: str) -> int:
    number = image_number(name.strip())
    if number is None:
        _fail(path, line, f"the image name {name.strip()[:40]!r} is not a number with a file ending")
    return number


def _sorted_ids(path: Path, ids: list[int]) -> tuple[np.ndarray, np.ndarray]:
    array = np.array(ids, dtype=np.int64)
    rows = np.argsort(array, kind="stable")
    array = array[rows]
    repeated = np.flatnonzero(array[1:] == array[:-1])
    if len(repeated):
        raise CelebgenError(f"{path} names image {array[repeated[0]]:06d} twice; get the file again")
    return array, rows


def _fail(path: Path, line: int, what: str) -> NoReturn:
    raise CelebgenError(f"{path}, line {line}: {what}")
