"""Jobs that compute curvature, from beginning to end."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from lossgrid.commands.plan import plan
from lossgrid.commands.status import Status
from lossgrid.engine import world as worlds
from lossgrid.engine.messages import DONE
from lossgrid.errors import UserError
from lossgrid.exits import COMPLETE, SOME_FAILED, UNFINISHED
from lossgrid.job import read_job
from lossgrid.run.prepare import Prepared, prepare
from lossgrid.run.rounds import Rounds
from lossgrid.run.steps import run
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


SPECTRUM = {"points": [[0, 0], [0.3, -0.2]], "probes": 2, "iterations": 5}


def test_spectra_lie_beside_the_grid(tmp_path: Path) -> None:
    asked = {"spectrum": SPECTRUM, "trace": {"probes": 2}}
    origin = {axis: {"min": 0, "max": 0, "points": 1} for axis in ("alpha", "beta")}
    evaluation = {"precision": "float64"}
    assert run(job(tmp_path, asked, grid=origin, evaluation=evaluation)) == COMPLETE
    spectra = results(tmp_path).spectra
    assert spectra is not None
    assert spectra.beta is not None
    assert (spectra.alpha.tolist(), spectra.beta.tolist()) == ([0, 0.3], [0, -0.2])
    assert spectra.nodes["train"].shape == (2, 2, 2, 5)
    values, weights = spectra.nodes["train"].swapaxes(0, 2).swapaxes(1, 2)
    np.testing.assert_allclose(weights.sum(axis=-1), 1)
    assert spectra.parameters == 4 * 8 + 8 + 8 * 3 + 3
    hessian = exact_hessian_at_theta(tmp_path)
    assert values.min() > hessian.min() - 1e-3
    assert values[0].max() == pytest.approx(hessian.max(), rel=0.1)


def exact_hessian_at_theta(folder: Path) -> np.ndarray:
    """Its eigenvalues, of the toy's loss."""
    problem = prepare(read_job(folder / "toy.yaml"), worlds.alone()).loaded.problem
    model, split = problem.build_model().double(), problem.splits["train"]
    shapes = {name: p.shape for name, p in model.named_parameters()}

    def loss(flat: torch.Tensor) -> torch.Tensor:
        parts = torch.split(flat, [shape.numel() for shape in shapes.values()])
        weights = {n: p.view(s) for (n, s), p in zip(shapes.items(), parts, strict=True)}
        outputs = torch.func.functional_call(model, weights, (split.inputs.double(),))
        return torch.nn.functional.cross_entropy(outputs, split.targets)

    flat = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    exact = torch.autograd.functional.hessian(loss, flat)
    assert isinstance(exact, torch.Tensor)
    return torch.linalg.eigvalsh(exact).numpy()


def test_statistics_of_layers_are_stored_by_name(tmp_path: Path) -> None:
    assert run(job(tmp_path, {"hooks": {}, "gradient": {}}, grid=plane(3, 2))) == COMPLETE
    found = results(tmp_path)
    per_layer = [f"train_activation_{part}" for part in ("mean", "std", "zeros")]
    assert set(found.layers) == {
        *(f"{column}@{layer}" for column in per_layer for layer in "012"),
        *(f"train_layer_gradient_norm@{layer}" for layer in "02"),
    }
    assert not any("@" in name for name in found.values)
    squares = sum(found.layers[f"train_layer_gradient_norm@{layer}"] ** 2 for layer in "02")
    np.testing.assert_allclose(np.sqrt(squares), found.values["train_gradient_norm"], rtol=1e-6)
    assert found.layers["train_activation_zeros@1"].shape == (2, 3)
    assert (found.layers["train_activation_zeros@1"] > 0.1).all()  # a ReLU
    with h5py.File(found.path) as file:
        assert file["lossgrid/curvature/layers/names"][...].tolist() == [b"0", b"1", b"2"]
        assert file["lossgrid/curvature/layers/train_activation_mean/1"].shape == (2, 3)


