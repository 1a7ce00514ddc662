"""Precision and recall, by torch-fidelity's own arithmetic, and density and coverage, over features of two sets.

A point belongs to a set's manifold if it lies in the ball of one of its points, whose radius is the distance to that
point's k-th neighbour in its own set. Precision is the share of generated images on the manifold of the real ones,
recall the share of real images on that of the generated ones (Kynkaanniemi et al. 2019, arXiv 1904.06991, k = 3).
Density counts in how many real balls a generated image lies, over k, and coverage is the share of real balls with a
generated image in them (Naeem et al. 2020, arXiv 2002.09797, equations 3 and 4, k = 5).

All four depend on N, so only figures at the same N compare; and on the features, which figures therefore name.
"""

from __future__ import annotations

import numpy as np

PRC_NEIGHBORS = 3
"""torch-fidelity's default, and the paper's."""

COVERAGE_NEIGHBORS = 5
"""The paper's choice."""

BLOCK = 2048
"""Rows of a block of distances; two blocks' worth of a side is all that is in memory."""

WHOLE = 10_000
"""Up to so many images torch-fidelity holds whole matrices of distances (four of 400 MB), beyond it blocks."""


def precision_recall(generated: np.ndarray, real: np.ndarray) -> dict[str, float]:
    """Precision, recall and their harmonic mean `f_score`, each 0 to 1.

    Args:
        generated, real: float32 [N, D] features of the two sides, N more than `PRC_NEIGHBORS`.
    """
    import torch
    from torch_fidelity.metric_prc import (
        KEY_METRIC_F_SCORE,
        KEY_METRIC_PRECISION,
        KEY_METRIC_RECALL,
        prc_features_to_metric,
    )

    out = prc_features_to_metric(
        torch.from_numpy(generated),
        torch.from_numpy(real),
        prc_neighborhood=PRC_NEIGHBORS,
        save_cpu_ram=max(len(generated), len(real)) > WHOLE,
        verbose=False,
    )
    return {
        "precision": float(out[KEY_METRIC_PRECISION]),
        "recall": float(out[KEY_METRIC_RECALL]),
        "f_score": float(out[KEY_METRIC_F_SCORE]),
    }


def density_coverage(generated: np.ndarray, real: np.ndarray, neighbors: int = COVERAGE_NEIGHBORS) -> dict[str, float]:
    """Density, 0 and up (about 1 between two equal distributions), and coverage, 0 to 1.

    Args:
        generated, real: float32 [N, D] features of the two sides, N of `real` more than `neighbors`.
    """
    import torch

    ours, theirs = torch.from_numpy(generated), torch.from_numpy(real)
    inside, covered = 0, 0
    for block in theirs.split(BLOCK):
        # The nearest neighbour of a point in its own set is the point itself, so the k-th other is number k + 1.
        radius = torch.cdist(block, theirs).kthvalue(neighbors + 1, dim=1).values
        within = torch.cdist(block, ours) < radius[:, None]
        inside += int(within.sum())
        covered += int(within.any(dim=1).sum())
    return {"density": inside / (neighbors * len(ours)), "coverage": covered / len(theirs)}
