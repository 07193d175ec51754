"""What a function of tensors does, operation by operation, without showing it any value.

Torch's own tracers load its compiler and a computer algebra system: 70 MB, and over a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import AbstractContextManager
from operator import getitem
from typing import Any

import torch
from torch import Tensor, fx
from torch._ops import OpOverload
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

aten = torch.ops.aten

LOOKING = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
"""Tags of operations whose result tells Python something of the values."""

UNTAGGED = {
    aten.tensor_split.tensor_indices_or_sections,
    aten._pack_padded_sequence.default,
}
"""Operations that should have such a tag: their results' shapes depend on values."""

META = torch.device("meta")
"""Where tensors have no values."""


class UntraceableError(Exception):
    """Why a network can't be a graph, in a few words."""


class WritesError(UntraceableError):
    """It writes into what it is given."""


def record(function: Callable[..., Any], *tensors: Tensor, composed: bool = True) -> fx.GraphModule:
    """The operations of a function of tensors that returns a sequence of such.

    Each is done once, with these tensors, which stay as they are; but the function itself is given
    stand-ins, which have the shapes and types of results and nothing else. Nodes have one of them
    as ``node.meta["val"]``, and as ``node.meta["copied"]`` whether they are a copy that could as
    well have been a view, had the operand lain in another order in memory.

    Args:
        function: what to call once.
        tensors: its arguments.
        composed: whether a convolution, say, is recorded as one operation, or as what it is made
            of; vmap's own work can only be recorded in the latter way.

    Raises:
        UntraceableError: it looks at values, switches autocast, changes what it is given, makes
            sparse tensors, or lets operations write into what is not their first argument.
        Exception: of any kind, from the function.
    """
    recorder = _Recorder(tensors)
    literals = _Literals(tensors[0].device)
    # In inference mode operations reach a dispatch mode before they fall into parts.
    with torch.no_grad(), torch.inference_mode(composed), _unversioned(), recorder, literals:
        results = function(*recorder.given)
    recorder.finish(results)
    return fx.GraphModule(recorder.constants, recorder.graph)


def blank(tensor: Tensor) -> Tensor:
    """Shape, strides and type of a tensor, without memory."""
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=META)


class _StandIn(Tensor):
    """What the function is given in a tensor's place.

    Attributes:
        true: the tensor.
        node: that makes it.
    """

    true: Tensor
    node: fx.Node

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]


class _Guarding:
    """Lets operations pass that neither show values nor write into what must stay.

    Args:
        kept: where in memory that is.
    """

    def __init__(self, kept: Set[int]) -> None:
        super().__init__()
        self._kept = kept

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.inspect(func, args, kwargs or {})
        return func(*args, **(kwargs or {}))

    def inspect(self, func: OpOverload, args: Any, kwargs: Any) -> None:
        """Raise an `UntraceableError` if an operation may not pass."""
        if _looks(func, args):
            raise UntraceableError(f"it looks at values ({func})")
        if any(_memory(tensor) in self._kept for tensor in _written(func, args, kwargs)):
            raise WritesError(f"{func} changes its inputs or weights")


