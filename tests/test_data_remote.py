"""Tars behind http, and ingests that break off: the server is a real one, on this machine."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pictures import encoded, folder_of
from shards import packed, serving, tar_of
from test_scaling import VAEKIT, same, told, torchrun, vaekit
from vaekit.data import open_data
from vaekit.data import pool as pools
from vaekit.errors import DataError, VaekitError


@pytest.fixture(autouse=True)
def here_and_now(monkeypatch):
    """No proxy stands between, and no test waits."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("vaekit.data.remote.WAITS", (0.0,) * 4)


@pytest.fixture
def shards(tmp_path):
    """120 pictures in four tars, each several times what is read at once."""
    folder = folder_of(tmp_path / "x", 120, kind="JPEG", height=40, width=56)
    for i, path in enumerate(sorted(folder.iterdir())):
        path.write_bytes(path.read_bytes() + bytes([i]) * 90_000)  # behind the end of the picture
    packed(folder, tmp_path / "tars", 30)
    return tmp_path / "tars"


def pixels_of(cache):
    """All that an ingest leaves: the pixels, and what goes with them, which names the tars."""
    (entry,) = Path(cache).glob("pixels/*/entry.json")
    return [(entry.parent / name).read_bytes() for name in ("pixels.u8", "entry.json", "journal.jsonl")]


@pytest.mark.parametrize("workers", [0, 2])
def test_tars_behind_http_are_those_of_the_disk(shards, tmp_path, workers):
    local = open_data(f"{shards}/{{0..3}}.tar", size=16, cache=tmp_path / "local", workers=workers)
    with serving(shards) as server:
        there = open_data(f"{server.address}/{{0..3}}.tar", size=16, cache=tmp_path / "there", workers=workers)
        fetched = [name for name, start in server.of("GET")]
        assert fetched[-4:] == [f"{i}.tar" for i in range(4)]  # the survey before it may stop anywhere
    assert there.files == local.files
    assert there.digest == local.digest
    assert (there.pixels == local.pixels).all()
    assert pixels_of(tmp_path / "there") == pixels_of(tmp_path / "local")
    assert there.name == "data"


def test_a_second_open_asks_only_whether_something_changed(shards, tmp_path, monkeypatch):
    with serving(shards) as server:
        first = open_data(f"{server.address}/{{0..3}}.tar", cache=tmp_path / "c")
        server.asked.clear()
        with monkeypatch.context() as patch:
            patch.setattr(pools.Pool, "run", None)
            second = open_data(**json.loads(json.dumps(first.description)), cache=tmp_path / "c")
        assert not server.of("GET")
        assert len(server.of("HEAD")) == 4
        assert (second.digest, second.files) == (first.digest, first.files)
        assert {side: rows.tolist() for side, rows in second.splits.items()} == {s: r.tolist() for s, r in first.splits.items()}
        tar_of(shards / "2.tar", [("new.png", encoded(500))])
        third = open_data(f"{server.address}/{{0..3}}.tar", cache=tmp_path / "c")
        assert len(third) == 91


