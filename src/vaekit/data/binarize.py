"""Grey pictures as black-and-white ones, drawn once, so that whoever measures on them measures on the same."""

from dataclasses import replace

import numpy as np

from .dataset import Dataset

DRAWN = 4096  # pictures at once


def binarized(data: Dataset, seed: int = 0) -> Dataset:
    """The data with every pixel 0 or 255, x ~ Bernoulli(pixel / 255), in memory (Salakhutdinov & Murray, 2008).

    A picture's draw depends on its row and the seed alone. This is the fixed side of dynamic binarisation: training draws anew at
    every step, validation and test are measured on this one draw.
    """
    pixels = np.empty(data.pixels.shape, np.uint8)
    for start in range(0, len(pixels), DRAWN):
        block = data.pixels[start : start + DRAWN]
        uniform = np.random.default_rng([seed, start]).random(block.shape, np.float32)
        pixels[start : start + DRAWN] = np.where(255 * uniform < block, 255, 0)
    return replace(data, pixels=pixels)
