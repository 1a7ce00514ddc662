"""Work made ahead by other processes: the same as made at once, in order, from any step, errors included."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from celebgen_cli.training.ahead import Ahead

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers share memory by fork, which is Linux's")


def _made(step: int) -> tuple[int, float, np.random.Generator]:
    rng = np.random.default_rng([7, step])
    return step, float(rng.random()), rng


def test_workers_give_what_the_function_gives_in_the_order_of_the_steps() -> None:
    ahead = Ahead(_made, torch.device("cpu"), workers=2)
    for step in range(5, 17):
        (number, value, rng), (_, expected, other) = ahead(step), _made(step)
        assert (number, value) == (step, expected)
        assert rng.random() == other.random()  # the generator comes along in the state that it was left in


def test_another_step_begins_a_new_queue() -> None:
    ahead = Ahead(_made, torch.device("cpu"), workers=1)
    assert [ahead(step)[0] for step in (3, 4, 40, 41, 2)] == [3, 4, 40, 41, 2]


def test_a_step_that_is_asked_for_again_is_not_made_again_and_its_generator_is_fresh() -> None:
    ahead = Ahead(lambda step: (os.getpid(), _made(step)), torch.device("cpu"), workers=1)
    (pid, (_, _, first)), (again, (_, _, second)) = ahead(3), ahead(3)
    assert pid == again == ahead(4)[0]
    assert first.random() == second.random() == _made(3)[2].random()


def test_other_processes_make_it() -> None:
    assert Ahead(lambda step: os.getpid(), torch.device("cpu"), workers=1)(0) != os.getpid()


def test_a_cpu_trains_without_workers() -> None:
    assert Ahead(lambda step: os.getpid(), torch.device("cpu"))(0) == os.getpid()


def test_an_error_of_a_worker_is_raised_here() -> None:
    def fails(step: int) -> int:
        raise ValueError(f"no batch for step {step}")

    with pytest.raises(ValueError, match="no batch for step 3"):
        Ahead(fails, torch.device("cpu"), workers=1)(3)


SCRIPT = """
import os, signal, sys, time
import torch
from celebgen_cli.training.ahead import Ahead

stopped = []
signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
ahead, step = Ahead(lambda step: step, torch.device("cpu"), workers=2), 0
while not stopped:
    assert ahead(step) == step
    step += 1
    if step == 3:
        print("ready", flush=True)
    time.sleep(0.01)
assert ahead(step) == step  # the workers are still there
print("saved", flush=True)
"""


def test_a_signal_to_the_whole_group_leaves_the_workers_alone_and_the_program_ends() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, "saved\n"), err
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                os.killpg(process.pid, 0)
            except ProcessLookupError:  # no worker is left behind
                return
            time.sleep(0.05)
        pytest.fail("workers outlive the program")
