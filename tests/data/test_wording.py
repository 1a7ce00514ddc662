"""Captions from the grammar, from people's files, or both: what is drawn, and of which pictures it is true."""

from pathlib import Path

import numpy as np
import pytest

from celebgen_cli.data.captions import Captions, CaptionSource, Wording, choose_wording, describe, is_true_of, truth
from celebgen_cli.data.dataset import Split
from celebgen_cli.data.texts import StoredTexts, open_texts, write_texts
from celebgen_cli.errors import UsageError
from tests.faces import random_attributes

N = 40
ALL = np.arange(N)


def stored(folder: Path, rows: list[list[str]]) -> StoredTexts:
    write_texts(folder, "captions", rows)
    texts = open_texts(folder, "captions", len(rows))
    assert texts is not None
    return texts


@pytest.fixture
def attributes() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack([random_attributes(rng) for _ in range(N)])


@pytest.fixture
def own(tmp_path: Path) -> StoredTexts:
    """Two captions a row, unlike anything that the grammar says."""
    return stored(tmp_path, [[f"# {row} a", f"# {row} b"] for row in range(N)])


def split_of(attributes: np.ndarray, captions: StoredTexts | None) -> Split:
    n = len(attributes)
    images = np.zeros((n, 32, 32, 3), dtype=np.uint8)
    return Split("train", images, np.arange(n), attributes, np.zeros(n), "face178", 32, "", captions=captions)


def from_files(drawn: Captions) -> np.ndarray:
    return np.array([text.startswith("#") for text in drawn.texts])


def test_the_share_is_kept_and_every_caption_belongs_to_its_row(attributes: np.ndarray, own: StoredTexts) -> None:
    source = CaptionSource(attributes, own, Wording("both", 0.3))
    rows = np.tile(ALL, 100)
    drawn = source.draw(rows, np.random.default_rng(0))
    np.testing.assert_array_equal(drawn.stored, from_files(drawn))
    assert abs(drawn.stored.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / len(rows))
    for row, text in zip(rows[drawn.stored], np.array(drawn.texts)[drawn.stored], strict=True):
        assert text in own.of(int(row))
    assert abs(np.mean([t.endswith("a") for t in np.array(drawn.texts)[drawn.stored]]) - 0.5) < 0.06
    assert not drawn.named[drawn.stored].any()
    assert drawn.named[~drawn.stored].any(axis=1).all()
    assert is_true_of(drawn.named, attributes[rows])[~drawn.stored].all()


@pytest.mark.parametrize(("source", "from_file"), [("grammar", False), ("files", True)])
def test_one_source_alone(attributes: np.ndarray, own: StoredTexts, source: str, from_file: bool) -> None:
    drawn = CaptionSource(attributes, own, Wording(source)).draw(ALL, np.random.default_rng(0))
    assert (drawn.stored == from_file).all()
    assert (from_files(drawn) == from_file).all()


def test_stored_captions_that_are_not_asked_for_change_nothing(attributes: np.ndarray, own: StoredTexts) -> None:
    first, second = np.random.default_rng(3), np.random.default_rng(3)
    drawn = CaptionSource(attributes, own, Wording("grammar")).draw(ALL, first)
    assert drawn.texts == [describe(row, second).text for row in attributes]
    assert first.random() == second.random()


@pytest.mark.parametrize("source", ["grammar", "files", "both"])
def test_a_row_takes_what_it_has(attributes: np.ndarray, tmp_path: Path, source: str) -> None:
    """Row 0 has both, row 1 no captions, row 2 no attributes, row 3 neither, row 4 one attribute that is unknown."""
    table = attributes[:5].copy()
    table[2:4], table[4, 7] = 0, 0
    texts = stored(tmp_path, [["# 0"], [], ["# 2"], [], ["# 4"]])
    wording = Wording(source, 0.5)
    for seed in range(30):
        drawn = CaptionSource(table, texts, wording).draw(np.arange(5), np.random.default_rng(seed))
        if source != "both":
            assert drawn.stored[0] == (source == "files")
        assert drawn.stored[1:].tolist() == [False, True, False, True]
        assert drawn.texts[3] == "" and drawn.texts[1] != ""
        assert drawn.named.any(axis=1).tolist() == [not drawn.stored[0], True, False, False, False]


def test_a_draw_depends_on_the_state_and_the_position_alone(attributes: np.ndarray, own: StoredTexts) -> None:
    source = CaptionSource(attributes, own, Wording("both", 0.5))

    def draw(rows: np.ndarray, seed: int) -> list[str]:
        return source.draw(rows, np.random.default_rng(seed)).texts

    whole = draw(ALL, 1)
    assert whole == draw(ALL, 1) != draw(ALL, 2)
    changed = ALL.copy()
    changed[5] = 17  # no other position hears of it
    assert [i for i, (a, b) in enumerate(zip(whole, draw(changed, 1), strict=True)) if a != b] == [5]
    assert draw(ALL[:7], 1) == whole[:7]
    more = CaptionSource(attributes, own, Wording("both", 0.9)).draw(ALL, np.random.default_rng(1))
    kept = np.array([text.startswith("#") for text in whole])
    assert (np.array(more.texts)[kept] == np.array(whole)[kept]).all()  # a larger share only adds to them


