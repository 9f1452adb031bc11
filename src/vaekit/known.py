"""What a data set knows of its images, as a conditional model is told it.

Shapes: N images, Y columns of c, see `conditional.py`.
"""

import math
from collections.abc import Sequence

import numpy as np

from .conditional import Condition
from .data import Dataset
from .errors import DataError, UsageError
from .model import Model
from .objectives import Objective
from .part import known
from .trace import At

STAND_IN = Condition(labels=("?", "??"))  # for a look at a recipe before the data are there


def condition_of(data: Dataset, names: Sequence[str] = (), shown: int | None = None) -> Condition:
    """What a model of these data is to be told: `names` are "label", "attributes", or single attributes.

    Without names it is the label, or where there are none all attributes. `shown`: of how many training images. Raises
    UsageError where the data do not have them, or where fewer images are shown than there are labels.
    """
    if not names and data.labels is None and not data.attribute_names:
        raise UsageError(
            f"{data.name} has neither labels nor attributes to condition on. For labels put each kind of picture into a "
            "subfolder of its own; for attributes give a table: --attributes FILE"
        )
    names = names or (["label"] if data.labels is not None else ["attributes"])
    single = [name for name in names if name not in ("label", "attributes")]
    for name in single:
        if name not in data.attribute_names:
            raise UsageError(f"{data.name} has no attribute {name!r}. {known(name, ('label', *data.attribute_names))}")
    if "label" in names and data.labels is None:
        raise UsageError(f"{data.name} has no labels to condition on. Put each kind of picture into a subfolder of its own.")
    if "attributes" in names and not data.attribute_names:
        raise UsageError(f"{data.name} has no attributes to condition on. Give a table: --attributes FILE")
    if "label" in names and shown is not None:
        check_shown(data, shown)
    attributes = data.attribute_names if "attributes" in names else tuple(single)
    centre, spread = [], []
    for values in (column(data, name)[data.splits["train"]] for name in attributes):
        told = values[~np.isnan(values)]
        centre.append(float(told.mean()) if len(told) else 0.0)
        spread.append(float(told.std()) if len(told) and told.std() else 1.0)
    labels = data.label_names if "label" in names else ()
    told = {"labels": tuple(labels), "attributes": tuple(attributes), "centre": tuple(centre), "spread": tuple(spread)}
    return Condition(**told, shown=shown)


def check_shown(data: Dataset, shown: int) -> None:
    """Raises UsageError where of some label no training image would be shown."""
    labels = labels_of(data)[data.splits["train"]]
    kinds = len(np.unique(labels[labels >= 0]))
    if shown < kinds:
        raise UsageError(
            f"{data.name} has {kinds} labels, of which shown={shown} would leave some without a single image. "
            f"Show {kinds} or more: as many of each label."
        )


def known_of(data: Dataset, model: Model) -> np.ndarray:
    """c (N, Y) of every image, nan where it is not known; (N, 0) for a model that is told nothing.

    Raises DataError where the data lack what the model was told.
    """
    condition = getattr(model, "condition", None)
    if condition is None:
        return np.empty((len(data), 0), np.float32)
    lacking = [f"the attribute {name!r}" for name in condition.attributes if name not in data.attribute_names]
    if condition.labels and (data.labels is None or not set(condition.labels) & set(data.label_names)):
        lacking.append(f"the labels {', '.join(condition.labels[:5])}")
    if lacking:
        raise DataError(
            f"This model is told what {data.name} does not know: {', '.join(lacking)}. Open the data as for its training."
        )
    columns = [labelled(data, name) for name in condition.labels] + [column(data, name) for name in condition.attributes]
    known = np.stack(columns, 1).astype(np.float32)
    if condition.labels:  # a label that the model never heard of tells it nothing
        known[~(known[:, : len(condition.labels)] == 1).any(1), : len(condition.labels)] = np.nan
    if condition.shown is not None:
        train = data.splits["train"]
        known[np.setdiff1d(train, shown_of(data, condition))] = np.nan
    return known


def told_of(known: np.ndarray) -> np.ndarray:
    """Of which images anything is known, (N,), by what is known of each (N, Y)."""
    return np.asarray(~np.isnan(known).all(1))


def end_of(data: Dataset, model: Model) -> At:
    """The end of a training of this model on these data."""
    train = data.splits["train"]
    return At(math.inf, len(train), int(told_of(known_of(data, model)[train]).sum()))


def revisited(rows: np.ndarray, known: np.ndarray, objective: Objective) -> np.ndarray:
    """The rows of an epoch, sorted: those of which anything is known as often as the objective asks."""
    which = rows[told_of(known[rows])]
    return np.sort(np.concatenate([rows, np.repeat(which, objective.visits(len(rows), len(which)) - 1)]))


def shown_of(data: Dataset, condition: Condition) -> np.ndarray:
    """The training images whose knowledge is shown, a random choice that is always the same; evenly many of each label."""
    rows = np.random.default_rng(0).permutation(data.splits["train"])
    if condition.labels and data.labels is not None:
        labels = data.labels[rows]
        turn = np.empty(len(rows), int)  # which one of its label each is
        for label in np.unique(labels):
            turn[labels == label] = np.arange((labels == label).sum())
        rows = rows[np.argsort(np.where(labels < 0, len(rows), turn), kind="stable")]
    return rows[: condition.shown]


def labels_of(data: Dataset) -> np.ndarray:
    """(N,): the label of each image, -1 for those without any."""
    return np.full(len(data), -1) if data.labels is None else data.labels


def labelled(data: Dataset, name: str) -> np.ndarray:
    """(N,): 1 for the images with this label, 0 for others, nan for those without any."""
    labels = labels_of(data)
    place = data.label_names.index(name) if name in data.label_names else -2
    return np.where(labels < 0, np.nan, labels == place)


def values_of(data: Dataset, name: str) -> np.ndarray:
    """(N,) float: an attribute's values, or for "label" the labels' numbers; nan where it is not known.

    Raises UsageError where the data do not have it.
    """
    have = (*(["label"] if data.labels is not None else []), *data.attribute_names)
    if name not in have:
        raise UsageError(f"{data.name} does not know {name!r} of its pictures. {known(name, have)}")
    if name in data.attribute_names:
        return column(data, name).astype(float)
    labels = np.asarray(data.labels, float)
    return np.where(labels < 0, np.nan, labels)


def column(data: Dataset, name: str) -> np.ndarray:
    """(N,): an attribute's values."""
    values = data.attributes
    return np.full(len(data), np.nan) if values is None else values[:, data.attribute_names.index(name)]
