"""Texts of rows: what is written comes back, and files that do not fit are noticed."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celebgen_cli.data.texts import open_texts, write_texts
from celebgen_cli.errors import CelebgenError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(TEXT, max_size=3), max_size=6))
def test_texts_come_back(rows: list[list[str]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        write_texts(Path(place), "captions", rows)
        texts = open_texts(Path(place), "captions", len(rows))
        assert texts is not None and len(texts) == len(rows) and texts.total == sum(map(len, rows))
        assert list(texts) == [tuple(row) for row in rows]
        del texts  # Windows removes no file that is mapped


def test_one_text_a_row_needs_no_rows_file(tmp_path: Path) -> None:
    write_texts(tmp_path, "names", [["a.jpg"], ["ü.png"], ["\udcff.jpg"]], one_each=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["names.bin", "names_offsets.npy"]
    texts = open_texts(tmp_path, "names", 3, one_each=True)
    assert texts is not None and list(texts) == [("a.jpg",), ("ü.png",), ("?.jpg",)]
    for row in (-1, 3):
        with pytest.raises(IndexError):
            texts.of(row)


def test_no_file_is_no_texts(tmp_path: Path) -> None:
    assert open_texts(tmp_path, "captions", 3) is None


@pytest.mark.parametrize("damage", ["blob", "offsets", "order", "count", "missing", "pickle"])
def test_files_that_do_not_fit_are_noticed(tmp_path: Path, damage: str) -> None:
    write_texts(tmp_path, "captions", [["one", "two"], [], ["three"]])
    offsets = tmp_path / "captions_offsets.npy"
    count = 3
    if damage == "blob":
        (tmp_path / "captions.bin").write_bytes(b"onetwo")
    elif damage == "offsets":
        offsets.write_bytes(offsets.read_bytes()[:-8])
    elif damage == "order":
        np.save(offsets, np.array([0, 6, 3, 11]))
    elif damage == "count":
        count = 4
    elif damage == "missing":
        (tmp_path / "captions_rows.npy").unlink()
    else:
        np.save(offsets, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(CelebgenError, match="captions.bin"):
        open_texts(tmp_path, "captions", count)
