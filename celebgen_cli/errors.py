"""The two errors that a user sees, one clear sentence each, no traceback; and words that sentences are made of."""


class CelebgenError(Exception):
    """Something went wrong: the message says what, where and what to do. Exit code 1."""

    exit_code = 1


class UsageError(CelebgenError):
    """The command was called in a way that cannot work. Exit code 2."""

    exit_code = 2


def first_line(error: BaseException) -> str:
    """An error of a library, cut to what fits into a sentence; its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def counted(number: int, noun: str) -> str:
    """The number and the noun in its singular or plural."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
