"""A batch in micro-batches: the same curve, refused where rows see each other, found by trial where memory is short."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.training import fitting
from celebgen_cli.training.engine import TrainConfig
from celebgen_cli.training.fitting import available_memory, kept_bytes, out_of_memory, parts_by_size
from celebgen_cli.training.parts import Part
from tests.command import Chain, invoke, one_sentence
from tests.training.toy import CONFIG, Toy, trainer

SHORT = replace(CONFIG, steps=12, checkpoint_every=6, sample_every=12)


def losses(run: Path) -> list[float]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return [line["loss"] for line in lines if "loss" in line]


def recorded(run: Path) -> dict[str, object]:
    return dict(json.loads((run / "config.json").read_text(encoding="utf-8"))["train"])


def curve(run: Path, config: TrainConfig, task: Toy | None = None) -> list[float]:
    trainer(run, config, task=task).train()
    return losses(run)


@pytest.mark.parametrize("count", [1, 5, 8, 13])
def test_parts_are_all_of_it(count: int) -> None:
    for pieces in range(1, count + 1):
        parts = Part(3, count).split(pieces)
        assert [row for part in parts for row in range(20)[part.rows]] == list(range(3, 3 + count))
        assert max(part.count for part in parts) - min(part.count for part in parts) <= 1
    with pytest.raises(ValueError, match="cannot be split"):
        Part(0, count).split(count + 1)


@pytest.mark.parametrize("pieces", [2, 3, 8])
def test_the_curve_is_that_of_the_whole_batch(tmp_path: Path, pieces: int) -> None:
    task = Toy()
    whole = curve(tmp_path / "whole", SHORT)
    assert curve(tmp_path / "parts", replace(SHORT, accumulate=pieces), task) == pytest.approx(whole, rel=1e-5)
    assert task.seen[:pieces] == Part(0, 8).split(pieces)
    assert len(task.seen) == 12 * pieces


def test_figures_are_means_over_parts(tmp_path: Path) -> None:
    trained = trainer(tmp_path, replace(SHORT, accumulate=3))
    loss, logged = trained._one_step()
    assert float(torch.as_tensor(logged["double"])) == pytest.approx(2 * float(loss), rel=1e-6)


def test_more_parts_than_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--accumulate 9 is more than the 8 pictures"):
        trainer(tmp_path, replace(SHORT, accumulate=9))


def test_what_sees_the_whole_batch_is_not_split(chain: Chain, tmp_path: Path) -> None:
    words = ("train-clip", chain.dataset, "-o", tmp_path / "clip", "--preset", "tiny", "--steps", 1)
    assert "see each other" in one_sentence(invoke(*words, "--accumulate", 2), 2)
    assert not (tmp_path / "clip").exists()
    assert invoke(*words, "--batch-size", "auto").exit_code == 0
    assert recorded(tmp_path / "clip")["accumulate"] == 1


@pytest.mark.parametrize("name", ["vae", "unet"])
def test_the_commands_accumulate(chain: Chain, tmp_path: Path, name: str) -> None:
    run = tmp_path / name
    words = chain.train_diffusion(run, "--steps", 4) if name == "unet" else (
        "train-vae", chain.dataset, "-o", run, "--text", chain.clip, "--perceptual", "none", "--steps", 4,
        "--prior-steps", 0,
    )  # fmt: skip
    whole = {"vae": chain.vae, "unet": chain.unet}[name]
    out = invoke(*words, "--accumulate", 3, "--checkpoint-activations")
    assert out.exit_code == 0, out.stderr
    # the schedule of the rate is of another length, so only what warm-up alone decides is compared
    assert losses(run) == pytest.approx(losses(whole)[:4], rel=2e-3)
    assert recorded(run)["accumulate"] == 3


def test_what_fits_is_found_and_the_batch_stays(tmp_path: Path) -> None:
    said: list[str] = []
    task, whole = Toy(), curve(tmp_path / "whole", SHORT)
    task.room = 3
    trained = trainer(tmp_path / "auto", replace(SHORT, accumulate=0), task=task, warn=said.append)
    trained.train()
    assert losses(tmp_path / "auto") == pytest.approx(whole, rel=1e-5)
    assert recorded(tmp_path / "auto")["accumulate"] == 4
    assert said == ["a batch of 8 is computed in 4 parts of at most 2, which fit"]


def test_a_run_keeps_what_was_found(tmp_path: Path) -> None:
    """So that it goes on bit for bit, though there is more room now."""
    task = Toy()
    task.room = 2
    trainer(tmp_path, replace(SHORT, accumulate=0), task=task).train()
    again = trainer(tmp_path, replace(SHORT, accumulate=0, steps=14), resume=True)
    again.train()
    assert again.config.accumulate == 4


def test_room_for_one_row_is_not_there(tmp_path: Path) -> None:
    task = Toy()
    task.room = 0
    with pytest.raises(CelebgenError, match="not even one picture fits") as caught:
        trainer(tmp_path, replace(SHORT, accumulate=0), task=task).train()
    assert "\n" not in str(caught.value)


class Crowded(Toy):
    """Memory gets short in the middle of the run."""

    def loss(self, step: int, part: Part | None = None):  # type: ignore[no-untyped-def]
        self.room = 8 if step < 5 else 2
        return super().loss(step, part)


def test_memory_that_runs_out_in_the_middle(tmp_path: Path) -> None:
    said: list[str] = []
    trainer(tmp_path / "auto", replace(SHORT, accumulate=0), task=Crowded(), warn=said.append).train()
    assert losses(tmp_path / "auto") == pytest.approx(curve(tmp_path / "whole", SHORT), rel=1e-5)
    assert recorded(tmp_path / "auto")["accumulate"] == 4
    assert said == [f"memory ran out in step 6; from here on a batch is computed in {n} parts" for n in (2, 4)]
    with pytest.raises(CelebgenError, match=r"ran out in step 6 with 8 pictures at a time; give --batch-size auto"):
        trainer(tmp_path / "fixed", SHORT, task=Crowded()).train()


def test_trials_leave_no_trace(tmp_path: Path) -> None:
    class Counting(Toy):
        def __init__(self) -> None:
            super().__init__()
            self.module.register_buffer("calls", torch.zeros(()))
            self.module.register_forward_hook(lambda module, *_: module.calls.add_(1) and None)

    made = trainer(tmp_path, replace(SHORT, accumulate=0), task=Counting())
    before = {name: value.clone() for name, value in made.task.module.state_dict().items()}
    assert made.gradients.fit(0) == 1
    assert made.task.seen == [Part(0, 1), Part(0, 2), Part(0, 8)]  # type: ignore[attr-defined]
    assert all(torch.equal(before[name], value) for name, value in made.task.module.state_dict().items())
    assert all(p.grad is None for p in made.task.module.parameters())


def test_what_is_kept_for_the_way_back_is_counted() -> None:
    weight = nn.Parameter(torch.ones(1000))
    x = torch.ones(10, 1000)
    assert kept_bytes(lambda: (x * weight).sum()) == 40_000  # the weight needs x, and nothing needs the weight
    assert kept_bytes(lambda: (x * weight).exp().sum()) == 80_000  # and the exponential


def test_parts_follow_the_free_memory() -> None:
    weight = nn.Parameter(torch.ones(1000))

    def forward(part: Part) -> torch.Tensor:
        return (torch.ones(part.count, 1000) * weight).exp().sum()

    # 8,000 bytes a row, and half of what is free may be used
    for rows, pieces in ((100, 1), (16, 1), (15, 2), (8, 2), (7, 4), (1, 16), (0, 16)):
        assert parts_by_size(Part(0, 16), forward, 2 * 8_000 * rows) == pieces
    assert parts_by_size(Part(0, 1), forward, 0) == 1


def test_the_free_memory_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    free = available_memory()
    assert free is None or free > 2**26
    monkeypatch.setattr(fitting, "available_memory", lambda: None)
    assert parts_by_size(Part(0, 8), lambda part: torch.zeros(())) == 1


def test_what_counts_as_running_out() -> None:
    assert out_of_memory(torch.OutOfMemoryError("x"))
    assert out_of_memory(MemoryError())
    assert out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."))
    assert not out_of_memory(RuntimeError("shape mismatch"))


@pytest.mark.parametrize("value", ["0", "-3", "many", "1.5"])
def test_batch_sizes_that_are_none(chain: Chain, tmp_path: Path, value: str) -> None:
    out = invoke(*chain.train_diffusion(tmp_path / "run", "--batch-size", value))
    assert out.exit_code == 2
    assert "neither a number of pictures nor auto" in " ".join(out.stderr.split())


def test_auto_and_a_number_of_parts(chain: Chain, tmp_path: Path) -> None:
    out = invoke(*chain.train_diffusion(tmp_path / "run", "--batch-size", "auto", "--accumulate", 2))
    assert "leave --accumulate out" in one_sentence(out, 2)
