"""Write the batch scripts of the folder slurm/, as `lossgrid submit` renders them.

    .venv/bin/python tools/slurm_examples.py

Their paths are relative, so that they can be submitted from the project's folder.
"""

from __future__ import annotations

from pathlib import Path

from lossgrid.cluster.launcher import launcher
from lossgrid.cluster.script import Resources, Work, render

FOLDER = Path(__file__).resolve().parent.parent / "slurm"
PYTHON = (".venv/bin/python", "-m", "lossgrid")


def main() -> None:
    """Write all of them."""
    for name, text in examples().items():
        (FOLDER / name).write_text(text)


def examples() -> dict[str, str]:
    """Name and text of each."""
    paper = ("resnet56-cifar10",)
    return {
        "one-node.sbatch": _rendered(
            paper, "--gpus-per-node 4 --time 2:00:00 --partition gpu", _gpus(1, partition="gpu")
        ),
        "many-nodes.sbatch": _rendered(
            paper,
            "--nodes 4 --gpus-per-node 4 --time 2:00:00 --partition gpu",
            _gpus(4, partition="gpu"),
        ),
        "cpu.sbatch": _rendered(
            ("digits",),
            "--nodes 2 --ranks-per-node 8 --cpus-per-rank 2 --time 1:00:00",
            Resources(nodes=2, ranks_per_node=8, cpus_per_rank=2, time="1:00:00"),
        ),
        "preemptible.sbatch": _rendered(
            paper,
            "--gpus-per-node 4 --time 2:00:00 --partition preempt --option=--qos=scavenger",
            _gpus(1, partition="preempt", options=("--qos=scavenger",)),
        ),
        "array.sbatch": _rendered(
            ("resnet20-cifar10", "resnet56-cifar10"),
            "--gpus-per-node 4 --time 2:00:00 --partition gpu",
            _gpus(1, partition="gpu"),
        ),
    }


def _gpus(nodes: int, partition: str, options: tuple[str, ...] = ()) -> Resources:
    return Resources(nodes, 4, 4, time="2:00:00", partition=partition, options=options)


def _rendered(names: tuple[str, ...], options: str, resources: Resources) -> str:
    jobs = [f"jobs/{name}.yaml" for name in names]
    several = len(jobs) > 1
    srun = launcher("MPICH", {"pmi2"}, resources.ranks)
    work = Work(
        name="lossgrid" if several else names[0],
        jobs=jobs,
        overrides=(),
        launch=[*srun, *PYTHON],
        setup=(),
        log="out/lossgrid.slurm-%A_%a.out" if several else f"out/{names[0]}.slurm-%j.out",
        command=f"lossgrid submit {' '.join(jobs)} {options}",
    )
    return render(work, resources)


if __name__ == "__main__":
    main()
