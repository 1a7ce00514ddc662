"""`--config`: precedence, types, unknown keys, broken files; `--print-config` and what a run keeps."""

import itertools
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.command import Chain, invoke, one_sentence


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "c.toml"


def resolved(*arguments: object) -> dict[str, Any]:
    out = invoke(*arguments, "--print-config")
    assert out.exit_code == 0, out.stderr
    return tomllib.loads(out.stdout)


def test_the_command_line_wins_over_the_file_and_that_over_the_preset(file: Path) -> None:
    file.write_text('preset = "tiny"\nsteps = 30\nbatch-size = 5\n')
    plain = resolved("train-clip", "data", "-o", "run", "--preset", "tiny")
    given = resolved("train-clip", "data", "-o", "run", "--config", file, "--steps", 7)
    assert (plain["steps"], plain["batch-size"], plain["seed"]) == (20, 16, 0)
    assert given == plain | {"steps": 7, "batch-size": 5}


def test_tables_are_for_one_command_and_win_over_the_keys_above(file: Path) -> None:
    file.write_text(
        'seed = 3\nsteps = 4\n[train-clip]\npreset = "tiny"\ndataset = "d"\noutput = "r"\nsteps = 5\n'
        "[train-vae]\nnonsense = 1\n[evaluate.fid]\nnum = 9\n"
    )
    clip = resolved("train-clip", "--config", file)
    assert (clip["seed"], clip["steps"], Path(clip["dataset"]).name) == (3, 5, "d")
    assert {"num": 9, "seed": 3, "steps": 4}.items() <= resolved("evaluate", "fid", "--config", file).items()


def test_a_run_that_goes_on_stands_between_file_and_preset(chain: Chain, file: Path) -> None:
    file.write_text("checkpoint_every = 4\n")
    there = ("train-clip", chain.dataset, "-o", chain.clip)
    assert resolved(*there)["preset"] == "base128"
    on = resolved(*there, "--resume", "--config", file)
    assert (on["preset"], on["steps"], on["checkpoint-every"]) == ("tiny", 20, 4)


def test_what_is_printed_can_be_given_back(file: Path, tmp_path: Path) -> None:
    calls = {
        "train-vae": ("d", "-o", "r", "--text", "open_clip:a/b", "--preset", "tiny", "--beta", 0.1, "--freeze-encoder"),
        "train-diffusion": ('a "b"\\c', "-o", "r", "--vae", "v", "--init", "noise"),
        "sample": ("--guidance-interval", 0.1, 0.5, "--no-pag", "--negative", "a\tb ñ", "--seeds", "0-3"),
        "prepare": ("one.zip", "two.zip", "-o", "out", "--size", 64),
    }
    for command, arguments in calls.items():
        out = invoke(command, *arguments, "--print-config")
        assert out.exit_code == 0, out.stderr
        file.write_text(out.stdout, encoding="utf-8")
        again = invoke(command, "--config", file, "--print-config")
        assert (again.exit_code, again.stdout) == (0, out.stdout), again.stderr


WRONG = [
    ("stepps = 3", "there is no option 'stepps' of train-clip; did you mean 'steps'?"),
    ("learning-rates = 3", "did you mean 'learning-rate'?"),
    ("zzz = 3", "there is no option 'zzz' of train-clip; see celebgen train-clip --help"),
    ("[train-klip]\nsteps = 3", "there is no command 'train-klip'; did you mean [train-clip]?"),
    ("[evaluate]\nnum = 3", None),
    ("config = 'x'", "there is no option 'config'"),
    ("steps = 'many'", "'steps' must be a whole number, not 'many'"),
    ("steps = 1.5", "'steps' must be a whole number, not 1.5"),
    ("steps = true", "'steps' must be a whole number, not true"),
    ("steps = 0", "'steps' is 0, and "),
    ("steps = [1]", "'steps' must be a whole number, not [1]"),
    ("learning-rate = 'x'", "'learning-rate' must be a number"),
    ("resume = 1", "'resume' must be true or false, not 1"),
    ("valid = 3", "'valid' must be a path in quotes, not 3"),
    ("steps = 3\nseed = = 4", "is no valid TOML: Invalid value (at line 2, column 8)"),
    ("steps = 3\nsteps = 4", "at line 2"),
]


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_what_is_wrong_is_said_in_one_sentence(file: Path, text: str, said: str | None) -> None:
    file.write_text(text)
    result = invoke("train-clip", "data", "-o", "run", "--preset", "tiny", "--config", file, "--print-config")
    if said is None:  # another command's table is its own affair
        assert result.exit_code == 0
        return
    sentence = one_sentence(result, 2)
    assert said in sentence
    assert str(file) in sentence


