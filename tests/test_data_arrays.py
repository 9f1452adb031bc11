import gzip
import hashlib
import os
import struct
from dataclasses import replace

import numpy as np
import pytest

from vaekit.data import NAMES, open_data, sources
from vaekit.data.arrays import to_bytes
from vaekit.data.dataset import pixel_hash
from vaekit.data.drawn_faces import PAIRS, draw_faces
from vaekit.data.named import DOWNLOADS, FILES
from vaekit.errors import DataError


def idx(array):
    kind = {"uint8": 8, "int32": 12, "float32": 13}[str(array.dtype)]
    big = array.astype(array.dtype.newbyteorder(">"))
    return struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape) + big.tobytes()


@pytest.fixture
def pictures():
    return np.random.default_rng(0).integers(0, 256, (50, 9, 7), np.uint8)


def idx_folder(folder, pictures, labels=True):
    folder.mkdir(exist_ok=True)
    for (part, its), pack in zip((("train", pictures[:40]), ("t10k", pictures[40:])), (bytes, gzip.compress), strict=True):
        suffix = "" if pack is bytes else ".gz"
        (folder / f"{part}-images-idx3-ubyte{suffix}").write_bytes(pack(idx(its)))
        if labels:
            (folder / f"{part}-labels-idx1-ubyte{suffix}").write_bytes(pack(idx(np.arange(len(its), dtype=np.uint8) % 5)))
    return folder


def test_idx_folder(tmp_path, pictures):
    data = open_data(idx_folder(tmp_path / "My-Idx", pictures))
    np.testing.assert_array_equal(data.pixels[:, 0], pictures)
    assert data.image == (1, 9, 7)
    assert data.splits["test"].tolist() == list(range(40, 50))
    assert len(data.splits["validation"]) == round(40 / 12)
    assert data.label_names == tuple("01234")
    assert data.labels[41] == 1
    assert (data.name, data.quarantine) == ("my-idx", None)
    assert open_data(**data.description).digest == data.digest
    assert open_data(idx_folder(tmp_path / "bare", pictures, labels=False)).labels is None


def test_idx_file_and_its_defects(tmp_path, pictures):
    good = idx(pictures)
    (tmp_path / "a-images-idx3-ubyte.gz").write_bytes(gzip.compress(good))
    data = open_data(tmp_path / "a-images-idx3-ubyte.gz")
    np.testing.assert_array_equal(data.pixels[:, 0], pictures)
    assert data.name == "a-images"
    packed = gzip.compress(good)
    for i, (content, words) in enumerate(
        (
            (good[:-1], "header says"),
            (good[:3], "no idx file"),
            (b"", "no idx file"),
            (b"\x89PNG" + good, "no idx file"),
            (packed[:-20], "cannot be read"),
            (packed[:50] + b"\xff" * 50 + packed[100:], "cannot be read"),
            (idx(np.zeros(5, np.uint8)), "shape"),
        )
    ):
        path = tmp_path / f"bad{i}-idx3-ubyte"
        path.write_bytes(content)
        with pytest.raises(DataError, match=words):
            open_data(path)


@pytest.mark.parametrize("shape", [(6, 8, 5), (6, 8, 5, 1), (6, 8, 5, 3), (6, 1, 8, 5), (6, 3, 8, 5), (6, 4, 8, 8), (6, 8, 8, 4)])
def test_npy_layouts(tmp_path, shape):
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    np.save(tmp_path / "a.npy", array)
    data = open_data(tmp_path / "a.npy")
    expected = array[:, None] if array.ndim == 3 else array if shape[1] in (1, 3, 4) else array.transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(data.pixels, expected)


def test_npy_value_kinds(tmp_path):
    for array, expected in (
        (np.array([[[0.0, 0.5], [1.0, 0.2]]], np.float64), [0, 128, 255, 51]),
        (np.array([[[0.0, 0.5], [1.0, 0.2]]], np.float16), [0, 128, 255, 51]),
        (np.array([[[False, True], [True, False]]]), [0, 255, 255, 0]),
        (np.array([[[0, 1], [1, 0]]], np.uint8), [0, 255, 255, 0]),
        (np.array([[[0, 2], [1, 0]]], np.uint8), [0, 2, 1, 0]),
    ):
        np.save(tmp_path / "a.npy", array)
        assert open_data(tmp_path / "a.npy").pixels.ravel().tolist() == expected


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full((2, 4, 4), -0.5), r"\[0, 1\].*\(x \+ 1\) / 2"),
        (np.full((2, 4, 4), 200.0), "x / 255"),
        (np.full((2, 4, 4), np.nan), r"\[0, 1\]"),
        (np.zeros((2, 4, 4), np.int64), "int64"),
        (np.zeros((2, 4, 4), np.complex64), "complex64"),
        (np.zeros((2, 16), np.uint8), "shape"),
        (np.zeros((2, 5, 5, 5), np.uint8), "shape"),
        (np.zeros((2, 3, 9, 3), np.uint8), "shape"),
        (np.zeros((0, 4, 4), np.uint8), "shape"),
        (np.array([object()]), "objects"),
    ],
)
def test_npy_that_cannot_be_pictures(tmp_path, array, words):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(DataError, match=words):
        open_data(tmp_path / "a.npy")


