"""What the doctor looks at, each thing computed once and only when a check asks."""

import math
from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ..data import Dataset
from ..distributions import Gaussian
from ..known import known_of
from ..latent import codes
from ..latent.encode import draws, prior_codes
from ..latent.second_stage import draw_codes
from ..metrics.evaluate import seen_of
from ..metrics.quality import another
from ..model import Model
from ..objectives import Objective
from ..run import Run
from ..trace import Trace
from ..train import chunks, traces

MOST = 2000  # pictures of a split that are looked at
COMPARED = 1000  # codes, at most, whose kernel distance to draws is computed: it takes time with their square
COMPONENTS = 256  # of codes of more latents, that a classifier sees
NEAR = 1.0  # nats below the log of the number of pictures, from which they are too few to estimate mutual information


class Exam:
    """What the checks look at, each thing computed once and only when one asks."""

    def __init__(self, run: Run, data: Dataset, seed: int = 0):
        self.run, self.given, self.seed = run, data, seed
        self.data = run.as_measured(data)
        self.split = "test" if len(data.splits["test"]) else "validation"
        self.rows = {name: data.some(name, MOST, seed) for name in ("train", self.split)}

    @cached_property
    def model(self) -> Model:
        return self.run.load_model()

    @cached_property
    def objective(self) -> Objective:
        return self.run.load_objective()

    @cached_property
    def held(self) -> np.ndarray:
        return self.rows[self.split]

    @property
    def has_rate(self) -> bool:
        return self.model.has_prior and not self.certain

    @cached_property
    def certain(self) -> bool:
        """Whether an image has one code, of which nothing is drawn."""
        return codes(self.model, self.data.pixels, self.held[:2]).certain

    @cached_property
    def kl_per_group(self) -> list[float]:
        """Nats of each group of latents over held-out images, top first."""
        nats = [torch.stack([group.kl for group in trace.groups]) for trace in self.traces(self.held)]
        return torch.cat(nats, 1).mean(1).tolist()

    @torch.no_grad()
    def traces(self, rows: np.ndarray) -> Iterator[Trace]:
        """Forward passes over rows, one z per image, the same at every call."""
        look = seen_of(self.model, self.data, rows)
        yield from traces(lambda x, c: self.model(x, 1, c), look, chunks(len(rows), self.model.at_once), self.seed)

    @cached_property
    def rate(self) -> float:
        return sum(self.kl_per_group)

    @torch.no_grad()
    def lost(self) -> float:
        """How many nats worse an image is explained by the code of another one, on average; of 2 images or more."""
        own, others, count = 0.0, 0.0, 0
        look = seen_of(self.model, self.data, self.held)
        z = torch.from_numpy(draws(self.model, self.data.pixels, self.seed, self.held, self.known(self.held)))
        swapped, like = z[another(len(z), self.seed)], next(self.model.parameters())
        for part in chunks(len(self.held), self.model.at_once):
            pixels, known = look(part)
            c, x = known if known.shape[1] else None, pixels.float() / 255
            for turn, code in enumerate((z, swapped)):
                loss = -self.model.decode(code[part].to(like)[None], c).log_prob(x).sum().item()
                own, others = (own + loss, others) if turn == 0 else (own, others + loss)
            count += len(x)
        return (others - own) / count

    def known(self, rows: np.ndarray) -> np.ndarray | None:
        """What a conditional model is told of these pictures, (n, Y); None for any other."""
        known = known_of(self.data, self.model)[rows]
        return known if known.shape[1] else None

    @cached_property
    def rmse(self) -> dict[str, float]:
        """Of reconstructions drawn from q(z | x), on the training split and held out."""
        found = {}
        for name, rows in self.rows.items():
            errors = [
                np.square((trace.px.mean[0] - trace.x).float().cpu().numpy()).mean((1, 2, 3)) for trace in self.traces(rows)
            ]
            found[name] = float(np.sqrt(np.concatenate(errors).mean()))
        return found

    @cached_property
    def distances(self) -> tuple[float, float]:
        """How well draws of the model's own prior can be told from codes: by a classifier (area under the curve, on halves that
        it did not learn from) and by the kernel distance (MMD, Gaussian kernel of the median width)."""
        known = self.known(self.all_rows)
        z = draws(self.model, self.data.pixels, self.seed, self.all_rows, known)
        p = prior_codes(self.model, len(z), self.seed, c=known)
        return told_apart(z, p, self.seed), mmd(z, p, self.seed)

    @cached_property
    def fitted(self) -> tuple[str, float] | None:
        """The best density that was fitted to the codes, and how well a classifier tells its draws from them."""
        if not self.run.priors:
            return None
        name, density = self.run.load_prior()
        z = draws(self.model, self.data.pixels, self.seed, self.all_rows)
        return name, told_apart(z, draw_codes(density, self.model, len(z), self.seed), self.seed)

    @property
    def all_rows(self) -> np.ndarray:
        """Of both splits."""
        return np.union1d(self.rows["train"], self.held)


