"""What an edit is told: the words of the photograph as it is, and as it shall be.

An edit by "smiling" alone leads from pictures of anybody to smiling pictures of anybody, and takes sex, age and hair a
little way with it. From "man with black hair not smiling" to "smiling man with black hair" nothing but the smile lies
between. So a judge says what the photograph shows, and both texts tell that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from celebgen_cli.data.attributes import ATTRIBUTES, INDEX
from celebgen_cli.data.captions import plain_words, prompt_for, read_typed, vocabulary
from celebgen_cli.data.captions.lexicon import CONFLICTS, FACIAL_HAIR, YIELDING, lexicon

HAIR = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")
TOLD = ("Male", "Young", "Bald", *HAIR, "Bangs", "No_Beard", "Smiling", "Eyeglasses", "Wearing_Hat")
"""What may be told of a photograph unasked: its sex and whether it smiles, anything else where the face has it."""
HIDDEN = {"Wearing_Hat": (*HAIR, "Bald", "Bangs")}
"""What is not told of the photograph where this is asked for, which covers it: it would hold the edit back."""
UNUSUAL = {"Young": False, "No_Beard": False}
"""Of these it is told where the face has it not."""
SURE, SURE_OF_NONE = 0.9, 0.98
"""From where on a judge is believed that a photograph shows already what is asked for, or lacks what shall go: of rare
things it says no too easily."""
MOST = 6
"""Attributes in a text, as in the captions that the text encoder knows."""

_WORD = re.compile(r"\w+(?:[-'’]\w+)*")
_OF = r"(?:the|his|her|their|my) "
_WORN = (
    "(?:sun)?glasses|eyeglasses|hat|cap|beard|goatee|m(?:o)?ustache|lipstick|makeup|earrings|necklace|tie|necktie|smile"
)
_COLOR = "(?:gr[ae]y|blonde?|black|brown|brunette)"
_BODY = "(?:man|woman|person|girl|boy|guy|lady|face)"
_WHOM, _YEARS = r"(?:him|her|them|it)\b", r"(?: (?:by )?\d+ years)?"
_AS_A_WHOLE = r"(?= (?:face|man|woman|person|girl|boy|cheeks|body)\b|\s*(?:$|[,.;]|(?:and|but|with|or)\b))"
_FEATURES = tuple((rf"(?:{more}) (?:{noun})|(?:{noun}) (?:look |be )?(?:{more})\b", said) for more, noun, said in (
    ("bigger|larger|wider|broader", "nose", "big nose"), ("smaller|narrower|slimmer|thinner", "nose", "not a big nose"),
    ("pointier|sharper", "nose", "pointy nose"), ("fuller|bigger|larger|plumper|thicker|fatter", "lips", "big lips"),
    ("thinner|smaller", "lips", "not big lips"), ("bushier|thicker|fuller", "(?:eye)?brows", "bushy eyebrows"),
    ("thinner|finer", "(?:eye)?brows", "not bushy eyebrows"),
    ("narrower|smaller", "eyes", "narrow eyes"), ("higher", "cheekbones", "high cheekbones"),
    ("rosier|redder|pinker", "cheeks", "rosy cheeks"), ("paler|lighter|whiter", "skin", "pale skin"),
    ("curlier|wavier", "hair", "curly hair"), ("straighter", "hair", "straight hair"),
    ("gr[ae]yer|whiter", "hair", "gray hair"), ("blonder", "hair", "blond hair"),
))  # fmt: skip
_ORDERS = tuple((re.compile(rf"\b(?:{order})", re.IGNORECASE), description) for order, description in (
    (r"make[- ]up\b", "makeup"),
    *_FEATURES,
    (r"blonder\b", "blond"), (r"paler\b", "pale skin"), (r"happier\b", "happy"), (r"sadder\b", "sad"),
    (rf"(?:(?:chubb|fatt|heav)ier|fatter){_AS_A_WHOLE}", "chubby"), (r"heavier (?=make|lip|beard)", ""),
    (rf"(?:thinner|slimmer|leaner|skinnier){_AS_A_WHOLE}", "not chubby"),
    (rf"straighten (?:{_OF})?hair\b", "straight hair"), (rf"(?:curl|perm) (?:{_OF})?hair\b", "curly hair"),
    (rf"tie (?=(?:{_OF})?hair\b)", ""),
    (rf"(?:de-?age|rejuvenate)(?: {_WHOM})?{_YEARS}|(?:lower|reduce|decrease) (?:{_OF})?age\b{_YEARS}|"
     rf"revers(?:e|ing) (?:the |his |her )?age?ing|(?<!-)age {_WHOM} (?:down|back|backwards?)\b(?: to \d+|{_YEARS})",
     "with young"),
    (rf"(?<!-)(?<!\bold )(?<!\bof )age (?:{_WHOM}{_YEARS}|by \d+ years)", "with old"),
    (rf"(?:fewer|less|reduce|smooth(?: out)?|soften) (?:{_OF})?wrinkles\b", "without wrinkles"),
    (rf"(?:swap|exchange|trade|switch) (?:{_OF})?{_COLOR}(?: hair)? (?:for|with) ({_COLOR})\b(?: hair)?", r"\1 hair"),
    (r"(?:sharpen|unblur|deblur)\b(?: (?:the|this) (?:photo|picture|image))?", "sharp photo"),
    # an order that is not to be followed asks for nothing
    (r"(?:do not|don['’]?t|never) "
     r"(?:make|give|add|put|remove|erase|hide|take|turn|change|shave|dye|get rid|delete|lose|let)\b"
     r"[^,.;]*?(?=$|[,.;]|\bbut\b|\band (?:make|give|add|put|remove|take|turn|change|dye|smile|without)\b)", ""),
    # "remove the beard, not the glasses" is told to leave the glasses alone
    (rf"((?:remove|erase|take off|shave off|get rid of|lose|delete)\b[^.;]*?),? (?:but )?not (?:{_OF})(?:{_WORN})\b",
     r"\1"),
    (rf"(?:change|turn|dye|make|switch) the colou?r of (?={_OF}|hair\b)", "change "),
    (rf"(?:make )?(?:{_OF})?hair (?:is )?not (?!but\b)(curly|wavy|straight|gr[ae]y|blonde?|black|brown)\b(?!,? but\b)",
     r"not \1 hair"),
    (rf"(?:close|shut) (?:{_OF})?mouth\b", "mouth closed"),
    (rf"(?:change|turn|dye|make|switch) (?={_OF}|hair\b)(?=[^,.;]*\bhair\b)(?:{_OF})?hair (?:colou?r )?"
     r"from [\w-]+(?: hair)? (?:in)?to ([\w-]+)(?: hair)?\b", r"\1 hair"),
    (rf"(?:make )?(?:{_OF})?hair (?:is )?less (curly|wavy|straight|gr[ae]y|blonde?|black|brown)\b", r"not \1 hair"),
    (rf"(?:change|turn|dye|make) (?:{_OF})?(?:[\w-]+ )?hair (?:colou?r )?(?:to |into )?([\w-]+) and "
     r"(curly|wavy|straight)\b(?: hair)?", r"\1 hair and \2 hair"),
    (rf"(?:change|turn|dye|make) (?:{_OF})?(?:[\w-]+ )?hair (?:colou?r )?(?:to |into )?"
     r"(?!and\b|but\b|with\b|or\b)([\w-]+)(?: hair)?\b", r"\1 hair"),
    (r"([\w-]+)(?: hair)? (?:rather than|instead of) [\w-]+ hair\b", r"\1 hair"),
    (r"from \w+ to (\w+)\b", r"\1"),
    (rf"{_COLOR}(?: hair)? (?:in)?to ({_COLOR})\b(?: hair)?", r"\1 hair"),
    (r"change (?:the |his |her |their )?(?:gender|sex) (?:in)?to ", ""),
    (r"(?:turn|change|transform|convert|make) (?:(?!and\b)[\w'’-]+ ){1,5}?into (?=an?\b)", ""),
    (rf"(?:swap|exchange|trade|switch) ((?:{_OF})?(?:{_WORN})) (?:for|with) ", r"without \1, with "),
    (rf"(?:make|give) (?:the|this|that) (?:[\w-]+ ){{0,2}}?{_BODY} (?!(?:and|or|with|who|in|on)\b)", "with "),
    (rf"(?:the|this|that) {_BODY}['’]s ", "the "),
    (rf"shave (?:{_OF})?head\b|(?:remove|lose|delete) (?:all )?(?:{_OF})?hair\b(?! (?:on|in|over|from)\b)", "bald"),
    (r"shave(?: off)?(?: him| her)?(?=\s*(?:$|[,.;]))", "without a beard"),
    (r"take (?!off|away)([\w ]{1,30}?) (?:off|away)\b", r"without \1"),
    (rf"wipe (?:{_OF}|that )?(\w+) off\b(?: {_OF}face\b)?", r"without \1"),
    (rf"({_WORN}) (?:should be |is |are )?(?:shaved |taken )?(?:off|away|gone|removed)\b", r"without \1"),
    (r"(?:remov(?:e|ing)|eras(?:e|ing)|eliminate|ditch|hide|(?:take|throw) away|(?:wipe|wash|pull|take) off|"
     r"shave(?: off)?|get rid of|lose|delete|stop|undo|less(?! (?:hair|gr[ae]y)\b)|do not"
     r"|don['’]?t|no longer|w/o|replace|instead of)(?!\w)", "without"),
    (r"(?:make|give|add|put on)\b(?: (?:him|her|them|it|me)\b)?\s*", "with "),
    (r"younger\b", "young"),
))  # fmt: skip
_GENDER = "(?:gender|sex)"
_OTHER_SEX = re.compile(
    rf"\b(?:(?:swap|change|flip|switch|reverse|invert) (?:{_OF})?{_GENDER}s?\b(?! (?:in)?to)|"
    rf"{_GENDER}[- ](?:swap|change|flip|bend|switch)(?:ped|ed|d)?|"
    rf"(?:(?:with|in|as) )?(?:the )?(?:opposite|other) {_GENDER})\b",
    re.IGNORECASE,
)
SHADES = ("Blond_Hair", "Brown_Hair", "Black_Hair")
"""Colours of hair, each one darker than the one before."""
_ABIT = r"(?:(?:much|far|a bit|a little|slightly|somewhat|even) )?"
_SHADED = tuple(
    (shades, re.compile(
        rf"\b(?:{more} (?:{_OF})?(\w+ )?hair|(?:{_OF})?hair (?:is |should be |look |looks )?{_ABIT}{more}|"
        rf"{verb} (?:{_OF})?(?:\w+ )?hair)\b", re.IGNORECASE,
    ))
    for shades, more, verb in ((("blond", "brown", "black"), "darker", "darken"),
                               (("black", "brown", "blond"), "lighter", "lighten"))
)  # fmt: skip
_FILLERS = frozenset((
    "i", "you", "he", "she", "it", "they", "we", "me", "him", "them", "should", "would", "could", "can", "will",
    "please", "want", "wants", "let", "have", "has", "had", "is", "are", "be", "to", "so", "that", "look", "looks",
    "looking", "wear", "wears", "as", "now", "just", "very", "really", "more", "much", "face", "hair", "photo",
    "picture",
))  # fmt: skip
"""Words of a request that ask for nothing, whether captions have them or not."""
_PAIRS = {frozenset(pair) for pair in (*CONFLICTS, *YIELDING)}


class Change(NamedTuple):
    """The texts of one edit.

    source: what the photograph shows; empty where nothing is known of it. target: what it shall show. other: what
    guidance leads away from: the source, with what a negative prompt says besides.
    """

    source: str
    target: str
    other: str


def plain_change(prompt: str, negative: str = "", source: str = "") -> Change:
    """The change with these very words: guidance leads away from the source and the negative prompt."""
    return Change(source, prompt, ", ".join(text for text in (source, negative) if text))


def read_change(
    prompt: str, sure: np.ndarray, negative: str = "", unknown: Callable[[str], Iterable[str]] = lambda text: ()
) -> Change | None:
    """The change of a photograph by a prompt whose words the captions' grammar can read.

    What is asked for (or, in the negative prompt, asked away) is told one way of the target and the other way of the
    source, unless the judge is sure (`SURE`, `SURE_OF_NONE`) that the photograph has it so. Everything else is told of
    both alike, but for what the request rules out (a bald head has no bangs).

    Args:
        sure: float [40], how sure a judge is of each attribute of the photograph.
        unknown: the words of a text that the text encoder does not know either; these are passed over.

    Returns:
        None where the prompts have words that only the text encoder knows, or name nothing. A prompt of nothing but
        orders that are not to be followed ("don't remove the beard") changes nothing.
    """
    prompt, negative = of_this_face(prompt, sure), of_this_face(negative, sure)
    if unread_words(prompt, unknown) or unread_words(negative, unknown):
        return None
    asks, (prompt, negative) = bool(prompt.strip()), (as_description(text) for text in (prompt, negative))
    named, away = read_typed(prompt), read_typed(negative)
    if (not named.any() and not (asks and not prompt)) or (_words(negative) and not away.any()):
        return None
    named = np.where(named != 0, named, -away)
    asked = {ATTRIBUTES[i]: bool(named[i] > 0) for i in np.flatnonzero(named)}
    hidden = {name for one, present in asked.items() if present for name in HIDDEN.get(one, ())}
    found = {name: value for name, value in _found(sure).items() if name not in hidden}
    before = {name: _has(name, present, sure[INDEX[name]]) for name, present in asked.items()}
    if any(before[name] != asked[name] for name in asked):  # then what the words imply but change nothing goes
        asked = {name: v for name, v in asked.items() if before[name] != v or name in TOLD}
    source, target = {**found, **{name: before[name] for name in asked}}, {**found, **asked}
    for name, present in asked.items():  # the photograph's own colour is said, or none, but not "without blond hair"
        if name in HAIR and present and not before[name]:
            del source[name]
    names = _chosen(source, asked)
    target = _consistent({name: target[name] for name in names if name in target}, asked)
    return Change(told := _text(source, names), _text(target, names), told)


def as_description(prompt: str) -> str:
    """Orders in the words of a description: "make her smile, remove the glasses" is "smile, without the glasses".

    Orders that are not to be followed go, so that nothing may be left.
    """
    text = prompt
    for order, description in _ORDERS:
        text = order.sub(description, text)
    if text == prompt:
        return prompt
    return re.sub(r"^(?:[\s,.;]|(?:but|and)\b)*(?:with\b ?)?|[\s,;]+$", "", " ".join(text.split())) or (
        "" if _words(prompt) - {"make", "give", "add"} else prompt
    )


def of_this_face(prompt: str, sure: np.ndarray) -> str:
    """What a request asks of a photograph that says it by what the photograph shows: another sex, darker hair.

    sure: as for `read_change`.
    """
    male = sure[INDEX["Male"]] > 0.5
    prompt = _OTHER_SEX.sub("a woman" if male else "a man", prompt)
    shown = max(SHADES, key=lambda name: sure[INDEX[name]])
    for (shades, order), colours in zip(_SHADED, (SHADES, SHADES[::-1]), strict=True):
        at = min(colours.index(shown) + 1, len(colours) - 1)
        prompt = order.sub(rf"{shades[at]} \1hair", prompt)
    return prompt


def unread_words(prompt: str, unknown: Callable[[str], Iterable[str]] = lambda text: ()) -> list[str]:
    """The words of a request that no caption has, though the text encoder may know them: see `read_change`."""
    text = plain_words(as_description(prompt))
    beyond = _words(text) - set(vocabulary()) - _FILLERS - _words(" ".join(unknown(text)))
    return [word for word in dict.fromkeys(_WORD.findall(text.lower())) if word in beyond]


def contradictions(prompt: str) -> list[tuple[str, str]]:
    """Pairs of things that a request asks for and that no face has both of, as captions call them."""
    named, present = read_typed(as_description(prompt)), lexicon().present
    pairs = [(INDEX[one], INDEX[other]) for one, other in CONFLICTS]
    return [(present[a].canonical[1], present[b].canonical[1]) for a, b in pairs if named[a] > 0 < named[b]]


def _has(name: str, asked: bool, sure: float) -> bool:
    """What is told of the photograph about something that is asked for, or asked away."""
    bar = SURE if asked or name in ("Male", *UNUSUAL) else SURE_OF_NONE
    return asked if (sure if asked else 1 - sure) >= bar else not asked


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


def _chosen(source: dict[str, bool], asked: dict[str, bool]) -> list[str]:
    """What both texts tell, in one order: the sex, what was asked for, and the rest as far as there is room."""
    names = sorted({*source, *asked}, key=lambda name: (name != "Male", name not in asked, _rank(name)))
    return sorted(names[: max(MOST, len({"Male", *asked}))], key=_rank)


def _rank(name: str) -> int:
    return TOLD.index(name) if name in TOLD else len(TOLD) + INDEX[name]


def _text(facts: dict[str, bool], names: Sequence[str]) -> str:
    """The plain wording of these facts. What captions never deny is not denied: it would be read as its opposite."""
    absent = lexicon().absent
    said = {name: facts[name] for name in names if name in facts}
    return prompt_for({name: v for name, v in said.items() if v or absent[INDEX[name]].weight > 0 or name == "Male"})


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))
