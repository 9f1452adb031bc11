"""launch slurm: a batch script that saves before its time is up, is queued again and goes on."""

import re
import shlex
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..errors import UsageError
from . import SHARED
from .answer import Answer
from .places import writable
from .reading import OptionalWhole, Whole

TIME = re.compile(r"(\d+-)?\d+(:[0-5]?\d){1,2}|\d+(-\d+)?")  # minutes, 30:00, 24:00:00, 2-12, 2-12:00:00
NAME = re.compile(r"[\w.,-]+")
MOST_GRACE = 65_535

SCRIPT = """\
#!/bin/bash
# Submit it: sbatch FILE. Before the time is up vaekit saves and stops, the job is queued again, and goes on where it was.
{options}

export OMP_NUM_THREADS={threads}
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT={grace}  # seconds that torchrun leaves vaekit to save, instead of 30
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

srun --cpus-per-task={cpus} {python} -m torch.distributed.run \\
  --nnodes="$SLURM_JOB_NUM_NODES" --nproc-per-node={processes} --max-restarts={restarts} \\
  --rdzv-backend=c10d --rdzv-id="$SLURM_JOB_ID" --rdzv-endpoint="$first:$((20000 + SLURM_JOB_ID % 20000))" \\
  -m vaekit {command} &
work=$!

again=
trap 'again=yes; kill -TERM "$work"' USR1  # from Slurm, {grace} seconds before the end
trap 'kill -TERM "$work"' TERM  # from scancel
while :; do
  wait "$work"
  code=$?
  kill -0 "$work" 2>/dev/null || break  # else it was a signal that ended the wait
done

if [ "$again" ] && [ "$code" -ne 0 ]; then
  exec scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""


def slurm(
    *command: Annotated[str, Parameter(allow_leading_hyphen=True)],
    nodes: Whole = 1,
    processes: OptionalWhole = None,
    gpus: Whole = 0,
    cpus: Whole = 8,
    time: str = "24:00:00",
    grace: Whole = 120,
    restarts: Whole = 3,
    name: str | None = None,
    partition: str | None = None,
    account: str | None = None,
    script: Path | None = None,
) -> Answer:
    """Print an sbatch file that runs a vaekit command on one or more nodes: vaekit launch slurm -- train DATA --out RUN.

    Parameters
    ----------
    command
        What follows `vaekit`: train, resume, evaluate or encode, with its options, after --.
    nodes
        Machines.
    processes
        Per machine. Default: one for each GPU, else one.
    gpus
        Per machine.
    cpus
        Processor threads per machine.
    time
        Limit of one sitting, as Slurm reads it: 24:00:00, 2-12:00:00.
    grace
        Seconds before the limit at which vaekit saves and stops.
    restarts
        How often all processes are started again after one has died.
    name
        Of the job. Default: vaekit-<command>.
    partition
        Where to queue.
    account
        Who pays.
    script
        Write the file there instead of printing it.
    """
    if not command or command[0] not in SHARED:
        given = f"{command[0]!r} is none of them." if command else "Nothing followed it."
        raise UsageError(
            f"vaekit launch slurm runs {', '.join(SHARED)}. {given} Example: vaekit launch slurm -- train DATA --out RUN"
        )
    if command[0] == "train" and not any(part == "--out" or part.startswith("--out=") for part in command):
        raise UsageError("A job that is queued again must find its own run. Give the training a folder: train DATA --out RUN")
    if not TIME.fullmatch(time):
        raise UsageError(f"--time {time!r} is no limit that Slurm reads. Give hours:minutes:seconds, such as 24:00:00.")
    for option, value, least in (
        ("nodes", nodes, 1),
        ("gpus", gpus, 0),
        ("cpus", cpus, 1),
        ("grace", grace, 1),
        ("restarts", restarts, 0),
    ):
        if value < least:
            raise UsageError(f"--{option} is {value}; it must be {least} or more.")
    if grace > MOST_GRACE:
        raise UsageError(f"--grace is {grace}; Slurm sends a signal at most {MOST_GRACE:,} seconds before the end.")
    for option, text in (("name", name), ("partition", partition), ("account", account)):
        if text is not None and not NAME.fullmatch(text):
            raise UsageError(f"--{option} is {text!r}; give letters, digits and ._- without spaces: it is a line for Slurm.")
    each = gpus or 1 if processes is None else processes
    if not 1 <= each <= cpus:
        raise UsageError(f"{each} processes on {cpus} processor threads: give 1 or more --processes, and --cpus for all of them.")
    job = name or f"vaekit-{command[0]}"
    options = {
        "job-name": job,
        "partition": partition,
        "account": account,
        "nodes": nodes,
        "ntasks-per-node": 1,
        "cpus-per-task": cpus,
        "gpus-per-node": gpus or None,
        "time": time,
        "signal": f"B:USR1@{grace}",
        "requeue": "",
        "open-mode": "append",
        "output": f"{job}-%j.log",
    }
    text = SCRIPT.format(
        options="\n".join(
            f"#SBATCH --{key}{f'={value}' if value != '' else ''}" for key, value in options.items() if value is not None
        ),
        threads=max(cpus // each, 1),
        cpus=cpus,
        python=shlex.quote(sys.executable),
        processes=each,
        restarts=restarts,
        command=shlex.join(command),
        grace=grace,
    )
    if script is None:
        return Answer({"script": text}, text.rstrip("\n"))
    if script.exists():
        raise UsageError(f"{script} is there already. Give another --script, or remove it.")
    writable(script, "--script").parent.mkdir(parents=True, exist_ok=True)
    script.write_text(text)
    return Answer({"script": text, "path": str(script)}, str(script))
