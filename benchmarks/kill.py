"""Trainings and ingests killed with SIGKILL at random moments and started again: the results must be the same, to the bit.

    python benchmarks/kill.py [--kills 20] [--seed 0] [--only training|ingest] [--epochs 6] [--no-cold] [--out benchmarks]

Writes kill_<hardware>_<date>.md and .json, and ends with exit code 1 where a single byte differs. `--out -` writes no file.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from machine import load, write_results
from PIL import Image

from vaekit.run import Run

VAEKIT = (sys.executable, "-m", "vaekit")
PICTURES = 1500
MOMENTS = 0.2  # seconds


def training(folder: Path, cache: Path, epochs: int) -> list[str]:
    """Deterministic, with a snapshot after nearly every step: most kills then meet a write."""
    options = "--recipe vae --net mlp --latent 8 --batch-size 32 --deterministic --threads 1 --snapshot-seconds 0.02 --no-report"
    return [*VAEKIT, "train", "digits", *options.split(), "--epochs", str(epochs), "--out", str(folder), "--cache", str(cache)]


def steps(folder: Path) -> int:
    """How many a training has saved."""
    return Run(folder).reached["step"]


def ingest(pictures: Path, cache: Path) -> list[str]:
    return [*VAEKIT, "data", "check", str(pictures), "--size", "64", "--no-paths", "--cache", str(cache)]


def pixels(cache: Path) -> int:
    """How many bytes of them an ingest has written."""
    return sum(path.stat().st_size for path in cache.glob("pixels/*/pixels.u8"))


def results_of(folder: Path, names: tuple[str, ...]) -> str:
    """One hash over all result files."""
    running = sha256()
    for path in sorted(path for name in names for path in folder.rglob(name)):
        running.update(path.name.encode() + path.read_bytes())
    return running.hexdigest()


def carry_on(command: list[str], enough: Callable[[], bool] | None = None, then: float = 0.0) -> bool:
    """Run a command, and kill it and its children `then` seconds after there is `enough`; whether it came to its end."""
    with tempfile.TemporaryFile() as told:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=told, start_new_session=True)
        while process.poll() is None and not (enough and enough()):
            time.sleep(0.01)
        try:
            process.wait(then if enough else None)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return False
        told.seek(0)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed by itself with {process.returncode}:\n{told.read().decode()}")
        return True


def torment(
    make: Callable[[Path], list[str]],
    names: tuple[str, ...],
    saved: Callable[[Path], int],
    work: Path,
    *,
    kills: int,
    chance: random.Random,
    cold: bool,
) -> dict[str, Any]:
    """Kill `kills` times, over as many runs as that takes, and compare each that was killed with an undisturbed one.

    A run is killed some moments after it has `saved` more than a random share of what is left to it. Where it has ended by then,
    or saved all there is, that counts for nothing, and another share is drawn. `cold`: let one run bring everything into memory
    first.
    """
    for calm in (*[work / "cold"] * cold, work / "calm"):
        began = time.monotonic()
        carry_on(make(calm))
    takes, whole = time.monotonic() - began, saved(work / "calm")
    wanted = results_of(work / "calm", names)
    done, same, killed, number = 0, 0, 0, 0
    while done < kills:
        number += 1
        folder, before = work / f"killed-{number}", done

        def kill(folder: Path = folder) -> bool:
            share = saved(folder) + chance.uniform(0, 0.8) * (whole - saved(folder))
            return not carry_on(make(folder), lambda: saved(folder) > share, chance.uniform(0, MOMENTS))

        while done < kills and kill():
            done += saved(folder) < whole
        if done > before:
            killed += 1
            carry_on(make(folder))
            same += results_of(folder, names) == wanted
    counts = {"kills": done, "runs killed": killed, "of them identical": same, "runs that ended before": number - killed}
    return counts | {"seconds undisturbed": round(takes, 2), "sha256": wanted}


def draw_pictures(folder: Path) -> Path:
    """JPEGs of coloured noise."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for i in range(PICTURES):
        Image.fromarray(rng.integers(0, 256, (200, 160, 3), np.uint8)).save(folder / f"{i:05d}.jpg", quality=80)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("training", "ingest"))
    parser.add_argument("--epochs", type=int, default=6, help="of a training")
    parser.add_argument("--cold", action=argparse.BooleanOptionalAction, default=True, help="a first run that is not timed")
    parser.add_argument("--out", default="benchmarks")
    given = parser.parse_args()
    chance, before = random.Random(given.seed), load()
    how, found = {"kills": given.kills, "chance": chance, "cold": given.cold}, {}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        if given.only != "ingest":
            make = partial(training, cache=work / "cache", epochs=given.epochs)
            found["training"] = torment(make, ("weights*.safetensors",), steps, work / "training", **how)
        if given.only != "training":
            make = partial(ingest, draw_pictures(work / "pictures"))
            found["ingest"] = torment(make, ("pixels.u8", "entry.json"), pixels, work / "ingest", **how)
    figures = {f"{what}: {name}": value for what, result in found.items() for name, value in result.items()}
    print(json.dumps(figures, indent=1))
    if given.out != "-":
        command = f"python benchmarks/kill.py --kills {given.kills} --seed {given.seed} --epochs {given.epochs}"
        command += f" --only {given.only}" * bool(given.only) + " --no-cold" * (not given.cold)
        write_results(Path(given.out), "kill", command, figures, load_before=before)
    sys.exit(any(result["of them identical"] != result["runs killed"] for result in found.values()))


if __name__ == "__main__":
    main()
