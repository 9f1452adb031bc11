"""Every figure draws whatever a run may hold, refuses what it cannot draw, and the same input gives the same bytes."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from vaekit import draw
from vaekit.draw.pixels import fitted, mosaic, resized, to_rgb
from vaekit.draw.style import PALETTE, Sheet, shortened, text_width
from vaekit.errors import UsageError

SHAPES = [(1, 8, 8), (3, 5, 9), (4, 17, 6), (1, 1, 1), (3, 3, 140), (1, 150, 4)]  # (C, H, W)


def pixels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def codes(n: int, d: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def opened(figure: Figure) -> Image.Image:
    png = draw.save_png(figure)
    assert len(png) < 1_500_000
    return Image.open(BytesIO(png))


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_text()]


def log(n: int, split: str = "train", **extra: float) -> list[dict]:
    return [{"images": 100 * (i + 1), "split": split, "distortion": 90.0 / (i + 1), "rate": 5.0 + i, **extra} for i in range(n)]


@pytest.mark.parametrize("image", SHAPES)
def test_image_figures_take_any_channels_and_sizes(image):
    one, many = pixels(1, *image), pixels(13, *image)
    grid = pixels(2, 5, *image)
    for figure in (
        draw.reconstructions(one, one),
        draw.reconstructions(many, many, np.linspace(0, 0.2, 13)),
        draw.samples(one),
        draw.samples(many, "thirteen images decoded from the prior"),
        draw.manifold(grid, np.linspace(-2, 2, 5), (1, -1)),
        draw.traversals(grid, (17, 3), (0.5, 4.2), np.linspace(-3, 3, 5)),
        draw.edit_strip(grid, (-2, -1, 0, 1, 2), ("a.jpg", "b.jpg"), grid[:, 2]),
        draw.edit_strip(grid[:1, :1], (3,), ("a.jpg",)),
        draw.morph_strip(many, ("a", "b")),
        draw.morph_strip(one, ("only",)),
        draw.autoencoder_beside_vae(codes(9), codes(9), manifolds=(grid, grid)),
    ):
        picture = opened(figure)
        assert 400 < picture.width <= 1920


def test_images_reach_the_file_pixel_for_pixel():
    image = np.random.default_rng(0).integers(0, 256, (1, 3, 5, 7), dtype=np.uint8)
    h, w = fitted(5, 7, 928, 128)
    wanted = resized(to_rgb(image, "N C H W"), h, w)[0]
    sheet = Sheet(928, 300, "A title")
    sheet.picture(3.5, 7, wanted)
    file = np.asarray(opened(sheet.figure).convert("RGB"))
    y, x = round((sheet.top + 7) * 2), round((sheet.left + 3.5) * 2)
    np.testing.assert_array_equal(file[y : y + h, x : x + w], wanted)


def test_small_images_grow_by_a_whole_factor_and_large_ones_shrink():
    assert fitted(8, 8, 900, 70) == (136, 136)
    assert fitted(512, 512, 900, 70) == (140, 140)
    assert resized(np.zeros((2, 30, 20, 3), np.uint8), 15, 10).shape == (2, 15, 10, 3)
    assert mosaic(np.zeros((2, 3, 4, 5, 3), np.uint8), gap=1).shape == (2 * 6 - 2, 3 * 7 - 2, 3)


def test_alpha_is_laid_on_white_and_overshoot_is_clipped():
    clear = np.zeros((1, 4, 1, 1), np.uint8)
    assert (to_rgb(clear, "N C H W") == 255).all()
    assert to_rgb(np.full((1, 1, 1, 1), 1.2), "N C H W").max() == 255
    assert to_rgb(np.full((1, 1, 1, 1), 0.5, np.float32), "N C H W").max() == 128


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.zeros((4, 8, 8)), "shape"),
        (np.zeros((4, 8, 8, 3)), "channels"),
        (np.zeros((0, 1, 8, 8)), "no empty axis"),
        (np.full((4, 1, 8, 8), 200.0), "in \\[0, 1\\]"),
        (np.full((4, 1, 8, 8), np.nan), "in \\[0, 1\\]"),
        (np.zeros((4, 1, 8, 8)) - 1, "in \\[0, 1\\]"),
        (np.zeros((4, 1, 8, 8), np.int64), "uint8"),
    ],
)
def test_pixels_that_are_none_are_refused(given, words):
    with pytest.raises(UsageError, match=words):
        draw.samples(given)


def test_what_does_not_fit_together_is_refused():
    x, grid = pixels(4, 1, 8, 8), pixels(2, 3, 1, 8, 8)
    for call in (
        lambda: draw.reconstructions(x, x[:3]),
        lambda: draw.reconstructions(x, x, (0.1,)),
        lambda: draw.manifold(grid, (0, 1), (0, 1)),
        lambda: draw.traversals(grid, (0,), (1.0, 2.0), (0, 1, 2)),
        lambda: draw.edit_strip(grid, (0, 1, 2), ("a", "b"), x),
        lambda: draw.edit_strip(grid, (0, 1, 2), ("a",)),
        lambda: draw.morph_strip(x, ("a", "b", "c")),
        lambda: draw.latent_scatter(codes(5, 3)),
        lambda: draw.latent_scatter(codes(5) * np.nan),
        lambda: draw.latent_scatter(codes(5), labels=(1, 2)),
        lambda: draw.latent_scatter(codes(5), labels=range(5), values=range(5)),
        lambda: draw.unit_square(codes(0)),
        lambda: draw.latent_histograms(codes(5, 3), (1.0,)),
        lambda: draw.autoencoder_beside_vae(codes(5), codes(5), manifolds=(grid,)),
        lambda: draw.autoencoder_beside_vae(codes(5), codes(6), labels=range(5)),
        lambda: draw.training_curves([]),
        lambda: draw.training_curves([{"images": 3, "split": "train", "lr": 1e-3}]),
    ):
        with pytest.raises(UsageError) as error:
            call()
        assert str(error.value).count(".") >= 3, "an error says what was given, what was expected, what to do"


@pytest.mark.parametrize("n", [1, 300])
def test_scatters_take_any_labels_and_values(n):
    z = codes(n)
    many = np.arange(n) % 26
    for how in (
        {},
        {"labels": many},
        {"labels": many, "label_names": [f"a rather long class name {i}" for i in range(26)]},
        {"labels": np.full(n, -1)},
        {"labels": np.full(n, np.nan)},
        {"labels": np.arange(n) * 5},
        {"values": np.full(n, np.nan)},
        {"values": many % 2, "value_name": "Smiling"},
        {"values": np.where(many % 3 == 0, np.nan, many / 7), "value_name": "angle"},
        {"values": np.full(n, 0.3)},
    ):
        opened(draw.latent_scatter(z, sigma_circles=True, knn_accuracy=0.83, **how))
    opened(draw.unit_square(z, many))
    opened(draw.autoencoder_beside_vae(z * 9, codes(n + 1)))
    opened(draw.autoencoder_beside_vae(z * 9, z, many, [str(i) for i in range(26)]))


def test_scatter_says_its_numbers():
    z = codes(50)
    z[:3] = np.nan
    shown = " ".join(texts(draw.latent_scatter(z, labels=np.arange(50) % 2, label_names=("cat", "dog"), knn_accuracy=0.8312)))
    assert "47 codes (3 are not finite)" in shown
    assert "5-nearest-neighbour accuracy 0.831" in shown
    assert shown.count("dog") == 2, "once at the median of the class, once in the legend"


def test_codes_beyond_the_frame_are_counted():
    z = np.concatenate([codes(5000), np.full((1, 2), 1e6)])
    assert any("5,001 codes" in text and "13 of them outside the frame" in text for text in texts(draw.latent_scatter(z)))


@pytest.mark.parametrize("d", [1, 5, 40])
def test_histograms_of_any_codes(d):
    assert "z0" in texts(draw.latent_histograms(codes(200, d), np.ones(d)))
    opened(draw.latent_histograms(np.zeros((7, d)), np.zeros(d)))
    opened(draw.latent_histograms(codes(1, d) * 50, np.arange(d)))


def test_latents_are_sorted_by_kl_and_named_by_their_column():
    kl = np.array([0.001, 3.0, 1.0])
    names = [text for text in texts(draw.latent_histograms(codes(20, 3), kl)) if text.startswith("z")]
    assert names == ["z1", "z2", "z0"]
    rows = texts(draw.traversals(pixels(3, 3, 1, 8, 8), (5, 17, 2), kl, (-3, 0, 3)))
    assert [text for text in rows if text.startswith("z")] == ["z17", "z2", "z5"]
    assert {"3 nats", "−3σ", "+3σ"} <= set(rows)
    assert {"10%", "50%"} <= set(texts(draw.traversals(pixels(3, 3, 1, 8, 8), (5, 17, 2), kl, (0.1, 0.5, 0.9), shares=True)))


def test_training_curves_from_what_a_log_holds():
    full = log(500, elbo=-100.0) + log(5, "validation", elbo=-101.0)
    for records in (
        full,
        log(1),
        log(3, "validation"),
        [{"images": 10, "split": "train", "rate": 3.0}],
        [*full, {"split": "train"}],
    ):
        opened(draw.training_curves(records, path=True))
    shown = texts(draw.training_curves(full))
    assert {"Distortion", "Rate", "ELBO", "train", "validation", "nats per image", "images seen"} <= set(shown)
    assert "Distortion" not in texts(
        draw.training_curves([{"images": 10, "split": "train", "rate": 3.0, "distortion": float("nan")}])
    )


def test_names_are_text_and_never_markup():
    names = ["$\\frac{1}{", "名前", "two\nlines", "", "<b>", "_^{}%#&~\\", "x" * 500]
    z = codes(70)
    opened(draw.latent_scatter(z, np.arange(70) % 7, names, axis_names=("$a_", "^b$"), title="$", subtitle="100 % of $5"))
    opened(draw.latent_scatter(z, values=np.arange(70), value_name=names[0]))
    opened(draw.edit_strip(pixels(7, 3, 1, 8, 8), (-1, 0, 1), names, title=names[-1]))
    opened(draw.samples(pixels(2, 1, 8, 8), "x" * 5000))
    assert text_width(shortened("x" * 500, 100), 9) <= 100


@pytest.mark.parametrize(
    "figure",
    [
        lambda: draw.latent_scatter(codes(400), np.arange(400) % 10, sigma_circles=True),
        lambda: draw.samples(pixels(20, 3, 8, 8), "twenty"),
        lambda: draw.training_curves(log(50)),
    ],
)
def test_same_input_same_bytes_in_any_thread(figure):
    first = draw.save_png(figure(), "A title")
    ready = threading.Barrier(3)

    def again(_: int) -> bytes:
        ready.wait()
        return draw.save_png(figure(), "A title")

    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(again, range(3))) == {first}
    picture = Image.open(BytesIO(first))
    assert picture.text == {"Software": "vaekit", "Title": "A title"}


def test_drawing_needs_no_torch_and_no_pyplot():
    code = "import sys, vaekit.draw; print(*sorted({'torch', 'matplotlib.pyplot'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


def test_drawing_leaves_matplotlib_alone():
    before = dict(mpl.rcParams)
    draw.save_png(draw.latent_scatter(codes(20), values=np.arange(20)))
    assert dict(mpl.rcParams) == before


def test_large_clouds_stay_small_files():
    z = codes(40_000)
    assert len(draw.save_png(draw.latent_scatter(z, np.arange(len(z)) % 10))) < 700_000


def test_grey_pictures_keep_every_grey():
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).convert("RGB")
    again = Image.open(BytesIO(draw.save_png(ramp)))
    np.testing.assert_array_equal(np.asarray(again.convert("RGB")), np.asarray(ramp))


@pytest.mark.parametrize("image", SHAPES)
@pytest.mark.parametrize("ending", ["gif", "webp"])
def test_animations_run_forth_and_back(tmp_path, image, ending):
    frames = draw.animate(pixels(4, *image), size=64, ping_pong=True)
    assert len(frames) == 6
    for name in ("a", "b"):
        draw.save_animation(tmp_path / f"{name}.{ending}", frames, fps=10)
    assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()
    with Image.open(tmp_path / f"a.{ending}") as moving:
        assert moving.size == frames[0].size
        assert moving.n_frames == 6
        assert moving.info["loop"] == 0


def test_an_animation_reaches_both_ends_unchanged(tmp_path):
    x = np.stack([np.zeros((3, 8, 8), np.uint8), np.full((3, 8, 8), 255, np.uint8)])
    draw.save_animation(tmp_path / "m.webp", draw.animate(x))
    with Image.open(tmp_path / "m.webp") as moving:
        assert moving.size == (256, 256)
        assert np.asarray(moving.convert("RGB")).max() == 0
        moving.seek(1)
        assert np.asarray(moving.convert("RGB")).min() == 255


def test_animations_that_cannot_be(tmp_path):
    frames = draw.animate(pixels(1, 1, 8, 8))
    for name, images, fps in (("a.mp4", frames, 10), ("a.gif", [], 10), ("a.gif", frames, 0)):
        with pytest.raises(UsageError):
            draw.save_animation(tmp_path / name, images, fps)
    assert not list(tmp_path.iterdir())


def test_colours_differ_for_every_kind_of_colour_vision():
    """Machado, Oliveira and Fernandes 2009, severity 1; distances in OKLab."""
    kinds = (
        np.eye(3),
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    )
    to_lms = [[0.41222, 0.53633, 0.05145], [0.21190, 0.68070, 0.10740], [0.08830, 0.28172, 0.62998]]
    to_lab = [[0.21045, 0.79362, -0.00407], [1.97800, -2.42859, 0.45059], [0.02590, 0.78277, -0.80868]]
    rgb = np.array([[int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)] for color in PALETTE])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    for kind in kinds:
        lab = np.cbrt(np.clip(linear @ np.transpose(kind), 0, 1) @ np.transpose(to_lms)) @ np.transpose(to_lab)
        apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
        assert apart[np.triu_indices(len(lab), 1)].min() > 0.1
