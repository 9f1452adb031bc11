"""Places that a command is to write to: looked at first, because what takes minutes to compute should not end in a refusal."""

import os
from pathlib import Path
from tempfile import TemporaryFile

from ..errors import UsageError
from . import RANK


def writable(path: Path, option: str | None = "--out", *, folder: bool = False) -> Path:
    """The same path, at which a file or a folder can be made. Raises UsageError where that cannot be; leaves nothing there.

    `option`: that which gives another place, None for a folder that the command changes.
    """
    if RANK:  # the first process alone writes
        return path
    here = path if folder else path.parent
    there = next(each for each in (here, *here.absolute().parents) if os.path.lexists(each))
    if not there.is_dir():
        why = f"{there} is no folder"
    elif not folder and path.is_dir():
        why = "it is a folder"
    else:
        try:
            with TemporaryFile(dir=there):  # asks the system: what it says of rights is not all that it may refuse for
                return path
        except OSError as error:
            why = f"{error.strerror or error}: {there}"
    if option is None:
        raise UsageError(f"{path} cannot be written to: {why}. What is found is kept there: work on a copy of it.")
    what = "folder" if folder else "file"
    raise UsageError(
        f"{path} cannot be written: {why}. Expected a {what} that is there, or can be made. Give another place: "
        f"{option} {what.upper()}"
    )
