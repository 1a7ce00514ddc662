"""A model's denoiser trained on with a few pictures of one's own: prepared, encoded, trained, and a model again.

Text encoder, CVAE and prior stay as they are, and so does the correction that `calibrate` measured: it is of the
decoder and of few sampling steps more than of the pictures.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from celebgen_cli import __version__
from celebgen_cli.data.captions import choose_wording
from celebgen_cli.data.dataset import open_dataset
from celebgen_cli.data.prepare import prepare
from celebgen_cli.data.sources import list_files
from celebgen_cli.data.workplace import check_outside, workplace
from celebgen_cli.diffusion.schedule import Schedule
from celebgen_cli.errors import CelebgenError, UsageError, counted
from celebgen_cli.files import read_json, sha256_file
from celebgen_cli.models.devices import autocast, choose_device
from celebgen_cli.models.folder import JUDGE, Components, carry_over, is_model, load_model, networks_of, save_model
from celebgen_cli.models.registry import BOX, find
from celebgen_cli.models.text_encoder import CompactText
from celebgen_cli.training.batches import training_and_held_out
from celebgen_cli.training.checkpoints import list_checkpoints
from celebgen_cli.training.diffusion import DiffusionTask
from celebgen_cli.training.engine import Reporter, TrainConfig, Trainer, quiet
from celebgen_cli.training.latents import encode
from celebgen_cli.training.runs import has_checkpoint

STEPS, BATCH_SIZE, LEARNING_RATE = 200, 16, 1e-4
CAPTION = "a portrait of a person"  # of pictures of which nothing is said


class _Task(DiffusionTask):
    def preview(self, ema: nn.Module, path: Path) -> None:
        """Nothing: drawing the grid would take as long as many steps, and `sample` shows the model."""


def finetune(
    sources: Sequence[Path],
    output: Path,
    *,
    model: Path | None = None,
    caption: str | None = None,
    align: bool = False,
    landmarks: Path | None = None,
    steps: int = STEPS,
    batch_size: int = BATCH_SIZE,
    learning_rate: float = LEARNING_RATE,
    seed: int = 0,
    precision: str = "auto",
    device: str | None = None,
    name: str | None = None,
    force: bool = False,
    announce: Callable[[str], None] = lambda sentence: None,
    report: Reporter = quiet,
) -> None:
    """Write `model`, its denoiser trained on with these pictures, to `output`.

    What is done lies beside `output` until the end, and the same call goes on from there after a kill or Ctrl-C.

    Args:
        sources: folders or archives of pictures, or one prepared dataset.
        model: a model (folder or word); None is the one in the box.
        caption: what pictures without a caption of their own show, `CAPTION` if None.
        align, landmarks: as for `prepare`.
        announce: gets sentences about the pictures. report: the reporter of the training.

    Raises:
        UsageError: a source that cannot be one, a dataset that does not fit the model, or `output` exists and `force`
            is off.
        CelebgenError: no usable picture, an unusable model, a full disk.
    """
    base, where = BOX if model is None else find(model), choose_device(device)
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        if not force:
            raise UsageError(f"{output} is not empty; choose another folder, or add --force to replace it")
        if not is_model(output):
            raise UsageError(f"{output} exists and is no model, so --force does not replace it")
    check_outside(output, [*sources, *([landmarks] if landmarks else [])])
    parts = load_model(base, networks_of(base))
    assert parts.text is not None and parts.cvae is not None and parts.unet is not None
    if parts.info.get("training", {}).get("distilled"):
        raise UsageError(
            f"{base} is a student of few steps, which it would forget in training on pictures; finetune its teacher, "
            "and distil that"
        )
    digests = json.loads((base / "model.json").read_text(encoding="utf-8")).get("sha256", {})
    drawing = [digest for file, digest in sorted(digests.items()) if file != JUDGE]  # as `Model.sha256` has it
    identity = hashlib.sha256("".join(drawing).encode()).hexdigest()
    warmup, half_life = min(20, max(1, steps // 10)), max(1, steps // 8)
    config = TrainConfig(
        steps, batch_size, learning_rate, warmup=warmup, ema_half_life=half_life, precision=precision, seed=seed,
        checkpoint_every=max(1, min(50, steps // 4)), sample_every=steps, log_every=5,
    )  # fmt: skip
    for option, given in (("--caption", caption), ("--align", align), ("--landmarks", landmarks)):
        if given and _is_dataset(sources[0]):
            raise UsageError(
                f"{option} is for folders of pictures, and {sources[0]} is prepared already; leave it out, or give it "
                "to `celebgen prepare`"
            )
    points = [str(landmarks), None if landmarks is None or not landmarks.is_file() else sha256_file(landmarks)]
    asked = [identity, digests.get(JUDGE), asdict(config), caption, align, points, __version__, where.type]
    key = hashlib.sha256(json.dumps([asked, [_stamps(source) for source in sources]]).encode()).hexdigest()
    room = 40 * sum(parameter.numel() for parameter in parts.unet.parameters())  # two checkpoints, and the model
    if caption is None and not _is_dataset(sources[0]):
        announce(f"Pictures without a caption of their own are learned as {CAPTION!r}; --caption says what they show.")
    elif caption is not None and isinstance(parts.text, CompactText) and (new := parts.text.unknown_words(caption)):
        announce(f"warning: the text encoder never saw {', '.join(map(repr, new[:8]))}, so that names nothing here")
    with workplace(output, key, room, keep=lambda folder: has_checkpoint(folder / "work" / "run")) as folder:
        dataset = sources[0] if _is_dataset(sources[0]) else folder / "work" / "data"
        if len(sources) > 1 and _is_dataset(sources[0]):
            raise UsageError("only one prepared dataset can be learned from; give folders of pictures, or that alone")
        if not _is_dataset(dataset):
            report_of = prepare(
                list(sources), dataset, annotations=None, size=parts.cvae.config.image_size,
                crop=str(parts.info.get("crop", "face178")) if align else None, align=align, landmarks=landmarks,
                caption=CAPTION if caption is None else caption, announce=announce,
            )  # fmt: skip
            if report_of.rejected:
                first = "; ".join(f"{name}: {reason}" for name, reason in report_of.rejected_examples)
                announce(f"warning: {counted(report_of.rejected, 'picture')} left out, which cannot be used ({first})")
        trained = _train(parts, dataset, folder / "work" / "run", config, where, report)
        storage = str(parts.info.get("storage", "fp32"))  # as the base's
        shutil.rmtree(folder / "model", ignore_errors=True)  # of a call that was killed just here
        save_model(_finished(parts, trained, identity, config, name or output.name), folder / "model", storage)
        for path in (folder / "model").iterdir():
            os.replace(path, folder / path.name)
        shutil.rmtree(folder / "model")
        carry_over(output, folder)
        shutil.rmtree(folder / "work" / "run")  # before its pictures, without which it could not go on
        shutil.rmtree(folder / "work")


def _train(
    parts: Components, dataset: Path, run: Path, config: TrainConfig, where: torch.device, report: Reporter
) -> dict[str, Any]:
    """Train `parts.unet` and put the averaged weights in its place; what there is to say of the pictures."""
    assert parts.text is not None and parts.cvae is not None and parts.unet is not None
    data, size = open_dataset(dataset), parts.cvae.config.image_size
    if "train" not in data.splits:
        raise UsageError(f"{dataset} has no train split to learn from; prepare one that has")
    if data.size != size:
        raise UsageError(f"{dataset} has {data.size} px pictures and the model takes {size} px; prepare it so")
    split = data.split("train")
    text, cvae = parts.text.to(where), parts.cvae.to(where)
    mixed, wording = autocast(where, config.precision), choose_wording(split, None, None)
    pairs = [
        (examples, encode(cvae, text, examples, dataset / "latents", mixed, lambda done, total: None, run / "latents"))
        for examples in training_and_held_out(data, None, wording)
    ]
    schedule = Schedule.from_dict(parts.info.get("schedule"))
    task = _Task(
        parts.unet.config, schedule, cvae, text, pairs[0], pairs[1], config.batch_size, config.seed, loaded=True
    )
    task.model.load_state_dict(parts.unet.state_dict())
    resume = bool(list_checkpoints(run / "checkpoints"))
    if not resume:
        shutil.rmtree(run, ignore_errors=True)  # it had not come to its first checkpoint
    trainer = Trainer(task, run, config, device=where, settings={}, resume=resume)
    try:
        trainer.train(report)
    except CelebgenError as error:
        if not (run / "stopped.json").is_file():
            raise
        reason = read_json(run / "stopped.json")["reason"]
        shutil.rmtree(run)  # the same call would come to the same end
        what = "give a lower --learning-rate, or another --seed"
        raise CelebgenError(f"{reason}, so training stopped; {what}") from error
    parts.unet.load_state_dict(trainer.ema.module.state_dict())
    for network in (parts.text, parts.cvae, parts.unet):
        network.cpu()
    return {"train_images": len(split), "fingerprint": split.fingerprint}


def _finished(
    parts: Components, data: dict[str, Any], identity: str, config: TrainConfig, name: str
) -> Components:
    """The parts with what model.json says of them now; figures were those of the model before."""
    info = {key: value for key, value in parts.info.items() if key not in ("measured", "storage")}
    before = {"name": info.get("name"), "model_sha256": identity}
    finetuned = {"from": before, "data": data, "train": asdict(config)}
    info |= {"name": name, "celebgen": __version__, "training": {**info.get("training", {}), "finetuned": finetuned}}
    parts.info = info
    return parts


def _is_dataset(path: Path) -> bool:
    return (path / "dataset.json").is_file()


def _stamps(source: Path) -> list[Any]:
    """Path, and name, size and time of each file: other pictures under the same names are noticed."""
    if _is_dataset(source):
        return [os.path.abspath(source), open_dataset(source).split("train").fingerprint]
    paths = [source / name for name in list_files(source)] if source.is_dir() else [source]
    stamps: list[Any] = [os.path.abspath(source)]
    for path in paths:
        with contextlib.suppress(OSError):
            status = path.stat()
            stamps.append([path.name, status.st_size, status.st_mtime_ns])
    return stamps
