"""`celebgen evaluate fid`, `kid`, `prc` and `fd`: distances between two sets of images, figures on stdout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from celebgen_cli.cli.evaluate_common import (
    Computing,
    Drawing,
    Generated,
    Json,
    NoFloor,
    Real,
    Save,
    Seed,
    Weights,
    listening,
    refuse_idle,
    remark,
    side,
    tools,
)
from celebgen_cli.cli.groups import grouped
from celebgen_cli.cli.results import print_json

if TYPE_CHECKING:
    from celebgen_cli.evaluation.fid import FidResult

NAMES = {"fid": "FID", "fd": "FD", "kid": "KID"}
PRC = ("precision", "recall", "f_score", "density", "coverage")


@dataclass(frozen=True)
class Comparison:
    """What is compared with what, by any of these metrics."""

    generated: Generated = None
    real: Real = None
    num: Annotated[
        int | None, typer.Option("--num", "-n", min=2, help="Generated images. Default: as many as real ones.")
    ] = None
    seed: Seed = 0
    repeats: Annotated[
        int, typer.Option("--repeats", min=1, help="Sets that the model draws with other seeds: mean and deviation.")
    ] = 1
    floor: Annotated[
        str | None,
        typer.Option(
            "--floor", metavar="SET", help="Other real images for the floor. Default: parts of the reference."
        ),
    ] = None
    no_floor: NoFloor = False
    save: Save = None
    inception_weights: Weights = None
    as_json: Json = False


@grouped
def fid(
    comparison: Comparison,
    drawing: Drawing,
    computing: Computing,
    kid: Annotated[bool, typer.Option("--kid/--no-kid", help="Also the Kernel Inception Distance.")] = True,
) -> None:
    """Frechet and Kernel Inception Distance, equal to torch-fidelity's.

    A model draws one face for a caption of each real image's attributes. KID needs the features of both sides, which
    a statistics file has only where it was made with --features. The floor is the same metric between real images.
    """
    _run("fid", comparison, drawing, computing, kid=kid)


@grouped
def kid(comparison: Comparison, drawing: Drawing, computing: Computing) -> None:
    """Kernel Inception Distance alone, equal to torch-fidelity's: unbiased, so fewer images do.

    Its deviation is over the subsets of the images; that over sampling seeds comes with --repeats.
    """
    _run("kid", comparison, drawing, computing)


@grouped
def prc(
    comparison: Comparison,
    drawing: Drawing,
    computing: Computing,
    vgg_weights: Annotated[
        Path | None,
        typer.Option(
            "--vgg-weights",
            metavar="FILE",
            help="torchvision's VGG16 with its classifier: its fc2 features in place of Inception's.",
        ),
    ] = None,
) -> None:
    """Precision and recall (k = 3), equal to torch-fidelity's, and density and coverage (k = 5).

    Over Inception's features unless VGG16's weights are named, as in the paper on precision and recall; the two do
    not compare. Nor do figures at another N.
    """
    network = "inception" if vgg_weights is None else f"vgg16:{vgg_weights}"
    _run("prc", comparison, drawing, computing, features=network)


@grouped
def fd(
    features: Annotated[
        str,
        typer.Option(
            "--features",
            metavar="NETWORK",
            help="clip:NAME/TAG of open_clip, clip:local-dir:PATH, clip:RUN of train-clip, clip:FILE of OpenAI's, "
            "dinov2:FILE, or dinov2:s, b, l or g (fetched once); vgg16:FILE.",
        ),
    ],
    comparison: Comparison,
    drawing: Drawing,
    computing: Computing,
) -> None:
    """Frechet distance over the features of another network than Inception: DINOv2, CLIP or VGG16.

    Inception learned the classes of ImageNet, which has no class of faces; these networks saw them. The real side is
    images, or statistics that `evaluate stats --network` made with the same network.
    """
    _run("fd", comparison, drawing, computing, features=features)


def _run(
    metric: str, given: Comparison, drawing: Drawing, computing: Computing, *, kid: bool = True,
    features: str = "inception",
) -> None:  # fmt: skip
    """Measure, and print what came out."""
    from celebgen_cli.evaluation.compare import Options, compare

    quiet = computing.quiet
    refuse_idle(given.generated, drawing, given.save, given.num)
    options = Options(
        num=given.num, sampling=drawing.settings(), seed=given.seed, inception_weights=given.inception_weights, kid=kid,
        save=given.save, repeats=given.repeats, floor=not given.no_floor, floor_set=given.floor, features=features,
        **computing.options(),
    )  # fmt: skip
    with listening(quiet) as listener:
        result = compare(given.generated, given.real, options, listener, metric=metric)
    for warning in result.warnings:
        remark(f"warning: {warning}", quiet)
    if options.floor and result.floor is None:
        reason = "the real side is statistics without features, or has too few images"
        remark(f"the floor is left out: {reason} (name --floor SET)", quiet)
    if given.as_json:
        print_json(result.to_dict())
        return
    for line in lines(result):
        typer.echo(line)
    if metric == "fid" and options.kid and result.kid is None:
        remark("KID is left out: a side is statistics without features", quiet)


def lines(result: FidResult) -> list[str]:
    """The result for people."""
    out = []
    for name in ("fid", "fd"):
        if result.figures.get(name) is not None:
            out.append(f"{NAMES[name]:<11}{result.figures[name]:.4f}{_spread(result, name, 4)}")
    if result.kid is not None:
        out.append(
            f"KID        {result.kid:.6f}{_deviation(result.kid_deviation)}  "
            f"({result.kid_subsets} subsets of {result.kid_subset_size}){_spread(result, 'kid', 6)}"
        )
    for name in PRC:
        if name in result.figures:
            out.append(f"{name.replace('_', ' '):<11}{result.figures[name]:.4f}{_spread(result, name, 4)}")
    if result.floor is not None:
        out += _floor(result.floor)
    if result.metric in ("prc", "fd"):
        out.append(f"features   {result.real.get('network')}, layer {result.real.get('layer')}")
    out += [f"generated  {side(result.generated)}", f"real       {side(result.real)}", f"tools      {tools()}"]
    return out


def _deviation(deviation: float | None) -> str:
    return "" if deviation is None else f" +/- {deviation:.6f}"


def _spread(result: FidResult, name: str, digits: int) -> str:
    """The deviation over sampling seeds, where there are several."""
    if result.spread is None or name not in result.spread:
        return ""
    seeds = ", ".join(map(str, result.spread["seeds"]))
    return f" +/- {result.spread[name]['deviation']:.{digits}f} over {len(result.spread['seeds'])} sets (seeds {seeds})"


def _floor(floor: Mapping[str, Any]) -> list[str]:
    figures = [f"{NAMES[name]} {floor[name]:.4f}" for name in ("fid", "fd") if floor.get(name) is not None]
    if floor.get("kid") is not None:
        figures.append(f"KID {floor['kid']:.6f}{_deviation(floor.get('kid_deviation'))}")
    figures += [f"{name.replace('_', ' ')} {floor[name]:.4f}" for name in PRC if name in floor]
    out = [f"floor      {', '.join(figures)}"]
    out.append(f"           between {floor['sets']}, N {floor['n']} and {floor['n_real']}")
    further = floor.get("extrapolated")
    if further:
        told = ", ".join(f"{NAMES[name]} {further[name]:.2f}" for name in ("fid", "fd") if name in further)
        out.append(f"           by the law of 1/N about {told} at N {further['n']} and {further['n_real']}")
    return out
