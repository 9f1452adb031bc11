"""Nets that are taught what is known of pictures: one that an objective asks where nobody gives one, and a classifier."""

import pytest

from commands import QUICK
from conformance import needs
from vaekit.cli.training import look_at
from vaekit.recipes import RECIPES, cook
from vaekit.run import Run


@pytest.mark.usefixtures("hurried_judge")
def test_without_features_a_judge_is_taught_once_for_a_run(vaekit, home, tmp_path, monkeypatch):
    run = tmp_path / "run"
    command = ["train", home / "pictures", "--recipe", "perceptual", "--out", run, "--no-report", *QUICK]
    said = vaekit(*command)
    assert said.code == 0
    assert "compared by a net taught 2 labels of" in said.err
    assert Run(run).description["judge"]["lesson"] == "labels"
    monkeypatch.setattr("vaekit.cli.teaching.own_judge", None)  # whoever taught again would fail
    again = vaekit(*command)
    assert again.code == 0
    assert f"compared by the net of {run}, taught 2 labels" in again.err
    assert "trained already" in again.err
    assert vaekit("evaluate", run).code == 0


def test_a_judge_that_cannot_be_taught(vaekit, home, tmp_path, monkeypatch):
    circles, run = home / "pictures" / "circles", tmp_path / "run"  # no subfolders, no table: nothing is known of them
    refused = vaekit("train", circles, "--recipe", "perceptual", "--out", run, *QUICK)
    assert (refused.code, "circles has neither labels nor attributes" in refused.err) == (2, True)
    assert "No features are compared" not in refused.err
    assert not run.exists()
    settings = [word for word in QUICK if word not in ("--net", "mlp")]
    said = vaekit("train", circles, "--recipe", "kl-autoencoder", "--out", run, "--no-report", *settings)
    assert said.code == 0
    assert "No features are compared: circles has neither labels nor attributes" in said.err
    assert "judge" not in Run(run).description
    monkeypatch.setattr("vaekit.world.here.size", 2)
    several = vaekit("train", home / "pictures", "--recipe", "perceptual", "--out", tmp_path / "other", *QUICK)
    assert (several.code, "--features FILE" in several.err) == (2, True)


@pytest.mark.parametrize("name", RECIPES)
def test_a_look_at_a_recipe_takes_no_memory(name):
    asked = needs(name, (3, 64, 64))
    made = look_at(lambda image, its: cook(name, image, its), (3, 64, 64), [asked], None)
    assert sum(p.numel() for p in made.model.parameters() if not p.is_meta) < 2e6  # zuko's nets alone


def test_few_labels_name_other_pictures(vaekit, home, tmp_path):
    asked = [
        "--recipe",
        "semi-supervised",
        "--shown",
        30,
        "--set",
        "objective.weight=20",
        "--out",
        tmp_path / "run",
        "--no-report",
        *QUICK[2:],
        "--epochs",
        12,
    ]
    assert vaekit("train", home / "pictures", *asked).code == 0
    said = vaekit("classify", tmp_path / "run", home / "pictures", "--out", tmp_path / "labels.csv", "--json")
    assert sum(said.json["labels"].values()) == said.json["pictures"] == 120
    rows = [line.split(",") for line in (tmp_path / "labels.csv").read_text().splitlines()]
    assert rows[0] == ["file", "label", "probability"]
    right = [file.startswith(label) for file, label, _ in rows[1:]]
    assert sum(right) > 100
    assert all(0.5 <= float(share) <= 1 for *_, share in rows[1:])
