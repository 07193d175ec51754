"""Trajectories from the job file to the results file, on one rank and on several."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lossgrid.commands import train as training
from lossgrid.commands.plan import plan
from lossgrid.commands.status import Status
from lossgrid.commands.watch import watch
from lossgrid.engine.signals import StopRequest
from lossgrid.errors import UserError
from lossgrid.problem import load_callable, open_checkpoint
from lossgrid.run import trajectories
from lossgrid.run.ending import COMPLETE, SOME_FAILED, UNFINISHED
from lossgrid.run.prepare import Prepared
from lossgrid.run.projecting import trajectory
from lossgrid.run.rounds import Rounds
from lossgrid.run.steps import run
from lossgrid.store.log import RunLog
from lossgrid.store.metrics import read_metrics
from lossgrid.store.results import Results, read_results
from tests.mpi import MPICH_WHEEL, mpirun
from tests.toy import toy_job

JOBS = Path(__file__).resolve().parents[2] / "jobs"
PCA = {"kind": "pca", "checkpoints": "sgd/epoch-*.pt"}
GRID = {
    "alpha": {"min": -4, "max": 4, "points": 7},
    "beta": {"min": -4, "max": 4, "points": 5},
}


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def train(folder: Path, seed: int, epochs: int, **facts: list[float]) -> None:
    """Checkpoints of a made-up training run; `facts` are stored beside the weights."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(seed)
    state = {
        n: torch.randn(t.shape, generator=generator) for n, t in network().state_dict().items()
    }
    for epoch in range(epochs + 1):
        beside = {name: values[epoch] for name, values in facts.items()}
        torch.save({"state_dict": state, **beside}, folder / f"epoch-{epoch}.pt")
        state = {
            n: t + torch.randn(t.shape, generator=generator) / (epoch + 2) for n, t in state.items()
        }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two training runs, the first with 12 checkpoints that tell epochs and rates."""
    epochs = [float(epoch) for epoch in range(12)]
    train(tmp_path / "sgd", 1, 11, epoch=epochs, lr=[0.1] * 6 + [0.01] * 6)
    train(tmp_path / "adam", 2, 4)
    return tmp_path


def job(folder: Path, **changes: Any) -> Path:
    model = {"factory": "toy.py:model", "checkpoint": "sgd/epoch-11.pt"}
    return toy_job(folder, **{"model": model, "directions": PCA, "grid": GRID, **changes})


def results(folder: Path) -> Results:
    return read_results(folder / "out" / "toy.vtkhdf")


def flat(path: Path) -> np.ndarray:
    state: dict[str, Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return np.concatenate([t.double().numpy().ravel() for t in state.values()])


def true_values(path: Path, job_path: Path) -> tuple[float, float]:
    """Loss and accuracy of a checkpoint by torch alone."""
    model = network()
    model.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
    inputs, targets = load_callable("toy.py:data", job_path.parent)()
    with torch.no_grad():
        outputs = model(inputs)
    loss = nn.functional.cross_entropy(outputs, targets).item()
    return loss, (outputs.argmax(dim=1) == targets).double().mean().item()


ADAM_FILES = {"checkpoints": "adam/epoch-*.pt"}
ADAM = {"adam": ADAM_FILES}


@pytest.mark.parametrize(
    "changes",
    [{}, {"evaluation": {"network": "plain"}}, {"evaluation": {"precision": "float64"}}],
    ids=["several points a pass", "plain", "float64"],
)
def test_checkpoints_are_projected_and_evaluated(folder: Path, changes: dict[str, Any]) -> None:
    path = job(folder, trajectories=ADAM, **changes)
    assert run(path) == COMPLETE
    found = results(folder).trajectories
    assert set(found) == {"training", "adam"}
    for name, run_folder, count in (("training", "sgd", 12), ("adam", "adam", 5)):
        one = found[name]
        files = [f"{run_folder}/epoch-{number}.pt" for number in range(count)]
        assert one.checkpoints == tuple(files)
        expected = np.array([true_values(folder / file, path) for file in files])
        np.testing.assert_allclose(one.values["train_loss"], expected[:, 0], rtol=1e-5)
        np.testing.assert_allclose(one.values["train_accuracy"], expected[:, 1])
    states = np.array([flat(folder / file) for file in found["training"].checkpoints])
    m = states[:-1] - states[-1]
    _, singular, components = np.linalg.svd(m - m.mean(axis=0), full_matrices=False)
    shares = singular**2 / (singular**2).sum()
    np.testing.assert_allclose(found["training"].explained_variance, shares[:2], rtol=1e-6)
    assert found["adam"].explained_variance is None
    alpha, beta = found["training"].alpha, found["training"].beta
    assert beta is not None
    for axis, (mine, component) in enumerate(zip((alpha, beta), components, strict=False)):
        sign = np.sign((states - states[-1]) @ component @ mine)
        np.testing.assert_allclose(
            mine, sign * ((states - states[-1]) @ component), atol=1e-5, err_msg=str(axis)
        )
    np.testing.assert_array_equal(found["training"].epoch, np.arange(12))
    assert found["training"].drops.tolist() == [5]
    assert found["adam"].epoch is None
    assert found["adam"].learning_rate is None


def test_at_theta_the_surface_is_true(folder: Path) -> None:
    """Theta is the last checkpoint and the grid's centre; elsewhere the two differ."""
    assert run(job(folder)) == COMPLETE
    found = results(folder)
    path = found.trajectories["training"]
    for column, surface in found.values.items():
        under = path.under(found.alpha, found.beta, surface)
        assert under[-1] == pytest.approx(path.values[column][-1], rel=1e-6)
    loss = path.values["train_loss"]
    under = path.under(found.alpha, found.beta, found.values["train_loss"])
    said = Status.of(found.path).text()
    apart = np.abs(loss - under)
    assert np.nanmax(apart) > 0.01
    count = np.isfinite(apart).sum()
    assert f"{np.nanmedian(apart):.2g} in the median of {count} checkpoints" in said
    assert f"{np.nanmax(apart):.2g} at most" in said
    assert path.explained_variance is not None
    first, second = path.explained_variance
    assert f"explain {first:.1%} and {second:.1%} of its variance" in said


