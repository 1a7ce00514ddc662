"""`celebgen finetune`: a model that learned from a few pictures of one's own."""

from pathlib import Path
from typing import Annotated

import typer

from celebgen_cli.cli import common


def finetune(
    pictures: Annotated[
        list[Path],
        typer.Argument(metavar="PICTURES...", help="Folders or zip archives of pictures, or one prepared dataset."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="MODEL", help="Model folder to write.")],
    model: Annotated[
        Path | None,
        typer.Option(help="Model to start from: folder, name or hf://OWNER/NAME; default: the model in the box."),
    ] = None,
    caption: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What pictures show that have no caption of their own.")
    ] = None,
    align: Annotated[
        bool, typer.Option("--align", help="Move the landmarks of each picture to where CelebA has them, then crop.")
    ] = False,
    landmarks: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="For --align: rows of a file name and ten numbers, as CelebA's own file."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 200,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures a step.")] = 16,
    learning_rate: Annotated[float, typer.Option(min=0.0, help="Peak learning rate.")] = 1e-4,
    seed: Annotated[int, typer.Option(min=0, max=common.MOST_SEED, help="Seed of everything that is drawn.")] = 0,
    precision: common.Precision = "auto",
    device: common.Device = None,
    name: Annotated[str | None, typer.Option(help="The model's name; default: the folder's.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a model that is there.")] = False,
    quiet: common.Quiet = False,
) -> None:
    """Train a model's denoiser on with a few pictures of your own; prints the new model's folder.

    Fifty portraits and some minutes on a CPU are enough. Text encoder and CVAE stay as they are. Say what the pictures
    show, in words that the model knows: with --caption, in metadata.jsonl or metadata.csv (file_name, text), or in a
    .txt beside each. Faces should sit in the frame as CelebA's do: --align sees to that. Interrupted, the same command
    goes on.

    Examples:

      celebgen finetune portraits -o models/mine --caption "young woman with red hair"

      celebgen sample "young woman" --model models/mine
    """
    from celebgen_cli.training import finetuning

    with common.training_progress("finetune", quiet) as report:
        finetuning.finetune(
            pictures, output, model=model, caption=caption, align=align, landmarks=landmarks, steps=steps,
            batch_size=batch_size, learning_rate=learning_rate, seed=seed, precision=precision, device=device,
            name=name, force=force, announce=(lambda sentence: None) if quiet else common.say, report=report,
        )  # fmt: skip
    print(output)
