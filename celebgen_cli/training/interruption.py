"""Ctrl-C and SIGTERM while training: the step in progress is finished and a checkpoint written before leaving."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set. The second of them raises KeyboardInterrupt at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    names = [signal.SIGINT, signal.SIGTERM]

    def handle(signum: int, _frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt  # the second time means now
        stop.set()

    previous = {name: signal.signal(name, handle) for name in names}
    try:
        yield stop
    finally:
        for name, handler in previous.items():
            signal.signal(name, handler)
