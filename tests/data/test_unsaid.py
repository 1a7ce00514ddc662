"""Phrases that no caption has, of words that captions have."""

import numpy as np
import pytest

from celebgen_cli.data.captions import unsaid_phrases
from celebgen_cli.data.captions.wording import CaptionSource
from tests.faces import random_attributes


@pytest.mark.parametrize(
    ("prompt", "phrases"),
    [
        ("woman with red hair", ["red hair"]),
        ("young woman with long wavy red hair", ["red hair", "long hair"]),
        ("dark-skinned man, brown eyes", ["dark-skinned", "brown eyes"]),
        ("a man in a black hat", ["black hat"]),
        ("smiling woman blond hair", []),
        ("black woman, white hair", ["black woman"]),
        ("fair-skinned woman with rosy cheeks and a big smile", []),
        ("old man gray hair beard", []),
        ("close-up of a man with neatly trimmed beard", []),
        ("she has straight, brown hair and bushy eyebrows", []),
        ("red hair, a hat, red hair", ["red hair"]),
        ("", []),
    ],
)
def test_phrases(prompt: str, phrases: list[str]) -> None:
    assert unsaid_phrases(prompt) == phrases


def test_only_known_words_are_named() -> None:
    assert unsaid_phrases("long red hair", lambda word: word != "long") == ["red hair"]


def test_captions_of_the_grammar_are_said() -> None:
    rng = np.random.default_rng(0)
    source = CaptionSource(np.stack([random_attributes(rng) for _ in range(3000)]))
    captions = source.draw_for(3000, 0)
    strange = [text for text in captions if unsaid_phrases(text)]
    assert len(strange) <= 6, strange
    assert len(captions) == 3000 and np.unique(captions).size > 2500
