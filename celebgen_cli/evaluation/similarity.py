"""How alike two pictures are, picture by picture: PSNR, SSIM and LPIPS, and the interval of a mean."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from celebgen_cli.models.digest import state_sha256

if TYPE_CHECKING:
    from celebgen_cli.training.perceptual import LPIPS

PEAK = 255.0
IDENTICAL_PSNR = 100.0
"""Decibels given to an image that comes back without any error, whose ratio is infinite."""

LPIPS_VARIABLE = "CELEBGEN_PERCEPTUAL_WEIGHTS"
ALEXNET_FILE = "alexnet-owt-7be5be79.pth"
"""What torchvision calls the download of its AlexNet."""

Z95 = 1.959963984540054
"""The 97.5 % quantile of the standard normal distribution."""


def mean_squared_error(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Per image, over pixels and channels: uint8 [N, H, W, 3] twice to float64 [N], 0 to 255^2."""
    difference = a.astype(np.int32) - b.astype(np.int32)
    return np.square(difference).reshape(len(a), -1).mean(axis=1, dtype=np.float64)


def psnr(mse: np.ndarray | float) -> np.ndarray:
    """10 log10(255^2 / MSE) in dB, `IDENTICAL_PSNR` where nothing differs."""
    error = np.asarray(mse, dtype=np.float64)
    return np.where(error > 0, 10 * np.log10(PEAK**2 / np.where(error > 0, error, 1)), IDENTICAL_PSNR)


def ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Structural similarity of each pair, Wang et al. 2004 (IEEE TIP 13(4)), equation 13, over channels and pixels.

    A Gaussian window of sigma 1.5 cut at 11 pixels, mirrored at the edges, K1 = 0.01, K2 = 0.03, and variances divided
    by the window's whole weight: the settings of torchmetrics.

    Args:
        a, b: uint8 [N, H, W, 3].

    Returns:
        float64 [N], at most 1, which equal pictures have.
    """
    from scipy.ndimage import gaussian_filter

    def blur(x: np.ndarray) -> np.ndarray:
        return np.asarray(gaussian_filter(x, sigma=1.5, truncate=3.5, mode="mirror", axes=(1, 2)))

    x, y = a.astype(np.float64), b.astype(np.float64)
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    mean_x, mean_y = blur(x), blur(y)
    variance_x = np.maximum(blur(x * x) - mean_x**2, 0)
    variance_y = np.maximum(blur(y * y) - mean_y**2, 0)
    covariance = blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return np.asarray((luminance * structure).reshape(len(a), -1).mean(axis=1))


def lpips(a: np.ndarray, b: np.ndarray, network: LPIPS) -> np.ndarray:
    """LPIPS of each pair: uint8 [N, H, W, 3] twice to float64 [N]; 0 for equal pictures."""
    import torch

    from celebgen_cli.models.cvae import to_float

    device = network.mean.device
    with torch.inference_mode():
        pair = [to_float(torch.from_numpy(np.array(x, order="C")).to(device)) for x in (a, b)]
        return np.asarray(network(*pair).cpu().double().numpy())


def interval(values: np.ndarray) -> float | None:
    """Half the width of the 95 % interval of a mean over images, by Student's t; None for a single image."""
    from scipy.stats import t

    count = len(values)
    if count < 2:
        return None
    return float(t.ppf(0.975, count - 1)) * float(np.std(values, ddof=1)) / math.sqrt(count)


def wilson(hits: float, n: float) -> tuple[float, float]:
    """The 95 % interval of a share of `n` trials, Wilson 1927 (JASA 22): never outside 0..1, and open at 0 and 1."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = hits / n, Z95**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def find_lpips(folder: Path | None = None, device: str | None = None) -> LPIPS | None:
    """LPIPS from a folder, from `$CELEBGEN_PERCEPTUAL_WEIGHTS`, or of the AlexNet that torchvision fetched earlier.

    None where there is none: nothing is downloaded.

    Raises:
        CelebgenError: a folder was named and does not hold the weights.
    """
    import torch

    from celebgen_cli.training.perceptual import load_lpips

    named = folder or (Path(os.environ[LPIPS_VARIABLE]).expanduser() if os.environ.get(LPIPS_VARIABLE) else None)
    if named is None and not (Path(torch.hub.get_dir()) / "checkpoints" / ALEXNET_FILE).is_file():
        return None
    return load_lpips(named).to(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def network_digest(network: LPIPS | None) -> str:
    """SHA-256 of a network's tensors, "" for none."""
    return "" if network is None else state_sha256(network.state_dict())
