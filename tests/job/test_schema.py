from __future__ import annotations

import os
import pickle
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from lossgrid.errors import UserError
from lossgrid.job import AxisSpec, metric_name, read_job
from tests.job.jobs import job_settings, minimal, plane, read, write


def refusal(folder: Path, content: Any) -> str:
    """The sentence for a bad job, without the file name that it must begin with."""
    path = write(folder, content)
    with pytest.raises(UserError) as caught:
        read_job(path)
    sentence = str(caught.value)
    assert sentence.startswith(f"{path}: ")
    assert "\n" not in sentence
    return sentence.removeprefix(f"{path}: ")


def test_the_required_keys_are_enough(tmp_path: Path) -> None:
    job = read_job(write(tmp_path, minimal(), "digits.yaml"))
    assert job.name == "digits"
    assert job.output == tmp_path / "out/digits.vtkhdf"
    assert (job.path, job.folder) == (tmp_path / "digits.yaml", tmp_path)
    assert (job.model.kwargs, job.model.checkpoint, job.model.expect) == ({}, None, {})
    assert (job.data["test"].samples, job.data["test"].seed) == (None, 0)
    assert (job.loss, job.metrics) == ("cross_entropy", ["loss", "accuracy"])
    assert (job.directions.kind, job.directions.seed) == ("random", 0)
    assert (job.directions.parameters, job.directions.include) == ("*", "parameters")
    assert job.grid.alpha == AxisSpec(min=-1, max=1, points=5)
    assert job.grid.beta is None
    evaluation, runtime = job.evaluation, job.runtime
    assert (evaluation.device, evaluation.precision) == ("auto", "float32")
    assert (evaluation.batch_size, runtime.chunk) == ("auto", "auto")
    assert (runtime.coordinator, runtime.writer, runtime.sync_seconds) == ("shared", "auto", 30)
    assert not runtime.share_gpus
    assert not runtime.allow_unlike_ranks


def test_output_follows_the_name(tmp_path: Path) -> None:
    assert read(tmp_path, minimal(name="bowl")).output == tmp_path / "out/bowl.vtkhdf"


@pytest.mark.parametrize("key", ["model", "data", "grid"])
def test_a_required_key_is_asked_for(tmp_path: Path, key: str) -> None:
    content = minimal()
    del content[key]
    assert refusal(tmp_path, content) == f"{key}: is required, but missing"


def test_other_losses_have_no_accuracy_by_default(tmp_path: Path) -> None:
    assert read(tmp_path, minimal(loss="mse")).metrics == ["loss"]
    assert read(tmp_path, minimal(loss="mse", metrics=["accuracy"])).metrics == ["accuracy"]


@pytest.mark.parametrize(
    ("directions", "normalization", "ignore"),
    [
        ({}, "filter", ["bias", "norm"]),
        ({"kind": "random"}, "filter", ["bias", "norm"]),
        ({"kind": "random", "normalization": "none", "ignore": []}, "none", []),
        ({"kind": "between", "checkpoints": ["b.pt"]}, "none", []),
        ({"kind": "between", "checkpoints": ["b.pt"], "ignore": ["bias"]}, "none", ["bias"]),
        ({"kind": "pca", "checkpoints": "run/*.pt"}, "none", []),
        ({"kind": "pca", "checkpoints": ["a.pt"], "normalization": "model"}, "model", []),
        ({"kind": "file", "path": "d.h5"}, "none", []),
        ({"kind": "file", "path": "d.h5", "normalization": "none", "ignore": []}, "none", []),
    ],
)
def test_normalization_and_ignore_follow_the_kind(
    tmp_path: Path, directions: dict[str, Any], normalization: str, ignore: list[str]
) -> None:
    spec = read(tmp_path, minimal(directions=directions)).directions
    assert (spec.normalization, spec.ignore) == (normalization, ignore)


