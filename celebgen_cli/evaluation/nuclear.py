"""The Frechet distance from features rather than covariances, and how far it would move with other images.

tr((S_a S_b)^(1/2)) is the nuclear norm of A B^T where S_a = A^T A and S_b = B^T B. With fewer images than dimensions
A and B are the centred features themselves, else the triangles of their QR decompositions: no product of covariances
is formed, and leaving images out costs a fraction of what the first distance costs.
"""

from __future__ import annotations

import math

import numpy as np

from celebgen_cli.evaluation.fid import frechet_distance
from celebgen_cli.evaluation.statistics import from_features

GROUPS = 10


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Frechet distance between features float32 [N, D] and [M, D], by torch-fidelity's arithmetic."""
    return frechet_distance(from_features(np.ascontiguousarray(a)), from_features(np.ascontiguousarray(b)))


def frechet_by_norm(a: np.ndarray, b: np.ndarray) -> float:
    """The same distance by the nuclear norm: equal to `frechet` up to rounding, and faster where images are few."""
    mean_a, root_a = _root(a)
    mean_b, root_b = _root(b)
    cross = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    return float(np.sum((mean_a - mean_b) ** 2) + np.sum(root_a**2) + np.sum(root_b**2) - 2 * cross)


def fid_interval(a: np.ndarray, b: np.ndarray, groups: int = GROUPS) -> float | None:
    """Half the width of FID's 95 % interval over images, by the delete-a-group jackknife (Kott 2001, JOS 17(4)).

    A tenth of the images is left out in turn, the same rows of both sides, so features of the same images in both are
    left out together. What N adds to FID is the same in all ten, so only the spread is read from them. None where
    there are too few images to leave some out.

    Args:
        a, b: float32 [N, D] each, of the same number of images.
    """
    from scipy.stats import t

    n = min(len(a), len(b))
    if n < 2 * groups:
        return None
    group = np.arange(n) % groups
    left = np.array([frechet_by_norm(a[:n][group != i], b[:n][group != i]) for i in range(groups)])
    error = math.sqrt((groups - 1) / groups * float(np.sum((left - left.mean()) ** 2)))
    return float(t.ppf(0.975, groups - 1)) * error


def _root(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [D] and a matrix [K, D] whose square K^T K is the covariance, K at most D."""
    x = features.astype(np.float64)
    mean = x.mean(axis=0)
    centred = (x - mean) / math.sqrt(len(x) - 1)
    return mean, np.asarray(np.linalg.qr(centred, mode="r")) if len(x) > x.shape[1] else centred
