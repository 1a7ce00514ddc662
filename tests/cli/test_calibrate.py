"""`celebgen calibrate`: a model with a correction of what it draws, which can be left out again."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from celebgen_cli.errors import CelebgenError
from celebgen_cli.images import read_metadata, read_pixels
from celebgen_cli.pipeline import load_model
from tests.command import Chain, invoke, one_sentence


@pytest.fixture(scope="module")
def calibrated(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calibrated") / "model"
    out = invoke("calibrate", chain.dataset, "--model", chain.model, "-o", folder, "-n", 40, "--batch-size", 16)
    assert (out.exit_code, out.stdout) == (0, f"{folder}\n"), out.stderr
    return folder


def test_only_the_correction_is_new(chain: Chain, calibrated: Path) -> None:
    old, new = load_model(chain.model, "cpu"), load_model(calibrated, "cpu")
    assert old.calibration is None
    assert new.calibration is not None
    assert new.calibration.shift.abs().max() > 1e-3
    assert new.calibration.response is not None
    assert (new.calibration.response - 1).abs().max() > 0.05  # frequencies, too
    # a decoder of a few steps knows no fine colour; by power alone these rings would be amplified
    assert float(new.calibration.response[1:, 21:32].max()) < 0.1
    assert new.sha256 != old.sha256
    plain = new.sample(["man"], [0], calibrate=False)
    np.testing.assert_allclose(plain.astype(int), old.sample(["man"], [0]).astype(int), atol=1)
    assert np.abs(new.sample(["man"], [0]).astype(int) - plain).max() > 1
    info = json.loads((calibrated / "model.json").read_text(encoding="utf-8"))
    assert info["calibration"]["num"] == 40
    assert info["calibration"]["settings"] == info["defaults"]
    assert str(chain.folder) not in json.dumps(info)


def test_it_is_the_same_whatever_the_batch_size(chain: Chain, calibrated: Path, tmp_path: Path) -> None:
    out = invoke("calibrate", chain.dataset, "--model", chain.model, "-o", tmp_path / "m", "-n", 40, "--batch-size", 7)
    assert out.exit_code == 0, out.stderr
    one, other = load_model(calibrated, "cpu").calibration, load_model(tmp_path / "m", "cpu").calibration
    assert one is not None
    assert other is not None
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-3)


def test_another_seed_draws_other_noise(chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from celebgen_cli.training import calibrating

    seen: dict[int, list[list[int]]] = {}
    draw, noise = calibrating.draw_latents, calibrating.image_noise
    for seed in (0, 1):
        drawn = seen.setdefault(seed, [])
        monkeypatch.setattr(
            calibrating, "draw_latents",
            lambda *a, drawn=drawn, **how: drawn.append(list(a[5])) or draw(*a, **how),
        )  # fmt: skip
        monkeypatch.setattr(
            calibrating, "image_noise",
            lambda seeds, *a, drawn=drawn, **how: drawn.append(list(seeds)) or noise(seeds, *a, **how),
        )  # fmt: skip
        how = ("--model", chain.model, "-o", tmp_path / str(seed), "-n", 4, "--seed", seed)
        out = invoke("calibrate", chain.dataset, *how)
        assert out.exit_code == 0, out.stderr
    assert len(seen[0]) == len(seen[1]) == 2
    assert all(set(a).isdisjoint(b) for a, b in zip(seen[0], seen[1], strict=True))


def test_every_way_to_say_how_a_prompt_is_read(calibrated: Path, tmp_path: Path) -> None:
    rows = tmp_path / "p.jsonl"
    rows.write_text('{"prompt": "woman not blond", "read": false}\n{"prompt": "woman not blond", "read": true}\n')
    out = invoke("sample", "--prompts", rows, "--model", calibrated, "-o", tmp_path / "rows")
    assert out.exit_code == 0, out.stderr
    literal, read = out.stdout.splitlines()
    assert ("read_as" in read_metadata(Path(literal)), "read_as" in read_metadata(Path(read))) == (False, True)
    ways = ((literal, (), literal), (read, (), read), (read, ("--no-read",), literal), (literal, ("--read",), read))
    for i, (source, words, same) in enumerate(ways):
        out = invoke("sample", "--from", source, "--model", calibrated, "-o", tmp_path / str(i), *words)
        assert out.exit_code == 0, out.stderr
        made, wanted = (read_pixels(Path(path)).astype(int) for path in (out.stdout.strip(), same))
        assert np.abs(made - wanted).max() <= 1
    assert np.abs(read_pixels(Path(literal)).astype(int) - read_pixels(Path(read))).max() > 1


def test_sample_says_whether_it_was_corrected(calibrated: Path, tmp_path: Path) -> None:
    for words, expected in (((), True), (("--no-calibrate",), False)):
        out = invoke("sample", "man", "--model", calibrated, "-o", tmp_path / str(expected), *words)
        assert read_metadata(Path(out.stdout.strip()))["calibrate"] is expected


def test_other_defaults_drop_it(calibrated: Path, tmp_path: Path) -> None:
    for words, kept in ((("--guidance-interval", 0, 1), True), (("--guidance", 7), False)):
        out = invoke("export", calibrated, "-o", tmp_path / str(kept), *words)
        assert out.exit_code == 0, out.stderr
        assert (load_model(tmp_path / str(kept), "cpu").calibration is not None) is kept
        assert ("calibration" in json.loads((tmp_path / str(kept) / "model.json").read_text())) is kept


def test_another_decoder_drops_it(chain: Chain, calibrated: Path, tmp_path: Path) -> None:
    """Its filter is of what the decoder draws."""
    out = invoke("export", calibrated, "-o", tmp_path / "m", "--decoder", chain.model, "--decoder-share", 0.5)
    assert (out.exit_code, out.stdout) == (0, f"{tmp_path / 'm'}\n"), out.stderr
    assert "measured with other decoder" in out.stderr and "`celebgen calibrate` makes" in out.stderr
    assert load_model(tmp_path / "m", "cpu").calibration is None
    alone = invoke("export", calibrated, "-o", tmp_path / "n", "--decoder-share", 0.5)
    assert "name that with --decoder" in one_sentence(alone, 2)


def test_refusals(chain: Chain, calibrated: Path, tmp_path: Path) -> None:
    assert "add --force" in one_sentence(
        invoke("calibrate", chain.dataset, "--model", chain.model, "-o", calibrated), 2
    )
    out = invoke("calibrate", tmp_path, "--model", chain.model, "-o", tmp_path / "m")
    assert out.exit_code != 0
    assert not (tmp_path / "m").exists()


def test_a_correction_that_is_missing(calibrated: Path, tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(calibrated, tmp_path / "model"))
    (folder / "calibration.safetensors").unlink()
    with pytest.raises(CelebgenError, match="calibration.safetensors is missing"):
        load_model(folder, "cpu")
