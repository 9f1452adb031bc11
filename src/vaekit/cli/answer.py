"""What a command has to say: on stdout the result and nothing else, as text or as JSON."""

import json
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

CERTAIN = 1e-3  # nats by which bounds by more draws differ where each draw is the same
ALIKE = ": every draw says the same, as codes do that are certain or not in use; more draws add nothing"


class Answer(NamedTuple):
    """The result as plain data, and as text for a person; the exit code that says how a check ended; what then follows."""

    data: dict[str, Any]
    text: str
    code: int = 0
    after: Callable[[], object] | None = None

    def show(self, as_json: bool) -> None:
        if sys.stdout is None:  # closed by the caller, who wants no result
            return
        sys.stdout.write((json.dumps(self.data, allow_nan=False) if as_json else self.text) + "\n")
        sys.stdout.flush()


def table(rows: list[tuple[str, ...]]) -> str:
    """Rows in aligned columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def number(value: float) -> str:
    """Four digits, thousands separated."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def nll_lines(metrics: dict[str, Any]) -> list[str]:
    """The bound on -log p(x) with its protocol, where it was measured: without it, the number compares with nothing."""
    if "nll" not in metrics:
        return []
    nll = metrics["nll"]
    within = "95 % {:.2f} to {:.2f} ".format(*nll["interval"]) if "interval" in nll else ""  # of one image there is none
    curve = ", ".join(f"{value:.2f} at {k}" for k, value in nll["curve"].items())
    ends = [*nll["curve"].values()]
    certain = len(ends) > 1 and max(ends) - min(ends) < CERTAIN
    return [
        f"-log p(x) <= {nll['value']:.2f} nats, {within}over {nll['count']:,} {nll['split']} images, "
        f"trained on {nll['trained_on']:,}",
        f"  {nll['how']}; {curve} samples{ALIKE * certain}",
        f"  pixels: {nll['pixels']}",
    ]


def metric_rows(metrics: dict[str, Any]) -> list[tuple[str, ...]]:
    """name, value, its interval of 95 %, unit and how it was measured."""
    return [
        (
            name,
            number(m["value"]),
            " to ".join(map(number, m.get("interval", ()))),
            m["unit"],
            "; ".join([f"{m.get('split', '')} N={m['count']:,}" if "count" in m else m["how"], *references(m)]),
        )
        for name, m in metrics.items()
    ]


def references(metric: dict[str, Any]) -> list[str]:
    """The same figure of other pictures, in words."""
    return [f"{name} {number(value)}" for name, value in metric.get("reference", {}).items()]


def spread_rows(sets: dict[str, dict[str, Any]]) -> list[tuple[str, ...]]:
    """name, median, interquartile range and unit, under a heading; of several sets of runs, their medians side by side."""
    found, *others = sets.values()
    if others:
        common = [name for name in found if all(name in its for its in others)]
        rows = [(name, *(number(its[name]["median"]) for its in sets.values()), found[name]["unit"]) for name in common]
        return [("metric", *sets, "unit"), *rows]
    rows = [(name, number(its["median"]), " to ".join(map(number, its["quartiles"])), its["unit"]) for name, its in found.items()]
    return [("metric", "median", "IQR", "unit"), *rows]
