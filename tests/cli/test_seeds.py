"""One command for several seeds, or several betas: whole runs, and how much their metrics depend on them."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest

from commands import QUICK
from vaekit.cli import progress


@pytest.fixture
def interrupted(monkeypatch):
    """Ctrl-C at the first line of the log, once."""
    left, logged = [signal.SIGINT], progress.Bar.logged

    def interrupt(bar, record, fraction):
        logged(bar, record, fraction)
        if left:
            signal.raise_signal(left.pop())

    monkeypatch.setattr(progress.Bar, "logged", interrupt)


def statuses(paths: list[Path]) -> list[str]:
    return [json.loads((path / "run.json").read_text())["status"] for path in paths]


def test_median_and_spread_over_the_seeds_and_a_whole_run_for_each(vaekit, home, tmp_path):
    command = ["train", home / "pictures", "--out", tmp_path / "runs", *QUICK, "--latent", 2, "--seeds", 3, "--seed", 5]
    said = vaekit(*command, "--json")
    assert said.code == 0
    assert "3 runs train" in said.err
    paths = [tmp_path / "runs" / f"seed-{seed}" for seed in (5, 6, 7)]
    assert said.json["runs"] == [str(path) for path in paths]
    assert said.json["reports"] == [str(path / "report.html") for path in paths]
    assert statuses(paths) == ["finished"] * 3
    assert [json.loads((path / "run.json").read_text())["training"]["seed"] for path in paths] == [5, 6, 7]
    assert all((path / "report.html").exists() and (path / "weights.safetensors").exists() for path in paths)
    values = [json.loads((path / "metrics.json").read_text())["metrics"]["elbo"]["value"] for path in paths]
    elbo = said.json["metrics"]["elbo"]
    assert elbo["values"] == values
    assert elbo["median"] == pytest.approx(np.median(values))
    assert elbo["iqr"] == pytest.approx(np.subtract(*np.percentile(values, [75, 25])))

    again = vaekit(*command)
    assert "All 3 runs are finished already" in again.err
    heading, *rows = again.out.splitlines()
    assert heading.split() == ["metric", "median", "IQR", "unit"]
    assert any(row.startswith("elbo ") and " to " in row for row in rows)
    assert vaekit("evaluate", paths[1], "--json").json["elbo"]["value"] == values[1]
    measured = vaekit("evaluate", *paths, "--json").json
    assert measured["metrics"]["elbo"] == elbo
    assert [its["elbo"]["value"] for its in measured["runs"].values()] == values
    assert vaekit("evaluate", *paths).out.endswith("over 3 runs\n")


@pytest.mark.usefixtures("interrupted")
def test_the_same_command_goes_on_with_all_of_them(vaekit, home, tmp_path):
    command = ["train", home / "pictures", "--runs", tmp_path, *QUICK, "--together", "on", "--seeds", 2, "--no-report"]
    said = vaekit(*command)
    assert said.code == 130
    assert "the same command again" in said.err
    paths = [tmp_path / f"000{number}-pictures-vae-seed-{number - 1}" for number in (1, 2)]
    assert statuses(paths) == ["stopped"] * 2
    alone = vaekit(*command[:-5], "--no-report", "--json").json  # one seed is another command
    assert Path(alone["run"]).name == "0003-pictures-vae"
    assert vaekit(*command, "--json").json == {"runs": [str(path) for path in paths]}
    assert statuses(paths) == ["finished"] * 2
    new = vaekit(*command, "--json").json["runs"]
    assert [Path(path).name[:4] for path in new] == ["0004", "0005"]


@pytest.mark.usefixtures("interrupted")
def test_one_of_them_can_go_on_alone(vaekit, home, tmp_path):
    command = ["train", home / "pictures", "--out", tmp_path, *QUICK, "--seeds", 2, "--no-report"]
    assert vaekit(*command).code == 130
    assert vaekit("resume", tmp_path / "seed-1", "--no-report").code == 0
    paths = [tmp_path / f"seed-{seed}" for seed in (0, 1)]
    assert statuses(paths) == ["stopped", "finished"]
    assert vaekit(*command).out.split() == [str(path) for path in paths]
    assert statuses(paths) == ["finished"] * 2


def test_several_betas_side_by_side(vaekit, home, tmp_path):
    said = vaekit("train", home / "pictures", "--out", tmp_path, *QUICK, "--latent", 2, "--together", "on", "--betas", 0.5, 1000)
    assert said.code == 0
    assert "2 runs train together" in said.err
    heading, *rows = said.out.splitlines()
    assert heading.split() == ["metric", "beta", "0.5", "beta", "1000", "unit"]
    paths = [tmp_path / name for name in ("beta-0.5", "beta-1000")]
    assert [json.loads((path / "run.json").read_text())["objective"]["beta"] for path in paths] == [0.5, 1000]
    rates = [json.loads((path / "metrics.json").read_text())["metrics"]["rate"]["value"] for path in paths]
    assert rates[1] < 0.1 * rates[0]
    assert any(row.startswith("rate ") for row in rows)


def test_every_beta_with_every_seed(vaekit, home, tmp_path):
    given = ["--no-report", "--seeds", 2, "--betas", 0.5, 2, "--json"]
    runs = vaekit("train", home / "pictures", "--out", tmp_path / "both", *QUICK, *given).json["runs"]
    assert [Path(path).name for path in runs] == [f"beta-{beta}-seed-{seed}" for beta in (0.5, 2) for seed in (0, 1)]


@pytest.mark.parametrize("given", [["--betas", 1, 1], ["--betas", 1, 2, "--beta", 3], ["--betas", -1, 2], ["--betas", "much"]])
def test_betas_that_make_no_sense_are_refused(given, vaekit, home, tmp_path):
    said = vaekit("train", home / "pictures", "--out", tmp_path / "runs", *QUICK, *given)
    assert said.code == 2
    assert "beta" in said.err
    assert not (tmp_path / "runs").exists()


def test_a_folder_of_something_else_is_refused(vaekit, home, trained):
    said = vaekit("train", home / "pictures", "--out", trained, *QUICK, "--seeds", 2)
    assert said.code == 2
    assert "--out" in said.err
