"""Training of the judge: loss, augmentation, parts of a batch, and that it learns what drawn faces show."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from celebgen_cli.data.attributes import INDEX
from celebgen_cli.data.captions import Wording
from celebgen_cli.data.dataset import open_dataset
from celebgen_cli.training.augment import DRAWS, Augmentation, augment
from celebgen_cli.training.batches import Examples
from celebgen_cli.training.engine import Trainer
from celebgen_cli.training.judge import JudgeTask, label_loss
from celebgen_cli.training.judging import JUDGES, SETTINGS
from celebgen_cli.training.parts import Part


@pytest.fixture(scope="module")
def split(dataset32: Path) -> Examples:
    return Examples(open_dataset(dataset32).split("train"))


def task(split: Examples, batch_size: int = 12) -> JudgeTask:
    return JudgeTask(JUDGES["tiny"], split, split, batch_size, 0)


def test_loss_counts_known_labels_alone() -> None:
    logits = torch.tensor([[0.0, 2.0, -1.0], [3.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    labels = torch.tensor([[1, -1, 0], [1, 0, 0], [0, 0, 0]])
    rows = [(math.log(2) + math.log1p(math.exp(2))) / 2, math.log1p(math.exp(-3)), 0.0]
    assert float(label_loss(logits, labels)) == pytest.approx(sum(rows) / 3, rel=1e-6)


def test_augmentation_can_do_nothing_or_mirror_alone() -> None:
    faces = torch.rand(2, 3, 8, 8) * 2 - 1
    draws = torch.full((2, DRAWS), 0.5)
    draws[1, 0] = 0.0
    changed = augment(faces, draws, Augmentation())
    torch.testing.assert_close(changed[0], faces[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(changed[1], faces[1].flip(2), atol=1e-6, rtol=0)


def test_augmentation_moves_and_tones() -> None:
    faces = torch.zeros(1, 3, 16, 16)
    faces[..., 8, 8] = 1.0
    draws = torch.full((1, DRAWS), 0.5)
    draws[0, 3] = 1.0  # to one side by a quarter
    moved = augment(faces, draws, Augmentation(shift=0.25))
    assert float(moved[0, 0, 8, 4]) == pytest.approx(1.0, abs=1e-5) and float(moved.sum()) == pytest.approx(3, abs=1e-4)
    draws = torch.full((1, DRAWS), 0.5)
    draws[0, 5:] = 1.0
    toned = augment(torch.full((1, 3, 4, 4), 0.4), draws, Augmentation(brightness=0.1, contrast=0.2))
    torch.testing.assert_close(toned, torch.full((1, 3, 4, 4), 0.4 * 1.2 + 0.1))


def test_parts_of_a_batch_add_up(split: Examples) -> None:
    one = task(split)
    with torch.no_grad():
        whole, other = float(one.loss(3)[0]), float(one.loss(4)[0])
        parts = [(part, float(one.loss(3, part)[0])) for part in Part(0, 12).split(5)]
    assert whole == pytest.approx(sum(part.count * loss for part, loss in parts) / 12, rel=1e-5)
    assert whole != other


def test_learns_what_the_faces_show(split: Examples, tmp_path: Path) -> None:
    one = task(split, 16)
    config = replace(SETTINGS["tiny"], steps=60, learning_rate=5e-3, ema_half_life=10, checkpoint_every=60)
    before = one.accuracies(one.model)
    trainer = Trainer(one, tmp_path / "run", config, device=torch.device("cpu"), settings={})
    figures = trainer.train()
    after = one.accuracies(trainer.ema.module)
    attributes = split.attributes(np.arange(len(split)))
    usual = np.maximum((attributes > 0).mean(axis=0), (attributes < 0).mean(axis=0))
    assert after.mean() > max(before.mean(), usual.mean()) + 0.03
    assert after[INDEX["Male"]] > usual[INDEX["Male"]]
    assert figures["accuracy"] == pytest.approx(after.mean(), abs=0.01)  # in the precision of training
    assert figures["score"] == pytest.approx(1 - figures["accuracy"])


def test_unknown_labels_have_no_accuracy(split: Examples) -> None:
    unknown = replace(split.split, attributes=split.split.attributes.copy())
    unknown.attributes[:, 3] = 0
    accuracies = task(Examples(unknown, None, Wording())).accuracies(task(split).model)
    assert np.flatnonzero(np.isnan(accuracies)).tolist() == [3]
