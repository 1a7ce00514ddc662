"""The sets of images that a metric compares: a model, a folder or zip of images, a split of a prepared dataset.

Every source yields uint8 [B, H, W, 3] batches in a fixed order, so a metric never asks where images come from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from celebgen_cli.data.captions import CaptionSource
from celebgen_cli.data.sources import BadImage, SourceReader, decode_rgb, list_images
from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.evaluation.drawn import ModelImages, NamedModel, TextToImage, captions_for
from celebgen_cli.files import read_json

if TYPE_CHECKING:
    from celebgen_cli.data.dataset import Split

__all__ = [
    "ImageFiles", "ImageSource", "ModelImages", "NamedModel", "Resumable", "SplitImages", "TextToImage", "captions_for",
    "kind_of", "open_images", "open_split", "split_name",
]  # fmt: skip

LOSSY_SUFFIXES = (".jpg", ".jpeg", ".avif")
"""Endings of formats that change pixels, which moves FID by several points (Parmar et al. 2022, arXiv 2104.11222)."""


class ImageSource(Protocol):
    """A set of images of one size in a fixed order.

    Attributes:
        label: how messages and figures call it; no path, because saved statistics carry it to other machines.
        kind: "model", "folder", "zip" or "dataset".
        size: pixels of an image's side; None where images are not square.
        crop: name of the crop, None where it is not known.
        filter: name of the resize filter, None where it is not known.
        lossy: whether the images went through a lossy format after they were cropped.
        attributes: int8 [N, 40] in -1 / 1, or None.
        captions: what captions of the images can be made of, or None.
    """

    label: str
    kind: str
    size: int | None
    crop: str | None
    filter: str | None
    lossy: bool
    attributes: np.ndarray | None
    captions: CaptionSource | None

    def __len__(self) -> int:
        """Number of images."""

    def batches(self, count: int, batch_size: int) -> Iterator[np.ndarray]:
        """The first `count` images as uint8 [B, H, W, 3], B at most `batch_size`."""

    def fingerprint(self) -> str | None:
        """SHA-256 that changes when the images do; None where that is not known."""

    def settings(self) -> dict[str, Any]:
        """What else decided the images: sampler, steps, guidance, seed."""


@runtime_checkable
class Resumable(Protocol):
    """What a source has besides if its features can be kept in parts and taken up in the middle."""

    def batches(self, count: int, batch_size: int, start: int = 0) -> Iterator[np.ndarray]:
        """The images `start` to `count` - 1 as uint8 [B, H, W, 3], B at most `batch_size`."""

    def part_fingerprint(self, start: int, stop: int) -> str:
        """SHA-256 of everything that decides the images `start` to `stop` - 1."""


@dataclass
class SplitImages:
    """A split of a prepared dataset. Its `attributes` are None unless they are known of every image."""

    split: Split
    label: str
    filter: str | None = None
    lossy: bool = False
    kind: str = field(default="dataset", init=False)

    def __post_init__(self) -> None:
        self.size: int | None = self.split.size
        self.crop: str | None = self.split.crop
        captions = CaptionSource(self.split.attributes, self.split.captions)
        self.attributes: np.ndarray | None = self.split.attributes if captions.known.all() else None
        self.captions: CaptionSource | None = captions if captions.speaks else None

    def __len__(self) -> int:
        return len(self.split)

    def batches(self, count: int, batch_size: int, start: int = 0) -> Iterator[np.ndarray]:
        for first in range(start, count, batch_size):
            yield np.asarray(self.split.images[first : min(first + batch_size, count)])

    def fingerprint(self) -> str | None:
        return self.split.fingerprint

    def part_fingerprint(self, start: int, stop: int) -> str:
        return f"{self.split.fingerprint} from {start}"

    def settings(self) -> dict[str, Any]:
        return {"split": self.split.name}


class ImageFiles:
    """Image files in a folder (any depth) or in a zip, sorted by name.

    Args:
        path: the folder or the archive.

    Raises:
        CelebgenError: it has no image, or the first cannot be read.
    """

    crop: str | None = None
    filter: str | None = None
    attributes: np.ndarray | None = None
    captions: CaptionSource | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self.label = path.resolve().name
        self.kind = "folder" if path.is_dir() else "zip"
        self.names = list_images(path)
        self.lossy = any(name.lower().endswith(LOSSY_SUFFIXES) for name in self.names)
        self._digest: str | None = None
        with SourceReader([path]) as reader:
            self._shape = self._read(reader, self.names[0]).shape
        self.size: int | None = self._shape[0] if self._shape[0] == self._shape[1] else None

    def __len__(self) -> int:
        return len(self.names)

    def batches(self, count: int, batch_size: int, start: int = 0) -> Iterator[np.ndarray]:
        with SourceReader([self.path]) as reader:
            for first in range(start, count, batch_size):
                names = self.names[first : min(first + batch_size, count)]
                yield np.stack([self._read(reader, name) for name in names])

    def fingerprint(self) -> str | None:
        if self._digest is None:
            self._digest = self._hashed()
        return self._digest

    def part_fingerprint(self, start: int, stop: int) -> str:
        return f"{self.fingerprint()} from {start}"

    def _hashed(self) -> str:
        digest = hashlib.sha256()
        with SourceReader([self.path]) as reader:
            for name in self.names:
                try:
                    data = reader.read(0, name)
                except BadImage as error:
                    raise CelebgenError(f"{self.path}: {name} {error}") from error
                self.lossy = self.lossy or _is_lossy(data)
                digest.update(hashlib.sha256(data).digest())
        return digest.hexdigest()

    def settings(self) -> dict[str, Any]:
        return {}

    def _read(self, reader: SourceReader, name: str) -> np.ndarray:
        try:
            data = reader.read(0, name)
            self.lossy = self.lossy or _is_lossy(data)
            pixels = np.asarray(decode_rgb(data), dtype=np.uint8)
        except BadImage as error:
            raise CelebgenError(
                f"{name} in {self.path} is no image that can be measured ({error}); remove it, or measure another set"
            ) from error
        shape = getattr(self, "_shape", pixels.shape)
        if pixels.shape != shape:
            raise CelebgenError(
                f"{name} in {self.path} has {pixels.shape[1]}x{pixels.shape[0]} pixels and {self.names[0]} has "
                f"{shape[1]}x{shape[0]}: images that are measured together have one size; remove what does not belong"
            )
        return pixels


def open_split(path: Path, name: str) -> SplitImages:
    """A split of the prepared dataset at `path`.

    Raises:
        UsageError: it has no such split.
        CelebgenError: it is not a prepared dataset.
    """
    from celebgen_cli.data.dataset import open_dataset

    dataset = open_dataset(path)
    return SplitImages(
        dataset.split(name),
        label=f"{path.resolve().name}:{name}",
        filter=dataset.info.get("filter"),
        lossy=bool(dataset.info.get("lossy_source", False)),
    )


def pixels(source: ImageSource) -> str:
    """The size of a source's images in words."""
    return "not square" if source.size is None else f"{source.size} px"


