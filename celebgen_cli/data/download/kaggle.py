"""CelebA from Kaggle, through `kagglehub`, which resumes by itself and needs no account for public data sets."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from pathlib import Path

from celebgen_cli.data.download.folder import check_room, watched
from celebgen_cli.data.download.official import Progress, Say
from celebgen_cli.data.download.placing import images_complete, move_tree, retire
from celebgen_cli.errors import CelebgenError

HANDLE = "jessicali9530/celeba-dataset"
WORK = ".kaggle"
ABOUT = 1.5e9  # bytes, packed; about the same again unpacked


def from_kaggle(handle: str, out: Path, progress: Progress | None, say: Say) -> None:
    """Fetch a data set of Kaggle and put its files into `out`, without the folder that Kaggle wraps the images in.

    Kaggle's cache is kept within `out` meanwhile, so that a killed download is taken up and nothing stays elsewhere.

    Raises:
        CelebgenError: `kagglehub` is not installed, it fails, or there is no room.
    """
    if images_complete(out):
        say(f"{out} has all images of its partition file already; nothing is fetched")
        retire(out / WORK)
        return
    os.environ.setdefault("TQDM_DISABLE", "1")  # read when tqdm is imported; the bar is ours
    try:
        kagglehub = importlib.import_module("kagglehub")
    except ImportError as error:
        raise CelebgenError('Kaggle needs the package kagglehub: pip install "celebgen[kaggle]"') from error
    work = out / WORK
    there = sum(file.stat().st_size for file in work.rglob("*") if file.is_file())
    check_room(out, 2 * ABOUT - there)
    before = os.environ.get("KAGGLEHUB_CACHE")
    os.environ["KAGGLEHUB_CACHE"] = str(work.absolute())
    try:
        with watched(work, "versions", progress), contextlib.redirect_stdout(sys.stderr):
            got = Path(kagglehub.dataset_download(handle))
    except Exception as error:  # kagglehub lets through errors of requests, of its backend and of the disk
        raise CelebgenError(
            f"Kaggle does not give {handle} ({first_line(error)}); see https://www.kaggle.com/datasets/{handle}"
        ) from error
    finally:
        if before is None:
            del os.environ["KAGGLEHUB_CACHE"]
        else:
            os.environ["KAGGLEHUB_CACHE"] = before
    if not got.is_dir():
        raise CelebgenError(f"Kaggle's {handle} is no folder of files; give its files with --source FILE")
    try:
        for folder in [place for place in got.iterdir() if place.is_dir() and not place.is_symlink()]:
            inner = folder / folder.name  # img_align_celeba/img_align_celeba/000001.jpg
            if inner.is_dir() and not inner.is_symlink():
                move_tree(inner, out / folder.name, say)
        move_tree(got, out, say)
    except OSError as error:
        raise CelebgenError(f"cannot move the files into {out}: {error.strerror or error}") from error
    retire(work)


def first_line(error: BaseException) -> str:
    """An error of another library in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
