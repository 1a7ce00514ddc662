"""Batches as pure functions of (seed, step), so that a resumed run sees what an undisturbed one would have seen."""

import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from celebgen_cli.data.captions import describe
from celebgen_cli.data.dataset import Dataset, Split
from celebgen_cli.models.cvae import to_float

HELD_OUT = 50  # without a valid split every 50th image is held out


class Examples:
    """The rows of a split that a task works on: pictures, attributes, and which rows they are."""

    def __init__(self, split: Split, rows: np.ndarray | None = None) -> None:
        self.split = split
        self.rows = np.arange(len(split)) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    def images(self, index: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
        """Pictures of these rows as float [B, 3, S, S] in [-1, 1]."""
        pixels = torch.from_numpy(np.ascontiguousarray(self.split.images[self.rows[index]]))
        return to_float(pixels.to(device))

    def attributes(self, index: np.ndarray) -> np.ndarray:
        """int8 [B, 40] in -1/1."""
        return self.split.attributes[self.rows[index]]


def training_and_held_out(dataset: Dataset, valid: Dataset | None = None) -> tuple[Examples, Examples]:
    """The training rows, and the rows to validate on: the valid split if there is one, else a fiftieth of training."""
    train = dataset.split("train")
    source = next((d for d in (valid, dataset) if d is not None and "valid" in d.splits), None)
    if source is not None:
        return Examples(train), Examples(source.split("valid"))
    rows = np.arange(len(train))
    held = rows % HELD_OUT == HELD_OUT - 1 if len(train) >= HELD_OUT else rows == len(train) - 1
    return Examples(train, rows[~held]), Examples(train, rows[held])


def batch_rows(count: int, batch_size: int, step: int, seed: int) -> np.ndarray:
    """Rows of the batch of `step` (0-based): every epoch is its own permutation, batches run across epoch ends."""
    first = step * batch_size
    rows: list[int] = []
    while len(rows) < batch_size:
        epoch, offset = divmod(first + len(rows), count)
        rows.extend(_epoch_order(count, seed, epoch)[offset : offset + batch_size - len(rows)])
    return np.asarray(rows)


@functools.lru_cache(maxsize=4)
def _epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, 0, epoch]).permutation(count)


def numpy_generator(seed: int, step: int, purpose: int) -> np.random.Generator:
    """A NumPy generator of its own for (seed, step, purpose)."""
    return np.random.default_rng([seed, 1 + purpose, step])


def torch_generator(seed: int, step: int, purpose: int) -> torch.Generator:
    """A CPU generator of its own for (seed, step, purpose)."""
    state = np.random.SeedSequence([seed, 1 + purpose, step]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) >> 1)


def captions(attributes: np.ndarray, rng: np.random.Generator) -> tuple[list[str], np.ndarray]:
    """One caption for each attribute row: texts, and int8 [B, 40] of what each names."""
    drawn = [describe(row, rng) for row in attributes]
    return [caption.text for caption in drawn], np.stack([caption.named for caption in drawn])


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each picture [B, 3, H, W] with probability one half."""
    flip = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(flip.to(images.device)[:, None, None, None], images.flip(3), images)


def chunks(count: int, size: int) -> Sequence[np.ndarray]:
    """Rows 0..count-1 in chunks of `size`."""
    return [np.arange(i, min(i + size, count)) for i in range(0, count, size)]
