"""One, two and four processes take the same steps; a process that dies takes nothing with it."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributed import HashStore

from commands import Said
from scaling import STILL, curve, names
from tiny import training
from vaekit import cli, world
from vaekit.errors import UsageError, VaekitError
from vaekit.execution import settle
from vaekit.run import Run

SCALING = str(Path(__file__).parent / "scaling.py")
COMPILER = shutil.which("c++") is not None
VAEKIT = ("-m", "vaekit")
SMALL = ("--set", "model.encoder.features=64", "model.posterior.features=64", "model.decoder.width=64")
TRAIN = ("train", "digits", "--no-report", "--net", "mlp", "--latent", "4", *SMALL, "--batch-size", "64", "--seed", "3")
STEADY = ("--deterministic", "--snapshot-seconds", "0.2")


def torchrun(processes: int, *command: str, restarts: int = 0) -> subprocess.Popen:
    """The command as several processes of one machine, torchrun's own way; one alone as anybody starts it."""
    options = ["--standalone", f"--nproc-per-node={processes}", f"--max-restarts={restarts}", "--monitor-interval=0.1"]
    several = ["-m", "torch.distributed.run", *options] if processes > 1 else []
    return subprocess.Popen(
        [sys.executable, *several, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def told(process: subprocess.Popen) -> str:
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return out


def vaekit(*command: str) -> Said:
    """The command in this process, which is afterwards as it was."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    out, errors = io.StringIO(), io.StringIO()
    try:
        with redirect_stdout(out), redirect_stderr(errors), pytest.raises(SystemExit) as stop:
            cli.main(list(command))
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
    return Said(stop.value.code, out.getvalue(), errors.getvalue())


Curves = dict[str, list[float]]


def curves(processes: int, *ways: str) -> dict[str, Curves]:
    """Those of so many processes, which go all ways in one start."""
    return json.loads(told(torchrun(processes, SCALING, *ways)).splitlines()[-1])


def compare(found: Curves, way: str) -> None:
    """Every variant of the conformance table: losses, terms, gradient norms and validations."""
    assert found.keys() == set(names(way))
    for name in found:
        np.testing.assert_allclose(found[name], curve(name), rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.fixture(scope="module")
def of_two() -> dict[str, Curves]:
    return curves(2, "plain", "shard", *["compiled"] * COMPILER)


@pytest.mark.parametrize("way", ["plain", "shard"])
def test_two_processes_take_the_steps_of_one(of_two, way):
    compare(of_two[way], way)


@pytest.mark.skipif(not COMPILER, reason="no compiler")
def test_two_processes_take_the_steps_of_one_where_one_would_compile_them_whole(of_two):
    """As a run does that one process began, and several go on with."""
    (found,) = of_two["compiled"].values()
    np.testing.assert_allclose(found, curve(STILL, flip=False), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("way", ["plain", pytest.param("shard", marks=pytest.mark.slow)])
def test_four_processes_take_the_steps_of_one(way):
    compare(curves(4, way)[way], way)


def test_a_process_that_never_comes_is_named(monkeypatch):
    monkeypatch.setattr(world, "PATIENCE", timedelta(seconds=0.2))
    with pytest.raises(VaekitError, match="Of the 3 processes, 1, 2 did not come within"):
        world.fresh(HashStore(), 0, 3)


def test_several_processes_are_not_asked_for_one_graph(monkeypatch):
    monkeypatch.setattr(world.here, "size", 2)
    with pytest.raises(UsageError, match="cannot take a step as one graph: give --compile on"):
        settle(training(images=8, compile="whole"))


def weights(folder: Path) -> dict[str, np.ndarray]:
    return {name: t.numpy() for name, t in Run(folder).load_model("cpu", last=True).state_dict().items()}


def same(a: Path, b: Path, **tolerance: float) -> None:
    ours, theirs = weights(a), weights(b)
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], err_msg=name, **tolerance)


WHOLE = (*TRAIN, *STEADY, "--images", "16000")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, str]:
    """A run of two processes that nothing disturbs, and what they say."""
    run = tmp_path_factory.mktemp("whole") / "run"
    return run, told(torchrun(2, *VAEKIT, *WHOLE, "--out", str(run)))


def test_the_same_command_trains_under_torchrun_and_says_its_result_once(whole, tmp_path):
    run, said = whole
    assert said.split() == [str(run)]
    assert vaekit(*WHOLE, "--out", str(tmp_path / "one")).code == 0
    same(run, tmp_path / "one", rtol=1e-3, atol=1e-4)


def test_a_killed_process_is_started_again_and_the_result_is_the_same(whole, tmp_path):
    """The job restarts from the last snapshot; on the same number of processes the result has the same bits."""
    run = tmp_path / "killed"
    job = torchrun(2, *VAEKIT, *WHOLE, "--out", str(run), restarts=1)
    wait_for(run, images=1600)
    first = Run(run).records[0]
    os.kill(children(job.pid)[-1], signal.SIGKILL)
    assert Run(run).description["status"] == "running"
    told(job)
    assert Run(run).records[0] == first  # with its clock's readings: it was not begun anew
    same(run, whole[0], rtol=0, atol=0)


@pytest.mark.parametrize("some", [pytest.param((), id="whole"), pytest.param(("--shard",), id="sharded", marks=pytest.mark.slow)])
def test_any_number_of_processes_goes_on_with_a_run(tmp_path, some):
    """Two, then one, then four, each stopped on the way; whether the several ones hold the weights whole or in pieces."""
    seldom = ("--deterministic", "--snapshot-seconds", "2")  # a stop saves anyway
    run, command = tmp_path / "moved", (*TRAIN, *seldom, "--images", "32000")
    for processes, options in ((2, some), (1, ())):
        job = torchrun(processes, *VAEKIT, *command, *options, "--out", str(run))
        wait_for(run, images=Run(run).reached["images"] + 3200)
        job.terminate()
        job.communicate(timeout=60)
        assert Run(run).description["status"] == "stopped"
    told(torchrun(4, *VAEKIT, *command, *some, "--out", str(run)))
    assert vaekit(*command, "--out", str(tmp_path / "alone")).code == 0
    same(run, tmp_path / "alone", rtol=1e-2, atol=1e-3)


def test_processes_share_the_work_of_a_bound(tmp_path):
    run = tmp_path / "run"
    train = ("train", "digits", "--recipe", "density", "--images", "2000", "--no-report", "--tune", "off", "--out", str(run))
    assert vaekit(*train).code == 0
    ask = ("evaluate", str(run), "--samples", "20", "--json")
    together = json.loads(told(torchrun(2, *VAEKIT, *ask)))["nll"]
    alone = vaekit(*ask).json["nll"]
    assert together["count"] == alone["count"]
    assert together["value"] == pytest.approx(alone["value"], abs=1e-4)
    assert together["interval"] == pytest.approx(alone["interval"], abs=1e-4)


def wait_for(run: Path, images: int) -> None:
    """Until a snapshot of a run has come so far."""
    end = time.monotonic() + 120
    while Run(run).reached["images"] < images:
        assert time.monotonic() < end, f"no snapshot after {images} images"
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    """The processes that torchrun started."""
    import psutil

    return [child.pid for child in psutil.Process(pid).children() if "vaekit" in " ".join(child.cmdline())]
