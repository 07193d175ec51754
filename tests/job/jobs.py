"""Job files to read: one that holds what it must, and any that hypothesis comes up with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from lossgrid.job import Job, read_job


def minimal(**changes: Any) -> dict[str, Any]:
    """The settings of a job with nothing but the required keys, and `changes`."""
    settings = {
        "model": {"factory": "net.py:build"},
        "data": {"test": {"factory": "lossgrid.data:digits"}},
        "grid": {"alpha": {"min": -1, "max": 1, "points": 5}},
    }
    return {**settings, **changes}


def plane(**changes: Any) -> dict[str, Any]:
    """`minimal` with a second axis."""
    axis = {"min": -1, "max": 1, "points": 5}
    return minimal(grid={"alpha": axis, "beta": axis}, **changes)


def write(folder: Path, settings: Any, name: str = "job.yaml") -> Path:
    """A file of `settings`, which may be text or data."""
    path = folder / name
    text = settings if isinstance(settings, str) else yaml.safe_dump(settings, sort_keys=False)
    path.write_text(text, encoding="utf-8")
    return path


def read(folder: Path, settings: Any, *overrides: str) -> Job:
    """The job of `settings`, through a file."""
    return read_job(write(folder, settings), overrides)


_names = st.from_regex(r"[A-Za-z_][A-Za-z0-9]{0,8}", fullmatch=True)
_specs = st.sampled_from(["net.py:build", "lossgrid.data:npz", "a/b c.py:Kit.make", "pkg.sub:f"])
_texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)
_plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
_kwargs = st.dictionaries(_names, _plain, max_size=2)
_paths = st.sampled_from(["a.pt", "../b/c d.safetensors", "/abs/é.h5", "~/w.pt", "x/../y"])
_runs = st.sampled_from(["run/e-*.pt", "a.pt"]) | st.lists(_paths, min_size=1, max_size=3)
_auto = st.just("auto") | st.integers(1, 100)


def _some(required: dict[str, Any], **optional: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=optional)


@st.composite
def _axes(draw: st.DrawFn) -> dict[str, Any]:
    low = draw(st.integers(-1000, 1000))
    high = low + draw(st.floats(0.5, 1e6))
    return {"min": low, "max": high, "points": draw(st.integers(1, 99) | st.just(51.0))}


@st.composite
def _directions(draw: st.DrawFn, checkpoints: int) -> dict[str, Any]:
    common = {
        "include": st.sampled_from(["parameters", "state"]),
        "normalization": st.sampled_from(["filter", "layer", "model", "none"]),
        "ignore": st.lists(st.sampled_from(["bias", "norm"]), max_size=2),
        "parameters": st.just("*") | st.lists(_texts, min_size=1, max_size=2),
    }
    random = _some({}, kind=st.just("random"), seed=st.integers(0, 2**63 - 1), **common)
    ends = st.lists(_paths, min_size=checkpoints, max_size=checkpoints)
    between = _some({"kind": st.just("between"), "checkpoints": ends}, **common)
    file = _some({"kind": st.just("file"), "path": _paths})
    pca = {"kind": st.just("pca"), "checkpoints": _runs}
    return draw(random | between | file | _some(pca, include=common["include"]))


@st.composite
def job_settings(draw: st.DrawFn) -> dict[str, Any]:
    """The settings of any valid job file."""
    splits = st.dictionaries(
        _names,
        _some({"factory": _specs}, kwargs=_kwargs, samples=st.integers(1, 99), seed=st.just(3)),
        min_size=1,
        max_size=2,
    )
    grid = {"alpha": draw(_axes())}
    if draw(st.booleans()):
        grid["beta"] = draw(_axes())
    model = _some({"factory": _specs, "checkpoint": _paths}, kwargs=_kwargs, recipe=_specs)
    metrics = st.lists(st.sampled_from(["loss", "accuracy", "m.py:top5"]), min_size=1, unique=True)
    return draw(
        _some(
            {
                "model": model,
                "data": splits,
                "grid": st.just(grid),
                "directions": _directions(len(grid)),
            },
            name=st.from_regex(r"[\w.-]{1,20}x", fullmatch=True),
            output=st.just("out/surface.vtkhdf"),
            trajectories=st.dictionaries(
                _names,
                _some({"checkpoints": _runs}, epochs=st.lists(st.floats(0, 9), max_size=2)),
                max_size=2,
            ),
            loss=st.sampled_from(["cross_entropy", "mse", "losses.py:focal"]),
            metrics=metrics,
            evaluation=_some(
                {},
                device=st.sampled_from(["auto", "cpu", "cuda"]),
                precision=st.sampled_from(["float32", "tf32", "bfloat16", "float64"]),
                batch_size=_auto,
                points_per_pass=_auto,
                network=st.sampled_from(["auto", "fused"]),
                tune=st.booleans(),
            ),
            runtime=_some(
                {},
                chunk=_auto,
                coordinator=st.sampled_from(["shared", "dedicated"]),
                writer=st.sampled_from(["auto", "parallel", "coordinator"]),
                sync_seconds=st.floats(0, 1e6),
                ranks_per_worker=st.integers(1, 4),
                share_gpus=st.booleans(),
                allow_unlike_ranks=st.booleans(),
            ),
        )
    )


garbage = _plain | st.sampled_from(
    [True, -1, 0, float("nan"), float("inf"), 10**400, "1e3", "", "\ud800", [], {}, {"a": {}}, "x:"]
)


@st.composite
def mutated_settings(draw: st.DrawFn) -> Any:
    """A valid job with a key dropped, misspelt or added, or a value replaced, up to three times."""
    settings: Any = draw(job_settings())
    for _ in range(draw(st.integers(1, 3))):
        settings = _mutated(draw, settings)
    return settings


def _mutated(draw: st.DrawFn, node: Any) -> Any:
    if isinstance(node, dict) and node:
        key = draw(st.sampled_from(list(node)))
        action = draw(st.sampled_from(["inside", "inside", "drop", "misspell", "add", "replace"]))
        rest = {other: value for other, value in node.items() if other != key}
        if action == "inside":
            return {**node, key: _mutated(draw, node[key])}
        if action == "drop":
            return rest
        if action == "misspell":
            return {**rest, str(key)[1:] + str(key)[:1]: node[key]}
        if action == "add":
            return {**node, draw(_names | st.integers() | st.booleans()): draw(garbage)}
    return draw(garbage)
