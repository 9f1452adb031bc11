"""The doctor finds what was done to thirteen models, and nothing in eight that are well."""

import json
import re
from dataclasses import replace
from inspect import signature
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import tiny
from conformance import needs
from patients import HEALTHY, SICK
from vaekit import cli
from vaekit.adjusting import adjusted
from vaekit.cli.look import sample
from vaekit.cli.progress import Bar
from vaekit.cli.training import train
from vaekit.doctor import CHECKS, Exam, checks, examine, mends, signs_of_trouble
from vaekit.doctor.exam import mmd, split_of_rate, told_apart
from vaekit.fitting import fit
from vaekit.latent.encode import draws
from vaekit.likelihoods import FixedGaussian
from vaekit.metrics import weights_of
from vaekit.metrics.quality import another
from vaekit.objectives import ELBO, IWAE, Classic, FactorVAE
from vaekit.planning import start
from vaekit.recipes import LIKELIHOODS, RECIPES, Recipe, cook
from vaekit.report.story import notes
from vaekit.schedules import Linear
from vaekit.trace import At

pytestmark = pytest.mark.usefixtures("quick")


@pytest.mark.parametrize("name", SICK)
def test_a_sick_model_is_seen(name, tmp_path):
    findings, _ = examine(*SICK[name].admit(tmp_path / "run"))
    assert SICK[name].finding in [finding.name for finding in findings], findings
    for finding in findings:
        assert all(finding), finding


def test_what_mends_is_there():
    """Options and likelihoods that the checks name are those of the commands."""
    text = "".join(Path(module.__file__).read_text() for module in (checks, mends))
    have = {f"--{name.strip('_').replace('_', '-')}" for command in (train, sample) for name in signature(command).parameters}
    assert set(re.findall(r"--[a-z][a-z-]+", text)) <= have
    for named in re.findall(r"--likelihood ([a-z-]+)(?: or ([a-z-]+))?", text):
        assert set(filter(None, named)) <= LIKELIHOODS.keys()
    adjusted(cook("ladder", (1, 28, 28), {}), ["objective.free_bits=0.5", "objective.per=group"])
    adjusted(cook("ladder", (1, 28, 28), {}), ["model.blocks=1"])


IMAGE = (1, 16, 16)


def mended(name: str, mend: str, given: dict) -> list[Recipe]:
    """What the recipe makes of each of the options that a mend names."""
    sets = re.findall(r"--set ((?:[\w.]+=[\w.+-]+ ?)+)", mend)
    single = re.findall(r"--(sigma|r-loss-factor) ([\d.e+-]+)", mend)
    assert sets or single or mend == "more --images"
    return [adjusted(cook(name, IMAGE, given), changes.split()) for changes in sets] + [
        cook(name, IMAGE, given | {option.replace("-", "_"): float(value)}) for option, value in single
    ]


@pytest.mark.parametrize("name", RECIPES)
def test_what_mends_a_model_is_taken_by_its_own_recipe(name):
    given = needs(name, IMAGE)
    made = cook(name, IMAGE, given)
    if not made.model.has_prior:  # it has no rate of which there could be too little or too much
        return
    less = mends.carrying(made.objective, more=False)
    for mend in (mends.more_in_codes(made.model, made.objective, 0.1), *filter(None, [less])):
        for model, objective, *_ in mended(name, mend, given):
            if isinstance(objective, ELBO):  # free nats of each latent are for Gaussians alone
                trace = objective.look(model, (torch.rand(3, *IMAGE) > 0.5).float())
                assert all(torch.isfinite(term).all() for term in objective(trace, At(10.0, 100)).values())
    if weights_of(IMAGE, made.objective, made.model.likelihood):
        mended(name, mends.sharper(made.model, made.objective, 0.05), given)


def test_the_mend_goes_where_the_number_of_the_objective_lies():
    """To the usual value, or beyond it; the end of a schedule; a weight of the pixels as their residual says."""
    for objective, more, told in (
        (ELBO(beta=300.0), True, "--set objective.beta=1"),
        (ELBO(beta=1.0), True, "--set objective.beta=0.25"),
        (ELBO(beta=0.0), False, "--set objective.beta=1"),
        (ELBO(beta=Linear(images=10, end=2.0)), False, "--set objective.beta.end=8"),
        (Classic(r_loss_factor=500), True, "--r-loss-factor 10000"),
        (IWAE(), True, ""),
    ):
        assert mends.carrying(objective, more) == told
    assert mends.sharper(tiny.model(), Classic(), 0.1) == "--r-loss-factor 3200"  # 64 pixels / (2 * 0.1^2)
    assert mends.sharper(tiny.model(), ELBO(beta=10.0), 0.1) == "--set objective.beta=1"
    assert "--sigma 0.1" in mends.sharper(tiny.model(likelihood=FixedGaussian(scale=0.6)), ELBO(), 0.1)


