"""Grey pictures as black-and-white ones, by one of the field's protocols; figures of two protocols do not compare."""

from dataclasses import replace

import numpy as np

from .dataset import Dataset

BINARIZED = {
    "dynamic": (
        "dynamic binarisation: x ~ Bernoulli(pixel / 255), anew at every training step, once (seed 0) for what is measured "
        "(Salakhutdinov & Murray, 2008)"
    ),
    "static": "static binarisation: x ~ Bernoulli(pixel / 255), once (seed 0) for what is trained on and measured",
    "threshold": "thresholded: white from a grey value of 128 on",
}
DRAWN = 4096  # pictures at once
MIDDLE = 128  # the lowest grey value that is white by `threshold`


def binarized(data: Dataset, how: str = "dynamic", seed: int = 0) -> Dataset:
    """The data with every pixel 0 or 255, in memory, as they are measured under a protocol of `BINARIZED`.

    Of dynamic and static binarisation that is one draw: a picture's depends on its row and the seed alone.
    """
    pixels = np.empty(data.pixels.shape, np.uint8)
    for start in range(0, len(pixels), DRAWN):
        block = data.pixels[start : start + DRAWN]
        if how == "threshold":
            white = block >= MIDDLE
        else:
            white = 255 * np.random.default_rng([seed, start]).random(block.shape, np.float32) < block
        pixels[start : start + DRAWN] = np.where(white, 255, 0)
    return replace(data, pixels=pixels)


def trained_on(data: Dataset, how: str | None) -> Dataset:
    """The data as training takes its batches from them: grey where there is no protocol, or where every step draws anew."""
    return data if how in (None, "dynamic") else binarized(data, how)
