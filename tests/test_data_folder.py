import io
import json
import os

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pictures import break_folder, encoded, folder_of, scene
from vaekit.data import check_data, open_data, read_image
from vaekit.errors import DataError, UsageError, VaekitError


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def test_every_format_gives_the_same_picture(tmp_path, cache):
    original = scene(1, 40, 40)
    names = ["a.png", "b.bmp", "c.tif", "d.webp", "e.PPM", "f.jpg", "g.JPEG"]
    for i, name in enumerate(names):
        options = (
            {"lossless": True}
            if name.endswith("webp")
            else {"quality": 98 - (i == 6), "subsampling": 0}
            if "j" in name.lower()
            else {}
        )
        save(tmp_path / "x" / f"{i}{name}", original, **options)
    data = open_data(tmp_path / "x", cache=cache)
    assert data.image == (3, 40, 40)
    assert not data.quarantine
    for picture, name in zip(data.pixels, names, strict=True):
        error = np.abs(picture.astype(int) - original.transpose(2, 0, 1)).max()
        assert error <= (12 if "j" in name.lower() else 0), name


def test_grey_folder_has_one_channel_and_16_bits_are_scaled(tmp_path, cache):
    ramp = np.linspace(0, 65535, 32 * 32).astype(np.uint16).reshape(32, 32)
    save(tmp_path / "x" / "deep.png", ramp)
    save(tmp_path / "x" / "deep.tiff", ramp[::-1].copy())
    Image.fromarray((ramp / 257).astype(np.uint8)).convert("P").save(tmp_path / "x" / "first.gif")
    Image.fromarray(ramp > 30000).save(tmp_path / "x" / "one.png")
    data = open_data(tmp_path / "x", cache=cache)
    assert data.image == (1, 32, 32)
    deep = data.pixels[data.files.index("deep.png")][0]
    assert np.abs(deep - ramp / 257).max() <= 0.5
    assert set(np.unique(data.pixels[data.files.index("one.png")])) == {0, 255}


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_each_of_65536_greys_becomes_the_nearest_of_256(tmp_path, cache, kind):
    deep = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    save(tmp_path / "x" / f"deep.{kind}", deep)
    data = open_data(tmp_path / "x", size=256, cache=cache)
    assert (data.pixels[0, 0] == np.rint(deep / 257)).all()


def test_alpha_lies_on_white_unless_four_channels_are_asked_for(tmp_path, cache):
    array = np.zeros((8, 8, 4), np.uint8)
    array[:, :4] = (200, 10, 20, 255)
    save(tmp_path / "x" / "alpha.png", array)
    indexed = Image.fromarray(np.repeat([[0, 1]], 8, 0).repeat(4, 1).astype(np.uint8), "P")
    indexed.putpalette([200, 10, 20, 1, 2, 3])
    indexed.save(tmp_path / "x" / "palette.png", transparency=1)
    three = open_data(tmp_path / "x", cache=cache)
    for picture in three.pixels:
        assert (picture[:, :, :4] == np.array([200, 10, 20])[:, None, None]).all()
        assert (picture[:, :, 4:] == 255).all()
    four = open_data(tmp_path / "x", channels=4, cache=cache)
    assert (four.pixels[:, 3, :, :4] == 255).all()
    assert (four.pixels[:, 3, :, 4:] == 0).all()


