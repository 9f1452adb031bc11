"""A command that is given again: what is there stays, what is missing is made, and nothing is written over by mistake."""

import json
import shutil
from pathlib import Path

from commands import QUICK
from vaekit.cli import carrying


def test_the_same_command_again_keeps_the_weights(vaekit, home, trained):
    weights = (trained / "weights.safetensors").read_bytes()
    options = ["--attributes", home / "table.csv", "--latent", 4, "--no-report"]
    said = vaekit("train", home / "pictures", "--out", trained, *QUICK, *options)
    assert said.code == 0
    assert "trained already" in said.err
    assert weights == (trained / "weights.safetensors").read_bytes()
    assert vaekit("resume", trained, "--no-report").out == f"{trained}\n"


def test_another_training_may_not_go_into_the_same_folder(vaekit, home, trained):
    before = (trained / "run.json").read_bytes()
    said = vaekit("train", home / "pictures", "--out", trained, *QUICK, "--recipe", "autoencoder")
    assert said.code == 2
    assert "Train into another folder" in said.err
    assert before == (trained / "run.json").read_bytes()


def test_numbered_runs(vaekit, home, tmp_path):
    for number in ("0001", "0002"):  # the first is finished, so the same command begins another
        said = vaekit("train", home / "pictures", "--runs", tmp_path / "runs", *QUICK, "--no-report", "--json").json
        assert said["run"] == str(tmp_path / "runs" / f"{number}-pictures-vae")


def test_a_report_that_was_interrupted_is_made_by_the_same_command(vaekit, home, tmp_path):
    command = ["train", home / "pictures", "--runs", tmp_path, *QUICK]
    first = vaekit(*command, "--no-report", "--json").json["run"]
    said = vaekit(*command, "--json").json
    assert said["run"] == first
    assert Path(said["report"]).exists()
    assert vaekit(*command, "--no-report", "--json").json["run"] != first


def test_files_of_one_name_are_edited_into_different_ones(vaekit, trained, home, tmp_path):
    """The same file again into the same one."""
    for folder, shape in (("a", "circles"), ("b", "squares")):
        (tmp_path / folder).mkdir()
        shutil.copy(home / "pictures" / shape / "00.png", tmp_path / folder / "me.png")
    run = shutil.copytree(trained, tmp_path / "run")
    made = [vaekit("edit", run, tmp_path / its / "me.png", "--add", "Dark", "--json").json["files"] for its in ("a", "b", "a")]
    assert made[0] == made[2]
    assert len({*made[0], *made[1]}) == 4
    assert Path(made[0][0]).name.startswith("edited-me-Dark=1-")


def test_a_finished_run_is_not_measured_again(vaekit, home, trained, tmp_path, monkeypatch):
    run = shutil.copytree(trained, tmp_path / "run")
    command = ["train", home / "pictures", "--attributes", home / "table.csv", "--latent", 4, "--out", run, *QUICK]
    with monkeypatch.context() as patch:
        for work in ("fit", "finish"):
            patch.setattr(carrying, work, None)  # neither is called
        said = vaekit(*command)
        assert said.code == 0
        assert f"{run} is finished already" in said.err
        assert said.out.endswith(f"report  {run / 'report.html'}\n")
        assert "distortion" in said.out
        assert vaekit("resume", run, "--json").json["metrics"].keys() >= {"distortion", "rmse"}
    (run / "attributes.safetensors").unlink()
    metrics = (run / "metrics.json").read_bytes()
    assert "finished already" not in vaekit(*command).err
    assert (run / "attributes.safetensors").exists()
    assert metrics == (run / "metrics.json").read_bytes()
    (run / "weights.safetensors").write_bytes((run / "weights-last.safetensors").read_bytes())  # others, perhaps
    digest = json.loads(metrics)["metrics"]["rmse"]["weights"]
    assert "finished already" not in vaekit(*command).err
    found = json.loads((run / "metrics.json").read_text())["metrics"]["rmse"]["weights"]
    assert (found == digest) == ((run / "weights.safetensors").read_bytes() == (trained / "weights.safetensors").read_bytes())
    assert "finished already" in vaekit(*command).err
