"""`celebgen info` says what a folder or picture is; --json prints what it carries; --plot draws a run's curves."""

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from celebgen_cli import pipeline
from celebgen_cli.images import encode_png
from tests.command import Chain, invoke, one_sentence


@pytest.mark.parametrize(
    ("name", "form"), [("model", "celebgen-model"), ("unet", "celebgen-run"), ("dataset", "celebgen-dataset")]
)
def test_folders_as_json(chain: Chain, name: str, form: str) -> None:
    out = invoke("info", chain.folder / name, "--json")
    assert (out.exit_code, out.stderr) == (0, "")
    assert json.loads(out.stdout)["format"] == form


def told(*arguments: object) -> dict[str, str]:
    """What stands behind each name, wrapped lines put together; nameless lines under the title of their section."""
    out = invoke("info", *arguments)
    assert (out.exit_code, out.stderr) == (0, ""), out.stderr
    found: dict[str, str] = {}
    title = name = ""
    for line in out.stdout.splitlines():
        if line and not line.startswith(" "):
            title = name = line
        elif line.startswith("   "):
            found[name] += " " + line.strip()
        elif line.strip():
            head, _, value = line.strip().partition("  ")
            name = head if value else title
            found[name] = value.strip() if value else found.get(title, "") + head + "\n"
    return found


def test_a_run(chain: Chain) -> None:
    said = told(chain.unet)
    assert said["steps"].startswith("40 of 40 done (100 %)")
    assert "40" in said["checkpoints"] and "MiB on disk" in said["checkpoints"]
    assert "42 training images" in said["data"]
    assert said["denoising starts at"] == "prior"
    assert "batch size 16" in said["training"]
    losses = [json.loads(line) for line in (chain.unet / "metrics.jsonl").read_text().splitlines()]
    first = next(line["loss"] for line in losses if "loss" in line)
    assert said["loss"].startswith(f"{first:.4g}")
    assert set(said["loss"].split()[-1]) <= set("▁▂▃▄▅▆▇█")
    assert "GiB" in said["memory"]


def test_the_command_that_goes_on_does(chain: Chain, tmp_path: Path) -> None:
    run = tmp_path / "my run"
    shutil.copytree(chain.unet, run)
    export, longer = told(run)["It is finished"].splitlines()
    assert shlex.split(export) == ["celebgen", "export", str(run), "-o", "models/my run"]
    words = shlex.split(longer.split("#")[0])
    assert words[-3:] == ["--resume", "--steps", "80"]
    done = invoke(*words[1:-1], 42, "--quiet")
    assert (done.exit_code, done.stdout.strip()) == (0, str(run)), done.stderr
    assert told(run)["steps"].startswith("42 of 42")
    # one that was stopped, without the file of options, as older runs have it
    shutil.rmtree(run / "checkpoints" / "step-0000042")
    (run / "config.toml").unlink()
    on = shlex.split(told(run)["To go on"])
    assert on[-1] == "--resume"
    again = invoke(*on[1:], "--quiet")
    assert again.exit_code == 0, again.stderr
    assert "It is finished" in told(run)


def test_the_latent_of_a_cvae(chain: Chain) -> None:
    said = told(chain.vae)
    assert len(said["whitened variance"].split(";")[0].split()) == 4  # the refit's, which stands last
    assert "nats a dimension" in said["KL by channel"]
    assert "of the variance about the mean face" in said["explained by text"]
    assert "train-vae run above it" in told(chain.vae / "prior")["To go on"]


def test_a_model(chain: Chain) -> None:
    from celebgen_cli.models.folder import load_model

    said = told(chain.model)
    parts = load_model(chain.model)
    for name, module in (("CVAE", parts.cvae), ("denoiser", parts.unet)):
        assert module is not None
        count = sum(tensor.numel() for tensor in module.state_dict().values())
        assert said[name].startswith(f"{count:,} parameters, ")
    assert said["faces"] == "32 px, crop face178"
    assert "non-commercial" in said["licence"]
    assert shlex.split(said["To draw with it"])[-2:] == ["--model", str(chain.model)]


