"""Recording does each operation once and keeps no result."""

from __future__ import annotations

import weakref

import torch
from torch import Tensor

from lossgrid.evaluate.recording import record


def test_results_that_are_read_no_more_are_freed() -> None:
    alive: list[bool] = []

    def chain(x: Tensor) -> list[Tensor]:
        first = x * 2
        kept = weakref.ref(first.true)  # type: ignore[attr-defined]
        second = first + 1
        alive.append(kept() is not None)
        del first
        alive.append(kept() is not None)
        return [second]

    record(chain, torch.ones(3))
    assert alive == [True, False]


def test_stand_ins_have_shapes_and_types_of_what_they_stand_for() -> None:
    seen: list[Tensor] = []

    def look(x: Tensor) -> list[Tensor]:
        y = x.t().to(torch.float64)[:, None]
        seen.extend([x, y])
        return [y]

    given = torch.ones(2, 3)
    graph = record(look, given)
    (wanted,) = graph(given)
    assert [(one.shape, one.dtype) for one in seen] == [
        (given.shape, given.dtype),
        (wanted.shape, wanted.dtype),
    ]
    assert seen[1].stride() == wanted.stride()


def test_parts_are_recorded_one_by_one_if_asked() -> None:
    def layer(x: Tensor, weight: Tensor) -> list[Tensor]:
        return [torch.nn.functional.linear(x, weight)]

    def operations(composed: bool) -> list[str]:
        graph = record(layer, torch.ones(2, 3), torch.ones(4, 3), composed=composed).graph
        return [str(node.target) for node in graph.nodes if node.op == "call_function"]

    assert operations(composed=True) == ["aten.linear.default"]
    assert operations(composed=False) == ["aten.t.default", "aten.mm.default"]


def test_what_a_function_keeps_is_a_constant_of_the_next_recording() -> None:
    kept: list[Tensor] = []

    def shift(x: Tensor) -> list[Tensor]:
        if not kept:
            kept.append(torch.arange(3, device=x.device))
        return [x + kept[0]]

    record(shift, torch.ones(3))
    graph = record(shift, torch.ones(2, 3))
    (found,) = graph(torch.zeros(2, 3))
    assert found.tolist() == [[0, 1, 2], [0, 1, 2]]
