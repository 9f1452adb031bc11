"""The short way to the pixels of a plain JPEG and the way by `Image.open`: the same pixels, the same words for what is broken."""

import io
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pictures import scene
from vaekit.data import Broken, Recipe
from vaekit.data import decode as decoding
from vaekit.data.jpeg import plain_frame

SIZES = ((218, 178), (64, 64), (65, 63), (128, 257), (17, 300), (16, 16), (8, 9), (1, 1), (513, 640))  # height, width


def jpeg(height: int, width: int, mode: str = "RGB", **options) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(scene(height * 1000 + width, height, width)).convert(mode)
    image.save(file, "JPEG", **options)
    return file.getvalue()


def by_pillow(data: bytes, size: int, mode: str) -> bytes:
    """The centred square, channel after channel: open, draft, resize with a box."""
    with Image.open(io.BytesIO(data)) as image:
        scale = min(image.size) / size
        image.draft("L" if mode == "L" else None, (int(image.width / scale), int(image.height / scale)))
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        if side == size:  # whole pixels
            left, top = int(left), int(top)
        box = (left, top, left + side, top + side)
        square = image.convert(mode).resize((size, size), Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)
    return np.asarray(square).reshape(size, size, -1).transpose(2, 0, 1).tobytes()


def outcome(data: bytes, recipe: Recipe) -> bytes | tuple[str, str]:
    try:
        return recipe.array(decoding.decode(data, recipe)).tobytes()
    except Broken as broken:
        return broken.reason, broken.detail


@pytest.fixture
def both(monkeypatch):
    """What decoding gives, after a comparison with the way by `Image.open`."""

    def decoded(data, recipe):
        short = outcome(data, recipe)
        with monkeypatch.context() as patch:
            patch.setattr(decoding, "plain", lambda data, recipe: None)
            assert outcome(data, recipe) == short
        return short

    return decoded


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True, "quality": 30}, {"restart_marker_blocks": 3}])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_pixels_are_those_of_pillow(both, subsampling, options):
    for height, width in SIZES:
        data = jpeg(height, width, subsampling=subsampling, **options)
        assert plain_frame(data, 10**6) == (width, height, "RGB")
        for size, mode in product((8, 31, 64), ("RGB", "L")):
            recipe = Recipe(size, size, len(mode))
            assert both(data, recipe) == by_pillow(data, size, mode), (height, width, size, mode)


@pytest.mark.parametrize(("mode", "crop", "channels"), [*product(("RGB", "L", "CMYK"), ("center", "stretch", "pad"), (1, 3, 4))])
def test_every_recipe_gives_the_same_by_both_ways(both, mode, crop, channels):
    for height, width in SIZES:
        for shape in ((64, 64), (20, 48), (height, width)):
            assert isinstance(both(jpeg(height, width, mode), Recipe(*shape, channels, crop)), bytes)


def test_a_very_long_picture_can_be_padded(both):
    assert isinstance(both(jpeg(2, 1000), Recipe(64, 64, 3, "pad")), bytes)


def test_notes_of_other_programs_leave_a_jpeg_plain_and_what_turns_it_does_not(both):
    picture = jpeg(40, 60, icc_profile=b"any bytes will do" * 5000, comment=b"hello", dpi=(72, 72))
    assert plain_frame(picture, 10**6) == (60, 40, "RGB")
    assert both(picture, Recipe(16, 16, 3)) == both(jpeg(40, 60), Recipe(16, 16, 3))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = jpeg(40, 60, exif=exif)
    assert plain_frame(turned, 10**6) is None
    assert both(turned, Recipe(16, 16, 3)) != both(jpeg(40, 60), Recipe(16, 16, 3))


def test_a_bomb_is_named(both, monkeypatch):
    monkeypatch.setattr(decoding, "PIXEL_LIMIT", 1000)
    assert both(jpeg(40, 60), Recipe(16, 16, 3))[0] == "decompression bomb"


@pytest.mark.parametrize("progressive", [False, True])
def test_wherever_a_file_ends_the_words_are_the_same(both, progressive):
    data = jpeg(100, 80, progressive=progressive)
    for end in {*range(0, 700, 7), *range(700, len(data), 41), *range(len(data) - 12, len(data))}:
        reason, _ = both(data[:end], Recipe(32, 32, 3))
        assert reason in ("empty file", "truncated", "corrupt", "not an image")
    assert isinstance(both(data + b"more", Recipe(32, 32, 3)), bytes)


@given(st.data())
def test_whatever_bytes_are_changed_both_ways_agree(data):
    whole = bytearray(jpeg(48, 40, mode=data.draw(st.sampled_from(["RGB", "L"])), progressive=data.draw(st.booleans())))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    recipe = Recipe(16, 16, data.draw(st.sampled_from([1, 3])))
    short = outcome(bytes(whole), recipe)
    plain, decoding.plain = decoding.plain, lambda data, recipe: None
    try:
        assert outcome(bytes(whole), recipe) == short
    finally:
        decoding.plain = plain
