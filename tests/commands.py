"""What the tests of the command line share."""

import json
from pathlib import Path
from typing import NamedTuple

from PIL import Image

QUICK = ["--epochs", "2", "--net", "mlp", "--batch-size", "16", "--threads", "1", "--precision", "fp32", "--compile", "off"]
SHAPES = ("circles", "squares")


class Said(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict:
        return json.loads(self.out)


def shape_of(path: str | Path) -> tuple[int, ...]:
    with Image.open(path) as image:
        image.load()
        return image.size
