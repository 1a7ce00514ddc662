"""The frame of a page and its small parts. Whoever opens a page needs no other file and no network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""What a browser may load: nothing from elsewhere, and no script at all."""


def document(title: str, summary: str, notice: str, sections: Sequence[tuple[str, str, str]], footer: str) -> str:
    """A whole page.

    Args:
        title, footer: plain text.
        summary, notice: HTML; a notice that is empty is left out.
        sections: (identifier, heading as HTML, content as HTML) of each.
    """
    style = files("celebgen_cli.pages").joinpath("page.css").read_text(encoding="utf-8")
    links = "".join(f'<a href="#{key}">{heading}</a>' for key, heading, _ in sections)
    body = "".join(f'<section id="{key}"><h2>{heading}</h2>{content}</section>' for key, heading, content in sections)
    notice = f'<p class="notice">{notice}</p>' if notice else ""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body><header><h1>{escape(title)}</h1>"
        f"<p>{summary}</p><nav>{links}</nav></header><main>{notice}{body}</main>"
        f"<footer>{escape(footer)}</footer></body></html>\n"
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, text: int = 1, raw: bool = False) -> str:
    """A table that scrolls inside itself where the screen is narrow.

    Args:
        rows: cells as plain text, or with `raw` as HTML.
        text: so many columns, from the first, are words; the others are numbers.
    """
    clean = (lambda cell: cell) if raw else escape

    def line(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{'' if i < text else ' class=num'}>{cell if tag == 'td' else escape(cell)}</{tag}>"
            for i, cell in enumerate(cells)
        )

    body = "".join(f"<tr>{line([clean(cell) for cell in row], 'td')}</tr>" for row in rows)
    whole = f"<table><thead><tr>{line(heads, 'th')}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll" tabindex="0">{whole}</div>'


def face(source: str, *captions: str) -> str:
    """A picture (a data URI) with lines of plain text below."""
    lines = "<br>".join(escape(caption) for caption in captions)
    image = f'<img src="{source}" alt="{escape(captions[0])}" loading="lazy">'
    return f"<figure>{image}<figcaption>{lines}</figcaption></figure>"
