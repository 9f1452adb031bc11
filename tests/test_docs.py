"""What the documents say is so: commands parse, links lead somewhere, examples run."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from vaekit.cli import COMMANDS, app, on_cluster, on_data
from vaekit.stored import Stored

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [
    *(name for name, *_ in COMMANDS),
    *(
        f"{group} {name}"
        for group, its in (("data", on_data), ("launch", on_cluster))
        for name in its
        if not name.startswith("-")
    ),
]
FLAGS = {"--json", "--debug"}  # taken by `main`, before the command sees them


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)


def commands_of(page: Path) -> list[str]:
    """The lines of shell examples that call vaekit, without comments."""
    lines = "".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [line for line in (line.partition(" #")[0].strip() for line in lines) if line.startswith("vaekit ")]


@pytest.mark.parametrize("name", NAMES)
def test_every_command_is_shown_with_an_example(name):
    page = ROOT / "docs" / "commands.md"
    assert re.search(rf"^### .*`vaekit {name}\b", page.read_text(), re.M), f"docs/commands.md has no heading `vaekit {name}`"
    assert any(f"{command} ".startswith(f"vaekit {name} ") for command in commands_of(page))


@pytest.mark.parametrize(
    "command",
    sorted({command for page in PAGES for command in commands_of(page)}),
    ids=lambda command: command.removeprefix("vaekit "),
)
def test_every_example_is_a_command_that_parses(command):
    words = [word for word in shlex.split(command)[1:] if word not in FLAGS]
    app.parse_args(words, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    near = [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)]
    assert not [link for link in near if not (page.parent / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page):
    named = re.findall(r"`((?:src/vaekit|tests|docs|examples|benchmarks)/[\w./-]+)`", page.read_text())
    assert not [path for path in named if not (ROOT / path).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_examples_compile(page):
    for block in blocks(page, "python"):
        compile(block, str(page), "exec")


def test_the_five_lines_of_the_readme_are_the_example_and_run(tmp_path):
    example = ROOT / "examples" / "five_lines.py"
    (block,) = blocks(ROOT / "README.md", "python")
    assert block.strip() in example.read_text()
    command = [sys.executable, "-W", "error", str(example)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "digits" / "weights.safetensors").exists()


def test_parts_of_ones_own_are_trained_and_opened_again_as_shown(tmp_path):
    files = {}
    for block in blocks(ROOT / "docs" / "python.md", "python"):
        if named := re.match(r"# (\w+\.py)\n", block):
            files[named[1]] = block.replace("epochs=20", "epochs=1")
    assert list(files) == ["mine.py", "train.py", "later.py"]
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    for name in ("train.py", "later.py"):
        done = subprocess.run([sys.executable, "-W", "error", name], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert "torch.Size([16, 1, 8, 8])" in done.stdout
    assert Stored(tmp_path / "runs" / "sparse" / "weights.safetensors")["prior.log_scales"].std() > 0  # the prior has learned
    refused = subprocess.run(
        [sys.executable, "-m", "vaekit", "evaluate", "runs/sparse"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert "import MODULE" in refused.stderr
