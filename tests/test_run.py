"""The run folder keeps what it is given, and says what it lacks."""

import errno
import fcntl
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import tiny
from conformance import needs
from tiny import dataset, recipe
from vaekit.adjusting import adjusted
from vaekit.errors import DataError, UsageError, VaekitError
from vaekit.fitting import fit
from vaekit.objectives import ELBO
from vaekit.part import Part, describe
from vaekit.planning import kept_by_step, plan, start
from vaekit.recipes import cook
from vaekit.run import Run, claim_paths
from vaekit.stored import Stored, save_part, save_tensors
from vaekit.trace import At


@pytest.fixture
def trained(tmp_path, quick) -> Run:
    run = start(tmp_path / "trained", dataset(), recipe(images=16))
    fit(run, dataset())
    return run


def test_a_run_that_has_nothing_yet_says_what_to_do(tmp_path):
    with pytest.raises(UsageError, match=r"no run\.json.*vaekit train"):
        Run.open(tmp_path / "none")
    run = start(tmp_path / "0001-tiny", dataset(), recipe(images=16))
    with pytest.raises(UsageError, match=r"Runs beside it: 0001-tiny"):
        Run.open(tmp_path / "0002-tiny")
    with pytest.raises(UsageError, match=r"Runs in it: 0001-tiny"):
        Run.open(tmp_path)
    with pytest.raises(UsageError, match=r"no weights\.safetensors yet"):
        run.load_model()
    with pytest.raises(UsageError, match="no attribute vectors"):
        run.load_attributes()
    assert [path.name for path in claim_paths(tmp_path, ["my pictures!", "?"])] == ["0002-my-pictures", "0003-run"]


def test_two_that_begin_at_once_get_folders_of_their_own(tmp_path):
    with ThreadPoolExecutor(8) as several:
        claimed = [path for paths in several.map(lambda _: claim_paths(tmp_path, ["a", "b"]), range(50)) for path in paths]
    assert len(set(claimed)) == 100
    assert all(path.is_dir() for path in claimed)


def test_damaged_files_are_named(trained):
    weights = trained.path / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"weights\.safetensors is damaged"):
        trained.load_model()
    trained.save_weights(tiny.model(latent=2))
    with pytest.raises(DataError, match="does not fit what"):
        trained.load_model()
    (trained.path / "run.json").write_text("{")
    with pytest.raises(DataError, match=r"run\.json is damaged"):
        trained.load_model()
    (trained.path / "run.json").write_text('{"format": 99}')
    with pytest.raises(DataError, match="run format 99"):
        trained.load_model()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": None}, r"run\.json has no model"),
        ({"training": "x"}, r"run\.json has no training"),
        ({"model": {"part": "VAE", "encoder": 5}}, r"describes no model|described without"),
        ({"execution": {"device": "cpu", "speed": 1}}, r"run\.json: .*'speed'"),
    ],
)
def test_a_description_that_somebody_broke_is_named(change, words, trained):
    trained.describe(trained.description | change | {"status": "stopped"})
    with pytest.raises((DataError, UsageError), match=words):
        fit(trained, dataset())


class Doubled(ELBO):
    """An objective of one's own."""

    def forward(self, t, at):
        return {name: 2 * term for name, term in super().forward(t, at).items()}


def test_a_part_of_ones_own_is_imported_first(tmp_path, quick, monkeypatch):
    run = start(tmp_path / "own", dataset(), recipe(Doubled(), images=16))
    fit(run, dataset())
    assert isinstance(run.load_objective("cpu"), Doubled)
    monkeypatch.delitem(Part.kinds, "Doubled")  # as in another process
    with pytest.raises(
        UsageError, match=r"objective that vaekit does not know: No part is named 'Doubled'.*MODULE.*Run\.open"
    ) as told:
        run.load_objective("cpu")
    assert "Restore" not in str(told.value)
    run.load_model("cpu")  # whose parts are all vaekit's
    broken = run.description["objective"] | {"part": 3}
    run.describe(run.description | {"objective": broken})
    with pytest.raises(DataError, match=r"No part is named 3.*Restore it from a copy"):
        run.load_objective("cpu")


class NoObjective(Part):
    """A part, and no objective."""


class Talkative(ELBO):
    """An objective that could not be written down."""

    say: Callable[[str], None] = print


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"objective": NoObjective()}, r"objective .* derives from vaekit\.objectives\.Objective; this is a NoObjective"),
        ({"objective": lambda t, at: t}, r"derives from vaekit\.objectives\.Objective; this is a function"),
        ({"objective": ELBO}, r"this is the class ELBO"),
        ({"model": torch.nn.Linear(2, 2)}, r"derives from vaekit\.model\.Model; this is a Linear"),
        ({"training": None}, r"derives from vaekit\.training\.Training; this is a NoneType"),
        ({"objective": Talkative()}, r"objective Talkative cannot be written to run\.json: .*not JSON serializable"),
    ],
)
def test_what_is_no_part_is_refused_before_anything_is_written(change, words, tmp_path):
    with pytest.raises(UsageError, match=words):
        start(tmp_path / "run", dataset(), recipe(images=16)._replace(**change))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("components", "batch", "fits"), [(500, 8, True), (100_000, 8, False), (10, 2**40, True)])
