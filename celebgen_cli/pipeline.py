"""Text in, faces out: what `sample`, `evaluate` and Python programs share.

prompt -> text features c -> p(z|c) = N(mean, std^2)        the coordinates in which denoising runs
u_T ~ N(0, I)  <=>  z_T ~ p(z|c);  u_0 by the sampler;  z = mean + std u_0;  x = decoder(z, c)
A model's calibration corrects u_0 and x.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from celebgen_cli.diffusion.guidance import guided_denoiser, unwhiten
from celebgen_cli.diffusion.noise import image_noise, step_noise
from celebgen_cli.diffusion.samplers import SAMPLERS
from celebgen_cli.diffusion.schedule import Schedule, trailing_timesteps
from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.files import sha256_file
from celebgen_cli.models import folder as model_folder
from celebgen_cli.models.calibration import Calibration
from celebgen_cli.models.cvae import CVAE, to_float, to_uint8
from celebgen_cli.models.devices import autocast, choose_device, resolve_precision
from celebgen_cli.models.layers import Gaussian, TextFeatures
from celebgen_cli.models.text_encoder import CompactText, TextEncoder
from celebgen_cli.models.unet import UNet

PRETRAINED = Path(__file__).with_name("pretrained")
DEFAULTS: dict[str, Any] = {
    "sampler": "ddim", "steps": 20, "guidance": 1.5, "guidance_interval": [0.0, 1.0], "pag": False,
}  # fmt: skip


@torch.inference_mode()
def draw_latents(
    text: TextEncoder,
    cvae: CVAE,
    unet: UNet,
    schedule: Schedule,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    steps: int,
    guidance: float,
    sampler: str = "ddim",
    guidance_interval: Sequence[float] = (0.0, 1.0),
    pag: bool = False,
    negative: str = "",
    calibration: Calibration | None = None,
    callback: Callable[[int, int], None] | None = None,
) -> tuple[Tensor, TextFeatures]:
    """Latents z [B, C, h, h] for B prompts, each from its own seed, and what the text encoder says of the prompts.

    Guidance works in the coordinates of the prompt's own prior: the branch without text (or with the negative prompt)
    sees the same coordinates and only another text. It acts in `guidance_interval`, fractions (low, high) of T. With
    `pag` that branch loses its self-attention too, so guidance leads away from pictures that do not hang together
    (Ahn et al. 2024, arXiv 2403.17377; one branch in place of their two). `callback(step, steps)` is called as
    denoising goes on. `calibration` corrects what was drawn.
    """
    device = unet.channel_mean.device
    features = text([*prompts, negative]).to(device)
    count = len(prompts)
    rows = torch.arange(count, device=device)
    positive, other = features.select(rows), features.select(torch.full_like(rows, count))
    coordinates: Gaussian = cvae.prior(positive)
    if unet.config.init == "noise":
        coordinates = unet.noise_coordinates(coordinates)

    def denoise(x: Tensor, t: int) -> Tensor:
        return unet(x, torch.full((len(x),), t, device=device), positive, coordinates)

    both = TextFeatures(*(torch.cat(pair) for pair in zip(positive, other, strict=True)))
    twice = Gaussian(*(torch.cat([part, part]) for part in coordinates))

    worse = torch.arange(2 * count, device=device) >= count if pag else None

    def denoise_both(x: Tensor, t: int) -> Tensor:
        return unet(x, torch.full((len(x),), t, device=device), both, twice, worse)

    shape = tuple(coordinates.mean.shape[1:])
    u = SAMPLERS[sampler](
        guided_denoiser(
            denoise,
            scale=guidance,
            interval=(guidance_interval[0], guidance_interval[1]),
            timesteps=schedule.timesteps,
            stacked=denoise_both,
        ),
        image_noise(seeds, shape, device=device),
        trailing_timesteps(schedule.timesteps, steps),
        schedule,
        noise=step_noise(seeds, shape, device=device),
        callback=None if callback is None else lambda step, t, x0: callback(step, steps),
    )
    if calibration is not None:
        u = calibration(u)
    return unwhiten(u, coordinates.mean, coordinates.log_std), positive


@torch.inference_mode()
def generate(
    text: TextEncoder,
    cvae: CVAE,
    unet: UNet,
    schedule: Schedule,
    prompts: Sequence[str],
    seeds: Sequence[int],
    **settings: Any,
) -> Tensor:
    """Faces [B, 3, S, S] in about [-1, 1]: `draw_latents`, which takes the `settings`, then the decoder.

    A calibration among the settings corrects the latents and then the faces.
    """
    faces = cvae.decode(*draw_latents(text, cvae, unet, schedule, prompts, seeds, **settings))
    calibration: Calibration | None = settings.get("calibration")
    return faces if calibration is None else calibration.develop(faces)


@dataclass
class Model:
    """A model ready to sample: load one with `load_model`.

    Attributes:
        size: pixels of a face's side. crop: name of the crop that it was trained on. defaults: settings of `sample`
        that suit it. sha256: digest over its weight files, the model's identity in metadata.
    """

    path: Path
    text: TextEncoder
    cvae: CVAE
    unet: UNet
    schedule: Schedule
    info: dict[str, Any]
    device: torch.device
    calibration: Calibration | None = None
    precision: str = "fp32"
    autocast: Callable[[], AbstractContextManager[None]] = nullcontext

    @property
    def size(self) -> int:
        return self.cvae.config.image_size

    @property
    def crop(self) -> str:
        return str(self.info.get("crop", "unknown"))

    @property
    def name(self) -> str:
        return str(self.info.get("name", self.path.name))

    @property
    def defaults(self) -> dict[str, Any]:
        return {**DEFAULTS, **self.info.get("defaults", {})}

    @functools.cached_property
    def sha256(self) -> str:
        digests = [sha256_file(p) for p in sorted(self.path.glob("*.safetensors"))]
        return hashlib.sha256("".join(digests).encode()).hexdigest()

    def sample(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        *,
        steps: int | None = None,
        sampler: str | None = None,
        guidance: float | None = None,
        guidance_interval: Sequence[float] | None = None,
        pag: bool | None = None,
        negative: str = "",
        calibrate: bool = True,
        batch_size: int = 16,
        callback: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Faces uint8 [N, S, S, 3]: prompt i from seed i, the same face at any batch size.

        `calibrate` off leaves the model's correction of drawn latents out, where it has one. `callback(done, total)`
        counts network evaluations over all batches.

        Raises:
            UsageError: prompts and seeds differ in number, or a setting is out of range.
        """
        steps = self.defaults["steps"] if steps is None else steps
        sampler = self.defaults["sampler"] if sampler is None else sampler
        guidance = self.defaults["guidance"] if guidance is None else guidance
        interval = self.defaults["guidance_interval"] if guidance_interval is None else guidance_interval
        pag = self.defaults["pag"] if pag is None else pag
        if len(prompts) != len(seeds):
            raise UsageError(f"{len(prompts)} prompts need as many seeds, not {len(seeds)}")
        check_settings(steps, sampler, guidance, self.schedule.timesteps, interval)
        images = np.empty((len(prompts), self.size, self.size, 3), dtype=np.uint8)
        batches = range(0, len(prompts), batch_size)
        for done, start in enumerate(batches):
            some = slice(start, start + batch_size)

            def count(step: int, _: int, before: int = done * steps) -> None:
                if callback is not None:
                    callback(before + step + 1, len(batches) * steps)

            with self.autocast():
                faces = generate(
                    self.text, self.cvae, self.unet, self.schedule, prompts[some], seeds[some],
                    steps=steps, guidance=guidance, sampler=sampler, guidance_interval=interval, pag=pag,
                    negative=negative, calibration=self.calibration if calibrate else None, callback=count,
                )  # fmt: skip
            images[some] = to_uint8(faces)
        return images

    @torch.inference_mode()
    def reconstruct(self, images: np.ndarray, batch_size: int = 32) -> np.ndarray:
        """The CVAE's reconstructions of uint8 [N, S, S, 3], without text: same shape.

        Raises:
            UsageError: the pictures are not of the model's size.
        """
        if images.ndim != 4 or images.shape[1:] != (self.size, self.size, 3):
            raise UsageError(f"{self.name} takes pictures [N, {self.size}, {self.size}, 3], not {list(images.shape)}")
        parts = []
        for start in range(0, len(images), batch_size):
            batch = to_float(torch.from_numpy(np.ascontiguousarray(images[start : start + batch_size])).to(self.device))
            with self.autocast():
                parts.append(to_uint8(self.cvae.reconstruct(batch, self.text([""]))))
        return np.concatenate(parts) if parts else np.empty_like(images)

    def unknown_words(self, prompt: str) -> list[str]:
        """Words of the prompt that the compact text encoder never saw in training."""
        return self.text.unknown_words(prompt) if isinstance(self.text, CompactText) else []


