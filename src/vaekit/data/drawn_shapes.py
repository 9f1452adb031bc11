"""The factor grid of dSprites (Matthey et al. 2017), drawn by code: one white shape on black, five independent factors.

The grid and the order of its factors are those of dSprites: 3 shapes x 6 scales x 40 orientations x 32 x 32 positions = 737,280
pictures. Two things differ on purpose: edges are anti-aliased, and the 40 orientations divide the circle evenly, so that none is
drawn twice (dSprites holds both 0 and 2 pi). A square therefore looks the same at orientations 10 apart and an ellipse at 20.
"""

from collections.abc import Sequence

import numpy as np

from vaekit.errors import UsageError

SHAPES = ("square", "ellipse", "heart")
FACTOR_NAMES = ("shape", "scale", "orientation", "x", "y")
FACTOR_SIZES = (3, 6, 40, 32, 32)
FACTOR_VALUES: tuple[np.ndarray, ...] = (
    np.arange(3.0),
    np.linspace(0.5, 1.0, 6),
    np.linspace(0.0, 2 * np.pi, 40, endpoint=False),
    np.linspace(0.0, 1.0, 32),
    np.linspace(0.0, 1.0, 32),
)

GRID = int(np.prod(FACTOR_SIZES))  # 737,280 pictures
SMALLEST = 24  # pixels
CHUNK = 512  # pictures drawn at once: small enough for the processor's cache


