"""Edits: exact ends, one system of coordinates both ways, photographs cut as the data was."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from celebgen_cli.data.crops import crop_and_resize
from celebgen_cli.diffusion.starts import deepest_inversion
from celebgen_cli.editing.change import Change, plain_change
from celebgen_cli.editing.edit import GUIDANCE, edit_level, edit_settings
from celebgen_cli.editing.edit import edit as edit_photos
from celebgen_cli.editing.photos import read_photo
from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.models.calibration import Calibration
from celebgen_cli.models.spectrum import RINGS
from celebgen_cli.pipeline import Model, load_model
from tests.command import Chain


def edit(
    model: Model, face: np.ndarray, prompt: str, settings: dict[str, Any], seed: int = 0, **how: Any
) -> np.ndarray:
    """One photograph, by these very words."""
    return edit_photos(model, face[None], [plain_change(prompt)], settings, seeds=[seed], **how)[0]


@pytest.fixture(scope="module")
def model(chain: Chain) -> Model:
    return load_model(chain.model, "cpu", "fp32")


@pytest.fixture(scope="module")
def faces(chain: Chain) -> np.ndarray:
    return np.load(chain.dataset / "train" / "images.npy")[:2]


@pytest.mark.parametrize("method", ["invert", "noise"])
def test_strength_0_is_the_cvaes_reconstruction(model: Model, faces: np.ndarray, method: str) -> None:
    made = edit(model, faces[0], "old man", edit_settings(model), strength=0, method=method)
    assert np.array_equal(made, model.reconstruct(faces[:1])[0])


def test_edits_go_through_the_calibrations_filter(model: Model, faces: np.ndarray) -> None:
    channels, size = model.cvae.config.latent_channels, model.cvae.config.latent_size
    shift, tones, gray = torch.ones(channels, size, size), torch.ones(channels, 3), torch.ones(3, RINGS)
    gray[1:] = 0
    filtering = replace(model, calibration=Calibration(shift, 0 * tones, tones, gray))
    how: dict[str, Any] = {"strength": 0.5, "method": "noise"}
    made, plain = (edit(m, faces[0], "old man", edit_settings(model, 2), **how) for m in (filtering, model))
    assert np.ptp(made.astype(int), axis=2).max() <= 2 < np.ptp(plain.astype(int), axis=2).max()
    luma = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    assert np.abs((made.astype(float) - plain) @ luma).max() < 2  # latents are left alone
    same = edit(filtering, faces[0], "old man", edit_settings(model, 2), calibrate=False, **how)
    np.testing.assert_array_equal(same, plain)
    rebuilt = edit(filtering, faces[0], "old man", edit_settings(model, 2), strength=0, method="noise")
    np.testing.assert_array_equal(rebuilt, filtering.reconstruct(faces[:1])[0])
    whole = edit(filtering, faces[0], "old man", edit_settings(model, 2), strength=0, method="noise", detail=True)
    np.testing.assert_array_equal(whole, faces[0])


def test_strength_1_with_noise_forgets_the_photo(model: Model, faces: np.ndarray) -> None:
    def made(face: np.ndarray, strength: float, seed: int = 0) -> np.ndarray:
        settings = edit_settings(model, 5)
        return edit(model, face, "old man", settings, strength=strength, method="noise", seed=seed).astype(int)

    assert np.array_equal(made(faces[0], 1), made(faces[1], 1))
    assert not np.array_equal(made(faces[0], 0.5), made(faces[1], 0.5))
    assert not np.array_equal(made(faces[0], 1), made(faces[0], 1, seed=1))


def test_photographs_are_edited_each_by_its_own_change(model: Model, faces: np.ndarray) -> None:
    changes, settings = [Change("man", "old man", "man"), plain_change("woman with bangs")], edit_settings(model, 4)
    how: dict[str, Any] = {"strength": 0.6, "method": "noise", "detail": True}
    both = edit_photos(model, faces, changes, settings, seeds=[3, 4], **how).astype(int)
    for i in range(2):
        one = edit_photos(model, faces[i : i + 1], changes[i : i + 1], settings, seeds=[3 + i], **how)
        assert np.abs(both[i] - one[0]).max() <= 1


def test_equal_words_on_both_sides_come_back(model: Model, faces: np.ndarray) -> None:
    """Whatever the guidance: nothing lies between them."""
    target = model.reconstruct(faces[:1]).astype(float)
    for guidance in (1.0, 20.0):
        settings = edit_settings(model, 100, guidance)
        made = edit_photos(model, faces[:1], [Change("old man", "old man", "old man")], settings, strength=0.6)
        assert np.abs(made - target).mean() < 2


@pytest.mark.parametrize("method", ["invert", "noise"])
def test_guidance_leads_away_from_the_other_words(model: Model, faces: np.ndarray, method: str) -> None:
    """Of each batch of both branches the first half is told the target, the second the other words."""
    seen: list[torch.Tensor] = []
    handle = model.unet.register_forward_pre_hook(lambda _, given: seen.append(given[2].pooled))
    change = Change("young man", "old man", "young man, hat")
    edit_photos(model, faces[:1], [change], edit_settings(model, 3, 3.0), strength=0.6, method=method)
    handle.remove()
    with torch.no_grad():
        wanted = model.text([change.target, change.other]).pooled
    for pooled in seen[-3:]:
        torch.testing.assert_close(torch.cat([*pooled]).view(2, -1), wanted, rtol=1e-4, atol=1e-4)


def test_rescale_is_heeded(model: Model, faces: np.ndarray) -> None:
    settings = edit_settings(model, 4, 100.0)
    made = [edit(model, faces[0], "old man", {**settings, "rescale": r}, strength=0.8).astype(int) for r in (0.0, 1.0)]
    assert np.abs(made[0] - made[1]).max() > 1


def test_detail_of_an_edit_that_does_nothing_is_the_photograph(model: Model, faces: np.ndarray) -> None:
    made = edit_photos(model, faces, [plain_change("man")] * 2, edit_settings(model), strength=0, detail=True)
    assert np.array_equal(made, faces)


def test_settings_are_an_edits_own(model: Model, tmp_path: Path) -> None:
    settings = edit_settings(model)
    assert (settings["guidance"], settings["pag"], tuple(settings["guidance_interval"])) == (GUIDANCE, False, (0, 1))
    from tests.networks import write_tiny_model

    folder = write_tiny_model(tmp_path / "student")
    info = json.loads((folder / "model.json").read_text())
    info["defaults"] = {**info.get("defaults", {}), "guidance": 1.0}
    (folder / "model.json").write_text(json.dumps(info))
    student = load_model(folder, "cpu", "fp32")
    assert edit_settings(student)["guidance"] == 1 and edit_settings(student, guidance=3.0)["guidance"] == 3


@pytest.mark.parametrize("strength", [0.3, 0.7])
def test_a_round_trip_without_text_comes_back(model: Model, faces: np.ndarray, strength: float) -> None:
    """And the error falls with the length of the steps, as that of DDIM's inversion does."""
    target = model.reconstruct(faces[:1])[0].astype(float)
    errors = [
        np.abs(edit(model, faces[0], "", edit_settings(model, steps, 1.0), strength=strength) - target).mean()
        for steps in (8, 100)
    ]
    assert errors[1] < 2
    assert errors[1] <= errors[0]


