"""The promises of the package as a whole: its names, what importing it costs, and how its files are kept."""

import ast
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import vaekit

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "vaekit"
MODULES = sorted(SOURCE.rglob("*.py"))
LONGEST = 400  # lines
NAMELESS = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}


def as_ruff_sorts(name: str) -> tuple[bool, bool, str]:
    return not name.isupper(), not name[:1].isupper(), name


def in_a_fresh_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_public_names_are_sorted_and_once():
    assert vaekit.__all__ == sorted(set(vaekit.__all__), key=as_ruff_sorts)


def test_public_names_are_the_same_for_editors_and_at_run_time():
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        (str(line.module), alias.name) for line in ast.walk(block) if isinstance(line, ast.ImportFrom) for alias in line.names
    }
    assert seen == {(home, name) for home, names in vaekit.HOMES.items() for name in names}
    assert {name for _, name in seen} | {"__version__"} == set(vaekit.__all__)


def test_no_module_hides_a_public_name():
    modules = {path.stem for path in SOURCE.glob("*.py")} | {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert not modules & set(vaekit.__all__), "importing vaekit.NAME would set the module over the function"


@pytest.mark.parametrize("name", vaekit.__all__)
def test_public_names_are_there_and_documented(name):
    value = getattr(vaekit, name)
    assert name in dir(vaekit)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__name__ == name
        assert value.__doc__, f"{name} has no docstring"
        assert not value.__doc__.startswith(f"{name}("), f"{name} has only the docstring that dataclass wrote"


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = vaekit.nothing  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import vaekit; dir(vaekit); vaekit.DataError", ("numpy", "torch", "sklearn", "matplotlib")),
        ("import vaekit.data", ("torch", "sklearn", "matplotlib")),
        ("import vaekit.cli", ("numpy", "torch", "sklearn", "matplotlib")),
        ("import vaekit.cli.training", ("sklearn", "scipy", "matplotlib", "fastapi")),
        ("from vaekit.cli import main\ntry: main(['--help'])\nexcept SystemExit as end: assert not end.code", ("numpy", "torch")),
    ],
)
def test_what_an_import_does_not_load(code, unwanted):
    told = in_a_fresh_process(f"import sys\n{code}\nprint('loaded:', *sys.modules)")
    loaded = told.rpartition("loaded:")[2].split()
    assert "vaekit" in loaded
    assert not {*unwanted} & {*loaded}


def test_files_stay_short():
    folders = [ROOT / name for name in ("src/vaekit", "tests", "examples", "benchmarks", "docs")]
    written = [path for folder in folders for kind in ("py", "js", "css", "html", "md") for path in folder.rglob(f"*.{kind}")]
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in [*written, *ROOT.glob("*.md")]}
    assert not {path: count for path, count in lines.items() if count > LONGEST}


def test_modules_say_what_they_hold():
    assert not [path for path in MODULES if path.stem in NAMELESS or path.parent.name in NAMELESS]
    silent = [str(path.relative_to(ROOT)) for path in MODULES if not ast.get_docstring(ast.parse(path.read_text()))]
    assert not silent, "a module says in a sentence what it is for"


def test_one_version_everywhere():
    stated = {
        "pyproject.toml": tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"],
        "CITATION.cff": re.search(r"^version: *(\S+)$", (ROOT / "CITATION.cff").read_text(), re.M),
        "CHANGELOG.md": re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.M),
    }
    versions = {name: found if isinstance(found, str) else found and found[1] for name, found in stated.items()}
    assert versions == dict.fromkeys(stated, vaekit.__version__)


def test_pins_are_names_and_versions_and_cover_what_is_asked_for():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", line) for line in lines)
    pinned = {re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower() for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    assert {re.split(r"[<>=!~\[ ]", one)[0].lower() for one in asked} <= pinned
