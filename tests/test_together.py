"""Trainings that differ in seeds and numbers alone train together, and each is a whole run of its own."""

import functools
import math
import signal

import pytest
import torch

import tiny
from breaking import CrackedEncoder
from test_fitting import LONG, Notes, same
from tiny import CPU, dataset, pictures, recipe
from vaekit import together
from vaekit.errors import Diverged, Stopped, UsageError
from vaekit.execution import Execution
from vaekit.fitting import fit
from vaekit.likelihoods import FixedGaussian
from vaekit.nets import MLPEncoder
from vaekit.objectives import ELBO
from vaekit.part import build, describe
from vaekit.planning import start
from vaekit.run import Run
from vaekit.schedules import Linear
from vaekit.together import fit_together
from vaekit.train import train_together
from vaekit.tuner import Choice

pytestmark = [
    pytest.mark.usefixtures("quick"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning"),  # torch's own compiler, on its import
]
SEEDS = (0, 1, 2)
at_once = functools.partial(fit_together, together=True)


def begun(folder, seeds=SEEDS, **given) -> list[Run]:
    names = [f"seed-{seed}" for seed in seeds]
    return [
        start(folder / name, dataset(), recipe(**LONG | {"seed": seed} | given), group=names)
        for seed, name in zip(seeds, names, strict=True)
    ]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> list[Run]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vaekit.fitting.LOG_EVERY", 1)
        runs = begun(tmp_path_factory.mktemp("undisturbed"))
        at_once(runs, dataset())
    return runs


def crash_at(step: int):
    def crash(number: int) -> None:
        if number == step:
            raise OSError("no space left")

    return crash


def test_each_is_a_whole_run_of_its_own(undisturbed):
    losses = []
    for run in undisturbed:
        run = Run.open(run.path)  # noqa: PLW2901
        assert run.description["status"] == "finished"
        assert [record["step"] for record in run.records if record["split"] == "train"] == list(range(1, 21))
        assert [record["images"] for record in run.records if record["split"] == "validation"] == [48, 96, 144, 160]
        assert run.load_model().latent == run.load_model(last=True).latent == 3
        assert [path.name for path in (run.path / "resume").iterdir()] == ["state.safetensors"]
        losses.append(run.records[0]["loss"])
    assert len(set(losses)) == 3


def test_together_they_learn_what_they_learn_alone(undisturbed, tmp_path):
    """The noise is other noise, so the bound is near, not the same."""
    for run, alone in zip(undisturbed, begun(tmp_path), strict=True):
        fit(alone, dataset())
        ours, theirs = (its.records[-1] for its in (run, alone))
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=0.1 * abs(alone.records[0]["loss"]))


@pytest.mark.parametrize("step", [1, 6, 7, 13, 20])
def test_a_group_that_crashed_goes_on_with_the_same_bits(step, undisturbed, tmp_path):
    runs = begun(tmp_path)
    with pytest.raises(OSError, match="no space left"):
        at_once(runs, dataset(), Notes(crash_at(step)))
    at_once(begun(tmp_path), dataset())
    for run, expected in zip(runs, undisturbed, strict=True):
        same(run, expected)


@pytest.mark.parametrize("deed", ["keep_snapshot", "save_state", "forget_kept"])
@pytest.mark.parametrize("number", [1, 2, 3, 5, 7, 9, 10, 11, 12])
def test_a_kill_between_the_snapshots_of_a_group_loses_nothing(deed, number, undisturbed, tmp_path, monkeypatch):
    """Some runs are saved, some are not: those that are return to where the others are."""
    done, do = [], getattr(Run, deed)
    beginning = 0 if deed == "keep_snapshot" else 3  # before the first of four times that all are saved

    def killed(run, *given):
        do(run, *given)
        done.append(run)
        if len(done) == beginning + number:
            raise OSError("killed")

    runs = begun(tmp_path)
    monkeypatch.setattr(Run, deed, killed)
    with pytest.raises(OSError, match="killed"):
        at_once(runs, dataset())
    monkeypatch.setattr(Run, deed, do)
    at_once(begun(tmp_path), dataset())
    for run, expected in zip(runs, undisturbed, strict=True):
        same(run, expected)


@pytest.mark.usefixtures("too_big")
def test_a_group_whose_pictures_are_too_big_for_the_device_has_the_same_bits(undisturbed, tmp_path):
    runs = begun(tmp_path)
    at_once(runs, dataset())
    for run, expected in zip(runs, undisturbed, strict=True):
        same(run, expected)


