"""One training loop for every network: autocast, clipping, EMA, checkpoints, exact resume.

A task (CLIP, CVAE, prior, denoiser) gives a module and a loss that is a pure function of (seed, step): which rows,
which captions, which noise. So a run that goes on from a checkpoint repeats nothing and skips nothing.
"""

import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim.swa_utils import AveragedModel

from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.files import atomic_write_json, read_json
from celebgen_cli.models.devices import autocast, peak_memory, resolve_precision
from celebgen_cli.training import checkpoints
from celebgen_cli.training.observers import Observer

FORMAT = "celebgen-run"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class TrainConfig:
    """Settings of the loop; what a task adds is in its own configuration."""

    steps: int
    batch_size: int
    learning_rate: float = 3e-4
    warmup: int = 200  # steps of linear warm-up, then cosine to `final_learning_rate` of the peak
    final_learning_rate: float = 0.05  # share of the peak that is left at the last step
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.99  # short runs: the second moment must not remember longer than they last
    clip: float = 1.0  # largest gradient norm of each parameter group
    ema_half_life: int = 500  # steps after which a weight's share in the average has halved
    precision: str = "auto"
    seed: int = 0
    checkpoint_every: int = 500
    sample_every: int = 500
    log_every: int = 20
    keep: int = 2  # checkpoints


class Task(Protocol):
    """What is trained. `module` has the trainable parameters and nothing else."""

    kind: str
    module: nn.Module

    def parameter_groups(self) -> Sequence[Sequence[nn.Parameter]]:
        """Groups whose gradients are clipped each on their own."""

    def loss(self, step: int) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """Loss of one step (0-based) and what to log with it; a pure function of the task's seed and the step."""

    def validate(self, ema: nn.Module) -> Mapping[str, float]:
        """Figures on held-out data with the averaged weights; `score` (lower is better) picks the best."""

    def preview(self, ema: nn.Module, path: Path) -> None:
        """Write a picture of what the averaged weights do."""


# where progress goes: (step, steps, figures); the command line shows it
Reporter = Callable[[int, int, Mapping[str, float]], None]


