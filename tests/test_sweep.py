"""The search for a rate-distortion front: what is on it, what is proposed, and that a killed one goes on."""

import json
import subprocess
import sys

import pytest

import tiny
from vaekit import draw
from vaekit.errors import UsageError
from vaekit.sweeping import Tried, check, front, proposed, sweep

pytestmark = pytest.mark.usefixtures("quick")


def at(rate: float, distortion: float, latent: int = 8) -> Tried:
    return Tried(latent, 1.0, rate, distortion, latent, "")


def test_the_front_has_what_nothing_beats():
    tried = [at(1, 90), at(5, 80), at(5, 85), at(10, 60), at(12, 60), at(20, 55), at(3, 95)]
    assert front(tried) == [tried[0], tried[1], tried[3], tried[5]]


def test_the_fewest_latents_that_are_as_good_are_proposed():
    tried = [at(10, 60, 32), at(10, 60.05, 8), at(9, 63, 4), at(1, 90, 2)]
    assert proposed(tried) == tried[1]


@pytest.mark.parametrize(
    ("latents", "betas", "told"),
    [((8, 8), (0.1, 1), "--latents 8 8"), ((2, 8), (0, 1), "--betas 0 1"), ((0, 8), (1, 2), "--latents")],
)
def test_ranges_that_are_none(latents, betas, told):
    with pytest.raises(UsageError, match=told):
        check(5, latents, betas)
    with pytest.raises(UsageError, match="2 or more models"):
        check(1, (2, 8), (0.1, 1))


def searched(place, **more):
    def make(latent: int, beta: float):
        return tiny.recipe(make=lambda: tiny.model(latent=latent), images=80)

    return sweep(tiny.dataset(), make, place, latents=(2, 6), betas=(0.5, 2), **more)


def test_a_search_that_was_stopped_goes_on(tmp_path, monkeypatch):
    """Stopped in its third model: the two before it are not trained again, the third one goes on in its folder."""
    whole = searched(tmp_path / "whole", trials=4)
    from vaekit import sweeping

    def stop(*_):
        raise KeyboardInterrupt

    assert len(searched(tmp_path / "cut", trials=2)) == 2
    with monkeypatch.context() as patch:
        patch.setattr(sweeping, "fit", stop)
        with pytest.raises(KeyboardInterrupt):
            searched(tmp_path / "cut", trials=4)
    found = searched(tmp_path / "cut", trials=4)
    assert len(found) == 4
    assert len({its.path for its in found}) == 4
    assert len(whole) == 4
    assert found[:2] == [its._replace(path=its.path.replace("whole", "cut")) for its in whole[:2]]
    assert searched(tmp_path / "cut", trials=4) == found


def test_the_command_proposes_one(tmp_path):
    def run():
        options = ["--trials", "3", "--images", "640", "--net", "mlp", "--latents", "2", "8", "--json"]
        command = [sys.executable, "-m", "vaekit", "sweep", "digits", "--out", str(tmp_path / "sweep"), *options]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    first, again = run(), run()
    assert first.returncode == 0, first.stderr
    told = json.loads(first.stdout)
    assert len(told["tried"]) == 3
    assert told["command"].startswith("vaekit train digits --recipe vae --latent ")
    assert (tmp_path / "sweep" / "front.png").exists()
    assert json.loads(again.stdout) == told


def test_a_front_of_nothing_is_none():
    with pytest.raises(UsageError, match="no models"):
        draw.front([], [], 0)