def test_cmyk_exif_rotation_and_first_gif_frame(tmp_path, cache):
    folder = tmp_path / "x"
    folder.mkdir()
    Image.new("CMYK", (16, 24), (0, 255, 255, 0)).save(folder / "cmyk.jpg", quality=95)
    turned = Image.fromarray(np.dstack([np.tile(np.arange(24, dtype=np.uint8) * 10, (16, 1))] * 3))  # 16 high, dark left
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise: 24 high, dark top
    turned.save(folder / "exif.jpg", exif=exif, quality=95)
    frames = [Image.new("RGB", (16, 24), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "frames.gif", save_all=True, append_images=frames[1:])
    data = open_data(folder, cache=cache)
    assert data.image == (3, 24, 16)
    cmyk, exif_picture, first = data.pixels.astype(int)
    assert cmyk[0].min() > 240
    assert cmyk[1:].max() < 20
    assert exif_picture[:, 0].mean() < 10
    assert exif_picture[:, -1].mean() > 200
    assert (first == np.array([255, 0, 0])[:, None, None]).all()


def behind_the_pixels(png, kind):
    """A PNG whose chunk of this kind stands behind the pixels."""
    start = png.index(kind) - 4
    end = start + 12 + int.from_bytes(png[start : start + 4], "big")
    return png[:start] + png[end:-12] + png[start:end] + png[-12:]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "PNG late", "PNG XMP", "WEBP", "TIFF", "TIFF packed"])
@pytest.mark.parametrize("turned", [1, 3, 6])
def test_the_size_is_that_of_the_picture_as_it_is_shown(tmp_path, cache, kind, turned):
    (tmp_path / "x").mkdir()
    exif, notes = Image.Exif(), PngInfo()
    exif[0x0112] = turned
    notes.add_itxt("XML:com.adobe.xmp", f'<rdf:Description tiff:Orientation="{turned}"/>')
    options = {"pnginfo": notes} if kind == "PNG XMP" else {"exif": exif}
    for i in range(3):
        content = encoded(i, kind.split()[0], 40, 60, **options, **({"compression": "tiff_lzw"} if kind == "TIFF packed" else {}))
        content = behind_the_pixels(content, b"eXIf") if kind == "PNG late" else content
        (tmp_path / "x" / f"{i}.{kind.split()[0].lower()}").write_bytes(content)
    data = open_data(tmp_path / "x", cache=cache)
    assert data.image == ((3, 60, 40) if turned == 6 else (3, 40, 60))
    expected = np.rot90(scene(0, 40, 60), {1: 0, 3: 2, 6: 3}[turned]).transpose(2, 0, 1)
    assert np.abs(data.pixels[0].astype(int) - expected).mean() < (0.1 if kind[0] in "PT" else 6)


def test_pixels_without_a_defined_range_are_named(tmp_path, cache):
    ramp = np.arange(64).reshape(8, 8)
    save(tmp_path / "x" / "good.png", (ramp * 1000).astype(np.uint16))
    for name, kind in (("int", np.int32), ("float", np.float32)):
        save(tmp_path / "x" / f"{name}.tiff", ramp.astype(kind))
    file = io.BytesIO()
    Image.fromarray(ramp.astype(np.uint16)).save(file, "TIFF")
    bits = bytes.fromhex("0201 0300 01000000 1000")  # BitsPerSample: 16
    assert bits in file.getvalue()
    (tmp_path / "x" / "twelve.tiff").write_bytes(file.getvalue().replace(bits, bits[:-2] + b"\x0c\0"))
    data = open_data(tmp_path / "x", cache=cache)
    assert data.files == ("good.png",)
    said = {finding.path: finding.detail for finding in data.quarantine.findings}
    assert data.quarantine.counts == {"unsupported format": 3}
    for name, words in (("int", "32-bit or signed pixels"), ("float", "float pixels"), ("twelve", "12-bit pixels")):
        assert words in said[f"{name}.tiff"]


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_crops(tmp_path, cache, kind):
    wide = np.zeros((100, 200, 3), np.uint8)
    wide[:, 50:150, 0] = 255  # the centred square is red, its surroundings black
    save(tmp_path / "x" / f"a.{kind.lower()}", wide)
    centre, stretched, padded = (
        open_data(tmp_path / "x", size=20, crop=crop, cache=cache).pixels[0].astype(int) for crop in ("center", "stretch", "pad")
    )
    assert centre[0, :, 2:-2].min() > 215
    assert stretched[0, 10, 2] < 40
    assert stretched[0, 10, 10] > 215
    assert padded[:, :4].max() < 40
    assert padded[0, 10, 10] > 215
    assert open_data(tmp_path / "x", size=(10, 30), cache=cache).image == (3, 10, 30)


