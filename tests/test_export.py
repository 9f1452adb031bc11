"""What is written for others: ONNX files that compute what torch does, and a page with everything in it."""

import json
import re
import shutil

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

import tiny
from vaekit.data import open_data, read_image
from vaekit.errors import CheckFailed, DataError, UsageError
from vaekit.export import networks, page, page_of, write_folder, write_networks
from vaekit.export.networks import Encoder, compare
from vaekit.fitting import fit
from vaekit.latent import codes, decode
from vaekit.model import VAE
from vaekit.planning import start
from vaekit.posteriors import Deterministic
from vaekit.recipes import cook
from vaekit.studio import bundle_of


def session(file: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("net", ["mlp", "conv", "resnet", "mixer"])
def test_onnx_computes_what_torch_does_for_any_number_of_pictures(net):
    image = (3, 24, 20) if net != "mixer" else (3, 24, 24)
    model = cook("vae", image, {"net": net, "latent": 5}).model.eval()
    files = networks(model)
    pictures = tiny.pictures(7, image)
    mu, log_var = session(files["encoder"]).run(None, {"x": (pictures / 255).astype(np.float32)})
    expected = codes(model, pictures)
    np.testing.assert_allclose(mu, expected.mu, atol=1e-4)
    np.testing.assert_allclose(log_var, expected.log_var, atol=1e-4)
    (drawn,) = session(files["decoder"]).run(None, {"z": mu})
    np.testing.assert_allclose(drawn, decode(model, mu), atol=1e-4)


def test_a_plain_autoencoder_has_codes_without_spread():
    model = tiny.model(posterior=Deterministic(features=16, latent=3), prior=None).eval()
    mu, log_var = session(networks(model)["encoder"]).run(None, {"x": np.zeros((2, 1, 8, 8), np.float32)})
    assert np.isfinite(mu).all()
    assert np.isneginf(log_var).all()


def test_another_computation_is_not_written():
    model, other = tiny.model().eval(), tiny.model().eval()
    with pytest.raises(CheckFailed, match="differs from torch"):
        compare(Encoder(other), networks(model)["encoder"], torch.rand(3, 1, 8, 8), "encoder")


def test_what_onnx_has_not_is_told():
    class Odd(VAE):
        def encode(self, x, c=None):
            if x.sum() > 0:
                raise RuntimeError("no tracing here")
            return super().encode(x, c)

    plain = tiny.model()
    odd = Odd(**{name: getattr(plain, name) for name in ("encoder", "posterior", "decoder", "likelihood", "prior")})
    with pytest.raises(UsageError, match="encoder of this model cannot be written as ONNX"):
        networks(odd.eval())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    data = open_data("digits")
    made = start(tmp_path_factory.mktemp("export") / "digits", data, tiny.recipe(make=tiny.model, images=60))
    fit(made, data)
    return made


def test_the_readme_beside_the_files_can_be_followed(run, tmp_path, monkeypatch):
    *_, readme = write_networks(run, tmp_path / "onnx")
    (code,) = re.findall(r"```python\n(.*?)```", readme.read_text(), re.S)
    monkeypatch.chdir(tmp_path / "onnx")

    def follow(picture) -> dict:
        found: dict = {}
        exec(code.replace("PICTURE", str(picture)), found)  # what a reader is told to run
        return found

    model = run.load_model("cpu")
    Image.fromarray(run.open_data().pixels[0, 0]).save(tmp_path / "some.png")
    expected = decode(model, codes(model, run.open_data().pixels[:1]).mu)
    np.testing.assert_allclose(follow(tmp_path / "some.png")["picture"], expected, atol=1e-4)

    y, x = np.mgrid[0:40, 0:60]
    shades = np.stack([4 * x, 6 * y, 255 - 4 * x, 3 * x + y], -1).astype(np.uint8)  # and ever less transparent
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(shades).save(tmp_path / "large.png", exif=turned)
    np.testing.assert_allclose(
        255 * follow(tmp_path / "large.png")["x"][0], read_image(tmp_path / "large.png", model.image), atol=1.01
    )


def test_the_page_holds_everything_and_asks_for_nothing(run):
    bundle = bundle_of(run, run.load_model("cpu"), run.open_data(), most=50)
    assert bundle.manifest["path"] == str(run.path)
    bundle.manifest["notes"] = [f"{run.path} has vectors of other weights"]
    html = page_of(bundle, networks(run.load_model("cpu")), standard=True)
    assert "connect-src 'none'" in html
    assert not re.findall(r'(?:src|href)="(?!#|data:)', html.partition('<script type="text/plain"')[0])
    (told,) = re.findall(r'<script type="application/json" id="manifest">(.*?)</script>', html, re.S)
    assert json.loads(told)["count"] == 50
    assert str(run.path) not in html
    kept = set(re.findall(r'id="blob-([\w-]+)"', html))
    assert kept == {*bundle.blobs, "encoder", "decoder", "wasm"}
    modules = set(re.findall(r'data-module="([^"]+)"', html))
    assert {"ort", "studio/app.js", "studio/packed.js"} <= modules
    assert len(html) < 8_000_000


def test_a_page_has_no_more_pictures_than_it_can_carry_codes_of(run, monkeypatch):
    monkeypatch.setattr("vaekit.studio.bundle.MOST_NUMBERS", 60)
    bundle, model = page.gathered(run, run.open_data(), 50, "pca")
    assert bundle.manifest["count"] == 60 // model.latent
    assert bundle.mu.shape == (60 // model.latent, model.latent)


def test_a_runtime_that_was_changed_is_refused(monkeypatch, tmp_path):
    copy = tmp_path / "studio"
    shutil.copytree(str(page.STUDIO), copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr("vaekit.export.page.STUDIO", copy)
    assert page.vendored(page.RUNTIME)
    with open(copy / "vendor" / page.RUNTIME, "a") as file:
        file.write("\n")
    with pytest.raises(DataError, match="was changed"):
        page.vendored(page.RUNTIME)


def test_a_folder_for_a_web_server_is_made_again_and_never_over_something_else(run, tmp_path):
    data, site = run.open_data(), tmp_path / "site"
    first = {path: path.read_bytes() for path in write_folder(run, data, site, most=20).parent.rglob("*") if path.is_file()}
    names = {str(path.relative_to(site)) for path in first}
    assert {"index.html", "static/packed.js", f"static/{page.RUNTIME}", "data/decoder.bin", "data/wasm.bin"} <= names
    write_folder(run, data, site, most=20)
    again = {path: path.read_bytes() for path in site.rglob("*") if path.is_file()}
    assert again.keys() == first.keys()
    assert {path.name for path in first if again[path] != first[path]} <= {"encoder.bin", "decoder.bin"}  # names inside differ
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "index.html").write_text("<title>my own</title>")
    for other in (tmp_path / "other", tmp_path / "other" / "index.html"):
        with pytest.raises(UsageError, match="something else"):
            write_folder(run, data, other)
    assert (tmp_path / "other" / "index.html").read_text() == "<title>my own</title>"
