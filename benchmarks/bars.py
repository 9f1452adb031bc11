"""Bars beside each other, with every single measurement as a dot: how the benchmarks draw their figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from matplotlib.figure import Figure

from vaekit.draw.style import ACCENT, FAINT, FAMILY, INK, MUTED, PAPER, SMALL, Sheet, chart, number

BAR, GAP = 26, 12  # page pixels
NAMES, WIDE, NOTE = 168, 520, 190
NEAR = 0.15  # of the axis: a line so close behind a bar would cross its number


@dataclass(frozen=True)
class Panel:
    """One comparison: a bar from 0 to the median of each name's measurements, and a note behind it."""

    title: str
    unit: str
    measured: Mapping[str, Sequence[float]]
    notes: Mapping[str, str]
    target: float | None = None  # a line to reach, or to stay below


def bars(panels: Sequence[Panel], title: str, subtitle: str = "", ours: str = "vaekit") -> Figure:
    """Panels under each other; the bars of names that begin with `ours` stand out."""
    heights = [len(panel.measured) * (BAR + GAP) for panel in panels]
    sheet = Sheet(NAMES + WIDE + NOTE, sum(heights) + 92 * len(panels), title, subtitle)
    y = 0.0
    for panel, height in zip(panels, heights, strict=True):
        sheet.text(0, y + 10, panel.title, weight="bold")
        axes = sheet.axes(NAMES, y + 28, WIDE, height)
        chart(axes, panel.unit, ticks=5, format_x=number)
        axes.set_yticks([])
        axes.grid(False, axis="y")
        target, top = panel.target or 0, max(max(values) for values in panel.measured.values())
        top = 1.02 * max(top, target)
        for row, (name, values) in enumerate(panel.measured.items()):
            middle, end = median(values), max(values)
            color = ACCENT if name.startswith(ours) else FAINT
            axes.barh(row, middle, height=BAR / (BAR + GAP), color=color, zorder=2)
            axes.plot(values, [row] * len(values), "o", color=INK, markersize=4, mec=PAPER, mew=0.6, zorder=5)
            place = y + 28 + (row + 0.5) * (BAR + GAP)
            sheet.text(NAMES - 10, place, name, align="right", weight="bold" if name.startswith(ours) else "normal")
            axes.annotate(
                f"{number(middle)}  {panel.notes.get(name, '')}".rstrip(),
                (target if 0 < target - end < NEAR * top else end, row), xytext=(8, 0), textcoords="offset points", va="center",
                fontsize=SMALL, color=MUTED, fontfamily=FAMILY, annotation_clip=False, parse_math=False,
            )  # fmt: skip
        axes.set(xlim=(0, top), ylim=(len(panel.measured) - 0.5, -0.5))
        if panel.target is not None:
            axes.axvline(target, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=4)
            axes.annotate(
                f"target {number(target)}", (target, -0.5), xytext=(0, 3), textcoords="offset points", ha="center",
                fontsize=SMALL, color=MUTED, fontfamily=FAMILY, annotation_clip=False,
            )  # fmt: skip
        y += height + 92
    return sheet.figure
