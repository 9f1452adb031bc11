"""What can go wrong is told in one message, with the exit code that says so, and nothing is lost."""

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from cyclopts import App, Argument, CoercionError, Token
from PIL import Image

from commands import QUICK
from vaekit import cli

NOBODY = 65534
USAGE = {
    "no such command": ("trian", "Did you mean 'train'"),
    "no data": ("train", "vaekit train needs DATA, which was not given. Write vaekit train DATA."),
    "too much data": ("train a b c", "'b', 'c' are too many: expected vaekit train DATA, then options. Leave out"),
    "no value": ("train PICTURES --latent", "--latent was given no value. Write --latent VALUE."),
    "one of two values": ("sweep a --out b --latents 2", "--latents was given 1 of 2 values. Write --latents VALUE VALUE."),
    "a word for a number": ("train a --latent x", "--latent 'x' was given; a whole number was expected."),
    "a fraction for a whole number": ("train a --latent 2.5", "--latent '2.5' was given; a whole number was expected."),
    "a fraction in a list": ("sweep a --out b --latents 2 4.5", "--latents '4.5' was given; a whole number was expected."),
    "a fraction of a batch": ("train a --batch-size 2.5", "'auto' or a whole number was expected."),
    "no value of several": ("fit-prior RUN --kinds", "--kinds was given no value. Write --kinds VALUE."),
    "no such density": ("fit-prior RUN --kinds mixtur", "Did you mean 'mixture'"),
    "a word for a number or a word": ("train a --batch-size x", "'auto' or a whole number was expected."),
    "twice": ("train a --seed 1 --seed 2", "--seed was given more than once, and holds one value. Give it once."),
    "no such option": ("train PICTURES --latnet 3", "--latent"),
    "no such recipe": ("train NOWHERE --recipe vea", "Did you mean 'vae'"),
    "no such net": ("train NOWHERE --net mpl", "Did you mean 'mlp'"),
    "no such likelihood": ("train NOWHERE --likelihood gausian", "Did you mean 'gaussian'"),
    "no such device": ("train NOWHERE --device gpu", "it is none of auto, cpu, cuda, mps. Try --device cpu"),
    "a likelihood beside a factor": ("train NOWHERE --likelihood bernoulli --r-loss-factor 9", "decides likelihood and beta"),
    "a sigma below 0": ("train NOWHERE --sigma -1", "sigma is -1.0; it must be a number, above 0."),
    "two weights": ("train NOWHERE --beta 2 --r-loss-factor 10", "Give r_loss_factor alone"),
    "no epochs": ("train NOWHERE --epochs 0", "above 0"),
    "no latents": ("train NOWHERE --latent 0", "--latent"),
    "no batch": ("train NOWHERE --batch-size 0", "auto"),
    "a batch by the clock": ("train NOWHERE --batch-size auto --tune off", "Give its images"),
    "anew over a run": ("train PICTURES --out RUN --new", "never trains over one"),
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
    "a judge of nothing": ("evaluate RUN --judge NOWHERE", "Add --pictures"),
    "bf16 of nothing": ("evaluate RUN --precision bf16", "Add --samples"),
    "factors without attributes": ("evaluate FLAT --factors all", "no attributes"),
    "points of networks": ("export RUN --onnx NOWHERE --points 5", "Add --html"),
    "judges of one method": ("attributes RUN --steps 5", "--method best"),
    "one together": ("train NOWHERE --together on", "Add --seeds"),
    "no factor": ("train NOWHERE --r-loss-factor 0", "above 0"),
    "no split": ("evaluate RUN --split nope", '"test"'),
    "no attribute": ("edit RUN PICTURE --add Drk=1", "Did you mean 'Dark'"),
    "no number": ("edit RUN PICTURE --add Dark=much", "Smiling=2"),
    "not a number": ("edit RUN PICTURE --add Dark=nan", "Smiling=2"),
    "nothing to add": ("edit RUN PICTURE", "--add"),
    "added and kept": ("edit RUN PICTURE --add Dark=1 --keep Dark", "leaves nothing"),
    "a page of no browser": ("export RUN --html NOWHERE", "ends in .html"),
    "edited jpg": ("edit RUN PICTURE --add Dark=1 --out x.jpg", ".png"),
    "one end": ("morph RUN PICTURE", "B"),
    "one step": ("morph RUN PICTURE PICTURE --steps 1", "2 or more"),
    "no such path": ("morph RUN PICTURE PICTURE --kind slrp", "slerp"),
    "morph to a film": ("morph RUN PICTURE PICTURE --out m.mp4", ".gif"),
    "codes to a text": ("encode RUN PICTURES --out z.txt", ".npz"),
    "labels to an npz": ("classify RUN PICTURES --out z.npz", ".csv"),
    "labels of a model without any": ("classify RUN PICTURES --out z.csv", "--recipe semi-supervised"),
    "vectors without attributes": ("attributes FLAT", "--attributes FILE"),
    "edit without vectors": ("edit FLAT PICTURE --add Dark=1", "vaekit attributes"),
    "told of a model that was told nothing": ("sample RUN --given label=circles", "--condition label"),
    "shown of nothing": ("train NOWHERE --shown 5", "--condition label"),
    "condition on what is not there": ("train PICTURES --condition Drk", "no attribute 'Drk'"),
    "nothing to set": ("train NOWHERE --set objective.bta=2", "Did you mean 'objective.beta'"),
    "set to a word": ("train NOWHERE --set objective.beta=much", "does not fit: expected a number. There is 1.0 now"),
    "set to a fraction": ("train NOWHERE --set model.decoder.width=2.5", "expected a whole number. There is 32 now"),
    "set to nothing": ("train NOWHERE --set objective.beta", "says no value. Write objective.beta=VALUE."),
    "set by the end of a place": ("train NOWHERE --recipe factor-vae --set gamma=5", "Did you mean 'objective.gamma'?"),
    "set by the end of two": ("train a --set features=5", "'model.encoder.features' or 'model.posterior.features'?"),
    "set to another part": ("train NOWHERE --set model.encoder.part=MLPEncoder", "Another net: --net"),
    "set to a part's name": ("train NOWHERE --set model.encoder=MLPEncoder", "numbers of its own: model.encoder.image, "),
    "from what is no run": ("train NOWHERE --init PICTURES", "no run.json"),
    "another net for a trained model": ("train NOWHERE --init RUN --net conv", "brings its net with it"),
    "another model's recipe": ("train NOWHERE --init RUN --recipe iaf", "Choose a recipe that fits it"),
    "other pictures for a trained model": ("train PICTURES --init RUN --size 24", "Give its --size"),
    "a number of a trained model": ("train NOWHERE --init RUN --set model.decoder.width=2", "do not fit"),
    "frozen at random": ("train NOWHERE --freeze encoder", "Freeze parts of a trained model"),
    "no such part to freeze": ("train NOWHERE --init RUN --freeze encodr", "Did you mean 'encoder'"),
    "no such method": ("attributes RUN --method rigde", "ridge"),
    "names for one method": ("attributes RUN --names Dark", "--method best"),
    "best of no attribute": ("attributes RUN --method best --names Drk --steps 1", "Did you mean 'Dark'"),
    "edit along a stranger": ("edit RUN PICTURE --add Dark=1 --keep Bg", "Did you mean 'Big'"),
    "vectors of nobody": ("edit RUN PICTURE --add Dark=1 --vectors NOWHERE", "There is no"),
    "factors that are none": ("evaluate RUN --factors Dark Bg", "Did you mean 'Big'"),
    "sigma of no density": ("train PICTURES --recipe wae-mmd --sigma 0.1", "to which sigma says nothing"),
    "beta over images of another loss": ("train PICTURES --r-loss-factor 500 --beta-images 1000", "in different ways"),
    "one factor": ("evaluate RUN --factors Dark", "two or more factors were expected, and Dark was given. Known"),
    "one factor twice": ("evaluate FLAT --factors label label", "Known of the pictures of pictures: label."),
    "factors of training pictures": ("evaluate RUN --split train --factors Dark Big", "Give --split validation"),
    "new pictures beside training pictures": ("evaluate RUN --split train --pictures 8", "Give --split test"),
    "three new pictures": ("evaluate RUN --pictures 3", "6 or more of all three"),
    "no such finding": ("doctor RUN --fail-on colapsed", "Did you mean 'collapsed'"),
    "compared with other pictures": ("compare RUN FLAT", "do not compare"),
    "swept backwards": ("sweep PICTURES --out NOWHERE --latents 8 2", "--latents 2 64"),
    "a sweep without beta": ("sweep PICTURES --out NOWHERE --recipe autoencoder", "beta"),
    "judge to a text": ("judge PICTURES --out x.txt", ".safetensors"),
    "demo among other things": ("demo --out PICTURES", "vaekit demo --out DIR"),
}
DATA = {
    "no such folder": ("train NOWHERE", "Check the path"),
    "empty folder": ("train EMPTY", "no picture"),
    "folder of texts": ("train TEXTS", "can be decoded"),
    "no such table": ("train PICTURES --attributes NOWHERE", "Check the path"),
    "table of others": ("train PICTURES --attributes OTHERS", "Mend that column"),
    "no such net to judge": ("train PICTURES --recipe perceptual --judge NOWHERE.onnx", ".onnx. Check the path."),
    "no such judge": ("evaluate RUN --pictures 8 --judge NOWHERE", "Check the path."),
    "two pictures": ("train PAIR --size 16", "Add pictures"),
    "broken picture": ("reconstruct RUN BROKEN", "no good picture"),
    "missing picture": ("edit RUN NOWHERE --add Dark=1", "Check the path"),
    "folder for a picture": ("morph RUN PICTURES PICTURE", "Is a directory"),
    "one array by another name": ("train NPY", "Name it .npy"),
    "arrays by another name": ("train NPZ", "Name it .npz"),
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
    with open(tmp_path / "one.npz", "wb") as one, open(tmp_path / "several.npy", "wb") as several:
        np.save(one, np.zeros((4, 8, 8), np.uint8))
        np.savez(several, images=np.zeros((4, 8, 8), np.uint8))
    return {
        "NPY": tmp_path / "one.npz",
        "NPZ": tmp_path / "several.npy",
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


def whole_numbers(*commands: App) -> list[Argument]:
    """Every option of these commands and of those below them that is a whole number."""
    named = [command[name] for command in commands for name in command if not name.startswith("-")]
    own = [argument for each in named if each.default_command for argument in each.assemble_argument_collection()]
    return [argument for argument in own if "int" in str(argument.hint)] + (whole_numbers(*named) if named else [])


def test_no_whole_number_is_cut_off_in_silence():
    found = whole_numbers(cli.app)
    assert {"--latent", "--batch-size", "--latents", "--port", "--nodes"} <= {argument.name for argument in found}
    for argument in found:
        for value in ("2.5", "nan"):
            argument.tokens = [Token(value=value)] * argument.token_count()[0]
            with pytest.raises(CoercionError):
                argument.convert()
        argument.tokens = [Token(value="2e2")] * argument.token_count()[0]
        assert argument.convert() in (200, (200, 200))


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
    assert "run.json is damaged" in (said := vaekit("sample", run)).err
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


WRITING = [
    "train NOWHERE --out FILE/run",
    "train NOWHERE --runs FILE/runs",
    "train NOWHERE --seeds 2 --out FILE/runs",
    "sweep NOWHERE --out FILE/runs",
    "demo --out FILE/demo",
    "judge NOWHERE --out FILE/judge.safetensors",
    "sample RUN --out FILE/x.png",
    "sample RUN --no-grid --out FILE/x",
    "reconstruct RUN NOWHERE --out FILE/x.png",
    "encode RUN NOWHERE --out FILE/z.npz",
    "edit RUN NOWHERE --add Dark=1 --out FILE/x.png",
    "morph RUN NOWHERE NOWHERE --out FILE/x.gif",
    "export RUN --html FILE/x.html",
    "export RUN --dir FILE/x",
    "export RUN --onnx FILE/x",
    "launch slurm --script FILE/job.sh -- resume RUN",
]


@pytest.mark.parametrize("command", WRITING)
def test_a_place_that_cannot_be_written_is_told_before_anything_else(vaekit, trained, tmp_path, command):
    (tmp_path / "file").write_text("")
    words = {"NOWHERE": str(tmp_path / "nowhere"), "RUN": str(trained), "FILE": str(tmp_path / "file")}
    for word, place in words.items():
        command = command.replace(word, place)
    said = vaekit(*command.split())
    place = next(word for word in command.split() if word.startswith(f"{words['FILE']}/"))
    assert (said.code, said.out) == (2, "")
    assert f"error: {place}" in said.err
    assert f"cannot be written: {words['FILE']} is no folder. Expected a " in said.err
    assert "Give another place: --" in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_the_system_refuses_is_told_by_the_name_that_was_given(vaekit, trained, tmp_path, monkeypatch):
    def refused(**_: object):
        raise PermissionError(13, "Permission denied", str(tmp_path / "tmpabc"))

    monkeypatch.setattr("vaekit.cli.places.TemporaryFile", refused)
    said = vaekit("sample", trained, "--out", tmp_path / "x.png")
    assert said.code == 2
    assert f"{tmp_path / 'x.png'} cannot be written: Permission denied: {tmp_path}. Expected" in said.err
    monkeypatch.undo()
    assert "it is a folder" in vaekit("encode", trained, "digits", "--out", shutil.copytree(trained, tmp_path / "a.npz")).err
    with monkeypatch.context() as patch:  # what goes wrong later, too
        patch.setattr("vaekit.cli.look.writable", lambda path, **_: path)
        late = vaekit("sample", trained, "--out", tmp_path / f"{'x' * 240}.png")
    assert late.code == 1
    assert "x.png: File name too long" in late.err


def test_a_full_disk_is_told_and_leaves_no_half_file(vaekit, trained, tmp_path, monkeypatch):
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vaekit.files.os.fsync", full)
    said = vaekit("sample", trained, "--out", tmp_path / "x.png")
    assert said.code == 1
    assert "No space left" in said.err
    assert list(tmp_path.iterdir()) == []


def test_a_defect_is_told_as_one(capsys, monkeypatch):
    monkeypatch.setattr("vaekit.cli.recipes.describe", lambda _: 1 // 0)
    with pytest.raises(SystemExit) as stop:
        cli.main(["recipes", "vae"])
    assert stop.value.code == 1
    assert "--debug" in capsys.readouterr().err
    with pytest.raises(ZeroDivisionError):
        cli.main(["recipes", "vae", "--debug"])


@pytest.fixture
def sealed(trained):
    """A copy of the run that may be read and not be written, by root neither."""
    with tempfile.TemporaryDirectory() as folder:  # those of pytest are its user's alone
        run = shutil.copytree(trained, Path(folder, "run"))
        Path(folder).chmod(0o755)
        run.chmod(0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(NOBODY)
        yield run
        os.seteuid(user)
        run.chmod(0o755)


@pytest.mark.parametrize("command", ["evaluate", "plot", "fit-prior", "attributes"])
def test_a_run_that_cannot_be_written_is_refused_before_anything_is_computed(vaekit, sealed, command):
    told = vaekit(command, sealed)
    assert told.code == 2
    assert told.out == ""
    assert f"{sealed} cannot be written to: Permission denied" in told.err
    assert "work on a copy" in told.err
