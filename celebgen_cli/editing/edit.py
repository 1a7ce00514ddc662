"""Photographs edited by words: up to some level as what they show, and down again as what they shall show.

Both directions run in one fixed system of coordinates, that of the prior without text, p(z|""): an edit that whitened
by one text and came back by another would move the picture by the difference of the two priors. Text enters only as
what the network is told. Latents are not calibrated, since that corrects draws, not photographs; decoded faces are.

Guidance leads from the words of the photograph to those of the edit, over all levels and with self-attention in both
branches: whatever the two texts share stays as it was.

Where a code is drawn before the latent, the photograph's own is moved on the way down by what the words move a drawn
one: all that text does not say of it stays (a counterfactual: Pearl 2009, Causality, section 7.1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from celebgen_cli.diffusion.guidance import unwhiten, whiten
from celebgen_cli.diffusion.noise import image_noise
from celebgen_cli.diffusion.samplers import ddim
from celebgen_cli.diffusion.spacing import spaced_timesteps
from celebgen_cli.diffusion.starts import ddim_invert, deepest_inversion, noised, strength_level
from celebgen_cli.drawing import conditioned_denoiser
from celebgen_cli.editing.change import Change
from celebgen_cli.editing.detail import with_detail
from celebgen_cli.errors import UsageError
from celebgen_cli.models.layers import Gaussian
from celebgen_cli.pipeline import Model

METHODS = ("invert", "noise")
STEPS = 25  # of either direction: the error of an inversion falls with the length of its steps
GUIDANCE = 6.0  # figures in docs/decisions.md, Edits


def edit_settings(model: Model, steps: int | None = None, guidance: float | None = None) -> dict[str, Any]:
    """The settings of an edit, checked: DDIM without noise, `STEPS` steps and guidance `GUIDANCE` over all levels.

    A model that draws without guidance by default, as a distilled one does, edits without it too, unless it is given.

    Raises:
        UsageError: one is out of range.
    """
    most = min(STEPS, model.schedule.timesteps)
    if guidance is None:
        guidance = 1.0 if model.defaults["guidance"] == 1 else GUIDANCE
    return model.settings(
        steps=most if steps is None else steps,
        guidance=guidance,
        guidance_interval=(0.0, 1.0),
        pag=False,
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
    photos: np.ndarray,
    changes: Sequence[Change],
    settings: Mapping[str, Any],
    *,
    strength: float,
    method: str = "invert",
    seeds: Sequence[int] | None = None,
    detail: bool = False,
    calibrate: bool = True,
    callback: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Photographs uint8 [B, S, S, 3] as their changes would have them: same shape.

    invert: DDIM upwards (Song et al. 2021, arXiv 2010.02502, section 4.3) with guidance 1 and the words of the source,
    then down with those of the target. noise: noise of its seed instead (SDEdit: Meng et al. 2022, arXiv 2108.01073).

    Args:
        changes: one a photograph. settings: of `edit_settings`.
        strength: 0 is exactly the CVAE's reconstruction; 1 of `noise` forgets the photo.
        seeds: of `noise`, one a photograph; None is 0 for each.
        detail: give back what the CVAE lost, where the edit left the picture alone (see `with_detail`).
        calibrate: off leaves out the model's correction of decoded faces, where it has one.
        callback: called with (evaluations done, in all).

    Raises:
        UsageError: strength, method or a seed cannot be, photographs, changes and seeds differ in number, or the
            photographs are not of the model's size.
    """
    level = edit_level(model, strength, method)
    for what, given in (("changes", changes), ("seeds", seeds)):
        if given is not None and len(given) != len(photos):
            raise UsageError(f"{len(photos)} photographs need as many {what}, not {len(given)}")
    z = model.encode(photos)
    if not len(photos):
        return photos.copy()
    rebuilt = model.decode(z, calibrate=calibrate) if detail or level == 0 else photos
    if level == 0:
        return with_detail(photos, rebuilt, rebuilt) if detail else rebuilt
    steps = min(settings["steps"], level)
    total = steps * (2 if method == "invert" else 1)
    timesteps = spaced_timesteps(model.schedule, steps, settings["spacing"], level / model.schedule.timesteps)

    def count(before: int) -> Callable[[int, int, object], None]:
        return lambda step, t, x: None if callback is None else callback(before + step + 1, total)

    with model.autocast():
        sides = [[change.source for change in changes], [change.target for change in changes],
                 [change.other for change in changes]]  # fmt: skip
        said = [text for side in sides for text in side]
        distinct = list(dict.fromkeys(["", *said]))
        features = model.text(distinct).to(model.device)  # in one call: all of one length
        rows = torch.tensor([distinct.index(text) for text in said], device=model.device).view(3, -1)
        source, target, other = (features.select(side) for side in rows)
        nothing = model.cvae.prior(features.select(rows.new_zeros(1)))
        prior = Gaussian(*(part.expand(len(z), -1, -1, -1) for part in nothing))
        coarse, guidance = model.unet.coarse, settings["guidance"]
        code = None if coarse is None else coarse.code(z)
        coordinates, shown = model.unet.coordinates(prior, prior, code)
        u = whiten(z, coordinates.mean, coordinates.log_std)
        if method == "invert":
            plain = conditioned_denoiser(model.unet, model.schedule, source, source, shown)
            u = ddim_invert(plain, u, timesteps, model.schedule, callback=count(0))
        else:
            noise = image_noise([0] * len(z) if seeds is None else seeds, u.shape[1:], device=model.device)
            u, _ = noised(u, noise, strength, model.schedule)
        if coarse is not None and code is not None:
            moved = coarse.expected(target.pooled, other.pooled, guidance) - coarse.expected(source.pooled)
            coordinates, shown = model.unet.coordinates(prior, prior, code + strength * moved)
        steered = conditioned_denoiser(
            model.unet, model.schedule, target, other, shown, guidance=guidance,
            interval=settings["guidance_interval"], pag=settings["pag"], rescale=settings["rescale"],
        )  # fmt: skip
        u = ddim(steered, u, timesteps, model.schedule, callback=count(total - steps))
        z = unwhiten(u, coordinates.mean, coordinates.log_std)
    edited = model.decode(z.float(), calibrate=calibrate)
    return with_detail(photos, rebuilt, edited) if detail else edited
