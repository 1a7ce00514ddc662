"""Captions from attributes: which facts are told and in which style, and what the other parts ask of captions.

Everything said is true of the row: a phrase is used only where all that it says holds, and attributes whose labels
contradict one another in a row are left unsaid. What was said is returned with the text.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log
from random import Random

import numpy as np

from celebgen_cli.data.attributes import INDEX
from celebgen_cli.data.captions import styles
from celebgen_cli.data.captions.lexicon import FACIAL_HAIR, MALE, Statement, lexicon

_COUNTS = (0.06, 0.16, 0.36, 0.60, 0.81, 1.0)  # cumulative odds of telling 1, 2, ... 6 facts


@dataclass(frozen=True)
class Caption:
    """A text and what it says. `named` is int8 [40] in the official order: +1 said to be present, -1 said to be
    absent, 0 not mentioned, counting what a reader would conclude ("woman": Male -1; "goatee": No_Beard -1)."""

    text: str
    named: np.ndarray


def describe(
    attributes: np.ndarray,
    rng: np.random.Generator | int,
    *,
    max_attributes: int = 6,
    facts: Sequence[int] | None = None,
) -> Caption:
    """A caption that is true of a row of attributes ([40], official order, -1/1 or 0/1 or bool).

    A random subset of at most `max_attributes` facts is told, in a random style, order and wording; or those of
    `facts`, indices out of `tellable`. The same row and seed give the same caption. ValueError if the row has not 40
    values, `max_attributes` is less than 1, or a fact cannot be told.
    """
    if max_attributes < 1:
        raise ValueError(f"max_attributes must be at least 1, not {max_attributes}")
    roll = Random(int(rng)).random if isinstance(rng, int | np.integer) else _rolls(rng)
    telling = _telling(attributes, roll)
    bits, words = telling.bits, telling.words
    if facts is None:
        chosen = _choose(telling, max_attributes)
    else:
        untold = sorted(set(facts) - set(tellable(attributes)))
        if untold or not facts:
            raise ValueError(f"nothing can be told of the attributes {untold} of this row")
        chosen = [(words.present if bits >> fact & 1 else words.absent)[fact] for fact in facts]
        chosen.sort(key=lambda statement: statement.attribute != MALE)  # the styles look for the sex in front
    u = roll()
    if len(chosen) <= 2:
        style = styles.keyword_list if u < 0.7 else styles.noun_phrase
    elif u < 0.22:
        style = styles.keyword_list
    elif u < 0.40:
        style = styles.comma_tags
    elif u < 0.70:
        style = styles.noun_phrase
    elif u < 0.86:
        style = styles.sentence
    else:
        style = styles.sentences
    text = styles.possessives(style(telling, chosen), telling.pronouns()[1])
    return Caption(styles.cased(text, roll()), _unpack(telling.said_yes, telling.said_no))


def tellable(attributes: np.ndarray) -> list[int]:
    """The attributes of a row that the grammar has words for, whose labels do not contradict one another: indices."""
    telling = _telling(attributes, lambda: 0.0)
    return [MALE, *(statement.attribute for statement in _candidates(telling, unasked=False))]


def choose_facts(attributes: np.ndarray, count: int, rng: np.random.Generator) -> list[int]:
    """`count` attributes to tell of a row, or all where fewer can be told, as likely as captions tell them: indices."""
    telling = _telling(attributes, _rolls(rng))
    return [statement.attribute for statement in _drawn(telling, count)]


def _telling(attributes: np.ndarray, roll: Callable[[], float]) -> styles.Telling:
    """A telling that has said nothing yet."""
    bits, words = pack(attributes), lexicon()
    blocked = 0 if bits >> MALE & 1 else FACIAL_HAIR
    for labels, unsaid in words.unsaid:
        if bits & labels == labels:
            blocked |= unsaid
    return styles.Telling(bits, blocked, roll, words)


def _rolls(rng: np.random.Generator) -> Callable[[], float]:
    """Numbers in [0, 1), drawn 128 at a time: one by one they would cost fifty times as much."""
    rolls: list[float] = []

    def roll() -> float:
        if not rolls:
            rolls.extend(rng.random(128).tolist())
        return rolls.pop()

    return roll


def pack(attributes: np.ndarray) -> int:
    """A row of 40 attributes as an integer, attribute i at bit i."""
    row = np.asarray(attributes)
    if row.shape != (40,):
        raise ValueError(f"a row of attributes has 40 values, not shape {row.shape}")
    return int.from_bytes(np.packbits(row > 0, bitorder="little").tobytes(), "little")


def _unpack(yes: int, no: int) -> np.ndarray:
    both = np.frombuffer((yes | no << 40).to_bytes(10, "little"), np.uint8)
    flags = np.unpackbits(both, bitorder="little").view(np.int8)
    return flags[:40] - flags[40:]


# ------------------------------------------------------------------------------------------------ what is told


def _choose(telling: styles.Telling, max_attributes: int) -> list[Statement]:
    """Draw the facts, the sex apart: it is nearly always told, and alone only now and then. In the order drawn."""
    u = telling.roll()
    count = next(i for i, odds in enumerate(_COUNTS, 1) if u < odds)
    if max_attributes != 6:  # the same odds, stretched or squeezed
        count = max(1, min(max_attributes, round(count * max_attributes / 6)))
    return _drawn(telling, count)


def _drawn(telling: styles.Telling, count: int) -> list[Statement]:
    """`count` facts, in the order drawn, the sex in front where it is among them."""
    roll = telling.roll
    with_sex = roll() < (0.14 if count == 1 else 0.6 if count == 2 else 0.85)
    # Weighted sampling without replacement: the shortest exponential waiting times (Efraimidis, Spirakis 2006).
    keyed = [(-log(1.0 - roll()) / s.weight, s.attribute, s) for s in _candidates(telling)]
    keyed.sort()
    chosen = [statement for _, _, statement in keyed[: count - with_sex]]
    if with_sex or not chosen:
        chosen.insert(0, (telling.words.present if telling.bits >> MALE & 1 else telling.words.absent)[MALE])
    return chosen


def _candidates(telling: styles.Telling, unasked: bool = True) -> list[Statement]:
    """The statements that are fit for the row, the sex apart; `unasked`: only those that are made without request."""
    bits, words, fit = telling.bits, telling.words, []
    for attribute in range(40):
        if telling.blocked >> attribute & 1 or attribute == MALE:
            continue
        statement = (words.present if bits >> attribute & 1 else words.absent)[attribute]
        eager = statement.weight or not unasked
        if eager and bits & statement.needs_yes == statement.needs_yes and not bits & statement.needs_no:
            fit.append(statement)
    return fit


# ------------------------------------------------------------------------------------------------ for other parts


def is_true_of(named: np.ndarray, attributes: np.ndarray) -> np.ndarray:
    """Whether nothing named contradicts the attributes: [..., 40] against [..., 40], broadcast, bool [...]."""
    named, present = np.asarray(named), np.asarray(attributes) > 0
    return ~((named != 0) & ((named > 0) != present)).any(axis=-1)


def vocabulary() -> list[str]:
    """Every distinct lower-case word that a caption can hold, and the punctuation marks, sorted."""
    words = lexicon()
    texts = [text for group in words.scene.values() for text in group]
    for statement in (*words.absent, *words.present):
        texts += [phrase.text for choice in statement.slots.values() for phrase in choice.phrases]
        texts.append(statement.canonical[1])
    found = {word.strip(",") for text in texts for word in text.lower().split() if word != "<their>"}
    return sorted(found | set(styles.GLUE) | set(styles.PUNCTUATION))


def prompt_for(names: Mapping[str, bool]) -> str:
    """The plain wording of the given attributes: {"Smiling": True, "Male": False} is "smiling woman".

    ValueError for a name that is not one of the 40 or where nothing is named. Nothing is checked for contradictions.
    """
    if not names:
        raise ValueError("no attribute is named")
    words = lexicon()
    parts: dict[str, list[str]] = {"adjective": [], "with": [], "wearing": [], "doing": [], "without": [], "photo": []}
    statements = []
    for name, present in names.items():
        if name not in INDEX:
            raise ValueError(f"{name!r} is not one of the 40 attributes")
        statements.append((words.present if present else words.absent)[INDEX[name]])
    noun = "person"
    for statement in sorted(statements, key=lambda s: s.order):
        slot, text = statement.canonical
        if slot == "noun":
            noun = text
        else:
            parts[slot].append(text.replace("<their> ", ""))
    text = " ".join([*parts["adjective"], noun])
    for lead in ("with", "wearing", "doing", "without"):
        if parts[lead]:
            listed = (" or " if lead == "without" else " and ").join(parts[lead])
            text += f" {listed}" if lead == "doing" else f" {lead} {listed}"
    return f"{parts['photo'][0]} photo of {styles.article(text)} {text}" if parts["photo"] else text
