"""The command line as its users meet it: answers on stdout, words on stderr, exit codes, nothing lost."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from vaekit import cli
from vaekit.cli import progress

QUICK = ["--epochs", "2", "--net", "mlp", "--batch-size", "16", "--threads", "1", "--precision", "fp32", "--compile", "off"]
SHAPES = ("circles", "squares")


class Said(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict:
        return json.loads(self.out)


@pytest.fixture
def vaekit(capsys):
    """Run a command in this process."""

    def run(*arguments: object) -> Said:
        with pytest.raises(SystemExit) as stop:
            cli.main([str(argument) for argument in arguments])
        assert isinstance(stop.value.code, int)
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        assert "unexpected error" not in err
        return Said(stop.value.code, out, err)

    return run


@pytest.fixture(scope="session")
def home(tmp_path_factory) -> Path:
    """A folder of pictures in two subfolders, a broken one among them, and a table of attributes: Dark, Big, Shade."""
    home = tmp_path_factory.mktemp("cli")
    rng = np.random.default_rng(0)
    rows = ["file,Dark,Big,Shade"]
    for shape in SHAPES:
        (home / "pictures" / shape).mkdir(parents=True)
        for i in range(60):
            dark, big = i % 2, i // 2 % 2
            pixels = np.full((16, 16, 3), rng.integers(150, 250, 3), np.uint8)
            radius = 6 if big else 3
            y, x = np.mgrid[-7.5:8, -7.5:8]
            inside = (x**2 + y**2 < radius**2) if shape == "circles" else (np.maximum(abs(x), abs(y)) < radius)
            pixels[inside] = rng.integers(0, 60) if dark else rng.integers(90, 140)
            Image.fromarray(pixels).save(home / "pictures" / shape / f"{i:02d}.png")
            rows.append(f"{shape}/{i:02d}.png,{dark},{big},{rng.random():.2f}")
    (home / "pictures" / "circles" / "broken.png").write_bytes(b"no picture")
    (home / "table.csv").write_text("\n".join(rows) + "\n")
    return home


@pytest.fixture(autouse=True)
def places(home, monkeypatch):
    """One cache for all tests."""
    monkeypatch.setenv("VAEKIT_CACHE", str(home / "cache"))


@pytest.fixture(scope="session")
def trained(home) -> Path:
    """A run with labels and attributes."""
    return train(home, "vae", "--attributes", home / "table.csv", "--latent", 4)


@pytest.fixture(scope="session")
def flat(home) -> tuple[Path, Path]:
    """A VAE and a plain autoencoder with two latents, on the same pictures."""
    return train(home, "flat", "--latent", 2, "--no-report"), train(
        home, "plain", "--latent", 2, "--recipe", "autoencoder", "--no-report"
    )


def train(home: Path, name: str, *options: object) -> Path:
    given = ["train", home / "pictures", "--cache", home / "cache", "--out", home / name, *QUICK, *options]
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in given])
    assert stop.value.code == 0
    return home / name


@pytest.fixture(scope="session")
def picture(home) -> Path:
    return home / "pictures" / "circles" / "00.png"


def shape_of(path: str | Path) -> tuple[int, ...]:
    with Image.open(path) as image:
        image.load()
        return image.size


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
    assert {"vae", "autoencoder", "digits-2d", "faces", "book"} <= listed.keys()
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


# What a run can do


def test_a_training_leaves_metrics_vectors_figures_and_a_report(trained):
    metrics = json.loads((trained / "metrics.json").read_text())
    assert {"distortion", "rate", "elbo", "rmse", "neighbour_accuracy"} <= metrics.keys()
    page = (trained / "report.html").read_text()
    assert "Adding an attribute" in page
    drawn = {path.stem for path in (trained / "figures").glob("*.png")}
    assert {"reconstructions", "samples", "latent-label", "curves", "traversals", "edit-Dark"} <= drawn


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
    assert "other pictures" in other.err


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


def test_reconstruct(vaekit, trained, picture, tmp_path):
    said = vaekit("reconstruct", trained, picture, picture, "--out", tmp_path / "r.png", "--json").json
    assert shape_of(said["files"][0])
    assert 0 <= said["rmse"][str(picture)] <= 1


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


def test_an_edit_given_in_parts_adds_up(vaekit, trained, picture, tmp_path):
    for name, weights in (("one", ["--add", "Dark=2"]), ("two", ["--add", "Dark", "--add", "Dark=1"])):
        vaekit("edit", trained, picture, *weights, "--no-strip", "--out", tmp_path / f"{name}.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


@pytest.mark.parametrize(("name", "frames"), [("m.png", 1), ("m.gif", 6), ("m.webp", 6), ("M.GIF", 6)])  # there and back
def test_morph(vaekit, home, trained, name, frames):
    ends = [home / "pictures" / shape / "00.png" for shape in SHAPES]
    for kind in ("lerp", "slerp"):
        target = home / "morphs" / kind / name
        said = vaekit("morph", trained, *ends, "--steps", 4, "--kind", kind, "--out", target, "--json").json
        assert said["files"] == [str(target)]
        with Image.open(target) as image:
            assert getattr(image, "n_frames", 1) == frames


# Again, and on


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
    assert "vaekit resume" in said.err
    assert before == (trained / "run.json").read_bytes()


def test_numbered_runs(vaekit, home, tmp_path):
    for number in ("0001", "0002"):  # the first is finished, so the same command begins another
        said = vaekit("train", home / "pictures", "--runs", tmp_path / "runs", *QUICK, "--no-report", "--json").json
        assert said["run"] == str(tmp_path / "runs" / f"{number}-pictures-vae")


# Mistakes

USAGE = {
    "no such command": ("trian", "Did you mean 'train'"),
    "no data": ("train", "DATA"),
    "no such option": ("train PICTURES --latnet 3", "--latent"),
    "no such recipe": ("train NOWHERE --recipe vea", "Did you mean 'vae'"),
    "no such net": ("train NOWHERE --net mpl", "Did you mean 'mlp'"),
    "no such likelihood": ("train NOWHERE --likelihood gausian", "Did you mean 'gaussian'"),
    "no such device": ("train NOWHERE --device gpu", "--device cpu"),
    "two weights": ("train NOWHERE --beta 2 --r-loss-factor 10", "Give r_loss_factor alone"),
    "no epochs": ("train NOWHERE --epochs 0", "above 0"),
    "no latents": ("train NOWHERE --latent 0", "--latent"),
    "no threads": ("train NOWHERE --threads 0", "--threads"),
    "negative seed": ("train NOWHERE --seed -1", "--seed"),
    "minutes cannot be exact": ("train NOWHERE --minutes 1 --deterministic", "Give epochs or images"),
    "no size": ("train PICTURES --size abc", "48x64"),
    "empty size": ("train PICTURES --size 0", "size=0"),
    "data as run folder": ("train PICTURES --out PICTURES", "--out RUN"),
    "file as run folder": ("train PICTURES --out TABLE", "--out RUN"),
    "no recipe to show": ("recipes face", "Did you mean 'faces'"),
    "no image shape": ("recipes faces --image 3x64", "3x64x64"),
    "no run": ("sample PICTURES", "no run.json"),
    "no samples": ("sample RUN -n 0", "-n"),
    "temperature": ("sample RUN --temperature nan", "--temperature"),
    "jpg for a png": ("sample RUN --out x.jpg", ".png"),
    "no split": ("evaluate RUN --split nope", '"test"'),
    "no attribute": ("edit RUN PICTURE --add Drk=1", "Did you mean 'Dark'"),
    "no number": ("edit RUN PICTURE --add Dark=much", "Smiling=2"),
    "not a number": ("edit RUN PICTURE --add Dark=nan", "Smiling=2"),
    "nothing to add": ("edit RUN PICTURE", "--add"),
    "edited jpg": ("edit RUN PICTURE --add Dark=1 --out x.jpg", ".png"),
    "one end": ("morph RUN PICTURE", "B"),
    "one step": ("morph RUN PICTURE PICTURE --steps 1", "2 or more"),
    "no such path": ("morph RUN PICTURE PICTURE --kind slrp", "slerp"),
    "morph to a film": ("morph RUN PICTURE PICTURE --out m.mp4", ".gif"),
    "codes to a text": ("encode RUN PICTURES --out z.txt", ".npz"),
    "vectors without attributes": ("attributes FLAT", "--attributes FILE"),
    "edit without vectors": ("edit FLAT PICTURE --add Dark=1", "vaekit attributes"),
    "demo among other things": ("demo --out PICTURES", "vaekit demo --out DIR"),
}
DATA = {
    "no such folder": ("train NOWHERE", "Check the path"),
    "empty folder": ("train EMPTY", "no picture"),
    "folder of texts": ("train TEXTS", "can be decoded"),
    "no such table": ("train PICTURES --attributes NOWHERE", "Check the path"),
    "table of others": ("train PICTURES --attributes OTHERS", "Mend that column"),
    "two pictures": ("train PAIR --size 16", "Add pictures"),
    "broken picture": ("reconstruct RUN BROKEN", "no good picture"),
    "missing picture": ("edit RUN NOWHERE --add Dark=1", "Check the path"),
    "folder for a picture": ("morph RUN PICTURES PICTURE", "Is a directory"),
    "codes of nothing": ("encode RUN EMPTY --out z.csv", "no picture"),
}
MISTAKES = [pytest.param(2, *case, id=name) for name, case in USAGE.items()] + [
    pytest.param(3, *case, id=name) for name, case in DATA.items()
]


@pytest.fixture
def words(home, trained, flat, tmp_path, monkeypatch) -> dict[str, Path]:
    """What the words in capitals stand for."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.jpg").write_text("hello")
    (tmp_path / "others.csv").write_text("file,A\nnobody.png,1\n")
    (tmp_path / "pair").mkdir()
    for name in ("a", "b"):
        Image.new("L", (16, 16), ord(name)).save(tmp_path / "pair" / f"{name}.png")
    return {
        "PICTURES": home / "pictures",
        "PICTURE": home / "pictures" / "circles" / "00.png",
        "BROKEN": home / "pictures" / "circles" / "broken.png",
        "TABLE": home / "table.csv",
        "RUN": trained,
        "FLAT": flat[0],
        "EMPTY": tmp_path / "empty",
        "TEXTS": tmp_path / "texts",
        "OTHERS": tmp_path / "others.csv",
        "PAIR": tmp_path / "pair",
        "NOWHERE": tmp_path / "nowhere",
    }


