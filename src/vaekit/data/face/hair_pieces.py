"""What hairstyles are made of: three tones, a cap with a hairline, and strands."""

from typing import NamedTuple

import numpy as np

from .canvas import Colour, Layer, curve
from .traits import Nuisance

Points = list[tuple[float, float]]


class Tones(NamedTuple):
    base: Colour
    dark: Colour
    pale: Colour


def side_of(n: Nuisance) -> int:
    return -1 if n.hair_side < 0.5 else 1


def even(*half: tuple[float, float]) -> Points:
    """A symmetric hairline from right to left, given from the right ear to the middle."""
    return [*half, *[(-x, y) for x, y in reversed(half) if x]]


def parted(side: int, foot: float = 0.15) -> Points:
    """A hairline from right to left with the parting on one side."""
    line = [(0.9, foot), (0.88, -0.3), (0.72, -0.62), (0.42, -0.9), (-0.1, -0.78), (-0.62, -0.56), (-0.88, -0.28), (-0.9, foot)]
    return line if side > 0 else [(-x, y) for x, y in reversed(line)]


def cap(layer: Layer, thick: float, high: float, line: Points, colour: Colour, *, foot: float = 0.15) -> None:
    """Hair over the top of the head, `thick` at the sides and `high` above the crown, down to a hairline from right to left."""
    x, top = 1.0 + thick, -1.22 - high
    half = [(x - 0.05, foot), (x, -0.35), (0.9 * x, 0.68 * top), (0.52 * x, 0.93 * top), (0, top)]
    layer.fill(np.concatenate([curve(*even(*half))[::-1], curve(*line)]), colour)


def strands(layer: Layer, colour: Colour, width: float, *lines: tuple[tuple[float, float], ...]) -> None:
    for line in lines:
        layer.brush(curve(*line), width, colour)


def strands_both(layer: Layer, colour: Colour, width: float, *lines: tuple[tuple[float, float], ...]) -> None:
    """Strands and their mirror images."""
    strands(layer, colour, width, *lines)
    strands(layer, colour, width, *(tuple((-x, y) for x, y in line) for line in lines))
