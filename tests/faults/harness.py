"""Rounds of a run that meets a fault, then of the same job without, to its end.

All that is random about a round follows from its fault, its number and the seed.
"""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from lossgrid.errors import UserError
from lossgrid.exits import BAD_INPUT, COMPLETE
from lossgrid.store.results import read_results
from tests.faults.faults import FAULTS, Fault, Harm
from tests.faults.scene import Running, Scene, bits, done, tries
from tests.mpi import Flavour, started

RANKS = 3
LEFT = {"toy.vtkhdf", "toy.vtkhdf.log.jsonl", "toy.png"}
"""Files of a run that is complete."""

Points = NDArray[np.bool_]
"""Some of the grid's."""


@dataclass
class Outcome:
    """What came of a round.

    Attributes:
        flavour: the MPI.
        status: how the run that met the fault has ended; None if it hung.
        struck: how many calls have failed.
        seen: how many points were seen stored before its end.
        lost: how many of these were not stored any more.
        damaged: whether the file held what it should not, or could not be continued.
        objections: all that was wrong, for people.
    """

    flavour: Flavour
    status: int | None = None
    struck: int = 0
    seen: int = 0
    lost: int = 0
    damaged: bool = False
    objections: list[str] = field(default_factory=list)


class Harness:
    """Plays rounds.

    Args:
        folder: an empty one.
    """

    def __init__(self, folder: Path) -> None:
        self._struck = folder / "struck"
        self._shim = folder / "shim.so"
        source = Path(__file__).with_name("shim.c")
        compiler = ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror"]
        subprocess.run([*compiler, "-o", self._shim, source, "-ldl"], check=True)
        self._scenes = [
            Scene(folder / "plain"),
            Scene(folder / "estimated", evaluation={"tolerance": 0.01}),
        ]

    def play(self, name: str, number: int, seed: int) -> Outcome:
        """One round of a fault of that name."""
        dice, fault = Random(f"{seed}, {name}, {number}"), FAULTS[name]
        scene, outcome = dice.choice(self._scenes), Outcome(dice.choice(installed(fault)))
        with ExitStack() as stack:
            if fault.small_disk:
                stack.enter_context(scene.on_small_disk())
            stack.callback(scene.clear)
            seen = self._disturb(scene, fault, dice, outcome)
            scene.empty_disk()
            survey(scene, fault.harm, seen, outcome)
            before = tries(scene) if fault.harm is Harm.NOTHING and not outcome.damaged else None
            resume(scene, fault.harm, outcome)
            if before is not None and (again := int((tries(scene) > before)[seen].sum())):
                outcome.objections.append(f"{again} points computed again that were stored")
        return outcome

    def _disturb(self, scene: Scene, fault: Fault, dice: Random, outcome: Outcome) -> Points:
        """Run the job under the fault."""
        self._struck.write_bytes(b"")
        environment = outcome.flavour.environment()
        if fault.shim is not None:
            place = {"LD_PRELOAD": self._shim, "FAULT_FOLDER": scene.disk}
            settings = {**place, "FAULT_LOG": self._struck, **fault.shim(dice)}
            environment |= {name: str(value) for name, value in settings.items()}
        args = ["-m", "lossgrid", "run", scene.job]
        with (
            scene.slowed(),
            started(outcome.flavour, RANKS, args, env=environment) as launcher,
            Running(scene, launcher) as run,
        ):
            try:
                fault.strike(run, dice)
                outcome.status, said = run.end()
                hear(said, fault, outcome)
            except subprocess.TimeoutExpired:
                outcome.objections.append("the run hangs")
        outcome.struck = self._struck.stat().st_size
        return run.seen


def installed(fault: Fault) -> list[Flavour]:
    """The MPIs that a fault can happen under here."""
    return [flavour for flavour in fault.flavours if flavour.is_installed]


def hear(said: str, fault: Fault, outcome: Outcome) -> None:
    """A run must end in one of the ways that are promised, and tell of a failure in a sentence."""
    sentences = sum(line.startswith("lossgrid: ") for line in said.splitlines())
    if fault.ends is None:  # who has been killed says nothing, and orphans may all tell
        well = outcome.status != BAD_INPUT
    else:
        well = outcome.status in fault.ends and sentences == int(outcome.status != COMPLETE)
    if not well or "Traceback" in said:
        outcome.objections.append(f"status {outcome.status}:\n{said}")


def survey(scene: Scene, harm: Harm, seen: Points, outcome: Outcome) -> None:
    """What is stored after the fault must be all that ever was, and right."""
    outcome.seen = int(seen.sum())
    if harm is Harm.RESULTS:
        return
    stored = np.zeros_like(seen)
    if scene.output.exists():
        try:
            found = read_results(scene.output)
            stored = done(found)
            outcome.damaged = bool((bits(found) != scene.truth)[stored].any())
        except UserError as error:
            outcome.damaged = True
            outcome.objections.append(str(error))
    outcome.lost = int((seen & ~stored).sum())
    if outcome.lost or outcome.damaged:
        outcome.objections.append(f"{outcome.lost} points lost, damaged: {outcome.damaged}")


def resume(scene: Scene, harm: Harm, outcome: Outcome) -> None:
    """The same command must end with the bits of an undisturbed run."""
    try:
        status = scene.complete()
    except UserError as error:
        if harm is not Harm.RESULTS:
            outcome.damaged = True
            outcome.objections.append(f"refused: {error}")
            return
        status = scene.restart()
    found = read_results(scene.output)
    if status != COMPLETE or not done(found).all() or (bits(found) != scene.truth).any():
        outcome.damaged = True
        outcome.objections.append(f"resumed to status {status} and other values")
    if left := {path.name for path in scene.disk.iterdir()} - LEFT:
        outcome.objections.append(f"left behind: {', '.join(sorted(left))}")
