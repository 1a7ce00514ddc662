"""The styles of captions: keyword lists, comma tags, noun phrases and sentences, put together from drawn phrases."""

from collections.abc import Callable
from dataclasses import dataclass, field

from celebgen_cli.data.attributes import ATTRIBUTES
from celebgen_cli.data.captions.lexicon import BLURRY, MALE, Lexicon, Phrase, Statement

# Every word that the code below adds to those of words.toml (the tests hold it to this list).
GLUE = (
    "a", "an", "the", "this", "and", "or", "with", "without", "of", "who", "he", "she", "his", "her", "is", "has",
    "wearing", "wears", "shows", "hair", "face", "man", "woman", "photo",
)  # fmt: skip
PUNCTUATION = (",", ".", ";", "|")

_NEGATORS = ("no ", "not ", "without ")
# Nouns that two phrases may share: "a big nose" and "a pointy nose" are one nose.
_SHARED = frozenset(
    ("nose", "eyebrows", "brows", "face", "eyes", "cheeks", "lips", "hair", "complexion", "skin", "forehead")
)  # fmt: skip


@dataclass(slots=True)
class Telling:
    """What has been said so far, and the phrases by the place that they take."""

    bits: int
    blocked: int
    roll: Callable[[], float]
    words: Lexicon
    said_yes: int = 0
    said_no: int = 0
    before: list[tuple[float, str]] = field(default_factory=list)  # adjectives with their rank
    having: list[str] = field(default_factory=list)
    wearing: list[str] = field(default_factory=list)
    doing: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    photo: str = ""
    noun: str = ""

    def take(self, statement: Statement, slot: str) -> str | None:
        """Draw a phrase for the slot and note what it says; None where nothing fits."""
        choice = {"keyword": statement.keyword, "hair": statement.hair}.get(slot) or statement.slots.get(slot)
        if choice is None or not choice.phrases:
            return None
        phrase = choice.draw(self.roll, self.bits, self.blocked, self.said_yes | self.said_no)
        return None if phrase is None else self.note(phrase)

    def note(self, phrase: Phrase) -> str:
        self.said_yes |= phrase.says_yes
        self.said_no |= phrase.says_no
        return phrase.text

    def says(self, attribute: int) -> bool:
        return bool((self.said_yes | self.said_no) >> attribute & 1)

    def pronouns(self) -> tuple[str, str]:
        """("he", "his"), ("she", "her"), or nothing where the sex was not said."""
        if self.said_yes >> MALE & 1:
            return "he", "his"
        return ("she", "her") if self.said_no >> MALE & 1 else ("", "")

    def pick(self, words: tuple[str, ...]) -> str:
        return words[int(self.roll() * len(words))]


# ------------------------------------------------------------------------------------------------ lists of keywords


def keyword_list(telling: Telling, chosen: list[Statement]) -> str:
    """ "smiling woman blond hair": keywords without commas, negations last, where nothing can be read into them."""
    plain = chosen[0].attribute != MALE and all(statement.attribute != BLURRY for statement in chosen)
    if len(chosen) == 2 and plain and telling.roll() < 0.25:
        return " and ".join(_keywords(telling, chosen))
    return " ".join(_keywords(telling, chosen))


def comma_tags(telling: Telling, chosen: list[Statement]) -> str:
    """ "woman, smiling, blond hair": tags in any order, now and then with a tag for the picture."""
    tags = _keywords(telling, chosen)
    u = telling.roll()
    if u < 0.15:
        tags.append(telling.pick(telling.words.scene["tag"]))
    elif u < 0.25 and not telling.says(BLURRY):
        tags.insert(0, telling.pick(telling.words.scene["tag"]))
    u = telling.roll()
    return (", " if u < 0.86 else "," if u < 0.91 else "; " if u < 0.95 else " | ").join(tags)


