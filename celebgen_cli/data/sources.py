"""Where images come from: folders at any depth and zip archives, which are read without unpacking."""

from __future__ import annotations

import io
import lzma
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from celebgen_cli.errors import CelebgenError, UsageError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".avif"})
"""File endings, lower case, that are taken for images."""

UNREAD_SUFFIXES = frozenset({".bmp", ".gif", ".heic", ".heif", ".jp2", ".jxl", ".tif", ".tiff"})
"""Endings of pictures that are not read, which somebody may miss."""

RECODED_SUFFIXES = frozenset({".webp", ".avif"})
"""Endings that CelebA itself never has: such a source was encoded again, with loss, by somebody."""

MAX_BYTES = 64 * 2**20
"""The largest image file that is read; an aligned CelebA image has about 8 KB."""

MAX_PIXELS = 50_000_000
"""The largest image, width times height, that is decoded."""

DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError, ValueError)
"""What `zipfile` raises of archives that are damaged, or of a kind that it does not know."""

_ROTATED = frozenset({"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"})
# where an orientation can be; asking for it takes longer than decoding a small face without any


class BadImage(Exception):
    """One image cannot be used; the message is the reason, for the list of rejected files."""


def list_files(source: Path, archive: zipfile.ZipFile | None = None) -> list[str]:
    """Names of all files in a folder (any depth) or in a zip, with forward slashes, sorted.

    Hidden files and the shadow files that macOS adds to archives (`__MACOSX`, `._name`) are left out. `archive` is the
    source itself where it is open already.

    Raises:
        UsageError: the source does not exist, or is neither a folder nor a zip archive.
        CelebgenError: the archive is damaged.
    """
    source = Path(source)
    if source.is_dir():
        return sorted(_walk(source))
    if source.is_file():
        with nullcontext(archive) if archive is not None else open_archive(source) as opened:
            names = sorted({info.filename for info in opened.infolist() if not info.is_dir()})
        return [name for name in names if not _hidden(name)]
    raise UsageError(f"the source {source} does not exist; name a folder of images or a zip archive")


def only_images(names: list[str], source: Path) -> list[str]:
    """Those of a source's files that are images, by their endings.

    Raises:
        CelebgenError: none is.
    """
    images = [name for name in names if os.path.splitext(name)[1].lower() in SUFFIXES]
    if not images:
        raise CelebgenError(f"{source} has no image in it ({', '.join(sorted(SUFFIXES))}); name another source")
    return images


def only_unread(names: list[str]) -> list[str]:
    """Those of a source's files that are pictures of a format that is not read, by their endings."""
    return [name for name in names if os.path.splitext(name)[1].lower() in UNREAD_SUFFIXES]


def list_images(source: Path) -> list[str]:
    """Names of the images in a folder or zip: `list_files` and `only_images` together."""
    return only_images(list_files(source), source)


def open_archive(source: Path, called: str | None = None) -> zipfile.ZipFile:
    """Open a zip archive, with an error that tells a web page, another format and a cut archive apart.

    Args:
        source: the file.
        called: what errors call it, its path if None.

    Raises:
        UsageError: the file is not a zip archive at all.
        CelebgenError: it begins like one and is cut off or damaged, or it is a web page saved under this name.
    """
    called = called or str(source)
    try:
        return zipfile.ZipFile(source)
    except DAMAGED as error:
        with Path(source).open("rb") as file:
            head = file.read(512)
        if head.startswith(b"PK"):
            raise CelebgenError(f"the archive {called} is cut off or damaged ({error}); get it again") from error
        if looks_like_html(head):
            raise CelebgenError(f"{called} is a web page, not an archive: the download failed; get it again") from error
        raise UsageError(f"{called} is neither a folder nor a zip archive") from error
    except OSError as error:
        raise CelebgenError(f"the archive {called} cannot be read: {error.strerror or error}") from error


def looks_like_html(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a web page (a quota notice, a login form)."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return text.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml version")) or b"<html" in text[:512]


class Member(NamedTuple):
    """Where a file lies in a zip archive: a process that is told so need not read the archive's list again."""

    offset: int
    packed: int
    size: int
    crc: int
    deflated: bool


def locate(source: Path, names: list[str], archive: zipfile.ZipFile | None = None) -> list[Member | None]:
    """The place of each of these files in a zip archive; None where only `zipfile` can read it, and in folders.

    `archive` is the source itself where it is open already.
    """
    if Path(source).is_dir():
        return [None] * len(names)
    plain = {zipfile.ZIP_STORED: False, zipfile.ZIP_DEFLATED: True}
    with nullcontext(archive) if archive is not None else open_archive(source) as opened:
        infos = [opened.NameToInfo.get(name) for name in names]
    return [
        Member(info.header_offset, info.compress_size, info.file_size, info.CRC, plain[info.compress_type])
        if info is not None and info.compress_type in plain and not info.flag_bits & 0x61  # encrypted, patched
        else None
        for info in infos
    ]


