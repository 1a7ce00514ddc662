"""Moments against SciPy, correlations against NumPy, surprises against the hypergeometric distribution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from celebgen_cli.data.attributes import INDEX
from celebgen_cli.exploration import statistics


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 255), min_size=2, max_size=400))
def test_moments_are_scipys(levels: list[int]) -> None:
    values = np.array(levels)
    found = statistics.moments(np.bincount(values, minlength=256))
    assert found.mean == pytest.approx(values.mean()) and found.std == pytest.approx(values.std(), abs=1e-9)
    if values.std() == 0:
        assert found.skewness is None and found.kurtosis is None
    else:
        assert found.skewness == pytest.approx(stats.skew(values), rel=1e-6, abs=1e-6)
        assert found.kurtosis == pytest.approx(stats.kurtosis(values), rel=1e-6, abs=1e-6)


def test_moments_of_more_values_than_memory_holds() -> None:
    counts = np.random.default_rng(0).integers(0, 10**12, 256)
    share = counts / counts.sum()
    exact = stats.rv_discrete(values=(np.arange(256), share)).stats(moments="mvsk")
    found = statistics.moments(counts)
    assert [found.mean, found.std**2, found.skewness, found.kurtosis] == pytest.approx([float(x) for x in exact])


def random_table(rows: int, unknown: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    table = np.where(rng.random((rows, 40)) < rng.uniform(0.1, 0.9, 40), 1, -1).astype(np.int8)
    table[:, 1] = np.where(rng.random(rows) < 0.8, table[:, 0], -table[:, 0])
    table[rng.random(table.shape) < unknown] = 0
    return table


def test_phi_is_the_correlation() -> None:
    table = random_table(500, 0.0)
    assert np.allclose(statistics.together(table).phi, np.corrcoef(table.T.astype(float)), atol=1e-12)


def test_unknown_values_are_left_out() -> None:
    table = random_table(400, 0.3)
    found = statistics.together(table)
    for i, j in ((0, 1), (3, 20), (39, 2)):
        both = (table[:, i] != 0) & (table[:, j] != 0)
        x, y = table[both, i], table[both, j]
        assert found.known[i, j] == both.sum()
        assert found.both[i, j] == ((x == 1) & (y == 1)).sum()
        assert found.first[i, j] == (x == 1).sum()
        assert found.phi[i, j] == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-12)
    share = statistics.frequencies(table)["Male"]
    column = table[:, INDEX["Male"]]
    assert share == {
        "present": int((column == 1).sum()),
        "known": int((column != 0).sum()),
        "share": float((column[column != 0] == 1).mean()),
    }


def test_phi_is_undefined_where_an_attribute_never_changes() -> None:
    table = random_table(50, 0.0)
    table[:, 5], table[:, 6] = -1, 0
    found = statistics.together(table)
    assert np.isnan(found.phi[5]).all() and np.isnan(found.phi[:, 6]).all()
    assert not np.isnan(np.delete(np.delete(found.phi, (5, 6), 0), (5, 6), 1)).any()
    assert statistics.frequencies(table)["Blurry"]["share"] is not None
    assert statistics.frequencies(table)["Big_Lips"] == {"present": 0, "known": 0, "share": None}


def test_surprises_are_the_pairs_that_depend_on_each_other() -> None:
    table = random_table(3000, 0.0, seed=1)
    table[:, 3] = np.where(table[:, 2] == 1, -1, table[:, 3])
    found = statistics.surprises(statistics.together(table))
    above, below = found.above, found.below
    assert found.pairs == 780 and found.z == pytest.approx(statistics.critical_z(780))
    assert [(pair.first, pair.second) for pair in above] == [("5_o_Clock_Shadow", "Arched_Eyebrows")]
    assert [(pair.first, pair.second) for pair in below] == [("Attractive", "Bags_Under_Eyes")]
    assert below[0].both == 0 and below[0].lift == 0
    pair, n = above[0], len(table)
    a, b = (table[:, :2] == 1).sum(0).tolist()
    chance = stats.hypergeom(n, a, b)
    assert pair.expected == pytest.approx(chance.mean()) and pair.lift == pytest.approx(pair.both / chance.mean())
    assert pair.z == pytest.approx((pair.both - chance.mean()) / chance.std())


def test_few_images_surprise_nobody() -> None:
    table = random_table(12, 0.0)
    table[:, 1] = table[:, 0]
    found = statistics.surprises(statistics.together(table))
    assert found.above == found.below == [] and found.pairs > 0
    unknown = statistics.surprises(statistics.together(np.zeros((4, 40), np.int8)))
    assert unknown == statistics.Surprises([], [], 0, None)


def test_a_pair_that_is_rarely_expected_surprises_nobody() -> None:
    """Both have 31 of 100, so that 9.61 are expected; 32 make it 10.24."""
    for have, count in ((31, 0), (32, 1)):
        table = np.full((100, 40), -1, np.int8)
        table[:have, :2] = 1
        assert abs(statistics.together(table).phi[0, 1]) == 1
        assert len(statistics.surprises(statistics.together(table)).above) == count
    table = np.full((100, 40), -1, np.int8)
    table[:60, 0], table[60:, 1] = 1, 1  # never together
    assert len(statistics.surprises(statistics.together(table)).below) == 1


def test_the_limit_is_that_of_the_pairs_that_change() -> None:
    table = np.full((1000, 40), -1, np.int8)
    table[:500, 0], table[:540, 1], table[40:540, 2] = 1, 1, 1
    found = statistics.surprises(statistics.together(table))
    assert found.pairs == 3 and found.z == pytest.approx(statistics.critical_z(3))


def test_surprises_are_sorted_by_their_lift() -> None:
    table = random_table(3000, 0.0, seed=1)
    table[:, 3] = np.where(table[:, 2] == 1, -1, table[:, 3])
    rng = np.random.default_rng(5)
    for first, second, kept in ((4, 5, 0.6), (6, 7, 0.9)):  # two more above
        table[:, second] = np.where(rng.random(len(table)) < kept, table[:, first], table[:, second])
    for first, second, kept in ((8, 9, 0.6), (10, 11, 0.9)):  # and below
        table[:, second] = np.where(rng.random(len(table)) < kept, -table[:, first], table[:, second])
    found = statistics.surprises(statistics.together(table))
    above, below = [pair.lift for pair in found.above], [pair.lift for pair in found.below]
    assert (len(above), len(below)) == (3, 3)
    assert above == sorted(above, reverse=True) and min(above) > 1
    assert below == sorted(below) and max(below) < 1


def test_the_bound_keeps_its_promise() -> None:
    assert 780 * 2 * stats.norm.sf(statistics.critical_z(780)) == pytest.approx(statistics.SIGNIFICANCE)


def test_people() -> None:
    found = statistics.people(np.array([7, 7, 7, 2, -1, 5, 5, -1]))
    assert found is not None
    assert (found["images"], found["unknown"], found["people"]) == (6, 2, 3)
    assert found["images_per_person"] == {"mean": 2.0, "median": 2.0, "min": 1, "max": 3}
    assert found["people_by_images"] == {"1": 1, "2": 1, "3": 1}
    assert statistics.people(np.array([-1, -1])) is None
    parts = [np.array([1, 2, -1]), np.array([3, -1]), np.array([2, 3, 1])]
    assert statistics.shared_people(parts) == {(0, 2): 2, (1, 2): 1}


def test_landmarks() -> None:
    points = np.tile(np.array([[20, 30], [40, 30], [30, 40], [22, 50], [38, 50]], np.float32), (3, 1, 1))
    points[1, 1] = (40, 50)  # turned by 45 degrees
    points[2, 4, 0] = np.nan
    found = statistics.landmark_figures(points)
    assert found is not None and found["images"] == 2
    assert found["points"]["right eye"] == {"mean": [40.0, 40.0], "std": [0.0, 10.0]}
    assert found["eye_roll_degrees"]["mean"] == pytest.approx(22.5)
    assert found["eye_distance"]["mean"] == pytest.approx((20 + 20 * 2**0.5) / 2)
    assert statistics.landmark_figures(np.full((2, 5, 2), np.nan)) is None


def test_words_of_captions() -> None:
    found = statistics.caption_figures(["A smiling woman.", "a man", "A smiling woman.", ""])
    assert found is not None
    assert (found["captions"], found["distinct"], found["vocabulary"]) == (4, 3, 4)
    assert found["captions_by_words"] == {"0": 1, "2": 1, "3": 2}
    assert found["words_per_caption"]["mean"] == 2.0 and found["words_per_caption"]["median"] == 2.5
    assert found["most_common"][0] == ["a", 3]
    assert statistics.caption_figures([]) is None
