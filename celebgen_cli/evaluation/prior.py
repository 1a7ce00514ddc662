"""What the CVAE's prior p(z|c) is worth before anything is denoised: likelihood, variance explained, FID of its draws.

The likelihood is that of latents as the denoiser meets them: E_q[-log p(z|c)] in closed form, with q(z|x) encoded
without text, for the caption of each image and for the empty one. FID of decoded draws z ~ p(z|c) is what the CVAE
alone would score: between it and the model's own FID stands what denoising is worth, and rFID is where both end.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from celebgen_cli.data.captions import CaptionSource
from celebgen_cli.evaluation.drawn import made_by
from celebgen_cli.evaluation.extraction import features_of
from celebgen_cli.evaluation.features import FeatureExtractor
from celebgen_cli.evaluation.fid import Progress
from celebgen_cli.evaluation.nuclear import fid_interval, frechet
from celebgen_cli.evaluation.similarity import interval
from celebgen_cli.evaluation.sources import ImageSource, NamedModel

if TYPE_CHECKING:
    from celebgen_cli.models.layers import Gaussian
    from celebgen_cli.pipeline import Prior

TEXTS_AT_A_TIME = 64


@runtime_checkable
class WithPrior(NamedModel, Protocol):
    """The part of `celebgen_cli.pipeline.Model` that is measured here."""

    def posterior(self, images: np.ndarray, batch_size: int = 32) -> Gaussian:
        """q(z|x) without text of uint8 [N, S, S, 3]."""

    def prior(self, prompts: Sequence[str], batch_size: int = 64) -> Prior:
        """p(z|text) of each prompt."""


@dataclass(frozen=True)
class PriorResult:
    """Figures of the prior over the images of a source and their captions. An `_interval` is half of a 95 % one.

    Attributes:
        nll: mean of E_q[-log p(z|caption)], in nats a dimension of the latent.
        nll_without_text: the same of the empty caption's prior.
        text_gain: how much lower the first is; its interval is over pairs.
        kl: mean of KL(q(z|x) || p(z|caption)), in nats a dimension.
        variance_explained: 1 - E|mu_q - mu_p(caption)|^2 / E|mu_q - mean of the set|^2, over all dimensions: the share
            of the latents' variance that the caption accounts for; below 0 where the prior is worse than a constant.
        variance_explained_without_text: the same of the empty caption's prior, 0 where it is the mean of the set.
        whitened_variance: [lowest, highest] over channels of E[(z - mu_p)^2 / sigma_p^2], 1 where the prior is
            calibrated.
        fid: between decoded draws of p(z|caption), one a caption, and the images; None without a network for it.
        n, seed: images, and the seed of the captions' wording and of the first draw.
    """

    nll: float
    nll_interval: float | None
    nll_without_text: float
    nll_without_text_interval: float | None
    text_gain: float
    text_gain_interval: float | None
    kl: float
    variance_explained: float
    variance_explained_interval: float | None
    variance_explained_without_text: float
    whitened_variance: tuple[float, float]
    fid: float | None
    fid_interval: float | None
    n: int
    seed: int


class Posteriors:
    """Mean and log variance of q(z|x) of images, one after the other, as a `FeatureExtractor`."""

    name = "cvae-posterior"
    layer = "mean,logvar"

    def __init__(self, model: WithPrior) -> None:
        self.model = model
        self.weights_sha256 = " ".join(made_by(model))
        self.shape = model.prior([""]).mean.shape[1:]
        self.dimensions = 2 * int(np.prod(self.shape))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """uint8 [N, S, S, 3] to float32 [N, 2 C h h]."""
        q = self.model.posterior(images, len(images))
        return np.concatenate([part.cpu().numpy().reshape(len(images), -1) for part in q], axis=1)


class PriorImages:
    """Decoded draws of p(z|c): image i has caption i and the very noise that seed `seed + i` starts denoising from."""

    kind = "model"
    filter: str | None = None
    lossy = False
    attributes: np.ndarray | None = None
    captions: CaptionSource | None = None

    def __init__(self, model: WithPrior, prompts: Sequence[str], seed: int) -> None:
        self.model, self.prompts, self.seed = model, list(prompts), seed
        self.label = f"{model.name}, prior alone"
        self.size: int | None = model.size
        self.crop: str | None = None if model.crop == "unknown" else model.crop

    def __len__(self) -> int:
        return len(self.prompts)

    def batches(self, count: int, batch_size: int, start: int = 0) -> Iterator[np.ndarray]:
        for first in range(start, count, batch_size):
            last = min(first + batch_size, count)
            seeds = range(self.seed + first, self.seed + last)
            yield self.model.prior(self.prompts[first:last]).faces(list(seeds), batch_size)

    def fingerprint(self) -> str | None:
        return self.part_fingerprint(0, len(self))

    def part_fingerprint(self, start: int, stop: int) -> str:
        jobs = ["prior", self.seed + start, self.prompts[start:stop]]
        return hashlib.sha256(json.dumps([*made_by(self.model), *jobs]).encode("utf-8")).hexdigest()

    def settings(self) -> dict[str, Any]:
        return {"prior": True, "seed": self.seed, "model_sha256": self.model.sha256}


def measure_prior(
    model: WithPrior,
    source: ImageSource,
    captions: CaptionSource,
    count: int,
    *,
    seed: int = 0,
    extractor: FeatureExtractor | None = None,
    batch_size: int = 32,
    encoding: Progress | None = None,
    drawing: Progress | None = None,
    cache: bool = False,
) -> PriorResult:
    """Measure the prior on the first `count` images of a source and one caption of each, true of its row.

    Args:
        captions: of the source's rows, in their order; a row of which nothing is known has the empty caption.
        extractor: for FID of decoded draws; None leaves it out.
        encoding, drawing: told (images done, images in all) of the two passes.
        cache: whether numbers of images that were measured before are used again.
    """
    prompts = captions.draw_for(count, seed)
    extract = Posteriors(model)
    q = features_of(source, extract, count, batch_size=batch_size, progress=encoding, cache=cache)
    terms, channels = _terms(model, q, prompts, extract.shape)
    mean = q[:, : q.shape[1] // 2].astype(np.float64)
    spread = np.square(mean - mean.mean(axis=0)).sum(axis=1) * (count / max(1, count - 1))
    fid = spread_of_fid = None
    if extractor is not None and count > 1:
        drawn = PriorImages(model, prompts, seed)
        made = features_of(drawn, extractor, count, batch_size=batch_size, progress=drawing, cache=cache)
        real = features_of(source, extractor, count, batch_size=batch_size, cache=cache)
        fid, spread_of_fid = frechet(made, real), fid_interval(made, real)
    gain = terms["nll_without_text"] - terms["nll"]
    explained, explained_interval = _one_less_ratio(terms["residual"], spread)
    return PriorResult(
        nll=float(terms["nll"].mean()),
        nll_interval=interval(terms["nll"]),
        nll_without_text=float(terms["nll_without_text"].mean()),
        nll_without_text_interval=interval(terms["nll_without_text"]),
        text_gain=float(gain.mean()),
        text_gain_interval=interval(gain),
        kl=float(terms["kl"].mean()),
        variance_explained=explained,
        variance_explained_interval=explained_interval,
        variance_explained_without_text=_one_less_ratio(terms["residual_without_text"], spread)[0],
        whitened_variance=(float(channels.min()), float(channels.max())),
        fid=fid,
        fid_interval=spread_of_fid,
        n=count,
        seed=seed,
    )


def _terms(
    model: WithPrior, q: np.ndarray, prompts: Sequence[str], shape: tuple[int, ...]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Per image, float64 [N], what the figures are means of; and the whitened variance of each channel [C]."""
    import torch

    from celebgen_cli.models.cvae import cross_entropy, kl_divergence
    from celebgen_cli.models.layers import Gaussian

    def gaussian(mean: np.ndarray, logvar: np.ndarray) -> Gaussian:
        return Gaussian(*(torch.from_numpy(part.astype(np.float64).reshape(-1, *shape)) for part in (mean, logvar)))

    def prior(texts: Sequence[str]) -> Gaussian:
        p = model.prior(texts)
        return gaussian(p.mean, 2 * np.log(p.std.astype(np.float64)))

    half, nothing = q.shape[1] // 2, prior([""])
    parts: dict[str, list[np.ndarray]] = {
        name: [] for name in ("nll", "nll_without_text", "kl", "residual", "residual_without_text")
    }
    channels = np.zeros(shape[0])
    for start in range(0, len(q), TEXTS_AT_A_TIME):
        rows = q[start : start + TEXTS_AT_A_TIME]
        posterior = gaussian(rows[:, :half], rows[:, half:])
        p = prior(prompts[start : start + len(rows)])
        parts["nll"].append(cross_entropy(posterior, p).mean((1, 2, 3)).numpy())
        parts["nll_without_text"].append(cross_entropy(posterior, nothing).mean((1, 2, 3)).numpy())
        parts["kl"].append(kl_divergence(posterior, p).mean((1, 2, 3)).numpy())
        for name, other in (("residual", p), ("residual_without_text", nothing)):
            parts[name].append((posterior.mean - other.mean).square().sum((1, 2, 3)).numpy())
        second = ((posterior.mean - p.mean).square() + posterior.logvar.exp()) / p.logvar.exp()
        channels += second.mean((2, 3)).sum(0).numpy() / len(q)
    return {name: np.concatenate(values) for name, values in parts.items()}, channels


def _one_less_ratio(above: np.ndarray, below: np.ndarray) -> tuple[float, float | None]:
    """1 - sum(above) / sum(below) over images, and half of its 95 % interval by the delta method."""
    if not below.any():
        return 0.0, None
    ratio = float(above.sum() / below.sum())
    half = interval(above - ratio * below)
    return 1 - ratio, None if half is None else half / float(below.mean())
