"""Prompts as people type them, in the words of the captions that a text encoder learned from.

Captions name what is there first and deny last, deny some things only, and know few words for each. A prompt such as
"not smiling grandpa in sunglasses" says no more than "old man wearing eyeglasses, not smiling", which they could say;
"woman not blond" is to them a blond woman. What they never deny can only be led away from, as a negative prompt does.
"""

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from celebgen_cli.data.attributes import ATTRIBUTES, INDEX
from celebgen_cli.data.captions.grammar import prompt_for
from celebgen_cli.data.captions.lexicon import lexicon
from celebgen_cli.data.captions.reading import read_caption

_YEARS, _AGED = r"(?:[- ]?(?:years?|yrs?\.?)[- ]old|[- ]?y/?o)", r"\s*,?\s*(?<!-)age[d:]? "
_DECADE = r"\s*,?\s*in (?:his|her|their) (?:early |mid[- ]?|late )?"
_ONES = "(?:[- ](?:one|two|three|four|five|six|seven|eight|nine))?"
_RANGE = r"(?:\d\d ?(?:-|–|to) ?)?"  # "20-30 year old": the second number counts
# where young ends and old begins is our choice: CelebA has no ages
_YOUNG = rf"{_RANGE}(?:[12]?\d|3[0-5]|ten|eleven|twelve|\w+teen|twenty{_ONES}|thirty)"
_OLD = rf"{_RANGE}(?:5[5-9]|[6-9]\d|1[01]\d|(?:sixty|seventy|eighty|ninety){_ONES})"
_NUMBER = rf"{_RANGE}(?:\d+|(?:thirty|forty|fifty){_ONES})"
_WORN = (
    "(?:(?:eye)?glasses|hat|cap|make-?up|lipstick|beard|m(?:o)?ustache|goatee|earrings|necklace|tie|necktie|bangs|smile)"
)
_SOMEBODY = r"(?= (?:(?:wo)?man|person|lady|guy|gentleman|face)\b)"
_HAIR = "(?:black|brown|blonde?|gr[ae]y|straight|wavy|curly)"
_DENIALS = ("not", "no", "nor", "without a", "without", "never")
_UNDENIED = "".join(rf"(?<!\b{denial} )" for denial in _DENIALS) + r"(?<!n['’]t )"
_SYNONYMS = tuple((re.compile(rf"\b(?:{typed})\b", re.IGNORECASE), said) for typed, said in (
    (rf"an {_YOUNG}{_YEARS}", "a young"),  # before "years old" is taken for old
    (rf"(?:(?<!-)aged )?{_YOUNG}{_YEARS}", "young"),
    (rf"a {_OLD}{_YEARS}", "an old"),
    (rf"(?:(?<!-)aged )?{_OLD}{_YEARS}", "old"),
    (rf"\s*,\s*{_NUMBER}{_YEARS}(?=\s*(?:,|$))|(?:(?<!-)aged )?{_NUMBER}{_YEARS}(?: (?=\w))?", ""),
    (rf"{_AGED}{_YOUNG}|{_DECADE}(?:20|twentie)['’]?s", ", young"),
    (rf"{_AGED}{_OLD}|{_DECADE}(?:[6-9]0|sixtie|seventie|eightie|ninetie)['’]?s", ", old"),
    (rf"{_AGED}{_NUMBER}\b", ""),
    (rf",\s*{_YOUNG}(?=\s*(?:,|$))", ", young"),  # "male, 30, beard"
    (rf",\s*(?:{_OLD}|[6-9]0['’]?s)(?=\s*(?:,|$))", ", old"),
    (r"wrinkl(?:ed|y)(?= (?:(?:wo)?man|person|lady|guy|face)\b)", "old"),
    (r"(?<!few )(?<!fewer )(?<!less )wrinkles(?: on (?:his|her|their) face)?", "an old face"),
    (r"smirking", "smiling"),
    (r"smirk", "grin"),
    (r"(?:an? )?(?:little|minimal|light|subtle|natural(?:-looking)?|(?:hardly|barely) any) make-?up(?: look)?",
     "a natural look"),
    (r"sun ?glasses|shades(?! of\b)", "eyeglasses"),
    (r"(?:business|sales|sports|police|fire|fisher|noble|states|trades|crafts|camera|spokes|clergy|work)(wo)?m[ae]n",
     r"\1man"),
    (r"men|males|guys|blokes|dudes|gentlemen|husband|(?:step-?)?father(?:-in-law)?|dad(?! (?:hat|cap)\b)|daddy", "man"),
    (r"(?:(?:step-?)?(?:brother|son)(?:-in-law)?|uncle|nephew|boyfriend|bridegroom|groom|king|prince|duke|monk|wizard|"
     r"waiter)(?!-)", "man"),
    (r"girls", "girl"),
    (r"women|ladies|females|gals|wife|(?:step-?)?mother(?:-in-law)?|mom|mum|mommy|mummy", "woman"),
    (r"(?:(?:step-?)?(?:sister|daughter)(?:-in-law)?|aunt|auntie|niece|girlfriend|bride|queen|princess|duchess|nun|witch|"
     r"ballerina|housewife)(?!-)", "woman"),
    (r"actress(?:es)?|waitress(?:es)?|hostess|stewardess|heroine|goddess", "woman"),
    (r"boys", "boy"),
    (r"(?:baby|teen|kid|child|toddler|infant|adolescent|youngster)(?= (?:girl|boy|(?:wo)?man|actor|star)\b)", "young"),
    (r"smiles(?! of\b)", "smile"),
    (r"(?:great-)*(?:grandmas?|grandmothers?|granny|grannies)|nana", "old woman"),
    (r"(?:great-)*(?:grandpas?|grandfathers?|gran?ddads?)|gramps", "old man"),
    (r"teenagers?|teens?|adolescents?|youngsters?|kids?|child(?:ren)?|toddlers?|infants?|bab(?:y|ies)(?![- ]faced?)",
     "young person"),
    (r"teenaged?|adolescent", "young"),
    (r"fat(?! (?:nose|lips?)\b)|overweight|obese", "chubby"),
    (rf"(?:(?:very|really|extremely) old|ancient){_SOMEBODY}", "old"),
    (r"giggling", "laughing"),
    (rf"{_UNDENIED}(?:sad|unhappy|angry|grumpy|furious|gloomy|melanchol(?:y|ic)|miserable|frowning|scowling)(?! eye)",
     "serious"),
    (rf"{_UNDENIED}(?:frown|scowl)(?: on (?:his|her|their) face)?", "serious expression"),
    (r"dark hair(?! (?:on|in|over|at)\b)", "dark brown hair"),
    (r"dark[- ]haired", "brown-haired"),
    (r"(black|brown|blonde?|gr[ae]y|wavy|straight|curly|white|silver|golden|fair|raven) haired", r"\1-haired"),
    (r"(fair|pale|light) skinned", r"\1-skinned"),
    (r"(rosy|red|pink|chubby|round) cheeked", r"\1-cheeked"),
    (r"(big|large|pointy|broad|sharp) nosed", r"\1-nosed"),
    (r"good looking", "good-looking"),
    (r"mouth is (?=(?:slightly )?open\b)", "mouth "),
    (r"(?:(?:who )?is )?(?:neither young nor old|neither old nor young)", ""),
    (rf"without(?: any)? hair and (?={_WORN}\b)", "bald without "),
    (rf"({_WORN})[:=] ?(?:no|none|false|0)", r"without \1"),
    (r"(smiling|bald|young|old|attractive|blonde?|bearded)[:=] ?(?:no|false|0)", r"not \1"),
    (rf"({_WORN}|smiling|bald|young|old|attractive|blonde?|bearded)[:=] ?(?:yes|true|1)", r"\1"),
    (rf"({_WORN}) (?:is |are )?(?:shaved |taken )?(?:off|away|gone|removed)(?!-| (?:the|his|her)\b)", r"without \1"),
    (r"hairless(?= (?:face|chin|chest|body|arms?)\b)", "smooth"),
    (r"(with|without|no|wearing|any|heavy) make up", r"\1 makeup"),
    (r"hair gr[ae]y\b(?! hair)(?!,? (?:and|but|or)\b)", "gray hair"),
    (r"gr[ae]y (?=(?:man|woman|person|lady|guy|male|female|celebrity)\b)", "gray-haired "),
    (r"gr[ae]y(?= but not (?:an? )?(?:old|young|bald|smiling)\b)", "gray-haired"),
    (r"(smiling|bald|old|young|blonde?|attractive|bearded)-(?=(?:man|woman|person|lady|girl|boy|guy)\b)", r"\1 "),
))  # fmt: skip
_HAIRLESS = re.compile(
    r"\s*\b(?:(?:(?:that|who) )?ha(?:s|ve) )?(?:with no|without(?: any)?|no) hair"
    r"(?: on (?:his|her|their|the) head)?\b(?! (?:on|in|over|at)\b)( n?or\b)?",
    re.IGNORECASE,
)
_NEGATORS = tuple((re.compile(rf"\b(?:{typed})", re.IGNORECASE), said) for typed, said in (
    (r"not only\b|why not\b", ""),
    (r"(?:(?:is|does|do|did|are|has|have|was|were|ca|wo|could|would|should)n['’]?t|cannot|never|neither)\b", "not"),
    (r"nor\b", "or"),
    (r"(?:hardly|barely|scarcely|anything but)(?!\w)", "not"),
    (rf"({_HAIR}) hair,? (?:instead of|rather than|and not|not) ({_HAIR})\b(?! hair)", r"\1 hair, not \2 hair"),
    (r"(?:instead of|rather than)(?!\w)", "not"),
    (r"(?:w/o(?:ut)?|minus|lacking|lacks|sans|devoid of|free of)(?!\w)", "without"),
    (r"non (?=(?:smiling|bald|blonde?|bearded|young|old|attractive)\b)", "not "),
    (r"non(?:-|(?=smil|attract|beard))(?=[a-z]{4})|un(?=bearded|attractive)", "not "),
    (r"(?<!-)(?!make-?up)(\w+)-free\b", r"without \1,"),
    (rf"((?:no|without)(?: any)? {_WORN}) (?:on|over|in) (?:his|her|their|the) "
     r"(?:face|head|lips|eyes|nose|neck|ears)\b", r"\1"),
    (rf"hair (?:is |that is |was )?not {_HAIR},? but ({_HAIR})\b(?! hair)", r"hair is \1"),
    (rf"({_HAIR})(?:,? but|,)? not ({_HAIR}) hair\b", r"\1 hair, not \2 hair"),
    (rf"(?:(?:with |whose )?(?:his|her|their) |whose )?hair (?:is |that is |was )?not ({_HAIR})\b(?! hair)",
     r"not \1 hair"),
    (r"mouth (?:is )?not (?:slightly )?open", "mouth closed"),
    (r"not clean[- ]shaven", "bearded"),
    (r"(?:without|no)(?: any)?(?: the)? hair (?:on|from) (?:his|her|the) (?:face|chin)\b", "no facial hair"),
))  # fmt: skip
_NEGATORS += tuple(  # as searches have it
    (re.compile(rf"(?:^|(?<=[\s,])){sign}(?=[a-z]{{3}})", re.IGNORECASE), said)
    for sign, said in (("-", "without "), (r"\+", "with "))
)
# a denial; what ends it, unless it is part of what is denied ("not wearing a hat"); a comma; "and" and "or"
_MARK = re.compile(
    r"\b(without|not|no)\b"
    r"|((?<!\bnot )(?<!\bwithout )(?<!\bno )(?<!\bor )(?<!\bhair )\b"
    r"(?:with|but|wearing|wears|has|have|is|in(?![- ](?:years|focus)\b)|who"
    r"|(?<!\bhint )(?<!\btrace )(?<!\bsign )of(?= (?:an?|the)\b))\b|[.;|])"
    r"|(,)|\b(and|or)\b",
    re.IGNORECASE,
)
_OLD_PERSON = re.compile(
    r"\b(?:old(?!-| (?:face|photo|picture|image|film|portrait)\b)|elderly|senior citizen)\b", re.IGNORECASE
)
_OF_HAIR = re.compile(
    r"\b(?:hat|cap|hood|turban|scarf|helmet|fringe|bangs)\b|hair|\bbald|brunette|blond|shaven|\bgr[ae]y", re.IGNORECASE
)
_ON_THE_HEAD = ("Wearing_Hat", "Bald", "Bangs", "Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")
_ARTICLE = re.compile(r"\ban? ((?:wo)?man|old|young|serious|chubby|boy|girl|smile|eyeglasses)\b", re.IGNORECASE)
_FILLERS = frozenset(("a", "an", "the", "any", "really", "actually", "just", "even", "such"))
"""Words between a denial and what it denies."""
LONGEST = 1000
"""Letters of a prompt that are looked through for denials: far more than a text encoder reads."""
_OWNS = re.compile(r"\b(?:with|has|have|having|wearing|wears)\b[^.;]*$", re.IGNORECASE)
_WHOLE = ("Smiling", "Male", "Young", "Bald", "Attractive", "Chubby", "Blurry", "Mouth_Slightly_Open")
"""Said of a person or picture as a whole: "no glasses and smiling" denies the glasses alone."""
_SEXES = (re.compile(r"\b(?:he|his|him)\b", re.IGNORECASE), re.compile(r"\b(?:she|her|hers)\b", re.IGNORECASE))
_GOES = ("Goatee", "Mustache", "Sideburns", "5_o_Clock_Shadow", "Bags_Under_Eyes", "Double_Chin")
"""What can go besides what captions deny: "remove the hat and the goatee"."""


