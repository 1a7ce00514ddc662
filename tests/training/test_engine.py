"""The training loop: exact resume, averages, interruption, and runs that go wrong."""

import errno
import json
import math
import os
import shutil
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.training import checkpoints
from celebgen_cli.training.checkpoints import list_checkpoints, read_checkpoint
from celebgen_cli.training.continuing import alone
from celebgen_cli.training.engine import Trainer, ema_update, learning_rate, with_overrides
from celebgen_cli.training.parts import Part
from tests.command import VOLATILE
from tests.training.toy import CONFIG, Toy, trainer


class Stop(Exception):
    pass


def metrics(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{k: v for k, v in line.items() if k not in VOLATILE} for line in lines]


def assert_equal_runs(a: Trainer, b: Trainer) -> None:
    assert a.step == b.step
    for name, tensor in a.task.module.state_dict().items():
        assert torch.equal(b.task.module.state_dict()[name], tensor), f"weights {name}"
    for name, tensor in a.ema.state_dict().items():
        assert torch.equal(b.ema.state_dict()[name], tensor), f"average {name}"
    one, two = checkpoints.pack_optimizer(a.optimizer), checkpoints.pack_optimizer(b.optimizer)
    assert one.keys() == two.keys()
    assert one
    for name, tensor in one.items():
        assert torch.equal(two[name], tensor), f"optimizer {name}"
    assert a.best == b.best


def stop_at(step: int) -> Any:
    """A reporter that breaks off behind this step, as a crash would: no checkpoint is written for it."""

    def report(done: int, steps: int, figures: Mapping[str, float]) -> None:
        if done == step:
            raise Stop

    return report


@pytest.mark.parametrize("at", [20, 21, 27])
def test_resume_is_exact(tmp_path: Path, at: int) -> None:
    whole = trainer(tmp_path / "whole")
    whole.train()
    with pytest.raises(Stop):
        trainer(tmp_path / "broken").train(stop_at(at + 1))
    again = trainer(tmp_path / "broken", resume=True, task=Toy(seed=99))
    assert again.step == 20
    again.train()
    assert_equal_runs(whole, again)
    assert metrics(tmp_path / "broken") == metrics(tmp_path / "whole")
    for kind in ("weights", "ema", "optimizer"):
        files = [tmp_path / run / "checkpoints" / "step-0000040" / f"{kind}.safetensors" for run in ("whole", "broken")]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_ctrl_c_writes_a_checkpoint_and_resume_is_exact(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole")
    whole.train()

    def interrupt(done: int, steps: int, figures: Mapping[str, float]) -> None:
        if done == 13:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    broken = trainer(tmp_path / "broken")
    with pytest.raises(KeyboardInterrupt):
        broken.train(interrupt)
    assert signal.getsignal(signal.SIGINT) is before
    assert broken.step in (13, 14)
    assert list_checkpoints(tmp_path / "broken" / "checkpoints")[-1].name == f"step-{broken.step:07d}"
    again = trainer(tmp_path / "broken", resume=True, task=Toy(seed=99))
    assert again.step == broken.step
    again.train()
    again.best = whole.best  # the interrupted run measured once more, so its best may be another step's
    assert_equal_runs(whole, again)


def test_a_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    trainer(tmp_path).train()
    files = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    again = trainer(tmp_path, resume=True)
    assert again.step == 40
    again.train()
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == files


def test_it_learns_and_keeps_what_it_should(tmp_path: Path) -> None:
    task = Toy()
    trained = trainer(tmp_path, replace(CONFIG, steps=200, learning_rate=3e-2), task=task)
    figures = trained.train()
    lines = metrics(tmp_path)
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == 200
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])
    assert figures["score"] == pytest.approx(lines[-1]["score"], rel=1e-4)
    assert all(line["double"] == pytest.approx(2 * line["loss"], rel=1e-4) for line in lines if "loss" in line)
    assert task.previews == [f"step-{i:07d}.png" for i in range(20, 201, 20)]
    names = [p.name for p in list_checkpoints(tmp_path / "checkpoints")]
    best = f"step-{trained.best_step:07d}"
    assert names == sorted({best, "step-0000180", "step-0000190", "step-0000200"})
    scores = [line["score"] for line in lines if "score" in line]
    assert len(scores) == 20
    assert trained.best == pytest.approx(min(scores), rel=1e-4)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert (config["format"], config["format_version"], config["kind"], config["of"]) == (
        "celebgen-run",
        1,
        "toy",
        "tests",
    )
    assert config["train"]["steps"] == 200
    assert not [p for p in tmp_path.rglob("*") if ".tmp" in p.name]