class _Guard(_Guarding, TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The mode; its method is inherited, since torch's compiler would be loaded for an own one."""


class _Recording:
    """Does with the true tensors what is done with their stand-ins, and notes it.

    Attributes:
        graph: what has been done.
        constants: tensors that the function has from elsewhere, by name.
        given: its arguments.

    Args:
        tensors: the true arguments.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        super().__init__()
        self.graph = fx.Graph()
        self.constants: dict[str, Tensor] = {}
        self._kept = set(map(_memory, tensors))
        self._device = tensors[0].device
        self.given = [
            _stand_in(tensor, self.graph.placeholder(f"arg{number}"))
            for number, tensor in enumerate(tensors)
        ]

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if _autocasts():
            raise UntraceableError("it switches autocast")
        if func is aten.lift_fresh.default:  # a literal, which may be written into
            func = aten.clone.default
        args, kwargs = tree_map(self._known, (args, kwargs or {}))
        true_args, true_kwargs = tree_map(_true, (args, kwargs))
        guard = _Guard(self._kept)
        guard.inspect(func, true_args, true_kwargs)
        _check_target(func, true_args, true_kwargs)
        with torch.inference_mode(False), torch.no_grad(), guard:
            result = func(*true_args, **true_kwargs)
        node = self.graph.call_function(func, *tree_map(_node, (args, kwargs)))
        node.meta["copied"] = _has_copied(func, result, true_args)
        if torch.Tag.inplace_view in func.tags:
            func(*args, **kwargs)
        leaves = tree_leaves((args, kwargs))
        own = {id(one.true): one for one in leaves if isinstance(one, _StandIn)}
        return _stood_in(result, node, own)

    def finish(self, results: Sequence[Any]) -> None:
        """End the graph with what the function has returned."""
        for result in results:
            if not isinstance(result, (Tensor, complex, float, int, str, type(None))):
                raise UntraceableError(f"it returns a {type(result).__name__}")
        self.graph.output([_node(self._known(result)) for result in results])
        self.graph.eliminate_dead_code()

    def _known(self, leaf: Any) -> Any:
        """A leaf of an operation's arguments, constants and the stand-ins' device replaced."""
        if isinstance(leaf, torch.device) and leaf.type == "meta":
            return self._device
        if isinstance(leaf, _StandIn) and leaf.node.graph is not self.graph:
            leaf = leaf.true  # that the function has kept since another recording
        if not isinstance(leaf, Tensor) or isinstance(leaf, _StandIn):
            return leaf
        if leaf.is_meta:
            raise UntraceableError("it makes a tensor in a way that hides its values")
        name = next((name for name, held in self.constants.items() if held is leaf), None)
        if name is None:
            name = f"constant{len(self.constants)}"
            self.constants[name] = leaf
            self._kept.add(_memory(leaf))
        return _stand_in(leaf, self.graph.get_attr(name))


class _Literals(TorchFunctionMode):
    """Makes literals that belong where stand-ins are on the true device: else they had no values.

    Args:
        device: the true one.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._device = device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is Tensor.new_tensor:
            kwargs.setdefault("device", args[0].device)
        if func in (torch.tensor, Tensor.new_tensor) and kwargs.get("device") == META:
            kwargs["device"] = self._device
        return func(*args, **kwargs)


class _Recorder(_Recording, TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The mode; see `_Guard`."""


def _stand_in(tensor: Tensor, node: fx.Node) -> _StandIn:
    node.meta["val"] = blank(tensor)
    made = blank(tensor).as_subclass(_StandIn)
    made.true, made.node = tensor, node
    return made


def _stood_in(result: Any, node: fx.Node, own: dict[int, _StandIn]) -> Any:
    """Stand-ins for an operation's results; arguments that it returns keep their own."""
    if isinstance(result, (list, tuple)):
        node.meta["val"] = [blank(one) if isinstance(one, Tensor) else one for one in result]
        parts = [node.graph.call_function(getitem, (node, number)) for number in range(len(result))]
        pairs = zip(result, parts, strict=True)
        return type(result)(_stood_in(one, part, own) for one, part in pairs)
    if not isinstance(result, Tensor):
        return result
    if result.layout is not torch.strided:
        raise UntraceableError(f"{node.target} makes a tensor that is not dense")
    same = own.get(id(result))
    if same is None:
        return _stand_in(result, node)
    if same.shape != result.shape:
        raise UntraceableError(f"{node.target} changes a tensor's shape")
    same.node = node
    node.meta["val"] = blank(result)
    return same


def _unversioned() -> AbstractContextManager[None]:
    """In which nobody counts how often memory is written: stand-ins have none."""
    views = torch._C.DispatchKeySet(torch._C.DispatchKey.ADInplaceOrView)
    return torch._C._ExcludeDispatchKeyGuard(views)


def _autocasts() -> bool:
    """Whether autocast is on; inside a dispatch mode torch would deny it."""
    depth = torch.autocast_increment_nesting()
    torch.autocast_decrement_nesting()
    return depth > 1


def _true(leaf: Any) -> Any:
    return leaf.true if isinstance(leaf, _StandIn) else leaf


def _node(leaf: Any) -> Any:
    return leaf.node if isinstance(leaf, _StandIn) else leaf


def _memory(tensor: Tensor) -> int:
    """Where all of what a tensor may be a part of begins."""
    return tensor.untyped_storage().data_ptr()


def _written(func: OpOverload, args: Any, kwargs: Any) -> Iterator[Tensor]:
    """The tensors that an operation writes into."""
    if func is aten.batch_norm.default and args[5]:  # of which the schema does not say so
        yield from (statistic for statistic in args[3:5] if statistic is not None)
    if func._schema.is_mutable:
        for number, argument in enumerate(func._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                given = args[number] if number < len(args) else kwargs.get(argument.name)
                leaves = (leaf for leaf in tree_leaves(given) if isinstance(leaf, Tensor))
                yield from (leaf for leaf in leaves if leaf.numel())


def _has_copied(func: OpOverload, result: Any, args: Any) -> bool:
    """Whether an operation that may return a view of its first argument has made a copy."""
    returned = func._schema.returns
    if not returned or returned[0].alias_info is None or not isinstance(result, Tensor):
        return False
    return isinstance(args[0], Tensor) and _memory(result) != _memory(args[0])


def _check_target(func: OpOverload, args: Any, kwargs: Any) -> None:
    """Whoever reads the graph takes it that only an operation's first argument is written into."""
    first = {id(leaf) for leaf in tree_leaves(args[:1])}
    if any(id(tensor) not in first for tensor in _written(func, args, kwargs)):
        raise UntraceableError(f"{func} writes into another argument than its first")


def _looks(func: OpOverload, args: Any) -> bool:
    """Whether an operation's result tells Python something of the values."""
    tagged = func in UNTAGGED or not LOOKING.isdisjoint(func.tags)
    return tagged and not _indexes_by_numbers(func, args)


def _indexes_by_numbers(func: OpOverload, args: Any) -> bool:
    """Whether it is an indexing whose result's shape is that of the indices."""
    masks = (torch.bool, torch.uint8)
    return func is aten.index.Tensor and not any(
        index is not None and index.dtype in masks for index in args[1]
    )
