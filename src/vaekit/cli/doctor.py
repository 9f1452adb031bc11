"""doctor."""

from pathlib import Path
from typing import Annotated

from ..doctor import CHECKS, Finding, examine
from ..errors import CheckFailed, UsageError
from ..part import known
from .answer import Answer, number, table
from .progress import doing
from .reading import Seed, Several, reopened

NAMES = tuple(check.__name__.replace("_", " ") for check in CHECKS)
ANY = "any"


def doctor(
    run: Path,
    /,
    *,
    fail_on: Annotated[list[str] | None, Several] = None,
    seed: Seed = 0,
) -> Answer:
    """What ails a run, finished or not: what was measured, what is normal, the likely cause, what mends it.

    Parameters
    ----------
    run
        The run folder.
    fail_on
        Findings, or any, that end the command with exit code 5, for scripts.
    seed
        Of the draws and the choice of pictures.
    """
    for name in fail_on or ():
        if name not in (ANY, *NAMES):
            raise UsageError(f"--fail-on {name!r} is no finding. {known(name, (ANY, *NAMES))}")
    found, data = reopened(run)
    with doing("examining"):
        findings, signs = examine(found, data, seed)
    told = [told_of(finding) for finding in findings] or [f"Nothing to find fault with: {len(CHECKS)} checks."]
    rows = [(name, number(sign.value), sign.unit, f"{sign.count:,}") for name, sign in signs.items()]
    text = "\n\n".join([*told, table([("sign", "value", "unit", "N"), *rows])])
    failed = [finding.name for finding in findings if fail_on and (ANY in fail_on or finding.name in fail_on)]
    about = {"findings": [its._asdict() for its in findings], "signs": {name: sign._asdict() for name, sign in signs.items()}}
    return Answer(about, text, CheckFailed.code if failed else 0)


def told_of(finding: Finding) -> str:
    return "\n".join(
        [
            finding.name.upper(),
            f"  measured  {finding.measured}",
            f"  normal    {finding.normal}",
            f"  cause     {finding.cause}",
            f"  mend      {finding.mend}",
        ]
    )