class Typed(NamedTuple):
    """A prompt, read.

    text, negative: what is drawn, and led away from. plain: the prompt in plain words, with its denials as they were
    typed, whose unknown words are worth a warning. changed: whether text or negative are not what was typed.
    """

    text: str
    negative: str
    plain: str
    changed: bool


def read_prompt(prompt: str, negative: str = "", known: Callable[[str], bool] = lambda words: False) -> Typed:
    """A prompt and negative prompt in words that captions have; as they are where these already say the same.

    A prompt is worded anew only where it denies what captions never deny, or goes on behind a denial; words that name
    nothing are then left out. A denied attribute without a caption's denial goes to the negative prompt.

    known: whether the text encoder has learned some words, which then have no need of a synonym where nothing is
        worded anew.
    """
    if len(prompt) > LONGEST:
        return Typed(prompt, negative, prompt, False)
    plain, away = plain_words(prompt, known), plain_words(negative, known)
    usual = _replaced(_NEGATORS, prompt) == prompt  # the denials are those of captions
    # what is denied, and of whom, is worded anew: there no word need be one that the encoder knows
    understood = plain_words(prompt)
    understood = understood if any(mark[1] for mark in _MARK.finditer(understood)) else plain
    named, orderly = _read(understood)
    facts = {ATTRIBUTES[i]: bool(named[i] > 0) for i in np.flatnonzero(named)}
    never = [name for name, present in facts.items() if not present and not _deniable(name)]
    text = _visibly_old(plain, facts)
    if facts and (never or not orderly or not usual or not np.array_equal(named, read_caption(understood))):
        his, her = (bool(pronoun.search(prompt)) for pronoun in _SEXES)
        if his != her:  # the words around the pronoun are gone
            facts.setdefault("Male", his)
        if text != plain:
            facts["Gray_Hair"] = True
        text = _denying_last({name: present for name, present in facts.items() if name not in never})
        away = ", ".join([*([away] if away else []), *(lexicon().present[INDEX[name]].canonical[1] for name in never)])
    return Typed(text, away, plain, (text, away) != (prompt, negative))


