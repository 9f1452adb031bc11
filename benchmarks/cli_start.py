"""How long a command takes before it does anything: `vaekit --help` and `import vaekit`, beside an empty Python and others.

    python benchmarks/cli_start.py [--env .venv-throughput] [--times 20] [--out benchmarks]

Every measurement is a fresh process. pythae and Keras are measured where --env names the environment of throughput.py.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median, quantiles

from bars import Panel, bars
from machine import load, write_results
from throughput import versions_of

from vaekit.draw import save_png

HELP, IMPORT = "vaekit --help", "import vaekit"
TARGETS = {HELP: 0.4, IMPORT: 0.1}  # seconds, the second one above an empty Python


def commands(env: Path | None) -> dict[str, list[str]]:
    """What is timed, by the name it gets in the table."""
    python = sys.executable
    found = {
        "python -c pass": [python, "-c", "pass"],
        IMPORT: [python, "-c", "import vaekit"],
        HELP: [str(Path(python).parent / "vaekit"), "--help"],
        "vaekit train --help": [str(Path(python).parent / "vaekit"), "train", "--help"],
        "import torch": [python, "-c", "import torch"],
    }
    if env is not None:
        found |= {f"import {name}": [str(env / "bin" / "python"), "-c", f"import {name}"] for name in ("pythae.models", "keras")}
    return found


def clock(command: list[str]) -> float:
    """Wall seconds of a process."""
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"KERAS_BACKEND": "torch"})
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", type=Path)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    before, timed = load(), commands(given.env)
    for command in timed.values():
        clock(command)  # the first one reads the disk
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(given.times):
        for name, command in timed.items():
            seconds[name].append(clock(command))
    figures = {}
    for name, values in seconds.items():
        low, _, high = quantiles(values, n=4)
        figures[f"{name}, seconds"] = f"{median(values):.3f} ({low:.3f} to {high:.3f}, quartiles of {given.times})"
    own = {HELP: median(seconds[HELP]), IMPORT: median(seconds[IMPORT]) - median(seconds["python -c pass"])}
    figures[f"{IMPORT} above an empty Python, seconds"] = round(own[IMPORT], 3)
    for name, most in TARGETS.items():
        figures[f"target, {name}, below {most} s"] = "reached" if own[name] < most else "not reached"
    (given.out / "pictures").mkdir(exist_ok=True)
    panel = Panel("Wall time of a fresh process", "seconds", seconds, {})
    figure = bars([panel], "Start-up", f"median of {given.times} processes, dots are the processes", ours="vaekit")
    (given.out / "pictures" / "cli_start.png").write_bytes(save_png(figure, "cli_start"))
    versions = versions_of(given.env / "bin" / "python") if given.env else None
    page = write_results(
        given.out,
        "cli_start",
        f"python benchmarks/cli_start.py --times {given.times}",
        figures,
        load_before=before,
        text="![Start-up](pictures/cli_start.png)",
        versions=versions,
    )
    print(page.read_text())


if __name__ == "__main__":
    main()
