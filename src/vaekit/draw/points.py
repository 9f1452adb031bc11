"""Points of a scatter: coloured by class or by value, with the legend beside them.

N codes, K classes
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize, to_rgb

from ..errors import UsageError
from .pixels import WIDE, same_count
from .style import (
    ACCENT,
    BODY,
    CONTRAST,
    FAMILY,
    MARKERS,
    MUTED,
    PALETTE,
    SMALL,
    UNKNOWN,
    Sheet,
    families,
    halo,
    number,
    shortened,
    text_width,
    written,
)  # fmt: skip

VIRIDIS = ListedColormap(colormaps["viridis"](np.linspace(0, 0.93, 256)), "viridis, without its faintest yellow")
SIDE = 600.0  # page pixels; the side of a large scatter
MOST = 40  # classes that are named
LEGEND = 56 + SIDE + 28  # where its legend begins


class Layer(NamedTuple):
    """Points drawn alike, and their line in the legend."""

    name: str
    chosen: np.ndarray  # (N,) bool
    color: str
    marker: str
    ink: str  # for the label


class Colouring(NamedTuple):
    """By what the points are coloured: class labels (N,), -1 unknown, or values (N,), nan unknown."""

    labels: Sequence[int] | np.ndarray | None
    label_names: Sequence[str]
    values: Sequence[float] | np.ndarray | None
    value_name: str | None


def coloured(sheet: Sheet, axes: Axes, z: np.ndarray, by: Colouring) -> None:
    """Draw the points of the large scatter by class or by value, with the legend on its right."""
    labels, label_names, values, name = by.labels, by.label_names, by.values, by.value_name or "value"
    if labels is not None and values is not None:
        raise UsageError("Both labels and values were given. Expected one of them to colour by. Draw two figures.")
    if values is not None:
        values = np.asarray(values, float)
        same_count(len(z), "values", values, "code")
        known = np.unique(values[np.isfinite(values)])
        if not set(known) <= {0.0, 1.0}:
            _continuous(sheet, axes, z, values, name)
            return
        layers = [
            Layer("unknown", ~np.isfinite(values), UNKNOWN, "o", MUTED),
            Layer("no", values == 0, ACCENT, "o", ACCENT),
            Layer("yes", values == 1, CONTRAST, "o", CONTRAST),
        ]
        layers = [layer for layer in layers if layer.chosen.any()]
        draw_points(axes, z, layers)
        _legend(sheet, layers, name)
    elif labels is not None:
        same_count(len(z), "labels", labels, "code")
        layers = class_layers(labels, label_names, len(z))
        draw_points(axes, z, layers)
        name_classes(axes, z, layers)
        _legend(sheet, layers)
    else:
        draw_points(axes, z, [Layer("", np.ones(len(z), bool), ACCENT, "o", ACCENT)])


def legend_width(by: Colouring) -> float:
    """What the legend takes in page pixels, beside the plot."""
    if by.labels is None and by.values is None:
        return 0.0
    if by.labels is None:
        return 200.0
    widest = max(text_width(str(name)) for name in (*by.label_names, "unknown"))
    return float(min(WIDE - LEGEND, max(84.0, widest + 84)))


def class_layers(labels: Sequence[int] | np.ndarray, names: Sequence[str], n: int) -> list[Layer]:
    labels = np.asarray(labels, float)
    same_count(n, "labels", labels, "code")
    labels = np.where(np.isfinite(labels) & (labels >= 0), labels, -1).astype(int)
    layers = [Layer("unknown", labels < 0, UNKNOWN, "o", MUTED)] if (labels < 0).any() else []
    for i in np.unique(labels[labels >= 0]):
        name = str(names[i]) if i < len(names) else str(i)
        color = PALETTE[i % len(PALETTE)]
        layers.append(Layer(name, labels == i, color, MARKERS[i // len(PALETTE) % len(MARKERS)], _darker(color)))
    return layers


def draw_points(axes: Axes, z: np.ndarray, layers: Sequence[Layer]) -> None:
    """All layers in one shuffled order, so that no class hides another; one call for each marker."""
    color = np.tile(to_rgb(UNKNOWN), (len(z), 1))
    marker = np.full(len(z), "o", dtype=object)
    for layer in layers:
        color[layer.chosen], marker[layer.chosen] = to_rgb(layer.color), layer.marker
    order = np.random.default_rng(0).permutation(np.flatnonzero(np.isfinite(z).all(1)))
    for kind in dict.fromkeys(marker[order]):
        at = order[marker[order] == kind]
        axes.scatter(z[at, 0], z[at, 1], c=color[at], marker=kind, zorder=3, **_look(len(z)))


def name_classes(axes: Axes, z: np.ndarray, layers: Sequence[Layer]) -> None:
    """Write each class, or the 40 largest, at the median of its codes, pushed apart where two would touch."""
    (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
    finite = np.isfinite(z).all(1)
    named = [layer for layer in layers if layer.color != UNKNOWN and (layer.chosen & finite).any()]
    named = sorted(named, key=lambda layer: -int(layer.chosen.sum()))[:MOST]
    if not named:
        return
    size = 10.5 if len(named) <= 12 else SMALL
    texts = [shortened(layer.name, 110, size, "bold") for layer in named]
    at = np.array([np.median(z[layer.chosen & finite], axis=0) for layer in named])
    at = (at - (x0, y0)) / (x1 - x0, y1 - y0)
    half = np.array([(text_width(text, size, "bold") / 2 + 2, size * 0.85) for text in texts]) / SIDE  # of a label, in shares
    for _ in range(80):
        apart = at[:, None] - at[None]
        touching = (np.abs(apart) < half[:, None] + half[None]).all(-1) & ~np.eye(len(at), dtype=bool)
        if not touching.any():
            break
        above = (apart[..., 1] > 0) | ((apart[..., 1] == 0) & (np.arange(len(at))[:, None] > np.arange(len(at))))
        at[:, 1] += 0.004 * np.sign((touching * np.where(above, 1, -1)).sum(1))
    for layer, text, (x, y) in zip(named, texts, np.clip(at, half, 1 - half), strict=True):
        axes.text(
            x, y, written(text), transform=axes.transAxes, color=layer.ink, fontsize=size, fontweight="bold",
            fontfamily=families(), ha="center", va="center", path_effects=halo(3.5), zorder=7, parse_math=False,
        )  # fmt: skip


def _legend(sheet: Sheet, layers: Sequence[Layer], title: str = "") -> None:
    """A column of names with the count of each."""
    x, width, height = LEGEND, sheet.width - 2 * sheet.left - LEGEND, SIDE
    most = int((height - 40) // 20)
    if title:
        sheet.text(x, 8, shortened(title, width, BODY, "bold"), weight="bold")
    for row, layer in enumerate(layers[:most]):
        y = 10 + 20 * (row + bool(title))
        sheet.mark(x + 7, y, layer.color, layer.marker)
        tally = f"{int(layer.chosen.sum()):,}"
        sheet.text(x + 20, y, shortened(layer.name, width - 80))
        sheet.text(x + width, y, tally, color=MUTED, align="right")
    if len(layers) > most:
        sheet.text(x + 20, 10 + 20 * most, f"and {len(layers) - most} more", color=MUTED)


def legend_rows(layers: Sequence[Layer]) -> int:
    return -(-min(len(layers), MOST + 1) // 10)


def legend_line(sheet: Sheet, layers: Sequence[Layer], x: float, y: float) -> None:
    """Ten names to a line."""
    step = (WIDE - x) / 10
    for i, layer in enumerate(layers[:MOST]):
        at, down = x + i % 10 * step, y + i // 10 * 20
        sheet.mark(at + 7, down, layer.color, layer.marker)
        sheet.text(at + 20, down, shortened(layer.name, step - 26))
    if len(layers) > MOST:
        sheet.text(x, y + MOST // 10 * 20, f"and {len(layers) - MOST} more", color=MUTED)


def _continuous(sheet: Sheet, axes: Axes, z: np.ndarray, values: np.ndarray, name: str) -> None:
    x = LEGEND
    finite = np.isfinite(z).all(1)
    known, unknown = finite & np.isfinite(values), finite & ~np.isfinite(values)
    low, high = np.quantile(values[known], (0.01, 0.99)) if known.any() else (0.0, 1.0)
    scale = Normalize(low, high if high > low else low + 1)
    axes.scatter(*z[unknown].T, c=UNKNOWN, zorder=2, **_look(len(z)))
    order = np.random.default_rng(0).permutation(np.flatnonzero(known))
    axes.scatter(*z[order].T, c=values[order], cmap=VIRIDIS, norm=scale, zorder=3, **_look(len(z)))
    sheet.text(x, 8, shortened(name, WIDE - x, BODY, "bold"), weight="bold")
    bar_axes = sheet.axes(x, 26, 14, 220)
    bar_axes.set_axis_on()
    bar = sheet.figure.colorbar(ScalarMappable(scale, VIRIDIS), cax=bar_axes)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    bar_axes.yaxis.set_major_formatter(lambda value, _: number(value))
    bar_axes.tick_params(length=0, labelsize=SMALL, labelcolor=MUTED, labelfontfamily=FAMILY)
    lines = ["colours end at the 1st and", "99th percentile"]
    if unknown.any():
        lines.append(f"grey: unknown ({unknown.sum():,})")
    for i, line in enumerate(lines):
        sheet.text(x, 266 + 15 * i, line, size=SMALL, color=MUTED)


def _look(n: int) -> dict:
    """Size and opacity of points that stay readable from one to many thousands."""
    return {"s": float(np.clip(20000 / n, 2.6, 42.0)), "alpha": float(np.clip(6.5 * n**-0.3, 0.28, 0.9)), "linewidths": 0}


def _darker(color: str, most: float = 0.16) -> str:
    """The colour, dark enough for a label: relative luminance at most `most`, so contrast on white is 5 or better."""
    rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    while (rgb**2.2) @ (0.2126, 0.7152, 0.0722) > most:
        rgb *= 0.95
    return "#" + "".join(f"{round(c * 255):02x}" for c in rgb)
