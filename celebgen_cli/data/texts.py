"""Texts of rows on disk: any number of them a row, one blob of UTF-8 with offsets, opened without being read.

NAME.bin            all texts, UTF-8, one after the other
NAME_offsets.npy    int64 [M + 1], text j is the bytes offsets[j] to offsets[j + 1] of the blob
NAME_rows.npy       int64 [N + 1], row i has the texts rows[i] to rows[i + 1] - 1; no file where each row has one text
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from celebgen_cli.errors import CelebgenError


class StoredTexts:
    """The texts of N rows: captions, or the file name of each row.

    Args:
        blob: uint8 [bytes], all texts.
        offsets: int64 [M + 1], where each text begins and the last one ends.
        rows: int64 [N + 1], the first text of each row; None where row i has the one text i.
    """

    def __init__(self, blob: np.ndarray, offsets: np.ndarray, rows: np.ndarray | None = None) -> None:
        self._blob, self._offsets, self._rows = blob, offsets, rows

    def __len__(self) -> int:
        """The number of rows."""
        return len(self._offsets if self._rows is None else self._rows) - 1

    @property
    def total(self) -> int:
        """The number of texts of all rows together."""
        return len(self._offsets) - 1

    def of(self, row: int) -> tuple[str, ...]:
        """The texts of a row, none where it has none.

        Raises:
            IndexError: there is no such row.
        """
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        first, last = (row, row + 1) if self._rows is None else (int(self._rows[row]), int(self._rows[row + 1]))
        ends = self._offsets[first : last + 1].tolist()
        blob = self._blob
        return tuple(blob[a:b].tobytes().decode("utf-8", "replace") for a, b in itertools.pairwise(ends))

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        return (self.of(row) for row in range(len(self)))


def text_files(name: str) -> tuple[str, ...]:
    """The files that texts of this name may have, in the order in which a fingerprint takes them."""
    return f"{name}.bin", f"{name}_offsets.npy", f"{name}_rows.npy"


def write_texts(folder: Path, name: str, rows: Sequence[Sequence[str]], *, one_each: bool = False) -> None:
    """Write the texts of each row into `folder`; with `one_each` every row has exactly one, and no rows file.

    A character that UTF-8 cannot hold (a lone surrogate, as file names may have) is written as a question mark.
    """
    encoded = [text.encode("utf-8", "replace") for texts in rows for text in texts]
    (folder / f"{name}.bin").write_bytes(b"".join(encoded))
    np.save(folder / f"{name}_offsets.npy", _ends(map(len, encoded), len(encoded)))
    if one_each:
        assert len(encoded) == len(rows)
    else:
        np.save(folder / f"{name}_rows.npy", _ends(map(len, rows), len(rows)))


def open_texts(folder: Path, name: str, count: int, *, one_each: bool = False) -> StoredTexts | None:
    """Open the texts of `count` rows; None where the folder has none of this name.

    Raises:
        CelebgenError: a file is missing, cut off, or does not fit the others.
    """
    path = folder / f"{name}.bin"
    if not path.exists():
        return None
    try:
        size = path.stat().st_size
        blob: np.ndarray = np.memmap(path, dtype=np.uint8, mode="r") if size else np.zeros(0, dtype=np.uint8)
        offsets = np.load(folder / f"{name}_offsets.npy", allow_pickle=False)
        rows = None if one_each else np.load(folder / f"{name}_rows.npy", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CelebgenError(f"{path} cannot be opened ({error}); prepare the dataset again") from error
    fits = _is_ends(offsets, size) and (rows is None or _is_ends(rows, len(offsets) - 1))
    texts = StoredTexts(blob, offsets, rows)
    if not fits or len(texts) != count:
        raise CelebgenError(f"{path} and its offsets do not fit {count} rows; prepare the dataset again")
    return texts


def _ends(lengths: Iterator[int], count: int) -> np.ndarray:
    ends = np.zeros(count + 1, dtype=np.int64)
    np.cumsum(np.fromiter(lengths, dtype=np.int64, count=count), out=ends[1:])
    return ends


def _is_ends(array: np.ndarray, last: int) -> bool:
    """Whether the array begins at 0, never falls, and ends at `last`."""
    if array.ndim != 1 or array.dtype != np.int64 or len(array) < 1:
        return False
    return bool(array[0] == 0 and array[-1] == last and (array[1:] >= array[:-1]).all())
