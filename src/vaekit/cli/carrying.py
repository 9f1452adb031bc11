"""What train and resume share: training to the end, and telling what came out."""

from collections.abc import Callable
from pathlib import Path

from .. import world
from ..data import Dataset
from ..errors import Stopped, VaekitError
from ..finish import finish, is_finished, spread
from ..fitting import fit
from ..run import Run
from ..together import fit_together
from .answer import Answer, metric_rows, nll_lines, spread_rows, table
from .progress import Bar, console, doing, residual_line, telling
from .stopping import code_of, reason


def carry_out(run: Run, dataset: Dataset, snapshot_seconds: float, report: bool, shard: bool) -> Answer:
    """Train to the end and tell what came out; of a run that is finished only that."""
    done = report and world.agree(is_finished(run, dataset))
    if not done:
        announce(run)
        with Bar() as bar:
            fit(run, dataset, bar, snapshot_seconds, shard)
    if not report or not world.here.first:
        return Answer({"run": str(run.path)}, str(run.path))
    page = run.report if done else measured(run, dataset)
    if done:
        console.print(f"{run.path} is finished already: trained, measured, and its report drawn. {AGAIN}", soft_wrap=True)
    from ..report.story import notes

    metrics = run.metrics
    told = "\n".join([table(metric_rows(metrics)), *nll_lines(metrics), residual_line(metrics), *notes(run)])
    return Answer({"run": str(run.path), "report": str(page), "metrics": metrics}, f"{told}\nrun     {run.path}\nreport  {page}")


def announce(run: Run) -> None:
    """Say what happens in the seconds before the first step."""
    training = run.description["training"]
    if "execution" not in run.description and training["tune"] and not training["deterministic"]:
        console.print("timing the ways to take a step ...")


AGAIN = "To measure or draw again: vaekit evaluate, vaekit plot."
TOGETHER = {"auto": None, "on": True, "off": False}


def carry_out_together(
    sets: dict[str, list[Run]], dataset: Dataset, snapshot_seconds: float, report: bool, together: bool | None
) -> Answer:
    """Train all to the end and tell what came out, and how much it depends on the seed; of each set apart."""
    runs = [run for its in sets.values() for run in its]
    done = report and world.agree(all(is_finished(run, dataset) for run in runs))
    if not done:
        announce(runs[0])
        with Bar() as bar:
            fit_together(runs, dataset, bar, snapshot_seconds, together=together)
    told = {"runs": [str(run.path) for run in runs]}
    if not report or not world.here.first:
        return Answer(told, "\n".join(told["runs"]))
    pages = [str(run.report if is_finished(run, dataset) else measured(run, dataset)) for run in runs]
    if done:
        console.print(f"All {len(runs)} runs are finished already, and their reports drawn. {AGAIN}", soft_wrap=True)
    found = {name: spread([run.metrics for run in its]) for name, its in sets.items()}
    rows = [table(spread_rows(found)), *(f"report  {page}" for page in pages)]
    if len(runs) > len(sets):
        rows.insert(1, f"{'medians ' * (len(sets) > 1)}over {len(runs) // len(sets)} seeds")
    return Answer(told | {"reports": pages, "metrics": found.get("", found)}, "\n".join(rows))


def measured(run: Run, dataset: Dataset) -> Path:
    """The report, of a run that is measured first; where that is stopped or fails, word that the training itself is safe."""
    safe = f"The training itself is done and saved. The same command measures and draws again, or: vaekit resume {run.path}"
    try:
        with doing(f"measuring and drawing the report of {run.path}"), world.alone():
            return finish(run, dataset, telling("density of the codes fitted:", "steps"))
    except KeyboardInterrupt as stop:
        raise Stopped(safe, code_of(stop)) from stop
    except OSError as error:
        raise VaekitError(f"{reason(error)}. {safe}") from error


def watched(runs: list[Path], cache: Path | None, wanted: bool) -> Callable[[], None] | None:
    """Open the studio of runs that are about to be trained where it is wanted; the result keeps it open."""
    if not wanted or not world.here.first:
        return None
    from .studio import open_beside  # a web server takes its time to import

    return open_beside(runs, cache.expanduser().absolute() if cache else None)
