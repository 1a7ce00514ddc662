"""Training steps a second and memory of each network, and the U-Net against diffusers' of equal size.

    python benchmarks/training.py [--networks clip,vae,diffusion,unet] [--precision fp32] [--steps 8] [--rounds 3]
        [--device cpu] [--threads N] [--compile] [--batch-size 32] [--peak-tflops N]

clip, vae and diffusion are the training commands themselves at the size of the model in the box, on smooth noise: the
time from step to step, and the share of it that goes into pictures, captions, cached latents and logs.

unet is one training step of two U-Nets: forward, backward, clipping, fused AdamW and the moving average, on the same
inputs. The other one is diffusers' UNet2DConditionModel with attention at the same resolution, the same text width, and
as many parameters within 2 %: once with as many blocks and narrower, once as wide and with fewer blocks. Every
measurement is a process of its own, and the sides take turns; the median of the rounds is printed, of wall time and of
the time that the process had a core, which says more where other things run. On CUDA there is also the share of the
card's peak (model FLOPs utilisation), for cards in PEAKS or with --peak-tflops.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PICTURES = 128
SIDES: dict[str, tuple[tuple[int, int], int] | None] = {  # widths, and blocks a resolution
    "celebgen": None, "diffusers, as deep": ((160, 208), 2), "diffusers, as wide": ((176, 256), 1),
}  # fmt: skip
PEAKS = {"A100": 312.0, "H100": 989.0, "H200": 989.0}  # dense bf16 tensor TFLOP/s of the SXM cards, as NVIDIA says


class Enough(Exception):
    """The steps to be measured are done."""


def dataset(folder: Path) -> Path:
    """Prepared pictures of smooth noise at 128 px, with random attributes."""
    import numpy as np
    from PIL import Image

    from celebgen_cli.data.attributes import ATTRIBUTES
    from celebgen_cli.data.prepare import prepare

    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(1, PICTURES + 1):
        noise = rng.integers(0, 256, (16, 13, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((178, 218)).save(folder / "images" / f"{number:06d}.jpg")
        rows.append(f"{number:06d}.jpg " + " ".join(rng.choice(["-1", "1"], len(ATTRIBUTES))))
    text = "\n".join([str(PICTURES), " ".join(ATTRIBUTES), *rows]) + "\n"
    (folder / "list_attr_celeba.txt").write_text(text)
    prepare([folder / "images"], folder / "data", annotations=folder, workers=1)
    return folder / "data"


@contextlib.contextmanager
def stopwatch(spent: list[float]) -> Iterator[None]:
    """Let everything that fetches data or logs add its seconds to `spent`; what calls another is counted once."""
    from celebgen_cli.training.batches import Examples
    from celebgen_cli.training.engine import Trainer
    from celebgen_cli.training.latents import Latents

    inside = [False]

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            if inside[0]:
                return function(*args, **kwargs)
            inside[0], began = True, time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                inside[0] = False
                spent[0] += time.perf_counter() - began

        return run

    places = [(Examples, "images"), (Examples, "captions"), (Latents, "posterior"), (Trainer, "_log")]
    kept = [(owner, name, getattr(owner, name)) for owner, name in places]
    for owner, name, function in kept:
        setattr(owner, name, timed(function))
    try:
        yield
    finally:
        for owner, name, function in kept:
            setattr(owner, name, function)


def measure_command(network: str, args: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Seconds a step of a training command, and the share of data and logs."""
    from celebgen_cli.models.registry import BOX
    from celebgen_cli.training import recipes
    from celebgen_cli.training.order import Order

    spent, ticks = [0.0], []

    def report(step: int, steps: int, metrics: object) -> None:
        synchronize(args.device)
        ticks.append((time.perf_counter(), time.process_time(), spent[0]))
        if len(ticks) == args.steps + 3:  # the first three warm up
            raise Enough

    overrides = {"steps": 10_000, "batch_size": args.batch_size, "precision": args.precision}
    order = Order(dataset(folder), folder / "run", overrides, device=args.device)
    with stopwatch(spent), contextlib.suppress(Enough):
        if network == "clip":
            recipes.train_clip(order, preset="base128", report=report)
        elif network == "vae":
            recipes.train_vae(order, text=str(BOX), perceptual="none", report=report)
        else:
            recipes.prepare_diffusion(order, vae=BOX)(report)
    (wall, cpu, used), (end_wall, end_cpu, end_used) = ticks[2], ticks[-1]
    steps = len(ticks) - 3
    return {
        "wall": (end_wall - wall) / steps, "cpu": (end_cpu - cpu) / steps, "memory": memory(args.device),
        "share": (end_used - used) / (end_wall - wall),
    }  # fmt: skip


