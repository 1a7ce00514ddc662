"""How far a run is, and whether the refit of its prior is due: read from its folder alone, without torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from celebgen_cli.errors import CelebgenError
from celebgen_cli.files import read_json


def checkpoint_steps(run: Path) -> list[int]:
    """Steps of the checkpoints that a run has, rising; none where there is no run."""
    names = [path.name for path in (run / "checkpoints").glob("step-*")] if (run / "checkpoints").is_dir() else []
    return sorted(int(name.removeprefix("step-")) for name in names if name.removeprefix("step-").isdigit())


def refit_is_due(run: Path, config: Mapping[str, Any]) -> bool:
    """Whether a train-vae run asks for a refit of its prior that has not come to its end.

    config: what `run / "config.json"` holds. A refit is of the CVAE as it is now, so training on makes it due again.
    """
    loss = config.get("loss")
    frozen = isinstance(loss, dict) and loss.get("freeze_encoder")  # such an encoder came with its prior
    if config.get("kind") != "vae" or not config.get("prior_steps") or frozen:
        return False
    refit, trained = run / "prior", checkpoint_steps(run)
    if not trained or not (refit / "config.json").is_file():
        return True
    try:
        settings = read_json(refit / "config.json")
    except CelebgenError:  # damaged: it begins anew
        return True
    settings = settings if isinstance(settings, dict) else {}
    train = settings.get("train")
    steps = train.get("steps") if isinstance(train, dict) else None
    done = max(checkpoint_steps(refit), default=0)
    return settings.get("cvae_step") != trained[-1] or not isinstance(steps, int) or done < steps
