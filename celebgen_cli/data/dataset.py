"""The prepared dataset on disk: one folder a split, arrays that open at once, and a JSON file that says what they are.

DATASET/dataset.json            format, size, crop, filter, source, counts, SHA-256 of every array file
DATASET/<split>/images.npy      uint8 [N, H, W, 3], RGB, opened as a memory map
DATASET/<split>/ids.npy         int64 [N], CelebA's image numbers, ascending
DATASET/<split>/attributes.npy  int8 [N, 40], -1 absent or 1 present, columns in the official order
DATASET/<split>/identity.npy    int64 [N], the person's number, -1 unknown
DATASET/rejected.csv            file and reason of every image that was left out
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from celebgen_cli.data.attributes import ATTRIBUTES
from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.files import read_json, sha256_file

FORMAT = "celebgen-dataset"
FORMAT_VERSION = 1
ARRAYS = ("images", "ids", "attributes", "identity")
"""Names of the arrays of a split, in the order in which its fingerprint takes them."""


@dataclass(frozen=True)
class Split:
    """One partition of a prepared dataset; row i of every array belongs to the same image.

    Attributes:
        name: "train", "valid" or "test".
        images: uint8 [N, size, size, 3], RGB, a read-only memory map.
        ids: int64 [N], image numbers, ascending.
        attributes: int8 [N, 40], -1 or 1, in the order of `celebgen_cli.data.attributes.ATTRIBUTES`.
        identity: int64 [N], the person's number; -1 where it is not known.
        crop: name of the crop (see `celebgen_cli.data.crops`).
        size: pixels of an image's side.
        fingerprint: SHA-256 in hexadecimal over the digests of the four array files: it changes when the data do.
    """

    name: str
    images: np.ndarray
    ids: np.ndarray
    attributes: np.ndarray
    identity: np.ndarray
    crop: str
    size: int
    fingerprint: str

    def __len__(self) -> int:
        return len(self.ids)


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
        return Split(name=name, crop=self.crop, size=self.size, fingerprint=fingerprint(self.info, name), **arrays)

    def verify(self) -> None:
        """Read every array file and compare its SHA-256 with `dataset.json`.

        Raises:
            CelebgenError: a file differs or is missing.
        """
        for name, digest in self.info["sha256"].items():
            path = self.path / name
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
    digests = "\n".join(info["sha256"][f"{split}/{array}.npy"] for array in ARRAYS)
    return hashlib.sha256(digests.encode("ascii")).hexdigest()


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
