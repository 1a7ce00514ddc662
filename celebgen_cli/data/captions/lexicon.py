"""words.toml, read once and compiled into tables that the grammar can draw from quickly.

Sets of attributes are bit masks: bit i stands for the i-th of the 40 official attributes.
"""

import re
import tomllib
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, combinations, product
from pathlib import Path
from typing import Any

from celebgen_cli.data.attributes import ATTRIBUTES, INDEX

SLOTS = ("noun", "before", "adjective", "with", "wearing", "without", "doing", "tag", "photo")
RUNNING = {"adjective": 1.0, "with": 1.0, "wearing": 1.2, "doing": 0.8, "without": 0.6}  # slots of running text: weight
MALE, BLURRY = INDEX["Male"], INDEX["Blurry"]

_HAIR = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")
_BEARD = ("5_o_Clock_Shadow", "Goatee", "Mustache", "Sideburns")

# Attributes that cannot hold together: where a row says that they do, neither is spoken of.
CONFLICTS: tuple[tuple[str, str], ...] = (
    *combinations(_HAIR, 2),
    *(("Bald", hair) for hair in ("Black_Hair", "Blond_Hair", "Brown_Hair", "Straight_Hair", "Wavy_Hair", "Bangs")),
    ("Straight_Hair", "Wavy_Hair"),
    ("Bangs", "Receding_Hairline"),
    ("No_Beard", "Goatee"),
)
# Where both are labelled the first is what is seen (a bald head, gray or receded at the sides): the second is unsaid.
YIELDING: tuple[tuple[str, str], ...] = (("Bald", "Gray_Hair"), ("Bald", "Receding_Hairline"))
# Of a row that is not male nothing is said about these: where they are labelled, the labels contradict one another.
FACIAL_HAIR = sum(1 << INDEX[name] for name in ("No_Beard", *_BEARD))


