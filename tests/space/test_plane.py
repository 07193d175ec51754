from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lossgrid.errors import UserError
from lossgrid.job import Job, read_job
from lossgrid.space.directions import gaussian
from lossgrid.space.plane import Plane, build_plane
from tests.toy import toy_job

LINE = {"alpha": {"min": -1, "max": 1, "points": 3}}
PLANE = {**LINE, "beta": {"min": -1, "max": 1, "points": 3}}


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).eval()


def job(folder: Path, grid: dict[str, Any], **directions: Any) -> Job:
    for number, name in enumerate(("b.pt", "c.pt"), start=1):
        torch.save(network(number).state_dict(), folder / name)
    return read_job(toy_job(folder, grid=grid, directions=directions))


def at(plane: Plane, alpha: float, beta: float, dtype: torch.dtype = torch.float32) -> Tensor:
    flat = torch.empty(plane.layout.size, dtype=dtype)
    plane.to(torch.device("cpu"), dtype).move(flat, alpha, beta)
    return flat


def weights(plane: Plane, model: nn.Module, dtype: torch.dtype) -> Tensor:
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return plane.layout.flatten(state, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_line_between_checkpoints_meets_both_to_the_bit(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    plane = build_plane(job(tmp_path, LINE, kind="between", checkpoints=["b.pt"]), network(0))
    assert torch.equal(at(plane, 0, 0, dtype), weights(plane, network(0), dtype))
    assert torch.equal(at(plane, 1, 0, dtype), weights(plane, network(1), dtype))
    middle = (weights(plane, network(0), dtype) + weights(plane, network(1), dtype)) / 2
    torch.testing.assert_close(at(plane, 0.5, 0, dtype), middle)


def test_a_plane_through_three_checkpoints_meets_all_to_the_bit(tmp_path: Path) -> None:
    spec = {"kind": "between", "checkpoints": ["b.pt", "c.pt"], "include": "state"}
    plane = build_plane(job(tmp_path, PLANE, **spec), network(0))
    for seed, (alpha, beta) in enumerate([(0, 0), (1, 0), (0, 1)]):
        found = at(plane, alpha, beta)
        assert torch.equal(found, weights(plane, network(seed), torch.float32))
    assert "1.running_mean" in plane.directions["x"]


@pytest.mark.parametrize("files", [["a.pt"], ["b.pt", "a.pt"]])
@pytest.mark.parametrize("normalization", ["none", "filter"])
def test_theta_is_not_its_own_other_end(
    files: list[str], normalization: str, tmp_path: Path
) -> None:
    torch.save(network(0).state_dict(), tmp_path / "a.pt")
    spec = {"kind": "between", "checkpoints": files, "normalization": normalization}
    grid = LINE if len(files) == 1 else PLANE
    with pytest.raises(UserError, match=r"a\.pt has theta's own numbers in all that moves"):
        build_plane(job(tmp_path, grid, **spec), network(0))


def test_a_normalized_line_between_checkpoints_starts_at_theta(tmp_path: Path) -> None:
    spec = {"kind": "between", "checkpoints": ["b.pt"], "normalization": "layer"}
    plane = build_plane(job(tmp_path, LINE, **spec), network(0))
    theta = dict(network(0).named_parameters())
    for name, d in plane.directions["x"].items():
        if d.any():  # BatchNorm's scale is the same in both
            assert d.norm().item() == pytest.approx(theta[name].norm().item(), rel=1e-5)
    assert torch.equal(at(plane, 0, 0), weights(plane, network(0), torch.float32))


def test_a_random_plane_is_theta_plus_directions(tmp_path: Path) -> None:
    plane = build_plane(job(tmp_path, PLANE, seed=4), network(0))
    theta = weights(plane, network(0), torch.float64).numpy()
    x, y = (plane.layout.flatten(d, torch.float64).numpy() for d in plane.directions.values())
    found = at(plane, 0.3, -0.7, torch.float64).numpy()
    np.testing.assert_allclose(found, theta + 0.3 * x - 0.7 * y, rtol=1e-14, atol=1e-15)
    assert torch.equal(at(plane, 0, 0), weights(plane, network(0), torch.float32))


def test_the_stored_directions_define_the_plane(tmp_path: Path) -> None:
    """What the results file holds is float32; nothing finer may have been used."""
    plane = build_plane(job(tmp_path, PLANE), network(0))
    for corner, direction in zip(plane.corners[1:], plane.directions.values(), strict=True):
        assert all(d.dtype == torch.float32 for d in direction.values())
        assert torch.equal(corner, plane.layout.flatten(direction, torch.float64))


def test_geometry(tmp_path: Path) -> None:
    plane = build_plane(job(tmp_path, PLANE, normalization="none"), network(0))
    x, y = (plane.layout.flatten(d, torch.float64).numpy() for d in plane.directions.values())
    found = plane.geometry()
    assert found["norm_x"] == pytest.approx(np.linalg.norm(x))
    assert found["norm_y"] == pytest.approx(np.linalg.norm(y))
    assert found["cosine"] == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y))
    line = build_plane(job(tmp_path, LINE), network(0)).geometry()
    assert set(line) == {"norm_theta", "norm_x"}