@pytest.mark.parametrize(("recipe", "fitted"), [("vae", True), ("sphere", False), ("categorical", False)])
def test_a_second_stage_mends_a_hole_where_one_can_be_fitted(recipe, fitted):
    made = cook(recipe, IMAGE, {})
    run = SimpleNamespace(path=Path("my runs/a"), priors={})
    about = {"model": made.model, "objective": made.objective, "run": run, "has_rate": True, "rate": 9.0}
    finding = checks.prior_hole(SimpleNamespace(**about, distances=(0.99, 0.1)))
    assert finding is not None
    assert ("vaekit fit-prior 'my runs/a', then vaekit sample 'my runs/a' --prior fitted" in finding.mend) == fitted
    assert "--set objective.beta=4" in finding.mend


@pytest.fixture
def exam_of(tmp_path, monkeypatch):
    """An exam of a run that took a few steps, whatever its codes carry."""
    monkeypatch.setattr(checks, "COLLAPSED", 0.0)

    def make(data=None, **recipe) -> Exam:
        data = data or tiny.dataset()
        run = start(tmp_path / "run", data, tiny.recipe(**{"images": 80} | recipe))
        fit(run, data)
        return Exam(run, data)

    return make


def test_a_single_picture_has_no_other_one_s_code(exam_of):
    data = tiny.dataset()
    exam = exam_of(replace(data, splits=data.splits | {"test": data.splits["test"][:1]}))
    assert len(exam.held) == 1
    assert checks.ignores_z(exam) is None


def test_another_picture_s_code_is_never_its_own(exam_of):
    exam = exam_of()
    z = torch.from_numpy(draws(exam.model, exam.data.pixels, 0, exam.held))
    x = torch.from_numpy(exam.data.take(exam.held)) / 255
    with torch.no_grad():
        own, other = (-exam.model.decode(codes[None]).log_prob(x).mean().item() for codes in (z, z[another(len(z), exam.seed)]))
    assert exam.lost() == pytest.approx(other - own, rel=1e-3, abs=1e-4)


def test_labels_that_training_never_saw_are_no_strange_ones(exam_of):
    """As where whole persons stand on one side of the split: of those nobody could name the label."""
    data, labels = tiny.dataset(320), np.arange(320) % 4
    labels[data.splits["test"]] = 4 + np.arange(len(data.splits["test"])) % 4
    named = replace(data, labels=labels, label_names=tuple("abcdefgh"))
    exam = exam_of(named)
    assert checks.strange_labels(exam) is None
    exam.data = replace(named, labels=np.arange(320) % 4)  # of which pictures tell nothing, but which training saw
    assert checks.strange_labels(exam) is not None


def test_few_codes_of_many_latents_are_told_apart_too():
    a, b = np.random.default_rng(0).standard_normal((2, 20, 300))
    assert 0 <= told_apart(a, b, 0) <= 1


@pytest.mark.parametrize("comparable", [True, False])
def test_a_loss_that_does_not_compare_is_not_still_falling(comparable, exam_of, monkeypatch):
    monkeypatch.setattr(checks, "FEW_STEPS", 0)
    monkeypatch.setattr("vaekit.report.story.FEW_STEPS", 0)
    exam = exam_of(objective=ELBO() if comparable else FactorVAE(latent=3, width=8, depth=2))
    for loss in (9e3, 6e3, 3e3):
        exam.run.append({"split": "validation", "loss": loss, "step": 10, "images": 80})
    assert (checks.underfit(exam) is not None) == comparable
    assert any("still falling" in note for note in notes(exam.run)) == comparable


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
    assert "vaekit doctor" in told[0]


def test_scripts_can_fail_on_findings(tmp_path, capsys):
    SICK["collapsed"].admit(tmp_path / "run")

    def doctor(*more: str) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as stop:
            cli.main(["doctor", str(tmp_path / "run"), *more])
        return stop.value.code, *capsys.readouterr()

    (code, plain, _), (failed, asked, _) = doctor("--json"), doctor("--json", "--fail-on", "collapsed")
    assert (code, failed) == (0, 5)
    assert plain == asked
    assert "collapsed" in [each["name"] for each in json.loads(plain)["findings"]]
    assert doctor("--fail-on", "leaked")[0] == 0
    assert doctor("--fail-on", "any")[0] == 5
    code, _, told = doctor("--fail-on", "colapsed")
    assert code == 2
    assert "Did you mean 'collapsed'" in told
