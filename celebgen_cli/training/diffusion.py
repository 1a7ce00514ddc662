"""Training the denoiser on the latent whitened by the CVAE's prior: v-prediction with the min-SNR weight.

Whitening is a choice of coordinates. Guidance subtracts branches in the same coordinates, those of the positive prompt,
so the network must know every text in every coordinates: rows without text, and some with it, are whitened by the prior
of another row's caption or of no caption.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from celebgen_cli.diffusion.guidance import whiten
from celebgen_cli.diffusion.objective import add_noise, diffusion_loss, velocity
from celebgen_cli.diffusion.schedule import Schedule
from celebgen_cli.images import save_grid
from celebgen_cli.models.coarse import Coarse
from celebgen_cli.models.cvae import CVAE, to_uint8
from celebgen_cli.models.devices import sent
from celebgen_cli.models.layers import Gaussian
from celebgen_cli.models.text_encoder import TextEncoder
from celebgen_cli.models.unet import UNet, UNetConfig
from celebgen_cli.pipeline import generate
from celebgen_cli.training.ahead import Ahead
from celebgen_cli.training.batches import (
    Examples,
    batch_rows,
    chunks,
    noise_generator,
    numpy_generator,
    torch_generator,
)
from celebgen_cli.training.conditions import Conditions, captions_that_come_back
from celebgen_cli.training.engine import Task
from celebgen_cli.training.latents import Latents
from celebgen_cli.training.parts import Part

PREVIEW_PROMPTS = (
    "man", "woman", "smiling", "eyeglasses", "blond hair", "black hair", "bald man", "beard",
    "bangs", "wearing a hat", "old man", "young woman", "smiling woman blond hair", "serious man", "gray hair", "",
)  # fmt: skip


COARSE_ROWS = 20_000


@dataclass(frozen=True)
class DiffusionLossConfig:
    """Rates and weights of the denoiser's training."""

    gamma: float = 5.0  # of the min-SNR weight (Hang et al. 2023, arXiv 2303.09556)
    drop_text: float = 0.1  # rows without text: the other branch of guidance
    foreign: float = 0.1  # rows with their text in coordinates that are not their own
    empty: float = 0.5  # of the rows in foreign coordinates, the share whitened by the prior without text
    input_perturbation: float = 0.0  # noise more in the input than in the target (Ning et al. 2023, arXiv 2301.11706)


class DenoiserTask(Task):
    """What all trainings of a U-Net have in common; see `celebgen_cli.training.engine.Task`."""

    kind = "diffusion"
    model: UNet
    examples: Examples
    batch_size: int
    seed: int

    def parameter_groups(self) -> Sequence[Sequence[nn.Parameter]]:
        return [list(self.model.parameters())]

    @property
    def device(self) -> torch.device:
        return self.model.channel_mean.device

    def rows(self, step: int) -> Sequence[int]:
        return self.examples.rows[batch_rows(len(self.examples), self.batch_size, step, self.seed)].tolist()


