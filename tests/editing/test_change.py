"""What an edit is told of a photograph: as it is and as it shall be, with nothing but the request between."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from celebgen_cli.data.attributes import ATTRIBUTES, INDEX
from celebgen_cli.data.captions import read_caption
from celebgen_cli.data.captions.lexicon import CONFLICTS
from celebgen_cli.editing.change import (
    Change,
    as_description,
    contradictions,
    plain_change,
    read_change,
    unread_words,
)


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
        ("swap the gender", MAN, {"Male": 1, "No_Beard": -1}, {"Male": -1}),
        ("change her gender, with glasses", WOMAN, {"Male": -1, "Eyeglasses": -1}, {"Male": 1, "Eyeglasses": 1}),
        ("opposite sex", WOMAN, {"Male": -1}, {"Male": 1}),
        ("darker hair", WOMAN, {"Blond_Hair": 1}, {"Brown_Hair": 1}),
        ("make her hair much darker", WOMAN, {"Blond_Hair": 1}, {"Brown_Hair": 1}),
        ("darken her blond hair", WOMAN, {"Blond_Hair": 1}, {"Brown_Hair": 1}),
        ("make his hair lighter", MAN, {"Black_Hair": 1}, {"Brown_Hair": 1}),
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
    for prompt in ("double chin, chubby, big nose, pale skin, wearing a necktie",
                   "smiling, glasses, old, bangs, double chin, big nose, wearing earrings"):  # fmt: skip
        change = read_change(prompt, MAN)
        assert change is not None
        after = named(change.target)
        assert {name: 1 for name in after if name != "Male"} | after == after | named(prompt)
        assert set(named(prompt)) | {"Male"} == set(after) and "Black_Hair" not in after


@pytest.mark.parametrize("prompt", ["bald", "woman with earrings", "smiling", "wearing a hat", "big nose"])
def test_both_texts_tell_the_same_of_a_face_with_much_to_tell(prompt: str) -> None:
    photo = judged(Male=0.9, Gray_Hair=0.8, Young=0.1, No_Beard=0.1, Smiling=0.8, Eyeglasses=0.9, Bangs=0.7)
    change = read_change(prompt, photo)
    assert change is not None
    before, after = named(change.source), named(change.target)
    assert set(after) - set(before) <= set(named(prompt))


def test_what_captions_never_deny_is_not_denied() -> None:
    """"without a big nose" means a big nose to a text encoder that never met it."""
    change = read_change("big nose, wavy hair", MAN)
    assert change is not None
    assert not {"Big_Nose", "Wavy_Hair"} & set(named(change.source)) and "without" not in change.source
    assert {"Big_Nose", "Wavy_Hair"} <= set(named(change.target))


def test_a_bald_head_has_no_hair_to_tell_of() -> None:
    change = read_change("smiling", judged(Male=0.99, Bald=0.9, Gray_Hair=0.95, Black_Hair=0.6))
    assert change is not None
    assert named(change.source)["Bald"] == 1 and not {"Gray_Hair", "Black_Hair"} & set(named(change.source))


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
    assert as_description("Add glasses and give him a beard") == "glasses and with a beard"
    assert as_description("a man with makeup") == "a man with makeup"
    assert as_description("make") == "make"
    assert as_description("take her hat off") == "without her hat"
    assert as_description("turn the hair black") == as_description("change hair to black") == "black hair"


@pytest.mark.parametrize(
    ("prompt", "attribute", "value"),
    [
        ("don't smile", "Smiling", -1),
        ("stop smiling", "Smiling", -1),
        ("take the glasses off", "Eyeglasses", -1),
        ("with sunglasses", "Eyeglasses", 1),
        ("not young", "Young", -1),
        ("younger", "Young", 1),
        ("older", "Young", -1),
        ("not a man", "Male", -1),
        ("remove the glasses, make him smile", "Smiling", 1),
        ("get rid of the beard and add a hat", "Wearing_Hat", 1),
        ("make him old, remove the beard, add a hat", "No_Beard", 1),
        ("remove the black hat", "Wearing_Hat", -1),
        ("remove his thick beard", "No_Beard", 1),
        ("no longer young", "Young", -1),
        ("not old", "Young", 1),
        ("without glasses, beard or hat", "Wearing_Hat", -1),
        ("no make up", "Heavy_Makeup", -1),
        ("replace black hair with blond hair", "Blond_Hair", 1),
        ("less makeup", "Heavy_Makeup", -1),
        ("no glasses and smiling", "Smiling", 1),
        ("smiling, not bald", "Smiling", 1),
        ("change her hair to blond", "Blond_Hair", 1),
        ("without glasses or a hat", "Wearing_Hat", -1),
        ("a beard but no glasses", "No_Beard", -1),
        ("remove glasses, hat and beard", "Wearing_Hat", -1),
        ("remove glasses, hat and beard", "No_Beard", 1),
        ("remove lipstick, makeup and earrings", "Heavy_Makeup", -1),
        ("no hat, glasses and beard", "Eyeglasses", -1),
        ("do not add a hat, add glasses", "Eyeglasses", 1),
        ("change her hair from blond to black", "Black_Hair", 1),
        ("make her blond hair black", "Black_Hair", 1),
        ("with black rather than blond hair", "Black_Hair", 1),
        ("change the hair colour from blonde to brown", "Brown_Hair", 1),
        ("not smiling or wearing glasses", "Eyeglasses", -1),
        ("without glasses, a hat and smiling", "Wearing_Hat", -1),
        ("without glasses, a hat and smiling", "Smiling", 1),
        ("neither glasses nor hat", "Wearing_Hat", -1),
        ("never smiling", "Smiling", -1),
        ("glasses off", "Eyeglasses", -1),
        ("wipe the smile off her face", "Smiling", -1),
        ("wipe off the smile", "Smiling", -1),
        ("erase the glasses", "Eyeglasses", -1),
        ("take the hat away", "Wearing_Hat", -1),
        ("take away the glasses", "Eyeglasses", -1),
        ("beard shaved off", "No_Beard", 1),
        ("remove the beard, not the glasses", "No_Beard", 1),
        ("change the color of her hair to black", "Black_Hair", 1),
        ("close her mouth", "Mouth_Slightly_Open", -1),
        ("replace glasses with sunglasses", "Eyeglasses", 1),
        ("blond to black", "Black_Hair", 1),
        ("turn this man into a woman", "Male", -1),
        ("change the gender to male", "Male", 1),
        ("swap the hat for glasses", "Wearing_Hat", -1),
        ("swap the hat for glasses", "Eyeglasses", 1),
        ("make the old man young", "Young", 1),
        ("make the blond woman brunette", "Brown_Hair", 1),
        ("make this smiling woman serious", "Smiling", -1),
        ("remove the man's glasses", "Eyeglasses", -1),
        ("make her smile and turn the hat into a cap", "Smiling", 1),
        ("switch to blond hair with bangs", "Blond_Hair", 1),
        ("shave", "No_Beard", 1),
        ("shave his head", "Bald", 1),
        ("remove the hair", "Bald", 1),
        ("make her hair black and curly", "Wavy_Hair", 1),
        ("wear glasses", "Eyeglasses", 1),
        ("she should wear a hat", "Wearing_Hat", 1),
        ("age him by 30 years", "Young", -1),
        ("20 years older", "Young", -1),
        ("rejuvenate her", "Young", 1),
        ("de-age him by 30 years", "Young", 1),
        ("age him down", "Young", 1),
        ("lower his age by 20 years", "Young", 1),
        ("reverse aging", "Young", 1),
        ("smooth out the wrinkles", "Young", 1),
        ("-glasses +hat", "Eyeglasses", -1),
        ("-glasses +hat", "Wearing_Hat", 1),
        ("heavier makeup", "Heavy_Makeup", 1),
        ("fatter lips", "Big_Lips", 1),
        ("swap black hair for blond", "Blond_Hair", 1),
        ("make the nose bigger", "Big_Nose", 1),
        ("bushier eyebrows", "Bushy_Eyebrows", 1),
        ("make her lips fuller", "Big_Lips", 1),
        ("chubbier", "Chubby", 1),
        ("straighten her hair", "Straight_Hair", 1),
        ("curl the hair", "Wavy_Hair", 1),
        ("undo the smile", "Smiling", -1),
        ("make him angry", "Smiling", -1),
    ],
)
def test_people_say_it_in_many_ways(prompt: str, attribute: str, value: int) -> None:
    photo = judged(Male=0.6)
    photo[INDEX[attribute]] = 0.5
    change = read_change(prompt, photo, unknown=lambda text: text.split())
    assert change is not None
    before, after = named(change.source), named(change.target)
    assert after.get(attribute) == value
    assert before.get(attribute) != value


@pytest.mark.parametrize(
    "prompt",
    ["do not add glasses", "don't remove the beard", "don't make her old", "do not make her bald",
     "don't give her glasses", "don't take off the makeup", "don't hide the bangs"],
)  # fmt: skip
def test_what_shall_not_be_done_is_not_done(prompt: str) -> None:
    assert as_description(prompt) == ""
    change = read_change(prompt, WOMAN, unknown=lambda text: text.split())
    assert change is not None and change.source == change.target == "smiling woman with bangs and blond hair"


def test_what_stands_in_the_way_of_reading_is_named() -> None:
    assert unread_words("make her hair purple and tilt her mouth") == ["purple", "tilt"]
    assert unread_words("purple hair", lambda text: ["purple"]) == []
    assert contradictions("blond hair and black hair") == [("black hair", "blond hair")]
    assert contradictions("turn blond hair into black hair") == []


@pytest.mark.parametrize(
    ("prompt", "attribute", "shown"),
    [
        ("remove the beard, not the glasses", "Eyeglasses", 0.99),
        ("remove the beard but not the glasses", "Eyeglasses", 0.99),
        ("make her hair not blond", "Bald", 0.02),
        ("make his hair not gray", "Bald", 0.02),
    ],
)
def test_what_a_request_leaves_alone_stays(prompt: str, attribute: str, shown: float) -> None:
    change = read_change(prompt, judged(Male=0.99, No_Beard=0.02, **{attribute: shown}))
    assert change is not None
    assert named(change.target).get(attribute) == named(change.source).get(attribute)


def test_what_words_imply_but_change_nothing_is_not_told() -> None:
    change = read_change("clean-shaven", MAN)
    plain = read_change("without a beard", MAN)
    assert plain is not None and change is not None and change.target == plain.target


def test_words_that_nobody_knows_are_passed_over() -> None:
    assert read_change("smiling in paris", MAN, unknown=lambda text: ["in", "Paris"]) == read_change("smiling", MAN)


def test_plain_words() -> None:
    assert plain_change("old man") == Change("", "old man", "")
    assert plain_change("old man", "hat", "young man") == Change("young man", "old man", "young man, hat")
    assert plain_change("old man", "hat") == Change("", "old man", "hat")
    assert plain_change("old man", source="young man").other == "young man"
