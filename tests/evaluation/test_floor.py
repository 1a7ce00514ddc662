"""The floor: what a metric says of two sets of real images, at which N, and what follows for another N."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from celebgen_cli.errors import CelebgenError
from celebgen_cli.evaluation import floor as module
from celebgen_cli.evaluation.fid import frechet_distance
from celebgen_cli.evaluation.floor import floor_of, with_floor
from celebgen_cli.evaluation.statistics import Statistics, from_features


def real(n: int = 400, seed: int = 0, name: str = "faces") -> Statistics:
    features = np.random.default_rng(seed).normal(size=(n, 4)).astype(np.float32)
    return from_features(features, {"source": name, "fingerprint": f"{name} {n}", "weights_sha256": "w"})


def test_two_halves_where_as_many_are_generated_as_there_are() -> None:
    reference = real()
    found = floor_of(reference, 400, "fid")
    assert found is not None and reference.features is not None
    rows = np.random.default_rng(0).permutation(400)
    a, b = (from_features(reference.features[some]) for some in (rows[:200], rows[200:]))
    assert found["fid"] == pytest.approx(frechet_distance(a, b), rel=1e-12)
    assert (found["n"], found["n_real"], found["kid_subset_size"]) == (200, 200, 200)
    assert found["sets"] == "two parts of faces that share no image"
    assert found["extrapolated"] == {"n": 400, "n_real": 400, "fid": pytest.approx(found["fid"] / 2)}


def test_fewer_generated_images_are_matched_exactly() -> None:
    found = floor_of(real(), 100, "fid")
    assert found is not None and (found["n"], found["n_real"]) == (100, 300)
    assert found["extrapolated"]["fid"] == pytest.approx(found["fid"] * (1 / 100 + 1 / 400) / (1 / 100 + 1 / 300))
    assert "extrapolated" not in (floor_of(real(), 4, "fid") or {})  # the law fails where N is the number of dimensions
    carried = replace(with_floor(real(), "fid"), features=None)
    told = [floor_of(carried, num, "fid") or {} for num in (4, 5)]
    assert ["extrapolated" in found for found in told] == [False, True]


def test_the_law_holds_on_average() -> None:
    """Between Gaussian sets FID is bias alone and goes as 1 / N: the extrapolated floor is the one that is measured."""
    told, measured = [], []
    for seed in range(60):
        found = floor_of(real(400, seed, f"s{seed}"), 400, "fid only", cache=False)
        assert found is not None
        told.append(found["extrapolated"]["fid"])
        measured.append(frechet_distance(real(400, 1000 + seed), real(400, 2000 + seed)))
    assert np.mean(told) == pytest.approx(np.mean(measured), rel=0.15)


def test_another_real_set() -> None:
    found = floor_of(real(), 300, "fid", real(300, 5, "others"))
    assert found is not None
    assert (found["n"], found["n_real"], found["sets"]) == (300, 400, "others and faces")
    assert found["fid"] == pytest.approx(frechet_distance(real(300, 5), real()), rel=1e-12)
    assert "extrapolated" not in found
    with pytest.raises(CelebgenError, match="others is the reference itself"):
        floor_of(real(), 300, "fid", replace(real(), info={**real().info, "source": "others"}))


def test_statistics_carry_the_floor_of_the_images_that_they_lost() -> None:
    kept = with_floor(real(), "fid")
    lost = replace(kept, features=None)
    assert floor_of(lost, 400, "fid") == floor_of(real(), 400, "fid")
    alone = floor_of(lost, 400, "fid only")
    assert alone is not None and "kid" not in alone and alone["fid"] > 0
    kid = floor_of(lost, 400, "kid")
    assert kid is not None and "fid" not in kid and "kid" in kid
    assert floor_of(lost, 400, "prc") is None and floor_of(replace(real(), features=None), 400, "fid") is None


def test_it_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = floor_of(real(), 400, "fid")
    monkeypatch.setattr(module, "METRICS", {})
    assert floor_of(real(), 400, "fid") == first
    with pytest.raises(KeyError):
        floor_of(real(), 400, "fid", cache=False)