def plain_words(text: str, known: Callable[[str], bool] = lambda words: False) -> str:
    """Words that captions do not have, in theirs: "grandma who isn't smiling" is "old woman who not smiling".

    known: as for `read_prompt`.
    """
    plain = _replaced(_NEGATORS, _HAIRLESS.sub(_bald, _replaced(_SYNONYMS, text, known))).removeprefix(", ")
    return text if plain == text else _ARTICLE.sub(_article, plain)


def read_typed(text: str) -> np.ndarray:
    """What a description names, int8 [40]: `read_caption`, and denials that captions do not have ("not young").

    Of two that contradict one another what is there counts: "sunglasses without glasses" has glasses.
    """
    return _read(plain_words(text))[0]


def _visibly_old(plain: str, facts: Mapping[str, bool]) -> str:
    """The text of somebody old, with gray hair before all that it denies; as it is where it says anything of hair.

    CelebA calls many of forty not young, so "old man" alone draws as many who do not look it.
    """
    denial = next((mark.start() for mark in _MARK.finditer(plain) if mark[1]), len(plain))
    there, lacking = plain[:denial], plain[denial:]
    of_hair = _OF_HAIR.search(plain) or any(facts.get(name) for name in _ON_THE_HEAD)
    if of_hair or facts.get("Young", True) or not _OLD_PERSON.search(there):
        return plain
    there = re.sub(r"(?:[ ,]+(?:who|that|is|are|has|have|but|and|with))*[ .,;]*$", "", there)
    return f"{there}, gray hair{', ' if lacking else ''}{lacking}"


