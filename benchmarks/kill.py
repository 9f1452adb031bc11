"""Trainings and ingests killed with SIGKILL at random moments and started again: the results must be the same, to the bit.

    python benchmarks/kill.py [--kills 20] [--seed 0] [--out benchmarks]

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
from hashlib import sha256
from pathlib import Path

import numpy as np
from machine import load, write_results
from PIL import Image

VAEKIT = (sys.executable, "-m", "vaekit")
PICTURES = 1500


def training(folder: Path, cache: Path) -> list[str]:
    """Deterministic, with a snapshot after nearly every step: most kills then meet a write."""
    options = "--recipe vae --net mlp --latent 8 --epochs 6 --batch-size 32 --deterministic --threads 1 --snapshot-seconds 0.02"
    return [*VAEKIT, "train", "digits", *options.split(), "--no-report", "--out", str(folder), "--cache", str(cache)]


def ingest(pictures: Path, cache: Path) -> list[str]:
    return [*VAEKIT, "data", "check", str(pictures), "--size", "64", "--no-paths", "--cache", str(cache)]


def results_of(folder: Path, names: tuple[str, ...]) -> str:
    """One hash over all result files."""
    running = sha256()
    for path in sorted(path for name in names for path in folder.rglob(name)):
        running.update(path.name.encode() + path.read_bytes())
    return running.hexdigest()


def carry_on(command: list[str], kill_after: float | None) -> bool:
    """Run a command, killing it and its children after some seconds; whether it came to its end."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    try:
        _, told = process.communicate(timeout=kill_after)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return False
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed by itself with {process.returncode}:\n{told.decode()}")
    return True


def torment(make: Callable[[Path], list[str]], names: tuple[str, ...], kills: int, chance: random.Random, work: Path) -> dict:
    """Kill `kills` times, over as many runs as that takes, and compare each that was killed with an undisturbed one.

    A run is killed at a random moment of what an undisturbed one takes; where it has ended before, that counts for nothing.
    """
    for calm in (work / "cold", work / "calm"):  # the second one finds everything in memory, as those to be killed do
        began = time.monotonic()
        carry_on(make(calm), None)
    takes = time.monotonic() - began
    wanted = results_of(work / "calm", names)
    done, same, killed, number = 0, 0, 0, 0
    while done < kills:
        number += 1
        folder, before = work / f"killed-{number}", done
        while done < kills and not carry_on(make(folder), chance.uniform(0.2, 1.0) * takes):
            done += 1
        if done > before:
            killed += 1
            carry_on(make(folder), None)
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
    parser.add_argument("--out", default="benchmarks")
    given = parser.parse_args()
    chance, before = random.Random(given.seed), load()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        pictures = draw_pictures(work / "pictures")
        cache = work / "cache"
        found = {
            "training": torment(
                lambda folder: training(folder, cache), ("weights*.safetensors",), given.kills, chance, work / "training"
            ),
            "ingest": torment(
                lambda folder: ingest(pictures, folder), ("pixels.u8", "entry.json"), given.kills, chance, work / "ingest"
            ),
        }
    figures = {f"{what}: {name}": value for what, result in found.items() for name, value in result.items()}
    print(json.dumps(figures, indent=1))
    if given.out != "-":
        command = f"python benchmarks/kill.py --kills {given.kills} --seed {given.seed}"
        write_results(Path(given.out), "kill", command, figures, load_before=before)
    sys.exit(any(result["of them identical"] != result["runs killed"] for result in found.values()))


if __name__ == "__main__":
    main()
