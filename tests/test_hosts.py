"""Two hosts, as two network namespaces with a wire between them, train one model; a host or a wire that is lost ends no run."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from test_scaling import STEADY, TRAIN, same, vaekit, wait_for
from vaekit.run import Run

HURRIED = str(Path(__file__).parent / "hurried.py")
OPTIONS = (*TRAIN, *STEADY)


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


@dataclass
class Host:
    """A network namespace; its own end of the wire is called `wire`."""

    name: str
    address: str

    def start(self, rank: int, master: str, *command: str) -> subprocess.Popen:
        """torchrun with one process of the command, as on every other host but for `rank`."""
        options = ["--nnodes=2", "--nproc-per-node=1", f"--node-rank={rank}", "--rdzv-backend=c10d", "--rdzv-id=run"]
        meeting = [f"--rdzv-endpoint={master}:29400", f"--local-addr={self.address}", "--monitor-interval=0.1"]
        meeting += [f"--rdzv-conf=is_host={rank == 0}"]  # a namespace has no name of its own that torchrun could look up
        return subprocess.Popen(
            ["ip", "netns", "exec", self.name, sys.executable, "-m", "torch.distributed.run", *options, *meeting, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "wire"},
        )

    def kill(self) -> None:
        """As a loss of power: every process at once."""
        for pid in ip("netns", "pids", self.name).split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)

    def wire(self, state: str) -> None:
        ip("-n", self.name, "link", "set", "wire", state)


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    if shutil.which("ip") is None:
        pytest.skip("there is no `ip` command (Debian: apt-get install iproute2)")
    first, second = (Host(f"vaekit-{os.getpid()}-{i}", f"10.77.0.{i}") for i in (1, 2))
    try:
        ip("netns", "add", first.name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces cannot be made here: {error.stderr.strip()}")
    try:
        ip("netns", "add", second.name)
        ip("-n", first.name, "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", second.name)
        for host in (first, second):
            ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", "wire")
            ip("-n", host.name, "link", "set", "lo", "up")
            host.wire("up")
        yield first, second
    finally:
        for host in (first, second):
            with suppress(subprocess.CalledProcessError):  # the second one may never have come to be
                host.kill()
                ip("netns", "delete", host.name)


def start(hosts: tuple[Host, Host], *command: str) -> list[subprocess.Popen]:
    return [host.start(rank, hosts[0].address, HURRIED, *command) for rank, host in enumerate(hosts)]


def told(jobs: list[subprocess.Popen]) -> list[str]:
    """What each job wrote to stdout, once all have ended well."""
    found = [job.communicate(timeout=300) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], [errors for _, errors in found]
    return [out for out, _ in found]


def test_two_hosts_train_what_one_process_does(hosts, tmp_path):
    """To 1e-4 in every logged loss and in the weights; the first host writes the run folder and says where it is."""
    command = (*OPTIONS, "--images", "6400")
    assert told(start(hosts, *command, "--out", str(tmp_path / "two"))) == [f"{tmp_path / 'two'}\n", ""]
    assert vaekit(*command, "--out", str(tmp_path / "one")).code == 0
    same(tmp_path / "two", tmp_path / "one", rtol=1e-4, atol=1e-4)
    two, one = (Run(tmp_path / name).records for name in ("two", "one"))
    assert [record["images"] for record in two] == [record["images"] for record in one]
    assert [record["loss"] for record in two] == pytest.approx([record["loss"] for record in one], rel=1e-4)


@pytest.mark.parametrize("lost", ["host", pytest.param("wire", marks=pytest.mark.slow)])
def test_where_a_host_is_lost_the_other_says_so_and_the_same_command_goes_on(hosts, tmp_path, lost):
    run, command = tmp_path / "run", (*OPTIONS, "--images", "32000")
    jobs = start(hosts, *command, "--out", str(run))
    wait_for(run, images=3200)
    if lost == "host":
        hosts[1].kill()
    else:
        hosts[1].wire("down")
    _, errors = jobs[0].communicate(timeout=120)
    assert jobs[0].returncode == 1
    assert "error: Lost another of the 2 processes" in errors
    assert "run the same command again" in errors
    _, position = Run(run).load_state()
    assert 0 < position["images"] < 32000
    first = Run(run).records[0]
    hosts[1].kill()  # its torchrun asks the first host for minutes
    jobs[1].communicate(timeout=60)
    hosts[1].wire("up")
    told(start(hosts, *command, "--out", str(run)))
    records = Run(run).records
    assert records[0] == first  # with its clock's readings: it was not begun anew
    logged = [record["images"] for record in records if record["split"] == "train"]
    assert logged == sorted(set(logged))
    assert Run(run).description["status"] == "finished"
