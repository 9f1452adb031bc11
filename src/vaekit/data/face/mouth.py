"""Mouths and beards: the part of a face that says most at 64 pixels."""

from typing import NamedTuple

import numpy as np

from .canvas import INK, WHITE, Colour, Layer, along, between, curve, mirrored, mix, moved, oval, symmetric
from .traits import Nuisance

ROSE: tuple[Colour, ...] = ((200, 78, 84), (210, 60, 80), (182, 52, 88))
CREASE: Colour = (100, 24, 34)
INSIDE: Colour = (96, 22, 34)
TONGUE: Colour = (226, 104, 104)


class Mouth(NamedTuple):
    """Half its width, its height on the face, how full and how strong; the colours of its lips and of a rim within a beard."""

    x: float
    y: float
    full: float
    strength: float
    lip: Colour
    rim: Colour | None


def draw_mouth(layer: Layer, n: Nuisance, skin: Colour, *, smiling: bool, opened: bool, bearded: bool) -> None:
    """One of four mouths; all of them stay below the nose and above the chin. Within a beard a rim of skin sets it off."""
    rose = mix(along(ROSE, n.lip_colour), (244, 132, 128), 0.75 * n.skin)  # paler on dark skin, to be seen
    lip = mix(skin, rose, 0.78)
    mouth = Mouth(
        x=between(0.33, 0.4, n.mouth_width),
        y=between(0.72, 0.77, n.mouth_height),
        full=between(0.7, 1.25, n.lips),
        strength=n.mouth_strength,
        lip=lip,
        rim=mix(skin, lip, 0.25) if bearded else None,
    )
    if smiling:
        draw_folds(layer, mouth, mix(skin, CREASE, 0.45))
    draw = {(False, False): draw_rest, (False, True): draw_gasp, (True, False): draw_smile, (True, True): draw_laugh}
    draw[smiling, opened](layer, mouth)


def corners(m: Mouth) -> tuple[float, float]:
    """Where the corners of a smile are: half its width and their height."""
    return m.x * 1.3, m.y - between(0.15, 0.2, m.strength)


def draw_folds(layer: Layer, m: Mouth, crease: Colour) -> None:
    x, high = corners(m)
    fold = curve((x + 0.02, high - 0.1), (x + 0.085, high), (x + 0.03, high + 0.09))
    layer.brush(fold, 0.055, crease)
    layer.brush(mirrored(fold), 0.055, crease)


def draw_smile(layer: Layer, m: Mouth) -> None:
    """Closed, corners up."""
    x, high = corners(m)
    line = curve((-x, high), (-x * 0.55, m.y + 0.02), (0, m.y + 0.1), (x * 0.55, m.y + 0.02), (x, high))
    if m.rim:
        layer.brush(moved(line, 0, 0.05), 0.13 * m.full + 0.18, m.rim, taper=0.8)
    layer.brush(moved(line, 0, 0.05), 0.13 * m.full + 0.06, m.lip)
    layer.brush(line, 0.065, mix(INK, m.lip, 0.15), taper=0.6)


def draw_laugh(layer: Layer, m: Mouth) -> None:
    """Open, corners up, with teeth and tongue."""
    x, high = corners(m)
    low = m.y + between(0.23, 0.3, m.strength)
    top = curve((-x, high), (-x * 0.5, (m.y + high) / 2), (0, m.y - 0.05), (x * 0.5, (m.y + high) / 2), (x, high))
    bowl = curve((x, high), (x * 0.72, (m.y + low) / 2), (0, low), (-x * 0.72, (m.y + low) / 2), (-x, high))
    if m.rim:
        layer.brush(bowl, 0.1 * m.full + 0.16, m.rim, taper=0.7)
    layer.brush(bowl, 0.1 * m.full + 0.04, m.lip, taper=0.7)
    layer.brush(top, 0.1 * m.full + 0.02, m.lip, taper=0.7)
    layer.fill(np.concatenate([top, bowl]), INSIDE)
    layer.fill(np.concatenate([top, moved(top[::-1] * (0.93, 1), 0, 0.105)]), WHITE)
    layer.fill(oval(0, low - 0.06, x * 0.42, 0.055), TONGUE)


