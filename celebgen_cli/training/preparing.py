"""What all training commands put together before the engine runs: data, captions, settings, origins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from celebgen_cli.data.captions import Wording, choose_wording
from celebgen_cli.data.dataset import Dataset, open_dataset
from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.models.folder import Components, is_model, load_model, read_info, save_model
from celebgen_cli.models.registry import find
from celebgen_cli.models.text_encoder import open_clip_source
from celebgen_cli.processes import barrier, world
from celebgen_cli.training import runs
from celebgen_cli.training.continuing import goes_on
from celebgen_cli.training.engine import TrainConfig, run_settings, with_overrides
from celebgen_cli.training.observers import Observer

Warn = Callable[[str], None]
Progress = Callable[[int, int], None]

# what suits each preset on a CPU of two cores; a GPU wants more steps and larger batches
CLIP = {
    "tiny": TrainConfig(20, 16, 1e-3, warmup=5, ema_half_life=5, checkpoint_every=10, sample_every=10, log_every=1),
    "small64": TrainConfig(600, 128, 1e-3, warmup=100, ema_half_life=100, checkpoint_every=200),
    "base128": TrainConfig(600, 128, 1e-3, warmup=100, ema_half_life=100, checkpoint_every=200),
}
VAE = {
    "tiny": TrainConfig(20, 8, 1e-3, warmup=5, ema_half_life=5, checkpoint_every=10, sample_every=10, log_every=1),
    "small64": TrainConfig(2800, 16, 6e-4, ema_half_life=200, checkpoint_every=400, sample_every=400),
    "base128": TrainConfig(2800, 16, 6e-4, ema_half_life=200, checkpoint_every=400, sample_every=400),
}
PRIOR = {
    "tiny": TrainConfig(10, 16, 1e-3, warmup=2, ema_half_life=5, checkpoint_every=5, log_every=1),
    "small64": TrainConfig(600, 64, 6e-4, warmup=50, ema_half_life=100, checkpoint_every=100),
    "base128": TrainConfig(600, 64, 6e-4, warmup=50, ema_half_life=100, checkpoint_every=100),
}
DRAWN = {"tiny": 16, "small64": 2000, "base128": 2000}  # latents in the pool of a decoder's training
DIFFUSION = {
    "tiny": TrainConfig(20, 16, 1e-3, warmup=5, ema_half_life=5, checkpoint_every=10, sample_every=10, log_every=1),
    "small64": TrainConfig(6400, 32, 5e-4, ema_half_life=500, checkpoint_every=800, sample_every=800),
    "base128": TrainConfig(6400, 32, 5e-4, ema_half_life=500, checkpoint_every=800, sample_every=800),
}


@dataclass(frozen=True)
class Order:
    """What every training command is told; None is what the resumed run had, or what suits the preset and the data.

    Attributes:
        dataset: prepared dataset. output: run folder.
        overrides: settings of `TrainConfig` that were given.
        captions, files_share: where captions come from, see `celebgen_cli.data.captions.Wording`.
        valid: another dataset, whose valid split is held out.
        init_from: run or model whose weights training begins with.
        resume: whether to go on with the run in `output`.
        warn: gets sentences about what the caller may not expect.
        observers: see `celebgen_cli.training.observers`.
    """

    dataset: Path
    output: Path
    overrides: Mapping[str, Any] = field(default_factory=dict)
    captions: str | None = None
    files_share: float | None = None
    valid: Path | None = None
    init_from: Path | None = None
    resume: bool = False
    device: str | None = None
    warn: Warn = lambda sentence: None
    observers: Sequence[Observer] = ()

    @cached_property
    def before(self) -> dict[str, Any]:
        """config.json of the run that is resumed, as it was when first asked for; empty when none is."""
        return resumed(self.output, self.resume)

    @property
    def held_out(self) -> Path | None:
        """The held-out dataset that is asked for, else the resumed run's."""
        before = self.before.get("data", {}).get("valid")
        return self.valid if self.valid is not None or before is None else Path(before)

    @property
    def origin(self) -> Path | None:
        """What weights the run begins with: what is asked for, else what the resumed run's were."""
        before = self.before.get("init_from")
        return self.init_from if self.init_from is not None or before is None else Path(before)

    def datasets(self) -> tuple[Dataset, Dataset | None]:
        """The dataset and the held-out one, if that is another.

        Raises:
            UsageError: there is nothing to train on, or the two are not alike.
        """
        return datasets(self.dataset, self.held_out)

    def wording(self, data: Dataset) -> Wording:
        """Where captions come from; see `wording`."""
        return wording(data, self.before, self.captions, self.files_share, self.warn)

    def config(self, defaults: Mapping[str, TrainConfig], preset: str) -> TrainConfig:
        """Settings of the training loop; see `train_config`."""
        return train_config(defaults, preset, self.output, self.resume, self.overrides)

    def record(self, preset: str, data: Dataset, wording: Wording) -> dict[str, Any]:
        """What every run's config.json says of its data, and of what it begins with."""
        split, valid, origin = data.split("train"), self.held_out, self.origin
        return {
            "preset": preset,
            "data": {"dataset": str(self.dataset), "valid": str(valid) if valid else None, "crop": data.crop,
                     "size": data.size, "train_images": len(split), "fingerprint": split.fingerprint},
            "captions": {"source": wording.source, "files_share": wording.share},
            "init_from": None if origin is None else str(origin),
        }  # fmt: skip

    def goes_on(self, kind: str, settings: Mapping[str, Any], config: TrainConfig) -> bool:
        """Whether to go on with the run in `output`; see `celebgen_cli.training.continuing.goes_on`."""
        going = goes_on(self.output, run_settings(kind, settings, config), self.resume, self.warn)
        barrier()  # nobody writes before all processes have looked
        return going