def _keywords(telling: Telling, chosen: list[Statement]) -> list[str]:
    """Keywords in random order; the noun often has adjectives of its own; phrases of negation stand last."""
    roll = telling.roll
    chunks: list[str] = []
    rest = chosen
    if chosen[0].attribute == MALE:
        noun = telling.take(chosen[0], "noun") or ""
        adjectives: list[tuple[float, str]] = []
        rest = []
        for statement in chosen[1:]:
            if telling.says(statement.attribute):
                continue
            word = None
            if len(adjectives) < 2 and roll() < 1.5 * statement.adjective_share:
                word = telling.take(statement, "adjective")
            if word is None:
                rest.append(statement)
            else:
                adjectives.append((statement.order + roll(), word))
        adjectives.sort()
        chunk = " ".join([word for _, word in adjectives] + [noun])
        chunks.append(f"{article(chunk)} {chunk}" if roll() < 0.08 else chunk)
    for statement in rest:
        if not telling.says(statement.attribute):
            word = telling.take(statement, "keyword")
            if word is not None:
                chunks.append(word)
    if roll() < 0.6:
        keyed = [(roll(), chunk) for chunk in chunks]
        keyed.sort()
        chunks = [chunk for _, chunk in keyed]
    chunks.sort(key=_lateness)
    return chunks


def _denies(words: str) -> bool:
    """Whether the words hold a negation that could be read on into words that follow without a comma."""
    return words.startswith(_NEGATORS) or " no " in words or " not " in words


def _lateness(chunk: str) -> int:
    return 2 if _denies(chunk) else 1 if chunk.startswith("with ") else 0


# ------------------------------------------------------------------------------------------------ running text


def _gather(telling: Telling, chosen: list[Statement], *, adjectives: int, sentence: bool) -> None:
    """Give every fact a phrase and a place. `sentence` avoids what reads badly after "is" and "has"."""
    roll = telling.roll
    rest = chosen
    if chosen[0].attribute == MALE:
        telling.noun = telling.take(chosen[0], "noun") or ""
        rest = chosen[1:]
    rest = _shared_hair(telling, rest)
    for statement in rest:
        if telling.says(statement.attribute):
            continue
        if statement.attribute == BLURRY:
            telling.photo = telling.take(statement, "photo") or ""
            continue
        if not telling.noun and "noun" in statement.slots and roll() < 0.3:
            telling.noun = telling.take(statement, "noun") or ""
            if telling.noun:
                continue
        slots = [(roll() ** exponent, slot) for slot, exponent in statement.running]
        slots.sort(reverse=True)
        for _, slot in slots:
            if slot == "adjective" and len(telling.before) >= adjectives:
                continue
            if slot == "without" and sentence and len(slots) > 1:
                continue
            if slot == "adjective" and not sentence and "before" in statement.slots and roll() < 0.25:
                slot = "before"
            phrase = telling.take(statement, slot)
            if phrase is None:
                continue
            if slot in ("adjective", "before"):
                telling.before.append((statement.order + (0 if roll() < 0.85 else 9 * roll()), phrase))
            elif slot == "with":
                _have(telling.having, phrase)
            elif slot == "wearing":
                telling.wearing.append(phrase)
            elif slot == "doing":
                telling.doing.append(phrase)
            else:
                telling.lacking.append(phrase)
            break
    if not telling.noun:
        sex = telling.pronouns()[0]  # an adjective may have said it: "handsome"
        telling.noun = {"he": "man", "she": "woman"}.get(sex) or _nobody(telling, sentence)
    telling.before.sort()


def _have(having: list[str], phrase: str) -> None:
    """Add to what the person has; "a big nose" and "a pointy nose" become "a big pointy nose"."""
    words = phrase.split()
    if _shareable(phrase, words):
        for i, other in enumerate(having):
            before = other.split()
            if before[-1] == words[-1] and _shareable(other, before):
                having[i] = " ".join(before[:-1] + (words[1:] if words[0] in ("a", "an") else words))
                return
    having.append(phrase)


