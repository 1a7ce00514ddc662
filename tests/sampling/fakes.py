"""A model that draws at once: flat faces whose colour says the seed."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from celebgen_cli.data.captions import Typed
from celebgen_cli.settings import complete


class FakeModel:
    """What the sampling room uses of `Model`. `calls` keeps (prompts, seeds, settings) of each batch if `recorded`."""

    name, size, sha256, precision, calibration = "fake", 8, "f" * 64, "fp32", None

    def __init__(self, recorded: bool = True) -> None:
        self.recorded = recorded
        self.calls: list[tuple[list[str], list[int], dict[str, Any]]] = []
        self.faces = 0

    def settings(self, **given: Any) -> dict[str, Any]:
        return complete({"steps": 3}, given, 1000)

    def read(self, prompt: str, negative: str = "") -> Typed:
        return Typed(prompt, negative, prompt, False)

    def cut_words(self, prompt: str) -> list[str]:
        return []

    def unlearned_phrases(self, prompt: str) -> list[str]:
        return []

    def unknown_words(self, prompt: str) -> list[str]:
        return [word for word in prompt.split() if word.startswith("un")]

    def uncalibrated(self, **given: Any) -> list[str]:
        given.pop("negative", None)
        self.settings(**given)  # refuses what is no setting of a face, as a model does
        return []

    def sample(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        *,
        batch_size: int = 16,
        callback: Callable[[int, int], None] | None = None,
        frames: Callable[[int, int, np.ndarray], None] | None = None,
        **settings: Any,
    ) -> np.ndarray:
        if self.recorded:
            self.calls.append((list(prompts), list(seeds), settings))
        self.faces += len(prompts)
        faces = np.stack([np.full((8, 8, 3), seed % 256, np.uint8) for seed in seeds])
        for step in range(settings["steps"] + 1):
            if frames is not None:
                frames(0, step, (faces * (step / settings["steps"])).astype(np.uint8))
            if callback is not None and step:
                callback(step, settings["steps"])
        return faces
