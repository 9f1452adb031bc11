"""On a terminal and off it; and stopped."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from commands import QUICK
from conformance import needs
from vaekit import cli
from vaekit.cli import progress
from vaekit.cli.progress import weights_line
from vaekit.recipes import cook


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watched(monkeypatch, capsys):
    """A bar off a terminal, and the clock it reads."""
    clock = Clock()
    monkeypatch.setattr(progress.time, "monotonic", clock)
    monkeypatch.setattr(progress, "console", Console(stderr=True, highlight=False, markup=False))
    return progress.Bar(), clock


def record(split: str, images: int) -> dict:
    return {"split": split, "images": images, "loss": 1.0}


def test_plain_lines_are_few_and_the_last_validation_is_among_them(watched, capsys):
    bar, clock = watched
    with bar:
        for second in range(31):
            clock.now += 1
            bar.logged(record("train", second), second / 30)
            bar.logged(record("validation", second), second / 30)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) <= 8
    assert "  0%" in lines[0]
    assert "100%" in lines[-1]


def test_json_is_all_there_is_on_stdout_of_a_training(vaekit, home, tmp_path):
    said = vaekit("train", home / "pictures", "--out", tmp_path / "run", *QUICK, "--no-report", "--json")
    assert said.json == {"run": str(tmp_path / "run")}
    assert "loss weights" in said.err


def command(*arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "vaekit", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_reader_that_stops_reading_is_no_error():
    process = subprocess.run(
        f"{sys.executable} -m vaekit recipes faces | head -1; exit ${{PIPESTATUS[0]}}",
        shell=True,
        check=False,
        executable="/bin/bash",
        capture_output=True,
        text=True,
    )
    assert (process.returncode, process.stdout, process.stderr) == (0, "{\n", "")


def test_colours_follow_no_color():
    asked = [sys.executable, "-m", "vaekit", "trian"]
    for setting, coloured in (({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False)):
        process = subprocess.run(asked, check=False, capture_output=True, text=True, env={**os.environ, **setting})
        assert ("\x1b[1;31m" in process.stderr) is coloured


# Stopped


def test_a_stopped_training_goes_on_with_the_same_command(home, tmp_path):
    run = tmp_path / "run"
    given = ["train", home / "pictures", "--out", run, *QUICK[2:], "--epochs", "100000", "--no-report"]
    for number, code, word in ((signal.SIGINT, 130, "loss weights"), (signal.SIGTERM, 75, "going on after")):
        process = command(*given)
        wait_for(process, word)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (code, "")
        assert "vaekit resume" in err
        assert "Traceback" not in err
        assert json.loads((run / "run.json").read_text())["status"] == "stopped"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, cli.stopping.Terminated])
def test_a_training_stopped_over_its_report_says_that_it_is_safe(vaekit, trained, tmp_path, monkeypatch, stop):
    def stopped(*_: object) -> None:
        raise stop

    monkeypatch.setattr("vaekit.cli.carrying.finish", stopped)
    run = shutil.copytree(trained, tmp_path / "run")
    (run / "report.html").unlink()
    said = vaekit("resume", run)
    assert said.code == (75 if stop is cli.stopping.Terminated else 130)
    assert f"vaekit resume {run}" in said.err


def test_any_command_ends_on_sigterm_with_a_word(vaekit, monkeypatch):
    def wait(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("vaekit.cli.data.opened", wait)
    said = vaekit("data", "check", "digits")
    assert said.code == 75
    assert said.err.startswith("Stopped.")
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_stop_that_python_had_to_ignore_comes_again(vaekit, monkeypatch):
    class Deaf:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    def wait(*_: object, **__: object) -> None:
        thing = Deaf()
        del thing
        time.sleep(30)

    monkeypatch.setattr("vaekit.cli.data.opened", wait)
    assert vaekit("data", "check", "digits").code == 75


def wait_for(process: subprocess.Popen, word: str) -> None:
    """Read its stderr up to the line with that word."""
    assert process.stderr
    if not any(word in line for line in process.stderr):
        process.communicate()
        pytest.fail(f"{word!r} was never said")


@pytest.mark.parametrize(
    ("recipe", "given", "told"),
    [
        ("vae", {"sigma": 0.3}, "= sigma 0.3"),
        ("vae", {}, "sigma is the optimal one, found while training; were it 0.1"),
        ("vae", {"sigma": 0.3, "beta": 0.0}, "sigma 0.3; no rate stands beside it"),
        ("vae", {"likelihood": "bernoulli"}, "no weighted squared error, so r_loss_factor and sigma do not apply"),
        *(
            (name, {"sigma": 0.3}, "sigma 0.3; .* has weights of its own beside it")
            for name in ("factor-vae", "beta-tcvae", "annealed-capacity", "vq-vae", "semi-supervised", "cr-vae")
        ),
        ("factor-vae", {"likelihood": "gaussian"}, "found while training; FactorVAE has weights of its own"),
        ("vae-gan", {}, r"VAEGAN has no -log p\(x.z\), so sigma weighs nothing in it"),
        ("kl-autoencoder", {}, r"KLAutoencoder has no -log p\(x.z\)"),
    ],
)
def test_what_weighs_pixels_is_told_as_it_is(recipe, given, told):
    made = cook(recipe, (1, 16, 16), needs(recipe, (1, 16, 16)) | given)
    state = SimpleNamespace(model=made.model, objective=made.objective, step=0)
    assert re.search(told, weights_line(state))
