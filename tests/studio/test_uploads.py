"""Pictures that are uploaded are not too large, and not too many at once."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pictures import encoded, png_claiming
from studio.conftest import wait_for
from vaekit.data.decode import PIXEL_LIMIT
from vaekit.studio import Wish
from vaekit.studio.shown import Changed, shown_of
from vaekit.studio.uploads import MOST_PIXELS, UPLOADS, picture_of

ENCODE = "/api/runs/shapes/encode"
RAW = {"content-type": "application/octet-stream"}


def test_a_picture_that_a_data_set_may_have_is_too_large_here(client):
    assert MOST_PIXELS < 8000 * 6000 < PIXEL_LIMIT
    got = client.post(ENCODE, content=png_claiming(8000, 6000), headers=RAW)
    assert got.status_code == 422
    assert "8,000 x 6,000 pixels, the limit is 40,000,000" in got.json()["error"]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_files_of_every_kind_have_a_limit(client, monkeypatch, kind):
    monkeypatch.setattr("vaekit.studio.uploads.MOST_PIXELS", 1000)
    for height, width, status in ((25, 40, 200), (40, 26, 422)):
        got = client.post(ENCODE, content=encoded(1, kind, height, width), headers=RAW)
        assert got.status_code == status
        assert ("limit is 1,000" in got.text) == (status == 422)


def test_the_ninth_that_would_wait_is_refused(client, monkeypatch):
    go_on, file = threading.Event(), encoded(1)

    def slow(*given):
        go_on.wait(60)
        return picture_of(*given)

    def upload() -> int:
        return client.post(ENCODE, content=file, headers=RAW).status_code

    monkeypatch.setattr("vaekit.studio.shown.picture_of", slow)
    with ThreadPoolExecutor(UPLOADS.most) as people:
        try:
            waiting = [people.submit(upload) for _ in range(UPLOADS.most)]
            wait_for(lambda: UPLOADS.taken == UPLOADS.most == 8)
            assert upload() == 429
        finally:
            go_on.set()
        assert [its.result() for its in waiting] == [200] * 8
    assert upload() == 200


def test_a_code_of_weights_that_were_replaced_meanwhile_is_not_given(place, executor):
    (its,) = shown_of([place], executor, Wish(points=20)).values()

    async def ask():
        made, plain = await its.ready(), its.encoder

        async def encoder(pictures):
            found = await plain(pictures)
            its.made = made._replace(stamp=made.stamp._replace(weights="others"))
            return found

        assert (await its.encode(encoded(1))).shape == (2, 4)
        its.encoder = encoder
        with pytest.raises(Changed):
            await its.encode(encoded(1))

    asyncio.run(ask())