def _shareable(phrase: str, words: list[str]) -> bool:
    return words[-1] in _SHARED and len(words) <= 3 and not phrase.startswith((*_NEGATORS, "facial", "<"))


def _nobody(telling: Telling, sentence: bool) -> str:
    """A noun that leaves the sex open; "someone" and "face" only where they read well."""
    u = telling.roll()
    if not sentence and not telling.before and _facts(telling):
        if u < 0.2:
            return telling.pick(telling.words.scene["somebody"])
        faces = telling.wearing or telling.doing or telling.lacking or any("face" in have for have in telling.having)
        if u < 0.4 and not faces:
            return "face"
    return telling.pick(telling.words.scene["person"])


def _shared_hair(telling: Telling, chosen: list[Statement]) -> list[Statement]:
    """Where colour and shape of the hair are both told, mostly tell them in one: "wavy blond hair"."""
    hair = [statement for statement in chosen if statement.hair is not None and not telling.says(statement.attribute)]
    if len(hair) < 2 or telling.roll() > 0.75:
        return chosen
    shape_first = sorted(hair, key=lambda s: ATTRIBUTES[s.attribute] not in ("Straight_Hair", "Wavy_Hair"))
    if telling.roll() < 0.12:
        shape_first.reverse()
    parts = [telling.take(statement, "hair") for statement in shape_first]
    telling.having.append(" ".join([part for part in parts if part] + ["hair"]))
    return [statement for statement in chosen if statement.hair is None]


def noun_phrase(telling: Telling, chosen: list[Statement]) -> str:
    """ "a photo of a young woman with blond hair, wearing earrings", or "woman who has blond hair"."""
    roll = telling.roll
    _gather(telling, chosen, adjectives=3, sentence=False)
    phrase = " ".join([word for _, word in telling.before] + [telling.noun])
    named = phrase if telling.noun in telling.words.scene["somebody"] else f"{article(phrase)} {phrase}"
    follows = (
        f" who {_predicates(telling)}"
        if _facts(telling) and telling.noun != "face" and roll() < 0.12
        else _tail(telling)
    )
    phrase, named = phrase + follows, named + follows
    u = roll()
    if telling.photo:
        picture = f"{telling.photo} {telling.pick(telling.words.scene['blurry'])}"
        return f"{picture} of {phrase}" if u < 0.2 else f"{article(picture)} {picture} of {named}"
    if u < 0.45:
        return phrase if u < 0.15 else named
    picture = telling.pick(telling.words.scene["picture"])
    if u < 0.57:
        return f"{picture} of {phrase if u < 0.50 else named}"
    if u < 0.62:
        return f"face of {named}" if telling.noun != "face" else named
    if u < 0.70:
        request = telling.pick(telling.words.scene["request"])
        return f"{request} {named}" if u < 0.66 else f"{request} {article(picture)} {picture} of {named}"
    return f"{article(picture)} {picture} of {named}"


def sentence(telling: Telling, chosen: list[Statement]) -> str:
    """ "The young woman has blond hair and is smiling." """
    _gather(telling, chosen, adjectives=2, sentence=True)
    roll = telling.roll
    subject_words = [word for _, word in telling.before]
    if telling.before and not (telling.having or telling.wearing or telling.doing or telling.lacking):
        subject_words, telling.doing = [], [_listed(subject_words)]
    subject = " ".join([*subject_words, telling.noun])
    u = roll()
    start = "the" if u < 0.45 else "this" if u < 0.65 else article(subject)
    text = f"{start} {subject} {_predicates(telling)}" if _facts(telling) else f"this is {article(subject)} {subject}"
    return _ended(text + _photo_sentence(telling), roll())


