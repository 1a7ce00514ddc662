"""The captions say nothing false, name what they say, and sound like what people type."""

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celebgen_cli.data.attributes import ATTRIBUTES, INDEX
from celebgen_cli.data.captions import describe, is_true_of, prompt_for, vocabulary
from celebgen_cli.data.captions.lexicon import CONFLICTS, compile_words, expand

# What a reader takes each word to mean, written down apart from the package's own word list. "-" means absent. A word
# may mean several things: one of them must have been named.
MEANINGS = {
    "Male": "man guy gentleman male bloke fellow chap dude gent boy lad he his handsome",
    "-Male": "woman lady female girl gal gentlewoman lass she her pretty blonde brunette",
    "Young": "young youthful youth girl boy lad lass appearance look looks features",
    "-Young": (
        "old elderly older aged mature middle aging ageing senior citizen age advanced years getting on in "
        "appearance look features"
    ),
    "Attractive": (
        "attractive good handsome pretty beautiful gorgeous lovely stunning charming photogenic glamorous looks "
        "features"
    ),
    "Smiling": (
        "smiling happy grinning cheerful beaming joyful merry cheery jolly delighted gleeful joyous radiant "
        "laughing smile smiles grin big broad wide bright warm friendly sunny lovely nice cheeky toothy "
        "expression look broadly happily warmly brightly cheerfully widely camera ear smiley"
    ),
    "-Smiling": (
        "serious unsmiling solemn stern grave somber sombre straight stony poker faced neutral expression look "
        "blank calm mien countenance keeping"
    ),
    "Mouth_Slightly_Open": "mouth mouthed open slightly little partly half bit lips parted apart ajar toothy laughing",
    "-Mouth_Slightly_Open": "mouth mouthed closed shut lips together pressed sealed firmly tightly tight lipped",
    "Big_Lips": "big full plump thick large fleshy voluptuous generous pouty luscious ample lips lipped",
    "Black_Hair": "black haired jet raven coal ebony inky pitch deep colored coloured hair locks tresses",
    "Blond_Hair": (
        "blond blonde golden fair honey platinum light flaxen colored coloured straw yellow hair haired locks "
        "tresses tow headed"
    ),
    "Brown_Hair": (
        "brown chestnut chocolate dark light hazel brunette caramel coffee nut mousy colored coloured brownish "
        "hair haired locks tresses"
    ),
    "Gray_Hair": (
        "gray grey white silver silvery graying greying salt pepper ash steel colored coloured grizzled hair "
        "haired locks"
    ),
    "Straight_Hair": "straight sleek smooth dead poker pin hair haired locks tresses",
    "Wavy_Hair": (
        "wavy curly curling flowing rippling softly waved locks tresses waves curls soft loose gentle hair haired "
        "headed"
    ),
    "Bangs": "bangs fringe fringed hair covering falling across forehead cut hairstyle haircut",
    "-Bangs": "bare clear visible exposed uncovered forehead hair off away",
    "Bald": "bald head headed shaved shaven smooth hairless shiny scalp pate baldness completely",
    "-Bald": "full head hair",
    "Receding_Hairline": "receding hairline thinning hair high retreating forehead temples loss balding thin haired",
    "No_Beard": "clean shaven shaved freshly smooth chinned beardless face chin jaw",
    "-No_Beard": (
        "beard bearded whiskered bewhiskered whiskers hairy short trimmed neat neatly scruffy full facial hair "
        "chin goatee"
    ),
    "Mustache": (
        "mustache moustache mustached moustached mustachioed moustachioed mustaches stache trimmed neat neatly "
        "upper lip hair facial"
    ),
    "-Mustache": "bare hairless shaved upper lip",
    "Goatee": "goatee goateed trimmed neat short small chin",
    "5_o_Clock_Shadow": (
        "stubble stubbly stubbled covered five o'clock o clock 5 shadow light some designer little visible chin "
        "jaw hint trace touch unshaven day's growth"
    ),
    "Sideburns": "sideburns sideburned sideboards side whiskers visible noticeable hair down sides",
    "Eyeglasses": "glasses eyeglasses spectacles specs pair eyewear bespectacled spectacled eyes",
    "Narrow_Eyes": "narrow narrowed small squinting squinty half closed eyes eyed gaze slightly little camera",
    "Bags_Under_Eyes": "bags under eyes eye eyed baggy puffy tired weary dark circles undereye pouches puffiness "
    "beneath below",
    "Arched_Eyebrows": "arched eyebrows brows browed curved high nicely well highly gracefully arch",
    "Bushy_Eyebrows": "bushy thick heavy dense shaggy full strong eyebrows brows browed",
    "Big_Nose": "big large broad wide prominent bulbous sizable sizeable strong nose nosed",
    "Pointy_Nose": "pointy pointed sharp tapered tapering tipped finely comes point nose nosed",
    "Oval_Face": "oval shaped egg ovoid head shape visage",
    "High_Cheekbones": (
        "high cheekbones cheekboned prominent pronounced defined well sculpted chiseled chiselled strong raised "
        "sharp cheek bones set"
    ),
    "Rosy_Cheeks": (
        "rosy pink red flushed blushing ruddy pinkish rose tinted glowing cheeks complexion blush flush color "
        "colour cheeked apple blusher rouge"
    ),
    "Pale_Skin": (
        "pale fair light porcelain ivory milky pallid creamy colored coloured alabaster very skin complexion skinned"
    ),
    "Chubby": "chubby plump full round cheeked rounded cheeks heavyset heavy stout set",
    "Double_Chin": "double chin chinned fleshy heavy soft second jowls jowly",
    "Heavy_Makeup": (
        "heavy makeup thick lot lots plenty full bold dramatic strong glamorous cosmetics heavily made painted applied"
    ),
    "-Heavy_Makeup": "bare makeup free natural look faced",
    "Wearing_Lipstick": "lipstick lip color colour gloss lippy lips painted glossy lipsticked made colored coloured",
    "-Wearing_Lipstick": "bare unpainted lips",
    "Wearing_Earrings": "earrings earring pair ear rings jewelry jewellery studs ears pierced",
    "-Wearing_Earrings": "bare unadorned ears",
    "Wearing_Necklace": "necklace necklet neck chain pendant jewelry jewellery",
    "-Wearing_Necklace": "bare neck",
    "Wearing_Hat": "hat cap beanie headgear headwear head covering covered hatted kind",
    "-Wearing_Hat": "uncovered head bareheaded bare headed hatless",
    "Wearing_Necktie": "tie necktie neck knotted formal neckwear",
    "-Wearing_Necktie": "tieless",
    "Blurry": "blurry blurred out focus fuzzy hazy soft unfocused unfocussed unsharp indistinct blur",
    "-Blurry": "sharp crisp clear focus focused focussed well unblurred",
}
# Words that say nothing about the attributes, wherever they stand.
EMPTY_WORDS = """
a an the this and or with without of who is has wearing wears shows it in on into at for over around from to that any up
looking all some face faced adult person individual celebrity someone somebody photo picture portrait photograph image
headshot close snapshot show me generate make give create i want would like please draw am no not off by kind below o
"""
EMPTY = frozenset(EMPTY_WORDS.split())
# What a denied word means where it is not simply the reverse.
DENIED = {
    "his": {("Male", 1)},
    "her": {("Male", -1)},
    "hair": {("Bald", 1), ("No_Beard", 1)},
    "head": {("Bald", 1), ("Wearing_Hat", -1)},
    "facial": {("No_Beard", 1)},
    "whiskers": {("No_Beard", 1)},
}


