"""The splits that are explored together: those of one prepared dataset, or of several that were prepared alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from celebgen_cli.data.dataset import Dataset, Split, open_dataset
from celebgen_cli.errors import CelebgenError, UsageError


@dataclass(frozen=True)
class Part:
    """One split. Rows of all parts are numbered together: row r of this part is row `first` + r of all.

    Attributes:
        label: "train", or "celeba:train" where several datasets are explored.
        dataset: name of the dataset's folder.
        split: its arrays.
        first: number of rows in the parts before it.
    """

    label: str
    dataset: str
    split: Split
    first: int

    def __len__(self) -> int:
        return len(self.split)

    def name_of(self, row: int) -> str:
        """What the picture in a row of this part is called: its file name where one is stored, else its number."""
        names = self.split.names
        return str(names.of(row)[0]) if names is not None else f"{int(self.split.ids[row]):06d}"


class Parts:
    """All parts, in order.

    Attributes:
        parts: at least one, each with at least one image.
        datasets: the datasets that they come from.
        size: pixels of a side, the same in all parts.
        attributes: int8 [N, 40] of all rows, -1 absent, 1 present, 0 unknown.
        identity: int64 [N], -1 unknown.
        part_of: int64 [N], the index of each row's part.
    """

    def __init__(self, parts: Sequence[Part], datasets: Sequence[Dataset]) -> None:
        self.parts = tuple(parts)
        self.datasets = tuple(datasets)
        self.size = parts[0].split.size
        self.crop = parts[0].split.crop
        self.attributes = np.concatenate([part.split.attributes for part in parts])
        self.identity = np.concatenate([part.split.identity for part in parts])
        self.part_of = np.repeat(np.arange(len(parts)), [len(part) for part in parts])

    def __len__(self) -> int:
        return len(self.part_of)

    def place(self, row: int) -> tuple[Part, int]:
        """The part that a row of all belongs to, and the row in that part."""
        part = self.parts[int(self.part_of[row])]
        return part, row - part.first

    def images(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """The pictures of some rows of all, uint8 [M, size, size, 3]."""
        found = np.empty((len(rows), self.size, self.size, 3), np.uint8)
        for i, row in enumerate(rows):
            part, inside = self.place(int(row))
            found[i] = part.split.images[inside]
        return found


def open_parts(paths: Sequence[Path]) -> Parts:
    """Open every split of the datasets.

    Raises:
        CelebgenError: a folder is no prepared dataset, is damaged or has no images.
        UsageError: a dataset is given twice, or two differ in size or crop.
    """
    datasets = [open_dataset(path) for path in paths]
    names = _names(paths)
    parts: list[Part] = []
    first = 0
    for dataset, name in zip(datasets, names, strict=True):
        if (dataset.size, dataset.crop) != (datasets[0].size, datasets[0].crop):
            raise UsageError(
                f"{dataset.path} is {dataset.size} px, crop {dataset.crop}, and {datasets[0].path} is "
                f"{datasets[0].size} px, crop {datasets[0].crop}; prepare both alike, or explore them one by one"
            )
        if not dataset.splits:
            raise CelebgenError(f"{dataset.path} holds no images; prepare it again")
        for split_name in dataset.splits:
            split = dataset.split(split_name)
            label = split_name if len(datasets) == 1 else f"{name}:{split_name}"
            parts.append(Part(label, name, split, first))
            first += len(split)
    return Parts(parts, datasets)


def _names(paths: Sequence[Path]) -> list[str]:
    """Short names that differ: the folder's, with its parents' before it as far as that is needed."""
    resolved = [path.resolve() for path in paths]
    for i, path in enumerate(resolved):
        if path in resolved[:i]:
            raise UsageError(f"{paths[i]} is given twice; name each dataset once")
    depth = 1
    while len({path.parts[-depth:] for path in resolved}) < len(resolved):
        depth += 1
    return ["/".join(path.parts[-depth:]) for path in resolved]


def read_rows(images: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Rows of a split's images, copied: uint8 [stop - start, size, size, 3].

    A memory map's pages count as this process's memory once they were touched, so its file is read instead.
    """
    if not isinstance(images, np.memmap) or images.filename is None:
        return np.array(images[start:stop])
    row = int(np.prod(images.shape[1:]))
    flat = np.fromfile(images.filename, np.uint8, (stop - start) * row, offset=images.offset + start * row)
    return flat.reshape(stop - start, *images.shape[1:])
