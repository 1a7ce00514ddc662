"""`celebgen sample`: faces from words."""

import contextlib
import itertools
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from celebgen_cli.cli import common
from celebgen_cli.errors import UsageError

if TYPE_CHECKING:
    from celebgen_cli.sampling.jobs import Job
    from celebgen_cli.sampling.prompts import Entry
    from celebgen_cli.sampling.sheets import Sheet

NO_PROMPT = 'no prompt was given; say what the face shows, for example: celebgen sample "smiling woman"'


def sample(
    prompts: Annotated[
        list[str] | None,
        typer.Argument(help="What the face shows; {a|b} stands for either; from stdin, a line each, if absent or -."),
    ] = None,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="Folder for the faces, a file, a pattern such as {index:04d}_{seed}_{slug}.webp, or - for one PNG to "
            "stdout.",
        ),
    ] = "outputs",
    form: Annotated[
        str | None, typer.Option("--format", help="png, webp or jpeg; default: by the name of the output, or png.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    prompts_file: Annotated[
        str | None, typer.Option("--prompts", metavar="PATH", help="File of prompts, or - for stdin.")
    ] = None,
    prompts_format: Annotated[
        str | None,
        typer.Option(
            help="text, a prompt a line; jsonl or csv, with settings beside each prompt; default: by the file's name, "
            "or text."
        ),
    ] = None,
    expand: Annotated[
        str, typer.Option(help="Of {a|b}: all, every combination; random, one a seed; none, braces are braces.")
    ] = "all",
    num: Annotated[int | None, typer.Option("--num", "-n", min=1, help="Faces a prompt; default: 1.")] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Seed of the first face of each prompt; the next ones count up; default: 0."),
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds of each prompt's faces, such as 0-63,100.")] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Draw the face of this picture again; options given beside it are the difference."),
    ] = None,
    vary: Annotated[
        Path | None, typer.Option(metavar="IMAGE", help="Draw neighbours of the face of this picture; -n 8 by default.")
    ] = None,
    amount: Annotated[
        float | None, typer.Option(help="With --vary: from 0, the face itself, to 1, other faces; default: 0.3.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps; default: the model's.")] = None,
    sampler: Annotated[str | None, typer.Option(help="ddim, ddpm, dpmpp_2m or angle_2s; default: the model's.")] = None,
    guidance: Annotated[
        float | None,
        typer.Option(help="How strongly the text steers: 1 plainly, 0 by the start alone; default: the model's."),
    ] = None,
    guidance_interval: Annotated[
        tuple[float, float] | None,
        typer.Option(
            metavar="LOW HIGH",
            help="Fractions of the noise scale (1 is pure noise) where guidance acts; default: the model's.",
        ),
    ] = None,
    rescale: Annotated[
        float | None, typer.Option(help="From 0 to 1, against the glare of strong guidance; default: the model's.")
    ] = None,
    pag: Annotated[
        bool | None,
        typer.Option(
            "--pag/--no-pag", help="Guide away from a network without self-attention too; default: the model's."
        ),
    ] = None,
    eta: Annotated[float | None, typer.Option(help="Noise of ddim's steps, from 0 to 1; default: the model's.")] = None,
    spacing: Annotated[
        str | None, typer.Option(help="Of the steps: trailing, early, quadratic or logsnr; default: the model's.")
    ] = None,
    start: Annotated[
        float | None,
        typer.Option(help="Fraction of the noise scale where denoising begins, from the prior; default: the model's."),
    ] = None,
    calibrate: Annotated[
        bool | None,
        typer.Option(
            "--calibrate/--no-calibrate",
            help="Correct tones and frequencies of what is drawn, if the model can; default: yes.",
        ),
    ] = None,
    negative: Annotated[str | None, typer.Option(help="What the face shall not show.")] = None,
    read: Annotated[
        bool | None,
        typer.Option(
            "--read/--no-read",
            help="Put denials and synonyms into the words that the model learned from; default: yes.",
        ),
    ] = None,
    grid: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Also write all faces as one labelled sheet to this PNG."),
    ] = None,
    gif: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Also write the denoising, from the prior's mean to the face, to this GIF."),
    ] = None,
    html: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Also write a contact sheet, one HTML file with the pictures inside."),
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Also show the faces in the terminal.")] = False,
    model: Annotated[
        Path | None, typer.Option(help="Model: folder, name or hf://OWNER/NAME; default: the model in the box.")
    ] = None,
    device: common.Device = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="fp32 (default): the same face at any batch size, to a level; auto or bf16: faster, to two."
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Faces at once; changes faces by rounding alone.")] = 16,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a face on stdout, not its path.")] = False,
    quiet: common.Quiet = False,
) -> None:
    """Make faces from words; prints the path of each file written.

    A face that is there already is not drawn again, so the same command goes on where it was interrupted.

    Examples:

      celebgen sample "smiling woman blond hair"

      celebgen sample "{young|old} man with {glasses|a beard}" -n 8 --grid sheet.png

      celebgen sample "old man" --seeds 0-63 -o "{slug}/{seed:04d}.webp"

      celebgen sample --from outputs/0000_0_old-man.png --guidance 3

      celebgen sample --vary outputs/0000_0_old-man.png -n 8 --grid neighbours.png

      cat prompts.txt | celebgen sample -o faces --json
    """
    if vary is not None:
        from celebgen_cli.cli.vary import vary as neighbours

        _refuse_beside_vary({
            "a prompt": prompts, "--prompts": prompts_file, "--prompts-format": prompts_format, "--from": source,
            "--seeds": seeds, "--format": form, "--steps": steps, "--sampler": sampler, "--guidance": guidance,
            "--guidance-interval": guidance_interval, "--rescale": rescale, "--pag": pag, "--eta": eta,
            "--spacing": spacing, "--start": start, "--calibrate": calibrate, "--negative": negative, "--gif": gif,
            "--read": read, "--html": html, "--show": show or None, "--precision": precision,
            "-o -": True if output == "-" else None,
        })  # fmt: skip
        neighbours(
            vary, num=num or 8, amount=0.3 if amount is None else amount, seed=seed or 0, output=output, grid=grid,
            force=force, model=model, device=device, batch_size=batch_size, json=json, quiet=quiet,
        )  # fmt: skip
        return
    if amount is not None:
        raise UsageError("--amount is how far --vary goes; give --vary IMAGE too")
    from celebgen_cli.sampling.jobs import again, jobs_of
    from celebgen_cli.sampling.outputs import Place
    from celebgen_cli.sampling.prompts import Entry
    from celebgen_cli.sampling.settings import read_seeds, read_settings

    place = Place.parsed(output, form, force)
    if place.kind == "stdout" and json:
        raise UsageError("-o - and --json both want stdout; leave one of them out")
    made = None if source is None else again(source)
    settings = {
        **({} if made is None else made.entry.settings),
        **read_settings({
            "steps": steps, "sampler": sampler, "guidance": guidance, "guidance_interval": guidance_interval,
            "rescale": rescale, "pag": pag, "eta": eta, "spacing": spacing, "start": start, "calibrate": calibrate,
            "negative": negative, "read": read,
        }),
    }  # fmt: skip
    if made is not None and seed is None and seeds is None:
        seed = next(iter(made.entry.seeds))
    own_seeds = read_seeds({"seed": 0 if seed is None and seeds is None else seed, "seeds": seeds, "num": num})
    assert own_seeds is not None
    sheets = _sheets(grid, gif, html, len(own_seeds), force)

    entries, repeatable = _entries(prompts, prompts_file, prompts_format, made is not None)
    if made is not None and entries is not None and read is None:
        del settings["read"]  # that was of the picture's own prompt
    if made is not None and entries is None:
        entries, repeatable, expand = (lambda: iter([Entry(made.entry.prompt)])), True, "none"
    assert entries is not None

    def jobs() -> "Iterator[Job]":
        return jobs_of(entries(), own_seeds, settings, expand)

    _draw(
        jobs, repeatable, place, sheets, made=made, model=model, device=device, batch_size=batch_size, show=show,
        precision=precision or (made.precision if made else "") or "fp32", json=json, quiet=quiet,
    )  # fmt: skip