def test_size_is_kept_where_nearly_all_share_a_small_one(tmp_path, cache):
    folder = folder_of(tmp_path / "x", 12, height=30, width=20)
    (folder / "odd.png").write_bytes(encoded(99, height=300, width=20))
    assert open_data(folder, cache=cache).image == (3, 30, 20)
    for i in range(3):
        (folder / f"more{i}.png").write_bytes(encoded(200 + i, height=33, width=20))
    assert open_data(folder, cache=cache).image == (3, 64, 64)
    assert open_data(folder_of(tmp_path / "large", 2, height=200, width=200), cache=cache).image == (3, 64, 64)


def test_folders_are_labels(tmp_path, cache):
    for label in ("dog", "cat"):
        folder_of(tmp_path / "x" / label / "deep" / "er", 3, kind="PNG", height=8, width=8 if label == "cat" else 9)
    data = open_data(tmp_path / "x", size=8, cache=cache)
    assert data.label_names == ("cat", "dog")
    assert [data.label_names[label] for label in data.labels] == [file.split("/")[0] for file in data.files]
    assert sorted(np.concatenate([data.labels_of(side) for side in data.splits])) == sorted(data.labels)
    (tmp_path / "x" / "loose.png").write_bytes(encoded(77))
    for number in range(20):
        (tmp_path / "x" / "dog" / f"{number}.png").write_bytes(encoded(100 + number))
    found = open_data(tmp_path / "x", size=8, cache=cache)
    assert found.labels is None
    assert found.quarantine.paths("beside the labels") == ("loose.png",)
    assert not found.quarantine.lost


def test_a_folder_called_unlabelled_is_no_label(tmp_path, cache):
    for place, kind in enumerate(("cats", "dogs", "Unlabelled")):
        for i in range(5):
            save(tmp_path / "x" / kind / f"{i}.png", scene(10 * place + i, 8, 8))
    data = open_data(tmp_path / "x", cache=cache)
    assert data.label_names == ("cats", "dogs")
    kinds = [-1 if name.startswith("Un") else data.label_names.index(name.split("/")[0]) for name in data.files]
    assert data.labels.tolist() == kinds
    (tmp_path / "y").mkdir()
    for place, kind in enumerate(("train/cats", "train/dogs", "test/cats", "test/dogs", "unlabelled")):
        for i in range(5):
            save(tmp_path / "y" / kind / f"{i}.png", scene(10 * place + i, 8, 8))
    data = open_data(tmp_path / "y", cache=cache)
    assert data.label_names == ("cats", "dogs")
    assert (data.labels == -1).sum() == 5
    assert len(data.splits["test"]) == 10


def test_folders_called_train_and_test_are_splits(tmp_path, cache):
    for i, side in enumerate(("train", "test")):
        for j, label in enumerate(("a", "b")):
            folder_of(tmp_path / "x" / side / label, 10, height=8 + i, width=8 + j)
    data = open_data(tmp_path / "x", size=8, cache=cache)
    assert data.label_names == ("a", "b")
    assert {data.files[i].split("/")[0] for i in data.splits["test"]} == {"test"}
    assert len(data.splits["test"]) == 20
    assert len(data.splits["validation"]) > 0


def test_forty_broken_files_are_named_and_all_good_ones_are_in(tmp_path, cache):
    folder = folder_of(tmp_path / "x", 30)
    broken = break_folder(folder)
    assert len(broken) == 40
    data = open_data(folder, cache=cache)
    found = {finding.path: finding.reason for finding in data.quarantine.findings}
    expected = {
        name: {"truncated", "corrupt", "not an image"} if reason == "cut" else {reason} for name, reason in broken.items()
    }
    assert {name for name in expected if found.get(name) not in expected[name]} == set()
    assert set(found) == set(expected)
    assert data.files == tuple(f"{i:03d}.png" for i in range(30))
    assert len(data.pixels) == 30
    report = check_data(folder, cache=cache)
    assert report == data.quarantine
    assert json.loads(json.dumps(report.describe()))["lost"] == 40
    assert "40" in data.summary()