@dataclass(frozen=True, slots=True)
class Phrase:
    """One wording, with what must hold for it to be fit (`needs_*`) and what a reader learns from it (`says_*`)."""

    text: str
    needs_yes: int
    needs_no: int
    says_yes: int
    says_no: int

    def fits(self, bits: int, blocked: int, said: int) -> bool:
        """Whether it is true of the row `bits`, leaves `blocked` attributes alone and repeats nothing but the sex."""
        says = self.says_yes | self.says_no
        return (
            bits & self.needs_yes == self.needs_yes
            and not bits & self.needs_no
            and not says & blocked
            and not says & said & ~(1 << MALE)
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """Phrases with cumulative weights."""

    phrases: tuple[Phrase, ...]
    cumulative: tuple[float, ...]

    @classmethod
    def of(cls, weighted: Iterable[tuple[Phrase, float]]) -> "Choice":
        """The choice among those phrases whose weight is not zero."""
        kept = [(phrase, weight) for phrase, weight in weighted if weight > 0]
        return cls(tuple(p for p, _ in kept), tuple(accumulate(w for _, w in kept)))

    def draw(self, roll: Callable[[], float], bits: int, blocked: int, said: int) -> Phrase | None:
        """A phrase that fits, in proportion to the weights; None where none does."""
        phrases, cumulative = self.phrases, self.cumulative
        for _ in range(3):  # nearly always the first fits, so rejection is quicker than filtering
            phrase = phrases[bisect_right(cumulative, roll() * cumulative[-1], 0, len(phrases) - 1)]
            if phrase.fits(bits, blocked, said):
                return phrase
        fit = [phrase for phrase in phrases if phrase.fits(bits, blocked, said)]
        return fit[int(roll() * len(fit))] if fit else None


@dataclass(frozen=True, slots=True)
class Statement:
    """One attribute's presence or absence, and every way to say it."""

    attribute: int
    present: bool
    weight: float
    order: int
    needs_yes: int
    needs_no: int
    slots: dict[str, Choice]
    keyword: Choice | None
    canonical: tuple[str, str]
    running: tuple[tuple[str, float], ...]  # the slots of running text with 1 / weight, for a weighted order
    adjective_share: float  # how much of the weight lies on adjectives
    hair: Choice | None = None  # what stands before "hair" where colour and shape can share one noun


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Everything that words.toml says. `absent[i]` and `present[i]` word attribute i."""

    absent: tuple[Statement, ...]
    present: tuple[Statement, ...]
    scene: dict[str, tuple[str, ...]]
    unsaid: tuple[tuple[int, int], ...] = ()  # (labels that hold together, those of them that are then left unsaid)


@cache
def lexicon() -> Lexicon:
    """The word list in the package, compiled on first use."""
    return compile_words(tomllib.loads(Path(__file__).with_name("words.toml").read_text(encoding="utf-8")))


def compile_words(data: dict[str, Any]) -> Lexicon:
    """Compile a word list (the parsed words.toml). ValueError names the table and the entry that cannot be read."""
    scene = {key: tuple(words) for key, words in data["scene"].items()}
    unknown = set(data) - set(ATTRIBUTES) - {"scene"}
    if unknown:
        raise ValueError(f"words.toml: [{sorted(unknown)[0]}] is not one of the 40 attributes")
    absent: list[Statement] = []
    present: list[Statement] = []
    for name in ATTRIBUTES:
        for answer, statements in (("no", absent), ("yes", present)):
            if answer not in data.get(name, {}):
                raise ValueError(f"words.toml: [{name}.{answer}] is missing")
            statements.append(_statement(name, answer == "yes", data[name][answer]))
    unsaid = [(1 << INDEX[a] | 1 << INDEX[b],) * 2 for a, b in CONFLICTS]
    unsaid += [(1 << INDEX[a] | 1 << INDEX[b], 1 << INDEX[b]) for a, b in YIELDING]
    return Lexicon(tuple(absent), tuple(present), scene, tuple(unsaid))


def _statement(name: str, present: bool, table: dict[str, Any]) -> Statement:
    where = f"words.toml: [{name}.{'yes' if present else 'no'}]"
    odd = set(table) - {*SLOTS, "weight", "order", "needs", "says", "canonical"}
    if odd:
        raise ValueError(f"{where} has an entry {sorted(odd)[0]!r} that is not known")
    attribute = INDEX[name]
    needs = _masks(table.get("needs", []), where)
    says = _masks([name if present else f"-{name}", *table.get("says", [])], where)
    slots = {slot: _phrases(table[slot], needs, says, where) for slot in table if slot in SLOTS}
    if "canonical" in table:
        canonical = (table["canonical"][0], table["canonical"][1])
    else:
        canonical = next((slot, phrases[0][0].text) for slot, phrases in slots.items())
    keyword = _keywords(slots)
    shades = slots.get("with", []) if present and name in (*_HAIR, "Straight_Hair", "Wavy_Hair") else []
    hair = [
        (_reworded(phrase, phrase.text.removesuffix(" hair")), weight)
        for phrase, weight in shades
        if phrase.text.endswith(" hair") and not set(phrase.text) & set(",<")
    ]
    totals = {slot: sum(weight for _, weight in phrases) for slot, phrases in slots.items() if slot in RUNNING}
    return Statement(
        attribute=attribute,
        present=present,
        weight=float(table.get("weight", 1.0)),
        order=int(table.get("order", 5)),
        needs_yes=needs[0] | says[0] & ~(1 << attribute),
        needs_no=needs[1] | says[1] & ~(1 << attribute),
        slots={slot: Choice.of(phrases) for slot, phrases in slots.items()},
        keyword=Choice.of(keyword) if keyword else None,
        canonical=canonical,
        running=tuple((slot, 1 / max(RUNNING[slot] * total, 0.01)) for slot, total in totals.items()),
        adjective_share=totals.get("adjective", 0.0) / max(sum(totals.values()), 0.01),
        hair=Choice.of(hair) if hair else None,
    )


def _masks(names: Iterable[str], where: str) -> tuple[int, int]:
    """("Male", "-Young") as the masks of the present and of the absent attributes."""
    masks = [0, 0]
    for name in names:
        if name.removeprefix("-") not in INDEX:
            raise ValueError(f"{where} speaks of {name!r}, which is not one of the 40 attributes")
        masks[name.startswith("-")] |= 1 << INDEX[name.removeprefix("-")]
    return masks[0], masks[1]


def _phrases(
    entries: list[Any], needs: tuple[int, int], says: tuple[int, int], where: str
) -> list[tuple[Phrase, float]]:
    phrases = []
    for number, given in enumerate(entries):
        entry = {"text": given} if isinstance(given, str) else given
        if "text" not in entry or set(entry) - {"text", "weight", "needs", "says"}:
            raise ValueError(f"{where} has an entry that cannot be read: {given!r}")
        own_needs, own_says = _masks(entry.get("needs", []), where), _masks(entry.get("says", []), where)
        says_yes, says_no = says[0] | own_says[0], says[1] | own_says[1]
        texts = expand(entry["text"])
        weight = float(entry.get("weight", 1.0 if number else 3.0)) / len(texts)
        for text in texts:
            phrase = Phrase(
                text, needs[0] | own_needs[0] | says_yes, needs[1] | own_needs[1] | says_no, says_yes, says_no
            )
            phrases.append((phrase, weight))
    return phrases


def _keywords(slots: dict[str, list[tuple[Phrase, float]]]) -> list[tuple[Phrase, float]]:
    """Every wording that can stand alone in a list of keywords, made from the other slots."""
    keywords = []
    forms: dict[str, list[tuple[str, float, bool]]] = {  # slot: (prefix, share, whether the article is dropped)
        "noun": [("", 1.0, True)],
        "tag": [("", 2.0, False)],
        "adjective": [("", 0.6, False)],
        "with": [("", 0.7, True), ("with ", 0.15, False)],
        "wearing": [("wearing ", 0.8, False), ("", 0.3, True)],
        "without": [("without ", 0.5, False)],
        "doing": [("", 0.4, False)],
    }
    for slot, ways in forms.items():
        for prefix, share, bare in ways:
            for phrase, weight in slots.get(slot, []):
                if phrase.text.endswith(" on"):  # "glasses on" wants a "with"
                    continue
                text = re.sub(r"^an? ", "", phrase.text) if bare else phrase.text
                keywords.append((_reworded(phrase, prefix + text), weight * share))
    return keywords


def _reworded(phrase: Phrase, text: str) -> Phrase:
    return Phrase(text, phrase.needs_yes, phrase.needs_no, phrase.says_yes, phrase.says_no)


def expand(text: str) -> list[str]:
    """Every text that "{a|b} c" stands for, in order; "a" at the start becomes "an" before a vowel."""
    parts = re.split(r"\{([^{}]*)\}", text)
    options = [part.split("|") if i % 2 else [part] for i, part in enumerate(parts)]
    texts = (" ".join("".join(pick).split()) for pick in product(*options))
    return [re.sub(r"^a (?=[aeiou])", "an ", text) for text in texts]