def _article(found: re.Match[str]) -> str:
    """The article that the word after it asks for: "an actress" is "a woman"."""
    return found[0][0] + ("n" if found[1][0].lower() in "aeiou" else "") + " " + found[1]


def _bald(found: re.Match[str]) -> str:
    return ", bald, without" if found[1] else ", bald"


def _replaced(
    words: tuple[tuple[re.Pattern[str], str], ...], text: str, known: Callable[[str], bool] = lambda words: False
) -> str:
    for typed, said in words:
        text = "".join(
            part if isinstance(part, str) else part[0] if known(part[0]) else part.expand(said)
            for part in _split(typed, text)
        )
    return text


def _split(pattern: re.Pattern[str], text: str) -> Iterator[str | re.Match[str]]:
    """A text in parts: what a pattern matches, and what lies between."""
    at = 0
    for found in pattern.finditer(text):
        yield text[at : found.start()]
        yield found
        at = found.end()
    yield text[at:]


def _denying_last(facts: dict[str, bool]) -> str:
    """The plain wording of these facts, with what is not there at its end: "man wearing a hat, not smiling"."""
    tail, lacking, there = [], [], {}
    for name, present in facts.items():
        statement = (lexicon().present if present else lexicon().absent)[INDEX[name]]
        text = statement.canonical[1]
        if text.startswith("not "):
            tail.append(text)
        elif "without" in statement.slots and (not present or name == "No_Beard"):  # who has no hair is bald
            lacking.append(statement.slots["without"].phrases[0].text.replace("<their> ", ""))
        else:
            there[name] = present
    if lacking:
        tail.append("without " + " or ".join(lacking))
    return ", ".join([prompt_for(there) if there else "person", *tail])


