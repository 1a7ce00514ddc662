"""Cached latents: encoded once, without text, mirror images included, and never stale."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from celebgen_cli.data.dataset import open_dataset
from celebgen_cli.errors import CelebgenError
from celebgen_cli.models.cvae import CVAE
from celebgen_cli.models.text_encoder import CompactText
from celebgen_cli.training import latents as module
from celebgen_cli.training.batches import Examples
from celebgen_cli.training.latents import Latents, encode
from tests.networks import tiny_cvae, tiny_text


@pytest.fixture(scope="module")
def examples(dataset32: Path) -> Examples:
    return Examples(open_dataset(dataset32).split("train"), np.arange(5, 25))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How often pictures are really encoded."""
    calls: list[int] = []
    real = module._encoded
    monkeypatch.setattr(module, "_encoded", lambda *args: (calls.append(1), real(*args))[1])
    yield calls


def run(folder: Path, examples: Examples, cvae: CVAE | None = None, text: CompactText | None = None) -> Latents:
    return encode(cvae or tiny_cvae(), text or tiny_text(), examples, folder, nullcontext)


def test_they_are_the_encoders_answers_without_text(tmp_path: Path, examples: Examples) -> None:
    progress: list[tuple[int, int]] = []
    made = encode(tiny_cvae(), tiny_text(), examples, tmp_path, nullcontext, lambda *done: progress.append(done))
    assert made.mean.shape == made.logvar.shape == (2, 20, 4, 8, 8)
    assert made.mean.dtype == np.float16
    assert progress == [(20, 20)]
    cvae, rows = tiny_cvae().eval(), np.arange(20)
    images = examples.images(rows)
    with torch.no_grad():
        nothing = tiny_text()([""] * 20)
        for side, pictures in enumerate((images, images.flip(3))):
            q = cvae.encode(pictures, nothing)
            found = made.posterior(rows, np.full(20, bool(side)))
            torch.testing.assert_close(found.mean, q.mean, rtol=2e-3, atol=2e-3)
            torch.testing.assert_close(found.logvar, q.logvar, rtol=2e-3, atol=2e-3)
    assert np.abs(made.mean[0].astype(float) - made.mean[1]).max() > 0.1


def test_posterior_takes_each_row_from_its_side() -> None:
    values = np.arange(2 * 3, dtype=np.float16).reshape(2, 3, 1, 1, 1)
    q = Latents(values, -values).posterior(np.array([2, 0, 1]), np.array([True, False, True]))
    assert q.mean.flatten().tolist() == [5, 0, 4]
    assert q.logvar.flatten().tolist() == [-5, 0, -4]
    assert q.mean.dtype == torch.float32


def test_the_second_time_nothing_is_encoded(tmp_path: Path, examples: Examples, counted: list[int]) -> None:
    first, second = run(tmp_path, examples), run(tmp_path, examples)
    assert counted == [1]
    assert np.array_equal(first.mean, second.mean)
    assert len(list(tmp_path.iterdir())) == 1


def test_other_weights_texts_and_rows_have_latents_of_their_own(
    tmp_path: Path, examples: Examples, counted: list[int]
) -> None:
    run(tmp_path, examples)
    run(tmp_path, examples, cvae=tiny_cvae(seed=50))
    run(tmp_path, examples, text=tiny_text(seed=50))
    run(tmp_path, Examples(examples.split, np.arange(6, 26)))
    assert len(counted) == 4
    other_prior = tiny_cvae()
    with torch.no_grad():
        other_prior.prior.queries += 1
    run(tmp_path, examples, cvae=other_prior)  # the prior does not matter to the encoder
    assert len(counted) == 4


def test_another_precision_has_latents_of_its_own(tmp_path: Path, examples: Examples, counted: list[int]) -> None:
    def bf16() -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16)

    for how, encodings in ((nullcontext, 1), (bf16, 2), (nullcontext, 2), (bf16, 2)):
        encode(tiny_cvae(), tiny_text(), examples, tmp_path, how)
        assert len(counted) == encodings


def test_a_broken_off_encoding_is_done_again(
    tmp_path: Path, examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode(tiny_cvae(), tiny_text(), examples, tmp_path, nullcontext, stop)
    assert list(tmp_path.iterdir()) == []
    assert len(run(tmp_path, examples)) == 20


@pytest.mark.parametrize("damage", ["cut", "shape", "gone"])
def test_a_damaged_cache_is_encoded_again(
    tmp_path: Path, examples: Examples, counted: list[int], damage: str
) -> None:
    made = run(tmp_path, examples)
    whole = Latents(np.array(made.mean), np.array(made.logvar))  # no maps of files that are about to be cut
    (path,) = tmp_path.glob("*/mean.npy")
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        np.save(path, whole.mean[:, :5])
    again = run(tmp_path, examples)
    assert len(counted) == 2 and np.array_equal(again.mean, whole.mean) and np.array_equal(again.logvar, whole.logvar)
    run(tmp_path, examples)
    assert len(counted) == 2


def test_beside_a_dataset_for_reading_alone_they_are_kept_elsewhere(
    tmp_path: Path, examples: Examples, counted: list[int]
) -> None:
    (tmp_path / "file").write_text("in the way of a folder")
    first, second = tmp_path / "file" / "latents", tmp_path / "run" / "latents"
    for _ in range(2):
        encode(tiny_cvae(), tiny_text(), examples, first, nullcontext, otherwise=second)
        assert len(counted) == 1 and len(list(second.glob("*/complete.json"))) == 1
    with pytest.raises(CelebgenError, match="cannot write the latents to .*latents: .*; make it writable"):
        encode(tiny_cvae(), tiny_text(), examples, first, nullcontext)
    assert len(counted) == 1


def test_a_full_disk_is_one_sentence(tmp_path: Path, examples: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np.lib.format, "open_memmap", full)
    with pytest.raises(CelebgenError, match=r"cannot write the latents to .*No space left on device; free some space"):
        run(tmp_path, examples)
    assert list(tmp_path.iterdir()) == []


def test_latents_on_a_device_are_the_same(examples: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mapped = run(tmp_path, examples)
    assert mapped.moved is None  # on a CPU the memory map is as near
    monkeypatch.setattr(module, "fits", lambda count, device: count == 2 * 2 * 20 * 4 * 8 * 8 * 2)
    moved = run(tmp_path, examples)
    assert moved.moved is not None and len(moved) == len(mapped)
    rng = np.random.default_rng(0)
    for _ in range(3):
        rows, flipped = rng.integers(0, 20, 7), rng.random(7) < 0.5
        for ours, theirs in zip(moved.posterior(rows, flipped), mapped.posterior(rows, flipped), strict=True):
            assert torch.equal(ours, theirs) and ours.dtype == torch.float32