def check_settings(
    steps: int, sampler: str, guidance: float, timesteps: int, interval: Sequence[float] = (0.0, 1.0)
) -> None:
    """Refuse settings that cannot work.

    Raises:
        UsageError: with the range that is allowed.
    """
    if not 1 <= steps <= timesteps:
        raise UsageError(f"--steps must be from 1 to {timesteps}, not {steps}")
    if sampler not in SAMPLERS:
        raise UsageError(f"there is no sampler '{sampler}'; choose one of {', '.join(SAMPLERS)}")
    if not 0 <= guidance <= 100:
        raise UsageError(f"--guidance must be from 0 to 100, not {guidance}")
    if len(interval) != 2 or not 0 <= interval[0] <= interval[1] <= 1:
        raise UsageError(
            f"--guidance-interval must be two numbers, 0 <= LOW <= HIGH <= 1, not {' '.join(map(str, interval))}"
        )


def load_model(path: Path | str | None = None, device: str | None = None, precision: str = "auto") -> Model:
    """Load a model folder; None is the model in the box.

    Raises:
        CelebgenError: there is no model there, or a file of it is missing, truncated or does not fit.
        UsageError: device or precision do not exist here.
    """
    folder = PRETRAINED if path is None else Path(path)
    if path is None and not model_folder.is_model(folder):
        raise CelebgenError("this installation has no model in the box; give one with --model MODEL")
    where = choose_device(device)
    parts = model_folder.load_model(folder)
    assert parts.text is not None and parts.cvae is not None and parts.unet is not None
    try:
        schedule = Schedule.from_dict(parts.info["schedule"])
    except (KeyError, TypeError) as error:
        raise CelebgenError(f"{folder / 'model.json'} has no schedule; fetch or export the model again") from error
    if not isinstance(parts.info.get("defaults", {}), dict):
        raise CelebgenError(f"{folder / 'model.json'} has unreadable defaults; fetch or export the model again")
    torch.set_flush_denormal(True)
    return Model(
        folder, parts.text.to(where), parts.cvae.to(where), parts.unet.to(where), schedule, parts.info, where,
        None if parts.calibration is None else parts.calibration.to(where),
        resolve_precision(where, precision), autocast(where, precision),
    )  # fmt: skip
