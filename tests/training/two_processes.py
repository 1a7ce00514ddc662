"""What each of two processes checks of itself: `python -m tests.training.two_processes FOLDER`, as torchrun starts it.

FOLDER holds a dataset of drawn faces. A process ends with 0 where all holds.
"""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from celebgen_cli import processes
from celebgen_cli.data.captions import Wording
from celebgen_cli.data.dataset import open_dataset
from celebgen_cli.diffusion.schedule import Schedule
from celebgen_cli.models.presets import tiny
from celebgen_cli.training import transport
from celebgen_cli.training.batches import Examples, training_and_held_out
from celebgen_cli.training.clip import CLIPLossConfig, CLIPTask
from celebgen_cli.training.diffusion import DiffusionTask
from celebgen_cli.training.distillation import DistillationTask, Teaching
from celebgen_cli.training.distributed import all_rows, norm_of_all, own_part, replicated
from celebgen_cli.training.drawn import Drawn
from celebgen_cli.training.engine import Task
from celebgen_cli.training.latents import encode
from celebgen_cli.training.perceptual import LPIPS
from celebgen_cli.training.prior import PriorTask
from celebgen_cli.training.transport import Targets, Transport
from celebgen_cli.training.vae import CVAELossConfig, CVAETask
from tests.likeness import made_up
from tests.networks import randomise, tiny_cvae, tiny_text, tiny_unet

BATCH = 8


def gradients(task: Task, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    task.module.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in task.module.named_parameters() if p.grad is not None}


def tasks(folder: Path) -> dict[str, Callable[[], Task]]:
    """Every kind of training, tiny."""
    data = open_dataset(folder / "dataset")
    train, held = training_and_held_out(data)
    own = Examples(data.split("train"), np.arange(20), Wording("grammar", 0.0))
    cvae, text = tiny_cvae(), tiny_text()
    pairs = [(examples, encode(cvae, text, examples, folder / "latents", nullcontext)) for examples in (train, held)]
    pool = Drawn(torch.randn(6, 4, 8, 8, generator=torch.Generator().manual_seed(3)).half(), list("abcdef"))

    def vae(drawn: Drawn | None = None, **loss: float) -> CVAETask:
        return CVAETask(tiny().cvae, train, held, text, None, BATCH, 0, CVAELossConfig(**loss), drawn)  # type: ignore[arg-type]

    def moved() -> CVAETask:
        generator = torch.Generator().manual_seed(4)
        alexnet = LPIPS(*made_up())
        goals = [torch.rand(6, c, generator=generator) for c in alexnet.channels for _ in range(2)]
        made = vae(pool, freeze_encoder=True, drawn_share=0.6, transport=0.7)
        coarse = torch.rand(6, 3, 8, 8, generator=generator).half()
        made.transport = Transport([alexnet], Targets(goals, [1.0] * 10, [2.0] * 10, coarse))
        return made

    critic = {"adversarial": 0.7, "adversarial_from": 0}
    return {
        "diffusion": lambda: DiffusionTask(
            tiny().unet, Schedule.cosine(1000), cvae, text, pairs[0], pairs[1], BATCH, 0
        ),
        "student": lambda: DistillationTask(
            tiny().unet, Schedule.cosine(1000), cvae, text, tiny_unet(), Teaching(2, 4, guidance=3.0, pag=True),
            train, held, BATCH, 0,
        ),
        "prior": lambda: PriorTask(tiny_cvae(5).prior.requires_grad_(True), pairs[0], pairs[1], text, BATCH, 0),
        "vae": vae,
        "critic": lambda: vae(**critic),
        "pool": lambda: vae(pool, freeze_encoder=True, drawn_share=0.6, **critic),  # 3 rebuilt, 5 made: uneven parts
        "moved": moved,
        "clip": lambda: CLIPTask(tiny().clip, own, held, BATCH, 0, CLIPLossConfig()),
        "softmax": lambda: CLIPTask(tiny().clip, own, held, BATCH, 0, CLIPLossConfig(contrast="softmax")),
    }


