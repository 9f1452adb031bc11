"""Other numbers in the parts of a recipe, by their places: --set objective.gamma=5."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from .errors import UsageError
from .part import Part, build, describe, fields_of, kinds_of, known
from .recipes import Recipe

EXCHANGED = "Another net: --net; other parts: --recipe; the likelihood: --likelihood."


def adjusted(recipe: Recipe, changes: Sequence[str]) -> Recipe:
    """A recipe with other numbers: ["objective.weight=20", "model.prior.components=50", "training.half_life=1e5"].

    Raises UsageError on a place that there is not, and on a value that does not fit there.
    """
    described = {owner: describe(getattr(recipe, owner)) for owner in ("model", "objective", "training")}
    for change in changes:
        place, given, text = change.partition("=")
        if not given:
            raise UsageError(f"{change!r} says no value. Write {change}=VALUE.")
        *path, field = place.split(".")
        owner: Any = described
        for name in path:
            owner = owner.get(name) if isinstance(owner, dict) else None
        if not path or not isinstance(owner, dict) or field not in owner:
            raise UsageError(f"{change!r} changes nothing that this recipe has. {meant(place, places_of(described))}")
        if field == "part":
            raise UsageError(f"{change!r} changes nothing: parts are not exchanged so. {EXCHANGED}")
        kinds, _ = next(kinds_of(its.type) for its in fields_of(Part.kinds[owner["part"]]) if its.name == field)
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


def meant(place: str, places: Iterable[str]) -> str:
    """The places of which this is the end, else what `known` says."""
    longer = [repr(each) for each in places if each.endswith(f".{place}")]
    return f"Did you mean {' or '.join(longer)}?" if longer else known(place, places)


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
        raise UsageError(f"{change!r} does not fit: {wanted_like(old, change.partition('=')[0], decimal)}")
    return value


def wanted_like(old: Any, place: str, decimal: bool) -> str:
    """What was expected instead of a value that is not of the old one's kind."""
    if isinstance(old, dict):
        numbers = ", ".join(f"{place}.{name}" for name in old if name != "part")
        return f"there is a part, {old['part']}{f', with numbers of its own: {numbers}' if numbers else ''}. {EXCHANGED}"
    kind = "a list" if isinstance(old, list) else "a text" if isinstance(old, str) else "a number"
    if isinstance(old, int) and not decimal:
        kind = "true or false" if isinstance(old, bool) else "a whole number"
    return f"expected {kind}. There is {json.dumps(old)} now; give another."
