"""BatchNorm's running statistics, computed anew at each place."""

from __future__ import annotations

from itertools import islice

from torch import Tensor, nn
from torch.utils._pytree import tree_map

from lossgrid.data import Split
from lossgrid.evaluate.batches import batches
from lossgrid.evaluate.plan import Plan
from lossgrid.problem.batchnorm import batch_norms
from lossgrid.space import Plane

_LEAVES = ("running_mean", "running_var")


class RecomputedStatistics:
    """What a network's running statistics would be if it had been trained to where it stands.

    Mean and unbiased variance of each batch, normalized by its own in the layers before, and their
    mean over the batches: as `torch.optim.swa_utils.update_bn`, but dropout stays off (Izmailov et
    al., "Averaging weights leads to wider optima and better generalization", UAI 2018).

    Args:
        model: a module of its own, on the device, in the plan's type.
        split: whose first batches are read, on the device.
        count: of batches.
        plan: their size, and the precision.
    """

    def __init__(self, model: nn.Module, split: Split, count: int, plan: Plan) -> None:
        self._model = model
        self._norms = batch_norms(model)
        self._split = split
        self._plan = plan
        self._batches = list(islice(batches(len(split), plan.batch_size), count))
        self._at_theta = {name: tensor.clone() for name, tensor in self._own()}
        for norm in self._norms.values():
            norm.train()
            norm.momentum = None  # the mean over all batches

    def follow(self, plane: Plane, flat: Tensor) -> dict[str, Tensor]:
        """Stand where `flat`, shape (layout.size,), is moved to.

        Returns: the statistics by name, which `gather` writes.
        """
        plane.layout.bind(self._model, flat)
        return dict(self._own())

    def gather(self) -> None:
        """Compute the statistics at the present place."""
        for norm in self._norms.values():
            norm.reset_running_stats()
        for batch in self._batches:
            inputs, _ = self._split.batch(batch.begin, batch.end, self._plan.dtype)
            self._plan.forward(self._model, tree_map(Tensor.clone, inputs))
        for name, norm in self._norms.items():
            if not norm.num_batches_tracked:  # the network does not use this layer
                for leaf in _LEAVES:
                    norm.get_buffer(leaf).copy_(self._at_theta[f"{name}.{leaf}"])

    def _own(self) -> list[tuple[str, Tensor]]:
        return [
            (f"{name}.{leaf}", norm.get_buffer(leaf))
            for name, norm in self._norms.items()
            for leaf in _LEAVES
        ]
