"""One training loop for every network: autocast, accumulation, clipping, EMA, checkpoints, exact resume.

A task (CLIP, CVAE, prior, denoiser) gives a module and a loss that is a pure function of (seed, step): which rows,
which captions, which noise. So a run that goes on from a checkpoint repeats nothing and skips nothing.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from threading import Event
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.files import atomic_write_json, read_json
from celebgen_cli.models.devices import autocast, memory_format, peak_memory, resolve_precision
from celebgen_cli.processes import any_of, barrier, gathered, mean_of, noticing, world
from celebgen_cli.training import checkpoints, compiling
from celebgen_cli.training.continuing import alone, holds_run, tidy
from celebgen_cli.training.distributed import mean_of_all
from celebgen_cli.training.gradients import Gradients, Logged
from celebgen_cli.training.interruption import interruptible
from celebgen_cli.training.metrics import Metrics
from celebgen_cli.training.observers import Observer
from celebgen_cli.training.rates import ema_update, warm_cosine
from celebgen_cli.training.task import AUTOMATIC, Task, TrainConfig
from celebgen_cli.training.watch import Trouble, Watch

FORMAT = "celebgen-run"
FORMAT_VERSION = 1
UNREAD = 16  # steps whose losses may be left on a GPU; reading each would make the program wait for it

# where progress goes: (step, steps, figures); the command line shows it
Reporter = Callable[[int, int, Mapping[str, float]], None]


def quiet(step: int, steps: int, metrics: Mapping[str, float]) -> None:
    """A reporter that says nothing."""


def learning_rate(step: int, config: TrainConfig) -> float:
    """The learning rate of a step (0-based)."""
    return warm_cosine(step, config.steps, config.learning_rate, config.warmup, config.final_learning_rate)


def run_settings(kind: str, settings: Mapping[str, Any], config: TrainConfig) -> dict[str, Any]:
    """What config.json says of a run."""
    return {"format": FORMAT, "format_version": FORMAT_VERSION, "kind": kind, **settings, "train": asdict(config)}


class Trainer:
    """Trains one task in one run folder."""

    def __init__(
        self,
        task: Task,
        run: Path,
        config: TrainConfig,
        *,
        device: torch.device,
        settings: Mapping[str, Any],
        resume: bool = False,
        warn: Callable[[str], None] = lambda sentence: None,
        observers: Sequence[Observer] = (),
    ) -> None:
        """Prepare a run, and read the newest whole checkpoint where it goes on. Nothing is written yet.

        Args:
            task: what is trained; its module is moved to `device`.
            run: the run's folder; it must not hold another run unless `resume`.
            settings: everything else that config.json records (preset, data, text encoder ...).
            resume: go on from the newest whole checkpoint.
            warn: gets one sentence for whatever is passed over: damaged checkpoints, a compiler that does not work.
            observers: are told what is logged and drawn.

        Raises:
            UsageError: the folder holds a run and `resume` is off, or the run there is of another kind; or the batch
                is to be split and cannot be.
        """
        self.task, self.run, self.config, self.device = task, Path(run), config, device
        self.settings, self.warn = settings, warn
        self.folder, self.metrics = self.run / "checkpoints", Metrics(self.run / "metrics.jsonl")
        self.training = False  # whether steps are under way
        self.writes = world().main  # whether this process is the one that writes
        self.observers = observers if self.writes else ()
        self.begun = holds_run(self.run)
        before = self._check_folder(resume) if self.begun else {}
        if not self.begun and checkpoints.list_checkpoints(self.folder):
            raise UsageError(f"{run} has checkpoints and no config.json to go with them; choose another folder")
        torch.set_flush_denormal(True)
        task.module.to(device, memory_format=memory_format(device))  # type: ignore[call-overload]
        torch.backends.cudnn.benchmark = True
        self.ema = AveragedModel(
            task.module,
            multi_avg_fn=ema_update(config.ema_half_life, self._averaged),
        )
        self.ema.eval().requires_grad_(False)
        self.groups = [list(group) for group in task.parameter_groups()]
        self.optimizer = torch.optim.AdamW(
            [{"params": group} for group in self.groups],
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            weight_decay=config.weight_decay,
            fused=device.type in ("cpu", "cuda"),
        )
        self.autocast = autocast(device, config.precision)
        half = resolve_precision(device, config.precision) == "fp16"
        self.scaler = torch.amp.GradScaler(device.type, enabled=half)
        self.gradients = Gradients(
            task, config.batch_size, config.accumulate, device, self.autocast, self.scaler, warn, self._set_pieces
        )
        if self.gradients.automatic and before.get("batch_size") == config.batch_size and before.get("accumulate"):
            self._set_pieces(before["accumulate"])  # found by trial when the run began
        self.watch = Watch(scaled=half)
        self.step = 0
        self.best: float | None = None
        self.best_step: int | None = None
        if self.begun:
            self._resume()
        if config.checkpoint_activations:
            compiling.recompute(task.module)

    def _averaged(self) -> int:
        """How many steps are in the average; the count lies in the computer's own memory."""
        return int(self.ema.n_averaged)

    def _check_folder(self, resume: bool) -> dict[str, Any]:
        """What the run there says of its loop's settings."""
        if not resume:
            raise UsageError(f"{self.run} already holds a run; add --resume to go on with it, or choose another folder")
        before = read_json(self.run / "config.json")
        if not isinstance(before, dict):
            raise CelebgenError(f"{self.run / 'config.json'} does not describe a run; choose another folder")
        if before.get("kind") != self.task.kind:
            raise UsageError(
                f"{self.run} holds a run of kind '{before.get('kind')}', not '{self.task.kind}'; choose another folder"
            )
        return dict(before.get("train", {}))

    def _resume(self) -> None:
        checkpoint, damaged = checkpoints.newest_checkpoint(self.folder)
        if checkpoint is None:
            if damaged:
                raise CelebgenError(
                    f"no checkpoint in {self.folder} is whole ({damaged[0]}); choose another folder, and begin with "
                    f"--init-from {self.run} where its averaged weights are whole"
                )
            return
        for sentence in damaged:
            self.warn(f"{sentence}; the checkpoint of step {checkpoint.step} is used")
        try:
            self.task.module.load_state_dict(checkpoint.weights)
            self.ema.module.load_state_dict(checkpoint.ema)
            checkpoints.unpack_optimizer(self.optimizer, checkpoint.optimizer)
        except (RuntimeError, ValueError, LookupError) as error:
            raise CelebgenError(
                f"the checkpoint of step {checkpoint.step} in {self.folder} is of other networks than these settings "
                "make; give the preset, text encoder and losses that the run was started with, or another run folder"
            ) from error
        self.ema.n_averaged.fill_(int(checkpoint.state["ema_updates"]))
        if checkpoint.state.get("scaler"):
            self.scaler.load_state_dict(checkpoint.state["scaler"])
        self.step, self.best = checkpoint.step, checkpoint.state.get("best")
        self.best_step = checkpoint.state.get("best_step")
        if "watch" in checkpoint.state:
            self.watch.restore(checkpoint.state["watch"])

    def save(self) -> None:
        """Write a checkpoint of the present step, with the figures up to it on the disk before."""
        tensors = {
            "weights": self.task.module.state_dict(),
            "ema": self.ema.module.state_dict(),
            "optimizer": checkpoints.pack_optimizer(self.optimizer),
        }
        state = {
            "ema_updates": int(self.ema.n_averaged),
            "best": self.best,
            "best_step": self.best_step,
            "seed": self.config.seed,
            "scaler": self.scaler.state_dict(),
            "watch": self.watch.state(),
        }
        self.metrics.sync()
        keep = self.config.keep + self.watch.climbing  # a good one too
        checkpoints.write_checkpoint(self.folder, self.step, tensors, state, keep, self.best_step)

    @property
    def finished(self) -> bool:
        """Whether the last step is done."""
        return self.step >= self.config.steps

    def train(self, report: Reporter = quiet) -> dict[str, float]:
        """Run to the last step; returns the last figures, or none where the run had been finished before.

        Raises:
            KeyboardInterrupt: Ctrl-C or SIGTERM came; a checkpoint of the last finished step is on the disk.
            UsageError: another process trains in this folder.
            CelebgenError: a loss or gradient is not finite, the loss diverges, memory runs out, or a checkpoint
                cannot be written.
        """
        if self.finished:
            self._owed_preview()
            last = max(self.step, self.config.steps)
            self.warn(
                f"{self.run} is finished: step {self.step} of {last} is done; to train on, give --resume and more "
                f"--steps than {self.step}"
            )
            return {}
        with ExitStack() as stack:
            stack.enter_context(noticing(f"checkpoints in {self.folder} are good: the same command goes on from them"))
            for observer in self.observers:
                stack.callback(observer.closed)
            if self.writes:
                stack.enter_context(alone(self.run))
            stop = stack.enter_context(interruptible())
            self._begin()
            metrics = self._train(report, stop)
            barrier()  # what is done with the run next may read what the main process wrote
            return metrics

    def _begin(self) -> None:
        if len(set(gathered(self.step))) > 1:  # also: nobody writes before all have looked at the folder
            raise CelebgenError(
                f"the processes see different checkpoints in {self.folder}; put the run on a disk that they share"
            )
        if self.config.accumulate == AUTOMATIC:
            self._set_pieces(max(gathered(self.gradients.fit(self.step))))
        self.gradients.prepare(self.config.compile)
        if self.writes:
            tidy(self.run)
            self._write_config()
            self.metrics.cut(self.step)
            (self.run / "stopped.json").unlink(missing_ok=True)
        self.training = True
        for observer in self.observers:
            observer.started(self.run, self.step)
        self._owed_preview()

    def _set_pieces(self, pieces: int) -> None:
        """Note in how many micro-batches a batch is computed, in the run too if it is under way."""
        self.config, self.gradients.pieces = replace(self.config, accumulate=pieces), pieces
        if self.training and self.writes:
            self._write_config()

    def _write_config(self) -> None:
        atomic_write_json(self.run / "config.json", run_settings(self.task.kind, self.settings, self.config))

    def _train(self, report: Reporter, stop: Event) -> dict[str, float]:
        config, metrics = self.config, dict[str, float]()
        began, counted, owed = time.perf_counter(), 0, False
        while not self.finished:
            loss, logged = self._one_step()
            self.step += 1
            counted += 1
            stopping = self._stopping(stop)
            if self.step % config.log_every == 0 or self.finished:
                self._judge()
                metrics = self._figures(loss, logged)
                metrics["images_per_second"] = counted * config.batch_size / max(time.perf_counter() - began, 1e-9)
                metrics |= peak_memory(self.device)
                began, counted = time.perf_counter(), 0
                self._log(metrics)
            report(self.step, config.steps, metrics)
            # before the checkpoint: whoever is killed in between does the step again, and this with it
            for observer in self.observers:
                if found := observer.stepped(self.step, self.ema.module):
                    self._log(found)
                    metrics |= found
                    began, counted = time.perf_counter(), 0
            due = owed or self.step % config.checkpoint_every == 0 or self.finished
            if due or stopping:
                self._judge()
                # what a climbing loss has learnt may be thrown away: no earlier checkpoint is given up for it
                owed = self.watch.climbing and not (stopping or self.finished)
                if not owed:
                    if due:
                        self._validate(metrics)
                    if self.writes:
                        self.save()
                    began, counted = time.perf_counter(), 0
            if self.finished or (self.step % config.sample_every == 0 and not stopping):
                self._preview()
                began, counted = time.perf_counter(), 0
            if stopping:
                raise KeyboardInterrupt(f"step {self.step} is on the disk; the same command goes on from it")
        return metrics

    def _stopping(self, stop: Event) -> bool:
        """Whether to leave after this step; asked once a step, and answered alike in all processes."""
        return any_of(stop.is_set())

    def _one_step(self) -> tuple[Tensor, Logged]:
        self.task.module.train()
        for entry in self.optimizer.param_groups:
            entry["lr"] = learning_rate(self.step, self.config)
        loss, logged = self.gradients(self.step)
        self.scaler.unscale_(self.optimizer)
        norms = [nn.utils.clip_grad_norm_(group, self.config.clip) for group in self.groups]
        watched = loss if self.task.watched == "loss" else torch.as_tensor(logged[self.task.watched])
        watched = mean_of_all(watched)  # all processes stop at the same step
        # the scaler skips steps whose gradients are not finite by itself
        self.watch.add(self.step, watched, [] if self.scaler.is_enabled() else norms)
        if self.device.type == "cpu" or self.watch.pending >= UNREAD:
            self._judge()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.update_parameters(self.task.module)
        return loss, logged

    def _judge(self) -> None:
        trouble = self.watch.judge()
        if trouble is not None:
            self._stop_for(trouble)

    def _stop_for(self, trouble: Trouble) -> NoReturn:
        """Raise an error that names the step, its batch and the checkpoint to go on from."""
        rows = [int(row) for row in self.task.rows(trouble.step)]
        if self.writes:
            atomic_write_json(
                self.run / "stopped.json", {"step": trouble.step + 1, "reason": trouble.reason, "rows": rows}
            )
        found = checkpoints.list_checkpoints(self.folder)
        good = [path.name for path in found if int(path.name.removeprefix("step-")) <= trouble.step]
        if good and self.writes:
            for path in found[len(good) :]:  # written by a stop amid the climb; --resume would go on from the newest
                checkpoints.remove_checkpoint(path)
        shown = ", ".join(map(str, rows[:8])) + (", ..." if len(rows) > 8 else "")
        batch = f"its batch is rows {shown} of the training split (all in {self.run / 'stopped.json'})" if rows else ""
        raise CelebgenError(
            f"{trouble.reason}, so training stopped; {batch + '; ' if batch else ''}"
            + (f"the checkpoints up to {good[-1]} are good: go on from it with --resume and" if good else "start with")
            + " a lower --learning-rate, or another --seed"
        )

    def _validate(self, metrics: dict[str, float]) -> None:
        """Log the held-out figures and keep the averaged weights of the best score apart: work of the main process."""
        if not self.writes:
            return
        with torch.no_grad(), self.autocast():
            figures = dict(self.task.validate(self.ema.module))
        if not figures:
            return
        score = figures.get("score")
        if score is not None and not math.isfinite(score):  # before it is logged: metrics.jsonl has numbers alone
            reason = f"the held-out figures of step {self.step} are not finite: the weights are ruined"
            self._stop_for(Trouble(self.step - 1, score, reason))
        metrics.update(figures)
        self._log(figures)
        if score is not None and (self.best is None or score < self.best):
            self.best, self.best_step = score, self.step
            self._save_best()

    def _save_best(self) -> None:
        checkpoints.save_whole(self.ema.module.state_dict(), self.run / "best.safetensors")

    def _owed_preview(self) -> None:
        """Draw the picture of a step whose checkpoint is there, but that a stop did not wait for."""
        due = self.finished or self.step % self.config.sample_every == 0
        if self.step and due and not self._picture.exists():
            self._preview()

    def _preview(self) -> None:
        if not self.writes:
            return
        picture = self._picture
        with torch.no_grad(), self.autocast():
            self.task.preview(self.ema.module, picture)
        if self.training and picture.exists():  # a run that was finished before has no observers
            for observer in self.observers:
                observer.sampled(self.step, picture)

    @property
    def _picture(self) -> Path:
        return self.run / "samples" / f"step-{self.step:07d}.png"

    def _figures(self, loss: Tensor, logged: Logged) -> dict[str, float]:
        """What is logged of a step: means over the whole batch."""
        return dict(zip(("loss", *logged), mean_of([loss, *logged.values()]), strict=True))

    def _log(self, metrics: Mapping[str, float]) -> None:
        if self.writes:
            self.metrics.add(self.step, metrics)
        for observer in self.observers:
            observer.logged(self.step, metrics)


def with_overrides(config: TrainConfig, **values: Any) -> TrainConfig:
    """The configuration with every value that is not None put in."""
    return replace(config, **{k: v for k, v in values.items() if v is not None})
