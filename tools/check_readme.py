"""Keep the documents in step with the program: `python tools/check_readme.py` compares, `--write` rewrites.

Between `<!-- help:start -->` and `<!-- help:end -->` of README.md stands what `--help` says of each command. It is laid
out here, from the commands' own declarations, because the boxes that Typer draws change from release to release.

Between `<!-- figures:start -->` and `<!-- figures:end -->` of README.md and of the model card stands a table of
"measured" in celebgen_cli/pretrained/model.json:

    "measured": {"FID": {"value": 31.4, "conditions": "valid, N 4,535, ...", "command": "celebgen evaluate fid"}, ...}

As long as model.json or "measured" is missing, those tables are not compared.
"""

import argparse
import inspect
import json
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

README = ROOT / "README.md"
CARD = ROOT / "celebgen_cli" / "pretrained" / "README.md"
MODEL = ROOT / "celebgen_cli" / "pretrained" / "model.json"
WIDTH = 100
COLUMN = 30  # where the words about an option begin
COMPLETION = ("install_completion", "show_completion")  # Typer's own; their words are not ours


def help_blocks() -> str:
    """Every command with its arguments and options, as Markdown."""
    from typer.main import get_command

    from celebgen_cli.cli import app

    commands = walk("celebgen", get_command(app))
    return "\n".join(
        f"<details><summary><code>{name}</code></summary>\n\n```\n{describe(name, command)}\n```\n\n</details>\n"
        for name, command in commands
    )


def walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """The command and those below it, in the order in which they were registered."""
    yield name, command
    for child, inner in getattr(command, "commands", {}).items():
        yield from walk(f"{name} {child}", inner)


def describe(name: str, command: Any) -> str:
    """One command as plain text."""
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name not in (*COMPLETION, "help")]
    types = get_type_hints(inspect.unwrap(command.callback)) if command.callback else {}
    children = getattr(command, "commands", {})
    usage = [name, "[OPTIONS]" if options else "", *map(_argument, arguments), "COMMAND ..." if children else ""]
    parts = [" ".join(word for word in usage if word), _paragraphs(command.help or "")]
    if arguments:
        parts.append("\n".join(_row(_argument(p), p.help or "") for p in arguments))
    if options:
        parts.append("\n".join(_row(_option(p, types.get(p.name)), _words(p)) for p in options))
    if children:
        parts.append("\n".join(_row(child, _first_sentence(inner.help or "")) for child, inner in children.items()))
    return "\n\n".join(part for part in parts if part)


def _paragraphs(text: str) -> str:
    blocks = re.split(r"\n\s*\n", textwrap.dedent(text).strip())
    return "\n\n".join(textwrap.fill(" ".join(block.split()), WIDTH, break_on_hyphens=False) for block in blocks)


def _first_sentence(text: str) -> str:
    return " ".join(re.split(r"\n\s*\n", text.strip())[0].split())


def _row(left: str, right: str) -> str:
    lines = textwrap.wrap(right, WIDTH - COLUMN, break_on_hyphens=False) or [""]
    head = f"  {left}"
    first = [f"{head:<{COLUMN}}{lines[0]}"] if len(head) < COLUMN - 1 else [head, " " * COLUMN + lines[0]]
    return "\n".join(line.rstrip() for line in [*first, *(" " * COLUMN + line for line in lines[1:])])


def _argument(parameter: Any) -> str:
    word = (parameter.metavar or parameter.name.upper()).strip("[]").removesuffix("...")
    word += "..." if parameter.nargs == -1 else ""
    return word if parameter.required else f"[{word}]"


def _option(parameter: Any, kind: Any) -> str:
    names = sorted(parameter.opts, key=len)
    left = ", ".join(names) + "".join(f" / {name}" for name in parameter.secondary_opts)
    return left if parameter.is_flag else f"{left} {_value(parameter, kind)}"


def _value(parameter: Any, kind: Any) -> str:
    """What stands for an option's value, from its annotation: Typer's own names for types differ between releases."""
    if parameter.metavar:
        return str(parameter.metavar)
    kinds = {kind, *get_args(kind)}
    return next((word for one, word in ((int, "N"), (float, "X"), (Path, "PATH")) if one in kinds), "TEXT")


def _words(parameter: Any) -> str:
    text, default = " ".join((parameter.help or "").split()), parameter.default
    if parameter.required:
        return f"{text} [required]"
    if isinstance(default, str | int | float | Path) and not parameter.is_flag and str(default):
        return f"{text} [default: {default}]"
    return text


def figures_table() -> str | None:
    """The table of measured figures, or None where there are none yet."""
    if not MODEL.is_file():
        return None
    measured = json.loads(MODEL.read_text(encoding="utf-8")).get("measured")
    if not measured:
        return None
    lines = ["| figure | value | measured on | command |", "|---|---|---|---|"]
    for name, entry in measured.items():
        cells = (name, entry["value"], entry.get("conditions", ""), f"`{entry['command']}`")
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def replaced(text: str, marker: str, content: str) -> str:
    """`text` with what stands between the markers replaced.

    Raises:
        SystemExit: the markers are not there exactly once.
    """
    start, end = f"<!-- {marker}:start -->\n", f"<!-- {marker}:end -->"
    if text.count(start) != 1 or text.count(end) != 1:
        raise SystemExit(f"the markers {start.strip()} and {end} must stand in the document once, each on its own line")
    head, _, rest = text.partition(start)
    return head + start + content + end + rest.partition(end)[2]


def say(sentence: str) -> None:
    """One line to stderr."""
    print(sentence, file=sys.stderr)


def main() -> int:
    """Compare or rewrite; 1 where something differs."""
    parser = argparse.ArgumentParser(description="Compare the documents with the program.")
    parser.add_argument("--write", action="store_true", help="bring the documents up to date")
    write = parser.parse_args().write
    figures, differs = figures_table(), False
    if figures is None:
        say("model.json has no measured figures: the tables of figures are not compared")
    for path in (README, CARD):
        text = path.read_text(encoding="utf-8")
        new = replaced(text, "help", help_blocks()) if path == README else text
        new = new if figures is None else replaced(new, "figures", figures)
        if new != text and write:
            path.write_text(new, encoding="utf-8", newline="\n")
            print(path)
        elif new != text:
            differs = True
            say(f"{path.relative_to(ROOT)} is not in step; run: python tools/check_readme.py --write")
        if figures is not None and "TODO" in new:
            differs = True
            say(f"{path.relative_to(ROOT)} still has a TODO")
    return int(differs)


if __name__ == "__main__":
    sys.exit(main())
