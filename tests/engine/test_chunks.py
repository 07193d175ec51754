from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lossgrid.engine.chunks import ChunkQueue
from lossgrid.engine.pointset import PointSet
from lossgrid.lattice import coarse_to_fine


@given(data=st.data(), ny=st.integers(1, 25), nx=st.integers(1, 25))
def test_pending_points_are_taken_once_in_order(data: st.DataObject, ny: int, nx: int) -> None:
    pending = np.array(data.draw(st.lists(st.booleans(), min_size=ny * nx, max_size=ny * nx)))
    queue = ChunkQueue((ny, nx), PointSet([pending]))
    left = int(pending.sum())
    taken = []
    while queue.remaining:
        assert queue.remaining == left
        wanted = data.draw(st.integers(1, 60))
        points = queue.take(wanted)
        assert points.size == min(wanted, left)
        left -= points.size
        taken.append(points)
    assert queue.take(5).size == 0
    order = np.concatenate(list(coarse_to_fine(ny, nx)))
    found = np.concatenate(taken) if taken else np.empty(0, int)
    assert np.array_equal(found, order[pending[order]])
