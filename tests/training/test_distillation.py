"""Distillation: steps and their inverse, the teacher's path, what the student is asked for, and the command."""

import functools
import json
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from celebgen_cli.data.dataset import open_dataset
from celebgen_cli.diffusion.guidance import unwhiten
from celebgen_cli.diffusion.noise import image_noise
from celebgen_cli.diffusion.objective import add_noise, velocity
from celebgen_cli.diffusion.samplers import ddim
from celebgen_cli.diffusion.schedule import Schedule
from celebgen_cli.drawing import chain_noise, draw_latents, start_code, start_coordinates
from celebgen_cli.errors import UsageError
from celebgen_cli.files import read_json
from celebgen_cli.models.folder import load_model
from celebgen_cli.models.layers import Gaussian
from celebgen_cli.settings import complete
from celebgen_cli.training import recipes, runs
from celebgen_cli.training.batches import training_and_held_out
from celebgen_cli.training.distillation import (
    DistillationTask,
    Teaching,
    ddim_step,
    teaching_of,
    velocity_between,
)
from celebgen_cli.training.parts import Part
from celebgen_cli.training.task import TrainConfig
from tests.command import Chain, invoke, one_sentence
from tests.networks import tiny_cvae, tiny_text, tiny_unet

SCHEDULE = Schedule.cosine(1000)
GUIDED = {"guidance": 3.0, "guidance_interval": (0.3, 0.9), "pag": True}
BATCH = 4


def task(dataset: Path, teaching: Teaching, init: str = "prior") -> DistillationTask:
    train, held = training_and_held_out(open_dataset(dataset))
    teacher = tiny_unet(init=init)
    return DistillationTask(
        teacher.config, SCHEDULE, tiny_cvae(), tiny_text(), teacher, teaching, train, held, BATCH, 0
    )


@pytest.mark.parametrize(("t", "s"), [(1000, 400), (1000, 0), (700, 699), (1, 0)])
def test_a_step_and_its_inverse(t: int, s: int) -> None:
    """On the straight line between data and noise one step is exact, from pure noise and to clean data too."""
    x0, noise = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).unbind()
    x_t, x_s = add_noise(x0, noise, t, SCHEDULE), add_noise(x0, noise, s, SCHEDULE)
    v = velocity(x0, noise, t, SCHEDULE)
    assert_close(ddim_step(x_t, v, t, s, SCHEDULE), x_s)
    assert_close(velocity_between(x_t, x_s, t, s, SCHEDULE), v, rtol=1e-6, atol=1e-9)


def test_steps_are_those_of_the_sampler() -> None:
    x, levels = torch.randn(2, 3, 4, 4, dtype=torch.float64), [1000, 800, 300]

    def denoiser(x: torch.Tensor, t: int) -> torch.Tensor:
        return torch.tanh(x) * t / 1000

    walked = x
    for t, s in zip(levels, [*levels[1:], 0], strict=True):
        walked = ddim_step(walked, denoiser(walked, t), t, s, SCHEDULE)
    assert_close(walked, ddim(denoiser, x, levels, SCHEDULE))


