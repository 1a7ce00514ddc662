"""The training commands: the chain, kills and interruptions, warm starts, and what is refused."""

import io
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from celebgen_cli.processes import World
from celebgen_cli.training import recipes, runs
from celebgen_cli.training.checkpoints import list_checkpoints, load_tensors
from celebgen_cli.training.engine import Trainer
from celebgen_cli.training.order import Order
from celebgen_cli.training.perceptual import ALEXNET, VGG16
from celebgen_cli.training.sizes import OF_LATENTS
from tests.command import VOLATILE, Chain, celebgen, invoke, one_sentence, start
from tests.likeness import write_lpips

GROUPS = ("weights", "ema", "optimizer")


def metrics(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{k: v for k, v in line.items() if k not in VOLATILE} for line in lines]


def wait_for(process: "subprocess.Popen[str]", path: Path) -> None:
    """Until the path is there; fails when the process ends before."""
    for _ in range(60_000):
        if path.exists():
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    pytest.fail(f"{path} did not appear")


def assert_same_end(run: Path, other: Path, step: str = "step-0000040") -> None:
    for group in GROUPS:
        ours, theirs = (load_tensors(folder / "checkpoints" / step / f"{group}.safetensors") for folder in (run, other))
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert torch.equal(ours[name], theirs[name]), f"{group} {name}"


def test_the_chain_says_paths_only(chain: Chain) -> None:
    for name, done in chain.said.items():
        assert done.stdout == {"prepare": "dataset\n", "export": "model\n"}.get(name, f"{name}\n").replace(
            "train-diffusion", "unet").replace("train-", ""), name  # fmt: skip
        assert "Traceback" not in done.stderr
    assert "probe_f1" in chain.said["train-clip"].stderr


@pytest.mark.parametrize(("run", "steps"), [("clip", 20), ("vae", 20), ("unet", 40)])
def test_what_a_run_leaves(chain: Chain, run: str, steps: int) -> None:
    folder = chain.folder / run
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["format"] == "celebgen-run"
    lines = metrics(folder)
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, steps + 1))
    assert [line["step"] for line in lines if "score" in line] == list(range(10, steps + 1, 10))
    found = [p.name for p in list_checkpoints(folder / "checkpoints")]
    assert found[-3:] == [f"step-{s:07d}" for s in range(10, steps + 1, 10)][-3:]
    assert len(found) <= 4  # the best one besides
    assert not [p.name for p in folder.rglob("*") if ".tmp" in p.name]
    if run != "clip":
        with Image.open(folder / "samples" / f"step-{steps:07d}.png") as image:
            assert image.width > 200


def test_the_loss_falls(chain: Chain) -> None:
    for run in (chain.clip, chain.vae):
        losses = [line["loss"] for line in metrics(run) if "loss" in line]
        assert sum(losses[-5:]) < sum(losses[:5])


def kill_behind_the_first_checkpoint(chain: Chain, folder: Path) -> Path:
    """A run that was killed with most of its steps undone. A machine may be too quick: it has some tries."""
    for attempt in range(5):
        run = folder / f"killed-{attempt}"
        process = start(*chain.train_diffusion(run), cwd=folder)
        wait_for(process, run / "checkpoints" / "step-0000010")
        process.kill()
        process.communicate()
        if not (run / "checkpoints" / "step-0000040").exists():
            assert process.returncode == (-signal.SIGKILL if sys.platform != "win32" else 1)
            return run
    pytest.fail("every run was done before it could be killed")


