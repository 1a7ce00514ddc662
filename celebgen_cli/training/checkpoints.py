"""Checkpoints: folders that are whole or absent, verified when they are read.

RUN/checkpoints/step-0001000/
    weights.safetensors, ema.safetensors, optimizer.safetensors   tensors
    state.json                                                    step, SHA-256 of each file and of itself, seed
"""

import contextlib
import hashlib
import json
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
from celebgen_cli.files import atomic_write_json, make_readable, read_json, sha256_file, sync_folder

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
            f"cannot write {path} ({error}); free some space, then give the same command again or one with --resume: "
            "the checkpoints before this one are intact"
        ) from error


def save_whole(tensors: Mapping[str, Tensor], path: Path) -> None:
    """`save_tensors` under a temporary name first, so that a kill leaves no half; the folder is made.

    Raises:
        CelebgenError: see `save_tensors`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        save_tensors(tensors, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
    folder: Path,
    step: int,
    tensors: Mapping[str, Mapping[str, Tensor]],
    state: Mapping[str, Any],
    keep: int,
    best: int | None = None,
) -> Path:
    """Write `checkpoints/step-NNNNNNN` under a temporary name and rename it.

    All but the newest `keep` checkpoints and the one of step `best` are removed. Names change before folders shrink,
    so that whoever is killed leaves no half of a checkpoint under its final name.

    Raises:
        CelebgenError: the disk is full or the folder cannot be written; the checkpoints before are intact.
    """
    final = folder / f"step-{step:07d}"
    temporary = folder / f".{final.name}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        for name, group in tensors.items():
            save_tensors(group, temporary / f"{name}.safetensors")
        digests = {f"{name}.safetensors": sha256_file(temporary / f"{name}.safetensors") for name in tensors}
        content = {"format_version": FORMAT_VERSION, "step": step, "sha256": digests, **state}
        atomic_write_json(temporary / "state.json", {**content, "self": _digest(content)})
        if final.exists():  # the same step again, after a resume
            remove_checkpoint(final)
        os.replace(temporary, final)
        sync_folder(folder)
    except OSError as error:
        raise CelebgenError(
            f"cannot write {final} ({error.strerror}); free some space, then give the same command again: the "
            "checkpoints before this one are intact"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    found = list_checkpoints(folder)
    for later in found[found.index(final) + 1 :]:  # a resume passed over it, for it is damaged; its step is done again
        remove_checkpoint(later)
    found = found[: found.index(final) + 1]
    for old in found[: max(0, len(found) - keep)]:
        if old.name != f"step-{best or 0:07d}":
            remove_checkpoint(old)
    return final


def remove_checkpoint(path: Path) -> None:
    """Take a checkpoint's name away, then its files; one that cannot be removed stays."""
    aside = path.with_name(f".{path.name}.old.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    with contextlib.suppress(OSError):
        os.replace(path, aside)
    shutil.rmtree(aside, ignore_errors=True)


def _digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of what state.json says besides."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


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
        whole = "self" not in state or state.pop("self") == _digest(state)  # earlier versions wrote no digest of it
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CelebgenError(f"{path / 'state.json'} does not describe a checkpoint") from error
    if not whole or path.name != f"step-{step:07d}":
        raise CelebgenError(f"{path / 'state.json'} was altered, or is of another checkpoint")
    for name in only:
        file = path / f"{name}.safetensors"
        if not file.is_file() or sha256_file(file) != digests.get(file.name):
            raise CelebgenError(f"{file} is missing, truncated or altered")
        groups[name] = load_tensors(file)
    return Checkpoint(step, groups["weights"], groups["ema"], groups["optimizer"], state)


def newest_checkpoint(
    folder: Path, only: tuple[str, ...] = ("weights", "ema", "optimizer")
) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that is whole, and what is wrong with each newer one that is not."""
    damaged: list[str] = []
    for path in reversed(list_checkpoints(folder)):
        try:
            return read_checkpoint(path, only), damaged
        except CelebgenError as error:
            damaged.append(str(error))
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
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for place, entry in state.items():
        parameter = parameters[place]
        for name, value in entry.items():  # moments lie in memory as their parameters do: fused kernels rely on it
            if value.shape == parameter.shape:
                entry[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
    full = optimizer.state_dict()
    full["state"] = state
    optimizer.load_state_dict(full)