def draw_gasp(layer: Layer, m: Mouth) -> None:
    """Open without a smile: a small round."""
    x, y, tall = m.x * between(0.48, 0.6, m.strength), m.y + 0.06, between(0.14, 0.19, m.strength)
    if m.rim:
        layer.fill(oval(0, y, x + 0.06 * m.full + 0.07, tall + 0.07 * m.full + 0.06), m.rim)
    layer.fill(oval(0, y, x + 0.06 * m.full, tall + 0.07 * m.full), m.lip)
    layer.fill(oval(0, y, x, tall), INSIDE)
    layer.fill(oval(0, y + tall * 0.6, x * 0.66, tall * 0.36), TONGUE)
    layer.fill(oval(0, y - tall * 0.72, x * 0.62, tall * 0.2), WHITE)


def draw_rest(layer: Layer, m: Mouth) -> None:
    """Closed and level, or a little down at the corners."""
    x, y, corner = m.x, m.y, m.y + between(-0.01, 0.05, m.strength)
    bow = 0.055 * m.full
    upper = curve((-x * 0.8, corner), (-x * 0.35, y - bow), (0, y - 0.03 * m.full), (x * 0.35, y - bow), (x * 0.8, corner))
    line = curve((-x * 0.85, corner), (-x * 0.4, y), (0, y + 0.01), (x * 0.4, y), (x * 0.85, corner))
    lower = curve((x * 0.6, y + 0.02), (0, y + 0.12 * m.full + 0.04), (-x * 0.6, y + 0.02))
    if m.rim:
        layer.brush(moved(line, 0, 0.03), 0.13 * m.full + 0.16, m.rim, taper=0.5)
    layer.fill(np.concatenate([upper, line[::-1]]), mix(m.lip, INK, 0.12))
    layer.fill(np.concatenate([line, lower]), m.lip)
    layer.brush(line, 0.06, mix(INK, m.lip, 0.2), taper=0.6)


def draw_beard(layer: Layer, n: Nuisance, hair: Colour) -> None:
    """Full, short, a goatee, or a moustache grown into mutton chops; a mouth goes on top."""
    deep = between(0.04, 0.2, n.beard_length)
    chin, jaw = between(1.2, 1.33, n.chin) + deep, between(0.6, 0.78, n.jaw) + deep * 0.45
    wide = between(0.94, 1.03, n.face_width)
    low = between(0.72, 0.77, n.mouth_height) - 0.75
    moustache = moved(curve((0, 0.53), (-0.24, 0.55), (-0.48, 0.74), (-0.42, 0.86), (-0.2, 0.68), (0, 0.66)), 0, low)
    if n.beard_style < 0.6:
        outer = [(-1.0 * wide, 0.1), (-0.97 * wide, 0.5), (-jaw * wide - 0.03, 0.95), (-0.5 * jaw, chin - 0.05), (0, chin)]
        cheek = [
            (0, 0.54 + low),
            (-0.3, 0.56 + low),
            (-0.6, 0.72 if n.beard_style < 0.35 else 0.92),
            (-0.84, 0.42),
            (-0.9 * wide, 0.1),
        ]
        left = np.concatenate([curve(*outer), curve(*cheek)])
        layer.both(left, hair)
    else:
        sides = [(-0.3, 0.9), (-0.42, 0.7), (-0.5, 0.8), (-0.46, 1.08)]
        tuft = moved(symmetric((0, 0.94), *sides, (-0.26, chin - 0.02), (0, chin + 0.05)), 0, low)
        layer.fill(tuft, hair)
    layer.both(moustache, hair)
    dark = mix(hair, INK, 0.2)
    for x in (-0.5, -0.25, 0.0, 0.25, 0.5):
        if n.beard_style < 0.6 or abs(x) < 0.3:
            layer.brush(curve((x * 0.9, 1.06 - 0.25 * abs(x)), (x, chin - 0.12 - 0.35 * abs(x))), 0.04, dark)