@pytest.mark.parametrize("normalization", ["none", "filter"])
def test_any_plane_takes_trajectories(folder: Path, normalization: str) -> None:
    """The directions of a random plane are not orthogonal, nor those between checkpoints."""
    kinds = [
        {"kind": "random", "normalization": normalization, "ignore": []},
        {"kind": "between", "checkpoints": ["sgd/epoch-0.pt", "sgd/epoch-5.pt"]},
    ]
    theta = flat(folder / "sgd" / "epoch-11.pt")
    there = np.array([flat(folder / "adam" / f"epoch-{n}.pt") for n in range(5)]) - theta
    for directions in kinds:
        path = job(folder, directions=directions, trajectories=ADAM)
        assert run(path, overwrite=True) == COMPLETE
        found = results(folder)
        one = found.trajectories["adam"]
        with h5py.File(found.path) as file:
            d = np.array(
                [
                    np.concatenate(
                        [
                            file[f"lossgrid/directions/{axis}/{name}"][()].ravel()
                            for name in network().state_dict()
                        ]
                    )
                    for axis in "xy"
                ],
                np.float64,
            )
        expected, *_ = np.linalg.lstsq(d.T, there.T, rcond=None)
        assert one.beta is not None
        np.testing.assert_allclose([one.alpha, one.beta], expected, rtol=1e-5, atol=1e-6)


def test_a_line_takes_trajectories(folder: Path) -> None:
    path = job(folder, grid={"alpha": GRID["alpha"]}, trajectories=ADAM)
    assert run(path) == COMPLETE
    for one in results(folder).trajectories.values():
        assert one.beta is None
        assert np.isfinite(one.values["train_loss"]).all()


