"""FID and KID against closed forms and against torch-fidelity, the cache, and the warnings."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from celebgen_cli.errors import CelebgenError
from celebgen_cli.evaluation.cache import cache_folder
from celebgen_cli.evaluation.extraction import missing
from celebgen_cli.evaluation.fid import caveats, frechet_distance, kernel_distance, measure, statistics_of
from celebgen_cli.evaluation.sources import ImageFiles, open_images
from celebgen_cli.evaluation.statistics import Statistics, from_features
from tests.evaluation.conftest import StubExtractor, write_dataset, write_images

Faces = tuple[np.ndarray, np.ndarray]


def gaussian(mean: np.ndarray, covariance: np.ndarray) -> Statistics:
    return Statistics(mean.astype(np.float32), covariance.astype(np.float64), 5000, {})


def test_frechet_distance_of_gaussians_in_closed_form() -> None:
    rng = np.random.default_rng(0)
    rotation, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    a, b = np.array([1.0, 4, 9, 1, 2, 3]), np.array([4.0, 1, 9, 0.25, 2, 5])
    shift = np.array([3.0, 0, 0, 4, 0, 0])
    # Covariances that commute: the trace term is the sum of squared differences of standard deviations.
    one = gaussian(np.zeros(6), rotation @ np.diag(a) @ rotation.T)
    other = gaussian(shift, rotation @ np.diag(b) @ rotation.T)
    assert frechet_distance(one, other) == pytest.approx(25 + np.square(np.sqrt(a) - np.sqrt(b)).sum(), rel=1e-9)
    assert frechet_distance(other, one) == pytest.approx(frechet_distance(one, other), rel=1e-9)


def test_a_set_is_at_no_distance_from_itself() -> None:
    features = np.abs(np.random.default_rng(0).normal(size=(300, 20))).astype(np.float32)
    some = from_features(features)
    assert abs(frechet_distance(some, some)) < 1e-3


def test_distance_between_different_networks_is_refused() -> None:
    with pytest.raises(CelebgenError, match="4 and 6"):
        frechet_distance(gaussian(np.zeros(4), np.eye(4)), gaussian(np.zeros(6), np.eye(6)))


def test_kid_is_the_unbiased_estimate_by_hand() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(9, 5)), rng.normal(size=(9, 5)) + 0.7

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / 5 + 1) ** 3)

    within = sum(kernel(s[i], s[j]) for s in (a, b) for i in range(9) for j in range(9) if i != j) / (9 * 8)
    between = sum(kernel(x, y) for x in a for y in b) / 81
    # Every subset is the whole set, so the mean is that value and nothing varies.
    mean, deviation = kernel_distance(a.astype(np.float32), b.astype(np.float32), subsets=3, subset_size=9)
    assert mean == pytest.approx(within - 2 * between, rel=1e-4)
    assert deviation == pytest.approx(0, abs=1e-5)


def test_both_figures_are_torch_fidelitys() -> None:
    import torch
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric

    rng = np.random.default_rng(0)
    a = np.abs(rng.normal(size=(1100, 24))).astype(np.float32)
    b = np.abs(rng.normal(size=(1200, 24)) + 0.2).astype(np.float32)
    result = measure(from_features(a), from_features(b))
    both = [fid_features_to_statistics(torch.from_numpy(side)) for side in (a, b)]
    assert result.fid == fid_statistics_to_metric(*both, verbose=False)["frechet_inception_distance"]
    kid = kid_features_to_metric(torch.from_numpy(a), torch.from_numpy(b), verbose=False)
    assert result.kid == kid["kernel_inception_distance_mean"]
    assert result.kid_deviation == kid["kernel_inception_distance_std"]
    assert (result.kid_subsets, result.kid_subset_size) == (100, 1000)


def test_the_command_gives_what_torch_fidelity_gives_for_the_same_files(
    tmp_path: Path, faces: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FID, KID, precision and recall of a direct call on two folders of PNG, with the stand-in as its network."""
    import torch
    import torch_fidelity
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

    from celebgen_cli.evaluation import compare

    class Network(torch_fidelity.FeatureExtractorBase):
        def __init__(self, name: str, features_list: list[str], **kwargs: object) -> None:
            super().__init__(name, features_list)

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
            return (torch.from_numpy(StubExtractor()(images.permute(0, 2, 3, 1).numpy())),)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return ("16",)

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return "16"

    monkeypatch.setitem(FEATURE_EXTRACTORS_REGISTRY, "stand-in", Network)
    monkeypatch.setattr(compare, "load_inception", lambda *args, **kwargs: StubExtractor())
    halves = (("a", slice(35)), ("b", slice(25, 60)))
    a, b = (str(write_images(tmp_path / name, faces[0][part])) for name, part in halves)
    direct = torch_fidelity.calculate_metrics(
        input1=a, input2=b, fid=True, kid=True, prc=True, kid_subset_size=35, feature_extractor="stand-in",
        cuda=False, cache=False, save_cpu_ram=True, verbose=False,
    )  # fmt: skip
    ours = compare.compare(a, b, compare.Options(floor=False))
    assert ours.fid == pytest.approx(direct["frechet_inception_distance"], rel=1e-9)
    assert ours.kid == pytest.approx(direct["kernel_inception_distance_mean"], rel=1e-9)
    assert ours.kid_deviation is None  # its subsets are all of both sides: torch-fidelity's says nothing
    prc = compare.compare(a, b, compare.Options(floor=False), metric="prc").figures
    for name in ("precision", "recall", "f_score"):
        assert prc[name] == pytest.approx(direct[name], abs=1e-9)


