"""What people say of their own pictures: captions (and landmarks) from metadata files, or a text beside each picture.

metadata.jsonl    one object a line: {"file_name": "anna.jpg", "text": "a smiling woman"}; text may be a list
metadata.csv      columns file_name and text; several rows of one file are several captions
anna.txt          beside anna.jpg: one caption a line

The first two are the layout of Hugging Face's image folders. `file_name` is relative to the metadata file's own folder.
Landmarks are optional: `landmarks` in JSON, [[x, y], ...] of the five points, or CelebA's ten columns in CSV.
"""

from __future__ import annotations

import csv
import io
import json
import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, NoReturn

import numpy as np

from celebgen_cli.data.annotations import POINTS
from celebgen_cli.errors import CelebgenError

FILES = ("metadata.jsonl", "metadata.csv")
MAX_BYTES = 256 * 2**20  # of a file; five captions for each of CelebA's images are 80 MB
MAX_CAPTION = 10_000  # characters; a text encoder reads the first few dozen words
TEXT_COLUMNS = ("text", "caption")
_COORDINATES = tuple(f"{point}_{axis}" for point in POINTS for axis in "xy")


@dataclass
class Metadata:
    """What was found for a source's images, by their names in the source.

    Attributes:
        captions: the captions of each image that has any.
        landmarks: float64 [5, 2] of each image that has them, in pixels of the upright image.
        files: the metadata files and texts that were read.
        unmatched: names in metadata files that no image of the source has.
    """

    captions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    landmarks: dict[str, np.ndarray] = field(default_factory=dict)
    files: int = 0
    unmatched: int = 0


def read_metadata(source: str, names: list[str], images: list[str], read: Callable[[str], bytes]) -> Metadata:
    """Read all metadata files of a source, and the texts beside its images.

    Args:
        source: what errors call the source.
        names: all files of the source, with forward slashes.
        images: those of them that are images.
        read: the content of a file by its name.

    Raises:
        CelebgenError: a file that is not what its name says; the sentence names the file and the line.
    """
    found, known = Metadata(), {_plain(name): name for name in images}
    texts = {posixpath.splitext(name)[0]: name for name in names if name.lower().endswith(".txt")}
    captions: dict[str, list[str]] = {}
    for name in names:
        path = PurePosixPath(_plain(name))
        if path.name.lower() not in FILES:
            continue
        called = f"{source}/{name}"
        rows = (_json_rows if path.suffix.lower() == ".jsonl" else _csv_rows)(called, _decoded(called, read(name)))
        found.files += 1
        for line, file_name, said, points in rows:
            image = known.get(_plain(posixpath.join(str(path.parent), file_name.replace("\\", "/"))))
            if image is None:  # so a name with `..` in it leads nowhere
                found.unmatched += 1
                continue
            captions.setdefault(image, []).extend(_cleaned(called, line, said))
            if points is not None:
                found.landmarks[image] = points
    for image in images if texts else []:
        beside = texts.get(posixpath.splitext(image)[0])
        if beside is not None:
            called = f"{source}/{beside}"
            lines = _decoded(called, read(beside)).splitlines()
            captions.setdefault(image, []).extend(_cleaned(called, 1, lines))
            found.files += 1
    found.captions = {image: tuple(dict.fromkeys(said)) for image, said in captions.items() if said}
    return found


def _plain(name: str) -> str:
    """A name as it is elsewhere written: some archives have backslashes in it, or begin with `./`."""
    return posixpath.normpath(name.replace("\\", "/"))


_Row = tuple[int, str, list[str], np.ndarray | None]


def _json_rows(called: str, text: str) -> Iterator[_Row]:
    for number, line in enumerate(text.split("\n"), 1):  # JSON may hold other ends of lines, such as U+2028
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            _fail(called, number, f"this is not JSON ({error})")
        if not isinstance(value, dict) or not isinstance(value.get("file_name"), str):
            _fail(called, number, 'a line must be an object with "file_name" and "text"')
        said: Any = next((value[key] for key in TEXT_COLUMNS if value.get(key) is not None), [])
        said = [said] if isinstance(said, str) else said
        if not isinstance(said, list) or not all(isinstance(caption, str) for caption in said):
            _fail(called, number, '"text" must be a caption or a list of captions')
        points = None if value.get("landmarks") is None else _points(called, number, value["landmarks"])
        yield number, value["file_name"], said, points


def _csv_rows(called: str, text: str) -> Iterator[_Row]:
    first = text.partition("\n")[0]
    for delimiter, plural in ((";", "semicolons"), ("\t", "tabs")):
        if delimiter in first and "," not in first:
            _fail(called, 1, f"the columns are separated by {plural}; separate them by commas")
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in reader.fieldnames or []]
        reader.fieldnames = header
        if "file_name" not in header:
            _fail(called, 1, _without(header, "file_name"))
        column = next((name for name in TEXT_COLUMNS if name in header), None)
        located = set(_COORDINATES) <= set(header)
        if column is None and not located:
            _fail(called, 1, _without(header, *TEXT_COLUMNS))
        for row in reader:
            if None in row or None in row.values():
                _fail(called, reader.line_num, f"a row has other columns than the header's {len(header)}")
            said = row[column] if column else ""
            ten = [row[name].strip() for name in _COORDINATES] if located else []
            points = _points(called, reader.line_num, ten) if any(ten) else None  # all empty: it has none
            yield reader.line_num, row["file_name"].strip(), [said] if said.strip() else [], points
    except csv.Error as error:
        _fail(called, reader.line_num, f"this cannot be read as CSV ({error})")


def _without(header: list[str], *columns: str) -> str:
    """That a CSV has no such column, or has it in other letters."""
    other = next((name for name in header if name.lower() in columns), None)
    return f"there is no column {columns[0]}" + (f"; write {other} in lower case" if other else "")


def _points(called: str, line: int, value: Any) -> np.ndarray:
    """The five points, from [[x, y], ...] or ten numbers."""
    try:
        points = np.asarray(value, dtype=np.float64).reshape(len(POINTS), 2)
    except (TypeError, ValueError, OverflowError):
        _fail(called, line, "landmarks must be five points, ten numbers in all")
    if not np.isfinite(points).all():
        _fail(called, line, "a landmark is not a finite number")
    return points


def _cleaned(called: str, line: int, said: list[str]) -> list[str]:
    captions = [" ".join(caption.split()) for caption in said]
    if any(len(caption) > MAX_CAPTION for caption in captions):
        _fail(called, line, f"a caption has more than {MAX_CAPTION:,} characters; is this file what its name says?")
    if any("\0" in caption for caption in captions):  # JSON can write one as \\u0000
        _fail(called, line, "there is a NUL character in a caption")
    return [caption for caption in captions if caption]


def _decoded(called: str, data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CelebgenError(f"{called} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    if "\0" in text:
        _fail(called, text.count("\n", 0, text.index("\0")) + 1, "there is a NUL character; is this file text?")
    return text


def _fail(called: str, line: int, what: str) -> NoReturn:
    raise CelebgenError(f"{called}, line {line}: {what}")
