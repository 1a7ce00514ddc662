"""What `train-diffusion --distill` does: a model's own denoiser taught to draw in few steps, without guidance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from celebgen_cli.diffusion.schedule import Schedule
from celebgen_cli.errors import UsageError
from celebgen_cli.models.devices import autocast, choose_device
from celebgen_cli.models.folder import Components
from celebgen_cli.settings import complete
from celebgen_cli.training import defaults, preparing, runs
from celebgen_cli.training.batches import training_and_held_out
from celebgen_cli.training.engine import Reporter, TrainConfig, Trainer
from celebgen_cli.training.order import Order
from celebgen_cli.training.periodic import PeriodicFID, inception
from celebgen_cli.training.sizes import begin_with, origin

STEPS = 4
"""Steps of the student, where nobody says how many."""

_FULL = TrainConfig(
    1000, 8, 2e-4, warmup=50, ema_half_life=100, checkpoint_every=100, sample_every=250,
)  # fmt: skip
SETTINGS = {
    "tiny": TrainConfig(20, 4, 1e-3, warmup=5, ema_half_life=5, checkpoint_every=10, sample_every=10, log_every=1),
    "small64": _FULL,
    "base128": _FULL,
}
"""What suits each preset on a CPU; a row of a batch is a whole path from noise to latent."""


def prepare_distillation(
    order: Order, *, model: Path, student_steps: int | None = None, fid: tuple[int, int] | None = None
) -> Callable[[Reporter], dict[str, float]]:
    """Read the teacher `model` (folder or name); returns the function that trains a student of `student_steps` steps.

    The student begins with the teacher's weights, or with those of `init_from`. Of the dataset, captions are used, and
    pictures for FID alone. See `celebgen_cli.training.recipes.prepare_diffusion` for the rest.

    Raises:
        UsageError: the teacher has fewer than `student_steps` levels, or is of another picture size.
        CelebgenError: it is no whole model; also see `Trainer`.
    """
    from celebgen_cli.training.distillation import DistillationTask, teaching_of

    output, init_from, warn = order.output, order.origin, order.warn
    steps = student_steps or order.before.get("distill", {}).get("steps", STEPS)
    (data, held), where = order.datasets(), choose_device(order.device)
    source = preparing.at_hand(model, output, order.resume, warn)
    parts = runs.load_components(source, ("text", "cvae", "unet"))
    assert parts.text is not None and parts.cvae is not None and parts.unet is not None
    if parts.cvae.config.image_size != data.size:
        size = parts.cvae.config.image_size
        raise UsageError(f"{order.dataset} has {data.size} px pictures and {model} draws {size} px")
    schedule = Schedule.from_dict(parts.info.get("schedule") or parts.info.get("run", {}).get("schedule"))
    own = parts.info.get("defaults", {})
    if source != model:  # what the run keeps of its teacher is the networks; how it draws stands in its settings
        own = {**order.before["distill"], "steps": order.before["distill"]["teacher_steps"]}
    teaching = teaching_of(complete(own, {}, schedule.timesteps), steps)
    preset = defaults.preset_name(None, output, order.resume, model)
    config, wording = order.config(SETTINGS, preset), order.wording(data)
    extractor = None if fid is None else inception(where)
    begun, weights = origin(init_from, "unet", output)
    settings = {
        **order.record(preset, data, wording), "unet": asdict(parts.unet.config),
        "distill": asdict(teaching), "schedule": schedule.to_dict(), "vae": str(model),
    }  # fmt: skip
    teaching.paths(schedule)  # refuses what cannot work, before there is a folder
    resume = order.goes_on("diffusion", settings, config)
    frozen = preparing.as_begun(parts, output, resume, warn)
    assert frozen.text is not None and frozen.cvae is not None and frozen.unet is not None
    text, cvae, teacher = frozen.text.to(where), frozen.cvae.to(where), frozen.unet.to(where)
    train, held_out = training_and_held_out(data, held, wording)

    def run(report: Reporter) -> dict[str, float]:
        task = DistillationTask(
            teacher.config, schedule, cvae, text, teacher, teaching, train, held_out, config.batch_size, config.seed
        )
        if init_from is not None and begun is not None and weights:
            begin_with(task.model, begun, weights, init_from, warn)
        watching = list(order.observers)
        if fid is not None and extractor is not None:
            mixed = autocast(where, config.precision)
            watching.append(
                PeriodicFID(
                    *fid, extractor, text, cvae, schedule, held_out, mixed, config.seed, teaching.defaults
                )
            )
        trainer = Trainer(
            task, output, config, device=where, settings=settings, resume=resume, warn=warn, observers=watching
        )
        kept = Components(text=text, cvae=cvae, unet=teacher, info={"schedule": schedule.to_dict()})
        preparing.freeze(kept, output, resume)
        return trainer.train(report)

    return run
