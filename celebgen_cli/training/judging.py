"""What `train-judge` does, and where a judge comes from: a run, a model, the model in the box."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np

from celebgen_cli.data.attributes import ATTRIBUTES
from celebgen_cli.data.captions import Wording
from celebgen_cli.errors import UsageError
from celebgen_cli.files import atomic_write_json
from celebgen_cli.models.devices import choose_device
from celebgen_cli.models.judge import Judge, JudgeConfig
from celebgen_cli.models.registry import find
from celebgen_cli.processes import world
from celebgen_cli.training import defaults, preparing, runs
from celebgen_cli.training.batches import preload, training_and_held_out
from celebgen_cli.training.engine import Reporter, TrainConfig, Trainer, quiet
from celebgen_cli.training.order import Order

JUDGES = {
    "tiny": JudgeConfig(image_size=16, widths=(8, 16), blocks=(0, 1)),
    "small64": JudgeConfig(),
    "base128": JudgeConfig(),
}
_FULL = TrainConfig(
    4000, 64, 1.5e-3, warmup=100, final_learning_rate=0.02, weight_decay=0.05, ema_half_life=300,
    checkpoint_every=500, sample_every=1_000_000,
)  # fmt: skip
SETTINGS = {
    "tiny": TrainConfig(20, 16, 2e-3, warmup=5, ema_half_life=5, checkpoint_every=10, sample_every=10, log_every=1),
    "small64": _FULL,
    "base128": _FULL,
}
"""What suits each preset on a CPU; the two larger ones differ in the pictures that come in alone."""


def train_judge(order: Order, *, preset: str | None = None, report: Reporter = quiet) -> dict[str, float]:
    """Train an attribute judge; returns its held-out accuracy.

    report.json of the run has the accuracy for each attribute too.

    Raises:
        UsageError: the dataset has no attributes, there is no such preset; also see `Trainer`.
        CelebgenError: see `Trainer`.
    """
    import torch

    from celebgen_cli.training.judge import JudgeLossConfig, JudgeTask

    output, init_from = order.output, order.origin
    preset = defaults.preset_name(preset, output, order.resume)
    if preset not in JUDGES:
        raise UsageError(f"there is no preset '{preset}'; choose one of {', '.join(JUDGES)}")
    (data, held), where = order.datasets(), choose_device(order.device)
    config = order.config(SETTINGS, preset)
    train, held_out = training_and_held_out(data, held, Wording())
    for place, examples in ((order.dataset, train), (order.held_out or order.dataset, held_out)):
        if not (examples.split.attributes[examples.rows] != 0).any():
            raise UsageError(f"{place} does not know the attributes of its pictures, and a judge learns nothing else")
    sizes, loss = JUDGES[preset], JudgeLossConfig()
    record = order.record(preset, data, train.source.wording)
    del record["captions"]  # a judge reads none
    settings = {**record, "judge": asdict(sizes), "loss": asdict(loss)}
    resume = order.goes_on("judge", settings, config)
    preload(where, train, held_out)
    task = JudgeTask(sizes, train, held_out, config.batch_size, config.seed, loss)
    if init_from is not None and not runs.has_checkpoint(output):
        preparing.warm_start(task.model, load_judge(init_from).state_dict(), init_from)
    trainer = Trainer(
        task, output, config, device=where, settings=settings, resume=resume, warn=order.warn,
        observers=order.observers,
    )  # fmt: skip
    trainer.train(report)
    if not world().main:
        return {}
    with torch.no_grad():
        accuracies = task.accuracies(trainer.ema.module)
    known = ~np.isnan(accuracies)
    figures = {"accuracy": float(accuracies[known].mean()), "images": len(held_out)}
    named = {name: float(accuracies[i]) for i, name in enumerate(ATTRIBUTES) if known[i]}
    atomic_write_json(output / "report.json", {**figures, "attributes": named})
    return figures


def load_judge(source: Path | str | None) -> Judge:
    """The judge of a train-judge run or of a model (folder or name), None: the model in the box; on the CPU.

    Raises:
        CelebgenError: there is none.
    """
    from celebgen_cli.pipeline import PRETRAINED

    parts = runs.load_components(find(source, strict=False) if source is not None else PRETRAINED, ("judge",))
    assert parts.judge is not None
    return parts.judge