def meanings() -> dict[str, set[tuple[str, int]]]:
    table: dict[str, set[tuple[str, int]]] = {}
    for name, words in MEANINGS.items():
        for word in words.split():
            table.setdefault(word, set()).add((name.removeprefix("-"), -1 if name.startswith("-") else 1))
    return table


TABLE = meanings()


def words_with_denial(text: str) -> list[tuple[str, bool]]:
    """The words of a caption, each with whether a "no", "not" or "without" before it in its clause denies it."""
    text = text.lower().replace("make-up", "makeup").replace("-", " ")
    out, denied, previous = [], False, ""
    for word in re.findall(r"[a-z0-9']+|[,.;|]", text):
        if word in ("no", "not", "without"):
            denied = True
        elif word in (",", ".", ";", "|", "with", "and", "has", "is") or (word == "wearing" and previous != "not"):
            denied = False
        if word not in (",", ".", ";", "|"):
            out.append((word, denied))
        previous = word
    return out


def check(text: str, named: np.ndarray, row: np.ndarray) -> None:
    """Everything named is true of the row, and every content word of the text is backed by something named."""
    present = row > 0
    assert text.strip() == text and text
    assert named.shape == (40,) and named.dtype == np.int8 and set(np.unique(named)) <= {-1, 0, 1}
    assert named.any()
    assert all(present[i] == (named[i] > 0) for i in np.flatnonzero(named)), text
    assert "<" not in text and "{" not in text and "  " not in text
    told = {(ATTRIBUTES[i], int(named[i])) for i in np.flatnonzero(named)}
    for word, denied in words_with_denial(text):
        if word in EMPTY:
            continue
        assert word in TABLE, f"{word!r} has no meaning here: {text}"
        means = DENIED.get(word, {(name, -sign) for name, sign in TABLE[word]}) if denied else TABLE[word]
        assert means & told, f"{word!r} ({'denied' if denied else 'said'}) is not backed by {told}: {text}"


