"""A report: a title and sections of lines, laid out for a terminal of any kind."""

import math
import shlex
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Section:
    """Rows of a name and what is said of it; a name may be empty."""

    title: str
    rows: list[tuple[str, str]] = field(default_factory=list)

    def add(self, name: str, value: object) -> None:
        """Add a row; None and empty text are left out."""
        if value is not None and str(value) != "":
            self.rows.append((name, str(value)))


@dataclass
class Report:
    """What is known of one thing."""

    title: str
    sections: list[Section] = field(default_factory=list)

    def section(self, title: str) -> Section:
        """A new section at the end."""
        made = Section(title)
        self.sections.append(made)
        return made

    def text(self, width: int = 100) -> str:
        """The whole as lines of at most `width` columns where words allow it; commands, whose rows are nameless, stay
        whole. Control characters of foreign files are escaped."""
        names = max((len(name) for s in self.sections for name, _ in s.rows), default=0)
        lines = [printable(self.title)]
        for section in self.sections:
            if not section.rows:
                continue
            lines += ["", section.title]
            for name, value in section.rows:
                if not name:
                    lines.append("  " + printable(value))
                    continue
                first = f"  {printable(name):<{names}}  "
                lines += textwrap.wrap(
                    printable(value), max(width, len(first) + 20), initial_indent=first,
                    subsequent_indent=" " * len(first), break_long_words=False, break_on_hyphens=False,
                    drop_whitespace=True,
                )  # fmt: skip
        return "\n".join(lines)


def printable(line: str) -> str:
    """The line without anything that moves a terminal's cursor."""
    return "".join(c if c.isprintable() or "\ud800" <= c <= "\udfff" else repr(c)[1:-1] for c in line)


def command(*words: object) -> str:
    """A command that can be pasted into a POSIX shell."""
    return shlex.join(str(word) for word in words)


def size(count: int) -> str:
    """Bytes for people: 1.5 MiB."""
    unit = min(4, int(math.log2(count) // 10)) if count > 0 else 0
    return f"{count} B" if unit == 0 else f"{count / 2 ** (10 * unit):.1f} {('KiB', 'MiB', 'GiB', 'TiB')[unit - 1]}"


def number(value: float) -> str:
    """Four significant digits, without an exponent where that is short."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def settings(values: Mapping[str, Any], leave_out: Iterable[str] = ()) -> str:
    """`name value, name value`, of plain values alone."""
    left = set(leave_out)
    kept = {k: v for k, v in values.items() if k not in left and v is not None and not _nested(v)}
    return ", ".join(f"{k.replace('_', ' ')} {_plain(v)}" for k, v in kept.items())


def _nested(value: Any) -> bool:
    """Whether a value has a line of its own, or many."""
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(part, dict) for part in value))


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return (" to " if any(isinstance(v, float) for v in value) else "/").join(map(_plain, value))
    return number(value) if isinstance(value, float) else str(value)


def mapping(value: Any) -> Mapping[str, Any]:
    """What a file should have as an object; an empty one where it has something else."""
    return value if isinstance(value, dict) else {}


def whole(value: Any) -> int:
    """What a file should have as a whole number; 0 where it has something else."""
    return value if type(value) is int else 0


def bytes_below(folder: Path) -> int:
    """What the files in a folder take, at any depth; those that go away meanwhile count nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue
    return total
