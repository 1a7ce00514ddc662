"""`celebgen info`: what a model, a run, a dataset or a picture is."""

import json as jsons
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from celebgen_cli.errors import CelebgenError, UsageError

VERSION = 1
"""Of the formats of models, runs and datasets alike."""


def info(
    path: Annotated[
        Path | None, typer.Argument(help="Model, run, dataset or picture; default: the model in the box.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Of a run: also draw its curves to this file.")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Also read all files and compare them with the digests kept of them.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the JSON that it carries, as it is.")] = False,
) -> None:
    """Say what a model, a training run, a prepared dataset or a generated picture is and how it was made.

    Of a run also its curves, the latent's health, and the command that goes on with it.

    Examples:

      celebgen info runs/unet --plot curves.png

      celebgen info outputs/0000_0_old-man.png --json | jq -r .prompt
    """
    from celebgen_cli.files import read_json
    from celebgen_cli.images import read_metadata
    from celebgen_cli.models.registry import find
    from celebgen_cli.pipeline import PRETRAINED

    word, path = ("", PRETRAINED) if path is None else (None, find(path, strict=False))
    if path.is_file():
        kind, content = "picture", read_metadata(path)
    else:
        names = {"model.json": "model", "config.json": "run", "dataset.json": "dataset"}
        name = next((name for name in names if (path / name).is_file()), None)
        if name is None:
            if not path.exists():
                raise CelebgenError(f"{path} does not exist; give a model, run, dataset or generated picture")
            raise CelebgenError(
                f"{path} is no model (model.json), run (config.json), dataset (dataset.json) or generated picture"
            )
        kind, content = names[name], read_json(path / name)
    version = content.get("format_version", VERSION) if isinstance(content, dict) else VERSION
    if kind != "picture" and version != VERSION and not json:
        raise CelebgenError(
            f"{path} has {kind} format version {version}, and this celebgen reads {VERSION}; install the celebgen that "
            "wrote it, or look at the JSON with --json"
        )
    if plot is not None:
        if kind != "run":
            raise UsageError(f"--plot draws the curves of a run, and {path} is a {kind}")
        _plot(path, plot)
    intact = None
    if verify:
        from celebgen_cli.inspection.verify import verify as compare

        intact = compare(path, kind, content)
    if json:
        print(jsons.dumps(content, indent=2, ensure_ascii=False))
        return
    encoding = sys.stdout.encoding or "utf-8"
    text = _report(path, kind, content, word, encoding)
    print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    if intact is not None:
        print(f"\nVerified: {intact}")
    if plot is not None:
        print(f"\nCurves are drawn in {plot}")


def _report(path: Path, kind: str, content: object, word: str | None, encoding: str) -> str:
    from celebgen_cli.inspection import curves, datasets, models, pictures, runs

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 100
    if kind == "picture":
        assert isinstance(content, dict)
        return pictures.inspect(path, content).text(width)
    if kind == "model":
        return models.inspect(path, word).text(width)
    if kind == "dataset":
        return datasets.inspect(path).text(width)
    try:
        curves.BLOCKS.encode(encoding)
        blocks = curves.BLOCKS
    except UnicodeEncodeError:
        blocks = curves.PLAIN
    return runs.inspect(path, blocks).text(width)


def _plot(run: Path, path: Path) -> None:
    """Draw a run's curves, and those of its prior's refit; only a plot may be written over."""
    from celebgen_cli.files import atomic_write_bytes
    from celebgen_cli.images import encode_png
    from celebgen_cli.inspection.curves import read_curves, shown
    from celebgen_cli.inspection.plot import draw

    if path.suffix.lower() != ".png":
        raise UsageError(f"--plot {path} must end in .png")
    if path.exists() and (path.is_dir() or "plot" not in _said(path)):
        raise CelebgenError(f"{path} exists and is no plot by celebgen; choose another name")
    panels = shown(read_curves(run / "metrics.jsonl"))
    panels |= {f"prior: {name}": curve for name, curve in shown(read_curves(run / "prior" / "metrics.jsonl")).items()}
    if not panels:
        raise CelebgenError(f"{run} has no figures yet (metrics.jsonl); let it train to its first ones")
    atomic_write_bytes(path, encode_png(draw(panels, run.resolve().name), None, {"plot": run.resolve().name}))


def _said(path: Path) -> dict[str, object]:
    """What a picture says of itself; nothing where it is not by celebgen."""
    from celebgen_cli.images import read_metadata

    try:
        return read_metadata(path)
    except CelebgenError:
        return {}
