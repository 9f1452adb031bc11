"""Figures of codes: scatters in z and in the unit square, histograms against the prior, an autoencoder beside a VAE.

N codes, D latents
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator
from scipy.special import ndtr

from ..errors import UsageError
from .pixels import WIDE, fitted, mosaic, plane_gap, resized, same_count, to_rgb
from .points import LEGEND, SIDE, Colouring, Layer, class_layers, coloured, draw_points, legend_line, legend_rows, legend_width
from .style import ACCENT, DENSITY, FAINT, FAMILY, INK, MUTED, PAPER, SMALL, Sheet, chart, halo, latent_name, number

UNUSED = 0.01  # nats; a latent with less carries nothing
PLANE = (latent_name(0), latent_name(1))


def latent_scatter(
    z: np.ndarray,
    labels: Sequence[int] | np.ndarray | None = None,
    label_names: Sequence[str] = (),
    *,
    values: Sequence[float] | np.ndarray | None = None,
    value_name: str | None = None,
    axis_names: tuple[str, str] = PLANE,
    sigma_circles: bool = False,
    knn_accuracy: float | None = None,
    k: int = 5,
    title: str = "The latent space",
    subtitle: str = "",
) -> Figure:
    """Codes z (N, 2), coloured by class labels (N,) (-1: unknown) or by values (N,) (nan: unknown; 0 and 1: has it or not).

    The circles are where the standard normal prior has 1, 2 and 3 sigma. knn_accuracy is a share in [0, 1], shown with its k.
    """
    z = _plane(z)
    limits, outside = _frame(z, 3.3 if sigma_circles else 0)
    facts = _facts(z, knn_accuracy, k, f"{outside:,} of them outside the frame" if outside else "", subtitle)
    by = Colouring(labels, label_names, values, value_name)
    sheet = Sheet(LEGEND + legend_width(by), SIDE + 42, title, facts)
    axes = sheet.axes(56, 0, SIDE, SIDE)
    chart(axes, *axis_names)
    axes.set(**limits)
    axes.axhline(0, color=FAINT, linewidth=0.8, zorder=0.6)
    axes.axvline(0, color=FAINT, linewidth=0.8, zorder=0.6)
    if sigma_circles:
        _circles(axes)
    coloured(sheet, axes, z, by)
    return sheet.figure


def unit_square(
    z: np.ndarray,
    labels: Sequence[int] | np.ndarray | None = None,
    label_names: Sequence[str] = (),
    *,
    values: Sequence[float] | np.ndarray | None = None,
    value_name: str | None = None,
    axis_names: tuple[str, str] = PLANE,
    title: str = "The latent space through the normal CDF",
    subtitle: str = "Where the codes follow the prior N(0, 1), they fill the unit square evenly.",
) -> Figure:
    """The same codes z (N, 2) through the standard normal's distribution function, so that the prior is uniform on the square."""
    z = _plane(z)
    by = Colouring(labels, label_names, values, value_name)
    sheet = Sheet(LEGEND + legend_width(by), SIDE + 42, title, _facts(z, None, 0, subtitle))
    axes = sheet.axes(56, 0, SIDE, SIDE)
    chart(axes, *(f"Φ({name})" for name in axis_names))
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.spines["bottom"].set_visible(False)
    axes.plot([0, 1, 1, 0, 0], [0, 0, 1, 1, 0], color=FAINT, linewidth=0.8, zorder=0.6)
    coloured(sheet, axes, ndtr(z), by)
    return sheet.figure


