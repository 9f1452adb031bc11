"""What steps computed since the last line of the log."""

import time
from typing import Any

import torch

from .train import Step


class Tally:
    """Means of what steps computed since the last line of the log, summed on the device, and the speed since then."""

    def __init__(self, count: int = 0, names: list[str] | None = None, sums: list[float] | None = None, images: int = 0):
        self.count, self.names, self.images = count, names or [], images
        self.sums = torch.tensor(sums or 0.0)  # fp32, as the steps are: a resumed log has the same digits
        self.steps: list[Step] = []  # that are not in the sums yet
        self.began, self.before = time.monotonic(), images

    def add(self, step: Step) -> None:
        self.steps.append(step)

    def flush(self) -> dict[str, float]:
        """The means and images per second; starts again from nothing."""
        self.sum_up()
        means = dict(zip(self.names, (self.sums / self.count).tolist(), strict=True))
        speed = (self.images - self.before) / max(time.monotonic() - self.began, 1e-9)
        self.__init__(images=self.images)
        return means | {"images_per_second": round(speed, 1)}

    def sum_up(self) -> None:
        for step in self.steps:
            self.sums = self.sums.to(step.tensor.device) + step.tensor
            self.count, self.names, self.images = self.count + 1, list(step.names), step.images
        self.steps.clear()

    def describe(self) -> dict[str, Any]:
        self.sum_up()
        return {
            "count": self.count,
            "names": self.names,
            "sums": self.sums.tolist() if self.count else None,
            "images": self.images,
        }