def test_a_signal_stops_all_of_them(undisturbed, tmp_path):
    runs = begun(tmp_path)
    notes = Notes(lambda step: signal.raise_signal(signal.SIGINT) if step == 7 else None)
    with pytest.raises(Stopped, match=r"after 56 images in each of 3 runs, all saved\. Go on: the same command") as caught:
        at_once(runs, dataset(), notes)
    assert caught.value.code == 130
    assert {run.description["status"] for run in runs} == {"stopped"}
    assert all(run.load_model().latent == 3 for run in runs)
    at_once(runs, dataset())
    for run, expected in zip(runs, undisturbed, strict=True):
        same(run, expected)


def test_one_of_them_goes_on_alone_and_the_others_without_it(tmp_path):
    runs = begun(tmp_path)
    with pytest.raises(OSError, match="no space left"):
        at_once(runs, dataset(), Notes(crash_at(13)))
    fit(runs[1], dataset())
    assert [run.description["status"] for run in runs] == ["running", "finished", "running"]
    before = runs[1].records
    at_once(runs, dataset())
    assert {run.description["status"] for run in runs} == {"finished"}
    assert runs[1].records == before
    assert [record["step"] for record in runs[2].records if record["split"] == "train"] == list(range(1, 21))


def test_those_whose_patience_ends_leave_the_others(tmp_path):
    make = lambda: tiny.model(likelihood=FixedGaussian())  # noqa: E731 - an optimal sigma would still move
    given = {"make": make, "images": 480, "validate_every": 8, "patience": 2, "learning_rate": 3e-2}
    straight, broken = (begun(tmp_path / name, seeds=(0, 1, 2, 3), **given) for name in ("straight", "broken"))
    notes = Notes()
    at_once(straight, dataset(), notes)
    ends = [run.records[-1]["step"] for run in straight]
    assert len(set(ends)) > 1
    assert {run.description["status"] for run in straight} == {"finished"}
    assert any(message.startswith("seed-") and "stopped early" in message for message in notes.messages)
    with pytest.raises(OSError, match="no space left"):
        at_once(broken, dataset(), Notes(crash_at(max(2, min(ends) - 1))))
    at_once(broken, dataset())
    for run, expected in zip(broken, straight, strict=True):
        same(run, expected)


@pytest.fixture
def hit(monkeypatch):
    """Once, after the ninth step, a weight of the second run is no number."""
    hits = [9]

    def hit_the_second(states, *given):
        for steps in train_together(states, *given):
            yield steps
            if states[0].step in hits:
                hits.clear()
                with torch.no_grad():
                    states[1].model.decoder.last.bias[0] = math.nan

    monkeypatch.setattr(together, "train_together", hit_the_second)


@pytest.fixture
def seldom(monkeypatch):
    """The device is looked at as seldom as a GPU."""
    monkeypatch.setattr("vaekit.train.look_every", lambda execution: 50)


@pytest.mark.usefixtures("hit")
@pytest.mark.parametrize(
    ("fixtures", "snapshot_seconds"),
    [
        pytest.param((), 60.0, id="seen at once"),
        pytest.param(("seldom",), 60.0, id="seen by a validation"),
        pytest.param(("seldom",), 0.0, id="seen by a snapshot"),
    ],
)
def test_one_that_goes_wrong_is_finished_alone_at_half_the_rate(fixtures, snapshot_seconds, tmp_path, request):
    for name in fixtures:
        request.getfixturevalue(name)
    runs, notes = begun(tmp_path), Notes()
    at_once(runs, dataset(), notes, snapshot_seconds)
    (told,) = [message for message in notes.messages if "half the rate" in message]
    assert told.startswith("seed-1: Step 9")
    assert [run.load_state()[1]["rate_scale"] for run in runs] == [1, 0.5, 1]
    for run in runs:
        assert run.description["status"] == "finished"
        assert [record["step"] for record in run.records if record["split"] == "train"] == list(range(1, 21))


@pytest.mark.usefixtures("hit", "seldom")
def test_a_signal_saves_no_run_that_went_wrong_unseen(tmp_path):
    runs = begun(tmp_path)
    notes = Notes(lambda step: signal.raise_signal(signal.SIGINT) if step == 10 else None)
    with pytest.raises(Stopped, match="after 80 images in each of 2 runs"):
        at_once(runs, dataset(), notes)
    assert [(run.position()["step"], run.position()["rate_scale"]) for run in runs] == [(10, 1), (6, 0.5), (10, 1)]
    at_once(runs, dataset())
    assert {run.description["status"] for run in runs} == {"finished"}


def test_where_all_diverge_it_is_said_of_one_when_all_were_tried(tmp_path):
    white = pictures(40)
    white[:, 0, 0, 0] = 0
    white[11, 0, 0, 0] = 255
    data = dataset(pixels=white)
    make = lambda: tiny.model(encoder=CrackedEncoder(image=(1, 8, 8), features=16, depth=1))  # noqa: E731
    runs = begun(tmp_path, make=make)
    with pytest.raises(Diverged, match="seed-0"):
        at_once(runs, data)
    assert {run.description["status"] for run in runs} == {"diverged"}


