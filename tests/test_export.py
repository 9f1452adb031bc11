"""What is written for others: ONNX files that compute what torch does, and a page with everything in it."""

import gzip
import io
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

import tiny
from vaekit.data import open_data, read_image
from vaekit.errors import CheckFailed, DataError, UsageError
from vaekit.export import light, networks, page, page_of, write_folder, write_networks
from vaekit.export.networks import Encoder, compare, computed
from vaekit.fitting import fit
from vaekit.latent import codes, decode
from vaekit.model import VAE
from vaekit.planning import start
from vaekit.posteriors import Deterministic
from vaekit.recipes import cook
from vaekit.studio import bundle_of
from vaekit.studio.bundle import thumbnails


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
    assert len(html) < 6_000_000
    for_cards = page_of(bundle, networks(run.load_model("cpu")), standard=True, card=True)
    assert set(re.findall(r'id="blob-([\w-]+)"', for_cards)) == kept | {"wasm-card"}
    assert set(re.findall(r'data-module="([^"]+)"', for_cards)) == modules | {"ort-card"}


@pytest.mark.parametrize("size", [0, 1, 2, 6, 7, 8, 1000, 100_000])
def test_text_holds_seven_bits_in_each_character(size):
    blob = np.random.default_rng(size).integers(256, size=size, dtype=np.uint8).tobytes()
    text = page.text_of(blob)
    assert not set(text) & set("\0\n\r<")
    whole = int("0" + "".join(f"{ord(letter) & 127:07b}" for letter in text)[: 8 * size], 2)
    assert whole == int.from_bytes(blob, "big")
    assert len(text.encode()) <= page.WEIGHT * size * 1.01 + 4


@pytest.mark.parametrize("bits", [8, 11, 16])
def test_rounded_weights_differ_by_half_a_step_at_most(bits):
    model = cook("vae", (3, 16, 16), {"net": "conv", "latent": 5}).model.eval()
    file = networks(model)["decoder"]
    made = onnx.load_from_string(light.rounded(file, bits))
    before = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load_from_string(file).graph.initializer}
    after = {tensor.name: onnx.numpy_helper.to_array(tensor).astype(float) for tensor in made.graph.initializer}
    many = [name for name, weights in before.items() if f"{name}/scale" in after]
    assert sum(before[name].size for name in many) > 0.9 * sum(weights.size for weights in before.values())
    for name in many:
        whole = 256 * after[f"{name}/high"] + after[f"{name}/low"]
        assert whole.max() < 2**bits
        found = (whole - 2 ** (bits - 1)) * after[f"{name}/scale"]
        assert (np.abs(found - before[name]) <= 0.501 * after[f"{name}/scale"]).all()


@pytest.fixture(scope="module")
def lit(run):
    """What a page carries of a run: bundle and networks, before and after."""
    model, data = run.load_model("cpu"), run.open_data()
    bundle, nets = bundle_of(run, model, data), networks(model)
    return (
        model,
        data,
        bundle,
        nets,
        light.light_codes(model, bundle),
        light.light_networks(model, nets, bundle.mu, data.pixels[:32]),
    )


def test_a_page_s_networks_are_lighter_and_draw_the_same(lit):
    model, data, bundle, nets, _, lighter = lit
    sizes = {name: [len(gzip.compress(files[name])) for files in (nets, lighter)] for name in nets}
    assert all(after < 0.7 * before for before, after in sizes.values()), sizes
    drawn = 255 * computed(lighter["decoder"], bundle.mu[:200].astype(np.float32))
    assert np.abs(drawn - 255 * decode(model, bundle.mu[:200])).max() <= 1
    mu = computed(lighter["encoder"], (data.pixels[:200] / 255).astype(np.float32))
    assert 255 * np.abs(decode(model, mu) - decode(model, codes(model, data.pixels[:200]).mu)).max() <= 1


def test_a_page_s_codes_are_lighter_and_decode_to_the_same(lit):
    model, _, bundle, _, lighter, _ = lit
    assert len(gzip.compress(lighter.blobs["mu"])) < 0.8 * len(gzip.compress(bundle.blobs["mu"]))
    high, low = np.frombuffer(lighter.blobs["mu"], np.uint8).reshape(2, *bundle.mu.shape).astype(int)
    code = lighter.manifest["code"]
    mu = code["low"] + (256 * high + low) / 65535 * np.array(code["span"])
    assert 255 * np.abs(decode(model, mu.astype(np.float32)) - decode(model, bundle.mu)).max() <= 2
    assert lighter.manifest["arrays"]["mu"]["planes"]


def test_networks_that_no_rounding_leaves_as_they_are_stay_as_they_were(lit, monkeypatch):
    model, data, bundle, nets, *_ = lit
    monkeypatch.setattr(light, "WEIGHTS", -1.0)
    assert light.light_networks(model, nets, bundle.mu, data.pixels[:8]) == nets


def test_thumbnails_are_made_smaller_as_there_is_less_room_and_stay_where_they_are(lit):
    _, data, bundle, *_ = lit
    large = replace(data, pixels=np.full((60, 1, 60, 36), 255, np.uint8))
    many = replace(bundle, rows=np.arange(60), manifest=bundle.manifest | {"image": [1, 60, 36]})
    side, atlas = thumbnails(large, many.rows)
    many = replace(many, blobs={"thumbs": atlas}, manifest=many.manifest | {"thumbs": {"side": side, "columns": 8, "every": 1}})
    assert light.light_thumbs(many, large, len(atlas)) == many
    small = light.light_thumbs(many, large, 0)  # whatever the room, somebody has to see something
    assert len(small.blobs["thumbs"]) < len(atlas)
    assert (side, small.manifest["thumbs"]["side"]) == (32, 16)
    shown = np.asarray(Image.open(io.BytesIO(small.blobs["thumbs"])).convert("L"))
    assert shown.shape == (8 * 16, 8 * 16)
    assert shown[16:32, 16 + 4 : 16 + 12].min() > 240  # as packed.js cuts a picture of 60 x 36 out of it


def test_a_page_has_no_more_pictures_than_it_can_carry_codes_of(run, monkeypatch):
    monkeypatch.setattr("vaekit.studio.bundle.MOST_NUMBERS", 60)
    bundle, *_ = page.gathered(run, run.open_data(), 50, "pca")
    latent = bundle.manifest["latent"]
    assert bundle.manifest["count"] == 60 // latent
    assert bundle.mu.shape == (60 // latent, latent)


def test_a_runtime_that_was_changed_is_refused(monkeypatch, tmp_path):
    copy = tmp_path / "studio"
    shutil.copytree(str(page.STUDIO), copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr("vaekit.export.page.STUDIO", copy)
    for name in (*page.RUNTIMES.values(), *page.WASM.values()):
        assert page.vendored(name)
        with open(copy / "vendor" / name, "ab") as file:
            file.write(b"\n")
        with pytest.raises(DataError, match="was changed"):
            page.vendored(name)


def test_a_folder_for_a_web_server_is_made_again_and_never_over_something_else(run, tmp_path):
    data, site = run.open_data(), tmp_path / "site"
    first = {path: path.read_bytes() for path in write_folder(run, data, site, most=20).parent.rglob("*") if path.is_file()}
    names = {str(path.relative_to(site)) for path in first}
    assert {name.rpartition(".")[2] for name in names} == {
        "html",
        "css",
        "js",
        "bin",
    }  # which every server knows
    assert {"index.html", "static/packed.js", "data/decoder.bin", "data/wasm.bin", "data/wasm-card.bin"} <= names
    assert {f"static/{name}.js" for name in page.RUNTIMES} <= names
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
