"""The command line: every command is a call to the library, imported when it is used, so that `vaekit --help` needs no torch."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches

from cyclopts import App, CycloptsError
from rich.console import Console

from .. import __version__
from ..errors import Stopped, UsageError, VaekitError
from .answer import Answer
from .stopping import code_of, reason, stoppable

RANK = int(os.environ.get("RANK", "0"))  # of the processes that torchrun started
SHARED = ("train", "resume", "evaluate", "encode")  # commands whose work several processes share

app = App(
    name="vaekit",
    help="Train a variational autoencoder on your pictures; see, walk and edit its latent space.",
    version=__version__,
    suppress_keyboard_interrupt=False,
    help_epilogue="--json prints results as JSON; --debug shows tracebacks. Exit codes: 0 ok, 1 error, 2 usage, 3 data, "
    "4 diverged, 5 check failed, 75 stopped by SIGTERM, 130 interrupted.",
)
COMMANDS = (
    ("demo", "demo:demo", "The whole story on embedded data, in some five minutes; ends with a report."),
    (
        "train",
        "training:train",
        "Train on a folder of pictures, tars, an idx or npz file, or a name; the same command goes on.",
    ),
    ("resume", "training:resume", "Go on with a stopped run, from its last snapshot."),
    ("evaluate", "evaluate:evaluate", "Measure a run on its test split."),
    ("doctor", "doctor:doctor", "What ails a run, why, and what mends it."),
    ("sweep", "sweep:sweep", "Train several latent sizes and betas, draw the rate-distortion front, propose one."),
    ("compare", "compare:compare", "Runs side by side, and which differences exceed the noise."),
    ("plot", "look:plot", "Draw every figure of a run, and its report."),
    ("sample", "look:sample", "New pictures."),
    ("judge", "look:judge", "Teach a net the labels of pictures, for recipes that ask it how far a reconstruction is off."),
    ("fit-prior", "look:fit_prior", "Fit densities to the codes of a run, to draw new pictures from where the codes are."),
    ("reconstruct", "look:reconstruct", "Your pictures through the model and back."),
    ("encode", "look:encode", "The codes of pictures, as npz or csv."),
    ("classify", "classify:classify", "The likeliest label of pictures, by a run that learned from few."),
    ("attributes", "edit:attributes", "Compute a vector for every attribute."),
    ("edit", "edit:edit", "Change attributes of a picture: z + alpha * vector."),
    ("morph", "edit:morph", "From one picture to another."),
    ("studio", "studio:studio", "See, walk and edit the latent spaces of runs in the browser."),
    ("export", "export:export", "One page that opens anywhere, or ONNX files that run without torch."),
    ("recipes", "recipes:recipes", "The recipes, and what one of them resolves to."),
)
for place, (name, target, about) in enumerate(COMMANDS):
    app.command(f"vaekit.cli.{target}", name=name, help=about, sort_key=place)

on_data = App(name="data", help="Look at data before training on them.", sort_key=len(COMMANDS))
on_data.command("vaekit.cli.data:check", name="check", help="Open data as training would, and report what was left out and why.")
app.command(on_data)

on_cluster = App(name="launch", help="Scripts that run a command on a cluster.", sort_key=len(COMMANDS) + 1)
on_cluster.command(
    "vaekit.cli.launch:slurm", name="slurm", help="An sbatch file: it saves in time, is queued again, and goes on."
)
app.command(on_cluster)


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit with its code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_json, debug = (take(given, flag) for flag in ("--json", "--debug"))
    errors = Console(stderr=True, highlight=False, markup=False)
    try:
        check_command(given)
        if given[:1] == ["studio"]:  # before torch is there, which reads it: threads that wait leave their cores to the requests
            os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        with stoppable(), together(given):
            answer = app(given, exit_on_error=False, print_error=False, error_console=errors, result_action="return_value")
            if isinstance(answer, Answer) and RANK == 0:
                answer.show(as_json)
        code = answer.code if isinstance(answer, Answer) else 0
        if isinstance(answer, Answer) and answer.after:
            answer.after()
    except CycloptsError as error:
        from .mistakes import in_words

        code = tell(errors, "error", in_words(error), 2)
    except VaekitError as error:
        code = tell(errors, "" if isinstance(error, Stopped) else "error", str(error), error.code)
    except KeyboardInterrupt as stop:
        code = tell(errors, "", "Stopped. What was saved stays; run the same command again.", code_of(stop))
    except BrokenPipeError:  # `vaekit ... | head`: the reader has what it wanted
        code = 0
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the flush at exit raises once more
    except OSError as error:
        code = tell(errors, "error", f"{reason(error)}. What was saved stays; mend it and run the same command again.", 1)
    except Exception as error:
        if debug:
            raise
        code = tell(errors, *unforeseen(error), 1)
    sys.exit(code)


@contextmanager
def together(given: list[str]) -> Iterator[None]:
    """With the other processes of torchrun for a command that they share; any other command is the first one's alone."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        yield
    elif given and given[0] in SHARED:
        from ..world import join

        with join():
            yield
    elif RANK == 0:
        yield
    else:
        sys.exit(0)


def check_command(given: list[str]) -> None:
    """Raises UsageError on a command that is none; cyclopts would import all of them, and torch, to say so."""
    names = [*(name for name, _, _ in COMMANDS), "data", "launch"]
    if given and given[0] not in (*names, "--help", "-h", "--version"):
        near = get_close_matches(given[0], names, 1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(names)}."
        raise UsageError(f"No command is named {given[0]!r}. {hint} See vaekit --help.")


def tell(console: Console, kind: str, message: str, code: int) -> int:
    if RANK:
        console.print(f"process {RANK}: ", end="")
    if kind:
        console.print(f"{kind}: ", style="bold red", end="")
    console.print(message, soft_wrap=True)
    return code


def unforeseen(error: Exception) -> tuple[str, str]:
    """What kind of error it is that nobody has told in other words, and what to say of it."""
    where = short_of_memory(error)
    if not where:
        return "unexpected error", f"{type(error).__name__}: {error}. A defect of vaekit; --debug shows where."
    asked = re.search(r"allocate (\d[\d.,]* \w+)", str(error))
    more = f": {asked[1]} more were asked for" if asked else ""
    return "error", (
        f"There is too little memory {where}{more}. Train with a smaller --batch-size, smaller pictures or nets, or under "
        "torchrun with --shard. What was saved stays; --debug shows where it happened."
    )


def short_of_memory(error: Exception) -> str:
    """Where memory ran out; "" where something else went wrong. Whoever has not loaded torch has none of its errors."""
    torch, told = sys.modules.get("torch"), str(error)
    if torch and (isinstance(error, torch.OutOfMemoryError) or "MPS backend out of memory" in told):
        return "on the GPU"
    by_torch = isinstance(error, RuntimeError) and any(words in told for words in ("DefaultCPUAllocator", "not enough memory"))
    return "on this machine" if by_torch or isinstance(error, MemoryError) else ""


def take(arguments: list[str], flag: str) -> bool:
    """Whether a flag that every command has is there; takes it out. What follows -- is another command's."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    found = flag in arguments[:end]
    arguments[:] = [argument for argument in arguments[:end] if argument != flag] + arguments[end:]
    return found
