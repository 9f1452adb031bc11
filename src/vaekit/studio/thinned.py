"""Of a series that grows for days so many, evenly spaced.

Shapes: t states of the weights, n codes, pictures of H x W pixels and C channels.
"""

from typing import Generic, TypeVar

import numpy as np

T = TypeVar("T")
MOST_COLUMNS = 24  # states of the weights whose pictures are kept
MOST_BYTES = 32 << 20  # of these together


class Thinned(Generic[T]):
    """At most `most` of the items that were added, 2 or more: the first, each so many-th, and the last."""

    def __init__(self, most: int):
        self.most = most
        self.stride, self.count = 1, 0
        self.kept: list[T] = []  # each `stride`-th
        self.last: list[T] = []  # one item, once there is any

    def add(self, item: T) -> None:
        if self.count % self.stride == 0:
            self.kept.append(item)
        self.count, self.last = self.count + 1, [item]
        if len(self.kept) == self.most:
            self.kept, self.stride = self.kept[::2], 2 * self.stride

    @property
    def some(self) -> list[T]:
        """Those that are kept, in order."""
        is_kept = (self.count - 1) % self.stride == 0
        return [*self.kept, *([] if is_kept else self.last)]


class Columns:
    """Pictures of the same few codes by each state of the weights that was seen: of many states some."""

    def __init__(self) -> None:
        self.seen: Thinned[tuple[int, np.ndarray]] = Thinned(MOST_COLUMNS)

    def add(self, images: int, pictures: np.ndarray) -> None:
        """Pictures (n, H, W, C), uint8, by weights that have seen so many images; a second time they are left out."""
        if not len(pictures):
            return
        before, like = self.seen.last[0] if self.seen.last else (-1, pictures)
        if images < before or like.shape != pictures.shape or before < 0:  # the first ones, or another training in this folder
            self.seen = Thinned(max(2, min(MOST_COLUMNS, MOST_BYTES // pictures.nbytes)))
        elif images == before:
            return
        self.seen.add((images, pictures))

    @property
    def all(self) -> tuple[list[int], np.ndarray]:
        """How many images the weights of each column had seen, and uint8 (t, n, H, W, C)."""
        some = self.seen.some
        if not some:
            return [], np.empty((0,) * 5, np.uint8)
        return [images for images, _ in some], np.stack([pictures for _, pictures in some])
