"""Keeping two runs off one results file."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Any

from lossgrid.errors import UserError
from lossgrid.store.disk import reason

BEAT_SECONDS = 10.0
STALE_SECONDS = 60.0
PATIENCE_SECONDS = 15.0
"""How long to wait for the rank of a killed run that has not yet died."""


class RunLock:
    """An operating-system lock on `<output>.lock`, with a heartbeat inside for other hosts.

    The lock dies with its holder. Where it does not reach across hosts (or where the file system
    has none), the heartbeat (host, pid, SLURM job, time) keeps others off until it is stale; the
    same SLURM job, requeued elsewhere, takes over at once.

    Args:
        output: the results file; its folder must be writable.

    Raises:
        UserError: on entry, if another run holds the lock or the folder can't be written.
    """

    def __init__(self, output: Path, patience: float = PATIENCE_SECONDS) -> None:
        self._output = output
        self._path = output.with_name(output.name + ".lock")
        self._patience = patience
        self._handle = -1
        self._ended = Event()
        self._heart = Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> RunLock:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._acquire()
            self._sign()
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
        self._path.unlink(missing_ok=True)  # while it is still ours
        os.close(self._handle)

    def _sign(self) -> None:
        os.pwrite(self._handle, json.dumps(_myself()).ljust(256).encode(), 0)

    def _beat(self) -> None:
        """On a thread: a run must seem alive also while it loads or measures for minutes."""
        while not self._ended.wait(BEAT_SECONDS):
            with suppress(OSError):  # a full disk: the operating system's lock still holds
                self._sign()

    def _acquire(self) -> None:
        deadline = time.monotonic() + self._patience
        while not self._try():
            if time.monotonic() > deadline:
                holder = read_holder(self._output)
                where = f" on {holder['host']} (process {holder['pid']})" if holder else ""
                raise UserError(
                    f"{self._output}: another run is working on this file{where}; "
                    "wait for its end, stop it, or set another 'output'"
                )
            time.sleep(0.1)

    def _try(self) -> bool:
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno == errno.EWOULDBLOCK:
                os.close(handle)
                return False
            if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
                os.close(handle)
                raise
        if not self._is_current(handle) or _lives_elsewhere(read_holder(self._output)):
            os.close(handle)
            return False
        self._handle = handle
        return True

    def _is_current(self, handle: int) -> bool:
        """False if the holder before us removed the file that we have just locked."""
        try:
            return os.path.samestat(os.fstat(handle), os.stat(self._path))
        except FileNotFoundError:
            return False


def read_holder(output: Path) -> dict[str, Any] | None:
    """Who last said to be working on a results file: host, pid, slurm_job, time; None if nobody."""
    path = output.with_name(output.name + ".lock")
    try:
        holder = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return holder if isinstance(holder, dict) and _myself().keys() <= holder.keys() else None


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


def _myself() -> dict[str, Any]:
    return {
        "host": os.uname().nodename,
        "pid": os.getpid(),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
        "time": time.time(),
    }
