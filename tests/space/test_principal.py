"""Principal components against numpy's singular values of the whole matrix."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from lossgrid.errors import UserError
from lossgrid.job import DirectionsSpec
from lossgrid.space import Layout, principal

MODULE = import_module("lossgrid.space.principal")


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).eval()


def layout(**spec: Any) -> Layout:
    return Layout.of(network(), DirectionsSpec.model_validate({"kind": "between", **spec}))


def run(
    folder: Path, count: int = 9, dimensions: int | None = None
) -> tuple[list[Path], nn.Module]:
    """The checkpoints of a made-up training run, and the network at its end."""
    generator = torch.Generator().manual_seed(5)
    model = network()
    names = [name for name, tensor in model.state_dict().items() if tensor.is_floating_point()]
    state = {n: torch.randn(model.state_dict()[n].shape, generator=generator) for n in names}
    steps = [
        {n: torch.randn(state[n].shape, generator=generator) for n in names}
        for _ in range(dimensions or count)
    ]
    paths = []
    for number in range(count):
        step = steps[number % len(steps)]
        state = {name: state[name] + step[name] / (number + 1) for name in names}
        model.load_state_dict(state, strict=False)
        paths.append(folder / f"epoch-{number}.pt")
        torch.save(model.state_dict(), paths[-1])
    return paths, model


def matrix(paths: list[Path], layout: Layout) -> NDArray[np.float64]:
    """[theta_0 - theta_n, ..., theta_{n-1} - theta_n] as rows."""
    states = [torch.load(path, weights_only=True) for path in paths]
    rows = np.array(
        [
            np.concatenate([s[e.name].double().numpy().ravel() for e in layout.entries])
            for s in states
        ]
    )
    return rows[:-1] - rows[-1]


def expected(m: NDArray[np.float64], count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Components by the rule of signs, and the shares of the variance."""
    scores, singular, components = np.linalg.svd(m - m.mean(axis=0), full_matrices=False)
    farthest = np.abs(scores).argmax(axis=0)
    signs = np.sign(scores[farthest, np.arange(len(singular))])
    shares = singular**2 / (singular**2).sum()
    return (signs[:, None] * components)[:count], shares[:2]


@pytest.mark.parametrize(
    "spec", [{}, {"include": "state"}, {"ignore": ["bias", "norm"]}, {"parameters": "3.*"}]
)
@pytest.mark.parametrize("count", [1, 2])
def test_they_are_the_singular_vectors(tmp_path: Path, spec: dict[str, Any], count: int) -> None:
    paths, model = run(tmp_path)
    found = principal(paths, layout(**spec), model, count)
    components, shares = expected(matrix(paths, layout(**spec)), count)
    assert found.components.dtype == torch.float32
    np.testing.assert_allclose(found.components.numpy(), components, atol=1e-6)
    np.testing.assert_allclose(found.explained, shares, rtol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(found.components.numpy(), axis=1), 1, rtol=1e-6)


def test_a_part_of_every_checkpoint_is_held_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing depends on the size of the parts but how often files are opened."""
    paths, model = run(tmp_path)
    whole = principal(paths, layout(), model, 2)
    opened: list[Path] = []

    def counting(path: Path, *args: Any) -> Any:
        opened.append(path)
        return original(path, *args)

    original = MODULE.open_checkpoint
    monkeypatch.setattr(MODULE, "open_checkpoint", counting)
    numbers, rows = 20, len(paths) - 1
    monkeypatch.setattr(MODULE, "HELD", 4 * numbers * rows)
    monkeypatch.setattr(MODULE, "COLUMNS", 7)
    in_parts = principal(paths, layout(), model, 2)
    np.testing.assert_allclose(in_parts.components, whole.components, atol=1e-6)
    np.testing.assert_allclose(in_parts.explained, whole.explained, rtol=1e-12)
    parts = -(-layout().size // numbers)
    assert parts > 3
    assert [opened.count(path) for path in paths] == [2 * parts] * rows + [1]


def test_the_same_bits_every_time(tmp_path: Path) -> None:
    paths, model = run(tmp_path)
    one, two = (principal(paths, layout(), model, 2) for _ in range(2))
    assert torch.equal(one.components, two.components)
    assert one.explained == two.explained


def test_files_of_old_formats_and_other_precisions(tmp_path: Path) -> None:
    paths, model = run(tmp_path)
    new = principal(paths, layout(), model, 2)
    for number, path in enumerate(paths):
        state = torch.load(path, weights_only=True)
        if number % 2:
            state = {n: t.double() if t.is_floating_point() else t for n, t in state.items()}
        torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=number > 3)
    old = principal(paths, layout(), model, 2)
    assert torch.equal(old.components, new.components)


def test_the_last_checkpoint_must_be_theta(tmp_path: Path) -> None:
    paths, model = run(tmp_path)
    with pytest.raises(UserError, match=r"the last one, .*epoch-7.pt, is not theta .*model.checkp"):
        principal(paths[:-1], layout(), model, 2)


@pytest.mark.parametrize(("files", "count"), [(1, 1), (2, 1), (2, 2), (3, 2)])
def test_too_few_checkpoints(tmp_path: Path, files: int, count: int) -> None:
    paths, model = run(tmp_path)
    with pytest.raises(UserError, match=f"fewer than {count} direction"):
        principal(paths[-files:], layout(), model, count)
    enough = principal(paths[-count - 2 :], layout(), model, count)
    assert enough.components.shape == (count, layout().size)


def test_a_straight_run_has_no_second_component(tmp_path: Path) -> None:
    paths, model = run(tmp_path, dimensions=1)
    straight = principal(paths, layout(), model, 1)
    assert straight.explained == pytest.approx((1, 0), abs=1e-9)
    with pytest.raises(UserError, match=r"fewer than 2 directions; .*leave out grid.beta"):
        principal(paths, layout(), model, 2)


def test_a_run_that_diverged_is_told(tmp_path: Path) -> None:
    paths, model = run(tmp_path)
    state = torch.load(paths[3], weights_only=True)
    state["0.weight"][0, 0] = torch.nan
    torch.save(state, paths[3])
    with pytest.raises(UserError, match=r"epoch-3.pt has weights that are not finite"):
        principal(paths, layout(), model, 2)


def test_checkpoints_of_another_network_are_told(tmp_path: Path) -> None:
    paths, model = run(tmp_path)
    torch.save(nn.Linear(2, 2).state_dict(), paths[2])
    with pytest.raises(UserError, match=r"epoch-2.pt does not fit the model"):
        principal(paths, layout(), model, 2)
