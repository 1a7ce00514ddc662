"""The Frechet distance by the nuclear norm, and an interval that other images confirm."""

from __future__ import annotations

import numpy as np
import pytest

from celebgen_cli.evaluation.nuclear import fid_interval, frechet, frechet_by_norm


@pytest.mark.parametrize(("n", "m", "d"), [(30, 40, 8), (12, 15, 40), (50, 10, 20)])
def test_both_ways_agree(n: int, m: int, d: int) -> None:
    rng = np.random.default_rng(n)
    a, b = (rng.normal(size=(k, d)) @ rng.normal(size=(d, d)) + shift for k, shift in ((n, 0.0), (m, 0.5)))
    a, b = a.astype(np.float32), b.astype(np.float32)
    assert frechet_by_norm(a, b) == pytest.approx(frechet(a, b), rel=1e-5)
    assert frechet_by_norm(a, a) == pytest.approx(0, abs=1e-8)


def test_distance_of_two_gaussians_by_hand() -> None:
    x = np.array([[-1.0], [1.0]] * 50, dtype=np.float32)  # variance 100 / 99
    deviation = (100 / 99) ** 0.5
    assert frechet_by_norm(x, 3 * x + 2) == pytest.approx(4 + (2 * deviation) ** 2, rel=1e-9)


@pytest.mark.parametrize("paired", [False, True])
def test_interval_is_as_wide_as_other_images_make_it(paired: bool) -> None:
    rng, found, halves = np.random.default_rng(3), [], []
    for _ in range(60):
        a = rng.normal(size=(200, 3)).astype(np.float32)
        b = (1.3 * a + 0.2 * rng.normal(size=a.shape) if paired else 1.3 * rng.normal(size=a.shape) + 0.3).astype("f4")
        found.append(frechet_by_norm(a, b))
        halves.append(fid_interval(a, b))
    from scipy.stats import t

    error = float(np.mean([half / t.ppf(0.975, 9) for half in halves if half is not None]))
    assert error == pytest.approx(float(np.std(found)), rel=0.3)
    assert fid_interval(a[:19], b[:19]) is None
