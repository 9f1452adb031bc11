"""How long the bound on -log p(x) takes, beside what the machine can do, and whether bf16 says the same as fp32.

    vaekit train MNIST --recipe density --minutes 4 --no-report --out RUN
    vaekit evaluate RUN --samples 5000 --precision bf16 --compile
    python benchmarks/bound.py RUN [--out benchmarks]

The time is that which `vaekit evaluate` kept with the bound over all test pictures, and needs a quiet machine, as the rates of
products do, which are measured here. The decoder is asked once for each image and sample.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from machine import load, trained_with, write_results
from throughput import ask
from torch.utils.flop_counter import FlopCounterMode

from vaekit.execution import Execution, available_threads
from vaekit.metrics.bounds import importance_bound, log_weights
from vaekit.metrics.evaluate import seen_of
from vaekit.model import Model
from vaekit.run import Run
from vaekit.train import Images, shown

COMPARED, FEWER = 1000, 128  # images and samples on which both precisions are asked
MINUTES, AGREE = 15.0, 0.02  # asked


def mflop(model: Model, images: Images, samples: int = 8) -> float:
    """Of one image and sample, counted by torch: products and convolutions."""
    x, c = shown(images(slice(0, 1)))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        log_weights(model, (x, c), model.encode(x, c).rsample((samples,)), Execution(torch.device("cpu")))
    return counter.get_total_flops() / samples / 1e6


def bound_of(run: Run) -> dict[str, Any]:
    """What `vaekit evaluate` kept. Raises SystemExit where these weights have no such bound."""
    if "nll" not in run.metrics:
        raise SystemExit(
            f"{run.path} has no bound on -log p(x) of its weights. Measure it first, on a quiet machine: "
            f"vaekit evaluate {run.path} --samples 5000 --precision bf16 --compile"
        )
    return run.metrics["nll"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    before, run = load(), Run.open(given.run)
    found = bound_of(run)
    ceilings = ask(Path(sys.executable), "ceilings")
    data, model = run.as_measured(run.open_data()), run.load_model("cpu")
    rows = data.splits["test"]
    images = seen_of(model, data, rows)
    plain, fast = (
        Execution(torch.device("cpu"), precision, compile="on", threads=available_threads()) for precision in ("fp32", "bf16")
    )
    both = [importance_bound(model, images, min(COMPARED, len(rows)), FEWER, execution=each).value for each in (plain, fast)]
    samples = max(int(k) for k in found["curve"])
    asked, cost = found["count"] * samples / found["seconds"], mflop(model, images)
    figures: dict[str, Any] = {
        f"-log p(x), IS-{samples}, {found['count']:,} images": round(found["value"], 3),
        "parameters": sum(its.numel() for its in model.parameters()),
        "minutes": f"{found['seconds'] / 60:.1f}, {MINUTES:g} or less asked",
        "images x samples a second": round(asked),
        "MFLOP of an image and sample": round(cost, 3),
        "GFLOP/s of products": round(asked * cost / 1e3, 1),
        "bf16 GFLOP/s of a large matrix product": round(ceilings["bf16 GFLOP/s"]),
        "fp32 GFLOP/s of a large matrix product": round(ceilings["fp32 GFLOP/s"]),
        f"nats between bf16 and fp32, {COMPARED:,} images, {FEWER} samples": f"{abs(both[0] - both[1]):.4f}, {AGREE:g} asked",
        "how": found["how"],
        "trained with": trained_with(run),
    }
    print(write_results(given.out, "bound", "python benchmarks/bound.py RUN", figures, load_before=before))


if __name__ == "__main__":
    main()
