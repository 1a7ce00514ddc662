"""Checkpoints: folders that are whole or absent, verified when they are read.

RUN/checkpoints/step-0001000/
    weights.safetensors, ema.safetensors, optimizer.safetensors   tensors
    state.json                                                    step, SHA-256 of each file, random state's seed
"""

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from celebgen_cli.errors import CelebgenError
from celebgen_cli.files import atomic_write_json, make_readable, read_json, sha256_file

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read and verified."""

    step: int
    weights: dict[str, Tensor]
    ema: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: dict[str, Any]


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors as safetensors and flush them to the disk.

    Raises:
        CelebgenError: the disk is full or the folder cannot be written.
    """
    try:
        save_file({k: v.detach().contiguous().cpu() for k, v in tensors.items()}, path)
        with path.open("rb+") as file:
            os.fsync(file.fileno())
        make_readable(path)
    except (OSError, SafetensorError) as error:
        raise CelebgenError(
            f"cannot write {path} ({error}); free some space or choose another folder, then give the same command "
            "with --resume: the checkpoints before this one are intact"
        ) from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        CelebgenError: the file is missing, truncated or not safetensors.
    """
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise CelebgenError(f"{path} does not exist") from error
    except (OSError, SafetensorError) as error:
        raise CelebgenError(f"{path} is truncated or no safetensors file ({error}); fetch or make it again") from error


def write_checkpoint(
    folder: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any], keep: int
) -> Path:
    """Write `checkpoints/step-NNNNNNN` under a temporary name, rename it, and remove all but the newest `keep`."""
    final = folder / f"step-{step:07d}"
    temporary = folder / f".{final.name}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        for name, group in tensors.items():
            save_tensors(group, temporary / f"{name}.safetensors")
        digests = {f"{name}.safetensors": sha256_file(temporary / f"{name}.safetensors") for name in tensors}
        atomic_write_json(
            temporary / "state.json", {"format_version": FORMAT_VERSION, "step": step, "sha256": digests, **state}
        )
        if final.exists():  # the same step again, after a resume: what is there came from the same computation
            shutil.rmtree(final)
        os.replace(temporary, final)
    except OSError as error:
        raise CelebgenError(f"cannot write {final}: {error.strerror}; the checkpoints before it are intact") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for old in list_checkpoints(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoint folders, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if re.fullmatch(r"step-\d{7,}", path.name))


def read_checkpoint(path: Path, only: tuple[str, ...] = ("weights", "ema", "optimizer")) -> Checkpoint:
    """Read and verify one checkpoint; groups not in `only` come back empty.

    Raises:
        CelebgenError: a file is missing, truncated or altered; the message names it.
    """
    state = read_json(path / "state.json")
    groups: dict[str, dict[str, Tensor]] = {"weights": {}, "ema": {}, "optimizer": {}}
    try:
        digests, step = dict(state["sha256"]), int(state["step"])
    except (KeyError, TypeError, ValueError) as error:
        raise CelebgenError(f"{path / 'state.json'} does not describe a checkpoint") from error
    for name in only:
        file = path / f"{name}.safetensors"
        if not file.is_file() or sha256_file(file) != digests.get(file.name):
            raise CelebgenError(f"{file} is missing, truncated or altered")
        groups[name] = load_tensors(file)
    return Checkpoint(step, groups["weights"], groups["ema"], groups["optimizer"], state)


def newest_checkpoint(
    folder: Path, only: tuple[str, ...] = ("weights", "ema", "optimizer")
) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that is whole, and a sentence for each newer one that is not."""
    damaged: list[str] = []
    for path in reversed(list_checkpoints(folder)):
        try:
            return read_checkpoint(path, only), damaged
        except CelebgenError as error:
            damaged.append(f"{error}; the checkpoint before it is used")
    return None, damaged


def pack_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Adam's moments and step counts as flat tensors `<parameter>.<name>`."""
    state = optimizer.state_dict()["state"]
    return {f"{i}.{name}": torch.as_tensor(value) for i, entry in state.items() for name, value in entry.items()}


def unpack_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `pack_optimizer` took; learning rates come from the configuration, not from the file."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    full = optimizer.state_dict()
    full["state"] = state
    optimizer.load_state_dict(full)
