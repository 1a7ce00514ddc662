"""`celebgen train-clip`: the compact CLIP, trained on pictures and captions of their attributes."""

from pathlib import Path
from typing import Annotated

import typer

from celebgen_cli.cli import common, config


@config.trains("clip")
@common.terminable
def train_clip(
    dataset: Annotated[Path, typer.Argument(help="Prepared dataset.")],
    output: common.RunFolder,
    preset: common.Preset = None,
    steps: common.Steps = None,
    batch_size: common.TrainBatchSize = None,
    accumulate: common.Accumulate = None,
    learning_rate: common.LearningRate = None,
    ema_half_life: common.EmaHalfLife = None,
    contrast: Annotated[
        str | None, typer.Option(help="sigmoid (default; many positives), or softmax: plain ClipLoss, the baseline.")
    ] = None,
    captions: common.Captions = None,
    files_share: common.FilesShare = None,
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
    """Train the compact CLIP whose text tower conditions the CVAE and the denoiser.

    Prints RUN when done, and on stderr how well attributes are read from held-out phrasings and how well captions
    find pictures. Example: celebgen train-clip data/celeba -o runs/clip --steps 2000
    """
    from celebgen_cli.training import recipes
    from celebgen_cli.training.observers import observers_of

    with common.training_progress("train-clip", quiet) as report:
        figures = recipes.train_clip(
            dataset, output, preset=preset, contrast=contrast, captions=captions, files_share=files_share,
            valid=valid, init_from=init_from, resume=resume, device=device, report=report, warn=common.say,
            observers=observers_of(options, tensorboard),
            overrides=common.overrides(
                steps=steps, batch_size=batch_size, accumulate=accumulate, learning_rate=learning_rate, seed=seed,
                ema_half_life=ema_half_life, precision=precision, checkpoint_every=checkpoint_every,
                keep=keep, compile=compile, checkpoint_activations=checkpoint_activations,
            ),
        )  # fmt: skip
    if not quiet:
        common.say(common.summary(figures))
    print(output)
