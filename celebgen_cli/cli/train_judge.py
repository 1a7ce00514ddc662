"""`celebgen train-judge`: the network that says which attributes a face shows."""

from pathlib import Path
from typing import Annotated

import typer

from celebgen_cli.cli import common, config


@config.trains("judge")
@common.terminable
def train_judge(
    dataset: Annotated[Path, typer.Argument(help="Prepared dataset with attributes; its train split is learned from.")],
    output: common.RunFolder,
    preset: Annotated[
        str | None, typer.Option(help="Size: tiny (16 px, for tests), or base128 (64 px, at most 2 MiB); the default.")
    ] = None,
    steps: common.Steps = None,
    batch_size: common.TrainBatchSize = None,
    accumulate: common.Accumulate = None,
    learning_rate: common.LearningRate = None,
    ema_half_life: common.EmaHalfLife = None,
    valid: common.Valid = None,
    init_from: common.InitFrom = None,
    resume: common.Resume = False,
    seed: common.TrainSeed = None,
    precision: common.TrainPrecision = None,
    device: common.Device = None,
    compile: common.Compile = None,
    checkpoint_activations: common.CheckpointActivations = None,
    checkpoint_every: common.CheckpointEvery = None,
    keep: common.Keep = None,
    tensorboard: common.TensorBoard = False,
    quiet: common.Quiet = False,
    options: str = "",
) -> None:
    """Train the attribute judge that `evaluate attributes` measures with.

    Prints RUN when done, and on stderr the mean accuracy over the 40 attributes on held-out pictures. `export --judge
    RUN` puts it into a model folder. Example: celebgen train-judge data/celeba -o runs/judge
    """
    from celebgen_cli.training import judging
    from celebgen_cli.training.observers import observers_of

    with common.training_progress("train-judge", quiet) as report:
        figures = judging.train_judge(
            dataset, output, preset=preset, valid=valid, init_from=init_from, resume=resume, device=device,
            report=report, warn=common.say, observers=observers_of(options, tensorboard),
            overrides=common.overrides(
                steps=steps, batch_size=batch_size, accumulate=accumulate, learning_rate=learning_rate, seed=seed,
                ema_half_life=ema_half_life, precision=precision, checkpoint_every=checkpoint_every,
                keep=keep, compile=compile, checkpoint_activations=checkpoint_activations,
            ),
        )  # fmt: skip
    if not quiet and figures:
        common.say(f"accuracy {100 * figures['accuracy']:.2f} % over 40 attributes on {figures['images']} pictures")
    print(output)
