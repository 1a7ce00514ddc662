"""Settings of a face as people write them: on the command line, in JSONL or CSV, in a request, in a picture's metadata.

Every source ends in the same dictionary of checked values, so the same mistake gets the same sentence everywhere.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from celebgen_cli.errors import UsageError
from celebgen_cli.sampling.templates import shortened

LONGEST_PROMPT = 10_000  # characters
LONGEST_PATH = 4096
MOST_SEEDS = 1_000_000  # faces of one prompt
_SEEDS = 2**64


def check_prompt(text: Any, name: str = "prompt") -> str:
    """A prompt that can be drawn and written down.

    Raises:
        UsageError: it is no text, empty, too long, or holds what no text holds.
    """
    if not isinstance(text, str):
        raise UsageError(f"a {name} must be text, not {shortened(json.dumps(text))}")
    if not text.strip() and name == "prompt":
        raise UsageError("a prompt is empty; say what the face shows, or leave that argument out")
    if "\0" in text:
        raise UsageError(f"a {name} has a NUL character in it; give plain text")
    if len(text) > LONGEST_PROMPT:
        raise UsageError(f"a {name} has {len(text)} characters; the text encoder reads the first few dozen words")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError(
            f"a {name} has half a character at place {error.start + 1} (no UTF-8 text); give plain text"
        ) from error
    return text


def check_path(path: Any, option: str) -> str:
    """A path as text; what the file system refuses with a traceback, or with the whole of a long name, ends here.

    Raises:
        UsageError: no path can look like this.
    """
    if not isinstance(path, str) or not path:
        raise UsageError(f"{option} must be the path of a file or folder, not {shortened(json.dumps(path))}")
    if "\0" in path:
        raise UsageError(f"{option} has a NUL character in it; give a plain path")
    if len(path) > LONGEST_PATH:
        raise UsageError(f"{option} has {len(path)} characters; a path has at most {LONGEST_PATH}")
    try:
        os.fsencode(path)
    except UnicodeEncodeError as error:
        raise UsageError(f"{option} has half a character at place {error.start + 1}; give a plain path") from error
    return path


@dataclass(frozen=True)
class Seeds:
    """Seeds in the order in which they were asked for, kept as ranges: `0-63,100` is 65 of them."""

    ranges: tuple[range, ...]

    def __len__(self) -> int:
        return sum(map(len, self.ranges))

    def __iter__(self) -> Iterator[int]:
        return (seed for one in self.ranges for seed in one)

    @classmethod
    def counted(cls, first: int, count: int) -> "Seeds":
        """`count` seeds from `first` on.

        Raises:
            UsageError: one of them is no seed.
        """
        if count > MOST_SEEDS:
            raise UsageError(f"--num must be at most {MOST_SEEDS}, not {count}")
        if not 0 <= first <= _SEEDS - count:
            raise UsageError(f"--seed must be at most {_SEEDS - count} for {count} faces, not {first}")
        return cls((range(first, first + count),))

    @classmethod
    def parsed(cls, text: str) -> "Seeds":
        """From `0-63,100`.

        Raises:
            UsageError: it does not read so.
        """
        ranges = []
        for part in text.split(","):
            ends = [end.strip() for end in part.split("-")]
            good = len(ends) <= 2 and all(end.isascii() and end.isdigit() and len(end) <= 20 for end in ends)
            if not good or int(ends[-1]) < int(ends[0]) or int(ends[-1]) >= _SEEDS:
                raise UsageError(
                    f"--seeds takes numbers and ranges from 0 to 2^64 - 1, such as 0-63,100, not {shortened(text)}"
                )
            ranges.append(range(int(ends[0]), int(ends[-1]) + 1))
        if sum(one.stop - one.start for one in ranges) > MOST_SEEDS:
            raise UsageError(f"--seeds must name at most {MOST_SEEDS} seeds")
        return cls(tuple(ranges))


def _whole(value: Any) -> int:
    if isinstance(value, str):
        value = int(value) if len(value) <= 30 else None
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError
    return value


def _number(value: Any) -> float:
    if isinstance(value, str):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError
    return float(value)


def _switch(value: Any) -> bool:
    words = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if isinstance(value, str):
        value = words.get(value.strip().lower())
    if not isinstance(value, bool):
        raise ValueError
    return value


def _word(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def _pair(value: Any) -> list[float]:
    if isinstance(value, str):
        value = value.split()
    if not isinstance(value, Sequence) or len(value) != 2:
        raise ValueError
    return [_number(one) for one in value]


# what a face can be made with: how the value is read, and what it is called where it does not read so
READERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "steps": (_whole, "a whole number"),
    "sampler": (_word, "a sampler's name"),
    "guidance": (_number, "a number"),
    "guidance_interval": (_pair, "two numbers, low and high"),
    "pag": (_switch, "true or false"),
    "eta": (_number, "a number"),
    "spacing": (_word, "a spacing's name"),
    "rescale": (_number, "a number"),
    "start": (_number, "a number"),
    "calibrate": (_switch, "true or false"),
    "read": (_switch, "true or false"),
    "negative": (_word, "text"),
}
_COUNTS = ("seed", "seeds", "num")


def read_settings(given: Mapping[str, Any], unknown: str = "refuse") -> dict[str, Any]:
    """The settings among `given`, as the types that the sampler takes; what is None is not given.

    Other keys are an error, or with `unknown="skip"` passed over.

    Raises:
        UsageError: a key or a value means nothing.
    """
    found: dict[str, Any] = {}
    for key, value in given.items():
        if value is None:
            continue
        if key not in READERS:
            if unknown == "skip":
                continue
            known = ", ".join(["prompt", *_COUNTS, *READERS])
            raise UsageError(f"there is no setting {shortened(str(key))}; the settings are {known}")
        reader, kind = READERS[key]
        try:
            found[key] = reader(value)
        except (ValueError, OverflowError) as error:
            raise UsageError(f"{key} must be {kind}, not {shortened(_shown(value))}") from error
    if "negative" in found:
        check_prompt(found["negative"], "negative prompt")
    return found


def read_seeds(given: Mapping[str, Any]) -> Seeds | None:
    """The seeds that `seed` and `num`, or `seeds`, ask for; None where nothing does.

    Raises:
        UsageError: they are no numbers, or both ways are used at once.
    """
    seed, seeds, num = (given.get(key) for key in _COUNTS)
    if seeds is not None:
        if seed is not None or num is not None:
            raise UsageError("--seeds already says which and how many; leave --seed and --num out")
        if isinstance(seeds, list):
            seeds = ",".join(map(str, seeds))
        return Seeds.parsed(str(seeds))
    if seed is None and num is None:
        return None
    numbers = {}
    for key, value, least in (("seed", seed, 0), ("num", num, 1)):
        try:
            numbers[key] = least if value is None else _whole(value)
        except ValueError as error:
            raise UsageError(f"{key} must be a whole number, not {shortened(_shown(value))}") from error
        if numbers[key] < least:
            raise UsageError(f"{key} must be at least {least}, not {numbers[key]}")
    return Seeds.counted(numbers["seed"], numbers["num"])


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