def test_ranks_share_the_checkpoints_and_find_the_same_bits(folder: Path) -> None:
    path = job(folder, trajectories=ADAM)
    assert run(path) == COMPLETE
    alone = results(folder)
    kept = folder / "alone.vtkhdf"
    shutil.copy(alone.path, kept)
    done = mpirun(MPICH_WHEEL, 3, ["-m", "lossgrid", "run", path, "--overwrite"], timeout=120)
    assert done.returncode == COMPLETE, done.stderr
    for name, one in read_results(kept).trajectories.items():
        other = results(folder).trajectories[name]
        assert one.alpha.tobytes() == other.alpha.tobytes()
        for column, values in one.values.items():
            assert values.tobytes() == other.values[column].tobytes()
    for column, values in read_results(kept).values.items():
        assert values.tobytes() == results(folder).values[column].tobytes()


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the checkpoints that have been evaluated."""
    numbers: list[int] = []
    original = Prepared.try_checkpoint

    def counting(
        self: Prepared, checkpoint: Path, stopping: StopRequest, smallest: bool
    ) -> list[float] | str | None:
        numbers.append(int(checkpoint.stem.partition("-")[2]))
        return original(self, checkpoint, stopping, smallest)

    monkeypatch.setattr(Prepared, "try_checkpoint", counting)
    return numbers


def test_a_stopped_run_goes_on_where_it_was(
    folder: Path, tried: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = job(folder)
    store = Rounds.store

    def stopping(self: Rounds, found: Any) -> bool:
        return store(self, found) or len(tried) == 4

    with monkeypatch.context() as patch:
        patch.setattr(Rounds, "store", stopping)
        assert run(path) == UNFINISHED
    assert results(folder).trajectories["training"].unfinished.tolist() == list(range(4, 12))
    assert "8 true values missing" in Status.of(results(folder).path).text()
    assert run(path) == COMPLETE
    assert tried == list(range(12))
    before = results(folder).path.read_bytes()
    assert run(path) == COMPLETE
    assert len(tried) == 12
    assert results(folder).path.read_bytes() == before


def test_a_checkpoint_that_fails_costs_only_itself(
    folder: Path,
    tried: list[int],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = job(folder)
    original = Prepared._at_checkpoint

    def failing(self: Prepared, checkpoint: Path, unwanted: Callable[[], bool]) -> Any:
        if checkpoint.stem == "epoch-3":
            raise ValueError("mine")
        return original(self, checkpoint, unwanted)

    with monkeypatch.context() as patch:
        patch.setattr(Prepared, "_at_checkpoint", failing)
        assert run(path) == SOME_FAILED
    said = " ".join(capfd.readouterr().err.split())
    assert "epoch-3.pt has no values: ValueError: mine" in said
    assert "1 checkpoints have no true values; all else is in" in said
    told = Status.of(results(folder).path)
    assert "1 true values missing" in told.text()
    assert (
        "no run is at work; the same 'lossgrid run JOB' tries again what has failed" in told.text()
    )
    assert (told.later_pending, told.later_failed) == (0, 1)
    assert watch(results(folder).path, 1.0, None) == SOME_FAILED
    assert "to be continued" in plan(path, [], 1)
    events = [e for e in RunLog(results(folder).path).events() if "checkpoint" in e["event"]]
    assert [event["error"] for event in events] == ["ValueError: mine"]
    assert results(folder).trajectories["training"].unfinished.tolist() == [3]
    tried.clear()
    assert run(path) == COMPLETE
    assert tried == [3]
    assert results(folder).trajectories["training"].unfinished.size == 0


def test_a_loss_that_is_no_number_is_a_result(folder: Path, tried: list[int]) -> None:
    """A network with a weight that is too large: the products of its layers overflow."""
    state = torch.load(folder / "adam" / "epoch-2.pt", weights_only=True)
    state["state_dict"] = {name: 1e30 * w for name, w in state["state_dict"].items()}
    torch.save(state, folder / "adam" / "epoch-2.pt")
    path = job(folder, directions={}, trajectories=ADAM)
    assert run(path) == COMPLETE
    found = results(folder).trajectories["adam"]
    assert np.isnan(found.values["train_loss"]).tolist() == [False, False, True, False, False]
    assert found.unfinished.size == 0
    assert "1 true values not finite" in Status.of(results(folder).path).text()
    tried.clear()
    assert run(path) == COMPLETE
    assert tried == []
    assert "complete" in plan(path, [], 1)


def test_the_job_may_name_the_run_and_tell_what_its_files_do_not(folder: Path) -> None:
    train(folder / "bare", 1, 11)
    shutil.rmtree(folder / "sgd")
    (folder / "bare").rename(folder / "sgd")
    rates = [0.5] * 3 + [0.05] * 9
    mine = {"checkpoints": "sgd/epoch-*.pt", "epochs": [10.0 * n for n in range(12)]}
    path = job(folder, trajectories={"mine": {**mine, "learning_rates": rates}})
    assert run(path) == COMPLETE
    found = results(folder).trajectories
    assert set(found) == {"mine"}
    assert found["mine"].epoch is not None
    assert found["mine"].epoch[-1] == 110
    assert found["mine"].drops.tolist() == [2]
    assert found["mine"].explained_variance is not None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"trajectories": {"adam": {"checkpoints": "adam/epoch-*.pt", "epochs": [1, 2]}}},
            r"trajectories.adam.epochs: found 2 numbers, expected one for each of 5 checkpoints",
        ),
        ({"trajectories": {"adam": {"checkpoints": "none/*.pt"}}}, r"no file matches .*none/\*.pt"),
        ({"trajectories": {"training": ADAM["adam"]}}, r"trajectories.training: is the name of"),
        ({"directions": {**PCA, "checkpoints": "adam/epoch-*.pt"}}, r"epoch-4.pt, is not theta"),
    ],
)
def test_what_does_not_fit_is_told(folder: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        run(job(folder, **changes))
    assert not (folder / "out" / "toy.vtkhdf").exists()


def test_results_are_not_continued_with_another_trajectory(folder: Path) -> None:
    path = job(folder, trajectories=ADAM)
    assert run(path) == COMPLETE
    assert run(path) == COMPLETE
    state = torch.load(folder / "adam" / "epoch-1.pt", weights_only=True)
    state["state_dict"]["0.bias"][0] += 1e-6
    torch.save(state, folder / "adam" / "epoch-1.pt")
    with pytest.raises(UserError, match=r"results of another job: trajectory adam \(5 checkpoints"):
        run(path)


def test_a_run_that_is_listed_later_is_added(folder: Path, tried: list[int]) -> None:
    assert run(job(folder)) == COMPLETE
    alone = results(folder)
    surface, computed = dict(alone.values), alone.tries()
    tried.clear()
    path = job(folder, trajectories=ADAM)
    assert "(5 of adam, 0 of training)" in plan(path, [], 1)
    assert run(path) == COMPLETE
    assert tried == [0, 1, 2, 3, 4]
    found = results(folder)
    assert found.tries() == computed
    for column, values in surface.items():
        assert values.tobytes() == found.values[column].tobytes()
    added = found.trajectories["adam"]
    kept = folder / "added.vtkhdf"
    found.path.rename(kept)
    assert run(path) == COMPLETE
    at_once = results(folder)
    for one, other in zip(
        read_results(kept).trajectories.values(), at_once.trajectories.values(), strict=True
    ):
        for column in one.values:
            assert one.values[column].tobytes() == other.values[column].tobytes()
        assert one.alpha.tobytes() == other.alpha.tobytes()
    assert read_results(kept).fingerprint == at_once.fingerprint
    assert read_results(kept).attributes["job"] == at_once.attributes["job"]
    assert added.unfinished.size == 0


def test_a_run_that_is_listed_no_more_is_told(folder: Path) -> None:
    assert run(job(folder, trajectories=ADAM)) == COMPLETE
    with pytest.raises(UserError, match=r"trajectory adam \(5 checkpoints .* there, absent here"):
        run(job(folder))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The checkpoints that are opened for their places or for principal components."""
    files: list[str] = []

    def opening(path: Path, model: nn.Module) -> Any:
        files.append(f"{path.parent.name}/{path.stem}")
        return open_checkpoint(path, model)

    for module in ("lossgrid.run.projecting", "lossgrid.space.principal"):
        monkeypatch.setattr(import_module(module), "open_checkpoint", opening)
    return files


