"""`celebgen download` and `celebgen prepare` as a user runs them: results on stdout, all else on stderr, exit codes."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from celebgen_cli.data.dataset import open_dataset
from tests.faces import write_celeba


def celebgen(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "200", "PYTHONUTF8": "1"}
    command = [sys.executable, "-m", "celebgen_cli", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, encoding="utf-8")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kaggle's layout: one archive with the images in a folder and the annotations as CSV beside it."""
    folder = tmp_path_factory.mktemp("kaggle") / "inside"
    write_celeba(folder, 10, dialect="csv")
    return Path(shutil.make_archive(str(folder.parent / "archive"), "zip", folder))


def test_download_then_prepare(archive: Path, tmp_path: Path) -> None:
    done = celebgen("download", "--source", archive, "-o", "celeba", "--accept-terms", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "celeba\n"), done.stderr
    assert done.stderr.count("non-commercial") == 1

    (tmp_path / "celeba" / "img_align_celeba" / "000002.jpg").write_text("broken")
    images = Path("celeba", "img_align_celeba")
    done = celebgen("prepare", images, "-o", "dataset", "--size", 32, "--crop", "ddim", "--workers", 2, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "dataset\n"), done.stderr
    assert "000002.jpg: not a JPEG" in done.stderr and "9 images" in done.stderr
    dataset = open_dataset(tmp_path / "dataset")
    assert (dataset.size, dataset.crop, dataset.info["counts"]) == (32, "ddim", {"train": 6, "valid": 2, "test": 1})

    again = celebgen("prepare", images, "-o", "dataset", "--size", 32, cwd=tmp_path)
    assert again.returncode == 2 and again.stdout == ""
    assert again.stderr.startswith("error: dataset exists already") and again.stderr.count("\n") == 1


def test_names_of_files_are_no_markup(tmp_path: Path) -> None:
    for name in ("photo[copy].png", "x[/y].png", "a:train:b.png"):
        path = tmp_path / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no picture")
    Image.fromarray(np.full((32, 32, 3), 90, np.uint8)).save(tmp_path / "mine" / "good.png")
    out = celebgen("prepare", "mine", "-o", "out", "--size", 32, "--workers", 1, cwd=tmp_path)
    assert out.returncode == 0, out.stderr
    said = "".join(out.stderr.split())
    assert "photo[copy].png" in said and "x[/y].png" in said and "a:train:b.png" in said


def test_quiet_says_nothing_but_the_result(archive: Path, tmp_path: Path) -> None:
    shutil.unpack_archive(archive, tmp_path / "celeba")
    done = celebgen("prepare", "celeba", "-o", "dataset", "--size", 32, "--workers", 1, "--quiet", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "dataset\n", "")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("download", "-o", "out"), 2, "add --accept-terms"),
        (("download", "--source", "nowhere.zip", "-o", "out"), 2, "nowhere.zip does not exist"),
        (("prepare", "nowhere.zip", "-o", "out"), 2, "nowhere.zip does not exist"),
        (("prepare", ".", "-o", "out"), 1, "there is no list_attr_celeba"),
        (("prepare", ".", "-o", "out", "--crop", "ddim", "--already", "ddim"), 2, "give one of them"),
        (("prepare", ".", "-o", "out", "--crop", "ddin"), 2, "no crop named 'ddin'"),
        (("prepare", ".", "-o", "out", "--size", "1000"), 2, "not between 32 and 256"),
    ],
)
def test_errors_are_one_sentence(tmp_path: Path, arguments: tuple[str, ...], code: int, sentence: str) -> None:
    (tmp_path / "000001.jpg").write_bytes(b"not an image")
    done = celebgen(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert sentence in done.stderr and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "000001.jpg"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGTERM to one process")
def test_sigterm_is_ctrl_c(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done stays beside the dataset, and the same command goes on."""
    import signal

    from celebgen_cli.data.workplace import workplace
    from tests.command import invoke

    @contextlib.contextmanager
    def ended(out: Path, key: str, needed: int) -> Iterator[Path]:
        with workplace(out, key, needed) as folder:
            os.kill(os.getpid(), signal.SIGTERM)
            yield folder

    shutil.unpack_archive(archive, tmp_path / "celeba")
    words = ("prepare", tmp_path / "celeba", "-o", tmp_path / "dataset", "--size", 32, "--workers", 1)
    with monkeypatch.context() as patch:
        patch.setattr("celebgen_cli.data.prepare.workplace", ended)
        out = invoke(*words)
    assert (out.exit_code, out.stdout) == (130, "") and out.stderr.endswith("interrupted\n")
    assert (tmp_path / ".dataset.partial").is_dir() and not (tmp_path / "dataset").exists()
    assert invoke(*words).exit_code == 0 and not (tmp_path / ".dataset.partial").exists()
