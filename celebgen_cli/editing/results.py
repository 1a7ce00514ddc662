"""What edits, ways and neighbours leave on disk: nothing that is there is overwritten unasked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from celebgen_cli import __version__
from celebgen_cli.errors import UsageError
from celebgen_cli.files import atomic_write_bytes
from celebgen_cli.sampling.outputs import SUFFIXES
from celebgen_cli.sampling.settings import check_path


def picture_path(path: str, option: str = "-o", suffixes: Iterable[str] = tuple(SUFFIXES)) -> Path:
    """The path of a file to write, once its ending is known to be one that can be written.

    Raises:
        UsageError: it is not.
    """
    found, endings = Path(check_path(path, option)), list(suffixes)
    if found.suffix.lower() not in endings:
        raise UsageError(
            f"{option} {path} must end in {', '.join(endings[:-1])}{' or ' * (len(endings) > 1)}{endings[-1]}"
        )
    return found


def check_free(paths: Iterable[Path], force: bool) -> None:
    """Refuse, before anything is drawn, to write where something is.

    Raises:
        UsageError: with what to do.
    """
    for path in paths:
        if path.is_dir():
            raise UsageError(f"{path} is a folder; give the name of a file")
        if path.exists() and not force:
            raise UsageError(f"{path} exists; add --force to overwrite it")


def described(model: Any, kind: str, what: Mapping[str, Any]) -> dict[str, Any]:
    """A picture's metadata: what was done, under its own name so that `sample --from` does not take it for its own."""
    return {
        kind: dict(what), "precision": model.precision, "size": model.size, "model": model.name,
        "model_sha256": model.sha256, "celebgen": __version__,
    }  # fmt: skip


def write_picture(path: Path, pixels: Any, metadata: Mapping[str, Any], text: str, force: bool) -> None:
    """Write uint8 [H, W, 3] in the form that the path's ending names, with its metadata; `text` begins `parameters`.

    Raises:
        TakenError: something is there by now, and `force` is off.
    """
    from celebgen_cli.images import encode

    whole = (
        f"{text}, Size: {metadata['size']}x{metadata['size']}, Model hash: {metadata['model_sha256'][:10]}, "
        f"Model: {metadata['model']}, Version: celebgen {metadata['celebgen']}"
    )
    atomic_write_bytes(path, encode(pixels, SUFFIXES[path.suffix.lower()], whole, metadata), new=not force)


def write_gif(path: Path, frames: Any, seconds: float, back: bool, metadata: Mapping[str, Any], force: bool) -> None:
    """Write uint8 [N, H, W, 3] as an endless GIF of about `seconds` one way; `back` adds the way back.

    The metadata are its comment, as JSON.

    Raises:
        TakenError: something is there by now, and `force` is off.
    """
    import io

    from PIL import Image

    order = [*range(len(frames)), *(range(len(frames) - 2, 0, -1) if back else ())]
    first, *rest = [Image.fromarray(frames[i]) for i in order]
    each = max(20, 10 * round(100 * seconds / len(frames)))  # GIF counts hundredths, and viewers slow down below two
    buffer = io.BytesIO()
    said = json.dumps(metadata).encode("ascii")
    first.save(buffer, "GIF", save_all=True, append_images=rest, loop=0, duration=each, comment=said)
    atomic_write_bytes(path, buffer.getvalue(), new=not force)
