import gzip
import io
import json
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from pictures import break_folder, encoded, folder_of, png_claiming, scene
from shards import member, packed, tar_of
from vaekit.data import check_data, open_data
from vaekit.data import pool as pools
from vaekit.errors import DataError, UsageError


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def inside(files):
    """Names without the tar that they are in."""
    return [file.partition("::")[2] for file in files]


def reasons(data):
    return {finding.path: finding.reason for finding in data.quarantine.findings}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tgz"])
def test_the_same_pictures_as_a_folder_and_as_tars_have_the_same_pixels(tmp_path, cache, suffix, workers):
    folder = folder_of(tmp_path / "x", 150, kind="JPEG", height=40, width=56)
    folder_of(folder / "deep" / "er", 20, height=200, width=120)
    Image.new("CMYK", (16, 24), (0, 255, 255, 0)).save(folder / "cmyk.jpg")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(scene(7)).save(folder / "turned.jpg", exif=turned)
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000).save(folder / "deepgrey.png")
    Image.new("RGBA", (20, 20), (255, 0, 0, 60)).save(folder / "clear.png")
    packed(folder, tmp_path / "tars", 40, suffix)
    asked = {"cache": cache, "workers": workers}
    for options in ({}, {"size": (24, 32), "crop": "pad"}, {"size": 16, "channels": 4}, {"crop": "stretch", "channels": 1}):
        one, other = open_data(folder, **options, **asked), open_data(tmp_path / "tars", **options, **asked)
        assert one.image == other.image
        assert list(one.files) == inside(other.files)
        assert (one.pixels == other.pixels).all()


def test_a_tar_can_be_named_in_every_way(tmp_path, cache):
    packed(folder_of(tmp_path / "x", 12, height=8, width=8), tmp_path / "My Tars" / "train", 4)
    whole = open_data(tmp_path / "My Tars", cache=cache)
    assert whole.files[0] == "train/0.tar::000.png"
    pattern = open_data(f"{tmp_path}/My Tars/train/{{0..2}}.tar", cache=cache)
    listed = open_data(f"{tmp_path}/My Tars/{{train,train}}/{{0,1,2}}.tar", cache=cache)
    assert whole.pixels.tolist() == pattern.pixels.tolist() == listed.pixels.tolist()
    one = open_data(tmp_path / "My Tars" / "train" / "1.tar", cache=cache)
    assert one.files == tuple(f"1.tar::{i:03d}.png" for i in range(4, 8))
    assert (one.name, whole.name) == ("1", "my-tars")
    tar_of(tmp_path / "train-0008.tar", [("a.png", encoded(1))])
    tar_of(tmp_path / "train-0010.tar", [("a.png", encoded(2))])
    tar_of(tmp_path / "train-{x}.tar", [("a.png", encoded(3))])
    with pytest.raises(DataError, match=r"train-0009\.tar cannot be read"):
        open_data(f"{tmp_path}/train-{{0008..0010}}.tar", cache=cache)
    assert open_data(f"{tmp_path}/train-{{0008,0010}}.tar", cache=cache).name == "train"
    assert open_data(f"{tmp_path}/train-{{x}}.tar", cache=cache).files == ("train-{x}.tar::a.png",)
    for wrong in ("{9..2}", "{0..999999999}", "{0..99999}{0..99999}"):
        with pytest.raises(UsageError, match=r"Expected|Write"):
            open_data(f"{tmp_path}/train-{wrong}.tar", cache=cache)


def test_a_folder_with_pictures_ignores_its_tars(tmp_path, cache):
    folder = folder_of(tmp_path / "x", 3)
    packed(folder, folder, 2)
    data = open_data(folder, cache=cache)
    assert data.files == ("000.png", "001.png", "002.png")
    assert data.quarantine.ignored == {".tar": 2}