def test_a_later_run_reads_only_checkpoints_that_have_changed(
    folder: Path, opened: list[str]
) -> None:
    path = job(folder, trajectories=ADAM)
    assert run(path) == COMPLETE
    before = results(folder).path.read_bytes()
    opened.clear()
    assert run(path) == COMPLETE
    plan(path, [], 1)
    assert opened == []
    (folder / "adam" / "epoch-2.pt").touch()
    assert run(path) == COMPLETE
    assert opened == [f"adam/epoch-{number}" for number in range(5)]
    opened.clear()
    (folder / "sgd" / "epoch-2.pt").touch()
    assert run(path) == COMPLETE
    assert {file.partition("/")[0] for file in opened} == {"sgd", "adam"}
    assert results(folder).path.read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"directions": {**PCA, "normalization": "model"}}, r"directions \("),
        ({"directions": {**PCA, "parameters": "0.*"}}, r"directions \("),
        ({"trajectories": {"adam": {**ADAM_FILES, "epochs": [1, 2, 3, 4, 5]}}}, r"trajectory adam"),
    ],
)
def test_what_is_asked_for_otherwise_is_not_recalled(
    folder: Path, changes: dict[str, Any], words: str
) -> None:
    assert run(job(folder, trajectories=ADAM)) == COMPLETE
    with pytest.raises(UserError, match=rf"results of another job: .*{words}"):
        run(job(folder, **{"trajectories": ADAM, **changes}))


