"""Ranks that compute each point together give the bits of one, whatever becomes of them."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lossgrid.commands.plan import plan
from lossgrid.engine.groups import Leader, groups
from lossgrid.engine.messages import DONE, FAILED, Dismissed, Drop, Part, Share, Stop
from lossgrid.errors import DroppedError, OutOfMemoryError
from lossgrid.exits import COMPLETE, SOME_FAILED, UNFINISHED
from lossgrid.run.rankevents import lasting
from lossgrid.run.steps import run
from lossgrid.store.log import RunLog
from tests.mpi import MPICH_WHEEL, Flavour, mpirun, started
from tests.runs import await_points, plane, program, rank_processes, results, stacked
from tests.toy import toy_job

TWO_SPLITS = {
    "train": {"factory": "toy.py:data"},
    "test": {"factory": "toy.py:data", "kwargs": {"samples": 13}},
}
BATCHES = {"batch_size": 5}
SLOW = {"loss": "toy.py:slow", "metrics": ["loss"], "evaluation": BATCHES}
PATIENCE = 400
"""Seconds: a machine may be very busy."""

IMPATIENT = (
    "from lossgrid.engine import dismissal, lease\n"
    "lease.LEAST_SECONDS = 5.0\n"
    "lease.FIRST_SECONDS = 60.0\n"
    "dismissal.DISMISSAL_SECONDS = 3.0\n"
)


def test_neighbours_are_groups() -> None:
    found = groups(range(1, 7), 3)
    assert {leader: list(helpers) for leader, helpers in found.items()} == {1: [2, 3], 4: [5, 6]}
    assert [*groups(range(3), 1)] == [0, 1, 2]


def command(job: Path, ranks_per_worker: int, *settings: str) -> list[str | Path]:
    more = [word for setting in settings for word in ("--set", setting)]
    together = f"runtime.ranks_per_worker={ranks_per_worker}"
    return ["-m", "lossgrid", "run", job, "--set", together, *more]


def test_groups_give_the_bits_of_one_rank(flavour: Flavour, tmp_path: Path) -> None:
    job = toy_job(tmp_path, data=TWO_SPLITS, evaluation=BATCHES)
    run(job)
    alone = stacked(results(tmp_path))
    done = mpirun(flavour, 4, [*command(job, 2), "--overwrite"], timeout=PATIENCE)
    assert done.returncode == COMPLETE, done.stderr
    assert "4 ranks, 2 to a point" in done.stderr
    assert stacked(results(tmp_path)) == alone


@pytest.mark.parametrize(
    ("ranks", "together", "setting"),
    [
        (2, 2, "grid.refine=0.1"),
        (4, 4, "evaluation.network=plain"),
        (5, 2, "runtime.coordinator=dedicated"),
        (3, 3, "evaluation.precision=bfloat16"),
    ],
)
def test_groups_of_every_size(ranks: int, together: int, setting: str, tmp_path: Path) -> None:
    job = toy_job(tmp_path, data=TWO_SPLITS, evaluation=BATCHES)
    run(job, [] if "dedicated" in setting else [setting])
    alone = stacked(results(tmp_path))
    args = [*command(job, together, setting), "--overwrite"]
    done = mpirun(MPICH_WHEEL, ranks, args, timeout=PATIENCE)
    assert done.returncode == COMPLETE, done.stderr
    assert stacked(results(tmp_path)) == alone


def test_points_fail_as_on_one_rank(tmp_path: Path) -> None:
    metrics = ["loss", "toy.py:touchy"]
    job = toy_job(tmp_path, metrics=metrics, evaluation=BATCHES)
    (tmp_path / "broken").touch()
    assert run(job) == SOME_FAILED
    alone = results(tmp_path)
    assert 0 < alone.count(FAILED) < alone.points
    said, values = alone.errors(), stacked(alone)
    done = mpirun(MPICH_WHEEL, 4, [*command(job, 2), "--overwrite"], timeout=PATIENCE)
    assert done.returncode == SOME_FAILED, done.stderr
    together = results(tmp_path)
    assert together.errors() == said
    assert np.array_equal(together.status, alone.status)
    assert stacked(together) == values


def test_a_lack_of_memory_on_a_helper_makes_the_batch_smaller(tmp_path: Path) -> None:
    job = toy_job(tmp_path, loss="toy.py:hungry", metrics=["loss"])
    (tmp_path / "limit").write_text("1 30 10")
    done = mpirun(MPICH_WHEEL, 2, command(job, 2), timeout=PATIENCE)
    assert done.returncode == COMPLETE, done.stderr
    assert "rank 1, which helps: out of memory" in done.stderr
    assert "going on by a smaller plan" in done.stderr


def test_ranks_that_make_no_groups_are_refused(tmp_path: Path, refused: Callable[..., str]) -> None:
    job = toy_job(tmp_path, runtime={"ranks_per_worker": 2})
    assert "runtime.ranks_per_worker: 2, but the ranks that compute are 1" in refused("run", job)
    done = mpirun(MPICH_WHEEL, 4, command(job, 3), timeout=PATIENCE)
    assert done.returncode == 2
    assert "runtime.ranks_per_worker: 3, but the ranks that compute are 4" in done.stderr


def test_plan_tells_how_points_are_shared(tmp_path: Path) -> None:
    job = toy_job(tmp_path, evaluation=BATCHES)
    said = plan(job, ["runtime.ranks_per_worker=2"], 4)
    assert "2, each of 2 ranks that share the batches of a point, at most 50% a rank" in said
    assert " on 3 ranks with " in plan(job, ["runtime.ranks_per_worker=3"])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The values of the slow job, computed by one rank that does not sleep."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert run(slow_job(folder, loss="toy.py:lingering")) == COMPLETE
    return stacked(results(folder))


def slow_job(folder: Path, **changes: Any) -> Path:
    return toy_job(folder, **SLOW | {"grid": plane(7, 7)} | changes)


def process_of(job: Path, rank: int) -> int:
    """The process of a rank."""
    for process in rank_processes(job):
        variables = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
        names = (b"PMI_RANK=%d" % rank, b"OMPI_COMM_WORLD_RANK=%d" % rank)
        if any(name in variables for name in names):
            return process
    raise AssertionError(f"no process of rank {rank}")


def test_a_helper_hears_of_a_signal_and_others_go_on(
    wheel: Flavour, tmp_path: Path, undisturbed: bytes
) -> None:
    """In groups of another size; and then again after a kill."""
    job = slow_job(tmp_path)
    with started(wheel, 4, command(job, 2)) as launcher:
        await_points(tmp_path, 5, PATIENCE)
        os.kill(process_of(job, 3), signal.SIGUSR1)
        _, said = launcher.communicate(timeout=PATIENCE)
    assert launcher.returncode == UNFINISHED, said
    stopped = results(tmp_path).count(DONE)
    assert 5 <= stopped < 49
    with started(wheel, 3, command(job, 3)):
        await_points(tmp_path, stopped + 5, PATIENCE)
    done = mpirun(wheel, 2, command(job, 1), timeout=PATIENCE)
    assert done.returncode == COMPLETE, done.stderr
    assert stacked(results(tmp_path)) == undisturbed


def test_groups_do_without_helpers_that_die(
    ulfm: Flavour, tmp_path: Path, undisturbed: bytes
) -> None:
    """Those of rank 0 and of others."""
    job = slow_job(tmp_path)
    with started(ulfm, 6, command(job, 3)) as launcher:
        await_points(tmp_path, 5, PATIENCE)
        for victim in (1, 5):
            os.kill(process_of(job, victim), signal.SIGKILL)
        _, said = launcher.communicate(timeout=PATIENCE)
    assert launcher.returncode == COMPLETE, said
    assert stacked(results(tmp_path)) == undisturbed
    assert {event.rank for event in lasting(list(RunLog(results(tmp_path).path).events()))} == {
        1,
        5,
    }


def test_a_group_whose_leader_dies_is_out(
    ulfm: Flavour, tmp_path: Path, undisturbed: bytes
) -> None:
    job = slow_job(tmp_path)
    with started(ulfm, 4, command(job, 2)) as launcher:
        await_points(tmp_path, 5, PATIENCE)
        os.kill(process_of(job, 2), signal.SIGKILL)
        _, said = launcher.communicate(timeout=PATIENCE)
    assert launcher.returncode == COMPLETE, said
    assert stacked(results(tmp_path)) == undisturbed
    assert not rank_processes(job)


def test_a_group_of_which_one_hangs_is_left_behind(
    wheel: Flavour, tmp_path: Path, undisturbed: bytes
) -> None:
    job = slow_job(tmp_path)
    args = [program(tmp_path, IMPATIENT), *command(job, 2)[2:]]
    with started(wheel, 4, args) as launcher:
        await_points(tmp_path, 10, PATIENCE)
        os.kill(process_of(job, 3), signal.SIGSTOP)
        _, said = launcher.communicate(timeout=PATIENCE)
    assert "complete: " in said
    assert stacked(results(tmp_path)) == undisturbed
    assert "rank 2 on " in said
    assert not rank_processes(job)


class Thirds:
    """Each of three parts is its place times the points; what becomes of them is told."""

    columns = ("value",)
    points_per_pass = 4

    def __call__(self, points: Any, unwanted: Callable[[], bool]) -> Any:
        return points[:, None] * 100.0

    def part(self, points: Any, place: int, count: int, unwanted: Callable[[], bool]) -> Any:
        return points * float(place)

    def joined(self, points: Any, parts: Any) -> Any:
        return np.stack(parts, axis=1)


class Post:
    """Two helpers; what each answers to a share is given."""

    def __init__(self, *answers: Callable[[Share], list[Any] | None]) -> None:
        self.answers = dict(enumerate(answers, 1))
        self.boxes: dict[int, deque[Any]] = {rank: deque() for rank in self.answers}
        self.lost: set[int] = set()
        self.sent: list[tuple[int, Any]] = []

    def send(self, rank: int, message: Any) -> None:
        self.sent.append((rank, message))
        if isinstance(message, Share):
            said = self.answers[rank](message)
            if said is None:
                self.lost.add(rank)
            else:
                self.boxes[rank].extend(said)
        elif isinstance(message, Stop):
            self.boxes[rank].append(Dismissed())

    def receive(self, rank: int) -> Any | None:
        return self.boxes[rank].popleft() if self.boxes[rank] else None

    def is_lost(self, rank: int) -> bool:
        return rank in self.lost


POINTS = np.arange(3)


def able(share: Share) -> list[Any]:
    return [Part(share.number, share.points * float(share.place))]


def late(share: Share) -> list[Any]:
    return [Part(share.number - 1, "of points before"), *able(share)]


def wanted() -> bool:
    return False


def test_a_leader_joins_the_parts_of_all_in_their_order() -> None:
    post = Post(able, late)
    lead = Leader(Thirds(), [1, 2], post)
    for _ in range(2):
        np.testing.assert_array_equal(lead(POINTS, wanted), POINTS[:, None] * [0.0, 1.0, 2.0])
    lead.dismiss()
    assert [rank for rank, message in post.sent if isinstance(message, Stop)] == [1, 2]


def test_a_leader_does_without_the_dead() -> None:
    lead = Leader(Thirds(), [1, 2], Post(able, lambda share: None))
    np.testing.assert_array_equal(lead(POINTS, wanted), POINTS[:, None] * [0.0, 1.0])
    lead.dismiss()


def test_a_leader_computes_alone_what_a_helper_can_not() -> None:
    post = Post(able, lambda share: [Part(share.number, None)])
    found = Leader(Thirds(), [1, 2], post)(POINTS, wanted)
    np.testing.assert_array_equal(found, POINTS[:, None] * 100.0)
    assert [rank for rank, message in post.sent if isinstance(message, Drop)] == [1, 2]


def test_a_leader_tells_of_a_helper_without_memory() -> None:
    lead = Leader(Thirds(), [1], Post(lambda share: [Part(share.number, None, "short")]))
    with pytest.raises(OutOfMemoryError, match="short"):
        lead(POINTS, wanted)


def test_a_leader_drops_points_that_are_not_wanted() -> None:
    post = Post(lambda share: [])
    with pytest.raises(DroppedError):
        Leader(Thirds(), [1], post)(POINTS, lambda: True)
    assert isinstance(post.sent[-1][1], Drop)
