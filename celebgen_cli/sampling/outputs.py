"""Where faces go: a folder, one file, a pattern of names, or stdout; nothing that is there is overwritten unasked."""

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.sampling.jobs import Job, parameters_of
from celebgen_cli.sampling.settings import check_path
from celebgen_cli.sampling.templates import shortened

SUFFIXES = {".png": "png", ".webp": "webp", ".jpg": "jpeg", ".jpeg": "jpeg"}
OTHER_SUFFIXES = (".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".jxl", ".ppm", ".svg", ".pdf")
"""Of pictures, which no folder is meant to have."""
DEFAULT_PATTERN = "{index:04d}_{seed}_{slug}"
FIELDS = ("index", "seed", "slug", "steps", "sampler", "guidance", "model")
_SPEC = re.compile(r"0?[0-9]{0,2}d?")


def slug(text: str) -> str:
    """A few letters of a text that are safe in a file name everywhere."""
    words = "".join(c if c.isascii() and c.isalnum() else " " for c in text.lower()).split()
    return "-".join(words)[:48].strip("-") or "face"


@dataclass
class Place:
    """Where the faces of one call go, as `-o` said it.

    Attributes:
        kind: "stdout", "folder", "file" or "pattern". path: the folder, file or pattern. form: png, webp or jpeg.
        force: what is there may be overwritten.
    """

    kind: str
    path: str
    form: str
    force: bool = False
    _given: set[int] = field(default_factory=set)

    @classmethod
    def parsed(cls, output: str, form: str | None = None, force: bool = False) -> "Place":
        """From `-o` and `--format`.

        Raises:
            UsageError: they mean nothing, or contradict one another.
        """
        check_path(output, "-o")
        if form is not None and form not in ("png", "webp", "jpeg"):
            raise UsageError(f"--format is one of png, webp, jpeg, not {shortened(form)}")
        if output == "-":
            return cls("stdout", output, form or "png", force)
        if "{" in output or "}" in output:
            _check_pattern(output)
            kind = "pattern"
        elif Path(output).suffix.lower() in SUFFIXES and not Path(output).is_dir():
            kind = "file"
        elif Path(output).suffix.lower() in OTHER_SUFFIXES and not Path(output).is_dir():
            raise UsageError(f"-o {shortened(output)} must end in .png, .webp, .jpg or .jpeg, or name a folder")
        else:
            return cls("folder", output, form or "png", force)
        suffix = Path(output).suffix.lower()
        if suffix not in SUFFIXES:
            raise UsageError(f"-o {shortened(output)} must end in .png, .webp, .jpg or .jpeg")
        if form is not None and form != SUFFIXES[suffix]:
            raise UsageError(f"-o {shortened(output)} and --format {form} contradict one another; leave --format out")
        return cls(kind, output, SUFFIXES[suffix], force)

    def check(self) -> None:
        """Find out before anything is drawn whether the folder can be one.

        Raises:
            UsageError: it cannot.
        """
        if self.kind == "folder" and Path(self.path).exists() and not Path(self.path).is_dir():
            raise UsageError(f"{self.path} is a file; give a folder with -o DIR, or a name that ends in .png")

    def find(self, job: Job, metadata: Mapping[str, Any]) -> tuple[Path, bool]:
        """The path of a job, and whether its face is there already.

        In a folder a name that another job has taken gets a number behind it.

        Raises:
            UsageError: another picture is there, or the pattern gave this name before.
        """
        if self.kind == "folder":
            stem = Path(self.path, _filled(DEFAULT_PATTERN, job, metadata))
            suffix = {"jpeg": "jpg"}.get(self.form, self.form)
            path, count = Path(f"{stem}.{suffix}"), 0
            while not self.force and path.exists():
                if made_as(path, metadata):
                    return path, True
                count += 1
                path = Path(f"{stem}-{count}.{suffix}")
            return path, path.exists() and made_as(path, metadata)
        path = Path(self.path if self.kind == "file" else _filled(self.path, job, metadata))
        if "{index" not in self.path:
            if hash(path) in self._given:
                raise UsageError(
                    f"the pattern {shortened(self.path)} gives {path} to two faces; put {{index}} or {{seed}} in it"
                )
            self._given.add(hash(path))
        if not path.exists():
            return path, False
        if made_as(path, metadata):
            return path, True
        if path.is_dir():
            raise UsageError(f"{path} is a folder; give another name with -o")
        if not self.force:
            raise UsageError(f"{path} exists and is another picture; add --force to overwrite it")
        return path, False

    def forget(self) -> None:
        """Begin anew: names that were given may be given again."""
        self._given.clear()


def encoded(pixels: Any, form: str, metadata: Mapping[str, Any]) -> bytes:
    """The file of a face uint8 [H, W, 3], with its metadata in it."""
    from celebgen_cli.images import encode

    return encode(pixels, form, parameters_of(metadata), metadata)


def made_as(path: Path, metadata: Mapping[str, Any]) -> bool:
    """Whether a whole picture is there whose own metadata are these."""
    from celebgen_cli.images import read_metadata, read_pixels

    try:
        return path.is_file() and read_metadata(path) == metadata and read_pixels(path).size > 0
    except CelebgenError:
        return False


def _check_pattern(pattern: str) -> None:
    """Plain fields only: no attribute, no index, no conversion, no width that fills a disk.

    Raises:
        UsageError: something else is in it.
    """
    wrong = f"-o {shortened(pattern)} cannot be read as a pattern"
    hint = f"write fields as in {DEFAULT_PATTERN}.png; there are {', '.join(FIELDS)}, and {{{{ is a brace"
    try:
        parts = list(string.Formatter().parse(pattern))
    except ValueError as error:
        raise UsageError(f"{wrong} ({error}); {hint}") from error
    named = [part for part in parts if part[1] is not None]
    if not named:
        raise UsageError(f"{wrong} because it has no field; {hint}")
    for _, name, spec, conversion in named:
        if name not in FIELDS or conversion:
            raise UsageError(f"{wrong} because of {{{name}{'!' if conversion else ''}}}; {hint}")
        if spec and (name not in ("index", "seed", "steps") or not _SPEC.fullmatch(spec)):
            raise UsageError(f"{wrong} because of {{{name}:{spec}}}; numbers take a width, as in {{index:04d}}")


def _filled(pattern: str, job: Job, metadata: Mapping[str, Any]) -> str:
    return pattern.format(
        index=job.index, seed=job.seed, slug=slug(job.prompt), steps=metadata["steps"],
        sampler=metadata["sampler"], guidance=f"{metadata['guidance']:g}", model=slug(metadata["model"]),
    )  # fmt: skip
