"""`celebgen evaluate`: figures on stdout, everything else on stderr."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from celebgen_cli.cli import (
    evaluate_ablation,
    evaluate_attributes,
    evaluate_distances,
    evaluate_edits,
    evaluate_memorization,
    evaluate_reconstruction,
    evaluate_report,
    evaluate_text,
)
from celebgen_cli.cli.evaluate_common import Computing, NoFloor, Number, Weights, listening
from celebgen_cli.cli.groups import grouped

app = typer.Typer(help="Measure a model, or any set of faces, against real ones.", no_args_is_help=True)
app.command("attributes")(evaluate_attributes.attributes)


app.command("fid")(evaluate_distances.fid)
app.command("kid")(evaluate_distances.kid)
app.command("prc")(evaluate_distances.prc)
app.command("fd")(evaluate_distances.fd)


app.command("reconstruction")(evaluate_reconstruction.reconstruction)
app.command("edits")(evaluate_edits.edits)
app.command("text")(evaluate_text.text)
app.command("memorization")(evaluate_memorization.memorization)


@app.command("stats")
@grouped
def stats(
    images: Annotated[str, typer.Argument(metavar="SPLIT", help="DATASET[:SPLIT], or a folder or zip of images.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The .safetensors file to write.")],
    name: Annotated[
        str | None, typer.Option("--name", help="What figures call this set. Default: the name of its folder.")
    ] = None,
    num: Number = None,
    features: Annotated[
        bool, typer.Option("--features", help="Keep every image's features too (8 KB an image), which KID needs.")
    ] = False,
    network: Annotated[
        str,
        typer.Option("--network", metavar="NETWORK", help="What looks at the images, as --features of `evaluate fd`."),
    ] = "inception",
    no_floor: NoFloor = False,
    inception_weights: Weights = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    *,
    computing: Computing,
) -> None:
    """Write reference statistics that `evaluate fid` takes on either side.

    Beside FILE lies a JSON file that says what they are of and how they were made; FILE alone is enough to use them.
    """
    from celebgen_cli.errors import UsageError
    from celebgen_cli.evaluation.compare import Options, make_statistics

    if output.suffix.lower() != ".safetensors":
        raise UsageError(f"the statistics file {output} must end in .safetensors")
    if output.exists() and not force:
        raise UsageError(f"{output} is there already: choose another name, or --force to write over it")
    options = Options(
        num=num, inception_weights=inception_weights, floor=not no_floor, features=network, **computing.options()
    )
    with listening(computing.quiet) as listener:
        make_statistics(images, output, options, name=name, keep_features=features, listener=listener)
    typer.echo(str(output))


app.command("ablation")(evaluate_ablation.ablation)
app.command("report")(evaluate_report.report)
