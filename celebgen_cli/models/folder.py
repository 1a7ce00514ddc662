"""The model folder: model.json and one safetensors file a network. docs/formats.md describes it.

MODEL/model.json                 what the networks are, how to sample from them, where they come from
MODEL/text_encoder.safetensors   only with the compact text encoder
MODEL/cvae.safetensors, MODEL/unet.safetensors
MODEL/calibration.safetensors    optional: correction of drawn latents and faces
MODEL/judge.safetensors          optional: the attribute judge, which measures and does not draw
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from celebgen_cli.errors import CelebgenError, UsageError, first_line
from celebgen_cli.files import atomic_write_json, make_readable, read_json, sha256_file
from celebgen_cli.folders import mend_unless_written, only_writer, real_place, swap_in
from celebgen_cli.models.calibration import Calibration
from celebgen_cli.models.cvae import CVAE, CVAEConfig
from celebgen_cli.models.judge import Judge, JudgeConfig
from celebgen_cli.models.quantize import pack, unpack
from celebgen_cli.models.registry import find
from celebgen_cli.models.sizes import sizes_from
from celebgen_cli.models.text_encoder import TextEncoder, build_text
from celebgen_cli.models.unet import UNet, UNetConfig

FORMAT = "celebgen-model"
FORMAT_VERSION = 1
CALIBRATION = "calibration.safetensors"
JUDGE = "judge.safetensors"
FILES = {"text": "text_encoder.safetensors", "cvae": "cvae.safetensors", "unet": "unet.safetensors", "judge": JUDGE}

_Network = TypeVar("_Network", CVAE, UNet, Judge)


@dataclass
class Components:
    """Networks that belong together; any may be absent. `info` is the rest of model.json."""

    text: TextEncoder | None = None
    cvae: CVAE | None = None
    unet: UNet | None = None
    info: dict[str, Any] = field(default_factory=dict)
    calibration: Calibration | None = None
    judge: Judge | None = None


def save_model(components: Components, folder: Path, storage: str = "fp32", force: bool = False) -> None:
    """Write a model folder, whole or not at all. `storage` is int8, fp16 or fp32.

    Raises:
        UsageError: the folder exists and `force` is off or it is no model, or another process is writing it.
        CelebgenError: the disk is full or the place cannot be written.
    """
    shown, folder = folder, real_place(folder)
    try:
        with only_writer(folder):
            if folder.exists() and any(folder.iterdir()):
                if not force:
                    raise UsageError(f"{shown} is not empty; choose another folder, or add --force to replace it")
                if not is_model(folder):
                    raise UsageError(f"{shown} exists and is no model, so --force does not replace it")
            _write(components, folder, storage)
    except OSError as error:
        raise CelebgenError(f"cannot write {shown}: {error.strerror or error}; choose another place") from error


def _write(components: Components, folder: Path, storage: str) -> None:
    temporary = folder.parent / f".{folder.name}.writing"
    shutil.rmtree(temporary, ignore_errors=True)  # of a run that was killed
    temporary.mkdir()
    try:
        networks: dict[str, Any] = {}
        if components.text is not None:
            networks["text"] = components.text.description()
        if components.cvae is not None:
            networks["cvae"] = asdict(components.cvae.config)
        if components.unet is not None:
            networks["unet"] = asdict(components.unet.config)
        if components.judge is not None:
            networks["judge"] = asdict(components.judge.config)
        digests = {}
        for name in FILES:
            module = getattr(components, name)
            if module is None or networks[name].get("kind") == "open_clip":
                continue
            save_file(pack(module.state_dict(), storage), temporary / FILES[name])
            make_readable(temporary / FILES[name])
            digests[FILES[name]] = sha256_file(temporary / FILES[name])
        if components.calibration is not None:
            tensors = {name: part.contiguous() for name, part in components.calibration._asdict().items()}
            save_file(tensors, temporary / CALIBRATION)
            make_readable(temporary / CALIBRATION)
            digests[CALIBRATION] = sha256_file(temporary / CALIBRATION)
        carry_over(folder, temporary)
        atomic_write_json(
            temporary / "model.json",
            {"format": FORMAT, "format_version": FORMAT_VERSION, **components.info, "storage": storage,
             "networks": networks, "sha256": digests},
        )  # fmt: skip
        swap_in(temporary, folder)
    except (OSError, SafetensorError) as error:
        raise CelebgenError(f"cannot write {folder} ({error}); free some space or choose another place") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def carry_over(before: Path, folder: Path) -> None:
    """Copy what is no part of the model from the folder that is replaced: a model card written by hand stays.

    Raises:
        OSError: it cannot be copied.
    """
    for path in before.iterdir() if before.is_dir() else ():
        if path.is_dir():
            shutil.copytree(path, folder / path.name, symlinks=True, dirs_exist_ok=True)
        elif path.name not in {*FILES.values(), CALIBRATION, "model.json"}:
            shutil.copy2(path, folder / path.name)


def is_model(folder: Path) -> bool:
    """Whether this is a model folder (whole or not)."""
    return (Path(folder) / "model.json").is_file()


def read_info(folder: Path | str) -> dict[str, Any]:
    """model.json of a model folder, or of whatever word `registry.find` knows a model by.

    Raises:
        CelebgenError: there is no model here, or one of another format version.
    """
    folder = find(folder)
    mend_unless_written(real_place(folder))
    if not folder.is_dir():
        raise CelebgenError(f"there is no model folder {folder}; check --model, or make one with `celebgen export`")
    if not is_model(folder):
        raise CelebgenError(f"{folder} is no model folder: it has no model.json; make one with `celebgen export`")
    info = read_json(folder / "model.json")
    if not isinstance(info, dict) or info.get("format") != FORMAT:
        raise CelebgenError(f"{folder / 'model.json'} does not describe a celebgen model; fetch or export it again")
    if info.get("format_version") != FORMAT_VERSION:
        raise CelebgenError(
            f"{folder} has format version {info.get('format_version')}, and this celebgen reads {FORMAT_VERSION}; "
            "install the celebgen that wrote it"
        )
    return info


def networks_of(folder: Path | str) -> tuple[str, ...]:
    """Names of the networks that a model has, such as ("text", "cvae", "unet", "judge"); no weights are read.

    Raises:
        CelebgenError: see `read_info`.
    """
    networks = read_info(folder).get("networks")
    return tuple(name for name in FILES if isinstance(networks, dict) and name in networks)


def load_model(
    folder: Path | str, want: tuple[str, ...] = ("text", "cvae", "unet"), verify: bool = False
) -> Components:
    """The networks `want` of a model (folder or word), on the CPU, in evaluation mode.

    Raises:
        CelebgenError: a file is missing, truncated, altered (with `verify`) or does not fit its configuration.
    """
    folder = find(folder)
    info = read_info(folder)
    networks, digests = info.get("networks"), info.get("sha256")
    if not isinstance(networks, dict) or not all(isinstance(v, dict) for v in networks.values()):
        raise CelebgenError(f"{folder / 'model.json'} does not say what its networks are; fetch or export it again")
    if not isinstance(digests or {}, dict):
        raise CelebgenError(f"{folder / 'model.json'} has no digests by file under sha256; fetch or export it again")
    parts = Components(
        info={k: v for k, v in info.items() if k not in ("format", "format_version", "networks", "sha256")}
    )
    for name in want:
        if name not in networks:
            raise CelebgenError(f"{folder} has no {name} network; export a whole model, or choose another folder")
        state = None
        if not (name == "text" and networks[name].get("kind") == "open_clip"):
            state = _read(folder / FILES[name], dict(digests or {}).get(FILES[name]) if verify else None)
        try:
            module: nn.Module
            if name == "text":
                parts.text = module = build_text(networks[name], state)
            elif name == "cvae":
                parts.cvae = module = _filled(lambda: CVAE(sizes_from(CVAEConfig, networks["cvae"])), state)
            elif name == "judge":
                parts.judge = module = _filled(lambda: Judge(sizes_from(JudgeConfig, networks["judge"])), state)
            else:
                parts.unet = module = _filled(lambda: UNet(sizes_from(UNetConfig, networks["unet"])), state)
        except (RuntimeError, TypeError, KeyError, ValueError, IndexError, ArithmeticError, AttributeError) as error:
            raise CelebgenError(
                f"{folder / FILES[name]} does not fit the configuration in model.json ({first_line(error)}); "
                "fetch or make it again"
            ) from error
        module.eval().requires_grad_(False)
    digest = dict(digests or {}).get(CALIBRATION)
    if parts.unet is not None and digest is not None:
        parts.calibration = _calibration(folder / CALIBRATION, parts.unet, digest if verify else None)
    return parts


def _calibration(path: Path, unet: UNet, digest: str | None) -> Calibration:
    tensors, channels = _read(path, digest), unet.config.latent_channels
    rows = {"shift": channels, "center": channels, "gain": channels, "response": 3}
    if {name: len(part) for name, part in tensors.items()} != rows:
        raise CelebgenError(f"{path} does not fit the model; fetch the model or calibrate it again")
    return Calibration(**tensors)


def _filled(build: Callable[[], _Network], state: Mapping[str, Tensor] | None) -> _Network:
    """A network with these weights: without first drawing random ones, which takes longer than all the rest."""
    with torch.device("meta"):
        network = build()
    network.to_empty(device="cpu")
    network.load_state_dict(state or {})  # strict: nothing stays empty
    return network


def _read(path: Path, digest: str | None) -> dict[str, Tensor]:
    try:
        if digest is not None and sha256_file(path) != digest:
            raise CelebgenError(f"{path} was altered since it was written; fetch or export the model again")
        return unpack(load_file(path))
    except FileNotFoundError as error:
        raise CelebgenError(f"{path} is missing; fetch or export the model again") from error
    except (OSError, SafetensorError, KeyError) as error:
        raise CelebgenError(f"{path} is truncated or damaged ({error}); fetch or export the model again") from error