def test_other_files_are_ignored_and_counted(tmp_path, cache):
    folder = folder_of(tmp_path / "x", 3)
    for name in ("Thumbs.db", ".DS_Store", "notes.txt", "README"):
        (folder / name).write_text("x")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "a.png").write_bytes(encoded(50))
    data = open_data(folder, cache=cache)
    assert not data.quarantine
    assert data.quarantine.ignored == {".db": 1, "hidden": 2, ".txt": 1, "without suffix": 1}


def test_a_file_too_large_for_a_picture_is_not_even_read(tmp_path, cache):
    folder = folder_of(tmp_path / "x", 3)
    (folder / "vast.png").write_bytes(encoded(9))
    os.truncate(folder / "vast.png", 300 << 20)  # no more than a hole
    data = open_data(folder, cache=cache)
    assert len(data) == 3
    assert data.quarantine.paths("too large a file") == ("vast.png",)


def test_odd_names_and_links(tmp_path, cache):
    folder = folder_of(tmp_path / "x", 2)
    names = ["ünï🙂.PNG", "two\nlines.png", os.fsdecode(b"bytes-\xff.png"), "a b'\"$;.png", "many.dots.in.it.png"]
    for i, name in enumerate(names):
        (folder / name).write_bytes(encoded(10 + i))
    (folder / "broken\n\udcfe.png").write_bytes(b"no")
    (folder / "again").symlink_to(folder, target_is_directory=True)
    data = open_data(folder, cache=cache)
    assert set(names) < set(data.files)
    assert len(data) == 7
    assert data.quarantine.paths("not an image") == ("broken\n\udcfe.png",)
    assert "broken\\n\\xfe.png" in data.summary()
    data.summary().encode()
    assert open_data(folder, cache=cache).files == data.files


def test_a_folder_that_a_link_names_too_has_its_own_name(tmp_path, cache):
    real = folder_of(tmp_path / "x" / "within" / "real", 2)
    (tmp_path / "x" / "a-link").symlink_to(real, target_is_directory=True)
    (tmp_path / "x" / "within" / "back").symlink_to(tmp_path / "x", target_is_directory=True)
    assert open_data(tmp_path / "x", cache=cache).files == ("within/real/000.png", "within/real/001.png")


def test_forbidden_files_and_folders_are_named(tmp_path, cache):
    folder = folder_of(tmp_path / "x", 3)
    folder_of(folder / "closed", 1)
    (folder / "001.png").chmod(0)
    (folder / "closed").chmod(0)
    if os.access(folder / "001.png", os.R_OK):
        pytest.skip("this user may read everything")
    try:
        data = open_data(folder, cache=cache)
    finally:
        (folder / "closed").chmod(0o755)
    assert set(data.quarantine.paths("unreadable")) == {"001.png", "closed"}


def test_what_cannot_be_data(tmp_path, cache):
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("hello")
    (tmp_path / "texts" / "b.heic").write_text("hello")
    (tmp_path / "lies").mkdir()
    (tmp_path / "lies" / "a.jpg").write_text("hello")
    (tmp_path / "film.mp4").write_text("hello")
    for name, words in (
        ("empty", "no picture"),
        ("texts", "heic"),
        ("lies", "None of the 1 pictures"),
        ("missing", "There is no"),
        ("film.mp4", "another kind"),
    ):
        with pytest.raises(DataError, match=words):
            open_data(tmp_path / name, cache=cache)
    assert not list(cache.glob("pixels/*.partial"))
    folder = folder_of(tmp_path / "x", 3)
    for wrong in ({"size": 0}, {"size": (8, 8, 8)}, {"crop": "middle"}, {"channels": 2}, {"splits": (1, 1, 1)}):
        with pytest.raises(UsageError, match="Expected"):
            open_data(folder, cache=cache, **wrong)


