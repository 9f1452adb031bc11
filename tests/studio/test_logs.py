"""The log of a run: each line is read once, a long one is thinned, and a damaged one hides nothing else."""

import json
import math
import os
import shutil

import numpy as np
import pytest
from fastapi.testclient import TestClient

from studio.conftest import HOST, TOKEN
from vaekit.doctor import signs_of_trouble
from vaekit.studio import application, logs
from vaekit.studio.logs import Log


def line(images: int, split: str = "train", **more: object) -> str:
    return json.dumps({"split": split, "images": images, "seconds": 0.5, "loss": 3.0, **more}) + "\n"


@pytest.fixture
def log(tmp_path) -> Log:
    return Log(tmp_path / "log.jsonl")


def write(log: Log, *lines: str, mode: str = "a") -> None:
    with open(log.path, mode) as file:
        file.writelines(lines)


def images_of(answer: dict) -> list[int]:
    return [record["images"] for record in answer["records"]]


def test_a_line_is_read_once(log, monkeypatch):
    read, record_of = [], logs.record_of
    monkeypatch.setattr(logs, "record_of", lambda text: read.append(text) or record_of(text))
    write(log, line(1), line(2), line(3, "validation"))
    for _ in range(3):
        with log.read():
            assert (log.last["images"], log.signs.losses) == (3, [3.0])
    assert len(read) == 3
    write(log, line(4, "validation", loss=2.0), line(5)[:-9])
    with log.read():
        assert (log.last["images"], log.signs.losses) == (4, [3.0, 2.0])
    write(log, line(5)[-9:])
    with log.read():
        assert log.last["images"] == 5, "the rest of a line has come"
    assert len(read) == 5


def test_no_log_is_an_empty_one_until_it_is_there(log):
    assert log.answer(0) == log.answer(50) == {"records": [], "from": 0, "at": 0}
    write(log, line(1))
    assert images_of(log.answer(0)) == [1]
    log.path.unlink()
    assert log.answer(0)["records"] == []


@pytest.mark.parametrize("how", ["cut", "cut and gone on", "replaced", "replaced by one as long"])
def test_one_that_was_cut_or_replaced_is_read_anew(log, how):
    write(log, *map(line, range(100, 110)))
    at = log.answer(0)["at"]
    if how.startswith("cut"):
        os.truncate(log.path, at - 15)
        write(log, "\n" if how == "cut" else f"\n{line(7, note='longer than what was there')}" * 3)
    else:
        shade = {} if how == "replaced by one as long" else {"note": "longer"}
        other = Log(log.path.with_name("other"))
        write(other, *(line(images, **shade) for images in range(200, 210)))
        other.path.replace(log.path)
    fresh = Log(log.path)
    with log.read(), fresh.read():
        assert (log.last, log.at, log.lines, log.damaged) == (fresh.last, fresh.at, fresh.lines, fresh.damaged)
    assert log.answer(0) == fresh.answer(0)
    if how != "replaced by one as long":
        assert log.answer(at) == fresh.answer(0), "that byte begins no line any more"


def test_of_a_long_one_some_are_told_from_the_first_to_the_last(log):
    write(log, *(line(images, "validation" if images % 20 == 0 else "train") for images in range(1, 10_001)))
    answer = log.answer(0)
    assert (answer["from"], answer["at"]) == (0, log.path.stat().st_size)
    assert images_of(answer) == sorted(images_of(answer))
    told = [record["images"] for record in answer["records"] if record["split"] == "train"]
    assert 1000 <= len(told) <= logs.MOST_RECORDS
    assert (told[0], told[-1]) == (1, 9999)
    assert np.diff(told).max() < 20
    validations = [record["images"] for record in answer["records"] if record["split"] == "validation"]
    assert validations == list(range(20, 10_001, 20))


def test_what_was_added_is_told_in_whole_lines_and_all_of_it(log, monkeypatch):
    write(log, line(0))
    at, told = log.answer(0)["at"], []
    write(log, *(line(images) for images in range(1, 50)))
    monkeypatch.setattr(logs, "MOST_BYTES", 200)
    while (answer := log.answer(at))["records"]:
        assert answer["from"] == at
        at, told = answer["at"], [*told, *images_of(answer)]
    assert told == list(range(1, 50))
    assert at == log.path.stat().st_size


BAD = [
    "no json",
    "[1]",
    "7",
    '{"split": 3}',
    '{"split": "validation"}',
    '{"split": "train", "images": "many"}',
    "[" * 100_000,
    "\udcff",
]


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
def test_a_damaged_line_is_left_out_and_named(log, bad):
    whole = [line(1), f"{bad}\n", line(2, "validation"), f"{bad}\n"]
    log.path.write_bytes("".join(whole).encode(errors="surrogateescape"))
    assert images_of(log.answer(0)) == [1, 2]
    assert images_of(log.answer(len(whole[0]))) == [2]
    with log.read():
        assert log.signs.losses == [3.0]
        assert "line 2" in log.damage
    write(log, line(1), mode="w")
    with log.read():
        assert log.damage is None


def test_numbers_that_json_has_not_are_null(log):
    write(log, line(1, loss=math.nan, rate=math.inf), line(2, loss=-math.inf))
    first, second = log.answer(0)["records"]
    assert (first["loss"], first["rate"], second["loss"]) == (None, None, None)
    assert log.answer(len(line(1, loss=math.nan, rate=math.inf)))["records"] == [second]


def test_the_doctor_sees_the_same(run):
    log = Log(run.path / "log.jsonl")
    with log.read():
        assert log.signs.of_trouble(0.5) == signs_of_trouble(run.records, 0.5)


def test_a_damaged_log_hides_neither_its_run_nor_others(tmp_path, place, executor):
    shutil.copytree(place, tmp_path / "torn")
    log = Log(tmp_path / "torn" / "log.jsonl")
    records = log.answer(0)["records"]
    first, *rest = log.path.read_text().splitlines(keepends=True)
    write(log, first, "torn\n", *rest, mode="w")
    app = application([tmp_path / "torn", place], executor=executor, token=TOKEN, hosts=frozenset({HOST}))
    with TestClient(app, base_url=f"http://{HOST}", headers={"authorization": f"Bearer {TOKEN}"}) as client:
        torn, whole = client.get("/api/runs").json()
        assert (torn["status"], whole["status"], whole["error"]) == ("finished", "finished", None)
        assert "line 2" in torn["error"]
        assert torn["image"] == whole["image"]
        assert client.get("/api/runs/torn/log").json()["records"] == records
