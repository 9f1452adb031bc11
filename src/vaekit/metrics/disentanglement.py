"""How far single latents stand for single factors of variation, where the true factors of every picture are known.

Every score of the field on the same codes. `how` of each says whose it is and in what it differs from its paper. Those of a
classifier are learnt on some pictures and told of others.

Shapes: N pictures, D latents, K factors; codes mu (N, D), factors (N, K) integers from 0, a value each.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import entropy
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import mutual_info_classif
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, log_loss, mutual_info_score
from sklearn.tree import DecisionTreeClassifier

from ..data import Dataset
from ..errors import UsageError
from ..known import values_of

BINS = 20  # of equal width, where a latent must be discrete (Locatello et al., 2019)
NEIGHBOURS = 10  # of the mutual information between a continuous latent and a factor
IDLE = 20  # a latent whose range is this many times smaller than the largest says nothing: it collapsed onto the prior
VOTES, GROUP = 2000, 64  # of the scores by votes, and the pictures of one vote
TREES = 20
KINDS = 64  # values of a factor, at most; one with more is cut into BINS parts of equally many pictures

VOTED = ("factor_vae_score", "beta_vae_score")
BEYOND = "less than twice what shuffled codes tell counts as 0"
BY_BINS = f"mutual information of mu in {BINS} equal bins, {BEYOND}"
BY_NEIGHBOURS = f"mutual information by {NEIGHBOURS} nearest neighbours, {BEYOND}"
BY_FOREST = "importances by permutation on held-out pictures, less than three standard errors counts as 0, random forest"
BY_VOTES = f"{VOTES:,} groups of {GROUP} pictures that share one factor"
HOW = {
    "mig": f"Mutual Information Gap (Chen et al., 2018, eq. 6), {BY_BINS}",
    "sap": "Separated Attribute Predictability (Kumar et al., 2018): balanced accuracy of thresholds, 0 at chance",
    "dci_disentanglement": f"Eastwood & Williams (2018): {BY_FOREST}",
    "dci_completeness": f"Eastwood & Williams (2018): {BY_FOREST}",
    "dci_informativeness": "Eastwood & Williams (2018): 1 - error / error of the commonest value, random forest",
    "factor_vae_score": f"Kim & Mnih (2018), section 4: {BY_VOTES}",
    "beta_vae_score": f"Higgins et al. (2017), section 3: {BY_VOTES}, logistic regression",
    "modularity": f"Ridgeway & Mozer (2018), eq. 2, {BY_BINS}",
    "infom": f"InfoM (Hsu et al., 2023, eq. 5), {BY_NEIGHBOURS}",
    "infoc": f"InfoC (Hsu et al., 2023, eq. 6), {BY_NEIGHBOURS}",
    "infoe": "InfoE (Hsu et al., 2023, eq. 8), logistic regression",
}


class Known(NamedTuple):
    """Pictures' codes beside their true factors."""

    mu: np.ndarray  # (N, D)
    factors: np.ndarray  # (N, K)


def disentanglement(learn: Known, held: Known, seed: int = 0) -> dict[str, float]:
    """Every score by the names of HOW, learnt on some pictures and told of others; higher is better, 1 is perfect.

    Codes that tell nothing come to 0, but for the two scores of votes, which come to 1 / K. Raises UsageError where there are
    fewer than two factors or latents, where a factor never varies, or where codes are not finite.
    """
    check(learn, held)
    useful = active(learn.mu)
    if not useful.any():
        return {name: 1 / learn.factors.shape[1] if name in VOTED else 0.0 for name in HOW}
    scale = scaling(learn.mu)
    learn, held = (its._replace(mu=scale(its.mu)) for its in (learn, held))
    both = Known(*(np.concatenate(parts) for parts in zip(learn, held, strict=True)))
    rng = np.random.default_rng(seed)
    binned, near = (beyond_chance(measure, both, rng) for measure in (binned_information, neighbour_information))
    entropies = np.array([entropy(np.bincount(factor)) for factor in both.factors.T])
    return {
        "mig": float((gap(binned) / entropies).mean()),
        "sap": float(gap(separations(learn, held)).mean()),
        **dci(learn, held, seed),
        **by_votes(learn, held, useful, rng),
        "modularity": modularity(binned[useful]),
        "infom": evenness_gap(near[useful] / entropies, axis=1),
        "infoc": evenness_gap(near[useful] / entropies, axis=0),
        "infoe": explicitness(learn, held),
    }


def check(*several: Known) -> None:
    for mu, factors in several:
        if mu.ndim != 2 or factors.ndim != 2 or len(mu) != len(factors) or min(mu.shape[1], factors.shape[1]) < 2:
            raise UsageError(
                f"Scores of disentanglement were asked of codes {mu.shape} and factors {factors.shape}; expected two or more "
                "latents and two or more factors of as many pictures. Name more factors, or train with more latents."
            )
        if not np.isfinite(mu).all():
            raise UsageError("Disentanglement was asked of codes that are not finite. Look at the run: vaekit evaluate RUN")
        still = [str(k) for k, factor in enumerate(factors.T) if len(np.unique(factor)) < 2]
        if still:
            raise UsageError(
                f"Factors {', '.join(still)} never vary in {len(mu)} pictures. Leave them out, or give more pictures."
            )