@functools.cache
def _things() -> frozenset[int]:
    """What a list of things that are not there may hold: "no hat, glasses and beard"."""
    deniable = (name for name in ATTRIBUTES if name not in _WHOLE and (_deniable(name) or name in _GOES))
    return frozenset(INDEX[name] for name in (*deniable, "No_Beard"))


def _deniable(name: str) -> bool:
    """Whether captions deny it."""
    return name == "Male" or lexicon().absent[INDEX[name]].weight > 0


def _read(text: str) -> tuple[np.ndarray, bool]:
    """What a text of plain words names, and whether nothing that is there is named behind what is not."""
    marks = [*_MARK.finditer(text)] if len(text) <= LONGEST else []
    if not any(mark[1] for mark in marks):
        return read_caption(text), True
    there, denied_of = np.zeros(len(ATTRIBUTES), np.int8), np.zeros(len(ATTRIBUTES), np.int8)
    denied, listed, at, orderly, word = False, False, 0, True, ""
    alone = False  # "with no lipstick, a necklace and a hat" denies the first alone
    for mark in (*marks, None):
        part = text[at : mark.start() if mark else len(text)]
        lacking, said = _read_part(part, denied, listed)
        if denied and not (lacking.any() or said.any()):
            lacking = read_caption(f"{word} {part}")  # "no facial hair" is a wording of its own
        denied_of = np.where(lacking != 0, lacking, denied_of).astype(np.int8)
        orderly = orderly and not (said.any() and denied_of.any())
        if denied:  # "girl, not a boy" is no man
            said = np.where(there == -said, 0, said).astype(np.int8)
        there = np.where(said != 0, said, there).astype(np.int8)
        if mark is None:
            whole = read_caption(text)  # what only the whole says: "wavy, flowing hair"
            there = np.where((there == 0) & (denied_of == 0) & (whole > 0), whole, there)
            return np.where(there != 0, there, denied_of).astype(np.int8), orderly
        at, listed = mark.end(), (mark[4] or "").lower() == "and"
        if mark[3]:
            denied = denied and _goes_on(text, at, marks, alone)
        elif not mark[4]:
            denied, word = bool(mark[1]), mark[1] or ""
            alone = word.lower() == "no" and bool(_OWNS.search(text[: mark.start()]))
        elif listed and alone:
            denied = False
    raise AssertionError("the last part has no mark")