@pytest.mark.parametrize(
    ("directions", "words"),
    [
        ({"checkpoints": ["b.pt"]}, "checkpoints: only applies to kind: between or pca, and this"),
        ({"path": "d.h5"}, "path: only applies to kind: file, and this is kind: random"),
        (
            {"kind": "between", "checkpoints": ["b.pt"], "seed": 1},
            "seed: only applies to kind: random",
        ),
        ({"kind": "file", "path": "d.h5", "seed": 1}, "seed: only applies to kind: random"),
        ({"kind": "file", "path": "d.h5", "draws": 2}, "draws: only applies to kind: random"),
        ({"draws": 0}, "draws: found 0, expected an integer >= 1"),
        ({"kind": "file"}, "path: is required with kind: file"),
        ({"kind": "file", "path": "d.h5", "normalization": "filter"}, "is used as it is"),
        ({"kind": "file", "path": "d.h5", "ignore": ["bias"]}, "is used as it is"),
        ({"kind": "file", "path": "d.h5", "parameters": "conv*"}, "is used as it is"),
        ({"kind": "between"}, "checkpoints: found 0, expected 1 for a line"),
        ({"kind": "between", "checkpoints": ["b", "c"]}, "found 2, expected 1 for a line"),
        ({"kind": "pca"}, "checkpoints: is required with kind: pca"),
        ({"kind": "pca", "checkpoints": []}, "checkpoints: found an empty list, expected a path"),
        ({"kind": "pca", "checkpoints": [3]}, "checkpoints.0: found 3, expected a path"),
        (
            {"kind": "pca", "checkpoints": "e*.pt", "normalization": "filter"},
            "normalization: filter would turn principal components into other directions",
        ),
        ({"kind": "pca", "checkpoints": "e*.pt", "path": "d.h5"}, "path: only applies to kind: f"),
        ({"kind": "hessian"}, "kind: found 'hessian', expected 'random', 'between', 'pca' or"),
        ({"kind": "hessian", "seed": 1}, "kind: found 'hessian', expected 'random', 'between'"),
        ({"ignore": "bias"}, "ignore: found 'bias', expected a list"),
        ({"ignore": ["biases"]}, "ignore.0: found 'biases', expected 'bias' or 'norm'"),
        ({"parameters": []}, "parameters: found an empty list, expected a name pattern"),
        ({"parameters": [3]}, "parameters: found a list, expected a name pattern"),
        ({"seed": -1}, "seed: found -1, expected an integer from 0"),
        ({"normalization": None}, "normalization: found nothing, expected 'filter'"),
    ],
)
def test_directions_that_contradict_themselves_are_refused(
    tmp_path: Path, directions: dict[str, Any], words: str
) -> None:
    sentence = refusal(tmp_path, minimal(directions=directions))
    assert sentence.startswith("directions.")
    assert words in sentence


def test_checkpoints_are_a_path_a_pattern_or_a_list(tmp_path: Path) -> None:
    pca = {"kind": "pca", "checkpoints": "run/e-*.pt"}
    runs = {"sgd": {"checkpoints": ["a.pt", "b*.pt"], "epochs": [0, 1.5], "learning_rates": None}}
    job = read(tmp_path, minimal(directions=pca, trajectories=runs))
    assert job.directions.checkpoints == [tmp_path / "run" / "e-*.pt"]
    assert job.trajectories["sgd"].checkpoints == [tmp_path / "a.pt", tmp_path / "b*.pt"]
    assert job.trajectories["sgd"].epochs == [0, 1.5]


