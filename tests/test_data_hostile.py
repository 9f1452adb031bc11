"""Tars that are cut, damaged, or made to do harm."""

import gzip
import io
import json
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from pictures import break_folder, encoded, folder_of, png_claiming
from shards import inside, member, packed, reasons, sample_files, tar_of
from vaekit.data import check_data, open_data
from vaekit.data.samples import Samples
from vaekit.data.tar import unpacked


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def test_forty_broken_members_are_named_and_all_good_ones_are_in(tmp_path, cache):
    folder = folder_of(tmp_path / "x", 30)
    broken = break_folder(folder)
    files = [(path.name, path.read_bytes()) for path in sorted(folder.iterdir()) if path.is_file()]
    for i, (name, content) in enumerate(files):  # a sample of its own for each: the names of some differ in the suffix alone
        files[i] = (name if name[0].isdigit() else f"{name.replace('.', '-')}.{name.rpartition('.')[2]}", content)
    tar_of(tmp_path / "a.tar", files)
    data = open_data(tmp_path / "a.tar", cache=cache)
    cut = {"truncated", "corrupt", "not an image"}
    expected = {
        f"a.tar::{name.replace('.', '-')}.{name.rpartition('.')[2]}": cut if reason == "cut" else {reason}
        for name, reason in broken.items()
        if (folder / name).is_file()
    }
    found = reasons(data)
    assert len(expected) == 37
    assert {name for name in expected if found.get(name) not in expected[name]} == set()
    assert found.keys() == expected.keys()
    assert inside(data.files) == [f"{i:03d}.png" for i in range(30)]
    assert (data.pixels == open_data(folder, cache=cache).pixels).all()
    assert check_data(tmp_path / "a.tar", cache=cache) == data.quarantine


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_of_a_cut_tar_all_whole_pictures_are_used_and_the_cut_is_named(tmp_path, cache, suffix):
    (tar,) = packed(folder_of(tmp_path / "x", 20, height=8, width=8), tmp_path / "tars", 99, suffix)
    content = tar.read_bytes()
    whole = open_data(tar, cache=cache).pixels.copy()
    for part in (0.3, 0.5, 0.61):  # the last third is empty
        tar.write_bytes(content[: int(len(content) * part)])
        data = open_data(tar, cache=cache)
        assert 2 < len(data) < 20
        assert (data.pixels == whole[: len(data)]).all()
        (finding,) = data.quarantine.findings
        assert finding.reason == "truncated"
        assert finding.path.startswith(f"0.{suffix}")


def test_a_tar_that_ends_without_its_mark_or_goes_on_behind_it(tmp_path, cache):
    one = tar_of(tmp_path / "one.tar", [("a.png", encoded(1))]).read_bytes()
    two = tar_of(tmp_path / "two.tar", [("b.png", encoded(2))]).read_bytes()
    (tmp_path / "both.tar").write_bytes(one + two)
    both = open_data(tmp_path / "both.tar", cache=cache)
    assert inside(both.files) == ["a.png", "b.png"]
    assert not both.quarantine
    (tmp_path / "open.tar").write_bytes(one.rstrip(b"\0") + bytes(-len(one.rstrip(b"\0")) % 512))
    data = open_data(tmp_path / "open.tar", cache=cache)
    assert (inside(data.files), reasons(data)) == (["a.png"], {"open.tar": "truncated"})
    (tmp_path / "odd.tar").write_bytes(one + b"x" * 512 + two)
    data = open_data(tmp_path / "odd.tar", cache=cache)
    assert (inside(data.files), reasons(data)) == (["a.png"], {"odd.tar": "corrupt"})


def test_a_hostile_tar_is_harmless(tmp_path, cache, monkeypatch):
    """Nothing is written outside the cache, nothing outside the tar is read, and each member that is no picture is named."""
    monkeypatch.setattr("vaekit.data.scan.FILE_LIMIT", 4000)
    (tmp_path / "secret.png").write_bytes(encoded(99))
    tar = tmp_path / "inner" / "a.tar"
    tar.parent.mkdir()
    with tarfile.open(tar, "w") as out:

        def put(name, content=b"", **about):
            out.addfile(member(name, len(content), **about), io.BytesIO(content))

        put("good.png", encoded(0, height=8, width=8))
        put("../../up.png", encoded(1, height=8, width=8))
        put(f"{tmp_path}/absolute.png", encoded(2, height=8, width=8))
        put("link.png", kind=tarfile.SYMTYPE, link=str(tmp_path / "secret.png"))
        put("hard.png", kind=tarfile.LNKTYPE, link="good.png")
        for kind in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE):
            put(f"device{kind.decode()}.png", kind=kind)
        put("folder.png", kind=tarfile.DIRTYPE)
        put("huge.png", bytes(5000))
        put("bomb.png", png_claiming(60_000, 60_000))
        put("two.jpg", encoded(3, "JPEG", height=8, width=8))
        put("two.png", encoded(4, height=8, width=8))
        put("good.png", encoded(5, height=8, width=8))
        put("two.heic", b"\0\0\0\x18ftypheic")
        put("deep.json", b"[" * 100_000)
        put("deep.png", encoded(6, height=8, width=8))
        put("many.json", json.dumps(dict.fromkeys(map(str, range(1000)), 1)).encode())
        put("many.png", encoded(9, height=8, width=8))
        put("alone.cls", b"3")
        put(".hidden.png", encoded(7))
        put("run.pyd", b"import os")
        put("\x1b[31mred.png", encoded(8, height=8, width=8))
    before = {path for path in tmp_path.rglob("*") if cache not in path.parents}
    data = open_data(tar, cache=cache)
    assert {path for path in tmp_path.rglob("*") if cache not in path.parents} - before == {cache}
    good = ["good.png", "up.png", f"{tmp_path}/absolute.png".lstrip("/"), "two.jpg", "deep.png", "many.png", "\\x1b[31mred.png"]
    assert inside(data.files) == good
    assert reasons(data) == {
        f"a.tar::{name}": reason
        for name, reason in {
            **dict.fromkeys(("link.png", "hard.png", "device3.png", "device4.png", "device6.png"), "not an image"),
            "huge.png": "too large a file",
            "bomb.png": "decompression bomb",
            "two.png": "second picture of a sample",
            "good.png": "name repeated",
            "two.heic": "unsupported format",
            "deep.json": "row malformed",
            "many.json": "row malformed",
            "alone.cls": "row without image",
        }.items()
    }
    assert data.quarantine.ignored == {"hidden": 1, ".pyd": 1}
    data.summary().encode()