def test_captions_for_a_metric(attributes: np.ndarray, own: StoredTexts) -> None:
    unknown = np.zeros_like(attributes)
    texts = CaptionSource(unknown, own, Wording("grammar")).draw_for(N + 3, 7)
    assert all(text in own.of(i % N) for i, text in enumerate(texts))
    assert texts[:5] == CaptionSource(unknown, own).draw_for(5, 7)
    plain = CaptionSource(attributes).draw_for(4, 7)
    assert plain == [describe(attributes[i], np.random.default_rng((7, i))).text for i in range(4)]


def test_what_suits_a_split(attributes: np.ndarray, own: StoredTexts) -> None:
    unknown = np.zeros_like(attributes)
    assert choose_wording(split_of(attributes, None)) == Wording("grammar", 0.5)
    assert choose_wording(split_of(attributes, own)).source == "grammar"
    assert choose_wording(split_of(unknown, own)).source == "files"
    assert choose_wording(split_of(attributes, own), "both", 0.2) == Wording("both", 0.2)
    assert choose_wording(split_of(attributes, own), "both").share == 0.5


@pytest.mark.parametrize(
    ("known", "has_captions", "source", "share", "sentence"),
    [
        (False, False, None, None, "neither attributes nor captions"),
        (True, False, "files", None, "no captions from files"),
        (True, False, "both", None, "no captions from files"),
        (False, True, "grammar", None, "not known; use --captions files"),
        (False, True, "both", 0.5, "not known; use --captions files"),
        (True, True, "grammer", None, "grammar, files or both, not 'grammer'"),
        (True, True, None, 0.5, "--captions both"),
        (True, True, "both", 0.0, "more than 0 and less than 1, not 0.0"),
        (True, True, "both", 1.5, "more than 0 and less than 1, not 1.5"),
        (True, True, "both", float("nan"), "more than 0 and less than 1, not nan"),
    ],
)
def test_what_a_split_cannot_do(
    attributes: np.ndarray,
    own: StoredTexts,
    known: bool,
    has_captions: bool,
    source: str | None,
    share: float | None,
    sentence: str,
) -> None:
    split = split_of(attributes if known else np.zeros_like(attributes), own if has_captions else None)
    with pytest.raises(UsageError, match=sentence):
        choose_wording(split, source, share)


def test_a_split_whose_rows_have_no_caption_has_none(attributes: np.ndarray, tmp_path: Path) -> None:
    nothing = stored(tmp_path, [[] for _ in range(N)])
    with pytest.raises(UsageError, match="no captions from files"):
        choose_wording(split_of(attributes, nothing), "files")


def named(**says: int) -> np.ndarray:
    from celebgen_cli.data.attributes import INDEX

    row = np.zeros(40, dtype=np.int8)
    for name, value in says.items():
        row[INDEX[name]] = value
    return row


def test_of_which_pictures_a_caption_is_true() -> None:
    """Pictures: 0 a man, 1 a woman, 2 and 3 with unknown attributes. By hand, caption by caption."""
    from celebgen_cli.data.attributes import INDEX

    table = np.full((4, 40), -1, dtype=np.int8)
    table[0, INDEX["Male"]] = 1
    table[2:] = 0
    texts = ["man", "my aunt", "my aunt", ""]
    captions = Captions(texts, np.stack([named(Male=1), named(), named(), named()]), np.array([0, 1, 1, 0], dtype=bool))
    true, counts = truth(captions, table)
    assert true.astype(int).tolist() == [
        [1, 0, 0, 0],  # "man" contradicts the woman; of the others nobody knows
        [0, 1, 1, 0],  # what was written of 1 was also written of 2
        [0, 1, 1, 0],
        [1, 1, 1, 1],  # what says nothing is true of all
    ]
    assert counts.astype(int).tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]


def test_a_caption_that_was_also_written_of_another_picture_is_true_of_it() -> None:
    table = np.full((2, 40), 1, dtype=np.int8)
    table[1] = 0
    captions = Captions(["man", "man"], np.stack([named(Male=1), named()]), np.array([False, True]))
    true, counts = truth(captions, table)
    assert true.all() and counts.all()


def test_where_all_is_known_truth_is_what_attributes_say(attributes: np.ndarray) -> None:
    drawn = CaptionSource(attributes).draw(ALL, np.random.default_rng(0))
    true, counts = truth(drawn, attributes)
    np.testing.assert_array_equal(true, is_true_of(drawn.named[:, None], attributes[None]))
    assert counts.all() and true.diagonal().all()
