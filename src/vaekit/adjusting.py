"""Other numbers in the parts of a recipe, by their places: --set objective.gamma=5."""

import json
from collections.abc import Sequence
from typing import Any

from .errors import UsageError
from .part import Part, build, describe, fields_of, kinds_of, known
from .recipes import Recipe


def adjusted(recipe: Recipe, changes: Sequence[str]) -> Recipe:
    """A recipe with other numbers: ["objective.weight=20", "model.prior.components=50", "training.half_life=1e5"].

    Raises UsageError on a place that there is not, and on a value that does not fit there.
    """
    described = {owner: describe(getattr(recipe, owner)) for owner in ("model", "objective", "training")}
    for change in changes:
        place, _, text = change.partition("=")
        *path, field = place.split(".")
        owner: Any = described
        for name in path:
            owner = owner.get(name) if isinstance(owner, dict) else None
        if not path or not isinstance(owner, dict) or field not in owner or field == "part":
            raise UsageError(f"{change!r} changes nothing that this recipe has. {known(place, places_of(described))}")
        kinds, _ = next(kinds_of(its) for its in fields_of(Part.kinds[owner["part"]]) if its.name == field)
        owner[field] = value_like(owner[field], text, change, decimal=float in kinds)
    made = recipe._replace(**{owner: build(its) for owner, its in described.items()})
    shapes = {f"{owner}.{n}": t.shape for owner in ("model", "objective") for n, t in getattr(made, owner).state_dict().items()}
    if any(shapes.get(name) != tensor.shape for name, tensor in recipe.weights.items()):
        raise UsageError(f"{' '.join(changes)}: the weights to begin with do not fit that. Leave out what changes trained parts.")
    return made


def places_of(described: dict[str, Any], within: str = "") -> dict[str, Any]:
    """Every plain value of a description, by its place."""
    found: dict[str, Any] = {}
    for name, value in described.items():
        if isinstance(value, dict):
            found |= places_of(value, f"{within}{name}.")
        elif name != "part":
            found[within + name] = value
    return found


def value_like(old: Any, text: str, change: str, decimal: bool) -> Any:
    """A text as a value of the old one's kind. decimal: where there is a whole number, any other may be."""
    try:
        value = json.loads(text) if not isinstance(old, str) else text
    except ValueError:
        value = text
    if isinstance(old, int) and isinstance(value, float) and value.is_integer() and not decimal:
        value = int(value)  # 1e5
    number = isinstance(old, int | float) and not isinstance(old, bool)
    fits = isinstance(value, int | float) if number else old is None or isinstance(value, type(old))
    if not fits or (isinstance(value, bool) and number) or (isinstance(old, int) and isinstance(value, float) and not decimal):
        raise UsageError(f"{change!r} does not fit: there is {old!r}. Give a value of that kind.")
    return value
