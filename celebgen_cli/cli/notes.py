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
        self._said: set[str] = set()

    def heed(self, job: Job) -> Job:
        """Say what there is to say of a job, and pass it on."""
        if self._quiet:
            return job
        from celebgen_cli.sampling.jobs import reading, resolve

        now = resolve(self._model, job)
        self.prompt(job.prompt, reading(self._model, job), now["guidance"])
        calibrate = now.pop("calibrate")
        if self._student:
            other = [name for name, value in self._model.settings().items() if now[name] != value]
            if other:
                self._once(
                    f"note: {self._model.name} is a student of few steps, with its teacher's guidance in its weights; "
                    f"it was trained for its own settings alone, not for others ({', '.join(other)})"
                )
        elif calibrate and (other := self._model.uncalibrated(**now)):
            self._once(
                f"note: the model's calibration was measured with other settings ({', '.join(other)}); "
                "--no-calibrate leaves it out"
            )
        return job

    @property
    def _student(self) -> bool:
        return bool(self._model.info.get("training", {}).get("distilled"))

    def _once(self, sentence: str) -> None:
        kind = sentence.partition("(")[0]
        if kind not in self._said:
            self._said.add(kind)
            common.say(sentence)

    def prompt(self, prompt: str, typed: Typed, guidance: float) -> None:
        """Say of a prompt in which words it is drawn, and which of them mean nothing to the model."""
        if self._quiet:
            return
        from celebgen_cli.sampling.templates import shortened
        from celebgen_cli.sampling.words import MOST

        if typed.negative and guidance == 1:
            why = f": {self._model.name} has its guidance in its weights" if self._student else "; give more --guidance"
            self._once(f"warning: guidance is 1, so there is nothing that a negative prompt could act on{why}")
        if typed.changed and typed not in self._read:
            if len(self._read) < MOST:
                self._read.add(typed)
            away = f", away from {shortened(typed.negative)}" if typed.negative and guidance != 1 else ""
            common.say(f"note: {shortened(prompt)} is drawn as {shortened(typed.text)}{away} (--no-read: as it is)")
        for text in (typed.plain, typed.negative):
            for warning in self.unknown.warnings(text):
                common.say(warning)
        if cut := self._model.cut_words(typed.text):
            common.say(
                f"warning: {shortened(prompt)} is longer than the text encoder reads: it does not see the last "
                f"{len(cut)} words, {shortened(' '.join(cut))}"
            )
