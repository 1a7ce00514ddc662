"""One reader for all five files: an image name and whole numbers a row, spaces or commas between them.

Well-formed files are read by array operations over their bytes. Whatever these do not know for certain is left to a
reader that goes line by line and says what is wrong and where; both give the same numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from celebgen_cli.data.annotations.files import fail, image_number, read_bytes
from celebgen_cli.errors import CelebgenError

BLOCK = 4 * 2**20  # bytes that the fast reader works on at a time
_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n|\Z)")
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}(?:\.0*)?")  # spreadsheets and pandas write 1 as 1.0
_FIELD, _SEPARATOR, _END, _UNUSUAL = range(4)


@dataclass(frozen=True)
class Layout:
    """What a kind of file holds after the image name.

    Attributes:
        columns: names in the official order; the header may have them in another, and a single column may have any.
        header: whether a header line has to be there.
        lowest, highest: range of the values.
        choices: the only values that are allowed, where these are not the whole range.
        called: how a sentence calls the columns.
    """

    columns: tuple[str, ...]
    header: bool
    lowest: int
    highest: int
    choices: tuple[int, ...] = ()
    called: str = ""


def read_rows(path: Path, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Read a table: ids int64 [N], ascending, and values int64 or int32 [N, columns], columns in the official order.

    A count line, a header and gzip are recognised; blank lines, CRLF and a byte order mark are passed over.

    Raises:
        CelebgenError: unreadable, unknown or missing columns, a row of another length, a value that is not allowed, a
            name without a number, an image named twice, fewer or more rows than the count line says. The sentence
            names the file and, where there is one, the line.
    """
    data = read_bytes(path)
    start, offset, count = 0, 0, None
    first, after = _line(data, 0)
    if first.strip().isascii() and first.strip().isdigit():
        start, offset, count = 1, after, int(first)
    head, after = _line(data, offset)
    comma = "," in head
    order = _header(path, layout, head, comma, start + 1)
    if order is not None:
        start, offset = start + 1, after
    table = _read_fast(data[offset:], comma, layout)
    if table is None:
        table = _read_strictly(path, layout, data.decode("utf-8"), start, comma)
    ids, values = table
    if count is not None and count != len(ids):
        fail(path, 1, f"the count says {count} rows and the file has {len(ids)}; it is cut off or was edited")
    if len(ids) == 0:
        raise CelebgenError(f"{path} has no rows; get the file again")
    if order is not None and order != list(range(len(order))):
        values = values[:, order]
    if (ids[1:] <= ids[:-1]).any():
        rows = np.argsort(ids, kind="stable")
        ids, values = ids[rows], values[rows]
        repeated = np.flatnonzero(ids[1:] == ids[:-1])
        if len(repeated):
            raise CelebgenError(f"{path} names image {ids[repeated[0]]:06d} twice; get the file again")
    return ids, values


def split_fields(line: str, comma: bool) -> list[str]:
    """The fields of a line: between commas, or between any number of spaces or tabs."""
    return [field.strip() for field in line.split(",")] if comma else line.split()


def column_order(names: list[str], columns: tuple[str, ...]) -> list[int] | None:
    """Where each of `columns` is among a header's `names`, of which CSV's first may be the image's; None if not all."""
    if len(names) == len(columns) + 1:
        names = names[1:]
    return [names.index(column) for column in columns] if sorted(names) == sorted(columns) else None


def _line(data: bytes, offset: int) -> tuple[str, int]:
    """The line that begins at `offset`, without its end, and where the next one begins."""
    match = _LINE.match(data, offset)
    assert match is not None
    lines = match.group().decode("utf-8").splitlines()
    return (lines[0] if lines else ""), match.end()


def _header(path: Path, layout: Layout, line: str, comma: bool, number: int) -> list[int] | None:
    """Where each official column is among the file's, or None where the line is no header but the first row."""
    names = split_fields(line, comma)
    if not names and layout.header:
        raise CelebgenError(f"{path} has no header line with the names of {layout.called}; get the file again")
    told = not names or (image_number(names[0]) is not None and names[0] not in layout.columns)
    if not layout.header and (told or (len(names) > 1 and _WHOLE.fullmatch(names[-1]))):
        return None
    if len(layout.columns) == 1 and len(names) == 2:
        return [0]
    order = column_order(names, layout.columns)
    if order is None:
        columns = set(layout.columns)
        given = set(names if len(names) <= len(columns) else names[1:]) - {"image_id"}
        unknown = sorted(given - columns) or sorted(columns - given) or names
        fail(path, number, f"the header is not {layout.called} (see {unknown[0]!r})")
    return order


# ------------------------------------------------------------------------------------------------ line by line


def _read_strictly(path: Path, layout: Layout, text: str, start: int, comma: bool) -> tuple[np.ndarray, np.ndarray]:
    ids: list[int] = []
    table: list[list[int]] = []
    width = len(layout.columns)
    for number, line in enumerate(text.splitlines()[start:], start + 1):
        if not line.strip():
            continue
        name, *fields = split_fields(line, comma)
        if len(fields) != width:
            fail(path, number, f"a row has {len(fields) + 1} columns, not {width + 1}")
        image = image_number(name)
        if image is None:
            fail(path, number, f"the image name {name[:40]!r} is not a number with a file ending")
        ids.append(image)
        table.append([_value(path, layout, number, field) for field in fields])
    return np.array(ids, dtype=np.int64), np.array(table, dtype=np.int64).reshape(-1, width)


