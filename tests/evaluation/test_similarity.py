"""PSNR, SSIM and LPIPS are torchmetrics' to five digits; intervals are scipy's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from celebgen_cli.errors import CelebgenError
from celebgen_cli.evaluation import similarity as module
from celebgen_cli.evaluation.similarity import find_lpips, interval, lpips, ssim, wilson
from tests.likeness import torchmetrics_lpips, write_lpips
from tests.single import single

Faces = tuple[np.ndarray, np.ndarray]


def worse(images: np.ndarray, sigma: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, sigma, images.shape)
    return np.clip(np.rint(images + noise), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("sigma", [2.0, 40.0])
def test_ssim_is_torchmetrics(faces: Faces, sigma: float) -> None:
    from torchmetrics.functional.image import structural_similarity_index_measure

    images, other = faces[0][:6], worse(faces[0][:6], sigma)
    pair = [torch.from_numpy(x.transpose(0, 3, 1, 2).astype(np.float64)) for x in (other, images)]
    expected = structural_similarity_index_measure(*pair, data_range=255.0, reduction="none")
    np.testing.assert_allclose(ssim(images, other), expected.numpy(), rtol=1e-7)
    assert (ssim(images, other) < 0.999).all()


def test_ssim_of_equal_and_of_flat_pictures() -> None:
    grey, white = np.full((1, 16, 16, 3), 100, np.uint8), np.full((1, 16, 16, 3), 255, np.uint8)
    np.testing.assert_allclose(ssim(grey, grey), 1, atol=1e-12)
    c1 = (0.01 * 255) ** 2  # without structure the luminance term is left
    np.testing.assert_allclose(ssim(grey, white), (2 * 100 * 255 + c1) / (100**2 + 255**2 + c1), rtol=1e-12)


def test_lpips_is_torchmetrics(faces: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    assert find_lpips() is None  # nothing is fetched
    folder = write_lpips(tmp_path / "weights")
    monkeypatch.setenv(module.LPIPS_VARIABLE, str(folder))
    network = find_lpips()
    assert network is not None
    images = np.repeat(np.repeat(faces[0][:4], 2, axis=1), 2, axis=2)
    other = worse(images, 30)
    pair = [torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).float() / 127.5 - 1 for x in (images, other)]
    with torch.no_grad():
        expected = torchmetrics_lpips(folder)(*pair).flatten().numpy()
    np.testing.assert_allclose(lpips(images, other, network), expected, rtol=1e-5)
    np.testing.assert_array_equal(lpips(images, images, network), 0)
    with pytest.raises(CelebgenError, match="alexnet-features"):
        find_lpips(tmp_path)


def test_intervals() -> None:
    from scipy.stats import binomtest, ttest_1samp

    values = np.random.default_rng(1).normal(size=50)
    for count in (2, 5, 50):
        bounds = ttest_1samp(values[:count], 0).confidence_interval(0.95)
        assert interval(values[:count]) == pytest.approx((bounds.high - bounds.low) / 2, rel=1e-12)
    assert interval(values[:1]) is None
    for hits, n in ((0, 10), (3, 10), (10, 10), (70, 1000)):
        expected = binomtest(hits, n).proportion_ci(method="wilson")
        np.testing.assert_allclose(wilson(hits, n), (expected.low, expected.high), atol=1e-12)
    assert wilson(0, 0) == (0.0, 1.0)


def test_lpips_of_a_device_without_float64() -> None:
    class Network:
        mean = torch.zeros(1)

        def __call__(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return single((a - b).abs().mean((1, 2, 3)))

    images = np.stack([np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)])
    np.testing.assert_allclose(lpips(images, images[::-1], Network()), [2, 2])  # type: ignore[arg-type]