def sentences(telling: Telling, chosen: list[Statement]) -> str:
    """ "This is a smiling woman. She has blond hair and is wearing earrings." """
    roll = telling.roll
    hair = [statement for statement in chosen if statement.hair is not None] if roll() < 0.35 else []
    shades = [telling.take(statement, "hair") or "" for statement in hair]
    _gather(telling, chosen, adjectives=2, sentence=True)
    subject = " ".join([word for _, word in telling.before] + [telling.noun])
    subject = f"{article(subject)} {subject}"
    u = roll()
    if telling.photo:
        picture = f"{telling.photo} {telling.pick(telling.words.scene['blurry'])}"
        first, telling.photo = f"{article(picture)} {picture} of {subject}", ""
    elif u < 0.35:
        first = subject
    elif u < 0.60:
        first = f"this is {subject}"
    else:
        picture = telling.pick(telling.words.scene["picture"])
        first = f"the {picture} shows {subject}" if u < 0.8 else f"{article(picture)} {picture} of {subject}"
    he, his = telling.pronouns()
    told = [first]
    if _facts(telling):
        told.append(f"{he or f'the {telling.noun}'} {_predicates(telling)}")
    if shades:
        told.insert(1 + int(roll() * len(told)), f"{his or 'the'} hair is {_listed(shades)}")
    return _ended(". ".join(told), roll())


def _facts(telling: Telling) -> bool:
    return bool(telling.having or telling.wearing or telling.doing or telling.lacking)


def _photo_sentence(telling: Telling) -> str:
    return f". the {telling.pick(telling.words.scene['blurry'])} is {telling.photo}" if telling.photo else ""


def _predicates(telling: Telling) -> str:
    """ "has blond hair, is wearing earrings and is smiling", the parts in random order."""
    roll = telling.roll
    parts = []
    if telling.having:
        parts.append((roll(), "has " + _listed(telling.having)))
    if telling.wearing:
        parts.append((roll(), ("is wearing " if roll() < 0.7 else "wears ") + _listed(telling.wearing)))
    if telling.doing:
        parts.append((roll(), "is " + _listed(telling.doing)))
    if telling.lacking:
        parts.append((roll(), "is without " + " or ".join(telling.lacking)))
    parts.sort()
    clauses = [part for _, part in parts]
    if len(clauses) == 2 and any(" and " in clause for clause in clauses):
        return ", and ".join(clauses)
    return _listed(clauses)


def _tail(telling: Telling) -> str:
    """ " with blond hair and bangs, wearing earrings": what follows the noun, the groups in random order."""
    roll = telling.roll
    if telling.having and telling.wearing and roll() < 0.35:  # "with blond hair and glasses"
        telling.having += telling.wearing
        telling.wearing = []
    groups = []
    if telling.having:
        groups.append((roll() * 0.8, "with " + _listed(telling.having)))
    if telling.wearing:
        groups.append((roll(), "wearing " + _listed(telling.wearing)))
    if telling.doing:
        groups.append((roll(), _listed(telling.doing)))
    if telling.lacking:
        groups.append((roll() + 0.5, "without " + " or ".join(telling.lacking)))
    groups.sort()
    text = ""
    for number, (_, group) in enumerate(groups):
        text += (", " if number and (roll() < 0.7 or _denies(groups[number - 1][1])) else " ") + group
    return text


# ------------------------------------------------------------------------------------------------ small parts


def _listed(items: list[str]) -> str:
    if len(items) < 2:
        return items[0] if items else ""
    return f"{', '.join(items[:-1])} and {items[-1]}"


def article(phrase: str) -> str:
    return "an" if phrase[0] in "aeiou" else "a"


def possessives(text: str, possessive: str) -> str:
    """Fill <their> with his or her; where the sex was not said, leave the word out."""
    if "<" not in text:
        return text
    return text.replace("<their>", possessive) if possessive else text.replace("<their> ", "")


def _ended(text: str, u: float) -> str:
    """Sentences begin with capitals and end in full stops; one in five is typed carelessly."""
    if u < 0.2:
        return text
    return ". ".join(part[0].upper() + part[1:] for part in text.split(". ")) + "."


def cased(text: str, u: float) -> str:
    if u < 0.04:
        return text.upper()
    if u < 0.08:
        return text.title()
    return text[0].upper() + text[1:] if u < 0.16 else text
