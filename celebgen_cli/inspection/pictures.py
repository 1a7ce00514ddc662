"""A picture that celebgen made: with what words and settings, and the command that makes it again."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from celebgen_cli.files import read_json
from celebgen_cli.inspection.report import Report, command, settings
from celebgen_cli.models.registry import BOX

SHEETS = {"grid": "sheet", "plot": "plot", "gif": "animation"}
"""What shows no single face, by the key of its metadata."""
_SHOWN = ("prompt", "negative", "seed", "size", "precision", "model", "model_sha256", "celebgen")


def inspect(picture: Path, metadata: Mapping[str, Any]) -> Report:
    """What the metadata of a picture say."""
    if what := next((what for key, what in SHEETS.items() if metadata.get(key)), None):
        report = Report(f"{picture}: {what} by celebgen")
        report.section("What it is").add("shows", settings(metadata, (*SHEETS, "mark")))
        return report
    kind = next((k for k in ("edit", "interpolate", "vary") if isinstance(metadata.get(k), dict)), "sample")
    done = metadata if kind == "sample" else {**metadata[kind], **{k: metadata[k] for k in metadata if k != kind}}
    report = Report(f"{picture}: {'way' if picture.suffix.lower() == '.gif' else 'face'} by celebgen {kind}")
    about = report.section("What it shows")
    of = done.get("of")
    origin: Mapping[str, Any] = of if isinstance(of, dict) else {}
    for name in ("prompt", "negative", "seed"):
        about.add(name, done.get(name, origin.get(name) if name != "seed" else None))
    about.add("seed of the face", origin.get("seed"))
    about.add("size", f"{done['size']} x {done['size']} px" if "size" in done else None)
    made = report.section("How it was made")
    made.add("settings", settings(done, (*_SHOWN, "of")))
    made.add("of a face with", settings(origin, _SHOWN))
    made.add("model", done.get("model"))
    made.add("weights", done.get("model_sha256"))
    made.add("precision", done.get("precision"))
    made.add("celebgen", done.get("celebgen"))
    again = _again(picture, kind, done)
    if again:
        report.section("To make it again").add("", again)
    return report


def _again(picture: Path, kind: str, done: Mapping[str, Any]) -> str | None:
    if kind == "sample":
        return command("celebgen", "sample", "--from", picture) if "prompt" in done and "seed" in done else None
    name = done.get("model")
    box = read_json(BOX / "model.json") if (BOX / "model.json").is_file() else {}
    boxed = box.get("name")
    of: list[object] = [] if name in (None, boxed) else ["--model", name]
    if kind == "interpolate":
        seeds = dict(zip(("seed", "end-seed"), done.get("seeds") or (), strict=False))
        ends = done.get("from", "FROM"), done.get("to", "TO")
        how = _options({**done, **seeds}, ("seed", "end-seed", "frames", "steps", "guidance", "seconds"))
        how += ["--no-read"] if done.get("read") is False else []
        how += ["--back"] if done.get("back") else []
        how += ["-o", "way.gif", *([] if picture.suffix.lower() == ".gif" else ["--pngs", "way"])]
        return command("celebgen", "interpolate", *ends, *how, *of)
    if kind == "vary":
        return command("celebgen", "vary", "FACE.png", "-n", 1, *_options(done, ("amount", "seed")), *of)
    how = _options(done, ("strength", "method", "steps", "guidance", "seed"))
    if done.get("negative"):
        how = ["--negative", done["negative"], *how]
    if done.get("target") == done.get("prompt"):  # these very words, of a source that was given
        how += ["--source", done.get("source", "")]
    if done.get("detail") not in (None, done.get("method") == "invert"):
        how.append("--detail" if done["detail"] else "--no-detail")
    if done.get("calibrate") is False:
        how.append("--no-calibrate")
    if done.get("cut") == "already":
        how += ["--already", box.get("crop", "CROP") if name in (None, boxed) else "CROP"]
    if done.get("landmarks"):
        how += ["--landmarks", "LANDMARKS"]
    return command("celebgen", "edit", "PHOTO", done.get("prompt", ""), *how, *of)


def _options(done: Mapping[str, Any], names: Sequence[str]) -> list[object]:
    """Options of the command, as the picture has their values."""
    return [word for name in names if done.get(name) is not None for word in (f"--{name}", done[name])]
