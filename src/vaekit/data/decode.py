"""One picture: from the bytes of a file to those of pixels, by a recipe. H, W are the recipe's; Pillow writes sizes as (W, H).

The bytes are in the order (H, C, W), which is as near to (C, H, W) as Pillow comes at once.

Decoding needs no NumPy: its process starts in half the time without.
"""

import io
import warnings
from dataclasses import dataclass
from io import BufferedReader
from struct import Struct
from typing import TYPE_CHECKING

from PIL import Image, UnidentifiedImageError

from . import quarantine as q
from .jpeg import plain_frame, shrunk

if TYPE_CHECKING:
    import numpy as np

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM")
SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".pgm", ".ppm", ".pbm", ".pnm")
)
UNSUPPORTED_SUFFIXES = frozenset(
    (".heic", ".heif", ".avif", ".jxl", ".jp2", ".j2k", ".svg", ".psd", ".xcf", ".ico", ".tga", ".exr", ".hdr", ".eps", ".dng")
) | {".raw", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2"}
PIXEL_LIMIT = 100_000_000  # a picture with more pixels is taken for a decompression bomb
FILE_LIMIT = 256 << 20  # bytes: a file is read whole
ORIENTATION, BITS = 0x0112, 0x0102  # tags of EXIF and TIFF; orientations 5 to 8 swap height and width
PNG_CHUNK = Struct(">I4s")  # length, kind
PNG_NOTES = {b"eXIf": b"", b"iTXt": b"XML:com.adobe.xmp\0", **dict.fromkeys((b"tEXt", b"zTXt"), b"Raw profile type exif\0")}
BY_LINE = {1: "L", 3: "RGB;L", 4: "RGBA;L"}  # all red of a line, then all green, ...
GREY_MODES = ("1", "L", "LA", "La", "I", "F")
DEEP_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")


class Broken(Exception):
    """A picture that cannot be used: one of the quarantine's reasons, and the decoder's words."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Recipe:
    """What every picture becomes.

    `crop` is "center" (the largest centred window of the target's shape, then resized), "stretch" (resized, shape ignored) or
    "pad" (resized to fit, the rest black, or transparent with 4 channels). With 1 or 3 channels transparency lies on white.
    """

    height: int
    width: int
    channels: int
    crop: str = "center"

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, self.height, self.width

    @property
    def nbytes(self) -> int:
        return self.channels * self.height * self.width

    def array(self, data: bytes | memoryview) -> "np.ndarray":
        """Pictures (N, C, H, W) out of the bytes that `decode` makes of each."""
        import numpy as np

        lines = np.frombuffer(data, np.uint8).reshape(-1, self.height, self.channels, self.width)
        return np.ascontiguousarray(lines.transpose(0, 2, 1, 3))

    @property
    def mode(self) -> str:
        return {1: "L", 3: "RGB", 4: "RGBA"}[self.channels]


@dataclass(frozen=True)
class Header:
    """What a file says of itself before it is decoded."""

    height: int
    width: int
    grey: bool


def decode(data: bytes, recipe: Recipe) -> bytes:
    """The picture in `data` as the bytes of (H, C, W). Raises Broken with the reason where it cannot be used."""
    if not data:
        raise Broken(q.EMPTY)
    try:
        image = plain(data, recipe)
        if image is not None:
            return finished(image, recipe)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata; what harms the pixels it raises
            image = opened(data)
            check_range(image)
            if image.format == "PNG":
                opened(data).verify()  # a wrong checksum; the decoder alone would answer with black
            turned = orientation(image)
            draft(image, recipe, swapped=turned >= 5)
            image.load()
            if turned != 1:
                from PIL import ImageOps

                image = ImageOps.exif_transpose(image)
            return finished(image, recipe)
    except Broken:
        raise
    except Exception as error:  # noqa: BLE001 (on bad bytes a decoder may raise anything)
        raise Broken(*verdict(error)) from None


def finished(image: Image.Image, recipe: Recipe) -> bytes:
    """An 8-bit picture of the recipe's size and channels as the bytes of (H, C, W)."""
    return fitted(in_mode(image, recipe.mode), recipe).tobytes("raw", BY_LINE[recipe.channels])


def plain(data: bytes, recipe: Recipe) -> Image.Image | None:
    """The decoded picture where it is a plain JPEG and whole."""
    frame = plain_frame(data, PIXEL_LIMIT)
    if frame is None:
        return None
    return shrunk(data, frame, needed(frame.width, frame.height, recipe), grey=recipe.channels == 1)


def header(file: BufferedReader) -> Header:
    """Size as it will be shown, and whether it is grey, from the first bytes of a file. Raises Broken."""
    if frame := plain_frame(file.peek(), PIXEL_LIMIT):
        return Header(frame.height, frame.width, frame.mode == "L")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = opened(file)
        try:
            height, width = image.height, image.width
            swapped = ORIENTATION in getattr(image, "tag_v2", ())  # Pillow has done it for a TIFF's own tag
            if not swapped and (image.format != "PNG" or noted(file)) and orientation(image) >= 5:
                height, width = width, height
            return Header(height, width, is_grey(image))
        except Exception as error:  # noqa: BLE001
            raise Broken(*verdict(error)) from None


def opened(data: BufferedReader | bytes) -> Image.Image:
    from PIL import TiffImagePlugin, WebPImagePlugin  # noqa: F401 (else Pillow imports all formats to find these two)

    try:
        image = Image.open(io.BytesIO(data) if isinstance(data, bytes) else data, formats=FORMATS)
    except UnidentifiedImageError:
        raise Broken(q.NOT_IMAGE, "the bytes are of no format that vaekit reads") from None
    except Image.DecompressionBombError as error:
        raise Broken(q.BOMB, str(error)) from None
    except Exception as error:  # noqa: BLE001
        raise Broken(*verdict(error)) from None
    if image.width * image.height > PIXEL_LIMIT:
        raise Broken(q.BOMB, f"{image.width} x {image.height} pixels, the limit is {PIXEL_LIMIT:,}")
    return image


def check_range(image: Image.Image) -> None:
    """Raises Broken where nothing tells which value is white: a guess for one picture would be wrong for its neighbour."""
    tags = getattr(image, "tag_v2", None)
    if image.mode == "F":
        told = "float pixels have"
    elif tags is not None and image.mode == "I":
        told = "32-bit or signed pixels have"
    elif tags is not None and image.mode in DEEP_MODES and tags.get(BITS) == (12,):
        told = "12-bit pixels, stored as they are, have"
    else:
        return
    raise Broken(q.UNSUPPORTED, f"{told} no defined range; store unsigned 8 or 16 bits")


def verdict(error: Exception) -> tuple[str, str]:
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, Image.DecompressionBombError | MemoryError):
        return q.BOMB, text
    if text.startswith("conversion from"):
        return q.UNSUPPORTED, text
    cut = isinstance(error, EOFError) or any(word in text.lower() for word in ("truncated", "unexpected end", "not enough"))
    return (q.TRUNCATED if cut else q.CORRUPT), text


def orientation(image: Image.Image) -> int:
    if image.format == "JPEG" and not {"exif", "xmp"} & image.info.keys():
        return 1  # what `getexif` would find, without its cost
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception:  # noqa: BLE001 (a broken EXIF block does not make the pixels wrong)
        return 1


def noted(file: BufferedReader) -> bool:
    """Whether a PNG holds EXIF or XMP, before its pixels or behind them; without, `orientation` would decode it to know."""
    back = file.tell()
    file.seek(len(b"\x89PNG\r\n\x1a\n"))
    try:
        while len(head := file.read(PNG_CHUNK.size)) == PNG_CHUNK.size:
            length, kind = PNG_CHUNK.unpack(head)
            after = file.tell() + length + 4  # a checksum
            if kind in PNG_NOTES and file.read(len(PNG_NOTES[kind])) == PNG_NOTES[kind]:
                return True
            file.seek(after)
        return False
    finally:
        file.seek(back)


def draft(image: Image.Image, recipe: Recipe, swapped: bool) -> None:
    """Let the JPEG decoder shrink by 2, 4 or 8 as long as the picture stays as large as it is needed."""
    if image.format not in ("JPEG", "MPO"):
        return
    width, height = needed(image.height, image.width, recipe)[::-1] if swapped else needed(image.width, image.height, recipe)
    image.draft("L" if recipe.channels == 1 and image.mode == "RGB" else None, (width, height))


def needed(width: int, height: int, recipe: Recipe) -> tuple[int, int]:
    """The (width, height) below which a picture of this size loses something that the recipe keeps."""
    ratios = width / recipe.width, height / recipe.height
    if recipe.crop == "stretch":
        return recipe.width, recipe.height
    scale = min(ratios) if recipe.crop == "center" else max(ratios)
    return max(int(width / scale), 1), max(int(height / scale), 1)


def is_grey(image: Image.Image) -> bool:
    if image.mode in ("P", "PA"):
        palette = image.getpalette("RGB") or [0, 0, 0]
        return palette[::3] == palette[1::3] == palette[2::3]
    return image.mode in GREY_MODES or image.mode.startswith("I;")


def in_mode(image: Image.Image, mode: str) -> Image.Image:
    """The picture as 8-bit grey, RGB or RGBA; 16-bit grey is scaled, transparency lies on white unless it is wanted."""
    if image.mode in DEEP_MODES:
        image = image if image.mode == "I" else image.convert("I")
        image = image.point(lambda value: value * (1 / 257) + 128.5 / 257).convert("L")  # to the nearest; a half never occurs
    if mode == "RGBA":
        return image.convert("RGBA")
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image if image.mode == mode else image.convert("RGB").convert(mode)


def fitted(image: Image.Image, recipe: Recipe) -> Image.Image:
    """Cropped and resized with the Lanczos filter, in one pass."""
    target = recipe.width, recipe.height
    if image.size == target:
        return image
    if recipe.crop == "stretch":
        return image.resize(target, Image.Resampling.LANCZOS, reducing_gap=3.0)
    if recipe.crop == "pad":
        from PIL import ImageOps

        return ImageOps.pad(image, target, Image.Resampling.LANCZOS, color=0)
    scale = min(image.width / recipe.width, image.height / recipe.height)
    width, height = recipe.width * scale, recipe.height * scale
    left, top = (image.width - width) / 2, (image.height - height) / 2
    box = (left, top, min(left + width, image.width), min(top + height, image.height))
    if scale == 1:  # whole pixels: an unscaled window stays unblurred
        left, top = int(left), int(top)
        return image.crop((left, top, left + recipe.width, top + recipe.height))
    return image.resize(target, Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)
