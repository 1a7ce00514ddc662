"""Faces in the terminal: Kitty's, iTerm2's or Sixel graphics where it can, else half blocks in colour."""

import base64
import io
import logging
import os
import sys
from typing import Any

WIDTH = 48  # columns of a face, at most


class Terminal:
    """Draws pictures on stderr, which is where what is no result goes; silent where that is no terminal.

    textual-image (the extra `show`) asks the terminal what it can do, on stdin and stdout. Where one of these is a
    pipe, or the package is missing or fails, half blocks need no answer.
    """

    def __init__(self) -> None:
        self.on = sys.stderr.isatty()
        self._iterm = os.environ.get("TERM_PROGRAM") == "iTerm.app"
        self._image: Any = None
        if self.on and not self._iterm and sys.stdin.isatty() and sys.stdout.isatty():
            try:
                logging.getLogger("textual_image").setLevel(
                    logging.CRITICAL
                )  # it logs tracebacks of questions unanswered
                from textual_image import renderable

                if renderable.Image in (renderable.TGPImage, renderable.SixelImage):
                    self._image = renderable.Image
            except Exception:  # not installed, or a terminal that answers in its own way: there are half blocks
                self._image = None

    def show(self, pixels: Any, label: str) -> None:
        """Draw uint8 [H, W, 3] with a line below."""
        if not self.on:
            return
        from PIL import Image
        from rich.console import Console
        from rich.text import Text

        console = Console(stderr=True)
        picture = Image.fromarray(pixels)
        width = max(1, min(WIDTH, console.width))
        if self._iterm:  # its own protocol has all colours; the Sixel that it speaks too has 256
            buffer = io.BytesIO()
            picture.save(buffer, "PNG")
            data = base64.b64encode(buffer.getvalue()).decode()
            sys.stderr.write(f"\x1b]1337;File=inline=1;size={len(buffer.getvalue())}:{data}\a\n")
            sys.stderr.flush()
        else:
            try:
                console.print(
                    half_blocks(picture, width) if self._image is None else self._image(picture, width, "auto")
                )
            except Exception:
                if self._image is None:
                    raise
                self._image = None
                console.print(half_blocks(picture, width))
        console.print(Text(label), style="dim", no_wrap=True, overflow="ellipsis")


def half_blocks(picture: Any, width: int) -> Any:
    """A PIL image as a Rich text of `width` columns; a character holds two pixels, one above the other."""
    from rich.style import Style
    from rich.text import Text

    rows = max(1, round(width * picture.height / picture.width / 2))
    small = picture.resize((width, 2 * rows))
    text = Text(no_wrap=True)
    for row in range(rows):
        text.append("\n" if row else "")
        for column in range(width):
            above, below = (small.getpixel((column, 2 * row + half)) for half in (0, 1))
            text.append("▀", Style(color="rgb({},{},{})".format(*above), bgcolor="rgb({},{},{})".format(*below)))
    return text
