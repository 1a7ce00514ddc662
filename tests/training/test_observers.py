"""Who watches a run is told what happens, in order; TensorBoard's files say what metrics.jsonl says."""

import builtins
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from celebgen_cli.errors import UsageError
from celebgen_cli.images import save_grid
from celebgen_cli.training.observers import Observer
from celebgen_cli.training.watching import SavedOptions, observers_of
from tests.training.toy import CONFIG, Toy, trainer


class Diary(Observer):
    def __init__(self) -> None:
        self.lines: list[Any] = []

    def started(self, run: Path, step: int) -> None:
        self.lines.append(("started", step))

    def logged(self, step: int, figures: Mapping[str, float]) -> None:
        self.lines.append(("logged", step, sorted(figures)))

    def sampled(self, step: int, path: Path) -> None:
        self.lines.append(("sampled", step, path.name))

    def stepped(self, step: int, ema: nn.Module) -> Mapping[str, float]:
        return {"mine": 7.0} if step == 2 else {}

    def closed(self) -> None:
        self.lines.append("closed")


class Painter(Toy):
    def preview(self, ema: nn.Module, path: Path) -> None:
        save_grid(np.full((1, 4, 6, 3), 200, np.uint8), path)


SHORT = replace(CONFIG, steps=4, checkpoint_every=4, sample_every=4, log_every=2)


def test_observers_are_told_what_happens(tmp_path: Path) -> None:
    diary = Diary()
    trainer(tmp_path, SHORT, task=Painter(), observers=[diary]).train()
    usual = ["double", "images_per_second", "loss", "memory"]
    assert diary.lines == [
        ("started", 0), ("logged", 2, usual), ("logged", 2, ["mine"]), ("logged", 4, usual), ("logged", 4, ["score"]),
        ("sampled", 4, "step-0000004.png"), "closed",
    ]  # fmt: skip
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert {"step": 2, "mine": 7.0} in lines
    assert 0 < next(line["memory"] for line in lines if "memory" in line) < 100  # GiB


def test_a_finished_run_has_no_watchers(tmp_path: Path) -> None:
    trainer(tmp_path, SHORT, task=Painter()).train()
    before = (tmp_path / "samples" / "step-0000004.png").read_bytes()
    (tmp_path / "samples" / "step-0000004.png").unlink()
    diary = Diary()
    trainer(tmp_path, SHORT, task=Painter(), resume=True, observers=[diary]).train()
    assert diary.lines == []
    assert (tmp_path / "samples" / "step-0000004.png").read_bytes() == before


def test_only_pictures_that_were_written_are_shown(tmp_path: Path) -> None:
    diary = Diary()
    trainer(tmp_path, SHORT, observers=[diary]).train()  # draws none, as train-clip
    assert not [line for line in diary.lines if line[0] == "sampled"]


def test_observers_are_closed_when_training_fails(tmp_path: Path) -> None:
    diary, task = Diary(), Toy()
    task.bad_from = 1
    with pytest.raises(Exception, match="not finite"):
        trainer(tmp_path, SHORT, task=task, observers=[diary]).train()
    assert diary.lines[-1] == "closed"


def test_options_are_kept(tmp_path: Path) -> None:
    (saved,) = observers_of("steps = 3\n")
    assert isinstance(saved, SavedOptions)
    saved.started(tmp_path, 0)
    assert (tmp_path / "config.toml").read_text() == "steps = 3\n"
    assert observers_of() == []


def test_tensorboard_has_the_figures_and_the_samples(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer(tmp_path, SHORT, task=Painter(), observers=observers_of(tensorboard=True)).train()
    # two more steps after a checkpoint: what is done again stands there once
    longer = replace(SHORT, steps=6)
    trainer(tmp_path, longer, task=Painter(), resume=True, observers=observers_of(tensorboard=True)).train()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    written = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = {line["step"]: line["loss"] for line in written if "loss" in line}
    assert [event.step for event in events.Scalars("train/loss")] == sorted(losses)
    for event in events.Scalars("train/loss"):
        assert event.value == pytest.approx(losses[event.step], rel=1e-4)
    picture = events.Images("samples")[-1]
    assert (picture.step, picture.width, picture.height) == (6, 6, 4)


def test_without_the_package_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    real = builtins.__import__

    def without(name: str, *more: Any, **named: Any) -> Any:
        if name.split(".")[0] == "tensorboard" or name == "torch.utils.tensorboard":
            raise ImportError(name)
        return real(name, *more, **named)

    monkeypatch.delitem(sys.modules, "celebgen_cli.training.tensorboard", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match=r"pip install 'celebgen\[tensorboard\]'$"):
        observers_of(tensorboard=True)
