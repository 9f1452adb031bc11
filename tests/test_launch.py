"""The script of `vaekit launch slurm`, run by bash with a Slurm of two commands: what it does is done by torchrun and vaekit."""

import os
import signal
import subprocess
import sys

import pytest

from test_scaling import STEADY, TRAIN, wait_for
from vaekit.run import Run

SLURM = {
    "srun": '#!/bin/bash\n[[ $1 == --cpus-per-task=* ]] && shift\nexec "$@"\n',  # it passes signals on to its tasks
    "scontrol": '#!/bin/bash\n[ "$1" = show ] && echo localhost || echo "$@" >> "$REQUEUED"\n',
}


def launch(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "vaekit", "launch", "slurm", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def cluster(tmp_path):
    """How a job runs there: script -> process."""
    for name, text in SLURM.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    job = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_NODELIST": "localhost"}
    place = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "REQUEUED": str(tmp_path / "requeued")}

    def submit(script):
        return subprocess.Popen(["bash", str(script)], env=os.environ | job | place, stderr=subprocess.PIPE, text=True)

    return submit


def test_a_job_whose_time_is_up_is_queued_again_and_goes_on(tmp_path, cluster):
    script, run, requeued = tmp_path / "job.sh", tmp_path / "run", tmp_path / "requeued"
    train = (*TRAIN, *STEADY, "--images", "32000", "--out", str(run))
    made = launch("--processes", "2", "--cpus", "2", "--script", str(script), "--", *train)
    assert made.returncode == 0, made.stderr
    job = cluster(script)
    wait_for(run, images=3200)
    job.send_signal(signal.SIGUSR1)  # as Slurm does when the time is nearly up
    _, errors = job.communicate(timeout=120)
    assert job.returncode == 0, errors
    assert requeued.read_text().split() == ["requeue", "4711"]
    assert Run(run).description["status"] == "stopped"
    first = Run(run).records[0]
    job = cluster(script)
    _, errors = job.communicate(timeout=240)
    assert job.returncode == 0, errors
    assert Run(run).description["status"] == "finished"
    assert Run(run).records[0] == first  # with its clock's readings: it was not begun anew
    assert len(requeued.read_text().splitlines()) == 1


def test_a_job_that_is_cancelled_saves_and_is_not_queued_again(tmp_path, cluster):
    script, run = tmp_path / "job.sh", tmp_path / "run"
    script.write_text(launch("--", *TRAIN, *STEADY, "--images", "640000", "--out", str(run)).stdout)
    job = cluster(script)
    wait_for(run, images=3200)
    job.send_signal(signal.SIGTERM)
    job.communicate(timeout=120)
    assert job.returncode != 0
    assert not (tmp_path / "requeued").exists()
    assert Run(run).description["status"] == "stopped"


def test_what_is_asked_of_slurm():
    asked = ("--nodes", "4", "--gpus", "8", "--cpus", "64", "--time", "2-12:00:00", "--partition", "long", "--account", "me")
    text = launch(*asked, "--", "train", "a folder", "--out", "runs/x").stdout
    for line in (
        "nodes=4",
        "gpus-per-node=8",
        "cpus-per-task=64",
        "time=2-12:00:00",
        "signal=B:USR1@120",
        "requeue",
        "partition=long",
    ):
        assert f"#SBATCH --{line}\n" in text
    assert "--nproc-per-node=8" in text
    assert "OMP_NUM_THREADS=8" in text
    assert "TORCH_ELASTIC_SHUTDOWN_TIMEOUT=120 " in text  # torchrun alone would kill what saves for longer than 30 s
    assert "train 'a folder' --out runs/x" in text
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Nothing followed it"),
        (["--", "plot", "RUN"], "'plot' is none of them"),
        (["--", "train", "DATA"], "must find its own run"),
        (["--time", "a day", "--", "resume", "RUN"], "no limit that Slurm reads"),
        (["--gpus", "-1", "--", "resume", "RUN"], "--gpus is -1"),
        (["--processes", "9", "--cpus", "8", "--", "resume", "RUN"], "9 processes on 8 processor threads"),
    ],
)
def test_mistakes(arguments, told):
    found = launch(*arguments)
    assert found.returncode == 2
    assert told in found.stderr


def test_a_script_is_not_overwritten(tmp_path):
    (tmp_path / "job.sh").write_text("mine")
    found = launch("--script", str(tmp_path / "job.sh"), "--", "resume", "RUN")
    assert found.returncode == 2
    assert (tmp_path / "job.sh").read_text() == "mine"
