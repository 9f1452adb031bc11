"""The attribute vectors of a run: computed, compared by the edits that they make, kept with the run.

Shapes: A attributes, D latents.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch

from .data import Dataset
from .data.counterfactuals import counterfactuals, has_counterfactuals
from .errors import UsageError
from .latent import attribute_vectors, codes
from .latent.attributes import presence
from .latent.directions import METHODS, along, directions, partial_effect
from .metrics.edits import STEPS as GUIDED
from .metrics.edits import Judged, against_truth, guided, interaction, judged, ratio, seen
from .metrics.evaluate import stand_ins
from .metrics.quality import STEPS, attribute_judge_of
from .model import Model
from .nets.judge import Judge
from .part import known
from .run import Run

GUIDES = 3  # judges from which a vector is learnt
SCORED = 500  # pictures of a split, to choose by and to score with
PARTNERS = 3  # other edits that each is made together with
CONTROLS = ("random", "permuted")  # a random direction as long as the mean difference; the mean difference of shuffled pictures


def compute_attributes(run: Run, data: Dataset, seed: int = 0, method: str = "mean") -> dict[str, Any]:
    """Attribute vectors on mu of the training split by one of METHODS, saved with the run where there are any.

    What is known of each. Raises UsageError where the data have no attributes.
    """
    if data.attributes is None:
        raise UsageError(
            f"{data.name} has no attributes. Train with a table beside the pictures: vaekit train DATA --attributes FILE"
        )
    return keep(run, data, seed, method)


def keep(
    run: Run,
    data: Dataset,
    seed: int,
    method: str = "mean",
    *,
    instead: dict[str, tuple[str, np.ndarray]] | None = None,
    edits: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Save each attribute's vector by a method, or what is given instead; `edits` is what is known of what they do."""
    model, data = run.load_model(), run.as_measured(data)
    rows = stand_ins(model, data, "train", seed)
    names, has = split_by(data, rows)
    values = np.where(has[rows] < 0, np.nan, has[rows])
    vectors = attribute_vectors(codes(model, data.pixels, rows).mu, values, tuple(names), seed, method, instead=instead)
    about = {
        "how": "on mu of the training split; alpha 1 is the distance between the means with and without it along the vector, "
        "or what the attribute itself adds along it where that is more",
        "images": len(rows),
        "seed": seed,
        "attributes": {vector.name: vector.about() for vector in vectors},
    }
    for name, its in (edits or {}).items():
        about["attributes"][name]["edits"] = its
    if vectors:
        run.save_attributes({vector.name: torch.from_numpy(vector.vector) for vector in vectors}, about)
    return about


def attributes_of(data: Dataset) -> np.ndarray:
    return np.empty((len(data), 0), np.float32) if data.attributes is None else data.attributes


def split_by(data: Dataset, rows: np.ndarray | None = None) -> tuple[list[str], np.ndarray]:
    """The attributes that split some pictures, by default those of training, into groups of 4 or more, by name, and which picture
    has them.

    rows (n,): of these pictures. (N, A) int: 1 with it, 0 without, -1 where nobody knows.
    """
    rows = data.splits["train"] if rows is None else rows
    columns = [presence(column) for column in attributes_of(data).T]
    wide = [k for k, has in enumerate(columns) if all((has[rows] == group).sum() >= 4 for group in (0, 1))]
    return [data.attribute_names[k] for k in wide], np.stack([columns[k] for k in wide], 1) if wide else np.empty((len(data), 0))


