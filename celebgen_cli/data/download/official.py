"""CelebA's official files: names, MD5s, and where they lie on the authors' Google Drive."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from celebgen_cli.errors import CelebgenError

TERMS = (
    "CelebA is for non-commercial research and education only; its images are not the property of the authors of the "
    "dataset, may not be sold or published, and models trained on them fall under the same terms. "
    "See https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html."
)
"""CelebA's terms in short, shown before every download."""

WHERE = (
    "get CelebA from Kaggle (jessicali9530/celeba-dataset) or from the official page "
    "(https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html), then give the file or its address with --source FILE|URL"
)

IMAGES = "img_align_celeba"
"""The folder that the official archive of aligned images unpacks to."""

PARTITION_COUNTS = {"train": 162_770, "valid": 19_867, "test": 19_962}
"""Images of each partition; the official numbers run through them in this order."""

Progress = Callable[[int, int | None], None]
"""Called with the bytes done and the bytes in all, None where the server does not say."""

Say = Callable[[str], None]
"""Called with a sentence that the user should read."""


@dataclass(frozen=True)
class OfficialFile:
    """One file as its authors published it: name, MD5 in hexadecimal, id on Google Drive, size in bytes, roughly."""

    name: str
    md5: str
    drive: str
    about: float


FILES = (  # ids and MD5s as torchvision's CelebA has them; the small ones first, so that a refusal costs little
    OfficialFile("list_eval_partition.txt", "d32c9cbf5e040fd4025c592c306e6668", "0B7EVK8r0v71pY0NSMzRuSXJEVkk", 3e6),
    OfficialFile("identity_CelebA.txt", "32bd1bd63d3c78cd57e08160ec5ed1e2", "1_ee_0u7vcNLOfNLegJRHmolfH5ICW-XS", 4e6),
    OfficialFile("list_bbox_celeba.txt", "00566efa6fedff7a56946cd1c10f1c16", "0B7EVK8r0v71pbThiMVRxWXZ4dU0", 6e6),
    OfficialFile(
        "list_landmarks_align_celeba.txt", "cc24ecafdb5b50baae59b03474781f8c", "0B7EVK8r0v71pd0FJY3Blby1HUTQ", 13e6
    ),
    OfficialFile("list_attr_celeba.txt", "75e246fa4810816ffd6ee81facbd244c", "0B7EVK8r0v71pblRyaVFSWGxPY0U", 27e6),
    OfficialFile("img_align_celeba.zip", "00d2c5bc6d35e252742224ab0c1e8fcb", "0B7EVK8r0v71pZjFTYXZWM3FlRnM", 1.45e9),
)


def md5_of(path: Path) -> str:
    """MD5 of a file's content, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def check_md5(called: str, path: Path, md5: str) -> None:
    """Compare a file with the MD5 that it must have.

    Raises:
        CelebgenError: it has another one.
    """
    if (digest := md5_of(path)) != md5.lower():
        raise CelebgenError(other_md5(called, digest, md5))


def other_md5(called: str, digest: str, md5: str) -> str:
    """The sentence for a file with another MD5 than it must have."""
    return f"{called} has the MD5 {digest} and not {md5.lower()}: the file is damaged or another one"


def note_other_digest(name: str, path: Path, say: Say) -> None:
    """Say so where a file has an official name and not the official content; mirrors recode, so it is no error."""
    for official in FILES:
        if official.name == name and (digest := md5_of(path)) != official.md5:
            say(f"note: {name} has the MD5 {digest}, the official file {official.md5}; mirrors often recode CelebA")
