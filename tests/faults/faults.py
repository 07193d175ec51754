"""The faults: what each does to a run, how that may end, and what must be there afterwards."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from random import Random

from lossgrid.exits import BAD_INPUT, COMPLETE
from tests.faults.scene import DISK_BYTES, Running
from tests.mpi import MPICH_PARALLEL, MPICH_WHEEL, OPENMPI_PARALLEL, OPENMPI_ULFM, Flavour

Settings = Mapping[str, object]
"""Of shim.c."""

ALWAYS = 10**9


class Harm(Enum):
    """What a fault itself takes away."""

    NOTHING = auto()
    OTHER = auto()  # files beside the results
    RESULTS = auto()


@dataclass(frozen=True)
class Fault:
    """Something that happens to a run.

    Attributes:
        strike: does it, while the run is on its way.
        shim: what the shim does to every rank.
        ends: exit statuses that the run may have; any, if the launcher decides.
        harm: what of the results need not be there afterwards.
        small_disk: whether the results are on one, which strikes may fill.
        flavours: the MPIs that it happens under.
    """

    strike: Callable[[Running, Random], None] = lambda run, dice: None
    shim: Callable[[Random], Settings] | None = None
    ends: frozenset[int] | None = frozenset({COMPLETE})
    harm: Harm = Harm.NOTHING
    small_disk: bool = False
    flavours: tuple[Flavour, ...] = (
        MPICH_WHEEL,
        OPENMPI_ULFM,
        MPICH_PARALLEL,
        OPENMPI_PARALLEL,
    )


def kill_rank(run: Running, dice: Random) -> None:
    run.sometime(dice)
    if ranks := run.ranks():
        send(dice.choice(ranks), signal.SIGKILL)


def kill_worker(run: Running, dice: Random) -> None:
    run.halfway(dice)
    send(dice.choice(run.workers()), signal.SIGKILL)


def kill_all(run: Running, dice: Random) -> None:
    run.sometime(dice)
    run.kill()


def stop_rank(run: Running, dice: Random) -> None:
    run.sometime(dice)
    if ranks := run.ranks():
        victim = dice.choice(ranks)
        send(victim, signal.SIGSTOP)
        time.sleep(dice.uniform(0.2, 3))
        send(victim, signal.SIGCONT)


def send(process: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, number)


def fill_disk(run: Running, dice: Random) -> None:
    run.halfway(dice)
    run.scene.fill_disk(room=0)


def leave_little_room(run: Running, dice: Random) -> None:
    run.scene.fill_disk(room=dice.randint(0, DISK_BYTES // 2))


def remove_results(run: Running, dice: Random) -> None:
    run.halfway(dice)
    run.scene.output.unlink()


def cut_results(run: Running, dice: Random) -> None:
    run.halfway(dice)
    os.truncate(run.scene.output, dice.randrange(run.scene.output.stat().st_size))


def harm_another(run: Running, dice: Random) -> None:
    """Remove or cut short the log, the lock or what estimates build upon."""
    run.halfway(dice)
    others = sorted(set(run.scene.disk.iterdir()) - {run.scene.output})
    victim = dice.choice(others)
    if dice.random() < 1 / 2:
        victim.unlink()
    else:
        os.truncate(victim, dice.randrange(victim.stat().st_size))


def short_writes(dice: Random) -> Settings:
    return {"FAULT_CALL": "write", "FAULT_ERROR": 0, **from_some_call(dice, 300)}


def failing_write(dice: Random) -> Settings:
    error = dice.choice([errno.EIO, errno.ENOSPC])
    return {"FAULT_CALL": "write", "FAULT_ERROR": error, **from_some_call(dice, 600)}


def failing_sync(dice: Random) -> Settings:
    return {"FAULT_CALL": "sync", "FAULT_ERROR": errno.EIO, **from_some_call(dice, 10)}


def from_some_call(dice: Random, latest: int) -> Settings:
    """A call that fails: one alone, or all from then on."""
    first = dice.randint(1, latest)
    return {"FAULT_FIRST": first, "FAULT_LAST": dice.choice([first, ALWAYS])}


def jumping_clock(dice: Random) -> Settings:
    return {"FAULT_JUMP": round(dice.choice([2, 100, 1e4, 1e8]))}


REFUSED = frozenset({BAD_INPUT})
EITHER = frozenset({COMPLETE, BAD_INPUT})

ENDING_TOGETHER = (MPICH_WHEEL, MPICH_PARALLEL, OPENMPI_PARALLEL)
"""Where ranks outlive others, they wait for ever for one that dies before MPI has started."""

FAULTS = {
    "a rank is killed": Fault(kill_rank, ends=None, flavours=ENDING_TOGETHER),
    "a worker is killed, others go on": Fault(kill_worker, flavours=(OPENMPI_ULFM,)),
    "all ranks are killed": Fault(kill_all, ends=None),
    "a rank is stopped for a while": Fault(stop_rank),
    "the disk is full at some moment": Fault(fill_disk, ends=EITHER, small_disk=True),
    "the disk is nearly full": Fault(leave_little_room, ends=EITHER, small_disk=True),
    "writes are short": Fault(shim=short_writes, ends=EITHER),  # Open MPI 4 takes them for failures
    "a write fails": Fault(shim=failing_write, ends=EITHER),
    "a sync fails": Fault(shim=failing_sync, ends=EITHER),
    "the clock jumps": Fault(shim=jumping_clock),
    "the results are removed": Fault(remove_results, ends=REFUSED, harm=Harm.RESULTS),
    "the results are cut short": Fault(cut_results, ends=REFUSED, harm=Harm.RESULTS),
    "a file beside them is harmed": Fault(harm_another, ends=EITHER, harm=Harm.OTHER),
}