@dataclass
class Bench:
    """Vectors by every method, and the pictures that their edits are measured on."""

    run: Run
    model: Model
    data: Dataset  # as the run is measured on them
    names: list[str]  # of attributes that have vectors
    wanted: Sequence[str]  # those that are asked for
    has: np.ndarray  # (N, A)
    rows: np.ndarray  # of training pictures that stand for all of them
    mu: np.ndarray  # of these
    seed: int
    judge: Judge | None = None  # where no truth is known
    how: str = "the true picture with the changed attribute (CRE, ES)"
    scale: np.ndarray = field(default_factory=lambda: np.ones(0))  # of the judge's logits
    guides: list[tuple[Judge, np.ndarray]] = field(default_factory=list)  # other judges, and the scales of their logits
    vectors: dict[str, np.ndarray] = field(default_factory=dict)  # by method, (A, D)

    def of(self, name: str) -> dict[str, np.ndarray]:
        """The vectors of one attribute, by method; with guides one that is learnt from them, on the training split."""
        place, has = self.names.index(name), self.has[self.rows]
        mine = {method: vectors[place] for method, vectors in self.vectors.items()}
        if self.guides:
            known_of, effect = has[:, place] >= 0, partial_effect(self.mu, has)[[place]]
            mu, has = self.mu[known_of], has[known_of]
            sign, some = 1.0 - 2.0 * has[:, place], np.random.default_rng(self.seed).permutation(len(mu))[:SCORED]
            guide, scale = self.guides[0]
            first = judged(self.model, guide, scale, mu[some], mine["ridge"], sign=sign[some], target=place)
            start = mine["ridge"] * (first.alpha if first else 1.0)  # as long as it is to be in the end
            learnt = guided(self.model, self.guides, mu, sign, start, target=place, seed=self.seed)
            mine["guided"] = along(learnt[None], mine["mean"][None], effect)[0]
        return mine

    def known_rows(self, split: str, name: str) -> np.ndarray:
        """Rows of a split of which it is known whether they have an attribute, at most SCORED of them."""
        rows = self.data.splits[split]
        rows = rows[self.has[rows, self.names.index(name)] >= 0]
        return np.sort(np.random.default_rng(self.seed).permutation(rows)[:SCORED])

    def scored_on(self, name: str) -> str:
        """The split that edits of an attribute are scored on: where no test picture tells of it, validation."""
        return "test" if len(self.known_rows("test", name)) else "validation"

    def change(self, split: str, name: str, vectors: dict[str, np.ndarray]) -> dict[str, dict[str, Any] | None]:
        """What edits by some vectors (D,) do to pictures of a split; None for one that never reaches what is asked, and for all
        where no picture tells of the attribute."""
        rows, place = self.known_rows(split, name), self.names.index(name)
        if not len(rows):
            return dict.fromkeys(vectors)
        if self.judge is None:
            drawn, moved = counterfactuals(self.data, rows, name)
            truth = self.run.as_measured(replace(self.data, pixels=drawn)).pixels
            pictures = self.data.take(rows)
            unit = step_of(values := attributes_of(self.data)[:, self.data.attribute_names.index(name)], presence(values))
            return {
                method: asdict(against_truth(self.model, vector, pictures, truth, moved / unit, seed=self.seed))
                for method, vector in vectors.items()
            }
        sign = 1.0 - 2.0 * self.has[rows, place]
        mu = codes(self.model, self.data.pixels, rows).mu
        found = {
            method: judged(self.model, self.judge, self.scale, mu, vector, sign=sign, target=place)
            for method, vector in vectors.items()
        }
        return {method: its and self.told(its, found.get("mean")) for method, its in found.items()}

    def interaction(self, steps: dict[str, np.ndarray], name: str, seed: int) -> float | None:
        """How far the edit of an attribute is from adding up with those of others, a few of them; None where there is no other.

        steps: alpha * vector (D,) of every attribute that can be edited.
        """
        others = [other for other in steps if other != name]
        if self.judge is None or not others:
            return None
        rows, target = self.known_rows(self.scored_on(name), name), self.names.index(name)
        mu = codes(self.model, self.data.pixels, rows).mu

        def edit(which: str) -> np.ndarray:
            return (1.0 - 2.0 * (self.has[rows, self.names.index(which)] == 1))[:, None] * steps[which]

        some = np.random.default_rng(seed).permutation(others)[:PARTNERS]
        pairs = [(edit(name), edit(other)) for other in some]
        found = [interaction(self.model, self.judge, self.scale, mu, pair, target=target) for pair in pairs]
        return float(np.mean(found))

    def told(self, its: Judged, book: Judged | None) -> dict[str, Any]:
        """As plain data, beside the edit by mean difference on the same pictures where that moves other attributes."""
        about = {key: value for key, value in asdict(its).items() if isinstance(value, float)}
        if book is not None and book is not its and book.dependency > 0:
            share, interval = ratio(its.dependencies, book.dependencies, self.seed)
            about |= {"beside_mean": share, "beside_mean_interval": interval}
        moved = dict(zip(self.names, its.by_attribute.tolist(), strict=True))
        return about | {"moves": dict(sorted(moved.items(), key=lambda pair: -abs(pair[1])))}


