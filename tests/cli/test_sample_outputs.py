"""`celebgen sample`: where faces go, and drawing them again."""

import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from celebgen_cli.images import read_metadata
from celebgen_cli.pipeline import Model
from tests.command import invoke, one_sentence
from tests.networks import write_tiny_model


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pixels(path: Path | str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def paths(*words: object, stdin: str | bytes | None = None) -> list[str]:
    out = invoke("sample", *words, stdin=stdin)
    assert out.exit_code == 0, out.stderr
    return out.stdout.splitlines()


def test_formats_hold_the_same_face_and_metadata(here: Path, model_folder: Path) -> None:
    common = ("smiling woman — ñ 🙂", "--model", model_folder, "--quiet")
    found = [paths(*common, "-o", f"face.{suffix}") for suffix in ("png", "webp", "jpg")]
    assert found == [["face.png"], ["face.webp"], ["face.jpg"]]
    first, second, third = (read_metadata(Path(one)) for (one,) in found)
    assert first == second == third
    assert (pixels("face.png") == pixels("face.webp")).all()
    assert np.abs(pixels("face.png") - pixels("face.jpg")).mean() < 8  # random weights draw hard noise
    comment = Image.open("face.jpg").getexif().get_ifd(0x8769)[0x9286]
    assert comment.removeprefix(b"UNICODE\0").decode("utf-16-be").startswith("smiling woman — ñ 🙂\nSteps: 3")
    assert json.loads(invoke("info", "face.webp", "--json").stdout) == first
    (folder,) = paths(*common, "-o", "faces", "--format", "jpeg")
    assert Path(folder).suffix == ".jpg"
    out = invoke("sample", *common, "-o", "-", "--format", "webp")
    assert out.stdout_bytes == Path("face.webp").read_bytes()


def test_a_pattern_names_the_files(here: Path, model_folder: Path) -> None:
    found = paths("{old|young} man", "--seeds", "3-4,9", "-o", "{slug}/{seed:03d}.png", "--model", model_folder)
    assert found == [str(Path(f"{age}-man", f"{seed:03d}.png")) for age in ("old", "young") for seed in (3, 4, 9)]
    error = one_sentence(invoke("sample", "man", "woman", "-o", "{seed}.png", "--model", model_folder), 2)
    assert "gives 0.png to two faces" in error
    assert not Path("0.png").exists()  # told before anything is drawn


def test_what_is_there_stays(here: Path, model_folder: Path) -> None:
    words = ("man", "--model", model_folder, "-o")
    paths(*words, "face.png")
    before = Path("face.png").stat().st_mtime_ns
    assert paths(*words, "face.png") == ["face.png"]
    error = one_sentence(invoke("sample", *words, "face.png", "--steps", 1), 2)
    assert error == "error: face.png exists and is another picture; add --force to overwrite it"
    assert Path("face.png").stat().st_mtime_ns == before
    assert paths(*words, "face.png", "--steps", 1, "--force") == ["face.png"]
    assert read_metadata(Path("face.png"))["steps"] == 1


def test_an_interrupted_batch_goes_on(here: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from celebgen_cli.pipeline import Model

    real, calls = Model.sample, []

    def broken(self: Model, prompts: list[str], *rest: object, **more: object) -> np.ndarray:
        calls.append(len(prompts))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, prompts, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Model, "sample", broken)
    words = ("sample", "man", "-n", 6, "--batch-size", 2, "--json", "-o", "faces", "--model", model_folder)
    cut = invoke(*words)
    assert cut.exit_code == 130
    assert cut.stderr == "interrupted: after 4 faces; the same command goes on\n"
    rows = [json.loads(line) for line in cut.stdout.splitlines()]
    assert [row["existed"] for row in rows] == [False] * 4
    done = invoke(*words)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["existed"] for row in rows] == [True] * 4 + [False] * 2
    assert calls == [2, 2, 2, 2]
    assert len({row["path"] for row in rows}) == 6


def test_the_same_face_again(here: Path, model_folder: Path) -> None:
    made = ("--seed", 11, "--steps", 2, "--sampler", "ddpm", "--guidance", 3, "--negative", "hat", "--start", 0.9)
    paths("old man", *made, "--model", model_folder, "-o", "first.png")
    for form in ("png", "webp", "jpg"):
        paths("old man", *made, "--model", model_folder, "-o", f"made.{form}")
        assert paths("--from", f"made.{form}", "--model", model_folder, "-o", f"again-{form}.png")
        assert read_metadata(Path(f"again-{form}.png")) == read_metadata(Path("first.png"))
        assert (pixels(f"again-{form}.png") == pixels("first.png")).all()
    paths("--from", "first.png", "--guidance", 1, "--model", model_folder, "-o", "other.png")
    first, other = read_metadata(Path("first.png")), read_metadata(Path("other.png"))
    assert {key for key in first if first[key] != other[key]} == {"guidance"}
    found = paths("--from", "first.png", "bald man", "-n", 2, "--model", model_folder, "-o", "more")
    assert [(read_metadata(Path(p))["prompt"], read_metadata(Path(p))["seed"]) for p in found] == [
        ("bald man", 11), ("bald man", 12),
    ]  # fmt: skip


