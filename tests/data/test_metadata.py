"""Captions beside pictures: every layout is read, hostile ones end in one sentence."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celebgen_cli.data.metadata import MAX_CAPTION, Metadata, read_metadata
from celebgen_cli.errors import CelebgenError

POINTS = "lefteye_x,lefteye_y,righteye_x,righteye_y,nose_x,nose_y,leftmouth_x,leftmouth_y,rightmouth_x,rightmouth_y"


def read(files: dict[str, str | bytes]) -> Metadata:
    images = [name for name in files if name.endswith((".jpg", ".png"))]

    def content(name: str) -> bytes:
        value = files[name]
        return value if isinstance(value, bytes) else value.encode("utf-8")

    return read_metadata("photos", sorted(files), images, content)


def test_json_lines_with_one_caption_or_several() -> None:
    lines = [
        {"file_name": "a.jpg", "text": "  a  smiling woman "},
        {"file_name": "b.jpg", "text": ["one", "two", "one"]},
        {"file_name": "gone.jpg", "text": "x"},
        {"file_name": "c.jpg"},
    ]
    text = "\ufeff" + "\n\n".join(map(json.dumps, lines)) + "\r\n"
    found = read({"a.jpg": "", "b.jpg": "", "c.jpg": "", "metadata.jsonl": text})
    assert found.captions == {"a.jpg": ("a smiling woman",), "b.jpg": ("one", "two")}
    assert (found.unmatched, found.files) == (1, 1)


def test_csv_in_a_folder_is_relative_to_it() -> None:
    table = 'text,file_name\n"an old man, with ""glasses""",one.jpg\nanother,one.jpg\n,two.jpg\n'
    found = read({"deep/one.jpg": "", "deep/two.jpg": "", "one.jpg": "", "deep/metadata.csv": table})
    assert found.captions == {"deep/one.jpg": ('an old man, with "glasses"', "another")}


def test_a_text_beside_each_picture() -> None:
    found = read({"x/a.jpg": "", "x/a.txt": "a man\n\nin a hat\n", "b.png": "", "notes.txt": "not a caption"})
    assert found.captions == {"x/a.jpg": ("a man", "in a hat")}


def test_landmarks_in_either() -> None:
    numbers = [float(i) for i in range(10)]
    line = json.dumps({"file_name": "a.jpg", "text": "x", "landmarks": np.reshape(numbers, (5, 2)).tolist()})
    table = f"file_name,{POINTS}\na.jpg,{','.join(map(str, numbers))}\n"
    for files in ({"metadata.jsonl": line}, {"metadata.csv": table}):
        found = read({"a.jpg": "", **files})
        np.testing.assert_array_equal(found.landmarks["a.jpg"], np.reshape(numbers, (5, 2)))


def test_rows_of_a_table_may_lack_landmarks() -> None:
    table = f"file_name,text,{POINTS}\na.jpg,one,{','.join('123456789')},10\nb.jpg,two{',' * 10}\n"
    found = read({"a.jpg": "", "b.jpg": "", "metadata.csv": table})
    assert list(found.landmarks) == ["a.jpg"] and found.captions == {"a.jpg": ("one",), "b.jpg": ("two",)}


def test_names_as_old_archives_write_them() -> None:
    table = "file_name,text\na.jpg,one\nx/b.jpg,two\n"
    found = read({"in\\a.jpg": "", "in\\x\\b.jpg": "", "in\\metadata.csv": table, "./c.jpg": "",
                  "./metadata.jsonl": '{"file_name": "c.jpg", "text": "three"}'})  # fmt: skip
    assert found.captions == {"in\\a.jpg": ("one",), "in\\x\\b.jpg": ("two",), "./c.jpg": ("three",)}
    assert found.unmatched == 0


def test_endings_and_names_in_capitals() -> None:
    line = '{"file_name": "x/a.jpg", "text": "one"}'
    table = "file_name,text\na.jpg,three\n"
    found = read({"x/a.jpg": "", "x/a.TXT": "two", "Metadata.JSONL": line, "x/Metadata.csv": table})
    assert found.captions == {"x/a.jpg": ("one", "three", "two")}


def test_null_is_no_caption() -> None:
    lines = ['{"file_name": "a.jpg", "text": null}', '{"file_name": "b.jpg", "text": null, "caption": "b"}']
    assert read({"a.jpg": "", "b.jpg": "", "metadata.jsonl": "\n".join(lines)}).captions == {"b.jpg": ("b",)}


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..\\..\\a.jpg", "x/../../a.jpg", ""])
def test_names_that_lead_elsewhere_lead_nowhere(name: str) -> None:
    found = read({"deep/a.jpg": "", "deep/metadata.jsonl": json.dumps({"file_name": name, "text": "x"})})
    assert (found.captions, found.unmatched) == ({}, 1)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("metadata.jsonl", "{", "line 1: this is not JSON"),
        ("metadata.jsonl", "[" * 100_000, "line 1: this is not JSON"),
        ("metadata.jsonl", '\n"a.jpg"', "line 2: a line must be an object"),
        ("metadata.jsonl", '{"file_name": "a.jpg", "text": 3}', "must be a caption or a list"),
        ("metadata.jsonl", '{"file_name": "a.jpg", "text": "x", "landmarks": [1, 2]}', "ten numbers"),
        ("metadata.jsonl", b'\xff{"file_name"}', "not UTF-8"),
        (
            "metadata.jsonl",
            '{"file_name": "a.jpg", "text": "x\\u0000"}',
            "line 1: there is a NUL character in a caption",
        ),
        ("metadata.csv", "file_name,text\na.jpg,x\0y\n", "line 2: there is a NUL character"),
        ("metadata.csv", "name,text\na.jpg,x\n", "no column file_name"),
        ("metadata.csv", "file_name,words\na.jpg,x\n", "no column text"),
        ("metadata.csv", "file_name;text\na.jpg;x\n", "line 1: the columns are separated by semicolons; separate them"),
        ("metadata.csv", '"text"\t"file_name"\nx\ta.jpg\n', "line 1: the columns are separated by tabs"),
        ("metadata.csv", "File_Name,text\na.jpg,x\n", "no column file_name; write File_Name in lower case"),
        ("metadata.csv", "file_name,Caption\na.jpg,x\n", "no column text; write Caption in lower case"),
        ("metadata.csv", "file_name,text\na.jpg,x,y\n", "line 2: a row has other columns"),
        ("metadata.csv", "file_name,text\na.jpg\n", "line 2: a row has other columns"),
        ("metadata.csv", 'file_name,text\n"a.jpg,x\n', "cannot be read as CSV"),
        ("metadata.csv", "file_name,text\na.jpg," + "x" * 200_000 + "\n", "cannot be read as CSV"),
        ("a.txt", "x" * (MAX_CAPTION + 1), "more than 10,000 characters"),
        ("a.txt", b"\xfe\xff\x00", "not UTF-8"),
    ],
)
def test_bad_files_end_in_one_sentence(name: str, content: str | bytes, sentence: str) -> None:
    with pytest.raises(CelebgenError) as caught:
        read({"a.jpg": "", name: content})
    assert sentence in str(caught.value)
    assert f"photos/{name}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@given(st.sampled_from(["metadata.jsonl", "metadata.csv", "a.txt"]), st.binary(max_size=80) | st.text(max_size=80))
def test_any_bytes_are_read_or_refused(name: str, content: str | bytes) -> None:
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogatepass")
    try:
        found = read({"a.jpg": "", name: content})
    except CelebgenError:
        return
    assert set(found.captions) <= {"a.jpg"}
