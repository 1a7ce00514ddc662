"""`celebgen explore`: what a prepared dataset holds, as a page, a table and JSON."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from celebgen_cli.cli import common
from celebgen_cli.cli.results import print_json, print_path
from celebgen_cli.errors import counted

if TYPE_CHECKING:
    from celebgen_cli.exploration.explore import Exploration


def explore(
    datasets: Annotated[
        list[Path], typer.Argument(metavar="DATASET...", help="Prepared datasets; several are explored together.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="The page; default: report.html, and none with --json."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object with all figures on stdout.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the page if it is there already.")] = False,
    quiet: common.Quiet = False,
) -> None:
    """Attributes, pixels, mean faces, landmarks, captions, people and duplicates of a dataset on one HTML page.

    Every image counts, and duplicates are searched within and across all splits, mirrored ones too. Prints the page's
    path; the page needs nothing else and shows faces of the data.

    Example: celebgen explore data/celeba -o report.html
    """
    import contextlib

    from celebgen_cli.errors import UsageError
    from celebgen_cli.exploration import explore as work
    from celebgen_cli.exploration.page import render
    from celebgen_cli.exploration.parts import open_parts
    from celebgen_cli.files import atomic_path

    if output is not None and output.suffix.lower() not in (".html", ".htm") and not output.is_dir():
        raise UsageError(f"-o {output} must end in .html")
    page = output if output is not None else None if as_json else Path("report.html")
    if page is not None and page.is_dir():
        raise UsageError(f"{page} is a folder; name the page to write, as -o {page / 'report.html'}")
    parts = open_parts(datasets)  # a dataset that is none is said before a page that is in its way
    if page is not None and page.exists() and not force:
        raise UsageError(f"{page} is there already; choose another name with -o, or replace it with --force")
    # opened first, so that a place that cannot be written is met before the work, not after it
    with atomic_path(page) if page is not None else contextlib.nullcontext() as temporary:
        with common.progress("explore", quiet=quiet) as update:
            found = work.explore(parts, lambda what, done, total: update(done, total, what))
        if temporary is not None:
            temporary.write_bytes(render(found).encode("utf-8", errors="replace"))  # names of files may be no text
    if not quiet:
        _summarise(found)
    if as_json:
        print_json({**found.figures, "page": None if page is None else str(page)})
    else:
        assert page is not None
        print_path(page)


def _summarise(found: "Exploration") -> None:
    """A table a subject, on stderr."""
    figures = found.figures
    labels = list(figures["splits"])
    several = len(labels) > 1
    size = figures["size"]
    title = f"{counted(figures['images'], 'image')} of {size}x{size}, crop {figures['crop']}"
    rows = [
        [label, f"{split['images']:,}", _people(split["people"]), *_channels(split["pixels"])]
        for label, split in figures["splits"].items()
    ]
    if several:
        rows.append(["all", f"{figures['images']:,}", _people(figures["people"]), *_channels(figures["pixels"])])
    _table(title, ["split", "images", "people", *(f"{c}: mean std skew kurt" for c in figures["pixels"])], rows)
    if figures["attributes"] is not None:
        entries = sorted(figures["attributes"].items(), key=lambda item: -(item[1]["share"] or 0.0))
        _table(
            "Attributes",
            ["attribute", "share", "images", *(labels if several else [])],
            [
                [name, _percent(entry["share"]), f"{entry['present']:,}"]
                + ([_percent(entry["splits"][label]) for label in labels] if several else [])
                for name, entry in entries
            ],
        )
        for word, pairs in (("more", figures["surprises"]["above"]), ("less", figures["surprises"]["below"])):
            _table(
                f"Pairs met {word} often than by chance: {len(pairs)}",
                ["pair", "lift", "images", "by chance", "phi"],
                [
                    [f"{pair['first']} + {pair['second']}", f"{pair['lift']:.2f}", f"{pair['both']:,}",
                     f"{pair['expected']:,.0f}", f"{pair['phi']:+.2f}"]
                    for pair in pairs[:8]
                ],
            )  # fmt: skip
    kinds = ("identical", "near", "mirrored")
    _table(
        "Duplicates",
        ["pairs within or across", *kinds],
        [
            [" and ".join(dict.fromkeys(pair["splits"])), *(f"{pair[kind]:,}" for kind in kinds)]
            for pair in figures["duplicates"]["pairs"]
        ]
        or [["none found", "0", "0", "0"]],
    )
    if figures["people"] is not None and several:
        common.say(f"People in more than one split: {figures['people']['in_several_splits']:,}.")
    if figures["captions"] is not None:
        captions = figures["captions"]
        words = captions["words_per_caption"]
        common.say(
            f"{counted(captions['captions'], 'caption')} ({captions['source']}), {words['mean']:.1f} words each on "
            f"average, {counted(captions['vocabulary'], 'different word')}."
        )
    if not figures["duplicates"]["complete"]:
        common.say("There were too many similar pairs to look at all of them: the duplicates are a part.")


def _table(title: str, heads: list[str], rows: list[list[str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left")
    # Text: a bracket in a folder's name is no markup
    for i, head in enumerate(heads):
        justify: Literal["left", "right"] = "left" if i == 0 else "right"
        # fold: on a narrow terminal the end of a label, which tells train from valid, stays
        table.add_column(Text(_foldable(head)), justify=justify, overflow="fold", no_wrap=head == "attribute")
    for row in rows:
        table.add_row(Text(_foldable(row[0])), *map(Text, row[1:]))
    common.stderr().print(table)


def _foldable(label: str) -> str:
    """A split's label with a place to break the line at, before the split's name."""
    return re.sub(r":(?=\S)", ": ", label)


def _people(entry: dict[str, Any] | None) -> str:
    return "-" if entry is None else f"{entry['people']:,}"


def _channels(pixels: dict[str, dict[str, float | None]]) -> list[str]:
    """mean, std, skewness and kurtosis of each channel, one cell a channel."""
    return [" ".join("-" if x is None else f"{x:.2f}" for x in channel.values()) for channel in pixels.values()]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