def latent_histograms(z: np.ndarray, kl: Sequence[float] | np.ndarray, *, title: str = "", subtitle: str = "") -> Figure:
    """Each latent's histogram over codes z (N, D) against N(0, 1), by KL (D,) in nats, the largest first; 16 at most.

    Draw z from q(z|x) for a fair comparison: means alone are narrower than the prior.
    """
    z, kl = np.asarray(z, float), np.asarray(kl, float)
    if z.ndim != 2 or 0 in z.shape or not np.isfinite(z).any():
        raise UsageError(f"z has the shape {z.shape}. Expected finite codes (N, D). Give one row of latents for each image.")
    same_count(z.shape[1], "kl", kl, "latent")
    order = np.argsort(-kl, kind="stable")[:16]
    columns = min(4, len(order))
    rows = -(-len(order) // columns)
    gap, high = 24.0, 104.0
    wide = min(300.0, (WIDE - (columns - 1) * gap) / columns)
    step = high + 62
    title = title or ("Each latent against the prior" if z.shape[1] <= 16 else f"The 16 of {z.shape[1]} latents that carry most")
    sheet = Sheet(
        max(columns * (wide + gap) - gap, 440), rows * step - 18, title, subtitle or f"{len(z):,} codes; line: density of N(0, 1)"
    )
    reach = min(max(4.0, float(np.nanquantile(np.abs(z[:, order]), 0.999))), 1e6)
    edges = np.linspace(-reach, reach, 49)
    density = [_density(z[:, i], edges) for i in order]
    top = float(np.clip(max(d.max() for d in density) * 1.1, 0.46, 0.95))
    grid = np.linspace(-reach, reach, 400)
    for place, (i, bars) in enumerate(zip(order, density, strict=True)):
        x, y = place % columns * (wide + gap), place // columns * step
        sheet.text(x, y + 8, latent_name(int(i)), weight="bold")
        used = kl[i] >= UNUSED
        sheet.text(x + wide, y + 8, f"{number(float(kl[i]), 2)} nats" + ("" if used else ", unused"), color=MUTED, align="right")
        axes = sheet.axes(x, y + 22, wide, high)
        chart(axes)
        axes.xaxis.set_major_locator(MaxNLocator(5, prune="both"))
        axes.set(xlim=(-reach, reach), ylim=(0, top))
        axes.yaxis.set_visible(False)
        axes.stairs(
            np.minimum(bars, top), edges, fill=True, color=ACCENT if used else FAINT, alpha=0.45 if used else 0.7, linewidth=0
        )
        axes.plot(grid, np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi), color=INK, linewidth=1.1)
        finite = z[np.isfinite(z[:, i]), i]
        if len(finite):
            spread = f"mean {_decimal(finite.mean())}\nsd {_decimal(finite.std())}"
            for row, line in enumerate(spread.split("\n")):
                sheet.text(x + wide - 2, y + 32 + 14 * row, line, size=7.5, color=MUTED, align="right")
        if bars.max() > top:
            sheet.text(x + 2, y + 32, f"peak {number(bars.max(), 2)}", size=7.5, color=MUTED)
    return sheet.figure


def autoencoder_beside_vae(
    z_autoencoder: np.ndarray,
    z_vae: np.ndarray,
    labels: Sequence[int] | np.ndarray | None = None,
    label_names: Sequence[str] = (),
    manifolds: tuple[np.ndarray, np.ndarray] | None = None,
    *,
    axis_names: tuple[str, str] = PLANE,
    title: str = "A plain autoencoder beside a VAE",
    subtitle: str = "The same images. Warm cells hold no code. Dotted: two sigma of N(0, 1).",
) -> Figure:
    """Two planes of codes (N, 2), each in its own units, with empty cells marked; beneath, decoded grids (R, S, C, H, W) of each.

    A cell is 1/24 of the range between the 1st and 99th percentile of the codes, on each axis.
    """
    both = _plane(z_autoencoder, "z_autoencoder"), _plane(z_vae, "z_vae")
    grids = [to_rgb(grid, "R S C H W", "manifolds") for grid in manifolds or ()]
    if len(grids) not in (0, 2):
        raise UsageError(f"manifolds has {len(grids)} grids. Expected two: the autoencoder's and the VAE's. Decode both planes.")
    size, gap, left = 388.0, 64.0, 44.0
    room = size + gap + left
    pictures = [_grid(grid, size) for grid in grids]
    beneath = 84 + max(p.shape[0] for p in pictures) / DENSITY if pictures else 36
    layers = class_layers(labels, label_names, len(both[0])) if labels is not None else []
    if layers:
        same_count(len(both[0]), "z_vae", both[1], "label")
    rows_of_legend = legend_rows(layers)
    sheet = Sheet(WIDE, 26 + size + beneath + (14 + 20 * rows_of_legend if layers else 0), title, subtitle)
    for side, (z, name) in enumerate(zip(both, ("Autoencoder", "VAE"), strict=True)):
        x = left + side * room
        axes = sheet.axes(x, 26, size, size)
        chart(axes, *axis_names)
        axes.set(**_frame(z, 0)[0])
        empty = _gaps(axes, z)
        _circles(axes, (2,), label=True)
        shown = layers or [Layer("", np.ones(len(z), bool), ACCENT, "o", ACCENT)]
        draw_points(axes, z, shown)
        sheet.text(x, 8, name, weight="bold", size=10)
        sheet.text(x + size, 8, f"{empty:.0%} of cells hold none of {len(z):,} codes", color=MUTED, align="right")
        if pictures:
            y = 26 + size + 66
            sheet.text(x, y - 12, "decoded from an even grid over the plane", size=SMALL, color=MUTED)
            sheet.picture(x, y, pictures[side])
    if layers:
        legend_line(sheet, layers, left, 26 + size + beneath + 14)
    return sheet.figure


