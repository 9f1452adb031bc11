"""Where memory runs out, a command says what was short and what helps."""

import numpy as np
import pytest
import torch

HUGE = 1 << 50  # bytes: more than an address of any machine can name

WAYS = {
    "of torch on this machine": (lambda: torch.empty(HUGE, dtype=torch.uint8), "on this machine: 1125899906842624 bytes more"),
    "of NumPy": (lambda: np.empty(HUGE, np.uint8), "on this machine: 1.00 PiB more"),
    "of a GPU": (
        lambda: fail(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has 79 GiB in all.")),
        "on the GPU: 20.00 GiB more",
    ),
    "of an Apple GPU": (
        lambda: fail(RuntimeError("MPS backend out of memory (MPS allocated: 9 GB). Tried to allocate 256 bytes.")),
        "on the GPU: 256 bytes more",
    ),
    "without a number": (lambda: fail(MemoryError()), "on this machine. Train"),
}


def fail(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("way", WAYS)
def test_too_little_memory_is_no_defect(vaekit, monkeypatch, way):
    allocate, words = WAYS[way]
    monkeypatch.setattr("vaekit.cli.data.opened", lambda *_, **__: allocate())
    said = vaekit("data", "check", "digits")
    assert said.code == 1
    assert f"There is too little memory {words}" in said.err
    assert "--batch-size" in said.err
    assert "--shard" in said.err


def test_other_errors_of_torch_stay_unexpected(monkeypatch, capsys):
    from vaekit import cli

    monkeypatch.setattr("vaekit.cli.data.opened", lambda *_, **__: fail(RuntimeError("shapes cannot be multiplied")))
    with pytest.raises(SystemExit) as stop:
        cli.main(["data", "check", "digits"])
    assert stop.value.code == 1
    assert "unexpected error: RuntimeError: shapes cannot be multiplied. A defect of vaekit" in capsys.readouterr().err
