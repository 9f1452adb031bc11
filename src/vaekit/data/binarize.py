"""Grey pictures as black-and-white ones, by one of the field's protocols; figures of two protocols do not compare."""

from dataclasses import replace
from itertools import pairwise
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from ..windows import rows_of
from .dataset import Dataset

BINARIZED = {
    "dynamic": (
        "dynamic binarisation: x ~ Bernoulli(pixel / 255), anew at every training step, once (seed 0) for what is measured "
        "(Salakhutdinov & Murray, 2008)"
    ),
    "static": "static binarisation: x ~ Bernoulli(pixel / 255), once (seed 0) for what is trained on and measured",
    "threshold": "thresholded: white from a grey value of 128 on",
}
DRAWN = 4096  # pictures for which one generator draws
AT_ONCE = 1 << 20  # pixel values drawn at once
HELD = 256 << 20  # bytes of pictures that are drawn once; of more, those that are asked for are drawn each time
MIDDLE = 128  # the lowest grey value that is white by `threshold`


class Drawn:
    """Pixels (N, C, H, W) of black and white, 0 and 255, made out of grey ones for the rows that are asked for.

    A picture's draw depends on its row and the seed alone, so it is the same in whatever company it is asked for.
    """

    def __init__(self, grey: np.ndarray, how: str, seed: int):
        self.grey, self.how, self.seed = grey, how, seed
        self.shape, self.dtype = grey.shape, np.dtype(np.uint8)
        self.values = int(np.prod(self.shape[1:]))  # of a picture

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Of an index, a slice, or indices (n,)."""
        asked = np.asarray(range(len(self))[rows] if isinstance(rows, int | slice) else rows)
        if asked.ndim > 1 or (asked.size and asked.dtype.kind not in "iu"):
            raise IndexError(f"Pictures of black and white are asked for by their rows, one or (n,); got {rows!r}.")
        places = np.atleast_1d(asked).astype(np.int64)
        places = np.where(places < 0, places + len(self), places)
        found = rows_of(self.grey, places)
        most = min(DRAWN, 1 << (max(AT_ONCE // self.values, 1).bit_length() - 1))  # it divides DRAWN
        cuts = np.flatnonzero((np.diff(places) != 1) | (places[1:] % most == 0)) + 1
        for begin, end in pairwise(sorted({0, *cuts.tolist(), len(places)})):  # rows that follow one another
            part = found[begin:end]
            white = part >= MIDDLE if self.how == "threshold" else 255 * self.noise(int(places[begin]), len(part)) < part
            part[...] = white * np.uint8(255)
        return found if asked.ndim else found[0]

    def noise(self, row: int, count: int) -> np.ndarray:
        """Numbers in [0, 1) for `count` pictures from a row on, within those of one generator, which draws for them in order."""
        first = row % DRAWN * self.values
        bits = np.random.PCG64([self.seed, row - row % DRAWN]).advance(first // 2)  # each time it gives 64 bits, for two numbers
        drawn = np.random.Generator(bits).random(first % 2 + count * self.values, np.float32)
        return drawn[first % 2 :].reshape(count, *self.shape[1:])


MADE: WeakKeyDictionary[Dataset, dict[tuple[str, int], Dataset]] = WeakKeyDictionary()


def binarized(data: Dataset, how: str = "dynamic", seed: int = 0) -> Dataset:
    """The data with every pixel 0 or 255, as they are measured under a protocol of `BINARIZED`; the same object at each call.

    Of dynamic and static binarisation that is one draw: a picture's depends on its row and the seed alone. The pixels of large
    data are no array but are indexed like one, see `Drawn`.
    """
    made = MADE.setdefault(data, {})
    if (how, seed) not in made:
        pixels: Any = Drawn(data.pixels, how, seed)
        made[how, seed] = replace(data, pixels=pixels[:] if len(data) * pixels.values <= HELD else pixels)
    return made[how, seed]


def trained_on(data: Dataset, how: str | None) -> Dataset:
    """The data as training takes its batches from them: grey where there is no protocol, or where every step draws anew."""
    return data if how in (None, "dynamic") else binarized(data, how)
