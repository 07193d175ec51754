"""Files of the reference code, written here the way its own loops write them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

import lossgrid
from lossgrid.cli import commands
from lossgrid.commands.convert import convert
from lossgrid.commands.status import Status
from lossgrid.errors import UserError
from lossgrid.run.steps import run
from tests.runs import plane
from tests.toy import toy_job


def loss(x: float, y: float) -> float:
    return 1 + x**2 + 3 * y**2 + x * y


def surface_file(path: Path, nx: int, ny: int | None, missing: int = 0) -> Path:
    """As `crunch` of plot_surface.py: an index into the flat array is one into the flat mesh."""
    x = np.linspace(-1, 2, nx)
    y = np.linspace(-2, 2, ny) if ny else np.zeros(1)
    values = -np.ones((nx, ny) if ny else nx)
    accuracies = values.copy()
    mesh_x, mesh_y = np.meshgrid(x, y)
    for index in range(values.size - missing):
        place = mesh_x.ravel()[index], mesh_y.ravel()[index]
        values.ravel()[index] = loss(*place)
        accuracies.ravel()[index] = 100 / loss(*place)
    with h5py.File(path, "w") as file:
        file["dir_file"] = "directions.h5"
        file["xcoordinates"] = x
        if ny:
            file["ycoordinates"] = y
        file["train_loss"] = values
        file["train_acc"] = accuracies
    return path


@pytest.mark.parametrize(("nx", "ny"), [(4, 4), (7, 3), (3, 8), (5, None), (1, 4)])
def test_a_surface_becomes_a_results_file_and_back(tmp_path: Path, nx: int, ny: int | None) -> None:
    theirs = surface_file(tmp_path / "theirs.h5", nx, ny)
    done = CliRunner().invoke(commands, ["convert", str(theirs)])
    assert done.exit_code == 0, done.output
    assert ("along rows" in done.output) == (ny not in (None, nx))
    surface = lossgrid.open(tmp_path / "theirs.vtkhdf")
    rows = np.zeros(1) if surface.beta is None else surface.beta
    expected = [[loss(x, y) for x in surface.alpha] for y in rows]
    assert surface["train_loss"] == pytest.approx(np.array(expected).reshape(surface.shape))
    assert surface["train_accuracy"] == pytest.approx(1 / surface["train_loss"])
    assert Status.of(surface.path).text()
    back = surface.save(tmp_path / "back.h5")
    with h5py.File(theirs) as before, h5py.File(back) as after:
        for name in before.keys() - {"dir_file"}:
            assert after[name].shape == before[name].shape
            assert after[name][...] == pytest.approx(before[name][...], rel=1e-15)


def test_what_was_not_computed_is_pending(tmp_path: Path) -> None:
    said = convert(surface_file(tmp_path / "part.h5", 5, 4, missing=3), tmp_path / "part.vtkhdf")
    assert "3 points were not computed" in said
    part = lossgrid.open(tmp_path / "part.vtkhdf")
    assert np.isnan(part["train_loss"].ravel()[-3:]).all()
    assert np.isfinite(part["train_loss"].ravel()[:-3]).all()
    with h5py.File(part.save(tmp_path / "part-back.h5")) as file:
        assert (file["train_loss"][...].ravel()[-3:] == -1).all()


def test_what_diverged_is_no_less_computed(tmp_path: Path) -> None:
    theirs = surface_file(tmp_path / "theirs.h5", 4, 4)
    with h5py.File(theirs, "r+") as file:
        file["train_loss"][0, 0] = np.nan
        file["train_loss"][0, 1] = -1
    convert(theirs, tmp_path / "ours.vtkhdf")
    surface = lossgrid.open(tmp_path / "ours.vtkhdf")
    assert (surface.status == 1).all()
    assert np.isnan(surface["train_loss"][0, 0])
    assert np.isfinite(surface["train_accuracy"]).all()
    with h5py.File(surface.save(tmp_path / "back.h5")) as back:
        assert np.isnan(back["train_loss"][0, 0])
        assert back["train_loss"][0, 1] == -1


def test_results_are_not_replaced_unasked(tmp_path: Path) -> None:
    assert run(toy_job(tmp_path, grid=plane(3, 3))) == 0
    path = tmp_path / "out" / "toy.vtkhdf"
    before = path.read_bytes()
    theirs = surface_file(path.with_suffix(".h5"), 4, 4)
    with pytest.raises(UserError, match="is there already"):
        convert(theirs, path)
    assert path.read_bytes() == before
    convert(theirs, path, overwrite=True)
    assert lossgrid.open(path).shape == (4, 4)


def test_pictures_of_a_converted_surface(tmp_path: Path) -> None:
    convert(surface_file(tmp_path / "theirs.h5", 9, 7), tmp_path / "ours.vtkhdf")
    surface = lossgrid.open(tmp_path / "ours.vtkhdf")
    for suffix in (".png", ".vts", ".html"):
        assert surface.save(tmp_path / f"picture{suffix}").exists()


def test_what_can_t_be_converted(tmp_path: Path) -> None:
    good = surface_file(tmp_path / "good.h5", 4, 4)
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(UserError, match="can't be read as a surface file"):
        convert(tmp_path / "text.h5", tmp_path / "out.vtkhdf")
    with pytest.raises(UserError, match=r"must end in \.vtkhdf"):
        convert(good, tmp_path / "out.h5")
    with h5py.File(good, "r+") as file:
        file["xcoordinates"][1] += 0.1
    with pytest.raises(UserError, match="equal steps"):
        convert(good, tmp_path / "out.vtkhdf")
    with h5py.File(good, "r+") as file:
        del file["train_loss"], file["train_acc"]
        file["xcoordinates"][1] -= 0.1
    with pytest.raises(UserError, match="without values"):
        convert(good, tmp_path / "out.vtkhdf")
    assert not list(tmp_path.glob("*.vtkhdf*"))


def test_a_converted_file_is_not_continued(tmp_path: Path) -> None:
    job = toy_job(tmp_path, grid=plane(4, 4))
    (tmp_path / "out").mkdir(exist_ok=True)
    convert(surface_file(tmp_path / "theirs.h5", 4, 4), tmp_path / "out" / "toy.vtkhdf")
    with pytest.raises(UserError, match=r"was converted from theirs\.h5"):
        run(job)


def test_their_directions_move_what_they_name(tmp_path: Path) -> None:
    """One tensor a parameter, in the model's order, as `write_list` of h5_util.py numbers them."""
    steps = {}
    with h5py.File(tmp_path / "directions.h5", "w") as file:
        shapes = [(8, 4), (8,), (3, 8), (3,)]
        for axis in "xy":
            random = np.random.default_rng(ord(axis))
            steps[axis] = [random.normal(size=shape).astype(np.float32) for shape in shapes]
            for number, step in enumerate(steps[axis]):
                file[f"{axis}direction/{number}"] = step
    directions = {"kind": "file", "path": "directions.h5"}
    assert run(toy_job(tmp_path, grid=plane(3, 3), directions=directions)) == 0
    with h5py.File(tmp_path / "out" / "toy.vtkhdf") as file:
        names = ["0.weight", "0.bias", "2.weight", "2.bias"]
        for axis in "xy":
            for name, step in zip(names, steps[axis], strict=True):
                assert np.array_equal(file[f"lossgrid/directions/{axis}/{name}"], step)
    with h5py.File(tmp_path / "directions.h5", "r+") as file:
        del file["xdirection/3"]
    with pytest.raises(UserError, match="moves 3 tensors, the model has 4"):
        run(toy_job(tmp_path, grid=plane(3, 3), directions=directions))


