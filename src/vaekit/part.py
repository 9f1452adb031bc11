"""A part is a torch module that is also a dataclass: its fields are its configuration.

    class Mixture(Prior):
        latent: int
        components: int = 10

        def __post_init__(self):
            self.means = nn.Parameter(torch.randn(self.components, self.latent))

`describe(part)` is plain data, as run.json stores it; `build(description)` gives the part back, untrained.
"""

import dataclasses
import difflib
import typing
from collections.abc import Iterable

from torch import nn

from .errors import UsageError


@typing.dataclass_transform(eq_default=False, kw_only_default=True, field_specifiers=(dataclasses.field,))
class Part(nn.Module):
    """A module whose constructor, description and documentation are its dataclass fields; all are keyword-only."""

    kinds: typing.ClassVar[dict[str, type["Part"]]] = {}

    def __new__(cls, *args, **kwargs):
        part = super().__new__(cls)
        nn.Module.__init__(part)  # before any field is set, so that fields which are parts register themselves
        return part

    def __init_subclass__(cls):
        dataclasses.dataclass(eq=False, repr=False, kw_only=True)(cls)
        for name in {field.name for field in fields_of(cls)} & vars(cls).keys():
            delattr(cls, name)  # a default left on the class would hide the module of the same name
        other = Part.kinds.get(cls.__name__, cls).__module__
        if other != cls.__module__:
            raise TypeError(f"Two parts are named {cls.__name__}: {other} and {cls.__module__}. Give one another name.")
        Part.kinds[cls.__name__] = cls  # the newest: a notebook's cell may run twice


def fields_of(part: Part | type[Part]) -> tuple[dataclasses.Field, ...]:
    return dataclasses.fields(part)  # pyright: ignore[reportArgumentType] - __init_subclass__ makes every part a dataclass


def numbers_of(part: Part) -> dict[str, float]:
    """The fields that are numbers, of a part and of those in it, by their full names: {"beta": 4.0}, {"beta.end": 4.0}."""
    found = {}
    for place, its in part.named_modules():
        for field in fields_of(its) if isinstance(its, Part) else ():
            value = getattr(its, field.name)
            if float in (field.type, *typing.get_args(field.type)) and isinstance(value, (int, float)):
                found[f"{place}.{field.name}".removeprefix(".")] = float(value)
    return found


def describe(value: typing.Any) -> typing.Any:
    """The plain data (dicts, lists, numbers, strings) from which `build` makes an equal, untrained part."""
    if isinstance(value, Part):
        return {"part": type(value).__name__} | {f.name: describe(getattr(value, f.name)) for f in fields_of(value)}
    if isinstance(value, (list, tuple)):
        return [describe(item) for item in value]
    return value


def build(description: typing.Any) -> typing.Any:
    """The part that `describe` described, with fresh parameters.

    Raises UsageError on a part or a field that does not exist, or on a field that is missing; no other code can be named.
    """
    if isinstance(description, list):
        return tuple(build(item) for item in description)
    if not isinstance(description, dict):
        return description
    named = description.get("part")
    kind = Part.kinds.get(named) if isinstance(named, str) else None
    if kind is None:
        raise UsageError(f"No part is named {named!r}. {known(named, Part.kinds)}")
    given = {name: value for name, value in description.items() if name != "part"}
    fields = {field.name: field for field in fields_of(kind)}
    for name in given.keys() - fields.keys():
        raise UsageError(f"{kind.__name__} has no field {name!r}. {known(name, fields)}")
    missing = [name for name, field in fields.items() if field.default is dataclasses.MISSING and name not in given]
    if missing:
        raise UsageError(f"{kind.__name__} was described without {', '.join(missing)}. Add it to the description.")
    return kind(**{name: build(value) for name, value in given.items()})


def known(given: object, names: Iterable[str]) -> str:
    """The closing words of an error about a misspelt name."""
    names = sorted(names)
    near = difflib.get_close_matches(str(given), names, n=1)
    return f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(names)}."
