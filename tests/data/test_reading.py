"""Captions read back: the grammar's own, and what people write."""

import numpy as np
import pytest

from celebgen_cli.data.attributes import ATTRIBUTES, INDEX
from celebgen_cli.data.captions import choose_facts, describe, prompt_for, read_caption, tellable
from tests.faces import random_attributes


def named(text: str) -> set[str]:
    said = read_caption(text)
    return {("" if said[i] > 0 else "-") + ATTRIBUTES[i] for i in np.flatnonzero(said)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a smiling woman with blond hair", {"Smiling", "-Male", "Blond_Hair"}),
        ("MAN WITHOUT A BEARD OR EYEGLASSES, bald", {"Male", "No_Beard", "-Eyeglasses", "Bald"}),
        ("woman without glasses or bangs, wearing a hat", {"-Male", "-Eyeglasses", "-Bangs", "Wearing_Hat"}),
        ("wavy blond hair", {"Wavy_Hair", "Blond_Hair"}),
        ("She is a woman. Her hair is straight and black.", {"-Male", "Straight_Hair", "Black_Hair"}),
        ("a big pointy nose", {"Big_Nose", "Pointy_Nose"}),
        ("no smile", {"-Smiling"}),
        ("a dog on a skateboard", set()),
        ("", set()),
        ("man woman", set()),
    ],
)
def test_read(text: str, expected: set[str]) -> None:
    assert named(text) == expected


def test_the_grammar_is_read_back() -> None:
    rng, right, count = np.random.default_rng(1), 0, 400
    for _ in range(count):
        caption = describe(random_attributes(rng), rng)
        right += bool((read_caption(caption.text) == caption.named).all())
    assert right >= 0.99 * count


def test_facts_can_be_chosen() -> None:
    rng = np.random.default_rng(2)
    for i in range(200):
        row = random_attributes(rng)
        facts = choose_facts(row, 1 + i % 4, rng)
        assert len(facts) == len(set(facts)) == 1 + i % 4 and set(facts) <= set(tellable(row))
        caption = describe(row, rng, facts=facts)
        assert (caption.named[np.flatnonzero(caption.named)] == row[np.flatnonzero(caption.named)]).all()
        plain = read_caption(prompt_for({ATTRIBUTES[fact]: bool(row[fact] > 0) for fact in facts}))
        assert (plain[facts] == row[facts]).all()


def test_facts_that_cannot_be_told_are_refused() -> None:
    row = np.full(40, -1, np.int8)
    with pytest.raises(ValueError, match="cannot be told|nothing can be told"):
        describe(row, 0, facts=[INDEX["Goatee"]])
    with pytest.raises(ValueError, match="nothing can be told"):
        describe(row, 0, facts=[])