rows = st.lists(st.booleans(), min_size=40, max_size=40).map(lambda row: np.array(row, dtype=np.int8) * 2 - 1)


@settings(max_examples=1500, deadline=None)
@given(row=rows, seed=st.integers(0, 2**32), most=st.sampled_from([1, 2, 6, 6, 6, 12, 40]))
def test_nothing_false_or_unnamed_is_said_of_any_row(row: np.ndarray, seed: int, most: int) -> None:
    caption = describe(row, seed, max_attributes=most)
    check(caption.text, caption.named, row)
    assert bool(is_true_of(caption.named, row))


def plausible(rng: np.random.Generator) -> np.ndarray:
    """A row with about as many attributes as a real one has, and few labels that conflict."""
    row = np.where(rng.random(40) < 0.25, 1, -1).astype(np.int8)
    for alternatives in (
        ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair", "Bald"),
        ("Straight_Hair", "Wavy_Hair"),
    ):
        row[[INDEX[name] for name in alternatives]] = -1
        row[INDEX[rng.choice(alternatives)]] = 1
    if row[INDEX["Bald"]] > 0:
        row[[INDEX[name] for name in ("Straight_Hair", "Wavy_Hair", "Bangs")]] = -1
    row[[INDEX["Male"], INDEX["Young"]]] = rng.choice([-1, 1], 2)
    row[INDEX["No_Beard"]] = 1 if row[INDEX["Male"]] < 0 or (row[INDEX["Goatee"]] < 0 and rng.random() < 0.5) else -1
    return row


Corpus = list[tuple[str, np.ndarray, np.ndarray]]  # texts, what they name, and the rows that they describe


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    rng = np.random.default_rng(0)
    told = []
    for _ in range(20_000):
        row = plausible(rng)
        caption = describe(row, rng)
        told.append((caption.text, caption.named, row))
    return told


def test_nothing_false_or_unnamed_is_said_of_plausible_rows(corpus: Corpus) -> None:
    for text, named, row in corpus:
        check(text, named, row)


@pytest.mark.parametrize("also", ["Gray_Hair", "Receding_Hairline"])
def test_a_bald_head_that_is_gray_or_receding_at_the_sides_is_called_bald_only(also: str) -> None:
    told = [describe(row_of("Male", "Bald", also), seed, max_attributes=40) for seed in range(200)]
    assert all(caption.named[INDEX["Bald"]] == 1 and caption.named[INDEX[also]] == 0 for caption in told)
    if also == "Gray_Hair":
        false = ("no hair", "hairless head", "hairless scalp", "shaved head", "shaven head", "completely")
        assert not any(words in caption.text.lower() for caption in told for words in false)


@pytest.mark.parametrize("pair", CONFLICTS)
def test_labels_that_conflict_are_left_unsaid(pair: tuple[str, str]) -> None:
    row = -np.ones(40, np.int8)
    row[[INDEX["Male"], INDEX["No_Beard"], INDEX[pair[0]], INDEX[pair[1]]]] = 1
    for seed in range(200):
        named = describe(row, seed, max_attributes=40).named
        assert named[INDEX[pair[0]]] == named[INDEX[pair[1]]] == 0


