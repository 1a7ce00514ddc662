"""What an edit is told of a photograph: as it is and as it shall be, with nothing but the request between."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from celebgen_cli.data.attributes import ATTRIBUTES, INDEX
from celebgen_cli.data.captions import read_caption
from celebgen_cli.data.captions.lexicon import CONFLICTS
from celebgen_cli.editing.change import Change, as_description, plain_change, read_change


def judged(**sure: float) -> np.ndarray:
    """A judge's answers to a young, beardless face on which nothing else is seen."""
    answers = np.full(40, 0.02)
    for name, value in {"Young": 0.98, "No_Beard": 0.98, **sure}.items():
        answers[INDEX[name]] = value
    return answers


MAN = judged(Male=0.99, Black_Hair=0.8, Brown_Hair=0.6, No_Beard=0.2)
WOMAN = judged(Blond_Hair=0.7, Bangs=0.8, Smiling=0.97)


def named(text: str) -> dict[str, int]:
    return {ATTRIBUTES[i]: int(value) for i, value in enumerate(read_caption(text)) if value}


@pytest.mark.parametrize(
    ("prompt", "photo", "source", "target"),
    [
        ("smiling", MAN, {"Smiling": -1}, {"Smiling": 1}),
        ("not smiling", WOMAN, {"Smiling": 1}, {"Smiling": -1}),
        ("with glasses", MAN, {"Eyeglasses": -1}, {"Eyeglasses": 1}),
        ("blond hair", MAN, {"Black_Hair": 1}, {"Blond_Hair": 1}),
        ("bald", MAN, {"Bald": -1, "Black_Hair": 1}, {"Bald": 1}),
        ("bald", WOMAN, {"Bald": -1, "Bangs": 1, "Blond_Hair": 1}, {"Bald": 1}),
        ("a woman", MAN, {"Male": 1, "No_Beard": -1}, {"Male": -1}),
        ("without a beard", MAN, {"No_Beard": -1}, {"No_Beard": 1}),
        ("old man, gray hair", WOMAN, {"Male": -1, "Young": 1, "Blond_Hair": 1},
         {"Male": 1, "Young": -1, "Gray_Hair": 1}),
        ("wearing a hat", WOMAN, {"Wearing_Hat": -1}, {"Wearing_Hat": 1}),
    ],
)  # fmt: skip
def test_only_the_request_lies_between(
    prompt: str, photo: np.ndarray, source: dict[str, int], target: dict[str, int]
) -> None:
    change = read_change(prompt, photo)
    assert change is not None and change.other == change.source
    before, after = named(change.source), named(change.target)
    assert {name: value for name, value in before.items() if after.get(name) != value} == source
    assert {name: value for name, value in after.items() if before.get(name) != value} == target
    assert "Male" in before and "Smiling" in before  # and what the photograph shows besides is said twice


def test_nothing_in_a_text_contradicts_itself() -> None:
    prompts = ["bald", "bangs", "straight hair", "wavy hair", "goatee", "gray hair", "a woman", "receding hairline"]
    for prompt, photo in product(prompts, (MAN, WOMAN, judged(Male=0.9, Bald=0.8, Gray_Hair=0.7))):
        change = read_change(prompt, photo)
        assert change is not None
        for text in change:
            says = named(text)
            assert not any(says.get(a) == says.get(b) == 1 for a, b in CONFLICTS), text


def test_what_the_photograph_surely_shows_is_not_asked_of_it_again() -> None:
    change = read_change("smiling woman", WOMAN)
    assert change is not None and change.source == change.target
    unsure = read_change("smiling", judged(Smiling=0.7))
    assert unsure is not None and named(unsure.source)["Smiling"] == -1


def test_a_negative_prompt_is_asked_away() -> None:
    change = read_change("old", MAN, "beard")
    assert change is not None
    assert (named(change.source)["No_Beard"], named(change.target)["No_Beard"]) == (-1, 1)
    assert named(change.target)["Young"] == -1


def test_many_requests_leave_no_room_for_the_rest() -> None:
    change = read_change("double chin, chubby, big nose, pale skin, wearing a necktie", MAN)
    assert change is not None
    assert len(named(change.target)) == 6 and "Black_Hair" not in named(change.target)


@pytest.mark.parametrize(
    ("prompt", "negative"), [("anna smiling", ""), ("blue eyes", ""), ("smiling", "anna"), ("the", "")]
)
def test_words_that_only_the_text_encoder_knows_are_left_to_it(prompt: str, negative: str) -> None:
    assert read_change(prompt, MAN, negative) is None


@pytest.mark.parametrize("words", ["remove the beard", "shave his beard", "take off the beard", "without a beard"])
def test_orders_to_remove_are_understood(words: str) -> None:
    text_encoder = {"shave", "his", "the", "take", "off", "remove"}  # knows none of these
    assert read_change(words, MAN, unknown=lambda text: text_encoder & set(text.split())) == read_change(
        "no beard", MAN
    )


def test_orders_are_descriptions() -> None:
    assert as_description("make her smile, remove the glasses") == "smile, without the glasses"
    assert as_description("Add glasses and give him a beard") == "glasses and a beard"
    assert as_description("a man with makeup") == "a man with makeup"
    assert as_description("make") == "make"


def test_words_that_nobody_knows_are_passed_over() -> None:
    assert read_change("smiling in paris", MAN, unknown=lambda text: ["in", "Paris"]) == read_change("smiling", MAN)


def test_plain_words() -> None:
    assert plain_change("old man") == Change("", "old man", "")
    assert plain_change("old man", "hat", "young man") == Change("young man", "old man", "hat")
    assert plain_change("old man", source="young man").other == "young man"
