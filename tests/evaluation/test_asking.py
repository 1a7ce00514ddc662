"""What is asked of a model: true of its row, the same every time, plain and in other words, each attribute alone."""

from collections import Counter

import numpy as np
import pytest

from celebgen_cli.data.attributes import ATTRIBUTES
from celebgen_cli.data.captions import is_true_of, read_caption
from celebgen_cli.errors import UsageError
from celebgen_cli.evaluation.asking import ALONE_FROM, Asked, ask
from tests.faces import random_attributes


@pytest.fixture(scope="module")
def attributes() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack([random_attributes(rng) for _ in range(300)])


@pytest.fixture(scope="module")
def asked(attributes: np.ndarray) -> list[Asked]:
    return ask(attributes, range(300), ALONE_FROM + 61, 0)


def test_prompts_are_true_of_their_rows_and_the_same_every_time(attributes: np.ndarray, asked: list[Asked]) -> None:
    assert len(asked) == ALONE_FROM + 61
    assert all(is_true_of(one.named, attributes[one.row]) and one.named.any() for one in asked)
    again, other = ask(attributes, range(300), ALONE_FROM + 61, 0), ask(attributes, range(300), ALONE_FROM + 61, 1)
    assert [one.prompt for one in again] == [one.prompt for one in asked] != [one.prompt for one in other]


def test_sets_are_asked_for_twice_and_in_all_sizes(asked: list[Asked]) -> None:
    sets = [one for one in asked if not one.alone]
    for plain, other in zip(sets[::2], sets[1::2], strict=False):
        assert (plain.wording, other.wording) == ("plain", "paraphrase")
        assert plain.row == other.row and plain.unit == other.unit and plain.size == other.size
        assert plain.size == np.count_nonzero(plain.named) and (other.named[plain.named != 0] != 0).all()
    sizes = Counter(one.size for one in sets)
    assert set(sizes) == {1, 2, 3, 4} and max(sizes.values()) - min(sizes.values()) <= 2
    assert len({one.unit for one in asked}) == len(asked) - len(sets) // 2


def test_each_attribute_alone_both_ways(attributes: np.ndarray, asked: list[Asked]) -> None:
    alone = [one for one in asked if one.alone]
    assert all(np.count_nonzero(one.named) == 1 for one in alone if one.wording == "plain")
    told = {(int(np.flatnonzero(one.named)[0]), int(one.named[one.named != 0][0])) for one in alone}
    for i in range(len(ATTRIBUTES)):
        for value in (1, -1):
            if (attributes[:, i] == value).mean() > 0.1:
                assert (i, value) in told, ATTRIBUTES[i]
    assert not any(one.alone for one in ask(attributes, range(300), ALONE_FROM - 1, 0))


def test_prompts_can_be_read_back(asked: list[Asked]) -> None:
    wrong = [one.prompt for one in asked if ((read_caption(one.prompt) != one.named) & (one.named != 0)).any()]
    assert len(wrong) <= 2, wrong


def test_only_known_rows_are_asked_about(attributes: np.ndarray) -> None:
    assert {one.row for one in ask(attributes, [4, 9], 10, 0)} == {4, 9}
    with pytest.raises(UsageError, match="attributes are known"):
        ask(attributes, [], 10, 0)
