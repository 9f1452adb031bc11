"""Two models on the same images."""

import json

import numpy as np
import pytest
import torch

import tiny
from vaekit import cli
from vaekit.errors import UsageError
from vaekit.latent import codes
from vaekit.metrics.evaluate import errors_of, evaluate, seen_of
from vaekit.metrics.paired import difference, per_image
from vaekit.objectives import ELBO, Reconstruction
from vaekit.posteriors import Deterministic
from vaekit.train import validate


def test_the_means_over_images_are_those_that_validation_tells():
    model, data = tiny.model().eval(), tiny.dataset(600)
    rows = data.splits["train"]
    found = per_image(model, data, rows, seed=3)
    told = validate(model, ELBO(), seen_of(model, data, rows), len(rows), seed=3)
    for name in ("distortion", "rate", "elbo"):
        assert found[name].shape == rows.shape
        assert found[name].mean() == pytest.approx(told[name], rel=1e-5)


def test_a_plain_autoencoder_has_no_rate():
    plain = tiny.model(posterior=Deterministic(features=16, latent=3), prior=None).eval()
    assert per_image(plain, tiny.dataset(), np.arange(5)).keys() == {"distortion", "squared error", "psnr", "ssim"}


def test_a_difference_beyond_the_noise():
    rng = np.random.default_rng(0)
    a, noise = rng.normal(0, 100, 400), rng.normal(0, 1, 400)
    better = difference(a, a + 0.5 + noise)
    assert better["difference"] == pytest.approx(0.5 + noise.mean())
    assert better["beyond_noise"]
    low, high = better["interval"]
    assert high - low == pytest.approx(2 * 1.96 / 400**0.5, rel=0.15)
    assert not difference(a, a + noise - noise.mean())["beyond_noise"]
    assert not difference(a, a)["beyond_noise"]
    with pytest.raises(UsageError, match="2 or more"):
        difference(a[:1], a[:1] + 1)


def test_psnr_and_ssim_of_pictures_that_are_known():
    model, data = tiny.model().eval(), tiny.dataset()
    rows, mu = np.arange(6), np.zeros((6, 3), np.float32)
    mse, ssim = errors_of(model, mu, data, rows)
    with torch.no_grad():
        drawn = model.decode(torch.zeros(1, 1, 3)).mean[0, 0].numpy()
    np.testing.assert_allclose(mse, [np.square(drawn - data.pixels[row] / 255).mean() for row in rows], rtol=1e-5)
    assert (ssim < 1).all()
    found, held = evaluate(model, ELBO(), data), data.splits["test"]
    mse, _ = errors_of(model, codes(model, data.pixels, held).mu, data, held)
    assert found["psnr"]["value"] == pytest.approx((-10 * np.log10(mse)).mean())
    assert -1 <= found["ssim"]["value"] <= 1
    assert "psnr" in evaluate(
        tiny.model(posterior=Deterministic(features=16, latent=3), prior=None).eval(), Reconstruction(), data
    )


def test_runs_side_by_side(tmp_path, capsys):
    def vaekit(*words: str) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as stop:
            cli.main(list(words))
        return stop.value.code, *capsys.readouterr()

    train = ("train", "digits", "--net", "mlp", "--images", "1280", "--threads", "1", "--compile", "off", "--no-report")
    for name, more in (("one", ()), ("two", ("--beta", "4")), ("three", ("--size", "10"))):
        assert vaekit(*train, "--out", str(tmp_path / name), *more)[0] == 0
    one, two, three = (str(tmp_path / name) for name in ("one", "two", "three"))
    for run in (one, two):
        assert vaekit("evaluate", run, "--samples", "5")[0] == 0
    code, said, told = vaekit("compare", one, two)
    assert code == 0, told
    assert "beyond the noise" in said
    found = json.loads(vaekit("compare", one, two, "--json")[1])
    apart = found["differences"][two]
    assert apart.keys() == {"distortion", "rate", "elbo", "squared error", "psnr", "ssim", "nll"}
    for key in ("rate", "elbo", "psnr", "ssim", "nll"):
        gap = found["metrics"][two][key] - found["metrics"][one][key]
        assert apart[key]["difference"] == pytest.approx(gap, abs=1e-3)
    assert found["not_compared"] == ["loss"]  # of other objectives
    assert json.loads(vaekit("compare", one, one, "--json")[1])["not_compared"] == []
    code, _, told = vaekit("compare", one, three)
    assert code == 2
    assert "do not compare" in told
