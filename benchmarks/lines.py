"""Lines of code that each variant needs beside the mechanisms that all share: python benchmarks/lines.py

Counted are the lines of its class that hold code: no blank lines, comments or docstrings, but signatures, fields and error
messages; and those of whatever else stands in its module for it alone: traces, functions and constants that nothing else names. A
class that only others inherit from counts for each of them.
"""

import ast
import inspect
import re
from pathlib import Path
from statistics import median

from machine import load, write_results

import vaekit
from vaekit.library import Part
from vaekit.objectives import Objective
from vaekit.posteriors import Posterior
from vaekit.priors import Prior

Blocks = dict[str, str]  # of a module, by what they define: a class, a function, a constant
LISTS = ("__init__", "library")  # modules that name every part


def bare(source: str) -> str:
    """Without blank lines, comments and docstrings."""
    texts = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    lines = enumerate(source.splitlines(), 1)
    return "\n".join(line for n, line in lines if n not in texts and line.strip() and not line.strip().startswith("#"))


def blocks_of(source: str) -> Blocks:
    """What a module defines, imports left out."""
    found, lines = {}, source.splitlines()
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            name, first = node.name, min([node.lineno, *(its.lineno for its in node.decorator_list)])
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            name, first = ast.unparse(target), node.lineno
        else:
            continue
        found[name] = bare("\n".join(lines[first - 1 : node.end_lineno]))
    return found


MODULES = {path: blocks_of(path.read_text()) for path in Path(vaekit.__file__).parent.rglob("*.py") if path.stem not in LISTS}


def names(text: str, name: str) -> bool:
    return re.search(rf"\b{re.escape(name)}\b", text) is not None


def with_its_own(path: Path, classes: set[str]) -> set[str]:
    """Names of these blocks of a module, and of those that are there for them alone."""
    here, mine = MODULES[path], set(classes)
    elsewhere = "\n".join(text for other, blocks in MODULES.items() if other != path for text in blocks.values())
    while True:
        others = {name for name in here.keys() - mine if any(names(here[its], name) for its in mine)}
        rest = {name: "\n".join(text for its, text in here.items() if its not in mine | {name}) for name in others}
        alone = {name for name in others if not names(rest[name], name) and not names(elsewhere, name)}
        if not alone:
            return mine
        mine |= alone


def counted(base: type[Part]) -> dict[str, int]:
    """Of every part of this kind that vaekit ships, its own parents below `base` included."""
    found = {}
    for name, kind in sorted(Part.kinds.items()):
        if not issubclass(kind, base) or kind is base or not kind.__module__.startswith("vaekit.") or kind.__subclasses__():
            continue
        found[name] = 0
        family = [each for each in kind.__mro__ if issubclass(each, base) and each is not base]
        for path in {Path(inspect.getfile(each)) for each in family}:
            here = {each.__name__ for each in family if Path(inspect.getfile(each)) == path}
            found[name] += sum(len(MODULES[path][its].splitlines()) for its in with_its_own(path, here))
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
