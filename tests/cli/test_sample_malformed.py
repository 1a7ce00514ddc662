"""Whatever comes in, `sample` and `serve` end in results or in one sentence with exit 1 or 2; never in a traceback."""

import functools
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import Result

from celebgen_cli import pipeline
from tests.command import celebgen, invoke
from tests.sampling.fakes import FakeModel

TRICKY = st.sampled_from(
    ["", " ", "\0", "a\0b", "\ud800", "\udcff man", "\ufeffman", "man\r\n", "رجل عجوز", "\u202eman", "👩‍🦰🙂", "é" * 9,
     "x" * 100_000, "{", "}", "{a|b", "{|}", "{a|b}" * 30, "\\{", "-", "--", "NaN", "{0}", "{index}", "%s", "\x1b[2J",
     "CON", "../x", "/", "~", "a/b", "\n", "\t", "\u2028", "\u0000\ufffe"]
)  # fmt: skip
TEXT = st.one_of(TRICKY, st.text(max_size=30), st.text(st.characters(), max_size=8))
NUMBER = st.one_of(
    st.sampled_from(
        ["-1", "0", "1", "1e400", "nan", "inf", "-inf", "1" * 400, "0x10", "1_0", "٣", "", " ", "2.5", "1,5"]
    ),
    st.integers().map(str),
    st.floats().map(str),
)
VALUE = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), TEXT, st.lists(st.integers(), max_size=3), st.just({"a": []})
)
KEYS = st.sampled_from(
    ["prompt", "seed", "seeds", "num", "steps", "sampler", "guidance", "guidance_interval", "pag", "negative", "eta",
     "calibrate", "start", "spacing", "rescale", "output", "id", "force", "x"]
)  # fmt: skip
OBJECT = st.dictionaries(KEYS, VALUE, max_size=4).flatmap(
    lambda some: st.sampled_from([some, {"prompt": "man", **some}])
)
BROKEN = st.one_of(
    OBJECT.map(lambda value: json.dumps(value).encode()),
    OBJECT.map(lambda value: json.dumps(value).encode()[:-2]),
    st.binary(max_size=40),
    TEXT.map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from([b"[" * 100_000, b'{"prompt": ' * 5000, b"9" * 6000, b"\xff\xfe", b"\xef\xbb\xbf", b"\r\n\r\n"]),
)


@pytest.fixture(scope="module", autouse=True)
def fake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A model that draws at once, and a folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "load_model", lambda *_: FakeModel(recorded=False))
        patch.setattr("celebgen_cli.files.os.fsync", lambda _: None)
        built = functools.cache(typer.testing._get_command)  # or every call builds all commands anew
        patch.setattr("typer.testing._get_command", built)
        patch.chdir(tmp_path_factory.mktemp("malformed"))
        yield


NUMBERS = itertools.count()


def fresh() -> str:
    """A folder that no other example has filled."""
    return f"faces{next(NUMBERS)}"


def fine(result: Result) -> None:
    """Results, or an error of one sentence (or of the command line's own usage)."""
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code in (0, 1, 2)
    assert "Traceback" not in result.stderr
    if result.exit_code:
        errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1 or "\nError: " in result.stderr, result.stderr
        assert all(len(line) < 4700 for line in errors)


many = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))


@given(st.lists(TEXT, min_size=1, max_size=2))
@many
def test_prompts_as_arguments(prompts: list[str]) -> None:
    fine(invoke("sample", "--quiet", "-o", fresh(), "--", *prompts))


@given(
    st.sampled_from(
        ["--seed", "--num", "--seeds", "--steps", "--guidance", "--eta", "--start", "--rescale", "--batch-size"]
    ),
    NUMBER,
)
@many
def test_numbers(option: str, number: str) -> None:
    if option in ("--num", "--seeds") and number.isdigit() and 50 < int(number) <= 1_000_000:
        return  # a wish that can be granted, only not here
    fine(invoke("sample", "man", "--quiet", "-o", fresh(), f"{option}={number}"))


@given(st.sampled_from(["-o", "--grid", "--gif", "--html", "--prompts", "--format", "--negative", "--expand"]), TEXT)
@many
def test_words(option: str, text: str) -> None:
    if text.startswith(("/", "~", "..")) and option != "--prompts":
        return
    fine(invoke("sample", "man", "--quiet", *(() if option == "-o" else ("-o", fresh())), option, text))


@given(st.sampled_from(["text", "jsonl", "csv"]), st.lists(BROKEN, max_size=3))
@many
def test_streams(form: str, lines: list[bytes]) -> None:
    stdin = b"\n".join(lines)
    fine(invoke("sample", "--quiet", "-o", fresh(), "--prompts-format", form, stdin=stdin))


@given(st.lists(BROKEN.filter(lambda line: b'"output"' not in line or b"/" not in line), max_size=4))
@many
def test_requests(lines: list[bytes]) -> None:
    lines = [line.replace(b"\n", b" ") for line in lines]
    result = invoke("serve", "--quiet", "-o", fresh(), stdin=b"\n".join([*lines, b'{"prompt": "man", "id": 1}\n']))
    assert (result.exit_code, result.stderr) == (0, "")
    # str.splitlines would also cut at U+2028, which an id may hold
    answers = [json.loads(line) for line in result.stdout.split("\n") if line]
    assert len(answers) == 1 + sum(bool(line.strip()) for line in lines)
    assert all(("error" in answer) != ("path" in answer) for answer in answers)
    assert answers[-1]["id"] == 1
    assert "path" in answers[-1]


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs /dev/full or a folder that cannot be written")
def test_places_that_cannot_be_written() -> None:
    Path("file").write_text("")
    for output in ("file/faces", "file/face.png", "/proc/none/{index}.png", "x" * 300 + ".png"):
        result = invoke("sample", "man", "--quiet", "-o", output)
        fine(result)
        assert result.exit_code == 1, output
    for output in ("x/" * 3000 + "a.png", "\udfff.png", "\ud800"):
        fine(invoke("sample", "man", "--quiet", "-o", output))


@pytest.mark.parametrize(
    ("words", "stdin", "code"),
    [(["man", "--seeds", "x"], None, 2), ([], "\ufeff\r\n\r\n", 2), (["x" * 100_000], None, 2), (["{"], None, 2)],
)
def test_through_the_installed_command(tmp_path: Path, words: list[str], stdin: str | None, code: int) -> None:
    done = celebgen("sample", *words, cwd=tmp_path, stdin=stdin)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
