"""No network, one thread, and what tests share: drawn faces, a tiny model, one chain of runs made by the command."""

import os
import sys
from pathlib import Path

# before torch is imported: tiny tensors are fastest on one thread, and more would change the order of sums
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
OFFLINE = str(Path(__file__).with_name("offline"))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (OFFLINE, os.environ.get("PYTHONPATH"))))
sys.path.insert(0, OFFLINE)
sys.modules.pop("sitecustomize", None)

import pytest  # noqa: E402
import sitecustomize  # noqa: E402
import torch  # noqa: E402

from tests.command import Chain, celebgen  # noqa: E402
from tests.faces import write_celeba  # noqa: E402

sitecustomize.refuse_outside()
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """prepare -> train-clip -> train-vae -> train-diffusion -> export, each through the installed command."""
    folder = tmp_path_factory.mktemp("chain")
    made = Chain(folder)
    write_celeba(folder / "celeba", 60)
    for name, arguments in made.commands().items():
        done = celebgen(*arguments, cwd=folder)
        assert done.returncode == 0, f"{name}: {done.stderr}"
        made.said[name] = done
    return made


@pytest.fixture(scope="session")
def dataset32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty drawn faces, prepared at 32 px in this process: train 42, valid 12, test 6."""
    from tests.faces import prepared_faces

    return prepared_faces(tmp_path_factory.mktemp("dataset32"), 60, size=32)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with random weights, on disk in 32 bit."""
    from tests.networks import write_tiny_model

    return write_tiny_model(tmp_path_factory.mktemp("models") / "random")


@pytest.fixture(autouse=True)
def subnormal_numbers() -> None:
    """Loading a model flushes subnormal numbers to zero in the whole process, which hypothesis refuses to work with."""
    torch.set_flush_denormal(False)
