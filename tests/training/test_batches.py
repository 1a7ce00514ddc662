"""Batches are pure functions of seed and step."""

from pathlib import Path

import numpy as np
import pytest
import torch

from celebgen_cli.data.captions import is_true_of
from celebgen_cli.data.dataset import Dataset, open_dataset
from celebgen_cli.training.batches import (
    Examples,
    batch_rows,
    captions,
    chunks,
    numpy_generator,
    random_flip,
    torch_generator,
    training_and_held_out,
)


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
    flipped = random_flip(images, torch_generator(0, 0, 1))
    turned = (flipped == images.flip(3)).all(dim=(1, 2, 3))
    kept = (flipped == images).all(dim=(1, 2, 3))
    assert (turned ^ kept).all()
    assert 60 < int(turned.sum()) < 140


def test_captions_are_true_and_repeatable(dataset32: Path) -> None:
    attributes = open_dataset(dataset32).split("train").attributes
    texts, named = captions(attributes, numpy_generator(0, 0, 0))
    assert named.shape == (len(attributes), 40)
    assert is_true_of(named, attributes).all()
    assert len(set(texts)) > len(texts) // 2
    assert captions(attributes, numpy_generator(0, 0, 0))[0] == texts
    assert captions(attributes, numpy_generator(0, 1, 0))[0] != texts


def test_examples(dataset32: Path) -> None:
    split = open_dataset(dataset32).split("train")
    some = Examples(split, np.array([3, 8, 20]))
    images = some.images(np.array([2, 0]))
    assert images.shape == (2, 3, 32, 32)
    expected = torch.from_numpy(np.array(split.images[[20, 3]])).permute(0, 3, 1, 2) / 127.5 - 1
    torch.testing.assert_close(images, expected)
    assert np.array_equal(some.attributes(np.array([1])), split.attributes[[8]])
    assert (len(some), len(Examples(split))) == (3, len(split))


def only_train(dataset: Dataset, count: int) -> Dataset:
    class Cut(Dataset):
        def split(self, name: str):  # type: ignore[no-untyped-def]
            whole = dataset.split("train")
            images = np.repeat(whole.images[:1], count, 0)
            return type(whole)(**{**vars(whole), "images": images, "ids": np.arange(count)})

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


def test_chunks() -> None:
    assert [c.tolist() for c in chunks(5, 2)] == [[0, 1], [2, 3], [4]]
    assert chunks(0, 2) == []
