"""Frechet distance between two sets of features, by torch-fidelity's own arithmetic."""

from __future__ import annotations

from celebgen_cli.errors import CelebgenError
from celebgen_cli.evaluation.statistics import Statistics


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