def test_the_second_axis_may_be_random(tmp_path: Path) -> None:
    between = {"kind": "between", "checkpoints": ["b.pt"], "beta": {"seed": 3}}
    found = read(tmp_path, plane(directions=between)).directions.beta
    assert found is not None
    assert (found.seed, found.normalization, found.ignore) == (3, "filter", ["bias", "norm"])
    assert "beta: is the second axis of a plane" in refusal(tmp_path, minimal(directions=between))
    between["checkpoints"] = ["b.pt", "c.pt"]
    words = refusal(tmp_path, plane(directions=between))
    assert "found 2, expected 1 for a plane whose other axis is random" in words
    pca = {"kind": "pca", "checkpoints": "e*.pt", "beta": {}}
    words = refusal(tmp_path, plane(directions=pca))
    assert "directions.beta: only applies to kind: between, and this is kind: pca" in words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"grid": plane()["grid"]}, "directions.draws: does not go with grid.beta: several draws"),
        ({"trajectories": {"sgd": {"checkpoints": "e*.pt"}}}, "does not go with trajectories"),
        ({"evaluation": {"tolerance": 0.1}}, "draws: does not go with evaluation.tolerance"),
        ({"curvature": {"gradient": {}}}, "draws: does not go with curvature"),
        ({"metrics": ["loss", "m.py:loss_d2"]}, "metrics: 'test_loss_d2' is the name of a result"),
    ],
)
def test_several_draws_are_lines_of_their_own(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    drawn = minimal(directions={"draws": 3})
    assert read(tmp_path, drawn).directions.draws == 3
    assert words in refusal(tmp_path, {**drawn, **changes})


def test_a_plane_lies_between_two_checkpoints(tmp_path: Path) -> None:
    between = {"kind": "between", "checkpoints": ["b.pt", "c.pt"]}
    ends = read(tmp_path, plane(directions=between)).directions.checkpoints
    assert ends == [tmp_path / "b.pt", tmp_path / "c.pt"]
    between["checkpoints"] = ["b.pt"]
    assert "found 1, expected 2 for a plane" in refusal(tmp_path, plane(directions=between))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"points": 0}, "points: found 0, expected an integer from 1 to 1000000"),
        ({"points": 5.5}, "points: found 5.5, expected an integer"),
        ({"points": True}, "points: found true, expected an integer"),
        ({"points": "5"}, "points: found '5', expected an integer"),
        ({"points": 10**30}, "expected an integer from 1 to 1000000"),
        ({"points": float("nan")}, "points: found nan, expected an integer"),
        ({"points": None}, "points: found nothing, expected an integer"),
        ({"min": 1}, "max: found 1, expected more than min (1)"),
        ({"min": 2}, "max: found 1, expected more than min (2)"),
        ({"min": float("nan")}, "min: found nan, expected a finite number"),
        ({"max": float("inf")}, "max: found inf, expected a finite number"),
        ({"max": 10**400}, "expected a finite number"),
        ({"min": False}, "min: found false, expected a number"),
        ({"min": "low"}, "min: found 'low', expected a number"),
        ({"min": -1e308, "max": 1e308}, "points: 5 do not fit between min and max"),
        ({"min": 1, "max": 1.0000000000000002}, "points: 5 do not fit between min and max"),
    ],
)
def test_an_axis_that_is_none_is_refused(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    axis = {"min": -1, "max": 1, "points": 5, **changes}
    sentence = refusal(tmp_path, minimal(grid={"alpha": axis}))
    assert sentence.startswith("grid.alpha.")
    assert words in sentence


def test_numbers_as_people_type_them(tmp_path: Path) -> None:
    text = """
        model: {factory: "net.py:build"}
        data: {test: {factory: "lossgrid.data:digits", kwargs: {noise: 1e-3}}}
        grid: {alpha: {min: -1e-3, max: 1e3, points: 51.0}}
    """
    job = read(tmp_path, text)
    assert job.grid.alpha == AxisSpec(min=-0.001, max=1000.0, points=51)
    assert type(job.grid.alpha.points) is int
    assert job.data["test"].kwargs == {"noise": 0.001}


def test_one_point_needs_no_range(tmp_path: Path) -> None:
    axis = {"min": 0.5, "max": 0.5, "points": 1}
    assert read(tmp_path, minimal(grid={"alpha": axis})).grid.alpha.points == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "a/b"}, "name: found 'a/b', expected a name that can be part of a file name"),
        ({"name": 2024}, "name: found 2024, expected text (put it in quotes)"),
        ({"name": ""}, "name: found '', expected text"),
        ({"output": ""}, "output: found '', expected a path"),
        ({"output": "a\0b"}, "output: found 'a\\x00b', expected a path"),
        ({"output": "\ud800"}, "output: found '\\ud800', expected a path"),
        ({"output": 3}, "output: found 3, expected a path"),
        ({"output": "job.yaml"}, "is an input of the job"),
        ({"model": {"factory": "build"}}, "factory: found 'build', expected \"module:callable\""),
        ({"model": {"factory": "a b:c"}}, "model.factory: found 'a b:c'"),
        ({"model": {"factory": "a:b", "kwargs": {"not one": 1}}}, "kwargs.'not one': is not the"),
        ({"model": {"factory": "a:b", "kwargs": None}}, "kwargs: found nothing, expected keyword"),
        ({"model": {"factory": "a:b", "recipe": "c:d"}}, "recipe: needs model.checkpoint"),
        ({"model": {"factory": "a:b", "expect": {"test_los": 1}}}, "did you mean 'test_loss'?"),
        ({"model": {"factory": "a:b", "expect": {"test_loss": "x"}}}, "expect.test_loss: found"),
        ({"model": {"factory": "a:b", "checkpoint": "w", "expect": []}}, "expected keys with"),
        ({"data": {}}, "data: found an empty mapping, expected at least one split"),
        ({"data": {"my test": {"factory": "a:b"}}}, "data.'my test': is not a split name"),
        ({"data": {True: {"factory": "a:b"}}}, "data.True: is not a split name"),
        ({"data": {"test": None}}, "data.test: found nothing, expected the keys factory, kwargs"),
        ({"data": {"test": {"factory": "a:b", "samples": 0}}}, "test.samples: found 0, expected"),
        ({"loss": "crossentropy"}, "did you mean 'cross_entropy'?"),
        ({"metrics": ["acuracy"]}, "metrics.0: found 'acuracy', expected a known name"),
        ({"metrics": []}, "metrics: found an empty list, expected at least one metric"),
        ({"metrics": ["loss", "my.py:loss"]}, "metrics: two metrics are named 'loss'"),
        ({"metrics": "loss"}, "metrics: found 'loss', expected a list"),
        ({"evaluation": {"precision": "half"}}, "expected 'float32', 'tf32', 'bfloat16' or"),
        (
            {
                "evaluation": {"tolerance": 0.1},
                "grid": {"alpha": {"min": -1, "max": 1, "points": 5}, "refine": 0.1},
            },
            "grid.refine: does not go with evaluation.tolerance",
        ),
        ({"evaluation": {"tolerance": 0}}, "found 0, expected a number between 0 and 1, such"),
        ({"evaluation": {"tolerance": "1%"}}, "tolerance: found '1%', expected a number"),
        (
            {"evaluation": {"tolerance": 0.1}, "metrics": ["accuracy"]},
            "evaluation.tolerance: needs the loss among the metrics",
        ),
        (
            {"evaluation": {"tolerance": 0.1}, "metrics": ["loss", "my.py:samples"]},
            "metrics: with evaluation.tolerance 'test_samples' is the name of a result of its own",
        ),
        ({"evaluation": {"network": "compiled"}}, "expected 'auto', 'fused' or 'plain'"),
        (
            {"evaluation": {"network": "plain", "points_per_pass": 2}},
            "evaluation.points_per_pass: the plain network takes one point a pass",
        ),
        ({"evaluation": {"tune": 1}}, "evaluation.tune: found 1, expected true or false"),
        (
            {"evaluation": {"tolerance": 0.1, "tune": True}},
            "evaluation.tune: measures points over all samples, so not with tolerance",
        ),
        (
            {"evaluation": {"tolerance": 0.1, "points_per_pass": 2}},
            "evaluation.points_per_pass: evaluation.tolerance takes one point a pass",
        ),
        ({"evaluation": {"batch_size": 0}}, "found 0, expected auto or an integer >= 1"),
        (
            {"evaluation": {"batchnorm": {"mode": "recompute"}, "batch_size": 9}},
            "batchnorm.batches: is required with mode: recompute",
        ),
        (
            {"evaluation": {"batchnorm": {"batches": 3}}},
            "batchnorm.batches: only applies to mode: recompute, not eval",
        ),
        (
            {"evaluation": {"batchnorm": {"mode": "train"}}},
            "evaluation.batch_size: must be a number with batchnorm.mode: train",
        ),
        (
            {
                "evaluation": {
                    "batchnorm": {"mode": "recompute", "batches": 3},
                    "batch_size": 9,
                    "points_per_pass": 2,
                }
            },
            "points_per_pass: batchnorm.mode: recompute takes one point a pass",
        ),
        (
            {
                "evaluation": {"batchnorm": {"mode": "train"}, "batch_size": 9},
                "directions": {"include": "state"},
            },
            "directions.include: moves running statistics, which batchnorm.mode: train does not",
        ),
        (
            {
                "data": {"test": {"factory": "a:b", "samples": 9}},
                "metrics": ["loss", "my.py:loss_se_data"],
            },
            "data: two results have the same column 'test_loss_se_data'",
        ),
        ({"evaluation": {"batch_size": "all"}}, "found 'all', expected auto or an integer >= 1"),
        (
            {"runtime": {"ranks_per_worker": 2}, "evaluation": {"tolerance": 0.01}},
            "runtime.ranks_per_worker: does not go with evaluation.tolerance",
        ),
        (
            {"runtime": {"ranks_per_worker": 2}, "curvature": {"gradient": {}}},
            "runtime.ranks_per_worker: does not go with curvature",
        ),
        ({"runtime": {"ranks_per_worker": 0}}, "found 0, expected an integer >= 1"),
        ({"runtime": {"share_gpus": 1}}, "share_gpus: found 1, expected true or false"),
        ({"runtime": {"sync_seconds": -1}}, "found -1, expected a number of seconds >= 0"),
        ({"trajectories": ["run/*.pt"]}, "trajectories: found a list, expected trajectories by"),
        ({"trajectories": {"a b": {"checkpoints": "x"}}}, "trajectories.'a b': is not a traj"),
        ({"trajectories": {"sgd": {}}}, "trajectories.sgd.checkpoints: is required, but missing"),
        ({"trajectories": {"sgd": "run/*.pt"}}, "sgd: found 'run/*.pt', expected the keys check"),
        (
            {"trajectories": {"sgd": {"checkpoints": "x", "epochs": ["one"]}}},
            "trajectories.sgd.epochs.0: found 'one', expected a number",
        ),
        (
            {"output": "o.vtkhdf", "trajectories": {"sgd": {"checkpoints": ["a", "o.vtkhdf"]}}},
            "is an input of the job",
        ),
        ({"curvatures": None}, "curvatures: unknown key (did you mean 'curvature'?"),
    ],
)
def test_other_bad_values_are_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    assert words in refusal(tmp_path, minimal(**changes))


