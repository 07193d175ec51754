"""Rank 0's part of a run: what only one rank may decide, write or say."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import datetime, timezone
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from lossgrid import __version__
from lossgrid.engine.messages import DONE
from lossgrid.engine.pointset import PointSet
from lossgrid.engine.signals import StopRequest
from lossgrid.engine.world import World
from lossgrid.errors import UserError
from lossgrid.evaluate import Checked, Plan
from lossgrid.job import Job
from lossgrid.problem import prepare_checkpoint
from lossgrid.run import epochs, precision, trajectories
from lossgrid.run.choose import check_workers, choose, choose_smaller, measure, unshrinkable
from lossgrid.run.computing import Computing
from lossgrid.run.ending import conclude
from lossgrid.run.fingerprint import HARDWARE, SIZES, are_near, differences, theta_values
from lossgrid.run.following import Checkpoint, checkpoints
from lossgrid.run.load import Loaded
from lossgrid.run.order import Order
from lossgrid.run.prepare import Prepared
from lossgrid.run.probing import Probe, no_spectra, probes
from lossgrid.run.projecting import Projected, principal_of, projected
from lossgrid.run.recalling import Recalled
from lossgrid.run.rounds import Rounds
from lossgrid.run.sharing import Report
from lossgrid.run.writing import in_parallel
from lossgrid.shortage import fitting
from lossgrid.space import Principal
from lossgrid.store.amend import add_trajectories, reset_lost, write_precision
from lossgrid.store.create import Contents, create
from lossgrid.store.lock import RunLock
from lossgrid.store.results import Results, check_replaceable, read_results
from lossgrid.store.samples import samples_path
from lossgrid.store.writer import PointWriter, parallel_hdf5

EXPECTED_WITHIN = 0.005
"""How far values at theta may be from `model.expect`."""


class Lead:
    """The first rank. Its steps in their order: begin, choose, decide, begin_computing, conclude.

    Where memory proves too short for a plan, they begin again with choose_smaller and decide.

    Args:
        world: the ranks.
        stack: holds the lock until the end of the run.
        stopping: whether a signal has asked to stop.
        read: reads the job.
        overwrite: whether to start anew, even if there are results.
        console: where progress is shown.
        say: shows a line.

    Attributes:
        computing: what comes between the last two.
        checkpoints: whose values are computed after that.
        probes: of spectra, which come last.
    """

    computing: Computing
    checkpoints: Rounds[Checkpoint, list[float]]
    probes: Rounds[Probe, dict[str, NDArray[np.float64]]]

    def __init__(
        self,
        world: World,
        stack: ExitStack,
        stopping: StopRequest,
        read: Callable[[], Job],
        overwrite: bool,
        console: Console,
        say: Callable[[str], None],
    ) -> None:
        self._world = world
        self._stack = stack
        self._stopping = stopping
        self._read = read
        self._overwrite = overwrite
        self._console = console
        self._say = say
        self._job: Job
        self._lock: RunLock
        self._parallel: bool
        self._results: Results | None = None
        self._tuning: str | None = None
        self._pending: PointSet
        self._recalled: Recalled | None = None
        self._principal: Principal | None
        self._projected: Projected
        self._sampled: dict[str, int] = {}  # splits of which points use some samples

    def begin(self) -> tuple[Job, Plan | None, bool]:
        """Read the job, lock its output, look at what is there already.

        Returns: the job, the last plan of its results, and whether the ranks may write these in
            parallel, as far as this one knows: others need h5py for nothing else.

        Raises:
            UserError: bad input, or another run is at work.
        """
        job = self._job = self._read()
        if not job.runtime.shared and self._world.size == 1:
            raise UserError(
                f"{job.path}: runtime.coordinator: dedicated leaves one rank alone nothing to "
                "compute with; start more ranks with mpirun, or set it to shared"
            )
        check_workers(job, self._world.size)
        self._lock = self._stack.enter_context(RunLock(job.output, self._say))
        if self._overwrite:
            check_replaceable(job.output)
        elif job.output.exists():
            self._results = read_results(job.output)
            if origin := self._results.attributes.get("converted"):
                raise UserError(
                    f"{job.output}: was converted from {origin}, which no run can continue; set "
                    "another 'output', or start anew with --overwrite"
                )
            self._see_to_power_loss(self._results)
            self._recalled = Recalled(job, self._results)
        if prepare_checkpoint(job):
            self._say(f"trained {job.model.checkpoint} with {job.model.recipe}")
        stored = None if self._results is None else epochs.plans(self._results)[-1]
        return job, stored, job.runtime.writer != "coordinator" and parallel_hdf5()

    def find_components(self) -> Principal | None:
        """The principal components that all ranks take for directions, if the job wants such.

        Raises:
            UserError: the model or a checkpoint can't be loaded, or there are too few.
        """
        with fitting("directions of kind pca"):
            self._principal = principal_of(self._job, self._recalled)
        return self._principal

    def choose(
        self, loaded: Loaded, stored: Plan | None, reports: Mapping[int, Report], room: int
    ) -> Checked:
        """Compare the ranks, and choose how all of them evaluate points.

        Args:
            loaded: of this rank.
            stored: the plan of the results that are to be continued.
            reports: of all ranks.
            room: bytes of memory that are free for the rank that has least.

        Raises:
            UserError: ranks differ, or can't do what is asked for.
        """
        self._compare(reports)
        self._tell_apart(reports)
        facts = loaded.plane.geometry().items()
        self._say("directions: " + ", ".join(f"{name} {value:.4g}" for name, value in facts))
        if warning := loaded.warning():
            self._say(warning)
        self._project(loaded)
        able = [report.parallel for report in reports.values()]
        self._parallel = in_parallel(self._job, self._world, able, self._say)
        if stored is None and self._job.evaluation.tune:
            tuned = measure(self._job, loaded, self._world.size)
            stored, self._tuning = tuned.plan, tuned.reason
            self._say(f"plan: {stored.sizes}; {tuned.reason}")
        return self._object(choose(self._job, loaded, stored, room))

    def choose_smaller(self, loaded: Loaded, plan: Plan, shortage: str) -> Checked:
        """Choose again where memory has not sufficed for a plan.

        Args:
            loaded: of this rank.
            plan: the one that can't be followed any more.
            shortage: what was said of it, and where.

        Raises:
            UserError: there is no smaller one.
        """
        checked = choose_smaller(self._job, loaded, plan, shortage)
        self._say(f"{shortage}; going on by a smaller plan: {checked.plan.sizes}")
        return self._object(checked)

    def _object(self, checked: Checked) -> Checked:
        for objection in checked.objections:
            self._say(f"not as fast as it could be: {objection}")
        return checked

    def decide(self, prepared: Prepared) -> Order:
        """Measure theta itself, continue a results file or create it.

        Raises:
            UserError: theta is not what was expected, or the results file belongs to another job.
        """
        theta = self._measure_theta(prepared)
        if self._results is None:
            create(self._job.output, self._contents(prepared, theta))
            self._lock.forget_power_loss()
            self._results = read_results(self._job.output)
        else:
            self._results = self._continue(self._results, prepared, theta)
        self._pending = self._results.unfinished()
        if prepared.samples is not None:
            splits = prepared.loaded.problem.splits
            self._sampled = {name: len(split) for name, split in splits.items()}
        self._announce()
        columns, folder = prepared.whole.columns_of_place, self._job.folder
        self.checkpoints = checkpoints(self._results, columns, folder, self._say)
        self.probes = probes(self._results, self._say)
        return Order(
            compute=len(self._pending) > 0,
            parallel=self._parallel,
            owner=self._results.attributes["id"],
            epoch=max(len(self._results.epochs) - 1, 0),
            no_smaller=self._no_smaller(self._results, prepared.plan),
        )

    def begin_computing(self, prepared: Prepared, writer: PointWriter) -> None:
        """Find out in which order the pending points are computed.

        Raises:
            UserError: see `Computing`.
        """
        self.computing = Computing(
            self._world,
            self._job,
            prepared,
            self.results,
            self._pending,
            writer,
            self._stopping,
            self._console,
        )

    def to_compare(self, unfinished: bool) -> dict[int, NDArray[np.int64]]:
        """The points that each rank is to compute again in float32; none once that is done."""
        results = self.results
        rows = results.precision
        if unfinished or rows is None or rows.size:
            return {}
        points = precision.sample(results.shape)
        points = points[results.status.ravel()[points] == DONE]
        ranks = self._world.living() if points.size else []
        return {rank: points[place :: len(ranks)] for place, rank in enumerate(ranks)}

    def compare(
        self,
        prepared: Prepared,
        shares: Mapping[int, NDArray[np.int64]],
        found: Mapping[int, NDArray[np.float64]],
    ) -> bool:
        """Store what the ranks have computed again: each the points of its share.

        Returns: whether a signal, or a rank's death, left some for another run.

        Raises:
            UserError: it can't be stored.
        """
        if any(rank not in found or len(found[rank]) < len(shares[rank]) for rank in shares):
            return True
        points = np.concatenate(list(shares.values()))
        order = np.argsort(points)
        exact = np.concatenate([found[rank] for rank in shares])
        write_precision(self.results, prepared.whole.columns, points[order], exact[order])
        return False

    def conclude(self, unfinished: bool) -> int:
        """See `ending.conclude`."""
        return conclude(self.results, unfinished, self._sampled, self._say)

    def _see_to_power_loss(self, results: Results) -> None:
        """Before all else: however this run ends, the next one need not know of the power loss."""
        if self._lock.power_lost:
            samples_path(results.path).unlink(missing_ok=True)
            reset_lost(results)
            self._lock.forget_power_loss()

    def _compare(self, reports: Mapping[int, Report]) -> None:
        """All ranks must compute the same thing, and by the same arithmetic unless allowed."""
        ours = reports[0].made_of
        for rank, report in reports.items():
            found = self._differences(report.made_of, ours)
            if found:
                raise UserError(
                    f"rank {rank} would not compute what rank 0 does: {'; '.join(found)}; give all "
                    "ranks the same files and machines, or, if only the hardware differs, "
                    "--set runtime.allow_unlike_ranks=true (bits may then differ)"
                )

    def _tell_apart(self, reports: Mapping[int, Report]) -> None:
        """Say who has loaded for itself what ranks of a node could share, and why."""
        apart = {rank: report.apart for rank, report in reports.items() if report.apart}
        if apart:
            self._say(
                f"{len(apart)} ranks load data for themselves, as they can't have it from another: "
                f"{next(iter(apart.values()))}"
            )

    def _differences(self, theirs: Mapping[str, str], ours: Mapping[str, str]) -> list[str]:
        passed_over = HARDWARE if self._job.runtime.allow_unlike_ranks else ()
        return [text for part, text in differences(theirs, ours) if part not in passed_over]

    def _project(self, loaded: Loaded) -> None:
        """Find where trajectories lie, and say whether the grid holds them."""
        model, grid = loaded.problem.build_model(), loaded.grid
        recalled = self._recalled if self._is_on(loaded) else None
        self._projected = projected(self._job, loaded.plane, model, self._principal, recalled)
        for name, trajectory in self._projected.trajectories.items():
            self._say(trajectories.coverage(name, trajectory, grid.alpha, grid.beta))

    def _is_on(self, loaded: Loaded) -> bool:
        """Whether the results that are there are of the same plane."""
        known = {} if self._results is None else self._results.fingerprint
        return known.get("directions") == loaded.fingerprint["directions"]

    def _measure_theta(self, prepared: Prepared) -> dict[str, float]:
        """Values at theta itself, shown and checked before anything else is spent."""
        found, seconds = prepared.measure_theta()
        shown = ", ".join(f"{name} {value:.6g}" for name, value in found.items())
        self._say(f"at theta: {shown} ({seconds:.2g} s)")
        for name, expected in self._job.model.expect.items():
            if not abs(found[name] - expected) <= EXPECTED_WITHIN:
                raise UserError(
                    f"{self._job.path}: model.expect: {name} is {found[name]:.4f}, not the "
                    f"expected {expected:.4f}; check the preprocessing (mean, std, order of "
                    "channels), the checkpoint and the data"
                )
        return found

    def _continue(
        self, results: Results, prepared: Prepared, theta: Mapping[str, float]
    ) -> Results:
        """See that these are the job's own results; add to them what is new.

        That is an epoch for a smaller plan, and trajectories that the job did not have before.

        Returns: the results as they are now.
        """
        made_of = self._made_of(prepared, theta)
        added = self._projected.beside(results)
        known = epochs.fingerprint_of(results) | added.fingerprint
        begins = prepared.checked.shrunk and epochs.has_room(results)
        if begins:
            known |= {part: made_of[part] for part in SIZES}
            if are_near(epochs.theta_of(results), theta):
                known |= theta_values(theta)
        found = self._differences(known, made_of)
        if found:
            raise UserError(
                f"{results.path}: holds the results of another job: {'; '.join(found)}; set "
                "another 'output', or start anew with --overwrite"
            )
        if added.trajectories:
            fingerprint = json.dumps({**results.fingerprint, **added.fingerprint})
            texts = {"job": self._job.to_yaml(), "fingerprint": fingerprint}
            add_trajectories(results, added.trajectories, texts)
            results = read_results(results.path)
        if begins:
            epochs.begin(results, prepared.plan, theta)
        return results

    def _made_of(self, prepared: Prepared, theta: Mapping[str, float]) -> dict[str, str]:
        return prepared.fingerprint | self._projected.fingerprint | theta_values(theta)

    def _no_smaller(self, results: Results, plan: Plan) -> str | None:
        if not epochs.has_room(results):
            return f"in batches of {plan.batch_size}, as {results.path.name} has no room for others"
        return unshrinkable(self._job, plan)

    def _contents(self, prepared: Prepared, theta: Mapping[str, float]) -> Contents:
        import h5py
        import torch

        plane = prepared.plane
        shape, low = prepared.grid.shape, prepared.plan.is_low
        estimated = self._job.evaluation.tolerance is not None
        uncompared = precision.impossible(shape, estimated) if low else None
        versions = {
            "lossgrid": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "h5py": h5py.__version__,
            "python": platform.python_version(),
        }
        return Contents(
            alpha=prepared.grid.alpha,
            beta=prepared.grid.beta,
            columns=prepared.evaluator.columns,
            directions={
                axis: {name: d.numpy() for name, d in direction.items()}
                for axis, direction in plane.directions.items()
            },
            geometry=plane.geometry(),
            attributes={
                "job": self._job.to_yaml(),
                "fingerprint": json.dumps(self._made_of(prepared, theta)),
                "plan": prepared.plan.to_json(),
                "check": json.dumps(
                    {"error": prepared.checked.error, "objections": prepared.checked.objections}
                ),
                "versions": json.dumps(versions),
                "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "id": uuid4().hex,
                **({"tuning": self._tuning} if self._tuning else {}),
                **({"uncompared": uncompared} if uncompared else {}),
            },
            compared=precision.sample(shape).size if low and not uncompared else 0,
            epoch=epochs.record(prepared.plan, theta),
            trajectories=self._projected.trajectories,
            layers=prepared.bending.layers if prepared.bending else (),
            spectra=no_spectra(self._job, prepared.bending.size) if prepared.bending else None,
        )

    def _announce(self) -> None:
        grid = self._job.grid
        shape = f"{grid.alpha.points}" + (f" x {grid.beta.points}" if grid.beta else "")
        pending = len(self._pending)
        done = self.results.points - pending
        before = f", {done} stored before" if done else ""
        ranks = f"{self._world.size} rank{'s' if self._world.size > 1 else ''}"
        if self._job.runtime.ranks_per_worker > 1:
            ranks += f", {self._job.runtime.ranks_per_worker} to a point"
        writer = ", written by " + ("parallel HDF5" if self._parallel else "rank 0")
        by = ranks + (writer if self._world.size > 1 else "")
        self._say(f"grid {shape}, {pending} points pending{before}; {by}")

    @property
    def results(self) -> Results:
        """The results file, which is there once `decide` has ended."""
        assert self._results is not None
        return self._results
