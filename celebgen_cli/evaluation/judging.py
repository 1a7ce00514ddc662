"""The judge as a network that looks at images, and where one is found."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from celebgen_cli.data.attributes import ATTRIBUTES
from celebgen_cli.errors import CelebgenError, UsageError
from celebgen_cli.models.digest import state_sha256
from celebgen_cli.models.folder import is_model, networks_of, read_info
from celebgen_cli.models.judge import Judge, probabilities
from celebgen_cli.models.registry import find

NONE = "the model in the box has no attribute judge"
ADVICE = "train one with `celebgen train-judge DATASET -o RUN` and give it by --judge RUN"


class JudgeFeatures:
    """A judge as a feature extractor: its 40 probabilities are the features, so that the cache keeps them."""

    name = "judge"
    layer = "probabilities"
    dimensions = len(ATTRIBUTES)

    def __init__(self, judge: Judge, source: str, device: str | None = None) -> None:
        from celebgen_cli.models.devices import choose_device

        sizes = repr(judge.config)  # the same weights see other things in pictures of another size
        self.weights_sha256 = hashlib.sha256((sizes + state_sha256(judge.state_dict())).encode()).hexdigest()
        self.source = source
        self._judge = judge.to(choose_device(device))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Faces uint8 [N, S, S, 3] to float32 [N, 40], how sure the judge is of each attribute: 0 to 1."""
        return probabilities(self._judge, images)


def has_judge(model: str | Path | None) -> bool:
    """Whether a model (None: the one in the box) has a judge of its own; no weights are read."""
    from celebgen_cli.pipeline import PRETRAINED

    folder = PRETRAINED if model is None else find(model, strict=False)
    return is_model(folder) and "judge" in networks_of(folder)


def open_judge(judge: Path | None, model: str | None, device: str | None = None) -> JudgeFeatures:
    """The judge that is asked for, else that of the model that is measured, else that of the model in the box.

    Raises:
        UsageError: none of them has one.
        CelebgenError: it is damaged, or `judge` is neither a run nor a model.
    """
    from celebgen_cli.training.judging import load_judge

    if judge is not None:
        try:
            return JudgeFeatures(load_judge(judge), judge.name, device)
        except CelebgenError as error:
            raise CelebgenError(f"no attribute judge in {judge}: {error}") from error
    for source in dict.fromkeys((model, None)):
        if has_judge(source):
            from celebgen_cli.pipeline import PRETRAINED

            name = read_info(PRETRAINED if source is None else source).get("name", "unnamed")
            return JudgeFeatures(load_judge(source), f"that of {name}", device)
    raise UsageError(f"{'' if model is None else f'{model} has no attribute judge and '}{NONE}; {ADVICE}")
