"""CelebA's official files from its authors' Google Drive."""

from __future__ import annotations

from pathlib import Path

from celebgen_cli.data.download import official
from celebgen_cli.data.download.fetch import Patience, fetch
from celebgen_cli.data.download.folder import check_room
from celebgen_cli.data.download.official import Progress, Say
from celebgen_cli.data.download.pages import drive_address
from celebgen_cli.data.download.placing import images_complete, place


def from_drive(out: Path, progress: Progress | None, say: Say, patience: Patience) -> None:
    """Fetch the five annotation files and the aligned images, each checked against its official MD5.

    A file that is there already and right is not fetched again.

    Raises:
        CelebgenError: no room, Google's quota for today is used up, or see `fetch` and `unpack`.
    """
    wanted = []
    for file in official.FILES:
        target = out / file.name
        if file.name.endswith(".zip"):
            if not images_complete(out):
                wanted.append(file)
        elif not (target.is_file() and official.md5_of(target) == file.md5):
            wanted.append(file)
    there = sum(part.stat().st_size for part in out.glob("*.part"))
    check_room(out, sum(file.about * (2 if file.name.endswith(".zip") else 1) for file in wanted) - there)
    for file in wanted:
        say(f"google-drive: {file.name}")
        address = drive_address(file.drive)
        part = fetch(address, out, md5=file.md5, name=file.name, progress=progress, say=say, patience=patience)
        place(part, out, f"{file.name} from Google Drive", progress, say)
