"""Landscapes of models in memory."""

from __future__ import annotations

import copy
import re
import runpy
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, SubsetRandomSampler, TensorDataset

import lossgrid
from lossgrid.data import Split
from lossgrid.errors import UserError
from lossgrid.run.steps import run
from tests.mpi import MPICH_WHEEL, ROOT, mpirun
from tests.runs import plane, results
from tests.toy import toy_job

SAMPLES = 30


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def samples() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(SAMPLES, 4, generator=generator)
    return inputs, torch.randint(3, (SAMPLES,), generator=generator)


def at_theta(model: nn.Module) -> float:
    inputs, targets = samples()
    with torch.no_grad():
        return float(F.cross_entropy(model.double().eval()(inputs.double()), targets))


def test_the_values_are_those_of_the_model() -> None:
    surface = lossgrid.landscape(network(), samples(), points=(5, 3), seed=7, progress=False)
    assert surface.shape == (3, 5)
    assert surface.alpha.tolist() == [-1, -0.5, 0, 0.5, 1]
    assert surface["train_loss"][1, 2] == pytest.approx(at_theta(network()), rel=1e-6)
    assert set(surface) == {"train_loss", "train_accuracy"}


def test_it_is_the_surface_that_the_command_computes(tmp_path: Path) -> None:
    """To the bit: there is one path through the code."""
    assert run(toy_job(tmp_path, grid=plane(5, 3), directions={"seed": 4})) == 0
    stored = results(tmp_path)
    code = runpy.run_path(str(tmp_path / "toy.py"))
    torch.manual_seed(0)
    model = code["model"]()
    surface = lossgrid.landscape(model, code["data"](), points=(5, 3), seed=4, progress=False)
    assert set(surface) == set(stored.values)
    for name in surface:
        assert np.array_equal(surface[name], stored.values[name])


def test_the_model_is_given_back_untouched() -> None:
    model, calls = network().train(), []
    model[0].register_forward_hook(lambda *_: calls.append(1))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    places = [parameter.data_ptr() for parameter in model.parameters()]
    random, threads = torch.get_rng_state(), torch.get_num_threads()
    handler = signal.getsignal(signal.SIGINT)
    lossgrid.landscape(model, samples(), points=3, progress=False)
    assert model.training
    assert all(part.training for part in model.modules())
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert places == [parameter.data_ptr() for parameter in model.parameters()]
    assert torch.equal(random, torch.get_rng_state())
    assert threads == torch.get_num_threads()
    assert signal.getsignal(signal.SIGINT) == handler
    assert len(model[0]._forward_hooks) == 1
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("kind", ["split", "dataset", "loader", "names"])
def test_forms_of_data(kind: str) -> None:
    inputs, targets = samples()
    dataset = TensorDataset(inputs, targets)
    data = {
        "split": Split(inputs, targets),
        "dataset": dataset,
        "loader": DataLoader(dataset, batch_size=7, shuffle=True),
        "names": {"train": (inputs, targets), "test": (inputs[:5], targets[:5])},
    }[kind]
    surface = lossgrid.landscape(network(), data, points=1, alpha=(0, 0), beta=None, progress=False)
    assert surface["train_loss"][0] == pytest.approx(at_theta(network()), rel=1e-6)
    assert ("test_loss" in surface) == (kind == "names")


def test_own_loss_and_metrics_on_a_line() -> None:
    def absolute(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs[:, 0] - targets).abs()

    surface = lossgrid.landscape(
        network(),
        samples(),
        loss=absolute,
        metrics={"halved": lambda outputs, targets: absolute(outputs, targets) / 2},
        points=5,
        beta=None,
        progress=False,
    )
    assert surface.beta is None
    assert surface.shape == (5,)
    assert surface["train_halved"] == pytest.approx(surface["train_loss"] / 2)


