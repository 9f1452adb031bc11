"""The search for a rate-distortion front: what is on it, what is proposed, and that a killed one goes on."""

import json
import shlex
from inspect import signature
from pathlib import Path

import pytest

import tiny
from vaekit import cli, draw
from vaekit.cli.sweep import training_of
from vaekit.cli.training import train
from vaekit.errors import UsageError, VaekitError
from vaekit.run import Run
from vaekit.sweeping import Tried, check, front, proposed, sweep

pytestmark = pytest.mark.usefixtures("quick")


def at(rate: float, distortion: float, latent: int = 8) -> Tried:
    return Tried(0, latent, 1.0, rate, distortion, latent, "")


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


def searched(place, images: int = 80, betas: tuple[float, float] = (0.5, 2), **more):
    def make(latent: int, beta: float):
        return tiny.recipe(make=lambda: tiny.model(latent=latent), images=images)

    return sweep(tiny.dataset(), make, place, latents=(2, 6), betas=betas, **more)


def test_another_search_in_the_same_place_trains_its_own_models(tmp_path):
    """Of another recipe, of other ranges, from another seed: neither an old answer nor a folder that is taken."""
    found = [searched(tmp_path, trials=2, **more) for more in ({}, {"images": 48}, {"betas": (0.1, 2)}, {"seed": 1}, {})]
    paths = [{its.path for its in tried} for tried in found]
    assert len(set.union(*paths)) == 8
    assert found[4] == found[0]


def test_two_do_not_search_in_one_place(tmp_path):
    with Run(tmp_path).lock(), pytest.raises(VaekitError, match="being written by process"):
        searched(tmp_path, trials=2)


def test_the_proposed_command_has_all_that_was_given():
    given = {"images": 640, "net": "mlp", "batch_size": 32, "binarize": None, "attributes": Path("a table.csv"), "size": "16x24"}
    program, command, data, *words = shlex.split(training_of("my pictures", "vae", at(1, 2), given))
    assert (program, command, data) == ("vaekit", "train", "my pictures")
    options = dict(zip(words[::2], words[1::2], strict=True))
    own = {"--recipe": "vae", "--latent": "8", "--beta": "1"}
    assert options == own | {
        "--images": "640", "--net": "mlp", "--batch-size": "32", "--attributes": "a table.csv", "--size": "16x24",
    }  # fmt: skip
    assert {name.removeprefix("--").replace("-", "_") for name in options} <= signature(train).parameters.keys()


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


def test_the_command_proposes_one(tmp_path, capsys):
    def asked(*more: str) -> tuple[str, str]:
        options = ["--trials", "3", "--images", "640", "--net", "mlp", "--latents", "2", "8", *more]
        with pytest.raises(SystemExit) as stop:
            cli.main(["sweep", "digits", "--out", str(tmp_path / "sweep"), *options])
        out, err = capsys.readouterr()
        assert stop.value.code == 0, err
        return out, err

    out, err = asked("--json")
    told = json.loads(out)
    assert [its["number"] for its in told["tried"]] == [1, 2, 3]
    lines = [line for line in err.splitlines() if line.startswith(("model ", "100%"))]
    assert [line[:10].strip() for line in lines] == [
        told for i in (1, 2, 3) for told in (f"model {i} of", "100%", f"model {i} of")
    ]
    assert "training" in lines[0]
    assert f"-ELBO {told['tried'][0]['rate'] + told['tried'][0]['distortion']:,.2f} nats" in lines[2]
    assert told["command"].startswith("vaekit train digits --recipe vae --latent ")
    assert "--images 640 --net mlp --seed 0" in told["command"]
    assert (tmp_path / "sweep" / "front.png").exists()
    out, err = asked()
    assert "model" not in err  # a search that is over only prints its table
    head, *rows = out.splitlines()[:4]
    assert head.split()[0] == "model"
    bounds = {str(its["number"]): its["rate"] + its["distortion"] for its in told["tried"]}
    assert [row.split()[0] for row in rows] == sorted(bounds, key=bounds.get)


def test_a_front_of_nothing_is_none():
    with pytest.raises(UsageError, match="no models"):
        draw.front([], [], 0)
