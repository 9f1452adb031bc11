"""The plain JPEG, decoded by Pillow without the tour that `Image.open` makes through its tables and notes.

Of a small one that tour is a third of the time. The pixels are those of `Image.open` and `draft`, to the bit, because the same
decoder makes them. Whatever is not plain, or not whole, is left to `decode`, which finds the words for it.
"""

from struct import Struct, error
from typing import NamedTuple

from PIL import Image

SEGMENT, FRAME = Struct(">HH"), Struct(">BHHB")  # marker, length; bits, height, width, layers
SCAN, JFIF, ICC = 0xFFDA, 0xFFE0, 0xFFE2
FRAMES = (0xFFC0, 0xFFC1, 0xFFC2)  # baseline, extended, progressive
TABLES = (0xFFC4, 0xFFDB, 0xFFDD, 0xFFFE)  # Huffman, quantization, restart interval; comments
NOTES = {JFIF: b"JFIF\0", ICC: b"ICC_PROFILE\0"}  # change no pixel
MODES = {1: "L", 3: "RGB"}


class Frame(NamedTuple):
    """What a plain JPEG says of itself; mode as Pillow names it."""

    width: int
    height: int
    mode: str


def plain_frame(data: bytes, most_pixels: int) -> Frame | None:
    """The frame, where a file's first bytes are those of a plain JPEG: grey or three layers of 8 bits, no EXIF or XMP, which may
    turn the picture, and no second picture in it."""
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    at, frame = 2, None
    try:
        while True:
            marker, length = SEGMENT.unpack_from(data, at)
            if marker == SCAN:
                return frame
            if marker in FRAMES:
                bits, height, width, layers = FRAME.unpack_from(data, at + 4)
                if frame or bits != 8 or layers not in MODES or not 0 < width * height <= most_pixels:
                    return None
                frame = Frame(width, height, MODES[layers])
            elif marker not in TABLES and not (length >= 16 and marker in NOTES and data.startswith(NOTES[marker], at + 4)):
                return None
            at += 2 + length
    except error:
        return None  # the header ends before its time


def shrunk(data: bytes, frame: Frame, wanted: tuple[int, int], grey: bool) -> Image.Image | None:
    """The picture at 1, 1/2, 1/4 or 1/8 of its size, as large as (width, height) `wanted` needs; None where it is not whole."""
    width, height, mode = frame
    scale = min(width // wanted[0], height // wanted[1])
    scale = next((its for its in (8, 4, 2) if scale >= its), 1)
    mode = "L" if grey else mode
    try:
        return Image.frombytes(mode, (-(-width // scale), -(-height // scale)), data, "jpeg", mode, "", scale, 0)
    except Exception:  # noqa: BLE001 (the careful way finds the words for it)
        return None
