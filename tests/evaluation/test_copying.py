"""Copies are found, new pictures are not called copies, and faces of one prompt are told apart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from celebgen_cli.data.attributes import ATTRIBUTES
from celebgen_cli.data.captions import CaptionSource, read_caption
from celebgen_cli.errors import UsageError
from celebgen_cli.evaluation import neighbours as module
from celebgen_cli.evaluation.copying import measure_copying, space_figures
from celebgen_cli.evaluation.diversity import (
    ASKED,
    _asked,
    feature_distance,
    lpips_distance,
    mean_distance,
    measure_diversity,
)
from celebgen_cli.evaluation.memorization import parted
from celebgen_cli.evaluation.neighbours import Joined, Latents, Mirrored, Neighbours, Pixels, nearer, nearest
from celebgen_cli.evaluation.similarity import find_lpips, lpips
from celebgen_cli.evaluation.sources import ImageFiles, open_images
from celebgen_cli.images import encode_png, read_pixels
from celebgen_cli.pipeline import load_model
from tests.command import invoke, one_sentence
from tests.evaluation.conftest import FakeModel, StubExtractor, write_dataset, write_images
from tests.likeness import write_lpips

Faces = tuple[np.ndarray, np.ndarray]


@pytest.mark.parametrize("chunk", [7, 4096])
def test_nearest_is_scipys(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.spatial.distance import cdist

    monkeypatch.setattr(module, "CHUNK", chunk)
    rng = np.random.default_rng(0)
    searched = (rng.normal(size=(40, 6)) + 100).astype(np.float32)  # far from 0, where 32 bits are few
    queries = np.concatenate([searched[[5, 39]], (rng.normal(size=(20, 6)) + 100).astype(np.float32)])
    found, every = nearest(queries, searched, 3), cdist(queries, searched)
    np.testing.assert_array_equal(found.rows, np.argsort(every, axis=1)[:, :3])
    np.testing.assert_allclose(found.distances, np.sort(every, axis=1)[:, :3], rtol=1e-9, atol=1e-12)
    assert found.distances[0, 0] == 0 and found.rows[1, 0] == 39
    assert nearest(queries, searched[:2], 2).rows.shape == (22, 2)


def test_nearer_keeps_each_row_once() -> None:
    a = Neighbours(np.array([[1.0, 4.0]]), np.array([[7, 3]]))
    b = Neighbours(np.array([[2.0, 3.0]]), np.array([[7, 9]]))
    both = nearer(a, b)
    assert both.distances.tolist() == [[1.0, 3.0]] and both.rows.tolist() == [[7, 9]]


def test_figures_of_distances() -> None:
    from scipy.stats import mannwhitneyu, norm

    rng = np.random.default_rng(1)
    near, known = rng.normal(10, 1, 300), rng.normal(10.2, 1, 500)
    sides = [
        Neighbours(np.stack([first, first + 1], axis=1), np.zeros((len(first), 2), dtype=np.int64))
        for first in (near, known)
    ]
    figures = space_figures("made up", *sides)
    test = mannwhitneyu(near, known, use_continuity=False, method="asymptotic")
    assert 2 * norm.sf(abs(figures.z)) == pytest.approx(test.pvalue, rel=1e-9) and figures.z < 0
    assert figures.nearer == pytest.approx((near[:, None] < known[None]).mean())
    assert figures.ratio_median == pytest.approx(np.median(near) / np.median(known))
    assert figures.ratio_1_percent == pytest.approx(np.quantile(near, 0.01) / np.quantile(known, 0.01))
    assert figures.below_1_percent == pytest.approx((near < np.quantile(known, 0.01, method="weibull")).mean())
    assert figures.closest[0]["generated"] == int(near.argmin())
    assert figures.closest[0]["relative"] == pytest.approx(near.min() / (near.min() + 0.5))
    tied = [Neighbours(np.round(side.distances), side.rows) for side in sides]
    figures = space_figures("many ties", *tied)
    test = mannwhitneyu(*(side.distances[:, 0] for side in tied), use_continuity=False, method="asymptotic")
    assert 2 * norm.sf(abs(figures.z)) == pytest.approx(test.pvalue, rel=1e-9)
    nothing = space_figures("zeros", sides[0], Neighbours(np.zeros((3, 2)), np.zeros((3, 2), dtype=np.int64)))
    assert (nothing.ratio_median, nothing.ratio_1_percent, nothing.held_out_copies) == (None, None, 3)
    same = space_figures("ties", sides[0], sides[0])
    assert same.z == pytest.approx(0, abs=1e-9) and same.ratio_median == 1.0 and same.nearer == 0.5


def test_copies_and_new_faces(tmp_path: Path, faces: Faces, extractor: StubExtractor) -> None:
    train = open_images(str(write_dataset(tmp_path / "train", faces[0][:40], faces[1][:40])))
    known = ImageFiles(write_images(tmp_path / "known", faces[0][40:50]))
    new = ImageFiles(write_images(tmp_path / "new", faces[0][50:]))
    mirrored = np.ascontiguousarray(faces[0][:10, :, ::-1])
    copies = ImageFiles(write_images(tmp_path / "copies", mirrored))
    spaces = {"stub": extractor, "pixels": Pixels()}
    found, sizes = measure_copying(spaces, copies, train, known, pairs=tmp_path / "pairs.png", cache=True)
    assert sizes == (10, 40, 10) and list(found) == ["stub", "pixels"]
    searched, *both = (Pixels()(images) for images in (faces[0][:40], faces[0][40:50], faces[0][40:50, :, ::-1]))
    away = np.minimum(*(np.linalg.norm(side[:, None] - searched, axis=2) for side in both))
    relative = away.min(axis=1) / away.mean(axis=1)  # all 40, which are fewer than a crowd
    assert found["pixels"].relative_1_percent_held_out == pytest.approx(np.quantile(relative, 0.01), rel=1e-4)
    for space in found.values():
        assert space.ratio_median == space.ratio_1_percent == 0 and space.below_1_percent == 1
        assert space.z < -3 and space.nearer == 1 and space.relative_1_percent == 0
        assert sorted(pair["train"] for pair in space.closest) == sorted(pair["generated"] for pair in space.closest)
    sheet = read_pixels(tmp_path / "pairs.png")
    assert sheet.shape == (16 * (32 + 2 + 14) - 2, 4 * 34 - 2, 3)
    row = found["stub"].closest[0]["generated"]
    np.testing.assert_array_equal(sheet[:32, :32], mirrored[row])
    np.testing.assert_array_equal(sheet[:32, 34:66], faces[0][row])
    seen = extractor.seen
    fresh, _ = measure_copying(spaces, new, train, known, cache=True)
    assert extractor.seen == seen + 20  # training and held-out pictures came from the cache
    assert all(0.5 < space.ratio_median < 2 and abs(space.z) < 3 for space in fresh.values())


def test_spaces(model_folder: Path, faces: Faces) -> None:
    images = faces[0][:4]
    small = images.reshape(4, 16, 2, 16, 2, 3).mean(axis=(2, 4)).transpose(0, 3, 1, 2).reshape(4, -1)
    np.testing.assert_allclose(Pixels()(images), small, atol=1e-4)
    model = load_model(model_folder)
    p = model.prior([""])
    white = (model.encode(images).numpy() - p.mean) / p.std
    np.testing.assert_allclose(Latents(model)(images), white.reshape(4, -1), rtol=1e-4, atol=1e-5)
    both = Joined([Pixels(), Mirrored(Pixels())])
    plain, mirrored = both.split(both(images))
    np.testing.assert_array_equal(mirrored, Pixels()(images[:, :, ::-1]))
    np.testing.assert_array_equal(plain, Pixels()(images))
    assert both.name == "pixels | pixels mirrored"


def test_distance_within_a_set(tmp_path: Path, faces: Faces) -> None:
    levels = np.array([0, 10, 40], dtype=np.uint8)
    flat = np.broadcast_to(levels[:, None, None, None], (3, 32, 32, 3))
    assert mean_distance(flat, feature_distance(Pixels())) == pytest.approx((10 + 40 + 30) / 3)
    network = find_lpips(write_lpips(tmp_path / "weights"))
    assert network is not None
    large = np.repeat(np.repeat(faces[0][:3], 2, axis=1), 2, axis=2)
    pairs = [float(lpips(large[i : i + 1], large[j : j + 1], network)[0]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert mean_distance(large, lpips_distance(network)) == pytest.approx(np.mean(pairs), rel=1e-5)


def test_a_model_with_one_face_for_each_prompt(tmp_path: Path, faces: Faces) -> None:
    class Single(FakeModel):
        def sample(self, prompts, seeds, **settings):  # type: ignore[no-untyped-def]
            return super().sample(prompts, [0] * len(prompts), **settings)

    source = open_images(str(write_dataset(tmp_path / "data", *faces)))
    arguments = (source, CaptionSource(faces[1]), feature_distance(Pixels()), "pixels")
    told: list[tuple[int, int]] = []
    single = measure_diversity(Single(), *arguments, seeds=5, batch_size=2, progress=lambda *a: told.append(a))
    varied = measure_diversity(FakeModel(), *arguments, seeds=5, settings={"steps": 2})
    assert single is not None and varied is not None
    assert single.generated == single.ratio == 0 < single.real == varied.real
    assert varied.ratio > 0 and varied.prompts[0]["prompt"] == "woman" and told[-1][0] == told[-1][1]
    for asked, (prompt, rows) in zip(ASKED, _asked(CaptionSource(faces[1]), 2, 0), strict=False):
        named = read_caption(prompt)
        assert len(rows) == 2 and {ATTRIBUTES[i]: bool(named[i] > 0) for i in np.flatnonzero(named)} == asked
        assert (faces[1][rows] == np.where(named != 0, named, faces[1][rows])).all()
    assert measure_diversity(FakeModel(), *arguments, seeds=61) is None  # of no prompt are that many photographs


def test_words(tmp_path: Path, faces: Faces) -> None:
    data = str(write_dataset(tmp_path / "data", *faces))
    assert parted([]) == (None, None) and parted(["m"]) == ("m", None) and parted(["m", "d"]) == ("m", "d")
    assert parted([data]) == (None, data) and parted([f"{data}:valid"]) == (None, f"{data}:valid")
    with pytest.raises(UsageError, match="3 words"):
        parted(["a", "b", "c"])


def test_the_command(model_folder: Path, dataset32: Path, tmp_path: Path) -> None:
    ask = ("evaluate", "memorization", model_folder, dataset32, "-n", 6, "--steps", 2)
    out = invoke(*ask, "--json", "--pairs", tmp_path / "p.png")
    assert out.exit_code == 0, out.stderr
    value = json.loads(out.stdout)
    assert list(value["spaces"]) == ["latent", "pixels"] and (tmp_path / "p.png").is_file()
    assert (value["n"], value["n_train"], value["n_held_out"]) == (6, 42, 12)
    assert "may not be published" in out.stderr and "Inception's features are left out" in out.stderr
    assert value["generated"]["settings"]["steps"] == 2 and value["diversity"]["seeds"] == 16
    assert value["diversity"]["distance"] == "CVAE latents, RMS" and value["diversity"]["prompts"]
    said = " ".join(value["warnings"])
    assert "1 % of 6 faces are few" in said and "12 held-out photographs are few" in said and "1 in 13" in said
    own = tmp_path / "own.png"
    own.write_bytes(encode_png(np.zeros((9, 9, 3), np.uint8)))
    assert "--pairs would overwrite" in one_sentence(invoke(*ask, "--pairs", own), 2)
    words = invoke(*ask, "--space", "pixels", "--train-num", 20, "-q", "--no-diversity").stdout
    assert words.startswith("pixels ") and "latent" not in words and "train      dataset:train, N 20" in words


def test_what_is_refused(model_folder: Path, dataset32: Path, tmp_path: Path, faces: Faces) -> None:
    ask = ("evaluate", "memorization")
    assert "name the training set" in one_sentence(invoke(*ask), 2)
    assert "not 'colour'" in one_sentence(invoke(*ask, model_folder, dataset32, "--space", "colour", "-q"), 2)
    assert "end in .png" in one_sentence(invoke(*ask, model_folder, dataset32, "--pairs", tmp_path / "p.jpg"), 2)
    data = write_dataset(tmp_path / "data", *faces)
    assert "--held-out" in one_sentence(invoke(*ask, model_folder, f"{data}:valid"), 2)
    link = tmp_path / "link"
    link.symlink_to(data)
    for held in (data, link):
        words = (*ask, model_folder, f"{data}:valid", "--held-out", f"{held}:valid")
        assert "are the training set itself" in one_sentence(invoke(*words), 2)
    large = write_images(tmp_path / "large", np.zeros((2, 64, 64, 3), dtype=np.uint8))
    assert "are 64 px and those of dataset:train 32 px" in one_sentence(invoke(*ask, large, dataset32), 2)
    wide = write_images(tmp_path / "wide", np.zeros((2, 32, 48, 3), dtype=np.uint8))
    assert "are not square and those of dataset:train 32 px" in one_sentence(invoke(*ask, wide, dataset32), 2)
    words = (*ask, model_folder, wide, "--held-out", large, "--space", "latent")
    assert "64 px and those of wide not square" in one_sentence(invoke(*words), 2)


@pytest.mark.parametrize(("m", "n"), [(400, 400), (5000, 1000)])
def test_the_interval_allows_for_chance_in_both_sets(m: int, n: int) -> None:
    """Where both sets are alike, 0.01 lies in it in about 95 of 100 cases; for chance in one of them it would not."""
    rng, hits, shares = np.random.default_rng(2), 0, []
    for _ in range(200):
        near, known = rng.random(m), rng.random(n)
        sides = [Neighbours(one[:, None], np.zeros((len(one), 1), dtype=np.int64)) for one in (near, known)]
        figures = space_figures("alike", *sides)
        low, high = figures.below_1_percent_interval
        hits, shares = hits + (low <= 0.01 <= high), [*shares, figures.below_1_percent]
    assert 0.91 <= hits / 200 <= 0.995
    assert np.mean(shares) == pytest.approx(0.01, abs=0.001)
