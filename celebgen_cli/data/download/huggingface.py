"""CelebA from a mirror on Hugging Face: Parquet files with images and attributes become images and official text files.

The mirror in use, `flwrlabs/celeba`, has the columns `image`, `celeb_id` and the 40 attributes as booleans, and the
splits train, valid and test, as its page says. That the rows are in CelebA's order, so that their numbers are CelebA's,
is not taken on trust: the text files made from them are compared with the official MD5s, and the outcome is said.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from celebgen_cli.data.attributes import ATTRIBUTES
from celebgen_cli.data.download.folder import check_room, watched
from celebgen_cli.data.download.kaggle import first_line
from celebgen_cli.data.download.official import FILES, IMAGES, PARTITION_COUNTS, Progress, Say, md5_of
from celebgen_cli.data.download.placing import images_complete, move_tree, retire
from celebgen_cli.errors import CelebgenError
from celebgen_cli.files import atomic_write_bytes, atomic_write_json, read_json

MIRROR = "flwrlabs/celeba"
WORK = ".huggingface"
SPLITS = {"train": 0, "valid": 1, "validation": 1, "val": 1, "test": 2}
"""CelebA's partition for each name of a split."""

ENDINGS = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp"}
BATCH = 64  # rows in memory


def from_huggingface(mirror: str, out: Path, progress: Progress | None, say: Say) -> None:
    """Fetch a mirror's Parquet files one after the other, and put images and annotation files into `out`.

    Images are numbered as the rows are, first train, then valid, then test; where the mirror has identities, it is
    said whether they make CelebA's official file, which tells if the numbers are the official ones. Everything is made
    in a working folder within `out`, a Parquet file at a time, so a killed run goes on with the file it was at.

    Raises:
        CelebgenError: a package is not installed, the mirror is out of reach or made otherwise, or there is no room.
    """
    if images_complete(out):
        say(f"{out} has all images of its partition file already; nothing is fetched")
        retire(out / WORK)
        return
    hub, parquet = _packages()
    work = out / WORK
    plan = _plan(hub, mirror, work)
    shards = plan["shards"]
    notes = [work / f"rows-{i:05d}.txt" for i in range(len(shards))]
    left = [shard["size"] for shard, note in zip(shards, notes, strict=True) if not note.exists()]
    check_room(out, sum(left) + max(left, default=0))
    total, done, number = sum(shard["size"] for shard in shards), 0, 1
    for shard, note in zip(shards, notes, strict=True):
        if not note.exists():
            say(f"huggingface: {shard['name']}")
            where = {"repo_type": "dataset", "revision": plan["revision"], "local_dir": str(work)}
            try:
                with watched(work, "files", progress, done, total):
                    path = Path(hub.hf_hub_download(mirror, shard["name"], **where))
            except Exception as error:  # the library lets through errors of its HTTP client, of the hub and of the disk
                raise CelebgenError(f"Hugging Face does not give {mirror} ({first_line(error)})") from error
            lines = [*_convert(parquet, path, work / "files" / IMAGES, number, shard["split"], mirror)]
            atomic_write_bytes(note, "\n".join(lines).encode("ascii"))
            path.unlink(missing_ok=True)
        number += len(note.read_bytes().splitlines())
        done += shard["size"]
        if progress is not None:
            progress(done, total)
    rows = [line.split(maxsplit=3) for note in notes for line in note.read_text("ascii").splitlines()]
    _write_annotations(work / "files", rows, say)
    move_tree(work / "files", out, say)
    retire(work)


