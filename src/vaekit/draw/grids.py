"""Figures made of images: reconstructions, samples, the decoded manifold, traversals, edits and morphs.

N images, R rows, S steps, C channels, H height, W width. Images are uint8, or float in [0, 1].
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..errors import UsageError
from .pixels import GAP, WIDE, columns_for, fitted, mosaic, plane_gap, resized, same_count, to_rgb
from .style import BODY, DENSITY, INK, MUTED, SMALL, Sheet, latent_name, number, shortened, text_width

PAIR_GAP = 14.0  # page pixels between a reconstruction and the next original


def reconstructions(
    originals: np.ndarray,
    reconstructions: np.ndarray,
    errors: Sequence[float] | np.ndarray | None = None,
    *,
    error_name: str = "RMSE",
    title: str = "Originals above their reconstructions",
    subtitle: str = "",
) -> Figure:
    """Originals (N, C, H, W) above reconstructions of the same shape, with an error (N,) under each where given."""
    above, below = to_rgb(originals, "N C H W", "originals"), to_rgb(reconstructions, "N C H W", "reconstructions")
    if above.shape != below.shape:
        raise UsageError(
            f"originals are {above.shape[:-1]} and reconstructions {below.shape[:-1]} (N, H, W). Expected the same shape. "
            "Give the images that were encoded, in the same order."
        )
    n, h, w, _ = above.shape
    decimals = 0
    if errors is not None:
        same_count(n, "errors", errors, "image")
        largest = float(np.nanmax(np.abs(np.append(np.asarray(errors, float), 1e-9))))
        decimals = int(np.clip(2 - np.floor(np.log10(largest)), 0, 6))
    label = 104
    columns, th, tw = columns_for(n, h, w, WIDE - label, 72)
    rows = -(-n // columns)
    height, width = th / DENSITY, tw / DENSITY
    beneath = 16 if errors is not None else 0
    step = 2 * height + GAP + beneath + PAIR_GAP
    content = label + columns * (width + GAP) - GAP
    sheet = Sheet(max(content, 440), rows * step - PAIR_GAP, title, subtitle)
    above, below = resized(above, th, tw), resized(below, th, tw)
    for row in range(rows):
        pick, y = slice(row * columns, (row + 1) * columns), row * step
        sheet.text(label - 10, y + height / 2, "original", color=MUTED, align="right")
        sheet.text(label - 10, y + height + GAP + height / 2, "reconstruction", align="right")
        sheet.picture(label, y, mosaic(np.stack([above[pick], below[pick]])))
        if errors is not None:
            sheet.text(label - 10, y + step - PAIR_GAP - 7, error_name, size=SMALL, color=MUTED, align="right")
            for i, error in enumerate(errors[pick]):
                x = label + i * (width + GAP) + width / 2
                sheet.text(x, y + step - PAIR_GAP - 7, f"{error:.{decimals}f}", size=SMALL, color=MUTED, align="center")
    return sheet.figure


def samples(images: np.ndarray, caption: str = "", *, title: str = "Samples") -> Figure:
    """A grid of images (N, C, H, W); the caption says where they come from."""
    tiles = to_rgb(images, "N C H W")
    n, h, w, _ = tiles.shape
    columns, th, tw = columns_for(n, h, w, WIDE, 64)
    rows = -(-n // columns)
    tiles = resized(tiles, th, tw)
    tiles = np.concatenate([tiles, np.full((rows * columns - n, th, tw, 3), 255, np.uint8)])
    picture = mosaic(tiles.reshape(rows, columns, th, tw, 3))
    sheet = Sheet(max(picture.shape[1] / DENSITY, 440), picture.shape[0] / DENSITY, title, caption)
    sheet.picture(0, 0, picture)
    return sheet.figure


def manifold(
    images: np.ndarray,
    x_values: Sequence[float] | np.ndarray,
    y_values: Sequence[float] | np.ndarray,
    *,
    axis_names: tuple[str, str] = (latent_name(0), latent_name(1)),
    title: str = "The decoded plane",
    subtitle: str = "",
) -> Figure:
    """The decoded grid of two latents: images (R, S, C, H, W), row 0 on top, at x_values (S,) and y_values (R,) in units of z."""
    tiles = to_rgb(images, "R S C H W")
    rows, columns, h, w, _ = tiles.shape
    same_count(columns, "x_values", x_values, "column of images")
    same_count(rows, "y_values", y_values, "row of images")
    left, below = 58, 44
    target = 640 * (h * w) ** 0.5 / max(h * rows, w * columns)
    th, tw = fitted(h, w, (WIDE - left) / columns, max(target, 4))
    picture = mosaic(resized(tiles, th, tw), gap=plane_gap(h, w))
    height, width = picture.shape[0] / DENSITY, picture.shape[1] / DENSITY
    sheet = Sheet(max(left + width, 440), height + below, title, subtitle)
    sheet.picture(left, 0, picture)
    for at, value in _ticks(x_values, width):
        sheet.text(left + at, height + 12, value, size=SMALL, color=MUTED, align="center")
    for at, value in _ticks(y_values, height):
        sheet.text(left - 8, at, value, size=SMALL, color=MUTED, align="right")
    sheet.text(left + width / 2, height + 33, axis_names[0], align="center")
    sheet.text(8, height / 2, axis_names[1], align="center", vertical="center", rotation=90)
    return sheet.figure


def traversals(
    images: np.ndarray,
    latents: Sequence[int] | np.ndarray,
    kl: Sequence[float] | np.ndarray,
    values: Sequence[float] | np.ndarray,
    *,
    shares: bool = False,
    title: str = "One latent at a time",
    subtitle: str = "",
) -> Figure:
    """What each latent does: images (R, S, C, H, W) of latents (R,), with KL (R,) in nats, at values (S,) in prior sigmas, or
    where such `shares` of the codes lie below.

    Rows are sorted by KL, the most informative first.
    """
    tiles = to_rgb(images, "R S C H W")
    same_count(len(tiles), "latents", latents, "row of images")
    same_count(len(tiles), "kl", kl, "row of images")
    same_count(tiles.shape[1], "values", values, "column of images")
    order = np.argsort(-np.asarray(kl, float), kind="stable")
    labels = [(latent_name(int(latents[i])), f"{number(float(kl[i]), 2)} nats") for i in order]
    heads = [f"{value:.0%}" if shares else f"{_signed(value)}σ" if abs(value) > 1e-9 else "0" for value in values]
    return _strip(tiles[order], labels, heads, None if shares else _zero(values), title=title, subtitle=subtitle)


def edit_strip(
    images: np.ndarray,
    alphas: Sequence[float] | np.ndarray,
    row_titles: Sequence[str],
    originals: np.ndarray | None = None,
    *,
    title: str = "Edits: z + α · attribute vector",
    subtitle: str = "",
    unit: str = "",
    note: str = "reconstruction",
) -> Figure:
    """Image by alpha: the original, then its edits images (R, S, C, H, W) at alphas (S,) in a unit; `note`: what alpha 0 is.

    originals is (R, C, H, W); a row title names the image or the attribute.
    """
    tiles = to_rgb(images, "R S C H W")
    same_count(tiles.shape[1], "alphas", alphas, "column of images")
    same_count(len(tiles), "row_titles", row_titles, "row of images")
    first = None
    if originals is not None:
        first = to_rgb(originals, "R C H W", "originals")
        if first.shape != tiles[:, 0].shape:
            raise UsageError(
                f"originals are {first.shape[:-1]} and a column of images {tiles[:, 0].shape[:-1]} (R, H, W). Expected the same "
                "shape. Give one original for each row, at the model's size."
            )
    labels = [(title, "") for title in row_titles]
    heads = [f"α = {_signed(alpha)}{unit}" if abs(alpha) > 1e-9 else "α = 0" for alpha in alphas]
    zero = _zero(alphas)
    return _strip(tiles, labels, heads, zero, first, note="" if zero is None else note, title=title, subtitle=subtitle)


def told_strip(
    images: np.ndarray, row_titles: Sequence[str], *, title: str = "The same z, told otherwise", subtitle: str = ""
) -> Figure:
    """What a conditional model makes of the same z: images (R, S, C, H, W), a row for each thing told, a column for each z."""
    tiles = to_rgb(images, "R S C H W")
    same_count(len(tiles), "row_titles", row_titles, "row of images")
    heads = [f"z {i + 1}" for i in range(tiles.shape[1])]
    return _strip(tiles, [(name, "") for name in row_titles], heads, None, title=title, subtitle=subtitle)


def nearest_strip(images: np.ndarray, nearest: np.ndarray, errors: Sequence[float] | np.ndarray, *, subtitle: str = "") -> Figure:
    """New pictures (S, C, H, W) above those that were there before and are nearest to each, (R, S, C, H, W), near ones first.

    errors (S,): the RMSE between each and the nearest.
    """
    rows = [to_rgb(images, "S C H W")[None], to_rgb(nearest, "R S C H W", "nearest")]
    same_count(rows[0].shape[1], "errors", errors, "new picture")
    if rows[1].shape[1:] != rows[0].shape[1:]:
        raise UsageError(f"nearest is {rows[1].shape[1:-1]} and the pictures {rows[0].shape[1:-1]}. Give both one shape.")
    labels = [("new", "RMSE above"), *((f"{i}. nearest", "of training") for i in range(1, len(nearest) + 1))]
    heads = [f"{error:.2f}" for error in errors]
    return _strip(np.concatenate(rows), labels, heads, None, title="Remembered or new?", subtitle=subtitle)


def morph_strip(
    images: np.ndarray, labels: Sequence[str] = (), *, title: str = "From one image to another", subtitle: str = ""
) -> Figure:
    """The steps of a morph, images (S, C, H, W); labels name each step (S), or only both ends (2)."""
    tiles = to_rgb(images, "S C H W")
    steps, h, w, _ = tiles.shape
    if len(labels) not in (0, 2, steps):
        raise UsageError(
            f"labels has {len(labels)} entries for {steps} images. Expected none, 2 (both ends) or {steps}. Leave out the others."
        )
    columns, th, tw = columns_for(steps, h, w, WIDE, 88)
    rows, height, width = -(-steps // columns), th / DENSITY, tw / DENSITY
    tiles = resized(tiles, th, tw)
    each = height + (18 if labels else 0) + 6
    sheet = Sheet(max(columns * (width + GAP) - GAP, 440), rows * each - 6, title, subtitle)
    for row in range(rows):
        sheet.picture(0, row * each, mosaic(tiles[None, row * columns : (row + 1) * columns]))
    ends = {0: labels[0], steps - 1: labels[-1]} if labels else {}
    for i, label in (ends if len(labels) != steps else dict(enumerate(labels))).items():
        x, y = (i % columns) * (width + GAP), i // columns * each + height + 10
        room = width if len(labels) == steps else max(width, 160)
        right = len(labels) != steps and i == steps - 1 and steps > 1
        sheet.text(
            x + width if right else x,
            y,
            shortened(label, room, SMALL),
            size=SMALL,
            color=MUTED,
            align="right" if right else "left",
        )
    return sheet.figure


def _strip(
    tiles: np.ndarray,
    labels: Sequence[tuple[str, str]],
    heads: Sequence[str],
    centre: int | None,
    first: np.ndarray | None = None,
    *,
    note: str = "",
    title: str,
    subtitle: str,
) -> Figure:
    """Rows with a name and a note on the left, columns under heads, and perhaps one column apart in front."""
    rows, steps, h, w, _ = tiles.shape
    label = min(200, 12 + max([0.0, *(max(text_width(a, BODY, "bold"), text_width(b, SMALL)) for a, b in labels)]))
    apart = 12 if first is not None else 0
    columns = steps + (first is not None)
    room = (WIDE - label - apart + GAP) / columns - GAP
    th, tw = fitted(h, w, room, min(88, max(44, 720 / rows)))
    height, width, top = th / DENSITY, tw / DENSITY, 38 if note else 22
    content = label + apart + columns * (width + GAP) - GAP
    sheet = Sheet(max(content, 440), top + rows * (height + GAP) - GAP, title, subtitle)
    x = label
    if first is not None:
        sheet.text(x + width / 2, top - 12, "original", size=SMALL, color=MUTED, align="center")
        sheet.picture(x, top, mosaic(resized(first, th, tw)[:, None]))
        x += width + GAP + apart
    sheet.picture(x, top, mosaic(resized(tiles, th, tw)))
    every = max(1, int(np.ceil((max(text_width(head, SMALL) for head in heads) + 6) / (width + GAP))))
    anchor = centre if centre is not None else 0
    for i, head in enumerate(heads):
        if (i - anchor) % every == 0:
            strong = i == centre
            where = x + i * (width + GAP) + width / 2
            sheet.text(
                where,
                top - 12,
                head,
                size=SMALL,
                align="center",
                color=INK if strong else MUTED,
                weight="bold" if strong else "normal",
            )
            if strong and note:
                sheet.text(where, top - 28, note, size=SMALL, align="center", color=MUTED)
    for row, (name, beside) in enumerate(labels):
        y = row * (height + GAP) + top + height / 2
        two = beside and height >= 30
        sheet.text(0, y - 8 if two else y, shortened(name, label - 10, BODY, "bold"), weight="bold")
        if two:
            sheet.text(0, y + 9, beside, size=SMALL, color=MUTED)
    return sheet.figure


def _ticks(values: Sequence[float] | np.ndarray, length: float, room: float = 36) -> list[tuple[float, str]]:
    """Round numbers and where they lie, in page pixels, on an axis whose tiles are centred at the values."""
    values = np.asarray(values, float)
    places = (np.arange(len(values)) + 0.5) * length / len(values)
    rising = np.diff(values) > 0
    if len(values) == 1 or not (rising.all() or (np.diff(values) < 0).all()):
        return [(float(place), number(float(value), 2)) for place, value in zip(places, values, strict=True)]
    order = np.argsort(values)
    ticks = MaxNLocator(min(9, max(2, int(length / room))), steps=[1, 2, 2.5, 5, 10]).tick_values(values.min(), values.max())
    kept: list[tuple[float, str]] = []
    for tick in ticks[(ticks >= values.min() - 1e-9) & (ticks <= values.max() + 1e-9)]:
        at = float(np.interp(tick, values[order], places[order]))
        if not kept or abs(at - kept[-1][0]) >= room:
            kept.append((at, number(float(tick))))
    return kept


def _signed(value: float) -> str:
    return ("+" if value > 0 else "") + number(value)


def _zero(values: Sequence[float] | np.ndarray) -> int | None:
    """The column whose value is zero, if there is one."""
    near = int(np.argmin(np.abs(np.asarray(values, float))))
    return near if abs(values[near]) < 1e-9 else None