def check_gradients(folder: Path) -> None:
    """The averaged gradients of both parts are those of the whole batch, and so are the loss and its figures."""
    for name, make in tasks(folder).items():
        task = make()
        randomise(task.module)
        task.module.eval()  # the spectral norm of a critic's weights would be known better with each call
        expected_loss, expected_figures = task.loss(3)
        expected = gradients(task, expected_loss)
        spread = replicated(task)
        for _ in range(2):  # the second time DistributedDataParallel knows its way
            loss, figures = spread(3, own_part(BATCH))
            found = gradients(task, loss)
            assert found.keys() == expected.keys(), name
            largest = max(float(grad.abs().max()) for grad in expected.values())
            for parameter, grad in found.items():
                try:
                    torch.testing.assert_close(grad, expected[parameter], rtol=2e-3, atol=2e-5 * largest)
                except AssertionError as error:
                    raise AssertionError(f"{name}, {parameter}: {error}") from error
            means = processes.mean_of([loss, *figures.values()])
            whole = [float(value) for value in (expected_loss.detach(), *expected_figures.values())]
            assert figures.keys() == expected_figures.keys(), name
            assert np.allclose(means, whole, rtol=1e-4, atol=1e-5), (name, means, whole)
        assert (own_part(BATCH).first, own_part(BATCH).count) == (4 * processes.world().rank, 4)


def check_targets(folder: Path) -> None:
    """Both shares are looked at, and each row of both is in its place."""
    train, _ = training_and_held_out(open_dataset(folder / "dataset"))
    pool = Drawn(torch.randn(9, 4, 8, 8, generator=torch.Generator().manual_seed(5)).half(), list("abcdefghi"))
    cvae, text, alexnet = tiny_cvae(), tiny_text(), LPIPS(*made_up())
    transport.BATCH = 2
    told = transport.find_targets(
        folder / "targets", pool, cvae, text, train, [alexnet], None, 0, begun=False, mixed=nullcontext
    )
    with torch.no_grad():
        own = cvae.decode(pool.latents.float(), text(pool.captions))
        features = transport.pooled_features([alexnet], own)
    assert told.coarse.shape == (9, 3, 8, 8)
    torch.testing.assert_close(told.coarse, F.avg_pool2d(own, transport.COARSE).half(), rtol=2e-3, atol=2e-3)
    assert [goal.shape for goal in told.features] == [feature.shape for feature in features]
    ways = [float((f - goal).square().sum(1).mean()) for f, goal in zip(features, told.features, strict=True)]
    assert np.allclose(told.ways, np.array(ways) / told.scales, rtol=1e-2, atol=1e-4)


def check_numbers() -> None:
    """What the two tell each other."""
    rank = processes.world().rank
    assert processes.same(("from", rank)) == ("from", 0)
    assert processes.gathered(rank * 10) == [0, 10]
    assert processes.collected(rank) == ([0, 1] if rank == 0 else [])
    assert processes.any_of(rank == 1)
    assert not processes.any_of(False)
    assert processes.mean_of([rank, 3.0]) == [0.5, 3.0]
    rows = torch.arange(3.0) + 10 * rank
    assert all_rows(rows).tolist() == [0, 1, 2, 10, 11, 12]
    assert float(norm_of_all(torch.tensor([3.0 if rank == 0 else 8.0]), 1.0 if rank == 0 else 2.0)) == 5.0


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with processes.joined() as world:
        assert world == processes.World(int(sys.argv[2]), 2, int(sys.argv[2]))
        check_numbers()
        check_gradients(folder)
        check_targets(folder)
        assert gloo_threads() or not Path("/proc/self/task").is_dir()
    assert processes.world() == processes.World()
    assert not gloo_threads(), "a thread of gloo that outlives Python aborts the process"


def gloo_threads() -> list[str]:
    """Names of gloo's threads in this process, where the system tells."""
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    return [name for name in names if "gloo" in name]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
