"""Lines of code that each variant needs beside the mechanisms that all share: python benchmarks/lines.py

Counted are lines of its class that hold code: no blank lines, comments or docstrings, but signatures, fields and error messages.
A class that only others inherit from counts for each of them.
"""

import ast
import inspect
from pathlib import Path
from statistics import median

from machine import load, write_results

from vaekit.library import Part
from vaekit.objectives import Objective
from vaekit.posteriors import Posterior
from vaekit.priors import Prior


def lines_of(kind: type) -> int:
    """Of one class."""
    source = inspect.getsource(kind)
    tree = ast.parse(source)
    told = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    lines = enumerate(source.splitlines(), 1)
    return sum(1 for number, line in lines if number not in told and line.strip() and not line.strip().startswith("#"))


def counted(base: type[Part]) -> dict[str, int]:
    """Of every part of this kind that vaekit ships, its own parents below `base` included."""
    found = {}
    for name, kind in sorted(Part.kinds.items()):
        if issubclass(kind, base) and kind is not base and kind.__module__.startswith("vaekit.") and not kind.__subclasses__():
            found[name] = sum(lines_of(each) for each in kind.__mro__ if issubclass(each, base) and each is not base)
    return found


def main() -> None:
    figures = {}
    for base in (Objective, Posterior, Prior):
        found = counted(base)
        figures[f"{base.__name__}: median of {len(found)}"] = median(found.values())
        figures |= {f"{base.__name__} {name}": count for name, count in found.items()}
    print(write_results(Path(__file__).parent, "lines", "python benchmarks/lines.py", figures, load_before=load()))


if __name__ == "__main__":
    main()
