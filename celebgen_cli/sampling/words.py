"""Words that the text encoder never saw, with the nearest that it knows."""

from typing import Any

from celebgen_cli.data.captions.typed import Typed

MOST = 10_000  # words remembered: a stream of prompts may hold any number


class UnknownWords:
    """Names each unknown word once, with its prompt."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._seen: set[str] = set()

    def of(self, prompt: str) -> list[str]:
        """The unknown words of a prompt, in order."""
        return list(self._model.unknown_words(prompt))

    def in_both(self, typed: Typed) -> list[str]:
        """The unknown words of a prompt and its negative prompt, each once."""
        return list(dict.fromkeys([*self.of(typed.plain), *self.of(typed.negative)]))

    def warning(self, prompt: str) -> str | None:
        """A sentence about the unknown words of a prompt that no earlier prompt had; None where there is none."""
        from celebgen_cli.sampling.templates import shortened

        new = [word for word in self.of(prompt) if word not in self._seen]
        if not new:
            return None
        if len(self._seen) < MOST:
            self._seen.update(new)
        listed = [*map(shortened, new[:8]), *([f"{len(new) - 8} more words"] if len(new) > 8 else [])]
        near = [word for one in new[:8] for word in nearest(one)]
        hint = f"; nearest that it knows: {', '.join(map(repr, dict.fromkeys(near)))}" if near else ""
        return f"warning: the text encoder never saw {', '.join(listed)} in {shortened(prompt)}{hint}"


def nearest(word: str, most: int = 3) -> list[str]:
    """Words of the captions that are spelt much like this one, the nearest first."""
    import difflib

    from celebgen_cli.data.captions import vocabulary

    if len(word) > 40:
        return []
    return difflib.get_close_matches(word.lower(), [known for known in vocabulary() if known.isalpha()], most, 0.7)