def _goes_on(text: str, at: int, marks: list[re.Match[str]], alone: bool) -> bool:
    """Whether a denial goes on behind the comma before `at`: in a list of things that ends in "or", or in "and"."""
    until = next((after.start() for after in marks if after.start() >= at and (after[1] or after[2])), len(text))
    clause = text[at:until]
    items = (item for item in re.split(r",|\band\b|\bor\b", clause) if item.strip())  # "a hat, or a beard": the last
    first = set(np.flatnonzero(read_caption(next(items, ""))).tolist())
    return bool(re.search(r"\bor\b" if alone else r"\b(?:and|or)\b", clause)) and bool(first) and first <= _things()


def _read_part(part: str, denied: bool, listed: bool) -> tuple[np.ndarray, np.ndarray]:
    """What a part of a description denies, and what it says is there; listed: "and" stands before it."""
    said, nothing = read_caption(part), np.zeros(len(ATTRIBUTES), np.int8)
    if not denied or (listed and said.any() and not set(np.flatnonzero(said).tolist()) <= _things()):
        return nothing, said  # "no glasses and a big nose"
    without = read_caption(f"without {part}")
    right = (said != 0) & (without == -said)  # a goatee that is gone leaves the beard, as captions have it
    found = np.where(right, without, 0).astype(np.int8) if right.any() else -said
    if np.count_nonzero(said) < 2:
        # "not a man" is a woman, and "not a tall man" a man of whom nothing else is known
        other = said[INDEX["Male"]] and not _FILLERS.issuperset(_naming(part).lower().split()[:-1])
        return (nothing, said) if other else (found, nothing)
    # "no glasses young man" denies the first alone: who he is, is said of him; but "no wavy blond hair" both
    whole = np.array([name in _WHOLE for name in ATTRIBUTES]) & (said != 0) & (read_caption(_naming(part)) == 0)
    male = INDEX["Male"]
    if said[male]:  # "not a boy" is a man
        whole[male] = True
        found = np.where(found == 0, -said, found).astype(np.int8)
    return np.where(whole, 0, found).astype(np.int8), np.where(whole, said, 0).astype(np.int8)


def _naming(part: str) -> str:
    """The first words of a part, as few as name anything."""
    ends = (word.end() for word in re.finditer(r"\S+", part))
    return next((part[:end] for end in ends if read_caption(part[:end]).any()), part)
