"""Captions: a grammar that turns CelebA's attributes into the many ways in which people would say them."""

from celebgen_cli.data.captions.grammar import (
    Caption,
    describe,
    is_true_of,
    prompt_for,
    vocabulary,
)

__all__ = ["Caption", "describe", "is_true_of", "prompt_for", "vocabulary"]
