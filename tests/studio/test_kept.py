"""A bundle is made once for each state of a finished run."""

import os

import numpy as np
import pytest

from vaekit import Run
from vaekit.studio import bundle_of
from vaekit.studio.kept import kept_bundle


@pytest.fixture
def made(run, monkeypatch, tmp_path):
    """Ask for a bundle, in a cache of its own; and how often one was made."""
    data, calls = run.open_data(), []
    monkeypatch.setenv("VAEKIT_CACHE", str(tmp_path))

    def ask(**how):
        def make():
            calls.append(how)
            return bundle_of(run, run.load_model("cpu"), data, most=30)

        return kept_bundle(run, data, make, **how)

    return ask, calls


def test_what_is_kept_is_what_was_made(made):
    ask, calls = made
    first, again = ask(most=30), ask(most=30)
    assert len(calls) == 1
    assert (again.manifest, again.blobs) == (first.manifest, first.blobs)
    np.testing.assert_array_equal(again.rows, first.rows)
    np.testing.assert_array_equal(again.mu, first.mu)
    ask(most=31)
    assert len(calls) == 2


def test_other_weights_have_another_one(made, run, tmp_path):
    ask, calls = made
    ask()
    weights = run.path / "weights.safetensors"
    before = weights.stat()
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    ask()
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert len(calls) == 2
    assert len(list(tmp_path.rglob("*.npz"))) == 1


def test_a_kept_one_has_the_vectors_that_there_are_now(made, monkeypatch):
    ask, calls = made
    first = ask()
    monkeypatch.setattr("vaekit.studio.bundle.vectors", lambda run: ({"New": {"sigmas": 1.0}}, ["a note"]))
    again = ask()
    assert len(calls) == 1
    assert (again.manifest["vectors"], again.manifest["notes"]) == ({"New": {"sigmas": 1.0}}, ["a note"])
    assert again.blobs == first.blobs


def test_how_the_run_was_named_is_not_in_it(run, monkeypatch):
    data = run.open_data()
    monkeypatch.chdir(run.path)
    made = bundle_of(Run("."), run.load_model("cpu"), data, most=30)
    assert (made.manifest["name"], made.manifest["path"]) == (run.path.name, str(run.path.resolve()))


def test_a_damaged_one_is_made_anew(made, tmp_path):
    ask, calls = made
    ask()
    (kept,) = tmp_path.rglob("*.npz")
    kept.write_bytes(kept.read_bytes()[:-2000])
    ask()
    ask()
    assert len(calls) == 2


def test_nothing_is_kept_of_a_run_that_still_trains(made, run, tmp_path):
    ask, calls = made
    about = run.description
    run.describe(about | {"status": "running"})
    ask()
    ask()
    run.describe(about)
    assert len(calls) == 2
    assert not list(tmp_path.rglob("*.npz"))


def test_a_cache_that_cannot_be_written_costs_only_time(made, tmp_path, monkeypatch):
    ask, calls = made
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VAEKIT_CACHE", str(tmp_path / "file"))
    assert ask().manifest["count"] == 30
    ask()
    assert len(calls) == 2
