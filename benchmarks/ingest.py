"""Ingest of a CelebA-layout folder with 40 broken files among its pictures, beside Pillow's own rate on the same machine.

    python benchmarks/ingest.py $VAEKIT_DATA/celeba [--size 64] [--out benchmarks]

It copies the folder to a temporary place, breaks it, and writes ingest_<hardware>_<date>.md and .json. No picture is written.
"""

import argparse
import multiprocessing
import os
import resource
import shutil
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
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from pictures import break_folder
from vaekit.data import open_data
from vaekit.data.pool import cores
from vaekit.draw import save_png

ROUNDS = 7
SHARE = 0.9  # of Pillow's rate on all cores, at least


def pillow_rate(files: list[Path], size: int) -> tuple[float, float]:
    """Images a second on one core, by the clock and by CPU time: read, decode with draft, crop the square, resize, as array."""
    start, used = time.perf_counter(), time.process_time()
    for file in files:
        with Image.open(file) as image:
            scale = min(image.size) / size
            image.draft(None, (int(image.width / scale), int(image.height / scale)))
            side = min(image.size)
            left, top = (image.width - side) / 2, (image.height - side) / 2
            box = (left, top, left + side, top + side)
            np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.LANCZOS, box=box))
    return len(files) / (time.perf_counter() - start), len(files) / (time.process_time() - used)


def pillow_on_all(files: list[Path], size: int) -> tuple[float, float]:
    """The same with one process per core at once: the sum by the clock, the mean by CPU time."""
    with multiprocessing.get_context("spawn").Pool(cores()) as pool:
        rates = pool.starmap(pillow_rate, [(files, size)] * cores(), chunksize=1)
    return sum(clock for clock, _ in rates), sum(cpu for _, cpu in rates) / len(rates)