def test_the_best_average_is_kept_apart(tmp_path: Path) -> None:
    scores = iter([3.0, 1.0, 2.0, 5.0])

    class Scored(Toy):
        def validate(self, ema: torch.nn.Module) -> Mapping[str, float]:
            return {"score": next(scores)}

    trained = trainer(tmp_path, replace(CONFIG, keep=9), task=Scored())
    trained.train()
    best = checkpoints.load_tensors(tmp_path / "best.safetensors")
    second = read_checkpoint(tmp_path / "checkpoints" / "step-0000020").ema
    last = read_checkpoint(tmp_path / "checkpoints" / "step-0000040").ema
    assert trained.best == 1.0
    assert all(torch.equal(best[name], second[name]) for name in second)
    assert not all(torch.equal(best[name], last[name]) for name in last)


def test_the_average_has_its_half_life() -> None:
    update, averaged = ema_update(10), [torch.zeros(3)]
    for count in range(100_000, 100_010):
        update(averaged, [torch.ones(3)], count)
    assert averaged[0].tolist() == pytest.approx([0.5] * 3, rel=1e-4)
    early = [torch.zeros(1)]
    ema_update(10_000)(early, [torch.ones(1)], 1)  # a young average follows at once
    assert float(early[0]) == pytest.approx(1 - 2 / 11)


def test_learning_rate_by_value() -> None:
    config = replace(CONFIG, steps=100, warmup=10, learning_rate=2.0, final_learning_rate=0.1)
    assert learning_rate(0, config) == pytest.approx(0.2)
    assert learning_rate(9, config) == pytest.approx(2.0)
    assert learning_rate(55, config) == pytest.approx(2.0 * (0.1 + 0.9 * 0.5))
    assert learning_rate(100, config) == pytest.approx(0.2)
    falling = [learning_rate(step, config) for step in range(10, 100)]
    assert falling == sorted(falling, reverse=True)
    assert learning_rate(0, replace(config, warmup=0)) == pytest.approx(2.0)
    assert learning_rate(500, config) == pytest.approx(0.2)


def test_gradients_are_clipped_by_group(tmp_path: Path) -> None:
    class Steep(Toy):
        def loss(self, step: int) -> tuple[torch.Tensor, Mapping[str, float]]:
            first, last = self.parameter_groups()
            return 1e4 * sum(p.sum() for p in first) + 1e-4 * sum(p.sum() for p in last), {}

    trained = trainer(tmp_path, replace(CONFIG, clip=0.5), task=Steep())
    norms: list[float] = []
    step = trained.optimizer.step

    def watch(*args: Any, **kwargs: Any) -> Any:
        grads = [[p.grad for p in group] for group in trained.groups]
        norms.extend(math.sqrt(sum(float(g.square().sum()) for g in group if g is not None)) for group in grads)
        return step(*args, **kwargs)

    trained.scaler = torch.amp.GradScaler("cpu", enabled=False)
    trained.optimizer.step = watch  # type: ignore[method-assign]
    trained._one_step()
    assert norms[0] == pytest.approx(0.5, rel=1e-3)
    assert norms[1] == pytest.approx(1e-4 * math.sqrt(18), rel=1e-3)  # small ones stay as they are


