"""The prior's figures against closed forms, and what they are for a prior that knows all or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from celebgen_cli.data.captions import CaptionSource
from celebgen_cli.evaluation.prior import Posteriors, PriorImages, WithPrior, measure_prior
from celebgen_cli.evaluation.sources import open_images
from celebgen_cli.models.layers import Gaussian
from celebgen_cli.pipeline import Model, load_model
from tests.evaluation.conftest import FakeModel, StubExtractor, write_dataset

Faces = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def model(model_folder: Path) -> Model:
    return load_model(model_folder)


@dataclass
class Known:
    mean: np.ndarray
    std: np.ndarray


class Knowing(FakeModel):
    """Latents are an image's mean level; the prior knows them from the caption, or says their mean."""

    def __init__(self, levels: dict[str, float], middle: float) -> None:
        super().__init__()
        self.levels, self.middle = levels, middle

    def posterior(self, images: np.ndarray, batch_size: int = 32) -> Gaussian:
        mean = torch.from_numpy(images.mean(axis=(1, 2, 3))).float()[:, None, None, None].expand(-1, 2, 2, 2)
        return Gaussian(mean.contiguous(), torch.zeros_like(mean))

    def prior(self, prompts: Sequence[str], batch_size: int = 64) -> Any:
        level = np.array([self.levels.get(prompt, self.middle) for prompt in prompts], dtype=np.float32)
        ones = np.ones((len(prompts), 2, 2, 2))
        return Known(ones * level[:, None, None, None], ones)


def test_likelihood_and_divergence_by_torch(model: Model, tmp_path: Path, faces: Faces) -> None:
    source = open_images(str(write_dataset(tmp_path / "data", *faces)))
    captions = CaptionSource(faces[1])
    result = measure_prior(model, source, captions, 70 // 2, seed=3)
    q = model.posterior(faces[0][:35])
    p = model.prior(captions.draw_for(35, 3))
    posterior = Normal(q.mean.double(), (0.5 * q.logvar).exp().double())
    for prior, nll in ((p, result.nll), (model.prior([""]), result.nll_without_text)):
        given = Normal(torch.from_numpy(prior.mean).double(), torch.from_numpy(prior.std).double())
        divergence = kl_divergence(posterior, given)
        assert nll == pytest.approx(float((divergence + posterior.entropy()).mean()), rel=1e-5)
    given = Normal(torch.from_numpy(p.mean).double(), torch.from_numpy(p.std).double())
    assert result.kl == pytest.approx(float(kl_divergence(posterior, given).mean()), rel=1e-5)
    second = ((q.mean - torch.from_numpy(p.mean)) ** 2 + q.logvar.exp()) / torch.from_numpy(p.std) ** 2
    channels = second.mean((0, 2, 3))
    assert result.whitened_variance == pytest.approx((float(channels.min()), float(channels.max())), rel=1e-4)
    assert result.text_gain == pytest.approx(result.nll_without_text - result.nll, abs=1e-9)
    assert result.nll_interval > 0 and result.fid is None and result.n == 35


def test_variance_explained(tmp_path: Path, faces: Faces) -> None:
    source = open_images(str(write_dataset(tmp_path / "data", *faces)))
    captions = CaptionSource(faces[1])
    levels = faces[0].astype(np.float32).mean(axis=(1, 2, 3))
    texts = captions.draw_for(60, 0)
    means = {text: float(np.mean([levels[i] for i in range(60) if texts[i] == text])) for text in texts}
    knowing = measure_prior(Knowing(means, float(levels.mean())), source, captions, 60)
    residual = np.array([levels[i] - means[texts[i]] for i in range(60)])
    assert knowing.variance_explained == pytest.approx(1 - (residual**2).mean() / levels.var(ddof=1), abs=1e-5)
    assert knowing.variance_explained > 0.9  # nearly all captions differ
    assert knowing.variance_explained_without_text == pytest.approx(1 / 60, abs=1e-4)  # of its own sample
    ignorant = measure_prior(Knowing({}, float(levels.mean()) + 50), source, captions, 60)
    assert ignorant.variance_explained < 0 and ignorant.text_gain == pytest.approx(0, abs=1e-9)


def test_draws_are_the_latents_that_denoising_starts_from(model: Model) -> None:
    prompts = ["a smiling woman", "an old man", "a man"]
    images = PriorImages(model, prompts, seed=7)
    whole = np.concatenate(list(images.batches(3, 2)))
    np.testing.assert_array_equal(whole, model.prior(prompts).faces([7, 8, 9]))
    np.testing.assert_array_equal(np.concatenate(list(images.batches(3, 2, 1))), whole[1:])
    other = PriorImages(model, prompts, seed=8)
    assert len({images.fingerprint(), other.fingerprint(), images.part_fingerprint(0, 2)}) == 3


def test_fid_of_draws(model: Model, tmp_path: Path, faces: Faces, extractor: StubExtractor) -> None:
    source = open_images(str(write_dataset(tmp_path / "data", *faces)))
    result = measure_prior(model, source, CaptionSource(faces[1]), 30, extractor=extractor, cache=True)
    assert result.fid is not None and result.fid > 0 and result.fid_interval is not None
    seen = extractor.seen
    again = measure_prior(model, source, CaptionSource(faces[1]), 30, extractor=extractor, cache=True)
    assert again == result and extractor.seen == seen  # nothing was looked at again
    assert isinstance(model, WithPrior) and not isinstance(FakeModel(), WithPrior)
    assert Posteriors(model).dimensions == 2 * int(np.prod(model.prior([""]).mean.shape))
