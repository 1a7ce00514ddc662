"""Checkpoint folders: whole or absent, verified, and only the newest kept."""

import errno
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from celebgen_cli.errors import CelebgenError
from celebgen_cli.training import checkpoints
from celebgen_cli.training.checkpoints import (
    list_checkpoints,
    load_tensors,
    newest_checkpoint,
    pack_optimizer,
    read_checkpoint,
    unpack_optimizer,
    write_checkpoint,
)


def tensors(value: float) -> dict[str, dict[str, torch.Tensor]]:
    return {
        name: {"a": torch.full((3, 2), value), "b": torch.tensor(value)} for name in ("weights", "ema", "optimizer")
    }


def write(folder: Path, *steps: int, keep: int = 9) -> None:
    for step in steps:
        write_checkpoint(folder, step, tensors(float(step)), {"best": None, "seed": 3}, keep)


def test_round_trip(tmp_path: Path) -> None:
    write(tmp_path / "checkpoints", 12)
    read = read_checkpoint(tmp_path / "checkpoints" / "step-0000012")
    assert read.step == 12
    assert read.state["seed"] == 3
    for group in (read.weights, read.ema, read.optimizer):
        assert torch.equal(group["a"], torch.full((3, 2), 12.0))
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-0000012"]


def test_only_some_groups(tmp_path: Path) -> None:
    write(tmp_path, 1)
    (tmp_path / "step-0000001" / "optimizer.safetensors").unlink()
    read = read_checkpoint(tmp_path / "step-0000001", only=("ema",))
    assert read.ema
    assert read.weights == read.optimizer == {}


def test_the_newest_are_kept(tmp_path: Path) -> None:
    write(tmp_path, 5, 10, 15, 10_000_000, keep=2)
    assert [p.name for p in list_checkpoints(tmp_path)] == ["step-0000015", "step-10000000"]


def test_a_damaged_one_of_a_later_step_is_not_kept_in_place_of_the_one_just_written(tmp_path: Path) -> None:
    write(tmp_path, 30, 40)
    (tmp_path / "step-0000040" / "optimizer.safetensors").write_bytes(b"half")
    write(tmp_path, 34, keep=1)
    assert [p.name for p in list_checkpoints(tmp_path)] == ["step-0000034"]


def test_the_same_step_again(tmp_path: Path) -> None:
    write(tmp_path, 5)
    write_checkpoint(tmp_path, 5, tensors(7.0), {}, 2)
    assert float(read_checkpoint(tmp_path / "step-0000005").weights["b"]) == 7.0


def test_leftovers_of_a_killed_process_are_no_checkpoints(tmp_path: Path) -> None:
    write(tmp_path, 5)
    (tmp_path / ".step-0000010.tmp").mkdir()
    (tmp_path / ".step-0000010.tmp" / "weights.safetensors").write_bytes(b"half")
    found, damaged = newest_checkpoint(tmp_path)
    assert found is not None
    assert (found.step, damaged) == (5, [])
    write(tmp_path, 10)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-0000005", "step-0000010"]


@pytest.mark.parametrize("harm", ["truncate", "alter", "remove", "empty"])
@pytest.mark.parametrize("name", ["weights.safetensors", "ema.safetensors", "optimizer.safetensors"])
def test_damage_is_named_and_the_one_before_is_used(tmp_path: Path, name: str, harm: str) -> None:
    write(tmp_path, 5, 10)
    path = tmp_path / "step-0000010" / name
    data = path.read_bytes()
    if harm == "remove":
        path.unlink()
    else:
        path.write_bytes({"truncate": data[:-4], "alter": data[:-1] + bytes([data[-1] ^ 1]), "empty": b""}[harm])
    found, damaged = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 5
    assert len(damaged) == 1
    assert str(path) in damaged[0]
    assert "missing, truncated or altered" in damaged[0]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"step": 1}', '{"step": "x", "sha256": {}}'])
def test_a_damaged_state_file(tmp_path: Path, content: str) -> None:
    write(tmp_path, 5, 10)
    (tmp_path / "step-0000010" / "state.json").write_text(content, encoding="utf-8")
    found, damaged = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 5
    assert "state.json" in damaged[0]


@pytest.mark.parametrize(("old", "new"), [
    ('"seed": 3', '"seed": 4'), ('"step": 10', '"step": 11'), ('"best": null', '"best": 1'),
])  # fmt: skip
def test_an_altered_state_file(tmp_path: Path, old: str, new: str) -> None:
    write(tmp_path, 5, 10)
    path = tmp_path / "step-0000010" / "state.json"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    found, damaged = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 5
    assert damaged == [f"{path} was altered, or is of another checkpoint"]


