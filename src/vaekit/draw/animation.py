"""A morph or a walk as a moving picture: GIF or WebP."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import UsageError
from ..files import write_atomic
from .pixels import fitted, resized, to_rgb

SHORTEST = {"GIF": 20}  # ms of a frame: browsers show one that is to last less for 100


def animate(images: np.ndarray, *, size: int = 256, ping_pong: bool = False) -> list[Image.Image]:
    """Frames of images (S, C, H, W), about `size` pixels high and wide; `ping_pong` adds the way back.

    Small images are enlarged by a whole factor, so that their pixels stay square.
    """
    frames = to_rgb(images, "S C H W")
    h, w = frames.shape[1:3]
    if size < 1:
        raise UsageError(f"size is {size}. Expected 1 or more pixels. Use 256 for a picture on a page.")
    frames = resized(frames, *fitted(h, w, size, size / 2))
    pictures = [Image.fromarray(frame) for frame in frames]
    return pictures + pictures[-2:0:-1] if ping_pong else pictures


def save_animation(path: Path, images: Sequence[Image.Image], fps: float = 12) -> None:
    """Write frames to a .gif or .webp that runs for ever, `fps` frames a second (GIF rounds a frame to 1/100 s)."""
    kind = {".gif": "GIF", ".webp": "WEBP"}.get(path.suffix.lower())
    if kind is None:
        raise UsageError(f"The animation's name is {path.name!r}. Expected a name that ends in .gif or .webp. Change the ending.")
    made = animation(images, kind, fps)
    write_atomic(path, lambda out: out.write(made))


def animation(images: Sequence[Image.Image], kind: str, fps: float = 12) -> bytes:
    """The same as the bytes of a file; kind: GIF, of 50 frames a second at most, or WEBP."""
    if not images:
        raise UsageError("There are no frames. Expected one image or more. Give the images of a morph or a walk.")
    if not 0 < fps <= 100:
        raise UsageError(f"fps is {fps:g}. Expected more than 0 and at most 100 frames a second. Use 12 for a calm morph.")
    first, *rest = images
    options = {"lossless": True} if kind == "WEBP" else {"disposal": 1}
    file = BytesIO()
    first.save(
        file, kind, save_all=True, append_images=rest, duration=max(round(1000 / fps), SHORTEST.get(kind, 1)), loop=0, **options
    )
    return file.getvalue()
