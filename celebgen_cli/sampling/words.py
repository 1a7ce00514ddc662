"""Words that the text encoder never saw, with the nearest that it knows, and phrases that no caption had."""

from typing import Any

from celebgen_cli.data.captions.typed import Typed

MOST = 10_000  # words remembered: a stream of prompts may hold any number


class UnknownWords:
    """Names each unknown word and phrase once, with its prompt."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._seen: set[str] = set()

    def of(self, *texts: str) -> list[str]:
        """The unknown words and phrases of some texts, each once."""
        model = self._model
        found = (one for text in texts for one in (*model.unknown_words(text), *model.unlearned_phrases(text)))
        return list(dict.fromkeys(found))

    def in_both(self, typed: Typed) -> list[str]:
        """The unknown words and phrases of a prompt and its negative prompt, each once."""
        return self.of(typed.plain, typed.negative)

    def warnings(self, prompt: str) -> list[str]:
        """Sentences about what in a prompt the model never learned, and no earlier prompt had."""
        from celebgen_cli.sampling.templates import shortened

        found = []
        if new := self._new(self._model.unknown_words(prompt)):
            listed = [*map(shortened, new[:8]), *([f"{len(new) - 8} more words"] if len(new) > 8 else [])]
            near = [word for one in new[:8] for word in nearest(one)]
            hint = f"; nearest that it knows: {', '.join(map(repr, dict.fromkeys(near)))}" if near else ""
            found.append(f"warning: the text encoder never saw {', '.join(listed)} in {shortened(prompt)}{hint}")
        if new := self._new(self._model.unlearned_phrases(prompt)):
            listed = [*map(shortened, new[:8])]
            found.append(
                f"warning: no caption that the model learned from says {' or '.join(listed)}, so that does little"
            )
        return found

    def _new(self, found: list[str]) -> list[str]:
        """Those that no earlier prompt had."""
        new = [one for one in found if one not in self._seen]
        if len(self._seen) < MOST:
            self._seen.update(new)
        return new


def nearest(word: str, most: int = 3) -> list[str]:
    """Words of the captions that are spelt much like this one, the nearest first."""
    import difflib

    from celebgen_cli.data.captions import vocabulary

    if len(word) > 40:
        return []
    return difflib.get_close_matches(word.lower(), [known for known in vocabulary() if known.isalpha()], most, 0.7)
