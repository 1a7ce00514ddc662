"""What a training command is told, and what the run that it resumes had in its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from celebgen_cli.data.captions import Wording, choose_wording
from celebgen_cli.data.dataset import Dataset, open_dataset
from celebgen_cli.errors import CelebgenError, UsageError, first_line
from celebgen_cli.models.sizes import sizes_from
from celebgen_cli.processes import barrier
from celebgen_cli.training import runs
from celebgen_cli.training.continuing import goes_on, same_path
from celebgen_cli.training.engine import TrainConfig, run_settings, with_overrides
from celebgen_cli.training.observers import Observer
from celebgen_cli.training.refit import checkpoint_steps

# what config.json has as objects, where it has it
NESTED = ("data", "captions", "loss", "distill", "clip", "cvae", "unet", "judge", "schedule")

Warn = Callable[[str], None]


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
        """config.json of the run that is resumed, as it was when first asked for; empty when none is.

        Raises:
            CelebgenError: it is not as training wrote it.
        """
        if not self.resume or not (self.output / "config.json").is_file():
            return {}
        before = runs.read_config(self.output)
        try:
            sizes_from(TrainConfig, before["train"])
            if wrong := [name for name in NESTED if not isinstance(before.get(name, {}), dict)]:
                raise TypeError(f"{wrong[0]} is {before[wrong[0]]!r:.60}")
        except (KeyError, TypeError, AttributeError) as error:
            raise CelebgenError(
                f"{self.output / 'config.json'} is not as training wrote it ({first_line(error)}), so the run cannot "
                "be gone on with; put it back, or choose another folder"
            ) from error
        return before

    @property
    def held_out(self) -> Path | None:
        """The held-out dataset that is asked for, else the resumed run's."""
        before = self.before.get("data", {}).get("valid")
        return self.valid if self.valid is not None or before is None else Path(before)

    @property
    def origin(self) -> Path | None:
        """What weights the run begins with: what is asked for, else what the resumed run's were.

        Raises:
            UsageError: it has begun with others.
        """
        before = self.before.get("init_from")
        other = self.init_from is not None and not same_path(before, str(self.init_from))
        if other and self.before and checkpoint_steps(self.output):
            raise UsageError(
                f"{self.output} goes on from its own checkpoint and began with {before or 'new weights'}; leave out "
                f"--init-from {self.init_from}, or choose another folder"
            )
        return self.init_from if self.init_from is not None or before is None else Path(before)

    def datasets(self) -> tuple[Dataset, Dataset | None]:
        """The dataset and the held-out one, if that is another.

        Raises:
            UsageError: there is nothing to train on, or the two are not alike.
            CelebgenError: one cannot be opened, or annotations differ from what was prepared.
        """
        valid = self.held_out
        data, held = open_dataset(self.dataset), open_dataset(valid) if valid is not None else None
        if "train" not in data.splits:
            raise UsageError(f"{self.dataset} has no train split to train on; prepare one that has")
        data.verify(images=False)  # what latents and captions of a run are known by
        if held is not None and (held.size, held.crop) != (data.size, data.crop):
            raise UsageError(
                f"{valid} is {held.size} px, crop {held.crop}, and {self.dataset} is {data.size} px, crop {data.crop}; "
                "prepare both alike"
            )
        return data, held

    def wording(self, data: Dataset) -> Wording:
        """Where captions come from: what is asked for, else the resumed run's, else what suits the training split.

        Raises:
            UsageError: the split has not what is needed (see `choose_wording`).
        """
        split, before = data.split("train"), self.before.get("captions", {})
        source, share = self.captions or before.get("source"), self.files_share
        if share is None and source == "both":
            share = before.get("files_share") if before.get("source") == "both" else None
        wording = choose_wording(split, source, share)
        if source is None and wording.source == "grammar" and split.captions is not None:
            self.warn(
                f"the captions in {data.path} are not used: attributes make them; "
                "--captions files or both takes them too"
            )
        return wording

    def config(self, defaults: Mapping[str, TrainConfig], preset: str) -> TrainConfig:
        """Settings of the training loop: what is asked for over the resumed run's over those of the preset."""
        config = TrainConfig(**self.before["train"]) if self.before else defaults[preset]
        return with_overrides(config, **self.overrides)

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
