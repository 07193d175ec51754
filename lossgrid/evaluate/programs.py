"""Graphs as plain data, which can be sent to a rank that has recorded none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx
from torch._ops import OpOverload
from torch.fx.node import map_aggregate, map_arg

from lossgrid.evaluate.recording import UntraceableError


@dataclass(frozen=True)
class Result:
    """Stands for what an earlier step has made."""

    name: str


@dataclass(frozen=True)
class Operation:
    """Stands for one of torch's operators, by its name below ``torch.ops``."""

    name: str


@dataclass(frozen=True)
class Step:
    """A node of a graph, other nodes among its arguments replaced by `Result`."""

    kind: str
    name: str
    target: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@dataclass(frozen=True)
class Program:
    """A graph as plain data.

    Attributes:
        steps: its nodes in order.
        constants: tensors that it holds, on the CPU, by name.
        placed: names of those that belong on the device.
    """

    steps: tuple[Step, ...]
    constants: Mapping[str, Tensor]
    placed: frozenset[str]

    @classmethod
    def of(cls, module: fx.GraphModule) -> Program:
        """What a graph does.

        Raises:
            UntraceableError: it holds something that is no tensor.
        """
        constants = {
            str(node.target): attrgetter(str(node.target))(module)
            for node in module.graph.find_nodes(op="get_attr")
        }
        for name, constant in constants.items():
            if not isinstance(constant, Tensor):
                raise UntraceableError(f"it holds {type(constant).__name__} {name}")
        return cls(
            tuple(map(_step, module.graph.nodes)),
            {name: constant.detach().cpu() for name, constant in constants.items()},
            frozenset(name for name, held in constants.items() if held.device.type != "cpu"),
        )

    def on(self, device: torch.device) -> fx.GraphModule:
        """The graph again, for one device of the kind that it was recorded on."""
        graph = fx.Graph()
        made: dict[str, fx.Node] = {}

        def given(argument: Any) -> Any:
            if isinstance(argument, Result):
                return made[argument.name]
            is_device = isinstance(argument, torch.device) and argument.type != "cpu"
            return device if is_device else argument

        for step in self.steps:
            args, kwargs = map_aggregate((step.args, dict(step.kwargs)), given)
            made[step.name] = graph.create_node(
                step.kind, _called(step.target), args, kwargs, step.name
            )
        held = {
            name: constant.to(device) if name in self.placed else constant
            for name, constant in self.constants.items()
        }
        return fx.GraphModule(held, graph)


def _step(node: fx.Node) -> Step:
    def named(argument: fx.Node) -> Any:
        return Result(argument.name)

    args, kwargs = map_arg((node.args, dict(node.kwargs)), named)
    target = Operation(str(node.target)) if isinstance(node.target, OpOverload) else node.target
    return Step(node.op, node.name, target, args, kwargs)


def _called(target: Any) -> Callable[..., Any] | str:
    found: Callable[..., Any] | str = target
    if isinstance(target, Operation):
        found = attrgetter(target.name)(torch.ops)
    return found
