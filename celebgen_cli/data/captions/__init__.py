"""Captions: a grammar that turns CelebA's attributes into the many ways of saying them, and people's own captions."""

from celebgen_cli.data.captions.grammar import (
    Caption,
    describe,
    is_true_of,
    prompt_for,
    vocabulary,
)
from celebgen_cli.data.captions.wording import Captions, CaptionSource, Wording, choose_wording, truth

__all__ = [
    "Caption",
    "CaptionSource",
    "Captions",
    "Wording",
    "choose_wording",
    "describe",
    "is_true_of",
    "prompt_for",
    "truth",
    "vocabulary",
]