def _entries(
    arguments: list[str] | None, file: str | None, form: str | None, optional: bool
) -> "tuple[Callable[[], Iterator[Entry]] | None, bool]":
    """Where the prompts come from, and whether they can be gone through twice; None where `optional` and none are."""
    from celebgen_cli.sampling.prompts import format_of, from_arguments, from_file, from_stream

    if arguments == ["-"] and file is None:
        arguments, file = None, "-"
    if arguments:
        if file is not None:
            raise UsageError("prompts were given as arguments and with --prompts; leave one of them out")
        found = from_arguments(arguments)
        return (lambda: iter(found)), True
    if file is not None and file != "-":
        how = format_of(file, form)
        return (lambda: from_file(file, how)), "\0" not in file and Path(file).is_file()
    if file is None and optional:
        return None, True
    if file is None and sys.stdin.isatty():
        raise UsageError(NO_PROMPT)
    how = format_of("", form)
    return (lambda: from_stream(sys.stdin.buffer, how, "stdin")), False


def _refuse_beside_vary(options: Mapping[str, Any]) -> None:
    """Prompt and settings are the picture's own.

    Raises:
        UsageError: some of these options were given.
    """
    if given := [name for name, value in options.items() if value not in (None, [])]:
        raise UsageError(f"--vary takes prompt and settings from the picture; leave out {', '.join(given)}")