def test_npz(tmp_path, pictures):
    attributes = np.stack([np.arange(50) % 2 * 2 - 1, np.arange(50)], axis=1)
    named = {
        "labels": np.arange(50) % 3,
        "label_names": np.array(["a", "b", "c"]),
        "attribute_names": np.array(["sign", "number"]),
    }
    np.savez(tmp_path / "a.npz", images=pictures, attributes=attributes, **named)
    data = open_data(tmp_path / "a.npz", size=(12, 10), channels=3)
    assert data.image == (3, 12, 10)
    assert data.label_names == ("a", "b", "c")
    assert data.attribute_names == ("sign", "number")
    np.testing.assert_array_equal(data.attributes[:4], [[0, 0], [1, 1], [0, 2], [1, 3]])
    assert [len(data.splits[side]) for side in data.splits] == [40, 5, 5]


def test_npz_in_the_form_of_keras(tmp_path, pictures):
    np.savez(tmp_path / "m.npz", x_train=pictures[:40], x_test=pictures[40:], y_train=np.zeros(40, int), y_test=np.ones(10, int))
    data = open_data(tmp_path / "m.npz")
    assert data.splits["test"].tolist() == list(range(40, 50))
    assert data.labels.sum() == 10


def test_npz_that_cannot_be_used(tmp_path, pictures):
    for arrays, words in (
        ({"z": pictures}, "has the arrays z"),
        ({"x": pictures, "y": np.zeros(3, int)}, "50 pictures"),
        ({"x": pictures, "y": np.full(50, 0.5)}, "labels"),
        ({"x": pictures, "y": np.full(50, -7)}, "labels"),
        ({"x": pictures, "attributes": np.zeros((50, 2)), "attribute_names": np.array(["one"])}, "1 names"),
    ):
        np.savez(tmp_path / "a.npz", **arrays)
        with pytest.raises(DataError, match=words):
            open_data(tmp_path / "a.npz")
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(DataError, match="cannot be read"):
        open_data(tmp_path / "a.npz")


@pytest.mark.parametrize("names", [("a", "a"), ("a", "__metadata__"), ("a", " ")])
def test_npz_whose_attributes_have_no_name_of_their_own(tmp_path, pictures, names):
    np.savez(tmp_path / "a.npz", x=pictures, attributes=np.zeros((50, 2)), attribute_names=np.array(names))
    with pytest.raises(DataError, match=f"attributes called '{names[1]}'.*Expected a name of its own"):
        open_data(tmp_path / "a.npz")


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e39])
def test_npz_with_attributes_that_are_not_finite(tmp_path, pictures, value):
    attributes = np.zeros((50, 2))
    attributes[3, 0] = np.nan
    np.savez(tmp_path / "a.npz", x=pictures, attributes=attributes)
    assert np.isnan(open_data(tmp_path / "a.npz").attributes).sum() == 1
    attributes[7, 1] = value
    np.savez(tmp_path / "a.npz", x=pictures, attributes=attributes)
    with pytest.raises(DataError, match=r"1 attribute values .* of 'attribute_1', row 7\. Expected finite"):
        open_data(tmp_path / "a.npz")


def test_npz_whose_arrays_have_other_shapes(tmp_path, pictures):
    some = {"x_train": pictures[:40], "x_test": pictures[40:]}
    for arrays, words in (
        ({"x": pictures, "y": np.zeros(50, int), "label_names": np.array("a")}, r"label_names .* shape \(\)"),
        ({"x": pictures, "attributes": np.zeros(50), "attribute_names": np.array("a")}, r"attribute_names .* shape \(\)"),
        ({"x_train": pictures[:40], "x_test": pictures[40:, 1:]}, r"\(40, 9, 7\) and \(10, 8, 7\) in x_train and x_test"),
        ({"x_train": np.uint8(3)}, r"pictures of shapes \(\) in x_train\."),
        ({"x_train": np.uint8(3), "x_test": pictures}, r"\(\) and \(50, 9, 7\)"),
        ({"x_train": np.zeros(0, np.uint8)}, r"shape \(0,\)"),
        (some | {"y_train": np.zeros((40, 1)), "y_test": np.zeros(10)}, r"labels of shapes \(40, 1\) and \(10,\)"),
        (some | {"y_train": np.zeros(39), "y_test": np.zeros(11)}, "y_train .* there are 40 pictures"),
    ):
        np.savez(tmp_path / "a.npz", **arrays)
        with pytest.raises(DataError, match=words) as raised:
            open_data(tmp_path / "a.npz")
        assert (raised.value.code, "Expected" in str(raised.value)) == (3, True)