@pytest.mark.parametrize(("bad_from", "log_every"), [(12, 1), (12, 7), (15, 100)])
def test_a_loss_that_is_no_number_stops_and_spoils_no_checkpoint(tmp_path: Path, bad_from: int, log_every: int) -> None:
    task = Toy()
    task.bad_from = bad_from
    said = rf"loss nan of step {bad_from + 1} or its gradient is not finite.* its batch is rows {8 * bad_from}, "
    with pytest.raises(CelebgenError, match=rf"{said}.* up to step-0000010 are good: go on from it with --resume"):
        trainer(tmp_path, replace(CONFIG, log_every=log_every), task=task).train()
    assert list_checkpoints(tmp_path / "checkpoints")
    stopped = json.loads((tmp_path / "stopped.json").read_text(encoding="utf-8"))
    assert (stopped["step"], stopped["rows"]) == (bad_from + 1, list(range(8 * bad_from, 8 * bad_from + 8)))
    assert not [line for line in metrics(tmp_path) if line["step"] > bad_from]
    for path in list_checkpoints(tmp_path / "checkpoints"):
        for tensor in read_checkpoint(path).weights.values():
            assert tensor.isfinite().all(), f"{path.name} holds weights that are no numbers"


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_with_held_out_figures_that_are_no_numbers_are_not_kept(tmp_path: Path, bad: float) -> None:
    scores = iter([3.0, bad])

    class Ruined(Toy):
        def validate(self, ema: torch.nn.Module) -> Mapping[str, float]:
            return {"score": next(scores)}

    trained = trainer(tmp_path, replace(CONFIG, keep=1), task=Ruined())
    said = "held-out figures of step 20 are not finite.* up to step-0000010 are good: go on from it with --resume"
    with pytest.raises(CelebgenError, match=said):
        trained.train()
    assert [path.name for path in list_checkpoints(tmp_path / "checkpoints")] == ["step-0000010"]
    assert trained.best == 3.0
    assert "NaN" not in (text := (tmp_path / "metrics.jsonl").read_text(encoding="utf-8")) and "Infinity" not in text


class Climbing(Toy):
    def loss(self, step: int, part: Part | None = None) -> tuple[torch.Tensor, Mapping[str, torch.Tensor | float]]:
        loss, logged = super().loss(step, part)
        return loss + (100.0 if step >= 77 else 0.0), logged


# the last of them is due at the first or second step of the climb
@pytest.mark.parametrize(("every", "good"), [(5, 75), (39, 39), (78, 0), (79, 0)])
def test_a_loss_that_diverges_gives_up_no_checkpoint(tmp_path: Path, every: int, good: int) -> None:
    config = replace(CONFIG, steps=500, checkpoint_every=every, keep=1, sample_every=500)
    said = rf"up to step-{good:07d} are good" if good else "start with a lower"
    with pytest.raises(CelebgenError, match=rf"the loss diverges: .*, from step 78 on, so training stopped; .*{said}"):
        trainer(tmp_path, config, task=Climbing()).train()
    found = [path.name for path in list_checkpoints(tmp_path / "checkpoints")]
    assert found[-1:] == [f"step-{good:07d}"][: len(found)]
    assert bool(found) == bool(good)
    assert json.loads((tmp_path / "stopped.json").read_text(encoding="utf-8"))["step"] == 78


def test_a_stop_amid_a_climb_loses_nothing_and_spoils_nothing(tmp_path: Path) -> None:
    config = replace(CONFIG, steps=500, checkpoint_every=50, keep=1, sample_every=500)

    def interrupt(done: int, steps: int, figures: Mapping[str, float]) -> None:
        if done == 82:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path, config, task=Climbing()).train(interrupt)
    found = [path.name for path in list_checkpoints(tmp_path / "checkpoints")]
    assert found[0] == "step-0000050"
    assert found[-1] in ("step-0000082", "step-0000083")
    with pytest.raises(CelebgenError, match=r"from step 78 on, .* up to step-0000050 are good: go on from it"):
        trainer(tmp_path, config, resume=True, task=Climbing()).train()
    assert [path.name for path in list_checkpoints(tmp_path / "checkpoints")] == ["step-0000050"]