def test_a_run_that_is_stopped_goes_on_with_its_spectra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = job(tmp_path, {"spectrum": SPECTRUM}, grid=plane(3, 3))
    store = Rounds.store

    def stopping(self: Rounds[Any, Any], found: Any) -> bool:
        return store(self, found) or True

    with monkeypatch.context() as patch:
        patch.setattr(Rounds, "store", stopping)
        assert run(path) == UNFINISHED
    spectra = results(tmp_path).spectra
    assert spectra is not None
    assert len(spectra.unfinished) == 3
    assert "3 probes missing" in Status.of(results(tmp_path).path).text()
    assert run(path) == COMPLETE
    whole = results(tmp_path).path.read_bytes()
    assert results(tmp_path).spectra.unfinished == []  # type: ignore[union-attr]
    run(path)
    assert results(tmp_path).path.read_bytes() == whole


def test_probes_that_fail_are_told_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = job(tmp_path, {"spectrum": SPECTRUM}, grid=plane(3, 3))

    def failing(self: Prepared, place: Any, probe: int, *others: Any) -> Any:
        return "mine" if probe == 1 else original(self, place, probe, *others)

    original = Prepared.try_probe
    with monkeypatch.context() as patch:
        patch.setattr(Prepared, "try_probe", failing)
        assert run(path) == SOME_FAILED
    said = capfd.readouterr().err
    assert "lacks probe 1: mine" in said
    assert "2 probes of spectra are missing; all else is in" in said
    assert "spectrum: 2 probes missing" in Status.of(results(tmp_path).path).text()
    assert run(path) == COMPLETE
    assert "missing" not in capfd.readouterr().err


def test_a_spectrum_without_numbers_is_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So far out the products of the layers overflow."""
    far = SPECTRUM | {"points": [[0, 0], [1e30, 1e30]]}
    path = job(tmp_path, {"spectrum": far}, grid=plane(3, 3))
    assert run(path) == COMPLETE
    spectra = results(tmp_path).spectra
    assert spectra is not None
    assert spectra.is_finite.tolist() == [[True, True], [False, False]]
    assert spectra.unfinished == []
    assert "spectrum: 2 probes not finite" in Status.of(results(tmp_path).path).text()
    monkeypatch.setattr(Prepared, "try_probe", None)
    assert run(path) == COMPLETE


def test_only_the_splits_asked_for(tmp_path: Path) -> None:
    data = {name: {"factory": "toy.py:data"} for name in ("train", "test")}
    asked = {"gradient": {}, "splits": ["test"]}
    run(job(tmp_path, asked, data=data, grid=plane(3, 3)))
    names = [name for name in results(tmp_path).values if "gradient" in name]
    assert names == ["test_gradient_alpha", "test_gradient_beta", "test_gradient_norm"]


def test_three_ranks_give_the_bits_of_one(flavour: Flavour, tmp_path: Path) -> None:
    asked = {
        "gradient": {},
        "eigenvalues": {"iterations": 4},
        "trace": {"probes": 2},
        "spectrum": SPECTRUM,
        "hooks": {},
    }
    path = job(tmp_path, asked, evaluation={"batch_size": 16}, grid=plane(3, 3))
    run(path)
    alone, beside = stacked(results(tmp_path)), beside_values(tmp_path)
    args = ["-m", "lossgrid", "run", path, "--overwrite"]
    done = mpirun(flavour, 3, args, timeout=120)
    assert done.returncode == 0, done.stderr
    assert stacked(results(tmp_path)) == alone
    assert beside_values(tmp_path) == beside


def beside_values(folder: Path) -> list[bytes]:
    """Bits of what lies beside the columns."""
    found = results(folder)
    assert found.spectra is not None
    assert not found.spectra.unfinished
    return [array.tobytes() for array in (*found.spectra.nodes.values(), *found.layers.values())]


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
    said = plan(job(tmp_path, EVERYTHING | {"spectrum": SPECTRUM}), (), 1)
    assert "spectra:    4 probes, " in said
    assert "curvature:  a gradient takes" in said
    assert "a point at most 15 Hessian products of" in said  # 12 and 3
    assert "a point:    at most" in said
    assert not (tmp_path / "out" / "toy.vtkhdf").exists()
