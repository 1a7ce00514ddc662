"""The tokenizer gives what open_clip's gives, whatever the text."""

import html

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import SimpleTokenizer

from celebgen_cli.data.captions import describe
from celebgen_cli.models.tokenizer import END, START, tokenizer
from tests.faces import random_attributes

REFERENCE = SimpleTokenizer(context_length=48)

TEXTS = [
    "", " ", "a", "smiling woman blond hair", "A photo of an OLD Man, with Gray Hair.", "5 o'clock shadow",
    "don't we'll I'd", "  many   spaces\tand\ttabs ", "12345", "!!??..,,--", "hair/eyes (brown) [x] {y} <z>",
    "a_b-c+d=e", "x" * 300, "café crème", "Straße", "blond\u2019s \u201chair\u201d", "\ufb01ne", "женщина улыбается",
    "笑っている女性", "👩‍🦰 smiling 🙂", "nai\u0308ve", "\u00a0woman\u2003hair", "a\u200bb", "wom\ufffdan",
    "line\nbreak\r\nagain", "\x1b[31mred", "a\x1cb", "a\x85b", "İstanbul", "ǅ", "½ ² Ⅷ",
    "<start_of_text> man <end_of_text> hat", "<START_OF_TEXT>", "rock &amp; roll", "&lt;b&gt;", "&#39;s", "&#x1F600;",
    "caf&eacute;", "&nbsp;man", "&copy", "AT&T &c.",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_equal_to_open_clips(text: str) -> None:
    assert tokenizer().encode(text) == REFERENCE.encode(text)
    assert torch.equal(tokenizer()([text], 48), REFERENCE([text]))


@pytest.mark.parametrize("text", ["man&rsquo;s hat", "&ldquo;smiling&rdquo; man", "&amp;amp;lt;", "caf&EACUTE;"])
def test_html_entities_in_plain_ascii(text: str) -> None:
    """What an entity stands for is cleaned like any other character."""
    assert tokenizer().encode(text) == REFERENCE.encode(text)


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=40))
@example("a\x00b")
def test_equal_to_open_clips_on_any_text(text: str) -> None:
    assert tokenizer().encode(text) == REFERENCE.encode(text)


@settings(max_examples=80, deadline=None)
@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="&"), max_size=60))
def test_equal_to_open_clips_on_any_ascii(text: str) -> None:
    assert torch.equal(tokenizer()([text], 24), REFERENCE([text], 24))


def test_equal_on_captions(rng_seed: int = 7) -> None:
    import numpy as np

    rng = np.random.default_rng(rng_seed)
    texts = [describe(random_attributes(rng), rng).text for _ in range(300)]
    assert torch.equal(tokenizer()(texts, 48), REFERENCE(texts, 48))


def test_long_texts_are_cut_before_the_end_token() -> None:
    ids = tokenizer()(["man " * 100, "man"], 10)
    assert ids.shape == (2, 10)
    assert ids.dtype == torch.int64
    man = tokenizer().encode("man")
    assert ids[0].tolist() == [START, *man * 8, END]
    assert ids[1].tolist() == [START, *man, END, *[0] * 7]


def test_escaping_is_undone_twice() -> None:
    assert tokenizer().encode(html.escape(html.escape("a & b"))) == tokenizer().encode("a & b")
