"""Statistics files: what goes in comes out, and nothing damaged is taken."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from celebgen_cli.errors import CelebgenError
from celebgen_cli.evaluation.fid import frechet_distance
from celebgen_cli.evaluation.statistics import Statistics, from_features, load_statistics, save_statistics
from celebgen_cli.files import sha256_file


@pytest.fixture
def some() -> Statistics:
    rng = np.random.default_rng(0)
    features = np.abs(rng.normal(size=(50, 12)) @ rng.normal(size=(12, 12))).astype(np.float32)
    attributes = np.where(rng.random((50, 40)) < 0.3, 1, -1).astype(np.int8)
    return from_features(features, {"size": 128, "crop": "face178", "source": "größe"}, attributes)


def test_mean_and_covariance_are_numpys(some: Statistics) -> None:
    assert some.features is not None
    np.testing.assert_allclose(some.mean, some.features.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(some.covariance, np.cov(some.features.astype(np.float64), rowvar=False), rtol=1e-6)
    assert some.covariance.dtype == np.float64 and some.n == 50


@pytest.mark.parametrize("keep", [False, True])
def test_round_trip(some: Statistics, tmp_path: Path, keep: bool) -> None:
    save_statistics(tmp_path / "s.safetensors", some, keep_features=keep)
    back = load_statistics(tmp_path / "s.safetensors")
    assert back.n == 50 and back.info["source"] == "größe" and back.info["crop"] == "face178"
    np.testing.assert_array_equal(back.mean, some.mean)
    np.testing.assert_array_equal(back.covariance, back.covariance.T)
    np.testing.assert_array_equal(back.covariance, some.covariance.astype(np.float32).astype(np.float64))
    assert back.attributes is not None
    np.testing.assert_array_equal(back.attributes, some.attributes)
    assert (back.features is not None) == keep
    if keep:
        np.testing.assert_array_equal(back.features, some.features)


def test_storage_type_hardly_moves_the_distance(some: Statistics, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    other = from_features(np.abs(rng.normal(size=(80, 12))).astype(np.float32))
    save_statistics(tmp_path / "s.safetensors", some)
    exact, stored = frechet_distance(other, some), frechet_distance(other, load_statistics(tmp_path / "s.safetensors"))
    assert exact > 1 and stored == pytest.approx(exact, rel=1e-6)


def test_attributes_take_five_bytes_a_row(some: Statistics, tmp_path: Path) -> None:
    save_statistics(tmp_path / "s.safetensors", some)
    packed = load_file(tmp_path / "s.safetensors")["attributes"]
    assert packed.shape == (50, 5) and packed.dtype == np.uint8
    assert some.attributes is not None
    assert bool(packed[3, 0] & 0x80) == bool(some.attributes[3, 0] > 0)


def test_one_image_has_no_covariance() -> None:
    with pytest.raises(CelebgenError, match="at least two"):
        from_features(np.ones((1, 4), dtype=np.float32))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CelebgenError, match="does not exist"):
        load_statistics(tmp_path / "none.safetensors")


@pytest.mark.parametrize("keep", [0, 5, 60, -100])
def test_truncated_file(some: Statistics, tmp_path: Path, keep: int) -> None:
    path = tmp_path / "s.safetensors"
    save_statistics(path, some)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CelebgenError, match="safetensors"):
        load_statistics(path)


def test_a_changed_number_is_noticed(some: Statistics, tmp_path: Path) -> None:
    from safetensors import safe_open

    path = tmp_path / "s.safetensors"
    save_statistics(path, some)
    with safe_open(path, framework="numpy") as file:
        header, tensors = file.metadata(), {name: file.get_tensor(name) for name in ("mean", "covariance_upper")}
    tensors["mean"] = tensors["mean"] + np.float32(0.5)
    save_file(tensors, path, metadata=header)
    (tmp_path / "s.json").unlink()
    with pytest.raises(CelebgenError, match=r"s\.safetensors is damaged: .* another SHA-256"):
        load_statistics(path)


def test_what_made_them_lies_beside_as_json(some: Statistics, tmp_path: Path) -> None:
    path, beside = tmp_path / "s.safetensors", tmp_path / "s.json"
    save_statistics(path, replace(some, info={**some.info, "floor": {"fid": 6.5}}))
    told = json.loads(beside.read_text(encoding="utf-8"))
    assert (told["n"], told["crop"], told["source"], told["floor"]) == (50, "face178", "größe", {"fid": 6.5})
    assert told["file_sha256"] == sha256_file(path)
    with_json = load_statistics(path)
    beside.unlink()
    assert load_statistics(path).info == with_json.info  # the file alone is enough
    save_statistics(tmp_path / "other.safetensors", replace(some, mean=some.mean + 1))
    (tmp_path / "other.json").rename(beside)
    with pytest.raises(CelebgenError, match=r"s\.json is about another file"):
        load_statistics(path)
    beside.write_text('{"somebody": "else"}', encoding="utf-8")
    assert load_statistics(path).n == 50


def test_other_safetensors_file(tmp_path: Path) -> None:
    save_file({"weight": np.ones(3, dtype=np.float32)}, tmp_path / "s.safetensors", metadata={"celebgen": "{]"})
    with pytest.raises(CelebgenError, match="no statistics"):
        load_statistics(tmp_path / "s.safetensors")


def test_other_version(some: Statistics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celebgen_cli.evaluation.statistics.FORMAT_VERSION", 2)
    save_statistics(tmp_path / "s.safetensors", some)
    monkeypatch.undo()
    with pytest.raises(CelebgenError, match="version 2"):
        load_statistics(tmp_path / "s.safetensors")


def test_tensors_that_do_not_fit(some: Statistics, tmp_path: Path) -> None:
    assert some.attributes is not None
    save_statistics(tmp_path / "a.safetensors", replace(some, attributes=some.attributes[:7]))
    with pytest.raises(CelebgenError, match=r"attributes is \[7, 5\]"):
        load_statistics(tmp_path / "a.safetensors")
    save_statistics(tmp_path / "b.safetensors", replace(some, mean=np.full(12, np.nan, dtype=np.float32)))
    with pytest.raises(CelebgenError, match="damaged"):
        load_statistics(tmp_path / "b.safetensors")
