"""Single pictures out of a source, and files that set them side by side for the user who asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from celebgen_cli.evaluation.sources import ImageSource, Resumable
from celebgen_cli.files import atomic_write_bytes
from celebgen_cli.images import encode_png, grid

TERMS = (
    "shows photographs of people: CelebA may be used for non-commercial research only, and its pictures may not be "
    "published or passed on"
)
"""What follows the path of a file that shows training data."""
MADE_HERE = {"made_by": "celebgen evaluate"}
"""Metadata of sheets, by which a later run knows that it may write over them."""


def pick(source: ImageSource, rows: Sequence[int]) -> np.ndarray:
    """The images of these rows of a source, in this order: uint8 [B, H, W, 3]. A model draws them again."""
    if isinstance(source, Resumable):
        return np.concatenate([next(iter(source.batches(row + 1, 1, row))) for row in rows])
    wanted, found, first = set(rows), {}, 0
    for batch in source.batches(max(rows) + 1, 32):
        found.update({first + i: batch[i] for i in range(len(batch)) if first + i in wanted})
        first += len(batch)
    return np.stack([found[row] for row in rows])


def save_pairs(folder: Path, names: Sequence[str], left: np.ndarray, right: np.ndarray) -> list[str]:
    """Write each pair of uint8 [N, H, W, 3] side by side as a PNG of its own; their paths.

    Raises:
        CelebgenError: the folder cannot be written.
    """
    paths = [folder / name for name in names]
    for path, one, other in zip(paths, left, right, strict=True):
        atomic_write_bytes(path, encode_png(grid(np.stack([one, other]), columns=2), None, MADE_HERE))
    return [str(path) for path in paths]