def test_the_description_opens_the_same_data_and_a_second_open_reads_nothing(tmp_path, cache, monkeypatch):
    packed(folder_of(tmp_path / "x", 40, height=8, width=8), tmp_path / "tars", 15)
    told = []
    data = open_data(
        f"{tmp_path}/tars/{{0..2}}.tar", seed=3, cache=cache, workers=0, progress=lambda done, total: told.append((done, total))
    )
    assert told[-1] == (40, 40)
    monkeypatch.setattr(pools.Pool, "run", None)
    monkeypatch.setattr("vaekit.data.shards.Shard.open", None)
    again = open_data(**json.loads(json.dumps(data.description)), cache=cache)
    assert (again.digest, again.files, again.quarantine) == (data.digest, data.files, data.quarantine)
    assert {side: rows.tolist() for side, rows in again.splits.items()} == {s: r.tolist() for s, r in data.splits.items()}
    assert open_data(f"{tmp_path}/tars/{{0..2}}.tar", seed=4, cache=cache).digest != data.digest  # from the cache alone


def test_a_picture_keeps_its_side_when_tars_are_added(tmp_path, cache):
    packed(folder_of(tmp_path / "x", 300, height=8, width=8), tmp_path / "tars", 50)

    def sides(pattern):
        data = open_data(f"{tmp_path}/tars/{pattern}.tar", cache=cache)
        return {data.files[i]: side for side, rows in data.splits.items() for i in rows}

    few, many = sides("{0..3}"), sides("{0..5}")
    assert len(few) == 200
    assert few == {file: many[file] for file in few}


def test_a_changed_tar_is_decoded_again(tmp_path, cache):
    tar = tar_of(tmp_path / "a.tar", [("a.png", encoded(1))])
    before = open_data(tar, cache=cache)
    tar_of(tar, [("a.png", encoded(2)), ("b.png", encoded(3))])
    after = open_data(tar, cache=cache)
    assert len(after) == 2
    assert (after.pixels[0] != before.pixels[0]).any()


def sample_files(count, **told):
    """WebDataset samples: a picture, and for each other suffix what a function of its number says."""
    for i in range(count):
        yield f"{i:04d}.png", encoded(i, height=8, width=8)
        for suffix, what in told.items():
            if (said := what(i)) is not None:
                yield f"{i:04d}.{suffix}", said if isinstance(said, bytes) else str(said).encode()


