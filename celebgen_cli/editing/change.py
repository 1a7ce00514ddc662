"""What an edit is told: the words of the photograph as it is, and as it shall be.

An edit by "smiling" alone leads from pictures of anybody to smiling pictures of anybody, and takes sex, age and hair a
little way with it. From "man with black hair not smiling" to "smiling man with black hair" nothing but the smile lies
between. So a judge says what the photograph shows, and both texts tell that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from celebgen_cli.data.attributes import ATTRIBUTES, INDEX
from celebgen_cli.data.captions import prompt_for, read_caption, vocabulary
from celebgen_cli.data.captions.lexicon import CONFLICTS, FACIAL_HAIR, YIELDING

HAIR = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")
TOLD = ("Male", "Young", *HAIR, "Bald", "Bangs", "No_Beard", "Smiling", "Eyeglasses", "Wearing_Hat")
"""What may be told of a photograph unasked: its sex and whether it smiles, anything else where the face has it."""
HIDDEN = {"Wearing_Hat": (*HAIR, "Bald", "Bangs")}
"""What is not told of the photograph where this is asked for, which covers it: it would hold the edit back."""
UNUSUAL = {"Young": False, "No_Beard": False}
"""Of these it is told where the face has it not."""
SURE = 0.9
"""From where on a judge is believed that a photograph shows already what is asked for."""
MOST = 6
"""Attributes in a text, as in the captions that the text encoder knows."""

_REMOVING = re.compile(r"\b(?:remove|take off|shave(?: off)?|get rid of|lose|delete)\b", re.IGNORECASE)
_ADDING = re.compile(r"\b(?:make|give|add|put on)\b(?: (?:him|her|them|it|me)\b)?\s*", re.IGNORECASE)
_PAIRS = {frozenset(pair) for pair in (*CONFLICTS, *YIELDING)}


class Change(NamedTuple):
    """The texts of one edit.

    source: what the photograph shows; empty where nothing is known of it. target: what it shall show. other: what
    guidance leads away from, which is the source where no negative prompt stands in its place.
    """

    source: str
    target: str
    other: str


def plain_change(prompt: str, negative: str = "", source: str = "") -> Change:
    """The change with these very words: guidance leads away from the negative prompt, else from the source."""
    return Change(source, prompt, negative or source)


def read_change(
    prompt: str, sure: np.ndarray, negative: str = "", unknown: Callable[[str], Iterable[str]] = lambda text: ()
) -> Change | None:
    """The change of a photograph by a prompt whose words the captions' grammar can read.

    What is asked for (or, in the negative prompt, asked away) is told one way of the target and the other way of the
    source, unless the judge is `SURE` that the photograph has it so. Everything else is told of both alike, but for
    what the request rules out (a bald head has no bangs).

    Args:
        sure: float [40], how sure a judge is of each attribute of the photograph.
        unknown: the words of a text that the text encoder does not know either; these are passed over.

    Returns:
        None where the prompts have words that only the text encoder knows, or name nothing.
    """
    prompt, known = as_description(prompt), set(vocabulary())
    for text in (prompt, negative):
        if not _words(text) - known <= set(_words(" ".join(unknown(text)))):
            return None
    named, away = read_caption(prompt), read_caption(negative)
    if not named.any() or (_words(negative) and not away.any()):
        return None
    named = np.where(named != 0, named, -away)
    asked = {ATTRIBUTES[i]: bool(named[i] > 0) for i in np.flatnonzero(named)}
    hidden = {name for one, present in asked.items() if present for name in HIDDEN.get(one, ())}
    found = {name: value for name, value in _found(sure).items() if name not in hidden}
    source, target = dict(found), dict(found)
    for name, present in asked.items():
        target[name] = present
        if name in HAIR and present:  # the photograph's own colour is said, or none, but not "without blond hair"
            if sure[INDEX[name]] < SURE:
                source.pop(name, None)
            continue
        has = sure[INDEX[name]] if present else 1 - sure[INDEX[name]]
        source[name] = present if has >= SURE else not present
    return Change(before := _text(source, asked), _text(_consistent(target, asked), asked), before)


def as_description(prompt: str) -> str:
    """Orders in the words of a description: "make her smile, remove the glasses" is "smile, without the glasses"."""
    return _ADDING.sub("", _REMOVING.sub("without", prompt)).strip() or prompt


def _found(sure: np.ndarray) -> dict[str, bool]:
    """What is told of the photograph unasked."""
    found = {"Male": bool(sure[INDEX["Male"]] > 0.5), "Smiling": bool(sure[INDEX["Smiling"]] > 0.5)}
    for name in TOLD:
        present = bool(sure[INDEX[name]] > 0.5)
        if present != UNUSUAL.get(name, True) or name in found:
            continue
        if name in HAIR and sure[INDEX[name]] < max(sure[INDEX[other]] for other in HAIR):
            continue
        found[name] = present
    return _consistent(found, {})


def _consistent(facts: dict[str, bool], asked: dict[str, bool]) -> dict[str, bool]:
    """Facts without those, not asked for, that others rule out; of two that nobody asked for the later one goes."""
    kept: dict[str, bool] = {}
    for name in sorted(facts, key=lambda name: name not in asked):
        present = [other for other, value in kept.items() if value]
        if name not in asked and facts[name] and any(frozenset((name, other)) in _PAIRS for other in present):
            continue
        kept[name] = facts[name]
    if not kept.get("Male", True):
        kept = {name: v for name, v in kept.items() if name in asked or not FACIAL_HAIR >> INDEX[name] & 1}
    return kept


def _text(facts: dict[str, bool], asked: dict[str, bool]) -> str:
    """The plain wording of the sex, of what was asked for, and of the rest as far as there is room, in one order."""
    rank = [*TOLD, *(name for name in ATTRIBUTES if name not in TOLD)].index
    first = sorted(facts, key=lambda name: (name != "Male", name not in asked, rank(name)))[: max(MOST, len(asked))]
    return prompt_for({name: facts[name] for name in sorted(first, key=rank)})


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+(?:[-'’][a-z0-9]+)*", text.lower()))
