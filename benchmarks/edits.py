"""Edits by the vector of the book, the difference of two means, against the best of vaekit's, at the same change of the target.

    vaekit train CELEBA --recipe faces --size 64 --minutes 10 --out RUN
    python benchmarks/edits.py RUN --names Smiling Eyeglasses Blond_Hair Male Wearing_Hat No_Beard

The best method is chosen on the validation split and scored on the test split: by a judge of all attributes that was taught on
the training split, or where the true edited pictures are known (`drawn-faces`, `shapes`) by them.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from machine import load, trained_with, write_results

from vaekit.editing import choose_attributes
from vaekit.metrics.edits import ES, GOAL, cells, ratio
from vaekit.run import Run

ASKED = 0.2  # of the dependency, by which the best vectors are to have less


def row(name: str, method: str, its: dict[str, Any] | None) -> str:
    if its is None:
        return f"| {name} | {method} | never gets there |"
    if "es" in its:
        es, details, cre = cells(its)
        return f"| {name} | {method} | {es} | {its['best_es']:.3f} | {details} | {cre} |"
    low, high = its.get("beside_mean_interval", (1.0, 1.0))
    beside = f"{its.get('beside_mean', 1.0):.3f} ({low:.3f} to {high:.3f})"
    beyond = [f"{other} {moved:+.2f}" for other, moved in its["moves"].items() if other != name]
    numbers = f"{its['alpha']:.2f} | {its['success']:.0%} | {its['flipped']:.1%} | {its['identity']:.2f} | {its['undone']:.3f}"
    return f"| {name} | {method} | {its['dependency']:.3f} | {beside} | {numbers} | {', '.join(beyond[:3])} |"


def compared(tests: dict[str, tuple[dict[str, Any] | None, dict[str, Any] | None]], seed: int) -> dict[str, Any]:
    """Whether the best vectors' attribute dependency is ASKED less than the book's on average, and that of none is greater.

    tests: the book's edit and the best one of each attribute, None for one that never gets there; averages are over those where
    both do. Intervals are 95 % by bootstrap over attributes, in pairs; those over pictures stand in the table.
    """
    both = [(book["dependency"], best["dependency"]) for book, best in tests.values() if book and best]
    book, best = np.array(both).reshape(-1, 2).T
    if not (both and book.all()):
        return {"verdict": "none: there is no other attribute, or nowhere do both get there"}
    shares = {"ratio of means": ratio(best, book, seed), "mean of ratios": ratio(best / book, np.ones(len(book)), seed)}
    worse = [name for name, (book, best) in tests.items() if book and not (best and best["dependency"] <= book["dependency"])]
    met = not worse and all(share <= 1 - ASKED for share, _ in shares.values())
    told = ", ".join(f"{how} {share:.3f} ({low:.3f} to {high:.3f})" for how, (share, (low, high)) in shares.items())
    return {f"dependency, {how}": {"value": share, "interval": interval} for how, (share, interval) in shares.items()} | {
        "verdict": f"{'met' if met else 'missed'}: {told}, at most {1 - ASKED:g} asked, over "
        f"{len(both)} of {len(tests)} attributes; worse than the mean difference: {', '.join(worse) or 'none'}"
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--names", nargs="+", default=[])
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    before, run = load(), Run.open(given.run)
    data = run.open_data()
    about = choose_attributes(run, data, given.names, seed=given.seed)
    measured = {name: its["edits"] for name, its in about["attributes"].items() if "edits" in its}
    true = any("es" in (its["test"]["mean"] or {}) for its in measured.values())
    heads = ["attribute", "vector"]
    heads += (
        ["ES", "ES of the true code", "ES with details", "CRE"]
        if true
        else ["dependency", "beside the mean difference", "alpha", "target", "others flipped", "identity", "undone", "moves most"]
    )
    rows = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    rows += [row(name, method, its) for name, edits in measured.items() for method, its in edits["test"].items()]
    figures: dict[str, Any] = {f"best method, {name}": edits["best"] for name, edits in measured.items()}
    tests = {name: (edits["test"]["mean"], edits["test"][edits["best"]]) for name, edits in measured.items()}
    keys = ES if true else ("dependency",)
    for kind, found in zip(("mean", "best"), zip(*(pair for pair in tests.values() if all(pair)), strict=True), strict=False):
        figures |= {f"{key}, {kind} vectors": round(float(np.mean([its[key] for its in found])), 4) for key in keys}
    if not true:
        figures |= compared(tests, given.seed)
    told = next(iter(measured.values()))["how"]
    text = (
        f"To {told}. Figures are over attributes where both vectors get there. Dependency: mean over the other attributes of "
        "|change of the logit| in its standard deviations, for each standard deviation that the target moves; every edit moves "
        f"its target by {GOAL:g}. Beside: ratio to the mean difference on the same pictures, 95 % by bootstrap over them. "
        "Undone: RMSE after +v, encoding, -v.\n\n" + "\n".join(rows)
    )
    command = f"python benchmarks/edits.py RUN --names {' '.join(measured)}"
    about_run = {"trained with": trained_with(run)}
    print(write_results(Path(__file__).parent, f"edits-{data.name}", command, figures | about_run, load_before=before, text=text))


if __name__ == "__main__":
    main()