def cpu_seconds() -> float:
    """CPU time of this process and of its finished children."""
    return sum(
        sum((use.ru_utime, use.ru_stime)) for use in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


class Memory:
    """Resident bytes of this process and of its children, sampled 20 times a second."""

    def __enter__(self) -> "Memory":
        self.samples: list[tuple[float, int, int]] = []
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.thread.join()

    def watch(self) -> None:
        me, start = psutil.Process(), time.perf_counter()
        while not self.stopped.wait(0.05):
            children = 0
            for child in me.children():
                try:
                    children += child.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.samples.append((time.perf_counter() - start, me.memory_info().rss, children))

    def quarters(self) -> list[float]:
        """The peak of this process and its children in each quarter of the time, in MB."""
        totals = np.array([own + children for _, own, children in self.samples])
        return [round(float(part.max()) / 1e6, 1) for part in np.array_split(totals, 4)]


def paired(folder: Path, cache: Path, sample: list[Path], good: int, size: int) -> dict:
    """One ingest into an empty cache, all of `open_data`, between two runs of Pillow's own loop."""
    shutil.rmtree(cache, ignore_errors=True)
    os.sync()
    before = pillow_on_all(sample, size)
    start, used = time.perf_counter(), cpu_seconds()
    open_data(folder, size=size, cache=cache)
    seconds, used = time.perf_counter() - start, cpu_seconds() - used
    after = pillow_on_all(sample, size)
    return {
        "seconds": round(seconds, 3),
        "CPU seconds": used,
        "Pillow": [round(before[0]), round(after[0])],
        "Pillow by CPU": [round(before[1]), round(after[1])],
        "share": good / seconds * 2 / (before[0] + after[0]),
        "share by CPU": good / used * 2 / (before[1] + after[1]),
    }


def measure(source: Path, size: int) -> dict:
    with tempfile.TemporaryDirectory() as place:
        folder, cache = Path(place) / "celeba", Path(place) / "cache"
        shutil.copytree(source, folder)
        subprocess.run(["chmod", "-R", "u+w", folder], check=True)
        pictures = folder / "img_align_celeba"
        good = sorted(file.name for file in pictures.iterdir())
        broken = break_folder(pictures, good[0])
        sample = [pictures / name for name in good[:: max(1, len(good) // 2000)]]
        alone = pillow_rate(sample, size)
        rounds = [paired(folder, cache, sample, len(good), size) for _ in range(ROUNDS)]
        shutil.rmtree(cache)
        with Memory() as memory:
            data = open_data(folder, size=size, cache=cache)
        again = []
        for _ in range(7):
            start = time.perf_counter()
            second = open_data(folder, size=size, cache=cache)
            again.append(time.perf_counter() - start)
        assert data.quarantine is not None
        assert second.digest == data.digest
        named = {Path(finding.path).name for finding in data.quarantine.lost}
        return {
            "files": len(good) + len(broken),
            "good files": len(good),
            "pictures in": len(data),
            "broken files": len(broken),
            "broken files named": len(named & set(broken)),
            "good files left out": len(named - set(broken)),
            "ingest seconds, median": median(its["seconds"] for its in rounds),
            "ingest seconds, all": [its["seconds"] for its in rounds],
            "ingest images/s, median": round(len(good) / median(its["seconds"] for its in rounds)),
            "ingest images per CPU second, all processes, median": round(
                len(good) / median(its["CPU seconds"] for its in rounds)
            ),
            "Pillow images/s on one core alone": round(alone[0]),
            "Pillow images/s on all cores at once, before and after each": [its["Pillow"] for its in rounds],
            "Pillow images per CPU second, before and after each": [its["Pillow by CPU"] for its in rounds],
            "ingest as a share of Pillow on all cores, by the clock, median": round(median(its["share"] for its in rounds), 2),
            "ingest as a share of Pillow on all cores, by the clock, all": [round(its["share"], 2) for its in rounds],
            "ingest as a share of Pillow, by CPU time, median": round(median(its["share by CPU"] for its in rounds), 2),
            "second open seconds, median of 7": round(median(again), 4),
            "second open seconds, all": [round(its, 4) for its in again],
            "peak MB per quarter of the ingest, with its processes": memory.quarters(),
            "peak MB of this process alone": round(max(own for _, own, _ in memory.samples) / 1e6, 1),
            "reasons": data.quarantine.counts,
        }


def drawn(figures: dict) -> Figure:
    """The rates, what part of Pillow's an ingest has, and how long a folder takes to open."""
    seconds, again = figures["ingest seconds, all"], figures["second open seconds, all"]
    pillow = [sum(pair) / 2 for pair in figures["Pillow images/s on all cores at once, before and after each"]]
    rates = {"vaekit, all of it": [figures["good files"] / each for each in seconds], "Pillow, decoding alone": pillow}
    share = {"vaekit / Pillow": figures["ingest as a share of Pillow on all cores, by the clock, all"]}
    panels = [
        Panel("Pictures on all cores", "images/s", rates, {}),
        Panel("Share of Pillow's rate", "of the mean before and after", share, {}, SHARE),
        Panel("Opening the folder", "seconds", {"vaekit, first time": seconds, "vaekit, again": again}, {}),
    ]
    about = (
        f"{figures['good files']:,} good JPEGs of CelebA and {figures['broken files']} broken files; "
        f"medians of {len(seconds)}, dots are the rounds"
    )
    return bars(panels, "From files to pixels", about)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    before = load()
    figures = measure(options.source, options.size)
    told = (
        "Pillow's rate is a plain loop over every fourth file: read, decode with `draft`, crop, resize, as array.\n"
        "An ingest is all of `open_data` with an empty cache: it starts its processes, finds the broken files, hashes, writes,\n"
        "syncs, and reads the table."
    )
    command = f"python benchmarks/ingest.py CELEBA --size {options.size}"
    (options.out / "pictures").mkdir(parents=True, exist_ok=True)
    (options.out / "pictures" / "ingest.png").write_bytes(save_png(drawn(figures), "ingest"))
    told += "\n\n![Ingest](pictures/ingest.png)"
    print(write_results(options.out, "ingest", command, figures, load_before=before, text=told).read_text())


if __name__ == "__main__":
    main()
