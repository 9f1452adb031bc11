"""The page of a conditional model: what a pin was told goes with it."""

import re
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import expect

from studio.pages import CHROMIUM, go, served, settled
from vaekit import Run, cook, decode, fit, open_data, start
from vaekit.known import condition_of
from vaekit.studio.bundle import as_bytes

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
LABELS = ("3", "8")


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> Run:
    data = open_data("digits")
    given = {"net": "mlp", "latent": 3, "images": 2000, "threads": 1, "compile": "off", "precision": "fp32", "tune": False}
    run = start(tmp_path_factory.mktemp("told") / "run", data, cook("vae", data.image, given | {"condition": condition_of(data)}))
    fit(run, data)
    return run


@pytest.fixture(scope="module")
def address(told) -> Iterator[str]:
    with served(told.path) as found:
        yield found


def test_each_half_of_a_leg_is_told_what_its_pin_was(page, told):
    """Both pins have the same code: what is drawn on the way differs by what the decoder is told alone."""
    page.evaluate(
        "async (labels) => { const { run, pins } = studio; const z = new Float32Array(run.latent);"
        " for (const name of labels) { const given = [`label=${name}`];"
        " pins.push({ z, name, given, rgba: await run.decode(z, given) }); } }",
        LABELS,
    )
    go(page, "Edit")
    expect(page.locator(".pin")).to_have_count(2)
    model, z, shown = told.load_model(), np.zeros((1, 3), np.float32), None
    for share, label in zip((0.4, 0.6), LABELS, strict=True):
        page.get_by_label("Along the way").fill(str(share))
        shown = settled(page, "canvas.film", 64, unlike=shown)
        expected = as_bytes(decode(model, z, model.condition.of({"label": label}).cpu().numpy()[None]))[0]
        assert np.abs(shown[:, 0].astype(int) - expected.reshape(-1)).max() <= 1
    assert page.get_by_role("button", name="Save GIF").count() == 0, "the server tells all frames the same"
    page.evaluate(
        "(() => { const { run } = studio; const decode = run.decode.bind(run); globalThis.asked = [];"
        " run.decode = (z, given) => (asked.push([z.length / run.latent, given]), decode(z, given)); })()"
    )
    with page.expect_download():
        page.get_by_role("button", name=re.compile("Save (MP4|WEBM)")).click()
    assert page.evaluate("asked") == [[12, ["label=3"]], [13, ["label=8"]]]
