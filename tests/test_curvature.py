"""Jobs that compute curvature, from beginning to end."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lossgrid.engine.messages import DONE
from lossgrid.errors import UserError
from lossgrid.exits import COMPLETE
from lossgrid.planning import plan
from lossgrid.run import run
from tests.mpi import MPICH_WHEEL, Flavour, mpirun, started
from tests.runs import await_points, plane, results, stacked
from tests.toy import toy_job

EVERYTHING = {"gradient": {}, "eigenvalues": {"iterations": 12}, "trace": {"probes": 3}}
COLUMNS = [
    *(f"train_gradient_{part}" for part in ("norm", "alpha", "beta")),
    *(f"train_eigenvalue_{part}" for part in ("max", "min", "ratio", "residual", "iterations")),
    "train_trace",
    "train_trace_sem",
]


def job(folder: Path, curvature: Any = None, **changes: Any) -> Path:
    asked = EVERYTHING if curvature is None else curvature
    return toy_job(folder, **{"curvature": asked, "grid": plane(5, 3)} | changes)


def test_columns_lie_beside_the_metrics(tmp_path: Path) -> None:
    run(toy_job(tmp_path, grid=plane(5, 3)))
    without = results(tmp_path).values
    losses = without["train_loss"].tobytes()
    assert run(job(tmp_path, output="out/toy.vtkhdf"), overwrite=True) == COMPLETE
    found = results(tmp_path)
    assert set(found.values) == {*COLUMNS, "train_loss", "train_accuracy"}
    assert found.values["train_loss"].tobytes() == losses
    values = {name: found.values[name] for name in COLUMNS}
    assert all(np.isfinite(column).all() for column in values.values())
    largest, smallest = values["train_eigenvalue_max"], values["train_eigenvalue_min"]
    assert (largest > smallest).all()
    ratio = np.abs(smallest / largest)
    np.testing.assert_array_equal(values["train_eigenvalue_ratio"], ratio)
    assert (values["train_eigenvalue_iterations"] <= 12).all()
    residual = values["train_eigenvalue_residual"]
    assert ((residual <= 0.01) | (values["train_eigenvalue_iterations"] == 12)).all()


def test_slopes_are_those_of_the_stored_surface(tmp_path: Path) -> None:
    fine = {axis: {"min": -0.001, "max": 0.001, "points": 3} for axis in ("alpha", "beta")}
    evaluation = {"precision": "float64"}
    run(job(tmp_path, {"gradient": {}}, grid=fine, evaluation=evaluation))
    found = results(tmp_path).values
    by_beta, by_alpha = np.gradient(found["train_loss"], 0.001)
    assert found["train_gradient_alpha"][1, 1] == pytest.approx(by_alpha[1, 1], rel=1e-4)
    assert found["train_gradient_beta"][1, 1] == pytest.approx(by_beta[1, 1], rel=1e-4)
    assert abs(by_alpha[1, 1]) > 1e-3


def test_a_line_has_no_slope_along_beta(tmp_path: Path) -> None:
    line = {"alpha": {"min": -1, "max": 1, "points": 3}}
    assert run(job(tmp_path, {"gradient": {}}, grid=line)) == COMPLETE
    assert "train_gradient_beta" not in results(tmp_path).values


def test_only_the_splits_asked_for(tmp_path: Path) -> None:
    data = {name: {"factory": "toy.py:data"} for name in ("train", "test")}
    asked = {"gradient": {}, "splits": ["test"]}
    run(job(tmp_path, asked, data=data, grid=plane(3, 3)))
    names = [name for name in results(tmp_path).values if "gradient" in name]
    assert names == ["test_gradient_alpha", "test_gradient_beta", "test_gradient_norm"]


def test_three_ranks_give_the_bits_of_one(flavour: Flavour, tmp_path: Path) -> None:
    asked = {"gradient": {}, "eigenvalues": {"iterations": 4}, "trace": {"probes": 2}}
    path = job(tmp_path, asked, evaluation={"batch_size": 16}, grid=plane(3, 3))
    run(path)
    alone = stacked(results(tmp_path))
    args = ["-m", "lossgrid", "run", path, "--overwrite"]
    done = mpirun(flavour, 3, args, timeout=120)
    assert done.returncode == 0, done.stderr
    assert stacked(results(tmp_path)) == alone


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    path = job(tmp_path, grid=plane(9, 9), metrics=["loss", "toy.py:slow"])
    assert run(path) == COMPLETE
    whole = stacked(results(tmp_path))
    args = ["-m", "lossgrid", "run", path, "--overwrite"]
    (tmp_path / "out" / "toy.vtkhdf").unlink()
    with started(MPICH_WHEEL, 2, args) as launcher:
        await_points(tmp_path, 10)
        launcher.send_signal(signal.SIGKILL)
        launcher.wait(30)
    partial = results(tmp_path)
    assert 0 < partial.count(DONE) < partial.points
    assert run(path) == COMPLETE
    assert stacked(results(tmp_path)) == whole


def test_values_that_are_not_finite_are_results(tmp_path: Path) -> None:
    far = {"min": 1e20, "max": 2e20, "points": 2}
    assert run(job(tmp_path, grid={"alpha": far, "beta": far})) == COMPLETE
    found = results(tmp_path)
    assert (found.status == DONE).all()
    assert np.isnan(found.values["train_eigenvalue_max"]).all()


def test_another_curvature_is_another_job(tmp_path: Path) -> None:
    run(job(tmp_path, {"gradient": {}}))
    with pytest.raises(UserError, match="holds the results of another job: curvature"):
        run(job(tmp_path, {"trace": {"probes": 3}}))
    with pytest.raises(UserError, match="holds the results of another job: curvature"):
        run(toy_job(tmp_path, grid=plane(5, 3)))


def test_a_loss_without_derivatives_is_refused_at_once(tmp_path: Path) -> None:
    path = job(tmp_path, loss="toy.py:rounded")
    (tmp_path / "toy.py").open("a").write(
        "\n\ndef rounded(outputs, targets):\n    return outputs.detach().square().mean(dim=1)\n"
    )
    with pytest.raises(UserError, match=r"can't be differentiated twice: .* does not require grad"):
        run(path)
    assert not (tmp_path / "out" / "toy.vtkhdf").exists()


def test_less_memory_means_smaller_batches(tmp_path: Path) -> None:
    """The loss is out of memory in batches of more than 10, after those that a start needs."""
    (tmp_path / "limit").write_text("-1 40 10")
    path = job(tmp_path, {"gradient": {}}, metrics=["loss", "toy.py:hungry"], grid=plane(9, 9))
    assert run(path) == COMPLETE
    found = results(tmp_path)
    assert len(found.epochs) > 1
    assert np.isfinite(found.values["train_gradient_norm"]).all()


def test_plan_says_what_it_costs(tmp_path: Path) -> None:
    said = plan(job(tmp_path), (), 1)
    assert "curvature:  a gradient takes" in said
    assert "a point at most 15 Hessian products of" in said  # 12 and 3
    assert "a point:    at most" in said
    assert not (tmp_path / "out" / "toy.vtkhdf").exists()
