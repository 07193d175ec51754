"""What SLURM says of a job: squeue while it is in the queue, sacct after that."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

PATIENCE_SECONDS = 10.0
"""A controller that is down makes its clients wait much longer."""

_NOTHING = ("", "None", "N/A", "NOT_SET", "INVALID", "UNLIMITED", "Unknown")


@dataclass(frozen=True)
class Queued:
    """A job as SLURM has it.

    Attributes:
        job: its number; 12_3 is the fourth of an array.
        state: SLURM's word for it, such as PENDING or RUNNING; UNKNOWN once it is forgotten.
        reason: why it is pending, or ended so.
        starts: when it began or is expected to, as SLURM writes it.
        left: time that it may still take.
        nodes: that it has.
    """

    job: str
    state: str
    reason: str | None = None
    starts: str | None = None
    left: str | None = None
    nodes: str | None = None

    def text(self) -> str:
        """All of it for people."""
        if self.state == "UNKNOWN":
            return f"SLURM job {self.job}: not in the queue any more"
        said = f"SLURM job {self.job}: {self.state.lower()}"
        if self.state == "PENDING":
            said += f" ({self.reason})" if self.reason else ""
            return said + (f", to start {self.starts}" if self.starts else "")
        if self.state == "RUNNING":
            return f"{said} on {self.nodes}" + (f", {self.left} left" if self.left else "")
        return said


def own_job() -> str | None:
    """The number of the SLURM job that this process belongs to, as squeue takes it."""
    task = os.environ.get("SLURM_ARRAY_TASK_ID")
    if task is not None:
        return f"{os.environ.get('SLURM_ARRAY_JOB_ID')}_{task}"
    return os.environ.get("SLURM_JOB_ID")


def look_up(job: str) -> Queued | None:
    """What SLURM says of a job now; None where it can't be asked."""
    asked = ["squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T|%r|%S|%L|%N"]
    answer = _answer(asked)
    if answer is None:
        return None
    if answer.returncode == 0 and answer.stdout.strip():
        return Queued(job, *_fields(answer.stdout))
    if answer.returncode != 0 and "Invalid job id" not in answer.stderr:
        return None
    asked = ["sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={job}"]
    answer = _answer([*asked, "--format=State,Reason,Start"])
    if answer is None or answer.returncode != 0 or not answer.stdout.strip():
        return Queued(job, "UNKNOWN")
    state, *others = _fields(answer.stdout)
    return Queued(job, (state or "UNKNOWN").split()[0], *others)  # "CANCELLED by 1000"


def _fields(output: str) -> list[Any]:
    """Of the last line: a job that was queued again may have several."""
    return [None if said in _NOTHING else said for said in output.splitlines()[-1].split("|")]


def _answer(command: Sequence[str]) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=PATIENCE_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
