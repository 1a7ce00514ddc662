"""The arithmetic between floor and ceiling, against brute force and scipy."""

import itertools

import numpy as np
import pytest

from celebgen_cli.evaluation.obedience import score, share_of_way, thresholds


def drawn(n: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    named = rng.choice(np.array([-1, 0, 1], np.int8), size=(n, 40), p=[0.05, 0.9, 0.05])
    return named, rng.random((n, 40)) < 0.5


def test_a_perfect_model_gets_all_the_way_and_an_indifferent_one_nowhere() -> None:
    named, answers = drawn(400)
    groups, ones = np.zeros(400, int), np.ones((400, 40))
    obeyed = np.where(named != 0, named > 0, answers)
    perfect = score(named, obeyed, ones, groups, range(len(named))).tally()
    assert perfect is not None and perfect.hit == perfect.ceiling == perfect.obedience == perfect.of_ceiling == 1
    assert perfect.n == int((named != 0).any(axis=1).sum()) and perfect.named == int((named != 0).sum())
    indifferent = score(named, answers, ones, groups, range(len(named))).tally()
    assert indifferent is not None and indifferent.obedience == pytest.approx(0, abs=0.06)


def test_the_floor_is_the_mean_over_all_shuffles() -> None:
    named, answers = drawn(4, 3)
    named[:, :3] = [[1, -1, 0], [1, 1, -1], [0, 0, 1], [-1, 1, 1]]
    marks = score(named, answers, np.ones((4, 40)), np.zeros(4, int), range(4))
    hits = np.zeros((4, 40))
    others = [order for order in itertools.permutations(range(4)) if all(i != j for i, j in enumerate(order))]
    for order in others:
        hits += answers[list(order)] == (named > 0)
    np.testing.assert_allclose(marks.floor[named != 0], (hits / len(others))[named != 0])


def test_another_wording_of_the_same_is_no_other_prompt() -> None:
    named = np.zeros((6, 40), np.int8)
    for unit in range(3):  # each of two wordings names an attribute of its own, and gets it alone
        named[2 * unit : 2 * unit + 2, unit] = 1
    answers, units = named > 0, [7, 7, 3, 3, 5, 5]
    marks = score(named, answers, np.ones((6, 40)), np.zeros(6, int), units)
    tally = marks.tally()
    assert tally is not None and (tally.hit, tally.floor) == (1, 0)
    uneven = score(named[:5], answers[:5], np.ones((5, 40)), np.zeros(5, int), units[:5])
    assert uneven.floor[named[:5] != 0].tolist() == [0] * 5
    alone = score(named[:2], answers[:2], np.ones((2, 40)), np.zeros(2, int), units[:2])
    assert alone.floor[0, 0] == 0.5  # nobody else is there


def test_faces_are_shuffled_within_their_group() -> None:
    named = np.ones((4, 40), np.int8)
    answers = np.repeat(np.array([[True], [True], [False], [False]]), 40, axis=1)
    marks = score(named, answers, np.ones((4, 40)), np.array([0, 0, 1, 1]), range(4))
    assert marks.floor[:, 0].tolist() == [1, 1, 0, 0]
    assert score(named[:1], answers[:1], np.ones((1, 40)), np.zeros(1, int), [0]).floor[0, 0] == 0.5


def test_tally_of_a_part() -> None:
    named, answers = drawn()
    marks = score(named, answers, np.full((60, 40), 0.9), np.zeros(60, int), range(60))
    present, absent, both = marks.tally(named > 0), marks.tally(named < 0), marks.tally()
    assert present is not None and absent is not None and both is not None
    assert present.named + absent.named == both.named
    assert present.hit * present.named + absent.hit * absent.named == pytest.approx(both.hit * both.named)
    assert marks.tally(np.zeros((60, 1), bool)) is None
    column = np.zeros((60, 1), bool)
    column[7] = True
    one = marks.tally(column)
    assert one is None or one.n == 1


def test_a_judge_says_yes_as_often_as_the_labels() -> None:
    rng = np.random.default_rng(4)
    labels = np.where(rng.random((500, 40)) < np.linspace(0.02, 0.98, 40), 1, -1).astype(np.int8)
    sure = (0.3 * rng.random((500, 40)) + 0.1 * (labels > 0)).astype(np.float32)  # never more likely than not
    labels[:7] = 0
    labels[:, 5] = -1
    bars = thresholds(sure, labels)
    yes, known = sure > bars, labels != 0
    others = np.arange(40) != 5
    assert ((yes & known).sum(axis=0) == (labels > 0).sum(axis=0))[others].all() and bars[5] == 0.5
    assert not (sure > 0.5).any()


def test_no_way_between_floor_and_ceiling() -> None:
    assert share_of_way(0.5, 0.5, 0.5) is None and share_of_way(0.6, 0.7, 0.5) is None
    assert share_of_way(0.6, 0.5, 0.9) == pytest.approx(0.25)


def test_intervals_hold_the_figure_and_widen_with_units() -> None:
    named, answers = drawn(300)
    marks = score(named, answers, np.full((300, 40), 0.9), np.zeros(300, int), range(300))
    total = marks.tally()
    assert total is not None
    single, tenfold = marks.intervals(range(300), 0), marks.intervals([i // 30 for i in range(300)], 0)
    assert single == marks.intervals(range(300), 0) != marks.intervals(range(300), 1)
    low, high = single["hit"] or (0, 0)
    assert low < total.hit < high
    expected = 2 * 1.96 * np.sqrt(total.hit * (1 - total.hit) / total.named)
    assert high - low == pytest.approx(expected, rel=0.2)
    assert tenfold["hit"] is not None and single["obedience"] is not None
    assert single["ceiling"] == (pytest.approx(0.9), pytest.approx(0.9))
