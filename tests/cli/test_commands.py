"""Every command as its users meet it: answers on stdout, words on stderr, nothing lost."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from PIL import Image

import tiny
from commands import QUICK, SHAPES, shape_of
from vaekit import cli, finish
from vaekit.planning import start
from vaekit.recipes import RECIPES, cook
from vaekit.run import Run

# The front door


def test_help_lists_every_command_in_the_order_of_a_walk(vaekit):
    said = vaekit("--help")
    places = [said.out.index(f"│ {name} ") for name, _, _ in cli.COMMANDS]
    assert said.code == 0
    assert places == sorted(places)


@pytest.mark.parametrize(("asked", "code"), [("--help", 0), ("--version", 0), ("trian", 2)])
def test_a_quick_answer_never_imports_torch(asked, code):
    program = f"import sys; from vaekit.cli import main\ntry: main(['{asked}'])\nfinally: assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", program], check=False, capture_output=True).returncode == code


@pytest.mark.parametrize("name", [name for name, _, _ in cli.COMMANDS])
def test_every_command_has_help(vaekit, name):
    said = vaekit(name, "--help")
    assert said.code == 0
    assert f"vaekit {name}" in said.out


def test_recipes(vaekit):
    listed = vaekit("recipes", "--json").json["recipes"]
    assert listed.keys() == RECIPES.keys()
    assert all(its["paper"] and its["purpose"] and its["cost"] for its in listed.values())
    assert all(name in vaekit("recipes").out for name in listed)
    shown = vaekit("recipes", "faces", "--image", "3x48x64", "--json").json
    assert shown["model"]["encoder"]["image"] == [3, 48, 64]


def test_data_check_names_what_was_left_out(vaekit, home):
    said = vaekit("data", "check", home / "pictures", "--attributes", home / "table.csv")
    assert "circles/broken.png" in said.out
    found = vaekit("data", "check", home / "pictures", "--json").json
    assert found["pictures"] == 120
    assert found["image"] == [3, 16, 16]
    assert sum(found["splits"].values()) == 120
    assert [finding["path"] for finding in found["findings"]] == ["circles/broken.png"]
    strict = vaekit("data", "check", home / "pictures", "--strict", "--json")
    assert strict.code == 5
    assert strict.json == found


def test_a_name_and_a_path_of_that_name_are_not_mistaken(vaekit, home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(home / "pictures", "digits")
    refused = vaekit("data", "check", "digits")
    assert refused.code == 2
    assert "./digits" in refused.err
    assert vaekit("data", "check", "./digits", "--json").json["pictures"] == 120


def test_flags_behind_two_dashes_are_the_other_command_s(vaekit):
    said = vaekit("launch", "slurm", "--", "evaluate", "runs/mine", "--json")
    assert said.out.startswith("#!")
    assert "runs/mine --json" in said.out


def metrics_of(run: Path) -> dict:
    """The metrics of a run, whose file is as the published schema says."""
    found = json.loads((run / "metrics.json").read_text())
    schema = json.loads((Path(__file__).parents[2] / "docs" / "metrics.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(found, schema, cls=jsonschema.Draft202012Validator)
    return found["metrics"]


def test_a_run_knows_where_its_pictures_were_decoded_to(vaekit, home, tmp_path, monkeypatch):
    monkeypatch.setenv("VAEKIT_CACHE", str(tmp_path / "usual"))
    given = ["--cache", tmp_path / "given", "--out", tmp_path / "run", *QUICK, "--no-report"]
    assert vaekit("train", home / "pictures", *given).code == 0
    assert vaekit("evaluate", tmp_path / "run").code == 0
    assert any((tmp_path / "given").rglob("*"))
    assert {path.name for path in (tmp_path / "usual").glob("*")} <= {"tuned"}


# What a run can do


def test_a_training_leaves_metrics_vectors_figures_and_a_report(trained):
    metrics = metrics_of(trained)
    assert {"distortion", "rate", "elbo", "rmse", "neighbour_accuracy"} <= metrics.keys()
    page = (trained / "report.html").read_text()
    assert "Adding an attribute" in page
    drawn = {path.stem for path in (trained / "figures").glob("*.png")}
    assert {"reconstructions", "samples", "neighbours", "latent-label", "curves", "traversals", "edit-Dark"} <= drawn


def test_evaluate_gives_the_same_numbers_twice(vaekit, trained):
    first, second = (vaekit("evaluate", trained, "--json").json for _ in range(2))
    assert first == second
    assert vaekit("evaluate", trained, "--split", "validation", "--json").json["elbo"]["split"] == "validation"


def test_plot_beside_takes_a_plain_autoencoder_on_the_same_pictures(vaekit, flat, trained):
    vae, plain = flat
    drawn = vaekit("plot", vae, "--beside", plain, "--json").json["figures"]
    assert str(vae / "figures" / "autoencoder-beside-vae.png") in drawn
    assert "both VAEs" in vaekit("plot", vae, "--beside", vae).err
    other = vaekit("plot", vae, "--beside", trained)
    assert other.code == 2
    assert "--latent 2" in other.err


def test_sample(vaekit, trained, tmp_path):
    once, again = tmp_path / "once.png", tmp_path / "again.png"
    assert vaekit("sample", trained, "-n", 5, "--seed", 3, "--out", once).out == f"{once}\n"
    vaekit("sample", trained, "-n", 5, "--seed", 3, "--out", again)
    assert once.read_bytes() == again.read_bytes()
    each = vaekit("sample", trained, "-n", 3, "--no-grid", "--out", tmp_path / "each", "--json").json["files"]
    assert [shape_of(path) for path in each] == [(16, 16)] * 3
    fitted = vaekit("sample", trained, "-n", 4, "--prior", "fitted", "--temperature", 0.5, "--json").json
    assert "fitted" in fitted["how"]
    assert shape_of(fitted["files"][0])


def test_samples_say_whose_prior_they_are_drawn_from(vaekit, trained, tmp_path):
    made = cook("sphere", (1, 8, 8), {"net": "mlp", "images": 8})
    run = start(tmp_path / "run", tiny.dataset(), made)
    run.save_weights(made.model)
    assert "z from the model's own prior" in vaekit("sample", run.path, "-n", 2, "--json").json["how"]
    assert "z from N(0, 1)" in vaekit("sample", trained, "-n", 2, "--json").json["how"]


def test_samples_leave_the_figures_of_the_report_alone(vaekit, trained):
    kept = {path: path.read_bytes() for path in (trained / "figures").glob("samples*.png")}
    vaekit("sample", trained, "-n", 2)
    vaekit("sample", trained, "-n", 2, "--prior", "fitted")
    assert kept == {path: path.read_bytes() for path in kept}


def test_a_plain_autoencoder_has_no_prior_to_sample(vaekit, flat):
    said = vaekit("sample", flat[1])
    assert said.code == 2
    assert "--prior fitted" in said.err
    assert vaekit("sample", flat[1], "--prior", "fitted", "-n", 2).code == 0


MODES = {"mean": ["mu"], "sample": ["z"], "distribution": ["mu", "log_var"]}


@pytest.mark.parametrize("mode", MODES)
def test_encode_writes_npz_and_csv(vaekit, trained, home, tmp_path, mode):
    arrays = MODES[mode]
    for name in ("codes.npz", "deep/codes.csv"):
        said = vaekit("encode", trained, home / "pictures", "--mode", mode, "--out", tmp_path / name, "--json").json
        assert said["arrays"] == {array: [120, 4] for array in arrays}
    with np.load(tmp_path / "codes.npz") as npz:
        values = np.concatenate([npz[array] for array in arrays], 1)
        files = list(npz["files"])
    head, *lines = (tmp_path / "deep" / "codes.csv").read_text().splitlines()
    assert head.split(",") == ["file", *(f"{array}{i}" for array in arrays for i in range(4))]
    assert [line.split(",")[0] for line in lines] == files
    np.testing.assert_array_equal(np.array([line.split(",")[1:] for line in lines], np.float32), values)


def test_encode_brings_other_pictures_to_the_shape_of_the_model(vaekit, trained, tmp_path):
    said = vaekit("encode", trained, "digits", "--out", tmp_path / "digits.npz", "--json").json
    assert said["arrays"] == {"mu": [1797, 4]}


def test_attributes_and_edit(vaekit, trained, picture, tmp_path):
    about = vaekit("attributes", trained, "--json").json["attributes"]
    assert about.keys() == {"Dark", "Big", "Shade"}
    out = tmp_path / "edited.png"
    said = vaekit("edit", trained, picture, "--add", "Dark=1", "--add", "Big=-0.5", "--out", out, "--json").json
    assert said["add"] == {"Dark": 1.0, "Big": -0.5}
    assert said["files"] == [str(out), str(tmp_path / "edited-strip.png")]
    assert shape_of(out) == (16, 16)


def test_vectors_by_another_method(vaekit, trained, twin, picture, tmp_path):
    for method in ("balanced", "ridge", "logistic", "lda"):
        about = vaekit("attributes", trained, "--method", method, "--json").json["attributes"]
        assert {a["method"] for a in about.values()} == {method}
        assert all(a["leak"].keys() == about.keys() and a["sigmas"] > 0 for a in about.values())
    said = vaekit("attributes", trained, "--method", "best", "--names", "Dark", "--steps", "20", "--json").json["attributes"]
    edits = said["Dark"]["edits"]
    assert said["Dark"]["method"] == edits["best"]
    assert said["Big"]["method"] == "mean"
    assert edits["test"].keys() >= {"mean", "random", "permuted"}
    kept = (trained / "attributes.safetensors").read_bytes()
    (tmp_path / "shared.safetensors").write_bytes(kept)
    edit = ["edit", trained, picture, "--add", "Dark=1", "--no-strip"]
    more = {
        "own": [],
        "shared": ["--vectors", tmp_path / "shared.safetensors"],
        "sigmas": ["--sigmas"],
        "keep": ["--keep", "Big"],
        "details": ["--details"],
    }
    for name, options in more.items():
        assert vaekit(*edit, *options, "--out", tmp_path / f"{name}.png").code == 0
    pictures = {name: (tmp_path / f"{name}.png").read_bytes() for name in more}
    assert pictures["own"] == pictures["shared"]
    assert len(set(pictures.values())) == 4
    refused = vaekit("edit", twin, picture, "--add", "Dark=1", "--vectors", tmp_path / "shared.safetensors")
    assert refused.code == 2
    assert "a direction means nothing to another model" in refused.err
    assert vaekit("attributes", trained).code == 0


@pytest.mark.usefixtures("hurried_judge")
def test_what_is_beside_real_pictures_and_factors(vaekit, trained):
    assert vaekit("fit-prior", trained, "--kinds", "gaussian").code == 0
    asked = ["--pictures", "8", "--factors", "Dark", "Big", "--samples", "10"]
    said = vaekit("evaluate", trained, *asked, "--json").json
    assert {"mig", "infom", "fd_labels@6", "coverage_labels@6", "fd_random@6", "psnr", "ssim"} <= said.keys()
    assert "Dark, Big" in said["mig"]["how"]
    assert metrics_of(trained).keys() > said.keys()
    fitted = vaekit("evaluate", trained, "--pictures", 8, "--prior", "fitted", "--json").json
    assert fitted["fd_labels@6_gaussian"]["value"] != said["fd_labels@6"]["value"]
    assert "density 'gaussian'" in fitted["fd_labels@6_gaussian"]["how"]
    assert "fd_labels@6" in metrics_of(trained)
    unasked = vaekit("evaluate", trained, "--prior", "fitted")
    assert (unasked.code, "none were asked for" in unasked.err) == (2, True)
    unknown = vaekit("evaluate", trained, "--pictures", 8, "--prior", "flow")
    assert (unknown.code, "gaussian" in unknown.err) == (2, True)


def test_new_pictures_of_one_label(vaekit, trained, tmp_path):
    run, made = shutil.copytree(trained, tmp_path / "run"), {}
    assert vaekit("fit-prior", run, "--kinds", "labels", "gaussian").code == 0
    for label in ("circles", "squares"):
        asked = ["sample", run, "-n", 4, "--prior", "labels", "--given", f"label={label}", "--out", tmp_path / f"{label}.png"]
        assert vaekit(*asked).code == 0
        made[label] = (tmp_path / f"{label}.png").read_bytes()
    assert made["circles"] != made["squares"]
    wrong = vaekit("sample", run, "--prior", "labels", "--given", "label=circle")
    assert (wrong.code, "Did you mean 'circles'" in wrong.err) == (2, True)
    unlabelled = vaekit("sample", run, "--prior", "gaussian", "--given", "label=circles")
    assert (unlabelled.code, "--prior labels" in unlabelled.err) == (2, True)


def test_new_pictures_of_a_plain_autoencoder_need_a_density(vaekit, flat):
    _, plain = flat
    refused = vaekit("evaluate", plain, "--pictures", 8)
    assert (refused.code, "vaekit fit-prior" in refused.err) == (2, True)


def test_doctor(vaekit, trained):
    signs, said = vaekit("doctor", trained, "--json").json["signs"], vaekit("doctor", trained)
    assert signs["rate"]["value"] > 0 < signs["rate"]["count"]
    assert said.code == 0
    assert all(name in said.out for name in signs)


def test_an_edit_given_in_parts_adds_up(vaekit, trained, picture, tmp_path):
    for name, weights in (("one", ["--add", "Dark=2"]), ("two", ["--add", "Dark", "--add", "Dark=1"])):
        vaekit("edit", trained, picture, *weights, "--no-strip", "--out", tmp_path / f"{name}.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    told = " ".join(vaekit("edit", "--help").out.replace("│", "").split())
    assert "Smiling alone is Smiling=1, the distance from those without to those with it." in told


@pytest.mark.parametrize(("name", "frames"), [("m.png", 1), ("m.gif", 6), ("m.webp", 6), ("M.GIF", 6)])  # there and back
def test_morph(vaekit, home, trained, name, frames):
    ends = [home / "pictures" / shape / "00.png" for shape in SHAPES]
    made = {}
    for kind in ("lerp", "slerp"):
        target = home / "morphs" / kind / name
        said = vaekit("morph", trained, *ends, "--steps", 4, "--kind", kind, "--out", target, "--json").json
        assert said["files"] == [str(target)]
        with Image.open(target) as image:
            assert getattr(image, "n_frames", 1) == frames
        made[kind] = target.read_bytes()
    assert made["lerp"] != made["slerp"]


# Told something


def test_a_conditional_model_makes_what_it_is_told(vaekit, home, tmp_path):
    run, table = tmp_path / "told", home / "table.csv"
    told = ["--condition", "label", "Dark", "--shown", 60]
    assert vaekit("train", home / "pictures", "--attributes", table, *told, "--out", run, *QUICK).code == 0
    assert (run / "figures" / "told.png").is_file()
    said = vaekit("sample", run, "-n", 4, "--given", "label=circles", "Dark=1", "--json")
    assert "given label=circles, Dark=1" in said.json["how"]
    assert "given what is known" in vaekit("evaluate", run, "--samples", 2, "--json").json["nll"]["how"]
    for given, message in (
        ("label=circle", "Did you mean 'circles'"),
        ("Dark", "has no value"),
        ("Big=1", "told nothing of 'Big'"),
    ):
        said = vaekit("sample", run, "--given", given)
        assert said.code == 2
        assert message in said.err


def test_a_judge_is_taught_and_asked(vaekit, home, tmp_path):
    judge = tmp_path / "judge.safetensors"
    said = vaekit("judge", home / "pictures", "--out", judge, "--steps", 40, "--json")
    assert said.json["accuracy"] > 0.5
    asked = ["--recipe", "perceptual", "--features", judge, "--out", tmp_path / "run", "--no-report"]
    assert vaekit("train", home / "pictures", *asked, *QUICK).code == 0
    judge.unlink()  # the run has its own
    assert vaekit("evaluate", tmp_path / "run").code == 0
    said = vaekit("train", home / "pictures", *asked[:2], "--judge", home / "table.csv", "--out", tmp_path / "other", *QUICK)
    assert said.code == 3


def test_a_training_goes_on_from_another_run_and_says_how_far_the_codes_moved(vaekit, home, trained, tmp_path):
    asked = ["train", home / "pictures", "--init", trained, "--out", tmp_path / "run"]
    asked += ["--recipe", "beta-vae", "--learning-rate", 0.01]
    settings = [word for word in QUICK if word not in ("--net", "mlp")]
    said = vaekit(*asked, *settings, "--json")
    assert said.json["metrics"]["drift"]["value"] > 0.05
    assert "has to be fitted again" in (tmp_path / "run" / "report.html").read_text()
    asked[5] = tmp_path / "frozen"
    said = vaekit(*asked, *settings, "--freeze", "codes", "--json")
    assert said.json["metrics"]["drift"]["value"] == 0
    assert "has to be fitted again" not in (tmp_path / "frozen" / "report.html").read_text()
    assert vaekit("resume", tmp_path / "frozen", "--no-report").code == 0


def test_a_second_stage_is_fitted_drawn_from_and_told(vaekit, trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    said = vaekit("fit-prior", run, "--kinds", "gaussian", "flow", "--steps", 20, "--json")
    assert said.code == 0
    assert said.json.keys() == {"gaussian", "flow", "own"}
    assert 0 <= said.json["own"]["hole"] <= 1
    told = vaekit("fit-prior", run, "--kinds", "mixture", "--steps", 20)
    assert "fall where next to no code is" in told.out
    assert "lower is better" in told.out
    assert "in the features of a net with random weights, seed 0" in told.out
    assert "one density, in 20 steps at most: mixture" in told.err
    for name in ("gaussian", "flow", "mixture"):  # those of before are kept
        said = vaekit("sample", run, "-n", 4, "--prior", name, "--json")
        assert f"the density {name!r}" in said.json["how"]
    assert vaekit("plot", run).code == 0
    assert (run / "figures" / "samples-second-stage.png").is_file()
    assert "of the prior's own draws are less probable" in (run / "report.html").read_text().replace("&#x27;", "'").replace(
        "&#39;", "'"
    )
    said = vaekit("sample", run, "--prior", "spline")
    assert said.code == 2
    assert "flow" in said.err
    weights = run / "weights.safetensors"
    weights.write_bytes((run / "weights-last.safetensors").read_bytes())  # the same numbers, or others: another file
    said = vaekit("sample", run, "--prior", "flow")
    assert said.code == 2
    assert "vaekit fit-prior" in said.err


def test_a_second_stage_that_is_stopped_keeps_what_is_fitted(vaekit, trained, tmp_path, monkeypatch):
    run = shutil.copytree(trained, tmp_path / "run")
    fit = finish.fit_priors

    def stopped(train: np.ndarray, held: np.ndarray, names: list[str], **how: Any) -> list:
        if names == ["flow"]:
            raise KeyboardInterrupt
        return fit(train, held, names, **how)

    with monkeypatch.context() as patch:
        patch.setattr("vaekit.finish.fit_priors", stopped)
        said = vaekit("fit-prior", run, "--kinds", "mixture", "gaussian", "flow", "diagonal", "--steps", 5)
    assert said.code == 130
    assert f"Fitted and kept: mixture, gaussian. To go on: vaekit fit-prior {run} --kinds flow diagonal --steps 5" in said.err
    assert Run(run).priors.keys() == {"mixture", "gaussian"}
    assert vaekit("sample", run, "-n", 2, "--prior", "mixture").code == 0
    before = {name: its["nats"] for name, its in Run(run).priors.items()}
    assert vaekit("fit-prior", run, "--kinds", "flow", "diagonal", "--steps", 5).code == 0
    after = Run(run).priors
    assert after.keys() == {"mixture", "gaussian", "flow", "diagonal"}
    assert before == {name: after[name]["nats"] for name in before}
