"""`lossgrid submit`: hand job files to SLURM."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lossgrid.cluster.launcher import launcher, srun_plugins
from lossgrid.cluster.script import Resources, Work, render
from lossgrid.errors import UserError
from lossgrid.job import Job, read_job
from lossgrid.probe import mpi_family
from lossgrid.store.log import RunLog


def script(
    paths: Sequence[Path],
    overrides: Sequence[str],
    resources: Resources,
    launch: Sequence[str] | None,
    setup: Sequence[str],
    command: str,
) -> tuple[str, list[Job]]:
    """The batch script that runs job files on SLURM, and the jobs that they hold.

    Args:
        paths: of the job files.
        overrides: "key.path=value" settings.
        resources: what is asked of SLURM.
        launch: the words that start ranks; None for those that fit this machine's MPI and srun.
        setup: shell commands that come first.
        command: as the user typed it.

    Raises:
        UserError: a job can't be read, two have one output, or something can't be asked for.
    """
    jobs = [read_job(path, overrides) for path in paths]
    outputs = [job.output for job in jobs]
    for number, output in enumerate(outputs):
        if output in outputs[:number]:
            raise UserError(f"{jobs[number].path}: another of these jobs writes {output}, too")
    if launch is None:
        family = mpi_family() if resources.ranks > 1 else None
        launch = launcher(family, srun_plugins(), resources.ranks)
    first, several = jobs[0], len(jobs) > 1
    log = "lossgrid.slurm-%A_%a.out" if several else f"{first.output.stem}.slurm-%j.out"
    work = Work(
        name="lossgrid" if several else first.name,
        jobs=[os.path.abspath(path) for path in paths],
        overrides=overrides,
        launch=[*launch, sys.executable, "-m", "lossgrid"],
        setup=setup,
        log=str(first.output.parent / log),
        command=command,
    )
    return render(work, resources), jobs


def submit(text: str, jobs: Sequence[Job]) -> list[str]:
    """Hand a script to SLURM, and note in each job's log which number it has there.

    Returns: lines that say so, and how to follow it.

    Raises:
        UserError: SLURM is not here or does not take it, or a folder can't be made.
    """
    sbatch = shutil.which("sbatch")
    if sbatch is None:
        raise UserError(
            "there is no sbatch in PATH; submit from a login node of a SLURM cluster, or look at "
            "the script with --dry-run"
        )
    for job in jobs:
        try:
            job.output.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{job.output.parent}: can't be made: {error.strerror}") from error
    answer = subprocess.run(
        [sbatch, "--parsable"], input=text, check=False, capture_output=True, text=True
    )
    if answer.returncode != 0:
        said = " ".join(answer.stderr.split()) or f"exit status {answer.returncode}"
        raise UserError(f"SLURM does not take the job: {said}")
    number = answer.stdout.strip().split(";")[0]
    numbers = [number] if len(jobs) == 1 else [f"{number}_{task}" for task in range(len(jobs))]
    for job, own in zip(jobs, numbers, strict=True):
        RunLog(job.output).event("submitted", slurm_job=own)
    return [
        f"submitted: SLURM job {number}",
        *(f"follow:    lossgrid status {shlex.quote(str(job.output))}" for job in jobs),
        f"stop:      scancel {number}",
    ]
