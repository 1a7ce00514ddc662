"""RUN/metrics.jsonl: one line of figures a logged step."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from celebgen_cli.errors import CelebgenError
from celebgen_cli.files import atomic_write_bytes


class Metrics:
    """The file of figures; every line is whole or dropped by `cut`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, step: int, figures: Mapping[str, float]) -> None:
        """Append a line.

        Raises:
            CelebgenError: the disk is full.
        """
        line = json.dumps({"step": step, **{name: float(f"{value:.6g}") for name, value in figures.items()}})
        with self._writing(), self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def sync(self) -> None:
        """Flush what was added to the disk: a checkpoint that is there must not be ahead of its figures."""
        if self.path.exists():
            with self._writing(), self.path.open("rb+") as file:
                os.fsync(file.fileno())

    def cut(self, step: int) -> None:
        """Drop lines of steps that will be done again, and one that a kill cut off."""
        if not self.path.exists():
            return
        before = self.path.read_bytes()
        lines = before.decode("utf-8", errors="replace").splitlines()
        kept = [line for line in lines if _step_of(line) is not None and (_step_of(line) or 0) <= step]
        after = "".join(line + "\n" for line in kept).encode("utf-8")
        if after != before:
            atomic_write_bytes(self.path, after)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CelebgenError(
                f"cannot write {self.path} ({error.strerror}); free some space, then give the same command again: it "
                "goes on from the newest checkpoint, which is intact"
            ) from error


def _step_of(line: str) -> int | None:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return None