class SourceReader:
    """Reads files out of several sources and keeps the archives open; one reader a process.

    Args:
        sources: folders and zip archives; files are named by (index of the source, name in it).
    """

    def __init__(self, sources: list[Path]) -> None:
        self.sources = [Path(source) for source in sources]
        self._folders = [source.is_dir() for source in self.sources]
        self._archives: dict[int, zipfile.ZipFile] = {}
        self._files: dict[int, BinaryIO] = {}

    def read(self, source: int, name: str, place: Member | None = None, limit: int | None = None) -> bytes:
        """The content of one file.

        Args:
            source: index of the source.
            name: the file's name in it.
            place: where it lies in an archive, from `locate`, if that is known.
            limit: the most bytes that are read, `MAX_BYTES` if None.

        Raises:
            BadImage: it is missing, too large, encrypted, damaged or unreadable.
        """
        limit = MAX_BYTES if limit is None else limit
        path = self.sources[source]
        try:
            if self._folders[source]:
                status = (path / name).stat()
                if not stat.S_ISREG(status.st_mode):  # reading a named pipe would never end
                    raise BadImage("this is no file")
                if status.st_size > limit:
                    raise BadImage(f"the file has {status.st_size} bytes, more than {limit}")
                with (path / name).open("rb") as file:
                    data = file.read(limit + 1)
            elif place is not None:
                data = self._read_member(source, place, limit)
            else:
                archive = self._archives.get(source)
                if archive is None:
                    archive = self._archives[source] = zipfile.ZipFile(path)
                with archive.open(name) as member:
                    data = member.read(limit + 1)
        except (OSError, KeyError, *DAMAGED) as error:
            raise BadImage(f"cannot be read: {error}") from error
        if len(data) > limit:  # what the archive says of the size is not trusted
            raise BadImage(f"the file has more than {limit} bytes")
        return data

    def _read_member(self, source: int, place: Member, limit: int) -> bytes:
        file = self._files.get(source)
        if file is None:
            file = self._files[source] = self.sources[source].open("rb")
        file.seek(place.offset)
        head = file.read(30)  # the local header: signature, ..., length of the name, length of the extra field
        if len(head) < 30 or not head.startswith(b"PK\3\4"):
            raise zipfile.BadZipFile("there is no file where the archive's list says")
        file.seek(int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little"), os.SEEK_CUR)
        packed = file.read(min(place.packed, limit + 1))
        data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, limit + 1) if place.deflated else packed
        if len(data) <= limit and (len(data) != place.size or zlib.crc32(data) != place.crc):
            raise zipfile.BadZipFile("cut off, or damaged: the CRC-32 does not fit")
        return data

    def close(self) -> None:
        """Close the archives."""
        for archive in self._archives.values():
            archive.close()
        for file in self._files.values():
            file.close()
        self._archives.clear()
        self._files.clear()

    def __enter__(self) -> SourceReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def decode_rgb(data: bytes) -> Image.Image:
    """Decode JPEG, PNG, WebP or AVIF to an upright RGB image.

    The EXIF rotation is applied, grayscale and CMYK are converted, 16 bits become 8, transparency is laid on white.

    Raises:
        BadImage: not an image, truncated, damaged, or of more than `MAX_PIXELS` pixels.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not data:
        raise BadImage("the file is empty")
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP", "AVIF")) as file:
            if file.width * file.height > MAX_PIXELS:  # before any pixel is decoded
                raise BadImage(f"the image has {file.width}x{file.height} pixels, more than {MAX_PIXELS}")
            file.load()
            image: Image.Image = file
            if not _ROTATED.isdisjoint(image.info) and image.getexif().get(0x0112, 1) != 1:
                image = ImageOps.exif_transpose(image)
            if image.mode == "RGB" and "transparency" not in image.info:
                return image
            if image.mode.startswith("I"):  # 16 bits of gray: PIL would cut them off at 255
                import numpy as np

                return Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8)).convert("RGB")
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                image = image.convert("RGBA")
                white = Image.new("RGBA", image.size, "white")
                return Image.alpha_composite(white, image).convert("RGB")
            return image.convert("RGB")
    except UnidentifiedImageError as error:
        raise BadImage("not a JPEG, PNG, WebP or AVIF image") from error
    except Image.DecompressionBombError as error:
        raise BadImage(f"the image is too large: {error}") from error
    except BadImage:
        raise
    except Exception as error:  # hostile bytes make the decoders raise anything, struct.error and KeyError among it
        raise BadImage(f"cannot be decoded: {error or type(error).__name__}") from error


def _walk(folder: Path, inside: str = "", above: frozenset[str] = frozenset()) -> Iterator[str]:
    """Names of the files below a folder; links to folders are followed, but not back to a folder that they are in.

    Raises:
        CelebgenError: a folder cannot be read; what is in it would be missed.
    """
    place = os.path.join(folder, inside)
    real = os.path.realpath(place)
    if real in above:
        return
    try:
        with os.scandir(place) as entries:
            found = [(entry.name, _leads_on(entry)) for entry in entries if not _hidden(entry.name)]
    except OSError as error:
        raise CelebgenError(
            f"the folder {place} cannot be read: {error.strerror}; make it readable, or leave it out"
        ) from error
    for name, is_folder in found:
        below = f"{inside}/{name}" if inside else name
        if is_folder:
            yield from _walk(folder, below, above | {real})
        else:
            yield below


def _leads_on(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: as a file it will be said to be unreadable
        return False


def _hidden(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return any((part.startswith(".") and part != ".") or part == "__MACOSX" for part in parts)
