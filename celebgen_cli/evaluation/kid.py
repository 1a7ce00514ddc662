"""Kernel distance between two sets of features, by torch-fidelity's own arithmetic."""

from __future__ import annotations

import numpy as np

KID_SUBSETS = 100
KID_SUBSET_SIZE = 1000
KID_SEED = 2020
"""torch-fidelity's defaults, spelled out because the figure depends on them."""


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
