"""How close drawn pictures come to real ones: distances between their features, as a judge of pictures sees them.

A judge is a net that learned to tell the user's own labels apart, or one with random weights where there are none. The distances
are those of Heusel et al. (2017), https://arxiv.org/abs/1706.08500, and Binkowski et al. (2018),
https://arxiv.org/abs/1801.01401, but not with their Inception net: never call them FID and KID.

Shapes: N and M pictures, F features.
"""

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..batches import mix
from ..data import Dataset
from ..errors import UsageError
from ..latent.encode import as_pictures
from ..nets.judge import FeatureNet, Judge
from ..objectives.perceptual import seen_apart

BATCH, STEPS, RATE = 128, 1500, 2e-3
BLOCK = 512  # rows of features beside all others at once


@dataclass(frozen=True)
class Quality:
    """Distances of two sets of pictures, in features of a judge; 0 is the same distribution."""

    frechet: float
    kernel: float
    counts: tuple[int, int]


def judge_of(
    data: Dataset, seed: int = 0, steps: int = STEPS, progress: Callable[[int, int], None] | None = None
) -> tuple[Judge, str]:
    """A judge of the pictures of a data set, and how it came about: taught on the labels of the training split, or random.

    `progress` hears of steps done, and of how many in all.
    """
    kinds = len(data.label_names) if data.labels is not None else 1
    rows = data.splits["train"]
    labels = np.full(len(rows), -1) if data.labels is None else data.labels[rows]
    rows, labels = rows[labels >= 0], torch.from_numpy(labels[labels >= 0])
    if kinds < 2 or not len(rows):
        return random_judge(data.image, seed), f"random weights, seed {seed}"

    def loss(logits: Tensor, chosen: np.ndarray) -> Tensor:
        return F.cross_entropy(logits, labels[chosen])

    judge = taught(data, rows, kinds, loss, seed=seed, steps=steps, progress=progress)
    return judge, f"taught {kinds} labels of {len(rows):,} training pictures in {steps:,} steps, seed {seed}"


def attribute_judge_of(
    data: Dataset, has: np.ndarray, seed: int = 0, steps: int = STEPS, progress: Callable[[int, int], None] | None = None
) -> tuple[Judge, str]:
    """A judge with a logit for each of A attributes, taught on the training split; has (N, A): 1, 0, or -1 where unknown."""
    rows = data.splits["train"]
    known = torch.from_numpy(has[rows])

    def loss(logits: Tensor, chosen: np.ndarray) -> Tensor:
        told = known[chosen]
        return F.binary_cross_entropy_with_logits(logits, told.clamp(0).float(), weight=(told >= 0).float())

    judge = taught(data, rows, has.shape[1], loss, seed=seed, steps=steps, progress=progress, flip=True)
    return judge, f"taught {has.shape[1]} attributes of {len(rows):,} training pictures in {steps:,} steps, seed {seed}"


def taught(
    data: Dataset,
    rows: np.ndarray,
    kinds: int,
    loss: Callable[[Tensor, np.ndarray], Tensor],
    *,
    seed: int,
    steps: int,
    progress: Callable[[int, int], None] | None,
    flip: bool = False,
) -> Judge:
    """A judge after some steps of AdamW on the rows; `loss` is that of its logits (B, kinds) on rows with these places."""
    with torch.random.fork_rng():
        torch.manual_seed(mix(seed, 6))
        judge = Judge(image=data.image, features=128, width=24, kinds=kinds)
        optimizer = torch.optim.AdamW(judge.parameters(), lr=RATE, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps)
        rng = np.random.default_rng(seed)
        for step in range(1, steps + 1):
            chosen = rng.integers(len(rows), size=min(BATCH, len(rows)))
            pictures = data.take(rows[chosen])
            _, logits = judge(as_pictures(pictures[..., ::-1] if flip and rng.random() < 0.5 else pictures))
            optimizer.zero_grad()
            loss(logits, chosen).backward()
            optimizer.step()
            schedule.step()
            if progress:
                progress(step, steps)
        return judge.eval()


def random_judge(image: tuple[int, int, int], seed: int = 0) -> Judge:
    """One that learned nothing; the features of a random net still tell distributions apart."""
    with torch.random.fork_rng():
        torch.manual_seed(mix(seed, 7))
        return Judge(image=image, features=128, width=24).eval()


def accuracy_of(judge: Judge, data: Dataset) -> float | None:
    """The share of the test split's labels that it names; None where there are none."""
    rows = data.splits["test"]
    rows = rows[data.labels[rows] >= 0] if data.labels is not None else rows[:0]
    if not len(rows):
        return None
    return float((logits_of(judge, data, rows).argmax(1) == data.labels[rows]).mean())  # pyright: ignore[reportOptionalSubscript]


