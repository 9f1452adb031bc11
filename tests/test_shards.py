"""Weights in pieces: what a process holds, what a snapshot is, and what cannot be sharded. Their steps are in test_scaling.py."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from sharding import begin
from test_scaling import told, torchrun
from tiny import CPU, pictures, training
from vaekit import world
from vaekit.batches import Batches
from vaekit.errors import UsageError
from vaekit.execution import Execution, check_sharding
from vaekit.objectives import ELBO, DReG
from vaekit.run import Run
from vaekit.stored import Stored, save_tensors
from vaekit.train import train

SHARDING = str(Path(__file__).parent / "sharding.py")


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory) -> Path:
    """A run with the snapshot of one process, after three steps."""
    path = tmp_path_factory.mktemp("alone")
    torch.manual_seed(0)
    state = begin()
    steps = train(state, Batches(pictures(40), np.arange(40), 8, 0, CPU), training(images=24), Execution(CPU))
    assert len(list(steps)) == 3
    Run(path).save_state(state.tensors(), state.position())
    return path


@pytest.mark.parametrize("processes", [2, 3])
def test_each_process_holds_its_share_and_together_they_save_the_same_file(snapshot, tmp_path, processes):
    (tmp_path / "copy").mkdir()
    about = json.loads(told(torchrun(processes, SHARDING, str(snapshot), str(tmp_path / "copy"))))
    file = Path("resume") / "state.safetensors"
    assert (tmp_path / "copy" / file).read_bytes() == (snapshot / file).read_bytes()
    assert about["units"] == 2  # a wide layer of each net
    tensors = Stored(snapshot / file)
    whole = sum(tensor.nbytes for tensor in tensors.values())
    rounding = sum(tensor.nbytes // max(len(tensor), 1) if tensor.dim() else tensor.nbytes for tensor in tensors.values())
    assert max(about["bytes"]) <= whole / processes + rounding


def test_a_file_has_the_bytes_that_safetensors_writes(tmp_path):
    kinds = (torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.int32, torch.uint8, torch.bool)
    tensors = {f"{kind}.{size}": torch.ones(size).to(kind) for kind in kinds for size in [(), (0,), (3, 5)]}
    tensors["a map"] = torch.randn(2, 3, 4, 4)
    for metadata in ({}, {"position": '{"über": "a\\n\\"b\\""}'}):
        save_tensors(tmp_path / "file", tensors, metadata)
        assert (tmp_path / "file").read_bytes() == save(tensors, metadata or None)
    read = Stored(tmp_path / "file")
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())


def test_what_cannot_be_sharded_is_said_with_a_way_out(monkeypatch):
    with pytest.raises(UsageError, match="torchrun"):
        check_sharding(training(images=8), ELBO())
    monkeypatch.setattr(world.here, "size", 2)
    check_sharding(training(images=8), ELBO())
    for given, way_out in (
        ({"compile": "whole"}, "--compile off"),
        ({"layout": "patches"}, "contiguous"),
        ({"batch_size": 0}, "Give"),
    ):
        with pytest.raises(UsageError, match=way_out):
            check_sharding(training(images=8, **given), ELBO())
    with pytest.raises(UsageError, match="DReG takes a gradient within the step"):
        check_sharding(training(images=8), DReG())
