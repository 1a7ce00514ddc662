"""Prompts from arguments, files and stdin: text, JSONL or CSV, one entry at a time, so any number fits in memory."""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.sampling.settings import check_path, check_prompt, read_seeds, read_settings
from celebgen_cli.sampling.templates import shortened

FORMATS = ("text", "jsonl", "csv")
LONGEST_LINE = 1 << 20  # bytes


@dataclass(frozen=True)
class Entry:
    """One prompt, perhaps a template, with what its own line says of it.

    Attributes:
        where: `prompts.txt line 3`; empty for an argument. seeds: None where the line names none. settings: as
        `read_settings` gives them.
    """

    prompt: str
    where: str = ""
    seeds: Any = None
    settings: dict[str, Any] = field(default_factory=dict)


def located(error: CelebgenError, where: str) -> CelebgenError:
    """The same error, its sentence beginning with the place that it is about."""
    return type(error)(f"{where}: {error}") if where else error


def from_arguments(arguments: Iterable[str]) -> list[Entry]:
    """Prompts of the command line."""
    return [Entry(check_prompt(text)) for text in arguments]


def format_of(path: str, asked: str | None) -> str:
    """The form of a file of prompts: as asked for, else by its name.

    Raises:
        UsageError: there is no such form.
    """
    if asked is None:
        return {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}.get(Path(path).suffix.lower(), "text")
    if asked not in FORMATS:
        raise UsageError(f"--prompts-format is one of {', '.join(FORMATS)}, not {shortened(asked)}")
    return asked


def from_file(path: str, form: str) -> Iterator[Entry]:
    """Prompts of a file.

    Raises:
        CelebgenError: it cannot be read. UsageError: an entry means nothing, or there is none.
    """
    check_path(path, "--prompts")
    try:
        file = open(path, "rb")  # noqa: SIM115  (opened apart, so that only opening is forgiven)
    except OSError as error:
        raise CelebgenError(f"cannot read {path} ({error.strerror}); give a file of prompts with --prompts") from error
    with file:
        empty = True
        for entry in from_stream(file, form, path):
            empty = False
            yield entry
    if empty:
        raise UsageError(f"there is no prompt in {path}; write one a line")


def from_stream(stream: BinaryIO, form: str, name: str) -> Iterator[Entry]:
    """Prompts of an open stream of UTF-8 bytes called `name`, as they come.

    Raises:
        UsageError: with the line, where an entry means nothing.
    """
    lines = numbered_lines(stream, name)
    return {"text": _text, "jsonl": _jsonl, "csv": _csv}[form](lines, name)


def numbered_lines(stream: BinaryIO, name: str) -> Iterator[tuple[int, str]]:
    """(number from 1, line without its end) of a stream; a byte order mark is passed over."""
    offset, number = 0, 0
    while raw := stream.readline(LONGEST_LINE + 1):
        number += 1
        if len(raw) > LONGEST_LINE:
            raise UsageError(f"{name} line {number}: longer than {LONGEST_LINE} bytes; give one prompt a line")
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(
                f"{name} is not UTF-8 text at byte {offset + error.start}; give one prompt a line"
            ) from error
        offset += len(raw)
        yield number, line.removeprefix("\ufeff" if number == 1 else "").rstrip("\r\n")


def _text(lines: Iterator[tuple[int, str]], name: str) -> Iterator[Entry]:
    for number, line in lines:
        if not line.strip():
            continue
        where = f"{name} line {number}"
        if line.lstrip().startswith('{"'):
            raise UsageError(f"{where}: looks like JSON; read it with --prompts-format jsonl")
        try:
            yield Entry(check_prompt(line), where)
        except UsageError as error:
            raise located(error, where) from error


def _jsonl(lines: Iterator[tuple[int, str]], name: str) -> Iterator[Entry]:
    for number, line in lines:
        if not line.strip():
            continue
        where = f"{name} line {number}"
        try:
            yield entry_of(parse_object(line, text_too=True), where)
        except UsageError as error:
            raise located(error, where) from error


def _csv(lines: Iterator[tuple[int, str]], name: str) -> Iterator[Entry]:
    import csv

    reader = csv.DictReader((line + "\n" for _, line in lines), skipinitialspace=True, strict=True)
    try:
        columns = [column.strip().lower() for column in reader.fieldnames or []]
        reader.fieldnames = columns
        if columns and "prompt" not in columns:
            raise UsageError(f"{name}: its first line must name the columns, one of them prompt")
        if twice := sorted({column for column in columns if columns.count(column) > 1}):
            raise UsageError(f"{name}: its first line names {', '.join(map(shortened, twice))} twice; keep one column")
        for row in reader:
            where = f"{name} line {reader.line_num}"
            try:
                if None in row:
                    raise UsageError("more fields than columns; put a prompt with commas in double quotes")
                yield entry_of({key: value for key, value in row.items() if value}, where)
            except UsageError as error:
                raise located(error, where) from error
    except csv.Error as error:
        raise UsageError(f"{name} line {reader.reader.line_num}: no CSV ({error})") from error


def parse_object(line: str, text_too: bool = False) -> dict[str, Any]:
    """One line of JSON as an object; with `text_too` a bare string stands for its prompt.

    Raises:
        UsageError: it is something else.
    """
    try:
        value = json.loads(line, parse_constant=_finite, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise UsageError(f"no JSON at character {error.pos + 1} ({error.msg})") from error
    except (ValueError, RecursionError) as error:
        raise UsageError("no JSON that can be read: too long a number or too deeply nested") from error
    if text_too and isinstance(value, str):
        value = {"prompt": value}
    if not isinstance(value, dict):
        raise UsageError('no JSON object; write {"prompt": "..."}')
    return value


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise UsageError(f"{shortened(number)} is no number that JSON has")
    return value


def entry_of(given: dict[str, Any], where: str = "") -> Entry:
    """An entry from the keys of a JSON object or CSV row.

    Raises:
        UsageError: there is no prompt, or a key or value means nothing.
    """
    if "prompt" not in given:
        raise UsageError('there is no "prompt"; say what the face shows')
    rest = {key: value for key, value in given.items() if key not in ("prompt", "seed", "seeds", "num")}
    return Entry(check_prompt(given["prompt"]), where, read_seeds(given), read_settings(rest))
