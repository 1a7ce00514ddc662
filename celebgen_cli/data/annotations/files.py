"""Annotation files on disk: their usual names, where they lie, and their bytes, whatever wraps them."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

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
    stem = name.replace("\\", "/").rpartition("/")[2].partition(".")[0]
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


def read_bytes(path: Path) -> bytes:
    """The content of an annotation file, unpacked if it is gzipped, without a byte order mark.

    Raises:
        CelebgenError: it is missing, cannot be read, is far too large, is a web page or is not UTF-8 text.
    """
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
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CelebgenError(f"{path} is not text (byte {error.start}), so it is not an annotation file") from error
    return data.removeprefix(b"\xef\xbb\xbf")


def fail(path: Path, line: int, what: str) -> NoReturn:
    """Raise the sentence that names the file and its line (from 1)."""
    raise CelebgenError(f"{path}, line {line}: {what}")
