"""Five seeds of a small model in one process: their steps taken at once, beside one seed, and beside five one after another.

    python benchmarks/seeds.py [--seeds 5] [--rounds 7] [--seconds 3] [--tasks mlp conv] [--out benchmarks]

Every way runs as vaekit's tuner has it run on this machine, compiled where that is faster. The pictures are drawn ones of MNIST's
size. Each round takes the same number of steps in every way, in turn; start-up and compilation are not in the times.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from bars import Panel, bars
from machine import load, write_results

from vaekit import VAE, Training, describe, tuner
from vaekit.batches import Batches
from vaekit.draw import save_png
from vaekit.execution import find_device
from vaekit.likelihoods import OptimalGaussian
from vaekit.nets import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder
from vaekit.objectives import ELBO
from vaekit.posteriors import DiagonalGaussian
from vaekit.priors import StandardNormal
from vaekit.state import State
from vaekit.train import train, train_together
from vaekit.trials import trial, trial_together

IMAGE, COUNT, LATENT = (1, 28, 28), 10_000, 8
TARGETS = {"cuda": 2.0}  # times one seed, for five; on a processor: well under five


def mlp() -> VAE:
    encoder = MLPEncoder(image=IMAGE, features=32, depth=2)
    return vae(encoder, MLPDecoder(image=IMAGE, latent=LATENT, width=32, depth=2))


def conv() -> VAE:
    encoder = ConvEncoder(image=IMAGE, features=64, width=8, widest=32)
    return vae(encoder, ConvDecoder(image=IMAGE, latent=LATENT, width=8, widest=32))


def vae(encoder: Any, decoder: Any) -> VAE:
    posterior, prior = DiagonalGaussian(features=encoder.features, latent=LATENT), StandardNormal(latent=LATENT)
    return VAE(encoder=encoder, posterior=posterior, decoder=decoder, likelihood=OptimalGaussian(), prior=prior)


TASKS: dict[str, Callable[[], VAE]] = {"mlp": mlp, "conv": conv}


def draw() -> np.ndarray:
    """Bright rectangles on black, uint8 (COUNT, 1, 28, 28)."""
    rng = np.random.default_rng(0)
    pictures = np.zeros((COUNT, *IMAGE), np.uint8)
    for picture in pictures:
        (top, left), (high, wide) = rng.integers(0, 16, 2), rng.integers(4, 13, 2)
        picture[0, top : top + high, left : left + wide] = rng.integers(100, 256)
    return pictures


def begin(make: Callable[[], VAE], seed: int, device: torch.device, batch: int, beside: Batches | None = None):
    """A fresh state with the batches and settings of its seed; it never ends by itself."""
    torch.manual_seed(seed)
    training = Training(images=10**9, batch_size=batch, device=str(device), seed=seed, epoch=COUNT)
    batches = beside.reseeded(seed) if beside else Batches(draw(), np.arange(COUNT), batch, seed, device)
    return State.start(make(), ELBO(), training, device), batches, training


def clock(steps: list[Iterator[Any]], count: int, device: torch.device) -> float:
    """Seconds for so many steps of each."""
    began = time.perf_counter()
    for its in steps:
        for _ in range(count):
            next(its)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def measure(task: str, seeds: int, batch: int, rounds: int, seconds: float) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Figures of one task, and the seconds a step of every seed takes, by the way it is taken, round after round."""
    device, make = find_device("auto"), TASKS[task]

    def members() -> tuple[list[State], list[Batches], list[Training]]:
        first = begin(make, 0, device, batch)
        others = [begin(make, seed, device, batch, beside=first[1]) for seed in range(1, seeds)]
        states, batches, trainings = zip(first, *others, strict=True)
        return list(states), list(batches), list(trainings)

    (states, batches, trainings), (joint, theirs, settings) = members(), members()
    about = [describe(states[0].model), describe(states[0].objective)]
    say = lambda message: print(f"{task}: {message}", file=sys.stderr)  # noqa: E731
    alone = tuner.choose(
        trainings[0], trial(states[0], trainings[0], batches[0]), batch, about=about, convolves=task == "conv", say=say
    )
    together = tuner.choose(
        settings[0], trial_together(joint, settings[0], theirs), seeds * batch, about=[*about, seeds], runs=seeds, say=say
    )
    for state in states:
        alone.execution.apply(state.model, state.average)
    apart = [train(*its, alone.execution) for its in zip(states, batches, trainings, strict=True)]
    ways = {"one seed": apart[:1], f"{seeds} one after another": apart}
    ways[f"{seeds} together"] = [train_together(joint, theirs, settings, together.execution)]
    threads = dict.fromkeys(ways, alone.execution.threads) | {f"{seeds} together": together.execution.threads}
    taken: dict[str, list[float]] = {way: [] for way in ways}
    count = max(1, round(seconds * alone.speed / batch / seeds))
    for turn in range(-1, rounds):  # the first one compiles, and warms up
        for way, steps in ways.items():
            torch.set_num_threads(threads[way])
            spent = clock(steps, count if turn >= 0 else min(count, 10), device)
            if turn >= 0:
                taken[way].append(1e3 * spent / count)
        if turn >= 0:
            print(f"{task}: { ({way: round(its[-1], 3) for way, its in taken.items()}) } ms", file=sys.stderr)
    one, after, at_once = taken.values()
    figures: dict[str, Any] = {"parameters": sum(p.numel() for p in states[0].model.parameters())}
    figures |= {"one seed runs": str(alone.execution), f"{seeds} together run": str(together.execution)}
    figures |= {f"{way}, ms for a step of each": round(median(its), 3) for way, its in taken.items()}
    figures[f"{seeds} together / one seed, median of the rounds"] = median_ratio(at_once, one)
    figures[f"{seeds} one after another / {seeds} together, median of the rounds"] = median_ratio(after, at_once)
    if device.type in TARGETS:
        most = TARGETS[device.type]
        reached = figures[f"{seeds} together / one seed, median of the rounds"] < most
        figures[f"target, {seeds} together below {most} times one seed"] = "reached" if reached else "not reached"
    return {f"{task}: {name}": value for name, value in figures.items()}, taken


def median_ratio(over: list[float], under: list[float]) -> float:
    return round(median(a / b for a, b in zip(over, under, strict=True)), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0, help="that five seeds one after another take in a round")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    before, figures, panels = load(), {}, []
    for task in given.tasks:
        found, taken = measure(task, given.seeds, given.batch, given.rounds, given.seconds)
        figures |= found
        title = f"{task}, {found[f'{task}: parameters']:,} parameters"
        panels.append(Panel(title, "ms for a step of each", taken, {}))
    (given.out / "pictures").mkdir(exist_ok=True)
    about = f"batch {given.batch} a seed; medians of {given.rounds} rounds, dots are the rounds; shorter is faster"
    figure = bars(panels, f"{given.seeds} seeds in one process", about, ours=f"{given.seeds} together")
    (given.out / "pictures" / "seeds.png").write_bytes(save_png(figure, "seeds"))
    sizes = f"--seeds {given.seeds} --batch {given.batch} --rounds {given.rounds} --seconds {given.seconds:g}"
    text = "![Seeds](pictures/seeds.png)"
    page = write_results(given.out, "seeds", f"python benchmarks/seeds.py {sizes}", figures, load_before=before, text=text)
    print(page.read_text())


if __name__ == "__main__":
    main()
