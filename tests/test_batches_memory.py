"""How much memory is free, within the limits of containers and jobs."""

import math
from pathlib import Path

import numpy as np
import pytest

from tiny import CPU, pictures
from vaekit import batches
from vaekit.batches import fits, free_memory, left_by_groups

NO_LIMIT = 2**63 - 4096  # as version 1 writes it


def group(folder: Path, limit: object, held: int, idle: int, version: int = 2) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = batches.V1 if version == 1 else batches.V2
    for name, value in zip(names, (limit, held), strict=False):
        (folder / name).write_text(f"{value}\n")
    (folder / "memory.stat").write_text(f"anon 7\n{names[2]} {idle}\n{names[2]}_more 99\n")


@pytest.fixture
def told(tmp_path):
    """Write what /proc/self/cgroup says."""

    def write(text: str) -> Path:
        (tmp_path / "cgroup").write_text(text)
        return tmp_path / "cgroup"

    return write


def test_the_tightest_of_all_groups_around_a_process_counts(tmp_path, told):
    """As in a job of Slurm: its limit is that of a group above the step's own."""
    group(tmp_path / "slurm", 10_000, 6000, 500)
    group(tmp_path / "slurm" / "job_7", 8000, 5000, 2000)
    group(tmp_path / "slurm" / "job_7" / "step_0", "max", 5000, 2000)
    group(tmp_path / "slurm" / "job_8", 10, 10, 0)  # somebody else's
    assert left_by_groups(told("0::/slurm/job_7/step_0\n"), tmp_path) == 4500


def test_a_container_sees_its_own_group_at_the_top(tmp_path, told):
    group(tmp_path, 8000, 5000, 2000)
    assert left_by_groups(told("0::/\n"), tmp_path) == 5000


def test_a_group_of_version_1_under_a_path_that_only_the_host_has(tmp_path, told):
    group(tmp_path / "memory", 8000, 5000, 2000, version=1)
    group(tmp_path / "cpu", 1, 1, 0, version=1)
    assert left_by_groups(told("5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n1:name=systemd:/\n0::/x\n"), tmp_path) == 5000


def test_what_is_over_its_limit_has_nothing_left(tmp_path, told):
    group(tmp_path, 8000, 9000, 500)
    assert left_by_groups(told("0::/\n"), tmp_path) == 0


def test_without_a_limit_the_machine_is_the_limit(tmp_path, told):
    assert left_by_groups(tmp_path / "no Linux", tmp_path) == math.inf
    assert left_by_groups(told("0::/\n"), tmp_path) == math.inf  # the topmost group of a machine has no such files
    group(tmp_path / "memory", NO_LIMIT, 5000, 0, version=1)
    assert left_by_groups(told("4:memory:/\n"), tmp_path) > 1e18


def test_pictures_fit_where_the_container_has_room_for_them(monkeypatch):
    pixels = pictures(10)
    assert fits(pixels, np.arange(10), CPU)
    monkeypatch.setattr(batches, "left_by_groups", lambda: 4 * pixels.nbytes - 1)
    assert free_memory(CPU) == 4 * pixels.nbytes - 1
    assert not fits(pixels, np.arange(10), CPU)