def quiet(step: int, steps: int, metrics: Mapping[str, float]) -> None:
    """A reporter that says nothing."""


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then half a cosine (Loshchilov & Hutter 2016, arXiv 1608.03983, equation 5)."""
    warm = min(1.0, (step + 1) / max(1, config.warmup))
    rest = min(1.0, max(0, step - config.warmup) / max(1, config.steps - config.warmup))
    floor = config.final_learning_rate
    return config.learning_rate * warm * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * rest)))


def ema_update(half_life: int) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    """Average with decay 0.5^(1/half_life), less at first so that the start is forgotten."""
    limit = 0.5 ** (1 / half_life)

    @torch.no_grad()
    def update(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
        decay = min(limit, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(list(averaged), list(current), 1 - decay)

    return update


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, so that a step is finished and a checkpoint written before leaving."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    names = [signal.SIGINT, signal.SIGTERM]

    def handle(signum: int, _frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt  # the second time means now
        stop.set()

    previous = {name: signal.signal(name, handle) for name in names}
    try:
        yield stop
    finally:
        for name, handler in previous.items():
            signal.signal(name, handler)


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
        """Prepare a run.

        Args:
            task: what is trained; its module is moved to `device`.
            run: the run's folder; it must not hold another run unless `resume`.
            settings: everything else that config.json records (preset, data, text encoder ...).
            resume: go on from the newest whole checkpoint.
            warn: gets one sentence for each damaged checkpoint that is passed over.
            observers: are told what is logged and drawn.

        Raises:
            UsageError: the folder holds a run and `resume` is off, or the run there is of another kind.
        """
        self.task, self.run, self.config, self.device = task, Path(run), config, device
        self.folder = self.run / "checkpoints"
        begun = (self.run / "config.json").exists()
        if begun and not resume:
            raise UsageError(f"{run} already holds a run; add --resume to go on with it, or choose another folder")
        if begun:
            kind = read_json(self.run / "config.json").get("kind")
            if kind != task.kind:
                raise UsageError(f"{run} holds a run of kind '{kind}', not '{task.kind}'; choose another folder")
        torch.set_flush_denormal(True)
        task.module.to(device)
        self.ema = AveragedModel(
            task.module,
            multi_avg_fn=ema_update(config.ema_half_life),  # type: ignore[arg-type]
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
        # the fused attention of the CPU is fast forwards and several times slower than plain products backwards
        self.attention = (lambda: sdpa_kernel(SDPBackend.MATH)) if device.type == "cpu" else nullcontext
        self.observers = observers
        self.step = 0
        self.best: float | None = None
        if begun:
            self._resume(warn)
        atomic_write_json(
            self.run / "config.json",
            {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "kind": task.kind,
                **settings,
                "train": asdict(config),
            },
        )
        for observer in self.observers:
            observer.started(self.run, self.step)

    def _resume(self, warn: Callable[[str], None]) -> None:
        checkpoint, damaged = checkpoints.newest_checkpoint(self.folder)
        for sentence in damaged:
            warn(sentence)
        if checkpoint is None:
            _cut_metrics(self.run / "metrics.jsonl", 0)
            return
        try:
            self.task.module.load_state_dict(checkpoint.weights)
            self.ema.module.load_state_dict(checkpoint.ema)
            checkpoints.unpack_optimizer(self.optimizer, checkpoint.optimizer)
        except (RuntimeError, ValueError, KeyError) as error:
            raise CelebgenError(
                f"the checkpoint of step {checkpoint.step} in {self.folder} is of networks of another size; give the "
                "preset and text encoder that the run was started with, or another run folder"
            ) from error
        self.ema.n_averaged.fill_(int(checkpoint.state["ema_updates"]))
        if checkpoint.state.get("scaler"):
            self.scaler.load_state_dict(checkpoint.state["scaler"])
        self.step, self.best = checkpoint.step, checkpoint.state.get("best")
        _cut_metrics(self.run / "metrics.jsonl", self.step)

    def save(self) -> None:
        """Write a checkpoint of the present step."""
        tensors = {
            "weights": self.task.module.state_dict(),
            "ema": self.ema.module.state_dict(),
            "optimizer": checkpoints.pack_optimizer(self.optimizer),
        }
        state = {
            "ema_updates": int(self.ema.n_averaged),
            "best": self.best,
            "seed": self.config.seed,
            "scaler": self.scaler.state_dict(),
        }
        checkpoints.write_checkpoint(self.folder, self.step, tensors, state, self.config.keep)

    def train(self, report: Reporter = quiet) -> dict[str, float]:
        """Run to the last step; returns the last figures.

        Raises:
            KeyboardInterrupt: Ctrl-C or SIGTERM came; a checkpoint of the last finished step is on the disk.
            CelebgenError: a gradient is not finite, or a checkpoint cannot be written.
        """
        try:
            return self._train(report)
        finally:
            for observer in self.observers:
                observer.closed()

    def _train(self, report: Reporter) -> dict[str, float]:
        config, metrics = self.config, dict[str, float]()
        with _interruptible() as stop:
            began, counted = time.perf_counter(), 0
            while self.step < config.steps:
                loss, logged = self._one_step()
                self.step += 1
                counted += 1
                last = self.step == config.steps
                if self.step % config.log_every == 0 or last or stop.is_set():
                    seconds = time.perf_counter() - began
                    metrics = {"loss": float(loss), **{k: float(v) for k, v in logged.items()}}
                    metrics["images_per_second"] = counted * config.batch_size / max(seconds, 1e-9)
                    metrics |= peak_memory(self.device)
                    began, counted = time.perf_counter(), 0
                    self._log(metrics)
                report(self.step, config.steps, metrics)
                if self.step % config.checkpoint_every == 0 or last or stop.is_set():
                    self._validate(metrics)
                    self.save()
                    began, counted = time.perf_counter(), 0
                if (self.step % config.sample_every == 0 or last) and not stop.is_set():
                    picture = self.run / "samples" / f"step-{self.step:07d}.png"
                    with torch.no_grad(), self.autocast():
                        self.task.preview(self.ema.module, picture)
                    for observer in self.observers:
                        observer.sampled(self.step, picture)
                    began, counted = time.perf_counter(), 0
                for observer in self.observers:
                    if found := observer.stepped(self.step, self.ema.module):
                        self._log(found)
                        metrics |= found
                        began, counted = time.perf_counter(), 0
                if stop.is_set():
                    raise KeyboardInterrupt(f"step {self.step} is on the disk; add --resume to go on from it")
        return metrics

    def _one_step(self) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        self.task.module.train()
        for entry in self.optimizer.param_groups:
            entry["lr"] = learning_rate(self.step, self.config)
        with self.autocast(), self.attention():
            loss, logged = self.task.loss(self.step)
        with self.attention():
            self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        for group in self.groups:
            norm = nn.utils.clip_grad_norm_(group, self.config.clip)
            if not self.scaler.is_enabled() and not math.isfinite(float(norm)):  # the scaler skips such steps by itself
                raise CelebgenError(
                    f"loss {float(loss):.4g} of step {self.step + 1} has a gradient that is not finite, so training "
                    f"stopped before it was applied; the checkpoints in {self.folder} are good: go on from them with "
                    "--resume and a lower --learning-rate, or another --seed"
                )
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.update_parameters(self.task.module)
        return loss.detach(), logged

    def _validate(self, metrics: dict[str, float]) -> None:
        """Log the held-out figures and keep the averaged weights of the best score apart."""
        with torch.no_grad(), self.autocast():
            figures = dict(self.task.validate(self.ema.module))
        if not figures:
            return
        metrics.update(figures)
        self._log(figures)
        score = figures.get("score")
        if score is not None and (self.best is None or score < self.best):
            self.best = score
            temporary = self.run / ".best.safetensors.tmp"
            try:
                checkpoints.save_tensors(self.ema.module.state_dict(), temporary)
                os.replace(temporary, self.run / "best.safetensors")
            finally:
                temporary.unlink(missing_ok=True)

    def _log(self, metrics: Mapping[str, float]) -> None:
        with (self.run / "metrics.jsonl").open("a", encoding="utf-8") as file:
            rounded = {k: float(f"{v:.6g}") for k, v in metrics.items()}
            file.write(json.dumps({"step": self.step, **rounded}) + "\n")
        for observer in self.observers:
            observer.logged(self.step, metrics)


def _cut_metrics(path: Path, step: int) -> None:
    """Drop the lines of steps that will be done again."""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [
            line for line in lines if line.startswith("{") and line.endswith("}") and json.loads(line)["step"] <= step
        ]
        path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


def with_overrides(config: TrainConfig, **values: Any) -> TrainConfig:
    """The configuration with every value that is not None put in."""
    return replace(config, **{k: v for k, v in values.items() if v is not None})
