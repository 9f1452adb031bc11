"""Pictures that a page uploads: how large they may be, and how many at once."""

import io

import numpy as np

from ..data.decode import Broken, Recipe, decode, header
from ..errors import DataError
from .lanes import Lane

UPLOADS = Lane("uploads", threads=2, most=8)  # each holds a file of up to guard.BODY bytes, two of them their pixels
MOST_PIXELS = 40_000_000  # fewer than a data set's pictures may have, which their owner chose


def picture_of(file: bytes, recipe: Recipe) -> np.ndarray:
    """The picture in a file, uint8 (1, C, H, W). Raises DataError where there is none, and where it has too many pixels."""
    try:
        if file:  # of nothing `decode` says what is wrong
            size = header(io.BufferedReader(io.BytesIO(file)))
            if size.height * size.width > MOST_PIXELS:
                told = f"That picture has {size.width:,} x {size.height:,} pixels, the limit is {MOST_PIXELS:,} together"
                raise DataError(f"{told}. Give a smaller copy.")
        return recipe.array(decode(file, recipe))
    except Broken as broken:
        detail = f" ({broken.detail})" if broken.detail else ""
        raise DataError(f"That is no good picture: {broken.reason}{detail}. Give a jpg, png, webp, bmp, gif or tiff.") from None