def test_npz_with_names_in_bytes(tmp_path, pictures):
    np.savez(tmp_path / "a.npz", x=pictures, attributes=np.zeros(50), attribute_names=np.array([b"hat"]))
    assert open_data(tmp_path / "a.npz").attribute_names == ("hat",)


def test_digits():
    data = open_data("digits")
    assert (len(data), data.image, data.pixels.max()) == (1797, (1, 8, 8), 255)
    assert data.splits["validation"].size == 180
    larger = open_data("digits", size=16, channels=3)
    assert larger.image == (3, 16, 16)


def test_shapes(monkeypatch):
    data = open_data("shapes")
    assert data.image == (1, 64, 64)
    assert data.attribute_names == ("shape", "scale", "orientation", "x", "y")
    np.testing.assert_array_equal(data.labels, data.attributes[:, 0])


def test_drawn_faces_are_drawn_once(tmp_path, monkeypatch):
    monkeypatch.setattr("vaekit.data.named.FACES", 40)
    data = open_data("drawn-faces", cache=tmp_path)
    assert (len(data), data.image) == (40, (3, 64, 64))
    assert "Smiling" in data.attribute_names
    monkeypatch.setattr("vaekit.data.drawn_faces.draw_faces", None)
    assert open_data("drawn-faces", cache=tmp_path).digest == data.digest


def test_no_connection_is_one_message_that_says_what_to_do(tmp_path, monkeypatch):
    import requests

    def offline(url, *args, **kwargs):
        raise requests.ConnectionError("no network")

    monkeypatch.setattr("pooch.retrieve", offline)
    monkeypatch.delenv("VAEKIT_DATA", raising=False)
    for name in DOWNLOADS:
        with pytest.raises(DataError, match="VAEKIT_DATA") as raised:
            open_data(name, cache=tmp_path)
        assert all(words in str(raised.value) for words in (name, str(tmp_path / "downloads" / name), *FILES, "no network"))


def test_a_download_is_checked_and_the_next_mirror_tried(tmp_path, monkeypatch, pictures):
    asked = []

    def retrieve(url, known_hash, fname, path):
        asked.append((url, known_hash))
        if len(asked) == 1:
            raise ValueError("SHA256 hash of downloaded file does not match")
        content = idx_folder(tmp_path / "made", pictures) / fname.removesuffix(".gz")
        (path / fname).write_bytes(content.read_bytes() if content.exists() else (tmp_path / "made" / fname).read_bytes())

    monkeypatch.setattr("pooch.retrieve", retrieve)
    monkeypatch.delenv("VAEKIT_DATA", raising=False)
    with pytest.raises(DataError, match="holds 50 pictures"):
        open_data("mnist", cache=tmp_path)
    assert [url.rsplit("/", 1)[1] for url, _ in asked] == [FILES[0], *FILES]
    assert asked[0][0] != asked[1][0]
    assert all(known.startswith("sha256:") and len(known) == 71 for _, known in asked)


