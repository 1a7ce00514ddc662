"""Captions: a grammar that turns CelebA's attributes into the many ways of saying them, and people's own captions."""

from celebgen_cli.data.captions.grammar import (
    Caption,
    choose_facts,
    describe,
    is_true_of,
    prompt_for,
    tellable,
    vocabulary,
)
from celebgen_cli.data.captions.reading import read_caption
from celebgen_cli.data.captions.typed import Typed, plain_words, read_prompt, read_typed
from celebgen_cli.data.captions.unsaid import unsaid_phrases
from celebgen_cli.data.captions.wording import (
    Captions,
    CaptionSource,
    Wording,
    attributes_known,
    choose_wording,
    truth,
)

__all__ = [
    "Caption",
    "CaptionSource",
    "Captions",
    "Typed",
    "Wording",
    "attributes_known",
    "choose_facts",
    "choose_wording",
    "describe",
    "is_true_of",
    "plain_words",
    "prompt_for",
    "read_caption",
    "read_prompt",
    "read_typed",
    "tellable",
    "truth",
    "unsaid_phrases",
    "vocabulary",
]
