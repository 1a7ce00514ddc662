"""Many faces in one file: a labelled grid, an animation of the denoising, a contact sheet for the browser.

Each carries a mark that says which faces it shows, so that the same call may write it again and another may not.
"""

import base64
import contextlib
import html
import io
import math
from pathlib import Path
from typing import Any, BinaryIO

from celebgen_cli.errors import UsageError
from celebgen_cli.files import MARK, atomic_path, atomic_write_bytes
from celebgen_cli.sampling.batches import Drawn
from celebgen_cli.sampling.jobs import Digest, parameters_of
from celebgen_cli.sampling.settings import check_path

_FRAME, _LAST = 120, 1800  # milliseconds of a frame of the animation, and of its last one


def columns_for(seeds: int, faces: int) -> int | None:
    """How many of `faces` stand side by side where each prompt has this many seeds.

    All of a prompt up to eight; of more, as many as fill whole rows of a sheet that is about square, so that each
    prompt begins a row; None, a square over all faces, where each prompt has one.
    """
    if seeds <= 8:
        return seeds if seeds > 1 else None
    side = math.ceil(math.sqrt(max(faces, seeds)))
    return next((n for n in range(side, 3 * side // 2 + 1) if seeds % n == 0), min(side, seeds))


class Sheet:
    """One file that shows all faces of a call. `add` them as they come, then `close`."""

    option = ""
    suffixes: tuple[str, ...] = ()
    needs_frames = False

    def __init__(self, path: str, seeds: int = 1, force: bool = False) -> None:
        check_path(path, self.option)
        self.path, self.seeds, self.force = Path(path), seeds, force
        if self.path.suffix.lower() not in self.suffixes:
            raise UsageError(f"{self.option} {path} must end in {' or '.join(self.suffixes)}")
        self.count = 0
        self._digest = Digest()

    def check(self, digest: str | None) -> None:
        """Refuse before anything is drawn where the file is there and shows other faces than those of `digest`.

        None: which faces there will be is not known yet; then only what is no such sheet is refused.

        Raises:
            UsageError: with what to do.
        """
        if self.force or not self.path.exists():
            return
        if self.path.is_dir():
            raise UsageError(f"{self.path} is a folder; give {self.option} the name of a file")
        if (MARK + (digest or "")).encode() not in self.path.read_bytes():
            raise UsageError(f"{self.path} exists and shows something else; add --force to overwrite it")

    def add(self, drawn: Drawn) -> None:
        """Take a face in."""
        self.count += 1
        self._digest.add(drawn.metadata)

    def close(self) -> None:
        """Write the file.

        Raises:
            CelebgenError: it cannot be written. UsageError: it shows other faces and may not be overwritten.
        """
        self.check(self._digest.hex)

    @property
    def mark(self) -> str:
        return MARK + self._digest.hex

    def abandon(self) -> None:
        """Leave nothing behind."""


class Grid(Sheet):
    """All faces as one labelled PNG."""

    option, suffixes = "--grid", (".png",)

    def __init__(self, path: str, seeds: int = 1, force: bool = False) -> None:
        super().__init__(path, seeds, force)
        self._faces: list[Any] = []
        self._labels: list[str] = []

    def add(self, drawn: Drawn) -> None:
        super().add(drawn)
        self._faces.append(drawn.pixels)
        self._labels.append(f"{drawn.job.prompt} #{drawn.job.seed}")

    def close(self) -> None:
        import numpy as np

        from celebgen_cli.images import encode_png, grid

        super().close()
        sheet = grid(np.stack(self._faces), columns_for(self.seeds, self.count), self._labels)
        atomic_write_bytes(self.path, encode_png(sheet, None, {"grid": True, "faces": self.count, "mark": self.mark}))


class Animation(Sheet):
    """The denoising as a GIF, from the decoded mean of the prior to the face; several faces side by side."""

    option, suffixes, needs_frames = "--gif", (".gif",), True

    def __init__(self, path: str, seeds: int = 1, force: bool = False) -> None:
        super().__init__(path, seeds, force)
        self._ways: list[list[Any]] = []

    def add(self, drawn: Drawn) -> None:
        super().add(drawn)
        self._ways.append(drawn.frames)

    def close(self) -> None:
        import numpy as np
        from PIL import Image

        from celebgen_cli.images import grid

        super().close()
        length = max(map(len, self._ways))
        columns = columns_for(self.seeds, self.count) or math.ceil(math.sqrt(self.count))
        first, *rest = [
            Image.fromarray(grid(np.stack([way[min(step, len(way) - 1)] for way in self._ways]), columns))
            for step in range(length)
        ]
        buffer = io.BytesIO()
        first.save(
            buffer, "GIF", save_all=True, append_images=rest, loop=0, comment=self.mark.encode(),
            duration=[_FRAME] * (length - 1) + [_LAST],
        )  # fmt: skip
        atomic_write_bytes(self.path, buffer.getvalue())


_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Faces by celebgen</title>
<style>
:root { color-scheme: light dark; font: 14px/1.4 system-ui, sans-serif }
body { margin: 1rem; background: Canvas; color: CanvasText }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: 1rem }
figure { margin: 0 } img { width: 100%; height: auto; border-radius: 4px }
figcaption { overflow-wrap: anywhere } small { opacity: .7 } pre { white-space: pre-wrap; font-size: 11px }
</style></head><body><main>
"""


class Page(Sheet):
    """A contact sheet in one HTML file with the pictures inside; written as the faces come."""

    option, suffixes = "--html", (".html", ".htm")

    def __init__(self, path: str, seeds: int = 1, force: bool = False) -> None:
        super().__init__(path, seeds, force)
        self._stack = contextlib.ExitStack()
        self._file: BinaryIO | None = None

    def add(self, drawn: Drawn) -> None:
        super().add(drawn)
        if self._file is None:
            temporary = self._stack.enter_context(atomic_path(self.path))
            self._file = self._stack.enter_context(temporary.open("wb"))
            self._file.write(_HEAD.encode())
        data = drawn.data if drawn.path is None or drawn.data is not None else drawn.path.read_bytes()
        assert data is not None
        kind = {b"\x89P": "png", b"RI": "webp"}.get(data[:2], "jpeg")
        size, prompt = drawn.metadata["size"], html.escape(drawn.job.prompt)
        self._file.write(
            f'<figure><img width="{size}" height="{size}" loading="lazy" alt="{prompt}" '
            f'src="data:image/{kind};base64,{base64.b64encode(data).decode()}">'
            f'<figcaption dir="auto">{prompt} <small>#{drawn.job.seed}</small><details><summary>settings</summary>'
            f"<pre>{html.escape(parameters_of(drawn.metadata))}</pre></details></figcaption></figure>\n".encode()
        )

    def close(self) -> None:
        try:
            super().close()
        except BaseException as error:
            self._stack.__exit__(type(error), error, error.__traceback__)
            raise
        if self._file is not None:
            self._file.write(f"</main><!-- {self.mark} --></body></html>\n".encode())
        self._stack.close()

    def abandon(self) -> None:
        self._stack.__exit__(
            KeyboardInterrupt, KeyboardInterrupt(), None
        )  # as an error, so the file is not put in place
