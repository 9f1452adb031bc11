"""New pictures from a model's own prior, and from the best density of its second stage: how far each is from real ones.

    vaekit train DATA --out RUN
    python benchmarks/second_stage.py RUN [RUN ...] [--pictures 5000] [--judge FILE]

Densities are fitted (`vaekit fit-prior`) and ranked on the validation split, then compared on the test split, in the features of
one judge, as `vaekit evaluate --pictures` does.
"""

import argparse
from pathlib import Path
from typing import Any

from machine import load, trained_with, write_results

from vaekit.cli.evaluate import named_judge
from vaekit.finish import fit_second_stage, measure, own_judge
from vaekit.metrics.pictures import REAL, REBUILT
from vaekit.nets.judge import judge_from
from vaekit.run import Run

ASKED = 2.0  # times nearer, by the values themselves; their intervals stand beside
SHOWN = ("fd", "kd", "sd", "precision", "recall", "density", "coverage", "copies")


def compared(run: Run, pictures: int, judge: Path | None, steps: int) -> dict[str, dict[str, Any]]:
    """Metrics of new pictures by the density that they were drawn from: own, and the best fitted one by name."""
    data = run.open_data()
    name, eye, how = named_judge(judge, judge_from(judge, data.image)) if judge else own_judge(run.as_measured(data))
    if not run.priors:
        fit_second_stage(run, data, steps=steps, judge=eye)
    best, _ = run.load_prior()
    both = {}
    for prior in ("own", best):
        measured = measure(run, data, pictures=pictures, prior=prior, judges=[(name, eye, how)])
        both[prior] = {key.partition("_")[0]: its for key, its in measured.items() if f"_{name}@" in key}
    return both


def told(metric: dict[str, Any]) -> str:
    low, high = metric.get("interval", (None, None))
    return f"{metric['value']:.4g}" + ("" if low is None else f" ({low:.4g} to {high:.4g})")


def verdict(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Whether a distance is ASKED times smaller. Unbiased ones may be 0 or below, where there is no ratio."""
    times = f", {before['value'] / after['value']:.2f} times" if after["value"] > 0 else ""
    reached = "reached" if after["value"] <= before["value"] / ASKED else "not reached"
    return f"{told(before)} and {told(after)}{times}; {ASKED:g} times nearer asked: {reached}"


def rows_of(run: Run, both: dict[str, dict[str, Any]]) -> tuple[list[str], dict[str, Any]]:
    (_, before), (best, after) = both.items()
    rows, figures = [], {}
    for key in SHOWN:
        if key not in before:
            continue
        reference = before[key]["reference"]
        beside = [f"{reference[name]:.4g}" if name in reference else "" for name in (REAL, REBUILT)]
        rows.append("| " + " | ".join([run.path.name, key, told(before[key]), told(after[key]), *beside, best]) + " |")
        if key in ("fd", "kd"):
            figures[f"{run.path.name}: {key}, own prior and {best}"] = verdict(before[key], after[key])
    figures[f"{run.path.name}: command"] = trained_with(run)
    figures[f"{run.path.name}: how"] = before["fd"]["how"]
    return rows, figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--judge", type=Path)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    before, table, figures = load(), [], {}
    for path in given.runs:
        run = Run.open(path)
        rows, more = rows_of(run, compared(run, given.pictures, given.judge, given.steps))
        table += rows
        figures |= more
        print("\n".join(rows), flush=True)
    head = f"| run | figure | own prior | second stage | {REAL} | {REBUILT} | its density |\n|" + "---|" * 7
    command = f"python benchmarks/second_stage.py {' '.join(path.name for path in given.runs)} --pictures {given.pictures}"
    print(write_results(given.out, "second-stage", command, figures, load_before=before, text="\n".join([head, *table])))


if __name__ == "__main__":
    main()
