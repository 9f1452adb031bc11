"""Long hair: what hangs behind the head goes on the back sheet, locks before the shoulders on the front one."""

import numpy as np

from .canvas import Colour, Layer, along, between, curve, mirrored, mix, moved, oval, symmetric
from .hair_pieces import Tones, cap, even, parted, side_of, strands, strands_both
from .traits import Nuisance

RIBBONS: tuple[Colour, ...] = ((226, 84, 100), (250, 196, 80), (90, 170, 200))


def bob(back: Layer, front: Layer, n: Nuisance, tones: Tones) -> None:
    """Down to the chin, with a straight fringe."""
    low, wide = between(0.75, 1.2, n.hair_length), between(1.14, 1.26, n.hair_volume)
    edge = [(-wide, -0.4), (-wide - 0.03, low * 0.6), (-wide + 0.1, low)]
    back.fill(symmetric((0, -1.44), (-0.85, -1.2), *edge, (0, low + 0.02)), tones.dark)
    fringe = even((0.84, -0.1), (0.8, -0.42), (0.45, -0.47), (0, -0.49))
    cap(front, wide - 1.0, 0.22, fringe, tones.base)
    front.both(curve((-0.8, -0.5), *edge, (-0.9, low - 0.04), (-0.84, 0.3), closed=True), tones.base)
    for x in (-0.62, -0.2, 0.24, 0.64):
        strands(front, tones.dark if x < 0.3 else tones.pale, 0.05, ((x * 0.7, -1.2), (x, -0.85), (x * 1.06, -0.54)))
    strands_both(front, tones.dark, 0.05, ((-0.98, -0.4), (-1.03, 0.2), (-0.98, low - 0.15)))


def straight(back: Layer, front: Layer, n: Nuisance, tones: Tones) -> None:
    """Straight from a middle parting."""
    low, wide = between(1.5, 2.3, n.hair_length), between(1.12, 1.28, n.hair_volume)
    edge = [(-wide, -0.35), (-wide - 0.06, 0.6), (-wide - 0.05, low)]
    back.fill(symmetric((0, -1.44), (-0.85, -1.2), *edge, (0, low)), tones.dark)
    left = [(-0.34, -0.84), (-0.66, -0.52), (-0.84, -0.1), (-0.86, 0.3)]
    line = [*((-x, y) for x, y in reversed(left)), (0.16 * (n.hair_side - 0.5), -1.06), *left]
    cap(front, wide - 1.0, 0.2, line, tones.base, foot=0.3)
    front.both(curve((-0.84, -0.3), *edge, (-0.86, low + 0.03), (-0.88, 0.8), (-0.86, 0.2), closed=True), tones.base)
    strands_both(
        front, tones.dark, 0.055, ((-0.1, -1.2), (-0.8, -0.75), (-1.04, 0.2)), ((-0.16, -1.3), (-0.95, -0.8), (-1.12, 0.5))
    )
    strands_both(front, tones.pale, 0.06, ((-1.05, 0.5), (-1.02, 1.0), (-1.04, low - 0.2)))
    strands(front, tones.pale, 0.06, ((0.2, -1.28), (0.72, -1.0), (0.98, -0.5)))


def wavy(back: Layer, front: Layer, n: Nuisance, tones: Tones) -> None:
    """Waves from a side parting."""
    side, low, wide = side_of(n), between(1.2, 1.9, n.hair_length), between(1.16, 1.3, n.hair_volume)
    y = np.linspace(-0.3, low, 30)
    sway = 0.07 * np.sin(7 * y + 1.0)
    edge = np.stack([-wide - 0.05 - sway - 0.1 * (y > 0) * np.sin(y), y], axis=1)
    crown = curve(*even((wide + 0.04, -0.34), (0.95, -1.1), (0.5, -1.38), (0, -1.46)))
    back.fill(np.concatenate([crown, edge, mirrored(edge)[::-1]]), tones.dark)
    cap(front, wide - 1.0, 0.24, parted(side, foot=0.2), tones.base, foot=0.2)
    inner = np.stack([-0.86 - sway, y], axis=1)
    front.both(np.concatenate([edge, inner[::-1]]), tones.base)
    for shift, tone in ((0.16, tones.dark), (0.3, tones.pale)):
        for mirror in (-1, 1):
            front.brush(moved(edge, shift, 0) * (mirror, 1), 0.05, tone)
    front.brush(curve((0.42, -0.96), (-0.3, -0.98), (-0.98, -0.3)) * (side, 1), 0.055, tones.dark)
    front.brush(curve((0.46, -1.0), (0.85, -0.8), (1.06, -0.2)) * (side, 1), 0.055, tones.dark)
    front.brush(curve((0.3, -1.14), (-0.4, -1.16), (-0.98, -0.62)) * (side, 1), 0.06, tones.pale)


