"""What can be said of a training while it goes on, from its log alone."""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from .checks import collapse
from .course import Course, dropped, relapse
from .said import Finding

EARLY = 0.2  # of the budget: until then codes may still be on their way, and a beta that rises


class Signs:
    """What is kept of the lines of a log so far, to see trouble by: as little after days as after minutes."""

    def __init__(self, records: Iterable[dict[str, Any]] = ()):
        self.losses: list[float] = []  # of all validations
        self.rates: deque[float] = deque(maxlen=2)  # of the last ones
        self.course = Course()
        self.skipped, self.told = 0.0, 0  # shares of steps left out, added up over so many lines
        for record in records:
            self.add(record)

    def add(self, record: dict[str, Any]) -> None:
        self.course.add(record)
        if record["split"] == "validation":
            self.losses.append(record["loss"])
            self.rates.extend([record["rate"]] if "rate" in record else [])
        elif "skipped" in record:
            self.skipped, self.told = self.skipped + record["skipped"], self.told + 1

    def of_trouble(self, fraction: float, comparable: bool = True) -> list[Finding]:
        """See `signs_of_trouble`."""
        if blown := self.course.rose(comparable):
            return [blown]
        found = [dropped([{"split": "train", "skipped": self.skipped / self.told}] if self.told else [])]
        if comparable and fraction > EARLY:
            found.append(relapse(self.losses))
        if fraction > EARLY and len(self.rates) > 1:
            found.append(collapse(max(self.rates), "validation"))
        return [finding for finding in found if finding]


def signs_of_trouble(records: Sequence[dict[str, Any]], fraction: float, comparable: bool = True) -> list[Finding]:
    """Findings from the lines of a log so far, at this fraction of the budget; `comparable`: whether its losses are.

    What needs the model itself, or its pictures, is for `examine`.
    """
    return Signs(records).of_trouble(fraction, comparable)
