"""Spatial frequencies: SciPy's transform, powers that become those of other pictures, a filter that leaves the rest."""

import numpy as np
import pytest
import scipy.fft
import torch

from celebgen_cli.models.spectrum import (
    COHERENT,
    MAX_GAIN,
    RINGS,
    apply_response,
    color_response,
    frequency_response,
    ring_power,
    ring_products,
)
from tests.single import Single, single

LUMA = np.array([0.299, 0.587, 0.114])


def pictures(count: int, seed: int, size: int = 32) -> torch.Tensor:
    """Smooth noise in colour [count, 3, size, size], well within [-1, 1]."""
    noise = np.random.default_rng(seed).normal(size=(count, 3, size, size))
    frequency = np.hypot(*np.meshgrid(np.arange(size), np.arange(size)))
    smooth = scipy.fft.idctn(noise / (2 + frequency), axes=(2, 3), norm="ortho")
    return torch.from_numpy(smooth * 0.25 / smooth.std()).float().clamp(-0.9, 0.9)


@pytest.mark.parametrize("size", [32, 64, 128])
def test_a_flat_response_changes_nothing(size: int) -> None:
    x = pictures(2, 0, size)
    torch.testing.assert_close(apply_response(x, torch.ones(3, RINGS)), x, atol=1e-5, rtol=0)


def test_the_power_is_that_of_scipys_transform() -> None:
    x = pictures(3, 1)
    luma = np.einsum("c,bchw->bhw", LUMA, x.numpy().astype(np.float64))
    power = (scipy.fft.dctn(luma, axes=(1, 2), norm="ortho") ** 2).sum(0)
    got = ring_power(x)
    assert got.shape == (3, RINGS)
    np.testing.assert_allclose(got[0, 0], power[0, 0], rtol=1e-4)
    np.testing.assert_allclose(got[0, -1], np.mean([power[-1, -1], power[-1, -2], power[-2, -1]]), rtol=1e-3)


def test_gray_has_no_colour() -> None:
    gray = pictures(2, 2)[:, :1].expand(-1, 3, -1, -1)
    assert float(ring_power(gray)[1:].max()) < 1e-6 * float(ring_power(gray)[0].max())


def test_filtered_pictures_have_the_power_of_the_others() -> None:
    have, want = pictures(40, 3), pictures(40, 4)
    blurred = apply_response(have, torch.linspace(1, 0.7, RINGS).expand(3, -1))
    response = frequency_response(ring_power(blurred), ring_power(want))
    got = ring_power(apply_response(blurred, response))
    ratio = (got / ring_power(want))[:, 1:]
    assert 0.9 < float(ratio.min()) < float(ratio.max()) < 1.1
    assert float((ring_power(blurred) / ring_power(want))[0, -1]) < 0.6


def test_the_mean_level_stays_and_gains_are_bounded() -> None:
    have, want = torch.full((3, RINGS), 0.01), torch.ones(3, RINGS)
    response = frequency_response(have.double(), want.double())
    assert response[:, 1:].unique().tolist() == [pytest.approx(MAX_GAIN)]
    assert response[:, 0].tolist() == [1, 1, 1]
    x = pictures(2, 5)
    torch.testing.assert_close(apply_response(x, response).mean((2, 3)), x.mean((2, 3)), atol=1e-5, rtol=0)


def test_colour_can_be_filtered_alone() -> None:
    x, response = pictures(2, 6), torch.ones(3, RINGS)
    response[1:, 1:] = 0
    got = apply_response(x, response)
    weights = torch.tensor(LUMA).float()[None, :, None, None]
    torch.testing.assert_close((got * weights).sum(1), (x * weights).sum(1), atol=1e-5, rtol=0)
    assert float(ring_power(got)[1:, 1:].max()) < 1e-8


def test_each_picture_is_filtered_by_itself() -> None:
    x, response = pictures(5, 7), torch.linspace(1, 1.6, RINGS).expand(3, -1)
    together = apply_response(x, response)
    torch.testing.assert_close(
        torch.cat([apply_response(x[i : i + 1], response) for i in range(5)]), together, atol=1e-6, rtol=0
    )


def rebuilt(images: torch.Tensor, known: torch.Tensor, seed: int) -> torch.Tensor:
    """Pictures whose rings are as strong as those of `images`, and of which the part `known` [3, RINGS] is theirs."""
    other = pictures(len(images), seed, images.shape[-1])
    return apply_response(images, known) + apply_response(other, (1 - known**2).sqrt())


def test_rebuilt_exactly_loses_no_colour() -> None:
    x = pictures(20, 8)
    products = ring_products(x, x)
    assert products.shape == (3, 3, RINGS)
    torch.testing.assert_close(products, ring_power(x).expand(3, -1, -1))
    assert color_response(products).tolist() == torch.ones(3, RINGS).tolist()


def test_colour_that_is_made_up_is_left_out_and_brightness_stays() -> None:
    x, known = pictures(300, 9), torch.ones(3, RINGS)
    known[:, RINGS // 2 :] = 0
    gain = color_response(ring_products(rebuilt(x, known, 10), x))
    assert gain.dtype == torch.float32
    assert gain[0].tolist() == [1] * RINGS
    assert gain[1:, : RINGS // 2 - 3].unique().tolist() == [1]
    assert float(gain[1:, RINGS // 2 + 3 :].max()) < 0.5
    assert float(gain.diff(dim=1).max()) <= 0  # chance brings nothing back


def test_the_gain_is_the_square_of_the_coherence() -> None:
    known = 0.6 * COHERENT
    products = torch.ones(3, 3, RINGS, dtype=torch.float64) * 4  # powers 4 and 9, product known * 6
    products[0], products[2] = 6 * known, 9
    gain = color_response(products)
    assert gain[1:, 1:].unique().tolist() == [pytest.approx(0.36)]
    assert gain[:, 0].tolist() == [1, 1, 1]
    nothing = torch.zeros(3, 3, RINGS, dtype=torch.float64)  # black pictures
    assert color_response(nothing)[1:, 1:].unique().tolist() == [0]


def test_products_of_parts_add_up() -> None:
    x, y = pictures(6, 11), pictures(6, 12)
    parts = ring_products(x[:2], y[:2]) + ring_products(x[2:], y[2:])
    torch.testing.assert_close(ring_products(x, y), parts)


def test_sums_are_made_where_there_is_float64() -> None:
    x, y = pictures(3, 11), pictures(3, 12)
    for found, expected in (
        (ring_power(single(x)), ring_power(x)), (ring_products(single(x), single(y)), ring_products(x, y)),
    ):  # fmt: skip
        assert found.dtype == torch.float64 and not isinstance(found, Single)
        torch.testing.assert_close(found, expected)
