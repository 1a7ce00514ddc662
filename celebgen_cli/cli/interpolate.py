"""`celebgen interpolate`: the way from one prompt's face to another's, as a GIF or frame by frame."""

from pathlib import Path
from typing import Annotated

import typer

from celebgen_cli.cli import common


def interpolate(
    start: Annotated[str, typer.Argument(metavar="FROM", help="What the first face shows.")],
    end: Annotated[str, typer.Argument(metavar="TO", help="What the last face shows.")],
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE.gif", help="The animation.")] = "morph.gif",
    pngs: Annotated[
        str | None, typer.Option(metavar="DIR", help="Also write each frame as PNG into this folder.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    frames: Annotated[int, typer.Option(min=2, max=1000, help="Faces on the way, both ends among them.")] = 24,
    seconds: Annotated[float, typer.Option(min=0.1, max=600, help="How long one way takes.")] = 2.4,
    back: Annotated[bool, typer.Option("--back/--no-back", help="And back again.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the faces.")] = 0,
    end_seed: Annotated[int | None, typer.Option(min=0, help="Seed of the last face; default: that of --seed.")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps; default: the model's.")] = None,
    read: Annotated[
        bool,
        typer.Option(
            "--read/--no-read", help="Put denials and synonyms into the words that the model learned from.",
        ),
    ] = True,
    guidance: Annotated[
        float | None,
        typer.Option(help="How strongly the text steers: 1 plainly, 0 by the start alone; default: the model's."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Model: folder, name or hf://OWNER/NAME; default: the model in the box.")
    ] = None,
    device: common.Device = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Faces at once; changes faces by rounding alone.")] = 16,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a file on stdout, not its path.")] = False,
    quiet: common.Quiet = False,
) -> None:
    """Make the way from one face to another; prints the path of each file written.

    The first and the last frame are the faces that `celebgen sample` draws.

    Examples:

      celebgen interpolate "young woman" "old man" --frames 24 -o morph.gif

      celebgen interpolate "smiling man" "smiling man" --seed 1 --end-seed 2 --back --pngs frames
    """
    from celebgen_cli.cli.notes import Notes
    from celebgen_cli.cli.results import print_json, print_path
    from celebgen_cli.editing.between import interpolate as work
    from celebgen_cli.editing.results import check_free, described, picture_path, write_gif, write_picture
    from celebgen_cli.pipeline import load_model
    from celebgen_cli.sampling.jobs import Job, beginning_of, reading, resolve
    from celebgen_cli.sampling.settings import check_path, check_prompt

    prompts, seeds = (check_prompt(start), check_prompt(end)), (seed, seed if end_seed is None else end_seed)
    path = picture_path(output, suffixes=(".gif",))
    singles = []
    if pngs is not None:
        folder = Path(check_path(pngs, "--pngs"))
        singles = [folder / f"frame_{i:04d}.png" for i in range(frames)]
    check_free([path, *singles], force)
    painter = load_model(model, device, "fp32")
    settings = resolve(painter, Job(0, start, seed, {"steps": steps, "guidance": guidance}))
    notes = Notes(painter, quiet)
    typed = [reading(painter, Job(i, prompt, seed, {"read": read})) for i, prompt in enumerate(prompts)]
    for prompt, words in zip(prompts, typed, strict=True):
        notes.prompt(prompt, words, settings["guidance"])
    first, last = typed
    shares = [i / (frames - 1) for i in range(frames)]
    with common.progress("interpolate", quiet=quiet) as update:
        faces = work(
            painter, (first.text, last.text), seeds, shares, settings, negatives=(first.negative, last.negative),
            batch_size=batch_size, callback=update,
        )  # fmt: skip
    drawn = {"read_as": [first.text, last.text], "read_negative": [first.negative, last.negative]}
    what = {
        "from": start, "to": end, **(drawn if first.changed or last.changed else {}), "seeds": list(seeds),
        "read": read, **settings, "frames": frames,
    }  # fmt: skip
    said = [described(painter, "interpolate", {**what, "share": share}) for share in shares]
    for i, single in enumerate(singles):
        text = beginning_of(f"{start} -> {end} ({shares[i]:.3f})", "", settings)
        write_picture(single, faces[i], said[i], f"{text}, Seed: {seed}", force)
    whole = described(painter, "interpolate", {**what, "seconds": seconds, "back": back})
    write_gif(path, faces, seconds, back, whole, force)
    for i, single in enumerate(singles):
        if json:
            print_json({"path": str(single), **said[i]})
        else:
            print_path(single)
    if json:
        print_json({"path": str(path), **whole})
    else:
        print_path(path)
