"""The doctor finds what was done to sixteen models and nothing else, and nothing in nine that are well."""

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
from vaekit.autoregressive import NeighbourBernoulli
from vaekit.cli.look import sample
from vaekit.cli.progress import Bar
from vaekit.cli.training import train
from vaekit.doctor import CHECKS, Exam, checks, course, examine, mends, pictures, signs_of
from vaekit.doctor.exam import mmd, split_of_rate, told_apart
from vaekit.fitting import fit
from vaekit.latent.encode import Codes, draws
from vaekit.likelihoods import FixedGaussian
from vaekit.metrics import weights_of
from vaekit.metrics.quality import another
from vaekit.nets import MixerDecoder
from vaekit.objectives import ELBO, IWAE, Classic, FactorVAE
from vaekit.planning import start
from vaekit.priors import StandardNormal
from vaekit.recipes import RECIPES, Recipe, cook
from vaekit.report.story import notes
from vaekit.schedules import Linear
from vaekit.trace import At
from vaekit.weighing import LIKELIHOODS

pytestmark = pytest.mark.usefixtures("quick")


@pytest.mark.parametrize("name", SICK)
def test_a_sick_model_is_seen(name, tmp_path):
    findings, _ = examine(*SICK[name].admit(tmp_path / "run"))
    assert SICK[name].finding in [finding.name for finding in findings], findings
    surplus = SICK[name].surplus(findings)
    assert not surplus, "\n".join(f"{found.name}: {found.measured}" for found in surplus)
    for finding in findings:
        assert all(finding), finding


def test_what_mends_is_there():
    """Options and likelihoods that the checks name are those of the commands."""
    text = "".join(Path(module.__file__).read_text() for module in (checks, course, mends, pictures))
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
    assert "--sigma 0.1" in mends.sharper(tiny.model(likelihood=FixedGaussian(scale=0.6)), ELBO(), 0.1)


@pytest.mark.parametrize(("recipe", "fitted"), [("vae", True), ("sphere", False), ("categorical", True)])
def test_a_second_stage_mends_a_hole_where_one_can_be_fitted(recipe, fitted):
    made = cook(recipe, IMAGE, {})
    run = SimpleNamespace(path=Path("my runs/a"))
    about = {"model": made.model, "objective": made.objective, "run": run, "has_rate": True, "rate": 9.0, "fitted": None}
    finding = checks.prior_hole(SimpleNamespace(**about, distances=(0.99, 0.1)))
    assert finding is not None
    assert ("vaekit fit-prior 'my runs/a', then vaekit sample 'my runs/a' --prior fitted" in finding.mend) == fitted
    assert "--set objective.beta=4" in finding.mend


@pytest.mark.parametrize(
    ("auc", "mend"), [(0.6, "vaekit sample a --prior fitted"), (0.95, "another density of vaekit fit-prior")]
)
def test_a_fitted_density_does_not_fill_the_hole_of_the_own_prior(auc, mend):
    """From which `vaekit sample` draws by default, so that scripts are told the truth about its pictures."""
    about = {"model": tiny.model(), "objective": ELBO(), "run": SimpleNamespace(path=Path("a")), "has_rate": True, "rate": 9.0}
    exam = SimpleNamespace(**about, distances=(0.99, 0.1), fitted=("gaussian", auc))
    finding = checks.prior_hole(exam)
    assert finding is not None
    assert finding.mend.startswith(mend)
    assert "the model's own prior with AUC 0.990" in finding.measured
    assert f"the fitted density gaussian: AUC {auc:.3f}" in finding.measured
    exam.distances = (0.5, 0.1)
    assert checks.prior_hole(exam) is None


def test_both_priors_are_vital_signs_by_their_names(exam_of):
    exam = exam_of(images=80)
    before = signs_of(exam)
    assert not any("fitted" in name for name in before)
    prior = StandardNormal(latent=exam.model.latent)
    exam.run.save_priors({"standard": prior}, {"standard": {"nats": 1.0}})
    again = signs_of(Exam(exam.run, exam.given))
    own = "AUC of codes against the own prior"
    assert again[own] == before[own]
    assert again["AUC of codes against the fitted standard"].value == pytest.approx(before[own].value, abs=0.3)


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


def test_labels_that_training_never_saw_are_no_strange_ones(exam_of, monkeypatch):
    """As where whole persons stand on one side of the split: of those nobody could name the label."""
    monkeypatch.setattr(checks, "underfit", lambda _: None)
    data, labels = tiny.dataset(320), np.arange(320) % 4
    labels[data.splits["test"]] = 4 + np.arange(len(data.splits["test"])) % 4
    named = replace(data, labels=labels, label_names=tuple("abcdefgh"))
    exam = exam_of(named)
    assert checks.strange_labels(exam) is None
    exam.data = replace(named, labels=np.arange(320) % 4)  # of which pictures tell nothing, but which training saw
    assert checks.strange_labels(exam) is not None


