"""Landmarks and bounding boxes in both dialects, landmarks of people's own portraits, and broken files."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from celebgen_cli.data.annotations import image_stem, read_boxes, read_landmarks, read_named_landmarks
from celebgen_cli.errors import CelebgenError

HEADER = [f"{point}_{axis}" for point in ("lefteye", "righteye", "nose", "leftmouth", "rightmouth") for axis in "xy"]
BOX = ["x_1", "y_1", "width", "height"]
NAMES = ["000003.jpg", "000001.jpg", "000010.jpg"]
ORDER = [1, 0, 2]
POINTS = np.random.default_rng(0).integers(0, 178, (3, 10))
BOXES = np.array([[95, 71, 226, 313], [0, 0, 0, 0], [72, 94, 1221, 4306]])


def official(header: list[str], table: np.ndarray, names: list[str] = NAMES, end: str = "\r\n") -> bytes:
    """As the official files: count, header with a space at its end, columns of changing width."""
    rows = [name + " " + "".join(f"{value:5d}" for value in row) + " " for name, row in zip(names, table, strict=True)]
    return (end.join([str(len(names)), " ".join(header) + " ", *rows]) + end).encode()


def kaggle(header: list[str], table: np.ndarray, names: list[str] = NAMES) -> bytes:
    rows = [",".join([name, *map(str, row)]) for name, row in zip(names, table.tolist(), strict=True)]
    return ("\n".join([",".join(["image_id", *header]), *rows]) + "\n").encode()


def write(tmp_path: Path, content: bytes, name: str = "table.txt") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("layout", [official, kaggle])
@pytest.mark.parametrize("ending", ["txt", "csv"])
def test_both_dialects_whatever_the_ending(tmp_path: Path, layout: Callable[..., bytes], ending: str) -> None:
    landmarks = read_landmarks(write(tmp_path, layout(HEADER, POINTS), f"landmarks.{ending}"))
    assert landmarks.ids.tolist() == [1, 3, 10] and landmarks.ids.dtype == np.int64
    assert landmarks.values.shape == (3, 5, 2) and landmarks.values.dtype == np.int32
    np.testing.assert_array_equal(landmarks.values.reshape(3, 10), POINTS[ORDER])
    header = BOX if layout is kaggle else ["image_id", *BOX]  # the official boxes name the first column too
    boxes = read_boxes(write(tmp_path, layout(header, BOXES), f"boxes.{ending}"))
    assert boxes.values.dtype == np.int32 and boxes.ids.tolist() == [1, 3, 10] and len(boxes) == 3
    np.testing.assert_array_equal(boxes.values, BOXES[ORDER])


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"\xef\xbb\xbf" + data,
        gzip.compress,
        lambda data: data.replace(b"\r\n", b"\n"),
        lambda data: data.replace(b"\r\n", b"\r"),
        lambda data: data + b"\r\n  \r\n",
        lambda data: data.split(b"\r\n", 2)[2],  # neither count nor header
        lambda data: b"\r\n".join(data.split(b"\r\n")[:1] + data.split(b"\r\n")[2:]),  # a count and no header
        lambda data: data.split(b"\r\n", 1)[1],  # a header and no count
        lambda data: data.replace(b"000003.jpg", b"img_align_celeba/000003.png"),
        lambda data: data.replace(b" \r\n", b".0 \r\n", 3).replace(b"rightmouth_y.0", b"rightmouth_y"),
        lambda data: data.replace(b"  ", b"\t "),
    ],
)
def test_what_is_tolerated(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    landmarks = read_landmarks(write(tmp_path, change(official(HEADER, POINTS))))
    np.testing.assert_array_equal(landmarks.values.reshape(3, 10), POINTS[ORDER])


@pytest.mark.parametrize("layout", [official, kaggle])
def test_columns_are_found_by_name(tmp_path: Path, layout: Callable[..., bytes]) -> None:
    landmarks = read_landmarks(write(tmp_path, layout(HEADER[::-1], POINTS[:, ::-1])))
    np.testing.assert_array_equal(landmarks.values.reshape(3, 10), POINTS[ORDER])
    boxes = read_boxes(write(tmp_path, layout(BOX[2:] + BOX[:2], np.roll(BOXES, 2, axis=1))))
    np.testing.assert_array_equal(boxes.values, BOXES[ORDER])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (official(HEADER, POINTS).replace(b"nose_x", b"nose"), r"line 2: the header .*lefteye_x to rightmouth_y"),
        (kaggle(HEADER[:-1], POINTS[:, :-1]), "line 1: the header .*'rightmouth_y'"),
        (kaggle(HEADER, POINTS).replace(b"000010.jpg", b"000003.jpg"), "names image 000003 twice"),
        (official(HEADER, POINTS).replace(b"000010.jpg", b"ten.jpg"), "line 5: the image name 'ten.jpg'"),
        (official(HEADER, POINTS)[:-9], r"line 5: a row has 10 columns, not 11"),
        (official(HEADER, POINTS).replace(b"3\r\n", b"4\r\n", 1), "line 1: the count says 4 rows and the file has 3"),
        (b"000001.jpg" + b" 7" * 9 + b" 7.5\n", "line 1: the value '7.5' is not a whole number"),
        (b"000001.jpg" + b" 7" * 9 + b" 100001\n", "line 1: the value 100001 is not between -100000 and 100000"),
        (b"000001.jpg" + b",7" * 9 + b",\n", "line 1: the value '' is not a whole number"),
        (b"000001.jpg" + b" 7" * 10 + b"\n\n000002.jpg 1\n", "line 3: a row has 2 columns, not 11"),
        (b"3\n", "line 1: the count says 3 rows and the file has 0"),
        (b"", "no rows"),
    ],
)
def test_broken_landmarks(tmp_path: Path, content: bytes, sentence: str) -> None:
    with pytest.raises(CelebgenError, match=sentence):
        read_landmarks(write(tmp_path, content))


# ------------------------------------------------------------------------------------------------ portraits

OWN = ["holiday/anna.jpg", "my uncle.png", "000007.v2"]


@pytest.mark.parametrize("layout", [official, kaggle])
@pytest.mark.parametrize("header", [True, False])
def test_portraits_are_found_by_name(tmp_path: Path, layout: Callable[..., bytes], header: bool) -> None:
    content = layout(HEADER, POINTS, OWN)
    if not header:
        content = content.split(b"\n", 2 if layout is official else 1)[-1]
    found = read_named_landmarks(write(tmp_path, content))
    assert list(found.points) == [("holiday", "anna"), ("my uncle",), ("000007.v2",)]
    np.testing.assert_array_equal(np.stack(list(found.points.values())), POINTS.reshape(3, 5, 2))


def test_portraits_have_fractions_quotes_and_columns_by_name(tmp_path: Path) -> None:
    values = POINTS + 0.25
    rows = [",".join([f'"name, {i}.JPG"', *map(str, row[::-1])]) for i, row in enumerate(values.tolist())]
    content = "\n".join([",".join(["file_name", *HEADER[::-1]]), *rows])
    found = read_named_landmarks(write(tmp_path, content.encode()))
    assert list(found.points) == [("name, 0",), ("name, 1",), ("name, 2",)]
    np.testing.assert_array_equal(np.stack(list(found.points.values())), values.reshape(3, 5, 2))
    assert next(iter(found.points.values())).dtype == np.float64


@pytest.mark.parametrize(
    ("rows", "name", "place", "row"),
    [
        (["x/1.jpg"], "y/1.jpg", "all/y/1.jpg", None),
        (["x/1.jpg", "y/1.jpg"], "y/1.png", "all/y/1.png", 1),
        (["1.jpg"], "x/y/1.jpg", "x/y/1.jpg", 0),
        (["1.jpg", "x/1.jpg"], "x/1.jpg", "x/1.jpg", 1),
        (["1.jpg", "x/1.jpg"], "1.jpg", "all/1.jpg", 0),
        (["/home/anna/all/x/1.jpg"], "x/1.jpg", "elsewhere/x/1.jpg", 0),  # the folder was moved
        (["x\\1.jpg", "y\\1.jpg"], "1.jpg", "y/1.jpg", 1),  # of several folders' rows those of this one
        (["ax/1.jpg"], "x/1.jpg", "x/1.jpg", None),
        (["x/1.jpg"], "1.jpg", "y/1.jpg", None),  # of another folder's picture
        (["x/1.jpg", "y/2.jpg"], "1.jpg", "x.zip/1.jpg", 0),
    ],
)
def test_folders_in_names_count(tmp_path: Path, rows: list[str], name: str, place: str, row: int | None) -> None:
    named = read_named_landmarks(write(tmp_path, "".join(f"{r} {i}{' 7' * 9}\n" for i, r in enumerate(rows)).encode()))
    found = named.find(name, Path(place))
    assert (None if found is None else found[0, 0]) == row
    assert len(named.unused) == len(rows) - (row is not None)


def test_two_rows_that_fit_equally_well(tmp_path: Path) -> None:
    named = read_named_landmarks(write(tmp_path, b"x/a/1.jpg" + b" 7" * 10 + b"\ny/a/1.jpg" + b" 7" * 10))
    with pytest.raises(CelebgenError, match=r"the rows 'x/a/1' and 'y/a/1' of .* fit 1\.jpg equally well; leave one"):
        named.find("1.jpg", Path("z/a/1.jpg"))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"anna.jpg" + b" 7" * 9 + b"\n", "line 1: a row has 10 columns, not 11"),
        (b"anna.jpg" + b" 7" * 9 + b" nan\n", "line 1: the value 'nan' is not a number of pixels"),
        (b"anna.jpg" + b" 7" * 9 + b" 1e9\n", "line 1: the value '1e9' is not a number"),
        (b"anna.jpg" + b",7" * 9 + b",\n", "line 1: the value '' is not a number"),
        (b'"anna.jpg' + b",7" * 10 + b"\n", "line 1: the row cannot be read as CSV"),
        (b"a/anna.jpg" + b" 7" * 10 + b"\na/anna.png" + b" 7" * 10, "line 2: the image 'a/anna' has a row already"),
        (b"," + b"7," * 9 + b"7\n", "line 1: a row has no image name"),
        (b"2\nanna.jpg" + b" 7" * 10 + b"\n", "the count says 2 rows and the file has 1"),
        (kaggle(HEADER, POINTS, OWN).replace(b"nose_y", b"nose_z"), "line 1: the header .*'nose_y'"),
        (b"\n", "no rows"),
    ],
)
def test_broken_portraits(tmp_path: Path, content: bytes, sentence: str) -> None:
    with pytest.raises(CelebgenError, match=sentence):
        read_named_landmarks(write(tmp_path, content))


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("anna.jpg", "anna"),
        ("a/b\\anna.b.JPEG", "anna.b"),
        ("anna", "anna"),
        ("anna.2", "anna.2"),
        (".jpg", ".jpg"),
        ("000001.avif", "000001"),
    ],
)
def test_stems(name: str, stem: str) -> None:
    assert image_stem(name) == stem