OPEN_AND_MEASURE = """
import sys, threading, psutil
from vaekit.data import open_data
me, peak, over = psutil.Process(), [0], threading.Event()
def used(process):
    info = process.memory_full_info()
    return info.pss
def watch():
    while not over.wait(0.02):
        total = 0
        for process in [me, *me.children()]:
            try:
                total += used(process)
            except psutil.Error:
                continue
        peak[0] = max(peak[0], total)
thread = threading.Thread(target=watch)
thread.start()
try:
    data = open_data(sys.argv[1], size=8, channels=3, cache=sys.argv[2], workers=2)
    print(len(data), len(data.quarantine))
finally:
    over.set()
    thread.join()
print(peak[0] // 1_000_000)
"""


def measured(tar, cache):
    """Pictures, findings and the peak of memory in MB, of an ingest in a process of its own."""
    command = [sys.executable, "-c", OPEN_AND_MEASURE, str(tar), str(cache)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return tuple(map(int, done.stdout.split()))


def test_memory_does_not_grow_with_the_tar(tmp_path, cache):
    """Seven times the bytes, and members that claim or hold far more than a picture."""

    def noise(count, each=200_000):
        rng = np.random.default_rng(0)
        for i in range(count):
            yield f"{i:05d}.png", encoded(i, height=8, width=8) + rng.bytes(each)

    pictures, _, small = measured(tar_of(tmp_path / "small.tar", noise(100)), cache)
    assert pictures == 100
    pictures, _, large = measured(tar_of(tmp_path / "large.tar", noise(700)), cache)  # 140 MB
    assert pictures == 700
    assert large < small + 60
    with gzip.open(tmp_path / "bomb.tar.gz", "wb", compresslevel=1) as out:
        with tarfile.open(fileobj=out, mode="w|") as tar:
            tar.addfile(member("a.png", 20_000), io.BytesIO(encoded(1).ljust(20_000, b"\0")))
            tar.addfile(member("vast.png", 1 << 30), Zeros())
            tar.addfile(member("b.png", 20_000), io.BytesIO(encoded(2).ljust(20_000, b"\0")))
        header = member("path", 1 << 33, tarfile.XHDTYPE).tobuf(tarfile.GNU_FORMAT)
        out.write(header)  # 8 GiB of extended header, it says
        for _ in range(100):
            out.write(bytes(1 << 20))
    pictures, findings, bomb = measured(tmp_path / "bomb.tar.gz", cache)
    assert (pictures, findings) == (2, 2)
    assert bomb < small + 60


class Zeros(io.RawIOBase):
    def readable(self):
        return True

    def readinto(self, buffer):
        buffer[:] = bytes(len(buffer))
        return len(buffer)


def test_whatever_is_wrong_with_the_bytes_becomes_findings(tmp_path):
    rng = np.random.default_rng(0)
    tar_of(tmp_path / "a.tar", sample_files(5, json=lambda i: json.dumps({"smiling": i % 2})))
    tar_of(tmp_path / "b.tar", [("long/" * 40 + f"{i}.png", encoded(i, height=8, width=8)) for i in range(5)])
    for whole in (tmp_path / "a.tar").read_bytes(), (tmp_path / "b.tar").read_bytes():
        headers = whole[:4096]
        for kind in range(300):
            content = bytearray(whole)
            for place in rng.integers(0, len(headers) if kind % 2 else len(content), rng.integers(1, 6)):
                content[place] = rng.choice([0, 32, 48, 55, 120, 255, rng.integers(256)])
            if kind % 3 == 0:
                content = bytearray(gzip.compress(content, 1))
                content[rng.integers(10, len(content))] ^= 1 << rng.integers(8)
            samples = Samples("a", unpacked(io.BufferedReader(io.BytesIO(content))))
            for sample in samples:
                assert sample.content is not None
                assert sample.name.startswith("a::")
            assert all(finding.reason for finding in samples.odd)


def test_large_pictures_go_through_whole(tmp_path, cache, monkeypatch):
    """Larger than what a chunk usually holds, so that their memory is given back."""
    noise = np.random.default_rng(0).integers(0, 256, (12, 1000, 800, 3), np.uint8)
    folder = tmp_path / "x"
    folder.mkdir()
    for i, picture in enumerate(noise):
        Image.fromarray(picture).save(folder / f"{i:02d}.bmp")
    tar_of(tmp_path / "a.tar", [(path.name, path.read_bytes()) for path in sorted(folder.iterdir())])
    monkeypatch.setattr("vaekit.data.pool.CONTENT_BYTES", 1 << 20)
    monkeypatch.setattr("vaekit.data.pool.BYTES_AHEAD", 5 << 20)
    one, other = (open_data(tmp_path / what, size=(100, 80), cache=cache, workers=2) for what in ("x", "a.tar"))
    assert (one.pixels == other.pixels).all()