def told_apart(a: np.ndarray, b: np.ndarray, seed: int) -> float:
    """The area under the curve of a classifier of two heaps (N, D), 0.5 where they are alike (Lopez-Paz & Oquab, 2017)."""
    from sklearn.decomposition import PCA  # which takes longer to import than a training should have to wait for
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(seed)
    both, kind = np.concatenate([a, b]), np.repeat([0, 1], [len(a), len(b)])
    order = rng.permutation(len(both))
    learn, held = np.array_split(order, 2)
    seen = both
    if both.shape[1] > COMPONENTS:  # trees over ten thousand latents would take gigabytes
        parts = PCA(min(COMPONENTS, len(learn)), svd_solver="randomized", random_state=seed)
        seen = parts.fit(both[learn]).transform(both)
    seen = np.concatenate([seen, np.linalg.norm(both, axis=1, keepdims=True)], 1)  # a length is hard for trees to see
    classifier = HistGradientBoostingClassifier(max_iter=60, random_state=seed).fit(seen[learn], kind[learn])
    return float(roc_auc_score(kind[held], classifier.predict_proba(seen[held])[:, 1]))


def mmd(a: np.ndarray, b: np.ndarray, seed: int = 0, most: int = COMPARED) -> float:
    """The squared MMD of two heaps (N, D), unbiased; Gaussian kernel, median width (Gretton et al., 2012).

    Of some of each, taken at random: in a folder, pictures of one kind lie beside each other.
    """
    rng = np.random.default_rng(seed)
    one, other = (torch.from_numpy(heap[rng.permutation(len(heap))[:most]]).double() for heap in (a, b))
    width = torch.cdist(one, other).median().square().clamp_min(1e-12)

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return torch.exp(-torch.cdist(x, y).square() / width)

    def among(x: Tensor) -> Tensor:
        return (kernel(x, x).sum() - len(x)) / (len(x) * (len(x) - 1))

    return float(among(one) + among(other) - 2 * kernel(one, other).mean())


def split_of_rate(exam: Exam) -> dict[str, float]:
    """Mutual information, total correlation and dimension-wise KL of a model with Gaussian q, in nats: their sum is the rate.

    q(z) is the mean of q(z | x) over the pictures looked at (Chen et al., 2018, eq. 2), so the mutual information is at most the
    log of their number: where it comes near, only its sum with the total correlation can be told.
    """
    from scipy.special import logsumexp

    found = codes(exam.model, exam.data.pixels, exam.held)
    z = draws(exam.model, exam.data.pixels, exam.seed, exam.held)
    log_n, joint, single, own = math.log(len(z)), [], [], []
    for start in range(0, len(z), 100):
        part = slice(start, start + 100)
        each = log_normal(z[part, None], found.mu[None], found.log_var[None])  # (100, N, D)
        own.append(log_normal(z[part], found.mu[part], found.log_var[part]).sum(1))
        joint.append(np.asarray(logsumexp(each.sum(2), axis=1)) - log_n)
        single.append((np.asarray(logsumexp(each, axis=1)) - log_n).sum(1))
    q_x, q, product = (np.concatenate(parts).mean() for parts in (own, joint, single))
    with torch.no_grad():
        p = exam.model.p_z().log_prob(torch.from_numpy(z).to(next(exam.model.parameters()))).mean().item()
    if q_x - q > log_n - NEAR:
        return {"mutual information + total correlation": float(q_x - product), "dimension-wise KL": float(product - p)}
    return {
        "mutual information": float(q_x - q),
        "total correlation": float(q - product),
        "dimension-wise KL": float(product - p),
    }


def log_normal(z: np.ndarray, mean: np.ndarray, log_var: np.ndarray) -> np.ndarray:
    return -0.5 * (np.log(2 * np.pi) + log_var + np.square(z - mean) / np.exp(log_var))


def gaussian(exam: Exam) -> bool:
    """Whether q(z | x) is a diagonal Gaussian, and p(z) one density for all images."""
    x = torch.from_numpy(exam.data.take(exam.held[:2])).float() / 255
    with torch.no_grad():
        q = exam.model.encode(x.to(next(exam.model.parameters())))
    return type(q) is Gaussian and not hasattr(exam.model, "condition") and exam.model.latent <= 256