def test_files_that_cannot_be_read(file: Path, tmp_path: Path) -> None:
    assert "cannot be read" in one_sentence(invoke("sample", "x", "--config", tmp_path), 2)
    assert "cannot be read" in one_sentence(invoke("sample", "x", "--config", tmp_path / "none.toml"), 2)
    file.write_bytes(b"# fine\nseed = 1 # \xff\n")
    assert f"{file}, line 2: this is no UTF-8" in one_sentence(invoke("sample", "x", "--config", file), 2)
    file.write_text("[evaluate]\nnum = 3\n")
    assert "'num' stands in the table of several" in one_sentence(invoke("evaluate", "fid", "--config", file), 2)
    file.write_text("guidance-interval = [0.5]\n")
    assert "a list of 2 numbers, not [0.5]" in one_sentence(invoke("sample", "x", "--config", file), 2)


def test_a_run_keeps_its_options_and_they_make_it_again(chain: Chain, tmp_path: Path) -> None:
    run = tmp_path / "run"
    out = invoke(
        "train-clip", chain.dataset, "-o", run, "--preset", "tiny", "--steps", 4, "--seed", 5, "--quiet"
    )
    assert out.exit_code == 0, out.stderr
    kept = tomllib.loads((run / "config.toml").read_text(encoding="utf-8"))
    assert (kept["steps"], kept["seed"], kept["preset"], kept["batch-size"]) == (4, 5, "tiny", 16)
    assert (Path(kept["dataset"]), Path(kept["output"])) == (chain.dataset, run)
    again = invoke("train-clip", "--config", run / "config.toml", "-o", tmp_path / "again", "--quiet")
    assert (again.exit_code, again.stdout.strip()) == (0, str(tmp_path / "again"))
    figures = [(tmp_path / name / "report.json").read_text() for name in ("run", "again")]
    assert figures[0] == figures[1]


def test_values_of_every_kind_come_back() -> None:
    from celebgen_cli.cli.config import _value

    for value in itertools.chain([0, -3, 1e-30, 1e300, float("inf"), True, [1.5, 2.0]], map(chr, range(0x82))):
        assert tomllib.loads(f"x = {_value(value)}")["x"] == value


def test_prompts_are_kept_beside_the_option_of_their_name(model_folder: Path, file: Path, tmp_path: Path) -> None:
    assert resolved("sample", "old man", "woman", "--prompts", "p.txt").items() >= {
        "prompt": ["old man", "woman"], "prompts": "p.txt",
    }.items()  # fmt: skip
    for text in ('prompt = "old man"\n', '\ufeffprompt = ["old man"]\n'):  # a text editor's mark is no key
        file.write_text(text, encoding="utf-8")
        out = invoke("sample", "--config", file, "--model", model_folder, "-o", tmp_path / "faces", "--json", "-q")
        assert out.exit_code == 0 and '"old man"' in out.stdout, out.stderr
    out = invoke("sample", "woman", "--config", file, "--model", model_folder, "-o", tmp_path / "faces", "--json", "-q")
    assert '"old man"' not in out.stdout and '"woman"' in out.stdout
