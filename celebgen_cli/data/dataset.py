"""The prepared dataset on disk: one folder a split, arrays that open at once, and a JSON file that says what they are.

DATASET/dataset.json            format, size, crop, filter, source, counts, SHA-256 of every array file
DATASET/<split>/images.npy      uint8 [N, H, W, 3], RGB, opened as a memory map
DATASET/<split>/ids.npy         int64 [N], CelebA's image numbers, ascending
DATASET/<split>/attributes.npy  int8 [N, 40], -1 absent, 1 present or 0 unknown, columns in the official order
DATASET/<split>/identity.npy    int64 [N], the person's number, -1 unknown
DATASET/<split>/landmarks.npy   float32 [N, 5, 2], where known: points in pixels of the prepared image
DATASET/<split>/captions.bin    where given: see `celebgen_cli.data.texts`; so for names.bin, the file name of each row
DATASET/rejected.csv            file and reason of every image that was left out
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from celebgen_cli.data.attributes import ATTRIBUTES
from celebgen_cli.data.texts import StoredTexts, open_texts, text_files
from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.files import read_json, sha256_file

FORMAT = "celebgen-dataset"
FORMAT_VERSION = 1
ARRAYS = ("images", "ids", "attributes", "identity")
"""Names of the arrays that every split has, in the order in which its fingerprint takes them."""
OPTIONAL_FILES = ("landmarks.npy", *text_files("captions"), *text_files("names"))
"""Files that a split has where something is known, in the order in which its fingerprint takes them."""


@dataclass(frozen=True)
class Split:
    """One partition of a prepared dataset; row i of every array belongs to the same image.

    Attributes:
        name: "train", "valid" or "test".
        images: uint8 [N, size, size, 3], RGB, a read-only memory map.
        ids: int64 [N], image numbers, ascending.
        attributes: int8 [N, 40], -1, 1 or 0 for unknown, in the order of `celebgen_cli.data.attributes.ATTRIBUTES`.
        identity: int64 [N], the person's number; -1 where it is not known.
        crop: name of the crop (see `celebgen_cli.data.crops`).
        size: pixels of an image's side.
        fingerprint: SHA-256 in hexadecimal over the digests of the split's files: it changes when the data do.
        landmarks: float32 [N, 5, 2] or None, x and y of left eye, right eye, nose, left and right corner of the mouth
            (left and right in the picture) in pixels of the prepared image, which spans 0 to size, so that the first
            pixel's centre is at 0.5; NaN where unknown.
        captions: the captions of each row, or None where none was given.
        names: the file name of each row, or None where `ids` alone say which image it is.
    """

    name: str
    images: np.ndarray
    ids: np.ndarray
    attributes: np.ndarray
    identity: np.ndarray
    crop: str
    size: int
    fingerprint: str
    landmarks: np.ndarray | None = None
    captions: StoredTexts | None = None
    names: StoredTexts | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """The images of these rows, in this order, copied out of the memory map.

        Args:
            rows: int [B], 0 to N - 1.

        Returns:
            uint8 [B, size, size, 3], RGB, contiguous.
        """
        plain = self.images.view(np.ndarray)  # an indexed memmap is a memmap again, with an open file
        return np.take(plain, np.asarray(rows, dtype=np.int64), axis=0)


@dataclass(frozen=True)
class Dataset:
    """A prepared dataset. `info` is `dataset.json`, `splits` the names of the splits that have images."""

    path: Path
    info: dict[str, Any]
    splits: tuple[str, ...]

    @property
    def size(self) -> int:
        """Pixels of an image's side."""
        return int(self.info["size"])

    @property
    def crop(self) -> str:
        """Name of the crop."""
        return str(self.info["crop"]["name"])

    def split(self, name: str) -> Split:
        """Open one split; its images are mapped, not read.

        Raises:
            UsageError: the dataset has no images in this split.
            CelebgenError: an array file is missing, cut off or of another shape than `dataset.json` says.
        """
        if name not in self.splits:
            raise UsageError(f"{self.path} has no split named {name!r}; it has {', '.join(self.splits)}")
        count = int(self.info["counts"][name])
        folder = self.path / name
        shapes: dict[str, tuple[tuple[int, ...], str]] = {
            "images": ((count, self.size, self.size, 3), "uint8"),
            "ids": ((count,), "int64"),
            "attributes": ((count, len(ATTRIBUTES)), "int8"),
            "identity": ((count,), "int64"),
        }
        arrays = {array: _open_array(folder / f"{array}.npy", *shapes[array]) for array in ARRAYS}
        for file in OPTIONAL_FILES:
            if f"{name}/{file}" in self.info["sha256"] and not (folder / file).exists():
                raise CelebgenError(f"{folder / file} is missing; prepare the dataset again")
        places = folder / "landmarks.npy"
        return Split(
            name=name,
            crop=self.crop,
            size=self.size,
            fingerprint=fingerprint(self.info, name),
            landmarks=_open_array(places, (count, 5, 2), "float32") if places.exists() else None,
            captions=open_texts(folder, "captions", count),
            names=open_texts(folder, "names", count, one_each=True),
            **arrays,
        )

    def verify(self, images: bool = True) -> None:
        """Read every array file and compare its SHA-256 with `dataset.json`.

        images: off leaves out the pixels, nearly all of the bytes.

        Raises:
            CelebgenError: a file differs or is missing.
        """
        for name, digest in self.info["sha256"].items():
            path = self.path / name
            if not images and path.name == "images.npy":
                continue
            if not path.is_file() or sha256_file(path) != digest:
                raise CelebgenError(f"{path} is missing or differs from what was prepared; prepare the dataset again")


