"""A run of every kind to give commands to, trained once."""

from functools import partial
from pathlib import Path

import pytest

from commands import QUICK, Said
from pictures import shapes_with_attributes
from vaekit import cli
from vaekit.finish import own_judge, own_judges


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
    home = shapes_with_attributes(tmp_path_factory.mktemp("cli"))
    (home / "pictures" / "circles" / "broken.png").write_bytes(b"no picture")
    return home


@pytest.fixture(autouse=True)
def places(home, monkeypatch):
    """One cache for all tests, in which trainings time nothing."""
    monkeypatch.setenv("VAEKIT_CACHE", str(home / "cache"))
    monkeypatch.setattr("vaekit.tuner.SECONDS_EACH", 1e-9)


@pytest.fixture
def hurried_judge(monkeypatch):
    """The judge that a command teaches for itself takes few steps."""
    monkeypatch.setattr("vaekit.cli.evaluate.own_judges", partial(own_judges, steps=40))
    monkeypatch.setattr("vaekit.cli.teaching.own_judge", partial(own_judge, steps=40))


@pytest.fixture(scope="session")
def trained(home) -> Path:
    """A run with labels and attributes."""
    return train(home, "vae", "--attributes", home / "table.csv", "--latent", 4)


@pytest.fixture(scope="session")
def twin(home) -> Path:
    """The same training from another seed, not measured yet."""
    return train(home, "twin", "--attributes", home / "table.csv", "--latent", 4, "--seed", 1, "--no-report")


@pytest.fixture(scope="session")
def flat(home) -> tuple[Path, Path]:
    """A VAE and a plain autoencoder with two latents, on the same pictures."""
    return train(home, "flat", "--latent", 2, "--no-report"), train(
        home, "plain", "--latent", 2, "--recipe", "autoencoder", "--no-report"
    )


def train(home: Path, name: str, *options: object) -> Path:
    given = ["train", home / "pictures", "--cache", home / "cache", "--out", home / name, *QUICK, *options]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vaekit.tuner.SECONDS_EACH", 1e-9)  # as in `places`, which comes later
        with pytest.raises(SystemExit) as stop:
            cli.main([str(argument) for argument in given])
    assert stop.value.code == 0
    return home / name


@pytest.fixture(scope="session")
def picture(home) -> Path:
    return home / "pictures" / "circles" / "00.png"
