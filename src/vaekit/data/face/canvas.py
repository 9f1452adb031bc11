"""What faces are drawn with: curves in face coordinates, a pose that places them, layers of flat colour, soft light over them.

Face coordinates: x to the right, y down; the head is centred on the origin and about 1 wide on each side, its crown is near
y = -1.2, its chin near y = 1.25. A part is a list of points (K, 2). Layers are drawn at OVERSAMPLE times the size or more and
reduced; light is smooth, so it is computed at the final size, S.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

OVERSAMPLE = 4
FINEST = 256  # pixels a side that small pictures are drawn at, where OVERSAMPLE would leave less

Colour = tuple[float, float, float]  # red, green, blue in 0 to 255
INK: Colour = (46, 28, 34)
WHITE: Colour = (252, 251, 248)


def mix(a: Colour, b: Colour, amount: float) -> Colour:
    return (a[0] + (b[0] - a[0]) * amount, a[1] + (b[1] - a[1]) * amount, a[2] + (b[2] - a[2]) * amount)


def along(stops: tuple[Colour, ...], u: float) -> Colour:
    """The colour at u in [0, 1] on the path through the stops."""
    place = u * (len(stops) - 1)
    first = min(int(place), len(stops) - 2)
    return mix(stops[first], stops[first + 1], place - first)


def apart(colour: Colour, ground: Colour, least: float = 42.0) -> Colour:
    """The colour, darkened where its lightness is too near that of its ground to be told from it."""
    lightness, under = (0.3 * c[0] + 0.59 * c[1] + 0.11 * c[2] for c in (colour, ground))
    if abs(lightness - under) >= least:
        return colour
    return mix(colour, (12, 6, 10), 1 - max(under - least, 14) / lightness)


def between(low: float, high: float, u: float) -> float:
    return low + (high - low) * u


@cache
def spline(knots: int, closed: bool, steps: int) -> np.ndarray:
    """The matrix (K, knots) that takes knots to points on their Catmull-Rom spline."""
    t = np.arange(steps)[:, None] / steps
    weights = np.hstack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3]) / 2
    segments = knots if closed else knots - 1
    matrix = np.zeros((segments, steps, knots))
    for segment in range(segments):
        for column, knot in enumerate(range(segment - 1, segment + 3)):
            matrix[segment, :, knot % knots if closed else min(max(knot, 0), knots - 1)] += weights[:, column]
    last = np.zeros((0 if closed else 1, knots))
    last[:, -1] = 1
    return np.concatenate([matrix.reshape(-1, knots), last])


def curve(*points: tuple[float, float], closed: bool = False, steps: int = 8) -> np.ndarray:
    """A smooth line (K, 2) through the points."""
    return spline(len(points), closed, steps) @ np.array(points)


@cache
def circle(steps: int = 24) -> np.ndarray:
    angle = np.arange(steps) * (2 * math.pi / steps)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def oval(x: float, y: float, wide: float, high: float, turn: float = 0.0) -> np.ndarray:
    points = circle() * (wide, high)
    if turn:
        cos, sin = math.cos(turn), math.sin(turn)
        points = points @ np.array([[cos, sin], [-sin, cos]])
    return moved(points, x, y)


def moved(points: np.ndarray, x: float, y: float) -> np.ndarray:
    return points + np.array((x, y))


def mirrored(points: np.ndarray) -> np.ndarray:
    return points * (-1, 1)


def symmetric(*points: tuple[float, float], steps: int = 8) -> np.ndarray:
    """A closed spline from the left half of an outline, listed from top to bottom, and its mirror image."""
    right = [(-x, y) for x, y in reversed(points) if x != 0]
    return curve(*points, *right, closed=True, steps=steps)


@dataclass(frozen=True)
class Pose:
    """Where the head is (fractions of the picture) and how it is turned.

    `yaw` and `pitch` slide the middle of the face over the head as a turn would, the outline stays. `roll` is in radians.
    """

    x: float
    y: float
    unit: float  # one face unit, in pictures
    roll: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0

    def place(self, points: np.ndarray) -> np.ndarray:
        """Face coordinates (K, 2) to fractions of the picture (K, 2)."""
        x, y = points[:, 0], points[:, 1]
        if self.yaw or self.pitch:
            bulge = np.maximum(1 - x * x * 0.86 - y * y * 0.6, 0)  # how near the point of the head is to the viewer
            x, y = x + self.yaw * bulge, y + self.pitch * bulge
        cos, sin = self.unit * math.cos(self.roll), self.unit * math.sin(self.roll)
        return np.stack([self.x + cos * x - sin * y, self.y + sin * x + cos * y], axis=1)

    def grid(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Where the pixels' centres lie, in upright face units from the middle of the head: x (1, S), y (S, 1)."""
        centres = (np.arange(size, dtype=np.float32) + 0.5) / size
        return ((centres - self.x) / self.unit)[None, :], ((centres - self.y) / self.unit)[:, None]