def split_name(text: str, default: str = "valid") -> tuple[Path, str]:
    """`DATASET` or `DATASET:split` as path and name; a path that exists is taken whole, so `C:\\data` stays one."""
    path, colon, name = text.rpartition(":")
    if colon and path and not Path(text).exists() and Path(path).exists():
        return Path(path), name
    return Path(text), default


def kind_of(text: str) -> str:
    """What a word on the command line names: "statistics", "model", "dataset", "folder" or "zip".

    Raises:
        UsageError: it does not exist or is none of these.
    """
    path, _ = split_name(text)
    if not path.exists():
        raise UsageError(f"{text} does not exist: name a model, a folder of images, a dataset or a statistics file")
    if path.is_dir():
        for marker, kind in (("model.json", "model"), ("dataset.json", "dataset")):
            if (path / marker).is_file():
                return kind
        if _is_run(path):
            raise UsageError(f"{text} is a training run; make a model of it with `celebgen export` and name that")
        return "folder"
    kinds = {".safetensors": "statistics", ".zip": "zip"}
    if path.suffix.lower() not in kinds:
        raise UsageError(f"{text} is neither a model, a folder or zip of images, a dataset nor a statistics file")
    return kinds[path.suffix.lower()]


def _is_run(folder: Path) -> bool:
    """Whether training wrote this folder: the pictures in it are sample grids."""
    try:
        return (folder / "config.json").is_file() and read_json(folder / "config.json").get("format") == "celebgen-run"
    except (CelebgenError, AttributeError):
        return False


def open_images(text: str) -> SplitImages | ImageFiles:
    """The images that a word names: a folder, a zip, `DATASET` (its valid split) or `DATASET:split`.

    Raises:
        UsageError: it names something else.
    """
    kind = kind_of(text)
    path, name = split_name(text)
    if kind == "dataset":
        return open_split(path, name)
    if kind in ("folder", "zip"):
        return ImageFiles(path)
    raise UsageError(f"{text} is a {kind} and images are needed here: name a folder, a zip or a dataset")


def _is_lossy(data: bytes) -> bool:
    """Whether a file is JPEG, whatever its name, or WebP with loss."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        at = 12  # chunks of a name, a length and an even number of bytes; a profile may come before the picture
        while at + 8 <= len(data):
            name, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
            if name in (b"VP8 ", b"VP8L"):
                return name == b"VP8 "
            at += 8 + (16 if name == b"ANMF" else length + length % 2)  # a frame has its picture in a chunk within
    return data[:3] == b"\xff\xd8\xff"
