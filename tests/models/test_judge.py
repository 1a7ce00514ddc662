"""The attribute judge as a network: sizes, mirror images, pictures of any side."""

import numpy as np
import pytest
import torch
from safetensors.torch import save

from celebgen_cli.models.judge import Judge, JudgeConfig, probabilities, shrink
from celebgen_cli.models.quantize import pack
from tests.networks import randomise

SMALL = JudgeConfig(image_size=16, widths=(8, 16), blocks=(0, 1))


@pytest.fixture(scope="module")
def judge() -> Judge:
    made = Judge(SMALL)
    randomise(made)
    return made.eval()


def test_the_shipped_size_is_at_most_two_mebibytes() -> None:
    assert len(save(pack(Judge(JudgeConfig()).state_dict(), "int8"))) <= 2 * 2**20


def test_answers_depend_on_the_face_and_its_mirror_image_alone(judge: Judge) -> None:
    faces = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    answers = probabilities(judge, faces)
    assert answers.shape == (5, 40) and answers.dtype == np.float32
    assert np.ptp(answers, axis=0).min() > 1e-4
    np.testing.assert_allclose(probabilities(judge, faces[:, :, ::-1]), answers, atol=1e-6)
    np.testing.assert_allclose(probabilities(judge, faces, batch_size=2), answers, atol=1e-6)
    pixels = torch.from_numpy(faces).permute(0, 3, 1, 2) / 127.5 - 1
    logits = [judge(pixels), judge(pixels.flip(3))]
    np.testing.assert_allclose(torch.sigmoid(sum(logits) / 2).detach().numpy(), answers, atol=1e-5)


def test_progress_counts_faces(judge: Judge) -> None:
    counted: list[int] = []
    probabilities(judge, np.zeros((5, 16, 16, 3), np.uint8), batch_size=2, done=counted.append)
    assert counted == [2, 4, 5]


def test_shrink_averages_whole_pixels() -> None:
    faces = torch.arange(2 * 3 * 4 * 4.0).reshape(2, 3, 4, 4)
    half = shrink(faces, 2)
    assert torch.equal(half[0, 0, 0, 0], faces[0, 0, :2, :2].mean()) and half.shape == (2, 3, 2, 2)
    assert shrink(faces, 4) is faces
    assert shrink(faces, 8).shape == (2, 3, 8, 8) and shrink(faces, 3).shape == (2, 3, 3, 3)
    flat = torch.full((1, 3, 6, 6), 0.25)
    torch.testing.assert_close(shrink(flat, 4), torch.full((1, 3, 4, 4), 0.25))


def test_dropped_channels_do_not_count(judge: Judge) -> None:
    faces = torch.rand(3, 3, 16, 16)
    torch.testing.assert_close(judge(faces, torch.ones(3, 16)), judge(faces))
    torch.testing.assert_close(judge(faces, torch.zeros(3, 16)), judge.head.bias.expand(3, 40))


def test_a_side_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot have 2 levels"):
        Judge(JudgeConfig(image_size=18, widths=(8, 8), blocks=(1, 1)))
