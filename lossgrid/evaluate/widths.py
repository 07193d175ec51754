"""How many numbers a network makes of a sample, by which passes are sized."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from lossgrid.data import Split
from lossgrid.evaluate.tracing import LAYERS, aten, trace
from lossgrid.problem import Problem

CONVOLUTIONS = tuple(layer for layer in LAYERS if layer != aten.linear.default)


@dataclass(frozen=True)
class Widths:
    """What is known of a network's size.

    Attributes:
        widest: numbers a sample in the largest input or intermediate result.
        convolves: whether it has convolutions, or may have: it can't be traced.
        weights: numbers in its parameters.
    """

    widest: int
    convolves: bool
    weights: int


def widths(problem: Problem) -> Widths:
    """Look at a trace of two samples of each split."""
    model = problem.build_model().float().requires_grad_(False)
    found = [_of_split(model, split) for split in problem.splits.values()]
    weights = sum(parameter.numel() for parameter in model.parameters())
    return Widths(max(n for n, _ in found), any(convolves for _, convolves in found), weights)


def _of_split(model: nn.Module, split: Split) -> tuple[int, bool]:
    """The widest result of a sample, and whether there are convolutions."""
    samples = min(2, len(split))
    inputs, _ = split.batch(0, samples, torch.float32)
    numbers = max(leaf.numel() for leaf in tree_leaves(inputs)) // samples
    try:
        traced = trace(model, inputs)
    except Exception:
        return numbers, True
    of_samples = set(traced.graph.find_nodes(op="placeholder")[len(traced.names) :])
    convolves = False
    for node in traced.graph.nodes:
        if node.op == "call_function" and not of_samples.isdisjoint(node.all_input_nodes):
            of_samples.add(node)
            numbers = max(numbers, _numbers(node) // samples)
            convolves |= node.target in CONVOLUTIONS
    return max(numbers, 1), convolves


def _numbers(node: fx.Node) -> int:
    value = node.meta.get("val")
    return prod(value.shape) if isinstance(value, Tensor) else 0
