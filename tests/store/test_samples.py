from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from lossgrid.errors import StorageError
from lossgrid.evaluate.estimate import Known
from lossgrid.lattice import level_of, strides
from lossgrid.store.samples import SampleFile, samples_path

SHAPE = (20, 33)
SIZES = [(2, 50), (1, 7)]
FINEST = len(strides(*SHAPE)) - 1
PARENTS = [point for point in range(20 * 33) if level_of(*SHAPE, point) < FINEST]


def found_at(point: int) -> list[Known]:
    generator = np.random.default_rng(point)
    return [
        Known(
            generator.normal(size=metrics),
            generator.normal(size=(metrics, used)).astype(np.float32).astype(float),
            generator.normal(size=(metrics, reach)).astype(np.float32).astype(float),
        )
        for metrics, used, reach in ((2, 25 - point % 20, 25 - point % 20), (1, 3, point % 3))
    ]


def opened(path: Path, owner: str = "mine") -> SampleFile:
    samples = SampleFile(path, SHAPE, SIZES)
    samples.begin(owner)
    samples.open(owner)
    return samples


def same(ours: list[Known] | None, theirs: list[Known]) -> bool:
    assert ours is not None
    return all(
        np.array_equal(getattr(one, field), getattr(other, field))
        for one, other in zip(ours, theirs, strict=True)
        for field in ("mean", "values", "influence")
    )


def test_every_parent_is_known_again(tmp_path: Path) -> None:
    path = samples_path(tmp_path / "a.vtkhdf")
    samples = opened(path)
    for point in PARENTS:
        assert not samples.has(point)
        samples.keep(point, found_at(point))
    samples.close()
    other = opened(path)
    assert all(same(other.recall(point), found_at(point)) for point in PARENTS)
    other.close()


def test_points_that_are_nobodys_parents_take_no_room(tmp_path: Path) -> None:
    samples = opened(tmp_path / "s")
    before = os.path.getsize(samples.path)
    for point in set(range(20 * 33)) - set(PARENTS):
        samples.keep(point, found_at(point))
        assert samples.recall(point) is None
    assert os.path.getsize(samples.path) == before
    samples.close()


def test_a_point_that_a_kill_has_cut_short_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = opened(tmp_path / "s")
    point = PARENTS[5]
    writes = []

    def killed(file: int, data: bytes, place: int) -> int:
        writes.append(place)
        if len(writes) == 5:
            raise KeyboardInterrupt
        return real(file, data, place)

    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", killed)
    with pytest.raises(KeyboardInterrupt):
        samples.keep(point, found_at(point))
    assert samples.recall(point) is None
    monkeypatch.undo()
    samples.keep(point, found_at(point))
    assert same(samples.recall(point), found_at(point))
    samples.close()


def test_what_another_job_has_left_is_dropped(tmp_path: Path) -> None:
    samples = opened(tmp_path / "s")
    samples.keep(PARENTS[0], found_at(0))
    samples.close()
    again = opened(tmp_path / "s")
    assert again.has(PARENTS[0])
    again.close()
    other = opened(tmp_path / "s", owner="another")
    assert not other.has(PARENTS[0])
    other.close()


def test_the_file_of_another_job_is_not_read(tmp_path: Path) -> None:
    """As a rank would find it whose folder is not the one that rank 0 sees."""
    opened(tmp_path / "s").close()
    with pytest.raises(StorageError, match="belongs to another job"):
        SampleFile(tmp_path / "s", SHAPE, SIZES).open("another")


def test_a_file_that_is_cut_short_is_noticed_and_begun_anew(tmp_path: Path) -> None:
    """Also if something is written behind the cut: what is missing there has not just failed."""
    samples = opened(tmp_path / "s")
    samples.keep(PARENTS[0], found_at(0))
    os.truncate(samples.path, 100)
    samples.keep(PARENTS[-1], found_at(1))
    assert same(samples.recall(PARENTS[-1]), found_at(1))
    with pytest.raises(StorageError, match="cut short"):
        samples.recall(PARENTS[0])
    with pytest.raises(StorageError, match="cut short"):
        samples.close()
    again = opened(tmp_path / "s")
    assert not again.has(PARENTS[-1])
    again.close()


def test_half_of_the_samples_are_enough_for_others(tmp_path: Path) -> None:
    samples = opened(tmp_path / "s")
    values = np.arange(100.0).reshape(2, 50)
    whole = [Known(values.mean(axis=1), values, np.zeros((2, 0))), found_at(0)[1]]
    samples.keep(PARENTS[3], whole)
    found = samples.recall(PARENTS[3])
    assert found is not None
    assert np.array_equal(found[0].values, values[:, :25])
    assert np.array_equal(found[0].mean, values.mean(axis=1))
    samples.close()


def test_a_point_of_which_a_disk_has_lost_a_part_is_unknown(tmp_path: Path) -> None:
    samples = opened(tmp_path / "s")
    samples.keep(PARENTS[0], found_at(0))
    samples.close()
    content = bytearray(samples.path.read_bytes())
    content[4096 + 60 : 4096 + 80] = bytes(20)
    samples.path.write_bytes(content)
    samples.open("mine")
    assert samples.recall(PARENTS[0]) is None
    samples.close()


def test_points_share_no_page(tmp_path: Path) -> None:
    samples = opened(tmp_path / "s")
    pages = [
        {byte // 4096 for byte in range(places[0], places[-1] + samples._records[-1].size)}
        for places in (samples._places(point) for point in PARENTS[:50])
    ]
    assert sum(map(len, pages)) == len(set().union(*pages))
    samples.close()


def test_a_full_disk_is_told_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = opened(tmp_path / "s")
    full = os.open("/dev/full", os.O_RDWR)
    monkeypatch.setattr(samples, "_file", full)
    with pytest.raises(StorageError, match=r"/s: .* No space left on device;"):
        samples.keep(PARENTS[0], found_at(0))


def test_a_folder_that_a_rank_can_not_see(tmp_path: Path) -> None:
    samples = SampleFile(tmp_path / "absent", SHAPE, SIZES)
    with pytest.raises(StorageError, match="every rank needs the output's folder"):
        samples.open("mine")
