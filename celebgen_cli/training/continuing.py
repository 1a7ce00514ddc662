"""Whether a command goes on with the run that its folder holds, and one process at a time in that folder."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.files import read_json
from celebgen_cli.training.task import AUTOMATIC

# what is told of a run but is no setting: where the data is found may change, as long as the data does not
IGNORED = {"data.dataset", "data.train_images", "data.crop", "data.size", "format", "format_version", "token_ids"}
PATHS = {"data.valid", "vae", "denoiser", "init_from"}
# words of the command line where they are not the setting's own name; these are also told first
WORDS = {
    "preset": "--preset", "data.fingerprint": "DATASET", "data.valid": "--valid", "captions.source": "--captions",
    "captions.files_share": "--files-share", "text": "--text", "vae": "--vae", "init_from": "--init-from",
    "unet.init": "--init", "unet.widths": "--widths", "unet.blocks": "--blocks", "loss.gamma": "--min-snr",
    "loss.input_perturbation": "--input-perturbation", "cvae.latent_channels": "--latent-channels",
    "denoiser": "--denoiser", "drawn": "--drawn", "perceptual": "--perceptual",
    "prior_steps": "--prior-steps", "distill.steps": "--distill-steps",
    "loss.beta": "--beta", "loss.scale": "--scale", "loss.contrast": "--contrast",
    "loss.adversarial": "--adversarial", "loss.transport": "--transport", "loss.freeze_encoder": "--freeze-encoder",
}  # fmt: skip

DISTILLING = {"vae": "--distill", "distill.teacher_steps": "the number of the teacher's steps"}


def holds_run(run: Path) -> bool:
    """Whether there is a run in this folder; its config.json is there before its first checkpoint."""
    return (run / "config.json").is_file()


def goes_on(run: Path, settings: Mapping[str, Any], resume: bool, warn: Callable[[str], None]) -> bool:
    """Whether to go on with the run in this folder: it is asked for, or the settings are those of the run.

    Args:
        settings: what the command would write to config.json.
        resume: `--resume` was given, and with it any setting may be another.
        warn: gets a sentence where a resumed run would go on with other pictures.

    Raises:
        UsageError: the folder holds a run with other settings; they are named.
        CelebgenError: its config.json cannot be read.
    """
    if not holds_run(run):
        if resume:
            warn(f"there is no run in {run} to go on with: a new one begins there")
        return False
    before = read_json(run / "config.json")
    if not isinstance(before, dict):
        raise CelebgenError(f"{run / 'config.json'} does not describe a run; choose another folder")
    if before.get("format_version", settings.get("format_version")) != settings.get("format_version"):
        raise CelebgenError(
            f"{run} has format version {before.get('format_version')}, and this celebgen reads "
            f"{settings.get('format_version')}; go on with the celebgen that wrote it, or choose another folder"
        )
    found = differences(before, settings)
    if resume:
        if before.get("kind") == settings.get("kind") and ("distill" in before) != ("distill" in settings):
            own, other = ("a student's", "a denoiser") if "distill" in before else ("a denoiser's", "a student")
            raise UsageError(
                f"{run} holds {own} run, which does not go on as {other}'s (--distill); choose another folder"
            )
        if "data.fingerprint" in found:
            warn(f"the training pictures are not those that {run} began with; it goes on with the new ones")
        return True
    if before.get("kind") != settings.get("kind"):
        raise UsageError(f"{run} holds a run of kind '{before.get('kind')}', not '{settings.get('kind')}'; "
                         "choose another folder")  # fmt: skip
    if settings.get("train", {}).get("accumulate") == AUTOMATIC:  # what was found by trial is no other setting
        found.pop("train.accumulate", None)
    if found:
        told = sorted(found, key=lambda name: (name not in WORDS, list(WORDS).index(name) if name in WORDS else 0))
        words = {**WORDS, **DISTILLING} if "distill" in settings else WORDS
        said = [
            f"{_word(name, words)} is {_short(found[name][0])} there and {_short(found[name][1])} here" for name in told
        ]
        more = f" and {len(said) - 3} more" if len(said) > 3 else ""
        raise UsageError(
            f"{run} already holds a run with other settings ({', '.join(said[:3])}{more}); add --resume to go on with "
            "it, give the settings that it was started with, or choose another folder"
        )
    return True


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Settings of both that are not the same: dotted name -> (before, now).

    A setting that `before` lacks was written by an earlier version, which did not know it.
    """
    old, new = _flat(before), _flat(json.loads(json.dumps(now)))
    return {
        name: (old[name], value)
        for name, value in new.items()
        if name in old and name not in IGNORED and not _same(name, old[name], value)
    }


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, part in value.items():
        if isinstance(part, Mapping):
            flat |= _flat(part, f"{prefix}{name}.")
        else:
            flat[prefix + name] = part
    return flat


def _same(name: str, before: Any, now: Any) -> bool:
    return same_path(before, now) if name in PATHS else bool(before == now)


def same_path(before: str | None, now: str | None) -> bool:
    """Whether two words for a folder may mean the same one."""
    if before is None or now is None:
        return before == now
    if Path(before).resolve() == Path(now).resolve():
        return True
    # relative to another folder, or the whole tree has moved: what is in a network is looked at elsewhere
    old, new = (tuple(part for part in Path(path).parts if part not in (".", "..")) for path in (before, now))
    shorter = min(len(old), len(new))
    return shorter > 0 and old[-shorter:] == new[-shorter:]


def _word(name: str, words: Mapping[str, str]) -> str:
    if name.startswith("train."):
        return "--" + name.removeprefix("train.").replace("_", "-")
    return words.get(name, name)


def _short(value: Any) -> str:
    text = "not given" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


@contextmanager
def alone(run: Path) -> Iterator[None]:
    """Hold the run's folder while the block runs.

    Raises:
        UsageError: another process holds it.
        CelebgenError: the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    try:
        run.mkdir(parents=True, exist_ok=True)
        lock = FileLock(run / ".lock", timeout=0)
        lock.acquire()
    except Timeout as error:
        raise UsageError(f"another process trains in {run}; wait for it, or choose another folder") from error
    except OSError as error:
        raise CelebgenError(f"cannot write {run}: {error.strerror}; choose another place") from error
    try:
        yield
    finally:
        lock.release()


def tidy(run: Path) -> None:
    """Remove what killed processes left half written under temporary names; call it while `alone`."""
    for pattern in (".*.tmp", "checkpoints/.*.tmp", "samples/.*.tmp"):
        for path in run.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
