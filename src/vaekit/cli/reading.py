"""Reading what the command line names: data, sizes, weights of attributes."""

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter, Token, validators

from ..data import Dataset, open_data
from ..data.sources import NAMES
from ..errors import UsageError
from ..run import Run
from .places import writable
from .progress import decoding


def whole(_kind: Any, tokens: Sequence[Token]) -> int:
    """64, or 2e5 for 200,000. Raises ValueError on a fraction, which the parser would round."""
    text = tokens[0].value
    try:
        return int(text)
    except ValueError:
        value = float(text)
        if not value.is_integer():
            raise
        return int(value)


def whole_or_auto(kind: Any, tokens: Sequence[Token]) -> int | str:
    return "auto" if tokens[0].value == "auto" else whole(kind, tokens)


Whole = Annotated[int, Parameter(converter=whole)]
OptionalWhole = Annotated[int | None, Parameter(converter=whole)]
Seed = Annotated[int, Parameter(converter=whole, validator=validators.Number(gte=0))]
OptionalSeed = Annotated[int | None, Parameter(converter=whole, validator=validators.Number(gte=0))]
Count = Annotated[int, Parameter(converter=whole, validator=validators.Number(gte=1))]
OptionalCount = Annotated[int | None, Parameter(converter=whole, validator=validators.Number(gte=1))]
BatchSize = Annotated[Literal["auto"] | int | None, Parameter(converter=whole_or_auto)]
Binarize = Literal["dynamic", "static", "threshold"]
Several = Parameter(consume_multiple=1, negative=())  # values after one option, one at least


def opened(source: str, **options: Any) -> Dataset:
    """The data set, with a progress bar while it is decoded; options that are None keep their defaults."""
    if source in NAMES and Path(source).exists() and not Run(source).exists:
        raise UsageError(
            f"{source!r} names a data set, and there is a {Path(source).absolute()} too. Write ./{source} for that one."
        )
    with decoding() as show:
        return open_data(source, **{name: value for name, value in options.items() if value is not None}, progress=show)


def reopened(path: Path, *, kept: bool = False) -> tuple[Run, Dataset]:
    """A run and the data it was trained on. `kept`: what is found about it will be written into it."""
    run = Run.open(path)
    if kept:
        writable(run.path, None, folder=True)
    with decoding() as show:
        return run, run.open_data(show)


def parse_size(text: str | None) -> int | tuple[int, int] | None:
    """64, or 48x64 for height x width."""
    if text is None:
        return None
    numbers = parse_numbers(text)
    if len(numbers) not in (1, 2):
        raise UsageError(f"--size {text!r} is no size. Give pixels such as 64, or height x width such as 48x64.")
    return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])


def parse_numbers(text: str) -> list[int]:
    """ "3x64x64" as [3, 64, 64]; empty where it is something else."""
    parts = text.lower().split("x")
    return [int(part) for part in parts] if all(part.isdigit() for part in parts) else []


def parse_weights(given: list[str], names: Collection[str]) -> dict[str, float]:
    """ "Smiling=2" as {"Smiling": 2.0}, "hair=brown" of the names as {"hair=brown": 1.0}; what is given twice adds up."""
    weights: dict[str, float] = {}
    for text in given:
        name, _, number = (text, "=", "1") if text in names or "=" not in text else text.rpartition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not math.isfinite(weight):
            raise UsageError(f"--add {text!r} has no number behind the =. Write --add Smiling=2.")
        weights[name] = weights.get(name, 0.0) + weight
    return weights
