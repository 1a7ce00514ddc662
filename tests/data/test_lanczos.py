"""The quick resize is Pillow's, bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from celebgen_cli.data import lanczos


def pillow(pixels: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.LANCZOS))


@pytest.mark.parametrize("size", [32, 64, 128, 178, 256])
@pytest.mark.parametrize("side", [128, 140, 148, 178])
def test_every_crop_at_every_usual_size(side: int, size: int) -> None:
    pixels = np.random.default_rng(size).integers(0, 256, (side, side, 3), dtype=np.uint8)
    np.testing.assert_array_equal(lanczos.resize(pixels, size), pillow(pixels, size))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 2**32), st.integers(0, 255))
def test_any_square_and_overshoot(side: int, size: int, seed: int, edge: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    hard = np.where(pixels > edge, 255, 0).astype(np.uint8)  # LANCZOS overshoots at edges, so sums leave 0 to 255
    for image in (pixels, hard):
        np.testing.assert_array_equal(lanczos.resize(image, size), pillow(image, size))


@pytest.mark.parametrize("shape", [(218, 178), (40, 50), (300, 40), (40, 300)])
def test_other_shapes_are_tried_before_they_are_trusted(shape: tuple[int, int]) -> None:
    if not lanczos.is_pillows(*shape, 50):
        return  # Pillow takes the passes in another order
    pixels = np.random.default_rng(5).integers(0, 256, (*shape, 3), dtype=np.uint8)
    np.testing.assert_array_equal(lanczos.resize(pixels, 50), pillow(pixels, 50))


def test_sums_never_overflow() -> None:
    for source in range(1, lanczos.LARGEST + 1, 7):
        for target in (32, 100, 128, 256):
            weights = lanczos.weights(source, target).toarray().astype(np.int64)
            assert np.abs(weights).sum(1).max() * 255 + 2 ** (lanczos.BITS - 1) < 2**31
            assert np.abs(weights.sum(1) - 2**lanczos.BITS).max() <= 4 * max(1, source / target) + 6  # rounded singly


def test_another_pillow_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lanczos.is_pillows(178, 178, 128)
    lanczos.is_pillows.cache_clear()
    resize = Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda image, size, how: resize(image, size, Image.Resampling.BICUBIC))
    assert not lanczos.is_pillows(178, 178, 128)
    lanczos.is_pillows.cache_clear()
    assert not lanczos.is_pillows(178, lanczos.LARGEST + 1, 128)
