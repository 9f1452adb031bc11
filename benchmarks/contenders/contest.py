"""The contest that every contender enters: three of pythae's networks, the pictures, and the clock.

A contender is a script: `python with_NAME.py TASK PICTURES.npy --seconds 8` trains and prints one line of JSON.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

BATCH = 128


@dataclass(frozen=True)
class Task:
    """A network and as many pictures as it is trained on, in whole batches."""

    name: str
    about: str
    image: tuple[int, int, int]  # (C, H, W)
    latent: int
    count: int
    parameters: int  # of pythae's own network

    def draw(self, seed: int = 0) -> np.ndarray:
        """Soft strokes on black, (count, C, H, W) uint8: how fast a step is does not depend on what the pictures show."""
        rng, (channels, height, width) = np.random.default_rng(seed), self.image
        pixels = np.empty((self.count, *self.image), np.uint8)
        rows, columns = np.arange(height), np.arange(width)
        for start in range(0, self.count, BATCH):
            place = rng.uniform(0.25, 0.75, (4, 2, BATCH * channels, 1)) * np.array([height, width])[:, None, None]
            size = rng.uniform(0.04, 0.15, (4, 2, BATCH * channels, 1)) * height
            y = np.exp(-(((rows - place[:, 0]) / size[:, 0]) ** 2))
            x = np.exp(-(((columns - place[:, 1]) / size[:, 1]) ** 2))
            strokes = np.einsum("kih,kiw->ihw", y, x).clip(0, 1) * 255
            pixels[start : start + BATCH] = strokes.reshape(BATCH, *self.image)
        return pixels


TASKS = {
    task.name: task
    for task in (
        Task("mlp", "MLP 784-512-16, 28 x 28", (1, 28, 28), 16, 468 * BATCH, 829_232),
        Task("conv28", "convolutional for MNIST, 28 x 28", (1, 28, 28), 16, 468 * BATCH, 17_232_033),
        Task("conv64", "convolutional for CelebA, 3 x 64 x 64", (3, 64, 64), 64, 16 * BATCH, 34_594_563),
    )
}


class Enough(Exception):
    """The clock has seen what it wanted."""


@dataclass
class Clock:
    """Images a second, over whole steps of a contender that is warm. `with clock:` lasts until it has seen enough."""

    seconds: float  # to measure
    warm: float = 3.0  # seconds after the first mark, which stands behind the first step and its compilation
    least: int = 3  # marks to measure, where a step takes seconds

    def __post_init__(self):
        self.marks, self.away, self.left = 0, 0.0, None
        self.first = self.start = self.last = (0.0, 0)

    def __enter__(self) -> "Clock":
        return self

    def __exit__(self, kind: type | None, *_: object) -> bool:
        return kind is Enough

    def leave(self) -> None:
        """What happens until `resume` is no training."""
        self.left = time.perf_counter()

    def resume(self) -> None:
        if self.left is not None:
            self.away += time.perf_counter() - self.left
            self.left = None

    def mark(self, images: int) -> None:
        """So many images were trained on by now. Raises Enough when all is measured."""
        now = (time.perf_counter() - self.away, images)
        if not self.marks:
            self.first = now
        elif not self.start[1]:
            if now[0] - self.first[0] >= self.warm and self.marks >= 2:
                self.start, self.marks = now, 0
        elif now[0] - self.start[0] >= self.seconds and self.marks >= self.least:
            self.last = now
            raise Enough
        self.marks += 1

    def read(self) -> dict[str, float]:
        seconds, images = self.last[0] - self.start[0], self.last[1] - self.start[1]
        return {"images_per_second": images / seconds, "seconds": round(seconds, 2), "images": images}


def enter(train: Callable[..., dict[str, Any]], tricks: tuple[str, ...] = ()) -> None:
    """Let `train(task, pixels, clock)` train `with clock`; prints its rate and what it returned: parameters and how.

    A contender with tricks is given the list of those that `--without` leaves it.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("pictures")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--without", nargs="*", choices=tricks, default=[])
    given = parser.parse_args()
    task, clock = TASKS[given.task], Clock(given.seconds)
    left = [[trick for trick in tricks if trick not in given.without]] if tricks else []
    about = train(task, np.load(given.pictures, mmap_mode="r"), clock, *left)
    if about["parameters"] != task.parameters:
        raise SystemExit(f"{given.task}: {about['parameters']} parameters; pythae's network has {task.parameters}.")
    print(json.dumps(clock.read() | about))
