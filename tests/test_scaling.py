"""One, two and four processes take the same steps; a process that dies takes nothing with it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from torch.distributed import HashStore

from conformance import VARIANTS
from scaling import STILL, curve
from vaekit import world
from vaekit.errors import VaekitError
from vaekit.run import Run

HERE = Path(__file__).parent


def torchrun(processes: int, *command: str, restarts: int = 0) -> subprocess.Popen:
    """The command as several processes of one machine, torchrun's own way."""
    options = ["--standalone", f"--nproc-per-node={processes}", f"--max-restarts={restarts}", "--monitor-interval=0.1"]
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *options, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def told(process: subprocess.Popen) -> str:
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return out


PULLING = {name for name, make in VARIANTS.items() if make()[1].pulls}  # which cannot be sharded
WAYS = [(2,), (4,), (2, "--shard"), pytest.param((4, "--shard"), marks=pytest.mark.slow)]


@pytest.fixture(scope="module", params=WAYS, ids=lambda how: " ".join(map(str, how)))
def shared_curves(request) -> dict[str, list[float]]:
    processes, *options = request.param
    return json.loads(told(torchrun(processes, str(HERE / "scaling.py"), *options)).splitlines()[-1])


def test_several_processes_take_the_steps_of_one(shared_curves):
    """Every variant of the conformance table: losses, terms, gradient norms and validations."""
    assert shared_curves.keys() >= VARIANTS.keys() - PULLING
    for name in shared_curves:
        np.testing.assert_allclose(shared_curves[name], curve(name), rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.skipif(shutil.which("c++") is None, reason="no compiler")
def test_several_processes_take_the_steps_of_one_where_one_would_compile_them_whole():
    """As a run does that one process began, and several go on with."""
    (found,) = json.loads(told(torchrun(2, str(HERE / "scaling.py"), "--compiled")).splitlines()[-1]).values()
    np.testing.assert_allclose(found, curve(STILL, flip=False), rtol=1e-3, atol=1e-3)


def test_a_process_that_never_comes_is_named(monkeypatch):
    monkeypatch.setattr(world, "PATIENCE", timedelta(seconds=0.2))
    with pytest.raises(VaekitError, match="Of the 3 processes, 1, 2 did not come within"):
        world.fresh(HashStore(), 0, 3)


def test_several_processes_are_not_asked_for_one_graph(tmp_path):
    process = torchrun(2, *TRAIN, "--images", "640", "--compile", "whole", "--out", str(tmp_path / "run"))
    errors = process.communicate(timeout=300)[1]
    assert process.returncode != 0
    assert "cannot take a step as one graph: give --compile on" in errors


TRAIN = ("-m", "vaekit", "train", "digits", "--no-report", "--net", "mlp", "--latent", "4", "--batch-size", "64", "--seed", "3")
STEADY = ("--deterministic", "--snapshot-seconds", "0.2")


def weights(folder: Path) -> dict[str, np.ndarray]:
    return {name: t.numpy() for name, t in Run(folder).load_model("cpu", last=True).state_dict().items()}


def same(a: Path, b: Path, **tolerance: float) -> None:
    ours, theirs = weights(a), weights(b)
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], err_msg=name, **tolerance)


def test_the_same_command_trains_under_torchrun_and_says_its_result_once(tmp_path):
    command = (*TRAIN, *STEADY, "--images", "12800")
    assert told(torchrun(2, *command, "--out", str(tmp_path / "two"))).split() == [str(tmp_path / "two")]
    subprocess.run([sys.executable, *command, "--out", str(tmp_path / "one")], check=True, capture_output=True)
    same(tmp_path / "two", tmp_path / "one", rtol=1e-3, atol=1e-4)


def test_a_killed_process_is_started_again_and_the_result_is_the_same(tmp_path):
    """The job restarts from the last snapshot; on the same number of processes the result has the same bits."""
    command = (*TRAIN, *STEADY, "--images", "16000")
    told(torchrun(2, *command, "--out", str(tmp_path / "whole")))
    job = torchrun(2, *command, "--out", str(tmp_path / "killed"), restarts=1)
    wait_for(tmp_path / "killed", images=3200)
    os.kill(children(job.pid)[-1], signal.SIGKILL)
    told(job)
    same(tmp_path / "killed", tmp_path / "whole", rtol=0, atol=0)


@pytest.mark.parametrize("some", [pytest.param((), id="whole"), pytest.param(("--shard",), id="sharded", marks=pytest.mark.slow)])
def test_any_number_of_processes_goes_on_with_a_run(tmp_path, some):
    """Two, then one, then four, each stopped on the way; whether the several ones hold the weights whole or in pieces."""
    seldom = ("--deterministic", "--snapshot-seconds", "2")  # a stop saves anyway
    run, command = tmp_path / "moved", (*TRAIN, *seldom, "--images", "16000")
    for processes, stop_at, options in ((2, 3200, some), (1, 6400, ()), (4, None, some)):
        job = torchrun(processes, *command, *options, "--out", str(run))
        if stop_at is None:
            told(job)
            continue
        wait_for(run, images=stop_at)
        job.terminate()
        job.communicate(timeout=60)
        assert Run(run).description["status"] in ("stopped", "running")
    told(torchrun(1, *command, "--out", str(tmp_path / "alone")))
    same(run, tmp_path / "alone", rtol=1e-2, atol=1e-3)


def test_processes_share_the_work_of_a_bound(tmp_path):
    run = tmp_path / "run"
    train = ("train", "digits", "--recipe", "density", "--images", "2000", "--no-report", "--tune", "off", "--out", str(run))
    subprocess.run([sys.executable, "-m", "vaekit", *train], check=True, capture_output=True)
    ask = ("-m", "vaekit", "evaluate", str(run), "--samples", "20", "--json")
    together = json.loads(told(torchrun(2, *ask)))["nll"]
    alone = json.loads(subprocess.run([sys.executable, *ask], check=True, capture_output=True).stdout)["nll"]
    assert together["count"] == alone["count"]
    assert together["value"] == pytest.approx(alone["value"], abs=1e-4)
    assert together["interval"] == pytest.approx(alone["interval"], abs=1e-4)


def wait_for(run: Path, images: int) -> None:
    """Until the log of a run has come so far."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        records = Run(run).records if (run / "log.jsonl").exists() else []
        if records and records[-1]["images"] >= images:
            return
        time.sleep(0.02)
    raise AssertionError(f"nothing logged after {images} images")


def children(pid: int) -> list[int]:
    """The processes that torchrun started."""
    import psutil

    return [child.pid for child in psutil.Process(pid).children() if "vaekit" in " ".join(child.cmdline())]
