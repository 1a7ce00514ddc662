"""What is asked of a model to see whether it does what prompts say: sets of attributes, in plain words and in others.

Sets of 1 to 4 attributes are told of rows of real faces, as captions tell them, so what is asked for is as frequent
together as it is in faces. Besides, each of the 40 attributes is asked for alone, both ways, of a row that has it so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from celebgen_cli.data.attributes import ATTRIBUTES
from celebgen_cli.data.captions import choose_facts, describe, prompt_for, tellable
from celebgen_cli.errors import UsageError

WORDINGS = ("plain", "paraphrase")
LARGEST = 4
"""Attributes in a set, at most."""
ALONE_FROM = 400
"""Faces for each round in which every attribute is asked for alone, present and absent."""
_TRIES = 64


@dataclass(frozen=True)
class Asked:
    """A prompt and what it says.

    Attributes:
        prompt: the words.
        named: int8 [40], +1 said to be present, -1 said to be absent, 0 not mentioned; counts what the words imply.
        wording: "plain" or "paraphrase"; "own" where a person chose the words.
        size: attributes that were chosen to be told; 0 where a person chose.
        row: of the real face that it is true of; -1 where there is no one such face.
        alone: the attribute was asked for on its own account, not in the proportions of real faces.
        unit: prompts of the same row and attributes, or of the same words, of which none is another's other prompt.
    """

    prompt: str
    named: np.ndarray
    wording: str
    size: int
    row: int
    alone: bool
    unit: int


def ask(attributes: np.ndarray, rows: Sequence[int], count: int, seed: int) -> list[Asked]:
    """At most `count` prompts, the same for the same arguments.

    Each set of attributes is asked for twice, plainly and in other words, and there are as many sets of each size.

    Args:
        attributes: int8 [N, 40] in -1 / 1.
        rows: which of them are known.

    Raises:
        UsageError: there is no row.
    """
    if not len(rows):
        raise UsageError("prompts need faces whose attributes are known; name a prepared dataset that has some")
    rng = np.random.default_rng([seed, 40])
    asked: list[Asked] = []
    for start in range(count // ALONE_FROM):
        asked += _alone(attributes, rows, WORDINGS[start % 2], len(asked), rng)
    order = rng.permutation(np.asarray(rows))
    unit = len(asked)
    for pair in range((count - len(asked) + 1) // 2):
        row = int(order[pair % len(order)])
        facts = choose_facts(attributes[row], 1 + pair % LARGEST, rng)
        asked += [_asked(attributes, row, facts, wording, unit + pair, rng) for wording in WORDINGS]
    return asked[:count]


def _alone(
    attributes: np.ndarray, rows: Sequence[int], wording: str, unit: int, rng: np.random.Generator
) -> list[Asked]:
    """Every attribute once present and once absent, where some face is so and the grammar has words for it there."""
    asked: list[Asked] = []
    for attribute in range(len(ATTRIBUTES)):
        for value in (True, False):
            some = np.asarray(rows)[(attributes[rows, attribute] > 0) == value]
            for row in rng.permutation(some)[:_TRIES].tolist():
                if attribute in tellable(attributes[row]):
                    one = _asked(attributes, row, [attribute], wording, unit + len(asked), rng, alone=True)
                    asked.append(one)
                    break
    return asked


def _asked(
    attributes: np.ndarray,
    row: int,
    facts: list[int],
    wording: str,
    unit: int,
    rng: np.random.Generator,
    *,
    alone: bool = False,
) -> Asked:
    if wording == "plain":
        values = {fact: bool(attributes[row, fact] > 0) for fact in facts}
        text, named = prompt_for({ATTRIBUTES[fact]: value for fact, value in values.items()}), np.zeros(40, np.int8)
        for fact, value in values.items():
            named[fact] = 1 if value else -1
    else:
        caption = describe(attributes[row], rng, facts=facts)
        for _ in range(_TRIES):  # now and then no phrase is fit for the place that a style has left
            if caption.named[facts].all():
                break
            caption = describe(attributes[row], rng, facts=facts)
        text, named = caption.text, caption.named
    return Asked(text, named, wording, len(facts), row, alone, unit)
