"""Models by name: a folder, a model of the user's model folder, the one in the box, or a repository on Hugging Face.

Whatever takes a model takes one of these words, and `find` gives the folder:

    models/faces               a folder; one that exists wins over every name
    faces                      $CELEBGEN_MODELS/faces, or that of the system's place for a user's data
    celebgen-base128           the model in the box, by the name in its model.json
    hf://OWNER/NAME[@REVISION] fetched once by huggingface_hub, into its cache

Of a repository model.json, README.md and the safetensors files that model.json gives a SHA-256 of are fetched, and
nothing else: no pickle ever arrives. Nothing is fetched for any other word. This module knows JSON and no tensors.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.files import read_json, sha256_file

BOX = Path(__file__).parents[1] / "pretrained"
VARIABLE = "CELEBGEN_MODELS"
HUB = re.compile(r"hf:/{1,2}(?P<repository>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>\w[\w./-]*))?", re.ASCII)
WEIGHTS = re.compile(r"\w[\w.-]*\.safetensors", re.ASCII)


@dataclass(frozen=True)
class Entry:
    """A model that has a name.

    Attributes:
        name: the word that finds it. path: its folder. bytes: size of its files. image_size: pixels of a face's side.
        crop: name of the crop that it learned. fid: as measured, a number or text. box: whether it came with the
        program. problem: a sentence where it cannot be read. What model.json does not say is None.
    """

    name: str
    path: Path
    bytes: int
    image_size: int | None = None
    crop: str | None = None
    fid: float | str | None = None
    box: bool = False
    problem: str | None = None


def home(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Path:
    """The user's model folder, which need not exist: $CELEBGEN_MODELS, else a place in the system's one for data.

    That is $XDG_DATA_HOME or ~/.local/share (XDG Base Directory Specification), ~/Library/Application Support on
    macOS, %LOCALAPPDATA% on Windows.
    """
    if given := environment.get(VARIABLE):
        return Path(given).expanduser()
    if platform == "win32":
        base = environment.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = environment.get("XDG_DATA_HOME") or ""
        base = base if os.path.isabs(base) else Path.home() / ".local" / "share"  # a relative one is to be ignored
    return Path(base) / "celebgen" / "models"


def entries(box: Path | None = None, models: Path | None = None) -> list[Entry]:
    """The model in the box, then those of the user's model folder by name; hidden folders are no models.

    Raises:
        CelebgenError: the model folder cannot be listed.
    """
    box, models = box or BOX, models or home()
    found = [_entry(box, box=True)] if _is_model(box) else []
    try:
        folders = sorted(path for path in models.iterdir() if not path.name.startswith(".") and _is_model(path))
    except (FileNotFoundError, NotADirectoryError):
        folders = []
    except OSError as error:
        raise CelebgenError(
            f"{models} cannot be listed ({error.strerror}); set ${VARIABLE} to another folder"
        ) from error
    return found + [_entry(path) for path in folders]


def find(word: Path | str, strict: bool = True) -> Path:
    """The folder of a model by path, name or hf://OWNER/NAME[@REVISION].

    A path that holds a separator comes back as it is, for those who read it say best what is wrong there; and so does
    a name that no model has, unless `strict`.

    Raises:
        UsageError: the word is no address of a repository although it begins as one.
        CelebgenError: no model has that name; the repository is out of reach, or is no whole model.
    """
    path = Path(word)
    if path.is_dir():
        return path
    text = word if isinstance(word, str) else path.as_posix()  # which makes hf://a/b into hf:/a/b
    if text.startswith("hf:"):
        return fetch(text)
    if path.is_absolute() or path.name != str(path) or path.exists():
        return path
    models = home()
    if not path.name.startswith(".") and _is_model(models / path):
        return models / path
    if _is_model(BOX) and _entry(BOX, box=True).name == text:
        return BOX
    if not strict:
        return path
    names = ", ".join(dict.fromkeys(entry.name for entry in entries())) or "none yet"
    raise CelebgenError(
        f"there is no model folder {text}, and no model of that name in {models}; names that exist: {names}"
    )


def fetch(address: str) -> Path:
    """Fetch a model from Hugging Face, or take it from its cache, and check every file; returns the folder.

    All files are of one commit. A file of the cache that does not fit its SHA-256 is fetched once more.

    Raises:
        UsageError: the address is not hf://OWNER/NAME or hf://OWNER/NAME@REVISION.
        CelebgenError: huggingface_hub is not installed, the repository is out of reach, holds no model, names files
            that are no safetensors, or sends others than it names.
    """
    match = HUB.fullmatch(address)
    if match is None:
        raise UsageError(f"'{address}' is no address of a model; write hf://OWNER/NAME or hf://OWNER/NAME@REVISION")
    repository, revision = match["repository"], match["revision"]
    hub = _package()
    called = f"hf://{repository}" + (f"@{revision}" if revision else "")
    description = _download(hub, repository, "model.json", revision, called)
    info = read_json(description)
    digests = info.get("sha256") if isinstance(info, dict) and info.get("format") == "celebgen-model" else None
    if not isinstance(digests, dict) or not digests:
        raise CelebgenError(f"{called} is no celebgen model: its model.json does not give its weights' SHA-256")
    for name in digests:
        if not WEIGHTS.fullmatch(name):
            raise CelebgenError(f"{called} names '{name}', which is no safetensors file; nothing else is fetched")
    commit = description.parent.name  # the cache names a folder after the commit, so all files are of the same one
    for name, digest in digests.items():
        path = _download(hub, repository, name, commit, called)
        if sha256_file(path) != digest:
            path = _download(hub, repository, name, commit, called, again=True)
            if sha256_file(path) != digest:
                raise CelebgenError(
                    f"{called} has another {name} than its model.json says (SHA-256); tell its owner, or choose "
                    "another revision"
                )
    with contextlib.suppress(Exception):  # a model card is good to have
        hub.hf_hub_download(repository, "README.md", revision=commit)
    return description.parent


def _download(hub: Any, repository: str, name: str, revision: str | None, called: str, again: bool = False) -> Path:
    try:
        return Path(hub.hf_hub_download(repository, name, revision=revision, force_download=again))
    except Exception as error:  # the library lets through errors of its HTTP client, of the hub and of the disk
        first = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(". ")
        if type(error).__name__ == "LocalEntryNotFoundError":  # its own words are long, and do not say more
            first = "it is out of reach, and the cache does not have it"
        raise CelebgenError(
            f"Hugging Face does not give {name} of {called} ({first}); check the name and the network, and try again"
        ) from error


def _package() -> Any:
    try:
        hub, tools = importlib.import_module("huggingface_hub"), importlib.import_module("huggingface_hub.utils")
    except ImportError as error:
        raise CelebgenError(
            'a model on Hugging Face needs the package huggingface_hub: pip install "celebgen[huggingface]"'
        ) from error
    if not sys.stderr.isatty():
        tools.disable_progress_bars()
    return hub


def _is_model(folder: Path) -> bool:
    return (folder / "model.json").is_file()


def _entry(folder: Path, box: bool = False) -> Entry:
    size = 0
    with contextlib.suppress(OSError):
        size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    try:
        info = read_json(folder / "model.json")
        if not isinstance(info, dict) or info.get("format") != "celebgen-model":
            raise CelebgenError(f"{folder / 'model.json'} does not describe a celebgen model; fetch or export it again")
        digests = info.get("sha256")
        for name in digests if isinstance(digests, dict) else ():
            if not (folder / name).is_file():
                raise CelebgenError(f"{folder / name} is missing; fetch or export the model again")
    except CelebgenError as error:
        return Entry(folder.name, folder, size, box=box, problem=str(error))
    pixels, crop, called = info.get("image_size"), info.get("crop"), info.get("name")
    return Entry(
        called if box and isinstance(called, str) else folder.name, folder, size,
        pixels if isinstance(pixels, int) else None, crop if isinstance(crop, str) else None, _fid(info), box,
    )  # fmt: skip


def _fid(info: dict[str, Any]) -> float | str | None:
    measured = info.get("measured")
    figure = measured.get("FID") if isinstance(measured, dict) else None
    value = figure.get("value") if isinstance(figure, dict) else None
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    return value if isinstance(value, str) or math.isfinite(value) else None