def test_a_checkpoint_under_another_name(tmp_path: Path) -> None:
    write(tmp_path, 5, 10)
    (tmp_path / "step-0000005").rename(tmp_path / "step-0000050")
    found, damaged = newest_checkpoint(tmp_path)
    assert found is not None
    assert (found.step, len(damaged)) == (10, 1)


def test_one_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    write(tmp_path, 5)
    path = tmp_path / "step-0000005" / "state.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    del state["self"]
    path.write_text(json.dumps(state), encoding="utf-8")
    assert read_checkpoint(path.parent).step == 5


def test_the_best_is_kept(tmp_path: Path) -> None:
    for step in (5, 10, 15, 20):
        write_checkpoint(tmp_path, step, tensors(1.0), {}, keep=2, best=5)
    assert [p.name for p in list_checkpoints(tmp_path)] == ["step-0000005", "step-0000015", "step-0000020"]
    write_checkpoint(tmp_path, 25, tensors(1.0), {}, keep=1, best=15)
    assert [p.name for p in list_checkpoints(tmp_path)] == ["step-0000015", "step-0000025"]


def test_a_name_goes_before_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed while it clears away leaves no half of a checkpoint under a checkpoint's name."""
    write(tmp_path, 5)
    seen: list[list[str]] = []
    clear = checkpoints.shutil.rmtree
    monkeypatch.setattr(
        checkpoints.shutil, "rmtree",
        lambda path, **more: (seen.append([p.name for p in list_checkpoints(tmp_path)]), clear(path, **more)),
    )  # fmt: skip
    checkpoints.remove_checkpoint(tmp_path / "step-0000005")
    assert seen[-1] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux which file a number is")
def test_all_is_flushed_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[str] = []
    replace = os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: flushed.append(os.readlink(f"/proc/self/fd/{handle}")))

    def rename(source: Any, target: Any) -> None:
        flushed.append(f"-> {target}")
        replace(source, target)

    monkeypatch.setattr(os, "replace", rename)
    write(tmp_path, 5)
    final = f"-> {tmp_path / 'step-0000005'}"
    before = "\n".join(flushed[: flushed.index(final)])
    assert all(name in before for name in ("weights.safe", "ema.safe", "optimizer.safe", "state.json"))
    assert str(tmp_path) in flushed[flushed.index(final) :]


def test_nothing_there(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path / "none") == (None, [])
    write(tmp_path, 5)
    (tmp_path / "step-0000005" / "state.json").unlink()
    found, damaged = newest_checkpoint(tmp_path)
    assert found is None
    assert len(damaged) == 1


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_full_disk(tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 5)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    calls, save = [0], checkpoints.save_file

    def full(content: Any, path: Path) -> None:
        calls[0] += 1
        if calls[0] == at:
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(content, path)

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(CelebgenError, match=r"No space left on device.*checkpoints before this one are intact"):
        write(tmp_path, 10)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["step-0000005"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(CelebgenError, match=r"cannot write .*step-0000001"):
        write(tmp_path / "file", 1)


def test_load_tensors_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(CelebgenError, match=r"none\.safetensors does not exist"):
        load_tensors(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"123")
    with pytest.raises(CelebgenError, match=r"bad\.safetensors is truncated or no safetensors file"):
        load_tensors(tmp_path / "bad.safetensors")


def test_the_optimizer_survives(tmp_path: Path) -> None:
    def make() -> tuple[torch.nn.Linear, torch.optim.AdamW]:
        torch.manual_seed(0)
        layer = torch.nn.Linear(3, 2)
        return layer, torch.optim.AdamW([{"params": [layer.weight]}, {"params": [layer.bias]}], lr=0.1)

    def step(layer: torch.nn.Linear, optimizer: torch.optim.AdamW, k: int) -> None:
        layer(torch.full((1, 3), float(k))).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    one, first = make()
    for k in range(3):
        step(one, first, k)
    two, second = make()
    two.load_state_dict(one.state_dict())
    unpack_optimizer(second, {name: tensor.clone() for name, tensor in pack_optimizer(first).items()})
    for layer, optimizer in ((one, first), (two, second)):
        step(layer, optimizer, 3)
    assert torch.equal(one.weight, two.weight)
    assert torch.equal(one.bias, two.bias)
    assert {name.split(".")[1] for name in pack_optimizer(first)} == {"step", "exp_avg", "exp_avg_sq"}
