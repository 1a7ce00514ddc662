"""`celebgen prepare`: images and what is known of them in, a prepared dataset out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from celebgen_cli.cli import common

if TYPE_CHECKING:
    from celebgen_cli.data.prepare import PrepareReport


def prepare(
    sources: Annotated[
        list[Path], typer.Argument(metavar="SOURCE...", help="Folders or zip archives of images, at any depth.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DATASET", help="The folder to make.")],
    annotations: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder with list_attr_celeba and its kin; default: beside the first source. Without them the images "
            "are taken for pictures of your own.",
        ),
    ] = None,
    size: Annotated[int, typer.Option(help="Pixels of an image's side, 32 to 256.")] = 128,
    crop: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="face178, ddim, center140, center148, square or none; default: face178, or square for own pictures.",
        ),
    ] = None,
    already: Annotated[
        str | None, typer.Option(metavar="NAME", help="The images are cut to this crop already.")
    ] = None,
    align: Annotated[
        bool, typer.Option("--align", help="Move the landmarks of each picture to where CelebA has them, then crop.")
    ] = False,
    landmarks: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="For --align: rows of a file name and ten numbers, as CelebA's own file."),
    ] = None,
    caption: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Caption of every image that has no other.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes; default: one a core.")] = None,
    limit: Annotated[int | None, typer.Option(help="Take only so many images, spread over the splits.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace DATASET if it is there already.")] = False,
    quiet: common.Quiet = False,
) -> None:
    """Crop and resize images and match them with annotations or captions; prints the dataset's path.

    Beside pictures of your own may lie metadata.jsonl or metadata.csv (file_name, text), or a .txt for each. An
    interrupted run is taken up by the same command.

    Examples:

      celebgen prepare img_align_celeba.zip -o data/celeba

      celebgen prepare portraits --align --landmarks points.csv --caption "a photo of anna" -o data/anna
    """
    from celebgen_cli.data import prepare as work
    from celebgen_cli.errors import UsageError

    if crop is not None and already is not None:
        raise UsageError("--crop cuts the images and --already says that they are cut; give one of them")
    with common.progress("prepare", quiet=quiet) as update:
        report = work.prepare(
            sources,
            output,
            annotations=annotations or _beside(sources[0]),
            size=size,
            crop=crop,
            already=already,
            align=align,
            landmarks=landmarks,
            caption=caption,
            workers=workers,
            limit=limit,
            force=force,
            progress=update,
            announce=(lambda sentence: None) if quiet else common.say,
        )
    if not quiet:
        _summarise(report)
    print(report.path)


def _beside(source: Path) -> Path | None:
    """The first of the source and the two folders above it that has the attribute file."""
    from celebgen_cli.data.annotations import find_annotations
    from celebgen_cli.errors import UsageError

    if not source.exists():
        raise UsageError(f"the source {source} does not exist; name a folder of images or a zip archive")
    places = [place for place in (source, *source.absolute().parents[:2]) if place.is_dir()]
    return next((place for place in places if find_annotations(place).attributes is not None), None)


def _summarise(report: "PrepareReport") -> None:
    from rich.table import Table
    from rich.text import Text

    from celebgen_cli.errors import counted

    images = counted(sum(report.counts.values()), "image")
    table = Table(title=f"{images} in {report.seconds:.1f} s", title_justify="left")
    table.add_column("what")
    table.add_column("images", justify="right")
    for name, count in report.counts.items():
        table.add_row(name, f"{count:,}")
    table.add_row("met again and dropped", f"{report.repeats:,}")
    table.add_row("left out, see rejected.csv", f"{report.rejected:,}")
    for name, reason in report.rejected_examples:
        table.add_row(Text(f"  {name}: {reason}"), "")
    if report.captions:
        table.add_row("captions of your own", f"{report.captions:,}")
        if report.uncaptioned:
            table.add_row("images without one", f"{report.uncaptioned:,}")
    if report.rows_without_image is not None:
        table.add_row("annotation rows without an image", f"{report.rows_without_image:,}")
    common.stderr().print(table)
    if report.lossy_source:
        common.say("The images were encoded with loss after CelebA's own JPEG: do not take them as a reference.")