def bun(back: Layer, front: Layer, n: Nuisance, tones: Tones) -> None:
    """Drawn up into a bun."""
    size, x = between(0.34, 0.46, n.hair_volume), between(-0.35, 0.35, n.hair_side)
    back.fill(oval(x, -1.5, size, size * 0.88), tones.base)
    strands(back, tones.dark, 0.06, ((x - size * 0.6, -1.46), (x, -1.7), (x + size * 0.7, -1.52)))
    strands(back, tones.pale, 0.06, ((x - size * 0.4, -1.36), (x + 0.05, -1.54), (x + size * 0.5, -1.38)))
    line = even((0.95, 0.2), (0.9, -0.3), (0.7, -0.68), (0.34, -0.86), (0, -0.9))
    cap(front, 0.05, 0.12, line, tones.base, foot=0.2)
    for at, tone in ((-0.75, tones.dark), (-0.4, tones.pale), (0.0, tones.dark), (0.4, tones.dark), (0.75, tones.pale)):
        strands(front, tone, 0.05, ((at, -0.84 + 0.3 * at**2), (at * 0.8 + x * 0.1, -1.05), (at * 0.45 + x * 0.5, -1.28)))


def tails(back: Layer, front: Layer, n: Nuisance, tones: Tones) -> None:
    """Two bunches, tied with ribbons, and a parted fringe."""
    low, out = between(0.7, 1.4, n.hair_length), between(1.32, 1.5, n.hair_volume)
    outer = [(-0.95, -0.6), (-1.25, -0.72), (-out, -0.3), (-out - 0.06, low * 0.5), (-out + 0.16, low)]
    back.both(curve(*outer, (-1.08, low * 0.45), (-1.0, -0.1), closed=True), tones.base)
    fall = curve((-1.12, -0.5), (-out + 0.12, 0.0), (-out + 0.12, low * 0.7))
    back.brush(fall, 0.06, tones.pale)
    back.brush(mirrored(fall), 0.06, tones.dark)
    back.both(oval(-1.07, -0.5, 0.12, 0.15), along(RIBBONS, n.clothes_colour))
    line = even((0.94, 0.1), (0.88, -0.36), (0.6, -0.56), (0.2, -0.72), (0, -0.98))
    cap(front, 0.06, 0.14, line, tones.base, foot=0.1)
    strands(front, tones.dark, 0.05, ((0, -1.34), (0.01, -1.15), (0, -0.98)))
    strands_both(front, tones.dark, 0.05, ((-0.15, -1.2), (-0.6, -1.02), (-0.95, -0.6)))
    strands(front, tones.pale, 0.05, ((0.1, -1.1), (0.5, -0.9), (0.86, -0.5)))


def braids(back: Layer, front: Layer, n: Nuisance, tones: Tones) -> None:
    """Many thin braids."""
    low = between(1.1, 2.0, n.hair_length)
    for k in range(7):
        x = 1.3 - 0.1 * k
        braid = curve((x * 0.62, -1.0), (x * 0.95, -0.2), (x, 0.6), (x * 1.04, low))
        for mirror in (-1, 1):
            back.brush(braid * (mirror, 1), 0.17, tones.base if k % 2 else tones.dark, taper=0.25)
    line = even((0.93, 0.15), (0.88, -0.34), (0.66, -0.66), (0.3, -0.8), (0, -0.83))
    cap(front, 0.12, between(0.14, 0.26, n.hair_volume), line, tones.base)
    for x in (-0.78, -0.5, -0.2, 0.1, 0.4, 0.7):
        strands(front, tones.dark, 0.045, ((x, -0.72 - 0.14 * (1 - x * x)), (x * 0.92, -1.0), (x * 0.6, -1.34)))
    for x, shade in ((-1.16, 0.6), (-1.02, 0.0), (1.02, 0.6), (1.16, 0.0)):
        braid = curve((x * 0.86, -0.7), (x * 0.97, -0.2), (x, 0.6), (x * 1.03, low - 0.2))
        front.brush(braid, 0.15, mix(tones.base, tones.dark, shade), taper=0.25)
