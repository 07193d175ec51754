"""Creating, writing and reading the results file; h5py as an independent reader."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lossgrid.engine.messages import DONE, FAILED, Result
from lossgrid.errors import UserError
from lossgrid.store.amend import mark_complete, reset_lost, write_epoch
from lossgrid.store.create import Contents, create, expected_bytes
from lossgrid.store.layout import NO_EPOCH, epoch_record
from lossgrid.store.results import read_results
from lossgrid.store.selection import Selection
from lossgrid.store.sink import CoordinatorSink
from lossgrid.store.writer import PointWriter

COLUMNS = ("train_loss", "test_accuracy")
ALPHA, BETA = np.linspace(-1, 1, 7), np.linspace(0, 3, 5)


def contents(alpha: np.ndarray = ALPHA, beta: np.ndarray | None = BETA) -> Contents:
    return Contents(
        alpha,
        beta,
        COLUMNS,
        {"x": {"layer.weight": np.arange(6, dtype=np.float32).reshape(2, 3)}},
        {"norm_x": 2.5},
        {"job": "a: 1\n", "fingerprint": '{"weights": "abc"}', "plan": "{}"},
    )


def result(points: list[int], status: int = DONE, rank: int = 3) -> Result:
    values = np.array([[100.0 + p, -float(p)] for p in points])
    errors = [(p, f"boom {p}") for p in points] if status == FAILED else []
    return Result(
        rank,
        1,
        np.array(points),
        values if status == DONE else values * np.nan,
        np.full(len(points), status, np.uint8),
        np.full(len(points), 0.5, np.float32),
        errors,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "r.vtkhdf"
    create(file, contents())
    return file


def test_the_contract_of_a_new_file(path: Path) -> None:
    with h5py.File(path) as file:
        image = file["VTKHDF"].attrs
        assert image["Version"].tolist() == [1, 0]
        kind = image.get_id("Type").get_type()
        assert isinstance(kind, h5py.h5t.TypeStringID)
        assert not kind.is_variable_str()
        assert kind.get_cset() == h5py.h5t.CSET_ASCII
        assert image["Type"] == b"ImageData"
        assert image["WholeExtent"].tolist() == [0, 6, 0, 4, 0, 0]
        assert image["Origin"].tolist() == [-1, 0, 0]
        np.testing.assert_allclose(image["Spacing"], [1 / 3, 0.75, 1])
        assert image["Direction"].tolist() == [1, 0, 0, 0, 1, 0, 0, 0, 1]
        science = file["lossgrid"]
        assert (science.attrs["format"], science.attrs["complete"]) == (1, 0)
        assert science.attrs["job"] == "a: 1\n"
        assert np.array_equal(science["alpha"], ALPHA)
        assert np.array_equal(science["beta"], BETA)
        assert science["directions/x/layer.weight"][1, 2] == 5
        assert science["directions"].attrs["norm_x"] == 2.5
        shaped = {f"VTKHDF/PointData/{name}": "float64" for name in COLUMNS}
        shaped |= {
            "lossgrid/status": "uint8",
            "lossgrid/points/rank": "int32",
            "lossgrid/points/seconds": "float32",
            "lossgrid/points/attempt": "uint8",
            "lossgrid/points/epoch": "uint8",
        }
        for name, dtype in shaped.items():
            assert file[name].shape == (5, 7), name
            assert file[name].dtype == dtype, name
        for name in [*shaped, "lossgrid/errors"]:
            assert file[name].chunks is None, name
            assert file[name].id.get_offset() is not None, name  # its place on disk is taken
        assert np.isnan(file["VTKHDF/PointData/train_loss"]).all()
        assert not file["lossgrid/status"][...].any()
    assert path.read_bytes()[8] == 0  # superblock version: a newer one marks a file as open


def test_its_size_is_told_before(tmp_path: Path) -> None:
    alpha, beta = np.linspace(-1, 1, 300), np.linspace(-1, 1, 200)
    directions = {axis: {"w": np.zeros((50, 100), np.float32)} for axis in "xy"}
    columns = ("test_loss", "test_accuracy", "train_loss")
    create(tmp_path / "a.vtkhdf", Contents(alpha, beta, columns, directions))
    more = (tmp_path / "a.vtkhdf").stat().st_size - expected_bytes(60000, 3, 10000)
    assert 0 <= more < 32768  # axes and HDF5's own


def test_a_line(tmp_path: Path) -> None:
    path = tmp_path / "line.vtkhdf"
    create(path, contents(beta=None))
    with h5py.File(path) as file:
        assert file["VTKHDF"].attrs["WholeExtent"].tolist() == [0, 6, 0, 0, 0, 0]
        assert file["lossgrid/status"].shape == (7,)
        assert "beta" not in file["lossgrid"]
    found = read_results(path)
    assert found.beta is None
    assert found.shape == (7,)


def test_axes_of_one_point(tmp_path: Path) -> None:
    path = tmp_path / "one.vtkhdf"
    create(path, contents(np.array([2.0]), np.array([3.0])))
    with h5py.File(path) as file:
        assert file["VTKHDF"].attrs["Spacing"].tolist() == [1, 1, 1]
        assert file["VTKHDF"].attrs["WholeExtent"].tolist() == [0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(("alpha", "beta", "stored"), [(7, 1, (7,)), (1, 5, (5, 1))])
def test_a_plane_of_one_row_or_column_is_a_plane_to_readers(
    alpha: int, beta: int, stored: tuple[int, ...], tmp_path: Path
) -> None:
    path = tmp_path / "thin.vtkhdf"
    create(path, contents(ALPHA[:alpha], BETA[:beta]))
    with PointWriter(path, COLUMNS) as writer:
        CoordinatorSink(writer, {}).write([result([0, 2, 3]), result([4], FAILED)])
    found = read_results(path)
    assert found.errors() == {4: "boom 4"}
    with h5py.File(path) as file:
        assert file["lossgrid/status"].shape == stored
    assert found.shape == found.status.shape == found.values["train_loss"].shape == (beta, alpha)
    values = found.values["train_loss"].ravel()
    assert values[[0, 2, 3]].tolist() == [100, 102, 103]
    assert np.isnan(np.delete(values, [0, 2, 3])).all()
    assert found.at(np.array([2, 3]), ["test_accuracy"]).tolist() == [[-2], [-3]]
    assert found.not_finite() == dict.fromkeys(COLUMNS, values.size - 3)
    assert found.count(FAILED) == 1
    assert len(found.unfinished()) == values.size - 3
    with h5py.File(path, "r+") as file:
        file["VTKHDF/PointData/train_loss"][(2, *([0] * (len(stored) - 1)))] = np.nan
    reset_lost(found)
    assert found.count(DONE) == 2


def test_a_long_job_text_is_kept_whole(tmp_path: Path) -> None:
    long = "x" * 200_000
    made = contents()
    create(
        tmp_path / "r.vtkhdf",
        Contents(ALPHA, BETA, COLUMNS, {}, {}, {**made.attributes, "job": long}),
    )
    assert read_results(tmp_path / "r.vtkhdf").attributes["job"] == long


@settings(deadline=None, max_examples=25)
@given(order=st.permutations(range(35)), cuts=st.lists(st.integers(1, 34), max_size=6))
def test_points_land_where_they_belong(
    order: list[int], cuts: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("order") / "r.vtkhdf"
    create(path, contents())
    with PointWriter(path, COLUMNS) as writer:
        bounds = sorted({0, *cuts, 35})
        parts = [order[a:b] for a, b in itertools.pairwise(bounds)]
        writer.write([result(part) for part in parts[:2]])
        for part in parts[2:]:
            writer.write([result(part)])
    found = read_results(path)
    assert np.array_equal(found.values["train_loss"].ravel(), 100.0 + np.arange(35))
    assert np.array_equal(found.values["test_accuracy"].ravel(), -np.arange(35.0))
    assert (found.status == DONE).all()
    with h5py.File(path) as file:
        assert (file["lossgrid/points/rank"][...] == 3).all()
        assert (file["lossgrid/points/attempt"][...] == 1).all()


def test_a_point_that_two_ranks_have_computed(path: Path) -> None:
    """And sent at about the same time: nothing lands between the points."""
    with PointWriter(path, COLUMNS) as writer:
        writer.write([result([0, 2]), result([2, 0, 4])])
    found = read_results(path)
    assert np.flatnonzero(found.status == DONE).tolist() == [0, 2, 4]
    assert np.isnan(found.values[COLUMNS[0]].ravel()[[1, 3]]).all()


def test_attempts_are_counted_over_runs(path: Path) -> None:
    for _ in range(2):
        with PointWriter(path, COLUMNS) as writer:
            writer.write([result([4, 5])])
            writer.write([result([5])])
    with h5py.File(path) as file:
        assert file["lossgrid/points/attempt"][0, :].tolist() == [0, 0, 0, 0, 2, 4, 0]


WRITER = """
    import os, signal, sys
    from pathlib import Path
    sys.path.insert(0, {root!r})
    from lossgrid.store.sink import CoordinatorSink
    from lossgrid.store.writer import PointWriter
    from tests.store.test_results_file import COLUMNS, DONE, FAILED, result
    writer = PointWriter(Path(sys.argv[1]), COLUMNS)
    sink = CoordinatorSink(writer, {{}})
    sink.write([result([0, 9, 17]), result([20], FAILED)])
