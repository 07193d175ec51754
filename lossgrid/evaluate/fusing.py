"""The same network at less cost: BatchNorm folded into convolutions, sums and ReLUs in place."""

from __future__ import annotations

import copy
import operator
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp, TensorMetadata

FILTERED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
"""Modules whose weight has one row a filter, and whose output is new memory."""

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

RELUS = (F.relu, torch.relu)

SUMS = (operator.add, operator.iadd, torch.add)


class FusedNetwork(nn.Module):
    """A network as a graph in which each convolution holds the BatchNorm that follows it.

    In eval mode BatchNorm is y = (x - mean) / sqrt(var + eps) * gamma + beta, filter by filter.
    After a convolution W x + b it is one with the weight s W and the bias (b - mean) s + beta,
    where s = gamma / sqrt(var + eps). The weights move from point to point, and this with them.

    The forward pass changes no state, so that several threads can run it at a time.

    Args:
        network: in eval mode, on its device. Its tensors are read at every `fold`, so that they
            may be views of a vector that moves; it is not changed.
        inputs: a batch to learn shapes from.

    Raises:
        Exception: of any kind, if the network can't be traced: it decides by the data, say.
    """

    def __init__(self, network: nn.Module, inputs: Any) -> None:
        super().__init__()
        if has_hooks(network):
            raise TypeError("it has hooks")
        self.graph = fx.symbolic_trace(network)
        ShapeProp(self.graph).propagate(inputs)
        self._folds = [_fold(self.graph, *pair) for pair in _foldable(self.graph)]
        _work_in_place(self.graph)
        self.graph.recompile()

    def forward(self, inputs: Any) -> Any:
        """What the network returns, with the weights of the last `fold`."""
        return self.graph(inputs)

    @torch.no_grad()
    def fold(self) -> None:
        """Take in the network's present tensors."""
        for fold in self._folds:
            fold.update()


def has_hooks(network: nn.Module) -> bool:
    """Whether somebody wants to be called when a part of the network is."""
    return any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def channels_last(tensor: Tensor) -> Tensor:
    """The same values, in the order in memory that convolutions of images are fastest with.

    That is so on CPUs; on GPUs only with tensor cores, which float32 does not use.
    """
    if tensor.dim() != 4 or tensor.is_cuda:
        return tensor
    return tensor.contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class _Fold:
    """A convolution, the BatchNorm after it, and the convolution that does the work of both."""

    conv: nn.Conv2d
    norm: nn.BatchNorm2d
    both: nn.Conv2d

    def update(self) -> None:
        norm, both = self.norm, self.both
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert both.bias is not None
        scale = torch.rsqrt(norm.running_var + norm.eps)
        if norm.affine:
            scale = scale * norm.weight
        torch.mul(self.conv.weight, _per_filter(scale, both.weight), out=both.weight)
        shift = -norm.running_mean if self.conv.bias is None else self.conv.bias - norm.running_mean
        torch.mul(shift, scale, out=both.bias)
        if norm.affine:
            both.bias += norm.bias


def _per_filter(values: Tensor, weight: Tensor) -> Tensor:
    return values.view(-1, *[1] * (weight.dim() - 1))


def _foldable(graph: fx.GraphModule) -> list[tuple[fx.Node, fx.Node]]:
    """Each convolution whose output only a BatchNorm reads, and that BatchNorm; each used once."""
    calls = Counter(node.target for node in graph.graph.nodes if node.op == "call_module")
    for node in graph.graph.nodes:  # a parameter that is read by itself must stay what it is
        if node.op == "get_attr":
            calls[node.target.rpartition(".")[0]] += 1
    found = []
    for node in graph.graph.nodes:
        reader = next(iter(node.users), node)
        if (
            _module(node, FILTERED) is not None
            and len(node.users) == 1
            and (norm := _module(reader, NORMS)) is not None
            and calls[node.target] == calls[reader.target] == 1
            and not norm.training
            and norm.running_mean is not None
            and _filters_are_channels(node)
        ):
            found.append((node, reader))
    return found


def _module(node: fx.Node, kinds: tuple[type[nn.Module], ...]) -> Any:
    """The module that a node calls, if it is of one of these kinds; a subclass may differ."""
    graph = node.graph.owning_module
    if node.op != "call_module" or graph is None:
        return None
    module = graph.get_submodule(str(node.target))
    return module if type(module) in kinds else None


def _filters_are_channels(node: fx.Node) -> bool:
    """BatchNorm's channels are dimension 1; those of a linear layer over sequences are the last."""
    return _module(node, (nn.Linear,)) is None or len(node.meta["tensor_meta"].shape) == 2


def _fold(graph: fx.GraphModule, node: fx.Node, reader: fx.Node) -> _Fold:
    """Put one module in the place of two."""
    conv, norm = _module(node, FILTERED), _module(reader, NORMS)
    both = copy.deepcopy(conv)
    both.bias = nn.Parameter(torch.empty_like(norm.running_mean), requires_grad=False)
    both.weight = nn.Parameter(channels_last(conv.weight.detach().clone()))
    both.requires_grad_(False)
    path, _, leaf = str(node.target).rpartition(".")
    setattr(graph.get_submodule(path), leaf, both)
    reader.replace_all_uses_with(node)
    graph.graph.erase_node(reader)
    return _Fold(conv, norm, both)


def _work_in_place(graph: fx.GraphModule) -> None:
    """Let ReLUs and sums overwrite an operand that nobody else reads."""
    for node in graph.graph.nodes:
        operands = [arg for arg in node.args if isinstance(arg, fx.Node)]
        free = [arg for arg in operands if _is_overwritable(arg) and _meta(arg) == _meta(node)]
        if not free or node.kwargs.keys() - {"inplace"}:
            continue
        if (node.op == "call_function" and node.target in RELUS) or _module(node, (nn.ReLU,)):
            node.target, node.args = torch.relu_, (free[0],)
        elif node.op == "call_function" and node.target in SUMS and len(operands) == 2:
            other = operands[1] if free[0] is operands[0] else operands[0]
            node.target, node.args = operator.iadd, (free[0], other)
        else:
            continue
        node.op, node.kwargs = "call_function", {}
    graph.delete_all_unused_submodules()


def _is_overwritable(node: fx.Node) -> bool:
    """Whether a result is in memory of its own and has one reader."""
    if len(node.users) != 1:
        return False
    if node.op == "call_function" and node.target in (operator.iadd, torch.relu_):
        overwritten = node.args[0]  # its memory is this result's
        return isinstance(overwritten, fx.Node) and _is_overwritable(overwritten)
    sums = node.op == "call_function" and node.target in (operator.add, torch.add)
    return sums or _module(node, (*FILTERED, *NORMS)) is not None


def _meta(node: fx.Node) -> tuple[torch.Size, torch.dtype] | None:
    """Shape and type of a node's result, if it is one tensor."""
    meta = node.meta.get("tensor_meta")
    return (meta.shape, meta.dtype) if isinstance(meta, TensorMetadata) else None
