"""A part is a torch module that is also a dataclass: its fields are its configuration.

    class Mixture(Prior):
        latent: Count
        components: Count = 10

        def __post_init__(self):
            self.means = nn.Parameter(torch.randn(self.components, self.latent))

`describe(part)` is plain data, as run.json stores it; `build(description)` gives the part back, untrained.
"""

import dataclasses
import difflib
import math
import numbers
import types
import typing
from collections.abc import Iterable, Mapping

from torch import nn

from .errors import UsageError

ALIKE = 0.8  # of the letters of two names, of which one may be the other misspelt


class Bounds(typing.NamedTuple):
    """Where a field's number lies, beside its type: `Annotated[float, Bounds(0, 1, below=True)]` is 0 or more and below 1."""

    least: float = -math.inf
    most: float = math.inf
    above: bool = False  # whether `least` itself is out of bounds,
    below: bool = False  # and `most`

    def hold(self, number: float) -> bool:
        least, most = self.least <= number, number <= self.most
        ends = (self.above and number == self.least) or (self.below and number == self.most)
        return least and most and not ends and math.isfinite(number)

    def __str__(self) -> str:
        if math.isfinite(self.most - self.least) and not (self.above or self.below):
            return f"from {self.least} to {self.most}"
        low = f"above {self.least}" if self.above else f"{self.least} or more"
        high = f"below {self.most}" if self.below else f"{self.most} or less"
        return " and ".join(words for words, end in ((low, self.least), (high, self.most)) if math.isfinite(end))


Finite = typing.Annotated[float, Bounds()]
Weight = typing.Annotated[float, Bounds(0)]
Positive = typing.Annotated[float, Bounds(0, above=True)]
Share = typing.Annotated[float, Bounds(0, 1)]
Natural = typing.Annotated[int, Bounds(0)]
Count = typing.Annotated[int, Bounds(1)]


@typing.dataclass_transform(eq_default=False, kw_only_default=True, field_specifiers=(dataclasses.field,))
class Part(nn.Module):
    """A module whose constructor, description and documentation are its dataclass fields; all are keyword-only.

    Raises UsageError on a number out of its field's `Bounds`.
    """

    kinds: typing.ClassVar[dict[str, type["Part"]]] = {}

    def __new__(cls, *args, **given):
        check_bounds(cls, given)
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

    @property
    def ends(self) -> tuple[float, ...]:
        """Of a part that may stand for a number, between which it lies."""
        return ()


def fields_of(part: Part | type[Part]) -> tuple[dataclasses.Field, ...]:
    return dataclasses.fields(part)  # pyright: ignore[reportArgumentType] - __init_subclass__ makes every part a dataclass


def kinds_of(annotation: typing.Any) -> tuple[tuple[typing.Any, ...], Bounds | None]:
    """The types of what a field or a parameter takes, and the bounds of a number in it."""
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    each = typing.get_args(annotation) if union else (annotation,)
    noted = [note for kind in each for note in getattr(kind, "__metadata__", ()) if isinstance(note, Bounds)]
    bare = (typing.get_args(kind)[0] if typing.get_origin(kind) is typing.Annotated else kind for kind in each)
    return tuple(bare), next(iter(noted), None)


def check_bounds(part: type[Part], given: Mapping[str, typing.Any]) -> None:
    """Raises UsageError where a number is out of its field's bounds, or a part in its place goes beyond them."""
    for field in fields_of(part):
        if field.name in given:
            check_number(f"{part.__name__} {field.name}", given[field.name], field.type)


def check_number(name: str, value: typing.Any, annotation: typing.Any) -> None:
    """Raises UsageError where it is out of the bounds of a number, if the annotation has such, or is none."""
    kinds, bounds = kinds_of(annotation)
    if bounds is None or (value is None and types.NoneType in kinds):
        return
    whole = int in kinds and float not in kinds
    for number in value.ends if isinstance(value, Part) else (value,):
        if isinstance(number, numbers.Real) and bounds.hold(float(number)) and not (whole and number % 1):
            continue
        wanted = ", ".join(words for words in ("a whole number" if whole else "a number", str(bounds)) if words)
        others = [f", or a {kind.__name__}" for kind in kinds if isinstance(kind, type) and issubclass(kind, Part)]
        raise UsageError(f"{name} is {number}; it must be {wanted}{''.join(others)}.")


def numbers_of(part: Part) -> dict[str, float]:
    """The fields that are numbers, of a part and of those in it, by their full names: {"beta": 4.0}, {"beta.end": 4.0}."""
    found = {}
    for place, its in part.named_modules():
        for field in fields_of(its) if isinstance(its, Part) else ():
            value = getattr(its, field.name)
            if float in kinds_of(field.type)[0] and isinstance(value, (int, float)):
                found[f"{place}.{field.name}".removeprefix(".")] = float(value)
    return found


def describe(value: typing.Any) -> typing.Any:
    """The plain data (dicts, lists, numbers, strings) from which `build` makes an equal, untrained part."""
    if isinstance(value, Part):
        return {"part": type(value).__name__} | {f.name: describe(getattr(value, f.name)) for f in fields_of(value)}
    if isinstance(value, (list, tuple)):
        return [describe(item) for item in value]
    return value


class UnknownPart(UsageError):
    """A part of a description that is defined neither in vaekit nor in what was imported so far."""

    def __init__(self, name: str):
        near = difflib.get_close_matches(name, Part.kinds, n=1, cutoff=ALIKE)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        super().__init__(
            f"No part is named {name!r}. {hint}One of your own is known once the module that defines it is imported."
        )


def build(description: typing.Any) -> typing.Any:
    """The part that `describe` described, with fresh parameters.

    Raises UsageError on a part or a field that does not exist, or on a field that is missing; no other code can be named.
    `UnknownPart` is raised of a part that somebody may have defined: it is known once its module was imported.
    """
    if isinstance(description, list):
        return tuple(build(item) for item in description)
    if not isinstance(description, dict):
        return description
    named = description.get("part")
    kind = Part.kinds.get(named) if isinstance(named, str) else None
    if kind is None and isinstance(named, str) and named.isidentifier():
        raise UnknownPart(named)
    if kind is None:
        raise UsageError(f"No part is named {named!r}: a name was expected, such as 'VAE'.")
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
