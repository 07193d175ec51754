"""Keeping two runs off one results file."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Any

from lossgrid.errors import UserError
from lossgrid.store.disk import fsync, reason

BEAT_SECONDS = 10.0
STALE_SECONDS = 60.0
PATIENCE_SECONDS = 15.0
"""How long to wait for the rank of a killed run that has not yet died."""
SETTLING_SECONDS = 0.5
"""How long two that sign at the same moment take to see each other, where there are no locks."""

LONG_AGO = 0.0
"""The last sign of life of a run that has ended but leaves its lock as evidence."""


class RunLock:
    """An operating-system lock on `<output>.lock`, with a heartbeat inside for other hosts.

    The lock dies with its holder. Where it does not reach across hosts (or where the file system
    has none), the heartbeat (host, pid, SLURM job, time) keeps others off until it is stale; the
    same SLURM job, requeued elsewhere, takes over at once. A heartbeat of another host that has
    stopped is waited for until it is stale, since its run may just have been killed.

    Attributes:
        power_lost: a run before this one did not end by itself, and perhaps not by a kill either,
            so that the disk may lack what it had written. The file of the lock is the evidence: it
            stays, also after a run that ends by itself, until `forget_power_loss`.

    Args:
        output: the results file; its folder must be writable.
        say: told, in a sentence, of a wait that may last.
        patience: seconds to wait for a run on this host to die.

    Raises:
        UserError: on entry, if another run holds the lock or the folder can't be written.
    """

    def __init__(
        self,
        output: Path,
        say: Callable[[str], None] = lambda text: None,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._output = output
        self._path = output.with_name(output.name + ".lock")
        self._say = say
        self._patience = patience
        self._began = time.time()
        self.power_lost = False
        self._handle = -1
        self._ended = Event()
        self._heart = Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> RunLock:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._acquire()
        except OSError as error:
            raise UserError(
                f"{self._path.parent}: can't write the results there: {reason(error)}; "
                "mend the folder or set another 'output'"
            ) from error
        self._heart.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._heart.join()
        if self.power_lost:
            with suppress(OSError):  # what it held before says the same
                self._sign(LONG_AGO)
        else:
            self._path.unlink(missing_ok=True)  # while it is still ours
        os.close(self._handle)

    def forget_power_loss(self) -> None:
        """The results file holds nothing that a power loss has spoilt, and the disk has it so."""
        self.power_lost = False

    def _sign(self, now: float) -> None:
        signature = {
            **_myself(),
            "boot": _boot(),
            "power_lost": self.power_lost,
            "began": self._began,
            "time": now,
        }
        os.pwrite(self._handle, json.dumps(signature).ljust(512).encode(), 0)

    def _beat(self) -> None:
        """On a thread: a run must seem alive also while it loads or measures for minutes."""
        while not self._ended.wait(BEAT_SECONDS):
            with suppress(OSError):  # a full disk: the operating system's lock still holds
                self._sign(time.time())

    def _acquire(self) -> None:
        deadline = time.monotonic() + self._patience
        first = read_holder(self._output)
        told = False
        while not self._try():
            holder = read_holder(self._output)
            silent = holder is not None and holder == first and _lives_elsewhere(holder)
            if silent and not told:
                told = True
                self._say(f"waiting up to {STALE_SECONDS:.0f} s for a sign of life{_whose(holder)}")
            elif not silent and time.monotonic() > deadline:
                raise UserError(
                    f"{self._output}: another run is working on this file{_whose(holder)}; "
                    "wait for its end, stop it, or set another 'output'"
                )
            time.sleep(0.1)

    def _try(self) -> bool:
        self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            taken = self._take()
        except OSError:
            os.close(self._handle)
            raise
        if not taken:
            os.close(self._handle)
        return taken

    def _take(self) -> bool:
        """Lock and sign the open file, unless it is somebody else's."""
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locks = True
        except OSError as error:
            if error.errno == errno.EWOULDBLOCK:
                return False
            if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
                raise
            locks = False
        holder = read_holder(self._output)
        # The lock tells of this host for certain, also if a dead holder's pid is in use again.
        if not self._is_current() or _lives_elsewhere(holder) or (not locks and is_alive(holder)):
            return False
        self.power_lost = holder is not None and (holder["power_lost"] or holder["boot"] != _boot())
        self._sign(time.time())
        os.fsync(self._handle)
        fsync(self._path.parent)
        if not locks:
            time.sleep(SETTLING_SECONDS)
            holder = read_holder(self._output)
            return holder is not None and _is_me(holder)
        return True

    def _is_current(self) -> bool:
        """False if the holder before us removed the file that we have just locked."""
        try:
            return os.path.samestat(os.fstat(self._handle), os.stat(self._path))
        except FileNotFoundError:
            return False


def read_holder(output: Path) -> dict[str, Any] | None:
    """Who last said to be working on a results file; None if nobody.

    Returns: host, pid, slurm_job, boot (which start of its machine), power_lost (see `RunLock`),
        when it began and its last sign of life (seconds since 1970).
    """
    path = output.with_name(output.name + ".lock")
    try:
        holder = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    known = {*_myself(), "boot", "power_lost", "began", "time"}
    return holder if isinstance(holder, dict) and known <= holder.keys() else None


def is_alive(holder: dict[str, Any] | None) -> bool:
    """Whether a holder's last heartbeat is recent and, on this host, its process there."""
    if holder is None or time.time() - float(holder["time"]) >= STALE_SECONDS:
        return False
    return holder["host"] != os.uname().nodename or Path(f"/proc/{holder['pid']}").exists()


def _lives_elsewhere(holder: dict[str, Any] | None) -> bool:
    me = _myself()
    if holder is None or holder["host"] == me["host"]:
        return False
    same_job = me["slurm_job"] is not None and holder["slurm_job"] == me["slurm_job"]
    return is_alive(holder) and not same_job


def _whose(holder: dict[str, Any] | None) -> str:
    return f" on {holder['host']} (process {holder['pid']})" if holder else ""


def _is_me(holder: dict[str, Any]) -> bool:
    return all(holder[key] == value for key, value in _myself().items())


def _boot() -> str:
    """Changes when the machine starts anew, and from machine to machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return os.uname().nodename


def _myself() -> dict[str, Any]:
    return {
        "host": os.uname().nodename,
        "pid": os.getpid(),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
    }
