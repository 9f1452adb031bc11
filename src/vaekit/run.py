"""The run folder: everything one training leaves behind. With `findings`, what writes it, but for figures and the report.

    run.json              description of data, model, objective and training; versions, commit, command, execution
    first.safetensors     the weights that training began with, where they were not random; a finished run does without
    log.jsonl             a line per logged step or validation
    weights.safetensors   the averaged weights with the best validation loss: all that evaluation and latent tools need
    weights-last.safetensors  the averaged weights at the end
    objective.safetensors, objective-last.safetensors  what the objective had learned by then, where it learns: its critics
    resume/state.safetensors  the whole training state, one atomic file: tensors, and the position as metadata
    resume/state-kept.safetensors  the one before it, while runs that train together save theirs one after another
    metrics.json          values with unit, count and split
    attributes.safetensors, attributes.json   attribute vectors
    priors/               densities fitted to the codes
    figures/, report.html, diverged/

Nothing is pickled; nothing in a run folder can run code.
"""

import contextlib
import fcntl
import itertools
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from .data import BINARIZED, Dataset, binarized, open_data
from .errors import DataError, UsageError, VaekitError
from .execution import find_device
from .files import keep, read_json, sweep, sync_folder, write_json
from .findings import Findings
from .library import build
from .model import Model
from .objectives import Objective
from .part import UnknownPart
from .stored import Stored, digest_of, follow, save_tensors

FORMAT = 1
FIRST = "first.safetensors"
P = TypeVar("P", bound=nn.Module)
PLANNED = ("data", "model", "objective", "training")  # what a description cannot do without
# What run.json may ask of open_data: it may be a stranger's.
OPENING = frozenset(("source", "size", "crop", "channels", "attributes", "group", "seed", "splits"))


