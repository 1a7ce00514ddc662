"""Text in, faces out: a model folder as one object, which `sample`, `evaluate` and Python programs share.

`celebgen_cli.drawing` does the drawing, `celebgen_cli.settings` names what decides a face; a model's calibration
corrects what was drawn.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from celebgen_cli.data.captions import Typed, read_prompt, unsaid_phrases
from celebgen_cli.diffusion.noise import image_noise
from celebgen_cli.diffusion.schedule import Schedule
from celebgen_cli.drawing import draw_latents, generate
from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.files import sha256_file
from celebgen_cli.models import folder as model_folder
from celebgen_cli.models.calibration import Calibration
from celebgen_cli.models.cvae import CVAE, to_float, to_uint8
from celebgen_cli.models.devices import autocast, choose_device, resolve_precision
from celebgen_cli.models.layers import Gaussian, TextFeatures
from celebgen_cli.models.registry import BOX, find
from celebgen_cli.models.text_encoder import CompactText, TextEncoder
from celebgen_cli.models.unet import UNet
from celebgen_cli.settings import DEFAULTS, NEUTRAL, check_settings, complete

__all__ = ["DEFAULTS", "PRETRAINED", "Model", "Prior", "check_settings", "draw_latents", "generate", "load_model"]

PRETRAINED = BOX
# Progress of frames: (row of the batch's first face, step, faces uint8 [B, S, S, 3])
Frames = Callable[[int, int, np.ndarray], None]


@dataclass(frozen=True)
class Prior:
    """p(z|text) for B prompts: the distribution that the CVAE gives the text, and where denoising starts.

    Attributes:
        prompts: the B texts. mean, std: float32 [B, C, h, h].
    """

    prompts: tuple[str, ...]
    mean: np.ndarray
    std: np.ndarray
    model: Model = field(repr=False)

    def faces(self, seeds: Sequence[int] | None = None, batch_size: int = 32) -> np.ndarray:
        """Faces uint8 [B, S, S, 3] by the CVAE alone: the prior's mean decoded, or with `seeds`, a draw for each.

        The draw of a seed is made of the very noise that `Model.sample` starts from with that seed; where denoising
        starts at T from the text's own prior (`init` is `prior`, as in the box), it is the latent that it starts from.

        Raises:
            UsageError: prompts and seeds differ in number.
        """
        z = torch.from_numpy(self.mean)
        if seeds is not None:
            same_number(self.prompts, seeds)
            z = z + torch.from_numpy(self.std) * image_noise(seeds, self.mean.shape[1:])
        return self.model.decode(z, self.prompts, batch_size)


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
    _read: dict[tuple[str, str], Typed] = field(default_factory=dict, repr=False)

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

    @property
    def description(self) -> dict[str, Any]:
        """What of the networks no weight tells: their sizes, and the schedule of the noise; JSON values."""
        networks = {"text": self.text.description(), "cvae": asdict(self.cvae.config), "unet": asdict(self.unet.config)}
        return {**networks, "schedule": self.schedule.to_dict()}

    @functools.cached_property
    def sha256(self) -> str:
        drawing = (p for p in sorted(self.path.glob("*.safetensors")) if p.name != model_folder.JUDGE)
        digests = [sha256_file(p) for p in drawing]  # a judge added later changes no face
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
        eta: float | None = None,
        spacing: str | None = None,
        rescale: float | None = None,
        start: float | None = None,
        negative: str = "",
        calibrate: bool = True,
        batch_size: int = 16,
        callback: Callable[[int, int], None] | None = None,
        frames: Frames | None = None,
    ) -> np.ndarray:
        """Faces uint8 [N, S, S, 3]: prompt i from seed i, the same face at any batch size, order and process.

        Settings that are None are the model's own defaults (`settings` says which).

        Args:
            steps: evaluations of the network, 1..T. sampler: ddim, ddpm, dpmpp_2m or angle_2s.
            guidance: 1 is the text plainly, 0 the negative prompt alone (the text then says where denoising starts, no
                more), above 1 leads away from that, up to 100.
            guidance_interval: where guidance acts, two fractions of T. pag: lead away from a worse network too.
            eta: noise of ddim's steps, 0..1. spacing: of timesteps; one of `SPACINGS`.
            rescale: 0..1, against the glare of strong guidance. start: fraction of T where denoising begins, above 0.
            negative: what the faces shall not show.
            calibrate: off leaves out the model's correction of what is drawn, where it has one.
            callback: called with (done, total), which count evaluations over all batches.
            frames: called with (first, step, faces) for each batch, whose first face is prompt `first`: step 0 is the
                decoded mean of the prior, step i what i evaluations made of it, and the last step the result. Each
                costs a run of the decoder.

        Raises:
            UsageError: prompts and seeds differ in number, or a setting is out of range.
        """
        settings = self.settings(
            steps=steps, sampler=sampler, guidance=guidance, guidance_interval=guidance_interval, pag=pag, eta=eta,
            spacing=spacing, rescale=rescale, start=start,
        )  # fmt: skip
        same_number(prompts, seeds)
        check_batch_size(batch_size)
        images = np.empty((len(prompts), self.size, self.size, 3), dtype=np.uint8)
        batches = range(0, len(prompts), batch_size)
        total = len(batches) * settings["steps"]
        for done, first in enumerate(batches):
            some = slice(first, first + batch_size)

            def count(step: int, steps: int, before: int = done) -> None:
                if callback is not None:
                    callback(before * steps + step + 1, total)

            def show(step: int, faces: Tensor, first: int = first) -> None:
                if frames is not None:
                    frames(first, step, to_uint8(faces))

            with self.autocast():
                faces = generate(
                    self.text, self.cvae, self.unet, self.schedule, prompts[some], seeds[some], **settings,
                    negative=negative, calibration=self.calibration if calibrate else None, callback=count,
                    frames=None if frames is None else show,
                )  # fmt: skip
            images[some] = to_uint8(faces)
            if frames is not None:
                frames(first, settings["steps"], images[some].copy())
        return images

    def settings(self, **given: Any) -> dict[str, Any]:
        """Every setting of `sample` that decides a face, as JSON values: those given and not None, else the model's.

        steps, sampler, guidance, guidance_interval, pag, eta, spacing, rescale, start.

        Raises:
            UsageError: one is unknown or out of range.
        """
        return complete(self.info.get("defaults", {}), given, self.schedule.timesteps)

    def uncalibrated(self, **given: Any) -> list[str]:
        """Names of the settings in which these differ from those that the model's calibration was measured with.

        It is applied all the same unless `calibrate` is off, but then corrects draws of another kind. Takes the
        settings of `sample`, and `negative`. Empty where all agree, and where the model has no calibration.

        Raises:
            UsageError: a setting is unknown or out of range.
        """
        if self.calibration is None:
            return []
        negative = given.pop("negative", "")
        record = self.info.get("calibration")
        measured = record.get("settings", {}) if isinstance(record, dict) else {}
        measured = measured if isinstance(measured, dict) else {}
        now, then = self.settings(**given), {**DEFAULTS, **NEUTRAL, **self.info.get("defaults", {}), **measured}
        names = [name for name, value in now.items() if value != then.get(name)]
        return [*names, "negative"] if negative else names

    def reconstruct(self, images: np.ndarray, batch_size: int = 32, calibrate: bool = True) -> np.ndarray:
        """The CVAE's reconstructions of uint8 [N, S, S, 3], without text: same shape.

        `calibrate`: off leaves out the model's correction of decoded faces, where it has one.

        Raises:
            UsageError: the pictures are not of the model's size.
        """
        return self.decode(self.encode(images, batch_size), batch_size=batch_size, calibrate=calibrate)

    @torch.inference_mode()
    def prior(self, prompts: Sequence[str], batch_size: int = 64) -> Prior:
        """p(z|text) of each prompt: its mean and std, and faces decoded from it without any denoising."""
        check_batch_size(batch_size)
        shape = (0, self.cvae.config.latent_channels, self.cvae.config.latent_size, self.cvae.config.latent_size)
        means, stds = [np.empty(shape, np.float32)], [np.empty(shape, np.float32)]
        for start in range(0, len(prompts), batch_size):
            with self.autocast():
                p = self.cvae.prior(self.text(list(prompts[start : start + batch_size])).to(self.device))
            means.append(p.mean.float().cpu().numpy())
            stds.append(p.log_std.float().exp().cpu().numpy())
        return Prior(tuple(prompts), np.concatenate(means), np.concatenate(stds), self)

    def encode(self, images: np.ndarray, batch_size: int = 32) -> Tensor:
        """Latents z [N, C, h, h] of pictures uint8 [N, S, S, 3]: the mean of q(z|x) without text, on the device.

        Not whitened: `whiten` by the prior without text (`prior([""])`) gives the u that editing denoises.

        Raises:
            UsageError: the pictures are not of the model's size.
        """
        return self.posterior(images, batch_size).mean

    @torch.inference_mode()
    def posterior(self, images: np.ndarray, batch_size: int = 32) -> Gaussian:
        """q(z|x) without text of pictures uint8 [N, S, S, 3]: float32 [N, C, h, h] twice, on the device.

        Raises:
            UsageError: the pictures are not of the model's size.
        """
        if images.ndim != 4 or images.shape[1:] != (self.size, self.size, 3):
            raise UsageError(f"{self.name} takes pictures [N, {self.size}, {self.size}, 3], not {list(images.shape)}")
        if images.dtype != np.uint8:
            raise UsageError(f"{self.name} takes pictures of uint8, 0 to 255, not {images.dtype}")
        check_batch_size(batch_size)
        size, nothing = self.cvae.config.latent_size, self._features([""])
        empty = torch.empty((0, self.cvae.config.latent_channels, size, size), device=self.device)
        parts = [Gaussian(empty, empty)]
        for start in range(0, len(images), batch_size):
            pixels = np.array(images[start : start + batch_size], order="C")  # a copy: memory-mapped ones are read-only
            batch = to_float(torch.from_numpy(pixels).to(self.device))
            with self.autocast():
                q = self.cvae.encode(batch, _repeat(nothing, len(batch)))
            parts.append(Gaussian(q.mean.float(), q.logvar.float()))
        return Gaussian(*(torch.cat(values) for values in zip(*parts, strict=True)))

    @torch.inference_mode()
    def decode(
        self, z: Tensor, prompts: Sequence[str] | None = None, batch_size: int = 32, calibrate: bool = False
    ) -> np.ndarray:
        """Faces uint8 [N, S, S, 3] of latents z [N, C, h, h], for N prompts or without text.

        `calibrate`: give them the spatial frequencies of photographs, where the model's calibration knows how.

        Raises:
            UsageError: prompts and latents differ in number.
        """
        if prompts is not None and len(prompts) != len(z):
            raise UsageError(f"{len(z)} latents need as many prompts, not {len(prompts)}")
        check_batch_size(batch_size)
        nothing = self._features([""]) if prompts is None else None
        images = np.empty((len(z), self.size, self.size, 3), dtype=np.uint8)
        for start in range(0, len(z), batch_size):
            batch = z[start : start + batch_size].to(self.device)
            some = [] if prompts is None else prompts[start : start + batch_size]
            text = self._features(some) if nothing is None else _repeat(nothing, len(batch))
            with self.autocast():
                faces = self.cvae.decode(batch, text)
                if calibrate and self.calibration is not None:
                    faces = self.calibration.develop(faces)
                images[start : start + batch_size] = to_uint8(faces)
        return images

    def _features(self, prompts: Sequence[str]) -> TextFeatures:
        with self.autocast():
            return self.text(list(prompts)).to(self.device)

    def read(self, prompt: str, negative: str = "") -> Typed:
        """What a prompt and a negative prompt mean in the words that the compact text encoder learned from.

        With another text encoder they stay as they are. `sample` draws the words that it is given.
        """
        if not isinstance(self.text, CompactText):
            return Typed(prompt, negative, prompt, False)
        key = (prompt, negative)
        if key not in self._read:
            if len(self._read) >= 4096:  # a stream of prompts may hold any number
                self._read.clear()
            self._read[key] = read_prompt(prompt, negative, self._learned)
        return self._read[key]

    def unknown_words(self, prompt: str) -> list[str]:
        """Words of the prompt that the compact text encoder never saw in training."""
        return self.text.unknown_words(prompt) if isinstance(self.text, CompactText) else []

    def unlearned_phrases(self, prompt: str) -> list[str]:
        """Phrases of the prompt whose words captions have, but never so: "red hair", by a model that learned from them.

        None is named of a model that learned from other texts: another text encoder's, or people's own captions.
        """
        training = self.info.get("training")
        training = training if isinstance(training, dict) else {}
        own = "finetuned" in training or training.get("captions", "grammar") != "grammar"
        if own or not isinstance(self.text, CompactText):
            return []
        return unsaid_phrases(prompt, lambda word: not self.unknown_words(word))

    def _learned(self, words: str) -> bool:
        return not self.unknown_words(words) and not self.unlearned_phrases(words)

    def cut_words(self, prompt: str) -> list[str]:
        """Words at the end of a prompt that the compact text encoder has no room for."""
        return self.text.cut_words(prompt) if isinstance(self.text, CompactText) else []


def _repeat(text: TextFeatures, count: int) -> TextFeatures:
    return text.select(torch.zeros(count, dtype=torch.long, device=text.pooled.device))


def same_number(prompts: Sequence[str], seeds: Sequence[int]) -> None:
    """Raise UsageError unless these are lists of as many prompts as seeds."""
    if isinstance(prompts, str):
        raise UsageError(f"prompts are a list of texts, such as [{prompts[:60]!r}], not one text")
    if not isinstance(seeds, Sequence | np.ndarray):
        raise UsageError(f"seeds are a list of numbers, one a prompt, such as [0], not {seeds!r:.60}")
    if len(prompts) != len(seeds):
        raise UsageError(f"{len(prompts)} prompts need as many seeds, not {len(seeds)}")


def check_batch_size(batch_size: int) -> None:
    """Raise UsageError for a batch size below 1."""
    if batch_size < 1:
        raise UsageError(f"--batch-size must be at least 1, not {batch_size}")


def load_model(path: Path | str | None = None, device: str | None = None, precision: str = "auto") -> Model:
    """Load a model by folder, name or hf://OWNER/NAME[@REVISION]; None is the model in the box.

    Raises:
        CelebgenError: there is no model there, or a file of it is missing, truncated or does not fit.
        UsageError: device or precision do not exist here.
    """
    folder = PRETRAINED if path is None else find(path)
    if path is None and not model_folder.is_model(folder):
        raise CelebgenError("this installation has no model in the box; give one with --model MODEL")
    where = choose_device(device)
    parts = model_folder.load_model(folder)
    assert parts.text is not None and parts.cvae is not None and parts.unet is not None
    try:
        schedule = Schedule.from_dict(parts.info["schedule"])
    except (KeyError, TypeError) as error:
        raise CelebgenError(f"{folder / 'model.json'} has no schedule; fetch or export the model again") from error
    try:
        complete(parts.info.get("defaults", {}), {}, schedule.timesteps)
    except (UsageError, AttributeError, TypeError) as error:
        raise CelebgenError(f"{folder / 'model.json'} has wrong defaults ({error}); export it again") from error
    torch.set_flush_denormal(True)
    if where.type == "cpu":  # its convolutions are faster so by an eighth to a fifth, and the same to rounding
        for network in (parts.cvae, parts.unet):
            network.to(memory_format=torch.channels_last)
    return Model(
        folder, parts.text.to(where), parts.cvae.to(where), parts.unet.to(where), schedule, parts.info, where,
        None if parts.calibration is None else parts.calibration.to(where),
        resolve_precision(where, precision), autocast(where, precision),
    )  # fmt: skip
