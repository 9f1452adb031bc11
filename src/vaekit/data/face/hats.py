"""Hats: six kinds. A hat presses the hair down, so hair above its brim is cut away before the hat is drawn."""

import numpy as np

from .canvas import Colour, Layer, along, between, curve, mix, oval, symmetric
from .traits import Nuisance

CLOTH: tuple[Colour, ...] = (
    (206, 62, 66),
    (236, 142, 62),
    (240, 198, 84),
    (94, 160, 104),
    (50, 130, 148),
    (58, 84, 158),
    (112, 76, 146),
    (204, 96, 140),
)
STRAW: tuple[Colour, ...] = ((236, 206, 142), (206, 164, 104), (120, 82, 60), (64, 56, 66))
BRIM = -0.55


def press_hair(layer: Layer) -> None:
    """Remove what would stick out above the brim."""
    x = np.linspace(-3, 3, 25)
    edge = np.stack([x, BRIM - 0.12 + 0.04 * np.cos(x)], axis=1)
    layer.erase(np.concatenate([edge, [(3.0, -4.0), (-3.0, -4.0)]]))


def draw_hat(layer: Layer, n: Nuisance) -> None:
    HATS[int(n.hat_style * len(HATS))](layer, n)


def band(wide: float, top: float, low: float, bend: float = 0.1) -> np.ndarray:
    """A strip around the head, curved as a hoop seen from a little above."""
    upper = curve(
        (-wide, top - bend), (-wide * 0.6, top - bend * 0.2), (0, top), (wide * 0.6, top - bend * 0.2), (wide, top - bend)
    )
    lower = curve(
        (wide, low - bend), (wide * 0.6, low - bend * 0.2), (0, low), (-wide * 0.6, low - bend * 0.2), (-wide, low - bend)
    )
    return np.concatenate([upper, lower])


def dome(wide: float, top: float, low: float, square: float) -> np.ndarray:
    """The crown of a hat; the squarer, the fuller its shoulders."""
    high = low - top
    return symmetric(
        (0, top), (-wide * square, low - high * 0.85), (-wide * 0.98, low - high * 0.45), (-wide, low), (0, low + 0.1)
    )


def beanie(layer: Layer, n: Nuisance) -> None:
    """Knitted, with a turned-up edge and a pompom."""
    cloth, top = along(CLOTH, n.hat_colour), between(-1.5, -1.7, n.hat_height)
    dark, pale = mix(cloth, (30, 10, 40), 0.24), mix(cloth, (255, 250, 240), 0.5)
    layer.fill(oval(0, top - 0.08, 0.27, 0.25), pale)
    layer.fill(dome(1.12, top, -0.6, 0.7), cloth)
    for x in (-0.8, -0.42, 0.0, 0.42, 0.8):
        layer.brush(curve((x, -0.78), (x * 0.85, -1.1), (x * 0.4, top + 0.16)), 0.06, dark)
    layer.fill(band(1.2, -0.86, -0.47), pale if n.hat_height < 0.5 else dark)
    for x in (-0.99, -0.66, -0.33, 0.0, 0.33, 0.66, 0.99):
        layer.brush(np.array([(x, -0.84 - 0.05 * x * x), (x, -0.52 - 0.09 * x * x)]), 0.05, mix(cloth, dark, 0.5), taper=0)


def baseball(layer: Layer, n: Nuisance) -> None:
    """A cap; its peak follows the face."""
    cloth, top = along(CLOTH, n.hat_colour), between(-1.42, -1.58, n.hat_height)
    dark, pale = mix(cloth, (30, 10, 40), 0.3), mix(cloth, (255, 250, 240), 0.78)
    layer.fill(dome(1.1, top, -0.5, 0.72), cloth)
    layer.fill(curve((-0.46, -0.7), (-0.42, -1.14), (0, top + 0.14), (0.42, -1.14), (0.46, -0.7), closed=True), pale)
    layer.fill(oval(0, top + 0.01, 0.1, 0.06), dark)
    layer.fill(oval(0, -1.0, 0.15, 0.15), dark)
    peak = curve(
        (-1.08, -0.62),
        (-0.6, -0.8),
        (0, -0.86),
        (0.6, -0.8),
        (1.08, -0.62),
        (1.0, -0.44),
        (0.55, -0.46),
        (0, -0.5),
        (-0.55, -0.46),
        (-1.0, -0.44),
        closed=True,
    )
    layer.fill(peak, dark)
    layer.brush(curve((-0.86, -0.62), (0, -0.77), (0.86, -0.62)), 0.05, mix(dark, pale, 0.3))


