"""Latents of a whole split, encoded once without text, flips included, and kept on disk.

A cache is keyed by a SHA-256 of the encoder's weights, the split's fingerprint, its rows and the precision, so a stale
one cannot be used.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from celebgen_cli.errors import CelebgenError
from celebgen_cli.files import atomic_write_json
from celebgen_cli.models.cvae import CVAE
from celebgen_cli.models.devices import sent
from celebgen_cli.models.layers import Gaussian
from celebgen_cli.models.text_encoder import TextEncoder
from celebgen_cli.processes import barrier, collected, same, world
from celebgen_cli.training.batches import Examples, chunks, fits


@dataclass(frozen=True)
class Latents:
    """Posteriors of N pictures and of their mirror images: mean and logvar, fp16 [2, N, C, h, h].

    `moved` are both as tensors, where they were copied to a device.
    """

    mean: np.ndarray
    logvar: np.ndarray
    moved: tuple[Tensor, Tensor] | None = None

    def __len__(self) -> int:
        return self.mean.shape[1]

    def to_device(self, device: torch.device | str) -> "Latents":
        """The same latents, copied to a device once; batches are gathered there."""
        mean, logvar = (torch.from_numpy(np.array(array)).to(device) for array in (self.mean, self.logvar))
        return Latents(self.mean, self.logvar, (mean, logvar))

    def posterior(self, rows: np.ndarray, flipped: np.ndarray, device: torch.device | str = "cpu") -> Gaussian:
        """q(z|x) of these rows, mirrored where `flipped` (bool [B]): float32 [B, C, h, h]."""
        side = flipped.astype(np.int64)
        if self.moved is not None:
            place = [sent(torch.from_numpy(part), self.moved[0].device) for part in (side, np.asarray(rows))]
            return Gaussian(*(tensor[place[0], place[1]].to(device).float() for tensor in self.moved))

        def take(array: np.ndarray) -> Tensor:
            return torch.from_numpy(array[side, rows]).to(device).float()

        return Gaussian(take(self.mean), take(self.logvar))


def encode(
    cvae: CVAE,
    text: TextEncoder,
    examples: Examples,
    folder: Path,
    autocast: Callable[[], AbstractContextManager[None]],
    progress: Callable[[int, int], None] = lambda done, total: None,
    otherwise: Path | None = None,
) -> Latents:
    """Posteriors of all `examples`, from `folder` if they are there, else encoded (with progress) and kept there.

    What is damaged is encoded again. Where `folder` cannot be written, beside a dataset that is for reading alone, they
    are kept in `otherwise`.

    Where the CVAE is on a GPU with room for them, they are copied to it. Many processes encode a share each, and the
    main one writes.

    Raises:
        CelebgenError: they cannot be written, or another process cannot see what the main one wrote.
    """
    key, config = _key(cvae, text, examples, autocast), cvae.config
    shape = (2, len(examples), config.latent_channels, config.latent_size, config.latent_size)
    places = [place / key for place in (folder, otherwise) if place is not None]
    path = same(next((place for place in places if _stored(place, shape) is not None), None))
    if path is None:
        path = same(_place(folder, otherwise) / key if world().main else None)
        encoded = _encoded(cvae, text, examples, autocast)
        if world().main:
            _write(path, encoded, shape, progress)
        else:
            for _ in encoded:
                pass
        barrier()
    latents = _stored(path, shape)
    if latents is None:
        raise CelebgenError(
            f"process {world().rank} cannot see {path}, which the first process wrote; put the dataset on a disk that "
            "all machines share"
        )
    device = cvae.prior.queries.device
    return latents.to_device(device) if fits(latents.mean.nbytes + latents.logvar.nbytes, device) else latents


def _stored(path: Path, shape: tuple[int, ...]) -> Latents | None:
    """The latents of this shape in a folder of the cache; None where they are not there, or not whole."""
    if not (path / "complete.json").exists():
        return None
    try:
        mean, logvar = (np.load(path / f"{name}.npy", mmap_mode="r") for name in ("mean", "logvar"))
    except (OSError, ValueError, EOFError):
        return None
    if any(array.shape != shape or array.dtype != np.float16 for array in (mean, logvar)):
        return None
    return Latents(mean, logvar)


def _place(folder: Path, otherwise: Path | None) -> Path:
    """Where the cache can be written: found out before anything is encoded."""
    for place in (folder, otherwise):
        if place is not None:
            try:
                place.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=place):
                    return place
            except OSError as error:
                reason = error.strerror
    raise CelebgenError(f"cannot write the latents to {folder}: {reason}; make it writable, or free some space")


def _encoded(
    cvae: CVAE, text: TextEncoder, examples: Examples, autocast: Callable[[], AbstractContextManager[None]]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows [B], and their mean and logvar, each with both sides: fp16 [2, 2, B, C, h, h]; all in the main process.

    Each process encodes every n-th batch, and the main one gets them in their order.
    """
    device, where = cvae.prior.queries.device, world()
    batches = chunks(len(examples), 512 if device.type == "cuda" else 64)
    cvae.eval()

    def encoded(rows: np.ndarray) -> np.ndarray:
        with torch.no_grad(), autocast():
            images = examples.images(rows, device)
            features = nothing.select(torch.zeros(len(rows), dtype=torch.long, device=device))
            sides = [cvae.encode(pictures, features) for pictures in (images, images.flip(3))]
            both = torch.stack([torch.stack([q[part].float() for q in sides]) for part in (0, 1)])
        return both.cpu().numpy().astype(np.float16)

    with torch.no_grad(), autocast():
        nothing = text([""])
    for first in range(0, len(batches), where.size):
        own = None
        if first + where.rank < len(batches):
            rows = batches[first + where.rank]
            own = rows, encoded(rows)
        yield from (batch for batch in collected(own) if batch is not None)


def _write(
    path: Path,
    encoded: Iterable[tuple[np.ndarray, np.ndarray]],
    shape: tuple[int, ...],
    progress: Callable[[int, int], None],
) -> None:
    count = shape[1]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".latents-", dir=path.parent))
        try:
            arrays = [
                np.lib.format.open_memmap(temporary / f"{name}.npy", mode="w+", dtype=np.float16, shape=shape)
                for name in ("mean", "logvar")
            ]
            for rows, values in encoded:
                for array, both in zip(arrays, values, strict=True):
                    array[:, rows] = both
                progress(int(rows[-1]) + 1, count)
            for array in arrays:
                array.flush()
            atomic_write_json(temporary / "complete.json", {"rows": count})
            if _stored(path, shape) is None:  # else another run was faster, and wrote the same
                shutil.rmtree(path, ignore_errors=True)
                temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise CelebgenError(f"cannot write the latents to {path}: {error.strerror}; free some space") from error


def _key(
    cvae: CVAE, text: TextEncoder, examples: Examples, autocast: Callable[[], AbstractContextManager[None]]
) -> str:
    device = cvae.prior.queries.device.type
    with autocast():
        precision = str(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else "torch.float32"
    digest = hashlib.sha256(examples.split.fingerprint.encode())
    digest.update(np.ascontiguousarray(examples.rows).tobytes())
    digest.update(precision.encode())
    with torch.no_grad():
        tensors = [*cvae.encoder.state_dict().values(), *text([""])]
    for tensor in tensors:
        digest.update(tensor.float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:24]
