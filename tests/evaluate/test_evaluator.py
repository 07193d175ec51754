from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lossgrid.data import Split
from lossgrid.errors import DroppedError
from lossgrid.evaluate import evaluator as evaluators
from lossgrid.evaluate.batches import Batch, shared
from lossgrid.evaluate.device import own_device
from lossgrid.evaluate.evaluator import GridEvaluator, batches
from lossgrid.evaluate.plan import Plan
from lossgrid.problem import Problem
from lossgrid.problem.losses import accuracy, cross_entropy, mse
from lossgrid.space import Grid, Layout, Plane
from lossgrid.space.directions import random_direction
from lossgrid.space.normalization import normalize

CPU = torch.device("cpu")
PLAN = Plan("cpu", "any", torch.__version__, "float64", 8, "plain")
GRID = Grid(np.linspace(-1, 1, 5), np.linspace(-0.5, 1, 4))


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.out = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.relu(self.bn(self.conv(x))).mean(dim=(2, 3)))


def trained() -> Network:
    torch.manual_seed(0)
    network = Network()
    with torch.no_grad():
        network.bn.running_mean.normal_()
        network.bn.running_var.uniform_(0.5, 2)
        network.bn.weight.uniform_(0.5, 2)
    return network.eval()


def samples(count: int = 21) -> Split:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, 1, 6, 6, generator=generator, dtype=torch.float64)
    return Split(images, torch.randint(3, (count,), generator=generator))


def problem(build: Callable[[], nn.Module] = trained, **splits: Split) -> Problem:
    metrics = {"loss": cross_entropy, "accuracy": accuracy}
    return Problem(build, splits or {"train": samples()}, cross_entropy, metrics)


def plane_of(model: nn.Module, how: str = "filter", seed: int = 0) -> Plane:
    moving = [
        (name, "weight", tensor.shape)
        for name, tensor in model.named_parameters()
        if tensor.dim() > 1
    ]
    layout = Layout(moving)  # type: ignore[arg-type]
    theta = {name: tensor.detach().double() for name, tensor in model.named_parameters()}
    drawn = [normalize(random_direction(layout, seed, axis), theta, how) for axis in "xy"]  # type: ignore[arg-type]
    corners = [layout.flatten(corner, torch.float64) for corner in (theta, *drawn)]
    return Plane(layout, torch.stack(corners), False, dict(zip("xy", drawn, strict=True)))


def evaluator(
    build: Callable[[], nn.Module] = trained, plan: Plan = PLAN, lanes: int = 1, how: str = "filter"
) -> GridEvaluator:
    return GridEvaluator(problem(build), plane_of(build(), how), GRID, plan, CPU, lanes)


@given(count=st.integers(1, 300), size=st.integers(1, 64))
def test_batches_have_one_shape_and_cover_each_sample_once(count: int, size: int) -> None:
    cut = list(batches(count, size))
    assert {batch.end - batch.begin for batch in cut} == {min(size, count)}
    assert all(0 <= batch.begin <= batch.fresh < batch.end <= count for batch in cut)
    fresh = [i for batch in cut for i in range(batch.fresh, batch.end)]
    assert fresh == list(range(count))


def naive(alpha: float, beta: float) -> tuple[float, float]:
    """The definition, in one pass over all samples."""
    network = trained().double()
    x, y = plane_of(trained()).directions.values()
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            if name in x:
                tensor.add_(alpha * x[name] + beta * y[name])
        split = samples()
        logits = network(split.inputs)
        loss = F.cross_entropy(logits, split.targets).item()
        return loss, (logits.argmax(1) == split.targets).double().mean().item()