class DiffusionTask(DenoiserTask):
    """Trains the U-Net on latents of pictures."""

    def __init__(
        self,
        config: UNetConfig,
        schedule: Schedule,
        cvae: CVAE,
        text: TextEncoder,
        train: tuple[Examples, Latents],
        held_out: tuple[Examples, Latents],
        batch_size: int,
        seed: int,
        loss: DiffusionLossConfig | None = None,
        loaded: bool = False,
    ) -> None:
        """`loaded`: weights and buffers will be loaded, so that a code need not be fitted first."""
        self.train, self.held_out, self.schedule, self.text = train, held_out, schedule, text
        self.examples = train[0]
        self.batch_size, self.seed, self.settings = batch_size, seed, loss or DiffusionLossConfig()
        self.cvae = cvae.eval().requires_grad_(False)
        self.conditions = Conditions(text, self.cvae.prior, captions_that_come_back(train[0]))
        torch.manual_seed(seed)
        self.model = UNet(config)
        mean, log_std = channel_statistics(train[1])
        self.model.channel_mean.copy_(mean)
        self.model.channel_log_std.copy_(log_std)
        if self.model.coarse is not None and not loaded:
            fit_coarse(self.model.coarse, text, train[0], train[1], seed)
        self.module: nn.Module = self.model
        self._ahead = Ahead(self._batch, cvae.prior.queries.device)

    def loss(self, step: int, part: Part | None = None) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        latents, count = self.train[1], self.batch_size
        part = part or Part(0, count)
        rows, mirrored, texts, rng = self._ahead(step)
        q = latents.posterior(part.of(rows), part.of(mirrored), self.device)
        return self._loss(self.model, q, texts, rng, torch_generator(self.seed, step, 1), part)

    def _batch(self, step: int) -> tuple[np.ndarray, np.ndarray, list[str], np.random.Generator]:
        """Rows of a batch, which are mirrored, their captions, and the generator that drew them."""
        examples, count = self.train[0], self.batch_size
        rows, rng = batch_rows(len(examples), count, step, self.seed), numpy_generator(self.seed, step, 0)
        mirrored = rng.random(count) < 0.5
        return rows, mirrored, examples.captions(rows, rng).texts, rng

    def _loss(
        self, model: UNet, q: Gaussian, texts: list[str], rng: np.random.Generator, generator: torch.Generator,
        part: Part | None = None,
    ) -> tuple[Tensor, Mapping[str, Tensor | float]]:  # fmt: skip
        """The loss of the rows of `part`, whose posterior is `q`; everything is drawn for all of `texts`."""
        settings, count = self.settings, len(texts)
        part = part or Part(0, count)
        own = np.arange(count)
        drop = rng.random(count) < settings.drop_text
        foreign = drop | (rng.random(count) < settings.foreign)
        other = np.where(rng.random(count) < settings.empty, count, rng.integers(0, count, count))
        whitened_by, spoken = (part.of(rows) for rows in (np.where(foreign, other, own), np.where(drop, count, own)))
        used = np.unique(np.concatenate([whitened_by, spoken, part.of(own), [count]]))  # of the texts, by this part
        with torch.no_grad():
            features, p = self.conditions([texts[row] for row in used[:-1]] + [""])  # row `count` is the empty text
            if self.device.type == "cuda":
                features = features.filled()
            source = noise_generator(generator, self.device)

            def pick(rows: np.ndarray) -> Tensor:
                return sent(torch.from_numpy(np.searchsorted(used, rows)), self.device)

            def noise() -> Tensor:
                whole = torch.randn((count, *q.mean.shape[1:]), generator=source, device=source.device)
                return sent(part.of(whole), self.device)

            at, z = pick(whitened_by), q.sample(noise())
            coordinates, shown = model.coordinates(
                Gaussian(p.mean[at], p.logvar[at]), Gaussian(p.mean[-1:], p.logvar[-1:]),
                None if model.coarse is None else model.coarse.code(z),
            )  # fmt: skip
            x0 = whiten(z, coordinates.mean, coordinates.log_std)
            t = sent(part.of(stratified_timesteps(count, self.schedule.timesteps, generator)), self.device)
            epsilon = noise()
            x_t, target = add_noise(x0, epsilon, t, self.schedule), velocity(x0, epsilon, t, self.schedule)
            if settings.input_perturbation:
                x_t = x_t + self.schedule.sigma(t, x0) * settings.input_perturbation * noise()
        predicted = model(x_t, t, features.select(pick(spoken)), shown)
        return diffusion_loss(predicted, target, t, self.schedule, settings.gamma), {}

    def validate(self, ema: nn.Module) -> Mapping[str, float]:
        """The loss on 1,024 held-out latents with noise and timesteps that are always the same."""
        assert isinstance(ema, UNet)
        examples, latents = self.held_out
        total, count = 0.0, min(1024, len(examples))
        for i, rows in enumerate(chunks(count, 128)):
            q = latents.posterior(rows, np.zeros(len(rows), dtype=bool), self.device)
            rng, generator = numpy_generator(self.seed, i, 90), torch_generator(self.seed, i, 91)
            texts = examples.captions(rows, rng).texts
            total += float(self._loss(ema, q, texts, rng, generator)[0]) * len(rows)
        return {"valid_loss": total / count, "score": total / count}

    def preview(self, ema: nn.Module, path: Path) -> None:
        """Two faces for each of sixteen prompts, always from the same seeds."""
        assert isinstance(ema, UNet)
        prompts = [prompt for prompt in PREVIEW_PROMPTS for _ in range(2)]
        images = generate(
            self.text,
            self.cvae,
            ema,
            self.schedule,
            prompts,
            [i % 2 for i in range(len(prompts))],
            steps=12,
            guidance=1.5,
        )
        save_grid(to_uint8(images), path, columns=8, labels=[prompt or "(nothing)" for prompt in prompts])


def stratified_timesteps(count: int, timesteps: int, generator: torch.Generator) -> Tensor:
    """int64 [count] in 1..timesteps, one from each of `count` equal intervals: batches differ less in difficulty.

    Each entry alone is uniform (Kingma et al. 2021, arXiv 2107.00630, appendix I.1).
    """
    shifted = (torch.rand(1, generator=generator) + torch.arange(count) / count) % 1
    shuffled = shifted[torch.randperm(count, generator=generator)]
    return (shuffled * timesteps).long().clamp(max=timesteps - 1) + 1


def fit_coarse(coarse: Coarse, text: TextEncoder, examples: Examples, latents: Latents, seed: int) -> None:
    """Fit codes to at most `COARSE_ROWS` latents, each as it is or mirrored, and to a caption of each."""
    rows, rng = np.arange(0, len(latents), max(1, -(-len(latents) // COARSE_ROWS))), numpy_generator(seed, 0, 74)
    q = latents.posterior(rows, rng.random(len(rows)) < 0.5)
    noise = torch.randn(q.mean.shape, generator=torch_generator(seed, 0, 75))
    texts = examples.captions(rows, rng).texts
    with torch.no_grad():
        pooled = torch.cat([text(texts[at : at + 64]).pooled.cpu() for at in range(0, len(texts), 64)])
    coarse.fit(q.mean.float(), q.sample(noise), pooled)


def channel_statistics(latents: Latents) -> tuple[Tensor, Tensor]:
    """Mean and log standard deviation of z a channel [C], over at most 4,096 pictures."""
    rows = np.arange(0, len(latents), max(1, -(-len(latents) // 4096)))
    mean = latents.mean[0, rows].astype(np.float64)
    variance = mean.var((0, 2, 3)) + np.exp(latents.logvar[0, rows].astype(np.float64)).mean((0, 2, 3))
    return torch.from_numpy(mean.mean((0, 2, 3))).float(), torch.from_numpy(0.5 * np.log(variance)).float()
