"""The slider of a smile, on drawn faces: it is the mouth that changes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import expect

from studio.pages import CHROMIUM, go, listen, served, settled
from vaekit import Run, cook, fit, open_data, start
from vaekit.data import Dataset
from vaekit.data.drawn_faces import draw_faces
from vaekit.demo import FACES as FACES_OPTIONS
from vaekit.editing import compute_attributes
from vaekit.likelihoods import FixedGaussian
from vaekit.model import VAE
from vaekit.nets import MLPDecoder, MLPEncoder
from vaekit.objectives import ELBO
from vaekit.posteriors import DiagonalGaussian
from vaekit.priors import StandardNormal
from vaekit.recipes import Recipe
from vaekit.training import Training

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
SIDE, LATENT, FACES = 32, 48, 2500
MOUTHS = np.pad(np.ones((6, 12), bool), ((20, 6), (10, 10)))  # where they are


def linear_vae(data: Dataset) -> VAE:
    """The principal components of the pictures as latents, and what pictures are to them by least squares: no training."""
    values = int(np.prod(data.image))
    model = VAE(
        encoder=MLPEncoder(image=data.image, features=values, depth=0),
        posterior=DiagonalGaussian(features=values, latent=LATENT),
        decoder=MLPDecoder(image=data.image, latent=LATENT, width=LATENT, depth=0),
        likelihood=FixedGaussian(scale=0.05),
        prior=StandardNormal(latent=LATENT),
    )
    rows = data.take(data.splits["train"]).reshape(-1, values) / 127.5 - 1  # as the encoder sees them
    centre = rows.mean(0)
    _, scales, axes = np.linalg.svd(rows - centre, full_matrices=False)
    to_codes = axes[:LATENT] / scales[:LATENT, None] * len(rows) ** 0.5  # of variance 1
    codes = (rows - centre) @ to_codes.T
    x = (rows / 2 + 0.5).clip(0.02, 0.98)
    back = np.linalg.lstsq(np.c_[codes, np.ones(len(codes))], np.log(x / (1 - x)), rcond=None)[0]  # before the sigmoid
    with torch.no_grad():
        head, last = model.posterior.head, model.decoder.last
        head.weight.copy_(torch.from_numpy(np.r_[to_codes, np.zeros_like(to_codes)]))
        head.bias.copy_(torch.from_numpy(np.r_[-to_codes @ centre, np.full(LATENT, -3.0)]))
        last.weight.copy_(torch.from_numpy(back[:-1].T))
        last.bias.copy_(torch.from_numpy(back[-1]))
    return model


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> Run:
    home = tmp_path_factory.mktemp("faces")
    pixels, attributes, names = draw_faces(FACES, size=SIDE)
    np.savez(home / "faces.npz", images=pixels, attributes=attributes, attribute_names=names)
    data = open_data(str(home / "faces.npz"))
    model = linear_vae(data)
    run = start(home / "run", data, Recipe(model, ELBO(), Training(images=1, batch_size=1, tune=False, threads=1)))
    fit(run, data)
    run.save_weights(model)
    compute_attributes(run, data)
    Image.fromarray(data.pixels[data.splits["test"][0]].transpose(1, 2, 0)).save(home / "face.png")
    return run


@pytest.fixture(scope="module")
def address(faces) -> Iterator[str]:
    with served(faces.path) as found:
        yield found


def change_by_smile(chromium, address: str, picture: Path, side: int) -> np.ndarray:
    """How much each pixel (S, S) of the picture's reconstruction changes when somebody moves the slider on the page."""
    complaints: list[str] = []
    page = chromium.new_page()
    listen(page, complaints)
    page.goto(address)
    expect(page.locator(".plane")).to_be_visible(timeout=60_000)
    go(page, "Edit")
    page.get_by_label("Open a picture file").set_input_files(picture)
    expect(page.locator(".edit .told").first).to_have_text(picture.name)
    canvas, size = ".stage figure:nth-child(3) canvas", side * side
    before = settled(page, canvas, size)
    page.get_by_role("slider", name="Smiling").focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    after = settled(page, canvas, size, unlike=before)
    assert not complaints
    page.close()
    return np.abs(after.astype(float) - before)[:, :3].mean(1).reshape(side, side)


def of_mouth(change: np.ndarray) -> float:
    """How many times as much changes where mouths are as elsewhere; the most in one of their rows."""
    factor = len(change) // SIDE
    mouth = np.kron(MOUTHS, np.ones((factor, factor), bool))
    assert mouth[change.mean(1).argmax()].any()
    return change[mouth].mean() / change[~mouth].mean()


def test_a_smile_is_added_where_the_mouth_is(chromium, address, faces):
    assert of_mouth(change_by_smile(chromium, address, faces.path.parent / "face.png", SIDE)) > 1.5


@pytest.mark.slow
def test_so_it_is_of_the_network_that_the_demo_trains(chromium, tmp_path):
    """With as many images as its three minutes have on two cores; after an eighth of them it is not the mouth yet."""
    data = open_data("drawn-faces")
    given = FACES_OPTIONS | {"images": 120_000, "compile": "off", "tune": False}
    run = start(tmp_path / "faces", data, cook("faces", data.image, given))
    fit(run, data)
    compute_attributes(run, data)
    Image.fromarray(data.pixels[data.splits["test"][0]].transpose(1, 2, 0)).save(tmp_path / "face.png")
    with served(run.path) as address:
        assert of_mouth(change_by_smile(chromium, address, tmp_path / "face.png", 64)) > 1.5