def test_description_opens_the_same_data(tmp_path, cache):
    folder = folder_of(tmp_path / "My Pictures!", 20)
    data = open_data(folder, size=16, seed=3, splits=(0.5, 0.25, 0.25), cache=cache)
    description = json.loads(json.dumps(data.description))
    again = open_data(**description, cache=cache)
    assert again.digest == data.digest
    assert again.description == data.description
    assert data.name == "my-pictures"
    assert open_data(folder, size=16, seed=4, splits=(0.5, 0.25, 0.25), cache=cache).digest != data.digest


def test_digest_follows_the_content_not_the_place(tmp_path, cache):
    first = open_data(folder_of(tmp_path / "x", 12), cache=cache)
    second = open_data(folder_of(tmp_path / "y", 12), cache=cache)
    assert first.digest == second.digest
    (tmp_path / "y" / "003.png").write_bytes(encoded(500))
    assert open_data(tmp_path / "y", cache=cache).digest != first.digest


def test_take_gathers_copies(tmp_path, cache):
    data = open_data(folder_of(tmp_path / "x", 5), cache=cache)
    taken = data.take([4, 0])
    assert taken.shape == (2, *data.image)
    assert (taken[0] == data.pixels[4]).all()
    assert not data.pixels.flags.writeable


def test_one_picture_is_treated_as_those_of_a_folder(tmp_path, cache):
    folder = folder_of(tmp_path / "x", 3, kind="JPEG", height=90, width=120)
    data = open_data(folder, size=32, cache=cache)
    assert (read_image(folder / "001.jpeg", data.image) == data.pixels[1]).all()
    (folder / "bad.png").write_text("no")
    for name in ("bad.png", "missing.png"):
        with pytest.raises(DataError, match="Expected"):
            read_image(folder / name, data.image)


def test_unwritable_cache_is_one_clear_message(tmp_path):
    folder = folder_of(tmp_path / "x", 3)
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(VaekitError, match=r"cannot be written.*VAEKIT_CACHE"):
        open_data(folder, cache=tmp_path / "file" / "cache")


def test_official_folders_without_a_test_set_get_a_twelfth(tmp_path, cache):
    for i, side in enumerate(("train", "val")):
        for j in range(120 if side == "train" else 5):
            save(tmp_path / "x" / side / f"{j}.png", scene(1000 * i + j, 8, 8))
    data = open_data(tmp_path / "x", cache=cache)
    assert {data.files[i].split("/")[0] for i in data.splits["validation"]} == {"val"}
    assert len(data.splits["validation"]) == 5
    assert 3 <= len(data.splits["test"]) <= 20
    assert data.description["splits"] == [10 / 12, 1 / 12, 1 / 12]
    assert open_data(**data.description, cache=cache).digest == data.digest


def test_everything_that_is_told_can_be_printed(tmp_path, cache):
    folder = tmp_path / "x"
    for label in ("good", os.fsdecode(b"l\xff\x1b[31m")):
        folder_of(folder / label, 3, height=8, width=8 + len(label))
    (folder / "good" / os.fsdecode(b"bad-\xff\x1b[2J.png")).write_bytes(b"no")
    (folder / "good" / os.fsdecode(b"note.\xfe")).write_bytes(b"x")
    data = open_data(folder, size=8, cache=cache)
    described = data.quarantine.describe()
    for text in (data.summary(), data.quarantine.summary(), json.dumps(described), json.dumps(described, ensure_ascii=False)):
        text.encode()
        assert "\x1b" not in text
    assert described["findings"][0]["path"] == "good/bad-\\xff\\x1b[2J.png"
    assert described["ignored"] == {".\\xfe": 1}