@pytest.mark.parametrize(
    ("named", "of", "guess", "strange"),
    [
        (21, 39, 17, False),  # up to 68 %: too few to tell labels that are hard to see from none
        (17, 39, 17, False),
        (210, 390, 170, False),  # clearly above guessing
        (170, 390, 170, True),
        (10, 40, 10, True),
    ],
)
def test_labels_are_strange_where_pictures_are_enough_to_say_so(named, of, guess, strange, monkeypatch):
    labels = np.array([0] * guess + [1 + i % 9 for i in range(of - guess)])
    rows, both = np.arange(of), np.tile(labels, 2)
    exam = SimpleNamespace(data=SimpleNamespace(labels=both, pixels=None), rows={"train": rows + of}, held=rows, split="test")
    exam.has_rate, exam.model = False, None
    monkeypatch.setattr(checks, "codes", lambda *_: SimpleNamespace(mu=None))
    monkeypatch.setattr(checks, "label_accuracy", lambda *_: named / of)
    monkeypatch.setattr(checks, "underfit", lambda _: None)
    assert (checks.strange_labels(exam) is not None) == strange
    monkeypatch.setattr(checks, "underfit", lambda _: True)
    assert checks.strange_labels(exam) is None


def test_copies_are_found_on_either_side_and_among_any_number_of_training_pictures():
    """By exact counts: of a choice of 200,000 training pictures, two thirds of the 7 % would be seen, too few to speak of."""
    pixels = np.arange(302_000, dtype=np.uint32).view(np.uint8).reshape(-1, 1, 2, 2)  # no two are alike
    train, validation, test = np.split(np.arange(302_000), [300_000, 301_000])
    data = replace(tiny.dataset(pixels=pixels), splits={"train": train, "validation": validation, "test": test})
    exam = SimpleNamespace(given=data)
    assert pictures.leaked(exam) is None
    pixels[validation[:70]] = pixels[::4000][:70]
    one = pictures.leaked(exam)
    pixels[test[:50]] = pixels[-20:][:1]  # copies of each other alone
    assert pictures.leaked(exam) == one
    pixels[test[:100]] = pixels[0]
    both = pictures.leaked(exam)
    told = "7.0% of 1,000 validation pictures, such as 300000, stand in the training split too, pixel for pixel"
    assert one.measured == told
    assert both.measured == f"10.0% of 1,000 test pictures, such as 301000, and {told}"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda pixels: pixels[..., :0], None),
        (lambda pixels: pixels[..., :2], None),  # the ground of digits
        (lambda pixels: pixels[:], None),  # of which `wrong_range` tells
        (lambda pixels: pixels[:, 1], "channel 2 of 3 is the same"),
    ],
)
def test_channels_that_say_nothing_are_seen_and_a_plain_ground_is_well(change, told):
    pixels = np.random.default_rng(0).integers(256, size=(40, 3, 8, 8), dtype=np.uint8)
    change(pixels)[...] = 20
    exam = SimpleNamespace(given=tiny.dataset(pixels=pixels), rows={"train": np.arange(40)})
    finding = pictures.constant_pixels(exam)
    assert finding is None if told is None else finding.measured == f"{told} in all of 40 training pictures"
    pixels[..., 4:6, 4:6] = np.array([[0, 80], [160, 240]])  # a mark
    assert pictures.constant_pixels(exam) is not None
    exam.rows["train"] = np.arange(5)  # where much is the same by accident
    assert pictures.constant_pixels(exam) is None


@pytest.mark.parametrize(
    ("objective", "hidden"),
    [
        (ELBO(), True),
        (ELBO(beta=Linear(images=10)), True),  # at its end the ELBO
        (Classic(r_loss_factor=100), True),
        (ELBO(beta=4.0), False),
        (ELBO(beta=Linear(images=10, end=4.0)), False),
    ],
)
def test_pixels_that_weigh_little_are_found_fault_with_where_nothing_says_so(objective, hidden):
    model = tiny.model(likelihood=FixedGaussian(scale=0.5))
    exam = SimpleNamespace(model=model, objective=objective, rmse={"test": 0.1}, split="test")
    assert (checks.too_smooth(exam) is not None) == hidden


@pytest.mark.parametrize("name", ["beta-vae", "annealed-capacity", "beta-tcvae", "factor-vae", "dip-vae-1", "dip-vae-2"])
def test_recipes_that_weigh_the_rate_are_not_too_smooth(name):
    made = cook(name, IMAGE, {})
    exam = SimpleNamespace(model=made.model, objective=made.objective, rmse={"test": 0.1}, split="test")
    assert checks.too_smooth(exam) is None


