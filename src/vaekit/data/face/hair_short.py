"""Short hair."""

import numpy as np

from .canvas import Layer, between, curve, mix, oval
from .hair_pieces import Tones, cap, even, parted, side_of, strands
from .traits import Nuisance


def crop(back: Layer, front: Layer, n: Nuisance, tones: Tones) -> None:
    """Brushed over from a side parting."""
    side = side_of(n)
    cap(front, 0.07, between(0.14, 0.28, n.hair_volume), parted(side), tones.base)
    for k, tone in enumerate((tones.dark, tones.pale, tones.dark)):
        line = curve((0.42, -0.92 - 0.05 * k), (-0.1, -0.9 - 0.13 * k), (-0.75, -0.6 - 0.13 * k))
        front.brush(line * (side, 1), 0.05, tone)


def buzz(back: Layer, front: Layer, n: Nuisance, tones: Tones) -> None:
    """Clipped close to the head."""
    line = even((0.88, 0.24), (0.86, -0.35), (0.7, -0.7), (0.36, -0.82), (0, -0.84))
    cap(front, 0.05, between(0.06, 0.12, n.hair_volume), line, tones.base, foot=0.24)


def quiff(back: Layer, front: Layer, n: Nuisance, tones: Tones) -> None:
    """Short sides and a tall wave over the forehead."""
    side, tall = side_of(n), between(0.2, 0.42, n.hair_volume)
    cap(front, 0.04, 0.06, even((0.88, 0.22), (0.86, -0.4), (0.7, -0.76), (0, -0.86)), tones.dark, foot=0.22)
    over = [(-0.82, -0.62), (-0.96, -1.0), (-0.7, -1.28 - tall * 0.6), (0, -1.4 - tall), (0.7, -1.3 - tall), (1.02, -1.02)]
    under = [(0.86, -0.7), (0.5, -0.66), (0.1, -0.86), (-0.4, -0.72)]
    front.fill(curve(*over, *under, closed=True) * (side, 1), tones.base)
    for k, tone in enumerate((tones.dark, tones.pale, tones.dark)):
        line = curve((-0.6 + 0.3 * k, -0.82), (-0.3 + 0.3 * k, -1.1 - tall * 0.5), (0.35 + 0.18 * k, -1.22 - tall * 0.6))
        front.brush(line * (side, 1), 0.06, tone)


def spiky(back: Layer, front: Layer, n: Nuisance, tones: Tones) -> None:
    """Spikes all over."""
    tall, angle = between(0.26, 0.46, n.hair_volume), np.linspace(np.pi * 1.04, np.pi * 1.96, 17)
    reach = np.where(np.arange(17) % 2, 1.1 - tall * np.sin(angle), 0.96)
    tips = np.stack([np.cos(angle) * np.minimum(reach, 1.22) * 1.02, np.sin(angle) * reach * 1.22], axis=1)
    fringe = [(0.88, 0.2), (0.86, -0.42), (0.66, -0.54), (0.48, -0.82), (0.24, -0.54), (0, -0.84)]
    front.fill(np.concatenate([[(-1.05, 0.2)], tips, [(1.05, 0.2)], even(*fringe)]), tones.base)
    for x in (-0.55, -0.2, 0.2, 0.55):
        strands(front, tones.dark if x < 0 else tones.pale, 0.07, ((x, -0.85), (x * 1.1, -1.1), (x * 1.3, -1.3)))


def curly(back: Layer, front: Layer, n: Nuisance, tones: Tones) -> None:
    """Curls."""
    size = between(0.2, 0.27, n.hair_volume)
    for k, angle in enumerate(np.linspace(np.pi * 0.97, np.pi * 2.03, 12).tolist()):
        shade = 0.0 if k % 3 else 0.45
        front.fill(oval(np.cos(angle), np.sin(angle) * 1.14 - 0.08, size, size), mix(tones.base, tones.dark, shade))
    for k, angle in enumerate(np.linspace(np.pi * 1.15, np.pi * 1.85, 7).tolist()):
        shade = 0.0 if k % 2 else 0.25
        front.fill(oval(np.cos(angle) * 0.76, np.sin(angle) * 0.88 - 0.1, size, size), mix(tones.base, tones.dark, shade))
    for x, tone in ((-0.6, tones.dark), (-0.25, tones.pale), (0.12, tones.dark), (0.5, tones.pale)):
        y = -1.02 + 0.24 * x * x
        strands(front, tone, 0.05, ((x - 0.12, y), (x - 0.02, y - 0.12), (x + 0.11, y - 0.02), (x + 0.04, y + 0.08)))


def afro(back: Layer, front: Layer, n: Nuisance, tones: Tones) -> None:
    """A round cloud of hair."""
    size, angle = between(1.28, 1.5, n.hair_volume), np.linspace(0, 2 * np.pi, 120, endpoint=False)
    radius = size * (1 + 0.022 * np.cos(15 * angle))
    back.fill(np.stack([np.cos(angle) * radius, np.sin(angle) * radius * 0.98 - 0.42], axis=1), tones.base)
    line = even((1.0, -0.1), (0.84, -0.5), (0.5, -0.72), (0, -0.78))
    cap(front, size * 0.9 - 1.0, size - 0.98, line, tones.base, foot=-0.1)
    for k in range(11):
        turn, ring = 2.4 * k + 6 * n.hair_side, 0.86 + 0.16 * (k % 3)
        x, y = float(np.cos(turn)) * ring * 0.95, -abs(float(np.sin(turn))) * ring * 0.75 - 0.62
        strands(front, tones.pale if k % 2 else tones.dark, 0.05, ((x - 0.07, y), (x, y - 0.08), (x + 0.08, y - 0.01)))