@pytest.mark.parametrize("ranges", [True, False])
def test_a_connection_that_breaks_is_made_again_where_it_was(shards, tmp_path, ranges):
    whole = open_data(f"{shards}/{{0..3}}.tar", size=16, channels=3, cache=tmp_path / "local")
    size = (shards / "1.tar").stat().st_size
    with serving(shards, ranges=ranges) as server:
        server.cuts = {"1.tar": [size // 2, 1_200_000, 0, 1_300_000], "2.tar": [700]}
        server.answers = {"3.tar": [503]}
        data = open_data(f"{server.address}/{{0..3}}.tar", size=16, channels=3, cache=tmp_path / "c")
        starts = [start for name, start in server.of("GET") if name == "1.tar"]
    assert data.digest == whole.digest
    assert data.files == whole.files
    assert not data.quarantine
    assert len(starts) >= 4
    assert starts == sorted(starts)
    assert starts[1] > 1_000_000


def test_of_a_compressed_tar_too(tmp_path):
    (tar,) = packed(folder_of(tmp_path / "x", 40, kind="PNG"), tmp_path / "tars", 99, "tar.gz")
    with serving(tar.parent) as server:
        server.cuts = {"0.tar.gz": [5000, 5000, 5000]}
        data = open_data(f"{server.address}/0.tar.gz", size=16, channels=3, cache=tmp_path / "c")
    assert len(data) == 40
    assert not data.quarantine


def test_a_server_that_stays_away_ends_the_ingest_and_nothing_is_lost(shards, tmp_path):
    local, cache = tmp_path / "local", tmp_path / "c"
    options = {"size": 16, "channels": 3}
    whole = open_data(f"{shards}/{{0..3}}.tar", cache=local, **options)
    with serving(shards) as server:
        server.cuts = {"2.tar": [2_000_000, 0, 0, 0, 0]}
        with pytest.raises(DataError, match=r"2\.tar cannot be read, after 5 tries.*the same command goes on"):
            open_data(f"{server.address}/{{0..3}}.tar", cache=cache, **options)
        assert list(cache.glob("pixels/*.partial"))
        server.asked.clear()
        data = open_data(f"{server.address}/{{0..3}}.tar", cache=cache, **options)
        assert [name for name, _ in server.of("GET")] == ["2.tar", "3.tar"]  # what was decoded is not fetched again
    assert data.digest == whole.digest
    assert pixels_of(cache) == pixels_of(local)


def test_what_a_server_does_not_have_is_told_before_anything_is_read(shards, tmp_path):
    with serving(shards) as server:
        with pytest.raises(DataError, match=r"4\.tar cannot be had: the server answered 404.*Check the address"):
            open_data(f"{server.address}/{{0..4}}.tar", cache=tmp_path / "c")
        assert not server.of("GET")
    with pytest.raises(DataError, match=r"cannot be read, after 3 tries"):
        open_data(f"{server.address}/0.tar", cache=tmp_path / "c")  # nobody listens there any more


def test_a_server_without_head_or_stamps(shards, tmp_path):
    """It is known by its length then; without one, a lost connection would look like the end."""
    with serving(shards, heads=False, stamps=False) as server:
        first = open_data(f"{server.address}/0.tar?key=1", cache=tmp_path / "c")
        assert first.files[0] == "0.tar::000.jpeg"
        server.asked.clear()
        assert open_data(f"{server.address}/0.tar?key=1", cache=tmp_path / "c").digest == first.digest
        assert len(server.asked) == 2
        server.lengths = False
        with pytest.raises(DataError, match="does not say how many bytes"):
            open_data(f"{server.address}/0.tar?key=1", cache=tmp_path / "c")


def test_a_tar_that_changes_while_it_is_read_is_refused(shards, tmp_path):
    with serving(shards) as server:
        server.hooks["1.tar"] = (shards / "1.tar").touch
        with pytest.raises(DataError, match=r"1\.tar changed while it was read"):
            open_data(f"{server.address}/{{0..1}}.tar", size=16, channels=3, cache=tmp_path / "c")


def test_a_cut_tar_behind_http_is_a_cut_tar(shards, tmp_path):
    content = (shards / "0.tar").read_bytes()
    (shards / "0.tar").write_bytes(content[: len(content) // 2])
    with serving(shards) as server:
        data = open_data(f"{server.address}/0.tar", size=16, cache=tmp_path / "c")
    assert 10 < len(data) < 20
    assert data.quarantine.counts == {"truncated": 1}


def test_the_survey_of_large_tars_stops_when_it_is_certain(tmp_path, monkeypatch):
    """Sizes are looked at in the first pictures, colours until there is one."""
    monkeypatch.setattr("vaekit.data.pictures.SURVEYED", 100)
    tar_of(
        tmp_path / "a.tar",
        [(f"{i:04d}.png", encoded(i, height=8 if i < 128 else 9, width=8) + bytes(20_000)) for i in range(1000)],
    )
    with serving(tmp_path) as server:
        sent = []
        data = open_data(f"{server.address}/a.tar", cache=tmp_path / "c", workers=0, progress=lambda done, _: sent.append(done))
    assert data.image == (3, 8, 8)
    assert sent[-1] == 1000


OPEN = """
import sys
from vaekit.data import open_data
print(open_data(sys.argv[1], size=64, channels=3, cache=sys.argv[2], workers=2).digest)
"""


def start(source, cache):
    command = [sys.executable, "-c", OPEN, str(source), str(cache)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def size_of(cache):
    return sum(path.stat().st_size for path in cache.glob("pixels/*.partial/*"))


@pytest.mark.parametrize("remote", [False, True])
def test_a_killed_ingest_of_tars_ends_with_the_same_bytes(shards, tmp_path, remote):
    with serving(shards) as server:
        source = f"{server.address}/{{0..3}}.tar" if remote else shards
        whole = start(source, tmp_path / "calm")
        out, errors = whole.communicate(timeout=120)
        assert whole.returncode == 0, errors
        cache, reached = tmp_path / "c", set()
        for _ in range(4):
            process = start(source, cache)
            before, end = size_of(cache), time.monotonic() + 60
            while process.poll() is None and size_of(cache) == before and time.monotonic() < end:
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            reached.add(size_of(cache))
        last = start(source, cache)
        assert last.communicate(timeout=120)[0] == out
    assert pixels_of(cache) == pixels_of(tmp_path / "calm")
    assert len(reached) > 1


def test_two_at_once_make_one(shards, tmp_path):
    with serving(shards) as server:
        both = [start(f"{server.address}/{{0..3}}.tar", tmp_path / "c") for _ in range(2)]
        told = [process.communicate(timeout=120) for process in both]
        assert [process.returncode for process in both] == [0, 0], told
        assert sorted(name for name, _ in server.of("GET")) == [f"{i}.tar" for i in range(4)]
    assert told[0][0] == told[1][0]


def test_a_damaged_list_of_pictures_is_made_again_or_told(shards, tmp_path):
    data = open_data(shards, size=16, cache=tmp_path / "c")
    (journal,) = (tmp_path / "c").glob("pixels/*/journal.jsonl")
    whole = journal.read_bytes()
    for damaged in (None, b"", whole[:-1], b"{}"):
        journal.unlink() if damaged is None else journal.write_bytes(damaged)
        assert open_data(shards, size=16, cache=tmp_path / "c", seed=1).files == data.files
        assert journal.read_bytes() == whole
    journal.write_bytes(bytes(len(whole)))
    with pytest.raises(VaekitError, match="The cache is damaged"):
        open_data(shards, size=16, cache=tmp_path / "c", seed=2)


def test_under_torchrun_one_process_decodes_for_all(shards, tmp_path):
    """Each tar is sent once for the survey and once for the pixels, and two processes train what one would train."""
    settings = ("--net", "mlp", "--latent", "4", "--size", "8", "--batch-size", "16", "--images", "320", "--deterministic")
    with serving(shards) as server:
        command = ("train", f"{server.address}/{{0..3}}.tar", *settings, "--no-report")
        places = "--out", str(tmp_path / "two"), "--cache", str(tmp_path / "c")
        assert told(torchrun(2, *VAEKIT, *command, *places)).split() == [str(tmp_path / "two")]
        fetched = [name for name, _ in server.of("GET")]
        assert fetched[-4:] == [f"{i}.tar" for i in range(4)]
        assert len(fetched) <= 8
        places = "--out", str(tmp_path / "one"), "--cache", str(tmp_path / "c")
        assert vaekit(*command, *places).code == 0
        assert len(server.of("GET")) == len(fetched)
    same(tmp_path / "two", tmp_path / "one", rtol=1e-3, atol=1e-4)


def test_the_command_line_checks_tars_and_ends_with_3(shards, tmp_path):
    check = ("data", "check", "--cache", str(tmp_path / "c"), "--json")
    with serving(shards) as server:
        found = vaekit(*check, f"{server.address}/{{0..3}}.tar")
        assert found.code == 0
        assert found.json["pictures"] == 120
        gone = vaekit(*check, f"{server.address}/9.tar")
    assert gone.code == 3
    assert "404" in gone.err
    assert "Traceback" not in gone.err
