"""What can be said of a training while it goes on, from its log alone."""

from collections.abc import Sequence
from typing import Any

from .checks import Finding, collapse, dropped, relapse

EARLY = 0.2  # of the budget: until then codes may still be on their way


def signs_of_trouble(records: Sequence[dict[str, Any]], fraction: float, comparable: bool = True) -> list[Finding]:
    """Findings from the lines of a log so far, at this fraction of the budget; `comparable`: whether its losses are.

    What needs the model itself, or its pictures, is for `examine`.
    """
    validations = [record for record in records if record["split"] == "validation"]
    rates = [record["rate"] for record in validations if "rate" in record]
    found = [dropped(records)]
    if comparable:
        found.append(relapse([record["loss"] for record in validations]))
    if fraction > EARLY and len(rates) > 1:
        found.append(collapse(max(rates[-2:]), "validation"))
    return [finding for finding in found if finding]
