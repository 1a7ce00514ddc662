"""The two errors that a user sees: one clear sentence each, no traceback."""


class CelebgenError(Exception):
    """Something went wrong: the message says what, where and what to do. Exit code 1."""

    exit_code = 1


class UsageError(CelebgenError):
    """The command was called in a way that cannot work. Exit code 2."""

    exit_code = 2
