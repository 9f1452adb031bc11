"""Images of any kind made into RGB tiles and mosaics: 1, 3 or 4 channels, any height and width.

N images, R rows, C channels, S steps, H height, W width
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from ..errors import UsageError
from .style import DENSITY, MARGIN, PAGE

WIDE = PAGE - 2 * MARGIN  # page pixels there are for content
GAP = 2.0  # page pixels between tiles


def to_rgb(images: np.ndarray, axes: str, name: str = "images") -> np.ndarray:
    """(..., C, H, W) uint8, or float in [0, 1], as (..., H, W, 3) uint8; alpha is laid on white.

    `axes` names the axes that are expected, as in "N C H W". Raises UsageError for other shapes, types or ranges.
    """
    images = np.asarray(images)
    expected = axes.split()
    if images.ndim != len(expected) or images.shape[-3] not in (1, 3, 4) or 0 in images.shape:
        raise UsageError(
            f"{name} has the shape {images.shape}. "
            f"Expected ({', '.join(expected)}) with C = 1, 3 or 4 channels and no empty axis. "
            "Put the channels before height and width, and add the axes that are missing."
        )
    if np.issubdtype(images.dtype, np.floating):
        low, high = float(images.min()), float(images.max())
        if not (low >= -0.5 and high <= 1.5):  # also false for nan
            raise UsageError(
                f"{name} holds values from {low:g} to {high:g}. Expected float pixels in [0, 1]. "
                "Scale them to [0, 1], or give uint8 pixels."
            )
        images = np.rint(np.clip(images, 0, 1) * np.float32(255)).astype(np.uint8)
    elif images.dtype != np.uint8:
        raise UsageError(f"{name} holds {images.dtype}. Expected uint8, or float in [0, 1]. Convert the pixels first.")
    images = np.moveaxis(images, -3, -1)
    if images.shape[-1] == 1:
        return np.repeat(images, 3, axis=-1)
    if images.shape[-1] == 4:
        alpha = images[..., 3:].astype(np.uint16)
        return ((images[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return images


def same_count(count: int, name: str, values: Sequence | np.ndarray, of: str) -> None:
    """Raise UsageError unless there are `count` values."""
    if len(values) != count:
        raise UsageError(f"{name} has {len(values)} entries. Expected {count}, one for each {of}. Give both from the same batch.")


def fitted(height: int, width: int, room: float, target: float) -> tuple[int, int]:
    """The size in picture pixels of a tile of about `target` page pixels (the root of its area) that is at most `room` wide.

    Small images grow by a whole factor, so that their pixels stay square and equal; large ones shrink.
    """
    target, room = target * DENSITY, room * DENSITY
    scale = min(target / (height * width) ** 0.5, room / width, 3 * target / height)
    if scale >= 1:
        return int(scale) * height, int(scale) * width
    return max(1, round(height * scale)), max(1, round(width * scale))


def resized(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """(..., H, W, 3) as (..., height, width, 3): larger by repeating pixels, smaller by averaging them."""
    h, w = images.shape[-3:-1]
    if (h, w) == (height, width):
        return images
    if height % h == 0 and width % w == 0:
        return np.repeat(np.repeat(images, height // h, axis=-3), width // w, axis=-2)
    flat = [Image.fromarray(image).resize((width, height), Image.Resampling.BOX) for image in images.reshape(-1, h, w, 3)]
    return np.stack([np.asarray(image) for image in flat]).reshape(*images.shape[:-3], height, width, 3)


def plane_gap(height: int, width: int) -> float:
    """Page pixels between the tiles of a decoded plane: none, so that it reads as one surface, save where tiles are tiny."""
    return GAP if min(height, width) < 16 else 0


def mosaic(images: np.ndarray, gap: float = GAP) -> np.ndarray:
    """(R, S, h, w, 3) tiles on white, `gap` page pixels apart."""
    rows, columns, h, w, _ = images.shape
    gap = round(gap * DENSITY)
    canvas = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, 3), 255, np.uint8)
    for r in range(rows):
        for c in range(columns):
            y, x = r * (h + gap), c * (w + gap)
            canvas[y : y + h, x : x + w] = images[r, c]
    return canvas


def columns_for(n: int, height: int, width: int, room: float, target: float) -> tuple[int, int, int]:
    """How many columns n images take in `room` page pixels, and the tile's height and width in picture pixels."""
    h, w = fitted(height, width, room, target)
    most = max(1, int((room + GAP) // (w / DENSITY + GAP)))
    if n > most:
        even = [c for c in range(most, most // 2, -1) if n % c == 0]  # full rows, where there is a way
        return (even[0] if even else most), h, w
    h, w = fitted(height, width, min(room, (room + GAP) / n - GAP), min(2 * target, max(target, room / n)))
    return n, h, w
