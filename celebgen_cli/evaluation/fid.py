"""Frechet and Kernel Inception Distance between two sets of images, by torch-fidelity's own arithmetic."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from celebgen_cli.errors import CelebgenError
from celebgen_cli.evaluation.cache import features_key, load_features, store_features
from celebgen_cli.evaluation.features import FeatureExtractor
from celebgen_cli.evaluation.sources import ImageSource, loaded_batches
from celebgen_cli.evaluation.statistics import Statistics, describe_set, from_features

KID_SUBSETS = 100
KID_SUBSET_SIZE = 1000
KID_SEED = 2020
"""torch-fidelity's defaults, spelled out because the figure depends on them."""

PROBE_TOLERANCE = 2e-3
"""Two machines' float32 features differ by 1e-5; another network's by 0.1."""

Progress = Callable[[int, int], None]
Timing = Callable[[float, float, int], None]


@dataclass(frozen=True)
class FidResult:
    """Both figures and everything that they depend on.

    Attributes:
        fid: Frechet distance, 0 or more up to rounding; lower is closer.
        kid: mean of the squared maximum mean discrepancy over subsets, None where a side has no features.
        kid_deviation: its standard deviation over the subsets.
        kid_subsets, kid_subset_size: how many subsets, of how many images a side.
        generated, real: what the two sides are.
        warnings: sentences about what makes the figure hard to compare.
    """

    fid: float
    kid: float | None
    kid_deviation: float | None
    kid_subsets: int | None
    kid_subset_size: int | None
    generated: dict[str, Any]
    real: dict[str, Any]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """|mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)), Heusel et al. 2017 (arXiv 1706.08500), equation 6.

    Raises:
        CelebgenError: the two have different numbers of dimensions.
    """
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    if a.mean.shape != b.mean.shape:
        raise CelebgenError(
            f"the two sides have {len(a.mean)} and {len(b.mean)} features an image; make both with one network"
        )
    both = [{"mu": side.mean, "sigma": side.covariance} for side in (a, b)]
    return float(fid_statistics_to_metric(*both, verbose=False)[KEY_METRIC_FID])


def kernel_distance(
    a: np.ndarray,
    b: np.ndarray,
    *,
    subsets: int = KID_SUBSETS,
    subset_size: int = KID_SUBSET_SIZE,
    seed: int = KID_SEED,
) -> tuple[float, float]:
    """KID with the cubic polynomial kernel, Binkowski et al. 2018 (arXiv 1801.01401), section 4.

    Args:
        a, b: float32 [N, D] features of the two sides, each N at least `subset_size`.

    Returns:
        Mean and standard deviation over the subsets; the mean is unbiased and may be slightly below 0.
    """
    import torch
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

    out = kid_features_to_metric(
        torch.from_numpy(a),
        torch.from_numpy(b),
        kid_subsets=subsets,
        kid_subset_size=subset_size,
        rng_seed=seed,
        verbose=False,
    )
    return float(out[KEY_METRIC_KID_MEAN]), float(out[KEY_METRIC_KID_STD])


def measure(generated: Statistics, real: Statistics, *, kid: bool = True) -> FidResult:
    """FID, and KID where both sides have features and `kid` asks for it.

    Raises:
        CelebgenError: the two were made with different networks.
    """
    _check_network(generated, real)
    mean: float | None = None
    deviation: float | None = None
    subset_size = None
    if kid and generated.features is not None and real.features is not None:
        subset_size = min(KID_SUBSET_SIZE, generated.n, real.n)
        mean, deviation = kernel_distance(generated.features, real.features, subset_size=subset_size)
    return FidResult(
        fid=frechet_distance(generated, real),
        kid=mean,
        kid_deviation=deviation,
        kid_subsets=None if mean is None else KID_SUBSETS,
        kid_subset_size=subset_size,
        generated=dict(generated.info),
        real=dict(real.info),
        warnings=tuple(caveats(generated, real)),
    )


