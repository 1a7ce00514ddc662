"""Planted duplicates are found, other faces are not, and the search misses no pair that all pairs would show."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from celebgen_cli.exploration import duplicates
from celebgen_cli.exploration.duplicates import Duplicates, Pair, count_pairs, find_duplicates
from celebgen_cli.exploration.faces import cosine_waves, describe_images, measure_faces, mirror_signs
from celebgen_cli.exploration.parts import open_parts
from tests.exploration.conftest import draw, write_split

Faces = tuple[np.ndarray, np.ndarray]


def search(images: np.ndarray) -> Duplicates:
    descriptors = describe_images(images.astype(np.float32), cosine_waves(images.shape[1]))
    return find_duplicates([image.tobytes() for image in images], descriptors, lambda rows: images[rows])


def brighter(image: np.ndarray, by: int = 3) -> np.ndarray:
    return np.clip(image.astype(int) + by, 0, 255).astype(np.uint8)


def encoded(image: np.ndarray, quality: int = 70) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def test_other_faces_are_none(drawn: Faces) -> None:
    assert search(drawn[0]) == Duplicates([], [], True)


@pytest.mark.parametrize("size", [32, 64, 128])
def test_planted_ones_are_found(size: int) -> None:
    images = draw(40, size, seed=5)[0]
    dark = brighter(encoded(images[13][:, ::-1]), -9)
    planted = [images[3], images[3][:, ::-1], brighter(images[7]), encoded(images[11]), dark]
    found = search(np.concatenate([images, np.stack(planted)]))
    assert found.identical == [[3, 40]] and found.complete
    pairs = {(pair.a, pair.b): pair for pair in found.near}
    assert pairs.keys() == {(3, 41), (7, 42), (11, 43), (13, 44)}
    assert [pairs[key].mirrored for key in ((3, 41), (7, 42), (11, 43), (13, 44))] == [True, False, False, True]
    assert pairs[3, 41].distance == 0 and 0 < pairs[11, 43].distance < duplicates.DISTANCE
    assert found.near == sorted(found.near, key=lambda pair: pair.distance)


def test_gray_walls_are_no_duplicates() -> None:
    rng = np.random.default_rng(0)
    walls = rng.integers(118, 138, (6, 64, 64, 3)).astype(np.uint8)
    assert search(walls).near == []


def test_two_images_and_one(drawn: Faces) -> None:
    pair = np.stack([drawn[0][0], brighter(drawn[0][0], 5)])
    assert [(found.a, found.b, found.mirrored) for found in search(pair).near] == [(0, 1, False)]
    assert search(pair[:1]) == Duplicates([], [], True)


def test_a_symmetric_picture_is_met_once(drawn: Faces) -> None:
    half = drawn[0][0][:, :32]
    image = np.concatenate([half, half[:, ::-1]], axis=1)
    found = search(np.stack([image, encoded(image)]))
    assert [(pair.a, pair.b) for pair in found.near] == [(0, 1)]


def test_no_pair_within_the_radius_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_LEAF", 32)
    rng = np.random.default_rng(1)
    points = rng.normal(0, 3, (300, 63)).astype(np.float32)
    points[:, 5:] *= 0.05
    points[200:250] = points[:50] * mirror_signs() + rng.normal(0, 0.1, (50, 63))
    radius = 4.0
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    mirrored = np.linalg.norm(points[:, None] - (points * mirror_signs())[None], axis=2)
    wanted = {(i, j, False) for i, j in np.argwhere(distance <= radius) if i < j}
    wanted |= {(i, j, True) for i, j in np.argwhere(mirrored <= radius) if i < j}
    found, complete = duplicates._candidates(points, radius)
    assert complete and len(found) == len(set(found)) and len(wanted) > 100
    assert wanted <= set(found)
    close = 1.02 * radius
    assert all((mirrored if flipped else distance)[i, j] <= close for i, j, flipped in found)


def test_too_many_are_said_to_be_a_part(monkeypatch: pytest.MonkeyPatch, drawn: Faces) -> None:
    monkeypatch.setattr(duplicates, "MAX_CANDIDATES", 5)
    images = np.stack([brighter(drawn[0][0], by) for by in range(1, 9)])
    found = search(images)
    assert not found.complete and 0 < len(found.near) <= 5


def test_many_identical_ones_are_no_trouble(drawn: Faces) -> None:
    images = np.concatenate([np.repeat(drawn[0][:1], 800, axis=0), drawn[0][1:3]])
    found = search(images)
    assert found.identical == [list(range(800))] and found.near == []


def test_pairs_within_and_across_parts() -> None:
    part_of = np.array([0, 0, 0, 1, 1, 2])
    found = Duplicates([[0, 1, 3, 4]], [Pair(2, 5, 1.0, False), Pair(0, 2, 2.0, True)], True)
    assert count_pairs(found, part_of) == {
        (0, 0): {"identical": 1, "near": 0, "mirrored": 2},
        (0, 1): {"identical": 4, "near": 0, "mirrored": 2},
        (0, 2): {"identical": 0, "near": 1, "mirrored": 0},
        (1, 1): {"identical": 1, "near": 0, "mirrored": 0},
    }


def test_every_row_of_a_group_makes_a_pair() -> None:
    part_of = np.array([0, 0, 1, 0, 1, 1])
    found = Duplicates([[0, 2], [3, 4, 5]], [Pair(0, 1, 1.0, False), Pair(0, 3, 2.0, True)], True)
    assert count_pairs(found, part_of) == {
        (0, 0): {"identical": 0, "near": 1, "mirrored": 1},
        (0, 1): {"identical": 1 + 2, "near": 1, "mirrored": 2 + 1},
        (1, 1): {"identical": 1, "near": 0, "mirrored": 2},
    }


def test_counts_are_those_of_all_pairs(drawn: Faces) -> None:
    images = drawn[0]
    faces = [images[0], brighter(images[0]), images[0], images[1], images[1][:, ::-1], images[1], images[1][:, ::-1]]
    part_of = np.array([0, 0, 1, 0, 1, 1, 0])
    wanted = {
        (0, 0): {"identical": 0, "near": 1, "mirrored": 1}, (0, 1): {"identical": 3, "near": 1, "mirrored": 2},
        (1, 1): {"identical": 0, "near": 0, "mirrored": 1},
    }  # fmt: skip
    assert count_pairs(search(np.stack(faces)), part_of) == wanted


def test_a_few_pixels_do_not_settle_a_near_pair(drawn: Faces) -> None:
    """Those that are compared first differ by more than `DISTANCE`, all together by less."""
    image = np.random.default_rng(0).integers(60, 190, (64, 64, 3)).astype(np.uint8)
    other = image.astype(int)
    signs = np.where(np.indices((16, 16)).sum(0) % 2, 1, -1)[..., None]
    other[::4, ::4] += 24 * signs
    other = other.astype(np.uint8)
    few, _ = duplicates._compare(image[::4, ::4], other[::4, ::4])
    assert duplicates.DISTANCE < few < 2 * duplicates.DISTANCE
    assert duplicates._distance(np.stack([image, other]), False) == pytest.approx(6.0, abs=0.1)


def test_across_the_splits_of_datasets(tmp_path: Path, drawn: Faces) -> None:
    images = drawn[0]
    one = write_split(tmp_path / "one", "train", images[:20])
    two = write_split(tmp_path / "two", "valid", np.concatenate([images[20:30], images[4:5], encoded(images[5])[None]]))
    parts = open_parts([one, two])
    faces = measure_faces(parts)
    found = find_duplicates(faces.digests, faces.descriptors, parts.images)
    assert found.identical == [[4, 30]]
    assert [(pair.a, pair.b) for pair in found.near] == [(5, 31)]
