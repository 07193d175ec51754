"""What of a graph depends on the weights alone, and so is done once a point."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from torch import fx

from lossgrid.evaluate.recording import UntraceableError
from lossgrid.evaluate.tracing import Trace, base, is_mutable, is_random


def split_by_weights(trace: Trace) -> tuple[fx.GraphModule, fx.GraphModule]:
    """Cut a traced network in two.

    Returns:
        weights: takes the network's tensors; returns a tuple of what `batch` needs of them.
        batch: takes that tuple's items, then the leaves of the inputs; returns a tuple of the
            leaves of the outputs.

    Raises:
        UntraceableError: a batch would overwrite what the next one needs, or would read too late
            what the weights' part overwrites.
    """
    *nodes, end = trace.graph.nodes
    places = trace.graph.find_nodes(op="placeholder")
    inputs = places[len(trace.names) :]
    late = set(inputs)
    read: set[fx.Node | None] = set()  # by these, of the memory of others
    for node in nodes:
        if is_random(node) or not late.isdisjoint(node.all_input_nodes):
            late.add(node)
            read.update(base(one) for one in node.all_input_nodes if one not in late)
            if is_mutable(node) and base(node) not in late:
                raise UntraceableError(f"{node.target} changes what the next batch needs")
        elif is_mutable(node) and base(node) in read:
            raise UntraceableError(f"{node.target} changes what a batch has read before")
    results = end.args[0]
    early = [node for node in nodes if node not in late]
    handed = [node for node in early if end in node.users or not late.isdisjoint(node.users)]
    rest = [node for node in nodes if node in late]
    weights = part(trace, early, handed)
    return weights, part(trace, [*handed, *rest], results, given=set(handed))


def part(
    trace: Trace, nodes: list[fx.Node], results: list[Any], given: Container[fx.Node] = ()
) -> fx.GraphModule:
    """A part of the graph, to which some nodes are given as arguments."""
    graph, copies = fx.Graph(), {}
    for node in nodes:
        if node in given:
            copies[node] = graph.placeholder(node.name)
        else:
            copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(tuple(copies.get(result, result) for result in results))
    return fx.GraphModule(trace.owner, graph)
