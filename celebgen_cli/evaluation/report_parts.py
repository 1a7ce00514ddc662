"""The parts of a report, measured one after the other and gone on with where a report was interrupted.

Parts that look at the same faces share them: they are drawn once, into the folder that the report works in. That folder
also has the journal; it is gone when the report is whole.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.evaluation import compare
from celebgen_cli.evaluation.clips import CLIP_VARIABLE
from celebgen_cli.evaluation.drawn import ModelImages, conditions
from celebgen_cli.evaluation.extraction import missing
from celebgen_cli.evaluation.features import inception_identity
from celebgen_cli.evaluation.journal import Journal
from celebgen_cli.evaluation.options import Listener, Options
from celebgen_cli.evaluation.similarity import LPIPS_VARIABLE
from celebgen_cli.evaluation.sources import ImageSource, kind_of, split_name
from celebgen_cli.evaluation.statistics import Statistics
from celebgen_cli.evaluation.subjects import is_model, open_generated, open_model
from celebgen_cli.files import sha256_file
from celebgen_cli.models.registry import find
from celebgen_cli.processes import JobEnded

SHOWN = 24
"""Faces on the page."""


@dataclass(frozen=True)
class Setup:
    """What a report is of.

    Attributes:
        generated, real: as `evaluate fid` takes them. train: the training set, for memorization.
        options: how to measure; `num` None leaves each part its own number of faces.
        parts: names among PARTS. judge: for the attributes. clip: for the text. lpips_weights: folder of AlexNet.
        real_pictures: whether pictures of photographs are kept for the page.
    """

    generated: str | None = None
    real: str | None = None
    train: str | None = None
    options: Options = field(default_factory=Options)
    parts: Sequence[str] = ()
    judge: Path | None = None
    clip: str | None = None
    lpips_weights: Path | None = None
    real_pictures: bool = False


@dataclass
class Measured:
    """What the parts came to.

    Attributes:
        parts: what each part's own command says as JSON. left_out: the reason, by part.
        generated: what was measured. faces: some of it, uint8 [N, H, W, 3], and their prompts ("" where unknown).
        work: folder with what the parts kept: `worst/`, and where photographs may be shown `reconstruction/`,
            `pairs.png`.
    """

    parts: dict[str, dict[str, Any]]
    left_out: dict[str, str]
    generated: dict[str, Any]
    faces: np.ndarray
    prompts: list[str]
    work: Path


def measure_report(setup: Setup, work: Path, listener: Listener | None = None) -> Measured:
    """Measure every part that the journal in `work` does not have yet.

    Raises:
        UsageError: a word names nothing. CelebgenError: nothing at all could be measured.
    """
    listener = listener or Listener()
    unknown = [name for name in setup.parts if name not in PARTS]
    if unknown or not setup.parts:
        raise UsageError(f"--metrics takes some of {', '.join(PARTS)}, not '{', '.join(unknown)[:60]}'")
    reference = compare.open_real(setup.real)
    known = _known(setup)
    journal = Journal(work / "journal.jsonl")
    common = {
        "generated": known, "real": _fingerprint(reference), "num": setup.options.num, "seed": setup.options.seed,
        "repeats": setup.options.repeats,
        "sampling": dict(setup.options.sampling), "pictures": setup.real_pictures,
        "conditions": conditions(setup.options.device), "inception": _inception(setup),
    }  # fmt: skip
    extras = [
        _stamp(given or os.environ.get(variable)) for given, variable in (
            (setup.train, compare.DATASET_VARIABLE), (setup.judge, ""), (setup.clip, CLIP_VARIABLE),
            (setup.lpips_weights, LPIPS_VARIABLE),
        )
    ]  # fmt: skip
    parts: dict[str, dict[str, Any]] = {}
    left_out: dict[str, str] = {}
    for name in (name for name in PARTS if name in setup.parts):
        of = {"part": name, **common, "extras": extras}
        result = journal.get(of)
        if result is None:
            try:
                result = PARTS[name](setup, reference, work, listener)
            except JobEnded:
                raise  # it says nothing about the part
            except CelebgenError as error:
                left_out[name] = str(error)
                listener.say(f"{name} is left out: {error}")
                continue
            journal.add(of, result)
        else:
            listener.say(f"{name} was measured before the report was interrupted")
        parts[name] = result
    if not parts:
        raise CelebgenError(f"nothing could be measured: {next(iter(left_out.values()))}")
    faces, prompts = _faces(setup, reference, work)
    return Measured(parts, left_out, known, faces, prompts, work)



def _fid(setup: Setup, reference: Any, work: Path, listener: Listener) -> dict[str, Any]:
    options = replace(setup.options, save=_worth_saving(setup, reference, work, listener))
    return compare.compare(setup.generated, setup.real, options, listener).to_dict()


def _prc(setup: Setup, reference: Any, work: Path, listener: Listener) -> dict[str, Any]:
    return compare.compare(setup.generated, setup.real, setup.options, listener, metric="prc").to_dict()


def _attributes(setup: Setup, reference: Any, work: Path, listener: Listener) -> dict[str, Any]:
    from celebgen_cli.evaluation.attributes import evaluate_attributes

    return evaluate_attributes(
        setup.generated, setup.real, replace(setup.options, repeats=1), judge=setup.judge, worst=work / "worst",
        listener=listener,
    ).to_dict()  # fmt: skip


def _text(setup: Setup, reference: Any, work: Path, listener: Listener) -> dict[str, Any]:
    from celebgen_cli.evaluation.text import evaluate_text

    options = replace(setup.options, save=work / "faces", repeats=1)
    return evaluate_text(setup.generated, setup.real, options, clip=setup.clip, listener=listener).to_dict()


def _reconstruction(setup: Setup, reference: Any, work: Path, listener: Listener) -> dict[str, Any]:
    from celebgen_cli.evaluation.reconstruction import evaluate_reconstruction

    if not is_model(setup.generated):
        raise UsageError(f"{setup.generated} is no model, so it has no CVAE that could reconstruct")
    return evaluate_reconstruction(
        setup.generated, setup.real, replace(setup.options, repeats=1), lpips_weights=setup.lpips_weights,
        worst=work / "reconstruction" if setup.real_pictures else None, listener=listener,
    ).to_dict()  # fmt: skip


def _memorization(setup: Setup, reference: Any, work: Path, listener: Listener) -> dict[str, Any]:
    from celebgen_cli.evaluation.memorization import evaluate_memorization

    options = replace(setup.options, save=work / "faces", repeats=1)
    return evaluate_memorization(
        setup.generated, setup.train, options, held_out=None if isinstance(reference, Statistics) else setup.real,
        pairs=work / "pairs.png" if setup.real_pictures else None, lpips_weights=setup.lpips_weights,
        listener=listener,
    ).to_dict()  # fmt: skip


PARTS: dict[str, Callable[[Setup, Any, Path, Listener], dict[str, Any]]] = {
    "text": _text, "memorization": _memorization, "attributes": _attributes, "fid": _fid, "prc": _prc,
    "reconstruction": _reconstruction,
}  # fmt: skip
"""In the order of measuring: those that need few faces first, which those that need more then find drawn."""


def _worth_saving(setup: Setup, reference: Any, work: Path, listener: Listener) -> Path | None:
    """The folder of drawn faces, where features are still to be extracted; else they would be drawn for nothing."""
    if not is_model(setup.generated) or not setup.options.cache:
        return None
    faces = _drawn(setup, reference, setup.options.num or _count(reference))
    extractor = compare.load_extractor(setup.options, listener)
    return work / "faces" if missing(faces, extractor) > len(faces) // 2 else None


def _drawn(setup: Setup, reference: Any, count: int, save: Path | None = None) -> ModelImages:
    """The faces that the parts look at."""
    rows = reference.attributes if isinstance(reference, Statistics) else reference.captions
    return ModelImages(
        open_model(setup.generated, setup.options), compare.rows_to_ask(rows), count, seed=setup.options.seed,
        settings=setup.options.sampling, save=save,
    )  # fmt: skip


def _faces(setup: Setup, reference: Any, work: Path) -> tuple[np.ndarray, list[str]]:
    """Some of the generated faces with their prompts."""
    source: ImageSource
    if is_model(setup.generated):
        source = drawn = _drawn(setup, reference, min(SHOWN, setup.options.num or SHOWN), work / "faces")
        prompts = drawn.prompts
    elif kind_of(setup.generated or "") == "statistics":
        return np.empty((0, 1, 1, 3), dtype=np.uint8), []
    else:
        source = open_generated(setup.generated or "")
        prompts = [""] * min(SHOWN, len(source))
    return np.concatenate(list(source.batches(len(prompts), setup.options.batch_size or 8))), list(prompts)


def _known(setup: Setup) -> dict[str, Any]:
    """What is measured, in a few values."""
    word = setup.generated
    if is_model(word):
        model = open_model(word, setup.options)
        sampling = dict(setup.options.sampling)
        given = {name: value for name, value in sampling.items() if name not in ("negative", "calibrate")}
        settings = model.settings(**given) | sampling
        return {"kind": "model", "source": model.name, "sha256": model.sha256, "size": model.size, "crop": model.crop,
                "settings": settings, "seed": setup.options.seed}  # fmt: skip
    found = str(find(word or "", strict=False))
    if kind_of(found) == "statistics":
        return {"kind": "statistics", "source": Path(found).name, "sha256": sha256_file(Path(found))}
    images = open_generated(found)
    return {"kind": images.kind, "source": images.label, "sha256": images.fingerprint(), "size": images.size,
            "crop": images.crop}  # fmt: skip


def _count(reference: Any) -> int:
    return reference.n if isinstance(reference, Statistics) else len(reference)


def _inception(setup: Setup) -> str | None:
    try:
        return inception_identity(setup.options.inception_weights)
    except CelebgenError:
        return None  # the parts that need them will say so


def _stamp(extra: Path | str | None) -> Any:
    """What a word names, with size and time of the file or of the files of the folder: another one is noticed."""
    if extra is None:
        return None
    path = split_name(str(extra).removeprefix("local-dir:"))[0]
    path = path if path.exists() else find(path, strict=False)
    if not path.exists():
        return str(extra)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [str(extra), [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]]


def _fingerprint(reference: Any) -> list[Any]:
    if isinstance(reference, Statistics):
        return ["statistics", reference.info.get("fingerprint"), reference.n]
    return ["images", reference.fingerprint(), len(reference)]


def clear(work: Path) -> None:
    """Remove the working folder of a report that is whole."""
    shutil.rmtree(work, ignore_errors=True)
