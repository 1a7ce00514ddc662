"""What is said on the way of prompts: how they were read, and what of them the model cannot know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celebgen_cli.cli import common

if TYPE_CHECKING:
    from celebgen_cli.data.captions.typed import Typed
    from celebgen_cli.sampling.jobs import Job


class Notes:
    """Notes and warnings on stderr, each once; none of them where `quiet`."""

    def __init__(self, model: Any, quiet: bool) -> None:
        from celebgen_cli.sampling.words import UnknownWords

        self._model, self._quiet = model, quiet
        self.unknown = UnknownWords(model)
        self._read: set[Typed] = set()
        self._said = False

    def heed(self, job: Job) -> Job:
        """Say what there is to say of a job, and pass it on."""
        if self._quiet:
            return job
        from celebgen_cli.sampling.jobs import reading

        self.prompt(job.prompt, reading(self._model, job))
        settings = {name: value for name, value in job.settings.items() if name != "read"}
        if not self._said and settings.pop("calibrate", True):
            other = self._model.uncalibrated(**settings)
            if other:
                common.say(
                    f"note: the model's calibration was measured with other settings ({', '.join(other)}); "
                    "--no-calibrate leaves it out"
                )
                self._said = True
        return job

    def prompt(self, prompt: str, typed: Typed) -> None:
        """Say of a prompt in which words it is drawn, and which of them mean nothing to the model."""
        if self._quiet:
            return
        from celebgen_cli.sampling.templates import shortened
        from celebgen_cli.sampling.words import MOST

        if typed.changed and typed not in self._read:
            if len(self._read) < MOST:
                self._read.add(typed)
            away = f", away from {shortened(typed.negative)}" if typed.negative else ""
            common.say(f"note: {shortened(prompt)} is drawn as {shortened(typed.text)}{away} (--no-read: as it is)")
        for text in (typed.plain, typed.negative):
            for warning in self.unknown.warnings(text):
                common.say(warning)
        if cut := self._model.cut_words(typed.text):
            common.say(
                f"warning: {shortened(prompt)} is longer than the text encoder reads: it does not see the last "
                f"{len(cut)} words, {shortened(' '.join(cut))}"
            )