def test_braces_of_a_picture_are_braces(here: Path, model_folder: Path) -> None:
    paths(r"a \{b|c\}", "-o", "first.png", "--quiet", "--model", model_folder)
    assert read_metadata(Path("first.png"))["prompt"] == "a {b|c}"
    paths("--from", "first.png", "-o", "again.png", "--quiet", "--model", model_folder)
    assert Path("again.png").read_bytes() == Path("first.png").read_bytes()


def test_another_model_is_a_warning(here: Path, model_folder: Path) -> None:
    other = write_tiny_model(here / "other", storage="fp16")
    paths("man", "--model", model_folder, "-o", "face.png")
    out = invoke("sample", "--from", "face.png", "--model", other, "-o", "again.png")
    assert out.exit_code == 0
    assert out.stderr.startswith("warning: the picture was made by tiny-random (")
    assert len(out.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ({"prompt": "man"}, "face.png does not say how to draw it again: there is no seed"),
        ({"seed": 1}, "does not say how to draw it again: a prompt must be text"),
        ({"prompt": "man", "seed": -3}, "seed must be at least 0"),
        ({"prompt": "man", "seed": 1, "steps": "many"}, "steps must be a whole number"),
        ({"grid": True}, "is a sheet of faces"),
        (None, "has no celebgen metadata"),
    ],
)
def test_pictures_that_say_too_little(here: Path, model_folder: Path, metadata: object, sentence: str) -> None:
    from celebgen_cli.images import encode_png

    data = encode_png(np.zeros((8, 8, 3), np.uint8), None, metadata)  # type: ignore[arg-type]
    Path("face.png").write_bytes(data)
    assert sentence in one_sentence(invoke("sample", "--from", "face.png", "--model", model_folder), 1)


def test_sheets(here: Path, model_folder: Path) -> None:
    words = ("man", "woman", "-n", 2, "-o", "faces", "--model", model_folder, "--json")
    sheets = ("--grid", "a.png", "--gif", "a.gif", "--html", "a.html")
    rows = [json.loads(line) for line in paths(*words, *sheets)]
    assert [row["path"] for row in rows[4:]] == ["a.png", "a.gif", "a.html"]
    assert all(row["faces"] == 4 for row in rows[4:])
    assert "animation by celebgen" in invoke("info", "a.gif").stdout
    assert "is a sheet of faces" in one_sentence(invoke("sample", "--from", "a.gif"), 1)
    with Image.open("a.gif") as gif:
        assert (gif.n_frames, gif.size) == (4, (2 * 34 - 2, 2 * 34 - 2))  # type: ignore[attr-defined]
        gif.seek(3)
        last = np.asarray(gif.convert("RGB")).astype(int)
    assert np.abs(last[:32, :32] - pixels(rows[0]["path"])).mean() < 12  # 256 colours
    content = {name: Path(name).read_bytes() for name in ("a.png", "a.gif", "a.html")}
    again = [json.loads(line) for line in paths(*words, *sheets)]  # all there: the same call is no error
    assert [row["existed"] for row in again[:4]] == [True] * 4
    assert content == {name: Path(name).read_bytes() for name in content}
    for option, name in (("--grid", "a.png"), ("--gif", "a.gif"), ("--html", "a.html")):
        error = one_sentence(invoke("sample", "old man", option, name, "-o", "new", "--model", model_folder), 2)
        assert f"{name} exists and shows something else; add --force" in error
    assert not Path("new").exists()
    from_stdin = paths(*words[2:], *sheets[:2], stdin="man\nwoman\n")
    assert json.loads(from_stdin[-1])["path"] == "a.png"


def test_unknown_words_are_named_once_with_the_nearest(here: Path, model_folder: Path) -> None:
    out = invoke("sample", "man with a beerd", "zebra beerd", "--model", model_folder, "--json")
    assert out.stderr.splitlines() == [
        "warning: the text encoder never saw 'beerd' in 'man with a beerd'; nearest that it knows: 'beard'",
        "warning: the text encoder never saw 'zebra' in 'zebra beerd'",
    ]
    assert [json.loads(line)["unknown"] for line in out.stdout.splitlines()] == [["beerd"], ["zebra", "beerd"]]