def test_a_spike_delays_a_checkpoint(tmp_path: Path) -> None:
    class Spiky(Toy):
        def loss(self, step: int, part: Part | None = None) -> tuple[torch.Tensor, Mapping[str, torch.Tensor | float]]:
            loss, logged = super().loss(step, part)
            return loss + (100.0 if step in (77, 78, 79) else 0.0), logged

    trained = trainer(tmp_path, replace(CONFIG, steps=90, sample_every=90, keep=9), task=Spiky())
    trained.train()
    names = [path.name for path in list_checkpoints(tmp_path / "checkpoints")]
    assert names == [f"step-{step:07d}" for step in (10, 20, 30, 40, 50, 60, 70, 81, 90)]


def test_the_disk_is_full_for_figures_too(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        trainer(tmp_path).train(stop_at(15))
    path = tmp_path / "metrics.jsonl"
    again = trainer(tmp_path, resume=True)
    path.unlink()
    path.mkdir()  # what cannot be appended to
    with pytest.raises(CelebgenError, match=r"cannot write .*metrics\.jsonl .*goes on from the newest checkpoint"):
        again._log({"loss": 1.0})


def test_one_process_a_folder(tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(UsageError, match=f"another process trains in {tmp_path}"):
        trainer(tmp_path).train()
    assert not (tmp_path / "config.json").exists()
    assert trainer(tmp_path).train()


def test_what_killed_processes_left_is_cleared_away(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        trainer(tmp_path).train(stop_at(15))
    (tmp_path / "checkpoints" / ".step-0000020.tmp").mkdir()
    (tmp_path / "checkpoints" / ".step-0000005.old.tmp").mkdir()
    for name in (".config.json.abc.tmp", ".best.safetensors.tmp"):
        (tmp_path / name).write_bytes(b"half")
    trainer(tmp_path, resume=True).train()
    assert not [path for path in tmp_path.rglob("*") if ".tmp" in path.name]


def test_checkpoints_without_a_run_are_refused(tmp_path: Path) -> None:
    trainer(tmp_path, replace(CONFIG, steps=10)).train()
    (tmp_path / "config.json").unlink()
    with pytest.raises(UsageError, match="has checkpoints and no config.json"):
        trainer(tmp_path)


def test_the_best_checkpoint_outlives_newer_ones(tmp_path: Path) -> None:
    scores = iter([3.0, 1.0, 2.0, 5.0, 4.0, 0.5])

    class Scored(Toy):
        def validate(self, ema: torch.nn.Module) -> Mapping[str, float]:
            return {"score": next(scores)}

    config = replace(CONFIG, keep=1, steps=50, sample_every=50)
    trainer(tmp_path, config, task=Scored()).train()
    assert [path.name for path in list_checkpoints(tmp_path / "checkpoints")] == ["step-0000020", "step-0000050"]
    again = trainer(tmp_path, replace(config, steps=60), resume=True, task=Scored())
    assert (again.best, again.best_step) == (1.0, 20)
    again.train()
    assert [path.name for path in list_checkpoints(tmp_path / "checkpoints")] == ["step-0000060"]


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Stop):
        trainer(tmp_path).train(stop_at(15))
    before = {p: p.read_bytes() for p in (tmp_path / "checkpoints").rglob("*") if p.is_file()}
    assert before

    def full(tensors: Any, path: Path) -> None:
        Path(path).write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(CelebgenError, match=r"No space left on device.*--resume") as caught:
        trainer(tmp_path, resume=True).train()
    assert "\n" not in str(caught.value)
    assert {p: p.read_bytes() for p in (tmp_path / "checkpoints").rglob("*") if p.is_file()} == before
    assert not [p for p in tmp_path.rglob("*") if "tmp" in p.name]
    monkeypatch.undo()
    again = trainer(tmp_path, resume=True)
    assert again.step == 10
    again.train()
    whole = trainer(tmp_path / "whole")
    whole.train()
    assert_equal_runs(whole, again)


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    trainer(tmp_path, replace(CONFIG, steps=1)).train()
    with pytest.raises(UsageError, match=r"already holds a run; add --resume"):
        trainer(tmp_path)


def test_a_run_of_another_kind_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path, replace(CONFIG, steps=1)).train()
    other = Toy()
    other.kind = "other"
    with pytest.raises(UsageError, match=r"holds a run of kind 'toy', not 'other'"):
        trainer(tmp_path, resume=True, task=other)


def test_a_run_of_another_size_is_refused_in_one_sentence(tmp_path: Path) -> None:
    trainer(tmp_path).train()
    other = Toy()
    other.module = torch.nn.Sequential(torch.nn.Linear(4, 9), torch.nn.Tanh(), torch.nn.Linear(9, 2))
    with pytest.raises(CelebgenError) as caught:
        trainer(tmp_path, resume=True, task=other)
    assert "\n" not in str(caught.value)


def test_resume_without_a_checkpoint_starts_at_the_beginning(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        trainer(tmp_path).train(stop_at(5))
    again = trainer(tmp_path, resume=True)
    assert again.step == 0
    again.train()
    whole = trainer(tmp_path / "whole")
    whole.train()
    assert_equal_runs(whole, again)
    assert metrics(tmp_path) == metrics(tmp_path / "whole")


@pytest.mark.parametrize("name", ["weights.safetensors", "ema.safetensors", "optimizer.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_used(tmp_path: Path, name: str) -> None:
    whole = trainer(tmp_path / "whole")
    whole.train()
    with pytest.raises(Stop):
        trainer(tmp_path / "run").train(stop_at(25))
    path = tmp_path / "run" / "checkpoints" / "step-0000020" / name
    path.write_bytes(path.read_bytes()[:-10])
    said: list[str] = []
    again = trainer(tmp_path / "run", resume=True, warn=said.append)
    assert again.step == 10
    assert len(said) == 1
    assert "step-0000020" in said[0]
    assert name in said[0]
    again.train()
    assert_equal_runs(whole, again)
    assert metrics(tmp_path / "run") == metrics(tmp_path / "whole")


def test_no_whole_checkpoint_is_no_new_run(tmp_path: Path) -> None:
    trainer(tmp_path, replace(CONFIG, steps=20)).train()
    for path in (tmp_path / "checkpoints").glob("*/optimizer.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    before = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    with pytest.raises(CelebgenError, match=r"no checkpoint in .* is whole \(.*optimizer.*; choose another folder"):
        trainer(tmp_path, resume=True)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == before


def test_a_picture_that_a_stop_did_not_wait_for_is_drawn_later(tmp_path: Path) -> None:
    class Drawing(Toy):
        def preview(self, ema: nn.Module, path: Path) -> None:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"drawn")
            super().preview(ema, path)

    config = replace(CONFIG, steps=40, checkpoint_every=10, sample_every=10)
    pictures = tmp_path / "run" / "samples"
    trainer(tmp_path / "run", config, task=Drawing()).train()
    whole = sorted(path.name for path in pictures.iterdir())
    assert whole == [f"step-{step:07d}.png" for step in (10, 20, 30, 40)]
    (pictures / "step-0000040.png").unlink()
    trainer(tmp_path / "run", config, resume=True, task=Drawing()).train()  # finished, but for that
    assert sorted(path.name for path in pictures.iterdir()) == whole
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-0000040")
    (pictures / "step-0000030.png").unlink()
    (pictures / "step-0000040.png").unlink()
    task = Drawing()
    trainer(tmp_path / "run", config, resume=True, task=task).train()
    assert task.previews == ["step-0000030.png", "step-0000040.png"]
    assert sorted(path.name for path in pictures.iterdir()) == whole


def test_a_half_written_line_of_metrics_is_dropped(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        trainer(tmp_path).train(stop_at(15))
    with (tmp_path / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 16, "lo')
    trainer(tmp_path, resume=True).train()
    steps = [line["step"] for line in metrics(tmp_path) if "loss" in line]
    assert steps == list(range(1, 41))


def test_overrides() -> None:
    assert with_overrides(CONFIG, steps=7, learning_rate=None) == replace(CONFIG, steps=7)