def test_the_model_is_left_as_it_was(tmp_path: Path) -> None:
    model = network(0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    spec = {"kind": "between", "checkpoints": ["b.pt", "c.pt"], "include": "state"}
    build_plane(job(tmp_path, PLANE, **spec), model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_several_draws_are_directions_of_their_own(tmp_path: Path) -> None:
    plane = build_plane(job(tmp_path, LINE, draws=3, seed=4), network(0))
    assert list(plane.directions) == ["x_d0", "x_d1", "x_d2"]
    line = build_plane(job(tmp_path, LINE, seed=4), network(0))
    theta = dict(network(0).named_parameters())
    for name, weights_ in line.directions["x"].items():
        assert torch.equal(plane.directions["x_d0"][name], weights_)
        drawn = gaussian(4, 2, "x", name, weights_.shape)
        scale = theta[name].norm(dim=1, keepdim=True) / drawn.norm(dim=1, keepdim=True)
        torch.testing.assert_close(plane.directions["x_d2"][name].double(), drawn * scale)
    assert set(plane.geometry()) == {"norm_theta", "norm_x_d0", "norm_x_d1", "norm_x_d2"}


def test_coordinates_that_are_left_out_are_zero(tmp_path: Path) -> None:
    plane = build_plane(job(tmp_path, LINE, draws=3), network(0))
    flat = torch.empty(plane.layout.size, dtype=torch.float64)
    plane.move(flat, 0.0, 0.5)
    torch.testing.assert_close(flat, plane.corners[0] + 0.5 * plane.corners[2], rtol=0, atol=0)


def test_one_axis_may_lead_to_a_checkpoint_and_the_other_be_random(tmp_path: Path) -> None:
    spec = {"kind": "between", "checkpoints": ["b.pt"], "beta": {"seed": 4}}
    plane = build_plane(job(tmp_path, PLANE, **spec), network(0))
    theta = weights(plane, network(0), torch.float64)
    end = weights(plane, network(1), torch.float64)
    assert torch.equal(at(plane, 0, 0), theta.float())
    assert torch.equal(at(plane, 1, 0), end.float())
    random = build_plane(job(tmp_path, PLANE, seed=4), network(0)).directions["y"]
    for name, direction in plane.directions["y"].items():
        expected = random.get(name, torch.zeros_like(direction))  # biases and norms stay still
        assert torch.equal(direction, expected)
    y = plane.layout.flatten(plane.directions["y"], torch.float64)
    found = at(plane, 0.5, -2.0, torch.float64)
    torch.testing.assert_close(found, (theta + end) / 2 - 2 * y, rtol=0, atol=1e-14)


def test_the_random_axis_has_a_scale_of_its_own(tmp_path: Path) -> None:
    beta = {"seed": 4, "normalization": "model", "ignore": ["bias"]}
    spec = {"kind": "between", "checkpoints": ["b.pt"], "beta": beta, "normalization": "layer"}
    plane = build_plane(job(tmp_path, PLANE, **spec), network(0))
    moving = {n: d for n, d in plane.directions["y"].items() if d.any()}
    assert set(moving) == {"0.weight", "1.weight", "1.bias", "3.weight"}
    theta = dict(network(0).named_parameters())
    norm = sum(float(theta[name].detach().square().sum()) for name in moving) ** 0.5
    assert plane.geometry()["norm_y"] == pytest.approx(norm, rel=1e-6)
    assert not plane.barycentric
