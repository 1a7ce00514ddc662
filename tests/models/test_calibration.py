"""Calibration: the first moments of drawn latents become those of encoded ones, and nothing else moves."""

import numpy as np
import pytest
import scipy.fft
import torch

from celebgen_cli.models.calibration import broad_tones, measure


def latents(count: int, seed: int, spread: float, offset: float) -> torch.Tensor:
    """[count, 3, 8, 8]: white, with a level of its own a picture and a mean field."""
    generator = torch.Generator().manual_seed(seed)
    white = torch.randn(count, 3, 8, 8, generator=generator)
    level = spread * torch.randn(count, 3, 1, 1, generator=generator)
    field = offset * torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(9))
    return white + level + field


def test_broad_tones_are_the_lowest_waves_of_scipys_cosine_transform() -> None:
    picture = np.random.default_rng(0).normal(size=(8, 8))
    expected = scipy.fft.dctn(picture, norm="ortho")
    got = (broad_tones(8).numpy() * picture).sum((1, 2))
    np.testing.assert_allclose(got, [expected[0, 0], expected[1, 0], expected[0, 1]], rtol=1e-5)


def test_moments_of_the_drawn_become_those_of_the_encoded() -> None:
    drawn, encoded = latents(400, 0, 0.5, 1.0), latents(300, 1, 2.0, -0.3)
    corrected = measure(drawn, encoded)(drawn)
    torch.testing.assert_close(corrected.mean(0), encoded.mean(0), rtol=1e-4, atol=1e-4)
    have, want = (u.mean((2, 3)).std(0, correction=0) for u in (corrected, encoded))
    torch.testing.assert_close(have, want, rtol=1e-3, atol=1e-3)


def test_detail_is_left_alone() -> None:
    drawn, encoded = latents(200, 0, 0.5, 1.0), latents(200, 1, 2.0, -0.3)
    calibration = measure(drawn, encoded)
    moved = calibration(drawn) - drawn + calibration.shift
    dct = scipy.fft.dctn(moved.numpy(), axes=(2, 3), norm="ortho")
    dct[:, :, 0, 0] = dct[:, :, 1, 0] = dct[:, :, 0, 1] = 0
    assert np.abs(dct).max() < 1e-5
    torch.testing.assert_close(calibration.gain[:, 1], calibration.gain[:, 2])


def test_latents_that_are_right_stay_as_they_are() -> None:
    u = latents(50, 0, 1.0, 1.0)
    torch.testing.assert_close(measure(u, u)(u), u, rtol=1e-4, atol=1e-5)


def test_a_spread_needs_two() -> None:
    with pytest.raises(ValueError, match="at least two"):
        measure(latents(1, 0, 1.0, 0.0), latents(5, 1, 1.0, 0.0))
