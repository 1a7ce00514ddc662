"""Prompts as people type them are told in the captions' own words, denials last, and nothing is turned round."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celebgen_cli.data.attributes import ATTRIBUTES
from celebgen_cli.data.captions import describe, prompt_for, read_caption, read_prompt, read_typed


def named(text: str) -> dict[str, int]:
    return {ATTRIBUTES[i]: int(value) for i, value in enumerate(read_typed(text)) if value}


@pytest.mark.parametrize(
    ("typed", "text", "negative"),
    [
        ("not smiling man with glasses", "man wearing eyeglasses, not smiling", ""),
        ("man, no beard, eyeglasses", "man wearing eyeglasses, without a beard", ""),
        ("man without a hat, smiling", "smiling man, without a hat", ""),
        ("a man. he is not smiling. he wears glasses.", "man wearing eyeglasses, not smiling", ""),
        ("man with no tie wearing glasses", "man wearing eyeglasses, without a tie", ""),
        ("woman not blond", "woman", "blond hair"),
        ("unattractive man with big nose", "man with a big nose", "attractive"),
        ("not young man", "old man", ""),
        ("not a man", "woman", ""),
        ("beard-free man", "man, without a beard", ""),
        ("woman who doesn't smile", "woman, not smiling", ""),
        ("man neither smiling nor bearded", "man, not smiling, without a beard", ""),
        ("no hat, glasses and beard", "person, without glasses or a beard or a hat", ""),
        ("no glasses, smiling and old", "smiling old person, without glasses", ""),
        ("not smiling or wearing glasses", "person, not smiling, without glasses", ""),
        ("men with shades", "man with eyeglasses", ""),
        ("Grandma laughing", "old woman laughing, gray hair", ""),
        ("man without hair, smiling", "man, bald, smiling", ""),
        ("man without hair on his face, smiling", "smiling man, without a beard", ""),
        ("a man with no hair on his chin", "man, without a beard", ""),
        ("a man without a hat, hair gray, smiling", "smiling man with gray hair, without a hat", ""),
        ("woman, no makeup, her hair is wavy and blond", "woman with blond hair and wavy hair, without makeup", ""),
        ("not wearing a hat, glasses, or earrings", "person, without glasses or earrings or a hat", ""),
        ("woman with bangs, no glasses, and earrings", "woman with bangs wearing earrings, without glasses", ""),
        ("not smiling grandpa in sunglasses", "old man wearing eyeglasses, not smiling", ""),
        ("not smiling young woman", "young woman, not smiling", ""),
        ("no glasses smiling man", "smiling man, without glasses", ""),
        ("a man who can't smile", "man, not smiling", ""),
        ("a man who cannot smile, with glasses", "man wearing eyeglasses, not smiling", ""),
        ("she has blond hair and isn't smiling", "woman with blond hair, not smiling", ""),
        ("a black haired man with no glasses and a beard", "man with black hair and a beard, without glasses", ""),
        ("hair is not blond but brown, woman", "woman with brown hair", ""),
        ("person with wavy but not blond hair", "person with wavy hair", "blond hair"),
        ("a woman who never smiles", "woman, not smiling", ""),
        ("boys who aren't smiling", "young man, not smiling", ""),
        ("a woman, no smile, getting on in years", "old woman, not smiling", ""),
        ("nonsmiling woman", "woman, not smiling", ""),
        ("a man, his hair is brown, no beard, smiling", "smiling man with brown hair, without a beard", ""),
        ("not smiling man without wearing glasses", "man, not smiling, without glasses", ""),
        ("man with no hint of a beard, smiling", "smiling man, without a beard", ""),
        ("woman with no trace of a smile, blond hair", "woman with blond hair, not smiling", ""),
        ("25 year old woman, no glasses, smiling", "smiling young woman, without glasses", ""),
        ("a 30 years old man, not smiling, black hair", "young man with black hair, not smiling", ""),
        ("a 70-year-old man who isn't smiling", "old man with gray hair, not smiling", ""),
        ("a man, 45 years old, no beard, smiling", "smiling man, without a beard", ""),
        ("man in his 60s, no hat, smiling", "smiling old man, without a hat", ""),
        ("woman in her twenties", "woman, young", ""),
        ("woman aged 25", "woman, young", ""),
        ("woman, age: 25", "woman, young", ""),
        ("man aged 30 years old", "man young", ""),
        ("middle-aged 45 year old man", "middle-aged man", ""),
        ("curly haired woman with no glasses, smiling", "smiling woman with wavy hair, without glasses", ""),
        ("woman with make up, isn't smiling", "woman wearing heavy makeup, not smiling", ""),
        ("non smiling woman", "woman, not smiling", ""),
        ("man w/out glasses, smiling", "smiling man, without glasses", ""),
        ("not gray haired man", "man", "gray hair"),
        ("old but not gray man", "old man", "gray hair"),
        ("gray but not old man", "young man with gray hair", ""),
        ("bald but not old man", "young bald man", ""),
        ("black haired not smiling young woman", "young woman with black hair, not smiling", ""),
        ("a man with no glasses on his face", "man, without glasses", ""),
        ("a man that has no hair", "a man, bald", ""),
        ("man lacking hair", "bald man", ""),
        ("a guy without any hair or glasses", "a guy, bald, without glasses", ""),
        ("why not a woman", "woman", ""),
        ("not only smiling but also young woman", "smiling young woman", ""),
        ("not really a man", "woman", ""),
        ("smiling-woman", "smiling woman", ""),
        ("woman, not smiling, the photo is in-focus", "sharp photo of a woman, not smiling", ""),
        ("girl, not a boy", "young woman", ""),
        ("smiling man, not a woman, with a hat", "smiling man wearing a hat", ""),
        ("her mouth is not open", "woman with mouth closed", ""),
        ("woman, her hair is not black", "woman", "black hair"),
        ("hair is not black", "person", "black hair"),
        ("man who is neither young nor old", "man", ""),
        ("woman with curly not straight hair", "woman with wavy hair", "straight hair"),
        ("straight hair instead of curly hair", "person with straight hair", "wavy hair"),
        ("man with a beard rather than a mustache", "man with a beard, without a mustache", ""),
        ("man without hair and beard", "man bald without beard", ""),
        ("man not clean shaven", "man with a beard", ""),
        ("glasses: no, hat: yes", "person wearing a hat, without glasses", ""),
        ("woman, blond hair, smiling: no", "woman, blond hair, not smiling", ""),
        ("woman, hair gray", "woman, gray hair", ""),
        ("her mouth is open, no glasses", "her mouth open, no glasses", ""),
        ("headshot of a businessman in a tie", "headshot of a man in a tie", ""),
        ("an actress", "a woman", ""),
        ("blonde grandma", "blonde old woman", ""),
        ("grandpa without glasses", "old man, gray hair, without glasses", ""),
        ("not a grandma", "young woman", ""),
        ("man in his 80s", "man, old, gray hair", ""),
        ("60 year old man", "old man, gray hair", ""),
        ("old man", "old man, gray hair", ""),
        ("Elderly woman with glasses but no earrings", "Elderly woman with glasses, gray hair, no earrings", ""),
        ("twenty year old woman", "young woman", ""),
        ("25 yrs old man", "young man", ""),
        ("forty-five year old woman", "woman", ""),
        ("20-30 year old woman", "young woman", ""),
        ("woman aged 20-25", "woman, young", ""),
        ("blond woman -glasses +hat", "woman with blond hair wearing a hat, without glasses", ""),
        ("man, beard removed", "man, without beard", ""),
        ("man hat off", "man without hat", ""),
        ("glasses=no", "without glasses", ""),
        ("neither smiling nor frowning", "person, not smiling", ""),
        ("black hair instead of blond", "person with black hair", "blond hair"),
        ("mother-in-law", "woman", ""),
        ("great-grandmother", "old woman, gray hair", ""),
        ("man with hairless chest", "man with smooth chest", ""),
        ("a very old woman", "an old woman, gray hair", ""),
        ("a grandma with a baby girl", "an old woman with a young girl", ""),
        ("an angry man", "a serious man", ""),
        ("a toddler", "a young person", ""),
        ("woman with wrinkles", "woman with an old face", ""),
        ("portrait, male, 60s, gray hair", "portrait, male, old, gray hair", ""),
        ("male, 30, beard", "male, young, beard", ""),
        ("man -beard -glasses", "man, without glasses or a beard", ""),
        ("woman -blond", "woman", "blond hair"),
        ("hardly smiling man", "man, not smiling", ""),
        ("anything but old", "young person", ""),
        ("woman with light makeup", "woman with a natural look", ""),
    ],
)
def test_in_the_captions_words(typed: str, text: str, negative: str) -> None:
    found = read_prompt(typed)
    assert (found.text, found.negative, found.changed) == (text, negative, True)
    assert (read_caption(found.text) > 0)[read_typed(typed) > 0].all()  # all that is there is said


@pytest.mark.parametrize(
    "text",
    ["smiling woman blond hair", "man without glasses", "smiling man with glasses but no beard", "", "no", "not",
     "man who is not wearing a hat", "a cyberpunk man", "bald woman with long blond hair", "makeup-free woman",
     "without glasses, beard or hat", "hair off her forehead, no bangs", "a man without glasses, a hat, or a beard",
     "a woman without earrings, necklace, and lipstick", "a nondescript young man with glasses", "nonchalant woman",
     "portrait without watermark of a smiling woman", "hair in shades of gray, woman", "a dad hat", "a fat nose",
     "not a tall man, smiling", "a king-size hat", "a baby-faced man", "man - beard", "woman, sad eyes",
     "a man who is not angry", "old man with black hair", "old man wearing a hat", "old man in headgear",
     "young-looking old man", "older man",
     "old photo of a man", "man with fewer wrinkles", "hat off-center"],
)  # fmt: skip
def test_what_captions_could_say_stays_as_it_is(text: str) -> None:
    assert read_prompt(text) == (text, "", text, False)


def test_a_negative_prompt_is_kept_and_told_in_plain_words() -> None:
    assert read_prompt("woman not blond", "sunglasses")[:2] == ("woman", "eyeglasses, blond hair")


def test_words_that_the_text_encoder_knows_need_no_synonym() -> None:
    assert read_prompt("very old man", known=lambda words: True).text == "very old man, gray hair"
    assert read_prompt("very old man", known=lambda words: True).plain == "very old man"
    assert read_prompt("grandma in shades", known=lambda words: words == "grandma").text == "grandma in eyeglasses"


@pytest.mark.parametrize(
    ("typed", "text", "negative"),
    [
        ("not gray haired man", "man", "gray hair"),
        ("a black haired man with no glasses and a beard", "man with black hair and a beard, without glasses", ""),
        ("a woman who never smiles", "woman, not smiling", ""),
        ("gray but not old man", "young man with gray hair", ""),
        ("grandma in shades", "grandma in shades", ""),
        ("grandma in shades without a hat", "grandma in shades without a hat", ""),
    ],
)
def test_who_knows_every_word_is_told_of_denials_all_the_same(typed: str, text: str, negative: str) -> None:
    """The words of "gray haired" are in captions, but not so, and what is worded anew loses what is not understood."""
    assert read_prompt(typed, known=lambda words: True)[:2] == (text, negative)


@pytest.mark.parametrize("first", ["glasses", "a hat", "a beard", "bangs", "earrings", "makeup"])
@pytest.mark.parametrize("second", ["smiling", "with a big nose", "wearing a necktie", "with gray hair", "old"])
def test_what_follows_a_denial_is_there(first: str, second: str) -> None:
    for typed in (f"man without {first}, {second}", f"{second} man without {first}", f"no {first}, {second}"):
        says, alone = named(typed), named(second)
        assert {name: says.get(name) for name in alone} == alone, typed
        assert {name: says.get(name) for name in named(f"without {first}")} == named(f"without {first}"), typed


@given(st.integers(0, 2**32 - 1))
def test_captions_of_the_grammar_keep_what_they_say(seed: int) -> None:
    """However they are worded, nothing that is there is lost or denied."""
    rng = np.random.default_rng(seed)
    row = np.where(rng.random(40) < 0.3, 1, -1)
    caption = describe(row, rng)
    found = read_prompt(caption.text)
    says, wanted = read_caption(found.text), read_caption(caption.text)
    assert (says[wanted > 0] > 0).all(), (caption.text, found)
    assert not (says * wanted < 0).any(), (caption.text, found)


@given(st.lists(st.sampled_from([name for name in ATTRIBUTES if name != "Male"]), min_size=1, max_size=5, unique=True))
def test_plain_prompts_stay_as_they_are(names: list[str]) -> None:
    text = prompt_for({"Male": True, **dict.fromkeys(names, True)})
    assert read_prompt(text).text == text or "without" in text


def test_a_prompt_of_any_length_is_read_at_once() -> None:
    typed = "man with no hat, wearing glasses and " * 20_000
    assert read_prompt(typed) == (typed, "", typed, False)


@given(st.text(max_size=80))
def test_any_text_is_read(text: str) -> None:
    found = read_prompt(text, text)
    assert found.changed or found == (text, text, text, False)
