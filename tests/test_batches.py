"""A batch is a function of the seed and the step, wherever the images are."""

import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from tiny import CPU, pictures
from vaekit import world
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


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("windowed", [True, False])
def test_a_row_that_is_there_several_times_is_visited_as_often_and_held_once(windowed, tmp_path):
    pixels, rows = mapped(tmp_path, 60), np.sort(np.r_[np.arange(3, 55), np.repeat([5, 40], 4)])
    batches = Batches(pixels, rows, 6, 0, CPU, windowed=windowed)
    seen = [batches.at(step) for step in range(batches.per_epoch)]
    np.testing.assert_array_equal(np.sort(np.concatenate([batch.rows for batch in seen])), rows)
    for batch in seen:
        np.testing.assert_array_equal(batch.pixels, pixels[batch.rows])
    assert batches.count == 52
    assert windowed or len(batches.resident) == 52


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


def mapped(folder, count: int) -> np.ndarray:
    """Pictures whose pixels say which they are, as a memory map."""
    pixels = np.zeros((count, 1, 2, 2), np.uint8)
    pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = np.divmod(np.arange(count), 256)
    pixels.tofile(folder / "pixels.u8")
    return np.memmap(folder / "pixels.u8", np.uint8, "r", shape=pixels.shape)


@pytest.fixture
def small_windows(monkeypatch):
    """Blocks of 4 pictures of 4 bytes, windows of 5 blocks."""
    monkeypatch.setattr("vaekit.windows.BLOCK_BYTES", 16)
    monkeypatch.setattr("vaekit.windows.WINDOW_BYTES", 80)


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("kept", ["a memory map", "an array", "a part of a memory map"])
@pytest.mark.parametrize(("count", "size"), [(97, 8), (97, 31), (3, 2), (20, 20), (41, 1)])
def test_windows_give_every_image_once_an_epoch_and_the_right_one(tmp_path, kept, count, size):
    whole = mapped(tmp_path, 200)
    pixels = {"a memory map": whole, "an array": np.array(whole), "a part of a memory map": whole[50:]}[kept]
    rows = np.sort(np.random.default_rng(0).permutation(150)[:count])
    batches = Batches(pixels, rows, size, 0, CPU, windowed=True)
    for epoch in range(2):
        steps = range(epoch * batches.per_epoch, (epoch + 1) * batches.per_epoch)
        found = [batches.at(step) for step in steps]
        seen = np.concatenate([batch.rows for batch in found])
        assert len(set(seen)) == len(seen) > count - size
        assert set(seen) <= set(rows)
        for batch in found:
            np.testing.assert_array_equal(batch.pixels.numpy(), np.array(pixels)[batch.rows])


@pytest.mark.usefixtures("small_windows")
def test_windows_are_shuffled_anew_each_epoch_and_are_a_function_of_seed_and_step(tmp_path):
    pixels, rows = mapped(tmp_path, 400), np.arange(400)
    one, twin, other = (Batches(pixels, rows, 10, seed, CPU, windowed=True) for seed in (0, 0, 1))
    forwards, backwards = all_rows(one, 0, 80), [twin.at(step).rows for step in reversed(range(80))][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert not np.array_equal(np.concatenate(forwards[:40]), np.concatenate(forwards[40:]))
    assert not np.array_equal(np.concatenate(forwards[:40]), np.concatenate(all_rows(other, 0, 40)))
    poorly_mixed = np.mean([len(set(rows // 4)) < 4 for rows in forwards])
    assert poorly_mixed < 0.1  # a batch of 10 has pictures of nearly all 5 blocks of its window


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("windowed", [True, False])
@pytest.mark.parametrize("size", [2, 4])
def test_several_processes_take_their_shares_and_hold_no_more(size, windowed, tmp_path, monkeypatch):
    pixels = mapped(tmp_path, 200)
    rows, options = np.arange(3, 190), {"windowed": windowed}
    alone = [Batches(pixels, rows, 8, 3, CPU, **options).at(step) for step in range(60)]
    monkeypatch.setattr(world.here, "size", size)
    for rank in range(size):
        monkeypatch.setattr(world.here, "rank", rank)
        mine = Batches(pixels, rows, 8, 3, CPU, **options)
        for step, whole in enumerate(alone):
            batch, share = mine.at(step), world.share(8)
            np.testing.assert_array_equal(batch.rows, whole.rows[share])
            assert torch.equal(batch.pixels, whole.pixels[share])
        if windowed:
            assert max(len(places) for places in mine.windows.plan.mine) <= 20 / size + 8 // size
        else:
            assert mine.mapped


@pytest.mark.usefixtures("small_windows")
def test_a_batch_is_the_same_whoever_asks_for_another_one_meanwhile():
    """As a look back at a step of the last epoch does, while a thread gathers batches of the next one."""
    pixels, rows = pictures(41), np.arange(41)
    alone, batches = (Batches(pixels, rows, 8, 0, CPU, windowed=True) for _ in range(2))
    steps = [0, batches.per_epoch]
    wanted = [alone.at(step).rows for step in steps]
    order, others = batches.windows.order, [threading.Thread(target=batches.at, args=(steps[1],))]
    started = list(others)

    def interrupted(epoch: int) -> np.ndarray:
        if epoch == 0 and others:
            other = others.pop()
            other.start()
            other.join(0.2)  # until it is through, where it need not wait
        return order(epoch)

    batches.windows.order = interrupted
    found = [batches.at(steps[0]).rows]
    started[0].join()
    found.append(batches.at(steps[1]).rows)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a, b)


def test_another_seed_has_a_lock_of_its_own():
    one = Batches(pictures(20), np.arange(20), 4, 0, CPU)
    assert one.reseeded(1).lock is not one.lock


def test_images_read_ahead_by_the_thread_are_those_of_the_steps(tmp_path):
    pixels, rows = mapped(tmp_path, 64), np.arange(3, 64)
    by_hand, streamed = (Batches(pixels, rows, 4, 0, CPU, windowed=True) for _ in range(2))
    stream = streamed.since(3)
    for step in range(3, 13):
        a, b = by_hand.at(step), next(stream)
        assert np.array_equal(a.rows, b.rows)
        assert torch.equal(a.pixels, b.pixels)
    assert len(gatherers()) == 1
    stream.close()
    assert not gatherers()


def test_pictures_that_do_not_fit_are_read_in_windows(monkeypatch):
    assert not Batches(pictures(20), np.arange(20), 4, 0, CPU).windowed
    monkeypatch.setattr("vaekit.batches.SHARE_OF_MEMORY", 0.0)
    assert Batches(pictures(20), np.arange(20), 4, 0, CPU).windowed


@pytest.mark.usefixtures("too_big")
def test_an_error_while_gathering_surfaces_where_the_batch_is_asked_for():
    class Disk:
        shape = (12, 1, 2, 2)

        def __getitem__(self, rows):
            raise OSError("the disk has gone")

    stream = Batches(Disk(), np.arange(12), 4, 0, CPU).since(0)
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
