"""PSNR against torchmetrics and by hand, rFID, worst cases, the command, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.evaluation import compare
from celebgen_cli.evaluation import reconstruction as module
from celebgen_cli.evaluation.reconstruction import mean_squared_error, measure_reconstruction, psnr
from celebgen_cli.evaluation.sources import ImageFiles, open_images
from celebgen_cli.images import encode_png, read_pixels
from tests.command import invoke, one_sentence
from tests.evaluation.conftest import FakeModel, StubExtractor, write_dataset, write_images
from tests.likeness import write_lpips

Faces = tuple[np.ndarray, np.ndarray]


class Noisy(FakeModel):
    """Adds more noise to every image than to the one before."""

    def __init__(self) -> None:
        super().__init__()
        self.done = 0

    def reconstruct(self, images: np.ndarray, calibrate: bool = True) -> np.ndarray:
        out = []
        for pixels in images:
            self.done += 1
            noise = np.random.default_rng(self.done).normal(0, self.done, pixels.shape)
            out.append(np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8))
        return np.stack(out)


class Rounded(FakeModel):
    """Loses the lowest bit."""

    def reconstruct(self, images: np.ndarray, calibrate: bool = True) -> np.ndarray:
        return images // 2 * 2


def test_psnr_by_hand() -> None:
    black, grey = np.zeros((2, 4, 4, 3), dtype=np.uint8), np.full((2, 4, 4, 3), 255, dtype=np.uint8)
    grey[1] = 51
    np.testing.assert_allclose(psnr(mean_squared_error(black, grey)), [0, 20 * np.log10(5)], atol=1e-12)
    np.testing.assert_array_equal(psnr(mean_squared_error(grey, grey)), [100, 100])


def test_psnr_is_torchmetrics(tmp_path: Path, faces: Faces) -> None:
    import torch
    from torchmetrics.functional.image import peak_signal_noise_ratio

    images = faces[0][:12]
    result = measure_reconstruction(Noisy(), ImageFiles(write_images(tmp_path / "a", images)), batch_size=5)
    back, real = (torch.from_numpy(x.astype(np.float64)) for x in (Noisy().reconstruct(images), images))
    each = peak_signal_noise_ratio(back, real, data_range=255.0, dim=(1, 2, 3), reduction="none")
    assert result.psnr == pytest.approx(float(each.mean()), rel=1e-6)
    assert result.psnr_pooled == pytest.approx(float(peak_signal_noise_ratio(back, real, data_range=255.0)), rel=1e-6)
    assert result.psnr_interval == pytest.approx(2.2009851600916 * float(each.std()) / 12**0.5, rel=1e-6)  # t of 11
    assert result.worst == (11, 10, 9, 8, 7, 6, 5, 4)
    assert result.psnr_pooled < result.psnr and result.rfid is None and result.n == 12


def test_rfid(tmp_path: Path, faces: Faces, extractor: StubExtractor) -> None:
    source = open_images(str(write_dataset(tmp_path / "data", *faces)))
    told: list[tuple[int, int]] = []
    close = measure_reconstruction(Rounded(), source, 40, extractor=extractor, progress=lambda *a: told.append(a))
    far = measure_reconstruction(Noisy(), source, 40, extractor=extractor)
    assert close.rfid is not None and far.rfid is not None and 0 <= close.rfid < far.rfid
    assert close.psnr > 50 > 30 > far.psnr
    assert told[-1] == (40, 40) and close.crop == "face178"
    calibrated = measure_reconstruction(FakeModel(), source, cache=True)
    plain = measure_reconstruction(FakeModel(), source, calibrate=False, cache=True)
    assert calibrated.psnr == pytest.approx(20 * np.log10(255 / 3)) and calibrated.calibrate
    assert plain.psnr == pytest.approx(20 * np.log10(255 / 5)) and not plain.calibrate


def test_other_sizes_and_counts_are_refused(tmp_path: Path, faces: Faces) -> None:
    source = ImageFiles(write_images(tmp_path / "a", faces[0][:4]))
    with pytest.raises(UsageError, match="32 px and fake is for 64 px"):
        measure_reconstruction(FakeModel(64), source)
    for count in (0, 5):
        with pytest.raises(CelebgenError, match="has 4 images"):
            measure_reconstruction(FakeModel(), source, count)


def test_other_crop_is_mentioned(tmp_path: Path, faces: Faces) -> None:
    model = FakeModel()
    model.crop = "ddim"  # type: ignore[misc]
    said: list[str] = []
    measure_reconstruction(model, open_images(str(write_dataset(tmp_path / "data", *faces))), 3, warn=said.append)
    assert len(said) == 1 and "face178 and ddim" in said[0]


def test_other_figures_and_the_cache(tmp_path: Path, faces: Faces, extractor: StubExtractor) -> None:
    from celebgen_cli.evaluation.similarity import find_lpips, interval, lpips, ssim

    class Counting(Rounded):
        calls = 0

        def reconstruct(self, images: np.ndarray, calibrate: bool = True) -> np.ndarray:
            self.calls += len(images)
            return super().reconstruct(images, calibrate)

    images = np.repeat(np.repeat(faces[0][:25], 2, axis=1), 2, axis=2)
    source, model = ImageFiles(write_images(tmp_path / "a", images)), Counting(64)
    network = find_lpips(write_lpips(tmp_path / "weights"))
    assert network is not None
    arguments = {"extractor": extractor, "network": network, "cache": True}
    result = measure_reconstruction(model, source, **arguments)  # type: ignore[arg-type]
    back = images // 2 * 2
    assert result.ssim == pytest.approx(float(ssim(images, back).mean()), rel=1e-6)
    assert result.lpips == pytest.approx(float(lpips(images, back, network).mean()), rel=1e-5)
    assert result.ssim_interval == pytest.approx(interval(ssim(images, back)), rel=1e-4)
    assert result.lpips_interval is not None and result.lpips_interval > 0
    assert result.rfid is not None and result.rfid_interval is not None and result.rfid_interval > 0
    assert measure_reconstruction(model, source, **arguments) == result and model.calls == 25  # type: ignore[arg-type]


def test_the_command(tmp_path: Path, faces: Faces, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELEBGEN_PERCEPTUAL_WEIGHTS", str(write_lpips(tmp_path / "weights")))
    data = write_dataset(tmp_path / "data", *faces)
    monkeypatch.setattr(compare, "load_extractor", lambda *arguments: StubExtractor())
    (tmp_path / "inception.pth").touch()
    weights = tmp_path / "inception.pth"
    ask = ("evaluate", "reconstruction", model_folder, data, "-n", 24, "--inception-weights", weights)
    with monkeypatch.context() as small:  # AlexNet needs larger pictures than 32 px
        small.setattr(module, "lpips", lambda a, b, network: np.zeros(len(a)))
        out = invoke(*ask, "--worst", tmp_path / "worst", "--json")
        words = invoke(*ask, "-q").stdout
    assert out.exit_code == 0, out.stderr
    value = json.loads(out.stdout)
    assert value["prior"]["n"] == 24 and value["prior"]["fid"] > 0 and value["rfid_interval"] > 0
    assert len(value["pictures"]) == 8 and "may not be published" in out.stderr
    own = tmp_path / "own" / Path(value["pictures"][0]).name
    own.parent.mkdir()
    own.write_bytes(encode_png(np.zeros((9, 9, 3), np.uint8)))
    assert f"--worst would overwrite {own}" in one_sentence(invoke(*ask, "--worst", own.parent), 2)
    first = read_pixels(Path(value["pictures"][0]))
    assert first.shape == (32, 66, 3)
    np.testing.assert_array_equal(first[:, :32], faces[0][value["worst"][0]])
    for line in ("PSNR ", "SSIM ", "LPIPS ", "rFID ", "prior NLL ", "explained ", "prior FID "):
        assert f"\n{line}" in f"\n{words}"
    monkeypatch.delenv("CELEBGEN_PERCEPTUAL_WEIGHTS")
    images = write_images(tmp_path / "images", faces[0][:5])
    out = invoke("evaluate", "reconstruction", model_folder, images, "--no-rfid")
    assert out.exit_code == 0 and "LPIPS is left out" in out.stderr and "prior is left out" in out.stderr
    assert "LPIPS" not in out.stdout and "prior" not in out.stdout and "not calibrated" not in out.stdout
    assert ", not calibrated\n" in invoke("evaluate", "reconstruction", model_folder, images, "--no-rfid",
                                          "--no-calibrate").stdout  # fmt: skip