def test_columns_are_unique(tmp_path: Path) -> None:
    split = {"factory": "a:b"}
    content = minimal(data={"a": split, "a_b": split}, metrics=["loss", "my.py:b_loss"])
    assert "the same column 'a_b_loss'" in refusal(tmp_path, content)
    content["data"] = {"b": split, "a": split}
    assert read(tmp_path, content).columns == ["b_loss", "b_b_loss", "a_loss", "a_b_loss"]


@pytest.mark.parametrize(
    ("spec", "name"),
    [("loss", "loss"), ("my.py:top5", "top5"), ("pkg.sub:Kit.top5", "top5")],
)
def test_a_metric_is_named_by_its_callable(spec: str, name: str) -> None:
    assert metric_name(spec) == name


@pytest.mark.parametrize(
    ("path", "typed", "known"),
    [
        ("grid.alpha", "piont", "points"),
        ("grid", "aplha", "alpha"),
        ("", "modle", "model"),
        ("data.test", "sample", "samples"),
        ("runtime", "sync_second", "sync_seconds"),
    ],
)
def test_the_nearest_key_is_suggested(tmp_path: Path, path: str, typed: str, known: str) -> None:
    content = minimal(runtime={})
    section = content
    for key in filter(None, path.split(".")):
        section = section[key]
    section[typed] = 1
    sentence = refusal(tmp_path, content)
    assert f"{typed}: unknown key (did you mean {known!r}? known here: " in sentence
    assert sentence.startswith(f"{path}.{typed}" if path else typed)