def test_labels_and_attributes_come_from_the_samples(tmp_path, cache):
    def row(i):
        return json.dumps(
            {
                "smiling": i % 2 == 0,
                "glasses": i % 3 // 2,
                "old": 1 if i % 5 else -1,
                "hair": ["brown", "red"][i % 2],
                "caption": f"picture {i} " * 40,
                "box": [1, 2],
                "id": f"id{i}",
                "person": f"p{i // 4}",
                "nothing": None,
            }
            | ({"rare": 1} if i == 3 else {})
        )

    tar_of(tmp_path / "a.tar", sample_files(60, cls=lambda i: i % 12, json=row, txt=lambda i: ["dog", "cat"][i % 2]))
    data = open_data(tmp_path / "a.tar", cache=cache)
    assert data.label_names == tuple(map(str, range(12)))  # 2 before 10
    assert data.labels.tolist() == [i % 12 for i in range(60)]
    found = dict(zip(data.attribute_names, data.attributes.T.tolist(), strict=True))
    assert found["smiling"] == [float(i % 2 == 0) for i in range(60)]
    assert found["glasses"] == [float(i % 3 // 2) for i in range(60)]
    assert found["old"] == [float(i % 5 > 0) for i in range(60)]
    assert found["hair=red"] == [float(i % 2) for i in range(60)]
    assert found["txt=cat"] == [float(i % 2) for i in range(60)]
    assert not found.keys() & {"cls", "box", "id", "caption", "rare", "nothing"}
    assert data.quarantine.paths("column left out") == ("json:box", "json:caption", "json:rare", "json:id")
    grouped = open_data(tmp_path / "a.tar", group="person", cache=cache)
    side = {int(i): side for side, rows in grouped.splits.items() for i in rows}
    assert all(side[i] == side[i - i % 4] for i in range(60))
    assert set(side.values()) == {"train", "validation", "test"}
    assert "person=p0" not in grouped.attribute_names
    with pytest.raises(DataError, match=r"group='nobody'.*Expected one of its columns"):
        open_data(tmp_path / "a.tar", group="nobody", cache=cache)


def test_a_table_that_is_given_stands_for_what_the_samples_say(tmp_path, cache):
    tar_of(tmp_path / "a.tar", sample_files(20, json=lambda i: json.dumps({"smiling": i % 2})))
    rows = "\n".join(f"{i:04d}.png,{i % 3 > 0:d}" for i in range(19))
    (tmp_path / "t.csv").write_text(f"file,old\n{rows}\n")
    data = open_data(tmp_path / "a.tar", attributes=tmp_path / "t.csv", cache=cache)
    assert data.attribute_names == ("old",)
    assert data.attributes[:19, 0].tolist() == [float(i % 3 > 0) for i in range(19)]
    assert data.quarantine.paths("image without row") == ("a.tar::0019.png",)


def test_text_labels_and_unknown_ones(tmp_path, cache):
    tar_of(tmp_path / "a.tar", sample_files(6, cls=lambda i: None if i == 2 else ["dog", "cat"][i % 2] + "\n"))
    data = open_data(tmp_path / "a.tar", cache=cache)
    assert data.label_names == ("cat", "dog")
    assert data.labels.tolist() == [1, 0, -1, 0, 1, 0]
    assert data.quarantine.paths("image without row") == ("a.tar::0002.png",)


def test_folders_in_tars_are_labels_and_folders_of_tars_are_sides(tmp_path, cache):
    for side in ("train", "test"):
        for label in ("cat", "dog"):
            folder_of(tmp_path / "x" / side / label, 6, height=8 + (side == "test"), width=8 + (label == "cat"))
        packed(tmp_path / "x" / side, tmp_path / "tars" / side, 5)
    data, folder = open_data(tmp_path / "tars", size=8, cache=cache), open_data(tmp_path / "x", size=8, cache=cache)
    assert data.label_names == folder.label_names == ("cat", "dog")
    assert {data.files[i].split("/")[0] for i in data.splits["test"]} == {"test"}
    assert {inside([data.files[i]])[0].split("/")[0] for i in np.flatnonzero(data.labels == 1)} == {"dog"}
    tar_of(tmp_path / "plain.tar", [(f"./{file}", (tmp_path / "x" / file).read_bytes()) for file in folder.files])
    plain = open_data(tmp_path / "plain.tar", size=8, cache=cache)
    assert (plain.label_names, len(plain.splits["test"])) == (("cat", "dog"), 12)


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


def test_twins_in_two_tars_are_one_picture(tmp_path, cache):
    tar_of(tmp_path / "t" / "0.tar", [("a.png", encoded(1)), ("b.png", encoded(2))])
    tar_of(tmp_path / "t" / "1.tar", [("a.png", encoded(2)), ("c.png", encoded(3))])
    data = open_data(tmp_path / "t", cache=cache)
    assert data.files == ("0.tar::a.png", "0.tar::b.png", "1.tar::c.png")
    assert reasons(data) == {"1.tar::a.png": "duplicate"}


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


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_of_every_form_arrive(tmp_path, cache, form):
    names = ["n01/" + "long" * 20 + "/" + "name" * 20 + ".png", "a b'\"$;.png", "./dot/b.png", "tab\there.png"]
    names += [] if form == tarfile.USTAR_FORMAT else ["deep/" * 60 + "c.png", "ünï🙂.PNG"]
    tar_of(tmp_path / "a.tar", [(name, encoded(i)) for i, name in enumerate(names)], form=form)
    data = open_data(tmp_path / "a.tar", cache=cache)
    expected = [name.removeprefix("./").replace("\t", "\\t") for name in names]
    assert inside(data.files) == expected
    assert not data.quarantine


def test_what_cannot_be_data(tmp_path, cache):
    tar_of(tmp_path / "texts.tar", [("a.txt", b"hello"), ("a.json", b"{}")])
    (tmp_path / "lies.tar").write_bytes(b"this is no tar at all " * 100)
    (tmp_path / "empty.tar").write_bytes(b"")
    tar_of(tmp_path / "bad.tar", [("a.jpg", b"no picture")])
    for name, words in (
        ("texts", "There is no picture"),
        ("lies", "corrupt"),
        ("empty", "it is empty|truncated"),
        ("bad", "None of the 1 pictures"),
        ("missing", "There is no"),
    ):
        with pytest.raises(DataError, match=words):
            open_data(tmp_path / f"{name}.tar", cache=cache)
    assert not list(cache.glob("pixels/*.partial"))
    assert not list(cache.glob("pixels/*/"))


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
