"""Prompts from text, JSONL and CSV."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.sampling.prompts import Entry, format_of, from_file, from_stream
from celebgen_cli.sampling.settings import Seeds


def read(data: bytes | str, form: str = "text") -> list[Entry]:
    data = data.encode() if isinstance(data, str) else data
    return list(from_stream(io.BytesIO(data), form, "p"))


def test_text() -> None:
    found = read("\ufeffold man\r\n\n  \nعجوز 🙂\n no end")
    assert [(entry.prompt, entry.where) for entry in found] == [
        ("old man", "p line 1"), ("عجوز 🙂", "p line 4"), (" no end", "p line 5"),
    ]  # fmt: skip


def test_jsonl() -> None:
    first, second, third = read(
        '{"prompt": "a", "seed": 5, "num": 3, "steps": 4, "guidance": 2, "guidance_interval": [0, 0.5]}\r\n'
        '\n"b"\n{"prompt": "c", "seeds": "1-2,9", "pag": true, "negative": "hat", "calibrate": null}',
        "jsonl",
    )
    assert list(first.seeds) == [5, 6, 7]
    assert first.settings == {"steps": 4, "guidance": 2.0, "guidance_interval": [0.0, 0.5]}
    assert (second.prompt, second.seeds, second.settings, second.where) == ("b", None, {}, "p line 3")
    assert list(third.seeds) == [1, 2, 9]
    assert third.settings == {"pag": True, "negative": "hat"}


def test_csv() -> None:
    found = read(
        '\ufeffPrompt,seed,steps,pag,guidance_interval\r\n"man, old",3,10,yes,0.2 1\r\nwoman,,,,\r\n'
        '"two\nlines",,,no,\r\n',
        "csv",
    )
    assert [entry.prompt for entry in found] == ["man, old", "woman", "two\nlines"]
    assert list(found[0].seeds) == [3]
    assert found[0].settings == {"steps": 10, "pag": True, "guidance_interval": [0.2, 1.0]}
    assert (found[1].seeds, found[1].settings) == (None, {})
    assert (found[2].settings, found[2].where) == ({"pag": False}, "p line 5")


@pytest.mark.parametrize(
    ("form", "data", "sentence"),
    [
        ("text", b"man\nwom\xff\n", "p is not UTF-8 text at byte 7"),
        ("text", b"man\na\0b", "p line 2: a prompt has a NUL character"),
        ("text", b"man\n" + b"x" * 10_001, "p line 2: a prompt has 10001 characters"),
        ("text", b"x" * 2_000_000, "p line 1: longer than 1048576 bytes"),
        ("text", b'{"prompt": "man"}', "p line 1: looks like JSON; read it with --prompts-format jsonl"),
        ("jsonl", b'"man"\n{"prompt": "a"', "p line 2: no JSON at character 15"),
        ("jsonl", b"[1]", "p line 1: no JSON object"),
        ("jsonl", b"[" * 100_000, "p line 1: no JSON that can be read"),
        ("jsonl", b"1" * 5000, "p line 1: no JSON that can be read"),
        ("jsonl", b"{}", 'p line 1: there is no "prompt"'),
        ("jsonl", b'{"prompt": 3}', "p line 1: a prompt must be text, not '3'"),
        ("jsonl", b'{"prompt": " "}', "p line 1: a prompt is empty"),
        ("jsonl", b'{"prompt": "a\\ud800"}', "p line 1: a prompt has half a character at place 2"),
        ("jsonl", b'{"prompt": "a", "negative": "\\udfff"}', "p line 1: a negative prompt has half a character"),
        ("jsonl", b'{"prompt": "a", "seed": -1}', "p line 1: seed must be at least 0, not -1"),
        ("jsonl", b'{"prompt": "a", "seed": 1.5}', "p line 1: seed must be a whole number, not '1.5'"),
        ("jsonl", b'{"prompt": "a", "num": 0}', "p line 1: num must be at least 1, not 0"),
        ("jsonl", b'{"prompt": "a", "num": 99999999999}', "p line 1: --num must be at most 1000000"),
        ("jsonl", b'{"prompt": "a", "steps": true}', "p line 1: steps must be a whole number, not 'true'"),
        ("jsonl", b'{"prompt": "a", "guidance": "x"}', "p line 1: guidance must be a number, not 'x'"),
        ("jsonl", b'{"prompt": "a", "stepz": 4}', "p line 1: there is no setting 'stepz'; the settings are prompt, "),
        ("csv", b"a,b\n1,2\n", "p: its first line must name the columns, one of them prompt"),
        ("csv", b"prompt\nold, man\n", "p line 2: more fields than columns; put a prompt with commas"),
        ("csv", b'prompt\n"man\n', "p line 2: no CSV"),
        ("csv", b"prompt, Steps,steps\nman,1,2\n", "p: its first line names 'steps' twice; keep one column"),
        ("csv", b"prompt,steps\nman,many\n", "p line 2: steps must be a whole number, not 'many'"),
        ("csv", b"prompt,seed\n,4\n", 'p line 2: there is no "prompt"'),
    ],
)
def test_what_means_nothing_is_named_with_its_line(form: str, data: bytes, sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        read(data, form)
    assert sentence in str(error.value)
    assert len(str(error.value)) < 400


def test_a_stream_is_not_read_ahead() -> None:
    class Slow(io.RawIOBase):
        taken = 0

        def readline(self, size: int | None = -1) -> bytes:  # type: ignore[override]
            self.taken += 1
            return b"man\n"

    slow = Slow()
    entries: Iterator[Entry] = from_stream(slow, "text", "p")  # type: ignore[arg-type]
    next(entries)
    next(entries)
    assert slow.taken == 2


def test_files(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(UsageError, match="there is no prompt in"):
        list(from_file(str(tmp_path / "empty.txt"), "text"))
    with pytest.raises(CelebgenError, match=r"cannot read .*none\.txt"):
        list(from_file(str(tmp_path / "none.txt"), "text"))
    assert [format_of(name, None) for name in ("a.txt", "a.JSONL", "a.csv", "a")] == ["text", "jsonl", "csv", "text"]
    assert format_of("a.csv", "text") == "text"
    with pytest.raises(UsageError, match="--prompts-format is one of"):
        format_of("a", "yaml")


def test_seeds() -> None:
    assert list(Seeds.parsed("0-3, 100,7-7")) == [0, 1, 2, 3, 100, 7]
    assert len(Seeds.parsed("0-63,100")) == 65
    for text in ("", "a", "1-", "-1", "3-1", "1--2", "0-2000000", str(2**64), "1,,2", "²", "1" * 5000):
        with pytest.raises(UsageError, match="--seeds"):
            Seeds.parsed(text)
