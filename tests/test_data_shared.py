"""Several processes on the same data, and what they hold of them."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pictures import folder_of
from tiny import CPU, dataset
from vaekit.batches import Batches
from vaekit.data import folder as folders
from vaekit.data import index, open_data
from vaekit.data.dataset import pixel_hash
from vaekit.windows import Windows

COUNT, IMAGE = 500, (1, 64, 64)


@pytest.mark.parametrize(("rank", "early"), [(None, True), ("0", True), ("3", False)])
def test_of_torchruns_processes_one_starts_to_decode_before_it_holds_the_lock(tmp_path, monkeypatch, rank, early):
    begun = []

    class Pool(folders.Pool):
        def feed(self):
            begun.append(not self.queue)  # nothing is asked yet

    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", rank)
    monkeypatch.setattr(folders, "Pool", Pool)
    open_data(folder_of(tmp_path / "x", 70, height=8, width=8), cache=tmp_path / "cache")  # too few to start any
    assert any(begun) is early


def test_an_index_is_made_once_by_all_who_want_it(tmp_path, monkeypatch):
    folder, cache, made = folder_of(tmp_path / "x", 4), tmp_path / "cache", []
    first = open_data(folder, cache=cache)
    (kept,) = cache.glob("pixels/*/index-*.npz")
    kept.unlink()
    make = index.make_index
    monkeypatch.setattr(index, "make_index", lambda *given: made.append(given) or make(*given))
    with ThreadPoolExecutor(6) as several:
        found = list(several.map(lambda _: open_data(folder, cache=cache).digest, range(6)))
    assert (set(found), len(made)) == ({first.digest}, 1)
    assert not list(cache.rglob("*.tmp-*"))


# Memory


@pytest.fixture
def pixels(tmp_path) -> np.ndarray:
    np.random.default_rng(0).integers(0, 256, (COUNT, *IMAGE), np.uint8).tofile(tmp_path / "pixels.u8")
    return np.memmap(tmp_path / "pixels.u8", np.uint8, "r", shape=(COUNT, *IMAGE))


def held(pixels: np.ndarray) -> int:
    """Bytes of a memory map's file in this process's memory, rounded to kB. Skips where the system does not tell."""
    told = Path("/proc/self/smaps")
    if not told.exists():
        pytest.skip("no /proc/self/smaps")
    count, inside = 0, False
    for line in told.read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            inside = line.endswith(str(pixels.filename))
        elif inside and line.startswith("Rss:"):
            count += 1024 * int(line.split()[1])
    return count


def test_pictures_that_were_taken_are_not_held_twice(pixels):
    data = dataset(pixels=pixels)
    if not (pixels.sum() and held(pixels) >= pixels.nbytes // 2):
        pytest.skip("this system does not count mapped pages")
    rows = np.arange(COUNT)[::-1]
    for view in (pixels, pixels[5:], pixels.transpose(0, 1, 3, 2)):
        taken = dataset(pixels=view).take(rows[rows < len(view)])
        assert held(pixels) == 0
        np.testing.assert_array_equal(taken, np.array(view)[::-1])
    assert data.take([]).shape == (0, *IMAGE)


def test_hashing_and_copying_let_go_of_what_they_read(pixels):
    rows = np.arange(0, COUNT, 2)
    expected = np.array(pixels)
    turned = pixels.transpose(0, 1, 3, 2)  # not as the file has it
    for read in (
        lambda: pixel_hash(pixels),
        lambda: Batches(pixels, rows, 8, 0, CPU, windowed=False),
        lambda: Batches(turned, rows, 8, 0, CPU, windowed=True).at(0),
    ):
        assert pixels.sum() == expected.sum()
        read()
        assert held(pixels) == 0
    assert Windows(pixels, rows, 0).read(np.array([0]), np.array([0, 2]))[1].tolist() == expected[[0, 4]].tolist()


def test_a_map_that_may_be_written_to_keeps_what_was_written(tmp_path, pixels):
    private = np.memmap(tmp_path / "pixels.u8", np.uint8, "c", shape=pixels.shape)
    private[3] = 77
    assert (dataset(pixels=private).take([3, 3]) == 77).all()
    assert (private[3] == 77).all()
