"""The sets of images that a metric compares: a model, a folder or zip of images, a split of a prepared dataset.

Every source yields uint8 [B, H, W, 3] batches in a fixed order, so a metric never asks where images come from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from celebgen_cli.data.captions import CaptionSource
from celebgen_cli.data.sources import BadImage, SourceReader, decode_rgb, list_images
from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.files import atomic_path, atomic_write_bytes

if TYPE_CHECKING:
    from celebgen_cli.data.dataset import Split

LOSSY_SUFFIXES = (".jpg", ".jpeg", ".webp", ".avif")
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
        """SHA-256 that changes when the images do; None where they are made anew each time."""

    def settings(self) -> dict[str, Any]:
        """What else decided the images: sampler, steps, guidance, seed."""


class NamedModel(Protocol):
    """What a figure says of a `celebgen_cli.pipeline.Model`."""

    @property
    def size(self) -> int:
        """Pixels of an image's side."""

    @property
    def crop(self) -> str:
        """Name of the crop that it was trained on, or "unknown"."""

    @property
    def name(self) -> str:
        """How figures call it."""

    @property
    def sha256(self) -> str:
        """Digest of its weights."""


class TextToImage(NamedModel, Protocol):
    """The part of `celebgen_cli.pipeline.Model` that sampling for a metric needs."""

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Settings of `sample` that suit it."""

    @property
    def sample(self) -> Callable[..., np.ndarray]:
        """`sample(prompts, seeds, **settings)`: uint8 [N, H, W, 3], one image a prompt and seed.

        Not typed further: an implementation names the settings that it takes.
        """


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

    def batches(self, count: int, batch_size: int) -> Iterator[np.ndarray]:
        for start in range(0, count, batch_size):
            yield np.asarray(self.split.images[start : min(start + batch_size, count)])

    def fingerprint(self) -> str | None:
        return self.split.fingerprint

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
        with SourceReader([path]) as reader:
            self._shape = self._read(reader, self.names[0]).shape
        self.size: int | None = self._shape[0] if self._shape[0] == self._shape[1] else None

    def __len__(self) -> int:
        return len(self.names)

    def batches(self, count: int, batch_size: int) -> Iterator[np.ndarray]:
        with SourceReader([self.path]) as reader:
            for start in range(0, count, batch_size):
                names = self.names[start : min(start + batch_size, count)]
                yield np.stack([self._read(reader, name) for name in names])

    def fingerprint(self) -> str | None:
        digest = hashlib.sha256()
        with SourceReader([self.path]) as reader:
            for name in self.names:
                try:
                    data = reader.read(0, name)
                except BadImage as error:
                    raise CelebgenError(f"{self.path}: {name} {error}") from error
                digest.update(hashlib.sha256(data).digest())
        return digest.hexdigest()

    def settings(self) -> dict[str, Any]:
        return {}

    def _read(self, reader: SourceReader, name: str) -> np.ndarray:
        try:
            pixels = np.asarray(decode_rgb(reader.read(0, name)), dtype=np.uint8)
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


class ModelImages:
    """Images that a model draws for captions made from attribute rows, or from the captions that people gave.

    Image i has the caption of row i (rows are used again from the first where there are fewer), worded with the seed
    (seed, i), and is drawn with image seed `seed + i`: the same N images at any batch size.

    Args:
        model: draws them.
        rows: int8 [N, 40] in -1 / 1, which captions are made from, or these and stored captions; no copy is kept.
        count: number of images.
        seed: the first seed.
        settings: what `model.sample` takes (steps, sampler, guidance, ...); None values are the model's defaults.
        save: folder that receives every image as PNG and the prompts as `prompts.txt`, or None.
    """

    kind = "model"
    filter: str | None = None
    lossy = False
    attributes: np.ndarray | None = None
    captions: CaptionSource | None = None

    def __init__(
        self,
        model: TextToImage,
        rows: np.ndarray | CaptionSource,
        count: int,
        *,
        seed: int = 0,
        settings: Mapping[str, Any] | None = None,
        save: Path | None = None,
    ) -> None:
        self.model = model
        self.label = model.name
        self.size: int | None = model.size
        self.crop: str | None = None if model.crop == "unknown" else model.crop
        self.seed = seed
        self.prompts = captions_for(rows, count, seed)
        self._settings = {name: value for name, value in (settings or {}).items() if value is not None}
        self._save = save

    def __len__(self) -> int:
        return len(self.prompts)

    def batches(self, count: int, batch_size: int) -> Iterator[np.ndarray]:
        if self._save is not None:
            text = "".join(f"{prompt}\n" for prompt in self.prompts[:count])
            atomic_write_bytes(self._save / "prompts.txt", text.encode("utf-8"))
        for start in range(0, count, batch_size):
            stop = min(start + batch_size, count)
            seeds = range(self.seed + start, self.seed + stop)
            images = self.model.sample(self.prompts[start:stop], list(seeds), batch_size=stop - start, **self._settings)
            if self._save is not None:
                save_images(images, self._save, start)
            yield images

    def fingerprint(self) -> str | None:
        return None  # what is measured is what this program draws now, not what an earlier one drew

    def settings(self) -> dict[str, Any]:
        """The settings in force: what the caller asked for over the model's own defaults."""
        return {**self.model.defaults, **self._settings, "seed": self.seed, "model_sha256": self.model.sha256}


def captions_for(rows: np.ndarray | CaptionSource, count: int, seed: int) -> list[str]:
    """`count` captions, the i-th true of row i modulo N and worded with the random state (seed, i).

    Args:
        rows: int8 [N, 40] in -1 / 1, or these and stored captions, which rows of unknown attributes take.

    Raises:
        UsageError: there is no row, or nothing is known of any.
    """
    source = rows if isinstance(rows, CaptionSource) else CaptionSource(rows)
    if not source.speaks:
        raise UsageError("captions need at least one row of attributes or captions and the reference has none")
    return source.draw_for(count, seed)


def save_images(images: np.ndarray, folder: Path, first: int) -> None:
    """Write uint8 [B, H, W, 3] as NNNNNN.png, numbered from `first`."""
    from PIL import Image

    for offset, pixels in enumerate(images):
        with atomic_path(folder / f"{first + offset:06d}.png") as temporary:
            Image.fromarray(pixels).save(temporary, format="PNG")


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
        return "folder"
    kinds = {".safetensors": "statistics", ".zip": "zip"}
    if path.suffix.lower() not in kinds:
        raise UsageError(f"{text} is neither a model, a folder or zip of images, a dataset nor a statistics file")
    return kinds[path.suffix.lower()]


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


def loaded_batches(
    source: ImageSource, count: int, batch_size: int, done: Callable[[int], None] | None = None
) -> Iterator[np.ndarray]:
    """`source.batches`, with the number of images so far reported after each batch was used."""
    seen = 0
    for batch in source.batches(count, batch_size):
        yield batch
        seen += len(batch)
        if done:
            done(seen)
