"""Many processes: the same training as in one, whatever their number, and an end in one sentence when one dies."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from celebgen_cli.errors import UsageError
from celebgen_cli.processes import World
from celebgen_cli.training import distributed
from celebgen_cli.training.distributed import own_part
from celebgen_cli.training.engine import Task
from celebgen_cli.training.parts import Part
from tests.faces import prepared_faces
from tests.networks import randomise
from tests.training.two_processes import BATCH, gradients, tasks

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("many")
    prepared_faces(made, 60, size=32)
    return made


def start_two(module: str, *arguments: object) -> "list[subprocess.Popen[str]]":
    """Two processes as torchrun starts them, without its own seconds."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    job = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments), str(rank)], cwd=ROOT, text=True,
            env=os.environ | job | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for rank in range(2)
    ]  # fmt: skip


def test_two_processes_have_the_gradients_of_one(folder: Path) -> None:
    for process in start_two("tests.training.two_processes", folder):
        said = process.communicate(timeout=600)[0]
        assert process.returncode == 0, said


def weighed(task: Task, parts: list[Part]) -> tuple[torch.Tensor, dict[str, float]]:
    total, figures = torch.zeros(()), dict[str, float]()
    for part in parts:
        loss, logged = task.loss(3, part)
        total = total + loss * (part.count / BATCH)
        for name, value in logged.items():
            figures[name] = figures.get(name, 0.0) + float(value) * part.count / BATCH
    return total, figures


@pytest.mark.parametrize("name", ["diffusion", "prior", "vae"])
@pytest.mark.parametrize("pieces", [1, 3])
def test_parts_make_up_the_whole(folder: Path, name: str, pieces: int) -> None:
    """However a batch is cut, its rows meet the same captions, noise and flips."""
    task = tasks(folder)[name]()
    randomise(task.module)
    whole, figures = task.loss(3)
    expected = gradients(task, whole)
    loss, logged = weighed(task, Part(0, BATCH).split(pieces))
    found = gradients(task, loss)
    assert float(loss.detach()) == pytest.approx(float(whole.detach()), rel=1e-5)
    assert logged == pytest.approx({name: float(value) for name, value in figures.items()}, rel=1e-4)
    largest = max(float(grad.abs().max()) for grad in expected.values())
    for parameter, grad in found.items():
        torch.testing.assert_close(grad, expected[parameter], rtol=2e-3, atol=2e-5 * largest)
    if pieces == 1:
        assert torch.equal(loss, whole)


@pytest.mark.parametrize("make", ["clip", "critic"])
def test_what_compares_the_rows_of_a_batch_says_so(folder: Path, make: str) -> None:
    assert tasks(folder)[make]().coupled
    assert not getattr(tasks(folder)["vae"](), "coupled", False)


@pytest.mark.parametrize(("size", "world"), [(10, 3), (2, 4), (7, 2)])
def test_uneven_shares_are_refused(size: int, world: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "world", lambda: World(0, world))
    with pytest.raises(UsageError, match=f"a batch of {size} cannot be shared evenly by {world} .*--batch-size"):
        own_part(size)


def test_shares_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = []
    for rank in range(3):
        monkeypatch.setattr(distributed, "world", lambda rank=rank: World(rank, 3))
        parts.append(own_part(12))
    assert parts == Part(0, 12).split(3)
