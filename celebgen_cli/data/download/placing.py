"""What was fetched takes its place in the folder: archives unpacked, files moved, and what is to be done next."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

from celebgen_cli.data.download.folder import STAGE, same_content, settle
from celebgen_cli.data.download.official import IMAGES, Progress, Say
from celebgen_cli.data.download.part import Part
from celebgen_cli.data.download.unpack import BadArchive, looks_like_archive, unpack
from celebgen_cli.data.sources import SUFFIXES, list_files
from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.files import make_readable


def place(part: Part, out: Path, called: str, progress: Progress | None, say: Say) -> Path:
    """Unpack a whole part if it is an archive, else move it to its name; the part is gone afterwards.

    It stays if there was no room to unpack it or a file is in the way, so that it need not be fetched again.

    Returns:
        `out` for an archive, else the file.

    Raises:
        UsageError: it is called `.zip` and is none.
        CelebgenError: see `unpack` and `settle`.
    """
    if part.placed:
        return out / part.name
    if not looks_like_archive(part.path, part.name):
        try:
            target = settle(part.path, out / part.name, called)
        except CelebgenError:  # another file is there: nothing is left to go on with
            part.discard()
            raise
        part.discard()
        return target
    try:
        unpack(part.path, out, progress=progress, say=say, name=called)
    except (BadArchive, UsageError):
        part.discard()
        raise
    part.discard()
    return out


def move_tree(source: Path, out: Path, say: Say) -> int:
    """Move all files below `source` to the same places below `out`, then remove `source`.

    A file that is there already is kept; `say` is told of those that differ. Links are left out.

    Returns:
        The number of files that are in their places now.
    """
    count, differing = 0, []
    for folder, _, names in os.walk(source):
        for name in names:
            file = Path(folder, name)
            if file.is_symlink():
                continue
            count += 1
            target = out / file.relative_to(source)
            if os.path.lexists(target):
                if not (target.is_file() and same_content(file, target)):
                    differing.append(target)
                file.unlink()
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            make_readable(file)
            os.replace(file, target)
    shutil.rmtree(source, ignore_errors=True)
    if differing:
        say(
            f"note: {len(differing)} of {count} files were there already with other content and were kept "
            f"({differing[0]} first); delete them and run the command again to get the others"
        )
    return count


def retire(work: Path) -> None:
    """Remove a working folder so that a kill within leaves nothing that looks like work to go on with."""
    if work.exists():
        old = work.with_name(f"{STAGE}{work.name.strip('.')}")
        shutil.rmtree(old, ignore_errors=True)
        os.replace(work, old)
        shutil.rmtree(old, ignore_errors=True)


def images_complete(out: Path) -> bool:
    """Whether every image of the partition file in `out` is in its folder of aligned images."""
    from celebgen_cli.data.annotations import find_annotations, image_number, read_partition

    try:
        partition = find_annotations(out).partition
        if partition is None or not (out / IMAGES).is_dir():
            return False
        wanted = set(read_partition(partition).ids.tolist())
    except CelebgenError:
        return False
    return wanted <= {image_number(name) for name in list_files(out / IMAGES)}


def next_command(out: Path) -> str:
    """What to run next: the exact `celebgen prepare` command, or what is still missing, as a sentence."""
    from celebgen_cli.data.annotations import find_annotations

    if out.name in ("", ".."):  # what lies beside `.` has no name that is made of it
        out = out.resolve()
    images = out / IMAGES
    if not images.is_dir():
        inside = [name for name in list_files(out) if os.path.splitext(name)[1].lower() in SUFFIXES]
        if not inside:
            return f"{out} has no images yet; get img_align_celeba.zip into it too"
        images = out
    dataset = out.parent / f"{out.name or 'celeba'}-dataset"
    command = shlex.join(["celebgen", "prepare", str(images), "-o", str(dataset)])
    if find_annotations(out).attributes is None and find_annotations(images).attributes is None:
        return f"{out} has no list_attr_celeba yet: get it into the same folder, then run: {command}"
    return f"next: {command}"
