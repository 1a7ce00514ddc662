"""A photograph edited by words: up to some level without text, and down again with it.

Both directions run in one fixed system of coordinates, that of the prior without text, p(z|""): an edit that whitened
by one text and came back by another would move the picture by the difference of the two priors. Text enters only as
what the network is told on the way down. Nothing is calibrated, since that corrects draws, not photographs.

Where a code is drawn before the latent, the photograph's own is moved on the way down by what the words move a drawn
one: all that text does not say of it stays (a counterfactual: Pearl 2009, Causality, section 7.1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from celebgen_cli.diffusion.guidance import unwhiten, whiten
from celebgen_cli.diffusion.noise import image_noise
from celebgen_cli.diffusion.samplers import ddim
from celebgen_cli.diffusion.spacing import spaced_timesteps
from celebgen_cli.diffusion.starts import ddim_invert, deepest_inversion, noised, strength_level
from celebgen_cli.drawing import conditioned_denoiser
from celebgen_cli.errors import UsageError
from celebgen_cli.pipeline import Model

METHODS = ("invert", "noise")
STEPS = 50  # of either direction: the error of an inversion falls with the length of its steps


def edit_settings(model: Model, steps: int | None = None, guidance: float | None = None) -> dict[str, Any]:
    """The settings of an edit, checked: DDIM without noise, `STEPS` steps, and the model's own for what is None.

    Raises:
        UsageError: one is out of range.
    """
    most = min(STEPS, model.schedule.timesteps)
    return model.settings(
        steps=most if steps is None else steps,
        guidance=guidance,
        sampler="ddim",
        eta=0.0,
        spacing="trailing",
        start=1.0,
    )


def edit_level(model: Model, strength: float, method: str) -> int:
    """The level at which an edit turns round: round(strength * T), and for an inversion no higher than it can go.

    Raises:
        UsageError: the strength is outside 0..1, or there is no such method.
    """
    if method not in METHODS:
        raise UsageError(f"there is no method '{method}'; choose one of {', '.join(METHODS)}")
    level = strength_level(strength, model.schedule)
    return min(level, deepest_inversion(model.schedule)) if method == "invert" else level


@torch.inference_mode()
def edit(
    model: Model,
    photo: np.ndarray,
    prompt: str,
    settings: Mapping[str, Any],
    *,
    strength: float,
    method: str = "invert",
    seed: int = 0,
    negative: str = "",
    callback: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """The photograph uint8 [S, S, 3] as the prompt would have it: same shape.

    invert: DDIM upwards (Song et al. 2021, arXiv 2010.02502, section 4.3) with guidance 1 and without text, then down
    with the prompt. noise: noise of `seed` instead (SDEdit: Meng et al. 2022, arXiv 2108.01073).

    Args:
        settings: of `edit_settings`. strength: 0 is exactly the CVAE's reconstruction; 1 of `noise` forgets the photo.
        callback: called with (evaluations done, in all).

    Raises:
        UsageError: strength, method or seed cannot be, or the photo is not of the model's size.
    """
    level = edit_level(model, strength, method)
    z = model.encode(photo[None])
    if level == 0:
        return model.decode(z)[0]
    steps = min(settings["steps"], level)
    total = steps * (2 if method == "invert" else 1)
    timesteps = spaced_timesteps(model.schedule, steps, settings["spacing"], level / model.schedule.timesteps)

    def count(before: int) -> Callable[[int, int, object], None]:
        return lambda step, t, x: None if callback is None else callback(before + step + 1, total)

    with model.autocast():
        texts = model.text(["", prompt, negative]).to(model.device)  # in one call: all of one length
        nothing, positive, other = (texts.select(torch.tensor([row], device=model.device)) for row in range(3))
        prior = model.cvae.prior(nothing)
        coarse, guidance = model.unet.coarse, settings["guidance"]
        code = None if coarse is None else coarse.code(z)
        coordinates, shown = model.unet.coordinates(prior, prior, code)
        u = whiten(z, coordinates.mean, coordinates.log_std)
        if method == "invert":
            plain = conditioned_denoiser(model.unet, model.schedule, nothing, nothing, shown)
            u = ddim_invert(plain, u, timesteps, model.schedule, callback=count(0))
        else:
            u, _ = noised(u, image_noise([seed], u.shape[1:], device=model.device), strength, model.schedule)
        if coarse is not None and code is not None:
            moved = coarse.expected(positive.pooled, other.pooled, guidance) - coarse.expected(nothing.pooled)
            coordinates, shown = model.unet.coordinates(prior, prior, code + strength * moved)
        steered = conditioned_denoiser(
            model.unet, model.schedule, positive, other, shown, guidance=guidance,
            interval=settings["guidance_interval"], pag=settings["pag"], rescale=settings["rescale"],
        )  # fmt: skip
        u = ddim(steered, u, timesteps, model.schedule, callback=count(total - steps))
        z = unwhiten(u, coordinates.mean, coordinates.log_std)
    return model.decode(z.float())[0]
