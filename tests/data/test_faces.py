"""The drawn faces that stand in for CelebA: attributes are seen, seeds repeat, both dialects are readable."""

import time
from pathlib import Path

import numpy as np
import pytest

from celebgen_cli.data.annotations import find_annotations, read_attributes, read_partition
from celebgen_cli.data.attributes import INDEX
from tests.faces import ALIGNED, DRAWN, HAIR, draw_face, prepared_faces, random_attributes, write_celeba


def test_same_seed_same_face_and_size() -> None:
    image, attributes = draw_face(np.random.default_rng(3))
    again, same = draw_face(np.random.default_rng(3))
    assert image.size == ALIGNED and image.mode == "RGB"
    assert image.tobytes() == again.tobytes() and (attributes == same).all()
    assert image.tobytes() != draw_face(np.random.default_rng(4))[0].tobytes()
    assert draw_face(np.random.default_rng(3), size=(64, 64))[0].size == (64, 64)


@pytest.mark.parametrize("name", DRAWN)
def test_drawn_attributes_change_pixels(name: str) -> None:
    attributes = np.full(40, -1, dtype=np.int8)
    attributes[[INDEX["Male"], INDEX["Brown_Hair"], INDEX["Young"], INDEX["No_Beard"]]] = 1
    if name == "Wavy_Hair":  # seen in long hair only
        attributes[INDEX["Male"]] = -1
    if name in ("Mustache", "Goatee"):
        attributes[INDEX["No_Beard"]] = -1
    if name in HAIR:
        attributes[INDEX["Brown_Hair"]] = -1
    opposite = attributes.copy()
    opposite[INDEX[name]] *= -1
    one, given = draw_face(np.random.default_rng(0), attributes)
    other, _ = draw_face(np.random.default_rng(0), opposite)
    assert (given == attributes).all()
    changed = np.abs(np.asarray(one).astype(int) - np.asarray(other)).max(axis=-1) > 30
    assert changed.sum() >= 60


def test_random_attributes_do_not_contradict_each_other() -> None:
    rng = np.random.default_rng(0)
    table = np.stack([random_attributes(rng) for _ in range(500)])
    assert table.dtype == np.int8 and set(np.unique(table)) == {-1, 1}
    assert (table[:, [INDEX[name] for name in HAIR]] == 1).sum(axis=1).max() == 1
    woman = table[table[:, INDEX["Male"]] < 0]
    assert (woman[:, INDEX["No_Beard"]] == 1).all() and (woman[:, INDEX["Bald"]] == -1).all()
    for name in ("Male", "Smiling", "Eyeglasses", "Bald", "Wearing_Hat", "Mustache", *HAIR):
        assert 0.005 < (table[:, INDEX[name]] == 1).mean() < 0.9, name


def test_drawing_is_fast() -> None:
    rng = np.random.default_rng(0)
    start = time.process_time()  # its own work: other programs may have the core meanwhile
    for _ in range(100):
        draw_face(rng)
    assert 100 / (time.process_time() - start) > 200


@pytest.mark.parametrize("as_zip", [False, True])
@pytest.mark.parametrize("dialect", ["txt", "csv"])
def test_write_celeba_is_readable(tmp_path: Path, dialect: str, as_zip: bool) -> None:
    source = write_celeba(tmp_path, 10, 5, as_zip=as_zip, dialect=dialect)
    assert source.is_file() == as_zip
    found = find_annotations(tmp_path)
    assert found.attributes and found.partition and (found.identity is not None) == (dialect == "txt")
    table = read_attributes(found.attributes)
    rng = np.random.default_rng(5)
    np.testing.assert_array_equal(table.values, np.stack([draw_face(rng)[1] for _ in range(10)]))
    assert read_partition(found.partition).values.tolist() == [0] * 7 + [1] * 2 + [2]


def test_prepared_faces(tmp_path: Path) -> None:
    from celebgen_cli.data.dataset import open_dataset

    dataset = open_dataset(prepared_faces(tmp_path, 10, size=32))
    assert [len(dataset.split(name)) for name in dataset.splits] == [7, 2, 1]