# Choices


class Stubborn(MLPEncoder):
    """A test encoder that looks at its numbers from Python, which no transformation can follow."""

    def forward(self, x):
        return super().forward(x) * (1.0 if x.sum().item() >= 0 else -1.0)


def test_a_model_that_cannot_be_stacked_trains_one_after_another_and_says_so(tmp_path):
    make = lambda: tiny.model(encoder=Stubborn(image=(1, 8, 8), features=16, depth=1))  # noqa: E731
    runs, notes = begun(tmp_path, make=make), Notes()
    at_once(runs, dataset(), notes)
    (told,) = notes.messages
    assert told.startswith("3 runs train one after another: their step cannot be taken together (")
    assert {run.description["status"] for run in runs} == {"finished"}
    alone = start(tmp_path / "alone", dataset(), recipe(**LONG | {"seed": 2, "make": make}))
    fit(alone, dataset())
    same(runs[2], alone)


def test_a_layout_that_was_asked_for_is_not_left_out_silently(tmp_path):
    notes = Notes()
    runs = begun(tmp_path, layout="channels_last", images=16)
    at_once(runs, dataset(), notes)
    assert notes.messages == ["3 runs train one after another: steps that are taken together know no layout 'channels_last'."]


@pytest.mark.parametrize(
    ("together", "speed", "words"),
    [
        (None, 100.0, "one after another: together they would be 0.50 times"),
        (None, 500.0, "together, 2.5 times as fast"),
        (True, 100.0, "together, as was asked, 0.5 times as fast"),
    ],
)
def test_the_clock_decides_unless_asked_and_says_what_it_costs(together, speed, words, tmp_path, monkeypatch):
    """An ordinary step has 200 images a second."""
    pretended = lambda training, trial, images, runs=1, **_: Choice(Execution(CPU), speed if runs > 1 else 200.0)  # noqa: E731
    monkeypatch.setattr("vaekit.tuner.choose", pretended)
    runs, notes = begun(tmp_path, deterministic=False), Notes()
    fit_together(runs, dataset(), notes, together=together)
    assert words in notes.messages[0]
    assert [run.description["jointly"] for run in runs] == [together or speed > 200] * 3
    assert {run.description["status"] for run in runs} == {"finished"}


@pytest.mark.parametrize(("together", "words"), [(None, "nothing is timed"), (False, "as was asked")])
def test_one_after_another_they_are_the_runs_that_each_is_alone(together, words, tmp_path):
    runs, notes = begun(tmp_path), Notes()
    fit_together(runs, dataset(), notes, together=together)
    assert notes.messages == [f"3 runs train one after another: {words}."]
    alone = start(tmp_path / "alone", dataset(), recipe(**LONG | {"seed": 1}))
    fit(alone, dataset())
    same(runs[1], alone)


def test_what_was_chosen_holds_until_something_else_is_asked_for(tmp_path):
    runs = begun(tmp_path)
    for asked, words in ((True, ["together, as was asked"]), (None, []), (False, ["one after another: as was asked"])):
        notes = Notes(crash_at(7))
        with pytest.raises(OSError, match="no space left"):
            fit_together(runs, dataset(), notes, together=asked)
        assert notes.messages == [f"3 runs train {told}." for told in words]


def test_runs_that_differ_in_more_than_their_seeds_are_refused(tmp_path):
    runs = [*begun(tmp_path, seeds=(0, 1)), *begun(tmp_path, seeds=(2,), learning_rate=0.5)]
    with pytest.raises(UsageError, match=r"seed-0 and .*seed-2 differ in training; .*their seeds, and in numbers"):
        fit_together(runs, dataset())


def test_runs_whose_objectives_differ_in_more_than_numbers_are_refused(tmp_path):
    runs = [
        start(tmp_path / str(i), dataset(), recipe(**LONG | {"objective": objective}))
        for i, objective in enumerate((ELBO(beta=2), ELBO(beta=Linear(images=80, end=3))))
    ]
    with pytest.raises(UsageError, match="differ in objective"):
        fit_together(runs, dataset())


def test_one_run_is_a_group_too(tmp_path):
    (run,) = begun(tmp_path / "group", seeds=(4,))
    alone = start(tmp_path / "alone", dataset(), recipe(**LONG | {"seed": 4}))
    fit_together([run], dataset())
    fit(alone, dataset())
    same(run, alone)
    assert describe(build(run.description["training"])) == run.description["training"]
