"""Put the numbers, and where the data allow it the pictures, of a finished run into benchmarks/.

    vaekit train DATA --recipe RECIPE --out RUN
    python benchmarks/from_run.py RUN --name digits-2d-mnist --figures latent-label manifold samples

Pictures made from data that may not be redistributed (CelebA) stay out: give no --figures.
"""

import argparse
from pathlib import Path

from machine import write_results

from vaekit.run import Run


def figures_of(run: Run) -> dict[str, str]:
    """Every metric with its unit, count and method; then how the run went."""
    found = {}
    for name, metric in run.metrics.items():
        on = f"{metric['split']} N={metric['count']:,}; " if "split" in metric else ""
        found[name] = f"{metric['value']:.5g} {metric['unit']} ({on}{metric['how']})".replace("  ", " ")
    last = run.records[-1]
    execution = run.description["execution"]
    found["images seen"] = f"{last['images']:,} in {last['seconds']:,.0f} s, validations included"
    found["execution"] = ", ".join(f"{name} {value}" for name, value in execution.items())
    if run.has_attributes:
        for name, about in sorted(run.load_attributes()[1]["attributes"].items(), key=lambda item: -item[1]["norm"]):
            low, high = about["interval"]
            counted = f"{about['count_with']:,} with it"
            found[f"vector {name}"] = f"norm {about['norm']:.3f}, held-out distance {low:.3f} to {high:.3f}, {counted}"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--load", default="not measured", help="processes that wanted a core before the run began")
    parser.add_argument("--figures", nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    run = Run.open(given.run)
    folder = given.out / "pictures"
    folder.mkdir(exist_ok=True)
    shown = []
    for name in given.figures:
        (folder / f"{given.name}-{name}.png").write_bytes((run.figures / f"{name}.png").read_bytes())
        shown.append(f"![{name}](pictures/{given.name}-{name}.png)")
    command = run.description["command"]
    about = {"load_before": given.load, "of": str(run.description["commit"])[:10], "text": "\n\n".join(shown)}
    print(write_results(given.out, given.name, command, figures_of(run), **about))


if __name__ == "__main__":
    main()
