"""The documents say what the program does, and the examples run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import COMMAND

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BASH = shutil.which("bash") if sys.platform != "win32" else None  # on Windows that name may be another system's


@pytest.mark.parametrize(
    "command", ['pip install . && celebgen sample "smiling woman blond hair"', 'pip install ".[test]" && pytest']
)
def test_first_screen_has_the_two_commands(command: str) -> None:
    assert command in README.splitlines()[:30]


def test_documents_are_in_step_with_the_program() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "check_readme.py"], capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr


def test_a_change_of_the_help_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "tools")
    import check_readme

    blocks = check_readme.help_blocks()
    assert "celebgen train-diffusion [OPTIONS] DATASET" in blocks
    assert "--init-from PATH" in blocks
    assert check_readme.replaced(README, "help", blocks) == README
    assert check_readme.replaced(README, "help", blocks.replace("--init-from", "--init")) != README


def test_figures_come_from_the_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(ROOT / "tools")
    import check_readme

    model = tmp_path / "model.json"
    model.write_text('{"measured": {"FID": {"value": 12.5, "conditions": "N 10", "command": "celebgen evaluate fid"}}}')
    monkeypatch.setattr(check_readme, "MODEL", model)
    table = check_readme.figures_table()
    assert table is not None
    assert table.splitlines()[-1] == "| FID | 12.5 | N 10 | `celebgen evaluate fid` |"
    assert table in check_readme.replaced(README, "figures", table)
    model.write_text("{}")
    assert check_readme.figures_table() is None


DOCUMENTS = ["README.md", *(f"docs/{name}.md" for name in ("formats", "decisions", "training", "evaluation"))]
@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    links = re.findall(r"[^!]\[[^\]]*\]\(([^)#]+)\)", path.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    assert not missing


SCRIPTS = sorted([*ROOT.glob("examples/*.sh"), ROOT / ".ci" / "run"])


@pytest.mark.skipif(BASH is None, reason="needs bash")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_valid_bash(script: Path) -> None:
    done = subprocess.run([str(BASH), "-n", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(BASH is None, reason="needs bash")
def test_the_tiny_chain_runs(tmp_path: Path) -> None:
    environment = os.environ | {"PATH": f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}", "PYTHON": sys.executable}
    done = subprocess.run(
        [str(BASH), ROOT / "examples" / "chain_tiny.sh", tmp_path / "chain"],
        env=environment, capture_output=True, text=True, encoding="utf-8", stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert sum(line.startswith("faces/") for line in lines) == 4, done.stdout
    assert any(line.startswith("PSNR") for line in lines)
    assert (tmp_path / "chain" / "sheet.png").is_file()
