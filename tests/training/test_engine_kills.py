"""kill -9 at random moments, checkpoints all the time: nothing half-written under its name, nothing lost."""

import json
import multiprocessing
import os
import random
import time
from dataclasses import replace
from pathlib import Path

import pytest

from celebgen_cli.training.checkpoints import list_checkpoints, newest_checkpoint, read_checkpoint
from celebgen_cli.training.continuing import holds_run
from tests.training.test_engine import assert_equal_runs, metrics
from tests.training.toy import CONFIG, Toy, trainer

LONG = replace(CONFIG, steps=160, checkpoint_every=5, sample_every=160, keep=2)


def train(run: Path) -> None:
    """Start the run or go on with it, as the same command does."""
    trainer(run, LONG, resume=holds_run(run), task=Toy(seed=0)).train()


def check_whole(run: Path) -> int:
    """Read all that is there under its final name; the newest step."""
    for path in list_checkpoints(run / "checkpoints"):
        assert read_checkpoint(path).step == int(path.name.removeprefix("step-"))
    for path in run.glob("*.json"):
        json.loads(path.read_text(encoding="utf-8"))
    assert holds_run(run) or not (run / "checkpoints").exists()
    checkpoint, damaged = newest_checkpoint(run / "checkpoints")
    assert damaged == []
    return checkpoint.step if checkpoint is not None else 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process that is not forked takes seconds to begin")
def test_a_run_that_is_killed_again_and_again_is_the_same(tmp_path: Path) -> None:
    context, rng, run = multiprocessing.get_context("fork"), random.Random(3), tmp_path / "run"
    kills, done = 0, 0
    while done < LONG.steps:
        process = context.Process(target=train, args=(run,))
        process.start()
        limit, moment = time.monotonic() + 60, rng.uniform(0.0, 0.15)
        if kills:  # the first ones may come before anything is there
            while process.is_alive() and check_newest(run) <= done and time.monotonic() < limit:
                time.sleep(0.002)
        process.join(moment if kills < 8 else 60)
        process.kill()
        process.join()
        kills += 1
        before, done = done, check_whole(run)
        assert done >= before
    assert kills > 3
    whole = trainer(tmp_path / "whole", LONG)
    whole.train()
    again = trainer(run, LONG, resume=True)
    assert_equal_runs(whole, again)
    assert metrics(run) == metrics(tmp_path / "whole")
    left = [path.name for path in run.rglob("*") if ".tmp" in path.name]
    assert all(name.startswith(".") for name in left)


def check_newest(run: Path) -> int:
    """The newest step by its name, while another process works there."""
    found = list_checkpoints(run / "checkpoints")
    return int(found[-1].name.removeprefix("step-")) if found else 0
