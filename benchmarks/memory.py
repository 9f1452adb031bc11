"""Training on pictures that fill far more than the memory, beside training on a few: images a second, and resident memory.

    python benchmarks/memory.py [--gigabytes 50] [--seconds 60] [--rounds 3] [--place FOLDER] [--out benchmarks]

It writes a file of that size, as an ingest would leave it in the cache, and trains the recipe `faces` at 64 x 64 in a fresh
process each time: few pictures, many, few, many. The first quarter of each training is warm-up.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

import numpy as np
import psutil
from bars import Panel, bars
from machine import load, write_results
from matplotlib.figure import Figure

from vaekit.data import Dataset
from vaekit.draw import save_png
from vaekit.windows import BLOCK_BYTES, WINDOW_BYTES

IMAGE = (3, 64, 64)
FEW = 8_000
MOST_RESIDENT = 1500  # MB, however many pictures there are


def fill(path: Path, gigabytes: float, image: tuple[int, int, int] = IMAGE) -> int:
    """Write pictures of noise, a part repeated; returns how many."""
    part = np.random.default_rng(0).integers(0, 256, (2000, *image), np.uint8).tobytes()
    times = int(gigabytes * 1e9 / len(part))
    with open(path, "wb") as file:
        for _ in range(times):
            file.write(part)
    return times * 2000


def noise(path: Path, count: int, image: tuple[int, int, int] = IMAGE) -> Dataset:
    """The first `count` pictures of a file as data, 256 of them to validate and 256 to test."""
    pixels = np.memmap(path, np.uint8, "r", shape=(count, *image))
    cuts = np.split(np.arange(count), [count - 512, count - 256])
    splits = dict(zip(("train", "validation", "test"), cuts, strict=True))
    nothing = {"labels": None, "label_names": (), "attributes": None, "attribute_names": (), "quarantine": None}
    return Dataset("noise", pixels, range(count), splits=splits, digest="0" * 64, description={"source": str(path)}, **nothing)


def train(path: Path, count: int, seconds: float) -> None:
    """Train on the first `count` pictures of a file and print what was seen, as JSON."""
    from vaekit.fitting import Silent, fit
    from vaekit.planning import start
    from vaekit.recipes import cook

    data = noise(path, count)
    seen, peak, resident = [], [0], psutil.Process()

    class Watch(Silent):
        def started(self, run, training, state, choice, needs):
            seen.append((time.monotonic(), 0))
            self.about = {"execution": str(choice.execution), "estimated MB": round(needs.memory / 1e6)}

        def logged(self, record, fraction):
            if record["split"] == "train":
                seen.append((time.monotonic(), record["images"]))

    def watch() -> None:
        while True:
            peak[0] = max(peak[0], resident.memory_info().rss)
            time.sleep(0.05)

    threading.Thread(target=watch, daemon=True).start()
    recipe = cook("faces", IMAGE, {"minutes": seconds / 60, "validate_every": 10**9})
    watcher = Watch()
    with tempfile.TemporaryDirectory() as folder:
        run = start(Path(folder) / "run", data, recipe)
        fit(run, data, watcher)
        windowed = run.description["windowed"]
    began, ended = seen[0][0], seen[-1][0]
    measured = [(at, images) for at, images in seen if at - began > (ended - began) / 4]
    speed = (measured[-1][1] - measured[0][1]) / (measured[-1][0] - measured[0][0])
    print(json.dumps({"images/s": speed, "peak": peak[0], "windowed": windowed, **watcher.about}))


def measure(gigabytes: float, seconds: float, rounds: int, place: Path | None) -> dict:
    with tempfile.TemporaryDirectory(dir=place) as folder:
        path = Path(folder) / "pixels.u8"
        many = fill(path, gigabytes)
        found: dict[int, list[dict]] = {FEW: [], many: []}
        for _ in range(rounds):
            for count, its in found.items():
                command = [sys.executable, __file__, "--train", str(path), str(count), "--seconds", str(seconds)]
                out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
                its.append(json.loads(out.splitlines()[-1]))
        few, much = found.values()
        ratios = [big["images/s"] / small["images/s"] for small, big in zip(few, much, strict=True)]
        return {
            "pictures, few": FEW,
            "pictures, many": many,
            "gigabytes of the many": round(path.stat().st_size / 1e9, 1),
            "memory of the machine, GB": round(psutil.virtual_memory().total / 1e9, 1),
            "read in windows": [few[0]["windowed"], much[0]["windowed"]],
            "images/s, few": [round(its["images/s"]) for its in few],
            "images/s, many": [round(its["images/s"]) for its in much],
            "many over few, median": round(median(ratios), 3),
            "many over few, all": [round(its, 3) for its in ratios],
            "peak resident MB, few": [round(its["peak"] / 1e6) for its in few],
            "peak resident MB, many": [round(its["peak"] / 1e6) for its in much],
            "execution": much[0]["execution"],
        }


def drawn(figures: dict) -> Figure:
    """Speed and peak memory, few pictures beside many."""
    few, many = figures["pictures, few"], figures["pictures, many"]
    names = {"few": f"{few * np.prod(IMAGE) / 1e9:.1f} GB", "many": f"{figures['gigabytes of the many']:g} GB"}
    speed, peak = (
        {name: figures[f"{what}, {which}"] for which, name in names.items()} for what in ("images/s", "peak resident MB")
    )
    panels = [
        Panel(
            "Training speed", "images/s", speed, {names["many"]: f"({figures['many over few, median']:.0%} of {names['few']})"}
        ),
        Panel("Peak resident memory", "MB", peak, {}, MOST_RESIDENT),
    ]
    about = (
        f"recipe faces at 64 x 64 on {few:,} and on {many:,} pictures; the machine has "
        f"{figures['memory of the machine, GB']:g} GB of memory; medians, dots are the trainings"
    )
    return bars(panels, "Training on more than the memory holds", about, ours=names["many"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--place", type=Path, help="a folder on the disk to read from")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--train", nargs=2, metavar=("FILE", "COUNT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        train(Path(options.train[0]), int(options.train[1]), options.seconds)
        return
    before = load()
    figures = measure(options.gigabytes, options.seconds, options.rounds, options.place)
    blocks = WINDOW_BYTES // BLOCK_BYTES
    told = (
        f"Shuffle: windows of {WINDOW_BYTES >> 20} MiB, each of {blocks} blocks of {BLOCK_BYTES >> 20} MiB from all over the "
        f"file. A batch-mate is from the same block with probability 1/{blocks}, where a full shuffle has one in the number of "
        "blocks of the whole file."
    )
    sizes = f"--gigabytes {options.gigabytes:g} --seconds {options.seconds:g} --rounds {options.rounds}"
    command = f"python benchmarks/memory.py {sizes}"
    (options.out / "pictures").mkdir(exist_ok=True)
    (options.out / "pictures" / "memory.png").write_bytes(save_png(drawn(figures), "memory"))
    told += "\n\n![Memory](pictures/memory.png)"
    print(write_results(options.out, "memory", command, figures, load_before=before, text=told).read_text())


if __name__ == "__main__":
    main()
