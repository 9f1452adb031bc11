"""Lines of code that each variant needs beside the mechanisms that all share: python benchmarks/lines.py

Counted are lines of its class that hold code: no blank lines, comments or docstrings, but signatures, fields and error messages.
A class that only others inherit from counts for each of them. Beside it stands what its module holds, imports left out: its
traces and functions too, and those of all other variants there.
"""

import ast
import inspect
import sys
from pathlib import Path
from statistics import median
from types import ModuleType

from machine import load, write_results

from vaekit.library import Part
from vaekit.objectives import Objective
from vaekit.posteriors import Posterior
from vaekit.priors import Prior


def lines_of(it: type | ModuleType) -> int:
    """Of one class, or of one module but its imports."""
    source = inspect.getsource(it)
    tree = ast.parse(source)
    told = {
        line
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str))
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
        for name, count in found.items():
            module = sys.modules[Part.kinds[name].__module__]
            figures[f"{base.__name__} {name}"] = f"{count}, of {lines_of(module)} in {module.__name__}"
    print(write_results(Path(__file__).parent, "lines", "python benchmarks/lines.py", figures, load_before=load()))


if __name__ == "__main__":
    main()
