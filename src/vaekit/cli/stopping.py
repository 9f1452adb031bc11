"""Being stopped: SIGTERM ends a command as Ctrl-C does, with what is open closed, and a word said."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer
from typing import Any


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived."""


@contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM raises Terminated; a stop that Python had to ignore, inside a destructor or a callback, comes again."""

    def end(_number: int, _frame: object) -> None:
        raise Terminated

    def ignored(what: Any) -> None:
        if isinstance(what.exc_value, KeyboardInterrupt):
            number = signal.SIGTERM if isinstance(what.exc_value, Terminated) else signal.SIGINT
            Timer(0.01, os.kill, (os.getpid(), number)).start()
        else:
            hook(what)

    before, hook = signal.signal(signal.SIGTERM, end), sys.unraisablehook
    sys.unraisablehook = ignored
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        sys.unraisablehook = hook


def code_of(stop: KeyboardInterrupt) -> int:
    """75 after SIGTERM, 130 after Ctrl-C."""
    return 75 if isinstance(stop, Terminated) else 130


def reason(error: OSError) -> str:
    """What the system said, and about which file: of one that was being written, the name that it was to have."""
    from ..files import TEMPORARY  # what else that module needs is not for those who only ask for help

    if not (error.filename and error.strerror):
        return str(error)
    return f"{TEMPORARY.sub('', os.fsdecode(error.filename))}: {error.strerror}"
