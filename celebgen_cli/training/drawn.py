"""Latents that a finished denoiser draws, for a decoder to learn what to make of them.

A decoder that has seen nothing but the encoder's latents turns the small errors of drawn ones into crumbled texture.
The pool is drawn once, kept in the run folder and keyed by what drew it, so a stale one cannot be used.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from celebgen_cli.diffusion.schedule import Schedule
from celebgen_cli.models.calibration import Calibration
from celebgen_cli.models.cvae import CVAE
from celebgen_cli.models.devices import autocast, resolve_precision
from celebgen_cli.models.text_encoder import TextEncoder
from celebgen_cli.models.unet import UNet
from celebgen_cli.pipeline import draw_latents
from celebgen_cli.processes import barrier, collected, same, world
from celebgen_cli.training.batches import Examples, batch_rows, numpy_generator
from celebgen_cli.training.checkpoints import load_tensors, save_whole

BATCH, BATCH_ON_GPU = 40, 256


@dataclass(frozen=True)
class Drawn:
    """N latents, fp16 [N, C, h, h], and the caption that each was drawn for."""

    latents: Tensor
    captions: list[str]

    def __len__(self) -> int:
        return len(self.captions)


def draw_pool(
    folder: Path,
    count: int,
    text: TextEncoder,
    cvae: CVAE,
    unet: UNet,
    schedule: Schedule,
    examples: Examples,
    settings: Mapping[str, Any],
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
    calibration: Calibration | None = None,
    precision: str = "fp32",
) -> Drawn:
    """Draw `count` latents for captions of random training pictures, or read them from `folder` if they are there.

    `settings` are those of `pipeline.draw_latents`: steps, guidance, .... Seeds are far above those that people
    and measurements use. `precision` is that of `models.devices.autocast`.

    Raises:
        CelebgenError: the disk is full, or the file there is damaged.
        UsageError: there is no such precision on this device.
    """
    rows = batch_rows(len(examples), count, 0, seed + 1)
    texts = examples.captions(rows, numpy_generator(seed, 0, 70)).texts
    where = unet.channel_mean.device
    precision, mixed = resolve_precision(where, precision), autocast(where, precision)
    key = _key(text, cvae, unet, schedule, texts, settings, seed, calibration, precision)
    path = folder / f"drawn-{key}.safetensors"
    if not same(path.is_file()):
        parts: list[Tensor] = []
        batch = BATCH_ON_GPU if where.type == "cuda" else BATCH
        for first in range(0, count, batch * world().size):  # each process draws a batch, the main one keeps them all
            start, own = first + batch * world().rank, None
            some = texts[start : start + batch]
            if some:
                seeds = [2_000_000_000 + seed % 2**40 * 1_000_000 + start + i for i in range(len(some))]
                with mixed():
                    z, _ = draw_latents(text, cvae, unet, schedule, some, seeds, calibration=calibration, **settings)
                own = z.cpu().half()
            parts += [z for z in collected(own) if z is not None]
            progress(min(first + batch * world().size, count), count)
        if world().main:
            save_whole({"latents": torch.cat(parts)}, path)
        barrier()
    return Drawn(load_tensors(path)["latents"], texts)


def _key(
    text: TextEncoder,
    cvae: CVAE,
    unet: UNet,
    schedule: Schedule,
    texts: list[str],
    settings: Mapping[str, Any],
    seed: int,
    calibration: Calibration | None,
    precision: str,
) -> str:
    drawn = (texts, sorted(settings.items()), seed, sorted(schedule.to_dict().items()), unet.config, precision)
    digest = hashlib.sha256(repr(drawn).encode())
    networks = (text, cvae.prior, unet)
    for tensor in (*(value for network in networks for value in network.state_dict().values()), *(calibration or ())):
        digest.update(tensor.float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:24]