def test_phrases_that_no_caption_has_are_named_once(here: Path, model_folder: Path) -> None:
    out = invoke("sample", "woman with red hair", "man with red hair", "--model", model_folder, "--json")
    assert out.stderr.splitlines() == [
        "warning: no caption that the model learned from says 'red hair', so that does little"
    ]
    assert [json.loads(line)["unknown"] for line in out.stdout.splitlines()] == [["red hair"]] * 2


def test_prompts_from_files(here: Path, model_folder: Path) -> None:
    Path("p.jsonl").write_text('{"prompt": "{old|young} man", "steps": 1, "seeds": "5"}\n{"prompt": "woman"}\n')
    rows = [json.loads(line) for line in paths("--prompts", "p.jsonl", "--steps", 2, "--model", model_folder, "--json")]
    assert [(row["prompt"], row["steps"], row["seed"]) for row in rows] == [
        ("old man", 1, 5), ("young man", 1, 5), ("woman", 2, 0),
    ]  # fmt: skip
    Path("p.jsonl").write_text('{"prompt": "man"}\n{"prompt": "man", "steps": 9999}\n')
    error = one_sentence(invoke("sample", "--prompts", "p.jsonl", "-o", "new", "--model", model_folder), 2)
    assert error == "error: p.jsonl line 2: --steps must be from 1 to 1000, not 9999"
    assert not Path("new").exists()
    Path("p.csv").write_text("prompt,seed\nman,4\n")
    assert Path(paths("--prompts", "p.csv", "--model", model_folder)[0]).name == "0000_4_man.png"
    found = paths("--prompts", "-", "--prompts-format", "csv", "--model", model_folder, stdin="seed,prompt\n6,man\n")
    assert Path(found[0]).name == "0000_6_man.png"


def test_expanding(here: Path, model_folder: Path) -> None:
    words = ("{a|b} {man|woman}", "--quiet", "--model", model_folder, "--json", "-o")
    assert [json.loads(line)["prompt"] for line in paths(*words, "x")] == ["a man", "a woman", "b man", "b woman"]
    drawn = [[json.loads(line)["prompt"] for line in paths(*words, o, "-n", 8, "--expand", "random")] for o in "yz"]
    assert len(drawn[0]) == 8
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) > 1
    assert [json.loads(line)["prompt"] for line in paths(*words, "w", "--expand", "none")] == ["{a|b} {man|woman}"]


def test_show_is_silent_without_a_terminal(here: Path, model_folder: Path) -> None:
    out = invoke("sample", "man", "--show", "--model", model_folder)
    assert (out.exit_code, out.stderr) == (0, "")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(("answer", "drawn"), [(b"", "▀"), (b"\x1b[?62;4c", "\x1bP")])
def test_show_asks_the_terminal(tmp_path: Path, answer: bytes, drawn: str) -> None:
    pytest.importorskip("textual_image")
    import fcntl
    import pty
    import select
    import struct
    import subprocess
    import termios

    code = (
        "import numpy; from celebgen_cli.cli.terminal import Terminal as T; T().show(numpy.zeros((8, 8, 3), 'u1'), 'x')"
    )
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 800, 480))
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=theirs, stdout=theirs, stderr=theirs,
        env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "60", "TERM_PROGRAM": "none"},
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    while True:
        ready, _, _ = select.select([ours], [], [], 60)
        try:
            more = os.read(ours, 65536) if ready else b""
        except OSError:  # how Linux says that the other end is closed
            more = b""
        if not more:
            break
        if answer and b"\x1b[c" in more:
            os.write(ours, answer)
        seen += more
    assert process.wait(timeout=60) == 0, seen
    os.close(ours)
    assert drawn in seen.decode()
    assert "Traceback" not in seen.decode()


