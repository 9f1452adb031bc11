"""The doctor finds what was done to thirteen models, and nothing in eight that are well."""

import json
import re
import subprocess
import sys
from inspect import signature
from pathlib import Path

import numpy as np
import pytest

from patients import HEALTHY, SICK
from vaekit.cli.look import sample
from vaekit.cli.progress import Bar
from vaekit.cli.training import train
from vaekit.doctor import CHECKS, Exam, checks, examine, signs_of_trouble
from vaekit.doctor.exam import mmd, split_of_rate, told_apart
from vaekit.recipes import LIKELIHOODS, adjusted, cook

pytestmark = pytest.mark.usefixtures("quick")


@pytest.mark.parametrize("name", SICK)
def test_a_sick_model_is_seen(name, tmp_path):
    findings, _ = examine(*SICK[name].admit(tmp_path / "run"))
    assert SICK[name].finding in [finding.name for finding in findings], findings
    for finding in findings:
        assert all(finding), finding


def test_what_mends_is_there():
    """Options and likelihoods that the checks name are those of the commands."""
    text = Path(checks.__file__).read_text()
    have = {f"--{name.strip('_').replace('_', '-')}" for command in (train, sample) for name in signature(command).parameters}
    assert set(re.findall(r"--[a-z][a-z-]+", text)) <= have
    for named in re.findall(r"--likelihood ([a-z-]+)(?: or ([a-z-]+))?", text):
        assert set(filter(None, named)) <= LIKELIHOODS.keys()
    adjusted(cook("ladder", (1, 28, 28), {}), ["objective.free_bits=0.5", "objective.per=group"])


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_model_is_left_alone(name, tmp_path):
    findings, signs = examine(*HEALTHY[name].admit(tmp_path / "run"))
    assert not findings
    assert all(np.isfinite(value) for value in signs.values())


def test_every_check_has_a_patient():
    made = {patient.finding for patient in SICK.values()}
    assert {check.__name__.replace("_", " ") for check in CHECKS} == made


def test_heaps_of_the_same_kind_cannot_be_told_apart():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 1500, 6))
    assert told_apart(a, b, 0) == pytest.approx(0.5, abs=0.05)
    assert told_apart(a, 0.3 * b, 0) > 0.9
    assert mmd(a, b) == pytest.approx(0, abs=2e-3)
    assert mmd(a, b + 1) > 0.05


def test_the_rate_splits_into_three_parts(tmp_path, monkeypatch):
    """MI + TC + dimension-wise KL = KL, up to the draws of z."""
    exam = Exam(*HEALTHY["two latents"].admit(tmp_path / "run"))
    parts = split_of_rate(exam)
    assert sum(parts.values()) == pytest.approx(exam.rate, rel=0.05)
    assert set(parts) == {"mutual information", "total correlation", "dimension-wise KL"}
    assert parts["mutual information"] <= np.log(len(exam.held)) + 1e-6
    monkeypatch.setattr("vaekit.doctor.exam.NEAR", 100.0)  # as if pictures were too few to tell the first two apart
    merged = split_of_rate(exam)
    assert merged["mutual information + total correlation"] == pytest.approx(
        parts["mutual information"] + parts["total correlation"]
    )


def lines(losses: list[float], rate: float = 5.0, skipped: float = 0.0) -> list[dict]:
    """A log with these validation losses."""
    each = [({"split": "train", "skipped": skipped}, {"split": "validation", "loss": loss, "rate": rate}) for loss in losses]
    return [line for pair in each for line in pair]


@pytest.mark.parametrize(
    ("log", "names"),
    [
        (lines([9, 5, 4, 3]), []),
        (lines([9, 5, 4, 4.5]), ["overfit"]),
        (lines([9, 5, 4, 3], rate=0.1), ["collapsed"]),
        (lines([9, 5, 4, 3], skipped=0.1), ["diverged"]),
        (lines([9], rate=0.1), []),
        ([], []),
    ],
)
def test_a_log_tells_of_trouble_while_it_goes_on(log, names):
    found = signs_of_trouble(log, 0.5)
    assert [finding.name for finding in found] == names
    assert all(all(finding) for finding in found)


def test_codes_may_be_on_their_way_at_first_and_some_losses_do_not_compare():
    assert not signs_of_trouble(lines([9, 8, 7], rate=0.1), 0.1)
    assert not signs_of_trouble(lines([9, 5, 4, 4.5]), 0.5, comparable=False)


def test_a_training_says_once_what_it_suffers_from(tmp_path, capsys):
    SICK["collapsed"].admit(tmp_path / "run", Bar())
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("doctor: collapsed")]
    assert len(told) == 1
    assert "--free-bits" in told[0]


def test_scripts_can_fail_on_findings(tmp_path):
    SICK["collapsed"].admit(tmp_path / "run")

    def doctor(*more: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "vaekit", "doctor", str(tmp_path / "run"), *more]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    plain, asked = doctor("--json"), doctor("--json", "--fail-on", "collapsed")
    assert (plain.returncode, asked.returncode) == (0, 5)
    assert plain.stdout == asked.stdout
    assert "collapsed" in [each["name"] for each in json.loads(plain.stdout)["findings"]]
    assert doctor("--fail-on", "leaked").returncode == 0
    assert doctor("--fail-on", "any").returncode == 5
    wrong = doctor("--fail-on", "colapsed")
    assert wrong.returncode == 2
    assert "Did you mean 'collapsed'" in wrong.stderr