@pytest.mark.parametrize("spacing", ["trailing", "early", "quadratic"])
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_the_teacher_passes_where_the_student_steps(spacing: str, steps: int) -> None:
    paths = Teaching(steps, 12, spacing).paths(SCHEDULE)
    assert [len(path) for path in paths] == [12 // steps + 1] * steps
    assert (paths[0][0], paths[-1][-1]) == (1000, 0)
    assert all(one[-1] == other[0] for one, other in zip(paths, paths[1:], strict=False))


def test_levels_that_do_not_meet_are_refused() -> None:
    with pytest.raises(UsageError, match=r"--distill-steps"):
        Teaching(300, 900, "early").paths(SCHEDULE)  # rounding has moved some of so many


@pytest.mark.parametrize(("own", "steps", "expected"), [(9, 4, 12), (9, 3, 9), (20, 1, 20), (3, 4, 4)])
def test_the_teacher_has_no_fewer_steps_than_its_own(own: int, steps: int, expected: int) -> None:
    made = teaching_of(complete({"steps": own, "guidance": 2.0}, {}, 1000), steps)
    assert (made.steps, made.teacher_steps, made.guidance) == (steps, expected, 2.0)
    assert complete(made.defaults, {}, 1000)["steps"] == steps


def test_step_for_step_and_unguided_there_is_nothing_to_learn(dataset32: Path) -> None:
    loss, logged = task(dataset32, Teaching(3, 3)).loss(0)
    assert float(loss.detach()) < 1e-9
    assert set(logged) == {"step_1", "step_2", "step_3"}


@pytest.mark.parametrize("init", ["prior", "coarse"])
def test_the_target_is_where_the_guided_teacher_arrives(dataset32: Path, init: str) -> None:
    """A student that answers with the targets draws the latents that the sampler draws with the teacher's settings."""
    made = task(dataset32, Teaching(2, 6, "early", **GUIDED), init)  # type: ignore[arg-type]
    texts, seeds = ["man", "smiling woman", "bald", ""], [3, 4, 5, 6]
    z, _ = draw_latents(
        made.text, made.cvae, made.teacher, SCHEDULE, texts, seeds, steps=6, spacing="early", **GUIDED  # type: ignore[arg-type]
    )  # fmt: skip
    with torch.no_grad():
        features = made.text([*texts, ""])
        p = made.cvae.prior(features)
        prior, own = Gaussian(p.mean[:4], p.logvar[:4]), torch.arange(4)
        shape, positive, other = tuple(prior.mean.shape[1:]), features.select(own), features.select(torch.full((4,), 4))
        # the student's code is drawn without guidance, which is in its own buffers
        code = start_code(made.model, positive, other, 1.0, functools.partial(chain_noise, made.model, seeds, shape))
        where, shown = start_coordinates(made.text, made.cvae, made.model, prior, code)
        teacher = made._taught(positive, other, shown)
        x = image_noise(seeds, shape)
        for levels in made.paths:
            v = velocity_between(x, made._led(teacher, x, levels), levels[0], levels[-1], SCHEDULE)
            x = ddim_step(x, v, levels[0], levels[-1], SCHEDULE)
    assert_close(unwhiten(x, where.mean, where.log_std), z, rtol=1e-3, atol=1e-3)


def test_each_step_begins_where_the_student_arrived(dataset32: Path) -> None:
    made = task(dataset32, Teaching(2, 6, **GUIDED))  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in made.model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    made.model.register_forward_hook(lambda network, given, v: seen.append((given[0], v.detach())))
    made.loss(3)
    (x, v), (then, _) = seen
    levels = made.paths[0]
    assert_close(then, ddim_step(x, v, levels[0], levels[-1], SCHEDULE))
    assert float((then - x).abs().mean()) > 1e-2


def test_parts_of_a_batch_are_the_batch(dataset32: Path) -> None:
    made = task(dataset32, Teaching(2, 4, **GUIDED))  # type: ignore[arg-type]
    whole, _ = made.loss(5)
    parts = [made.loss(5, part)[0] for part in (Part(0, 1), Part(1, 3))]
    assert_close(whole, parts[0] / 4 + parts[1] * 3 / 4)
    assert float(whole.detach()) > 1e-4
    assert not torch.equal(made.loss(6)[0], whole)


def test_only_the_student_learns(dataset32: Path) -> None:
    made = task(dataset32, Teaching(2, 4, **GUIDED))  # type: ignore[arg-type]
    optimizer = torch.optim.Adam(made.module.parameters(), 1e-3)
    losses = []
    for _ in range(25):  # always the same paths: random networks have nothing in common that others could teach
        optimizer.zero_grad()
        loss, _ = made.loss(0)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    assert all(parameter.grad is None for parameter in (*made.teacher.parameters(), *made.cvae.parameters()))


def test_the_command(chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A student is a run like others: it goes on, has the teacher beside it, and is exported with its own defaults."""
    run, model = tmp_path / "student", tmp_path / "model"
    words = ("train-diffusion", chain.dataset, "-o", run, "--distill", chain.model, "--batch-size", 2,
             "--distill-steps", 2)  # fmt: skip
    out = invoke(*words, "--steps", 2)
    assert out.exit_code == 0, out.stderr
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    assert (config["kind"], config["preset"], config["distill"]["steps"]) == ("diffusion", "tiny", 2)
    frozen = load_model(run / "frozen", ("unet",)).unet
    taught = load_model(chain.model, ("unet",)).unet
    assert frozen is not None
    assert taught is not None
    for name, value in taught.state_dict().items():
        assert torch.equal(frozen.state_dict()[name], value), name
    assert "--distill-steps is 2 there and 3 here" in one_sentence(invoke(*words[:-1], 3, "--steps", 2), 2)
    out = invoke("train-diffusion", chain.dataset, "-o", run, "--steps", 3, "--resume")
    assert out.exit_code == 0, out.stderr
    after = json.loads((run / "config.json").read_text(encoding="utf-8"))
    assert after == {**config, "train": {**config["train"], "steps": 3}}
    out = invoke("train-diffusion", "--config", run / "config.toml", "-o", run, "--steps", 4, "--resume")
    assert out.exit_code == 0, out.stderr
    kept = chain.model.rename(tmp_path / "elsewhere")
    try:
        out = invoke("train-diffusion", chain.dataset, "-o", run, "--steps", 5, "--resume")
    finally:
        kept.rename(chain.model)
    assert out.exit_code == 0, out.stderr
    assert "goes on with the networks that it began with" in " ".join(out.stderr.split())
    after = json.loads((run / "config.json").read_text(encoding="utf-8"))
    assert after == {**config, "train": {**config["train"], "steps": 5}}
    (run / "config.toml").unlink()  # info reads the command from the settings then
    said = invoke("info", run).stdout
    assert f"--distill {chain.model} --resume" in " ".join(said.split())
    with monkeypatch.context() as patch:  # latents for a decoder are drawn as the student draws
        drawn: list[dict[str, object]] = []
        patch.setattr("celebgen_cli.training.drawn.draw_pool", lambda *words: drawn.append(words[7]))
        parts = runs.load_components(run, ("text", "cvae", "unet"))
        here = (None, torch.device("cpu"), TrainConfig(1, 1, 1.0), lambda done, total: None)
        recipes._draw(parts, 4, tmp_path, *here)  # type: ignore[arg-type]
        assert (drawn[0]["steps"], drawn[0]["guidance"], drawn[0]["pag"]) == (2, 1.0, False)
    assert invoke("export", run, "-o", model).exit_code == 0
    info = read_json(model / "model.json")
    assert (info["defaults"]["steps"], info["defaults"]["guidance"], info["defaults"]["pag"]) == (2, 1.0, False)
    assert info["training"]["distilled"]["teacher_steps"] % 2 == 0
    out = invoke("sample", "man", "--model", model, "--json", "-o", tmp_path / "face.png")
    assert out.exit_code == 0, out.stderr
    assert (tmp_path / "face.png").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--distill MODEL for a few-step student"),
        (("--distill", "{model}", "--widths", "16,24"), "--widths is the teacher's own"),
        (("--distill", "{model}", "--vae", "{vae}"), "--vae is the teacher's own"),
        (("--vae", "{vae}", "--distill-steps", 2), "add --distill MODEL"),
    ],
)
def test_what_does_not_go_together(chain: Chain, tmp_path: Path, words: tuple[object, ...], said: str) -> None:
    given = [str(word).format(model=chain.model, vae=chain.vae) for word in words]
    out = invoke("train-diffusion", chain.dataset, "-o", tmp_path / "run", *given)
    assert said in one_sentence(out, 2)
    assert not (tmp_path / "run").exists()


def test_print_config_has_the_student(chain: Chain, tmp_path: Path) -> None:
    out = invoke("train-diffusion", chain.dataset, "-o", tmp_path / "run", "--distill", chain.model, "--print-config")
    assert out.exit_code == 0, out.stderr
    assert "distill-steps = 4" in out.stdout
    assert "batch-size = 4" in out.stdout
    file = tmp_path / "student.toml"
    file.write_text(out.stdout, encoding="utf-8")
    again = invoke("train-diffusion", "--config", file, "--print-config")
    assert again.stdout == out.stdout
