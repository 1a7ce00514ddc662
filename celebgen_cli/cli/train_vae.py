"""`celebgen train-vae`: the CVAE, then its prior refitted."""

from pathlib import Path
from typing import Annotated

import typer

from celebgen_cli.cli import common, config, train_common
from celebgen_cli.cli.groups import grouped


@config.trains("vae")
@grouped
def train_vae(
    dataset: Annotated[Path, typer.Argument(help="Prepared dataset.")],
    output: train_common.RunFolder,
    text: Annotated[
        str, typer.Option(help="Text encoder: a train-clip run, a model, open_clip:NAME/TAG or local-dir:PATH.")
    ],
    preset: train_common.Preset = None,
    prior_steps: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Steps of the prior's refit on the finished latents; 0 leaves it out, default: what suits the preset.",
        ),
    ] = None,
    latent_channels: Annotated[
        int | None,
        typer.Option(
            min=1, max=64,
            help="Channels of the latent; default: the preset's (base128: 8). With --init-from: the layers beside a "
            "latent of other channels begin anew.",
        ),
    ] = None,
    perceptual: Annotated[
        str | None, typer.Option(help="lpips (over AlexNet, default), lpips-vgg (over VGG16) or none.")
    ] = None,
    perceptual_weights: Annotated[
        Path | None,
        typer.Option(
            help="Folder with AlexNet's or VGG16's LPIPS weights, for --transport both; default: torchvision's, "
            "downloaded."
        ),
    ] = None,
    beta: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Weight of KL(q || p), the mean over latent dimensions: the larger, the less a latent says and the "
            "sooner a denoiser learns it; default 0.016.",
        ),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(min=0, help="Weight of the halved latent's decoding against the halved picture; default 0.25."),
    ] = None,
    adversarial: Annotated[
        float | None,
        typer.Option(
            min=0, help="Gradient of a critic's term, as a share of that of L1 + LPIPS; default 0, no critic."
        ),
    ] = None,
    transport: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="With --denoiser, in place of a critic: gradient that takes drawn faces, by optimal transport, to the "
            "features of photographs in VGG16 and AlexNet, as a share of that of L1 + LPIPS; default 0.",
        ),
    ] = None,
    freeze_encoder: Annotated[
        bool | None,
        typer.Option("--freeze-encoder", help="Train the decoder alone; latents and denoisers made before stay valid."),
    ] = None,
    denoiser: Annotated[
        Path | None,
        typer.Option(
            help="With --freeze-encoder and --adversarial or --transport: a model or train-diffusion run on the same "
            "latents. It draws latents, and the decoder learns to make faces of them."
        ),
    ] = None,
    drawn: Annotated[
        int | None, typer.Option(min=1, help="Latents that --denoiser draws; default: what suits the preset.")
    ] = None,
    sample_every: train_common.SampleEvery = None,
    *,
    wording: train_common.Wording,
    loop: train_common.Loop,
    options: str = "",
) -> None:
    """Train the conditional VAE, encode the dataset with it, and refit the prior p(z|c) on the latents.

    Example: celebgen train-vae data/celeba -o runs/vae --text runs/clip
    """
    from celebgen_cli.training import recipes

    order = loop.order(dataset, output, options, wording, sample_every=sample_every)
    with (
        common.progress("draw latents", quiet=loop.quiet, waits=True) as drawing,
        common.progress("look at pictures", quiet=loop.quiet, waits=True) as looking,
        common.training_progress("train-vae", loop.quiet) as report,
    ):
        recipes.train_vae(
            order, text=text, preset=preset, perceptual=perceptual, perceptual_weights=perceptual_weights, beta=beta,
            scale=scale, adversarial=adversarial, transport=transport, freeze_encoder=freeze_encoder, denoiser=denoiser,
            drawn=drawn, prior_steps=prior_steps, latent_channels=latent_channels, progress=drawing, looking=looking,
            report=report,
        )  # fmt: skip
    with common.progress("encode latents", quiet=loop.quiet, waits=True) as encoded:
        fit = recipes.prepare_prior(loop.order(dataset, output, ""), steps=prior_steps, progress=encoded)
    with common.training_progress("refit prior", loop.quiet) as report:
        figures = fit(report)
    if not loop.quiet and figures:
        common.say(train_common.summary(figures))
    print(output)