def test_what_memory_cannot_hold_is_refused_before_anything_is_allocated(components, batch, fits, tmp_path, monkeypatch):
    """A batch is at most all pictures. On tensors without numbers: the sizes are real, the memory is not."""
    with torch.device("meta"):
        made = cook("vamp-prior", (3, 16, 16), {"batch_size": batch, "images": 64, "net": "mlp"})
        made = adjusted(made, [f"model.prior.components={components}"])
    monkeypatch.setattr("vaekit.planning.free_memory", lambda _: 2 * 10**9)
    if fits:
        plan(dataset(image=(3, 16, 16)), made)
    else:
        with pytest.raises(UsageError, match=r"at least \d+\.\d GB of memory.*cpu has 2\.0 GB free.*model\.prior\.components"):
            start(tmp_path / "run", dataset(image=(3, 16, 16)), made)
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["vae", "ladder", "iwae", "vq-vae", "conditional", "vae-gan", "exemplar-prior"])
def test_what_a_step_keeps_is_counted_without_taking_it(name):
    image, kept = (1, 16, 16), {}
    made = cook(name, image, needs(name, image))
    own = {t.untyped_storage().data_ptr() for part in made[:2] for t in (*part.parameters(), *part.buffers())}

    def keep(t: torch.Tensor) -> torch.Tensor:
        kept[t.untyped_storage().data_ptr()] = t.untyped_storage()
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        x, condition = torch.rand(5, *image), getattr(made.model, "condition", None)
        trace = made.objective.look(made.model, x, torch.full((5, len(condition.names)), torch.nan) if condition else None)
        terms = made.objective(trace, At(torch.zeros(()), 5))
    assert terms
    really = sum(storage.nbytes() for place, storage in kept.items() if place not in own)
    counted = kept_by_step(json.dumps(describe(made.model)), json.dumps(describe(made.objective)), 5)
    assert 0 < counted == pytest.approx(really, rel=0.02)


def test_other_damage_is_named(trained):
    (trained.path / "metrics.json").write_text('{"elbo": 5}')
    with pytest.raises(DataError, match="not every metric has a value"):
        _ = trained.metrics
    for line in (b"5\n", b"\xff\n"):
        (trained.path / "log.jsonl").write_bytes(line)
        with pytest.raises(DataError, match=r"log\.jsonl is damaged"):
            _ = trained.records
    save_tensors(trained.snapshot, {}, {})
    with pytest.raises(DataError, match="does not say where training was"):
        trained.load_state()
    model = trained.load_model()
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] = torch.nan
    trained.save_weights(model)
    with pytest.raises(DataError, match="not finite"):
        trained.load_model()


def test_a_finished_run_needs_no_snapshot_and_is_not_trained_again(trained):
    log, weights = trained.records, (trained.path / "weights.safetensors").read_bytes()
    trained.snapshot.unlink()
    fit(trained, dataset())
    assert trained.records == log
    assert (trained.path / "weights.safetensors").read_bytes() == weights
    assert trained.reached["images"] == 16


def test_a_stopped_run_whose_snapshot_is_gone_does_not_begin_anew(trained):
    trained.describe(trained.description | {"status": "stopped"})
    trained.snapshot.unlink()
    with pytest.raises(DataError, match=r"has a log, but .*state\.safetensors is gone"):
        fit(trained, dataset())


def test_a_last_line_cut_off_by_a_crash_is_left_out(trained):
    lines = len(trained.records)
    with open(trained.path / "log.jsonl", "a") as file:
        file.write('{"split": "tra')
    assert len(trained.records) == lines


def test_what_was_measured_is_added_up(tmp_path):
    run = Run(tmp_path)
    assert run.metrics == {}
    run.add_metrics({"mse": {"value": 0.1, "unit": "1"}})
    run.add_metrics({"elbo": {"value": -3.0, "unit": "nats"}})
    assert run.metrics.keys() == {"mse", "elbo"}
    save_part(run.path / "weights.safetensors", tiny.model())  # others than those that this was measured of
    assert run.metrics == {}
    run.add_metrics({"nll": {"value": 3.0, "unit": "nats"}})
    assert run.metrics == {"nll": {"value": 3.0, "unit": "nats", "weights": run.weights_digest}}
    run.save_attributes({"Smiling": torch.arange(3.0)}, {"Smiling": {"norm": 1.0}})
    vectors, about = run.load_attributes()
    assert torch.equal(vectors["Smiling"], torch.arange(3.0))
    assert about["Smiling"]["norm"] == 1.0
    assert run.has_attributes
    save_part(run.path / "weights.safetensors", tiny.model())
    assert not run.has_attributes
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.save_attributes({"Hat": torch.arange(2.0)}, {"Hat": {"norm": float("nan")}})
    assert Stored(run.path / "attributes.safetensors").names == ("Smiling",)


def test_a_lock_says_who_holds_it_or_that_there_can_be_none(tmp_path, monkeypatch):
    run = Run(tmp_path / "run")
    with run.lock(), pytest.raises(VaekitError, match=rf"is being written by process {os.getpid()}\. Wait"), run.lock():
        pass

    def without(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", without)
    with pytest.raises(VaekitError, match=r"cannot be locked: Function not implemented\. Expected"), run.lock():
        pass


def test_a_snapshot_is_kept_without_a_copy_and_can_be_returned_to(tmp_path):
    run = Run(tmp_path)
    run.keep_snapshot()  # there is none yet
    assert not run.kept.exists()
    run.save_state({"x": torch.zeros(3)}, {"step": 1})
    run.keep_snapshot()
    assert run.kept.samefile(run.snapshot)
    run.save_state({"x": torch.ones(3)}, {"step": 2})
    assert (run.position(), run.position(kept=True)) == ({"step": 2}, {"step": 1})
    run.return_to_kept()
    tensors, position = run.load_state()
    assert (tensors["x"].tolist(), position) == ([0, 0, 0], {"step": 1})
    run.forget_kept()
    assert [path.name for path in run.snapshot.parent.iterdir()] == ["state.safetensors"]
