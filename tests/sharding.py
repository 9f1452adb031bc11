"""Takes up a snapshot in pieces and saves it again, as one of torchrun's processes; the first prints what each of them holds.

torchrun --nproc-per-node 2 tests/sharding.py SNAPSHOT COPY
"""

import json
import sys
from pathlib import Path
from typing import Any

import tiny
from vaekit import shards, world
from vaekit.run import Follower, Run
from vaekit.shards import held
from vaekit.state import State


def begin(shard: bool = False) -> State:
    """A net whose widths no number of processes divides."""
    model = tiny.model(width=301, latent=7)
    return State.start(model, tiny.ELBO(), tiny.training(images=1000), tiny.CPU, shard)


def main() -> None:
    shards.UNIT = 10_000
    with world.join() as here:
        told = take_up(*map(Path, sys.argv[1:]))
        if here.first:
            sys.stdout.write(json.dumps(told) + "\n")


def take_up(source: Path, copy: Path) -> dict[str, Any]:
    """Holds the state, which must be gone before the processes part."""
    state = begin(shard=True)
    state.restore(*(Run(source).load_state() or ({}, {})))
    (Run if world.here.first else Follower)(copy).save_state(state.tensors(), state.position())
    units = sum(type(module).__name__.startswith("FSDP") for module in state.model.modules())
    return {"bytes": world.gathered(sum(held(tensor).nbytes for tensor in state.tensors().values())), "units": units}


if __name__ == "__main__":
    main()
