"""A model folder: what its networks are, what they take on disk, what was measured, and what may be done with it."""

from pathlib import Path

from celebgen_cli.errors import CelebgenError
from celebgen_cli.files import read_json
from celebgen_cli.inspection.report import Report, bytes_below, command, mapping, settings, size, whole
from celebgen_cli.inspection.tensors import parameters

NAMES = {
    "text_encoder.safetensors": "text encoder", "cvae.safetensors": "CVAE", "unet.safetensors": "denoiser",
    "judge.safetensors": "judge of attributes", "calibration.safetensors": "calibration",
}  # fmt: skip


def inspect(model: Path, word: str | None = None) -> Report:
    """Everything that the model's folder says; `word` is what --model knows it by, its path where None.

    Raises:
        CelebgenError: model.json is not that of a model.
    """
    info = read_json(model / "model.json")
    if not isinstance(info, dict) or info.get("format") != "celebgen-model":
        raise CelebgenError(f"{model / 'model.json'} does not describe a celebgen model; fetch or export it again")
    networks, data, training = (mapping(info.get(key)) for key in ("networks", "data", "training"))
    report = Report(f"{info.get('name', model.name)}: text-to-face model in {model}")
    about = report.section("What it is")
    about.add("faces", f"{info.get('image_size', '?')} px, crop {info.get('crop', 'unknown')}")
    about.add("licence", info.get("license"))
    about.add("written by", f"celebgen {info['celebgen']}" if "celebgen" in info else None)
    about.add("on disk", f"{size(bytes_below(model))}, weights as {info.get('storage', '?')}")
    card = model / "README.md"
    about.add("model card", card if card.is_file() else None)

    parts = report.section("Networks")
    total = 0
    for path in sorted(model.glob("*.safetensors")):
        count = parameters(path)
        network = path.name != "calibration.safetensors"
        total += (count or 0) * network
        told = "damaged" if count is None else f"{count:,} {'parameters' if network else 'numbers'}"
        parts.add(NAMES.get(path.name, path.name), f"{told}, {size(path.stat().st_size)}")
    parts.add("together", f"{total:,} parameters")
    text = mapping(networks.get("text"))
    parts.add("text encoder is", text.get("source") or text.get("kind"))
    for name, label in (("cvae", "CVAE has"), ("unet", "denoiser has")):
        parts.add(label, settings(mapping(networks.get(name))))

    made = report.section("How it was made")
    made.add("data", f"{images:,} training images" if (images := whole(data.get("train_images"))) else None)
    made.add("training", settings(training))
    finetuned = mapping(training.get("finetuned"))
    if finetuned:
        pictures = mapping(finetuned.get("data")).get("train_images", "?")
        made.add("finetuned", f"{mapping(finetuned.get('from')).get('name')} with {pictures} pictures")
    for name, values in training.items():
        legs = values if isinstance(values, list) else [values]
        for number, leg in enumerate(map(mapping, legs), 1):
            called = f"{name}, leg {number}" if len(legs) > 1 else name
            made.add(f"training of {called}", settings(mapping(leg.get("train")) or leg))
            made.add(f"loss of {called}", settings(mapping(leg.get("loss"))))
    made.add("calibrated on", settings(mapping(info.get("calibration")), ("fingerprint",)))

    drawing = report.section("How it draws")
    drawing.add("defaults", settings(mapping(info.get("defaults"))))
    drawing.add("schedule", settings(mapping(info.get("schedule"))))

    figures = report.section("Measured")
    for name, entry in mapping(info.get("measured")).items():
        found = mapping(entry)
        figures.add(name, f"{found.get('value', entry)}  ({found.get('conditions', '')})")

    words = ["celebgen", "sample", "smiling woman"]
    report.section("To draw with it").add("", command(*words, *([] if word == "" else ["--model", word or model])))
    return report