def _packages() -> tuple[Any, Any]:
    try:
        hub, parquet = importlib.import_module("huggingface_hub"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise CelebgenError(
            'Hugging Face needs the packages huggingface_hub and pyarrow: pip install "celebgen[huggingface]"'
        ) from error
    importlib.import_module("huggingface_hub.utils").disable_progress_bars()
    return hub, parquet


def _plan(hub: Any, mirror: str, work: Path) -> dict[str, Any]:
    """The mirror's Parquet files in order and its revision; a run that goes on keeps to the revision it began with."""
    note = work / "plan.json"
    if note.exists() and (plan := read_json(note))["mirror"] == mirror:
        return dict(plan)
    retire(work)
    try:
        info = hub.HfApi().dataset_info(mirror, files_metadata=True)
    except Exception as error:
        raise CelebgenError(f"Hugging Face does not show {mirror} ({first_line(error)})") from error
    shards = []
    for file in info.siblings or []:
        if file.rfilename.endswith(".parquet"):
            words = re.split(r"[-/_.]", file.rfilename.lower())
            split = next((SPLITS[word] for word in reversed(words) if word in SPLITS), None)
            if split is None:
                raise CelebgenError(f"{mirror} has {file.rfilename}, which says neither train, valid nor test")
            shards.append({"name": file.rfilename, "size": file.size or 0, "split": split})
    if not shards:
        raise CelebgenError(f"{mirror} has no Parquet files; name another mirror with --source huggingface:OWNER/NAME")
    shards.sort(key=lambda shard: (shard["split"], shard["name"]))
    plan = {"mirror": mirror, "revision": info.sha, "shards": shards}
    atomic_write_json(note, plan)
    return plan


def _convert(parquet: Any, path: Path, images: Path, number: int, split: int, mirror: str) -> Iterator[str]:
    """Write each row's image as `NUMBER.png` (or what it is); yields `NUMBER SPLIT IDENTITY A1 ... A40` a row."""
    images.mkdir(parents=True, exist_ok=True)
    try:
        file = parquet.ParquetFile(path)
        names = set(file.schema_arrow.names)
        if missing := [name for name in ("image", *ATTRIBUTES) if name not in names]:
            raise CelebgenError(f"{mirror} has no column {missing[0]}, so it is made otherwise than CelebA's mirrors")
        columns = ["image", *ATTRIBUTES, *(["celeb_id"] if "celeb_id" in names else [])]
        for batch in file.iter_batches(batch_size=BATCH, columns=columns):
            for row in batch.to_pylist():
                data = (row["image"] or {}).get("bytes") or b""
                ending = next((ending for start, ending in ENDINGS.items() if data.startswith(start)), None)
                if ending is None:
                    raise CelebgenError(f"{mirror}, {path.name}: the image of number {number} is no PNG, JPEG or WebP")
                temporary = images / f".{number:06d}"
                temporary.write_bytes(data)
                temporary.replace(images / f"{number:06d}{ending}")
                signs = " ".join("1" if row[name] is True or row[name] == 1 else "-1" for name in ATTRIBUTES)
                yield f"{number} {split} {row.get('celeb_id', '-')} {signs}"
                number += 1
    except (OSError, ValueError, AttributeError) as error:  # pyarrow's errors are of these kinds
        raise CelebgenError(f"{mirror}, {path.name} cannot be turned into images: {first_line(error)}") from error


def _write_annotations(folder: Path, rows: list[list[str]], say: Say) -> None:
    """The official text files from rows of `_convert`, byte for byte as the authors laid them out."""
    names = [f"{int(row[0]):06d}.jpg" for row in rows]
    table = ""
    for name, row in zip(names, rows, strict=True):  # each value but the first has three places
        first, *others = row[3].split()
        table += f"{name} {first}{''.join(f'{sign:>3}' for sign in others)}\r\n"
    texts = {
        "list_attr_celeba.txt": f"{len(rows)}\r\n{' '.join(ATTRIBUTES)} \r\n{table}",
        "list_eval_partition.txt": "".join(f"{n} {row[1]}\r\n" for n, row in zip(names, rows, strict=True)),
    }
    if all(row[2].isdecimal() for row in rows):
        texts["identity_CelebA.txt"] = "".join(f"{n} {row[2]}\r\n" for n, row in zip(names, rows, strict=True))
    for name, text in texts.items():
        atomic_write_bytes(folder / name, text.encode("ascii"))
    wrong = [file.name for file in FILES if file.name in texts and md5_of(folder / file.name) != file.md5]
    if not wrong:
        say(f"{', '.join(sorted(texts))} are the official files byte for byte")
    else:
        counts = [sum(row[1] == str(split) for row in rows) for split in range(len(PARTITION_COUNTS))]
        say(
            f"note: {', '.join(wrong)} made from the mirror are not the official files ({counts} images of train, "
            "valid and test): its numbers may not be CelebA's; annotations from elsewhere may not fit them"
        )
