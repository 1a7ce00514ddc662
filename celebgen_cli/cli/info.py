"""`celebgen info`: what a model, a run, a dataset or a picture is."""

import json
from pathlib import Path
from typing import Annotated

import typer

from celebgen_cli.errors import CelebgenError


def info(
    path: Annotated[
        Path | None, typer.Argument(help="Model, run, dataset or picture; default: the model in the box.")
    ] = None,
) -> None:
    """Print as JSON what a model folder, a run, a prepared dataset or a generated picture is and how it was made."""
    from celebgen_cli.files import read_json
    from celebgen_cli.images import read_metadata
    from celebgen_cli.models.registry import find
    from celebgen_cli.pipeline import PRETRAINED

    path = PRETRAINED if path is None else find(path, strict=False)
    if path.is_file():
        print(json.dumps(read_metadata(path), indent=2, ensure_ascii=False))
        return
    for name in ("model.json", "config.json", "dataset.json"):
        if (path / name).is_file():
            print(json.dumps(read_json(path / name), indent=2, ensure_ascii=False))
            return
    raise CelebgenError(
        f"{path} is no model (model.json), run (config.json), dataset (dataset.json) or generated picture"
    )
