"""Requests of one moment share a pass, and each gets its own answer."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from vaekit.studio.batching import Batcher, Busy


def squares(rows: np.ndarray) -> np.ndarray:
    if (rows < 0).any():
        raise ValueError("a negative number")
    return rows**2


def together(make, work=squares, **options):
    """What `make(batcher)` says, and how many passes it took."""

    async def run():
        with ThreadPoolExecutor(1) as executor:
            batcher = Batcher(work, executor, **options)
            return await make(batcher), batcher.passes

    return asyncio.run(run())


def test_many_at_once_are_few_passes():
    rows = [np.full((1 + i % 3, 2), float(i)) for i in range(300)]

    async def ask(batcher):
        return await asyncio.gather(*map(batcher, rows))

    found, passes = together(ask, most=100)
    for given, answer in zip(rows, found, strict=True):
        np.testing.assert_array_equal(answer, given**2)
    assert passes <= 1 + -(-600 // 98)


def test_one_larger_than_a_pass_takes_several():
    rows = np.arange(50.0)[:, None]

    async def ask(batcher):
        return await batcher(rows)

    found, passes = together(ask, most=8)
    np.testing.assert_array_equal(found, rows**2)
    assert passes == 7


def test_a_small_one_does_not_wait_for_all_of_a_large_one():
    seen: list[float] = []

    def noted(rows: np.ndarray) -> np.ndarray:
        seen.append(rows[0, 0])
        return rows

    async def ask(batcher):
        large = asyncio.create_task(batcher(np.zeros((40, 1))))
        await asyncio.sleep(0)  # it was first
        await batcher(np.ones((1, 1)))
        assert not large.done()
        return await large

    found, passes = together(ask, noted, most=8)
    assert (len(found), passes, seen) == (40, 6, [0, 1, 0, 0, 0, 0])


def test_an_error_reaches_those_who_shared_the_pass_and_nobody_else():
    async def ask(batcher):
        good = await batcher(np.ones((1, 1)))
        bad = await asyncio.gather(batcher(-np.ones((1, 1))), return_exceptions=True)
        return good, bad, await batcher(2 * np.ones((1, 1)))

    (good, (bad,), later), _ = together(ask)
    assert (good.item(), later.item()) == (1, 4)
    assert isinstance(bad, ValueError)


def test_who_gave_up_is_left_out():
    async def ask(batcher):
        first = asyncio.create_task(batcher(np.ones((1, 1))))
        second = asyncio.create_task(batcher(np.ones((1, 1))))
        await asyncio.sleep(0)
        second.cancel()
        third = await batcher(3 * np.ones((1, 1)))
        return await first, third

    (first, third), _ = together(ask)
    assert (first.item(), third.item()) == (1, 9)


def test_too_much_is_refused_at_once():
    async def ask(batcher):
        some = [asyncio.create_task(batcher(np.ones((10, 1)))) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="Try again"):
            await batcher(np.ones((10, 1)))
        await asyncio.gather(*some)
        return await batcher(np.ones((10, 1)))

    found, _ = together(ask, queue=30)
    assert len(found) == 10


def test_rows_of_a_large_one_that_are_still_to_come_count_too():
    async def ask(batcher):
        large = asyncio.create_task(batcher(np.ones((25, 1))))
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await batcher(np.ones((10, 1)))
        await large
        return await batcher(np.ones((10, 1)))

    found, _ = together(ask, most=8, queue=30)
    assert len(found) == 10


def test_passes_come_in_few_lengths():
    lengths = set()

    def seen(rows: np.ndarray) -> np.ndarray:
        lengths.add(len(rows))
        return rows**2

    async def ask(batcher):
        return [await batcher(np.arange(n, dtype=float)[:, None]) for n in range(1, 120)]

    found, _ = together(ask, work=seen, most=100)
    for n, answer in enumerate(found, start=1):
        np.testing.assert_array_equal(answer[:, 0], np.arange(n) ** 2)
    assert lengths == {1, 2, 4, 8, 16, 32, 48, 64, 80, 96, 100}


def test_alone_means_alone():
    async def ask(batcher):
        return await asyncio.gather(*(batcher(np.ones((1, 1))) for _ in range(9)))

    _, passes = together(ask, most=1)
    assert passes == 9
