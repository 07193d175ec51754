from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lossgrid.errors import UserError
from lossgrid.job import Job, plainyaml, read_job
from tests.job.jobs import garbage, job_settings, minimal, mutated_settings, read, write


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        read_job(path, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_file_must_be_there(tmp_path: Path) -> None:
    missing = tmp_path / "no.yaml"
    assert refusal(missing) == f"{missing}: the file can't be read: No such file or directory"
    assert "Is a directory" in refusal(tmp_path)
    assert str(tmp_path) in refusal(tmp_path / "\0")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"# only words\n", "the file is empty"),
        (b"- a\n", "found a list, expected keys"),
        (b"just words", "found 'just words', expected keys"),
        (b"name: \xff\xfe", "not UTF-8 text (byte 6)"),
        ("name: x".encode("utf-16"), "not UTF-8 text"),
        (b"\x80\x02}q\x00.", "not UTF-8 text (byte 0)"),
        (b"#" * 1_000_001, "this is no file of settings"),
        (b"grid: [", "not valid YAML"),
        (b"grid: 1\ngrid: 2", "key 'grid' is given twice (lines 1 and 2)"),
        (b"[" * 5000, "nested too deeply"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "job.yaml"
    path.write_bytes(content)
    sentence = refusal(path)
    assert sentence.startswith(f"{path}: ")
    assert words in sentence


def test_a_byte_order_mark_is_harmless(tmp_path: Path) -> None:
    path = write(tmp_path, minimal())
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_job(path).name == "job"


@pytest.mark.parametrize(
    ("override", "look", "value"),
    [
        ("grid.alpha.points=101", lambda job: job.grid.alpha.points, 101),
        ("grid.alpha.min=-1e-2", lambda job: job.grid.alpha.min, -0.01),
        ("grid.beta={min: 0, max: 1, points: 2}", lambda job: job.grid.beta.points, 2),
        ("runtime.chunk=8", lambda job: job.runtime.chunk, 8),
        ("metrics=[loss]", lambda job: job.metrics, ["loss"]),
        ("data.test.samples=null", lambda job: job.data["test"].samples, None),
        ("data.train.factory=a:b", lambda job: list(job.data), ["test", "train"]),
        ("model.kwargs.text=a=b", lambda job: job.model.kwargs, {"text": "a=b"}),
        ("model.kwargs.inner.deep=1", lambda job: job.model.kwargs, {"inner": {"deep": 1}}),
        (" name = spaced ", lambda job: job.name, "spaced"),
    ],
)
def test_an_override_replaces_or_adds_a_key(
    tmp_path: Path, override: str, look: Any, value: object
) -> None:
    assert look(read(tmp_path, minimal(), override)) == value


def test_overrides_come_before_defaults_and_checks(tmp_path: Path) -> None:
    broken = minimal(name=3, loss="nonsense")
    job = read(
        tmp_path, broken, "name=good", "loss=mse", "directions.kind=file", "directions.path=d.h5"
    )
    assert job.output == tmp_path / "out/good.vtkhdf"
    assert job.metrics == ["loss"]
    assert job.directions.normalization == "none"


def test_the_last_override_of_a_key_wins(tmp_path: Path) -> None:
    seeds = ["directions.seed=1", "directions.seed=2"]
    assert read(tmp_path, minimal(), *seeds).directions.seed == 2
    job = read(tmp_path, minimal(), *seeds, "directions={ignore: []}")
    assert (job.directions.seed, job.directions.ignore) == (0, [])


def test_an_override_changes_one_use_of_an_anchor(tmp_path: Path) -> None:
    text = """
        model: {factory: "a:b"}
        data: {train: &split {factory: "c:d", samples: 5}, test: *split}
        grid: {alpha: {min: 0, max: 1, points: 2}}
    """
    data = read(tmp_path, text, "data.train.samples=7").data
    assert (data["train"].samples, data["test"].samples) == (7, 5)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("grid.alpha.points", "expected key.path=value"),
        ("=3", "expected key.path=value"),
        ("grid..points=3", "expected key.path=value"),
        (".".join("a" * 100) + "=3", "expected key.path=value"),
        ("grid.alpha.points.x=3", "grid.alpha.points is 5, so 'x' can't be set in it"),
        ("grid.alpha={min: 0", "not valid YAML"),
        ("grid.alpha={min: 0, min: 1}", "key 'min' is given twice"),
        ("grid.alfa.points=3", "grid.alfa: unknown key (did you mean 'alpha'?"),
        ("grid.alpha.points=0", "grid.alpha.points: found 0, expected an integer"),
        ("grid=3", "grid: found 3, expected the keys alpha, beta"),
        ("data=", "data: found nothing, expected at least one split"),
    ],
)
def test_a_bad_override_is_named(tmp_path: Path, override: str, words: str) -> None:
    sentence = refusal(write(tmp_path, minimal()), "runtime.chunk=4", override)
    assert words in sentence
    assert f"--set '{override[:40]}" in sentence


def test_an_override_is_not_blamed_for_what_the_file_says(tmp_path: Path) -> None:
    path = write(tmp_path, minimal(name=3))
    assert "--set" not in refusal(path, "runtime.chunk=4")


def told(folder: Path, content: str | bytes, overrides: list[str]) -> Job | None:
    """The job, or None with a fitting sentence; anything else is a failure."""
    path = folder / "job.yaml"
    path.write_bytes(
        content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    )
    try:
        job = read_job(path, overrides)
    except UserError as error:
        sentence = str(error)
        assert sentence.startswith((f"{path}: ", "--set "))
        assert sentence.isprintable()
        assert len(sentence) < 2000
        return None
    assert read_job(write(folder, job.to_yaml(), "again.yaml")) == job
    return job


@given(mutated_settings())
@settings(max_examples=200, deadline=None)
def test_a_mutated_job_is_read_or_refused(content: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        told(Path(folder), plainyaml.dump(content), [])


@given(
    st.binary(max_size=30)
    | st.text(max_size=30)
    | st.text(st.sampled_from(list("model: {data}[grid]&*!-\n\t'\"")), max_size=60)
)
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_read_or_refused(content: str | bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        told(Path(folder), content, [])


_keys = st.sampled_from(
    ["grid", "alpha", "points", "model", "kwargs", "data", "test", "directions", "ignore", "0", ""]
) | st.text(max_size=4)
_overrides = st.text(max_size=20) | st.builds(
    lambda keys, value: f"{'.'.join(keys)}={value}",
    st.lists(_keys, min_size=1, max_size=4),
    st.text(max_size=12) | garbage.map(plainyaml.dump),
)


@given(job_settings(), st.lists(_overrides, max_size=3))
@settings(max_examples=200, deadline=None)
def test_any_override_is_applied_or_refused(content: Any, overrides: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        told(Path(folder), plainyaml.dump(content), overrides)


def test_the_job_file_needs_no_heavy_library() -> None:
    heavy = {"torch", "numpy", "h5py", "mpi4py", "matplotlib", "vtk"}
    code = f"import sys, lossgrid.job; print(*{heavy!r} & set(sys.modules))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("", "")
