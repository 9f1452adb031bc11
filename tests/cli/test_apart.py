"""Figures that a command tells, beside the same ones worked out apart."""

import numpy as np
import pytest
from PIL import Image

from commands import QUICK
from vaekit import Run, draw
from vaekit.cli.answer import nll_lines
from vaekit.cli.compare import short
from vaekit.latent import reconstruct


def test_reconstructions_and_their_errors_are_those_of_the_pictures(vaekit, trained, home, tmp_path):
    files = [home / "pictures" / "circles" / "00.png", home / "pictures" / "squares" / "03.png"]
    said = vaekit("reconstruct", trained, *files, "--out", tmp_path / "r.png", "--json").json
    pixels = np.stack([np.asarray(Image.open(file)).transpose(2, 0, 1) for file in files])
    rebuilt = reconstruct(Run.open(trained).load_model(), pixels)
    errors = np.sqrt(np.square(pixels / 255.0 - rebuilt).mean((1, 2, 3)))
    assert errors[0] != pytest.approx(errors[1], rel=1e-2)
    assert list(said["rmse"]) == [str(file) for file in files]
    assert list(said["rmse"].values()) == pytest.approx(errors.tolist(), abs=1e-4)
    expected = draw.save_png(draw.reconstructions(pixels, rebuilt, errors), "reconstructed")
    assert (tmp_path / "r.png").read_bytes() == expected


def test_the_differences_of_two_seeds_are_those_of_their_figures(vaekit, trained, twin):
    ours, theirs = (vaekit("evaluate", run, "--json").json for run in (trained, twin))
    told = vaekit("compare", trained, twin, "--json").json
    about = told["differences"][str(twin)]
    for name in ("distortion", "rate", "elbo"):
        apart = theirs[name]["value"] - ours[name]["value"]
        assert about[name]["difference"] == pytest.approx(apart, abs=1e-4 * abs(ours[name]["value"]))
    apart = theirs["rmse"]["value"] ** 2 - ours["rmse"]["value"] ** 2
    assert about["squared error"]["difference"] == pytest.approx(apart, rel=1e-3)
    for its in about.values():
        low, high = its["interval"]
        assert low < its["difference"] < high
        assert its["beyond_noise"] == (low > 0 or high < 0)
    assert not told["not_compared"]


def test_figures_of_two_kinds_are_not_compared(vaekit, trained, home):
    """A density of pixel values and probabilities of levels, and bounds by other numbers of samples."""
    other = home / "levels"
    data = ["train", home / "pictures", "--attributes", home / "table.csv", "--latent", 4, "--likelihood", "logistic"]
    assert vaekit(*data, "--set", "model.decoder.width=16", "--out", other, *QUICK, "--no-report").code == 0
    for run, samples in ((trained, 10), (other, 20)):
        assert vaekit("evaluate", run, "--samples", samples).code == 0
    said = vaekit("compare", trained, other, "--json").json
    assert {"elbo", "distortion", "nll"} <= set(said["not_compared"])
    assert {"rmse", "bits_per_dim"} <= said["metrics"][str(trained)].keys()
    several = vaekit("evaluate", trained, other, "--json").json
    assert {"elbo", "distortion", "loss"} <= set(several["not_compared"])
    assert "rmse" in several["metrics"]
    assert not set(several["not_compared"]) & several["metrics"].keys()
    assert said["differences"][str(other)].keys() == {"rate", "squared error", "psnr", "ssim"}
    text = vaekit("compare", trained, other).out
    assert "does not compare" in text
    assert "probabilities of 256 levels" in text


def test_a_part_is_told_shortly():
    told = {"part": "Linear", "images": 1500.0, "end": 1, "inner": {"part": "Judge", "width": 8}}
    assert short(told) == "Linear(images=1500, end=1, inner=Judge)"


def test_draws_that_are_all_alike_are_told_to_be():
    nll = {"value": 3.0, "count": 5, "split": "test", "trained_on": 9, "how": "IS-20", "pixels": "grey"}
    alike, other = (nll_lines({"nll": nll | {"curve": {"1": first, "20": 3.0}}})[1] for first in (3.0, 3.5))
    assert "more draws add nothing" in alike
    assert other.endswith("3.50 at 1, 3.00 at 20 samples")
