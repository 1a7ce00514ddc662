"""Results on stdout: paths, and JSON objects, one a line."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celebgen_cli.sampling.batches import Drawn


def row_of(drawn: "Drawn", unknown: Sequence[str] = ()) -> dict[str, Any]:
    """The JSON object of a face."""
    return {
        "path": str(drawn.path), **drawn.metadata, "seconds": round(drawn.seconds, 3), "existed": drawn.existed,
        "unknown": list(unknown),
    }  # fmt: skip


def print_json(value: Mapping[str, Any]) -> None:
    """One line of JSON; letters that stdout's encoding, or any, cannot hold are escaped."""
    plain = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        plain.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        plain = json.dumps(value, allow_nan=False)
    print(plain, flush=True)


def print_path(path: Path) -> None:
    """One path a line; a name that is no text goes out as the bytes that it is."""
    try:
        print(path, flush=True)
    except UnicodeEncodeError:
        sys.stdout.flush()
        sys.stdout.buffer.write(os.fsencode(path) + b"\n")
        sys.stdout.buffer.flush()