def measure_unet(side: str, args: argparse.Namespace) -> dict[str, float]:
    """Seconds a training step of one U-Net, its parameters and FLOPs."""
    import torch
    from torch.optim.swa_utils import AveragedModel
    from torch.utils.flop_counter import FlopCounterMode

    from celebgen_cli.models.devices import autocast, memory_format
    from celebgen_cli.models.layers import Gaussian, TextFeatures
    from celebgen_cli.models.unet import UNet, UNetConfig
    from celebgen_cli.training.engine import ema_update

    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    device, count, config = torch.device(args.device), args.batch_size, UNetConfig()
    channels, width = config.latent_channels, config.text_width
    u, mean, log_std, target = (torch.randn(count, channels, 16, 16, device=device) for _ in range(4))
    t = torch.randint(1, 1001, (count,), device=device)
    tokens, pooled = torch.randn(count, 48, width, device=device), torch.randn(count, width, device=device)
    mask = torch.arange(48, device=device) < torch.randint(5, 25, (count, 1), device=device)
    model: torch.nn.Module
    sizes = SIDES[side]
    if sizes is None:
        model = UNet(config)
        inputs: tuple[Any, ...] = (u, t, TextFeatures(tokens, mask, pooled), Gaussian(mean, 2 * log_std))
    else:
        from diffusers import UNet2DConditionModel

        (widths, layers), inputs = sizes, (torch.cat([u, mean, log_std], dim=1), t, tokens)
        theirs: Any = UNet2DConditionModel(
            sample_size=16, in_channels=3 * channels, out_channels=channels, layers_per_block=layers,
            block_out_channels=widths, norm_num_groups=16, attention_head_dim=4, cross_attention_dim=width,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        )  # fmt: skip
        model = theirs
    model.to(device, memory_format=memory_format(device))  # type: ignore[call-overload]
    average = AveragedModel(model, multi_avg_fn=ema_update(500))  # type: ignore[arg-type]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    mixed, called = autocast(device, args.precision), torch.compile(model) if args.compile else model

    def step(network: Any = called) -> None:
        with mixed():
            predicted = network(*inputs)
            predicted = predicted if isinstance(predicted, torch.Tensor) else predicted.sample
            loss = (predicted.float() - target).square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average.update_parameters(model)

    with FlopCounterMode(display=False) as counter:
        step(model)
    for _ in range(3 if args.compile else 1):
        step()
    taken = []
    for _ in range(args.steps):
        synchronize(args.device)
        began, busy = time.perf_counter(), time.process_time()
        step()
        synchronize(args.device)
        taken.append((time.perf_counter() - began, time.process_time() - busy))
    walls, cpus = zip(*taken, strict=True)
    return {
        "wall": statistics.median(walls), "cpu": statistics.median(cpus), "memory": memory(args.device),
        "parameters": sum(parameter.numel() for parameter in model.parameters()) / 1e6,
        "gflop": counter.get_total_flops() / 1e9,
    }  # fmt: skip


def synchronize(device: str) -> None:
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize()


def memory(device: str) -> float:
    """GiB: the highest that tensors took on the card, else that the process had."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated() / 2**30
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def in_a_process(what: str, options: list[str]) -> dict[str, float]:
    done = subprocess.run([sys.executable, __file__, *options, "--only", what], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{what}: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.returncode}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def peak(args: argparse.Namespace) -> float | None:
    """TFLOP/s that the card could do in bf16, where that is known."""
    if args.peak_tflops or not args.device.startswith("cuda"):
        return args.peak_tflops or None
    import torch

    return next((tflops for card, tflops in PEAKS.items() if card in torch.cuda.get_device_name()), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="clip,vae,diffusion,unet")
    parser.add_argument("--precision", default="fp32", help="fp32, bf16 or fp16")
    parser.add_argument("--steps", type=int, default=8, help="measured steps of a process")
    parser.add_argument("--rounds", type=int, default=3, help="processes a side")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="default: PyTorch's own")
    parser.add_argument("--compile", action="store_true", help="torch.compile both U-Nets")
    parser.add_argument("--peak-tflops", type=float, default=0.0)
    parser.add_argument("--only", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if strange := set(args.networks.split(",")) - {"clip", "vae", "diffusion", "unet"}:
        parser.error(f"--networks: there is no {', '.join(sorted(strange))}")
    if args.only:
        if args.threads:
            import torch

            torch.set_num_threads(args.threads)
        if args.only in SIDES:
            print(json.dumps(measure_unet(args.only, args)))
        else:
            with tempfile.TemporaryDirectory() as place:
                print(json.dumps(measure_command(args.only, args, Path(place))))
        return
    print(f"{args.device}, {args.precision}, batches of {args.batch_size}, {args.threads or os.cpu_count()} threads")
    wanted, head = args.networks.split(","), f"{'steps/s':>8} {'s/step':>8} {'CPU s':>7} {'GiB':>6}"
    for network in (name for name in ("clip", "vae", "diffusion") if name in wanted):
        found = in_a_process(network, sys.argv[1:])
        print(f"{network:20} {head} {'data, logs':>11}")
        print(f"{'':20} {row(found)} {found['share']:11.1%}", flush=True)
    if "unet" not in wanted:
        return
    rounds: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(args.rounds):
        for side in SIDES:
            rounds[side].append(in_a_process(side, sys.argv[1:]))
    tflops, ours = peak(args), None
    print(f"{'unet':20} {head} {'M param.':>9} {'GFLOP':>7} {'to ours':>12}" + (f" {'MFU':>6}" if tflops else ""))
    for side, several in rounds.items():
        middle = {key: statistics.median(one[key] for one in several) for key in several[0]}
        ours = ours or middle
        faster = f"{middle['wall'] / ours['wall']:.2f}x"
        used = f" {middle['gflop'] / middle['wall'] / 1e3 / tflops:6.1%}" if tflops else ""
        print(f"{side:20} {row(middle)} {middle['parameters']:9.2f} {middle['gflop']:7.0f} {faster:>12}{used}")


def row(found: dict[str, float]) -> str:
    return f"{1 / found['wall']:8.2f} {found['wall']:8.3f} {found['cpu']:7.3f} {found['memory']:6.2f}"


if __name__ == "__main__":
    main()
