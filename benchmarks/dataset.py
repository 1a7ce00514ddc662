"""How fast a prepared split opens, and how many images a second random batches read from its memory map.

    python benchmarks/dataset.py [DATASET] [--rows 160000] [--size 128] [--batch-size 256]

Without a DATASET one of black images is made in a temporary folder (a sparse file, cached when read). Opening is
timed in a fresh process after its imports, reading in this one with all pages cached.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from celebgen_cli.data.attributes import ATTRIBUTES
from celebgen_cli.data.dataset import ARRAYS, FORMAT, FORMAT_VERSION, open_dataset
from celebgen_cli.errors import CelebgenError

OPEN = """
import sys, time
from celebgen_cli.data.dataset import open_dataset
began = time.perf_counter()
open_dataset(sys.argv[1]).split(sys.argv[2])
print(time.perf_counter() - began)
"""


def make(folder: Path, rows: int, size: int) -> None:
    """A prepared dataset of black images."""
    split = folder / "train"
    split.mkdir(parents=True)
    images = np.lib.format.open_memmap(split / "images.npy", mode="w+", dtype=np.uint8, shape=(rows, size, size, 3))
    del images
    np.save(split / "ids.npy", np.arange(1, rows + 1))
    np.save(split / "attributes.npy", np.full((rows, len(ATTRIBUTES)), -1, dtype=np.int8))
    np.save(split / "identity.npy", np.full(rows, -1))
    info = {
        "format": FORMAT, "format_version": FORMAT_VERSION, "size": size, "crop": {"name": "none", "box": None},
        "counts": {"train": rows, "valid": 0, "test": 0}, "sha256": {f"train/{array}.npy": "" for array in ARRAYS},
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(info))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, nargs="?")
    parser.add_argument("--rows", type=int, default=160_000)
    parser.add_argument("--cached", type=int, default=20_000, help="rows that batches are drawn from")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = options.dataset
        if folder is None:
            folder = Path(place) / "data"
            make(folder, options.rows, options.size)
        try:
            name = open_dataset(folder).splits[0]
        except CelebgenError as error:
            parser.error(str(error))
        runs = [
            float(subprocess.run([sys.executable, "-c", OPEN, folder, name], capture_output=True, check=True).stdout)
            for _ in range(5)
        ]
        split = open_dataset(folder).split(name)
        median, most = 1000 * sorted(runs)[2], 1000 * max(runs)
        print(f"opening {len(split):,} rows: {median:.1f} ms (median of 5, {most:.1f} at most)")
        rows = min(len(split), options.cached)
        split.gather(np.arange(rows))  # into the cache
        rng, count, began = np.random.default_rng(0), 0, time.perf_counter()
        while (seconds := time.perf_counter() - began) < options.seconds:
            count += len(split.gather(rng.integers(0, rows, options.batch_size)))
        print(f"random batches of {options.batch_size} from {rows:,} cached rows: {count / seconds:,.0f} images/s")


if __name__ == "__main__":
    main()
