"""Fixtures for all tests."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: workers side by side must not fight for the cores

settings.register_profile("vaekit", deadline=None, derandomize=True)  # no timed assertions, and a red run is red again
settings.load_profile("vaekit")


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """What tests decode and time stays out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAEKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def impatient():
    """Nobody waits for the disk: what a test writes need not outlast a power cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _descriptor: None)
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the real data sets, which VAEKIT_DATA names; skips where there is none."""
    home = Path(os.environ.get("VAEKIT_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not home.is_dir():
        pytest.skip("the real data sets are not here: VAEKIT_DATA names their folder")
    return home


@pytest.fixture
def quick(monkeypatch):
    """A training times nothing, logs every step, and leaves the process as it was."""
    import torch

    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    monkeypatch.setattr("vaekit.tuner.SECONDS_EACH", 1e-9)
    monkeypatch.setattr("vaekit.fitting.LOG_EVERY", 1)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture
def too_big(monkeypatch):
    """No image may stay on the device."""
    monkeypatch.setattr("vaekit.batches.SHARE_OF_MEMORY", 0.0)