class Run(Findings):
    """A folder with one training in it."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.report = self.path / "report.html"
        self.figures = self.path / "figures"

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """A run that exists. Raises UsageError where there is none."""
        run = cls(path)
        if not run.exists:
            hint = "Train one first: vaekit train DATA."
            for where, place in (("beside", run.path.parent), ("in", run.path)):
                if names := sorted(found.parent.name for found in place.glob("*/run.json")):
                    hint = f"Runs {where} it: {', '.join(names[:8])}{', ...' if len(names) > 8 else '.'}"
            raise UsageError(f"{run.path} is not a run folder: it has no run.json. {hint}")
        return run

    @property
    def exists(self) -> bool:
        return (self.path / "run.json").is_file()

    # What is being run

    def describe(self, description: dict[str, Any]) -> None:
        """Write run.json, making the folder."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / "run.json", {"format": FORMAT, **description})

    @property
    def description(self) -> dict[str, Any]:
        description = read_json(self.path / "run.json")
        if description.get("format") != FORMAT:
            given = description.get("format")
            raise DataError(
                f"{self.path} has run format {given}; this vaekit reads format {FORMAT}. Install the version that wrote it."
            )
        missing = [name for name in PLANNED if not isinstance(description.get(name), dict)]
        if missing:
            raise DataError(f"{self.path / 'run.json'} has no {', '.join(missing)}. Restore it from a copy, or train again.")
        return description

    def build(self, what: str) -> Any:
        """The model, objective or training of run.json.

        Raises DataError where it describes none, UsageError where it has a part that nobody imported.
        """
        description = self.description
        try:
            return build(description[what])
        except UnknownPart as error:
            raise UsageError(
                f"{self.path / 'run.json'} describes a {what} that vaekit does not know: {error} In Python: import MODULE, then "
                f"Run.open({str(self.path)!r}). More: docs/python.md, Parts of your own."
            ) from error
        except (AttributeError, RuntimeError, TypeError, ValueError) as error:
            told = f"{self.path / 'run.json'} describes no {what} ({type(error).__name__}: {error})"
            raise DataError(f"{told}. Restore it from a copy, or train again.") from error

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for writing; the system lets go of it when the process ends, however it ends.

        Raises VaekitError where another process holds it, or where the file system knows no locks.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / ".lock", "a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                owner = file.read().strip() or "unknown"
                raise VaekitError(
                    f"{self.path} is being written by process {owner}. Wait for it, or give another --out."
                ) from error
            except OSError as error:
                raise VaekitError(
                    f"{self.path} cannot be locked: {error.strerror or error}. Expected a file system with locks, so that no two "
                    "processes write into it. Give an --out on another one, or mount it with flock."
                ) from error
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            sweep(self.path)
            yield

    def open_data(self, progress: Callable[[int, int], None] | None = None) -> Dataset:
        """The images it was trained on, with their splits. Raises DataError where they are no longer the same."""
        about = self.description["data"]
        strange = about["open"].keys() - OPENING
        if strange:
            given = ", ".join(sorted(strange))
            raise DataError(f"{self.path / 'run.json'} opens its data with {given}; vaekit never writes that. Do not use it.")
        cache = self.description.get("cache")  # where its pictures were decoded to, if that is still there
        data = open_data(**about["open"], cache=cache if cache and Path(cache).is_dir() else None, progress=progress)
        if data.digest != about["digest"]:
            raise DataError(
                f"{self.path} was trained on data with digest {about['digest'][:12]}; {about['name']} now has "
                f"{data.digest[:12]}. Restore the pictures as they were, or train again."
            )
        return data

    @property
    def binarization(self) -> str | None:
        """The protocol by which grey pictures became black and white ones, a name of `BINARIZED`."""
        return self.description["training"].get("binarize")

    @property
    def pixels(self) -> str:
        """What the pixels were that it was trained and measured on."""
        return BINARIZED[self.binarization] if self.binarization else "as they are, in [0, 1]"

    def as_measured(self, data: Dataset) -> Dataset:
        """The data as its figures are about them: black and white where it was trained on that, always the same draw."""
        return binarized(data, self.binarization) if self.binarization else data

    # The log

    def append(self, record: dict[str, Any]) -> None:
        """Add a line to the log."""
        with open(self.path / "log.jsonl", "a") as file:
            file.write(json.dumps(record) + "\n")

    def sync_log(self) -> int:
        """Make the log durable; returns its size in bytes."""
        path = self.path / "log.jsonl"
        if not path.exists():
            return 0
        with open(path, "rb") as file:
            os.fsync(file.fileno())
        return path.stat().st_size

    def rewind_log(self, size: int) -> None:
        """Forget what was logged after a snapshot was taken, and a line that power loss cut off."""
        path = self.path / "log.jsonl"
        if path.exists():
            kept = path.read_bytes()[:size]
            os.truncate(path, kept.rfind(b"\n") + 1)

    @property
    def records(self) -> list[dict[str, Any]]:
        """The log, oldest first; a last line cut off by a crash is left out. Raises DataError on any other damage."""
        path = self.path / "log.jsonl"
        try:
            lines = path.read_text().splitlines(keepends=True) if path.exists() else []
            return [dict(json.loads(line)) for line in lines if line.endswith("\n")]
        except (TypeError, ValueError) as error:
            raise DataError(f"{path} is damaged: {error}. Take out the line that is no JSON object.") from error

    # The training state

    @property
    def snapshot(self) -> Path:
        return self.path / "resume" / "state.safetensors"

    @property
    def kept(self) -> Path:
        return self.path / "resume" / "state-kept.safetensors"

    def save_state(self, tensors: dict[str, Tensor], position: dict[str, Any]) -> None:
        """Replace the snapshot that training resumes from."""
        self.snapshot.parent.mkdir(exist_ok=True)
        save_tensors(self.snapshot, tensors, {"position": json.dumps(position)})

    def load_state(self) -> tuple[Mapping[str, Tensor], dict[str, Any]] | None:
        """The last snapshot, or None before the first. Raises DataError where there was one, and it is gone."""
        position = self.position()
        return None if position is None else (Stored(self.snapshot), position)

    def position(self, kept: bool = False) -> dict[str, Any] | None:
        """Where the last snapshot was taken, or the kept one; None where there is none."""
        path = self.kept if kept else self.snapshot
        if not path.exists():
            if not kept and self.records:
                raise DataError(f"{self.path} has a log, but {path} is gone. Restore it, or train again into another folder.")
            return None
        try:
            return json.loads(Stored(path).metadata["position"])
        except (KeyError, ValueError) as error:
            raise DataError(f"{path} does not say where training was. Restore it from a copy, or train again.") from error

    @property
    def reached(self) -> dict[str, Any]:
        """Among other things `step` and `images`, of the last snapshot or, where somebody removed it, of the log's last line."""
        position = self.position() if self.snapshot.exists() else None
        return position or [{"step": 0, "images": 0}, *self.records][-1]

    def keep_snapshot(self) -> None:
        """Keep the last snapshot beside the one that will replace it, until runs that are saved together all have theirs."""
        if self.snapshot.exists():
            keep(self.snapshot, self.kept)

    def forget_kept(self) -> None:
        self.kept.unlink(missing_ok=True)

    def return_to_kept(self) -> None:
        """Make the kept snapshot the last one again."""
        self.kept.replace(self.snapshot)
        sync_folder(self.snapshot.parent)

    # The model

    def save_first_weights(self, tensors: Mapping[str, Tensor]) -> None:
        """Write what training is to begin with, by the names of `State.tensors`; others begin as random ones."""
        self.path.mkdir(parents=True, exist_ok=True)
        save_tensors(self.path / FIRST, tensors, {})

    @property
    def has_first_weights(self) -> bool:
        return self.description.get("weights") is not None and (self.path / FIRST).exists()

    def begin(self, **parts: nn.Module) -> bool:
        """Give the model, or the objective, the weights that training begins with; whether there were any for them.

        Raises DataError where these are gone, or no longer the same.
        """
        expected, path = self.description.get("weights"), self.path / FIRST
        if expected is None:
            return False
        first = dict(Stored(path)) if path.exists() else {}
        owned = {
            owner: {n.removeprefix(f"{owner}."): t for n, t in first.items() if n.startswith(f"{owner}.")} for owner in parts
        }
        try:
            fit = digest_of(first) == expected and not any(
                part.load_state_dict(owned[owner], strict=False).unexpected_keys for owner, part in parts.items()
            )
        except RuntimeError:
            fit = False
        if not fit:
            raise DataError(f"{path} is not what this training began with. Restore it from a copy, or train into another folder.")
        return any(owned.values())

    def save_weights(self, model: Model, objective: Objective | None = None, *, last: bool = False, **notes: Any) -> None:
        """Write the averaged weights, the best so far or the last, and what the objective has learned."""
        if objective and (learned := objective.state_dict()):
            save_tensors(self.path / tagged("objective", last), learned, {})
        save_tensors(self.path / tagged("weights", last), model.state_dict(), {"notes": json.dumps(notes)})

    def load_model(self, device: str = "auto", last: bool = False) -> Model:
        """The trained model in eval mode, without gradients, on a GPU where there is one.

        Raises UsageError before the first validation has been saved, DataError on weights that belong to another description.
        """
        return self.loaded(self.build("model"), tagged("weights", last)).to(find_device(device))

    def load_objective(self, device: str = "auto", last: bool = False) -> Objective:
        """The objective with what it had learned when these weights were saved. Raises as `load_model`."""
        objective: Objective = self.build("objective")
        return (self.loaded(objective, tagged("objective", last)) if objective.state_dict() else objective).to(
            find_device(device)
        )

    def loaded(self, part: P, name: str) -> P:
        """A part with the weights of a file, in eval mode and without gradients."""
        path = self.path / name
        if not path.exists():
            raise UsageError(f"{self.path} has no {name} yet. Let it train to its first validation: vaekit resume {self.path}")
        try:
            part.load_state_dict(dict(Stored(path)))
        except RuntimeError as error:
            about = self.path / "run.json"
            raise DataError(
                f"{path} does not fit what {about} describes. Restore the weights that were trained with it."
            ) from error
        if not all(torch.isfinite(weight).all() for weight in part.state_dict().values()):
            raise DataError(f"{path} holds numbers that are not finite, which vaekit never writes. Restore it from a copy.")
        return part.eval().requires_grad_(False)

    def save_diverged(self, arrays: dict[str, Tensor], about: dict[str, Any]) -> Path:
        """Keep the batch that a non-finite step came from."""
        folder = self.path / "diverged"
        folder.mkdir(exist_ok=True)
        save_tensors(folder / f"step-{about['step']:07d}.safetensors", arrays, {})
        write_json(folder / f"step-{about['step']:07d}.json", about)
        return folder / f"step-{about['step']:07d}.json"


