"""Phrases that no caption has though it has their words: "red hair", where red are cheeks; "dark-skinned"."""

from collections.abc import Callable, Iterator
from functools import cache

from celebgen_cli.data.captions.grammar import vocabulary
from celebgen_cli.data.captions.lexicon import lexicon
from celebgen_cli.data.captions.reading import _WORD, _split, read_caption

_NOUNS = frozenset((
    "hair", "skin", "complexion", "eyes", "eyebrows", "brows", "nose", "lips", "mouth", "ears", "cheeks", "cheekbones",
    "chin", "jaw", "forehead", "smile", "beard", "goatee", "mustache", "moustache", "sideburns", "glasses",
    "eyeglasses", "spectacles", "hat", "cap", "beanie", "earrings", "necklace", "tie", "necktie", "lipstick", "makeup",
))  # fmt: skip
_PEOPLE = frozenset(("man", "woman", "person", "guy", "gentleman", "lady", "girl", "boy", "male", "female", "gal"))
_COLOURS = frozenset(("black", "brown", "white", "dark", "tan"))  # captions have them of hair
_ENDS = frozenset((
    "a", "an", "the", "his", "her", "their", "my", "and", "or", "but", "with", "without", "no", "not", "of", "in",
    "on", "to", "over", "under", "from", "for", "at", "by", "is", "are", "has", "have", "wear", "wearing", "wears",
    "want", "who", "that", "this", "some", "any", "very", "so", "both", "like", "all", "i", "me", "she", "he", "it",
    "image", "picture", "photo", "portrait", "person", "individual", "celebrity", "adult", "citizen", "somebody",
    "someone", "focus", "camera", "age", "years", "slightly", "partly", "out", "set",
))  # fmt: skip
"""Words that end the row before a noun, as do those that end a phrase, and what says something of a face by itself."""


def unsaid_phrases(text: str, known: Callable[[str], bool] = lambda words: True) -> list[str]:
    """Nouns with words before them that no caption puts there, and words with hyphens that none has, each once.

    known: whether the text encoder has learned a word; only such are named.
    """
    words, found = _WORD.findall(text.lower()), []
    for at, noun in enumerate(words):
        hyphened = "-" in noun and not noun.startswith(("no-", "not-"))  # those are read as denials
        if hyphened and noun not in _vocabulary() and not read_caption(noun).any() and known(noun):
            found.append(noun)
        if at and noun in _PEOPLE and words[at - 1] in _COLOURS:
            found.append(f"{words[at - 1]} {noun}")
        if noun not in _NOUNS:
            continue
        (close, anywhere), ends = _before()[noun], _last()
        for place in range(at - 1, -1, -1):
            word = words[place]
            if word in ends or not word.isalpha() or _alone(word):
                break
            if word not in (close if place == at - 1 else anywhere) and known(word):
                found.append(f"{word} {noun}")
    return list(dict.fromkeys(found))


@cache
def _vocabulary() -> frozenset[str]:
    return frozenset(vocabulary())


def _alone(word: str) -> bool:
    """Whether a word says something of a face by itself."""
    return word in _vocabulary() and bool(read_caption(word).any())


@cache
def _last() -> frozenset[str]:
    """Words that end a row of words before a noun."""
    phrases = (phrase for slot in ("with", "wearing") for phrase in _phrases(slot))
    return _ENDS | _NOUNS | {phrase[-1] for phrase in phrases}


@cache
def _before() -> dict[str, tuple[set[str], set[str]]]:
    """Of each noun the words that stand right before it in a phrase of the captions, and anywhere before it."""
    found = {noun: (set[str](), set[str]()) for noun in _NOUNS}
    for phrase in _phrases():
        for at, word in enumerate(phrase):
            if word in found:
                found[word][0].update(phrase[max(0, at - 1) : at])
                found[word][1].update(phrase[:at])
    return found


def _phrases(slot: str | None = None) -> Iterator[tuple[str, ...]]:
    """The words of every phrase of the captions, or of those in one slot."""
    words = lexicon()
    for statement in (*words.present, *words.absent):
        for name, choice in statement.slots.items():
            if slot in (None, name):
                yield from (_split(phrase.text) for phrase in choice.phrases)