def _plane(z: np.ndarray, name: str = "z") -> np.ndarray:
    z = np.asarray(z, float)
    if z.ndim != 2 or z.shape[1] != 2 or len(z) == 0 or not np.isfinite(z).all(1).any():
        raise UsageError(
            f"{name} has the shape {z.shape}. Expected finite codes (N, 2). "
            "Give two latents for each image; project more than two to two first."
        )
    return z


def _facts(z: np.ndarray, accuracy: float | None, k: int, *more: str) -> str:
    lost = int((~np.isfinite(z).all(1)).sum())
    parts = [f"{len(z) - lost:,} codes" + (f" ({lost:,} are not finite)" if lost else "")]
    if accuracy is not None:
        parts.append(f"{k}-nearest-neighbour accuracy {accuracy:.3f}")
    return "  ·  ".join(filter(None, [*parts, *more]))


def _frame(z: np.ndarray, least: float) -> tuple[dict[str, tuple[float, float]], int]:
    """Square limits round the codes, without the most extreme of many; and how many lie outside."""
    z = z[np.isfinite(z).all(1)]
    tail = 0.001 if len(z) > 2000 else 0.0
    low, high = np.quantile(z, tail, axis=0), np.quantile(z, 1 - tail, axis=0)
    middle, half = (low + high) / 2, float((high - low).max()) / 2 * 1.06
    if least:
        middle, half = np.zeros(2), max(half + float(np.abs(middle).max()), least)
    half = half or 1.0
    limits = {name: (float(at - half), float(at + half)) for name, at in zip(("xlim", "ylim"), middle, strict=True)}
    return limits, int((np.abs(z - middle) > half).any(1).sum())


def _circles(axes: Axes, radii: Sequence[int] = (1, 2, 3), *, label: bool = True) -> None:
    """Where the standard normal has so many sigma."""
    for radius in radii:
        axes.add_patch(Circle((0, 0), radius, fill=False, edgecolor=MUTED, linewidth=0.9, linestyle=(0, (1, 2.5)), zorder=4))
        if label:
            at = radius * np.sqrt(0.5)
            axes.text(
                at, at, f"{radius}σ", fontsize=SMALL, color=MUTED, fontfamily=FAMILY, ha="center", va="center",
                path_effects=halo(3), zorder=6, parse_math=False, clip_on=True,
            )  # fmt: skip


def _density(z: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """A histogram that counts what lies outside in its first and last bar."""
    z = z[np.isfinite(z)]
    counts = np.histogram(np.clip(z, edges[0], edges[-1]), edges)[0]
    return counts / max(len(z), 1) / np.diff(edges)


def _decimal(value: float) -> str:
    return f"{value + 0.0:.2f}".replace("-0.00", "0.00").replace("-", "−")


def _gaps(axes: Axes, z: np.ndarray, cells: int = 24) -> float:
    """Tint the cells that hold no code, and give their share."""
    z = z[np.isfinite(z).all(1)]
    low, high = np.quantile(z, (0.01, 0.99), axis=0)
    high = np.where(high > low, high, low + 1)
    held = np.histogram2d(z[:, 0], z[:, 1], cells, [(low[0], high[0]), (low[1], high[1])])[0] > 0
    axes.pcolormesh(
        np.linspace(low[0], high[0], cells + 1), np.linspace(low[1], high[1], cells + 1), np.ma.masked_where(held, ~held).T,
        cmap=ListedColormap(["#fbe9dc"]), edgecolors=PAPER, linewidth=0.4, zorder=0.7,
    )  # fmt: skip
    return float((~held).mean())


def _grid(grid: np.ndarray, size: float) -> np.ndarray:
    rows, columns, h, w, _ = grid.shape
    room = size - plane_gap(h, w) * (columns - 1)
    th, tw = fitted(h, w, room / columns, max(4.0, room / max(rows * h, columns * w) * (h * w) ** 0.5))
    return mosaic(resized(grid, th, tw), gap=plane_gap(h, w))
