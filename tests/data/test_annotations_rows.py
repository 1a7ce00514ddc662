"""The quick reader and the strict one are one reader: what the first reads is what the second would have read."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from celebgen_cli.data.annotations import rows
from celebgen_cli.data.annotations.rows import Layout, _read_fast, _read_strictly
from celebgen_cli.errors import CelebgenError

LAYOUT = Layout(("a", "b"), False, -50, 5000, (), "the columns a b")
SIGNS = Layout(("a", "b"), False, -1, 1, (-1, 1), "the columns a b")


def strict(text: str, comma: bool, layout: Layout) -> tuple[np.ndarray, np.ndarray] | None:
    try:
        return _read_strictly(None, layout, text, 0, comma)  # type: ignore[arg-type]
    except CelebgenError:
        return None


@given(
    table=st.lists(st.tuples(st.integers(0, 10**7), st.integers(-50, 5000), st.integers(-50, 5000)), min_size=1),
    comma=st.booleans(),
    end=st.sampled_from(["\n", "\r\n", "\r", "\n\n"]),
    pad=st.integers(1, 3),
    block=st.integers(1, 200),
)
@settings(max_examples=80, deadline=None)
@example(table=[(0, 1000, 1000)] * 3, comma=True, end="\n\n", pad=1, block=21)
def test_well_formed_tables_are_read_at_once(
    table: list[tuple[int, int, int]], comma: bool, end: str, pad: int, block: int
) -> None:
    separator = "," if comma else " " * pad
    text = end.join(separator.join([f"{name:06d}.jpg", str(a), str(b)]) for name, a, b in table)
    kept, rows.BLOCK = rows.BLOCK, block  # rows fall on either side of a block's end
    try:
        found = _read_fast(text.encode(), comma, LAYOUT)
    finally:
        rows.BLOCK = kept
    assert found is not None
    np.testing.assert_array_equal(np.column_stack(found), np.array(table))


@given(text=st.text(st.sampled_from("01-2. ,\n\r\tj/x\x0b٣"), max_size=40), comma=st.booleans(), signs=st.booleans())
@settings(max_examples=600, deadline=None)
def test_whatever_is_read_at_once_is_what_line_by_line_gives(text: str, comma: bool, signs: bool) -> None:
    layout = SIGNS if signs else LAYOUT
    found = _read_fast(text.encode(), comma, layout)
    if found is not None:
        expected = strict(text, comma, layout)
        assert expected is not None
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize(
    ("text", "comma"),
    [
        ("1.jpg,2,3,\n2.jpg,4,5", True),
        ("1.jpg,2,,3", True),
        (",1.jpg,2,3", True),
        ("1.jpg 2\n3 2.jpg 4 5", False),
        ("1.jpg 2 3 2.jpg 4 5", False),
        ("1.jpg 2 5001", False),
        ("1.jpg 2 --3", False),
        ("1.jpg 2 -", False),
        ("1.jpg 2 1234567890", False),
        (".jpg 2 3", False),
        ("1jpg 2 3", False),
        ("-1.jpg 2 3", False),
        ("a/1.jpg 2 3", False),
        ("1.jpg 2 3\x0c2.jpg 4 5", False),
    ],
)
def test_what_is_left_to_the_strict_reader(text: str, comma: bool) -> None:
    assert _read_fast(text.encode(), comma, LAYOUT) is None
    well = text.replace(text, "1.jpg,2,3" if comma else "1.jpg 2 3")
    assert _read_fast(well.encode(), comma, LAYOUT) is not None