def test_a_dataset(chain: Chain) -> None:
    said = told(chain.dataset)
    assert (said["train"], said["valid"]) == ("42 pictures", "12 pictures")
    assert said["pictures"] == "32 x 32 px"
    assert said["crop"] == "face178, box 0 20 178 198 of 178 x 218"
    assert f"celebgen explore {chain.dataset}" in said["What to do with it"]


def test_a_generated_picture(tmp_path: Path, model_folder: Path) -> None:
    path = tmp_path / "it's one.png"
    made = invoke("sample", "old man — ñ", "--seed", 9, "-o", path, "--quiet", "--model", model_folder)
    assert made.exit_code == 0, made.stderr
    out = invoke("info", path, "--json")
    assert (json.loads(out.stdout)["prompt"], json.loads(out.stdout)["seed"]) == ("old man — ñ", 9)
    said = told(path)
    assert (said["prompt"], said["seed"], said["model"]) == ("old man — ñ", "9", "tiny-random")
    words = shlex.split(said["To make it again"])
    assert words == ["celebgen", "sample", "--from", str(path)]
    again = invoke(*words[1:], "-o", tmp_path / "again.png", "--quiet", "--model", model_folder)
    assert again.exit_code == 0, again.stderr
    assert (tmp_path / "again.png").read_bytes() == path.read_bytes()


def test_other_files(tmp_path: Path) -> None:
    (tmp_path / "plain.png").write_bytes(encode_png(np.zeros((4, 4, 3), np.uint8)))
    assert "has no celebgen metadata" in one_sentence(invoke("info", tmp_path / "plain.png"), 1)
    (tmp_path / "text.png").write_text("no picture", encoding="utf-8")
    assert "cannot be read as an image" in one_sentence(invoke("info", tmp_path / "text.png"), 1)
    for name, about in (("model", "does not describe"), ("config", "is not of a celebgen run"), ("dataset", "prepare")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"{name}.json").write_text("{}")
        assert about in one_sentence(invoke("info", folder), 1)


def test_the_model_in_the_box(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "PRETRAINED", model_folder)
    assert json.loads(invoke("info", "--json").stdout)["name"] == "tiny-random"
    assert told()["To draw with it"].strip() == "celebgen sample 'smiling woman'"
    monkeypatch.setattr(pipeline, "PRETRAINED", tmp_path)
    one_sentence(invoke("info"), 1)


def test_a_plot_is_a_picture_and_overwrites_nothing_else(chain: Chain, tmp_path: Path) -> None:
    path, other = tmp_path / "p.png", tmp_path / "o.png"
    for _ in range(2):  # a plot may be drawn anew
        out = invoke("info", chain.vae, "--plot", path)
        assert out.exit_code == 0, out.stderr
        assert out.stdout.splitlines()[-1].endswith(str(path))
    with Image.open(path) as image:
        assert image.width == 840
        colours = {pixel for _, pixel in image.convert("RGB").getcolors(1 << 20) or []}
    assert (37, 99, 235) in colours  # the curves' blue
    other.write_bytes(encode_png(np.zeros((4, 4, 3), np.uint8)))
    assert "is no plot" in one_sentence(invoke("info", chain.vae, "--plot", other), 1)
    assert "must end in .png" in one_sentence(invoke("info", chain.vae, "--plot", tmp_path / "p.jpg"), 2)
    assert "is a dataset" in one_sentence(invoke("info", chain.dataset, "--plot", path), 2)


@pytest.mark.parametrize(
    ("name", "file", "what"),
    [
        ("model", "unet.safetensors", "files of weights"),
        ("dataset", "train/attributes.npy", "files"),
        ("unet", "checkpoints/step-0000040/ema.safetensors", "checkpoints"),
    ],
)
def test_verify_names_an_altered_file(chain: Chain, tmp_path: Path, name: str, file: str, what: str) -> None:
    copy = Path(shutil.copytree(chain.folder / name, tmp_path / name))
    out = invoke("info", copy, "--verify")
    assert out.exit_code == 0, out.stderr
    assert out.stdout.splitlines()[-1].endswith(f"{what} are as they were written")
    data = bytearray((copy / file).read_bytes())
    data[-1] ^= 1
    (copy / file).write_bytes(data)
    assert invoke("info", copy).exit_code == 0
    assert str(copy / file) in one_sentence(invoke("info", copy, "--verify"), 1)


