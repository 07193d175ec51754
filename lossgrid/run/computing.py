"""Rank 0's part while points are computed: which come next, who is told, what is stored."""

from __future__ import annotations

import numpy as np
from rich.console import Console

from lossgrid.cluster.queue import own_job
from lossgrid.engine.coordinator import Ending
from lossgrid.engine.desk import Out
from lossgrid.engine.messages import DONE
from lossgrid.engine.pointset import PointSet
from lossgrid.engine.run import coordinate
from lossgrid.engine.signals import StopRequest
from lossgrid.engine.worker import Evaluator
from lossgrid.engine.world import World
from lossgrid.job import Job
from lossgrid.run.prepare import Prepared
from lossgrid.run.progress import ProgressView
from lossgrid.run.refinement import Refinement
from lossgrid.run.stages import Stage, by_lattice
from lossgrid.run.witness import Witness
from lossgrid.store.log import RunLog
from lossgrid.store.results import Results
from lossgrid.store.samples import SampleFile
from lossgrid.store.sink import CoordinatorSink
from lossgrid.store.writer import PointWriter


class Computing:
    """What is computed of a results file, stage by stage: `next_stage` and `compute` in turn.

    Args:
        world: the ranks.
        job: what to compute.
        prepared: of this rank.
        results: the file.
        pending: points of it.
        writer: of it.
        stopping: whether a signal has asked to stop.
        console: where progress is shown.

    Raises:
        UserError: what one stage keeps for the next can't be stored.
    """

    def __init__(
        self,
        world: World,
        job: Job,
        prepared: Prepared,
        results: Results,
        pending: PointSet,
        writer: PointWriter,
        stopping: StopRequest,
        console: Console,
    ) -> None:
        self._world = world
        self._job = job
        self._shape = prepared.grid.shape
        self._results = results
        self._stopping = stopping
        self._console = console
        self._log = RunLog(results.path)
        self._sink = CoordinatorSink(writer, results.error_rows())
        self._stage = 0
        self._told: set[int] = set()
        self._stages = self._planned(prepared.samples, pending)
        self._present: PointSet

    def _planned(self, samples: SampleFile | None, pending: PointSet) -> list[Stage]:
        if samples is not None:
            owner = self._results.attributes["id"]
            samples.begin(owner)
            samples.open(owner)
            stages = by_lattice(self._shape, pending, samples.has)
            samples.close()
            return stages
        if self._job.grid.refine is not None:
            return by_lattice(self._shape, pending)
        return [Stage(pending)]

    def next_stage(self, writer: PointWriter) -> bool:
        """Go to the next stage in which something is to be computed; whether there is one.

        Args:
            writer: stores points that need not be computed.

        Raises:
            UserError: they can't be stored.
        """
        while self._stages:
            stage = self._stages.pop(0)
            self._present = self._interpolate(stage, writer)
            if len(self._present):
                return True
        return False

    def compute(self, evaluator: Evaluator, no_smaller: str | None) -> Ending:
        """Have the points of the present stage computed and stored.

        Args:
            evaluator: of this rank, like that of all others.
            no_smaller: why no smaller plan can follow this one; none if one can.

        Raises:
            UserError: results can't be stored.
            RunFailedError: a worker could not go on.
        """
        job, world, total = self._job, self._world, self._results.points
        left = len(self._present) + sum(len(stage.points) for stage in self._stages)
        tries = self._results.tries()
        ranks = {"ranks": world.size, "ranks_per_worker": job.runtime.ranks_per_worker}
        place = ranks | {"host": world.host, "slurm_job": own_job()}
        self._log.event("start", stage=self._stage, left=left, tries=tries, **place)
        self._stage += 1
        view = ProgressView(total, total - left, self._console)
        observer = Witness(view, self._log, world.hosts)
        try:
            with view:
                for rank in sorted(world.lost - self._told):  # before, or between two stages
                    died = rank in world.deaths.known
                    observer.out(rank, Out.DEAD if died else Out.SILENT)
                return coordinate(
                    world,
                    evaluator,
                    job.runtime.shared,
                    self._shape,
                    self._present,
                    None if job.runtime.chunk == "auto" else job.runtime.chunk,
                    self._sink,
                    observer,
                    self._stopping,
                    no_smaller,
                    job.runtime.ranks_per_worker,
                )
        finally:
            self._told |= world.lost
            self._log.event(
                "end",
                stored=view.stored_points,
                failed=view.failed_points,
                seconds=round(view.seconds(), 3),
                ranks=len(view.ranks),
                signal=self._stopping.signal.name if self._stopping.signal else None,
            )

    def _interpolate(self, stage: Stage, writer: PointWriter) -> PointSet:
        """Store what of a stage need not be computed; the rest is returned."""
        tolerance = self._job.grid.refine
        if tolerance is None:
            return stage.points
        values, status = writer.stored()
        refinement = Refinement(self._shape, tolerance)
        points, found = refinement.interpolated(stage.level, values, status == DONE)
        pending = stage.points.among(np.arange(status.size))
        new = np.isin(points, pending)
        writer.write_interpolated(points[new], found[:, new])
        return PointSet.of(np.setdiff1d(pending, points), status.size)
