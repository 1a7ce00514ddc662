"""Reading captions: which attributes a prompt names, by the words that the grammar has for them.

The grammar backwards, as far as that goes: phrases of the word list are looked for, the longest first; "without" holds
until the clause ends; and words that share one noun ("wavy blond hair", "a big pointy nose") are read apart.
"""

import re
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from celebgen_cli.data.captions.lexicon import Statement, lexicon
from celebgen_cli.data.captions.styles import _SHARED

Says = tuple[int, int]
"""Masks of what is said to be present and to be absent."""

_WORD = re.compile(r"[a-z0-9]+(?:[-'’][a-z0-9]+)*|[.,;|]")
_DROPPED = frozenset(("a", "an", "the", "his", "her", "their"))
_JOINS = frozenset(("and", ",", "or"))
_LONGEST = 8
_ELSEWHERE = frozenset(("on", "over", "in", "is", "from"))


@dataclass
class _Tables:
    """Phrases as tuples of words, with what they say."""

    plain: dict[tuple[str, ...], Says] = field(default_factory=dict)
    lacking: dict[tuple[str, ...], Says] = field(default_factory=dict)  # what may follow "without"
    modifiers: dict[str, dict[tuple[str, ...], Says]] = field(default_factory=dict)  # by the noun that they share


def read_caption(text: str) -> np.ndarray:
    """What a prompt names: int8 [40] in the official order, +1 said to be present, -1 said to be absent, 0 not named.

    Words that the grammar does not know are passed over. Where a text says both of an attribute, nothing is named.
    """
    tables, words = _tables(), [word for word in _WORD.findall(text.lower()) if word not in _DROPPED]
    yes = no = at = 0
    without = False
    while at < len(words):
        if words[at] in ("without", "no", "not") and _longest(tables.plain, words, at) is None:
            without, at = True, at + 1
            continue
        if words[at] == "without":  # a phrase of its own, which may be the first of several
            without = True
            says = _longest(tables.plain, words, at)
        else:
            says = _longest(tables.lacking, words, at) if without and not _hair_of_another_kind(words, at) else None
        if says is None:
            if words[at] not in _JOINS:
                without = False
            says = says or _longest(tables.plain, words, at) or _shared(tables, words, at)
        if says is None:
            at += 1
            continue
        (present, absent), length = says
        yes, no, at = yes | present, no | absent, at + length
    both = yes & no
    return np.array([(yes & ~both) >> i & 1 for i in range(40)], np.int8) - np.array(
        [(no & ~both) >> i & 1 for i in range(40)], np.int8
    )


def _hair_of_another_kind(words: list[str], at: int) -> bool:
    """Whether "hair" at a word is not what a bald head lacks: "without a hat, hair brown", "no hair in his eyes"."""
    behind = words[at + 1] if at + 1 < len(words) else ""
    return words[at] == "hair" and (words[at - 1] not in ("without", "no", "not") or behind in _ELSEWHERE)


def _longest(table: dict[tuple[str, ...], Says], words: list[str], at: int) -> tuple[Says, int] | None:
    """The longest phrase of a table that begins at a word, and its length."""
    for length in range(min(_LONGEST, len(words) - at), 0, -1):
        says = table.get(tuple(words[at : at + length]))
        if says is not None:
            return says, length
    return None


def _shared(tables: _Tables, words: list[str], at: int) -> tuple[Says, int] | None:
    """Words before a noun that they share, or behind it: "wavy blond hair", "hair is wavy and blond"."""
    for noun, modifiers in tables.modifiers.items():
        said, end, count = (0, 0), at, 0
        if words[at : at + 2] == [noun, "is"]:
            end = at + 2
        behind = end > at
        while end < len(words):
            found = _longest(modifiers, words, end)
            if found is None:
                if count and words[end] in ("and", ",") and _longest(modifiers, words, end + 1):
                    end += 1
                    continue
                break
            (present, absent), length = found
            said, end, count = (said[0] | present, said[1] | absent), end + length, count + 1
        if count and (behind or (end < len(words) and words[end] == noun)):
            return said, end - at + (not behind)
    return None


@cache
def _tables() -> _Tables:
    tables = _Tables()
    words = lexicon()
    for statement in (*words.present, *words.absent):
        _enter(tables, statement)
    return tables


def _enter(tables: _Tables, statement: Statement) -> None:
    for slot, choice in statement.slots.items():
        for phrase in choice.phrases:
            says = (phrase.says_yes, phrase.says_no)
            _put(tables.lacking if slot == "without" else tables.plain, phrase.text, says)
            split = _split(phrase.text)
            shares = len(split) > 1 and split[-1] in _SHARED and split[0] != "no"  # "no" is no kind of hair
            if slot == "with" and shares:
                tables.modifiers.setdefault(split[-1], {}).setdefault(split[:-1], says)
    for phrase in statement.keyword.phrases if statement.keyword else ():
        if not phrase.text.startswith("without "):
            _put(tables.plain, phrase.text, (phrase.says_yes, phrase.says_no))
    own, (slot, text) = 1 << statement.attribute, statement.canonical
    _put(tables.lacking if slot == "without" else tables.plain, text, (own, 0) if statement.present else (0, own))


def _put(table: dict[tuple[str, ...], Says], text: str, says: Says) -> None:
    """Note a phrase, unless another statement had the same words before."""
    table.setdefault(_split(text), says)


def _split(text: str) -> tuple[str, ...]:
    return tuple(word for word in _WORD.findall(text.replace("<their>", "").lower()) if word not in _DROPPED)