def test_up_to_three_problems_are_told_at_once(tmp_path: Path) -> None:
    content = minimal(name=1, loss=2, model={"factory": 3}, runtime={"chunk": 0})
    sentence = refusal(tmp_path, content)
    assert re.fullmatch(r"name: .*; model\.factory: .*; loss: .*; and 1 more", sentence)


def test_paths_start_at_the_job_files_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jobs").mkdir()
    monkeypatch.setenv("HOME", "/home/someone")
    content = minimal(
        output="~/out.vtkhdf",
        model={"factory": "net.py:build", "checkpoint": "../w.pt", "kwargs": {"path": "x.npz"}},
        directions={"kind": "file", "path": "/abs/d.h5"},
    )
    write(tmp_path / "jobs", content)
    monkeypatch.chdir(tmp_path)
    job = read_job(Path("jobs/job.yaml"))
    assert job.folder == tmp_path / "jobs"
    assert job.output == Path("/home/someone/out.vtkhdf")
    assert job.model.checkpoint == tmp_path / "w.pt"
    assert job.model.kwargs == {"path": "x.npz"}
    assert job.model.factory == "net.py:build"
    assert job.directions.path == Path("/abs/d.h5")


def test_a_path_through_a_linked_folder_leads_where_the_system_says(tmp_path: Path) -> None:
    (tmp_path / "far" / "jobs").mkdir(parents=True)
    os.symlink(tmp_path / "far" / "jobs", tmp_path / "jobs")
    (tmp_path / "far" / "w.pt").touch()
    write(tmp_path / "jobs", minimal(model={"factory": "a:b", "checkpoint": "../w.pt"}))
    checkpoint = read_job(tmp_path / "jobs" / "job.yaml").model.checkpoint
    assert checkpoint is not None
    assert checkpoint.is_file()