def test_verify_of_what_has_no_digests(chain: Chain, tmp_path: Path) -> None:
    invoke("sample", "man", "-o", tmp_path / "b.png", "--model", chain.model, "--steps", 1)
    assert "is a picture" in one_sentence(invoke("info", tmp_path / "b.png", "--verify"), 2)


def test_what_a_picture_says_makes_it_again(chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("interpolate", "young woman", "old man", "--frames", 3, "--steps", 2, "--guidance", 3, "--seed", 4,
             "--end-seed", 9, "--model", chain.model)  # fmt: skip
    assert invoke(*words, "-o", "q.gif", "--pngs", "q").exit_code == 0
    again = shlex.split(told("q/frame_0001.png")["To make it again"])
    assert again[:2] == ["celebgen", "interpolate"] and again[-2] == "--model"
    out = invoke(*again[1:-1], chain.model)
    assert out.exit_code == 0, out.stderr
    assert Path("way/frame_0001.png").read_bytes() == Path("q/frame_0001.png").read_bytes()
    Image.fromarray(np.full((32, 32, 3), 90, np.uint8)).save("photo.png")
    pixels = []
    for number, more in enumerate([
        ("--method", "noise", "--seed", 5, "--negative", "hat"), ("--source", "young man", "--no-detail"),
        ("--source", "", "--already", "face178", "--no-calibrate"), (),
    ]):  # fmt: skip
        made = f"{number}.png"
        edit = ("edit", "photo.png", "old man", "--steps", 2, *more, "--model", chain.model)
        assert invoke(*edit, "-o", made).exit_code == 0
        said = shlex.split(told(made)["To make it again"])
        again = [{"PHOTO": "photo.png", "CROP": "face178"}.get(word, word) for word in said[1:-1]]
        assert invoke(*again, chain.model, "-o", "again.png", "--force").exit_code == 0
        with Image.open(made) as first, Image.open("again.png") as second:
            pixels.append(np.asarray(first))
            assert np.array_equal(pixels[-1], np.asarray(second)), said
    assert len({one.tobytes() for one in pixels}) == 4


def test_why_a_run_stopped(chain: Chain, tmp_path: Path) -> None:
    run = Path(shutil.copytree(chain.clip, tmp_path / "run"))
    assert "stopped" not in told(run)
    (run / "stopped.json").write_text(json.dumps({"step": 21, "reason": "the loss of step 21 is nan", "rows": [3]}))
    assert told(run)["stopped"].startswith("at step 21: the loss of step 21 is nan")


@pytest.mark.parametrize("name", ["model", "unet", "dataset"])
def test_another_format_version(chain: Chain, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(chain.folder / name, tmp_path / name))
    (file,) = (copy / n for n in ("model.json", "config.json", "dataset.json") if (copy / n).is_file())
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**content, "format_version": 2}), encoding="utf-8")
    assert "format version 2" in one_sentence(invoke("info", copy), 1)
    assert json.loads(invoke("info", copy, "--json").stdout)["format_version"] == 2
    assert "does not exist" in one_sentence(invoke("info", tmp_path / "none"), 1)


def test_a_cvae_whose_prior_is_not_refitted_is_not_finished(chain: Chain, tmp_path: Path) -> None:
    run = Path(shutil.copytree(chain.folder / "vae", tmp_path / "vae"))
    assert "It is finished" in told(run)
    saved = sorted((run / "prior" / "checkpoints").glob("step-*"))
    for folder in (saved[-1], run / "prior"):  # stopped on the way; never begun
        shutil.rmtree(folder)
        said = told(run)
        assert "It is finished" not in said and said["refit of the prior"] == "not done yet"
        assert "--resume" in said["To go on"]
    out = invoke(
        "train-diffusion", chain.dataset, "-o", tmp_path / "unet", "--vae", run, "--preset", "tiny", "--steps", 1,
        "--device", "cpu",
    )  # fmt: skip
    assert out.exit_code == 0 and "is not refitted to the end" in out.stderr, out.stderr
