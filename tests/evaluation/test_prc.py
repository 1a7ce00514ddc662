"""Precision, recall, density and coverage against torch-fidelity, by hand, and where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from celebgen_cli.errors import CelebgenError
from celebgen_cli.evaluation import prc as module
from celebgen_cli.evaluation.fid import measure
from celebgen_cli.evaluation.prc import density_coverage, precision_recall
from celebgen_cli.evaluation.statistics import from_features


def points(seed: int, n: int, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(n, 6)) * scale + shift).astype(np.float32)


def by_hand(generated: np.ndarray, real: np.ndarray, k: int) -> tuple[float, float, float, float]:
    """Precision, recall, density and coverage with k neighbours, by the papers' words."""

    def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.sqrt(((a[:, None].astype(np.float64) - b[None]) ** 2).sum(-1))

    balls_real = np.sort(distances(real, real), axis=1)[:, k]
    balls_generated = np.sort(distances(generated, generated), axis=1)[:, k]
    across = distances(generated, real)
    precision = np.mean([any(across[j] <= balls_real) for j in range(len(generated))])
    recall = np.mean([any(across[:, i] <= balls_generated) for i in range(len(real))])
    density = (across < balls_real[None]).sum() / (k * len(generated))
    coverage = np.mean([any(across[:, i] < balls_real[i]) for i in range(len(real))])
    return float(precision), float(recall), float(density), float(coverage)


def test_figures_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 17)  # more than one block
    generated, real = points(0, 60, 0.8, 0.6), points(1, 50)
    found = {**precision_recall(generated, real), **density_coverage(generated, real)}
    precision, recall, _, _ = by_hand(generated, real, 3)
    _, _, density, coverage = by_hand(generated, real, 5)
    assert (found["precision"], found["recall"]) == pytest.approx((precision, recall), abs=1e-6)
    assert (found["density"], found["coverage"]) == pytest.approx((density, coverage), abs=1e-6)
    assert found["f_score"] == pytest.approx(2 * precision * recall / (precision + recall), abs=1e-6)
    assert 0 < recall < precision < 1


def test_blocks_of_a_large_set_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = precision_recall(points(0, 60, 0.5), points(1, 50))
    monkeypatch.setattr(module, "WHOLE", 20)
    assert precision_recall(points(0, 60, 0.5), points(1, 50)) == whole


def test_known_answers() -> None:
    real = from_features(points(1, 200))
    same = measure(real, real, metric="prc").figures
    assert same["precision"] == same["recall"] == same["coverage"] == 1 and same["neighbors"] == 3
    far = measure(from_features(points(0, 200, 50.0)), real, metric="prc").figures
    assert far["precision"] == far["recall"] == far["density"] == far["coverage"] == 0
    # A generator that draws one face well: precise, and covers nothing.
    one = measure(from_features(points(0, 200, 0.0, 0.01)), real, metric="prc").figures
    assert one["precision"] == 1 and one["recall"] < 0.05 and one["coverage"] < 0.5


def test_too_few_images_or_no_features() -> None:
    few, many = from_features(points(0, 5)), from_features(points(1, 50))
    with pytest.raises(CelebgenError, match="more than 5 images a side, not 5"):
        measure(few, many, metric="prc")
    from dataclasses import replace

    for metric, what in (("prc", "precision and recall needs"), ("kid", "KID needs")):
        with pytest.raises(CelebgenError, match=f"{what} the features of every image"):
            measure(many, replace(many, features=None), metric=metric)
    assert any("far from their limit" in sentence for sentence in measure(many, many, metric="prc").warnings)
    assert any("of a subset of KID" in sentence for sentence in measure(many, many, metric="kid").warnings)
