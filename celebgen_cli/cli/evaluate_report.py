"""`celebgen evaluate report`: every metric on one page, beside another report, with conditions for pipelines."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from celebgen_cli.cli.common import say, silence_stdout
from celebgen_cli.cli.evaluate_common import (
    Computing,
    Drawing,
    Generated,
    Real,
    Seed,
    Weights,
    listening,
    refuse_idle,
    remark,
)
from celebgen_cli.cli.groups import grouped
from celebgen_cli.cli.results import print_json


@grouped
def report(
    generated: Generated = None,
    real: Real = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.html", help="The page; its JSON is written beside it.")
    ] = Path("report.html"),
    train: Annotated[
        str | None,
        typer.Option(
            "--train", metavar="DATASET[:SPLIT]", help="Training set, for memorization. Default: $CELEBGEN_DATASET's."
        ),
    ] = None,
    metrics: Annotated[
        str, typer.Option("--metrics", metavar="LIST", help="What to measure.")
    ] = "fid,prc,attributes,text,reconstruction,memorization",
    num: Annotated[
        int | None,
        typer.Option("--num", "-n", min=2, help="Faces of each metric. Default: that of each metric's own command."),
    ] = None,
    against: Annotated[
        Path | None, typer.Option("--against", metavar="OTHER.json", help="Compare with another report.")
    ] = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option("--fail-if", metavar="CONDITION", help='Exit 1 where it is true, such as "fid>25". Repeatable.'),
    ] = None,
    real_pictures: Annotated[
        bool,
        typer.Option(
            "--real-pictures",
            help="Photographs too: worst reconstructions, nearest training pictures. CelebA's must not be published.",
        ),
    ] = False,
    judge: Annotated[Path | None, typer.Option("--judge", help="As in `evaluate attributes`.")] = None,
    clip: Annotated[
        str | None, typer.Option("--clip", metavar="NAME/TAG|local-dir:PATH|RUN", help="As in `evaluate text`.")
    ] = None,
    perceptual_weights: Annotated[
        Path | None, typer.Option("--perceptual-weights", metavar="DIR", help="AlexNet for LPIPS.")
    ] = None,
    seed: Seed = 0,
    repeats: Annotated[
        int, typer.Option("--repeats", min=1, help="Sets of faces with other seeds, for the spread of distances.")
    ] = 1,
    inception_weights: Weights = None,
    as_json: Annotated[bool, typer.Option("--json", help="The JSON on stdout, in place of the paths.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a report that is there already.")] = False,
    *,
    drawing: Drawing,
    computing: Computing,
) -> None:
    """All metrics as one HTML page that needs nothing else, and as JSON.

    What cannot be measured here is left out, with the reason. An interrupted report goes on when the same command is
    given again. Conditions for --fail-if are a figure, one of < <= > >= and a number: fid, kid, precision, recall,
    density, coverage, obedience, hit, clip_score, r_precision, psnr, ssim, lpips, rfid, prior_nll, prior_explained,
    prior_fid, copied, nearer, diversity.

    Example: celebgen evaluate report models/faces -o faces.html --against before.json --fail-if "fid>25"
    """
    from celebgen_cli.errors import CelebgenError, UsageError
    from celebgen_cli.evaluation.figures import parse_condition
    from celebgen_cli.evaluation.journal import alone
    from celebgen_cli.evaluation.options import Options
    from celebgen_cli.evaluation.report import failure, read_report, to_json
    from celebgen_cli.evaluation.report_page import render, text_table
    from celebgen_cli.evaluation.report_parts import Setup, clear, measure_report
    from celebgen_cli.files import atomic_write_bytes, atomic_write_json

    parts = list(dict.fromkeys(part.strip() for part in metrics.split(",")))
    conditions = [parse_condition(text, parts) for text in fail_if or ()]
    if output.suffix.lower() != ".html":
        raise UsageError(f"-o {output} must end in .html")
    beside = output.with_suffix(".json")
    for path in (output, beside):
        if path.exists() and not force:
            raise UsageError(f"{path} is there already; choose another name with -o, or replace it with --force")
    other = None if against is None else read_report(against)
    options = Options(
        num=num, sampling=drawing.settings(), seed=seed, inception_weights=inception_weights, repeats=repeats,
        **computing.options(),
    )  # fmt: skip
    refuse_idle(generated, drawing)
    setup = Setup(generated, real, train, options, parts, judge, clip, perceptual_weights, real_pictures)
    work = output.parent / f".{output.name}.partial"
    with alone(output.parent / f".{output.name}.lock"):
        with listening(computing.quiet) as listener:
            measured = measure_report(setup, work, listener)
        value = to_json(measured, other, conditions)
        atomic_write_bytes(output, render(measured, value).encode("utf-8"))
        atomic_write_json(beside, value)
        clear(work)
    for warning in value["warnings"]:
        remark(f"warning: {warning}", computing.quiet)
    for line in value.get("against", {}).get("conditions_differ", ()):
        remark(f"warning: {line}", computing.quiet)
    if not computing.quiet:
        say("\n".join(text_table(value)))
    reason = failure(conditions, value)
    try:
        if as_json:
            print_json(value)
        else:
            typer.echo(f"{output}\n{beside}")
        sys.stdout.flush()
    except BrokenPipeError:
        if not reason:
            raise
        silence_stdout()  # a condition holds, whoever reads
    if reason:
        raise CelebgenError(reason)
