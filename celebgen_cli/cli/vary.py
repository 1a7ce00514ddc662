"""`celebgen vary`: the neighbours of a face that `celebgen sample` made."""

import itertools
from pathlib import Path
from typing import Annotated

import typer

from celebgen_cli.cli import common


def vary(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture by `celebgen sample`, its metadata in it.")],
    num: Annotated[int, typer.Option("--num", "-n", min=1, max=10_000, help="How many neighbours.")] = 8,
    amount: Annotated[float, typer.Option(help="From 0, the face itself, to 1, faces of other seeds.")] = 0.3,
    seed: Annotated[int, typer.Option(min=0, help="First of the seeds that are mixed in.")] = 0,
    output: Annotated[str, typer.Option("--output", "-o", metavar="DIR", help="Folder for the faces.")] = "outputs",
    grid: Annotated[
        str | None, typer.Option(metavar="FILE.png", help="Also write the face and its neighbours as one sheet.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    model: Annotated[
        Path | None, typer.Option(help="Model: folder, name or hf://OWNER/NAME; default: the model in the box.")
    ] = None,
    device: common.Device = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Faces at once; changes faces by rounding alone.")] = 16,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a face on stdout, not its path.")] = False,
    quiet: common.Quiet = False,
) -> None:
    """Make faces like a given one; prints the path of each file written.

    Prompt and settings are those of the picture; its noise is mixed with a share of other noise.

    Examples:

      celebgen vary outputs/0000_0_old-man.png -n 8 --amount 0.3 --grid neighbours.png
    """
    from celebgen_cli.cli.results import print_json, print_path
    from celebgen_cli.editing.between import vary as work
    from celebgen_cli.editing.results import check_free, described, picture_path, write_picture
    from celebgen_cli.errors import UsageError
    from celebgen_cli.files import atomic_write_bytes
    from celebgen_cli.images import encode_png, read_pixels
    from celebgen_cli.images import grid as sheet_of
    from celebgen_cli.pipeline import load_model
    from celebgen_cli.sampling.jobs import Job, again, beginning_of, metadata_of, reading, resolve
    from celebgen_cli.sampling.outputs import Place, slug
    from celebgen_cli.sampling.settings import Seeds, check_path

    if not 0 <= amount <= 1:
        raise UsageError(f"--amount must be from 0 to 1, not {amount}")
    if Place.parsed(output).kind != "folder":
        raise UsageError(f"-o {output} names no folder; give the neighbours a folder, whose names tell their seeds")
    made = again(image)
    assert made.entry.seeds is not None
    own, prompt = next(iter(made.entry.seeds)), made.entry.prompt
    # the face's own seed, mixed with itself, would be no standard normal noise
    new = list(itertools.islice((s for s in Seeds.counted(seed, num + 1) if s != own), num))
    paths = [Path(check_path(output, "-o"), f"{slug(image.stem)}_{amount:g}_{s}.png") for s in new]
    sheet = None if grid is None else picture_path(grid, "--grid", (".png",))
    check_free([*paths, *([] if sheet is None else [sheet])], force)
    painter = load_model(model, device, made.precision or "fp32")
    if made.sha256 != painter.sha256 and not quiet:
        common.say(
            f"warning: the picture was made by {made.model} ({made.sha256[:10]}), and this is {painter.name} "
            f"({painter.sha256[:10]}); the faces will be others; give that model with --model"
        )
    job = Job(0, prompt, own, made.entry.settings)
    settings, typed = resolve(painter, job), reading(painter, job)
    of = metadata_of(painter, job, settings, typed)
    settings["negative"] = typed.negative
    with common.progress("vary", quiet=quiet) as update:
        faces = work(painter, typed.text, own, new, amount, settings, batch_size=batch_size, callback=update)
    for face, path, s in zip(faces, paths, new, strict=True):
        metadata = described(painter, "vary", {"of": of, "amount": amount, "seed": s})
        text = beginning_of(prompt, of["negative"], settings)
        # the names that other tools use for the same mixture
        write_picture(
            path, face, metadata,
            f"{text}, Seed: {own}, Variation seed: {s}, Variation seed strength: {amount:g}", force,
        )  # fmt: skip
        if json:
            print_json({"path": str(path), **metadata})
        else:
            print_path(path)
    if sheet is not None:
        import numpy as np

        shown = read_pixels(image)
        everything = np.concatenate([shown[None], faces]) if shown.shape == faces.shape[1:] else faces
        shows = {"grid": True, "faces": len(everything)}
        atomic_write_bytes(sheet, encode_png(sheet_of(everything), None, shows), new=not force)
        if json:
            print_json({"path": str(sheet), **shows})
        else:
            print_path(sheet)
