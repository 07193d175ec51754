from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lossgrid.lattice import coarse_to_fine
from lossgrid.view.thinning import drawn_lattice

SIZES = st.integers(1, 300)


@given(SIZES, SIZES, st.integers(1, 50))
def test_a_complete_grid_is_thinned_alike_on_both_axes(ny: int, nx: int, most: int) -> None:
    rows, columns = drawn_lattice(np.ones((ny, nx), np.uint8), most)
    assert max(rows.size, columns.size) <= most + 1
    if max(ny, nx) <= most:
        assert (rows.size, columns.size) == (ny, nx)
    spacings = set()
    for indices, points in ((rows, ny), (columns, nx)):
        assert (indices[0], indices[-1]) == (0, points - 1)
        spacings |= set(np.diff(indices)[:-1].tolist())
    assert len(spacings) <= 1


def test_an_unfinished_grid_is_drawn_as_far_as_it_is_complete() -> None:
    status = np.zeros(33 * 33, np.uint8)
    for row in coarse_to_fine(33, 33):
        status[row] = 1
        if row[0] == 2 * 33:  # the first row of the lattice of every second point
            break
    rows, columns = drawn_lattice(status.reshape(33, 33), 1000)
    np.testing.assert_array_equal(rows, np.arange(0, 33, 4))
    np.testing.assert_array_equal(columns, rows)


def test_where_no_lattice_is_complete_all_points_are_drawn() -> None:
    status = np.zeros((33, 17), np.uint8)
    status[:20] = 1
    rows, columns = drawn_lattice(status, 1000)
    assert (rows.size, columns.size) == (33, 17)
