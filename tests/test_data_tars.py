import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from pictures import encoded, folder_of, scene
from shards import inside, member, packed, reasons, sample_files, tar_of
from vaekit.data import open_data
from vaekit.data import pool as pools
from vaekit.errors import DataError, UsageError


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


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


def test_keys_that_no_attribute_can_be_made_of_are_named(tmp_path, cache):
    tar_of(tmp_path / "a.tar", sample_files(12, json=lambda i: json.dumps({"a": i, "__metadata__": i, "": i, "far": 1e39})))
    data = open_data(tmp_path / "a.tar", cache=cache)
    assert data.attribute_names == ("a",)
    assert data.quarantine.paths("column left out") == ("samples:", "samples:__metadata__", "samples:far")
    assert data.quarantine.paths("value not finite") == ("samples:far",)


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
    assert data.quarantine.paths("column left out") == ("samples:box", "samples:caption", "samples:rare", "samples:id")
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


def test_twins_in_two_tars_are_one_picture(tmp_path, cache):
    tar_of(tmp_path / "t" / "0.tar", [("a.png", encoded(1)), ("b.png", encoded(2))])
    tar_of(tmp_path / "t" / "1.tar", [("a.png", encoded(2)), ("c.png", encoded(3))])
    data = open_data(tmp_path / "t", cache=cache)
    assert data.files == ("0.tar::a.png", "0.tar::b.png", "1.tar::c.png")
    assert reasons(data) == {"1.tar::a.png": "duplicate"}


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


def test_a_size_that_an_extended_header_tells_counts(tmp_path, cache):
    """Above 8 GiB the plain header has no room for it."""
    content = encoded(1)
    info = member("a.png", len(content))
    info.pax_headers = {"size": str(len(content)), "path": "b/c.png"}
    with open(tmp_path / "a.tar", "wb") as out:
        out.write(info.tobuf(tarfile.PAX_FORMAT).replace(b"%011o" % len(content), b"0" * 11))
        out.write(content + bytes(-len(content) % 512) + bytes(1024))
    tar = (tmp_path / "a.tar").read_bytes()
    fixed = bytearray(tar)
    head = fixed[1024:1536]
    head[148:156] = b" " * 8
    fixed[1024 + 148 : 1024 + 156] = b"%06o\0 " % sum(head)
    assert int(fixed[1024 + 124 : 1024 + 135], 8) == 0
    (tmp_path / "a.tar").write_bytes(fixed)
    data = open_data(tmp_path / "a.tar", cache=cache)
    assert data.files == ("a.tar::b/c.png",)
    assert not data.quarantine
