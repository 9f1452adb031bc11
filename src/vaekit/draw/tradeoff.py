"""The rate-distortion plane of several models."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..errors import UsageError
from .style import ACCENT, CONTRAST, FAINT, INK, MUTED, SMALL, Sheet, chart, families, halo

WIDE, HIGH = 590, 360  # page pixels of the plane


def front(tried: Sequence[Mapping[str, Any]], best: Sequence[int], proposed: int, name: str = "") -> Figure:
    """Distortion against rate, a dot for each model with its latents, beta; a line joins the `best`, a ring is the `proposed`.

    tried are {"rate", "distortion", "latent", "beta"}; best and proposed are places among them. Raises UsageError for none.
    """
    if not tried:
        raise UsageError("A front was asked for of no models. Give one or more.")
    sheet = Sheet(
        680,
        420,
        "Rate and distortion",
        f"{name}, validation, nats per image. Along the line nothing is better in both; dashed: equal ELBO.",
    )
    axes = sheet.axes(64, 8, WIDE, HIGH)
    chart(axes, "rate: what the codes carry", "distortion")
    rate, distortion = (np.array([its[key] for its in tried], float) for key in ("rate", "distortion"))
    on_front = np.isin(np.arange(len(tried)), best)
    axes.plot(rate[list(best)], distortion[list(best)], color=ACCENT, linewidth=1.6, zorder=2)
    axes.scatter(rate[~on_front], distortion[~on_front], s=26, color=CONTRAST, linewidth=0, zorder=3)
    axes.scatter(rate[on_front], distortion[on_front], s=34, color=ACCENT, linewidth=0, zorder=4)
    axes.scatter(rate[proposed], distortion[proposed], s=150, facecolor="none", edgecolor=INK, linewidth=1.4, zorder=5)
    axes.margins(0.08)
    low, high = axes.get_xlim()
    bound = rate[proposed] + distortion[proposed]
    held = axes.get_ylim()
    axes.plot([low, high], [bound - low, bound - high], color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.set_xlim(low, high)
    axes.set_ylim(*held)
    taken: list[tuple[float, float]] = []
    for place in dict.fromkeys([proposed, *best]):  # what is proposed has its words first
        its, right = tried[place], rate[place] > low + 0.7 * (high - low)
        at = (rate[place] - low) / (high - low) * WIDE, (distortion[place] - held[0]) / (held[1] - held[0]) * HIGH
        if any(abs(at[0] - x) < 150 and abs(at[1] - y) < 16 for x, y in taken):
            continue
        taken.append(at)
        axes.annotate(
            f"{its['latent']} latents, beta {its['beta']:.2g}",
            (its["rate"], its["distortion"]),
            (-10, -14) if right else (8, 6),
            textcoords="offset points",
            ha="right" if right else "left",
            fontsize=SMALL,
            fontfamily=families(),
            color=INK if place == proposed else MUTED,
            path_effects=halo(),
            zorder=6,
        )
    return sheet.figure