@pytest.mark.parametrize("method", ["invert", "noise"])
def test_both_ways_see_the_prior_without_text(model: Model, faces: np.ndarray, method: str) -> None:
    seen = []
    handle = model.unet.register_forward_pre_hook(lambda _, inputs: seen.append((inputs[2].pooled, inputs[3])))
    with torch.no_grad():
        edit(model, faces[0], "old man", edit_settings(model, 4, 3.0), strength=0.6, method=method)
        handle.remove()
        prior = model.cvae.prior(model.text([""]))
        pooled = model.text(["old man"]).pooled
    for _, coordinates in seen:
        for part, expected in zip(coordinates, prior, strict=True):
            torch.testing.assert_close(part, expected.expand_as(part), rtol=1e-4, atol=1e-5)
    with_text = [torch.allclose(text[:1], pooled, atol=1e-4) for text, _ in seen]
    assert with_text == [False] * (4 if method == "invert" else 0) + [True] * 4


def test_the_prompt_matters(model: Model, faces: np.ndarray) -> None:
    a, b = (edit(model, faces[0], p, edit_settings(model, 6), strength=0.9).astype(int) for p in ("man", "woman"))
    assert not np.array_equal(a, b)


def test_an_inversion_ends_where_the_picture_is_still_there(model: Model, faces: np.ndarray) -> None:
    assert edit_level(model, 1, "invert") == deepest_inversion(model.schedule) < model.schedule.timesteps
    assert edit_level(model, 1, "noise") == model.schedule.timesteps
    settings = edit_settings(model, 5)
    whole = edit(model, faces[0], "man", settings, strength=1)
    deepest = deepest_inversion(model.schedule) / model.schedule.timesteps
    assert np.array_equal(whole, edit(model, faces[0], "man", settings, strength=deepest))