def _sheets(grid: str | None, gif: str | None, html: str | None, seeds: int, force: bool) -> "list[Sheet]":
    if grid is None and gif is None and html is None:
        return []
    from celebgen_cli.sampling.sheets import Animation, Grid, Page

    asked = ((Grid, grid), (Animation, gif), (Page, html))
    return [kind(path, seeds, force) for kind, path in asked if path is not None]


def _draw(
    jobs: "Callable[[], Iterator[Job]]", repeatable: bool, place: Any, sheets: "list[Sheet]", *, made: Any,
    model: Path | None, device: str | None, precision: str, batch_size: int, show: bool, json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Check what can be checked, draw, write, and say what is there."""
    from celebgen_cli.cli.notes import Notes
    from celebgen_cli.cli.results import print_json, print_path, row_of
    from celebgen_cli.sampling.batches import draw, single, survey

    stream = jobs()
    if place.kind in ("stdout", "file"):
        one = single(stream, "-o -" if place.kind == "stdout" else f"-o {place.path}")
        jobs, stream, repeatable = (lambda: iter(one)), iter(one), True
    first = next(stream, None)  # a wrong first line, or none, is told before the model is loaded
    if first is None:
        raise UsageError(NO_PROMPT)
    terminal = None
    if show:
        from celebgen_cli.cli.terminal import Terminal

        terminal = Terminal()

    from celebgen_cli.processes import world
    from celebgen_cli.spread import load_model

    generator = load_model(model, device, precision)
    if made is not None and made.sha256 != generator.sha256 and not quiet:
        common.say(
            f"warning: the picture was made by {made.model} ({made.sha256[:10]}), and this is {generator.name} "
            f"({generator.sha256[:10]}); the face will be another; give that model with --model"
        )
    place.check()
    for sheet in sheets:
        if place.kind == "file" and os.path.abspath(sheet.path) == os.path.abspath(place.path):
            raise UsageError(f"{sheet.option} and -o both name {sheet.path}; give the sheet another name")
    known = survey(generator, jobs(), place) if repeatable else None
    for sheet in sheets:
        if known is not None and os.path.abspath(sheet.path) in known.paths:
            raise UsageError(f"{sheet.option} names {sheet.path}, where a face goes; give the sheet another name")
        sheet.check(None if known is None else known.digest)
    words = Notes(generator, quiet)
    stream = jobs() if repeatable else itertools.chain([first], stream)
    kept, count = [sheet for sheet in sheets if sheet.needs_frames], 0
    try:
        with common.progress("sample", None if known is None else known.count, quiet or show) as update:
            for drawn in draw(
                generator, map(words.heed, stream), place, batch_size=batch_size * world().size, progress=update,
                pixels=bool(sheets) or show, frames=bool(kept),
            ):  # fmt: skip
                for sheet in sheets:
                    sheet.add(drawn)
                if terminal is not None:
                    terminal.show(drawn.pixels, f"{drawn.job.prompt} #{drawn.job.seed}")
                if drawn.path is None:
                    assert drawn.data is not None
                    sys.stdout.buffer.write(drawn.data)
                elif json:
                    print_json(row_of(drawn, words.unknown.in_both(drawn.typed)))
                else:
                    print_path(drawn.path)
                count += 1
        while sheets:
            sheet = sheets.pop(0)
            sheet.close()
            if place.kind == "stdout":
                continue
            if json:
                print_json({"path": str(sheet.path), sheet.option.removeprefix("--"): True, "faces": sheet.count})
            else:
                print_path(sheet.path)
    except KeyboardInterrupt:
        there = f"after {count} faces; the same command goes on" if place.kind in ("folder", "pattern") else ""
        raise KeyboardInterrupt(*([there] if there else [])) from None
    finally:
        for sheet in sheets:
            with contextlib.suppress(OSError):
                sheet.abandon()
