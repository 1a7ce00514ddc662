"""Prepared datasets whose pictures have captions of their own, with known attributes or without."""

import json
import shutil
from pathlib import Path

import numpy as np

from celebgen_cli.data.texts import text_files, write_texts
from celebgen_cli.files import sha256_file


def captioned(dataset: Path, folder: Path, *, known: bool = True, texts: bool = True) -> Path:
    """A copy of a prepared dataset in `folder`, two captions a row if `texts`, no attributes unless `known`."""
    shutil.copytree(dataset, folder)
    info = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    for split, count in info["counts"].items():
        if texts:
            write_texts(folder / split, "captions", [own_captions(split, row) for row in range(count)])
        if not known:
            np.save(folder / split / "attributes.npy", np.zeros((count, 40), dtype=np.int8))
        for name in ("attributes.npy", *text_files("captions")):
            if (folder / split / name).exists():
                info["sha256"][f"{split}/{name}"] = sha256_file(folder / split / name)
    (folder / "dataset.json").write_text(json.dumps(info), encoding="utf-8")
    return folder


def own_captions(split: str, row: int) -> list[str]:
    """Words that the grammar does not know."""
    return [f"quixotic {split} #{row}", f"Anna & zebra no. {row} of {split}"]
