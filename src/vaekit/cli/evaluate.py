"""evaluate."""

from pathlib import Path
from typing import Annotated, Any, Literal

from .. import world
from ..data import Dataset
from ..errors import UsageError
from ..execution import Execution, available_threads, find_device
from ..finish import Eye, density_of, measure, own_judges, places_of, spread
from ..metrics.quality import print_of
from ..nets.judge import FeatureNet, judge_from
from ..run import Run
from .answer import Answer, metric_rows, nll_lines, spread_rows, table
from .compare import check_same, kind_of, rows_apart, unlike
from .places import writable
from .progress import console, counting, doing
from .reading import OptionalCount, Seed, Several, reopened
from .stopping import reason


def evaluate(
    run: Path,
    /,
    *others: Path,
    split: Literal["train", "validation", "test"] = "test",
    samples: OptionalCount = None,
    factors: Annotated[list[str] | None, Several] = None,
    pictures: OptionalCount = None,
    prior: str | None = None,
    judge: Path | None = None,
    anneal: OptionalCount = None,
    precision: Literal["fp32", "bf16"] = "fp32",
    compile: bool = False,
    seed: Seed = 0,
) -> Answer:
    """Measure the bound, the errors and the latents; writes metrics.json. With --samples, the tighter bound on log p(x) as well.

    Parameters
    ----------
    run
        The run folder.
    others
        More runs on the same pictures, such as seeds: each is measured, then come median and quartiles over all of them.
    split
        train, validation or test; what is learnt from training pictures is not scored on them.
    samples
        Draws of z for each image, in the importance-sampled bound; the literature's number is 5000.
    factors
        Two or more factors of variation: attributes, label beside them, or `all` attributes. Adds the scores of disentanglement.
    pictures
        How many new pictures to compare with real ones; they are compared in the features of judges.
    prior
        Where these are drawn from: own, the model's prior (default); fitted, the best density of `vaekit fit-prior`; or the name
        of one of these densities.
    judge
        The file of one, see `vaekit judge`, or any feature net as .onnx. Default: a net that is taught the labels now, else
        the attributes, and one with random weights.
    anneal
        Steps of annealed importance sampling over 100 pictures: a bound that needs no good encoder; and how far it is off on
        pictures that the model drew itself. 500 are many.
    precision
        Of the decoder in the bound by --samples; bf16 is compared with fp32 first.
    compile
        Compile the decoder for it: half a minute that pays from some minutes on.
    seed
        Of the draws of z.
    """
    if not pictures and (prior or judge):
        idle = f"--prior {prior}" if prior else f"--judge {judge}"
        raise UsageError(f"{idle} is about new pictures, and none were asked for. Add --pictures 2000.")
    if not (samples or anneal) and (compile or precision != "fp32"):
        raise UsageError("--precision and --compile are about the bound on log p(x). Add --samples 5000.")
    execution = Execution(find_device("auto"), precision, compile="on" if compile else "off", threads=available_threads())
    execution.apply()
    first, data = reopened(run, kept=True)
    runs = [first, *map(Run.open, others)]
    for other in runs[1:]:
        check_same(first, other)  # so that they have data and judge in common
        writable(other.path, None, folder=True)
    if not len(data.splits[split]):
        have = ", ".join(f"{name} {len(rows):,}" for name, rows in data.splits.items())
        raise UsageError(f"{data.name} has no {split} pictures ({have}). Give another split: --split validation")
    if pictures:
        places_of(data, split, pictures)  # what is refused is refused before a judge is taught
    scored = factors_named(data, factors) if factors else ()
    eyes = [named_judge(judge, judge_from(judge, data.image))] if judge else []
    for each in runs if pictures else ():
        density_of(each, each.load_model("cpu"), prior or "own")
    if pictures and not eyes:
        with counting("judge of pictures taught", "steps") as show:
            eyes = own_judges(first.as_measured(data), seed, progress=show)
    drawn = {"pictures": pictures or 0, "prior": prior or "own", "judges": eyes}
    asked = {"samples": samples, "factors": scored, **drawn, "anneal": anneal or 0, "execution": execution}
    answers = {str(each): measured(its, data, split, seed, **asked) for each, its in zip((run, *others), runs, strict=True)}
    if not others:
        return answers[str(run)]
    metrics = {name: answer.data for name, answer in answers.items()}
    strange = unlike(list(metrics), [kind_of(each.load_model("cpu")) for each in runs], runs)
    found = spread(list(metrics.values()))
    apart = [key for key in found if key in strange]
    found = {key: its for key, its in found.items() if key not in strange}
    told = f"{table(spread_rows({'': found}))}\nover {len(runs)} runs"
    told += f"\n\n{table(rows_apart(apart, metrics, strange))}" if apart else ""
    return Answer({"runs": metrics, "metrics": found, "not_compared": apart}, told)


def factors_named(data: Dataset, names: list[str]) -> tuple[str, ...]:
    """The factors of variation that these names mean. Raises UsageError where the data do not have two of them."""
    from ..metrics.disentanglement import factors_of  # with half of scikit-learn, which takes seconds

    factors = data.attribute_names if names == ["all"] else tuple(names)
    if not factors:
        raise UsageError(f"{data.name} has no attributes to be factors. Give a table when it is trained: --attributes FILE")
    factors_of(data, factors)
    return factors


def measured(found: Run, data: Dataset, split: str, seed: int, **asked: Any) -> Answer:
    """One run, on a split; what is measured of the test split is kept."""
    status = found.description.get("status")
    if status != "finished":
        console.print(f"{found.path} is not finished (status: {status}): these are its best weights so far.", soft_wrap=True)
    with counting("bounded") if asked["samples"] or asked["anneal"] else doing("measuring") as show:
        metrics = measure(found, data, split, seed, **asked, progress=show)
    answer = Answer(metrics, "\n".join([table(metric_rows(metrics)), *nll_lines(metrics)]))
    if split == "test" and world.here.first:
        try:
            found.add_metrics(metrics)
        except OSError as error:
            console.print(f"Measured, but not kept: {reason(error)}", soft_wrap=True)
    return answer


def named_judge(file: Path, eye: FeatureNet) -> Eye:
    """A judge with its name in figures, which says how large the pictures are that it looks at, and what it is."""
    height, width = eye.size
    size = f"{height}" if height == width else f"{height}x{width}"
    told = f"{file.name} (sha256 {print_of(eye)}...), which looks at {width} x {height} pixels"
    return f"{file.stem}-{size}", eye, told + (", bilinear with antialiasing" if (height, width) != tuple(eye.image[1:]) else "")
