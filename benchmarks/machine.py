"""What every benchmark writes: <what>_<hardware>_<date>.md and .json with command, machine, versions and figures."""

import json
import platform
import re
import shlex
import subprocess
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import joblib
import psutil

from vaekit.run import Run

PACKAGES = ("vaekit", "torch", "pillow", "numpy")


def hardware() -> str:
    """The processor and how many of its cores there are, as a part of a file name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":")[1] for line in lines if line.startswith("model name")]
    name = (names or [platform.processor() or platform.machine()])[0]
    name = re.sub(r"\(r\)|\(tm\)|cpu|processor|@.*", " ", name.lower())
    return re.sub(r"[^a-z0-9]+", "-", f"{joblib.cpu_count()}x {name}").strip("-")


def load() -> float:
    """Processes that wanted a core in the last minute: above 0 before a benchmark, it was not alone."""
    return round(psutil.getloadavg()[0], 2)


RESULTS = (":!*.md", ":!*.json", ":!pictures")  # what benchmarks write here themselves


def commit() -> str:
    """Of this checkout, and whether code was changed since."""

    def git(*arguments: str) -> str:
        asked = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--", ":/", *RESULTS)
    return git("rev-parse", "--short=10", "HEAD") + ("-dirty" if changed else "")


def once(path: Path, make: Callable[[], dict[str, Any] | None]) -> dict[str, Any]:
    """What was found before and kept there, else what is found now, with where and when, and the load before it."""
    if not path.exists():
        here = {"load before": load(), "hardware": hardware(), "date": date.today().isoformat(), "commit": commit()}
        path.write_text(json.dumps(here | (make() or {}), indent=1) + "\n")
    return json.loads(path.read_text())


def trained_with(run: Run) -> str:
    """The command of a run, with the names of its folders alone: where they lie is nobody's business."""
    words = shlex.split(run.description["command"])
    return shlex.join(Path(word).name if word.startswith("/") else word for word in words)


def write_results(
    out: Path,
    what: str,
    command: str,
    figures: dict[str, Any],
    *,
    load_before: float | str,
    text: str = "",
    versions: dict[str, str] | None = None,
    of: str | None = None,
) -> Path:
    """Write the two files; returns the .md.

    `versions` are those of another environment, where the work was done in one; `of` is the commit, where it was not this one.
    """
    report = {
        "command": command,
        "hardware": hardware(),
        "load before": load_before,
        "date": date.today().isoformat(),
        "commit": of or commit(),
        "versions": {"python": platform.python_version(), **(versions or {name: version(name) for name in PACKAGES})},
    }
    out.mkdir(parents=True, exist_ok=True)
    stem = out / f"{what}_{report['hardware']}_{report['date']}"
    stem.with_suffix(".json").write_text(json.dumps({**report, "figures": figures}, indent=1) + "\n")
    about = "\n".join(f"- {key}: {value}" for key, value in report.items())
    cells = {name: str(value).replace("|", "\\|") for name, value in figures.items()}
    rows = "\n".join(f"| {name} | {value} |" for name, value in cells.items())
    page = f"# {what}\n\n{about}\n" + (f"\n| figure | value |\n|---|---|\n{rows}\n" if figures else "")
    stem.with_suffix(".md").write_text(f"{page}\n{text}\n" if text else page)
    return stem.with_suffix(".md")
