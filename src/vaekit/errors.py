"""What can go wrong, and the exit code that says so.

A message says what was given, what was expected, what to do.
"""


class VaekitError(Exception):
    """Something the user can mend; the command line prints it without a traceback."""

    code = 1


class UsageError(VaekitError, ValueError):
    """An argument that cannot be right, alone or beside another."""

    code = 2


class DataError(VaekitError, ValueError):
    """Images or tables that cannot be used."""

    code = 3


class Diverged(VaekitError):
    """Training cannot go on: a non-finite step came back after one retry at half the rate, a validation was not finite, or
    `fitting.MOST_SKIPPED` steps in a row were left out."""

    code = 4


class CheckFailed(VaekitError):
    """A check that was asked for did not hold."""

    code = 5


class Stopped(VaekitError):
    """A signal stopped the work; everything is saved and the same command goes on (75 after SIGTERM, 130 after Ctrl-C)."""

    def __init__(self, message: str, code: int = 75):
        super().__init__(message)
        self.code = code
