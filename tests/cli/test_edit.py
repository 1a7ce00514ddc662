"""`celebgen edit`, `interpolate` and `vary`: files with metadata, nothing overwritten, errors in one sentence."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from celebgen_cli.images import read_metadata, read_pixels
from celebgen_cli.pipeline import load_model
from tests.command import Chain, invoke, one_sentence


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chain: Chain) -> Path:
    monkeypatch.chdir(tmp_path)
    face = np.load(chain.dataset / "train" / "images.npy")[0]
    Image.fromarray(face).save("photo.png")
    return tmp_path


def run(chain: Chain, *words: object) -> Any:
    result = invoke(*words, "--model", chain.model)
    assert result.exit_code == 0, result.output
    return result


def test_edit_writes_a_picture_that_says_how(here: Path, chain: Chain) -> None:
    out = run(chain, "edit", "photo.png", "old man", "--already", "face178", "--steps", 3, "--strength", 0.5)
    path = Path("outputs", "photo_old-man.png")
    assert out.stdout == f"{path}\n"
    said = read_metadata(path)["edit"]
    assert out.stderr == f"photo.png shows: {said['source']}; drawn: {said['target']}\n"
    assert "old" in said["target"] and "young" in said["source"]
    assert (said["prompt"], said["method"], said["strength"], said["level"], said["cut"]) == (
        "old man", "invert", 0.5, 500, "already",
    )  # fmt: skip
    with Image.open(path) as image:
        assert "Denoising strength: 0.5, Size: 32x32" in image.info["parameters"]
    assert "was made by `celebgen edit`" in one_sentence(
        invoke("sample", "--from", path, "--model", chain.model), 1
    )


def test_edit_with_the_users_own_words_for_the_photograph(here: Path, chain: Chain) -> None:
    words = ("edit", "photo.png", "old woman", "--steps", 2, "--negative", "hat")
    for source, target in (("young woman", "old woman"), ("", "old woman")):
        out = run(chain, *words, "--source", source, "-o", "a.png", "--force", "--json")
        assert "shows" not in out.stderr
        said = json.loads(out.stdout)["edit"]
        assert (said["source"], said["target"]) == (source, target)
    run(chain, *words[:5], "-o", "plain.png", "--source", "", "--method", "noise")
    run(chain, *words[:5], "-o", "told.png", "--source", "young woman", "--method", "noise")
    assert not np.array_equal(read_pixels(Path("plain.png")), read_pixels(Path("told.png")))


def test_edit_says_that_there_is_nothing_to_do(here: Path, chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    import celebgen_cli.evaluation.judging as judging

    monkeypatch.setattr(judging, "open_judge", lambda *given: lambda images: np.full((len(images), 40), 0.99))
    assert "shows this already" in run(chain, "edit", "photo.png", "smiling", "--steps", 2).stderr
    assert run(chain, "edit", "photo.png", "smiling", "--steps", 2, "-q", "--force").stderr == ""


def test_edit_at_strength_0_is_the_photograph_or_the_reconstruction(here: Path, chain: Chain) -> None:
    words = ("edit", "photo.png", "old man", "--already", "face178", "--strength", 0)
    run(chain, *words, "-o", "same.png")
    assert np.array_equal(read_pixels(Path("same.png")), read_pixels(Path("photo.png")))
    run(chain, *words, "--no-detail", "-o", "a.webp")
    model = load_model(chain.model, "cpu", "fp32")
    assert np.array_equal(read_pixels(Path("a.webp")), model.reconstruct(read_pixels(Path("photo.png"))[None])[0])


def test_edit_by_noise_in_json(here: Path, chain: Chain) -> None:
    words = ("edit", "photo.png", "man", "--method", "noise", "--steps", 3, "--json", "--seed", 4)
    row = json.loads(run(chain, *words, "-o", "a.png").stdout)
    assert (row["path"], row["edit"]["seed"], row["edit"]["cut"]) == ("a.png", 4, "square")
    assert row["edit"]["calibrate"] is False  # the model has no calibration
    run(chain, *words, "-o", "b.png")
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()


def test_nothing_is_overwritten_unasked(here: Path, chain: Chain) -> None:
    sampled = run(chain, "sample", "man").stdout.strip()
    Path("there.png").write_bytes(b"mine")
    Path("there.gif").write_bytes(b"mine")
    Path("frames").mkdir()
    Path("frames/frame_0001.png").write_bytes(b"mine")
    Path("near").mkdir()
    Path("near/0000-0-man_0.3_2.png").write_bytes(b"mine")
    for words in (
        ("edit", "photo.png", "man", "-o", "there.png"),
        ("interpolate", "man", "woman", "-o", "there.gif"),
        ("interpolate", "man", "woman", "--pngs", "frames", "--frames", 2),
        ("vary", sampled, "-n", 2, "-o", "near"),
        ("vary", sampled, "-n", 1, "-o", "far", "--grid", "there.png"),
    ):
        assert "exists; add --force" in one_sentence(invoke(*words, "--model", chain.model), 2)
    assert sorted(p.name for p in here.rglob("*.*")) == [
        "0000-0-man_0.3_2.png", "0000_0_man.png", "frame_0001.png", "photo.png", "there.gif", "there.png",
    ]  # fmt: skip
    run(chain, "edit", "photo.png", "man", "-o", "there.png", "--steps", 2, "--force")
    assert read_pixels(Path("there.png")).shape == (32, 32, 3)


def test_interpolate_writes_a_gif_and_its_frames(here: Path, chain: Chain) -> None:
    out = run(chain, "interpolate", "young woman", "old man", "--frames", 5, "--pngs", "frames", "--seed", 2, "--back")
    singles = [Path("frames", f"frame_{i:04d}.png") for i in range(5)]
    assert out.stdout.splitlines() == [*map(str, singles), "morph.gif"]
    with Image.open("morph.gif") as gif:
        assert (gif.n_frames, gif.size, gif.info["loop"]) == (8, (32, 32), 0)
    run(chain, "sample", "young woman", "old man", "--seed", 2, "-n", 1, "-o", "{seed}_{slug}.png")
    for frame, face in ((singles[0], "2_young-woman.png"), (singles[4], "2_old-man.png")):
        assert np.abs(read_pixels(frame).astype(int) - read_pixels(Path(face))).max() <= 1
    assert [read_metadata(p)["interpolate"]["share"] for p in singles] == [0, 0.25, 0.5, 0.75, 1]
    whole = read_metadata(Path("morph.gif"))["interpolate"]
    assert (whole["frames"], whole["back"], whole["from"], whole["seeds"]) == (5, True, "young woman", [2, 2])
    said = invoke("info", "morph.gif").stdout
    assert "way by celebgen interpolate" in said
    assert "--frames 5" in " ".join(said.split())
    assert "--back -o way.gif --model" in " ".join(said.split())
    assert "was made by `celebgen interpolate`" in one_sentence(invoke("sample", "--from", "morph.gif"), 1)


def test_interpolate_reads_prompts_as_sample_does(here: Path, chain: Chain) -> None:
    words = ("woman not blond", "grandma who isn't smiling")
    out = run(chain, "interpolate", *words, "--frames", 2, "--pngs", "frames", "--seed", 2)
    assert "'woman not blond' is drawn as 'woman', away from 'blond hair'" in out.stderr
    run(chain, "sample", *words, "--seed", 2, "-o", "{index}.png")
    for i in range(2):
        frame = Path("frames", f"frame_{i:04d}.png")
        assert np.abs(read_pixels(frame).astype(int) - read_pixels(Path(f"{i}.png"))).max() <= 1
    made = read_metadata(Path("frames", "frame_0000.png"))["interpolate"]
    assert made["read_as"] == ["woman", "old woman with gray hair, not smiling"]
    assert made["read_negative"] == ["blond hair", ""]
    out = run(chain, "interpolate", *words, "--frames", 2, "--no-read", "--pngs", "plain", "-o", "plain.gif")
    assert "is drawn as" not in out.stderr
    plain = read_metadata(Path("plain", "frame_0000.png"))
    assert "read_as" not in plain["interpolate"]
    assert "--no-read" in invoke("info", "plain.gif").stdout
    out = run(chain, "interpolate", *words, "--frames", 2, "--no-read", "--pngs", "plain", "-o", "plain.gif", "--force",
              "--json")  # fmt: skip
    assert json.loads(out.stdout.splitlines()[0]) == {"path": str(Path("plain", "frame_0000.png")), **plain}


def test_vary_by_amount_0_is_the_picture_itself(here: Path, chain: Chain) -> None:
    words = ("sample", "old man", "--seed", 1, "--steps", 3, "--negative", "hat", "--pag")
    picture = run(chain, *words).stdout.strip()
    out = run(chain, "vary", picture, "-n", 3, "--amount", 0, "-o", "near", "--grid", "sheet.png")
    *faces, sheet = map(Path, out.stdout.splitlines())
    assert "sheet by celebgen" in invoke("info", sheet).stdout
    assert "is a sheet of faces" in one_sentence(invoke("sample", "--from", sheet), 1)
    for place in ("near/{seed}.png", "face.webp"):
        assert "names no folder" in one_sentence(invoke("vary", picture, "-o", place, "--model", chain.model), 2)
    assert [p.name for p in faces] == [f"0000-1-old-man_0_{seed}.png" for seed in (0, 2, 3)]  # 1 is the face's own
    for path in faces:
        assert np.abs(read_pixels(path).astype(int) - read_pixels(Path(picture))).max() <= 1
    assert read_metadata(faces[0])["vary"]["of"] == read_metadata(Path(picture))
    with Image.open(picture) as before, Image.open(faces[0]) as after:  # the settings in the same words
        told = before.text["parameters"].partition(", Size")[0]  # type: ignore[attr-defined]
        assert after.text["parameters"].startswith(told.replace("Seed: 1", "Seed: 1, Variation seed: 0"))  # type: ignore[attr-defined]
        assert "\nNegative prompt: hat\n" in told and ", PAG: on, " in told
    assert read_pixels(sheet).shape == (66, 66, 3)


def test_vary_says_that_another_model_made_the_picture(here: Path, chain: Chain, model_folder: Path) -> None:
    picture = run(chain, "sample", "old man").stdout.strip()
    out = invoke("vary", picture, "-n", 1, "--model", model_folder)
    assert out.exit_code == 0
    assert out.stderr.startswith("warning: the picture was made by")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("edit", "absent.png", "man"), 1, "absent.png cannot be read"),
        (("edit", "text.png", "man"), 1, "text.png cannot be edited: not a JPEG"),
        (("edit", "photo.png", " "), 2, "a prompt is empty"),
        (("edit", "photo.png", "man", "--strength", 2), 2, "from 0 to 1, not 2"),
        (("edit", "photo.png", "man", "--strength", "nan"), 2, "from 0 to 1, not nan"),
        (("edit", "photo.png", "man", "--method", "magic"), 2, "choose one of invert, noise"),
        (("edit", "photo.png", "man", "--steps", 0), 2, "--steps must be"),
        (("edit", "photo.png", "man", "--guidance", 101), 2, "--guidance must be"),
        (("edit", "photo.png", "man", "--already", "oval"), 2, "no crop named"),
        (("edit", "photo.png", "man", "-o", "a.bmp"), 2, "must end in .png"),
        (("edit", "photo.png", "man", "--method", "noise", "--seed", 2**64), 2, "seed must be"),
        (("edit", "photo.png", "man", "--landmarks", "text.png"), 1, "text.png"),
        (("interpolate", "man", "woman", "-o", "a.png"), 2, "must end in .gif"),
        (("interpolate", "", "woman"), 2, "a prompt is empty"),
        (("interpolate", "man", "woman", "--seed", 2**64), 2, "seed must be"),
        (("vary", "photo.png"), 1, "has no celebgen metadata"),
        (("vary", "photo.png", "--amount", -1), 2, "--amount must be from 0 to 1"),
    ],
)
def test_errors_are_one_sentence(here: Path, chain: Chain, words: tuple[object, ...], code: int, says: str) -> None:
    Path("text.png").write_text("no picture")
    assert says in one_sentence(invoke(*words, "--model", chain.model), code)
    assert sorted(p.name for p in here.iterdir()) == ["photo.png", "text.png"]


def test_vary_as_a_flag_of_sample_draws_the_same_faces(tmp_path: Path, model_folder: Path) -> None:
    made = invoke("sample", "old man", "--seed", 4, "-o", tmp_path / "a.png", "-q", "--model", model_folder)
    assert made.exit_code == 0, made.stderr
    calls = {
        "flag": ("sample", "--vary", tmp_path / "a.png", "-n", 3, "--amount", 0.5, "--seed", 4),
        "command": ("vary", tmp_path / "a.png", "-n", 3, "--amount", 0.5, "--seed", 4),
    }
    for name, arguments in calls.items():
        places = ("-o", tmp_path / name, "--grid", tmp_path / f"{name}.png", "--model", model_folder)
        out = invoke(*arguments, *places, "-q")
        assert (out.exit_code, len(out.stdout.splitlines())) == (0, 4), out.stderr
    pictures = [{p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in calls]
    assert pictures[0] == pictures[1]
    assert len(pictures[0]) == 3
    assert (tmp_path / "flag.png").read_bytes() == (tmp_path / "command.png").read_bytes()


def test_vary_takes_what_the_picture_says(tmp_path: Path) -> None:
    said = one_sentence(invoke("sample", "man", "--vary", "a.png", "--steps", 3, "--gif", "x.gif"), 2)
    assert "leave out a prompt, --steps, --gif" in said
    assert "give --vary IMAGE too" in one_sentence(invoke("sample", "man", "--amount", 0.5), 2)
    assert "a.png" in one_sentence(invoke("sample", "--vary", tmp_path / "a.png"), 1)