def open_dataset(path: Path | str) -> Dataset:
    """Open a prepared dataset.

    Raises:
        CelebgenError: the folder does not exist, is not a prepared dataset, or has a version that this program
            does not know.
    """
    path = Path(path)
    if not (path / "dataset.json").is_file():
        what = "does not exist" if not path.exists() else "is not a prepared dataset (it has no dataset.json)"
        raise CelebgenError(f"{path} {what}; make one with `celebgen prepare SOURCE -o {path}`")
    info = read_json(path / "dataset.json")
    if not isinstance(info, dict) or info.get("format") != FORMAT:
        raise CelebgenError(f"{path / 'dataset.json'} does not describe a prepared dataset; prepare it again")
    if info.get("format_version") != FORMAT_VERSION:
        raise CelebgenError(
            f"{path} has dataset format version {info.get('format_version')} and this celebgen reads version "
            f"{FORMAT_VERSION}; prepare it again or install the matching celebgen"
        )
    try:
        counts, _, _ = info["counts"], info["crop"]["name"], int(info["size"])
        splits = tuple(name for name, count in counts.items() if int(count) > 0)
        for name in splits:
            fingerprint(info, name)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CelebgenError(f"{path / 'dataset.json'} lacks an entry ({error}); prepare the dataset again") from error
    return Dataset(path, info, splits)


def fingerprint(info: dict[str, Any], split: str) -> str:
    """SHA-256 of a split, from the digests in `dataset.json`: nothing is read but that file."""
    digests = [info["sha256"][f"{split}/{array}.npy"] for array in ARRAYS]
    digests += [info["sha256"][name] for file in OPTIONAL_FILES if (name := f"{split}/{file}") in info["sha256"]]
    return hashlib.sha256("\n".join(digests).encode("ascii")).hexdigest()


def _open_array(path: Path, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    large = path.name == "images.npy"
    try:
        array: np.ndarray = np.load(path, mmap_mode="r" if large else None, allow_pickle=False)
    except FileNotFoundError as error:
        raise CelebgenError(f"{path} is missing; prepare the dataset again") from error
    except (OSError, ValueError, EOFError) as error:
        raise CelebgenError(f"{path} is cut off or damaged ({error}); prepare the dataset again") from error
    if array.shape != shape or array.dtype != np.dtype(dtype):
        raise CelebgenError(
            f"{path} holds {array.dtype} {list(array.shape)} and dataset.json says {dtype} {list(shape)}; "
            "prepare the dataset again"
        )
    return array