def active(mu: np.ndarray) -> np.ndarray:
    """Which latents say anything, (D,) bool."""
    reach = np.ptp(mu, axis=0)
    return reach > reach.max() / IDLE


def scaling(mu: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """To latents of mean 0 and standard deviation 1; one that never varies stays at 0."""
    mean, spread = mu.mean(0), np.maximum(mu.std(0), np.finfo(np.float32).tiny)
    return lambda mu: (mu - mean) / spread


def gap(scores: np.ndarray) -> np.ndarray:
    """The highest minus the second highest of (D, K) in each column, (K,)."""
    second, first = np.sort(scores, axis=0)[-2:]
    return first - second


# Mutual information


def beyond_chance(measure: Callable[[Known], np.ndarray], known: Known, rng: np.random.Generator) -> np.ndarray:
    """(D, K): what less than twice as much as shuffled codes tell of a factor is nothing."""
    found, chance = measure(known), measure(known._replace(mu=rng.permutation(known.mu)))
    return np.where(found > 2 * chance.max(0), found, 0)


def binned_information(known: Known) -> np.ndarray:
    """I(mu_d; v_k) in nats, (D, K), of mu in bins of equal width."""
    cells = [np.digitize(latent, np.histogram_bin_edges(latent, BINS)[1:-1]) for latent in known.mu.T]
    return np.array([[mutual_info_score(factor, cell) for factor in known.factors.T] for cell in cells])


def neighbour_information(known: Known) -> np.ndarray:
    """I(mu_d; v_k) in nats, (D, K), of mu as it is, from distances to nearest neighbours (Ross, 2014)."""
    about = {"discrete_features": False, "n_neighbors": NEIGHBOURS, "random_state": 0}
    return np.stack([mutual_info_classif(known.mu, factor, **about) for factor in known.factors.T], axis=1)


def modularity(information: np.ndarray) -> float:
    """1 minus how much latents (D, K) tell of all but their own factor, squared."""
    squared = np.square(information)
    own = squared.max(1)
    others = (squared.sum(1) - own) / (np.maximum(own, np.finfo(float).tiny) * (squared.shape[1] - 1))
    return float(np.where(own > 0, 1 - others, 0).mean())


def evenness_gap(information: np.ndarray, axis: int) -> float:
    """How far the largest share along an axis is above an even share: 0 where all are alike, 1 where one has everything."""
    many = information.shape[axis]
    if many == 1:
        return 1.0
    total = information.sum(axis)
    share = np.divide(information.max(axis), total, out=np.full(total.shape, 1 / many), where=total > 0)
    return float((share.mean() - 1 / many) / (1 - 1 / many))


# Predictions


def separations(learn: Known, held: Known) -> np.ndarray:
    """How well thresholds on one latent tell the values of a factor, (D, K): balanced accuracy, 0 at chance, 1 if perfect."""
    found = np.empty((learn.mu.shape[1], learn.factors.shape[1]))
    for k, factor in enumerate(learn.factors.T):
        values = len(np.unique(factor))
        for d in range(len(found)):
            tree = DecisionTreeClassifier(max_leaf_nodes=values, class_weight="balanced", random_state=0)
            guess = tree.fit(learn.mu[:, [d]], factor).predict(held.mu[:, [d]])
            with warnings.catch_warnings(action="ignore", category=UserWarning):  # of values that the held-out pictures lack
                found[d, k] = balanced_accuracy_score(held.factors[:, k], guess, adjusted=True)
    return found


def dci(learn: Known, held: Known, seed: int) -> dict[str, float]:
    """Disentanglement, completeness and informativeness.

    A forest's own importances are never 0: it splits on noise where nothing else is left. Permuted on held-out pictures, noise
    weighs nothing; less than three of their standard errors is noise.
    """
    importances, informed = np.empty((learn.mu.shape[1], learn.factors.shape[1])), []
    for k, factor in enumerate(learn.factors.T):
        forest = RandomForestClassifier(TREES, max_features=1.0, min_samples_leaf=2, random_state=seed)  # pyright: ignore
        forest.fit(learn.mu, factor)
        right = forest.score(held.mu, held.factors[:, k])
        common = (held.factors[:, k] == np.bincount(factor).argmax()).mean()
        informed.append((right - common) / (1 - common) if common < 1 else 0.0)
        lost: Any = permutation_importance(forest, held.mu, held.factors[:, k], n_repeats=3, random_state=seed)
        noise = 3 * np.sqrt(right * (1 - right) / len(held.mu))
        importances[:, k] = np.where(lost.importances_mean > noise, lost.importances_mean, 0)
    total = importances.sum()
    if total == 0:
        return dict.fromkeys(("dci_disentanglement", "dci_completeness"), 0.0) | {"dci_informativeness": float(np.mean(informed))}
    latents, factors = importances.shape
    by_latent, by_factor = importances.sum(1), importances.sum(0)
    told, has = by_latent > 0, by_factor > 0
    return {
        "dci_disentanglement": float((by_latent[told] * (1 - entropy(importances[told], base=factors, axis=1))).sum() / total),
        "dci_completeness": float((1 - entropy(importances[:, has], base=latents, axis=0)).sum() / factors),
        "dci_informativeness": float(np.mean(informed)),
    }


def explicitness(learn: Known, held: Known) -> float:
    """The share of the factors' uncertainty that a linear classifier takes away."""
    shares = []
    for k, factor in enumerate(learn.factors.T):
        values, counts = np.unique(factor, return_counts=True)
        seen = np.isin(held.factors[:, k], values)
        told = linear(learn.mu, factor).predict_proba(held.mu[seen])
        nothing = np.tile(counts / counts.sum(), (seen.sum(), 1))
        with_it, without = (log_loss(held.factors[seen, k], guess, labels=values) for guess in (told, nothing))
        shares.append(1 - with_it / without)
    return float(np.mean(shares))


def linear(features: np.ndarray, classes: np.ndarray) -> LogisticRegression:
    """A logistic regression that is next to free."""
    with warnings.catch_warnings(
        action="ignore", category=ConvergenceWarning
    ):  # classes that a line parts have no finite optimum
        return LogisticRegression(C=1e3, max_iter=300).fit(features, classes)


# Votes


def by_votes(learn: Known, held: Known, useful: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    """Which factor do pictures share? By the latent that varies least among them, all being of one scale, and by a line through
    their differences."""
    (spreads, apart, shared), (held_spreads, held_apart, held_shared) = (
        voted(its._replace(mu=its.mu[:, useful]), rng) for its in (learn, held)
    )
    votes = np.zeros((useful.sum(), learn.factors.shape[1]))
    np.add.at(votes, (spreads.argmin(1), shared), 1)
    scale = scaling(apart)
    return {
        "factor_vae_score": float((votes.argmax(1)[held_spreads.argmin(1)] == held_shared).mean()),
        "beta_vae_score": float(linear(scale(apart), shared).score(scale(held_apart), held_shared)),
    }


def voted(known: Known, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every group of pictures that share one factor: each latent's variance within it, its mean difference between two such
    pictures, both (VOTES, D), and the factor (VOTES,)."""
    spreads, apart = np.empty((2, VOTES, known.mu.shape[1]))
    shared = rng.integers(known.factors.shape[1], size=VOTES)
    for k, factor in enumerate(known.factors.T):
        alike = Alike(factor)
        for votes in chunks(np.flatnonzero(shared == k)):
            first = rng.integers(len(factor), size=len(votes))
            together = known.mu[alike.draw(np.repeat(first[:, None], GROUP, 1), rng)]  # (votes, GROUP, D)
            spreads[votes] = together.var(1, ddof=1)
            first = rng.integers(len(factor), size=(len(votes), GROUP))
            apart[votes] = np.abs(known.mu[first] - known.mu[alike.draw(first, rng)]).mean(1)
    return spreads, apart, shared


class Alike:
    """Draws pictures with the same value of one factor."""

    def __init__(self, factor: np.ndarray):
        self.factor, self.order, self.counts = factor, factor.argsort(kind="stable"), np.bincount(factor)
        self.starts = self.counts.cumsum() - self.counts

    def draw(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A picture for each of some rows that shares its value, itself perhaps."""
        value = self.factor[rows]
        return self.order[self.starts[value] + rng.integers(self.counts[value])]


def chunks(rows: np.ndarray, most: int = 256) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), most):
        yield rows[start : start + most]


# From data


def factors_of(data: Dataset, names: Sequence[str]) -> np.ndarray:
    """The values of some attributes, or of "label", as integers from 0: (N, K) int64, -1 where they are not known.

    Raises UsageError on a name that the data do not have, and on fewer than two.
    """
    known = {name: classes(values_of(data, name)) for name in names}
    if len(known) < 2:
        have = ["label"] * (data.labels is not None) + list(data.attribute_names)
        raise UsageError(
            f"Scores of disentanglement compare factors of variation: two or more factors were expected, and {', '.join(known)} "
            f"was given. Known of the pictures of {data.name}: {', '.join(have)}. Name two of them, or more."
        )
    return np.stack(list(known.values()), axis=1)


def classes(values: np.ndarray) -> np.ndarray:
    """Numbers (N,) as integers from 0, in their order; nan as -1."""
    known = ~np.isnan(values)
    kinds, found = np.unique(values[known], return_inverse=True)
    if len(kinds) > KINDS:
        edges = np.unique(np.quantile(values[known], np.linspace(0, 1, BINS + 1)[1:-1]))
        found = np.digitize(values[known], edges)
    classes = np.full(len(values), -1)
    classes[known] = found
    return classes
