"""`celebgen models`: the models that have a name."""

from typing import Annotated

import typer

from celebgen_cli.cli.common import say


def models(
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List the models that --model takes by name: the one in the box, and those in the user's model folder.

    That folder is $CELEBGEN_MODELS, by default the system's place for a user's data (~/.local/share/celebgen/models).
    --model also takes any folder, and hf://OWNER/NAME[@REVISION], which is fetched from Hugging Face.

    Prints name, size on disk, pixels of a face's side, FID as measured, and path; - where model.json says nothing.
    """
    from dataclasses import asdict

    from celebgen_cli.cli.results import print_json
    from celebgen_cli.models.registry import entries, home

    found = entries()
    if json:
        for entry in found:
            print_json({**asdict(entry), "path": str(entry.path)})
        return
    rows = [("name", "size", "pixels", "FID", "path")]
    for entry in found:
        fid = "-" if entry.fid is None else entry.fid if isinstance(entry.fid, str) else f"{entry.fid:g}"
        rows.append((entry.name, _size(entry.bytes), str(entry.image_size or "-"), fid, str(entry.path)))
        if entry.problem:
            say(f"warning: {entry.name}: {entry.problem}")
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for index, (name, size, pixels, fid, path) in enumerate(rows):
        line = f"{name:<{widths[0]}}  {size:>{widths[1]}}  {pixels:>{widths[2]}}  {fid:>{widths[3]}}  {path}"
        if index:
            print(_printable(line), flush=True)
        elif found:
            say(line)
    if all(entry.box for entry in found):
        say(f"{home()} has no model; put one there with celebgen export RUN -o '{home() / 'NAME'}'")


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"


def _printable(line: str) -> str:
    """Letters that stdout cannot hold, and those that would break the line, are escaped."""
    import sys

    encoding = sys.stdout.encoding or "utf-8"
    line = "".join(c if c.isprintable() or "\ud800" <= c <= "\udfff" else repr(c)[1:-1] for c in line)
    return line.encode(encoding, "backslashreplace").decode(encoding)
