"""The five files against each other: nothing is said of files that fit, and each difference is one sentence."""

from pathlib import Path

import numpy as np
import pytest

from celebgen_cli.data.annotations import (
    AnnotationFiles,
    Attributes,
    Boxes,
    Landmarks,
    Numbers,
    Tables,
    cross_check,
    find_annotations,
    read_all,
)
from celebgen_cli.data.annotations.checks import OFFICIAL
from tests.data.test_annotations_points import BOX, HEADER, official
from tests.faces import write_celeba

N = 8
FILES = AnnotationFiles(
    attributes=Path("a/list_attr_celeba.txt"),
    partition=Path("list_eval_partition.txt"),
    identity=Path("identity_CelebA.txt"),
    landmarks=Path("list_landmarks_align_celeba.csv"),
    boxes=Path("list_bbox_celeba.txt"),
)


def fitting(**changes: object) -> Tables:
    ids = np.arange(1, N + 1)
    points = np.tile(np.array([[69, 109], [106, 113], [77, 142], [73, 152], [108, 154]], dtype=np.int32), (N, 1, 1))
    tables: dict[str, object] = {
        "attributes": Attributes(ids, np.ones((N, 40), dtype=np.int8)),
        "partition": Numbers(ids, np.array([0, 0, 0, 0, 1, 1, 2, 2])),
        "identity": Numbers(ids, np.array([1, 1, 2, 2, 3, 3, 4, 4])),
        "landmarks": Landmarks(ids, points),
        "boxes": Boxes(ids, np.tile(np.array([95, 71, 226, 313], dtype=np.int32), (N, 1))),
    }
    return Tables(**(tables | changes))  # type: ignore[arg-type]


def changed(array: np.ndarray, place: tuple[int, ...], value: int) -> np.ndarray:
    array = array.copy()
    array[place] = value
    return array


def test_nothing_is_said_of_files_that_fit() -> None:
    assert cross_check(FILES, fitting()) == []
    assert cross_check(AnnotationFiles(), Tables()) == []
    assert cross_check(AnnotationFiles(), fitting(attributes=None, identity=None, boxes=None)) == []


def test_missing_rows_are_told_in_both_directions() -> None:
    ids = np.array([1, 2, 3, 4, 5, 9, 10, 11, 12])
    sentences = cross_check(FILES, fitting(identity=Numbers(ids, ids), boxes=None))
    assert sentences == [
        "identity_CelebA.txt has no row for 3 images (000006, 000007, 000008) of list_attr_celeba.txt",
        "list_attr_celeba.txt has no row for 4 images (000009, 000010, 000011, ...) of identity_CelebA.txt",
    ]


def test_one_person_in_two_partitions() -> None:
    identity = Numbers(np.arange(1, N + 1), np.array([1, 1, 2, 2, 2, 3, 4, 4]))
    assert cross_check(FILES, fitting(identity=identity)) == [
        "by identity_CelebA.txt, 1 person is in more than one partition (identity 2)"
    ]
    everyone = Numbers(np.arange(1, N + 1), np.array([1, 2, 3, 4, 1, 2, 3, 4]))
    assert cross_check(FILES, fitting(identity=everyone)) == [
        "by identity_CelebA.txt, 4 people are in more than one partition (identity 1, 2, 3, ...)"
    ]


@pytest.mark.parametrize(("place", "value"), [((2, 0, 0), -1), ((2, 4, 0), 178), ((2, 3, 1), 218)])
def test_landmarks_outside_of_the_aligned_image(place: tuple[int, int, int], value: int) -> None:
    landmarks = fitting().landmarks
    assert landmarks is not None
    edge = changed(changed(landmarks.values, (1, 4, 0), 177), (1, 3, 1), 217)
    assert cross_check(FILES, fitting(landmarks=Landmarks(landmarks.ids, edge))) == []
    assert cross_check(FILES, fitting(landmarks=Landmarks(landmarks.ids, changed(edge, place, value)))) == [
        "list_landmarks_align_celeba.csv has points outside of the 178x218 aligned image for 1 image (000003)"
    ]


def test_exchanged_eyes() -> None:
    landmarks = fitting().landmarks
    assert landmarks is not None
    mirrored = Landmarks(landmarks.ids, landmarks.values[:, [1, 0, 2, 4, 3]])
    (sentence,) = cross_check(FILES, fitting(landmarks=mirrored))
    assert "exchanged" in sentence
    few = landmarks.values.copy()
    few[:2] = mirrored.values[:2]
    assert cross_check(FILES, fitting(landmarks=Landmarks(landmarks.ids, few))) == []


def test_degenerate_boxes_are_told_and_not_refused() -> None:
    boxes = fitting().boxes
    assert boxes is not None
    values = changed(changed(changed(boxes.values, (0, 2), 0), (4, 3), 0), (7, 1), -3)
    assert cross_check(FILES, fitting(boxes=Boxes(boxes.ids, values))) == [
        "list_bbox_celeba.txt has boxes without width or height for 2 images (000001, 000005)",
        "list_bbox_celeba.txt has boxes with a negative corner for 1 image (000008)",
    ]


def test_a_whole_partition_is_the_official_one() -> None:
    codes = np.repeat(list(OFFICIAL), list(OFFICIAL.values()))
    ids = np.arange(1, len(codes) + 1)
    assert cross_check(FILES, Tables(partition=Numbers(ids, codes))) == []
    sentences = cross_check(FILES, Tables(partition=Numbers(ids, changed(codes, (0,), 2))))
    assert sentences[0] == "list_eval_partition.txt puts 162,769 images into train and the official one 162,770"
    assert len(sentences) == 2


def test_files_are_read_where_no_tables_are_given(tmp_path: Path) -> None:
    write_celeba(tmp_path, 4)
    names = [f"{number:06d}.jpg" for number in (1, 2, 3, 5)]
    points, boxes = np.full((4, 10), 60), np.tile([[0, 0, 1, 1]], (4, 1))
    (tmp_path / "list_landmarks_align_celeba.txt").write_bytes(official(HEADER, points, names))
    (tmp_path / "list_bbox_celeba.txt").write_bytes(official(["image_id", *BOX], boxes, names))
    files = find_annotations(tmp_path)
    read = read_all(files)
    assert read.landmarks is not None and read.boxes is not None and read.identity is not None
    assert cross_check(files) == cross_check(files, read)
    assert [sentence for sentence in cross_check(files) if "000004" in sentence] == [
        "list_landmarks_align_celeba.txt has no row for 1 image (000004) of list_attr_celeba.txt",
        "list_bbox_celeba.txt has no row for 1 image (000004) of list_attr_celeba.txt",
    ]