def test_every_attribute_is_spoken_of_when_present_and_the_rare_ones_often(corpus: Corpus) -> None:
    present, told = np.zeros(40), np.zeros(40)
    for _, named, row in corpus:
        present += row > 0
        told += named > 0
    share = told / present
    assert (share > 0.02).all(), [ATTRIBUTES[i] for i in np.flatnonzero(share <= 0.02)]
    for name in ("Bald", "Wearing_Hat", "Eyeglasses", "Gray_Hair", "Wearing_Necktie"):
        assert share[INDEX[name]] > 2 * share[INDEX["Oval_Face"]]


def test_absence_is_told_only_where_it_is_worth_denying(corpus: Corpus) -> None:
    denied = {ATTRIBUTES[i] for _, named, _ in corpus for i in np.flatnonzero(named < 0)}
    assert {"Male", "Young", "No_Beard", "Smiling", "Eyeglasses", "Bangs", "Wearing_Hat", "Heavy_Makeup"} <= denied
    assert not denied & {"Attractive", "Big_Nose", "Big_Lips", "Chubby", "Oval_Face", "Black_Hair", "Pale_Skin"}


def row_of(*names: str) -> np.ndarray:
    row = -np.ones(40, np.int8)
    row[INDEX["No_Beard"]] = 1
    for name in names:
        row[INDEX[name.removeprefix("-")]] = -1 if name.startswith("-") else 1
    return row


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["Male", "Young"], ["man", "young man", "guy"]),
        (["Young"], ["woman", "young woman", "girl", "lady"]),
        (["Young", "Smiling", "Blond_Hair"], ["smiling woman blond hair", "smiling", "blond hair", "smiling woman"]),
        (["Male", "Bald"], ["bald man", "bald", "old man", "shaved head"]),
        (["Male", "-No_Beard"], ["beard", "man with a beard", "bearded man"]),
        (["Bangs", "Black_Hair"], ["bangs", "fringe", "black hair"]),
        (["Male", "Wearing_Hat", "Eyeglasses"], ["wearing a hat", "hat", "eyeglasses", "glasses", "spectacles"]),
        (["Male"], ["clean-shaven man", "no beard", "elderly man"]),
    ],
)
def test_the_prompts_that_people_type_are_said(names: list[str], wanted: list[str]) -> None:
    rng = np.random.default_rng(1)
    said = Counter(describe(row_of(*names), rng).text.lower().rstrip(".") for _ in range(12_000))
    assert not [text for text in wanted if not said[text]]


def test_lengths_styles_and_cases_vary(corpus: Corpus) -> None:
    texts = [text for text, _, _ in corpus]
    short = sum(np.count_nonzero(named) <= 2 for _, named, _ in corpus) / len(corpus)
    assert 0.08 < short < 0.3
    for style in (
        lambda t: ", " in t,
        lambda t: " of " in t,
        lambda t: t.endswith("."),
        str.isupper,
        str.istitle,
        str.islower,
    ):
        assert sum(map(style, texts)) > 0.02 * len(texts)
    assert len(set(texts)) > 0.85 * len(texts)
    assert max(len(text.split()) for text in texts) <= 44  # a text tower of 48 tokens reads nearly all of it


def test_there_are_three_hundred_content_words_and_both_spellings() -> None:
    content = set(vocabulary()) & set(TABLE) - EMPTY  # words with hyphens are not even counted
    assert len(content) >= 300
    for pair in (
        "gray grey",
        "jewelry jewellery",
        "mustache moustache",
        "makeup make-up",
        "color colour",
        "blond blonde",
    ):
        assert set(pair.split()) <= set(vocabulary())


def test_the_vocabulary_holds_every_word_that_is_said(corpus: Corpus) -> None:
    words = set(vocabulary())
    assert vocabulary() == sorted(words)
    for text, _, _ in corpus:
        assert {word for word in re.split(r"[\s,.;|]+", text.lower()) if word} <= words, text


@given(row=rows, seed=st.integers(0, 2**32))
@settings(max_examples=50, deadline=None)
def test_a_seed_gives_the_same_caption_whatever_the_dtype(row: np.ndarray, seed: int) -> None:
    first = describe(row, seed)
    for again in (row > 0, (row > 0).astype(np.uint8), row.astype(np.float32)):
        caption = describe(again, seed)
        assert caption.text == first.text and (caption.named == first.named).all()
    assert describe(row, np.random.default_rng(seed)).text == describe(row, np.random.default_rng(seed)).text


