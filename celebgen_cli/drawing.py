"""From text features to latents and faces, with networks as they are: what training previews and models share.

prompt -> text features c -> p(z|c) = N(mean, std^2)        the coordinates in which denoising runs
u_T ~ N(0, I)  <=>  z_T ~ p(z|c);  u_0 by the sampler;  z = mean + std u_0;  x = decoder(z, c)
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from celebgen_cli.diffusion.guidance import Denoiser, guided_denoiser, unwhiten, whiten
from celebgen_cli.diffusion.noise import CODE, image_noise
from celebgen_cli.diffusion.samplers import SAMPLERS, Sampler, ddim
from celebgen_cli.diffusion.schedule import Schedule
from celebgen_cli.diffusion.spacing import spaced_timesteps
from celebgen_cli.diffusion.starts import late_start
from celebgen_cli.models.calibration import Calibration
from celebgen_cli.models.cvae import CVAE
from celebgen_cli.models.layers import Gaussian, TextFeatures
from celebgen_cli.models.text_encoder import TextEncoder
from celebgen_cli.models.unet import UNet


@torch.inference_mode()
def draw_latents(
    text: TextEncoder,
    cvae: CVAE,
    unet: UNet,
    schedule: Schedule,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    negative: str = "",
    **settings: Any,
) -> tuple[Tensor, TextFeatures]:
    """Latents z [B, C, h, h] for B prompts, each from its own seed, and what the text encoder says of the prompts.

    Settings are those of `denoise_latents`, by name:

    sampler, eta: a name of SAMPLERS; the noise of ddim's steps. steps counts evaluations of the network (both branches
        together are one). spacing: of the timesteps, see `spaced_timesteps`.
    guidance, guidance_interval, pag, rescale, negative: see `conditioned_denoiser`; the interval is fractions of T.
    start: fraction of T where denoising begins, from the text's prior as it looks at that level (see `late_start`).
    calibration: corrects what was drawn.
    callback: called with (step, steps) as denoising goes on.
    frames: called with (step, z, text features): step 0 is the prior's mean, step i + 1 what evaluation i takes the
        latent for, both calibrated; the last evaluation is left out, since its prediction is the result.
    """
    device = unet.channel_mean.device
    distinct = list(dict.fromkeys([*prompts, negative]))  # many seeds of one prompt cost one run of the text networks
    place = {prompt: row for row, prompt in enumerate(distinct)}
    features = text(distinct).to(device)
    rows = torch.tensor([place[prompt] for prompt in prompts], dtype=torch.long, device=device)
    positive, other = features.select(rows), features.select(torch.full_like(rows, place[negative]))
    prior = Gaussian(*(part[rows] for part in cvae.prior(features)))
    z = denoise_latents(
        text, cvae, unet, schedule, positive, other, prior,
        functools.partial(chain_noise, unet, seeds, prior.mean.shape[1:]), **settings,
    )  # fmt: skip
    return z, positive


@torch.inference_mode()
def denoise_latents(
    text: TextEncoder,
    cvae: CVAE,
    unet: UNet,
    schedule: Schedule,
    positive: TextFeatures,
    other: TextFeatures,
    prior: Gaussian,
    noise: Callable[[int], Tensor],
    *,
    steps: int,
    guidance: float,
    sampler: str = "ddim",
    guidance_interval: Sequence[float] = (0.0, 1.0),
    pag: bool = False,
    eta: float = 0.0,
    spacing: str = "trailing",
    rescale: float = 0.0,
    start: float = 1.0,
    calibration: Calibration | None = None,
    callback: Callable[[int, int], None] | None = None,
    frames: Callable[[int, Tensor, TextFeatures], None] | None = None,
) -> Tensor:
    """Latents z [B, C, h, h] for features and a prior [B, ...] that need belong to no prompt, as mixtures of two do.

    other: features of the branch that guidance leads away from. noise: index of a draw -> what `chain_noise` has
    there, or a mixture of such draws: 0 is where denoising starts, i + 1 what step i adds. The rest: as for
    `draw_latents`.
    """
    code = start_code(unet, positive, other, guidance, noise)
    coordinates, shown = start_coordinates(text, cvae, unet, prior, code)

    def finish(u: Tensor) -> Tensor:
        u = u if calibration is None else calibration(u)
        return unwhiten(u, coordinates.mean, coordinates.log_std)

    def after_step(step: int, t: int, x0: Tensor) -> None:
        if callback is not None:
            callback(step, steps)
        if frames is not None and step + 1 < steps:
            frames(step + 1, finish(x0), positive)

    timesteps = spaced_timesteps(schedule, steps, spacing, start)
    own = unet.starts_from_own_prior
    mean = torch.zeros_like(prior.mean) if own else whiten(prior.mean, coordinates.mean, coordinates.log_std)
    if frames is not None:
        frames(0, finish(mean), positive)
    x = noise(0)
    if timesteps[0] < schedule.timesteps and not own:
        x = late_start(x, timesteps[0], schedule, mean, torch.exp(prior.log_std - coordinates.log_std))
    run: Sampler = functools.partial(ddim, eta=eta) if eta > 0 and sampler == "ddim" else SAMPLERS[sampler]
    denoiser = conditioned_denoiser(
        unet, schedule, positive, other, shown, guidance=guidance, interval=guidance_interval, pag=pag,
        rescale=rescale,
    )  # fmt: skip
    return finish(run(denoiser, x, timesteps, schedule, noise=lambda step: noise(step + 1), callback=after_step))


def chain_noise(unet: UNet, seeds: Sequence[int], shape: Sequence[int], index: int = 0) -> Tensor:
    """`image_noise` on the U-Net's device; at CODE what of the code text does not say, [B, K] (see `Coarse.unsaid`).

    All of it has mean 0 and covariance I, and may be mixed in the same way.
    """
    noise = image_noise(seeds, shape, index, device=unet.channel_mean.device)
    return unet.coarse.unsaid(noise.flatten(1)) if unet.coarse is not None and index == CODE else noise


def start_code(
    unet: UNet, text: TextFeatures, other: TextFeatures, guidance: float, draw: Callable[[int], Tensor]
) -> Tensor | None:
    """The coarse code [B, K] that B rows of text start with; None where the U-Net starts without.

    other, guidance: of `conditioned_denoiser`, for the code's mean (see `Coarse.expected`).
    draw: index of a draw -> what `chain_noise` has there.
    """
    if unet.coarse is None:
        return None
    return unet.coarse.draw(text.pooled, draw(CODE), other.pooled, guidance)


def start_coordinates(
    text: TextEncoder, cvae: CVAE, unet: UNet, prior: Gaussian, code: Tensor | None = None
) -> tuple[Gaussian, Gaussian]:
    """Where diffusion runs for B rows of text with this prior, and what the U-Net is shown (see `UNet.coordinates`).

    code: of `start_code`.
    """
    empty = cvae.prior(text([""]).to(prior.mean.device)) if unet.config.init == "mean" else prior
    return unet.coordinates(prior, empty, code)


def conditioned_denoiser(
    unet: UNet,
    schedule: Schedule,
    positive: TextFeatures,
    other: TextFeatures,
    shown: Gaussian,
    *,
    guidance: float = 1.0,
    interval: Sequence[float] = (0.0, 1.0),
    pag: bool = False,
    rescale: float = 0.0,
) -> Denoiser:
    """The U-Net as a denoiser of u [B, C, h, h], for B rows of text, guided away from B rows of `other` text.

    Guidance works in one set of coordinates: the branch without text (or with the negative prompt) sees those of the
    positive prompt (`shown`, as `UNet.coordinates` has it) and only another text. It acts in `interval`, fractions
    (low, high) of T. With `pag` that branch loses its self-attention too, so guidance leads away from pictures that do
    not hang together (Ahn et al. 2024, arXiv 2403.17377; one branch in place of their two). rescale: see
    `guidance.rescaled`.
    """
    count, device = len(positive.pooled), unet.channel_mean.device
    both = TextFeatures(*(torch.cat(pair) for pair in zip(positive, other, strict=True)))
    twice = Gaussian(*(torch.cat([part, part]) for part in shown))
    worse = torch.arange(2 * count, device=device) >= count if pag else None

    def denoise(x: Tensor, t: int) -> Tensor:
        return unet(x, torch.full((len(x),), t, device=device), positive, shown)

    def denoise_other(x: Tensor, t: int) -> Tensor:
        # by itself at guidance 0 alone: there it draws, and a network made worse on purpose would draw badly
        return unet(x, torch.full((len(x),), t, device=device), other, shown)

    def denoise_both(x: Tensor, t: int) -> Tensor:
        return unet(x, torch.full((len(x),), t, device=device), both, twice, worse)

    return guided_denoiser(
        denoise,
        denoise_other,
        scale=guidance,
        interval=(interval[0], interval[1]),
        timesteps=schedule.timesteps,
        stacked=denoise_both,
        rescale=rescale,
    )


@torch.inference_mode()
def generate(
    text: TextEncoder,
    cvae: CVAE,
    unet: UNet,
    schedule: Schedule,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    frames: Callable[[int, Tensor], None] | None = None,
    **settings: Any,
) -> Tensor:
    """Faces [B, 3, S, S] in about [-1, 1]: `draw_latents`, which takes the `settings`, then the decoder.

    A calibration among the settings corrects the latents and then the faces. `frames(step, faces)` gets the decoded
    frames of `draw_latents`, which cost a run of the decoder each.
    """
    calibration: Calibration | None = settings.get("calibration")

    def develop(z: Tensor, features: TextFeatures) -> Tensor:
        faces = cvae.decode(z, features)
        return faces if calibration is None else calibration.develop(faces)

    if frames is not None:
        settings["frames"] = lambda step, z, features: frames(step, develop(z, features))
    return develop(*draw_latents(text, cvae, unet, schedule, prompts, seeds, **settings))
