"""Batch scripts for SLURM, which people can keep and edit."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from lossgrid.errors import UserError

NOTICE_SECONDS = 120
"""How long before the end of its time a job is told: to store what it has takes seconds, and SLURM
looks at its clock about once a minute."""

_DURATION = re.compile(r"((?P<d>\d+)-)?(?P<a>\d+)(:(?P<b>\d+))?(:(?P<c>\d+))?")


_FRESH = """\
# MPIs name the memory that ranks share after the step of the job. A turn that was killed may have
# left some, for which the next would wait for ever: so its run is a step with another number.
for ((turn = 0; turn < ${SLURM_RESTART_COUNT:-0}; turn++)); do
    srun --mpi=none --nodes=1 --ntasks=1 --ntasks-per-node=1 true
done
"""

ALONE_SECONDS = 30
"""How long srun lets ranks live on after the first has ended: without one killed they'd wait."""


class _Script(Template):
    """A template in which $ is the shell's own."""

    delimiter = "@"


@dataclass(frozen=True)
class Resources:
    """What is asked of SLURM.

    Attributes:
        nodes: how many.
        gpus_per_node: 0 for none.
        ranks_per_node: how many processes compute on each.
        cpus_per_rank: None leaves that to SLURM, which mostly gives one.
        time: as SLURM writes it, such as 2:00:00; None for the partition's own.
        partition: None for SLURM's default.
        options: further ones of sbatch, such as --account=physics.
    """

    nodes: int = 1
    gpus_per_node: int = 0
    ranks_per_node: int = 1
    cpus_per_rank: int | None = None
    time: str | None = None
    partition: str | None = None
    options: tuple[str, ...] = ()

    @property
    def ranks(self) -> int:
        """Of all nodes."""
        return self.nodes * self.ranks_per_node


@dataclass(frozen=True)
class Work:
    """What a batch script runs.

    Attributes:
        name: of the job in the queue.
        jobs: paths of the job files; several make a job array.
        overrides: "key.path=value" settings.
        launch: the words that start `lossgrid` on all ranks.
        setup: shell commands that come first.
        log: path of what the run says; %j stands for the job's number.
        command: that rendered the script, as it was typed.
    """

    name: str
    jobs: Sequence[str]
    overrides: Sequence[str]
    launch: Sequence[str]
    setup: Sequence[str]
    log: str
    command: str


def render(work: Work, resources: Resources) -> str:
    """The text of a batch script.

    Raises:
        UserError: the time is not one, an option none of sbatch, or something not one line.
    """
    several = len(work.jobs) > 1
    quoted = [shlex.quote(job) for job in work.jobs]
    choice = "job=${jobs[SLURM_ARRAY_TASK_ID]}"
    settings = [word for override in work.overrides for word in ("--set", override)]
    asked = [f"#SBATCH {line}" for line in _directives(work, resources)]
    for line in [*asked, *work.setup]:
        if not line.isprintable():
            raise UserError(f"{line!r}: can't be one line of a batch script")
    template = _Script(Path(__file__).with_name("job.sbatch").read_text())
    return template.substitute(
        title=f"{work.name}: {_told(resources, len(work.jobs))}",
        command=" ".join(work.command.split()),
        directives="\n".join(asked),
        setup="\n".join(work.setup) or "# module load ...",
        job=f"jobs=({' '.join(quoted)})\n{choice}" if several else f"job={quoted[0]}",
        before=_before_srun(resources) if Path(work.launch[0]).name == "srun" else "",
        launch=shlex.join(work.launch),
        arguments=" ".join(['"$job"', *map(shlex.quote, settings)]),
    )


def _directives(work: Work, resources: Resources) -> list[str]:
    for option in resources.options:
        if not option.startswith("--"):
            raise UserError(f"--option {option}: is none of sbatch's, such as --account=physics")
    given = {
        "job-name": work.name,
        "partition": resources.partition,
        "nodes": resources.nodes,
        "ntasks-per-node": resources.ranks_per_node,
        "cpus-per-task": resources.cpus_per_rank,
        "gpus-per-node": resources.gpus_per_node or None,
        "time": resources.time,
        "array": f"0-{len(work.jobs) - 1}" if len(work.jobs) > 1 else None,
        "output": work.log,
        "open-mode": "append",
        "signal": f"B:USR1@{_notice(resources.time)}",
    }
    lines = [f"--{key}={shlex.quote(str(value))}" for key, value in given.items() if value]
    return [*lines, "--requeue", *resources.options]


def _before_srun(resources: Resources) -> str:
    """What comes before any srun that starts the ranks, also one that the user names."""
    lines = []
    if resources.ranks > 1:
        lines.append(f"export SLURM_WAIT={ALONE_SECONDS} # after a rank that is killed")
    if resources.cpus_per_rank:
        cores = resources.cpus_per_rank
        lines.append(f"export SRUN_CPUS_PER_TASK={cores} # srun itself does not ask the job")
    return "".join(f"{line}\n" for line in lines) + _FRESH


def _notice(time: str | None) -> int:
    """Seconds before its end at which a job is told: of a short one, no more than a quarter."""
    return NOTICE_SECONDS if time is None else min(NOTICE_SECONDS, max(1, seconds(time) // 4))


def seconds(time: str) -> int:
    """What SLURM takes a time for: minutes, minutes:seconds, hours:minutes:seconds, or days-hours,
    days-hours:minutes, days-hours:minutes:seconds.

    Raises:
        UserError: it is none of these.
    """
    found = _DURATION.fullmatch(time)
    if found is None:
        raise UserError(
            f"--time {time}: is not a time such as 2:00:00 (hours) or 1-12:00:00 (days)"
        )
    days, a, b, c = (found[part] and int(found[part]) for part in "dabc")
    if days is not None or c is not None:
        hours, minutes, rest = a, b, c
    else:
        hours, minutes, rest = None, a, b
    total = (((days or 0) * 24 + (hours or 0)) * 60 + (minutes or 0)) * 60 + (rest or 0)
    if total == 0:
        raise UserError(
            f"--time {time}: leaves no time at all; leave it out for the partition's own"
        )
    return total


def _told(resources: Resources, jobs: int) -> str:
    """What is asked for, in words."""
    nodes = "one node" if resources.nodes == 1 else f"{resources.nodes} nodes"
    gpus = f" with {_counted(resources.gpus_per_node, 'GPU')}" if resources.gpus_per_node else ""
    gpus += " each" if gpus and resources.nodes > 1 else ""
    ranks = _counted(resources.ranks, "rank")
    return f"{nodes}{gpus}, {ranks}" + (f", for each of {jobs} job files" if jobs > 1 else "")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
