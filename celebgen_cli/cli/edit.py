"""`celebgen edit`: a photograph and words in, the photograph as the words would have it out."""

from pathlib import Path
from typing import Annotated

import typer

from celebgen_cli.cli import common


def edit(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="JPEG, PNG, WebP or AVIF with one face.")],
    prompt: Annotated[str, typer.Argument(help="What the face shall show.")],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="Default: outputs/, named after photo and prompt."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    strength: Annotated[
        float, typer.Option(help="From 0, the photo as the CVAE gives it back, to 1, as far as the method goes.")
    ] = 0.8,
    method: Annotated[
        str, typer.Option(help="invert: find the noise that the photo comes from; noise: add some of a seed.")
    ] = "invert",
    steps: Annotated[int | None, typer.Option(help="Denoising steps; as many again to invert; default: 50.")] = None,
    guidance: Annotated[
        float | None, typer.Option(help="How strongly the text steers: 1 plainly, 0 not at all; default: the model's.")
    ] = None,
    negative: Annotated[str, typer.Option(help="What the face shall not show.")] = "",
    seed: Annotated[int, typer.Option(min=0, help="Of the noise of --method noise.")] = 0,
    landmarks: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Align the face first: a row of the photo's name and ten numbers."),
    ] = None,
    already: Annotated[
        str | None, typer.Option(metavar="NAME", help="The photo is cut to this crop already, such as face178.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Model: folder, name or hf://OWNER/NAME; default: the model in the box.")
    ] = None,
    device: common.Device = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, not the path.")] = False,
    quiet: common.Quiet = False,
) -> None:
    """Edit the face in a photograph by words; prints the path of the file written.

    An aligned picture of 178x218 pixels is cut as the model's data was, any other to its central square, where the
    face should sit as in CelebA; --landmarks puts it there.

    Examples:

      celebgen edit photo.jpg "with glasses, smiling"

      celebgen edit photo.jpg "old man" --method noise --strength 0.5 --seed 3 -o old.png
    """
    from celebgen_cli.cli.results import print_json, print_path
    from celebgen_cli.editing.edit import edit as work
    from celebgen_cli.editing.edit import edit_level, edit_settings
    from celebgen_cli.editing.photos import read_photo
    from celebgen_cli.editing.results import check_free, described, picture_path, write_picture
    from celebgen_cli.pipeline import load_model
    from celebgen_cli.sampling.outputs import slug
    from celebgen_cli.sampling.settings import check_prompt
    from celebgen_cli.sampling.words import UnknownWords

    check_prompt(prompt)
    check_prompt(negative, "negative prompt")
    path = picture_path(output or str(Path("outputs", f"{slug(photo.stem)}_{slug(prompt)}.png")))
    check_free([path], force)
    editor = load_model(model, device, "fp32")
    settings = edit_settings(editor, steps, guidance)
    level = edit_level(editor, strength, method)
    source = read_photo(photo, editor.crop, editor.size, landmarks=landmarks, already=already)
    if not quiet and (warning := UnknownWords(editor).warning(prompt)):
        common.say(warning)
    with common.progress("edit", quiet=quiet) as update:
        made = work(
            editor, source.pixels, prompt, settings, strength=strength, method=method, seed=seed, negative=negative,
            callback=update,
        )  # fmt: skip
    metadata = described(editor, "edit", {
        "prompt": prompt, "negative": negative, "method": method, "strength": strength, "level": level,
        **({"seed": seed} if method == "noise" else {}),
        **{name: settings[name] for name in ("steps", "guidance", "guidance_interval", "pag", "rescale")},
        "photo_sha256": source.sha256, "cut": source.cut, "landmarks": source.points,
    })  # fmt: skip
    text = (
        f"{prompt}{chr(10) + 'Negative prompt: ' + negative if negative else ''}\nSteps: {settings['steps']}, "
        f"Sampler: ddim, CFG scale: {settings['guidance']}, Denoising strength: {strength}"
    )
    write_picture(path, made, metadata, text)
    if json:
        print_json({"path": str(path), **metadata})
    else:
        print_path(path)
