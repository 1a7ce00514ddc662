"""Speed and memory of `celebgen prepare`, on real JPEGs or drawn faces.

    python benchmarks/prepare.py [--images img_align_celeba.zip] [--count 20000] [--size 128]

With fewer images than --count they are repeated under new numbers. Time is that of the whole command; the time of the
processors says what it would be where nothing else runs.
"""

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from celebgen_cli.data.attributes import ATTRIBUTES


def jpegs(source: Path | None) -> list[bytes]:
    """JPEG files of a zip, or 64 of smooth noise."""
    if source is not None:
        with zipfile.ZipFile(source) as archive:
            return [archive.read(name) for name in archive.namelist() if name.lower().endswith(".jpg")]
    files = []
    for seed in range(64):
        noise = np.random.default_rng(seed).integers(0, 256, (24, 20, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noise).resize((178, 218), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="zip of aligned JPEGs; default: drawn ones")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    files = jpegs(options.images)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with zipfile.ZipFile(folder / "images.zip", "w") as archive:
            for number in range(options.count):
                archive.writestr(f"img_align_celeba/{number + 1:06d}.jpg", files[number % len(files)])
        row = " ".join(["-1"] * len(ATTRIBUTES))
        rows = "".join(f"{number + 1:06d}.jpg {row}\n" for number in range(options.count))
        (folder / "list_attr_celeba.txt").write_text(f"{options.count}\n{' '.join(ATTRIBUTES)}\n{rows}")
        command = [
            sys.executable, "-m", "celebgen_cli", "prepare", str(folder / "images.zip"), "-o", str(folder / "out"),
            "--size", str(options.size), "--workers", str(options.workers), "--quiet",
        ]  # fmt: skip
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        peak = watch(process)
        seconds = time.perf_counter() - began
        times = os.times()
        if process.returncode != 0:
            sys.exit(f"prepare exited with {process.returncode}")
    cpu = times.children_user + times.children_system
    print(
        f"{options.count:,} images of {options.size} px, {options.workers} workers: {seconds:.1f} s, "
        f"{options.count / seconds:,.0f} images/s, peak memory of all processes {peak:.0f} MiB; "
        f"{cpu:.1f} s of CPU, so {options.workers * options.count / cpu:,.0f} images/s on {options.workers} idle cores"
    )


def watch(process: subprocess.Popen[bytes]) -> float:
    """Wait for a process; the highest sum of the proportional memory (PSS) of it and its children, in MiB."""
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, sum(memory(pid) for pid in family(process.pid)))
        time.sleep(0.2)
    return peak


def family(pid: int) -> list[int]:
    """A process and all that it started (Linux; elsewhere only itself)."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return [pid]
    return [pid, *(p for child in children for p in family(int(child)))]


def memory(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


if __name__ == "__main__":
    main()
