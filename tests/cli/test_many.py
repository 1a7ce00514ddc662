"""Commands under torchrun: the same training, faces and figures as in one process, and an end when a process dies."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from celebgen_cli.training.checkpoints import load_tensors
from tests.command import ENVIRONMENT, Chain, invoke, one_sentence
from tests.evaluation.conftest import StubExtractor, write_dataset
from tests.faces import random_attributes, write_celeba

ROOT = Path(__file__).parents[2]
PROMPTS = ("smiling woman", "old man", "bald man")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def losses(run: Path) -> dict[int, float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def fids(run: Path) -> dict[int, float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return {line["step"]: line["fid"] for line in lines if "fid" in line}


def workers(launcher: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()]


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the launcher's children in /proc")
def test_a_worker_that_dies_ends_the_job_and_one_process_goes_on(chain: Chain, tmp_path: Path) -> None:
    """Two processes have the curve of one; kill -9 of one ends both with a sentence; one alone takes up the rest."""
    run = tmp_path / "run"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", free_port()]
    with (tmp_path / "said").open("w+", encoding="utf-8") as said:
        process = subprocess.Popen(
            [*map(str, torchrun), "-m", "celebgen_cli", *map(str, chain.train_diffusion(run))], cwd=tmp_path,
            env=os.environ | ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said,
        )  # fmt: skip
        while not (run / "checkpoints" / "step-0000020").exists():
            assert process.poll() is None, (tmp_path / "said").read_text(encoding="utf-8")
            time.sleep(0.005)
        os.kill(workers(process.pid)[-1], signal.SIGKILL)
        stdout = process.communicate(timeout=300)[0]
        said.seek(0)
        errors = [line for line in said.read().splitlines() if line.startswith("error: ")]
    assert process.returncode != 0
    assert stdout == b""
    assert len(errors) == 1, errors
    assert "process 0 of 2 lost the others" in errors[0]
    assert f"checkpoints in {run / 'checkpoints'} are good" in errors[0]
    killed = losses(run)
    assert killed == pytest.approx({step: losses(chain.unet)[step] for step in killed}, rel=1e-3)
    assert len(killed) >= 20
    done = invoke(*chain.train_diffusion(run, "--resume"))
    assert done.exit_code == 0, done.stderr
    assert losses(run) == pytest.approx(losses(chain.unet), rel=1e-3)
    ours, theirs = (load_tensors(r / "checkpoints" / "step-0000040" / "ema.safetensors") for r in (run, chain.unet))
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=0.02, atol=2e-3)


def in_two(folder: Path, *commands: list[object]) -> list[str]:
    """What each of two processes printed, each of which ran these commands one after the other."""
    ports = [free_port() for _ in commands]
    job = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "PORTS": json.dumps(ports)}
    words = json.dumps([[str(word) for word in command] for command in commands])
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.cli.two_processes", words], cwd=ROOT, text=True, encoding="utf-8",
            env=os.environ | ENVIRONMENT | job | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]  # fmt: skip
    out = []
    for process in processes:
        stdout, stderr = process.communicate(timeout=300)
        assert process.returncode == 0, stderr
        out.append(stdout)
    return out


def test_faces_and_figures_are_those_of_one_process(
    model_folder: Path, dataset32: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELEBGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CELEBGEN_DATASET", raising=False)
    from celebgen_cli.evaluation import features

    monkeypatch.setattr(features, "load_inception", lambda *args, **kwargs: StubExtractor())

    def sample(folder: str) -> list[object]:
        return ["sample", *PROMPTS, "-o", tmp_path / folder, "--model", model_folder, "--steps", 3, "--seeds", "5-7",
                "--grid", tmp_path / f"{folder}.png", "--gif", tmp_path / f"{folder}.gif", "--batch-size", 2,
                "--device", "cpu"]  # fmt: skip

    fid = ["evaluate", "fid", model_folder, dataset32, "--num", 7, "--steps", 2, "--json", "--no-cache",
           "--device", "cpu"]  # fmt: skip
    shared = in_two(tmp_path, sample("two"), fid)
    assert shared[1] == ""
    alone = invoke(*sample("one"))
    assert alone.exit_code == 0, alone.stderr
    *paths, figures = shared[0].splitlines()
    assert "\n".join(paths) + "\n" == alone.stdout.replace("/one", "/two")
    assert len(paths) == 11
    for path in paths:
        with Image.open(path) as ours, Image.open(path.replace("/two", "/one")) as theirs:
            assert ours.info.get("celebgen") == theirs.info.get("celebgen")
            assert getattr(ours, "n_frames", 1) == getattr(theirs, "n_frames", 1)
            if path.endswith(".png"):
                assert np.abs(np.asarray(ours).astype(int) - np.asarray(theirs).astype(int)).max() <= 1
    single = invoke(*fid)
    assert single.exit_code == 0, single.stderr
    ours, theirs = json.loads(figures), json.loads(single.stdout)
    # where `auto` is bf16, the size of a batch moves pixels by a level or two
    assert ours["fid"] == pytest.approx(theirs["fid"], rel=1e-2)
    assert ours["generated"]["n"] == theirs["generated"]["n"] == 7


def test_edits_are_those_of_one_process(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELEBGEN_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    labels = np.stack([random_attributes(rng) for _ in range(120)])
    data = write_dataset(tmp_path / "data", rng.integers(0, 256, (120, 32, 32, 3), np.uint8), labels)
    words = ["evaluate", "edits", model_folder, data, "-n", 10, "--steps", 2, "--no-cache", "--device", "cpu", "-q"]
    shared = in_two(tmp_path, [*words, "--sheet", tmp_path / "two.png"])  # one photograph an edit: one has none to do
    alone = invoke(*words, "--sheet", tmp_path / "one.png")
    assert alone.exit_code == 0, alone.stderr
    assert shared == [alone.stdout, ""]
    pair = (np.asarray(Image.open(tmp_path / f"{name}.png")).astype(int) for name in ("one", "two"))
    assert np.abs(np.subtract(*pair)).max() <= 2  # bf16 where `auto` is that


def test_fid_on_the_way_is_that_of_one_process(
    model_folder: Path, dataset32: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The main process measures while the other waits; of a student as of other denoisers."""
    (tmp_path / "inception.pth").touch()
    monkeypatch.setenv("CELEBGEN_INCEPTION_WEIGHTS", str(tmp_path / "inception.pth"))
    monkeypatch.setenv("CELEBGEN_CACHE", str(tmp_path / "cache"))
    from celebgen_cli.evaluation import features

    monkeypatch.setattr(features, "load_inception", lambda *args, **kwargs: StubExtractor())

    def train(run: str, *more: object) -> list[object]:
        return ["train-diffusion", dataset32, "-o", tmp_path / run, *more, "--steps", 4, "--batch-size", 4,
                "--fid-every", 2, "--fid-num", 6, "--sample-every", 100, "--device", "cpu", "--quiet"]  # fmt: skip

    plain, student = ("--vae", model_folder, "--preset", "tiny"), ("--distill", model_folder, "--distill-steps", 1)
    in_two(tmp_path, train("two", *plain), train("two-student", *student))
    for run, more in (("one", plain), ("one-student", student)):
        alone = invoke(*train(run, *more))
        assert alone.exit_code == 0, alone.stderr
        assert losses(tmp_path / run) == pytest.approx(losses(tmp_path / run.replace("one", "two")), rel=1e-3)
        ours, theirs = (fids(tmp_path / name) for name in (run.replace("one", "two"), run))
        assert sorted(theirs) == [2, 4]
        assert ours == pytest.approx(theirs, rel=2e-2)


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_command_for_one_process_says_so_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: str) -> None:
    monkeypatch.setattr("celebgen_cli.cli.many.silent", False)  # and so it is afterwards
    job = {"RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in {**job, "TORCHELASTIC_RUN_ID": "none"}.items():
        monkeypatch.setenv(name, value)
    write_celeba(tmp_path / "celeba", 4)
    result = invoke("prepare", tmp_path / "celeba" / "img_align_celeba", "-o", tmp_path / "data", "--size", 32)
    assert not (tmp_path / "data").exists()
    if rank == "0":
        assert "runs in one process; start it without torchrun" in one_sentence(result, 2)
    else:
        assert (result.exit_code, result.stdout, result.stderr) == (2, "", "")