def test_several_seeds_give_a_mean_and_a_deviation() -> None:
    rng = np.random.default_rng(0)
    real = from_features(rng.normal(size=(60, 4)).astype(np.float32))
    sets = [
        from_features((rng.normal(size=(50, 4)) + shift).astype(np.float32), {"settings": {"seed": 50 * i}})
        for i, shift in enumerate((0.5, 1.0, 1.5))
    ]
    for metric, names in (("fid", ("fid", "kid")), ("kid", ("kid",)), ("prc", ("precision", "coverage"))):
        result, alone = measure(sets, real, metric=metric), [measure(some, real, metric=metric) for some in sets]
        assert result.spread is not None and result.spread["seeds"] == [0, 50, 100]
        for name in names:
            values = [one.figures[name] for one in alone]
            assert result.figures[name] == pytest.approx(np.mean(values), rel=1e-9)
            assert result.spread[name]["deviation"] == pytest.approx(np.std(values, ddof=1), rel=1e-9)
            assert result.spread[name]["values"] == values
        assert alone[0].spread is None


def test_small_sets_and_missing_features() -> None:
    rng = np.random.default_rng(0)
    a, b = (from_features(rng.normal(size=(n, 4)).astype(np.float32)) for n in (30, 50))
    assert measure(a, b).kid_subset_size == 30
    assert measure(a, replace(b, features=None)).kid is None
    assert measure(a, b, kid=False).kid is None


def test_distance_grows_with_noise_blur_and_jpeg(faces: Faces, extractor: StubExtractor) -> None:
    images, _ = faces
    real = from_features(extractor(images))
    rng = np.random.default_rng(0)

    def noisy(amount: float) -> np.ndarray:
        return np.clip(images + amount * (rng.random(images.shape) ** 4 * 255), 0, 255).astype(np.uint8)

    def blurred(radius: float) -> np.ndarray:
        return np.stack([np.asarray(Image.fromarray(i).filter(ImageFilter.GaussianBlur(radius))) for i in images])

    def compressed(roughness: float) -> np.ndarray:
        out = []
        for pixels in images:
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "JPEG", quality=round(50 - roughness))
            out.append(np.asarray(Image.open(buffer)))
        return np.stack(out)

    for change, amounts in ((noisy, (0.1, 0.4, 0.9)), (blurred, (1.5, 4.0, 8.0)), (compressed, (10, 40, 49))):
        distances = [frechet_distance(from_features(extractor(change(amount))), real) for amount in amounts]
        assert 0 < distances[0] < distances[1] < distances[2]