class Layer:
    """A transparent sheet of one pose to draw on; a later shape replaces what is under it."""

    def __init__(self, size: int, pose: Pose):
        self.size = size
        self.pose = pose
        self.shapes: list[np.ndarray] = []
        self.inks: list[tuple[int, int, int, int]] = []

    def fill(self, points: np.ndarray, colour: Colour, alpha: float = 1.0) -> None:
        red, green, blue = colour
        self.shapes.append(points)
        self.inks.append((int(red * alpha), int(green * alpha), int(blue * alpha), int(255 * alpha)))

    def both(self, points: np.ndarray, colour: Colour, alpha: float = 1.0) -> None:
        """Fill a shape and its mirror image."""
        self.fill(points, colour, alpha)
        self.fill(mirrored(points), colour, alpha)

    def brush(self, line: np.ndarray, width: float, colour: Colour, alpha: float = 1.0, taper: float = 1.0) -> None:
        """A stroke along a line (K, 2), `width` in the middle; at taper 1 it ends in points, at 0 it keeps its width."""
        z = line[:, 0] + 1j * line[:, 1]
        ahead = np.empty_like(z)
        ahead[1:-1] = z[2:] - z[:-2]
        ahead[0], ahead[-1] = z[1] - z[0], z[-1] - z[-2]
        half = ahead * (0.5j * width * swelling(len(z), taper) / abs(ahead))
        self.fill(np.concatenate([z + half, (z - half)[::-1]]).view(float).reshape(-1, 2), colour, alpha)

    def erase(self, points: np.ndarray) -> None:
        self.fill(points, (0, 0, 0), 0)

    def pixels(self) -> np.ndarray:
        """(4, S, S) float32 in 0 to 1, colour multiplied by alpha."""
        if not self.shapes:
            return np.zeros((4, self.size, self.size), np.float32)
        factor = max(OVERSAMPLE, math.ceil(FINEST / self.size))
        side = self.size * factor
        sheet = Image.new("RGBa", (side, side))  # holds colour multiplied by alpha, so that reducing it is exact
        pen = ImageDraw.Draw(sheet)
        corners = (self.pose.place(np.concatenate(self.shapes)) * side).ravel().tolist()  # all at once: many shapes are small
        start = 0
        for shape, ink in zip(self.shapes, self.inks, strict=True):
            stop = start + 2 * len(shape)
            pen.polygon(corners[start:stop], fill=ink)
            start = stop
        planes = np.asarray(sheet.reduce(factor)).transpose(2, 0, 1)
        return np.multiply(planes, np.float32(1 / 255), order="C")


@cache
def swelling(points: int, taper: float) -> np.ndarray:
    return 1 - taper + taper * np.sin(np.linspace(0, math.pi, points)) ** 0.6


def over(picture: np.ndarray, layer: np.ndarray) -> np.ndarray:
    """Lay a sheet (4, S, S) on a picture (3, S, S) or on another sheet."""
    return picture * (1 - layer[3]) + layer[: len(picture)]


SHADOW = np.array([0.64, 0.58, 0.66], np.float32)[:, None, None]
BRIGHT = np.array([1.09, 1.07, 1.03], np.float32)[:, None, None]


def lit(layer: np.ndarray, light: np.ndarray, gloss: np.ndarray | None = None) -> np.ndarray:
    """Light a sheet: `light` (S, S) runs from 0, a cool shadow, to 1, a warm light; `gloss` (S, S) adds white."""
    result = layer.copy()
    result[:3] *= SHADOW + (BRIGHT - SHADOW) * light
    if gloss is not None:
        result[:3] += gloss * layer[3]
    np.minimum(result[:3], layer[3], out=result[:3])
    return result


def cast(layer: np.ndarray, right: float, down: float, blur: float) -> np.ndarray:
    """The soft shadow (S, S) that a sheet throws: its alpha moved and blurred, all in fractions of the picture."""
    size = layer.shape[-1]
    alpha = Image.fromarray((layer[3] * 255).astype(np.uint8))
    shift = (1, 0, -right * size, 0, 1, -down * size)
    moved = alpha.transform((size, size), Image.Transform.AFFINE, shift, Image.Resampling.BILINEAR)
    return np.asarray(moved.filter(ImageFilter.BoxBlur(blur * size))) * np.float32(1 / 255)