def test_pronouns_agree_with_the_sex(corpus: Corpus) -> None:
    for text, named, _ in corpus:
        words = set(re.findall(r"[a-z]+", text.lower()))
        assert not words & {"he", "his"} or named[INDEX["Male"]] == 1
        assert not words & {"she", "her"} or named[INDEX["Male"]] == -1


def test_articles_fit(corpus: Corpus) -> None:
    for text, _, _ in corpus:
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", text.lower()), text


def test_entailments_are_named() -> None:
    rng = np.random.default_rng(2)
    seen = set()
    for _ in range(4000):
        for row in (row_of("Male"), row_of("Male", "-No_Beard", "Goatee"), row_of("Young")):
            text, named = (caption := describe(row, rng)).text.lower(), caption.named
            if "clean-shaven" in text:
                assert (named[[INDEX[n] for n in ("Mustache", "Goatee", "5_o_Clock_Shadow")]] == -1).all()
                assert named[INDEX["No_Beard"]] == 1
                seen.add("clean-shaven")
            if ("goatee", False) in words_with_denial(text):
                assert named[INDEX["Goatee"]] == 1 and named[INDEX["No_Beard"]] == -1
                seen.add("goatee")
            if re.search(r"\bgirl\b", text):
                assert named[INDEX["Male"]] == -1 and named[INDEX["Young"]] == 1
                seen.add("girl")
            if re.search(r"no make-?up", text):
                assert named[INDEX["Wearing_Lipstick"]] == -1
                seen.add("makeup")
    assert seen == {"clean-shaven", "goatee", "girl", "makeup"}


def test_is_true_of_broadcasts_and_sees_a_contradiction() -> None:
    rows_ = np.stack([row_of("Male"), row_of("Male", "Bald"), row_of("Bald")])
    named = np.zeros((2, 40), np.int8)
    named[0, INDEX["Bald"]] = 1
    named[1, INDEX["Male"]] = -1
    truth = is_true_of(named[:, None], rows_[None])
    assert truth.tolist() == [[False, True, True], [False, False, True]]
    assert (is_true_of(named[:, None], rows_[None] > 0) == truth).all()
    assert is_true_of(np.zeros(40, np.int8), rows_).all()


def test_prompt_for_is_plain() -> None:
    assert prompt_for({"Smiling": True, "Male": False}) == "smiling woman"
    assert prompt_for({"Male": True, "Bald": True}) == "bald man"
    assert prompt_for({"Male": True, "Young": False}) == "old man"
    assert prompt_for({"Male": False, "Blond_Hair": True, "Smiling": True}) == "smiling woman with blond hair"
    assert prompt_for({"Eyeglasses": True}) == "person wearing eyeglasses"
    words = set(vocabulary())
    for name in ATTRIBUTES:
        for present in (True, False):
            assert set(prompt_for({name: present}).split()) <= words


def test_what_cannot_be_described_is_refused() -> None:
    with pytest.raises(ValueError, match="40 values"):
        describe(np.ones(39), 0)
    with pytest.raises(ValueError, match="at least 1"):
        describe(np.ones(40), 0, max_attributes=0)
    with pytest.raises(ValueError, match="'Beard'"):
        prompt_for({"Beard": True})
    with pytest.raises(ValueError, match="no attribute"):
        prompt_for({})


def test_a_word_list_is_read_strictly() -> None:
    assert expand("a {b|c d|} e") == ["a b e", "a c d e", "an e"]
    scene = {"scene": {"person": ["person"]}}
    with pytest.raises(ValueError, match="Tall"):
        compile_words(scene | {"Tall": {}})
    with pytest.raises(ValueError, match=r"5_o_Clock_Shadow\.no.*missing"):
        compile_words(scene)
    with pytest.raises(ValueError, match=r"5_o_Clock_Shadow\.no.*'adjectiv'"):
        compile_words(scene | {"5_o_Clock_Shadow": {"no": {"adjectiv": ["smooth"]}}})
    with pytest.raises(ValueError, match="Stubble"):
        compile_words(scene | {"5_o_Clock_Shadow": {"no": {"with": [{"text": "no stubble", "needs": ["-Stubble"]}]}}})
