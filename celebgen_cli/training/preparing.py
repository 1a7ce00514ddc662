"""The networks that training begins with: frozen ones as a run began with them, weights of other runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from celebgen_cli.errors import CelebgenError
from celebgen_cli.models.folder import Components, is_model, load_model, save_model
from celebgen_cli.models.registry import find
from celebgen_cli.processes import world
from celebgen_cli.training.order import Warn


def as_begun(parts: Components, output: Path, going: bool, warn: Warn) -> Components:
    """The frozen networks that a run began with, whatever became of the run or model that they came from."""
    if not going or not is_model(output / "frozen"):
        return parts
    kept = {name: getattr(parts, name) for name in ("text", "cvae", "unet") if getattr(parts, name) is not None}
    frozen = load_model(output / "frozen", tuple(kept))
    for name, module in kept.items():
        now, then = module.state_dict(), getattr(frozen, name).state_dict()
        if now.keys() != then.keys() or any(not value.cpu().equal(then[key]) for key, value in now.items()):
            warn(f"the networks that {output} builds on have changed since; it goes on with those that it began with")
            return frozen
    return parts


def at_hand(source: Path, output: Path, resume: bool, warn: Warn) -> Path:
    """Where the networks are that a run builds on: `source`, or what a resumed run keeps where nothing is there."""
    kept = output / "frozen"
    if not resume or find(source, strict=False).exists() or not is_model(kept):
        return source
    warn(f"there is no {source} any more; {output} goes on with the networks that it began with")
    return kept


def freeze(parts: Components, run: Path, going: bool) -> None:
    """Keep the frozen networks of a run beside it, so that it can be exported whole.

    What a run left there that was killed before it began is replaced.
    """
    if world().main and not (going and (run / "frozen" / "model.json").exists()):
        save_model(parts, run / "frozen", force=True)


def warm_start(module: Any, state: Mapping[str, Any], source: Path) -> None:
    """Load weights alone.

    Raises:
        CelebgenError: they are of networks of another size.
    """
    own = {name: list(value.shape) for name, value in module.state_dict().items()}
    theirs = {name: list(value.shape) for name, value in state.items()}
    if own != theirs:
        names = [name for name in {**own, **theirs} if own.get(name) != theirs.get(name)]
        here, there = (f"{sizes[names[0]]}" if names[0] in sizes else "none" for sizes in (own, theirs))
        raise CelebgenError(
            f"{len(names)} of the {len(own)} tensors of {source} do not fit this preset and text encoder, the first "
            f"{names[0]} ({there} there, {here} here); start from a run or model of the same kind and sizes"
        )
    module.load_state_dict(state)