def test_more_steps_than_levels(model: Model, faces: np.ndarray) -> None:
    done = []
    edit(model, faces[0], "man", edit_settings(model, 50), strength=0.003, callback=lambda i, n: done.append((i, n)))
    assert done == [(i + 1, 6) for i in range(6)]


@pytest.mark.parametrize("method", ["invert", "noise"])
@pytest.mark.parametrize("init", ["coarse", "noise", "noise+prior", "mean"])
def test_the_variants_that_start_elsewhere(tmp_path: Path, method: str, init: str) -> None:
    from tests.networks import write_tiny_model

    model = load_model(write_tiny_model(tmp_path / "noise", init=init), "cpu", "fp32")
    face = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    assert edit(model, face, "man", edit_settings(model, 3), strength=0.5, method=method).shape == (32, 32, 3)


def test_words_move_the_photos_code_as_far_as_they_move_a_drawn_one(tmp_path: Path) -> None:
    from tests.networks import write_tiny_model

    model, shown = load_model(write_tiny_model(tmp_path / "coarse", init="coarse"), "cpu", "fp32"), []
    coarse = model.unet.coarse
    assert coarse is not None
    model.unet.register_forward_pre_hook(lambda unet, given: shown.append(given[3].mean[:1]))
    face = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    change = Change("young man", "old man", "hat")
    edit_photos(model, face[None], [change], edit_settings(model, 2, guidance=3.0), strength=0.5)
    with torch.no_grad():
        own, pooled = coarse.code(model.encode(face[None])), model.text(list(change)).pooled
        unsaid = torch.randn(1, len(coarse.basis))
        moved = coarse.draw(pooled[1:2], unsaid, pooled[2:], 3.0) - coarse.draw(pooled[:1], unsaid)
    assert len(shown) == 4
    for calls, code in ((shown[:2], own), (shown[2:], own + 0.5 * moved)):
        for mean in calls:
            torch.testing.assert_close(mean, coarse.coordinates(code).mean, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("strength", "method"), [(1.1, "noise"), (-0.1, "invert"), (float("nan"), "noise"), (1, "x")])
def test_what_cannot_be(model: Model, faces: np.ndarray, strength: float, method: str) -> None:
    with pytest.raises(UsageError):
        edit(model, faces[0], "man", edit_settings(model), strength=strength, method=method)


def test_photographs_changes_and_seeds_are_as_many(model: Model, faces: np.ndarray) -> None:
    settings, change = edit_settings(model, steps=1), plain_change("man")
    for changes, seeds, says in (([change] * 2, [7], "2 photographs need as many seeds, not 1"),
                                 ([change], None, "2 photographs need as many changes, not 1")):  # fmt: skip
        with pytest.raises(UsageError, match=says):
            edit_photos(model, faces[:2], changes, settings, strength=0.5, method="noise", seeds=seeds)
    for method in ("noise", "invert"):
        assert edit_photos(model, faces[:0], [], settings, strength=0.5, method=method).shape == faces[:0].shape


