"""A run of every kind to give commands to, trained once."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import QUICK, SHAPES, Said
from vaekit import cli


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
