"""`celebgen serve`: a worker that keeps the model warm."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from celebgen_cli.cli import common
from celebgen_cli.errors import CelebgenError, UsageError, first_line


def serve(
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", metavar="PATH", help="Folder, or pattern, for the faces of requests that name no output."
        ),
    ] = "outputs",
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    model: Annotated[
        Path | None, typer.Option(help="Model: folder, name or hf://OWNER/NAME; default: the model in the box.")
    ] = None,
    device: common.Device = None,
    precision: Annotated[str, typer.Option(help="fp32, auto or bf16, as of sample.")] = "fp32",
    quiet: common.Quiet = False,
) -> None:
    """Answer requests on stdin, one JSON object a line, with one JSON object a line on stdout.

    A request has a "prompt" and may have a "seed", an "output" (a file), an "id" that the answer repeats, "force", and
    the settings of sample. An answer is what sample --json prints, or {"error": "..."}. The end of stdin ends it.

    Examples:

      echo '{"prompt": "old man", "seed": 7, "output": "old.png"}' | celebgen serve
    """
    from celebgen_cli.cli.results import print_json
    from celebgen_cli.pipeline import load_model
    from celebgen_cli.sampling.outputs import Place
    from celebgen_cli.sampling.prompts import LONGEST_LINE

    place = Place.parsed(output, None, force)
    if place.kind not in ("folder", "pattern"):
        raise UsageError(f"-o must be a folder or a pattern with {{index}} in it, not {output}; requests name files")
    place.check()
    generator = load_model(model, device, precision)
    if not quiet:
        common.say(f"ready: {generator.name}, {generator.size} px; one JSON request a line")
    index = 0
    while line := sys.stdin.buffer.readline(LONGEST_LINE + 1):
        if not line.strip():
            continue
        if len(line) > LONGEST_LINE:
            while line and not line.endswith(b"\n"):  # the rest of it is no request of its own
                line = sys.stdin.buffer.readline(LONGEST_LINE)
            print_json({"error": f"a request is longer than {LONGEST_LINE} bytes"})
            continue
        answer = _answer(generator, line, place, index)
        index += "error" not in answer
        print_json(answer)


def _answer(model: Any, line: bytes, place: Any, index: int) -> dict[str, Any]:
    """The answer to one request; whatever is wrong with it becomes a sentence."""
    from celebgen_cli.cli.results import row_of
    from celebgen_cli.sampling.batches import draw
    from celebgen_cli.sampling.jobs import Job
    from celebgen_cli.sampling.outputs import Place
    from celebgen_cli.sampling.prompts import entry_of, parse_object
    from celebgen_cli.sampling.words import UnknownWords

    named: dict[str, Any] = {}
    try:
        try:
            request = parse_object(line.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise UsageError(f"no UTF-8 text at byte {error.start}") from error
        named = {"id": request.pop("id")} if "id" in request else {}
        force = request.pop("force", place.force)
        if not isinstance(force, bool):
            raise UsageError("force must be true or false")
        to = dataclasses.replace(place, force=force)
        if "output" in request:
            to = Place.parsed(request.pop("output"), None, force)
            if to.kind != "file":
                raise UsageError('"output" must be a file that ends in .png, .webp, .jpg or .jpeg')
        entry = entry_of(request)
        if entry.seeds is not None and len(entry.seeds) != 1:
            raise UsageError("a request asks for one face; send one request a seed")
        seed = 0 if entry.seeds is None else next(iter(entry.seeds))
        to.forget()  # a name that an earlier request had, well or not
        (drawn,) = draw(model, [Job(index, entry.prompt, seed, entry.settings)], to)
        return {**named, **row_of(drawn, UnknownWords(model).in_both(drawn.typed))}
    except CelebgenError as error:
        return {**named, "error": str(error)}
    except (OSError, MemoryError, RuntimeError) as error:  # torch's, of a GPU without room
        return {**named, "error": f"{first_line(error)}; nothing was drawn"}