def datasets(dataset: Path, valid: Path | None) -> tuple[Dataset, Dataset | None]:
    data, held = open_dataset(dataset), open_dataset(valid) if valid is not None else None
    if "train" not in data.splits:
        raise UsageError(f"{dataset} has no train split to train on; prepare one that has")
    if held is not None and (held.size, held.crop) != (data.size, data.crop):
        raise UsageError(
            f"{valid} is {held.size} px, crop {held.crop}, and {dataset} is {data.size} px, crop {data.crop}; "
            "prepare both alike"
        )
    return data, held


def resumed(output: Path, resume: bool) -> dict[str, Any]:
    """config.json of the run that is resumed; empty when none is."""
    return runs.read_config(output) if resume and (output / "config.json").is_file() else {}


def wording(
    data: Dataset, resumed: Mapping[str, Any], captions: str | None, files_share: float | None, warn: Warn
) -> Wording:
    """Where captions come from: what is asked for, else the resumed run's, else what suits the training split.

    Raises:
        UsageError: the split has not what is needed (see `choose_wording`).
    """
    split, before = data.split("train"), resumed.get("captions", {})
    source = captions or before.get("source")
    if files_share is None and source == "both":
        files_share = before.get("files_share") if before.get("source") == "both" else None
    wording = choose_wording(split, source, files_share)
    if source is None and wording.source == "grammar" and split.captions is not None:
        warn(f"the captions in {data.path} are not used: attributes make them; --captions files or both takes them too")
    return wording


def preset_name(given: str | None, output: Path, resume: bool, source: str | Path | None = None) -> str:
    """The preset that is asked for, else the resumed run's, else that of the run or model which this one builds on."""
    if given is not None:
        return given
    places = [output] if resume else []
    if source is not None and open_clip_source(str(source)) is None:
        places.append(find(source, strict=False))
    for place in places:
        if (place / "config.json").is_file():
            return str(runs.read_config(place)["preset"])
        if is_model(place):
            return str(read_info(place).get("training", {}).get("preset", "base128"))
    return "base128"


def train_config(
    defaults: Mapping[str, TrainConfig], preset: str, output: Path, resume: bool, overrides: Mapping[str, Any]
) -> TrainConfig:
    """Settings of the command line over those of the resumed run over those of the preset."""
    config = defaults[preset]
    if resume and (output / "config.json").is_file():
        config = TrainConfig(**runs.read_config(output)["train"])
    return with_overrides(config, **overrides)


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
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise CelebgenError(
            f"the weights of {source} do not fit this preset and text encoder ({str(error).splitlines()[1].strip()}); "
            "start from a run or model of the same sizes"
        ) from error
