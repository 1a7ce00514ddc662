"""kill -9 at random moments of a training command, and whether it always goes on.

    python benchmarks/kills.py [DATASET] [--kills 20] [--every 5] [--preset tiny] [--steps N] [--seed 0]

Trains a denoiser with a checkpoint every few steps, kills the process at a random moment, looks at everything that the
run holds under its final name, and gives the same command again; at the end the run is finished, and compared bit for
bit with one that nobody killed. Half of the kills come at any time from the start of the process, half after the first
new checkpoint. Without DATASET faces are drawn and a tiny chain is trained for it. Exits with 1 if anything was
half-written, could not go on, or differs.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from safetensors.torch import load_file

from celebgen_cli.errors import CelebgenError
from celebgen_cli.training.checkpoints import list_checkpoints, read_checkpoint

CELEBGEN = [sys.executable, "-m", "celebgen_cli"]


def celebgen(*words: object) -> None:
    """Run a command to its end."""
    done = subprocess.run([*CELEBGEN, *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"celebgen {words[0]} failed: {done.stderr}")


def faults(run: Path) -> list[str]:
    """What is half-written under its final name."""
    found = []
    for path in list_checkpoints(run / "checkpoints"):
        try:
            read_checkpoint(path)
        except CelebgenError as error:
            found.append(str(error))
    for path in run.rglob("*"):
        if not path.is_file() or any(part.startswith(".") for part in path.relative_to(run).parts):
            continue
        try:
            if path.suffix == ".json":
                json.loads(path.read_text(encoding="utf-8"))
            elif path.suffix == ".safetensors":
                load_file(path)
            elif path.suffix == ".png":
                with Image.open(path) as image:
                    image.load()
        except Exception as error:  # whatever a reader says of half a file
            found.append(f"{path}: {error}")
    return found


def newest(run: Path) -> int:
    """The newest step by its name."""
    names = [path.name for path in list_checkpoints(run / "checkpoints")]
    return int(names[-1].removeprefix("step-")) if names else 0


def differences(run: Path, whole: Path) -> list[str]:
    """In which files of the last checkpoint, and in which figures, the runs differ."""
    found = []
    name = list_checkpoints(whole / "checkpoints")[-1].name
    for kind in ("weights", "ema", "optimizer"):
        one, two = (load_file(place / "checkpoints" / name / f"{kind}.safetensors") for place in (run, whole))
        if one.keys() != two.keys() or any(not one[key].equal(two[key]) for key in one):
            found.append(f"{name}/{kind}.safetensors differs")
    figures = []
    for place in (run, whole):
        lines = map(json.loads, (place / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
        volatile = ("images_per_second", "memory")
        figures.append([{key: value for key, value in line.items() if key not in volatile} for line in lines])
    if figures[0] != figures[1]:
        found.append("metrics.jsonl differs")
    return found


def chain(folder: Path) -> tuple[Path, Path]:
    """Drawn faces, prepared, and a tiny CVAE trained on them."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.faces import prepared_faces

    dataset = prepared_faces(folder / "faces", 60, size=32)
    celebgen("train-clip", dataset, "-o", folder / "clip", "--preset", "tiny")
    celebgen("train-vae", dataset, "-o", folder / "vae", "--text", folder / "clip", "--perceptual", "none")
    return dataset, folder / "vae"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, nargs="?")
    parser.add_argument("--vae", type=Path, help="train-vae run or model; needed with DATASET")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--every", type=int, default=5)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.dataset and not options.vae:
        parser.error("DATASET needs --vae")
    rng, failures = random.Random(options.seed), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset, vae = (options.dataset, options.vae) if options.dataset else chain(folder)
        settings = ["--vae", vae, "--preset", options.preset, "--steps", options.steps, "--sample-every", options.steps,
                    "--checkpoint-every", options.every]  # fmt: skip
        run, whole = folder / "run", folder / "whole"
        words = [*CELEBGEN, "train-diffusion", str(dataset), "-o", str(run), *map(str, settings)]
        usual = 5.0  # seconds that a process takes to its first new checkpoint
        for kill in range(options.kills):
            before, began = newest(run), time.monotonic()
            process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            if kill % 2:
                while process.poll() is None and newest(run) <= before:
                    time.sleep(0.01)
                usual = time.monotonic() - began
                time.sleep(rng.uniform(0, 1))
            else:
                time.sleep(rng.uniform(0, 1.2 * usual))
            process.kill()
            said = process.communicate()[1]
            found = faults(run)
            if newest(run) < before or (process.returncode > 0 and sys.platform != "win32"):
                found.append(f"it did not go on from step {before}, exit code {process.returncode}: {said}")
            failures += len(found)
            at = f"{time.monotonic() - began:.2f} s"
            print(f"kill {kill + 1}: after {at}, step {before} -> {newest(run)}", *found, sep="\n  ", flush=True)
        for place in (run, whole):
            celebgen("train-diffusion", dataset, "-o", place, *settings)
        found = [*faults(run), *differences(run, whole)]
        failures += len(found)
        print("finished", *found, sep="\n  ")
    print("nothing half-written, it always went on, and the end is the same" if not failures else f"{failures} faults")
    raise SystemExit(min(1, failures))


if __name__ == "__main__":
    main()
