"""Text in, faces out: seeds, coordinates, guidance, and settings that cannot work."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import celebgen_cli
from celebgen_cli import pipeline
from celebgen_cli.diffusion.noise import CODE, image_noise
from celebgen_cli.diffusion.samplers import SAMPLERS
from celebgen_cli.diffusion.schedule import Schedule, trailing_timesteps
from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.models.calibration import Calibration
from celebgen_cli.models.cvae import to_uint8
from celebgen_cli.models.layers import Gaussian, TextFeatures
from celebgen_cli.models.spectrum import RINGS
from celebgen_cli.pipeline import Model, generate, load_model
from tests.networks import tiny_cvae, tiny_text, tiny_unet, write_tiny_model

SCHEDULE = Schedule.cosine(1000)
PROMPTS = ["smiling woman blond hair", "old man", "bald man with a big beard and glasses", "young woman, bangs",
           "man", "woman", "eyeglasses", "a photo of a serious man wearing a hat"]  # fmt: skip


@pytest.fixture(scope="module")
def model(model_folder: Path) -> Model:
    return load_model(model_folder, "cpu", "fp32")


class Spy:
    """Records what the U-Net was asked."""

    def __init__(self, unet: torch.nn.Module) -> None:
        self.calls: list[tuple[torch.Tensor, torch.Tensor, TextFeatures, Gaussian]] = []
        self.perturbed: list[torch.Tensor | None] = []
        self.handle = unet.register_forward_pre_hook(self._note)

    def _note(self, _: torch.nn.Module, inputs: Any) -> None:
        self.calls.append(inputs[:4])
        self.perturbed.append(inputs[4] if len(inputs) > 4 else None)


@pytest.fixture
def spy(model: Model) -> Iterator[Spy]:
    spy = Spy(model.unet)
    yield spy
    spy.handle.remove()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_seed_gives_the_same_face_at_any_batch_size(model: Model, sampler: str) -> None:
    seeds = [5, 0, 7, 5, 123456789, 1, 2, 3]
    made = [
        model.sample(PROMPTS, seeds, steps=3, sampler=sampler, guidance=2.0, batch_size=size).astype(int)
        for size in (1, 3, 8)
    ]
    assert made[0].std() > 10  # faces of noise, but pictures of something
    for other in made[1:]:
        assert np.abs(other - made[0]).max() <= 1


def test_seeds_and_prompts_each_change_the_face(model: Model) -> None:
    a, b, c = model.sample(["man", "man", "woman"], [0, 1, 0], steps=2)
    assert np.abs(a.astype(int) - b).mean() > 1
    assert np.abs(a.astype(int) - c).mean() > 1


def test_order_does_not_matter(model: Model) -> None:
    forwards = model.sample(PROMPTS, range(8), steps=2).astype(int)
    backwards = model.sample(PROMPTS[::-1], range(7, -1, -1), steps=2)[::-1]
    assert np.abs(forwards - backwards).max() <= 1


@pytest.mark.parametrize("negative", ["", "eyeglasses"])
def test_both_branches_see_the_positive_prompts_coordinates(model: Model, spy: Spy, negative: str) -> None:
    prompts = ["bald man", "young woman"]
    model.sample(prompts, [1, 2], steps=4, guidance=3.0, negative=negative)
    prior = model.cvae.prior(model.text(prompts))
    assert (prior.mean[0] - prior.mean[1]).abs().max() > 1e-2
    other = model.text([negative]).pooled
    assert len(spy.calls) == 4
    for u, _, text, coordinates in spy.calls:
        assert len(u) == 4
        torch.testing.assert_close(u[:2], u[2:])
        for half in (slice(0, 2), slice(2, 4)):
            torch.testing.assert_close(coordinates.mean[half], prior.mean, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(coordinates.logvar[half], prior.logvar, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(text.pooled[:2], model.text(prompts).pooled, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(text.pooled[2:], other.expand(2, -1), rtol=1e-4, atol=1e-5)


def test_denoising_starts_at_the_texts_own_distribution(model: Model, spy: Spy) -> None:
    """u_T is plain noise and the network sees T first: z_T = mean + std u_T is a draw of p(z|c)."""
    model.sample(["old man"], [42], steps=5, guidance=1.0)
    u, t, _, coordinates = spy.calls[0]
    assert [int(call[1][0]) for call in spy.calls] == trailing_timesteps(1000, 5)
    assert t.tolist() == [1000]
    assert torch.equal(u, image_noise([42], (4, 8, 8)))
    torch.testing.assert_close(coordinates.mean, model.cvae.prior(model.text(["old man"])).mean, rtol=1e-4, atol=1e-5)


def test_noise_variant_uses_one_gaussian_a_channel(tmp_path: Path) -> None:
    model = load_model(write_tiny_model(tmp_path / "noise", init="noise"), "cpu", "fp32")
    spy = Spy(model.unet)
    a = model.sample(["old man"], [0], steps=2, guidance=2.0)
    for _, _, _, coordinates in spy.calls:
        assert torch.equal(coordinates.mean, model.unet.channel_mean[None, :, None, None].expand(2, 4, 8, 8))
        assert torch.equal(coordinates.log_std, model.unet.channel_log_std[None, :, None, None].expand(2, 4, 8, 8))
    with torch.no_grad():  # and the decoder gets the latent back in those coordinates
        model.unet.channel_mean += 1
    assert np.abs(model.sample(["old man"], [0], steps=2, guidance=2.0).astype(int) - a).mean() > 1


def test_a_code_is_drawn_first(tmp_path: Path) -> None:
    """The seed's own draw makes the code, the text moves it, and z_T is a draw of p(z|w)."""
    model = load_model(write_tiny_model(tmp_path / "coarse", init="coarse"), "cpu", "fp32")
    spy, coarse = Spy(model.unet), model.unet.coarse
    assert coarse is not None
    drawn = {
        (prompt, seed): model.sample([prompt], [seed], steps=2, guidance=2.0)
        for prompt in ("old man", "woman") for seed in (0, 1)
    }  # fmt: skip
    assert len({face.tobytes() for face in drawn.values()}) == 4
    noise = image_noise([1], (4, 8, 8), CODE).flatten(1)
    pooled = model.text(["woman", ""]).pooled
    wanted = coarse.coordinates(coarse.draw(pooled[:1], coarse.unsaid(noise), pooled[1:], 2.0))
    u, _, _, coordinates = spy.calls[-2]
    assert torch.equal(u[:1], image_noise([1], (4, 8, 8)))
    torch.testing.assert_close(coordinates.mean[:1], wanted.mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(coordinates.log_std[:1], wanted.log_std, rtol=1e-4, atol=1e-4)
    assert torch.equal(coordinates.mean[:1], coordinates.mean[1:])  # both branches of guidance see one place
    both = model.sample(["old man", "woman"], [0, 1], steps=2, guidance=2.0)
    assert np.abs(both[1].astype(int) - drawn["woman", 1][0]).max() <= 1


@pytest.mark.parametrize("init", ["mean", "noise+prior"])
def test_other_arms_start_where_they_say(tmp_path: Path, init: str) -> None:
    model = load_model(write_tiny_model(tmp_path / "model", init=init), "cpu", "fp32")
    with torch.no_grad():
        model.unet.head.weight.zero_()
        model.unet.head.bias.zero_()
        prior, nobody = (model.cvae.prior(model.text([prompt])) for prompt in ("old man", ""))
        text = model.text(["old man"])
        center = nobody.mean if init == "mean" else model.unet.noise_coordinates(prior).mean
        expected = model.decode(center, ["old man"])
    spy = Spy(model.unet)
    face = model.sample(["old man"], [0], steps=1, guidance=1.0)  # v = 0 at T is x0 = 0: the center of the coordinates
    assert np.abs(face.astype(int) - expected).max() <= 1
    shown, wanted = spy.calls[0][3], nobody if init == "mean" else prior
    torch.testing.assert_close(shown.mean, wanted.mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(spy.calls[0][2].pooled, text.pooled, rtol=1e-4, atol=1e-5)


def conditional(prompts: list[str], seeds: list[int], steps: int) -> np.ndarray:
    """The conditional model alone, written out: no guidance code at all."""
    text, cvae, unet = tiny_text(), tiny_cvae().eval(), tiny_unet().eval()
    with torch.no_grad():
        c = text(prompts)
        p = cvae.prior(c)
        times = [*trailing_timesteps(1000, steps), 0]
        u = image_noise(seeds, (4, 8, 8))
        for t, s in pairwise(times):
            (a, b), (a2, b2) = (
                (SCHEDULE.alpha_bar(level) ** 0.5, (1 - SCHEDULE.alpha_bar(level)) ** 0.5) for level in (t, s)
            )
            v = unet(u, torch.full((len(seeds),), t), c, p)
            x0, noise = a * u - b * v, b * u + a * v
            u = a2 * x0 + b2 * noise
        return to_uint8(cvae.decode(p.mean + p.log_std.exp() * u, c))


def test_guidance_one_is_the_conditional_model(model: Model, spy: Spy) -> None:
    prompts, seeds = PROMPTS[:3], [0, 1, 2]
    made = model.sample(prompts, seeds, steps=6, sampler="ddim", guidance=1.0, negative="woman").astype(int)
    assert np.abs(made - conditional(prompts, seeds, 6)).max() <= 1
    assert all(len(call[0]) == 3 for call in spy.calls)  # and it costs no second evaluation
    assert np.abs(made - model.sample(prompts, seeds, steps=6, guidance=1.3)).max() > 1


def test_a_negative_prompt_equal_to_the_prompt_undoes_guidance(model: Model) -> None:
    a = model.sample(["man"], [0], steps=4, guidance=1.0).astype(int)
    b = model.sample(["man"], [0], steps=4, guidance=5.0, negative="man")
    assert np.abs(a - b).max() <= 1
    assert np.abs(a - model.sample(["man"], [0], steps=4, guidance=5.0, negative="woman")).max() > 1


def test_guidance_zero_is_the_other_branch(model: Model) -> None:
    """The negative prompt's text in the positive prompt's coordinates."""
    made = [model.sample(["man"], [0], steps=3, guidance=0.0, negative=other).astype(int) for other in ("man", "woman")]
    assert np.abs(made[0] - model.sample(["man"], [0], steps=3, guidance=1.0)).max() <= 1
    assert np.abs(made[0] - made[1]).max() > 1
    # at every level, and by the network as it is: no part of it depends on where guidance acts, or on PAG
    again = model.sample(
        ["man"], [0], steps=3, guidance=0.0, negative="woman", guidance_interval=(0.4, 0.8), pag=True
    )
    np.testing.assert_array_equal(again, made[1])


def test_pag_worsens_the_other_branch_alone(model: Model, spy: Spy) -> None:
    plain = model.sample(["old man"], [3], steps=2, guidance=3.0)
    assert spy.perturbed == [None, None]
    perturbed = model.sample(["old man"], [3], steps=2, guidance=3.0, pag=True)
    assert [rows.tolist() for rows in spy.perturbed[2:] if rows is not None] == [[False, True]] * 2
    assert np.abs(plain.astype(int) - perturbed).max() > 1
    alone = model.sample(["old man"], [3], steps=2, guidance=1.0, pag=True)
    np.testing.assert_array_equal(alone, model.sample(["old man"], [3], steps=2, guidance=1.0))


def test_guidance_acts_in_its_interval(model: Model, spy: Spy) -> None:
    model.sample(["old man"], [3], steps=4, guidance=3.0, guidance_interval=(0.5, 0.75))
    assert [(int(call[1][0]), len(call[0])) for call in spy.calls] == [(1000, 1), (750, 2), (500, 2), (250, 1)]


def test_more_guidance_goes_farther(model: Model) -> None:
    images = [model.sample(PROMPTS, range(8), steps=3, guidance=g).astype(float) for g in (1.0, 2.0, 4.0)]
    assert np.abs(images[2] - images[0]).mean() > np.abs(images[1] - images[0]).mean() > 0


def test_defaults_come_from_the_folder(model: Model, spy: Spy) -> None:
    assert model.defaults == {
        "sampler": "ddim", "steps": 3, "guidance": 2.0, "guidance_interval": [0.0, 1.0], "pag": False,
    }  # fmt: skip
    assert (model.size, model.crop, model.name) == (32, "face178", "tiny-random")
    images = model.sample(["man"], [0])
    assert (images.shape, images.dtype) == ((1, 32, 32, 3), np.uint8)
    assert [len(call[0]) for call in spy.calls] == [2, 2, 2]


def test_progress_counts_every_evaluation(model: Model) -> None:
    seen: list[tuple[int, int]] = []
    model.sample(PROMPTS[:5], range(5), steps=3, batch_size=2, callback=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 9) for i in range(1, 10)]


def test_no_prompts_no_faces(model: Model) -> None:
    assert model.sample([], []).shape == (0, 32, 32, 3)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"steps": 0}, "--steps must be from 1 to 1000, not 0"),
        ({"steps": 1001}, "--steps must be from 1 to 1000, not 1001"),
        ({"sampler": "euler"}, "there is no sampler 'euler'; choose one of ddim, ddpm, dpmpp_2m"),
        ({"guidance": -1.0}, "--guidance must be from 0 to 100, not -1"),
        ({"guidance": float("nan")}, "--guidance must be from 0 to 100, not nan"),
        ({"guidance": float("inf")}, "--guidance must be from 0 to 100, not inf"),
        (
            {"guidance_interval": (0.5, 0.4)},
            "--guidance-interval must be two numbers, 0 <= LOW <= HIGH <= 1, not 0.5 0.4",
        ),
        ({"guidance_interval": (-0.1, 1.0)}, "--guidance-interval must be two numbers"),
        ({"guidance_interval": (0.1, float("nan"))}, "--guidance-interval must be two numbers"),
    ],
)
def test_settings_that_cannot_work(model: Model, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        model.sample(["man"], [0], **settings)


def test_each_prompt_needs_a_seed(model: Model) -> None:
    with pytest.raises(UsageError, match=r"2 prompts need as many seeds, not 1"):
        model.sample(["man", "woman"], [0])


def test_reconstruction_is_without_text(model: Model) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    made = model.reconstruct(images, batch_size=2)
    assert (made.shape, made.dtype) == (images.shape, np.uint8)
    floats = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    nothing = model.text([""] * 5)
    expected = to_uint8(model.cvae.decode(model.cvae.encode(floats, nothing).mean, nothing))
    assert np.abs(made.astype(int) - expected).max() <= 1
    assert model.reconstruct(images[:0]).shape == (0, 32, 32, 3)
    with pytest.raises(UsageError, match=r"takes pictures"):
        model.reconstruct(images[:, :16])
    with pytest.raises(UsageError, match="takes pictures of uint8, 0 to 255, not float64"):
        model.reconstruct(images / 255)


def test_encode_and_decode_are_the_two_halves(model: Model) -> None:
    images = np.random.default_rng(1).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    z = model.encode(images)
    assert z.shape == (5, 4, 8, 8)
    np.testing.assert_array_equal(model.decode(z), model.reconstruct(images))
    with torch.inference_mode():
        expected = to_uint8(model.cvae.decode(z[:2], model.text(["man", "woman"])))
    assert np.abs(model.decode(z[:2], ["man", "woman"]).astype(int) - expected).max() <= 1
    with pytest.raises(UsageError, match=r"5 latents need as many prompts, not 1"):
        model.decode(z, ["man"])
    with pytest.raises(UsageError, match=r"takes pictures"):
        model.encode(images[0])


def test_what_is_decoded_of_photographs_goes_through_the_calibrations_filter(model: Model) -> None:
    images = np.random.default_rng(2).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    fades = torch.ones(3, RINGS)
    fades[1:, RINGS // 4 :] = 0
    calibration = Calibration(torch.ones(4, 8, 8), torch.zeros(4, 3), torch.ones(4, 3), fades)
    calibrated = replace(model, calibration=calibration)
    z, nothing = model.encode(images), model.text([""] * 3)
    with torch.inference_mode():
        expected = to_uint8(calibration.develop(model.cvae.decode(z, nothing))).astype(int)
    assert np.abs(calibrated.reconstruct(images).astype(int) - expected).max() <= 1
    assert np.abs(model.reconstruct(images).astype(int) - expected).max() > 5
    plain = model.reconstruct(images)
    np.testing.assert_array_equal(calibrated.reconstruct(images, calibrate=False), plain)
    np.testing.assert_array_equal(calibrated.decode(z), plain)  # whoever decodes says whether to correct
    np.testing.assert_array_equal(model.decode(z, calibrate=True), plain)  # there is nothing to correct by


def test_the_prior_is_where_denoising_starts(model: Model, spy: Spy) -> None:
    prior = model.prior(PROMPTS[:3], batch_size=2)
    expected = model.cvae.prior(model.text(PROMPTS[:3]))
    assert (prior.mean.shape, prior.mean.dtype, prior.prompts) == ((3, 4, 8, 8), np.float32, tuple(PROMPTS[:3]))
    np.testing.assert_allclose(prior.mean, expected.mean.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(prior.std, expected.log_std.exp().numpy(), rtol=1e-4, atol=1e-5)
    model.sample(PROMPTS[:3], [4, 5, 6], steps=2)
    start = spy.calls[0][0][:3]  # u at T; the draw of the prior that it stands for, decoded:
    z = torch.from_numpy(prior.mean) + torch.from_numpy(prior.std) * start
    np.testing.assert_array_equal(prior.faces([4, 5, 6]), model.decode(z, PROMPTS[:3]))
    np.testing.assert_array_equal(prior.faces(), model.decode(torch.from_numpy(prior.mean), PROMPTS[:3]))
    with pytest.raises(UsageError, match=r"3 prompts need as many seeds, not 1"):
        prior.faces([4])


def test_the_prior_of_nothing(model: Model) -> None:
    prior = model.prior([])
    assert prior.mean.shape == prior.std.shape == (0, 4, 8, 8)
    assert prior.faces().shape == prior.faces([]).shape == (0, 32, 32, 3)
    assert prior.mean.nbytes == 0
    assert "model" not in repr(prior)  # which is all its weights


def test_settings_say_what_sample_will_do(model: Model) -> None:
    assert model.settings(guidance=None, steps=5) == {
        "sampler": "ddim", "steps": 5, "guidance": 2.0, "guidance_interval": [0.0, 1.0], "pag": False, "eta": 0.0,
        "spacing": "trailing", "rescale": 0.0, "start": 1.0,
    }  # fmt: skip
    with pytest.raises(UsageError, match=r"no setting 'cfg'"):
        model.settings(cfg=3)
    with pytest.raises(UsageError, match=r"--batch-size must be at least 1, not 0"):
        model.sample(["man"], [0], batch_size=0)


def test_settings_that_a_calibration_was_not_measured_with(model: Model) -> None:
    assert model.uncalibrated(steps=9) == []  # there is none
    flat = Calibration(torch.zeros(4, 8, 8), torch.zeros(4, 3), torch.ones(4, 3), torch.ones(3, RINGS))
    record = {"settings": {"steps": 3, "sampler": "ddim", "guidance": 2.0, "guidance_interval": [0.0, 1.0]}}
    calibrated = replace(model, calibration=flat, info={**model.info, "calibration": record})
    assert calibrated.uncalibrated() == calibrated.uncalibrated(steps=3, guidance_interval=(0.0, 1.0)) == []
    assert calibrated.uncalibrated(steps=4, rescale=0.5, negative="hat") == ["steps", "rescale", "negative"]
    other = replace(calibrated, info={**model.info, "defaults": {**model.info["defaults"], "guidance": 5.0},
                                      "calibration": record})  # fmt: skip
    assert other.uncalibrated() == ["guidance"]
    assert replace(calibrated, info=model.info).uncalibrated(pag=True) == ["pag"]  # without a record: the defaults


def test_the_package_names_what_programs_use() -> None:
    assert celebgen_cli.load_model is load_model
    assert celebgen_cli.Model is Model
    assert {"Model", "Prior", "load_model"} <= set(dir(celebgen_cli))
    with pytest.raises(AttributeError, match=r"no attribute 'nothing'"):
        _ = celebgen_cli.nothing


def test_sha256_names_the_weights(model: Model, tmp_path: Path) -> None:
    same = load_model(write_tiny_model(tmp_path / "same"), "cpu")
    other = load_model(write_tiny_model(tmp_path / "other", storage="int8"), "cpu")
    assert model.sha256 == same.sha256 != other.sha256
    assert len(model.sha256) == 64


def test_one_text_is_no_list(model: Model) -> None:
    with pytest.raises(UsageError, match=r"prompts are a list of texts, such as \['man'\]"):
        model.sample("man", [0, 1, 2])
    with pytest.raises(UsageError, match="seeds are a list of numbers"):
        model.sample(["man"], 3)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="whole number"):
        model.sample(["man"], [1.5])  # type: ignore[list-item]
    assert model.sample(["man"], np.array([1]), steps=1).shape == (1, 32, 32, 3)  # type: ignore[arg-type]


def test_unknown_words(model: Model) -> None:
    assert model.unknown_words("smiling zebra") == ["zebra"]


@pytest.mark.parametrize(
    "defaults", [[], {"steps": "many"}, {"pag": "yes"}, {"guidance_interval": None}, {"sampler": []}, {"start": 0}]
)
def test_wrong_defaults(model_folder: Path, tmp_path: Path, defaults: Any) -> None:
    import json
    import shutil

    copy = Path(shutil.copytree(model_folder, tmp_path / "copy"))
    info = json.loads((copy / "model.json").read_text(encoding="utf-8"))
    (copy / "model.json").write_text(json.dumps({**info, "defaults": defaults}), encoding="utf-8")
    with pytest.raises(CelebgenError, match="wrong defaults"):
        load_model(copy)


def test_phrases_that_the_model_did_not_learn(model_folder: Path) -> None:
    model = load_model(model_folder, "cpu")
    assert model.unlearned_phrases("woman with red hair") == ["red hair"]
    assert model.read("man with dark hair").text == "man with dark brown hair"
    for training in ({"captions": "both"}, {"finetuned": {}}):  # whose captions may say anything
        model = load_model(model_folder, "cpu")
        model.info = {**model.info, "training": training}
        assert model.unlearned_phrases("woman with red hair") == []
        assert model.read("man with dark hair").text == "man with dark hair"


def test_without_a_schedule(model_folder: Path, tmp_path: Path) -> None:
    import json
    import shutil

    copy = Path(shutil.copytree(model_folder, tmp_path / "copy"))
    info = json.loads((copy / "model.json").read_text(encoding="utf-8"))
    for schedule, words in ((None, "schedule"), ({"kind": "linear"}, "linear"), ({"beta": 1}, "beta")):
        info["schedule"] = schedule
        (copy / "model.json").write_text(json.dumps(info), encoding="utf-8")
        with pytest.raises(CelebgenError, match=words):
            load_model(copy)
    del info["schedule"]
    (copy / "model.json").write_text(json.dumps(info), encoding="utf-8")
    with pytest.raises(CelebgenError, match=r"has no schedule"):
        load_model(copy)


def test_an_installation_without_a_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pipeline, "PRETRAINED", tmp_path)
    with pytest.raises(CelebgenError, match=r"no model in the box; give one with --model MODEL"):
        load_model()


def test_generate_reports_its_steps(model: Model) -> None:
    seen: list[tuple[int, int]] = []
    faces = generate(
        model.text, model.cvae, model.unet, model.schedule, ["man"], [0], steps=4, guidance=1.5, sampler="ddpm",
        callback=lambda step, steps: seen.append((step, steps)),
    )  # fmt: skip
    assert faces.shape == (1, 3, 32, 32)
    assert seen == [(i, 4) for i in range(4)]
