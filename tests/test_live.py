"""What is seen of a training while it goes on needs no more memory after days than after minutes."""

import sys
from collections import deque

import pytest
from rich.console import Console

from vaekit.cli import progress
from vaekit.doctor.live import Signs

KINDS = {"well": {}, "skipping": {"skipped": 0.1}, "collapsed": {"rate": 0.1}, "lost again": {"loss": 7.5}}


def log(steps: int, kind: str) -> list[dict]:
    """Two lines of training between validations; `kind`: what all of it, or its last tenth, is like."""
    worse, found = KINDS[kind], []
    for step in range(steps):
        late = step >= 0.9 * steps
        found += [{"split": "train", "step": step, "skipped": worse.get("skipped", 0.0), "distortion": 5.0} for _ in range(2)]
        loss = worse.get("loss", 1.0) if late else 10 - 8 * step / steps
        found.append({"split": "validation", "step": step, "loss": loss, "rate": worse.get("rate", 5.0) if late else 5.0})
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("comparable", [True, False])
def test_line_by_line_all_that_went_wrong_is_seen(kind, comparable):
    signs, *lines = Signs(), *log(30, kind)
    for record in lines[:-15]:
        signs.add(record)
    assert not [finding.name for finding in signs.of_trouble(0.5, comparable) if kind != "skipping"]
    for record in lines[-15:]:
        signs.add(record)
    names = [finding.name for finding in signs.of_trouble(0.5, comparable)]
    expected = {"well": [], "skipping": ["diverged"], "collapsed": ["collapsed"], "lost again": ["overfit"] * comparable}
    assert names == expected[kind]


def size_of(thing: object) -> int:
    """Bytes, roughly, of what an object holds of lines of a log."""
    if isinstance(thing, dict):
        return sys.getsizeof(thing) + sum(map(size_of, thing.values()))
    if isinstance(thing, list | tuple | set | deque):
        return sys.getsizeof(thing) + sum(map(size_of, thing))
    return size_of(vars(thing)) if isinstance(thing, Signs) else sys.getsizeof(thing)


def test_a_bar_keeps_nothing_of_the_lines_of_training(monkeypatch):
    monkeypatch.setattr(progress, "console", Console(stderr=True, quiet=True))
    bar, sizes = progress.Bar(), []
    line = {"split": "train", "images": 0, "skipped": 0.0, **{f"loss/{term}": 1.0 for term in "abcdef"}}
    for _ in range(2):
        for images in range(1000):
            bar.logged(line | {"images": images}, 0.5)
        kept = {name: its for name, its in vars(bar).items() if name not in ("progress", "task")}
        sizes.append(size_of(kept))
    assert sizes[1] - sizes[0] < 200
