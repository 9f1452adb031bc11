"""demo."""

import shlex
import shutil
import sys
from pathlib import Path

from ..demo import demo as tell
from ..errors import Stopped
from .answer import Answer
from .places import writable
from .progress import Bar
from .reading import Seed


def demo(*, out: Path = Path("demo"), seed: Seed = 0, share: float = 1.0) -> Answer:
    """Train three small models on data that come with vaekit, and write one page about what they found.

    Parameters
    ----------
    out
        A folder for the three runs and report.html; a demo that was stopped goes on there.
    seed
        Of everything.
    share
        Of the usual training time.
    """
    writable(out, folder=True)
    try:
        with Bar() as bar:
            page = tell(out, bar, seed, share)
    except Stopped as stop:
        raise Stopped("All is saved. Run the same command again to go on.", stop.code) from stop
    program = "vaekit" if shutil.which("vaekit") else sys.argv[0]  # an environment that is not active has it elsewhere
    studio = shlex.join([program, "studio", str(out / "faces")])
    return Answer({"report": str(page), "studio": studio}, f"{page}\n{studio}")