def _value(path: Path, layout: Layout, line: int, field: str) -> int:
    value = int(field.partition(".")[0]) if _WHOLE.fullmatch(field) else None
    if layout.choices and value not in layout.choices:
        allowed = " nor ".join(map(str, layout.choices))
        fail(path, line, f"the value {field[:40]!r} is neither {allowed}")
    if value is None:
        fail(path, line, f"the value {field[:40]!r} is not a whole number")
    if not layout.lowest <= value <= layout.highest:
        fail(path, line, f"the value {value} is not between {layout.lowest} and {layout.highest}")
    return value


# ------------------------------------------------------------------------------------------------ all at once


def _read_fast(body: bytes, comma: bool, layout: Layout) -> tuple[np.ndarray, np.ndarray] | None:
    """Ids int64 [N] and values int32 [N, width]; None where anything at all is not as in a well-formed file."""
    parts = []
    for block in _blocks(body):
        if not block.strip(b"\r\n"):  # blank lines alone, between two blocks
            continue
        part = _read_block(block, comma, len(layout.columns))
        if part is None:
            return None
        values = part[1]
        allowed = np.isin(values, layout.choices) if layout.choices else values >= layout.lowest
        if not allowed.all() or (values > layout.highest).any():
            return None
        parts.append(part)
    if not parts:
        return None
    return np.concatenate([ids for ids, _ in parts]), np.concatenate([values for _, values in parts])


def _blocks(body: bytes) -> Iterator[bytes]:
    """The body in pieces of whole lines; memory stays small, and so do the arrays, which are quicker for it."""
    start = 0
    while start < len(body):
        stop = len(body) if len(body) - start <= BLOCK else body.rfind(b"\n", start, start + BLOCK) + 1
        if stop <= start:
            stop = len(body)
        yield body[start:stop]
        start = stop


def _classes(comma: bool) -> np.ndarray:
    """What each byte is: uint8 [256]. Spaces in CSV and control characters are left to the other reader."""
    kinds = np.full(256, _UNUSUAL, dtype=np.uint8)
    kinds[0x21:0x7F] = _FIELD
    kinds[[ord("\r"), ord("\n")]] = _END
    kinds[[ord(",")] if comma else [ord(" "), ord("\t")]] = _SEPARATOR
    return kinds


def _read_block(block: bytes, comma: bool, width: int) -> tuple[np.ndarray, np.ndarray] | None:
    data = np.frombuffer(block, dtype=np.uint8)
    kinds = _classes(comma)[data]
    if (kinds == _UNUSUAL).any():
        return None
    edges = np.flatnonzero(np.diff(kinds == _FIELD, prepend=False, append=False)).astype(np.int32)
    starts, stops = edges[0::2], edges[1::2]
    rows = len(starts) // (width + 1)
    if len(starts) != rows * (width + 1):
        return None
    if rows == 0:
        return (np.zeros(0, dtype=np.int64), np.zeros((0, width), dtype=np.int32)) if not comma else None
    if comma and np.count_nonzero(kinds == _SEPARATOR) != rows * width:
        return None  # empty fields
    starts, stops = starts.reshape(rows, width + 1), stops.reshape(rows, width + 1)
    ends = np.flatnonzero(kinds == _END)
    line = np.searchsorted(ends, starts[:, 0])
    if (line != np.searchsorted(ends, stops[:, -1])).any() or (np.diff(line) == 0).any():
        return None  # a row on two lines, or two on one
    ids = _names(data, starts[:, 0], stops[:, 0])
    values = _whole_numbers(data, starts[:, 1:].ravel(), stops[:, 1:].ravel())
    return None if ids is None or values is None else (ids.astype(np.int64), values.reshape(rows, width))


def _names(data: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> np.ndarray | None:
    """The numbers before the first dot, int32 [M]."""
    dots = np.flatnonzero(data == ord("."))
    place = np.searchsorted(dots, starts)
    first = np.append(dots, len(data))[place]
    return _whole_numbers(data, starts, np.minimum(first, stops), signed=False)


def _whole_numbers(data: np.ndarray, starts: np.ndarray, stops: np.ndarray, signed: bool = True) -> np.ndarray | None:
    """The numbers in data[start:stop], int32 [M]; None where one is not 1 to 9 digits after an optional minus sign."""
    negative = (data[starts] == ord("-")) & signed
    starts = starts + negative
    lengths = stops - starts
    longest = int(lengths.max())
    if int(lengths.min()) < 1 or longest > 9:
        return None
    values = np.zeros(len(starts), dtype=np.int32)
    for i in range(longest):
        more = lengths > i
        digits = data[np.where(more, starts + i, starts)] - np.uint8(ord("0"))  # below "0" wraps round to above 9
        if (digits > 9).any():
            return None
        values = np.where(more, values * 10 + digits, values)
    return np.where(negative, -values, values)
