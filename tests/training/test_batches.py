"""Batches are pure functions of seed and step."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from celebgen_cli.data.captions import Wording, describe, is_true_of
from celebgen_cli.data.dataset import Dataset, open_dataset
from celebgen_cli.training import batches
from celebgen_cli.training.batches import (
    Examples,
    batch_rows,
    chunks,
    fits,
    mirrored,
    numpy_generator,
    preload,
    random_sides,
    torch_generator,
    training_and_held_out,
)
from tests.evaluation.conftest import write_dataset


@pytest.mark.parametrize(("count", "size"), [(10, 3), (10, 10), (7, 20), (1, 4), (16, 4)])
def test_every_epoch_has_each_row_once(count: int, size: int) -> None:
    seen = np.concatenate([batch_rows(count, size, step, seed=1) for step in range(3 * count)])
    for epoch in range(len(seen) // count):
        assert sorted(seen[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_epochs_and_seeds_differ_and_repeat() -> None:
    first, second = batch_rows(50, 50, 0, 0), batch_rows(50, 50, 1, 0)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, batch_rows(50, 50, 0, 1))
    assert np.array_equal(first, batch_rows(50, 50, 0, 0))


def test_generators_are_their_own() -> None:
    keys = [(seed, step, purpose) for seed in (0, 1) for step in (0, 1, 2) for purpose in (0, 1)]
    assert len({float(numpy_generator(*key).random()) for key in keys}) == len(keys)
    assert len({float(torch.rand(1, generator=torch_generator(*key), dtype=torch.float64)) for key in keys}) == len(
        keys
    )
    assert torch.equal(
        torch.rand(3, generator=torch_generator(5, 6, 7)), torch.rand(3, generator=torch_generator(5, 6, 7))
    )


def test_flips() -> None:
    images = torch.arange(200.0)[:, None, None, None] + torch.tensor([0.0, 0.25, 0.5])
    flipped = mirrored(images, random_sides(len(images), torch_generator(0, 0, 1)))
    turned = (flipped == images.flip(3)).all(dim=(1, 2, 3))
    kept = (flipped == images).all(dim=(1, 2, 3))
    assert (turned ^ kept).all()
    assert 60 < int(turned.sum()) < 140


def test_captions_are_true_and_repeatable(dataset32: Path) -> None:
    examples = Examples(open_dataset(dataset32).split("train"))
    rows, attributes = np.arange(len(examples)), examples.split.attributes
    texts, named, stored = examples.captions(rows, numpy_generator(0, 0, 0))
    assert named.shape == (len(attributes), 40)
    assert is_true_of(named, attributes).all()
    assert not stored.any()
    assert len(set(texts)) > len(texts) // 2
    assert examples.captions(rows, numpy_generator(0, 0, 0)).texts == texts
    assert examples.captions(rows, numpy_generator(0, 1, 0)).texts != texts


def test_without_captions_of_their_own_one_generator_words_them_all(dataset32: Path) -> None:
    """What runs have been trained with since the first version: nothing is drawn but what the grammar draws."""
    split = open_dataset(dataset32).split("train")
    examples, rows = Examples(split, np.array([4, 2, 30, 7])), np.array([3, 0, 0, 2])
    rng, other = numpy_generator(5, 6, 0), numpy_generator(5, 6, 0)
    expected = [describe(split.attributes[row], other) for row in (7, 4, 4, 30)]
    texts, named, _ = examples.captions(rows, rng)
    assert texts == [caption.text for caption in expected]
    np.testing.assert_array_equal(named, np.stack([caption.named for caption in expected]))
    assert rng.random() == other.random()  # and leaves the generator where it was left


def test_examples(dataset32: Path) -> None:
    split = open_dataset(dataset32).split("train")
    some = Examples(split, np.array([3, 8, 20]))
    images = some.images(np.array([2, 0]))
    assert images.shape == (2, 3, 32, 32)
    expected = torch.from_numpy(np.array(split.images[[20, 3]])).permute(0, 3, 1, 2) / 127.5 - 1
    torch.testing.assert_close(images, expected)
    assert np.array_equal(some.attributes(np.array([1])), split.attributes[[8]])
    assert (len(some), len(Examples(split))) == (3, len(split))


def test_pictures_on_a_device_are_the_same(dataset32: Path) -> None:
    split = open_dataset(dataset32).split("train")
    mapped, moved = (Examples(split, np.array([3, 8, 20, 1])) for _ in range(2))
    moved.to_device("cpu")
    assert moved._pixels is not None
    assert (moved._pixels.dtype, moved.bytes) == (torch.uint8, 4 * 32 * 32 * 3)
    for index in (np.array([2, 0, 0]), np.array([3]), np.arange(4)):
        assert torch.equal(moved.images(index), mapped.images(index))


def test_pictures_are_moved_to_a_gpu_with_room_for_them(dataset32: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = open_dataset(dataset32).split("train")
    train, held = Examples(split), Examples(split, np.arange(2))
    preload(torch.device("cpu"), train, held)
    assert train._pixels is None  # the memory map is as near
    moved: list[int] = []
    monkeypatch.setattr(Examples, "to_device", lambda self, device: moved.append(len(self)))
    for free, expected in ((10 * train.bytes, [len(split), 2]), (2 * train.bytes, [2]), (held.bytes, [])):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10**12))
        moved.clear()
        preload(torch.device("cuda"), train, held)
        assert moved == expected
    assert fits(40, torch.device("cuda")) == (batches.SHARE_OF_FREE * held.bytes >= 40)


def test_both_sets_are_told_in_one_wording(dataset32: Path) -> None:
    data = open_dataset(dataset32)
    wording = Wording("both", 0.25)
    for dataset in (data, only_train(data, 20)):
        assert [part.source.wording for part in training_and_held_out(dataset, None, wording)] == [wording] * 2
        assert [part.source.wording.source for part in training_and_held_out(dataset)] == ["grammar"] * 2


def only_train(dataset: Dataset, count: int) -> Dataset:
    class Cut(Dataset):
        def split(self, name: str):  # type: ignore[no-untyped-def]
            whole = dataset.split("train")
            images = np.repeat(whole.images[:1], count, 0)
            attributes = np.repeat(whole.attributes[:1], count, 0)
            return replace(whole, images=images, ids=np.arange(count), attributes=attributes)

    return Cut(dataset.path, dataset.info, ("train",))


def test_what_is_held_out(dataset32: Path) -> None:
    data = open_dataset(dataset32)
    train, held = training_and_held_out(data)
    assert (train.split.name, held.split.name) == ("train", "valid")
    for count, expected in ((200, [49, 99, 149, 199]), (20, [19])):
        train, held = training_and_held_out(only_train(data, count))
        assert held.rows.tolist() == expected
        assert sorted([*train.rows, *held.rows]) == list(range(count))
    _, held = training_and_held_out(only_train(data, 200), data)
    assert held.split.name == "valid"


@pytest.mark.parametrize(("count", "trained", "held"), [(1, 1, 1), (9, 9, 9), (10, 9, 1), (49, 48, 1), (100, 98, 2)])
def test_how_many_are_held_out(tmp_path: Path, count: int, trained: int, held: int) -> None:
    """Of very few none is spared: what is learned is scored on the same ones."""
    images = np.zeros((count, 32, 32, 3), np.uint8)
    labels = np.where(np.arange(count * 40).reshape(count, 40) % 3 == 0, 1, -1).astype(np.int8)
    dataset = open_dataset(write_dataset(tmp_path / "few", images, labels, "train"))
    train, other = training_and_held_out(dataset)
    assert (len(train), len(other)) == (trained, held)
    assert count < 10 or not set(train.rows) & set(other.rows)


def test_chunks() -> None:
    assert [c.tolist() for c in chunks(5, 2)] == [[0, 1], [2, 3], [4]]
    assert chunks(0, 2) == []