def step_of(values: np.ndarray, has: np.ndarray) -> float:
    """How much of an attribute lies between those without it and those with it: 1 of 0 and 1."""
    return float(values[has == 1].mean() - values[has == 0].mean())


def bench(run: Run, data: Dataset, wanted: Sequence[str], seed: int) -> Bench:
    """All vectors of a run, by every method that needs no judge.

    Raises UsageError where there is no attribute to edit, on one that has no vector, and for fewer than 2 validation pictures.
    """
    model, data = run.load_model(), run.as_measured(data)
    rows, held = stand_ins(model, data, "train", seed), data.splits["validation"]
    names, has = split_by(data, rows)
    if not names:
        raise UsageError(
            f"No attribute of {data.name} splits its training pictures into groups of 4 or more. Give a table: --attributes FILE"
        )
    if len(held) < 2:
        raise UsageError(
            f"The best edit is chosen on validation pictures, of which {data.name} has {len(held)}; it takes 2 or more. "
            "Add pictures, or give another --method."
        )
    for name in wanted:
        if name not in names:
            raise UsageError(f"No vector for {name!r}. {known(name, names)}")
    mu = codes(model, data.pixels, rows).mu
    found = Bench(run=run, model=model, data=data, names=names, wanted=wanted or names, has=has, rows=rows, mu=mu, seed=seed)
    found.vectors = {method: directions(mu, has[rows], method) for method in METHODS}
    return found


def teach(bench: Bench, steps: int, step: Callable[[int], None]) -> None:
    """Give it judges of attributes: one that scores, and GUIDES others from which vectors are learnt."""
    real = bench.data.take(bench.data.some("validation", 2000, bench.seed))
    judges = [
        attribute_judge_of(bench.data, bench.has, bench.seed + each, steps, lambda done, of, each=each: step(each * of + done))
        for each in range(1 + GUIDES)
    ]
    bench.how = judges[0][1]
    (bench.judge, bench.scale), *bench.guides = [(judge, seen(judge, real)[0].std(0)) for judge, _ in judges]


def choose_attributes(
    run: Run,
    data: Dataset,
    names: Sequence[str] = (),
    *,
    seed: int = 0,
    steps: int = STEPS,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """For each attribute the vector of the method whose edits are best on the validation split, saved; scored on the test split.

    Best is the highest ES where the true picture is known, else the lowest attribute dependency to a judge that was taught the
    attributes of the training split, and where there is no other attribute what changes pictures least. Raises UsageError on an
    attribute that has no vector. `progress` hears of the steps of all judges, and of as many as it takes to learn each vector.
    """
    found = bench(run, data, names, seed)
    of_judges = 0 if has_counterfactuals(data) else (1 + GUIDES) * steps

    def step(done: int) -> None:
        if progress:
            progress(done, of_judges + GUIDED * len(found.wanted))

    if of_judges:
        teach(found, steps, step)
    rng, edits, chosen = np.random.default_rng(seed), {}, {}
    for number, name in enumerate(found.wanted):
        step(of_judges + GUIDED * number)
        place, mine, split = found.names.index(name), found.of(name), found.scored_on(name)
        validation = found.change("validation", name, mine)
        worth = {
            method: (its["es"], 0.0) if "es" in its else (-its["dependency"], -its["identity"])
            for method, its in validation.items()
            if its
        }
        best = max(worth, key=worth.__getitem__, default="mean")
        shuffled = rng.permutation(found.has[found.rows][:, [place]])
        drawn = rng.standard_normal(found.mu.shape[1])
        controls = (drawn * np.linalg.norm(mine["mean"]) / np.linalg.norm(drawn), directions(found.mu, shuffled)[0])
        test = found.change(
            split, name, {method: mine[method] for method in ("mean", best)} | dict(zip(CONTROLS, controls, strict=True))
        )
        chosen[name] = best, mine[best]
        why = "" if split == "test" else f", where the method was chosen too: no test picture tells of {name}"
        edits[name] = {"best": best, "how": f"{found.how}, on {split}{why}", "validation": validation, "test": test}
    done = {name: edits[name]["test"][best] for name, (best, _) in chosen.items()}
    alone = {name: its["alpha"] * chosen[name][1] for name, its in done.items() if its and "alpha" in its}
    for name in alone:
        if (apart := found.interaction(alone, name, seed)) is not None:
            done[name]["interaction"] = apart
    return keep(run, data, seed, instead=chosen, edits=edits)