FORMS = [("plain", 1), ("fused", 1), ("fused", 6)]


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize(("network", "points"), FORMS)
def test_points_are_dropped_between_batches(
    network: str, points: int, lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And those after them have the same bits as ever."""
    plan = replace(PLAN, network=network, points_per_pass=points, batch_size=1)
    found = evaluator(plan=plan, lanes=lanes)
    whole = found(np.arange(20))
    begun: list[int] = []
    original = GridEvaluator._run

    def counting(self: GridEvaluator, number: int, batch: Batch) -> None:
        begun.append(batch.begin)
        original(self, number, batch)

    monkeypatch.setattr(GridEvaluator, "_run", counting)
    monkeypatch.setattr(evaluators, "LOOK_SECONDS", 0.0)
    asked = iter([False] * 5)
    with pytest.raises(DroppedError):
        found(np.arange(20), lambda: next(asked, True))
    assert len(begun) < 21
    assert np.array_equal(found(np.arange(20)), whole)


@pytest.mark.parametrize(("network", "points"), FORMS)
def test_values_are_those_of_the_definition(network: str, points: int) -> None:
    plan = replace(PLAN, network=network, points_per_pass=points)
    found = evaluator(plan=plan)(np.arange(20))
    for point in range(20):
        row, column = divmod(point, 5)
        wanted = naive(float(GRID.alpha[column]), float(GRID.beta[row]))  # type: ignore[index]
        np.testing.assert_allclose(found[point], wanted, rtol=1e-12)


@pytest.mark.parametrize(
    ("network", "width", "precision"),
    [(*form, precision) for form in FORMS for precision in ("float32", "float64")]
    + [("plain", 1, "bfloat16"), ("fused", 1, "bfloat16")],
)
def test_lanes_do_not_change_a_bit(network: str, width: int, precision: str) -> None:
    plan = Plan("cpu", "any", torch.__version__, precision, 4, network, width)  # type: ignore[arg-type]
    points = np.arange(20)
    alone = evaluator(plan=plan)(points)
    for lanes in (2, 3):
        found = evaluator(plan=plan, lanes=lanes)
        assert found(points).tobytes() == alone.tobytes()
        assert found(points[::-1])[::-1].tobytes() == alone.tobytes()


class Remembering(Network):
    """Keeps a state between the two halves of a forward pass, as hooks and caches do."""

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x.sum()
        logits = super().forward(x)
        return logits + 0 * self.seen if torch.equal(self.seen, x.sum()) else logits * math.nan


def remembering() -> nn.Module:
    network = Remembering().eval()
    network.load_state_dict(trained().state_dict())
    return network


def test_lanes_share_no_module() -> None:
    plan = replace(PLAN, batch_size=2)
    for _ in range(5):
        assert np.isfinite(evaluator(remembering, plan, lanes=3)(np.arange(20))).all()


def hooked() -> nn.Module:
    network = trained()
    network.conv.register_forward_hook(lambda module, args, out: out)
    return network


def test_a_model_with_hooks_runs_in_one_lane() -> None:
    assert evaluator(hooked, lanes=3)._pool is None
    assert evaluator(lanes=3)._pool is not None


class Renormalizes(Network):
    """Writes into its weights, as embeddings with a largest norm do."""

    def forward(self, x: Tensor) -> Tensor:
        self.out.weight.clamp_(-1, 1)
        return super().forward(x)


def test_a_model_that_writes_into_its_weights_runs_in_one_lane() -> None:
    assert evaluator(lambda: Renormalizes().eval(), lanes=3)._pool is None


class Overwrites(Network):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.sub_(0.5))


def test_a_model_can_not_write_into_the_data() -> None:
    posed = problem(lambda: Overwrites().eval())
    given = posed.splits["train"].inputs.clone()
    found = GridEvaluator(posed, plane_of(trained()), GRID, PLAN, CPU)
    assert found(np.array([3])).tobytes() == found(np.array([3])).tobytes()
    assert torch.equal(posed.splits["train"].inputs, given)


class Moody(Network):
    def forward(self, x: Tensor) -> Tensor:
        if self.out.weight.abs().max() > 1.2:
            raise ValueError("too large")
        return super().forward(x)


def moody() -> nn.Module:
    network = Moody().eval()
    network.load_state_dict(trained().state_dict())
    return network


@pytest.mark.parametrize("lanes", [1, 3])
def test_an_error_leaves_the_next_point_right(lanes: int) -> None:
    plan = replace(PLAN, batch_size=2)
    right = evaluator(plan=plan)
    found = evaluator(moody, plan, lanes)
    raised = 0
    for point in np.arange(20):
        one = np.array([point])
        try:
            values = found(one)
        except ValueError:
            raised += 1
        else:
            assert values.tobytes() == right(one).tobytes()
    assert 0 < raised < 20


def test_columns_are_split_and_metric_in_order() -> None:
    splits = {"train": samples(), "test": samples(5)}
    found = GridEvaluator(problem(**splits), plane_of(trained()), GRID, PLAN, CPU)
    assert found.columns == ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
    assert found(np.array([3])).shape == (1, 4)


@pytest.mark.parametrize(("network", "points"), FORMS)
def test_the_error_of_a_sampled_loss(network: str, points: int) -> None:
    splits = {"train": samples(), "test": samples(8)}
    posed = replace(problem(**splits), sampled=frozenset({"train"}))
    plan = replace(PLAN, network=network, points_per_pass=points)
    found = GridEvaluator(posed, plane_of(trained()), GRID, plan, CPU)
    columns = ("train_loss", "train_accuracy", "train_loss_se_data", "test_loss", "test_accuracy")
    assert found.columns == columns
    rows = found(np.arange(20))
    alone = GridEvaluator(problem(**splits), plane_of(trained()), GRID, plan, CPU)
    assert np.array_equal(rows[:, [0, 1, 3, 4]], alone(np.arange(20)))
    exact = GridEvaluator(problem(**splits), plane_of(trained()), GRID, PLAN, CPU)
    for point in range(20):
        exact.move(GRID.at(point))
        losses = exact.samples(0, 0, 21)[0]
        assert rows[point, 2] == pytest.approx(scipy.stats.sem(losses), rel=1e-10)


def test_the_error_of_a_single_sample_is_not_known() -> None:
    posed = replace(problem(train=samples(1)), sampled=frozenset({"train"}))
    (row,) = GridEvaluator(posed, plane_of(trained()), GRID, PLAN, CPU)(np.array([3]))
    assert np.isfinite(row[:2]).all()
    assert np.isnan(row[2])


def relu_network(scale: float) -> nn.Module:
    """f(x) = W2 relu(W1 x + b1): the same function for every scale."""
    torch.manual_seed(2)
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 10), nn.ReLU(), nn.Linear(10, 3)).double()
    with torch.no_grad():
        network[1].weight *= scale
        network[1].bias *= scale
        network[3].weight /= scale
    return network.eval()


def norm_network(scale: float) -> nn.Module:
    """BatchNorm (eps = 0) undoes what its filters are scaled by."""
    network = trained().double()
    network.bn.eps = 0.0
    with torch.no_grad():
        network.conv.weight *= scale
        network.conv.bias *= scale
        network.bn.running_mean *= scale
        network.bn.running_var *= scale**2
    return network


@pytest.mark.parametrize(("network", "width"), FORMS)
@pytest.mark.parametrize("build", [relu_network, norm_network])
def test_filter_normalized_surfaces_do_not_see_the_scale(
    build: Callable[[float], nn.Module], network: str, width: int
) -> None:
    """Li et al., section 4: what the method exists for."""
    plan = replace(PLAN, network=network, points_per_pass=width)

    def surface(scale: float, how: str) -> np.ndarray:
        return evaluator(lambda: build(scale), plan, how=how)(np.arange(20))[:, 0]

    np.testing.assert_allclose(surface(10, "filter"), surface(1, "filter"), rtol=1e-5)
    apart = np.abs(surface(10, "none") / surface(1, "none") - 1)
    assert apart.max() > 0.01


def dense() -> nn.Module:
    """Shapes whose sums come out otherwise when they are split over threads."""
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)).eval()


@pytest.mark.parametrize(("network", "width"), FORMS)
def test_no_thread_changes_a_bit(network: str, width: int) -> None:
    """Rank 0 computes on a thread of its own, lanes on others, other ranks on the main thread."""
    generator = torch.Generator().manual_seed(4)
    split = Split(
        torch.randn(50, 64, generator=generator), torch.randn(50, 10, generator=generator)
    )
    posed = Problem(dense, {"train": split}, mse, {"loss": mse})
    plan = replace(PLAN, precision="float32", batch_size=7, network=network, points_per_pass=width)
    points = np.arange(20)

    device = own_device(plan.device, 0, 1, share=False)

    def evaluated(lanes: int) -> bytes:
        found = GridEvaluator(posed, plane_of(dense()), GRID, plan, device, lanes)
        return found(points).tobytes()

    alone = evaluated(1)
    assert evaluated(2) == alone
    with ThreadPoolExecutor(1) as other:
        assert other.submit(evaluated, 1).result() == alone


@pytest.mark.parametrize(("network", "points"), FORMS)
def test_several_draws_are_several_lines_and_their_mean(network: str, points: int) -> None:
    plan = replace(PLAN, network=network, points_per_pass=points)
    plane, alpha = plane_of(trained()), np.linspace(-1, 1, 3)
    both = GridEvaluator(problem(), plane, Grid(alpha, None, draws=2), plan, CPU)
    names = ["train_loss", "train_accuracy"]
    assert list(both.columns) == [*names, *(f"{n}_d{k}" for k in (0, 1) for n in names)]
    assert list(both.columns_of_place) == names
    found = both(np.arange(3))
    for point, at in enumerate(alpha.tolist()):
        x, y = naive(at, 0.0), naive(0.0, at)
        np.testing.assert_allclose(found[point], [*np.mean([x, y], axis=0), *x, *y], rtol=1e-12)
    for point in range(3):
        assert both(np.array([point])).tobytes() == found[point].tobytes()


@pytest.mark.parametrize(("network", "points"), FORMS)
def test_the_error_of_a_mean_over_draws(network: str, points: int) -> None:
    """All draws have the same samples: whose means over the draws are what is independent."""
    splits = {"test": samples(8), "train": samples()}
    posed = replace(problem(**splits), sampled=frozenset(splits))
    plane, alpha = plane_of(trained()), np.linspace(-1, 1, 3)
    grid = Grid(alpha, None, draws=2)
    plan = replace(PLAN, network=network, points_per_pass=points)
    both = GridEvaluator(posed, plane, grid, plan, CPU)
    rows = both(np.arange(3))
    alone = GridEvaluator(problem(**splits), plane, GRID, PLAN, CPU)
    for number, (split, data) in enumerate(splits.items()):
        columns = [both.columns.index(f"{split}_loss_se_data{of}") for of in ("", "_d0", "_d1")]
        for point, at in enumerate(alpha.tolist()):
            losses = []
            for place in ((at, 0.0), (0.0, at)):
                alone.move(place)
                losses.append(alone.samples(number, 0, len(data))[0])
            expected = [scipy.stats.sem(one) for one in (np.mean(losses, axis=0), *losses)]
            np.testing.assert_allclose(rows[point, columns], expected, rtol=1e-10)
    parts = [both.part(np.arange(3), place, 2) for place in range(2)]
    assert both.joined(np.arange(3), parts).tobytes() == rows.tobytes()


@pytest.mark.parametrize("draws", [1, 2])
@pytest.mark.parametrize(("network", "points"), FORMS)
def test_parts_joined_are_the_whole_to_the_bit(network: str, points: int, draws: int) -> None:
    """However many share the work, also if there are fewer batches than that."""
    plan = Plan("cpu", "any", torch.__version__, "float32", 4, network, points)  # type: ignore[arg-type]
    posed = problem(train=samples(), test=samples(9))
    grid = GRID if draws == 1 else Grid(np.linspace(-1, 1, 20), None, draws=2)
    plane = plane_of(trained())
    whole = GridEvaluator(posed, plane, grid, plan, CPU)
    recorded = whole.recorded()
    wanted = whole(np.arange(5, 12))
    for count in (1, 2, 3, 9, 12):
        others = [GridEvaluator(posed, plane, grid, plan, CPU, 1, recorded) for _ in range(count)]
        parts = [other.part(np.arange(5, 12), i, count) for i, other in enumerate(others)]
        assert others[0].joined(np.arange(5, 12), parts).tobytes() == wanted.tobytes()
    assert whole.share_of_work(1) == 1
    assert whole.share_of_work(3) == 3 / 9
    assert whole.share_of_work(12) == 1 / 9


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(1, 20)), min_size=1, max_size=3),
    st.integers(1, 9),
)
def test_each_batch_falls_to_one_evaluator(sizes: list[tuple[int, int]], count: int) -> None:
    splits = [list(batches(samples, size)) for samples, size in sizes]
    parts = [shared(splits, place, count) for place in range(count)]
    for number, split in enumerate(splits):
        assert [batch for part in parts for batch in part[number]] == split
    shares = [sum(map(len, part)) for part in parts]
    assert max(shares) - min(shares) <= 1