def read_list(file: h5py.File, name: str) -> list[np.ndarray]:
    """As `read_list` of h5_util.py."""
    return [file[name][str(index)][...] for index in range(len(file[name]))]


def test_directions_are_written_as_they_read_them(tmp_path: Path) -> None:
    """Moved as by `set_weights` of net_plotter.py, their network has the surface's values."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).eval()
    inputs, targets = torch.randn(30, 4), torch.randint(3, (30,))
    surface = lossgrid.landscape(model, (inputs, targets), points=(5, 3), progress=False)
    path = surface.save_directions(tmp_path / "directions.h5", model)
    with h5py.File(path) as file:
        dx, dy = (read_list(file, f"{axis}direction") for axis in "xy")
    weights = [parameter.detach().clone() for parameter in model.parameters()]
    for row, beta in enumerate([-1, 0, 1]):
        for column, alpha in enumerate(surface.alpha):
            changes = [d0 * alpha + d1 * beta for d0, d1 in zip(dx, dy, strict=True)]
            for p, w, d in zip(model.parameters(), weights, changes, strict=True):
                p.data = w + torch.from_numpy(d).float()
            loss = float(nn.functional.cross_entropy(model(inputs), targets).detach())
            assert surface["train_loss"][row, column] == pytest.approx(loss, rel=1e-5)
    for p, w in zip(model.parameters(), weights, strict=True):
        p.data = w
    again = lossgrid.landscape(
        model,
        (inputs, targets),
        points=(5, 3),
        directions={"kind": "file", "path": str(path)},
        progress=False,
    )
    assert again["train_loss"] == pytest.approx(surface["train_loss"], rel=1e-6)


def test_directions_of_another_model_are_refused(tmp_path: Path) -> None:
    model = nn.Linear(4, 3)
    data = torch.randn(6, 4), torch.randint(3, (6,))
    surface = lossgrid.landscape(model, data, points=2, progress=False)
    with pytest.raises(UserError, match=r"move weight \(3, 4\), which is no parameter"):
        surface.save_directions(tmp_path / "directions.h5", nn.Linear(5, 3))
    draws = lossgrid.landscape(
        model, data, points=2, beta=None, directions={"draws": 2}, progress=False
    )
    with pytest.raises(UserError, match="several draws"):
        draws.save_directions(tmp_path / "directions.h5", model)
    assert not list(tmp_path.iterdir())