@pytest.mark.parametrize(("code", "command", "told"), MISTAKES)
def test_a_mistake_is_told_in_one_message(vaekit, words, code, command, told):
    before = {path: path.stat().st_mtime_ns for path in words["PICTURES"].rglob("*")}
    said = vaekit(*(words.get(word, word) for word in command.split()))
    assert said.code == code
    assert said.out == ""
    assert "error: " in said.err
    assert told in said.err.split("error: ", 1)[1]
    assert not Path("runs").exists()
    assert before == {path: path.stat().st_mtime_ns for path in words["PICTURES"].rglob("*")}


def test_damaged_weights_and_run_files(vaekit, flat, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    for name in ("run.json", "weights.safetensors"):
        (run / name).write_bytes((flat[0] / name).read_bytes())
    whole = (run / "weights.safetensors").read_bytes()
    (run / "weights.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "damaged" in (said := vaekit("sample", run)).err
    assert said.code == 3
    (run / "run.json").write_text('{"format": 1')
    assert "run.json cannot be read" in (said := vaekit("sample", run)).err
    assert said.code == 3


def test_pictures_that_changed_after_the_training_are_noticed(vaekit, tmp_path):
    folder, run = tmp_path / "changing", tmp_path / "run"
    folder.mkdir()
    for i in range(20):
        Image.new("L", (8, 8), 10 * i + 5).save(folder / f"{i:02d}.png")
    assert vaekit("train", folder, "--out", run, *QUICK, "--no-report").code == 0
    Image.new("L", (8, 8), 255).save(folder / "03.png")
    for command in (("evaluate", run), ("plot", run), ("resume", run)):
        said = vaekit(*command)
        assert said.code == 3
        assert "Restore the pictures" in said.err
    assert vaekit("sample", run, "-n", 2).code == 0  # needs no pictures


def test_what_the_system_refuses_is_told_with_its_place(vaekit, trained, tmp_path):
    (tmp_path / "file").write_text("")
    said = vaekit("sample", trained, "--out", tmp_path / "file" / "x.png")
    assert said.code == 1
    assert str(tmp_path / "file") in said.err


def test_a_full_disk_is_told_and_leaves_no_half_file(vaekit, trained, tmp_path, monkeypatch):
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vaekit.files.os.fsync", full)
    said = vaekit("sample", trained, "--out", tmp_path / "x.png")
    assert said.code == 1
    assert "No space left" in said.err
    assert list(tmp_path.iterdir()) == []


def test_a_defect_is_told_as_one(capsys, monkeypatch):
    monkeypatch.setattr("vaekit.cli.training.describe", lambda _: 1 // 0)
    with pytest.raises(SystemExit) as stop:
        cli.main(["recipes", "vae"])
    assert stop.value.code == 1
    assert "--debug" in capsys.readouterr().err
    with pytest.raises(ZeroDivisionError):
        cli.main(["recipes", "vae", "--debug"])


# On a terminal and off it


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
def test_a_training_stopped_over_its_report_says_that_it_is_safe(vaekit, trained, monkeypatch, stop):
    def stopped(*_: object) -> None:
        raise stop

    monkeypatch.setattr("vaekit.cli.training.finish", stopped)
    said = vaekit("resume", trained)
    assert said.code == (75 if stop is cli.stopping.Terminated else 130)
    assert f"vaekit resume {trained}" in said.err


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
