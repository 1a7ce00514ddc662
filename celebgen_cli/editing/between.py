"""Faces between faces: the way from one prompt to another, and the neighbours of a face.

Noise, and what of a coarse code text does not say, is mixed on the sphere that normal noise lives on, so that every
mixture is a draw like any other; text features and prior are mixed linearly, in step with one another.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from celebgen_cli.drawing import chain_noise, denoise_latents
from celebgen_cli.errors import UsageError
from celebgen_cli.models.cvae import to_uint8
from celebgen_cli.models.layers import Gaussian, TextFeatures
from celebgen_cli.pipeline import Model

Progress = Callable[[int, int], None]
# (index of the draw) -> what `chain_noise` has there, mixed
Draws = Callable[[int], Tensor]


def slerp(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """From a [B, ...] to b along the great circle (Shoemake 1985): share [B] 0 is a, 1 is b, exactly.

    Lengths are mixed linearly. Rows that are parallel, as equal ones are, are mixed in a straight line.
    """
    x, y = a.flatten(1).double(), b.flatten(1).double()
    f = share.to(x)[:, None]
    lengths = [v.norm(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny) for v in (x, y)]
    angle = ((x / lengths[0]) * (y / lengths[1])).sum(1, keepdim=True).clamp(-1, 1).arccos()
    sine = angle.sin()
    straight = sine < 1e-6
    low = torch.where(straight, 1 - f, ((1 - f) * angle).sin() / sine)
    high = torch.where(straight, f, (f * angle).sin() / sine)
    length = (1 - f) * lengths[0] + f * lengths[1]
    mixed = torch.where(straight, low * x + high * y, length * (low * x / lengths[0] + high * y / lengths[1]))
    mixed = torch.where(f == 0, x, torch.where(f == 1, y, mixed))
    return mixed.to(a).reshape(a.shape)


def neighbours(own: Tensor, new: Tensor, amount: float) -> Tensor:
    """sqrt(1 - a^2) own + a new: standard normal noise again where both are and are independent; 0 is `own`."""
    return math.sqrt(1 - amount**2) * own + amount * new


def vary(
    model: Model,
    prompt: str,
    seed: int,
    new_seeds: Sequence[int],
    amount: float,
    settings: Mapping[str, Any],
    *,
    batch_size: int = 16,
    callback: Progress | None = None,
) -> np.ndarray:
    """Neighbours uint8 [N, S, S, 3] of the face of (prompt, seed), one for each new seed.

    Args:
        settings: every setting of `Model.sample`, and `negative` and `calibrate`. amount: 0 is the face itself, 1 the
        faces of the new seeds. callback: called with (evaluations done, in all).

    Raises:
        UsageError: the amount is outside 0..1, or a new seed is the face's own, whose mixture would be no such noise.
    """
    if not 0 <= amount <= 1:
        raise UsageError(f"--amount must be from 0 to 1, not {amount}")
    if seed in new_seeds:
        raise UsageError(f"the seed {seed} is the face's own; a neighbour needs another one")

    def part(rows: slice) -> tuple[TextFeatures, TextFeatures, Gaussian, Draws]:
        count = len(new_seeds[rows])
        texts, prior = _described(model, [prompt, settings["negative"]])
        draw = functools.partial(chain_noise, model.unet, shape=prior.mean.shape[1:])

        def noise(index: int) -> Tensor:
            own, new = (draw(several, index=index) for several in ([seed] * count, new_seeds[rows]))
            return neighbours(own, new, amount)

        first = torch.zeros(count, dtype=torch.long, device=model.device)
        return texts.select(first), texts.select(first + 1), Gaussian(*(p[first] for p in prior)), noise

    return _in_batches(model, len(new_seeds), part, settings, batch_size, callback)


def interpolate(
    model: Model,
    prompts: tuple[str, str],
    seeds: tuple[int, int],
    shares: Sequence[float],
    settings: Mapping[str, Any],
    *,
    negatives: tuple[str, str] | None = None,
    batch_size: int = 16,
    callback: Progress | None = None,
) -> np.ndarray:
    """Faces uint8 [N, S, S, 3] on the way from (prompts[0], seeds[0]), share 0, to (prompts[1], seeds[1]), share 1.

    The ends are the faces that `Model.sample` draws. In between the shorter prompt's features are filled up with its
    last token to the length of the longer one's.

    Args:
        settings, callback: as for `vary`. negatives: what each end leads away from; default: what `settings` say.
    """
    away = negatives or (settings["negative"], settings["negative"])

    def part(rows: slice) -> tuple[TextFeatures, TextFeatures, Gaussian, Draws]:
        share = torch.tensor(shares[rows], dtype=torch.float32, device=model.device)
        texts, prior = _described(model, [*prompts, *away])
        draw = functools.partial(chain_noise, model.unet, shape=prior.mean.shape[1:])

        def noise(index: int) -> Tensor:
            a, b = (draw([seed], index=index).cpu().repeat_interleave(len(share), dim=0) for seed in seeds)
            return slerp(a, b, share.cpu()).to(model.device)  # in float64, which not every device has

        other = mixed_features(texts.select(torch.tensor([2, 3], device=model.device)), share)
        between = Gaussian(*(torch.lerp(p[:1], p[1:2], share[:, None, None, None]) for p in prior))
        return mixed_features(texts, share), other, between, noise

    return _in_batches(model, len(shares), part, settings, batch_size, callback)


def mixed_features(texts: TextFeatures, share: Tensor) -> TextFeatures:
    """Features [N] between rows 0 and 1 of `texts`, share [N]; at 0 and 1 exactly those, their masks included."""
    ends = texts.mask[:2].sum(1)
    places = torch.arange(texts.tokens.shape[1], device=share.device)
    filled = [texts.tokens[row, places.clamp(max=int(ends[row]) - 1)] for row in range(2)]
    tokens = torch.lerp(filled[0][None], filled[1][None], share[:, None, None])
    inner = ((share > 0) & (share < 1))[:, None]
    mask = torch.where(inner, places < ends.max(), places < torch.where(share < 1, ends[0], ends[1])[:, None])
    return TextFeatures(tokens, mask, torch.lerp(texts.pooled[:1], texts.pooled[1:2], share[:, None]))


def _described(model: Model, texts: Sequence[str]) -> tuple[TextFeatures, Gaussian]:
    features = model.text(list(texts)).to(model.device)
    return features, model.cvae.prior(features)


def _in_batches(
    model: Model,
    count: int,
    part: Callable[[slice], tuple[TextFeatures, TextFeatures, Gaussian, Draws]],
    settings: Mapping[str, Any],
    batch_size: int,
    callback: Progress | None,
) -> np.ndarray:
    images = np.empty((count, model.size, model.size, 3), dtype=np.uint8)
    batches = [slice(first, first + batch_size) for first in range(0, count, batch_size)]
    total = len(batches) * settings["steps"]
    for number, rows in enumerate(batches):

        def step(index: int, steps: int, before: int = number * settings["steps"]) -> None:
            if callback is not None:
                callback(before + index + 1, total)

        with torch.inference_mode(), model.autocast():
            images[rows] = to_uint8(_draw(model, *part(rows), settings, step))
    return images


def _draw(
    model: Model,
    text: TextFeatures,
    other: TextFeatures,
    prior: Gaussian,
    noise: Draws,
    settings: Mapping[str, Any],
    callback: Progress,
) -> Tensor:
    """`celebgen_cli.drawing.generate` for features, a prior and noise that belong to no prompt or seed."""
    named = {name: value for name, value in settings.items() if name not in ("negative", "calibrate")}
    calibration = model.calibration if settings["calibrate"] else None
    z = denoise_latents(
        model.text, model.cvae, model.unet, model.schedule, text, other, prior, noise, **named,
        calibration=calibration, callback=callback,
    )  # fmt: skip
    faces = model.cvae.decode(z, text)
    return faces if calibration is None else calibration.develop(faces)
