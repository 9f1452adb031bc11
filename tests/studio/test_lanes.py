"""So much work may wait, and no more."""

import asyncio
import threading

import pytest

from vaekit.studio.batching import Busy
from vaekit.studio.lanes import Lane


@pytest.fixture
def lane():
    made = Lane("test", most=2)
    yield made
    made.executor.shutdown()


def test_what_finds_no_place_is_refused_at_once_and_later_done(lane):
    go_on = threading.Event()

    async def ask():
        some = [asyncio.create_task(lane(go_on.wait, 60)) for _ in range(2)]
        await asyncio.sleep(0)  # they are under way
        with pytest.raises(Busy, match="Try again"):
            await lane(len, "abc")
        go_on.set()
        return await asyncio.gather(*some), await lane(len, "abc")

    assert asyncio.run(ask()) == ([True, True], 3)


def test_what_fails_leaves_its_place(lane):
    async def ask():
        for _ in range(5):
            with pytest.raises(ZeroDivisionError):
                await lane(divmod, 1, 0)

    asyncio.run(ask())
    assert lane.taken == 0


def test_who_holds_a_place_needs_no_other_one(lane):
    async def ask():
        with lane.place(), lane.place():
            return await lane.run(len, "abc")

    assert asyncio.run(ask()) == 3
