"""Latents of a whole split, encoded once without text, flips included, and kept on disk.

A cache is keyed by the SHA-256 of the encoder's weights and the split's fingerprint, so a stale one cannot be used.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from celebgen_cli.errors import CelebgenError
from celebgen_cli.files import atomic_write_json
from celebgen_cli.models.cvae import CVAE
from celebgen_cli.models.layers import Gaussian
from celebgen_cli.models.text_encoder import TextEncoder
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
            place = [torch.from_numpy(part).to(self.moved[0].device) for part in (side, np.asarray(rows))]
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
) -> Latents:
    """Posteriors of all `examples`, from `folder` if they are there, else encoded (with progress) and kept there.

    Where the CVAE is on a GPU with room for them, they are copied to it.
    """
    path = folder / _key(cvae, text, examples)
    if not (path / "complete.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".latents-", dir=folder))
        try:
            _encode_into(temporary, cvae, text, examples, autocast, progress)
            atomic_write_json(temporary / "complete.json", {"rows": len(examples)})
            shutil.rmtree(path, ignore_errors=True)
            temporary.rename(path)
        except OSError as error:
            raise CelebgenError(f"cannot write the latents to {path}: {error.strerror}; free some space") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    latents = Latents(np.load(path / "mean.npy", mmap_mode="r"), np.load(path / "logvar.npy", mmap_mode="r"))
    device = cvae.prior.queries.device
    return latents.to_device(device) if fits(latents.mean.nbytes + latents.logvar.nbytes, device) else latents


def _encode_into(
    folder: Path,
    cvae: CVAE,
    text: TextEncoder,
    examples: Examples,
    autocast: Callable[[], AbstractContextManager[None]],
    progress: Callable[[int, int], None],
) -> None:
    config, device = cvae.config, cvae.prior.queries.device
    shape = (2, len(examples), config.latent_channels, config.latent_size, config.latent_size)
    arrays = [
        np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=np.float16, shape=shape)
        for name in ("mean", "logvar")
    ]
    cvae.eval()
    with torch.no_grad(), autocast():
        nothing = text([""])
        for rows in chunks(len(examples), 64):
            images = examples.images(rows, device)
            features = nothing.select(torch.zeros(len(rows), dtype=torch.long, device=device))
            for side, pictures in enumerate((images, images.flip(3))):
                q = cvae.encode(pictures, features)
                for array, values in zip(arrays, q, strict=True):
                    array[side, rows] = values.float().cpu().numpy()
            progress(int(rows[-1]) + 1, len(examples))
    for array in arrays:
        array.flush()


def _key(cvae: CVAE, text: TextEncoder, examples: Examples) -> str:
    digest = hashlib.sha256(examples.split.fingerprint.encode())
    digest.update(np.ascontiguousarray(examples.rows).tobytes())
    with torch.no_grad():
        tensors = [*cvae.encoder.state_dict().values(), *text([""])]
    for tensor in tensors:
        digest.update(tensor.float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:24]