class Follower(Run):
    """A run folder as every process but the first of a world sees it: it reads, and leaves the writing to the first."""

    def describe(self, description: dict[str, Any]) -> None: ...

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        yield

    def append(self, record: dict[str, Any]) -> None: ...

    def sync_log(self) -> int:
        return 0

    def rewind_log(self, size: int) -> None: ...

    def save_state(self, tensors: dict[str, Tensor], position: dict[str, Any]) -> None:
        follow(tensors)

    def forget_kept(self) -> None: ...

    def save_weights(self, model: Model, objective: Objective | None = None, *, last: bool = False, **notes: Any) -> None:
        if objective and (learned := objective.state_dict()):
            follow(learned)
        follow(model.state_dict())

    def save_diverged(self, arrays: dict[str, Tensor], about: dict[str, Any]) -> Path:
        return self.path / "diverged"


def tagged(name: str, last: bool) -> str:
    """The file of weights, of the last ones or the best."""
    return f"{name}{'-last' * last}.safetensors"


def claim_paths(root: Path, names: Sequence[str]) -> list[Path]:
    """New folders `root/0007-name` for each name, from one above the highest number there; another process gets others."""
    taken = [int(m.group(1)) for p in root.glob("*") if (m := re.match(r"(\d{4,})-", p.name))] if root.is_dir() else []
    plain, claimed = [re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-") or "run" for name in names], []
    for number in itertools.count(max(taken, default=0) + 1):
        if len(claimed) == len(plain):
            break
        with contextlib.suppress(FileExistsError):  # another process was faster: the next number
            (path := root / f"{number:04d}-{plain[len(claimed)]}").mkdir(parents=True)
            claimed.append(path)
    return claimed