def test_statistics_of_a_split(tmp_path: Path, faces: Faces, extractor: StubExtractor) -> None:
    images, attributes = faces
    source = open_images(str(write_dataset(tmp_path / "data", images, attributes)))
    told: list[tuple[int, int]] = []
    timed: list[tuple[float, float, int]] = []
    out = statistics_of(
        source, extractor, 50, batch_size=16, progress=lambda *a: told.append(a), timing=lambda *a: timed.append(a)
    )
    np.testing.assert_array_equal(out.features, extractor(images[:50]))
    np.testing.assert_array_equal(out.attributes, attributes[:50])
    assert told[0] == (16, 50) and told[-1] == (50, 50)
    assert len(timed) == 1 and timed[0][2] == 16
    assert {"n": 50, "size": 32, "crop": "face178", "filter": "lanczos", "network": "stub"}.items() <= out.info.items()


def test_cache_answers_until_the_images_change(tmp_path: Path, faces: Faces, extractor: StubExtractor) -> None:
    folder = write_images(tmp_path / "images", faces[0][:20])
    first = statistics_of(ImageFiles(folder), extractor)
    assert extractor.seen == 21 and not missing(ImageFiles(folder), extractor)  # 20 images and the probe
    timed: list[int] = []
    again = statistics_of(ImageFiles(folder), extractor, timing=lambda *a: timed.append(1))
    assert extractor.seen == 22 and not timed
    np.testing.assert_array_equal(first.features, again.features)
    Image.fromarray(faces[0][30]).save(folder / "0003.png")
    assert missing(ImageFiles(folder), extractor)
    changed = statistics_of(ImageFiles(folder), extractor)
    assert extractor.seen == 43
    assert not np.array_equal(first.features, changed.features)


def test_cache_can_be_left_out_and_survives_damage(tmp_path: Path, faces: Faces, extractor: StubExtractor) -> None:
    folder = write_images(tmp_path / "images", faces[0][:10])
    expected = statistics_of(ImageFiles(folder), extractor, cache=False)
    assert not cache_folder().exists()
    statistics_of(ImageFiles(folder), extractor)
    (entry,) = (cache_folder() / "features").iterdir()
    assert entry.suffix == ".safetensors"
    entry.write_bytes(entry.read_bytes()[:-7])
    seen = extractor.seen
    np.testing.assert_array_equal(statistics_of(ImageFiles(folder), extractor).features, expected.features)
    assert extractor.seen == seen + 11
    assert not missing(ImageFiles(folder), extractor)


def test_cache_that_cannot_be_written_is_no_failure(
    tmp_path: Path, faces: Faces, extractor: StubExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("a file where the cache folder should be", encoding="utf-8")
    monkeypatch.setenv("CELEBGEN_CACHE", str(tmp_path / "file"))
    assert statistics_of(ImageFiles(write_images(tmp_path / "images", faces[0][:5])), extractor).n == 5


def test_more_images_than_there_are(tmp_path: Path, faces: Faces, extractor: StubExtractor) -> None:
    with pytest.raises(CelebgenError, match="has 5 images and 6"):
        statistics_of(ImageFiles(write_images(tmp_path / "images", faces[0][:5])), extractor, 6)


def test_other_weights_are_noticed(tmp_path: Path, faces: Faces) -> None:
    folder = ImageFiles(write_images(tmp_path / "images", faces[0][:10]))
    one, same, other = (statistics_of(folder, StubExtractor(seed), cache=False) for seed in (0, 0, 1))
    assert measure(one, same).fid == pytest.approx(0, abs=1e-3)
    with pytest.raises(CelebgenError, match="other Inception weights"):
        measure(one, other)
    with pytest.raises(CelebgenError, match="different features"):
        measure(one, replace(same, info={**same.info, "layer": "64"}))


def test_caveats() -> None:
    side = Statistics(np.zeros(4, dtype=np.float32), np.eye(4), 100, {"size": 128, "crop": "face178", "lossy": False})
    assert caveats(side, side) == []
    other = replace(side, n=3, info={"size": 64, "crop": "ddim", "lossy": True})
    text = " ".join(caveats(side, other))
    for word in ("3 images", "lossy", "N differs", "size differs (128 and 64)", "crop differs (face178 and ddim)"):
        assert word in text
