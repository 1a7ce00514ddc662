"""Few steps: a student whose one step is several guided steps of its teacher.

Progressive distillation (Salimans & Ho 2022, arXiv 2202.00512, algorithm 2) of guidance too (Meng et al. 2022, arXiv
2210.03142), in one stage and on the student's own path: a batch begins as noise, and wherever the student has got to,
the teacher takes its short steps from there. So no latents of photographs are needed, only captions, and the student
meets in training what it meets when it draws.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from celebgen_cli.diffusion.guidance import Denoiser
from celebgen_cli.diffusion.objective import diffusion_loss, from_velocity
from celebgen_cli.diffusion.schedule import Schedule
from celebgen_cli.diffusion.spacing import spaced_timesteps
from celebgen_cli.drawing import conditioned_denoiser, generate, start_coordinates
from celebgen_cli.errors import UsageError
from celebgen_cli.images import save_grid
from celebgen_cli.models.cvae import CVAE, to_uint8
from celebgen_cli.models.devices import sent
from celebgen_cli.models.layers import Gaussian, TextFeatures
from celebgen_cli.models.text_encoder import TextEncoder
from celebgen_cli.models.unet import UNet, UNetConfig
from celebgen_cli.training.batches import (
    Examples,
    batch_rows,
    chunks,
    noise_generator,
    numpy_generator,
    torch_generator,
)
from celebgen_cli.training.conditions import Conditions, captions_that_come_back
from celebgen_cli.training.diffusion import PREVIEW_PROMPTS, DenoiserTask
from celebgen_cli.training.parts import Part

HELD_OUT = 64
"""Paths that the held-out loss is a mean over; each costs a call for every step of student and teacher, or two."""


@dataclass(frozen=True)
class Teaching:
    """How the teacher draws, and in how many steps the student is to.

    Attributes:
        steps: of the student. teacher_steps: of the teacher, a multiple of them. spacing: of both.
        guidance, guidance_interval, pag, rescale: of the teacher; the student has them in its weights.
    """

    steps: int
    teacher_steps: int
    spacing: str = "trailing"
    guidance: float = 1.0
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    pag: bool = False
    rescale: float = 0.0

    def paths(self, schedule: Schedule) -> list[list[int]]:
        """For each step of the student the levels that the teacher visits in it, first and last included; ends at 0.

        Raises:
            UsageError: the student would not visit some of them with its own number of steps.
        """
        levels = [*spaced_timesteps(schedule, self.teacher_steps, self.spacing), 0]
        jump = self.teacher_steps // self.steps
        if levels[:-1:jump] != spaced_timesteps(schedule, self.steps, self.spacing):
            raise UsageError(
                f"{self.steps} steps with {self.spacing} spacing are not among {self.teacher_steps} of the teacher's; "
                "choose another --distill-steps"
            )
        return [levels[i : i + jump + 1] for i in range(0, self.teacher_steps, jump)]

    @property
    def defaults(self) -> dict[str, object]:
        """The settings of `sample` that suit the student."""
        return {"sampler": "ddim", "spacing": self.spacing, "steps": self.steps, "guidance": 1.0,
                "guidance_interval": [0.0, 1.0], "pag": False}  # fmt: skip


def teaching_of(settings: Mapping[str, Any], steps: int) -> Teaching:
    """What a model with these settings of `sample` teaches a student of `steps` steps.

    The teacher has at least its own number of steps, made a multiple of the student's, and goes them with DDIM.
    """
    low, high = settings["guidance_interval"]
    return Teaching(
        steps, math.ceil(settings["steps"] / steps) * steps, settings["spacing"], float(settings["guidance"]),
        (float(low), float(high)), settings["pag"], float(settings["rescale"]),
    )  # fmt: skip


def ddim_step(x: Tensor, v: Tensor, t: int, s: int, schedule: Schedule) -> Tensor:
    """x_s on the way from x_t with the velocity v (Song et al. 2021, arXiv 2010.02502, equation 12, eta 0)."""
    x0, eps = from_velocity(x, v.to(x), t, schedule)
    return schedule.alpha(s, x) * x0 + schedule.sigma(s, x) * eps


def velocity_between(x_t: Tensor, x_s: Tensor, t: int, s: int, schedule: Schedule) -> Tensor:
    """The velocity at level t whose one DDIM step leads from x_t to x_s, for s < t.

    With angles of alpha = cos p and sigma = sin p, DDIM is x_s = cos(p_t - p_s) x_t - sin(p_t - p_s) v.
    """
    alpha_t, sigma_t = schedule.alpha(t, x_t), schedule.sigma(t, x_t)
    alpha_s, sigma_s = schedule.alpha(s, x_t), schedule.sigma(s, x_t)
    cosine, sine = alpha_t * alpha_s + sigma_t * sigma_s, sigma_t * alpha_s - alpha_t * sigma_s
    return (cosine * x_t - x_s) / sine


class DistillationTask(DenoiserTask):
    """Trains a student of `teacher`, from its weights; see `celebgen_cli.training.engine.Task`.

    A batch is as many paths from noise to latent; each has a target at every step of the student.
    """

    def __init__(
        self, config: UNetConfig, schedule: Schedule, cvae: CVAE, text: TextEncoder, teacher: UNet, teaching: Teaching,
        train: Examples, held_out: Examples, batch_size: int, seed: int,
    ) -> None:  # fmt: skip
        self.examples, self.held_out, self.schedule, self.text = train, held_out, schedule, text
        self.batch_size, self.seed, self.teaching = batch_size, seed, teaching
        self.cvae, self.teacher = cvae.eval().requires_grad_(False), teacher.eval().requires_grad_(False)
        self.conditions = Conditions(text, self.cvae.prior, captions_that_come_back(train))
        self.paths = teaching.paths(schedule)
        self.model = UNet(config)
        self.model.load_state_dict(teacher.state_dict())
        if self.model.coarse is not None:  # as of all else, its guidance goes into the student
            self.model.coarse.fold(text([""]).pooled[0].cpu(), teaching.guidance)
        self.module: nn.Module = self.model

    def loss(self, step: int, part: Part | None = None) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        rows = batch_rows(len(self.examples), self.batch_size, step, self.seed)
        texts = self.examples.captions(rows, numpy_generator(self.seed, step, 0)).texts
        return self._loss(self.model, texts, torch_generator(self.seed, step, 1), part)

    def _loss(
        self, model: UNet, texts: list[str], generator: torch.Generator, part: Part | None = None
    ) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """Mean squared error of the velocity over all steps of the paths of `part`; noise is drawn for all `texts`."""
        part = part or Part(0, len(texts))
        with torch.no_grad():
            features, p = self.conditions([*part.of(texts), ""])
            if self.device.type == "cuda":
                features = features.filled()
            own = torch.arange(part.count, device=self.device)
            positive, other = features.select(own), features.select(torch.full_like(own, part.count))
            prior = Gaussian(p.mean[own], p.logvar[own])
            source = noise_generator(generator, self.device)
            shape = (len(texts), *prior.mean.shape[1:])

            def noise() -> Tensor:
                return sent(part.of(torch.randn(shape, generator=source, device=source.device)), self.device)

            x = noise()
            coarse = model.coarse
            code = None if coarse is None else coarse.draw(positive.pooled, coarse.unsaid(noise().flatten(1)))
            _, shown = start_coordinates(self.text, self.cvae, model, prior, code)
            teacher = self._taught(positive, other, shown)
        losses = []
        for levels in self.paths:
            t, s = levels[0], levels[-1]
            with torch.no_grad():
                target = velocity_between(x, self._led(teacher, x, levels), t, s, self.schedule)
            v = model(x, torch.full((part.count,), t, device=self.device), positive, shown)
            losses.append(diffusion_loss(v, target, t, self.schedule, float("inf")))
            x = ddim_step(x, v.detach(), t, s, self.schedule)
        logged = {f"step_{i + 1}": loss.detach() for i, loss in enumerate(losses)}
        return torch.stack(losses).mean(), logged

    def _taught(self, positive: TextFeatures, other: TextFeatures, shown: Gaussian) -> Denoiser:
        how = self.teaching
        return conditioned_denoiser(
            self.teacher, self.schedule, positive, other, shown, guidance=how.guidance,
            interval=how.guidance_interval, pag=how.pag, rescale=how.rescale,
        )  # fmt: skip

    def _led(self, teacher: Denoiser, x: Tensor, levels: Sequence[int]) -> Tensor:
        """Where the teacher gets to from x, over these levels."""
        for t, s in itertools.pairwise(levels):
            x = ddim_step(x, teacher(x, t), t, s, self.schedule)
        return x

    def validate(self, ema: nn.Module) -> Mapping[str, float]:
        """The loss for the captions of 64 held-out pictures, with noise that is always the same."""
        assert isinstance(ema, UNet)
        total, count = 0.0, min(HELD_OUT, len(self.held_out))
        for i, rows in enumerate(chunks(count, 32)):
            texts = self.held_out.captions(rows, numpy_generator(self.seed, i, 90)).texts
            total += float(self._loss(ema, texts, torch_generator(self.seed, i, 91))[0]) * len(rows)
        return {"valid_loss": total / count, "score": total / count}

    def preview(self, ema: nn.Module, path: Path) -> None:
        """What the student draws for each of sixteen prompts, and below it what the teacher draws from that noise."""
        assert isinstance(ema, UNet)
        how, seeds = self.teaching, np.zeros(len(PREVIEW_PROMPTS), dtype=int).tolist()
        faces = generate(
            self.text, self.cvae, ema, self.schedule, PREVIEW_PROMPTS, seeds, steps=how.steps, guidance=1.0,
            spacing=how.spacing,
        )  # fmt: skip
        taught = generate(
            self.text, self.cvae, self.teacher, self.schedule, PREVIEW_PROMPTS, seeds, steps=how.teacher_steps,
            guidance=how.guidance, guidance_interval=how.guidance_interval, pag=how.pag, rescale=how.rescale,
            spacing=how.spacing,
        )  # fmt: skip
        half = len(PREVIEW_PROMPTS) // 2
        rows = torch.cat([faces[:half], taught[:half], faces[half:], taught[half:]])
        names = [prompt or "(nothing)" for prompt in PREVIEW_PROMPTS]
        save_grid(to_uint8(rows), path, columns=half, labels=[*names[:half] * 2, *names[half:] * 2])
