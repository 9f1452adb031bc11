"""A batch is a function of the seed and the step, wherever the images are."""

import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from tiny import CPU, pictures
from vaekit.batches import Batches, mix
from vaekit.execution import Execution
from vaekit.train import train

FP32 = Execution(CPU)


def all_rows(batches: Batches, first: int, steps: int) -> list[np.ndarray]:
    return [batches.at(step).rows for step in range(first, first + steps)]


@given(st.integers(2, 40), st.integers(1, 50), st.integers(0, 3))
def test_an_epoch_visits_every_image_once(count, size, seed):
    rows = np.arange(100, 100 + count)
    batches = Batches(np.zeros((200, 1, 1, 1), np.uint8), rows, size, seed, CPU)
    assert batches.size == min(size, count)
    for epoch in range(2):
        seen = np.concatenate(all_rows(batches, epoch * batches.per_epoch, batches.per_epoch))
        assert len(set(seen)) == len(seen) > count - batches.size  # a rest too small for a batch waits for the next epoch
        assert set(seen) <= set(rows)


def test_a_batch_is_a_function_of_seed_and_step():
    pixels = pictures(30)
    rows = np.arange(0, 30, 2)
    one, other = (Batches(pixels, rows, 4, seed, CPU) for seed in (0, 1))
    forwards = all_rows(one, 0, 9)
    backwards = [one.at(step).rows for step in reversed(range(9))][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(forwards, all_rows(other, 0, 9), strict=True))
    assert not np.array_equal(forwards[0], one.at(one.per_epoch).rows)  # the next epoch has another order
    batch = one.at(5)
    assert batch.pixels.dtype == torch.uint8
    np.testing.assert_array_equal(batch.pixels.numpy(), pixels[batch.rows])


def gatherers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "vaekit-gather"]


def test_images_gathered_by_the_thread_are_those_that_would_have_been_resident(monkeypatch, tmp_path):
    np.save(tmp_path / "pixels.npy", pictures(21))
    pixels = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    rows = np.arange(3, 21)
    at_hand = Batches(pixels, rows, 4, 0, CPU)
    assert at_hand.resident is not None
    monkeypatch.setattr("vaekit.batches.SHARE_OF_MEMORY", 0.0)
    fetched = Batches(pixels, rows, 4, 0, CPU)
    assert fetched.resident is None
    here, there = at_hand.since(3), fetched.since(3)
    for _ in range(10):
        a, b = next(here), next(there)
        assert np.array_equal(a.rows, b.rows)
        assert torch.equal(a.pixels, b.pixels)
    assert len(gatherers()) == 1
    there.close()
    assert not gatherers()


@pytest.mark.usefixtures("too_big")
def test_an_error_while_gathering_surfaces_where_the_batch_is_asked_for():
    class Disk:
        shape = (12, 1, 2, 2)
        reads = 0

        def __getitem__(self, rows):
            self.reads += 1
            if self.reads > 2:
                raise OSError("the disk has gone")
            return np.zeros((len(rows), 1, 2, 2), np.uint8)

    stream = Batches(Disk(), np.arange(12), 4, 0, CPU).since(0)
    next(stream), next(stream)
    with pytest.raises(OSError, match="the disk has gone"):
        next(stream)
    assert not gatherers()


@pytest.mark.usefixtures("too_big")
def test_a_training_that_ends_leaves_no_thread_behind():
    state, settings = tiny.state(images=24)
    steps = list(train(state, Batches(pictures(20), np.arange(20), 8, 0, CPU), settings, FP32))
    assert [step.number for step in steps] == [1, 2, 3]
    assert not gatherers()


def test_mixed_seeds_have_no_neighbours():
    seeds = {mix(seed, step) for seed in range(20) for step in range(20)}
    assert len(seeds) == 400
    assert mix(1, 2) != mix(2, 1)
    assert all(0 <= seed < 2**63 for seed in seeds)
