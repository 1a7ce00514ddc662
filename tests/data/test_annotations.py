"""CelebA's annotation files in both dialects, and what is said of broken ones."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from celebgen_cli.data.annotations import (
    Numbers,
    find_annotations,
    image_number,
    look_up,
    read_attributes,
    read_identity,
    read_partition,
)
from celebgen_cli.data.attributes import ATTRIBUTES
from celebgen_cli.errors import CelebgenError
from tests.faces import write_attributes

NAMES = ["000003.jpg", "000001.jpg", "000010.jpg"]
TABLE = np.where(np.random.default_rng(0).random((3, 40)) < 0.4, 1, -1).astype(np.int8)
ORDER = [1, 0, 2]  # rows by ascending number


@pytest.fixture(params=["txt", "csv"])
def dialect(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def attribute_file(folder: Path, dialect: str, ending: str | None = None) -> Path:
    path = folder / f"list_attr_celeba.{ending or dialect}"
    write_attributes(path, NAMES, TABLE, dialect)
    return path


def test_both_dialects_read_the_same(tmp_path: Path, dialect: str) -> None:
    table = read_attributes(attribute_file(tmp_path, dialect))
    assert table.ids.tolist() == [1, 3, 10] and table.ids.dtype == np.int64
    assert table.values.dtype == np.int8
    np.testing.assert_array_equal(table.values, TABLE[ORDER])


def test_dialect_is_read_off_the_content_not_the_ending(tmp_path: Path, dialect: str) -> None:
    table = read_attributes(attribute_file(tmp_path, dialect, ending="csv" if dialect == "txt" else "txt"))
    np.testing.assert_array_equal(table.values, TABLE[ORDER])


def test_gzip_and_byte_order_mark(tmp_path: Path, dialect: str) -> None:
    path = attribute_file(tmp_path, dialect)
    packed = tmp_path / f"packed.{dialect}.gz"
    packed.write_bytes(gzip.compress(b"\xef\xbb\xbf" + path.read_bytes()))
    np.testing.assert_array_equal(read_attributes(packed).values, TABLE[ORDER])


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    path = attribute_file(tmp_path, "csv")
    lines = [line.split(",") for line in path.read_text().splitlines()]
    path.write_text("\n".join(",".join([line[0], *reversed(line[1:])]) for line in lines) + "\n")
    assert path.read_text().startswith("image_id,Young")
    np.testing.assert_array_equal(read_attributes(path).values, TABLE[ORDER])


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("-1", "0", r"line \d+: the value '0' is neither -1 nor 1"),
        ("-1", "yes", r"line \d+: the value 'yes' is neither"),
        ("000010.jpg", "ten.jpg", r"line \d: the image name 'ten.jpg' is not a number"),
        ("000010", "000003", "names image 000003 twice"),
        ("Bald", "Hairless", r"line \d: .*40 attribute names .*'Hairless'"),
        ("Bald", "Bangs", r"line \d: .*40 attribute names .*'Bald'"),
    ],
)
def test_broken_tables_name_file_and_line(tmp_path: Path, dialect: str, old: str, new: str, sentence: str) -> None:
    path = attribute_file(tmp_path, dialect)
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(CelebgenError, match=sentence) as caught:
        read_attributes(path)
    assert str(path) in str(caught.value)


def test_a_row_cut_short_is_named(tmp_path: Path, dialect: str) -> None:
    path = attribute_file(tmp_path, dialect)
    text = path.read_text().rstrip()
    path.write_text(text[: text.rindex("," if dialect == "csv" else " ")])
    with pytest.raises(CelebgenError, match=rf"line {5 if dialect == 'txt' else 4}: a row has 40 columns, not 41"):
        read_attributes(path)


def test_count_line_that_differs_is_an_error(tmp_path: Path) -> None:
    path = attribute_file(tmp_path, "txt")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(CelebgenError, match="line 1: the count says 3 rows and the file has 2"):
        read_attributes(path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "no header"),
        (b"3\r\n", "no header"),
        (("image_id," + ",".join(ATTRIBUTES)).encode(), "no rows"),
        (b"<!DOCTYPE html><title>Quota exceeded</title>", "web page"),
        (b"\x1f\x8b broken gzip", "cannot be read"),
        (gzip.compress(b"3\n" * 1000, mtime=0)[:-12], "cannot be read"),
        (b"\xff\xfe\x00\x01", "not text"),
    ],
)
def test_files_that_are_no_table(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "list_attr_celeba.csv"
    path.write_bytes(content)
    with pytest.raises(CelebgenError, match=sentence):
        read_attributes(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CelebgenError, match="nowhere.txt does not exist"):
        read_attributes(tmp_path / "nowhere.txt")


@pytest.mark.parametrize(
    "content",
    [
        "000002.jpg 1\r\n000001.jpg  0\r\n000009.jpg 2\r\n",
        "image_id,partition\n000002.jpg,1\n000001.jpg,0\n000009.jpg,2\n",
    ],
)
def test_partition_in_both_dialects(tmp_path: Path, content: str) -> None:
    path = tmp_path / "list_eval_partition.txt"
    path.write_bytes(content.encode())
    table = read_partition(path)
    assert (table.ids.tolist(), table.values.tolist()) == ([1, 2, 9], [0, 1, 2])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("000001.jpg 3\n", "line 1: the value 3 is not between 0 and 2"),
        ("000001.jpg 0\n000002.jpg x\n", "line 2: the value 'x' is not a whole number"),
        ("000001.jpg 0\n000002.jpg 0 1\n", "line 2: a row has 3 columns"),
        ("000001.jpg 0\nimage 0\n", "line 2: the image name"),
    ],
)
def test_broken_partition(tmp_path: Path, content: str, sentence: str) -> None:
    path = tmp_path / "list_eval_partition.txt"
    path.write_text(content)
    with pytest.raises(CelebgenError, match=sentence):
        read_partition(path)


def test_identity_and_look_up(tmp_path: Path) -> None:
    path = tmp_path / "identity_CelebA.txt"
    path.write_text("000005.jpg 77\n000002.jpg 2880\n")
    table = read_identity(path)
    assert look_up(table, np.array([5, 1, 2, 6])).tolist() == [77, -1, 2880, -1]
    empty = np.zeros(0, dtype=np.int64)
    assert look_up(Numbers(empty, empty), np.array([5])).tolist() == [-1]


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("000042.jpg", 42),
        ("img_align_celeba/img_align_celeba/000042.avif", 42),
        ("folder\\7.png", 7),
        ("202599", 202599),
        ("face.jpg", None),
        ("12a.jpg", None),
        ("-5.jpg", None),
        ("٤٢.jpg", None),
        ("9" * 30 + ".jpg", None),
        (".jpg", None),
    ],
)
def test_image_number(name: str, number: int | None) -> None:
    assert image_number(name) == number


def test_find_annotations_looks_one_folder_down_and_prefers_plain_text(tmp_path: Path) -> None:
    (tmp_path / "Anno").mkdir()
    for name in ("list_attr_celeba.csv", "list_attr_celeba.txt.gz", "list_attr_celeba.txt", "Anno/identity_CelebA.txt"):
        (tmp_path / name).write_text("x")
    found = find_annotations(tmp_path)
    assert found.attributes == tmp_path / "list_attr_celeba.txt"
    assert found.identity == tmp_path / "Anno" / "identity_CelebA.txt"
    assert found.partition is None and found.landmarks is None and found.boxes is None
    with pytest.raises(CelebgenError, match="does not exist"):
        find_annotations(tmp_path / "nowhere")
