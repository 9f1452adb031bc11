"""recipes."""

import json
from typing import Any

from ..catalogue import catalogue, reached, reached_by
from ..errors import UsageError
from ..known import STAND_IN
from ..nets.judge import Judge
from ..part import describe
from ..recipes import cook
from ..variants import VARIANTS
from .answer import Answer
from .reading import parse_numbers


def recipes(name: str | None = None, /, *, image: str = "3x64x64") -> Answer:
    """List the recipes, or show what one of them resolves to for an image shape.

    Parameters
    ----------
    name
        A recipe; a paper's variant is one too.
    image
        Channels x height x width.
    """
    if name is None:
        listed = catalogue()
        told = {known: {**its._asdict(), "reached": reached_by(known)} for known, its in listed.items()}
        budgets = {name: about["how"] for name, about in reached().items()}
        lines = [line for known, its in told.items() for line in in_words(known, its)]
        return Answer({"recipes": told, "budgets": budgets}, "\n".join([*lines, *map(": ".join, budgets.items())]))
    numbers = parse_numbers(image)
    if len(numbers) != 3:
        raise UsageError(f"--image {image!r} is no image shape. Give channels x height x width, such as 3x64x64.")
    shape, variant = (numbers[0], numbers[1], numbers[2]), VARIANTS.get(name)
    told = {"condition": STAND_IN} if variant and variant.told else {}
    asked = {"features": Judge(image=shape)} if variant and variant.asks else {}
    cooked = cook(name, shape, told | asked)
    described = {"model": describe(cooked.model), "objective": describe(cooked.objective), "training": describe(cooked.training)}
    return Answer(described, json.dumps(described, indent=1))


def in_words(name: str, its: dict[str, Any]) -> list[str]:
    """Of one recipe what it is for, whose it is, what it costs, and what it reached."""
    costs = "" if its["cost"] == "none" else f"; a step costs {its['cost']}"
    reached = [f"{data}: {words}" for data, words in its["reached"].items()]
    return [f"{name:<24}{its['purpose']}", *(f"{'':<24}{line}" for line in (f"{its['paper']}{costs}", *reached))]