def test_the_folder_named_by_the_environment_comes_first(tmp_path, monkeypatch, pictures):
    monkeypatch.setenv("VAEKIT_DATA", str(tmp_path))
    idx_folder(tmp_path / "fashion_mnist", pictures)
    with pytest.raises(DataError, match="fashion_mnist holds 50 pictures"):
        open_data("fashion-mnist", cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.data
def test_mnist_is_mnist(real_data, monkeypatch):
    monkeypatch.setenv("VAEKIT_DATA", str(real_data))
    data = open_data("mnist")
    header = struct.pack(">HBB3I", 0, 8, 3, 60_000, 28, 28)
    md5 = hashlib.md5(header + data.pixels[:60_000].tobytes()).hexdigest()
    assert md5 == "6bbc9ace898e44ae57da46a324031adb"
    assert data.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert np.bincount(data.labels_of("test")).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert [len(data.splits[side]) for side in data.splits] == [55_000, 5_000, 10_000]


@pytest.mark.data
def test_local_files_have_the_known_hashes(real_data):
    for name in ("mnist", "fashion-mnist"):
        folder = real_data / DOWNLOADS[name].folders[0]
        for file, sha256 in zip(FILES, DOWNLOADS[name].sha256, strict=True):
            if (name, file) != ("mnist", FILES[0]):  # packed anew there
                assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == sha256


def test_names_are_open_to_the_reader():
    assert set(DOWNLOADS) < set(NAMES)


def test_files_already_there_are_checked_and_fetched_again_where_they_differ(tmp_path, monkeypatch, pictures):
    import requests

    def offline(*args, **kwargs):
        raise requests.ConnectionError("no network")

    monkeypatch.setattr("requests.get", offline)
    monkeypatch.delenv("VAEKIT_DATA", raising=False)
    folder = tmp_path / "downloads" / "mnist"
    folder.mkdir(parents=True)
    for file in FILES:
        its = pictures if "images" in file else np.zeros(50, np.uint8)
        (folder / file).write_bytes(gzip.compress(idx(its)))
    known = tuple(hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in FILES)
    monkeypatch.setitem(DOWNLOADS, "mnist", replace(DOWNLOADS["mnist"], sha256=known))
    with pytest.raises(DataError, match="holds 100 pictures"):  # taken as they are, without a connection
        open_data("mnist", cache=tmp_path)
    (folder / FILES[1]).write_bytes(gzip.compress(idx(np.ones(50, np.uint8))))
    with pytest.raises(DataError, match=f"{FILES[1]} is not the known one.*no network"):
        open_data("mnist", cache=tmp_path)


def test_damaged_drawn_faces_are_drawn_again(tmp_path, monkeypatch):
    monkeypatch.setattr("vaekit.data.named.FACES", 12)
    digest = open_data("drawn-faces", cache=tmp_path).digest
    (kept,) = tmp_path.glob("drawn/*.npz")
    kept.write_bytes(kept.read_bytes()[:-500])
    assert open_data("drawn-faces", cache=tmp_path).digest == digest


def test_confounded_faces_are_opened_from_a_file(tmp_path):
    pixels, attributes, names = draw_faces(60, correlation=0.9)
    np.savez(tmp_path / "confounded-faces.npz", images=pixels, attributes=attributes, attribute_names=names)
    data = open_data(tmp_path / "confounded-faces.npz")
    assert (data.attribute_names, data.image) == (tuple(names), (3, 64, 64))
    np.testing.assert_array_equal(data.attributes, attributes)
    smiling, mouth = (data.attributes[:, names.index(name)] for name in PAIRS[0])
    assert np.corrcoef(smiling, mouth)[0, 1] > 0.5


@pytest.mark.parametrize("shape", [(40, 9, 7), (40, 9, 7, 3)])
def test_a_large_npy_is_read_through_once_until_it_changes(tmp_path, monkeypatch, shape):
    monkeypatch.setattr(sources, "LARGE", 0)
    hashed, file = [], tmp_path / "a.npy"
    monkeypatch.setattr(sources, "pixel_hash", lambda pixels: hashed.append(len(pixels)) or pixel_hash(pixels))
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    np.save(file, array)
    digests = [open_data(file, cache=tmp_path / cache).digest for cache in ("one", "one", "other")]
    assert (len(set(digests)), len(hashed)) == (1, 2)
    (kept,) = tmp_path.glob("one/arrays/*.json")
    kept.write_text("{")
    assert open_data(file, cache=tmp_path / "one").digest == digests[0]
    assert len(hashed) == 3  # what is damaged is made again
    array[5] ^= 255
    np.save(file, array)
    later = file.stat().st_mtime_ns + 10**9  # a file system's clock may tick more slowly than a test runs
    os.utime(file, ns=(later, later))
    changed = open_data(file, cache=tmp_path / "one")
    assert changed.digest == open_data(file, cache=tmp_path / "third").digest != digests[0]
    assert open_data(file, size=4, cache=tmp_path / "one").digest != changed.digest  # no longer what the file holds


def test_a_small_npy_needs_no_cache(tmp_path, pictures):
    np.save(tmp_path / "a.npy", pictures)
    open_data(tmp_path / "a.npy", cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("shape", [(9, 8, 6), (9, 8, 6, 3), (9, 3, 8, 6)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_npy_is_mapped_where_each_picture_lies_together(tmp_path, shape, order):
    array = np.asarray(np.random.default_rng(0).integers(0, 256, shape, np.uint8), order=order)
    np.save(tmp_path / "a.npy", array)
    data = open_data(tmp_path / "a.npy")
    assert isinstance(data.pixels, np.memmap) is (order == "C")
    taken = data.take([4, 0])
    assert taken.flags.c_contiguous
    np.testing.assert_array_equal(taken, np.array(data.pixels)[[4, 0]])
    np.savez(tmp_path / "a.npz", x=array)
    assert open_data(tmp_path / "a.npz").digest == data.digest


def test_pictures_are_looked_at_only_until_one_is_no_mask(pictures, monkeypatch):
    monkeypatch.setattr("vaekit.data.arrays.CHUNK", 4)
    looked = []

    class Watched(np.ndarray):
        def __getitem__(self, key):
            looked.append(key)
            return super().__getitem__(key)

    to_bytes(pictures.view(Watched), "pictures")
    assert looked == [slice(0, 4)]