def draw_shapes(count: int | None = None, *, size: int = 64, seed: int = 0) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Draw `count` different points of the grid (20,000 when None), chosen at random: pixels, factors, factor names.

    Pixels are (N, 1, size, size) uint8. Factors are (N, 5) float32 real values: shape 0 square, 1 ellipse, 2 heart; scale 0.5 to
    1; orientation in radians, clockwise on the screen; x and y 0 to 1, left to right and top to bottom. A smaller count is a
    prefix of a larger one. Raises UsageError for a count outside 1 to 737,280, a size below 24 or a negative seed.
    """
    count = 20_000 if count is None else count
    if not 1 <= count <= GRID:
        raise UsageError(f"shapes: {count} pictures were asked for; the grid has {GRID:,}; give a count from 1 to {GRID}.")
    if seed < 0:
        raise UsageError(f"shapes: the seed is {seed}; it must not be negative; give 0 or more.")
    points = np.random.default_rng(seed).permutation(GRID)[:count]
    classes = np.stack(np.unravel_index(points, FACTOR_SIZES), axis=1)
    return render_shapes(classes, size=size), factor_values(classes), FACTOR_NAMES


def render_shape(classes: Sequence[int] | np.ndarray, *, size: int = 64) -> np.ndarray:
    """The picture (1, size, size) uint8 of one grid point, given as five class indices in the order of FACTOR_NAMES."""
    return render_shapes(np.asarray(classes)[None], size=size)[0]


def render_shapes(classes: np.ndarray, *, size: int = 64) -> np.ndarray:
    """The pictures (N, 1, size, size) uint8 of grid points (N, 5), given as class indices.

    Raises UsageError for indices outside the grid or a size below 24.
    """
    if size < SMALLEST:
        raise UsageError(
            f"shapes: the size is {size} pixels; a shape needs {SMALLEST} to be told from another; give {SMALLEST} or more."
        )
    classes = checked_classes(classes)
    pixels = np.zeros((len(classes), 1, size, size), np.uint8)
    for start in range(0, len(classes), CHUNK):
        chunk = slice(start, start + CHUNK)
        render_chunk(factor_values(classes[chunk]), pixels[chunk, 0])
    return pixels


def factor_values(classes: np.ndarray) -> np.ndarray:
    """Class indices (N, 5) to real values (N, 5) float32. Raises UsageError for indices outside the grid."""
    columns = zip(FACTOR_VALUES, checked_classes(classes).T, strict=True)
    return np.stack([values[column] for values, column in columns], axis=1).astype(np.float32)


def factor_classes(values: np.ndarray) -> np.ndarray:
    """Real values (N, 5) to the class indices (N, 5) int64 of the nearest grid point, as disentanglement metrics take them."""
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or values.shape[1] != len(FACTOR_NAMES):
        raise UsageError(
            f"shapes: the factor values have shape {values.shape}; (N, 5) was expected; give {', '.join(FACTOR_NAMES)}."
        )
    columns = zip(FACTOR_VALUES, values.T, strict=True)
    return np.stack([np.abs(column[:, None] - grid).argmin(1) for grid, column in columns], axis=1)


def checked_classes(classes: np.ndarray) -> np.ndarray:
    classes = np.asarray(classes)
    if classes.ndim != 2 or classes.shape[1] != len(FACTOR_NAMES) or not np.issubdtype(classes.dtype, np.integer):
        raise UsageError(
            f"shapes: grid points came as {classes.dtype} of shape {classes.shape}; integers (N, 5) were expected; "
            f"give class indices for {', '.join(FACTOR_NAMES)} (factor_classes makes them from real values)."
        )
    outside = ((classes < 0) | (classes >= FACTOR_SIZES)).any(1)
    if outside.any():
        raise UsageError(
            f"shapes: {classes[outside][0].tolist()} is not on the grid; indices run from 0 to below {FACTOR_SIZES}; "
            "give indices inside it."
        )
    return classes


def render_chunk(factors: np.ndarray, out: np.ndarray) -> None:
    """Draw real factors (N, 5) into black pictures (N, S, S), each in a small window around its shape."""
    size = out.shape[-1]
    shape, scale, angle, x, y = factors.T
    centre_x = size * (0.25 + (0.5 + 31 * x) / 64)  # one pixel a step at 64 x 64, a quarter of the picture left free on each side
    centre_y = size * (0.25 + (0.5 + 31 * y) / 64)
    reach = size // 4  # the corners of the largest square lie at 0.212 of the size
    window = np.arange(-reach, reach + 1)
    columns = np.floor(centre_x).astype(int)[:, None] + window  # (N, W)
    rows = np.floor(centre_y).astype(int)[:, None] + window
    unit = (0.15 * size * scale)[:, None, None]  # pixels in half a side of the square
    dx = (columns + 0.5 - centre_x[:, None])[:, None, :] / unit
    dy = (rows + 0.5 - centre_y[:, None])[:, :, None] / unit
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    u = (cos * dx + sin * dy).astype(np.float32)
    v = (cos * dy - sin * dx).astype(np.float32)
    distance = np.empty_like(u)
    for index, outline in enumerate((square, ellipse, heart)):
        these = shape == index
        distance[these] = outline(u[these], v[these])
    coverage = np.clip(0.5 - distance * unit, 0, 1)
    out[np.arange(len(out))[:, None, None], rows[:, :, None], columns[:, None, :]] = np.rint(255 * coverage)


# Signed distances to outlines about the origin, negative inside; the unit is half a side of the square, v points down.


def square(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.maximum(abs(u), abs(v)) - 1


def ellipse(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    wide, high = 1.3, 0.65
    f = np.hypot(u / wide, v / high)
    slope = np.hypot(u / wide**2, v / high**2) / np.maximum(f, 1e-6)
    return (f - 1) / np.maximum(slope, 1e-6)  # first order: exact to a hundredth of a pixel near the edge


def heart(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Two half circles on the upper sides of a square that stands on its corner."""
    u, v = abs(u) / 2.05, 0.658 - v / 2.05  # 0.658: the height of the centroid above the tip
    circle = np.hypot(u - 0.25, v - 0.75) - 0.125**0.5
    corner = np.minimum(np.hypot(u, v - 1), np.hypot(u - np.maximum(u + v, 0) / 2, v - np.maximum(u + v, 0) / 2))
    return 2.05 * np.where(u + v > 1, circle, corner * np.sign(u - v))