def test_an_output_is_continued(tmp_path: Path) -> None:
    """And refused for another model."""
    output = tmp_path / "kept.vtkhdf"
    first = lossgrid.landscape(network(), samples(), points=3, output=output, progress=False)
    kept = first["train_loss"]
    again = lossgrid.landscape(network(), samples(), points=3, output=output, progress=False)
    assert np.array_equal(again["train_loss"], kept)
    model = network()
    with torch.no_grad():
        model[0].weight += 1
    with pytest.raises(UserError, match="another job"):
        lossgrid.landscape(model, samples(), points=3, output=output, progress=False)
    new = lossgrid.landscape(
        model, samples(), points=3, output=output, overwrite=True, progress=False
    )
    assert not np.array_equal(new["train_loss"], kept)


def test_a_temporary_file_goes_with_its_surface() -> None:
    surface = lossgrid.landscape(network(), samples(), points=2, progress=False)
    path = surface.path
    assert path.exists()
    del surface
    assert not path.parent.exists()


def test_on_another_thread() -> None:
    """Where no signal arrives, and beside a landscape of another model."""
    found: dict[int, float] = {}

    def compute(seed: int) -> None:
        torch.manual_seed(0)
        model = nn.Linear(4, 3)
        with torch.no_grad():
            model.weight.mul_(seed)
        line = {"points": 1, "alpha": (0.0, 0.0), "beta": None, "progress": False}
        found[seed] = float(lossgrid.landscape(model, samples(), **line)["train_loss"][0])

    threads = [threading.Thread(target=compute, args=(seed,)) for seed in (1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {1, 5}
    assert found[1] != found[5]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"points": 0}, r"^landscape: grid.alpha.points: found 0, expected an integer"),
        ({"los": "mse"}, r"^landscape: los: unknown key \(did you mean 'loss'\?"),
        ({"data": (torch.zeros(3, 4), torch.zeros(2))}, "inputs of .3. and targets of .2."),
        ({"loss": "mse"}, "one shape"),
        ({"loss": lambda outputs, targets: outputs.mean()}, "one value a sample"),
        ({"output": "surface.h5"}, r"must end in \.vtkhdf"),
    ],
)
def test_bad_input_is_one_sentence(wrong: dict[str, object], words: str) -> None:
    given: dict[str, object] = {"data": samples(), "points": 3, "progress": False} | wrong
    with pytest.raises(UserError, match=words) as caught:
        lossgrid.landscape(network(), given.pop("data"), **given)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


PROGRAM = """
import sys
from mpi4py import MPI
import lossgrid
from tests.api.test_compute import network, samples

comm = MPI.COMM_WORLD.Split(MPI.COMM_WORLD.rank % 2)
if MPI.COMM_WORLD.rank % 2 == 0:
    surface = lossgrid.landscape(
        network(), samples(), points=(5, 3), seed=7, output=sys.argv[1], comm=comm, progress=False
    )
    print(surface["train_loss"].sum().hex())
"""


