"""Templates: `"{smiling|serious} {man|woman}"` stands for four prompts.

Groups nest, an alternative may be empty, and `\\{`, `\\}`, `\\|` and `\\\\` write the character itself. The prompts of
a template are numbered, the last group counting fastest, so one of them is found without writing out the others.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from celebgen_cli.errors import UsageError

MOST = 100_000  # prompts that one template may stand for where all of them are wanted
_DEEPEST = 20
_SPECIAL = "{}|\\"


@dataclass
class Template:
    """A parsed template. `count`: how many prompts it stands for; `nth(i)`: the one with number i."""

    text: str
    _parts: "_Sequence"

    @property
    def count(self) -> int:
        return self._parts.count

    def nth(self, number: int) -> str:
        """Prompt `number`, 0..count-1. Runs of spaces that an empty alternative leaves become one."""
        text = self._parts.nth(number)
        return text if self._parts.plain else " ".join(text.split())

    def drawn(self, seed: int) -> str:
        """One prompt at random, every one as likely: the same for the same template and seed, on any machine."""
        digest = hashlib.sha512(f"{seed}\0{self.text}".encode()).digest()
        return self.nth(int.from_bytes(digest, "big") % self.count)

    def __iter__(self) -> Iterator[str]:
        """All prompts in order.

        Raises:
            UsageError: they are more than anyone can want.
        """
        if self.count > MOST:
            raise UsageError(
                f"the template {shortened(self.text)} stands for more than {MOST:,} prompts; "
                "write fewer alternatives, or draw some of them with --expand random"
            )
        return (self.nth(number) for number in range(self.count))


def parse(text: str) -> Template:
    """Parse a template; a text without braces and backslashes stands for itself.

    Raises:
        UsageError: a brace is open or closes nothing.
    """
    parts, end = _sequence(text, 0, 0)
    if end < len(text):
        raise UsageError(f"a brace in {shortened(text)} closes nothing; write \\}} for a brace itself")
    return Template(text, parts)


def shortened(text: str, most: int = 60) -> str:
    """A text in quotes for a sentence, cut where it is long; control characters are escaped."""
    return repr(text if len(text) <= most else text[: most - 3] + "...")


@dataclass
class _Sequence:
    """Pieces one after the other, each a text or the alternatives of a group."""

    pieces: "list[str | _Group]" = field(default_factory=list)
    count: int = 1

    @property
    def plain(self) -> bool:
        return all(isinstance(piece, str) for piece in self.pieces)

    def add(self, piece: "str | _Group") -> None:
        self.pieces.append(piece)
        if not isinstance(piece, str):
            self.count *= piece.count

    def nth(self, number: int) -> str:
        found = []
        for piece in reversed(self.pieces):
            if isinstance(piece, str):
                found.append(piece)
            else:
                number, own = divmod(number, piece.count)
                found.append(piece.nth(own))
        return "".join(reversed(found))


@dataclass
class _Group:
    """The alternatives between two braces."""

    choices: list[_Sequence]

    def __post_init__(self) -> None:
        self.count = sum(choice.count for choice in self.choices)

    def nth(self, number: int) -> str:
        for choice in self.choices:
            if number < choice.count:
                return choice.nth(number)
            number -= choice.count
        raise IndexError(number)


def _sequence(text: str, at: int, depth: int) -> tuple[_Sequence, int]:
    """Read from `at` to the end of the text, or inside of a group (depth > 0) to its `|` or `}`."""
    if depth > _DEEPEST:
        raise UsageError(f"braces in {shortened(text)} are nested more than {_DEEPEST} deep; write \\{{ for a brace")
    parts, plain = _Sequence(), ""
    while at < len(text):
        character = text[at]
        if character == "}" or (character == "|" and depth):
            break
        if character == "{":
            choices, more = [], at + 1
            while True:
                choice, more = _sequence(text, more, depth + 1)
                choices.append(choice)
                if more == len(text):
                    raise UsageError(f"a brace in {shortened(text)} is not closed; write \\{{ for a brace itself")
                more += 1
                if text[more - 1] == "}":
                    break
            parts.add(plain)
            parts.add(_Group(choices))
            plain, at = "", more
            continue
        if character == "\\" and text[at + 1 : at + 2] and text[at + 1] in _SPECIAL:
            at += 1
        plain, at = plain + text[at], at + 1
    parts.add(plain)
    return parts, at
