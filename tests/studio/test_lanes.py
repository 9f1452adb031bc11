"""So much work may wait, and no more."""

import asyncio
import io
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from studio.conftest import wait_for
from vaekit.studio.api import FILMS, PNGS, as_json, as_png, filmed, finite
from vaekit.studio.batching import Busy
from vaekit.studio.lanes import Lane
from vaekit.studio.nearest import NEAR
from vaekit.studio.shown import ANSWERS, moved, way

RUN = "/api/runs/shapes"
TWO = [[0, 0, 0, 0], [1, 1, 1, 1]]
WORK = {"moved": moved, "way": way, "finite": finite, "as_json": as_json, "as_png": as_png, "filmed": filmed}
ASKED = {
    "edit": ({"z": TWO, "add": {"Dark": 1}}, {"moved", "finite", "as_json"}),
    "morph": ({"z": TWO, "steps": 3}, {"way", "finite", "as_json"}),
    "sample": ({"n": 2}, {"finite", "as_json"}),
    "neighbours": ({"z": TWO}, {"as_json"}),
    "decode?form=json": ({"z": TWO}, {"as_json"}),
    "decode?form=png": ({"z": TWO}, {"as_png"}),
    "film": ({"z": TWO}, {"filmed"}),
    "pictures/0": (None, {"as_png"}),
}


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


@pytest.fixture
def threads(client, monkeypatch) -> dict[str, str]:
    """Which thread did what, by names."""
    found: dict[str, str] = {}

    def heard(name: str):
        def work(*given):
            found[name] = threading.current_thread().name.partition("_")[0]
            return WORK[name](*given)

        return work

    client.get(f"{RUN}/manifest")
    for name in WORK:
        monkeypatch.setattr(f"vaekit.studio.{'shown' if name in ('moved', 'way') else 'api'}.{name}", heard(name))
    return found


@pytest.mark.parametrize("where", ASKED)
def test_what_takes_long_is_done_in_threads_of_its_own(client, threads, where):
    """Not in the event loop's, where all others wait for it, nor in those that Python shares."""
    body, work = ASKED[where]
    got = client.get(f"{RUN}/{where}") if body is None else client.post(f"{RUN}/{where}", json=body)
    assert got.status_code == 200
    assert threads.keys() == work
    assert set(threads.values()) <= {"answers", "films", "pngs"}


@pytest.mark.parametrize(("where", "its"), [("edit", ANSWERS), ("morph", ANSWERS), ("film", FILMS), ("neighbours", NEAR)])
def test_where_no_place_is_left_nothing_is_computed(client, threads, monkeypatch, where, its):
    monkeypatch.setattr("vaekit.studio.shown.Shown.decode", None)
    monkeypatch.setattr(its, "taken", its.most)
    assert client.post(f"{RUN}/{where}", json=ASKED[where][0]).status_code == 429
    assert not threads


def test_films_hold_up_nobody_else_and_only_so_many_wait(client, monkeypatch):
    go_on = threading.Event()

    def slow(*given):
        go_on.wait(60)
        return filmed(*given)

    def ask(where: str) -> int:
        body = ASKED[where][0]
        return (client.get(f"{RUN}/{where}") if body is None else client.post(f"{RUN}/{where}", json=body)).status_code

    monkeypatch.setattr("vaekit.studio.api.filmed", slow)
    with ThreadPoolExecutor(FILMS.most) as people:
        try:
            waiting = [people.submit(ask, "film") for _ in range(FILMS.most)]
            wait_for(lambda: FILMS.taken == FILMS.most)
            assert {where: ask(where) for where in ASKED} == {where: 429 if where == "film" else 200 for where in ASKED}
        finally:
            go_on.set()
        assert [its.result() for its in waiting] == [200] * FILMS.most
    assert (FILMS.taken, ANSWERS.taken, PNGS.taken) == (0, 0, 0)


def test_a_film_is_as_fast_as_browsers_show_one(client):
    for fps, lasts in ((60, 20), (12, 80)):
        film = Image.open(io.BytesIO(client.post(f"{RUN}/film", json={"z": TWO, "fps": fps}).content))
        assert film.info["duration"] == lasts


def test_an_answer_has_so_many_numbers_of_codes(client, monkeypatch):
    monkeypatch.setattr("vaekit.studio.shown.MOST_NUMBERS", 40)
    for where, most, more in (
        ("sample", {"n": 10}, {"n": 11}),
        ("morph", {"z": TWO, "steps": 10}, {"z": TWO, "steps": 11}),
        ("edit", {"z": TWO * 5, "add": {}}, {"z": TWO * 6, "add": {}}),
    ):
        assert client.post(f"{RUN}/{where}", json=most).status_code == 200
        got = client.post(f"{RUN}/{where}", json=more)
        assert got.status_code == 422
        assert "10 at most" in got.json()["error"]
