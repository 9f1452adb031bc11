"""Takes a few steps with every variant, as one of the processes that torchrun started; the first prints all losses as JSON.

torchrun --nproc-per-node 2 tests/scaling.py plain shard compiled
"""

import json
import sys
from functools import cache
from pathlib import Path

import numpy as np
import torch

from conformance import VARIANTS
from tiny import CPU, known, pictures, training
from vaekit import shards, world
from vaekit.batches import Batches
from vaekit.execution import Execution
from vaekit.state import State
from vaekit.train import train, validate

STEPS, IMAGES = 3, 300  # more than one validation batch
STILL = "autoencoder optimal-gaussian"  # draws no noise, which a compiled step would draw anew
WAYS = {"plain": {}, "shard": {"shard": True}, "compiled": {"compile": "whole", "flip": False}}


def names(way: str) -> list[str]:
    """The variants that can go this way. Sharded weights give no gradient within a step, and nobody sees how large they are."""
    if way == "shard":
        return [name for name, make in VARIANTS.items() if not ((asks := make()[1]).pulls or asks.weighs)]
    return [STILL] if way == "compiled" else list(VARIANTS)


@cache
def curve(name: str, shard: bool = False, compile: str = "off", flip: bool = True) -> list[float]:
    """The losses of a few steps at a batch of 8, the length of the gradient, then the means of a validation."""
    torch.manual_seed(0)
    model, objective = VARIANTS[name]()
    settings = training(images=8 * STEPS, learning_rate=1e-3, flip=flip)
    pixels = pictures(IMAGES, model.image)
    c = known(model, IMAGES)
    state = State.start(model, objective, settings, CPU, shard)
    batches = Batches(pixels, np.arange(IMAGES), 8, 0, CPU, known=c)
    values = [step.values for step in train(state, batches, settings, Execution(CPU, compile=compile))]
    asked = state.average.eval(), objective, lambda part: (torch.from_numpy(pixels[part]), torch.from_numpy(c[part])), IMAGES
    checked = state.together(state.averaged, validate, *asked)
    return [value for step in values for value in step.values()] + list(checked.values())


def main() -> None:
    torch.set_num_threads(1)
    shards.UNIT = 100  # weights: as many units as a large net has
    with world.join():
        curves = {way: {name: curve(name, **WAYS[way]) for name in names(way)} for way in sys.argv[1:]}
        if world.here.first:
            sys.stdout.write(json.dumps(curves) + "\n")
    left = [name for name in threads() if "gloo" in name]
    if left:  # a thread of the group that outlives Python may abort the process
        raise SystemExit(f"threads of the group after its end: {left}")


def threads() -> list[str]:
    """Their names, where the system tells."""
    return [task.joinpath("comm").read_text().strip() for task in Path("/proc/self/task").glob("*")]


if __name__ == "__main__":
    main()
