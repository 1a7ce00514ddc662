"""Templates against itertools.product, and texts that must come back as they are."""

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celebgen_cli.errors import UsageError
from celebgen_cli.sampling.templates import MOST, parse

WORDS = st.text("abc xy|", min_size=1, max_size=5).filter(lambda text: text.strip() and "|" not in text)
GROUPS = st.lists(st.lists(WORDS, min_size=1, max_size=4), min_size=1, max_size=4)


@given(GROUPS)
def test_every_combination_in_order(groups: list[list[str]]) -> None:
    template = parse("-".join("{" + "|".join(group) + "}" for group in groups))
    expected = [" ".join("-".join(choice).split()) for choice in itertools.product(*groups)]
    assert list(template) == expected
    assert template.count == len(expected)


def escaped(text: str) -> str:
    return "".join("\\" + c if c in "{}|\\" else c for c in text)


@given(st.text(max_size=60))
def test_an_escaped_text_comes_back(text: str) -> None:
    assert list(parse(escaped(text))) == [text]


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        template = parse(text)
    except UsageError as error:
        assert "{" in text or "}" in text
        assert len(str(error).splitlines()) == 1
        return
    assert template.nth(template.count - 1) == list(template)[-1]
    if not set(text) & set("{}\\"):
        assert list(template) == [text]


@pytest.mark.parametrize(
    ("text", "prompts"),
    [
        ("{smiling|serious} {man|woman}", ["smiling man", "smiling woman", "serious man", "serious woman"]),
        ("{|smiling} man", ["man", "smiling man"]),
        ("{a {b|c}|d}", ["a b", "a c", "d"]),
        ("a | b", ["a | b"]),
        (r"\{a\|b\} {c|d}", ["{a|b} c", "{a|b} d"]),
        (r"A\B", [r"A\B"]),
        ("{a}", ["a"]),
    ],
)
def test_examples(text: str, prompts: list[str]) -> None:
    assert list(parse(text)) == prompts


@pytest.mark.parametrize("text", ["{a", "a}", "{a|b", "{a{b}", "}{", "{" * 100, "{a|{b|c}"])
def test_braces_that_do_not_match(text: str) -> None:
    with pytest.raises(UsageError, match="a brace|braces"):
        parse(text)


def test_random_prompts_follow_the_seed_and_are_as_likely() -> None:
    template = parse("{a|b} {c|d|e}")
    drawn = [template.drawn(seed) for seed in range(6000)]
    assert drawn == [parse("{a|b} {c|d|e}").drawn(seed) for seed in range(6000)]
    counts = Counter(drawn)
    assert set(counts) == set(template)
    # chi-squared with 5 degrees of freedom: above 20.5 once in a thousand
    assert sum((count - 1000) ** 2 / 1000 for count in counts.values()) < 20.5


def test_more_than_anyone_wants() -> None:
    template = parse("{a|b}" * 100)
    assert template.count == 2**100
    assert template.nth(2**100 - 1) == "b" * 100
    assert set(template.drawn(3)) <= {"a", "b"}
    with pytest.raises(UsageError, match=f"more than {MOST:,} prompts; write fewer"):
        iter(template)