def statistics_of(
    source: ImageSource,
    extractor: FeatureExtractor,
    count: int | None = None,
    *,
    batch_size: int = 32,
    progress: Progress | None = None,
    timing: Timing | None = None,
    cache: bool = True,
) -> Statistics:
    """Features and statistics of the first `count` images of a source (None: all), from the cache where they are there.

    Args:
        progress: called with (images done, images in all).
        timing: called once, after the first batch, with the seconds that its images took, the seconds that their
            features took, and the number of images; not called when the cache answers.

    Raises:
        CelebgenError: the source has fewer than `count` images, or fewer than two.
    """
    count = len(source) if count is None else count
    if count > len(source):
        raise CelebgenError(f"{source.label} has {len(source)} images and {count} were asked for; ask for fewer")
    fingerprint = source.fingerprint() if cache else None
    key = fingerprint and features_key(1, fingerprint, extractor.name, extractor.layer, extractor.weights_sha256, count)
    features = load_features(key, count, extractor.dimensions) if key else None
    if features is None:
        features = _extract(source, extractor, count, batch_size, progress, timing)
        if key:
            store_features(key, features)
    if progress:
        progress(count, count)
    info = {**describe_set(source, count, extractor), "fingerprint": fingerprint or source.fingerprint()}
    attributes = source.attributes[:count] if source.attributes is not None else None
    return from_features(features, info, attributes)


def cached(source: ImageSource, extractor: FeatureExtractor, count: int | None = None) -> bool:
    """Whether `statistics_of` would be answered by the cache."""
    count = len(source) if count is None else count
    fingerprint = source.fingerprint()
    if fingerprint is None:
        return False
    key = features_key(1, fingerprint, extractor.name, extractor.layer, extractor.weights_sha256, count)
    return load_features(key, count, extractor.dimensions) is not None


def caveats(generated: Statistics, real: Statistics) -> list[str]:
    """Sentences about what keeps a figure from being compared with others."""
    out = []
    sides = (("generated", generated), ("real", real))
    for name, side in sides:
        if side.n <= len(side.mean):
            out.append(
                f"the {name} side has {side.n} images, no more than the {len(side.mean)} dimensions of a feature: "
                "FID is far too high at this N"
            )
        if side.info.get("lossy"):
            out.append(f"the {name} images went through a lossy format (JPEG, WebP or AVIF), which moves FID")
    if generated.n != real.n:
        out.append(f"N differs ({generated.n} and {real.n}): compare only with figures at these N")
    for what in ("size", "crop"):
        a, b = generated.info.get(what), real.info.get(what)
        if a is not None and b is not None and a != b:
            out.append(f"the {what} differs ({a} and {b}): part of the figure is this difference")
    return out


def _extract(
    source: ImageSource,
    extractor: FeatureExtractor,
    count: int,
    batch_size: int,
    progress: Progress | None,
    timing: Timing | None,
) -> np.ndarray:
    done = (lambda seen: progress(seen, count)) if progress else None
    parts: list[np.ndarray] = []
    started = time.perf_counter()
    for batch in loaded_batches(source, count, batch_size, done):
        drawn = time.perf_counter()
        parts.append(extractor(batch))
        if timing and len(parts) == 1:
            timing(drawn - started, time.perf_counter() - drawn, len(batch))
    return np.concatenate(parts) if parts else np.empty((0, extractor.dimensions), dtype=np.float32)


def _check_network(generated: Statistics, real: Statistics) -> None:
    a, b = generated.info, real.info
    for what in ("network", "layer"):
        if a.get(what) != b.get(what):
            raise CelebgenError(
                f"the two sides were made with different features ({a.get(what)} and {b.get(what)}); "
                "make both with one network"
            )
    probes = a.get("probe"), b.get("probe")
    if all(isinstance(values, Sequence) for values in probes):
        one, other = (np.asarray(values, dtype=np.float64) for values in probes)
        if one.shape != other.shape or not np.allclose(one, other, rtol=PROBE_TOLERANCE, atol=PROBE_TOLERANCE):
            raise CelebgenError(
                "the statistics were made with other Inception weights than these; use torch-fidelity's own file "
                "(weights-inception-2015-12-05) for both sides"
            )
