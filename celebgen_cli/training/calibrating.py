"""Measure how drawn latents differ from encoded ones, and faces from photographs, and write the corrected model."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from celebgen_cli.data.dataset import open_dataset
from celebgen_cli.diffusion.guidance import unwhiten, whiten
from celebgen_cli.diffusion.noise import image_noise
from celebgen_cli.drawing import chain_noise, start_code, start_coordinates
from celebgen_cli.errors import UsageError
from celebgen_cli.models import folder as model_folder
from celebgen_cli.models.calibration import measure
from celebgen_cli.models.layers import Gaussian
from celebgen_cli.models.spectrum import RINGS, color_response, frequency_response, ring_power, ring_products
from celebgen_cli.pipeline import draw_latents, load_model
from celebgen_cli.training.batches import Examples, batch_rows, mirrored, numpy_generator

SEEDS_FROM = 3_000_000_000  # far from those that people and measurements use
SEEDS_EACH = 1_000_000  # of faces for one --seed


@torch.inference_mode()
def calibrate(
    model: Path | None,
    dataset: Path,
    output: Path,
    *,
    count: int = 1200,
    batch_size: int = 16,
    seed: int = 0,
    device: str | None = None,
    force: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Draw `count` latents for captions of training pictures, encode those pictures, and write model and correction.

    Both sides are whitened by the same captions' priors. The model's own default settings draw. Then the corrected
    latents are decoded, and their frequencies compared with those of the pictures; colour finer than any that the
    pictures, rebuilt, have in common with themselves is left out. `progress(done, total)` counts pictures, twice.

    Raises:
        UsageError: fewer than 2 pictures, the dataset has no train split or another size, or `output` is not empty.
        CelebgenError: the model or dataset cannot be read, or the disk is full.
    """
    if count < 2:
        raise UsageError(f"--num must be at least 2, not {count}")
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file; give the name of a folder")
    if output.exists() and any(output.iterdir()) and not force:
        raise UsageError(f"{output} is not empty; choose another folder, or add --force to replace it")
    generator = load_model(model, device, "fp32")
    data = open_dataset(dataset)
    if data.size != generator.size:
        raise UsageError(f"{dataset} has {data.size} px pictures and {generator.name} makes {generator.size} px")
    split = data.split("train")
    examples, where = Examples(split), generator.device
    rows, rng = batch_rows(len(split), count, 0, seed), numpy_generator(seed, 0, 72)
    settings = generator.settings()
    flips = numpy_generator(seed, 0, 73).random(count) < 0.5
    drawn, encoded, coordinates, prompts = [], [], [], []
    before = seed % 2**40 * SEEDS_EACH
    products = torch.zeros(3, 3, RINGS, dtype=torch.float64)
    for start in range(0, count, batch_size):
        some = rows[start : start + batch_size]
        texts = examples.captions(some, rng).texts
        seeds = range(SEEDS_FROM + before + start, SEEDS_FROM + before + start + len(some))
        z, features = draw_latents(
            generator.text, generator.cvae, generator.unet, generator.schedule, texts, seeds, **settings
        )
        text_prior, unet = generator.cvae.prior(features), generator.unet
        shape = tuple(text_prior.mean.shape[1:])
        empty = generator.text([""]).to(where).select(torch.zeros(len(some), dtype=torch.long, device=where))
        code = start_code(
            unet, features, empty, settings["guidance"], functools.partial(chain_noise, unet, seeds, shape)
        )
        p, _ = start_coordinates(generator.text, generator.cvae, unet, text_prior, code)
        images = examples.images(some, where)
        images = mirrored(images, torch.from_numpy(flips[start : start + len(some)]))
        q = generator.cvae.encode(images, empty)
        products += ring_products(generator.cvae.decode(q.mean, empty), images)
        sampled = q.sample(image_noise(range(before + start, before + start + len(some)), shape, device=where))
        theirs = p  # a text's coordinates are those of both, a code's are each one's own
        if unet.coarse is not None:
            theirs = unet.coarse.coordinates(unet.coarse.code(sampled))
        drawn.append(whiten(z, p.mean, p.log_std).cpu())
        encoded.append(whiten(sampled, theirs.mean, theirs.log_std).cpu())
        coordinates.append(Gaussian(*(part.cpu() for part in p)))
        prompts.append(texts)
        progress(start + len(some), 2 * count)
    calibration = measure(torch.cat(drawn), torch.cat(encoded))
    photographs = products[2]
    faces, done = torch.zeros_like(photographs), 0
    for texts, u, p in zip(prompts, drawn, coordinates, strict=True):
        z = unwhiten(calibration(u), p.mean, p.log_std).to(where)
        faces += ring_power(generator.cvae.decode(z, generator.text(texts).to(where)))
        done += len(texts)
        progress(count + done, 2 * count)
    parts = model_folder.load_model(generator.path, model_folder.networks_of(generator.path))
    response = frequency_response(faces, photographs) * color_response(products)
    parts.calibration = calibration._replace(response=response)
    own = {name: value for name, value in settings.items() if name in generator.defaults}
    record: dict[str, Any] = {"num": count, "seed": seed, "settings": own, "fingerprint": split.fingerprint}
    info = {name: value for name, value in parts.info.items() if name not in ("measured", "storage")}
    parts.info = {**info, "calibration": record}
    model_folder.save_model(parts, output, str(generator.info.get("storage", "fp32")), force)
