"""PSNR against torchmetrics and by hand, rFID, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.evaluation.reconstruction import mean_squared_error, measure_reconstruction, psnr
from celebgen_cli.evaluation.sources import ImageFiles, open_images
from tests.evaluation.conftest import FakeModel, StubExtractor, write_dataset, write_images

Faces = tuple[np.ndarray, np.ndarray]


class Noisy(FakeModel):
    """Adds more noise to every image than to the one before."""

    def __init__(self) -> None:
        super().__init__()
        self.done = 0

    def reconstruct(self, images: np.ndarray) -> np.ndarray:
        out = []
        for pixels in images:
            self.done += 1
            noise = np.random.default_rng(self.done).normal(0, self.done, pixels.shape)
            out.append(np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8))
        return np.stack(out)


class Rounded(FakeModel):
    """Loses the lowest bit."""

    def reconstruct(self, images: np.ndarray) -> np.ndarray:
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
    assert result.psnr_interval == pytest.approx(1.96 * float(each.std()) / 12**0.5, rel=1e-6)
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
    assert measure_reconstruction(FakeModel(), source).psnr == pytest.approx(20 * np.log10(255 / 3))


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
