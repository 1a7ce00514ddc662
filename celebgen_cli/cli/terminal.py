"""Faces in the terminal: Kitty's, iTerm2's or Sixel graphics where it can, else half blocks in colour."""

import base64
import io
import os
import sys
from typing import Any

from celebgen_cli.errors import UsageError


class Terminal:
    """Draws pictures on stderr, which is where what is no result goes; silent where that is no terminal.

    Raises:
        UsageError: the library that knows the terminals is missing.
    """

    def __init__(self) -> None:
        self.on = sys.stderr.isatty()
        if not self.on:
            return
        try:
            from textual_image import renderable
        except ImportError as error:
            raise UsageError(
                "--show needs a package that knows terminals; run: pip install 'celebgen[show]'"
            ) from error
        # the library asks the terminal through stdout: where that is a pipe, half blocks need no asking
        self._image: Any = renderable.Image if sys.stdout.isatty() else renderable.HalfcellImage
        self._iterm = os.environ.get("TERM_PROGRAM") == "iTerm.app"

    def show(self, pixels: Any, label: str) -> None:
        """Draw uint8 [H, W, 3] with a line below."""
        if not self.on:
            return
        from PIL import Image
        from rich.console import Console
        from rich.text import Text

        console = Console(stderr=True)
        picture = Image.fromarray(pixels)
        if self._iterm:  # its own protocol has all colours; the Sixel that it speaks too has 256
            buffer = io.BytesIO()
            picture.save(buffer, "PNG")
            data = base64.b64encode(buffer.getvalue()).decode()
            sys.stderr.write(f"\x1b]1337;File=inline=1;size={len(buffer.getvalue())}:{data}\a\n")
            sys.stderr.flush()
        else:
            console.print(self._image(picture, width=min(48, console.width), height="auto"))
        console.print(Text(label), style="dim", no_wrap=True, overflow="ellipsis")
