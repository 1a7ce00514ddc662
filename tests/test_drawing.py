"""How a face is drawn: the same from its seed whatever is beside it, each setting by what it must do, frames."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from celebgen_cli.diffusion.guidance import rescaled, whiten
from celebgen_cli.diffusion.noise import image_noise
from celebgen_cli.diffusion.spacing import spaced_timesteps
from celebgen_cli.diffusion.starts import late_start
from celebgen_cli.models.calibration import Calibration
from celebgen_cli.models.cvae import to_uint8
from celebgen_cli.models.spectrum import RINGS
from celebgen_cli.pipeline import Model, generate, load_model
from tests.networks import write_tiny_model

PROMPTS = ["smiling woman blond hair", "old man", "old man", "young woman, bangs", "man", "woman", "eyeglasses", ""]
SEEDS = [5, 0, 7, 5, 123456789, 1, 2, 2**63]


@pytest.fixture(scope="module")
def model(model_folder: Path) -> Model:
    return load_model(model_folder, "cpu", "fp32")


class Asked:
    """What the U-Net was asked: x, t and coordinates of each call."""

    def __init__(self, model: Model) -> None:
        self.calls: list[Any] = []
        self.handle = model.unet.register_forward_pre_hook(lambda _, inputs: self.calls.append(inputs))

    def __enter__(self) -> "Asked":
        return self

    def __exit__(self, *_: object) -> None:
        self.handle.remove()

    @property
    def timesteps(self) -> list[int]:
        return [int(call[1][0]) for call in self.calls]


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """At most one level of 255 apart, in at most 0.1 % of values."""
    apart = np.abs(a.astype(int) - b)
    return bool(apart.max() <= 1 and (apart > 0).mean() <= 1e-3)


HARD: dict[str, Any] = {
    "steps": 4, "guidance": 3.0, "negative": "eyeglasses", "eta": 0.7, "sampler": "ddim", "rescale": 0.5, "pag": True,
}  # fmt: skip


def test_a_seed_gives_the_same_face_in_any_order_and_company(model: Model) -> None:
    made = model.sample(PROMPTS, SEEDS, batch_size=8, **HARD)
    assert not same(made[1:2], made[2:3])  # one prompt, two seeds
    for order, size in ((np.random.default_rng(1).permutation(8), 3), (np.arange(8)[::-1], 1)):
        again = model.sample([PROMPTS[i] for i in order], [SEEDS[i] for i in order], batch_size=size, **HARD)
        assert same(again, made[order])


WORKER = """
import json, sys
import numpy as np
import celebgen_cli

assert "torch" not in sys.modules, "the package alone must not need torch"
from celebgen_cli import load_model

