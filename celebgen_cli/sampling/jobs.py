"""Jobs: one face each, numbered, with everything that decides how it looks."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from celebgen_cli import __version__
from celebgen_cli.data.captions.typed import Typed
from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.sampling.prompts import Entry, located
from celebgen_cli.sampling.settings import Seeds, check_prompt, read_seeds, read_settings
from celebgen_cli.sampling.templates import parse, shortened

EXPANSIONS = ("all", "random", "none")


@dataclass(frozen=True)
class Job:
    """One face to draw. `settings`: what was said of it; the model's defaults fill in the rest."""

    index: int
    prompt: str
    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""


def jobs_of(entries: Iterable[Entry], seeds: Seeds, settings: Mapping[str, Any], expand: str) -> Iterator[Job]:
    """The faces of all entries in order: entry by entry, prompt by prompt of its template, seed by seed.

    What an entry says of itself wins over `seeds` and `settings`. `expand`: all prompts of a template, one at random a
    seed, or none: braces are braces.

    Raises:
        UsageError: a template cannot be read, or stands for an empty prompt.
    """
    if expand not in EXPANSIONS:
        raise UsageError(f"--expand is one of {', '.join(EXPANSIONS)}, not {shortened(expand)}")
    index = 0
    for entry in entries:
        own = {**settings, **entry.settings}
        try:
            for prompt, seed in _expanded(entry.prompt, entry.seeds or seeds, expand):
                yield Job(index, check_prompt(prompt), seed, own, entry.where)
                index += 1
        except UsageError as error:
            raise located(error, entry.where) from error


def _expanded(text: str, seeds: Seeds, expand: str) -> Iterator[tuple[str, int]]:
    if expand == "none":
        return ((text, seed) for seed in seeds)
    template = parse(text)
    if expand == "random":
        return ((template.drawn(seed), seed) for seed in seeds)
    return ((prompt, seed) for prompt in template for seed in seeds)


def resolve(model: Any, job: Job) -> dict[str, Any]:
    """Every setting of a job as `Model.sample` takes it, checked; `reading` says in which words it is drawn.

    Raises:
        UsageError: one is out of range.
    """
    given = {name: value for name, value in job.settings.items() if name != "read"}
    negative, calibrate = given.pop("negative", ""), given.pop("calibrate", True)
    try:
        settings = model.settings(**given)
    except UsageError as error:
        raise located(error, job.where) from error
    return {**settings, "negative": negative, "calibrate": calibrate and model.calibration is not None}


def reading(model: Any, job: Job) -> Typed:
    """The words that a job is drawn in: those of captions, unless its settings have `read` off."""
    negative = str(job.settings.get("negative", ""))
    if not job.settings.get("read", True):
        return Typed(job.prompt, negative, job.prompt, False)
    typed: Typed = model.read(job.prompt, negative)
    return typed


def metadata_of(
    model: Any, job: Job, settings: Mapping[str, Any], typed: Typed | None = None
) -> dict[str, Any]:
    """What a picture says of itself: enough to draw it again. typed: of `reading`, where it was drawn so."""
    read = {} if typed is None or not typed.changed else {"read_as": typed.text, "read_negative": typed.negative}
    return {
        "prompt": job.prompt, "negative": settings["negative"], **read, "seed": job.seed,
        **{key: value for key, value in settings.items() if key != "negative"},
        "precision": model.precision, "size": model.size, "model": model.name,
        "model_sha256": model.sha256, "celebgen": __version__,
    }  # fmt: skip


def beginning_of(prompt: str, negative: str, settings: Mapping[str, Any]) -> str:
    """How `parameters` of a picture begins: the prompts and how they were drawn."""
    away, pag = f"\nNegative prompt: {negative}" if negative else "", ", PAG: on" if settings["pag"] else ""
    steered = f"CFG scale: {settings['guidance']}{pag}"
    return f"{prompt}{away}\nSteps: {settings['steps']}, Sampler: {settings['sampler']}, {steered}"


def parameters_of(metadata: Mapping[str, Any]) -> str:
    """The settings as one text, the form that other tools show."""
    return (
        f"{beginning_of(metadata['prompt'], metadata['negative'], metadata)}, Seed: {metadata['seed']}, "
        f"Size: {metadata['size']}x{metadata['size']}, "
        f"Model hash: {metadata['model_sha256'][:10]}, Model: {metadata['model']}, Version: celebgen {__version__}"
    )


class Digest:
    """SHA-256 over the metadata of jobs in their order: which faces a sheet of them shows."""

    def __init__(self) -> None:
        self._sha = hashlib.sha256()

    def add(self, metadata: Mapping[str, Any]) -> None:
        self._sha.update(json.dumps(metadata, sort_keys=True).encode() + b"\n")

    @property
    def hex(self) -> str:
        return self._sha.hexdigest()


@dataclass(frozen=True)
class Again:
    """What a picture says of how it was made: the wish to draw it again, and the model that did."""

    entry: Entry
    precision: str
    model: str
    sha256: str


def again(path: Path) -> Again:
    """Read a picture's metadata.

    Raises:
        CelebgenError: it was not made by `celebgen sample`, or says too little.
    """
    from celebgen_cli.images import read_metadata
    from celebgen_cli.inspection.pictures import SHEETS

    found = read_metadata(path)
    if kind := next((name for name in ("edit", "interpolate", "vary") if name in found), None):
        raise CelebgenError(f"{path} was made by `celebgen {kind}`, not by `celebgen sample`, so it is not drawn again")
    if any(found.get(key) for key in SHEETS):
        raise CelebgenError(f"{path} is a sheet of faces, not a single one, so it is not drawn again")
    try:
        prompt, seeds = check_prompt(found.get("prompt")), read_seeds({"seed": found.get("seed")})
        if seeds is None:
            raise UsageError("there is no seed")
        settings = {**read_settings(found, unknown="skip"), "read": "read_as" in found}
    except UsageError as error:
        raise CelebgenError(f"{path} does not say how to draw it again: {error}") from error
    text = {key: str(found.get(key, "")) for key in ("precision", "model", "model_sha256")}
    return Again(Entry(prompt, "", seeds, settings), text["precision"], text["model"], text["model_sha256"])