def auc_of(judge: Judge, data: Dataset, has: np.ndarray) -> float | None:
    """The area under the ROC curve of each attribute's logit over the test split, the mean over attributes; has (N, A) as for
    `attribute_judge_of`. None where no attribute parts these pictures."""
    from sklearn.metrics import roc_auc_score  # which takes seconds to import

    rows = data.splits["test"]
    parted = [k for k, told in enumerate(has[rows].T) if {0, 1} <= set(told)]
    if not parted:
        return None
    logits, told = logits_of(judge, data, rows), has[rows]
    known = {k: told[:, k] >= 0 for k in parted}
    return float(np.mean([roc_auc_score(told[known[k], k], logits[known[k], k]) for k in parted]))


@torch.no_grad()
def logits_of(judge: Judge, data: Dataset, rows: np.ndarray) -> np.ndarray:
    """(n, kinds)"""
    parts = [rows[start : start + 256] for start in range(0, len(rows), 256)]
    return torch.cat([judge(as_pictures(data.take(part)))[1] for part in parts]).numpy()


def like_of(net: nn.Module) -> Tensor:
    """A number of the device and type of a net, which are those of the pictures and codes that it takes."""
    return next(itertools.chain(net.parameters(), net.buffers()), torch.zeros(()))


@torch.no_grad()
def features_of(judge: FeatureNet, images: np.ndarray) -> np.ndarray:
    """(N, F) float64 of uint8 or float pictures (N, C, H, W)."""
    like = like_of(judge)
    parts = [as_pictures(images[start : start + 256]).to(like) for start in range(0, len(images), 256)]
    return torch.cat([judge.embed(part).double().cpu() for part in parts]).numpy()


@torch.no_grad()
def perceptual_distances(judge: FeatureNet, images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How far apart two pictures of each pair look to a judge, (N,): both (N, C, H, W), see `seen_apart`."""
    like = like_of(judge)
    pairs = (
        (as_pictures(heap[start : start + 256]).to(like) for heap in (images, others)) for start in range(0, len(images), 256)
    )
    return torch.cat([seen_apart(judge, *pair).double().cpu() for pair in pairs]).numpy()


def another(count: int, seed: int) -> np.ndarray:
    """For each of `count` pictures the place of another one, (count,): the next in a random order.

    In a folder, the next in its own order is mostly one of the same kind.
    """
    order, places = np.random.default_rng(seed).permutation(count), np.empty(count, int)
    places[order] = np.roll(order, 1)
    return places


def print_of(judge: FeatureNet) -> str:
    """What tells one judge from another: the beginning of sha256 over its numbers."""
    found = hashlib.sha256()
    for tensor in judge.state_dict().values():
        found.update(tensor.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:12]


def quality(judge: FeatureNet, real: np.ndarray, drawn: np.ndarray) -> Quality:
    """Of drawn pictures beside real ones, both (N, C, H, W)."""
    a, b = features_of(judge, real), features_of(judge, drawn)
    return Quality(frechet_distance(a, b), kernel_distance(a, b), (len(a), len(b)))


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Between the Gaussians of features (N, F) and (M, F): |mu - mu'|^2 + tr(C + C' - 2 (C C')^(1/2)), Heusel et al., eq. 6."""
    check(a, b)
    mean = a.mean(0) - b.mean(0)
    one, other = (np.cov(features, rowvar=False).reshape(a.shape[1], -1) for features in (a, b))
    values, vectors = np.linalg.eigh(one)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    crossed = np.sqrt(np.linalg.eigvalsh(root @ other @ root).clip(0)).sum()
    return float(mean @ mean + np.trace(one) + np.trace(other) - 2 * crossed)


def kernel_distance(a: np.ndarray, b: np.ndarray) -> float:
    """MMD^2 with the kernel (x y / F + 1)^3, unbiased (Binkowski et al., section 4): it may lie a little below 0."""
    check(a, b)

    def total(x: np.ndarray, y: np.ndarray) -> float:
        """Of the kernel over all pairs, some rows at a time: N^2 numbers would not fit into memory."""
        return sum(((x[start : start + BLOCK] @ y.T / x.shape[1] + 1) ** 3).sum() for start in range(0, len(x), BLOCK))

    def among(x: np.ndarray) -> float:
        own = ((np.square(x).sum(1) / x.shape[1] + 1) ** 3).sum()
        return (total(x, x) - own) / (len(x) * (len(x) - 1))

    return float(among(a) + among(b) - 2 * total(a, b) / (len(a) * len(b)))


def check(a: np.ndarray, b: np.ndarray, least: int = 2) -> None:
    if min(len(a), len(b)) < least or a.shape[1] != b.shape[1]:
        given = f"between features {a.shape} and {b.shape}"
        raise UsageError(f"A distance was asked for {given}; give {least} or more rows of one width.")