def test_some_ranks_of_an_mpi_program(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    output = tmp_path / "shared.vtkhdf"
    environment = MPICH_WHEEL.environment() | {"PYTHONPATH": str(Path.cwd())}
    done = mpirun(MPICH_WHEEL, 4, [tmp_path / "program.py", output], timeout=250, env=environment)
    assert done.returncode == 0, done.stderr
    alone = lossgrid.landscape(network(), samples(), points=(5, 3), seed=7, progress=False)
    assert done.stdout.split() == [alone["train_loss"].sum().hex()] * 2


def test_a_seed_counts_beside_other_directions() -> None:
    found = [
        lossgrid.landscape(
            network(),
            samples(),
            points=3,
            seed=seed,
            directions={"normalization": "layer"},
            progress=False,
        )["train_loss"]
        for seed in (0, 7)
    ]
    assert not np.array_equal(*found)


def test_any_name_of_a_metric() -> None:
    surface = lossgrid.landscape(
        network(),
        samples(),
        loss=lambda outputs, targets: outputs[:, 0],
        metrics={name: lambda outputs, _: outputs[:, 0] * 0 + 42 for name in ("model", "data")},
        points=1,
        alpha=(0, 0),
        beta=None,
        progress=False,
    )
    assert surface["train_model"][0] == surface["train_data"][0] == 42
    assert surface["train_loss"][0] != 42
    with pytest.raises(UserError, match="'top 5' is no name"):
        lossgrid.landscape(network(), samples(), metrics={"top 5": F.mse_loss})


def test_a_loader_that_makes_other_samples_is_refused() -> None:
    dataset = TensorDataset(*samples())
    with pytest.raises(UserError, match="a sampler of its own"):
        lossgrid.landscape(
            network(), DataLoader(dataset, sampler=SubsetRandomSampler([0, 1])), points=3
        )


class Closed(nn.Module):
    """Reaches its layers through a function that copies don't get anew."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = network()
        self.head = lambda inputs: self.layers(inputs) + 0

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(inputs)


def test_a_model_whose_copy_would_not_move_is_refused() -> None:
    with pytest.raises(UserError, match="a function that is kept in it"):
        lossgrid.landscape(Closed(), samples(), points=3, progress=False)


def test_a_model_that_has_kept_results_is_copied() -> None:
    model = nn.utils.weight_norm(nn.Linear(4, 3))
    inputs, targets = samples()
    model.kept = [model(inputs)]
    surface = lossgrid.landscape(model, (inputs, targets), points=3, progress=False)
    expected = float(F.cross_entropy(model(inputs), targets))
    assert surface["train_loss"][1, 1] == pytest.approx(expected, rel=1e-6)


def test_signals_of_the_program_stay_its_own() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))

    def telling(outputs: Tensor, targets: Tensor) -> Tensor:
        signal.raise_signal(signal.SIGUSR1)
        return outputs[:, 0]

    try:
        lossgrid.landscape(network(), samples(), loss=telling, points=2, progress=False)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert heard


def test_random_numbers_that_a_loss_draws_are_not_the_program_s() -> None:
    def drawing(outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs[:, 0] + torch.rand(len(outputs)) + np.random.rand()

    model = network()
    torch.manual_seed(3)
    np.random.seed(3)
    expected = torch.rand(1), np.random.rand()
    torch.manual_seed(3)
    np.random.seed(3)
    lossgrid.landscape(model, samples(), loss=drawing, points=2, progress=False)
    assert (torch.rand(1), np.random.rand()) == expected


def test_points_that_fail_are_told(caplog: pytest.LogCaptureFixture) -> None:
    def touchy(outputs: Tensor, targets: Tensor) -> Tensor:
        if outputs.abs().max() > 5:
            raise ValueError("too far out")
        return outputs[:, 0]

    surface = lossgrid.landscape(
        network(), samples(), loss=touchy, points=3, alpha=(-50, 50), beta=None, progress=False
    )
    assert "points failed" in repr(surface)
    assert "too far out" in next(iter(surface.errors.values()))
    assert "too far out" in caplog.text


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (torch.jit.trace(nn.Linear(4, 3), torch.zeros(1, 4)), "compiled to TorchScript"),
        (nn.Linear(4, 3, device="meta"), "no numbers in weight yet"),
        (nn.LazyLinear(3), "no numbers in weight yet"),
    ],
)
def test_models_that_can_t_be_moved(model: nn.Module, words: str) -> None:
    with pytest.raises(UserError, match=words):
        lossgrid.landscape(model, samples(), points=3, progress=False)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"points": 3.0}, "points: found 3.0, expected an integer"),
        ({"points": (3,)}, "a number, or one for alpha and one for beta"),
        ({"alpha": 1}, "alpha: expected two numbers"),
        ({"seed": "x"}, "seed: found 'x'"),
    ],
)
def test_wrong_numbers(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        lossgrid.landscape(network(), samples(), **wrong)


def test_numbers_of_numpy_and_class_probabilities() -> None:
    inputs, targets = samples()
    surface = lossgrid.landscape(
        network(),
        (inputs, F.one_hot(targets, 3).float()),
        points=np.int64(3),
        alpha=(np.float32(-1), np.int64(1)),
        seed=np.int64(7),
        progress=False,
    )
    same = lossgrid.landscape(network(), (inputs, targets), points=3, seed=7, progress=False)
    for name in same:
        assert surface[name] == pytest.approx(same[name], rel=1e-5)


class Rotations(nn.Module):
    """A network of complex and real weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.inner = nn.Linear(4, 5, dtype=torch.complex64)
        self.outer = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x.to(self.inner.weight.dtype)).abs())