job = json.loads(sys.argv[1])
model = load_model(job["model"], "cpu", "fp32")
np.save(job["output"], model.sample(job["prompts"], job["seeds"], batch_size=2, **job["settings"]))
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def test_another_process_with_more_threads_draws_the_same_and_imports_little(
    model: Model, model_folder: Path, tmp_path: Path
) -> None:
    order = [6, 1, 3, 0]
    job = {
        "model": str(model_folder), "output": str(tmp_path / "faces.npy"), "settings": HARD,
        "prompts": [PROMPTS[i] for i in order], "seeds": [SEEDS[i] for i in order],
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", WORKER, json.dumps(job)], capture_output=True, text=True, timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert same(np.load(tmp_path / "faces.npy"), model.sample(PROMPTS, SEEDS, **HARD)[order])
    heavy = {"open_clip", "torchvision", "pandas", "PIL", "rich", "typer", "torch_fidelity", "diffusers"}
    assert heavy.isdisjoint(json.loads(done.stdout))


@pytest.mark.parametrize(("spacing", "start"), [("quadratic", 1.0), ("logsnr", 1.0), ("trailing", 0.8)])
def test_the_network_is_asked_at_the_timesteps_of_the_spacing(model: Model, spacing: str, start: float) -> None:
    with Asked(model) as asked:
        model.sample(["man"], [3], steps=6, guidance=1.0, spacing=spacing, start=start)
    assert asked.timesteps == spaced_timesteps(model.schedule, 6, spacing, start)
    assert torch.equal(asked.calls[0][0], image_noise([3], (4, 8, 8)))  # whitened by the prior: N(0, I) at any level


def test_a_late_start_of_plain_noise_is_the_texts_prior_all_the_same(tmp_path: Path) -> None:
    """Other coordinates, one Gaussian a channel: there the prior's noised draw is not N(0, I)."""
    model = load_model(write_tiny_model(tmp_path / "noise", init="noise"), "cpu", "fp32")
    for start in (1.0, 0.7):
        with Asked(model) as asked:
            model.sample(["old man"], [3], steps=2, guidance=1.0, start=start)
        x, t, _, coordinates = asked.calls[0][:4]
        prior = model.cvae.prior(model.text(["old man"]))
        expected = late_start(
            image_noise([3], (4, 8, 8)), int(t), model.schedule,
            whiten(prior.mean, coordinates.mean, coordinates.log_std),
            (prior.log_std - coordinates.log_std).exp(),
        )  # fmt: skip
        torch.testing.assert_close(x, expected, rtol=1e-4, atol=1e-5)
        assert torch.equal(x, image_noise([3], (4, 8, 8))) == (start == 1)


def test_eta_one_is_ddpm(model: Model) -> None:
    noisy = model.sample(PROMPTS[:2], [0, 1], steps=5, sampler="ddim", eta=1.0)
    assert same(noisy, model.sample(PROMPTS[:2], [0, 1], steps=5, sampler="ddpm"))
    assert not same(noisy, model.sample(PROMPTS[:2], [0, 1], steps=5, sampler="ddim"))


def test_rescale_acts_on_the_networks_answers(model: Model) -> None:
    """One step from T: x0 = -v, so the whole picture follows by hand from the two branches."""
    prompts, seeds = PROMPTS[:3], [0, 1, 2]
    with torch.inference_mode():
        text, nothing = model.text(prompts), model.text([""] * 3)
        p, x, t = model.cvae.prior(text), image_noise(seeds, (4, 8, 8)), torch.full((3,), 1000)
        v, other = (model.unet(x, t, c, p) for c in (text, nothing))
        u = -rescaled(other + 5 * (v - other), v, 0.6)
        expected = to_uint8(model.cvae.decode(p.mean + p.log_std.exp() * u, text))
    assert same(model.sample(prompts, seeds, steps=1, guidance=5.0, rescale=0.6), expected)
    assert not same(model.sample(prompts, seeds, steps=1, guidance=5.0), expected)


def test_frames_go_from_the_priors_mean_to_the_face(model: Model) -> None:
    frames: dict[tuple[int, int], np.ndarray] = {}

    def keep(first: int, step: int, faces: np.ndarray) -> None:
        assert (first, step) not in frames
        frames[first, step] = faces

    made = model.sample(PROMPTS[:5], SEEDS[:5], steps=3, batch_size=2, frames=keep)
    assert list(frames) == [(first, step) for first in (0, 2, 4) for step in range(4)]
    whole = [np.concatenate([frames[first, step] for first in (0, 2, 4)]) for step in range(4)]
    assert same(whole[0], model.prior(PROMPTS[:5]).faces())
    np.testing.assert_array_equal(whole[3], made)
    assert same(made, model.sample(PROMPTS[:5], SEEDS[:5], steps=3))
    one = model.sample(PROMPTS[:5], SEEDS[:5], steps=1, guidance=2.0, spacing="trailing")
    assert same(whole[1], one)  # what the first evaluation takes the face for is where a single step ends
    assert not same(whole[1], whole[2])


def test_frames_are_calibrated_like_the_face(model: Model) -> None:
    shift = torch.full((4, 8, 8), 0.3)
    calibration = Calibration(shift, torch.zeros(4, 3), torch.ones(4, 3), torch.ones(3, RINGS))
    frames: list[torch.Tensor] = []
    generate(
        model.text, model.cvae, model.unet, model.schedule, ["man"], [0], steps=2, guidance=1.0,
        calibration=calibration, frames=lambda step, faces: frames.append(faces),
    )  # fmt: skip
    with torch.inference_mode():
        text = model.text(["man"])
        p = model.cvae.prior(text)
        mean = calibration.develop(model.cvae.decode(p.mean - p.log_std.exp() * shift, text))
    torch.testing.assert_close(frames[0], mean, rtol=1e-4, atol=1e-4)
    assert len(frames) == 2


def test_many_seeds_of_one_prompt_run_the_text_networks_once(model: Model) -> None:
    rows: list[int] = []
    handle = model.cvae.prior.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0].pooled)))
    try:
        model.sample(["man"] * 6 + ["woman"], range(7), steps=1)
    finally:
        handle.remove()
    assert rows == [3]  # two prompts and the one without words