def noise_image(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize(("size", "cut"), [((178, 218), "face178"), ((218, 178), "square"), ((300, 400), "square")])
def test_photos_are_cut_as_prepare_cuts(tmp_path: Path, size: tuple[int, int], cut: str) -> None:
    image = noise_image(*size)
    image.save(tmp_path / "a.png")
    photo = read_photo(tmp_path / "a.png", "face178", 32)
    assert photo.cut == cut
    assert np.array_equal(photo.pixels, crop_and_resize(image, cut, 32))


def test_landmarks_put_the_face_where_celeba_has_it(tmp_path: Path) -> None:
    """A portrait whose landmarks are CelebA's mean, shifted: aligned, it is the aligned image's own crop."""
    image = noise_image(178, 218).resize((178, 218))
    wide = Image.new("RGB", (300, 300))
    wide.paste(image, (40, 30))
    wide.save(tmp_path / "anna.png")
    points = np.array([[69, 111], [108, 111], [88, 136], [72, 152], [105, 152]]) + (40, 30)
    rows = tmp_path / "points.txt"
    rows.write_text("anna.png " + " ".join(map(str, points.ravel().tolist())) + "\n")
    photo = read_photo(tmp_path / "anna.png", "face178", 178, landmarks=rows)
    assert photo.points == points.tolist()
    assert np.abs(photo.pixels.astype(int) - crop_and_resize(image, "face178", 178)).max() <= 1
    rows.write_text("otto.png " + " ".join(map(str, points.ravel().tolist())) + "\n")
    with pytest.raises(CelebgenError, match=r"no row for .*anna\.png"):
        read_photo(tmp_path / "anna.png", "face178", 178, landmarks=rows)


def test_landmarks_of_another_folder_or_of_the_other_side_are_refused(tmp_path: Path) -> None:
    points = np.array([[69, 111], [108, 111], [88, 136], [72, 152], [105, 152]])
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        noise_image(178, 218).save(tmp_path / folder / "1.png")
    rows = tmp_path / "points.txt"
    rows.write_text("x/1.png " + " ".join(map(str, points.ravel().tolist())) + "\n")
    assert read_photo(tmp_path / "x" / "1.png", "face178", 32, landmarks=rows).points == points.tolist()
    with pytest.raises(CelebgenError, match=r"no row for .*1\.png"):
        read_photo(tmp_path / "y" / "1.png", "face178", 32, landmarks=rows)
    rows.write_text("1.png " + " ".join(map(str, points[[1, 0, 2, 4, 3]].ravel().tolist())) + "\n")
    with pytest.raises(CelebgenError, match=r"1\.png cannot be edited: left and right .* exchanged"):
        read_photo(tmp_path / "x" / "1.png", "face178", 32, landmarks=rows)


def test_a_photo_that_is_cut_already(tmp_path: Path) -> None:
    noise_image(32, 32).save(tmp_path / "a.png")
    assert np.array_equal(read_photo(tmp_path / "a.png", "face178", 32, already="face178").pixels, noise_image(32, 32))
    with pytest.raises(UsageError, match="face178, not ddim"):
        read_photo(tmp_path / "a.png", "face178", 32, already="ddim")
    noise_image(32, 40).save(tmp_path / "b.png")
    with pytest.raises(CelebgenError, match="square"):
        read_photo(tmp_path / "b.png", "face178", 32, already="face178")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system with named pipes")
def test_a_pipe_is_no_photograph(tmp_path: Path) -> None:
    """Nobody may ever write to it."""
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", tmp_path):
        with pytest.raises(CelebgenError, match="is no file"):
            read_photo(path, "face178", 32)