def test_the_units_of_a_likelihood_are_looked_at(exam_of):
    def make():
        likelihood = NeighbourBernoulli(image=(1, 8, 8), features=3, depth=1)
        sizes = {"features": 16, "width": 8, "depth": 0, "per_patch": 3 * likelihood.values}
        return tiny.model(likelihood=likelihood, decoder=MixerDecoder(image=(1, 8, 8), latent=3, **sizes))

    exam = exam_of(make=make, binarize="threshold")
    exam.model.likelihood.hidden.bias.fill_(-1e3)
    spans = {name: span for name, span in checks.spans_of(exam).items() if name.startswith("likelihood.")}
    places = ("likelihood.relus.0", "likelihood.relu_both", "likelihood.relu_hidden")
    assert {name: len(span) for name, span in spans.items()} == dict.fromkeys(places, 3 * 16)
    assert not spans["likelihood.relu_hidden"].any()
    assert spans["likelihood.relus.0"].any()
    assert spans["likelihood.relu_both"].any()


def test_few_codes_of_many_latents_are_told_apart_too():
    a, b = np.random.default_rng(0).standard_normal((2, 20, 300))
    assert 0 <= told_apart(a, b, 0) <= 1


@pytest.mark.parametrize("comparable", [True, False])
def test_a_loss_that_does_not_compare_is_not_still_falling(comparable, exam_of, monkeypatch):
    monkeypatch.setattr(course, "FEW_STEPS", 0)
    monkeypatch.setattr("vaekit.report.story.FEW_STEPS", 0)
    exam = exam_of(objective=ELBO() if comparable else FactorVAE(latent=3, width=8, depth=2))
    for loss in (9e3, 6e3, 3e3):
        exam.run.append({"split": "validation", "loss": loss, "step": 10, "images": 80})
    assert (course.underfit(exam) is not None) == comparable
    assert any("still falling" in note for note in notes(exam.run)) == comparable


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_model_is_left_alone(name, tmp_path):
    findings, signs = examine(*HEALTHY[name].admit(tmp_path / "run"))
    assert not findings
    assert all(np.isfinite(sign.value) and sign.count > 0 for sign in signs.values())
    assert signs["residual, test"].unit == "pixel value in [0, 1]"


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


def test_the_parts_of_the_rate_add_up(tmp_path):
    """MI + TC + dimension-wise KL = KL, up to the draws of z."""
    exam = Exam(*HEALTHY["two latents"].admit(tmp_path / "run"))
    assert sum(split_of_rate(exam).values()) == pytest.approx(exam.rate, rel=0.05)


def test_the_rate_of_gaussian_codes_splits_as_in_closed_form(monkeypatch):
    """Where mu ~ N(m, S) and q(z | x) = N(mu, V), q(z) = N(m, S + V), of which all three parts are known."""
    mean, spread, noise = np.array([0.5, -1.0]), np.array([[1.0, 0.8], [0.8, 1.0]]), np.array([0.25, 0.5])
    normal = np.random.default_rng(0).standard_normal((2000, 4))
    normal -= normal.mean(0)
    normal = normal @ np.linalg.inv(np.linalg.cholesky(np.cov(normal.T, bias=True))).T  # its moments are exact
    mu = mean + normal[:, :2] @ np.linalg.cholesky(spread).T
    q = spread + np.diag(noise)
    expected = {
        "mutual information": np.log(np.linalg.det(q) / noise.prod()) / 2,
        "total correlation": np.log(q.diagonal().prod() / np.linalg.det(q)) / 2,
        "dimension-wise KL": (q.diagonal() + mean**2 - 1 - np.log(q.diagonal())).sum() / 2,
    }
    monkeypatch.setattr("vaekit.doctor.exam.codes", lambda *_: Codes(mu, np.broadcast_to(np.log(noise), mu.shape)))
    monkeypatch.setattr("vaekit.doctor.exam.draws", lambda *_: mu + np.sqrt(noise) * normal[:, 2:])
    exam = SimpleNamespace(model=tiny.model(latent=2), data=SimpleNamespace(pixels=None), held=np.arange(2000), seed=0)
    assert split_of_rate(exam) == pytest.approx(expected, abs=0.03)
    monkeypatch.setattr("vaekit.doctor.exam.NEAR", 100.0)  # as if pictures were too few to tell the first two apart
    mi, tc, kl = expected.values()
    merged = {"mutual information + total correlation": mi + tc, "dimension-wise KL": kl}
    assert split_of_rate(exam) == pytest.approx(merged, abs=0.03)


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
