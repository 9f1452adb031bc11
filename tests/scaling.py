"""Takes a few steps with every variant, as one of the processes that torchrun started; the first prints all losses as JSON.

torchrun --nproc-per-node 2 tests/scaling.py [--shard | --compiled]
"""

import json
import sys

import numpy as np
import psutil
import torch

from conformance import VARIANTS
from tiny import CPU, pictures, training
from vaekit import shards, world
from vaekit.batches import Batches
from vaekit.execution import Execution
from vaekit.state import State
from vaekit.train import train, validate

STEPS, IMAGES = 4, 600  # more than one validation batch
STILL = "autoencoder optimal-gaussian"  # draws no noise, which a compiled step would draw anew


def curve(name: str, shard: bool = False, compile: str = "off", flip: bool = True) -> list[float]:
    """The losses of a few steps at a batch of 8, the length of the gradient, then the means of a validation."""
    torch.manual_seed(0)
    model, objective = VARIANTS[name]()
    settings = training(images=8 * STEPS, learning_rate=1e-3, flip=flip)
    pixels = pictures(IMAGES, model.image)
    state, batches = State.start(model, objective, settings, CPU, shard), Batches(pixels, np.arange(IMAGES), 8, 0, CPU)
    values = [step.values for step in train(state, batches, settings, Execution(CPU, compile=compile))]
    asked = state.average.eval(), objective, lambda part: torch.from_numpy(pixels[part]), IMAGES
    checked = state.averaged(validate, *asked)
    return [value for step in values for value in step.values()] + list(checked.values())


def main() -> None:
    torch.set_num_threads(1)
    process = psutil.Process()
    threads = process.num_threads()
    shards.UNIT = 100  # weights: as many units as a large net has
    with world.join():
        if "--compiled" in sys.argv:
            curves = {STILL: curve(STILL, compile="whole", flip=False)}
        else:
            curves = {name: curve(name, "--shard" in sys.argv) for name in VARIANTS}
        if world.here.first:
            sys.stdout.write(json.dumps(curves) + "\n")
    if (
        "--compiled" not in sys.argv and process.num_threads() != threads
    ):  # the compiler keeps its own; a thread of the group that outlives Python may abort the process
        raise SystemExit(f"{process.num_threads()} threads after leaving the other processes, {threads} before meeting them")


if __name__ == "__main__":
    main()