def test_the_plan_tells_of_true_values(folder: Path) -> None:
    path = job(folder, trajectories=ADAM)
    expected = "then:       the true values of checkpoints (5 of adam, 12 of training), "
    assert expected in plan(path, [], 1)
    assert "then:" not in plan(job(folder, directions={}), [], 1)


def test_the_command_shows_where_they_lie_and_writes_nothing(folder: Path) -> None:
    path = job(folder, trajectories=ADAM)
    before = sorted(folder.rglob("*"))
    said = trajectory(path, [])
    assert sorted(one for one in folder.rglob("*") if "__pycache__" not in str(one)) == before
    assert "the first two principal components explain" in said
    assert said.count("(the learning rate drops after it)") == 1
    assert "sgd/epoch-5.pt  (the learning rate drops after it)" in said
    settings = said.rpartition("all of them:")[2].split()[1::2]
    assert "of 5 checkpoints lie outside the grid" in said
    wide = trajectory(path, settings)
    assert "the grid holds all of its 12 checkpoints" in wide
    assert "the grid holds all of its 5 checkpoints" in wide
    assert run(path, settings) == COMPLETE
    found = results(folder)
    for one in found.trajectories.values():
        loss = found.values["train_loss"]
        assert np.isfinite(one.under(found.alpha, found.beta, loss)).all()


def test_a_job_without_trajectories_has_nothing_to_show(folder: Path) -> None:
    with pytest.raises(UserError, match="has no trajectory; name checkpoints"):
        trajectory(job(folder, directions={}), [])


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([0.0, 23.4], (-3, 26)),
        ([-0.02, 0.013], (-0.024, 0.017)),
        ([5.0, 6.0], (-0.6, 6.6)),
        ([0.0], (-1, 1)),
    ],
)
def test_a_range_is_suggested_with_few_digits(
    places: list[float], expected: tuple[float, float]
) -> None:
    assert trajectories.suggested(np.array(places)) == pytest.approx(expected)


def test_the_demonstration_runs(tmp_path: Path) -> None:
    file, few = JOBS / "digits-train.yaml", ["epochs=4", "schedule.milestones=[2, 3]"]
    assert training.train(file, [*few, f"output={tmp_path}/sgd"]) == COMPLETE
    few[1] = "schedule={}"
    adam = ["optimizer={kind: adam, learning_rate: 0.005}", f"output={tmp_path}/adam"]
    assert training.train(file, [*few, *adam]) == COMPLETE
    settings = [
        f"output={tmp_path}/out.vtkhdf",
        f"model.checkpoint={tmp_path}/sgd/epoch-4.pt",
        f"directions.checkpoints={tmp_path}/sgd/epoch-*.pt",
        f"trajectories={{sgd: {{checkpoints: {tmp_path}/sgd/epoch-*.pt}}, "
        f"adam: {{checkpoints: {tmp_path}/adam/epoch-*.pt}}}}",
        "grid.alpha.points=5",
        "grid.beta.points=5",
    ]
    assert run(JOBS / "digits-trajectory.yaml", settings) == COMPLETE
    found = read_results(tmp_path / "out.vtkhdf").trajectories
    assert found["sgd"].drops.tolist() == [2, 3]
    by_sgd, by_adam = (found[name].values["test_loss"] for name in ("sgd", "adam"))
    assert by_sgd[0] == by_adam[0]
    assert by_sgd[-1] < 0.5 < by_sgd[0]
    told = [row["test_loss"] for row in read_metrics(tmp_path / "sgd" / "metrics.csv")]
    assert by_sgd[1:] == pytest.approx(told, rel=1e-5)
    assert found["sgd"].explained_variance is not None
    assert 0.4 < found["sgd"].explained_variance.sum() <= 1
