"""`lossgrid plan`: what a job would do, measured on one point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from lossgrid.curvature import Cost
from lossgrid.engine import world as worlds
from lossgrid.engine.messages import DONE
from lossgrid.engine.sizing import ChunkSizer
from lossgrid.evaluate import Plan
from lossgrid.job import Job, read_job
from lossgrid.problem import prepare_checkpoint
from lossgrid.run import epochs, later
from lossgrid.run.choose import check_workers, choose, measure
from lossgrid.run.fingerprint import SIZES, differences
from lossgrid.run.load import Loaded, free_memory, load
from lossgrid.run.prepare import Prepared, equip
from lossgrid.run.progress import clock
from lossgrid.run.projecting import checkpoints_of, principal_of
from lossgrid.run.recalling import Recalled
from lossgrid.store.create import expected_bytes
from lossgrid.store.results import Results, read_results


def plan(path: Path, overrides: Sequence[str], ranks: int | None = None) -> str:
    """Text that says points, plan, memory and predicted time; no file is made.

    Args:
        path: of the job file.
        overrides: "key.path=value" settings.
        ranks: to predict the time for, each as fast as this process; None for one worker's.

    Raises:
        UserError: bad input.
    """
    job = read_job(path, overrides)
    ranks = ranks or job.runtime.ranks_per_worker + (not job.runtime.shared)
    workers = check_workers(job, ranks)
    results = read_results(job.output) if job.output.exists() else None
    with TemporaryDirectory() as folder:
        trained = _with_checkpoint(job, Path(folder))
        recalled = None if results is None else Recalled(trained, results)
        loaded = load(trained, worlds.alone(), principal_of(trained, recalled))
        plan, why = _chosen(trained, loaded, results, ranks)
        room = free_memory(loaded)
        prepared = equip(trained, loaded, choose(trained, loaded, plan, room))
    prepared.measure_theta()  # the first call warms up
    values, theta = prepared.measure_theta()
    # A pass takes as long if it is not full.
    seconds = theta * prepared.grid.draws / prepared.whole.points_per_pass
    cost = prepared.bending.cost() if prepared.bending else None
    seconds += cost.seconds if cost else 0.0
    ny, nx = prepared.grid.shape
    pending = nx * ny if results is None else len(results.unfinished())
    together = prepared.whole.share_of_work(job.runtime.ranks_per_worker)
    alone, seconds = seconds, seconds * together
    chunks = _chunks(job, prepared, workers, pending, seconds)
    checkpoints = _checkpoints(job, results)
    probes = _probes(job, results)
    a_probe = cost.probe * cost.product if cost else 0.0
    in_all = seconds * pending / workers + theta * -(-sum(checkpoints.values()) // ranks)
    in_all += a_probe * -(-probes // ranks)
    checkpoint = "" if trained is job else f" (a run trains {job.model.checkpoint} first)"
    facts = {
        "job": str(job.path),
        "output": f"{job.output}, {_state(results, prepared)}",
        "grid": f"{nx} x {ny} = {nx * ny} points, coarse to fine",
        "pending": f"{pending} points, in about {chunks} chunks",
        "directions": ", ".join(f"{k} {v:.4g}" for k, v in prepared.plane.geometry().items()),
        "moving": f"{prepared.plane.layout.size} numbers in {len(prepared.plane.layout.entries)}"
        " entries of the model",
        "at theta": ", ".join(f"{name} {value:.6g}" for name, value in values.items()) + checkpoint,
        "plan": f"{prepared.plan.device} ({prepared.plan.hardware}), {prepared.plan.precision}, "
        f"batches of {prepared.plan.batch_size}, {_network(prepared)}",
        "why": f"{why}; to pin it: evaluation: {_pin(prepared.plan)}",
        "memory": _memory(prepared),
        "disk": _disk(prepared),
        **({"curvature": _curvature(cost)} if cost else {}),
        "a point": f"{'at most ' if cost and cost.products else ''}{alone:.3g} s here",
        **({"workers": _workers(job, workers, together)} if workers < ranks else {}),
        **({"then": _true_values(checkpoints, theta)} if checkpoints else {}),
        **({"spectra": f"{probes} probes, {a_probe:.3g} s each, after that"} if probes else {}),
        "in all": f"{_at_most(job)}{clock(in_all)} on {_ranks(ranks)}",
    }
    if warning := prepared.loaded.warning():
        facts["beware"] = warning
    return "\n".join(f"{name + ':':<12}{fact}" for name, fact in facts.items())


def _chosen(
    job: Job, loaded: Loaded, results: Results | None, ranks: int
) -> tuple[Plan | None, str]:
    """What is known of the plan before it is made, and why it will be what it is."""
    if results is not None:
        reason = results.attributes.get("tuning", "by rule")
        *before, last = epochs.plans(results)
        if before:
            return last, f"plan epoch {len(before)} of the results"
        return last, f"as the results were begun ({reason})"
    if job.evaluation.tune:
        tuned = measure(job, loaded, ranks)
        return tuned.plan, tuned.reason
    return None, "by rule"


def _pin(plan: Plan) -> str:
    """The keys of a job file that ask for a plan."""
    sizes = f"batch_size: {plan.batch_size}, points_per_pass: {plan.points_per_pass}"
    return f"{{{sizes}, network: {plan.network}}}"


def _with_checkpoint(job: Job, folder: Path) -> Job:
    """The job itself, or with a checkpoint made for this occasion if a run would make one."""
    if job.model.recipe is None or job.model.checkpoint is None or job.model.checkpoint.exists():
        return job
    model = job.model.model_copy(update={"checkpoint": folder / job.model.checkpoint.name})
    trained = job.model_copy(update={"model": model})
    prepare_checkpoint(trained)
    return trained


def _state(results: Results | None, prepared: Prepared) -> str:
    """What a run would make of a results file that is there."""
    if results is None:
        return "not there yet"
    found = differences(epochs.fingerprint_of(results), prepared.fingerprint)
    passed_over = SIZES if prepared.checked.shrunk else ()
    ours = [
        text for part, text in found if part in prepared.fingerprint and part not in passed_over
    ]
    if ours:
        return f"which holds the results of another job: {'; '.join(ours)}"
    left = results.unfinished() or (later.both(results) != DONE).any()
    return "to be continued" if left else "complete"


def _chunks(job: Job, prepared: Prepared, ranks: int, pending: int, seconds: float) -> int:
    """How many chunks equal ranks would be given."""
    fixed = None if job.runtime.chunk == "auto" else job.runtime.chunk
    sizer = ChunkSizer(ranks, fixed, prepared.evaluator.points_per_pass)
    for rank in range(ranks):
        sizer.record(rank, 1, seconds)
    count = 0
    while pending > 0:
        pending -= sizer.size(count % ranks, pending)
        count += 1
    return count


def _checkpoints(job: Job, results: Results | None) -> dict[str, int]:
    """How many checkpoints of each trajectory have no true value yet."""
    stored = {} if results is None else results.trajectories
    return {
        name: stored[name].unfinished.size if name in stored else len(paths)
        for name, paths in checkpoints_of(job).items()
    }


def _probes(job: Job, results: Results | None) -> int:
    """How many probes of spectra are not computed yet."""
    if results is not None:
        spectra = results.spectra
        return len(spectra.unfinished) if spectra else 0
    asked = job.curvature.spectrum if job.curvature else None
    return len(asked.points) * asked.probes if asked else 0


def _true_values(checkpoints: Mapping[str, int], seconds: float) -> str:
    """What is computed after the points, if a job has trajectories."""
    each = ", ".join(f"{count} of {name}" for name, count in checkpoints.items())
    return f"the true values of checkpoints ({each}), {seconds:.3g} s each"


def _workers(job: Job, workers: int, together: float) -> str:
    """How ranks that compute points together share the work."""
    each = job.runtime.ranks_per_worker
    return (
        f"{workers}, each of {each} ranks that share the batches of a point, at most "
        f"{together:.0%} a rank"
    )


def _at_most(job: Job) -> str:
    """A tolerance saves what is not known before, and so do eigenvalues that are found early."""
    tolerance = job.evaluation.tolerance
    if tolerance is not None:
        return f"to a tolerance of {tolerance:g}, at most "
    return "at most " if job.curvature and job.curvature.eigenvalues else ""


def _curvature(cost: Cost) -> str:
    """What derivatives cost, in gradients as well as in seconds."""
    products = f"{cost.products} Hessian products of {cost.product:.3g} s" if cost.products else ""
    each = f" ({cost.product / cost.gradient:.2g} gradients each)" if products else ""
    gradient = f"a gradient takes {cost.gradient:.3g} s"
    return f"{gradient}, a point at most {products}{each}" if products else gradient


def _ranks(ranks: int) -> str:
    cores = worlds.alone().cores
    return (
        f"{ranks} rank{'s' if ranks > 1 else ''} with {cores} core{'s' if cores > 1 else ''} each"
    )


def _network(prepared: Prepared) -> str:
    """Which form of the network computes, and why."""
    checked = prepared.checked
    refused = "".join(f"; refused: {objection}" for objection in checked.objections)
    return f"{checked.plan.form}, within {checked.error:.1g} of the plain float32 one{refused}"


def _disk(prepared: Prepared) -> str:
    """What the results take, and what is kept beside them while they are incomplete."""
    ny, nx = prepared.grid.shape
    moving = prepared.plane.layout.size * len(prepared.plane.directions)
    results = expected_bytes(ny * nx, len(prepared.evaluator.columns), moving)
    said = f"{_mega(results)} for the results"
    if prepared.samples is None:
        return said
    most = _mega(prepared.samples.most_bytes)
    return f"{said}, at most {most} for {prepared.samples.path.name} until they are complete"


def _mega(size: int) -> str:
    return f"{size / 1e6:.3g} MB"


def _memory(prepared: Prepared) -> str:
    """What this process has taken at most: what a rank will."""
    status = Path("/proc/self/status").read_text()
    peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    said = f"{int(peak) / 1000:.0f} MB a rank"
    if prepared.plan.device == "cuda":
        said += f" and {torch.cuda.max_memory_allocated() / 1e6:.0f} MB of its GPU"
    return said + " (measured here)"