def moved_by_hand(
    model: nn.Module, surface: lossgrid.Surface, folder: Path
) -> Iterator[tuple[float, nn.Module]]:
    """Each point's loss, and the network there, out of the directions that are stored."""
    with h5py.File(surface.save(folder / "moved.vtkhdf")) as file:
        stored = [file[f"lossgrid/directions/{axis}"] for axis in "xy"]
        directions = [{n: torch.from_numpy(d[...]) for n, d in group.items()} for group in stored]
    theta = model.state_dict()
    for beta, row in zip(surface.beta, surface["train_loss"], strict=True):
        for alpha, loss in zip(surface.alpha, row, strict=True):
            moved = copy.deepcopy(model)
            for name, weight in moved.named_parameters():
                for step, direction in zip((alpha, beta), directions, strict=True):
                    if name not in direction:
                        continue
                    d = direction[name]
                    if weight.is_complex():
                        d = torch.view_as_complex(d.unflatten(-1, (-1, 2)))
                    assert torch.allclose(d.norm(dim=1), theta[name].norm(dim=1))
                    weight.data += float(step) * d
            yield float(loss), moved


@pytest.mark.filterwarnings("error:Casting complex")
@pytest.mark.parametrize(
    ("precision", "near"), [("float32", 1e-5), ("float64", 1e-5), ("bfloat16", 2e-2)]
)
def test_complex_weights(precision: str, near: float, tmp_path: Path) -> None:
    """A filter's norm is that of its complex numbers."""
    model, (inputs, targets) = Rotations(), samples()
    evaluation = {"precision": precision}
    surface = lossgrid.landscape(
        model, (inputs, targets), points=3, seed=5, evaluation=evaluation, progress=False
    )
    for loss, moved in moved_by_hand(model, surface, tmp_path):
        expected = F.cross_entropy(moved(inputs), targets).item()
        assert loss == pytest.approx(expected, rel=near)


@pytest.mark.parametrize("how", [{}, {"batch_size": 7}, {"tolerance": 0.1}])
def test_samples_of_unequal_sizes(how: dict[str, Any], tmp_path: Path) -> None:
    """Each graph alone has the loss that it has in batches."""
    code = runpy.run_path(str(ROOT / "examples" / "graphs.py"))
    torch.manual_seed(4)
    model, graphs = code["GraphNetwork"](), code["drawn"](40)
    loader = DataLoader(graphs, batch_size=8, shuffle=True, collate_fn=code["collate"])
    surface = lossgrid.landscape(model, loader, points=3, seed=5, evaluation=how, progress=False)
    for loss, moved in moved_by_hand(model, surface, tmp_path):
        alone = [code["collate"]([graph]) for graph in graphs]
        losses = [F.cross_entropy(moved(**inputs), targets).item() for inputs, targets in alone]
        near = 0.5 if "tolerance" in how else 1e-5
        assert loss == pytest.approx(np.mean(losses), rel=near)


def test_complex_weights_have_no_curvature() -> None:
    with pytest.raises(UserError, match=r"curvature: the model's inner\.weight is complex"):
        lossgrid.landscape(
            Rotations(), samples(), points=3, curvature={"gradient": {}}, progress=False
        )