"""


def in_another_process(code: str, *arguments: object, **options: object) -> subprocess.Popen[str]:
    root = str(Path(__file__).resolve().parents[2])
    program = textwrap.dedent(WRITER.format(root=root)) + textwrap.dedent(code)
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, text=True, **options)  # type: ignore[call-overload, no-any-return]


def test_what_is_stored_survives_kill_9(path: Path) -> None:
    with in_another_process("os.kill(os.getpid(), signal.SIGKILL)", path) as writer:
        assert writer.wait(timeout=60) == -signal.SIGKILL
    found = read_results(path)
    assert np.flatnonzero(found.status.ravel() == DONE).tolist() == [0, 9, 17]
    assert found.values["train_loss"].ravel()[[0, 9, 17]].tolist() == [100, 109, 117]
    assert found.errors() == {20: "boom 20"}
    with PointWriter(path, COLUMNS) as again:  # and the file can be written again
        again.write([result([1])])
    assert read_results(path).count(DONE) == 4


def test_a_reader_sees_points_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a flush, with the writer still open, and with HDF5's own locks asked for."""
    monkeypatch.setenv("HDF5_USE_FILE_LOCKING", "TRUE")
    code = "print('written', flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with in_another_process(code, path, **pipes) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "written\n"
        reader = f"""
            from pathlib import Path
            from lossgrid.store.results import read_results
            found = read_results(Path({str(path)!r}))
            print(found.count(1), found.values["train_loss"][1, 2])
        """
        command = [sys.executable, "-c", textwrap.dedent(reader)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        writer.communicate("")
    assert done.stdout.split() == ["3", "109.0"], done.stderr


def fail_or_store(path: Path, *results: Result) -> None:
    """As another run would."""
    with PointWriter(path, COLUMNS) as writer:
        CoordinatorSink(writer, read_results(path).error_rows()).write(list(results))


def test_a_message_is_kept_until_its_point_succeeds(path: Path) -> None:
    fail_or_store(path, result([8, 30], FAILED), result([2]))
    found = read_results(path)
    assert found.errors() == {8: "boom 8", 30: "boom 30"}
    assert len(found.unfinished()) == 34
    fail_or_store(path, result([8]), result([11], FAILED))
    found = read_results(path)
    assert found.count(FAILED) == 2
    assert found.errors() == {11: "boom 11", 30: "boom 30"}


def test_a_failure_never_replaces_a_value(path: Path) -> None:
    """A slow rank may fail at a point that another has computed in its place."""
    fail_or_store(path, result([8, 9]))
    with PointWriter(path, COLUMNS) as writer:
        writer.write([result([7, 8], FAILED), result([3])])
    found = read_results(path)
    assert found.status.ravel()[[3, 7, 8, 9]].tolist() == [DONE, FAILED, DONE, DONE]
    assert found.values["train_loss"].ravel()[[3, 8]].tolist() == [103, 108]


def test_a_failure_alone_at_a_point_that_is_done(path: Path) -> None:
    fail_or_store(path, result([8]))
    fail_or_store(path, result([8], FAILED))
    found = read_results(path)
    assert found.status.ravel()[8] == DONE
    assert found.values["train_loss"].ravel()[8] == 108
    assert found.errors() == {}


def test_a_value_between_the_steps_of_a_failure_stays(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two ranks at one point: whatever their order, what is done has its values."""
    with PointWriter(path, COLUMNS) as fails, PointWriter(path, COLUMNS) as succeeds:
        read = fails._status

        def read_then_overtaken(select: Selection) -> np.ndarray:
            found = read(select)
            succeeds.write([result([8])])
            return found

        monkeypatch.setattr(fails, "_status", read_then_overtaken)
        fails.write([result([8], FAILED)])
        values = read_results(path).values
        assert [values[name].ravel()[8] for name in COLUMNS] == [108, -8]
        succeeds.write([result([8])])
    assert read_results(path).status.ravel()[8] == DONE


def test_the_latest_message_of_a_point_counts(path: Path) -> None:
    fail_or_store(path, result([8], FAILED))
    fail_or_store(path, result([8], FAILED)._replace(errors=[(8, "again")]))
    assert read_results(path).errors() == {8: "again"}


def test_rows_of_points_that_succeeded_are_used_again(tmp_path: Path) -> None:
    path = tmp_path / "r.vtkhdf"
    create(path, contents(np.arange(50.0), np.arange(30.0)))
    fail_or_store(path, result(list(range(990)), FAILED))
    fail_or_store(path, result(list(range(990, 1010)), FAILED))
    found = read_results(path)
    assert found.count(FAILED) == 1010
    assert sorted(found.errors()) == list(range(1000))
    fail_or_store(path, result([4, 5]))
    fail_or_store(path, result([1008, 1009], FAILED))
    assert sorted(read_results(path).errors()) == [*range(4), *range(6, 1000), 1008, 1009]


def test_a_long_message_is_cut_between_letters(path: Path) -> None:
    long = result([0], FAILED)._replace(errors=[(0, "é" * 500)])
    with PointWriter(path, COLUMNS) as writer:
        CoordinatorSink(writer, {}).write([long])
    assert read_results(path).errors() == {0: "é" * 120}


def test_a_message_that_is_no_unicode(path: Path) -> None:
    fail_or_store(path, result([0], FAILED)._replace(errors=[(0, "bad \udcff name")]))
    assert read_results(path).errors() == {0: "bad ? name"}


def test_complete_is_said_in_the_file(path: Path) -> None:
    mark_complete(path)
    with h5py.File(path) as file:
        assert file["lossgrid"].attrs["complete"] == 1


def test_points_know_the_epoch_of_their_plan(path: Path) -> None:
    for epoch, points in enumerate([[1, 2], [2, 34]]):
        with PointWriter(path, COLUMNS, epoch=epoch) as writer:
            writer.write([result(points), result([7 + epoch], FAILED)])
            writer.write_interpolated(np.array([20 + epoch]), np.zeros((2, 1)))
    found = read_results(path)
    with h5py.File(path) as file:
        known = file["lossgrid/points/epoch"][...].ravel()
    assert known[[1, 2, 34]].tolist() == [0, 1, 1]
    assert (np.delete(known, [1, 2, 34]) == NO_EPOCH).all()
    assert found.count_epochs()[:3].tolist() == [1, 2, 0]
    assert found.count_epochs().sum() == 3


def test_plans_are_added_to_a_file_that_has_room_for_them(tmp_path: Path, path: Path) -> None:
    kind = epoch_record(["train_loss", "test_loss"])
    first, second = (np.array((size, 1, b"fused", (0.5, 0.25)), kind) for size in (64, 32))
    roomy = tmp_path / "roomy.vtkhdf"
    create(roomy, replace(contents(), epoch=first))
    size = roomy.stat().st_size
    assert read_results(roomy).epochs.tolist() == [first.item()]
    write_epoch(read_results(roomy), 1, second)
    rows = read_results(roomy).epochs
    assert rows.dtype == kind
    assert rows["batch_size"].tolist() == [64, 32]
    assert rows["theta"]["test_loss"].tolist() == [0.25, 0.25]
    assert roomy.stat().st_size == size  # nothing but raw data was written
    assert len(read_results(path).epochs) == 0


@pytest.mark.parametrize("beta", [np.arange(30.0), None])
def test_after_a_power_loss_points_without_values_are_pending(
    beta: np.ndarray | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lossgrid.store.results.SLICE", 80)  # several bands
    path = tmp_path / "r.vtkhdf"
    create(path, contents(np.arange(50.0), beta))
    fail_or_store(path, result(list(range(10, 50))), result([5, 6], FAILED))
    mark_complete(path)
    with h5py.File(path, "r+") as file:
        for name, point in zip(COLUMNS, [11, 47], strict=True):
            flat = file[f"VTKHDF/PointData/{name}"][...].ravel()
            flat[point] = np.nan
            file[f"VTKHDF/PointData/{name}"][...] = flat.reshape(file["lossgrid/status"].shape)
        epochs = file["lossgrid/points/epoch"][...].ravel()
        epochs[13] = NO_EPOCH
        file["lossgrid/points/epoch"][...] = epochs.reshape(file["lossgrid/status"].shape)
    reset_lost(read_results(path))
    status = read_results(path).status.ravel()
    assert np.flatnonzero(status == FAILED).tolist() == [5, 6]
    assert np.flatnonzero(status == DONE).tolist() == [10, 12, *range(14, 47), 48, 49]
    with h5py.File(path) as file:
        assert file["lossgrid"].attrs["complete"] == 0


def test_a_kill_during_creation_leaves_the_old_file(path: Path) -> None:
    before = path.read_bytes()
    code = """
        from lossgrid.store.create import create
        from tests.store.test_results_file import contents
        os.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)
        create(Path(sys.argv[1]).with_name("other.vtkhdf"), contents())
    """
    with in_another_process(code, path) as creator:
        assert creator.wait(timeout=60) == -signal.SIGKILL
    other = path.with_name("other.vtkhdf")
    assert not other.exists()
    create(other, contents())  # what the killed one left does not stand in the way
    assert sorted(p.name for p in path.parent.iterdir()) == ["other.vtkhdf", "r.vtkhdf"]
    assert len(path.read_bytes()) == len(before)


def test_a_file_cut_short_anywhere_is_refused(path: Path) -> None:
    whole = path.read_bytes()
    for size in [0, 1, 8, 100, 1000, *range(2000, len(whole), len(whole) // 20)]:
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"r\.vtkhdf.*(cut short|not a results file)"):
            read_results(path)


@pytest.mark.parametrize("bytes_", [b"", b"not HDF5 at all" * 100])
def test_something_else_is_refused(bytes_: bytes, tmp_path: Path) -> None:
    (tmp_path / "r.vtkhdf").write_bytes(bytes_)
    with pytest.raises(UserError, match="nor HDF5 at all"):
        read_results(tmp_path / "r.vtkhdf")


def test_a_file_of_a_later_format_is_refused(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["lossgrid"].attrs["format"] = 2
    with pytest.raises(UserError, match="by a newer lossgrid"):
        read_results(path)


@pytest.mark.parametrize("name", ["plan", "fingerprint"])
def test_a_file_without_its_texts_is_refused(name: str, path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["lossgrid"].attrs[name]
    with pytest.raises(UserError, match=f"damaged.*{name}"):
        read_results(path)


@pytest.mark.parametrize("text", ["", "{", "7"])
def test_a_garbled_fingerprint_is_refused(text: str, path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["lossgrid"].attrs["fingerprint"] = text
    with pytest.raises(UserError, match="damaged"):
        read_results(path)


DATASETS = [
    "VTKHDF/PointData/train_loss",
    "lossgrid/status",
    "lossgrid/points/seconds",
    "lossgrid/errors",
]


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_of_another_shape_is_refused(name: str, path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file[name]
        file[name] = np.zeros((5, 6))
    with pytest.raises(UserError, match=rf"damaged.*{name} is of shape \(5, 6\)"):
        read_results(path)
    with h5py.File(path, "r+") as file:
        del file[name]
        file.create_group(name)
    with pytest.raises(UserError, match=f"damaged.*{name} is of shape None"):
        read_results(path)


@pytest.mark.parametrize("name", DATASETS)
def test_a_file_that_lacks_a_dataset_is_refused(name: str, path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file[name]
    with pytest.raises(UserError, match=f"is damaged.*{Path(name).name}.*--overwrite"):
        PointWriter(path, COLUMNS)
    if "PointData" not in name:  # which columns there should be, only the job knows
        with pytest.raises(UserError, match=f"damaged.*{Path(name).name}.*--overwrite"):
            read_results(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such results file"):
        read_results(tmp_path / "gone.vtkhdf")


def test_the_mpi_writer_stores_alike(parallel_flavour: object, tmp_path: Path) -> None:
    from tests.mpi import Flavour, mpirun

    assert isinstance(parallel_flavour, Flavour)
    path = tmp_path / "r.vtkhdf"
    create(path, contents())
    root = str(Path(__file__).resolve().parents[2])
    program = tmp_path / "write.py"
    program.write_text(
        "import sys\n"
        f"sys.path.insert(0, {root!r})\n"
        "from pathlib import Path\n"
        "from mpi4py import MPI\n"
        "from lossgrid.store.writer import PointWriter\n"
        "from tests.store.test_results_file import COLUMNS, result\n"
        "comm = MPI.COMM_WORLD\n"
        f"with PointWriter(Path({str(path)!r}), COLUMNS, comm=comm) as writer:\n"
        "    for point in range(comm.rank, 35, comm.size):\n"
        "        writer.write([result([point], rank=comm.rank)])\n"
    )
    done = mpirun(parallel_flavour, 3, [program])
    assert done.returncode == 0, done.stderr
    found = read_results(path)
    assert np.array_equal(found.values["train_loss"].ravel(), 100.0 + np.arange(35))
    with h5py.File(path) as file:
        assert np.array_equal(file["lossgrid/points/rank"][...].ravel(), np.arange(35) % 3)


def test_deleting_the_file_under_a_writer_is_no_crash(path: Path) -> None:
    writer = PointWriter(path, COLUMNS)
    os.unlink(path)
    writer.write([result([0])])
    with pytest.raises(UserError, match="has been removed"):
        writer.sync()
    writer.close()