def fedora(layer: Layer, n: Nuisance) -> None:
    """A felt or straw hat with a wide brim and a ribbon."""
    felt, top, ribbon = along(STRAW, n.hat_colour), between(-1.5, -1.75, n.hat_height), along(CLOTH, 1 - n.hat_colour)
    layer.fill(
        curve(
            (-0.95, -0.7),
            (-0.86, top + 0.14),
            (-0.46, top),
            (0, top + 0.1),
            (0.46, top),
            (0.86, top + 0.14),
            (0.95, -0.7),
            (0, -0.6),
            closed=True,
        ),
        felt,
    )
    layer.brush(curve((-0.3, top + 0.1), (0, top + 0.2), (0.3, top + 0.1)), 0.07, mix(felt, (40, 20, 40), 0.3))
    layer.fill(band(0.96, -0.98, -0.7, 0.06), ribbon)
    layer.fill(
        curve(
            (-1.62, -0.78),
            (-1.0, -0.8),
            (0, -0.74),
            (1.0, -0.8),
            (1.62, -0.78),
            (1.1, -0.5),
            (0, -0.42),
            (-1.1, -0.5),
            closed=True,
        ),
        mix(felt, (255, 250, 235), 0.12),
    )
    layer.brush(curve((-1.3, -0.62), (0, -0.46), (1.3, -0.62)), 0.05, mix(felt, (40, 20, 40), 0.3))


def bucket(layer: Layer, n: Nuisance) -> None:
    """A soft cloth hat with a sloping brim."""
    cloth, top = along(CLOTH, n.hat_colour), between(-1.4, -1.58, n.hat_height)
    dark = mix(cloth, (30, 10, 40), 0.24)
    layer.fill(
        curve((-1.0, -0.7), (-0.86, top + 0.1), (-0.4, top), (0.4, top), (0.86, top + 0.1), (1.0, -0.7), (0, -0.6), closed=True),
        cloth,
    )
    layer.fill(band(1.02, -0.92, -0.78, 0.06), mix(cloth, (255, 250, 240), 0.72))
    layer.fill(
        curve(
            (-1.0, -0.84),
            (0, -0.78),
            (1.0, -0.84),
            (1.42, -0.38),
            (0.8, -0.4),
            (0, -0.44),
            (-0.8, -0.4),
            (-1.42, -0.38),
            closed=True,
        ),
        mix(cloth, dark, 0.45),
    )
    layer.brush(curve((-1.24, -0.5), (0, -0.55), (1.24, -0.5)), 0.04, dark, taper=0)


def beret(layer: Layer, n: Nuisance) -> None:
    """A soft round cap worn to one side."""
    cloth, top, side = along(CLOTH, n.hat_colour), between(-1.34, -1.5, n.hat_height), -1 if n.hat_height < 0.5 else 1
    dark = mix(cloth, (30, 10, 40), 0.28)
    blob = curve(
        (-1.2, -0.62),
        (-1.36, -0.95),
        (-0.95, top + 0.05),
        (-0.1, top - 0.12),
        (0.7, top + 0.1),
        (1.12, -0.86),
        (1.08, -0.6),
        (0, -0.52),
        closed=True,
    )
    layer.fill(blob * (side, 1), cloth)
    layer.brush(curve((-0.25, top - 0.1), (-0.22, top - 0.22), (-0.14, top - 0.3)) * (side, 1), 0.09, dark, taper=0.2)
    layer.fill(band(1.08, -0.68, -0.5, 0.06), dark)
    layer.brush(curve((-1.0, -0.8), (-0.5, -0.86), (0.1, -0.82)) * (side, 1), 0.06, dark)


def bowler(layer: Layer, n: Nuisance) -> None:
    """A stiff round hat with a curled brim."""
    felt, top = along(STRAW[::-1], n.hat_colour), between(-1.56, -1.76, n.hat_height)
    layer.fill(dome(0.98, top, -0.66, 0.78), felt)
    layer.fill(band(0.99, -0.96, -0.68, 0.05), along(CLOTH, n.hat_colour))
    layer.fill(
        curve(
            (-1.42, -0.9),
            (-1.0, -0.68),
            (0, -0.6),
            (1.0, -0.68),
            (1.42, -0.9),
            (1.3, -0.56),
            (0.7, -0.46),
            (0, -0.43),
            (-0.7, -0.46),
            (-1.3, -0.56),
            closed=True,
        ),
        mix(felt, (255, 250, 240), 0.14),
    )


HATS = (beanie, baseball, fedora, bucket, beret, bowler)
