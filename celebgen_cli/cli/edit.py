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
        float, typer.Option(help="From 0, the photo as it is, to 1, as far as the method goes.")
    ] = 0.8,
    method: Annotated[
        str, typer.Option(help="invert: find the noise that the photo comes from; noise: add some of a seed.")
    ] = "invert",
    steps: Annotated[int | None, typer.Option(help="Denoising steps; as many again to invert; default: 25.")] = None,
    guidance: Annotated[
        float | None, typer.Option(help="How strongly the text steers: 1 plainly, 0 not at all; default: 6.")
    ] = None,
    negative: Annotated[str, typer.Option(help="What the face shall not show.")] = "",
    shows: Annotated[
        str | None,
        typer.Option(
            "--source", metavar="TEXT", show_default=False,
            help="What the photo shows, where PROMPT then says all that it shall show; '' for nothing. Default: what "
            "the attribute judge sees, in both.",
        ),
    ] = None,
    detail: Annotated[
        bool | None,
        typer.Option(
            "--detail/--no-detail", show_default=False,
            help="Give back the fine detail that the CVAE loses, where the edit changed little; default: with invert.",
        ),
    ] = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate/--no-calibrate", help="The model's correction of decoded faces.")
    ] = True,
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

      celebgen edit photo.jpg "smiling woman with a hat" --source "woman" -o hat.png

      celebgen edit photo.jpg "old man" --method noise --strength 0.5 --seed 3 -o old.png
    """
    from celebgen_cli.cli.results import print_json, print_path
    from celebgen_cli.data.captions import plain_words
    from celebgen_cli.diffusion.noise import check_seed
    from celebgen_cli.editing.change import (
        as_description,
        contradictions,
        of_this_face,
        plain_change,
        read_change,
        unread_words,
    )
    from celebgen_cli.editing.edit import edit as work
    from celebgen_cli.editing.edit import edit_level, edit_settings
    from celebgen_cli.editing.photos import read_photo
    from celebgen_cli.editing.results import check_free, described, picture_path, write_picture
    from celebgen_cli.evaluation.judging import open_judge
    from celebgen_cli.pipeline import load_model
    from celebgen_cli.sampling.outputs import slug
    from celebgen_cli.sampling.settings import check_prompt
    from celebgen_cli.sampling.words import UnknownWords

    check_prompt(prompt)
    check_prompt(negative, "negative prompt")
    if shows:
        check_prompt(shows, "source")
    check_seed(seed)
    path = picture_path(output or str(Path("outputs", f"{slug(photo.stem)}_{slug(prompt)}.png")))
    check_free([path], force)
    editor = load_model(model, device, "fp32")
    settings = edit_settings(editor, steps, guidance)
    level = edit_level(editor, strength, method)
    source = read_photo(photo, editor.crop, editor.size, landmarks=landmarks, already=already)
    unknown = UnknownWords(editor)
    asked, change = prompt, None
    if shows is None:
        judge = open_judge(None, None if model is None else str(model), device)
        sure = judge(source.pixels[None])[0]
        asked, change = of_this_face(prompt, sure), read_change(prompt, sure, negative, editor.unknown_words)
    told = asked if shows else plain_words(as_description(asked))
    for text in (told, shows or "", negative):
        for warning in [] if quiet else unknown.warnings(text):
            common.say(warning)
    read = change is not None
    change = change or plain_change(told, negative, shows or "")
    if not quiet and shows is None:
        beyond = [word for text in (asked, negative) for word in unread_words(text, editor.unknown_words)]
        why = f"no caption has {', '.join(map(repr, beyond[:8]))}" if beyond else "it names nothing that a judge knows"
        seen = f"{photo} shows: {change.source}" if read else f"the request is taken as typed: {why}"
        common.say(f"{seen}; drawn: {change.target}")
        for one, other in contradictions(asked):
            common.say(f"warning: no face has both {one} and {other}; ask for one of them")
        if read and change.source == change.target:
            common.say("warning: the photo shows this already, as the judge sees it; --source '' draws it all the same")
    keep = method == "invert" if detail is None else detail
    with common.progress("edit", quiet=quiet) as update:
        made = work(
            editor, source.pixels[None], [change], settings, strength=strength, method=method, seeds=[seed],
            detail=keep, calibrate=calibrate, callback=update,
        )[0]  # fmt: skip
    metadata = described(editor, "edit", {
        "prompt": prompt, "negative": negative, "method": method, "strength": strength, "level": level,
        **({"seed": seed} if method == "noise" else {}), **change._asdict(),
        **{name: settings[name] for name in ("steps", "guidance", "guidance_interval", "pag", "rescale")},
        "detail": keep, "calibrate": calibrate and editor.calibration is not None, "photo_sha256": source.sha256,
        "cut": source.cut, "landmarks": source.points,
    })  # fmt: skip
    text = (
        f"{prompt}{chr(10) + 'Negative prompt: ' + negative if negative else ''}\nSteps: {settings['steps']}, "
        f"Sampler: ddim, CFG scale: {settings['guidance']}, Denoising strength: {strength}"
    )
    write_picture(path, made, metadata, text, force)
    if json:
        print_json({"path": str(path), **metadata, "unknown": unknown.of(told, shows or "", negative)})
    else:
        print_path(path)
