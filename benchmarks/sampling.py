"""Faces a second of this package and of a diffusers pipeline: equal steps, guidance, precision, threads and sizes.

    python benchmarks/sampling.py [--faces 16] [--steps 20] [--batch-size 16] [--rounds 3] [--threads N] [--device cpu]

The other side is what diffusers' text-to-image pipelines run: a UNet2DConditionModel and an AutoencoderKL of about as
many parameters as the model's own, a DDIMScheduler with trailing timesteps, both branches of guidance in one batch, and
the text tower of transformers where that is installed (else embeddings made beforehand, in its favour). Its weights are
random, which costs the same. Sides take turns, so that another load on the machine hits both; medians are printed, of
wall time and of the time that this process had a core.
A third row is the model with its own default settings, which need fewer evaluations.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from celebgen_cli import Model, load_model

PROMPTS = ["smiling woman blond hair", "old man", "young man with glasses", "a woman wearing a hat"]


def millions(*networks: nn.Module) -> float:
    return sum(parameter.numel() for network in networks for parameter in network.parameters()) / 1e6


class Theirs:
    """Text to pictures by diffusers' networks and scheduler, in the steps of its StableDiffusionPipeline."""

    def __init__(self, model: Model) -> None:
        from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

        size, channels = model.cvae.config.latent_size, model.cvae.config.latent_channels
        width, self.device = model.text.width, model.device
        self.shape, self.width = (channels, size, size), width
        self.unet = UNet2DConditionModel(
            sample_size=size, in_channels=channels, out_channels=channels, layers_per_block=2,
            block_out_channels=(112, 208), norm_num_groups=16, attention_head_dim=4, cross_attention_dim=width,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        ).eval().to(self.device)  # fmt: skip
        self.vae = AutoencoderKL(
            latent_channels=channels, block_out_channels=(64, 96, 128, 192), layers_per_block=1, norm_num_groups=16,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
            sample_size=model.size,
        ).eval().to(self.device)  # fmt: skip
        self.scheduler = DDIMScheduler(
            beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", timestep_spacing="trailing",
            rescale_betas_zero_snr=True, clip_sample=False,
        )  # fmt: skip
        self.text: Any = None
        if importlib.util.find_spec("transformers") is not None:
            from transformers import CLIPTextConfig, CLIPTextModel

            config = CLIPTextConfig(
                hidden_size=width, intermediate_size=4 * width, num_hidden_layers=4, num_attention_heads=4,
                max_position_embeddings=48,
            )  # fmt: skip
            self.text = CLIPTextModel(config).eval().to(self.device)

    def embed(self, count: int) -> Tensor:
        if self.text is None:
            return torch.zeros(count, 48, self.width, device=self.device)
        return self.text(torch.full((count, 48), 320, device=self.device)).last_hidden_state

    @torch.inference_mode()
    def sample(self, count: int, steps: int, guidance: float, batch_size: int) -> None:
        for start in range(0, count, batch_size):
            rows = min(batch_size, count - start)
            text = torch.cat([self.embed(rows), self.embed(rows)])
            self.scheduler.set_timesteps(steps)
            x = torch.randn(rows, *self.shape, device=self.device)
            for t in self.scheduler.timesteps:
                nothing, positive = self.unet(torch.cat([x, x]), t, encoder_hidden_states=text).sample.chunk(2)
                x = self.scheduler.step(nothing + guidance * (positive - nothing), t, x).prev_sample
            pictures = self.vae.decode(x / self.vae.config.scaling_factor).sample
            (pictures / 2 + 0.5).clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None, help="model folder; default: the model in the box")
    parser.add_argument("--faces", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="default: PyTorch's own")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    model = load_model(args.model, args.device, "fp32")
    theirs, prompts = Theirs(model), [PROMPTS[i % len(PROMPTS)] for i in range(args.faces)]
    seeds, size = range(args.faces), args.batch_size
    sides: dict[str, Callable[[], object]] = {
        "celebgen": lambda: model.sample(
            prompts, seeds, steps=args.steps, sampler="ddim", guidance=args.guidance, guidance_interval=(0.0, 1.0),
            pag=False, calibrate=False, batch_size=size,
        ),
        "diffusers": lambda: theirs.sample(args.faces, args.steps, args.guidance, size),
        "celebgen, own settings": lambda: model.sample(prompts, seeds, batch_size=size),
    }  # fmt: skip
    text = "none" if theirs.text is None else f"{millions(theirs.text):.1f} M"
    print(f"celebgen:  U-Net {millions(model.unet):.1f} M, decoder {millions(model.cvae.decoder):.1f} M")
    print(f"diffusers: U-Net {millions(theirs.unet):.1f} M, decoder {millions(theirs.vae.decoder):.1f} M, text {text}")
    print(f"{args.faces} faces of {model.size} px, {args.steps} steps of DDIM, guidance {args.guidance}, fp32")
    print(
        f"batches of {size}, {model.device}, {torch.get_num_threads()} threads, {platform.machine()}, "
        f"torch {torch.__version__}"
    )
    for run in sides.values():
        run()  # not counted: the first run fills caches
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(args.rounds):
        for name, run in sides.items():
            began, busy = time.perf_counter(), time.process_time()
            run()
            taken[name].append((time.perf_counter() - began, time.process_time() - busy))
    print(f"{'':24} {'faces/s':>8} {'s/face':>8} {'min':>8} {'max':>8} {'CPU s/face':>11}")
    for name, rounds in taken.items():
        walls, busies = ([one / args.faces for one in some] for some in zip(*rounds, strict=True))
        middle = statistics.median(walls)
        print(
            f"{name:24} {1 / middle:8.2f} {middle:8.3f} {min(walls):8.3f} {max(walls):8.3f} "
            f"{statistics.median(busies):11.3f}"
        )


if __name__ == "__main__":
    main()
