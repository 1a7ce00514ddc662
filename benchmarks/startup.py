"""Wall time and peak memory of the command as a user meets it: help, completion, one face from a cold start.

    python benchmarks/startup.py [--runs 5]

Each row is a whole process, timed from outside: the first run warms the file cache and is not counted.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

COMMAND = [sys.executable, "-m", "celebgen_cli"]


def measure(arguments: list[str]) -> tuple[float, float]:
    """Seconds and peak MiB of one run of a command."""
    began = time.perf_counter()
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if hasattr(os, "wait4"):
        _, status, usage = os.wait4(process.pid, 0)
        peak = usage.ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
        code = os.waitstatus_to_exitcode(status)
    else:  # Windows has no wait4
        code, peak = process.wait(), float("nan")
    if code != 0:
        sys.exit(f"{' '.join(arguments)} exited with {code}")
    return time.perf_counter() - began, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        sample = [*COMMAND, "sample", "smiling woman blond hair"]
        rows = {
            "import torch": [sys.executable, "-c", "import torch"],
            "celebgen --help": [*COMMAND, "--help"],
            "celebgen sample PROMPT": sample,
            "celebgen sample PROMPT -n 16": [*sample, "-n", "16"],
        }
        print(f"{'command':32} {'median s':>9} {'min':>7} {'max':>7} {'peak MiB':>9}")
        for name, arguments in rows.items():
            fresh = (["-o", os.path.join(folder, f"{name} {run}")] for run in range(runs + 1))  # nothing is drawn twice
            commands = [arguments + (next(fresh) if "sample" in arguments else []) for _ in range(runs + 1)]
            measure(commands[0])
            seconds, peaks = zip(*(measure(command) for command in commands[1:]), strict=True)
            print(
                f"{name:32} {statistics.median(seconds):9.2f} {min(seconds):7.2f} {max(seconds):7.2f} {max(peaks):9.0f}"
            )


if __name__ == "__main__":
    main()
