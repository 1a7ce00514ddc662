"""What a CVAE loses of a photograph, given back where an edit left the picture alone."""

from __future__ import annotations

import numpy as np

TOLERANCE = 20.0
"""Levels of 255 by which an edit may move a place before less than 1/e of the photograph's detail is given back."""
RADIUS = 2.0
"""Deviation in pixels of the Gaussian that smooths how far a place was moved, and so the seams."""


def with_detail(photos: np.ndarray, rebuilt: np.ndarray, edited: np.ndarray) -> np.ndarray:
    """edited + w (photos - rebuilt), with w = exp(-(d / TOLERANCE)^2) and d the smoothed mean of |edited - rebuilt|.

    Where nothing was edited the photographs come out exactly; where much was, the edit alone.

    Args:
        photos, rebuilt, edited: uint8 [B, S, S, 3], rebuilt and edited by the same decoder.

    Returns:
        uint8 [B, S, S, 3].
    """
    from scipy.ndimage import gaussian_filter

    before, after = rebuilt.astype(np.float64), edited.astype(np.float64)
    moved = gaussian_filter(np.abs(after - before).mean(axis=3), sigma=RADIUS, axes=(1, 2))
    share = np.exp(-((moved / TOLERANCE) ** 2))[..., None]
    return np.clip(np.rint(after + share * (photos - before)), 0, 255).astype(np.uint8)