def test_figures_of_fewer_steps_are_not_those_of_more(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between its last checkpoint and its report, a run that was trained on is measured by the next call."""
    from celebgen_cli.training.clip import CLIPTask

    run = tmp_path / "clip"
    words = ("train-clip", chain.dataset, "-o", run, "--preset", "tiny", "--steps")
    assert invoke(*words, 2).exit_code == 0
    before = (run / "report.json").read_bytes()

    def killed(*given: object, **named: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CLIPTask, "measure", killed)
        assert invoke(*words, 12, "--resume").exit_code == 130
    assert not (run / "report.json").exists()
    assert invoke(*words, 12, "--resume").exit_code == 0
    assert (run / "report.json").read_bytes() != before


def test_killed_and_resumed_is_the_same_run(chain: Chain, tmp_path: Path) -> None:
    """kill -9 behind the first checkpoint; the same command again ends bit for bit where it would have."""
    run = kill_behind_the_first_checkpoint(chain, tmp_path)
    out = invoke(*chain.train_diffusion(run))
    assert (out.exit_code, out.stdout) == (0, f"{run}\n"), out.stderr
    assert_same_end(run, chain.unet)
    assert metrics(run) == metrics(chain.unet)
    assert not [p.name for p in (run / "checkpoints").iterdir() if p.name.startswith(".")]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_writes_a_checkpoint_and_exits_130(chain: Chain, tmp_path: Path) -> None:
    run = tmp_path / "stopped"
    process = start(*chain.train_diffusion(run, "--steps", 100_000, "--checkpoint-every", 100_000), cwd=tmp_path)
    wait_for(process, run / "metrics.jsonl")
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate()
    assert (process.returncode, stdout) == (130, ""), stderr
    (checkpoint,) = list_checkpoints(run / "checkpoints")
    done = int(checkpoint.name.removeprefix("step-"))
    assert stderr.splitlines() == [
        f"interrupted: step {done} is on the disk; the same command goes on from it"
    ]
    assert [line["step"] for line in metrics(run) if "loss" in line] == list(range(1, done + 1))
    out = invoke(*chain.train_diffusion(run, "--steps", done + 2, "--resume"))
    assert out.exit_code == 0, out.stderr
    assert [line["step"] for line in metrics(run) if "loss" in line] == list(range(1, done + 3))


def test_a_damaged_checkpoint_is_named_and_the_one_before_used(chain: Chain, tmp_path: Path) -> None:
    run = Path(shutil.copytree(chain.unet, tmp_path / "damaged"))
    path = run / "checkpoints" / "step-0000040" / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    out = invoke(*chain.train_diffusion(run, "--resume"))
    assert out.exit_code == 0, out.stderr
    assert "weights.safetensors is missing, truncated or altered; the checkpoint of step" in out.stderr
    assert_same_end(run, chain.unet)
    assert metrics(run) == metrics(chain.unet)


def test_a_full_disk_is_one_sentence(chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    from celebgen_cli.training import checkpoints

    def full(tensors: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    run = tmp_path / "full"
    monkeypatch.setattr(checkpoints, "save_file", full)
    error = one_sentence(invoke(*chain.train_diffusion(run)), 1)
    assert "No space left on device" in error
    assert "--resume" in error
    assert list_checkpoints(run / "checkpoints") == []
    assert not [p.name for p in run.rglob("*") if "tmp" in p.name]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of file sizes")
def test_a_disk_that_fills_up_on_the_way(chain: Chain, tmp_path: Path) -> None:
    """No file may grow beyond some bytes, which a checkpoint does: the ones before are intact, and it goes on later."""
    import resource

    run = Path(shutil.copytree(chain.unet, tmp_path / "full"))
    before = {p: p.read_bytes() for p in (run / "checkpoints").rglob("*") if p.is_file()}
    words = chain.train_diffusion(run, "--steps", 50, "--resume")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        error = one_sentence(invoke(*words), 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "weights.safetensors" in error or "best.safetensors" in error
    assert "--resume" in error
    assert {p: p.read_bytes() for p in (run / "checkpoints").rglob("*") if p.is_file()} == before
    assert not [p.name for p in run.rglob("*") if "tmp" in p.name]
    assert invoke(*words).exit_code == 0
    assert (run / "checkpoints" / "step-0000050").is_dir()


@pytest.mark.parametrize("name", ["train-clip", "train-vae"])
def test_every_network_goes_on_bit_for_bit(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Broken off at step 13, the same command ends where an undisturbed run does (`killed` has the denoiser)."""
    from celebgen_cli.training.engine import Trainer

    class Broken(Exception):
        pass

    log = Trainer._log

    def breaking(self: Trainer, figures: dict[str, float]) -> None:
        if self.step == 13:
            raise Broken
        log(self, figures)

    run, whole = tmp_path / "run", {"train-clip": chain.clip, "train-vae": chain.vae}[name]
    names = {"dataset": chain.dataset, "clip": chain.clip, "vae": chain.vae}
    here = [run if word == whole.name else names.get(str(word), word) for word in chain.commands()[name]]
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_log", breaking)
        assert isinstance(invoke(*here).exception, Broken)
    assert [p.name for p in list_checkpoints(run / "checkpoints")] == ["step-0000010"]
    out = invoke(*here)
    assert out.exit_code == 0, out.stderr
    assert_same_end(run, whole, "step-0000020")
    assert metrics(run) == metrics(whole)


def test_a_run_keeps_the_networks_that_it_began_with(chain: Chain, tmp_path: Path) -> None:
    """The CVAE's run trained on meanwhile: latents of another encoder would be poison to the denoiser."""
    vae, run = Path(shutil.copytree(chain.vae, tmp_path / "vae")), Path(shutil.copytree(chain.unet, tmp_path / "unet"))
    words = ("train-vae", chain.dataset, "-o", vae, "--text", chain.clip, "--resume", "--steps", 22)
    assert invoke(*words).exit_code == 0
    out = invoke(*chain.train_diffusion(run, "--vae", vae, "--steps", 42, "--resume"))
    assert out.exit_code == 0, out.stderr
    assert "have changed since; it goes on with those that it began with" in out.stderr
    other = Path(shutil.copytree(chain.unet, tmp_path / "other"))
    out = invoke(*chain.train_diffusion(other, "--steps", 42, "--resume"))
    assert (out.exit_code, "changed" in out.stderr) == (0, False), out.stderr
    assert_same_end(run, other, "step-0000042")
    moved, gone = Path(shutil.copytree(chain.unet, tmp_path / "moved")), tmp_path / "gone"
    assert "neither a run" in one_sentence(invoke(*chain.train_diffusion(tmp_path / "new", "--vae", gone)), 1)
    out = invoke(*chain.train_diffusion(moved, "--vae", gone, "--steps", 42, "--resume"))
    assert out.exit_code == 0, out.stderr
    assert f"there is no {gone} any more; {moved} goes on with the networks that it began with" in out.stderr
    assert_same_end(moved, other, "step-0000042")
    words = ("train-vae", chain.dataset, "-o", vae, "--text", gone, "--resume", "--steps", 23)
    assert invoke(*words).exit_code == 0


def test_weights_to_begin_with_are_of_no_use_to_what_has_begun(chain: Chain, tmp_path: Path) -> None:
    run = Path(shutil.copytree(chain.unet, tmp_path / "unet"))
    config = (run / "config.json").read_bytes()
    out = invoke(*chain.train_diffusion(run, "--init-from", chain.model, "--steps", 42, "--resume"))
    assert "goes on from its own checkpoint and began with new weights; leave out --init-from" in one_sentence(out, 2)
    assert (run / "config.json").read_bytes() == config


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGTERM to one process")
def test_sigterm_is_ctrl_c(chain: Chain, tmp_path: Path) -> None:
    """In the middle of a step, here of the third one."""
    import os

    run = tmp_path / "stopped"

    from celebgen_cli.training.diffusion import DiffusionTask

    loss = DiffusionTask.loss

    def interrupted(self: DiffusionTask, step: int, *more: object) -> object:
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss(self, step, *more)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(DiffusionTask, "loss", interrupted)
        out = invoke(*chain.train_diffusion(run))
    assert (out.exit_code, out.stdout) == (130, "")
    assert out.stderr.splitlines()[-1].startswith("interrupted: step 3 is on the disk")
    assert [p.name for p in list_checkpoints(run / "checkpoints")] == ["step-0000003"]
    before = signal.getsignal(signal.SIGTERM)
    out = invoke(*chain.train_diffusion(run))
    assert (out.exit_code, signal.getsignal(signal.SIGTERM)) == (0, before)
    assert_same_end(run, chain.unet)
    assert metrics(run) == metrics(chain.unet)


def test_sigterm_before_the_first_step(chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While latents are encoded, say: nothing is left half done, and the command can be given again."""
    import os

    from celebgen_cli.training import recipes

    def encode(*arguments: object, **more: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    monkeypatch.setattr(recipes, "encode", encode)
    out = invoke(*chain.train_diffusion(tmp_path / "run"))
    assert (out.exit_code, out.stdout, out.stderr) == (130, "", "interrupted\n")
    assert not (tmp_path / "run").exists()


def test_the_noise_baseline(chain: Chain, tmp_path: Path) -> None:
    """`--init noise`: the same network in one Gaussian a channel, kept with the weights and exported."""
    run, model = tmp_path / "noise", tmp_path / "model"
    out = invoke(*chain.train_diffusion(run, "--init", "noise", "--steps", 2))
    assert out.exit_code == 0, out.stderr
    assert json.loads((run / "config.json").read_text(encoding="utf-8"))["unet"]["init"] == "noise"
    weights = load_tensors(run / "checkpoints" / "step-0000002" / "ema.safetensors")
    assert weights["channel_log_std"].abs().max() > 0
    assert invoke("export", run, "-o", model, "--storage", "fp32").exit_code == 0
    from celebgen_cli.pipeline import load_model

    loaded = load_model(model, "cpu")
    assert loaded.unet.config.init == "noise"
    assert torch.equal(loaded.unet.channel_mean, weights["channel_mean"])
    assert loaded.sample(["man"], [0], steps=1).shape == (1, 32, 32, 3)


def test_a_denoiser_that_starts_from_a_code(chain: Chain, tmp_path: Path) -> None:
    """`--init coarse`: begun with another start's weights, exported, drawn from, edited with, calibrated, tuned."""
    run, model = tmp_path / "coarse", tmp_path / "model"
    out = invoke(*chain.train_diffusion(run, "--init", "coarse", "--steps", 2, "--init-from", chain.unet))
    assert out.exit_code == 0, out.stderr
    weights = load_tensors(run / "checkpoints" / "step-0000002" / "ema.safetensors")
    assert weights["coarse.basis"].shape[0] == 6
    torch.testing.assert_close(weights["coarse.basis"].flatten(1) @ weights["coarse.basis"].flatten(1).T, torch.eye(6))
    out = invoke(*chain.train_diffusion(run, "--steps", 3, "--resume"))
    assert out.exit_code == 0, out.stderr
    again = load_tensors(run / "checkpoints" / "step-0000003" / "ema.safetensors")
    assert torch.equal(again["coarse.basis"], weights["coarse.basis"])
    assert invoke("export", run, "-o", model).exit_code == 0
    calibrated, tuned, faces = tmp_path / "calibrated", tmp_path / "tuned", tmp_path / "faces"
    out = invoke("calibrate", chain.dataset, "--model", model, "-o", calibrated, "-n", 20)
    assert out.exit_code == 0, out.stderr
    out = invoke("sample", "woman", "--model", calibrated, "-n", 2, "--steps", 2, "-o", faces, "--gif",
                 tmp_path / "way.gif")  # fmt: skip
    assert out.exit_code == 0, out.stderr
    first, second = sorted(faces.glob("*.png"))
    assert first.read_bytes() != second.read_bytes()
    out = invoke("edit", first, "man", "--model", calibrated, "--steps", 2, "-o", tmp_path / "edited.png")
    assert out.exit_code == 0, out.stderr
    out = invoke("finetune", chain.dataset, "-o", tuned, "--model", calibrated, "--steps", 1, "--batch-size", 2)
    assert out.exit_code == 0, out.stderr
    from celebgen_cli.training.runs import load_components

    before, after = (load_components(path, ("unet",)).unet for path in (calibrated, tuned))
    assert before is not None and before.coarse is not None
    assert after is not None and after.coarse is not None
    torch.testing.assert_close(after.coarse.basis, before.coarse.basis, atol=2e-3, rtol=0)  # 8 bit again
    out = invoke("train-diffusion", chain.dataset, "-o", tmp_path / "few", "--distill", model, "--steps", 1,
                 "--batch-size", 2, "--distill-steps", 2)  # fmt: skip
    assert out.exit_code == 0, out.stderr
    back = tmp_path / "back"
    out = invoke(*chain.train_diffusion(back, "--init", "noise", "--steps", 1, "--init-from", run))
    assert out.exit_code == 0, out.stderr
    assert not any(name.startswith("coarse.") for name in load_tensors(
        back / "checkpoints" / "step-0000001" / "ema.safetensors"))  # fmt: skip


def test_resume_keeps_what_the_run_was_started_with(chain: Chain, tmp_path: Path) -> None:
    """Settings that are not given again are the run's: a noise baseline does not turn into the other arm half way."""
    run = tmp_path / "noise"
    words = ("train-diffusion", chain.dataset, "-o", run, "--vae", chain.vae)
    out = invoke(*words, "--init", "noise", "--steps", 2, "--batch-size", 4, "--seed", 5, "--learning-rate", 2e-3)
    assert out.exit_code == 0, out.stderr
    before = json.loads((run / "config.json").read_text(encoding="utf-8"))
    out = invoke(*words, "--steps", 3, "--resume")
    assert out.exit_code == 0, out.stderr
    after = json.loads((run / "config.json").read_text(encoding="utf-8"))
    assert after == {**before, "train": {**before["train"], "steps": 3}}
    assert (before["preset"], before["train"]["seed"], before["unet"]["init"]) == ("tiny", 5, "noise")
    for steps in (4, 5):  # as `info` says it, from what the call before has left
        out = invoke("train-diffusion", "--config", run / "config.toml", "-o", run, "--steps", steps, "--resume")
        assert out.exit_code == 0, out.stderr
    assert invoke("train-diffusion", chain.dataset, "-o", run, "--steps", 6, "--resume").exit_code == 0
    words = ("train-diffusion", "--config", run / "config.toml", "-o", tmp_path / "again", "--steps", 1)
    out = invoke(*words, "--batch-size", "auto")  # what was left out above is the run's: its CVAE is there
    assert out.exit_code == 0, out.stderr
    out = invoke("train-diffusion", chain.dataset, "-o", tmp_path / "from", "--vae", chain.vae, "--init-from", run,
                 "--steps", 1)  # fmt: skip
    assert out.exit_code == 0, out.stderr
    assert invoke("train-diffusion", chain.dataset, "-o", tmp_path / "from", "--steps", 2, "--resume").exit_code == 0
    assert f'init-from = "{run}"' in (tmp_path / "from" / "config.toml").read_text(encoding="utf-8")


def test_other_sizes_than_the_presets(chain: Chain, tmp_path: Path) -> None:
    """They are kept by the run, by what begins with it and by the model; others on the same run are refused."""
    vae, run, more, model = (tmp_path / name for name in ("vae", "run", "more", "model"))
    words = ("train-vae", chain.dataset, "-o", vae, "--text", chain.clip, "--preset", "tiny", "--perceptual", "none",
             "--steps", 1, "--prior-steps", 1, "--latent-channels", 2)  # fmt: skip
    out = invoke(*words)
    assert out.exit_code == 0, out.stderr
    sizes = ("--widths", "16,24,40", "--blocks", 2, "--min-snr", 1e9, "--input-perturbation", 0.1)
    words = ("train-diffusion", chain.dataset, "--vae", vae, "--steps", 1)
    out = invoke(*words, "-o", run, *sizes)
    assert out.exit_code == 0, out.stderr
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    unet = config["unet"]
    assert (unet["latent_channels"], unet["widths"], unet["blocks"]) == (2, [16, 24, 40], 2)
    assert (config["loss"]["gamma"], config["loss"]["input_perturbation"]) == (1e9, 0.1)
    said = one_sentence(invoke(*words, "-o", run, *sizes[2:]), 2)
    assert "--widths is [16, 24, 40] there" in said
    out = invoke(*words[:-1], 2, "-o", run, "--resume")
    assert out.exit_code == 0, out.stderr
    resumed = json.loads((run / "config.json").read_text(encoding="utf-8"))
    assert (resumed["unet"], resumed["loss"]) == (config["unet"], config["loss"])
    out = invoke(*words, "-o", more, "--init-from", run)
    assert out.exit_code == 0, out.stderr
    assert json.loads((more / "config.json").read_text(encoding="utf-8"))["unet"] == config["unet"]
    assert invoke("export", more, "-o", model).exit_code == 0
    from celebgen_cli.pipeline import load_model

    assert load_model(model, "cpu").sample(["man"], [0], steps=1).shape == (1, 32, 32, 3)
    assert "multiples of 8" in one_sentence(invoke(*words, "-o", tmp_path / "no", "--widths", "10"), 2)
    other = invoke(*words, "-o", tmp_path / "no", "--init-from", run, "--blocks", 1)
    assert "do not fit" in one_sentence(other, 1)


def test_a_latent_of_other_channels_begins_with_all_other_layers(chain: Chain, tmp_path: Path) -> None:
    vae, unet = tmp_path / "vae", tmp_path / "unet"
    words = ("train-vae", chain.dataset, "--text", chain.clip, "--perceptual", "none", "--steps", 1, "--prior-steps", 0,
             "--learning-rate", 0, "--init-from", chain.vae, "--latent-channels", 3)  # fmt: skip
    said = one_sentence(invoke(*words, "-o", vae, "--freeze-encoder"), 2)
    assert "makes 4 channels, and --freeze-encoder keeps it so" in said
    out = invoke(*words, "-o", vae)
    assert out.exit_code == 0, out.stderr
    assert "has 4 channels, not 3: the layers beside it begin anew" in out.stderr
    out = invoke("train-diffusion", chain.dataset, "-o", unet, "--vae", vae, "--init-from", chain.unet, "--steps", 1,
                 "--learning-rate", 0)  # fmt: skip
    assert out.exit_code == 0, out.stderr
    assert "has 4 channels, not 3: the layers beside it begin anew" in out.stderr
    for kind, begun, run, anew in (("cvae", chain.vae, vae, {"encoder.head", "prior.head", "decoder.stem"}),
                                   ("unet", chain.unet, unet, {"stem", "head"})):  # fmt: skip
        before = getattr(runs.load_components(begun, (kind,)), kind).state_dict()
        after = runs.averaged_weights(run)[1]
        changed = {name for name in after if not after[name].equal(before[name])} - set(OF_LATENTS)
        assert changed == {f"{layer}.{part}" for layer in anew for part in ("weight", "bias")}


def test_what_tells_of_the_latents_is_never_that_of_other_ones(chain: Chain, tmp_path: Path) -> None:
    """A denoiser that begins with another has its own latents' mean and spread, and starts where that one does."""
    vae, unet = tmp_path / "vae", tmp_path / "unet"
    words = ("train-vae", chain.dataset, "--text", chain.clip, "--perceptual", "none", "--steps", 1, "--prior-steps", 0)
    assert invoke(*words, "--seed", 3, "-o", vae, "--preset", "tiny").exit_code == 0
    words = ("train-diffusion", chain.dataset, "--vae", vae, "--steps", 1, "--learning-rate", 0, "--init", "noise")
    for more in ((), ("--init-from", chain.unet)):
        out = invoke(*words, *more, "-o", unet.with_name(f"unet{len(more)}"))
        assert out.exit_code == 0, out.stderr
    again = invoke(*words[:-2], "-o", tmp_path / "again", "--init-from", tmp_path / "unet0", "--print-config")
    assert 'init = "noise"' in again.stdout
    out = invoke(*words[:-2], "-o", tmp_path / "again", "--init-from", tmp_path / "unet0")
    assert out.exit_code == 0, out.stderr
    assert json.loads((tmp_path / "again" / "config.json").read_text(encoding="utf-8"))["unet"]["init"] == "noise"
    alone, begun = (runs.averaged_weights(tmp_path / f"unet{count}")[1] for count in (0, 2))
    assert all(alone[name].equal(begun[name]) for name in OF_LATENTS)
    assert not alone["stem.weight"].equal(begun["stem.weight"])


@pytest.mark.parametrize("source", ["run", "model"])
def test_warm_start_from_weights_alone(chain: Chain, tmp_path: Path, source: str) -> None:
    run = tmp_path / "warm"
    origin = chain.unet if source == "run" else chain.model
    words = chain.train_diffusion(run, "--init-from", origin, "--steps", 1, "--learning-rate", 1e-9)
    again = chain.train_diffusion(run, "--resume", "--steps", 1, "--learning-rate", 1e-9)
    for call in (words, words, again):  # the second and third time as after a kill before the first checkpoint
        shutil.rmtree(run / "checkpoints", ignore_errors=True)
        out = invoke(*call)
        assert out.exit_code == 0, out.stderr
    weights = load_tensors(run / "checkpoints" / "step-0000001" / "weights.safetensors")
    old = load_tensors(chain.unet / "checkpoints" / "step-0000040" / "ema.safetensors")
    tolerance = 1e-6 if source == "run" else 0.02  # the model is stored in 8 bit
    assert all((weights[name] - old[name]).abs().max() <= tolerance for name in old)
    assert float(load_tensors(run / "checkpoints" / "step-0000001" / "optimizer.safetensors")["0.step"]) == 1


def test_more_steps_of_the_cvae_refit_its_prior(chain: Chain, tmp_path: Path) -> None:
    """A prior that was fitted to other latents than the encoder now makes would whiten wrongly."""
    run = Path(shutil.copytree(chain.vae, tmp_path / "vae"))
    before = load_tensors(run / "prior" / "best.safetensors")
    words = ("train-vae", chain.dataset, "-o", run, "--text", chain.clip, "--preset", "tiny", "--perceptual", "none")
    out = invoke(*words, "--checkpoint-every", 10, "--sample-every", 30, "--steps", 30, "--resume")
    assert out.exit_code == 0, out.stderr
    after = load_tensors(run / "prior" / "best.safetensors")
    assert not all(torch.equal(before[name], after[name]) for name in before)


def test_a_decoder_of_its_own(chain: Chain, tmp_path: Path) -> None:
    """The decoder alone is trained against a critic, and takes the place of the one that the denoiser's run froze."""
    run, model = tmp_path / "decoder", tmp_path / "model"
    words = ("train-vae", chain.dataset, "-o", run, "--text", chain.clip, "--perceptual", "none", "--steps", 3,
             "--freeze-encoder", "--adversarial", 0.5)  # fmt: skip
    assert "needs a trained encoder" in one_sentence(invoke(*words), 2)
    out = invoke(*words, "--init-from", chain.vae)
    assert out.exit_code == 0, out.stderr
    assert not (run / "prior").exists()
    assert not list((chain.dataset / "latents").glob(".latents-*"))
    out = invoke("export", chain.unet, "-o", model, "--decoder", run, "--storage", "fp32")
    assert out.exit_code == 0, out.stderr
    from celebgen_cli.training.runs import load_components

    new, old = (load_components(path, ("cvae",)).cvae for path in (model, chain.unet))
    assert new is not None
    assert old is not None
    same = {name: torch.equal(value, old.state_dict()[name]) for name, value in new.state_dict().items()}
    assert all(kept for name, kept in same.items() if not name.startswith("decoder."))
    assert not all(kept for name, kept in same.items() if name.startswith("decoder."))
    training = json.loads((model / "model.json").read_text(encoding="utf-8"))["training"]
    assert training["decoder"]["train"]["steps"] == 3
    assert training["decoder"]["train"]["beta1"] == 0.5  # against a critic
    assert training["decoder"]["loss"]["freeze_encoder"]
    assert training["decoder"]["stopped_at"] == 3
    assert training["denoiser"]["stopped_at"] == training["denoiser"]["steps"]


def test_a_run_that_begins_with_a_run_takes_its_critic_too(chain: Chain, tmp_path: Path) -> None:
    from celebgen_cli.training.adversarial import Critic
    from celebgen_cli.training.recipes import _begin_critic
    from celebgen_cli.training.runs import critic_weights

    words = ("train-vae", chain.dataset, "--text", chain.clip, "--perceptual", "none", "--freeze-encoder",
             "--adversarial", 0.5)  # fmt: skip
    first, second = tmp_path / "first", tmp_path / "second"
    out = invoke(*words, "-o", first, "--steps", 3, "--learning-rate", 0.01, "--init-from", chain.vae)
    assert out.exit_code == 0, out.stderr
    # a step so small that it changes nothing, from another seed: its critic would begin as another
    out = invoke(*words, "-o", second, "--steps", 1, "--learning-rate", 1e-9, "--init-from", first, "--seed", 1)
    assert out.exit_code == 0, out.stderr
    learned, gone_on = critic_weights(first), critic_weights(second)
    assert learned
    for name, value in learned.items():
        if not name.endswith(("_u", "_v")):  # of the spectral norm's power iteration, which goes on
            torch.testing.assert_close(gone_on[name], value, atol=1e-6, rtol=0)
    assert critic_weights(chain.vae) == {}
    critic, said = Critic(4, None, patch_widths=(8, 16)), list[str]()
    before = {name: value.clone() for name, value in critic.state_dict().items()}
    _begin_critic(critic, first, said.append)
    assert len(said) == 1
    assert "has another form" in said[0]
    assert all(torch.equal(value, before[name]) for name, value in critic.state_dict().items())


def test_decoders_are_interpolated(chain: Chain, tmp_path: Path) -> None:
    from celebgen_cli.training.runs import load_components

    run, decoders = tmp_path / "decoder", []
    words = ("train-vae", chain.dataset, "-o", run, "--text", chain.clip, "--perceptual", "none", "--steps", 3,
             "--freeze-encoder", "--init-from", chain.vae)  # fmt: skip
    assert invoke(*words).exit_code == 0
    for share in (0.0, 0.25, 1.0, 1.5):
        model = tmp_path / str(share)
        out = invoke("export", chain.unet, "-o", model, "--decoder", run, "--decoder-share", share, "--storage", "fp32")
        assert out.exit_code == 0, out.stderr
        cvae = load_components(model, ("cvae",)).cvae
        assert cvae is not None
        decoders.append(torch.cat([p.flatten() for p in cvae.decoder.parameters()]))
    assert (decoders[2] - decoders[0]).abs().max() > 1e-5
    torch.testing.assert_close(decoders[1], 0.75 * decoders[0] + 0.25 * decoders[2])
    torch.testing.assert_close(decoders[3], 1.5 * decoders[2] - 0.5 * decoders[0])
    out = invoke("export", chain.unet, "-o", tmp_path / "no", "--decoder", run, "--decoder-share", 2.5)
    assert "--decoder-share must be from 0 to 2" in one_sentence(out, 2)
    assert not (tmp_path / "no").exists()


def test_a_decoder_learns_from_what_a_denoiser_draws(chain: Chain, tmp_path: Path) -> None:
    run = tmp_path / "decoder"
    words = ("train-vae", chain.dataset, "-o", run, "--text", chain.clip, "--perceptual", "none", "--steps", 2,
             "--init-from", chain.vae, "--denoiser", chain.unet)  # fmt: skip
    assert "give --freeze-encoder, and --adversarial or --transport" in one_sentence(invoke(*words), 2)
    assert "give that too" in one_sentence(invoke(*words[:-2], "--drawn", 6), 2)
    out = invoke(*words, "--freeze-encoder", "--adversarial", 0.5, "--drawn", 6, "--accumulate", 2)
    assert "leave --accumulate out" in one_sentence(out, 2)
    assert not list(run.glob("drawn-*.safetensors"))  # it is said before the minutes of drawing
    out = invoke(*words, "--freeze-encoder", "--adversarial", 0.5, "--drawn", 6)
    assert out.exit_code == 0, out.stderr
    assert len(list(run.glob("drawn-*.safetensors"))) == 1
    out = invoke(*words[:-4], "--steps", 3, "--resume")
    assert out.exit_code == 0, out.stderr
    assert len(list(run.glob("drawn-*.safetensors"))) == 1  # the same pool


def test_a_decoder_learns_by_transport(chain: Chain, tmp_path: Path) -> None:
    """Targets are told once, and a run that was broken off ends where an undisturbed one does."""
    weights = tmp_path / "weights"
    write_lpips(weights, ALEXNET)

    def words(run: str, *more: object) -> tuple[object, ...]:
        return ("train-vae", chain.dataset, "-o", tmp_path / run, "--text", chain.clip, "--perceptual-weights", weights,
                "--init-from", chain.vae, "--freeze-encoder", "--transport", 1, "--steps", 4, "--checkpoint-every", 2,
                *more)  # fmt: skip

    drawn = ("--denoiser", chain.unet, "--drawn", 6)
    assert "give --denoiser MODEL" in one_sentence(invoke(*words("a")), 2)
    assert "leave out --adversarial or --transport" in one_sentence(invoke(*words("a", *drawn, "--adversarial", 1)), 2)
    assert "has no vgg16-features.safetensors" in one_sentence(invoke(*words("a", *drawn)), 1)
    assert not (tmp_path / "a").exists()  # nothing was drawn before
    write_lpips(weights, VGG16)
    out = invoke(*words("a", *drawn))
    assert out.exit_code == 0, out.stderr
    rows = [json.loads(line) for line in (tmp_path / "a" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    left = {row["step"]: row["transport"] for row in rows if "transport" in row}
    assert sorted(left) == [1, 2, 3, 4]
    assert left[4] < left[1]
    targets = next(iter((tmp_path / "a").glob("targets-*.safetensors")))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.rmtree(tmp_path / "b" / "checkpoints" / "step-0000004")
    before = targets.read_bytes()
    out = invoke(*words("b", *drawn))
    assert out.exit_code == 0, out.stderr
    assert [path.read_bytes() for path in (tmp_path / "b").glob("targets-*.safetensors")] == [before]
    ends = [load_tensors(tmp_path / run / "checkpoints" / "step-0000004" / "weights.safetensors") for run in "ab"]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    out = invoke("export", chain.unet, "-o", tmp_path / "model", "--decoder", tmp_path / "a")
    assert out.exit_code == 0, out.stderr
    said = json.loads((tmp_path / "model" / "model.json").read_text(encoding="utf-8"))
    assert said["training"]["decoder"]["loss"]["transport"] == 1


def test_a_refit_that_is_killed_before_its_first_checkpoint_begins_where_it_began(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first best weights are on the disk already, and must not be what it starts from."""
    words = ("train-vae", chain.dataset, "--text", chain.clip, "--perceptual", "none", "--steps", 2, "--prior-steps", 4)
    assert invoke(*words, "-o", tmp_path / "whole").exit_code == 0
    save = Trainer.save

    def killed(self: Trainer) -> None:
        if self.task.kind == "prior":
            raise KeyboardInterrupt
        save(self)

    monkeypatch.setattr(Trainer, "save", killed)
    assert invoke(*words, "-o", tmp_path / "killed").exit_code != 0
    monkeypatch.undo()
    assert (tmp_path / "killed" / "prior" / "best.safetensors").is_file()
    assert invoke(*words, "-o", tmp_path / "killed").exit_code == 0
    whole, again = (load_tensors(tmp_path / name / "prior" / "best.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(whole[name], again[name]) for name in whole)


@pytest.mark.parametrize("damaged", ["config.json", "best.safetensors", "checkpoints"])
def test_a_damaged_refit_begins_anew(chain: Chain, tmp_path: Path, damaged: str) -> None:
    run = Path(shutil.copytree(chain.vae, tmp_path / "vae"))
    refit = run / "prior"
    before = load_tensors(chain.vae / "prior" / "best.safetensors")
    for path in [refit / damaged] if damaged != "checkpoints" else (refit / damaged).glob("*/ema.safetensors"):
        path.write_bytes(path.read_bytes()[:40])
    from celebgen_cli.training.refit import refit_is_due

    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    assert refit_is_due(run, config) == (damaged == "config.json")  # what it looks at are names and settings
    out = invoke("train-vae", chain.dataset, "-o", run, "--text", chain.clip, "--resume")
    assert out.exit_code == 0, out.stderr
    assert "begins anew, because it is damaged" in " ".join(out.stderr.split())
    assert not refit_is_due(run, config)
    after = load_tensors(refit / "best.safetensors")
    for name, value in before.items():  # of the same latents by the same seed, in another process
        torch.testing.assert_close(after[name], value, atol=1e-4, rtol=0)
    assert not (run / ".prior.tmp").exists()


def test_steps_of_the_refit_are_recorded(chain: Chain, tmp_path: Path) -> None:
    """Where it is killed amid them, the same command and `info` know that it is due."""
    run = tmp_path / "vae"
    words = ("train-vae", chain.dataset, "-o", run, "--text", chain.clip, "--perceptual", "none", "--steps", 2)
    assert invoke(*words, "--prior-steps", 0).exit_code == 0
    assert not (run / "prior").exists()
    out = invoke(*words, "--prior-steps", 3, "--resume")
    assert out.exit_code == 0, out.stderr
    assert json.loads((run / "config.json").read_text(encoding="utf-8"))["prior_steps"] == 3
    assert (run / "prior" / "checkpoints" / "step-0000003").is_dir()
    assert json.loads((run / "prior" / "config.json").read_text(encoding="utf-8"))["train"]["steps"] == 3


def test_a_refit_is_shared_by_any_number_of_processes(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "vae"
    words = ("train-vae", chain.dataset, "-o", run, "--text", chain.clip, "--perceptual", "none", "--steps", 1)
    assert invoke(*words, "--prior-steps", 0).exit_code == 0
    monkeypatch.setattr(recipes, "world", lambda: World(0, 3, 0))
    recipes.prepare_prior(Order(chain.dataset, run, device="cpu"), steps=1)(lambda *_: None)
    assert json.loads((run / "prior" / "config.json").read_text())["train"]["batch_size"] == 18  # 16 for one


def test_a_decoder_of_another_encoder_is_refused(chain: Chain, tmp_path: Path) -> None:
    run = tmp_path / "other"
    words = ("train-vae", chain.dataset, "-o", run, "--text", chain.clip, "--perceptual", "none", "--steps", 1)
    assert invoke(*words, "--prior-steps", 0).exit_code == 0
    out = invoke("export", chain.unet, "-o", tmp_path / "model", "--decoder", run)
    assert "has another encoder than" in one_sentence(out, 2)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(("name", "other"), [
    ("train-clip", ("--contrast", "softmax")), ("train-vae", ("--beta", 0.5)), ("train-diffusion", ("--init", "mean")),
])  # fmt: skip
def test_a_finished_run_is_left_alone(chain: Chain, name: str, other: tuple[object, ...]) -> None:
    """The same command says that all is done; one with other settings is refused, and says which."""
    run = {"train-clip": chain.clip, "train-vae": chain.vae, "train-diffusion": chain.unet}[name]
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*")}
    here = [chain.folder / w if w in ("dataset", "clip", "vae", "unet") else w for w in chain.commands()[name]]
    out = invoke(*here)
    assert (out.exit_code, out.stdout) == (0, f"{run}\n"), out.stderr
    steps = 40 if name == "train-diffusion" else 20
    assert f"{run} is finished: step {steps} of {steps} is done" in out.stderr
    for more in (other, ("--learning-rate", 3e-3), ("--seed", 4)):
        error = one_sentence(invoke(*here, *more), 2)
        assert f"already holds a run with other settings ({more[0]} is " in error
        assert f" there and {more[1]} here" in error
        assert "add --resume" in error
    assert {p: p.stat().st_mtime_ns for p in run.rglob("*")} == before


def test_perceptual_weights_that_are_missing(chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "cache"))
    words = ("train-vae", chain.dataset, "-o", tmp_path / "vae", "--text", chain.clip, "--preset", "tiny")
    assert "--perceptual none" in one_sentence(invoke(*words, "--perceptual-weights", tmp_path), 1)
    out = invoke(*words)
    assert (out.exit_code, out.stdout) == (1, "")
    error = out.stderr.splitlines()[-1]  # torch may say before that it tries to download
    assert error.startswith("error: ")
    assert "--perceptual none" in error
    assert "--perceptual-weights DIR" in error
    assert "Traceback" not in out.stderr
    assert not (tmp_path / "vae").exists()


def test_a_cvae_learns_by_vgg16_and_goes_on_with_it(chain: Chain, tmp_path: Path) -> None:
    run, weights = tmp_path / "vae", write_lpips(tmp_path / "weights", VGG16)
    words = ("train-vae", chain.dataset, "-o", run, "--text", chain.clip, "--preset", "tiny", "--prior-steps", 0,
             "--perceptual-weights", weights, "--checkpoint-every", 2)  # fmt: skip
    assert invoke(*words, "--perceptual", "lpips-vgg", "--steps", 2).exit_code == 0
    assert json.loads((run / "config.json").read_text(encoding="utf-8"))["perceptual"] == "lpips-vgg"
    out = invoke(*words, "--steps", 4, "--resume")
    assert out.exit_code == 0, out.stderr
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert max(row["step"] for row in rows) == 4
    assert all(row["lpips"] > 0 for row in rows if "lpips" in row) and any("lpips" in row for row in rows)


def test_a_refused_call_leaves_no_folder(chain: Chain, tmp_path: Path) -> None:
    done = celebgen(*chain.train_diffusion("new", "--vae", chain.folder / "none"), cwd=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "new").exists()


def test_a_bar_that_waits_is_seen_once_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    from celebgen_cli.cli import common

    for calls in (0, 1):
        console = Console(file=io.StringIO(), force_terminal=True, width=100)
        monkeypatch.setattr(common, "stderr", lambda console=console: console)
        with common.progress("draw latents", waits=True) as update:
            for _ in range(calls):
                update(3, 8)
        shown = console.file.getvalue()  # type: ignore[attr-defined]
        assert ("draw latents" in shown, "3/8" in shown) == (bool(calls), bool(calls))