def test_show_draws_half_blocks(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from celebgen_cli.cli.terminal import Terminal

    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stderr", Screen())
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    face = np.zeros((16, 16, 3), np.uint8)
    face[:8] = (250, 10, 20)
    Terminal().show(face, "man #0")
    drawn = sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert "▀" in drawn
    assert "38;2;250;10;20" in drawn
    assert "man #0" in drawn
    monkeypatch.setenv("TERM_PROGRAM", "iTerm.app")
    Terminal().show(face, "man #0")
    assert "\x1b]1337;File=inline=1" in sys.stderr.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("man", "--prompts", "p.txt"), 2, "prompts were given as arguments and with --prompts"),
        (("--prompts", "p.txt"), 1, "cannot read p.txt (No such file or directory)"),
        (("--prompts", "."), 1, "cannot read ."),
        (("{a", "-o", "x"), 2, "is not closed"),
        (("{a|b}", "--expand", "some"), 2, "--expand is one of all, random, none, not 'some'"),
        (("{a|b}", "-o", "face.png"), 2, "-o face.png writes one PNG, but 2 faces were asked for"),
        (("man", "--seeds", "5-1"), 2, "--seeds takes numbers and ranges"),
        (("man", "--seeds", "1", "--seed", "2"), 2, "--seeds already says which and how many"),
        (("man", "-n", "100000000000"), 2, "--num must be at most 1000000"),
        (("man", "--format", "bmp"), 2, "--format is one of png, webp, jpeg"),
        (("man", "--grid", "x.jpg"), 2, "--grid x.jpg must end in .png"),
        (("man", "-o", "{index.real}.png"), 2, "cannot be read as a pattern because of {index.real}"),
        (("man", "--negative", "a\0"), 2, "a negative prompt has a NUL character"),
        (("man", "--eta", "2"), 2, "--eta must be from 0 to 1, not 2.0"),
        (("man", "--spacing", "odd"), 2, "there is no spacing 'odd'"),
        (("man", "--start", "0"), 2, "--start must be above 0 and at most 1"),
        (("--from", "none.png"), 1, "none.png cannot be read as an image"),
        ((r"\{a|b\} \ud800", "-o", "\udcff/{x}"), 2, "cannot be read as a pattern"),
    ],
    ids=str,
)
def test_one_sentence(here: Path, model_folder: Path, words: tuple[str, ...], code: int, sentence: str) -> None:
    assert sentence in one_sentence(invoke("sample", *words, "--model", model_folder), code)
    assert list(here.iterdir()) == []


def test_half_a_picture_is_drawn_again(tmp_path: Path, model_folder: Path) -> None:
    face = tmp_path / "face.png"
    words = ("sample", "man", "-o", face, "--model", model_folder)
    assert invoke(*words).exit_code == 0
    whole = face.read_bytes()
    face.write_bytes(whole[: 2 * len(whole) // 3])
    assert "add --force" in one_sentence(invoke(*words), 2)
    assert invoke(*words, "--force").exit_code == 0 and face.read_bytes() == whole


def test_a_sheet_takes_no_faces_name(tmp_path: Path, model_folder: Path) -> None:
    face = tmp_path / "face.png"
    out = invoke("sample", "man", "-o", face, "--grid", face, "--model", model_folder)
    assert "--grid and -o both name" in one_sentence(out, 2) and not face.exists()


@pytest.mark.parametrize(("output", "code"), [("faces", 0), ("one.png", 2), ("{seed}.png", 2)])
def test_a_file_of_another_process_stays(
    here: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch, output: str, code: int
) -> None:
    """What was free when the face was planned may be taken when it is there."""
    sample = Model.sample

    def meanwhile(self: Model, *args: object, **how: object) -> np.ndarray:
        drawn = sample(self, *args, **how)  # type: ignore[arg-type]
        for name in ("faces/0000_0_man.png", "one.png", "0.png"):
            Path(name).parent.mkdir(exist_ok=True)
            Path(name).write_bytes(b"of another process")
        return drawn

    monkeypatch.setattr(Model, "sample", meanwhile)
    words = ("sample", "man", "--model", model_folder, "-o", output, "-q")
    out = invoke(*words)
    assert out.exit_code == code, out.stderr
    if code:
        assert "exists by now; add --force" in one_sentence(out, 2)
    else:
        assert out.stdout == f"{Path('faces', '0000_0_man-1.png')}\n" and pixels("faces/0000_0_man-1.png").any()
    assert Path("faces/0000_0_man.png").read_bytes() == Path("one.png").read_bytes() == b"of another process"
    assert invoke(*words, "--force").exit_code == 0


def test_a_sheet_takes_no_faces_place(here: Path, model_folder: Path) -> None:
    words = ("sample", "old man", "-n", 2, "--steps", 2, "--model", model_folder, "-q", "--force")
    for place, sheet in (("{seed}.png", "0.png"), ("faces", "faces/0001_1_old-man.png")):
        said = one_sentence(invoke(*words, "-o", place, "--grid", sheet), 2)
        assert said.endswith(f"--grid names {sheet}, where a face goes; give the sheet another name")
    assert not list(here.rglob("*.png"))
