"""Batches as pure functions of (seed, step), so that a resumed run sees what an undisturbed one would have seen."""

import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from celebgen_cli.data.captions import Captions, CaptionSource, Wording, choose_wording
from celebgen_cli.data.dataset import Dataset, Split
from celebgen_cli.models.cvae import to_float
from celebgen_cli.models.devices import sent

HELD_OUT = 50  # without a valid split every 50th image is held out
FEW = 10  # pictures of which none is held out
SHARE_OF_FREE = 0.4  # of a GPU's free memory, what pictures or latents may take: training needs the rest


class Examples:
    """The rows of a split that a task works on: pictures, attributes, captions, and which rows they are.

    Args:
        split: of a prepared dataset.
        rows: int [N], which of its rows; all where None.
        wording: where captions come from; what suits the split where None.
    """

    def __init__(self, split: Split, rows: np.ndarray | None = None, wording: Wording | None = None) -> None:
        self.split = split
        self.rows = np.arange(len(split)) if rows is None else rows
        self.source = CaptionSource(split.attributes, split.captions, wording or choose_wording(split))
        self._pixels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def bytes(self) -> int:
        """What the pictures take as uint8."""
        return len(self) * int(np.prod(self.split.images.shape[1:]))

    def to_device(self, device: torch.device | str) -> None:
        """Copy the pictures to a device once, as uint8 [N, S, S, 3]; batches are gathered there from then on."""
        shape = (len(self), *self.split.images.shape[1:])
        pixels = torch.empty(shape, dtype=torch.uint8, device=device)
        for index in chunks(len(self), 4096):  # never all of them in the computer's own memory
            first, last = int(index[0]), int(index[-1]) + 1
            pixels[first:last] = torch.from_numpy(self.split.gather(self.rows[index])).to(device)
        self._pixels = pixels

    def images(self, index: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
        """Pictures of these rows as float [B, 3, S, S] in [-1, 1]."""
        if self._pixels is not None:
            place = sent(torch.from_numpy(np.asarray(index)), self._pixels.device)
            return to_float(self._pixels[place].to(device))
        return to_float(torch.from_numpy(self.split.gather(self.rows[index])).to(device))

    def attributes(self, index: np.ndarray) -> np.ndarray:
        """int8 [B, 40] in -1/1, 0 where unknown."""
        return self.split.attributes[self.rows[index]]

    def captions(self, index: np.ndarray, rng: np.random.Generator) -> Captions:
        """One caption for each of these rows; a function of the rows and the generator's state."""
        return self.source.draw(self.rows[index], rng)


def training_and_held_out(
    dataset: Dataset, valid: Dataset | None = None, wording: Wording | None = None
) -> tuple[Examples, Examples]:
    """The training rows, and the rows to validate on: the valid split if there is one, else a fiftieth of training.

    Of fewer than `FEW` pictures none is spared: what is learned is then scored on the very same ones.

    Both are told in the same wording; None is what suits the training split.
    """
    train = dataset.split("train")
    wording = wording or choose_wording(train)
    source = next((d for d in (valid, dataset) if d is not None and "valid" in d.splits), None)
    if source is not None:
        return Examples(train, None, wording), Examples(source.split("valid"), None, wording)
    rows = np.arange(len(train))
    if len(train) < FEW:
        return Examples(train, rows, wording), Examples(train, rows, wording)
    held = rows % HELD_OUT == HELD_OUT - 1 if len(train) >= HELD_OUT else rows == len(train) - 1
    return Examples(train, rows[~held], wording), Examples(train, rows[held], wording)


def fits(count: int, device: torch.device) -> bool:
    """Whether `count` bytes are to be kept on the device: on a GPU with room for them, never on a CPU."""
    if device.type != "cuda":
        return False  # the memory map is as near
    return count <= SHARE_OF_FREE * torch.cuda.mem_get_info(device)[0]


def preload(device: torch.device, *parts: Examples) -> None:
    """Move the pictures of each of `parts` to the device, as far as they fit, in this order."""
    for part in parts:
        if fits(part.bytes, device):
            part.to_device(device)


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


def noise_generator(generator: torch.Generator, device: torch.device) -> torch.Generator:
    """Where large noise comes from: on a CPU the generator itself, on a GPU one that makes it there.

    Copies to a GPU wait for the steps before. The numbers of a GPU are others than a CPU's.
    """
    if device.type != "cuda":
        return generator
    return torch.Generator(device).manual_seed(generator.initial_seed())


def random_sides(count: int, generator: torch.Generator) -> Tensor:
    """bool [count], each true with probability one half: which pictures are mirrored."""
    return torch.rand(count, generator=generator) < 0.5


def mirrored(images: Tensor, which: Tensor) -> Tensor:
    """Pictures [B, 3, H, W], those mirrored of which `which`, bool [B], is true."""
    return torch.where(sent(which, images.device)[:, None, None, None], images.flip(3), images)


def chunks(count: int, size: int) -> Sequence[np.ndarray]:
    """Rows 0..count-1 in chunks of `size`."""
    return [np.arange(i, min(i + size, count)) for i in range(0, count, size)]
