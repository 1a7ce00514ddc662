"""`celebgen sample`: faces from words."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from celebgen_cli import __version__
from celebgen_cli.cli import common
from celebgen_cli.errors import CelebgenError, UsageError


def sample(
    prompts: Annotated[
        list[str] | None, typer.Argument(help="What the face shows; from stdin, a line each, if absent.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the faces (or `-`: one PNG to stdout).")
    ] = Path("outputs"),
    num: Annotated[int, typer.Option("--num", "-n", min=1, help="Faces a prompt.")] = 1,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the first face of each prompt; the next ones count up.")
    ] = 0,
    steps: Annotated[int | None, typer.Option(help="Denoising steps; default: the model's.")] = None,
    sampler: Annotated[str | None, typer.Option(help="ddim, ddpm or dpmpp_2m; default: the model's.")] = None,
    guidance: Annotated[
        float | None, typer.Option(help="How strongly the text steers: 1 plainly, 0 not at all; default: the model's.")
    ] = None,
    guidance_interval: Annotated[
        tuple[float, float] | None,
        typer.Option(
            metavar="LOW HIGH",
            help="Fractions of the noise scale (1 is pure noise) where guidance acts; default: the model's.",
        ),
    ] = None,
    pag: Annotated[
        bool | None,
        typer.Option(
            "--pag/--no-pag", help="Guide away from a network without self-attention too; default: the model's."
        ),
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate/--no-calibrate", help="Correct tones and frequencies of what is drawn, if the model can."
        ),
    ] = True,
    negative: Annotated[str, typer.Option(help="What the face shall not show.")] = "",
    grid: Annotated[Path | None, typer.Option(help="Also write all faces as one labelled sheet to this PNG.")] = None,
    model: Annotated[Path | None, typer.Option(help="Model folder; default: the model in the box.")] = None,
    device: common.Device = None,
    precision: Annotated[
        str, typer.Option(help="fp32: the same face at any batch size; auto or bf16: faster, off by a level or two.")
    ] = "fp32",
    batch_size: Annotated[int, typer.Option(min=1, help="Faces at once; changes no face.")] = 16,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a face on stdout, not its path.")] = False,
    quiet: common.Quiet = False,
) -> None:
    """Make faces from words; prints the path of each file written.

    Examples:

      celebgen sample "smiling woman blond hair"

      celebgen sample "old man with glasses" "young woman, bangs" -n 8 --grid sheet.png

      cat prompts.txt | celebgen sample -o faces --json
    """
    texts = _prompts(prompts)
    to_stdout = str(output) == "-"
    if to_stdout and len(texts) * num != 1:
        raise UsageError(f"-o - writes one PNG, but {len(texts) * num} faces were asked for; give a folder with -o DIR")
    if to_stdout and json:
        raise UsageError("-o - and --json both want stdout; leave one of them out")
    if seed + num > 2**64:
        raise UsageError(f"--seed must be at most {2**64 - num} for {num} faces, not {seed}")

    from celebgen_cli.images import encode_png, save_grid
    from celebgen_cli.pipeline import load_model

    generator = load_model(model, device, precision)
    for prompt in texts:
        unknown = generator.unknown_words(prompt)
        if unknown and not quiet:
            common.say(f"warning: the text encoder never saw {', '.join(map(repr, unknown))} in {prompt!r}")
    jobs = [(prompt, seed + i) for prompt in texts for i in range(num)]
    settings: dict[str, Any] = {
        "steps": generator.defaults["steps"] if steps is None else steps,
        "sampler": generator.defaults["sampler"] if sampler is None else sampler,
        "guidance": generator.defaults["guidance"] if guidance is None else guidance,
        "guidance_interval": list(
            generator.defaults["guidance_interval"] if guidance_interval is None else guidance_interval
        ),
        "pag": generator.defaults["pag"] if pag is None else pag,
        "calibrate": calibrate and generator.calibration is not None,
    }
    faces: list[Any] = []
    with common.progress("sample", quiet=quiet) as update:
        batches = range(0, len(jobs), batch_size)
        for number, start in enumerate(batches):  # written as they come: an interrupted call keeps what it has
            some, began = jobs[start : start + batch_size], time.perf_counter()

            def count(done: int, steps: int, before: int = number) -> None:
                update(before * steps + done, len(batches) * steps)

            images = generator.sample(
                [prompt for prompt, _ in some], [s for _, s in some], **settings, negative=negative,
                batch_size=batch_size, callback=count,
            )  # fmt: skip
            seconds = (time.perf_counter() - began) / len(some)
            if grid is not None:
                faces.extend(images)
            for i, ((prompt, own), pixels) in enumerate(zip(some, images, strict=True)):
                metadata = _metadata(generator, prompt, negative, own, settings)
                png = encode_png(pixels, _parameters(metadata), metadata)
                if to_stdout:
                    sys.stdout.buffer.write(png)
                    continue
                path = _write(output, f"{start + i:04d}_{own}_{_slug(prompt)}", png)
                _announce(path, metadata, seconds, json)
    if grid is not None:
        import numpy as np

        columns = num if num > 1 else None
        save_grid(np.stack(faces), grid, columns, [f"{prompt} #{own}" for prompt, own in jobs])
        if not to_stdout:
            _announce(grid, {"grid": True, "faces": len(jobs)}, None, json)


def _prompts(arguments: Sequence[str] | None) -> list[str]:
    """Prompts from the arguments, else from stdin when it is no terminal."""
    texts = list(arguments or [])
    if not texts and not sys.stdin.isatty():
        try:
            texts = [line for line in sys.stdin.buffer.read().decode("utf-8").splitlines() if line.strip()]
        except UnicodeDecodeError as error:
            raise UsageError(f"stdin is not UTF-8 text at byte {error.start}; give one prompt a line") from error
    if not texts:
        raise UsageError('no prompt was given; say what the face shows, for example: celebgen sample "smiling woman"')
    for text in texts:
        if not text.strip():
            raise UsageError("a prompt is empty; say what the face shows, or leave that argument out")
        if "\0" in text:
            raise UsageError("a prompt has a NUL character in it; give plain text")
        if len(text) > 10_000:
            raise UsageError(f"a prompt has {len(text)} characters; the text encoder reads the first few dozen words")
    return texts


def _metadata(model: Any, prompt: str, negative: str, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    return {
        "prompt": prompt, "negative": negative, "seed": seed, **settings, "start": 1.0, "precision": model.precision,
        "size": model.size, "model": model.name, "model_sha256": model.sha256, "celebgen": __version__,
    }  # fmt: skip


def _parameters(metadata: dict[str, Any]) -> str:
    """The settings as one text, the form that other tools show."""
    negative = f"\nNegative prompt: {metadata['negative']}" if metadata["negative"] else ""
    pag = ", PAG: on" if metadata["pag"] else ""
    return (
        f"{metadata['prompt']}{negative}\nSteps: {metadata['steps']}, Sampler: {metadata['sampler']}, "
        f"CFG scale: {metadata['guidance']}{pag}, Seed: {metadata['seed']}, "
        f"Size: {metadata['size']}x{metadata['size']}, "
        f"Model hash: {metadata['model_sha256'][:10]}, Model: {metadata['model']}, Version: celebgen {__version__}"
    )


def _slug(prompt: str) -> str:
    """A few letters of the prompt that are safe in a file name everywhere."""
    words = "".join(c if c.isascii() and c.isalnum() else " " for c in prompt.lower()).split()
    return "-".join(words)[:48].strip("-") or "face"


def _write(folder: Path, name: str, png: bytes) -> Path:
    """Write under a name that is free: what an earlier call made is never overwritten."""
    from celebgen_cli.files import atomic_write_bytes

    if folder.exists() and not folder.is_dir():
        raise CelebgenError(f"{folder} is a file; give a folder with -o DIR")
    path, count = folder / f"{name}.png", 1
    while path.exists():
        if path.read_bytes() == png:
            return path
        path, count = folder / f"{name}-{count}.png", count + 1
    atomic_write_bytes(path, png)
    return path


def _announce(path: Path, metadata: dict[str, Any], seconds: float | None, as_json: bool) -> None:
    if not as_json:
        print(path, flush=True)
        return
    import json

    timed = {} if seconds is None else {"seconds": round(seconds, 3)}
    print(json.dumps({"path": str(path), **metadata, **timed}, ensure_ascii=False), flush=True)