def test_the_output_is_no_input(tmp_path: Path) -> None:
    content = minimal(output="./w.pt", model={"factory": "a:b", "checkpoint": "w.pt"})
    assert "is an input of the job, and would be lost" in refusal(tmp_path, content)


def test_a_job_cannot_be_changed(tmp_path: Path) -> None:
    job = read(tmp_path, minimal())
    with pytest.raises(ValueError, match="frozen"):
        job.grid.alpha.points = 7  # type: ignore[misc]


@given(job_settings())
@settings(max_examples=60, deadline=None)
def test_any_job_survives_yaml_and_pickle(content: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        job = read(Path(one), content)
        again = read_job(write(Path(other), job.to_yaml(), "again.yaml"))
        assert again == job
        assert again.to_yaml() == job.to_yaml()
        assert again.path != job.path
        assert again.columns == job.columns
        copy = pickle.loads(pickle.dumps(job))
        assert copy == job
        assert copy.path == job.path


def test_jobs_that_differ_are_not_equal(tmp_path: Path) -> None:
    job = read(tmp_path, minimal())
    assert job == read(tmp_path, minimal())
    assert job != read(tmp_path, minimal(), "directions.seed=1")
    assert job != "job"


@pytest.mark.parametrize(
    ("curvature", "sentence"),
    [
        (
            {},
            "curvature: found an empty mapping, expected at least one of gradient, eigenvalues",
        ),
        ({"gradients": {}}, "curvature.gradients: unknown key (did you mean 'gradient'?"),
        ({"gradient": {}, "splits": ["tset"]}, "curvature.splits: 'tset' is no split"),
        ({"gradient": {}, "splits": []}, "curvature.splits: expected names of splits, each once"),
        ({"trace": {"probes": 1}}, "curvature.trace.probes: found 1, expected an integer >= 2"),
        (
            {"eigenvalues": {"tolerance": 1}},
            "curvature.eigenvalues.tolerance: found 1, expected a number between 0 and 1",
        ),
    ],
)
def test_curvature_must_make_sense(
    tmp_path: Path, curvature: dict[str, Any], sentence: str
) -> None:
    assert sentence in refusal(tmp_path, minimal(curvature=curvature))


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"evaluation": {"tolerance": 0.01}}, "evaluation.tolerance"),
        ({"grid": {"alpha": {"min": 0, "max": 1, "points": 3}, "refine": 0.01}}, "grid.refine"),
        ({"directions": {"include": "state"}}, "curvature.gradient"),
        (
            {"evaluation": {"batchnorm": {"mode": "train"}, "batch_size": 8}},
            "evaluation.batchnorm.mode",
        ),
        ({"metrics": ["loss", "m.py:trace"]}, "metrics"),
    ],
)
def test_curvature_does_not_go_with_everything(
    tmp_path: Path, changes: dict[str, Any], key: str
) -> None:
    asked = {"curvature": {"gradient": {}, "trace": {}}}
    assert refusal(tmp_path, minimal(**asked, **changes)).startswith(f"{key}: ")


def test_curvature_names_its_columns(tmp_path: Path) -> None:
    job = read(tmp_path, minimal(curvature={"gradient": {}, "trace": {}}))
    assert job.curvature is not None
    assert job.curvature.columns_of(["a"], is_plane=False) == [
        "a_gradient_norm",
        "a_gradient_alpha",
        "a_trace",
        "a_trace_sem",
    ]
