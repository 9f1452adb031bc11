"""Training curves: distortion, rate and ELBO apart, in nats per image, against images seen."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import UsageError
from .pixels import WIDE
from .style import ACCENT, CONTRAST, INK, MUTED, PAPER, SMALL, Sheet, chart, count, halo, number

PANELS = (
    ("distortion", "Distortion", "−log p(x|z), lower is better"),
    ("rate", "Rate", "KL(q(z|x) ‖ p(z))"),
    ("elbo", "ELBO", "−(distortion + rate), higher is better"),
)
FEW = 16  # points; with more, the first ones lie so far off that they would flatten the rest
SPLITS = {"train": CONTRAST, "validation": ACCENT}


def training_curves(
    records: Sequence[Mapping[str, Any]], *, path: bool = False, title: str = "Training", subtitle: str = ""
) -> Figure:
    """Distortion, rate and ELBO in nats per image against images seen, for training and validation.

    records are the lines of a log: {"images": int, "split": "train" or "validation", "distortion", "rate", "elbo": float, ...};
    a panel is drawn for each term that is there. `path` adds the path through the rate-distortion plane, from open to full dot.
    """
    panels = [panel for panel in PANELS if any(len(_series(records, split, panel[0])[0]) for split in SPLITS)]
    if not panels:
        raise UsageError(
            f"{len(records)} records hold none of distortion, rate and ELBO with their count of images. "
            'Expected lines such as {"images": 5000, "split": "train", "distortion": 98.1, "rate": 12.3, "elbo": -110.4}. '
            "Train for at least one logged step."
        )
    path = path and {"distortion", "rate"} <= {key for key, *_ in panels}
    n, gap, left, high = len(panels) + path, 66.0, 66.0, 236.0
    wide = min(400.0, (WIDE - left - (n - 1) * gap) / n)
    there = [split for split in SPLITS if any(len(_series(records, split, key)[0]) for key, *_ in panels)]
    sheet = Sheet(max(left + n * (wide + gap) - gap, 440), high + 96, title, subtitle)
    for i, (key, name, meaning) in enumerate(panels):
        x = left + i * (wide + gap)
        _heading(sheet, x, name, meaning)
        axes = sheet.axes(x, 52, wide, high)
        chart(axes, "images seen", "nats per image" if i == 0 else "", ticks=4, format_x=count)
        _panel(axes, {split: _series(records, split, key) for split in there})
    if path:
        x = left + len(panels) * (wide + gap)
        _heading(sheet, x, "Path", "distortion against rate")
        axes = sheet.axes(x, 52, wide, high)
        chart(axes, "rate, nats per image", "", ticks=4)
        _path(axes, records, there[-1])
    x = sheet.width - 2 * sheet.left
    for split in reversed(there):
        item = sheet.text(x, 8 - sheet.above, split, color=SPLITS[split], weight="bold", align="right")
        x -= 12 + 7.6 * len(item.get_text())
    return sheet.figure


def _heading(sheet: Sheet, x: float, name: str, meaning: str) -> None:
    sheet.text(x, 10, name, weight="bold")
    sheet.text(x, 28, meaning, size=SMALL, color=MUTED)


def _series(records: Sequence[Mapping[str, Any]], split: str, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Images seen (P,) and the term (P,), sorted, where both are finite numbers."""
    rows = [
        (r["images"], r[key])
        for r in records
        if r.get("split") == split and r.get(key) is not None and r.get("images") is not None
    ]
    table = np.array(rows, float).reshape(-1, 2)
    table = table[np.isfinite(table).all(1)]
    table = table[np.argsort(table[:, 0], kind="stable")]
    return table[:, 0], table[:, 1]


def _panel(axes: Axes, series: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    for split, (x, y) in series.items():
        color, shown = SPLITS[split], y
        if split == "train" and len(x) > 40:  # the noise of batches faint, its running median firm
            axes.plot(x, y, color=color, linewidth=0.7, alpha=0.3, zorder=2)
            shown = _running_median(y, max(3, len(y) // 40))
        axes.plot(
            x,
            shown,
            color=color,
            linewidth=1.5,
            marker="o" if len(x) <= 24 else "",
            markersize=3,
            zorder=3,
            solid_capstyle="round",
        )
    xs, ys = np.concatenate([x for x, _ in series.values()]), np.concatenate([y for _, y in series.values()])
    settled = ys[xs >= 0.04 * xs.max()] if len(ys) > FEW else ys
    low, high = (float(settled.min()), float(settled.max()))
    pad = 0.18 * (high - low) or max(abs(high), 1.0) * 0.05
    axes.set(xlim=(0, max(float(xs.max()) * 1.02, 1.0)), ylim=(low - pad, high + pad))
    end = series.get("validation", (np.empty(0),) * 2)
    end = end if len(end[0]) else series["train"]
    last = float(end[0][-1]), float(end[1][-1])
    up = last[1] > float(end[1][-max(2, len(end[1]) // 4) :][0])  # on the side where the line does not come from
    axes.annotate(
        number(last[1], 4), last, xytext=(-2, 9 if up else -9), textcoords="offset points",
        ha="right", va="bottom" if up else "top", fontsize=9, fontweight="bold", color=INK, path_effects=halo(3), zorder=6,
        fontfamily="DejaVu Sans",
    )  # fmt: skip


def _path(axes: Axes, records: Sequence[Mapping[str, Any]], split: str) -> None:
    table = {key: dict(zip(*_series(records, split, key), strict=True)) for key in ("rate", "distortion")}
    seen = sorted(table["rate"].keys() & table["distortion"].keys())
    settled = [at for at in seen if at >= 0.04 * seen[-1] or len(seen) <= FEW]
    if settled:
        rate, distortion = (np.array([table[key][at] for at in settled]) for key in ("rate", "distortion"))
        half = len(rate) // 40
        rate, distortion = _running_median(rate, half), _running_median(distortion, half)
        axes.plot(rate, distortion, color=SPLITS[split], linewidth=1.5, zorder=3)
        axes.plot(rate[0], distortion[0], "o", color=SPLITS[split], markerfacecolor=PAPER, markersize=5, zorder=4)
        axes.plot(rate[-1], distortion[-1], "o", color=SPLITS[split], markersize=5, zorder=4)


def _running_median(y: np.ndarray, half: int) -> np.ndarray:
    return np.array([np.median(y[max(0, i - half) : i + half + 1]) for i in range(len(y))])
