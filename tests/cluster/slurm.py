"""A real SLURM on this machine: a controller and several virtual nodes, in a folder of its own."""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from lossgrid.cluster.queue import look_up
from tests.mpi import LAUNCHER_VARIABLES, RUN_VARIABLE, kill_run

NODES = 4
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
DEVICES = ("null", "zero", "full", "random")  # that a node calls its GPUs

CONFIGURATION = """
ClusterName=local
FirstJobId={first}
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=10
SlurmctldPort={ports[0]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
TmpFS={folder}/tmp-%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
MpiDefault=none
ReturnToService=2
KillWait=5
SlurmdParameters=config_overrides
PropagateResourceLimits=NONE
GresTypes=gpu
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=ALL MaxTime=INFINITE State=UP
PartitionName=preempt Nodes=ALL MaxTime=INFINITE State=UP
"""


def missing() -> list[str]:
    """The programs of SLURM that this machine lacks."""
    return [program for program in PROGRAMS if shutil.which(program, path=PATH) is None]


@contextmanager
def slurm() -> Iterator[None]:
    """In which SLURM's commands find a cluster of four nodes with 16 CPUs and 4 GPUs each.

    Nothing of it is left behind: its daemons also end when this process is killed.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-")))
        folder.chmod(0o755)  # or munge trusts nobody who comes through it
        (folder / "slurm.conf").write_text(_configuration(folder))
        devices = "".join(f"NodeName=n[1-{NODES}] Name=gpu File=/dev/{name}\n" for name in DEVICES)
        (folder / "gres.conf").write_text(devices)
        mark = uuid.uuid4().hex
        ours = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": PATH, RUN_VARIABLE: mark}
        stack.enter_context(_environment(ours))
        stack.callback(kill_run, mark)
        _start(folder, stack)
        yield


def _configuration(folder: Path) -> str:
    names = [f"n{number}" for number in range(1, NODES + 1)]
    for name in ("munge", "state", *(f"{kind}-{n}" for n in names for kind in ("spool", "tmp"))):
        (folder / name).mkdir()
    host, ports = os.uname().nodename, _free_ports(1 + NODES)
    nodes = [
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=16 "
        f"RealMemory=2000 Gres=gpu:{len(DEVICES)} State=UNKNOWN"
        for name, port in zip(names, ports[1:], strict=True)
    ]
    return CONFIGURATION.format(
        host=host,
        user=getpass.getuser(),
        folder=folder,
        ports=ports,
        nodes="\n".join(nodes),
        first=10_000 + secrets.randbelow(900_000),  # MPIs name what they leave behind after jobs
    )


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    """No surrounding job, nor MPI."""
    before = dict(os.environ)
    for name in list(os.environ):
        if name.startswith((*LAUNCHER_VARIABLES, "SLURM_", "SBATCH_", "SRUN_")):
            del os.environ[name]
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _start(folder: Path, stack: ExitStack) -> None:
    munge = folder / "munge"
    munge.chmod(0o755)
    (munge / "key").write_bytes(secrets.token_bytes(128))
    (munge / "key").chmod(0o400)
    files = [f"--{kind}-file={munge}/{kind}" for kind in ("key", "pid", "seed", "log")]
    daemons = [
        ["munged", "--foreground", f"--socket={munge}/socket", *files],
        ["slurmctld", "-D"],
        *(["slurmd", "-D", "-N", f"n{number}"] for number in range(1, NODES + 1)),
    ]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
    for command in daemons:
        # They die with us, also if we are killed.
        words = ["setpriv", "--pdeathsig", "KILL", *command]
        stack.callback(_end, subprocess.Popen(words, **quiet))  # type: ignore[call-overload]
        if command[0] == "munged":
            until((munge / "socket").exists, 20)
    try:
        until(lambda: sinfo().split() == ["idle"] * NODES, 60)
    except TimeoutError as error:
        logs = "\n".join(
            f"{log.name}: {log.read_text()[-1500:]}" for log in sorted(folder.glob("*.log"))
        )
        raise RuntimeError(f"SLURM does not start: {sinfo()}\n{logs}") from error


def _end(daemon: subprocess.Popen[bytes]) -> None:
    daemon.kill()
    daemon.wait()


def sinfo() -> str:
    listing = ["sinfo", "--noheader", "--Node", "--partition=main", "--format=%T"]
    return subprocess.run(listing, check=False, capture_output=True, text=True).stdout


def scontrol(*words: str) -> None:
    subprocess.run(["scontrol", *words], check=True, timeout=60)


def until(true: Callable[[], object], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not so after {seconds} s")
        time.sleep(0.1)


def state(job: str) -> str:
    found = look_up(job)
    assert found is not None
    return found.state


def begin_now(job: str) -> None:
    """A job that was queued again would wait for a while.

    Nodes refuse what begins in the second in which they have killed its last turn, and SLURM then
    takes it for ended.
    """
    time.sleep(1.5)
    with suppress(subprocess.CalledProcessError):  # it has begun meanwhile
        scontrol("update", f"JobId={job}", "StartTime=now")
