"""`celebgen calibrate`: correct the tones and the frequencies of what a model draws."""

from pathlib import Path
from typing import Annotated

import typer

from celebgen_cli.cli import common


def calibrate(
    dataset: Annotated[Path, typer.Argument(help="Prepared dataset; its train split is encoded and captioned.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Model folder to write.")],
    model: Annotated[
        Path | None, typer.Option(help="Model: folder, name or hf://OWNER/NAME; default: the model in the box.")
    ] = None,
    num: Annotated[int, typer.Option("--num", "-n", min=2, help="Latents to draw, and pictures to encode.")] = 1200,
    seed: Annotated[int, typer.Option(min=0, help="Seed of what is drawn.")] = 0,
    batch_size: common.BatchSize = 16,
    device: common.Device = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a model that is there.")] = False,
    quiet: common.Quiet = False,
) -> None:
    """Measure how what is drawn differs from photographs, and write the model with that correction.

    Guidance and few steps make faces darker and more alike in tone than photographs. The correction moves the mean of
    the drawn latents and widens the spread of their broad tones. Decoders draw fine detail too weak in brightness and
    too strong in colour: decoded faces go through a filter that makes frequencies as strong as in photographs. Each
    face gets the same correction. Draws with the model's default settings, so set these first (celebgen export).

    Example: celebgen calibrate data/celeba --model models/faces -o models/calibrated
    """
    from celebgen_cli.training.calibrating import calibrate as measure_and_write

    with common.progress("calibrate", quiet=quiet) as update:
        measure_and_write(
            model, dataset, output, count=num, batch_size=batch_size or 16, seed=seed, device=device, force=force,
            progress=update,
        )  # fmt: skip
    print(output)
