"""Values of grid points, and beside them how the loss bends there; spectra at some places."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossgrid.columns import of_layer
from lossgrid.curvature.derivatives import Derivatives
from lossgrid.curvature.extremes import extremes
from lossgrid.curvature.layers import Layers
from lossgrid.curvature.spectrum import quadrature
from lossgrid.curvature.trace import trace
from lossgrid.errors import OutOfMemoryError, UserError, summary
from lossgrid.evaluate import GridEvaluator
from lossgrid.evaluate.evaluator import never
from lossgrid.job import ACTIVATIONS, LAYER_GRADIENT, CurvatureSpec
from lossgrid.problem import Problem
from lossgrid.shortage import shortage_named
from lossgrid.space import Grid, Place, Plane

OTHERS = 8
"""Vectors of as many numbers as there are parameters that are kept beside those of Lanczos."""


@dataclass(frozen=True)
class Cost:
    """What curvature costs, measured at theta, over all splits that it is asked for.

    Attributes:
        gradient: seconds of a loss-and-gradient evaluation.
        product: seconds of a product with the Hessian.
        gradients, products: of these at a point, at most.
        probe: products of a probe of a spectrum, at most.
    """

    gradient: float
    product: float
    gradients: int
    products: int
    probe: int

    @property
    def seconds(self) -> float:
        """A point takes at most."""
        return self.gradients * self.gradient + self.products * self.product


def vectors_bytes(spec: CurvatureSpec, problem: Problem) -> int:
    """What curvature takes at most of memory beyond what a batch does, which is not foreseen."""
    size = sum(parameter.numel() for parameter in problem.build_model().parameters())
    most = max((part.iterations for part in (spec.eigenvalues, spec.spectrum) if part), default=0)
    return 8 * size * (min(most, size) + OTHERS)


class CurvatureEvaluator:
    """What an evaluator finds at a point, and the curvature there.

    Args:
        evaluator: of loss and metrics.
        problem: model, data, loss.
        plane: theta and directions.
        grid: coordinates.
        spec: what is asked for.
        device: of this rank.
        lanes: batches that run at a time.
        room: bytes that may be taken by what is kept to be faster.

    Raises:
        OutOfMemoryError: here and from every method that computes.
        UserError: the network or its loss can't be differentiated twice, some of its weights are
            complex, or there are no such layers.
    """

    points_per_pass = 1

    @shortage_named()
    def __init__(
        self,
        evaluator: GridEvaluator,
        problem: Problem,
        plane: Plane,
        grid: Grid,
        spec: CurvatureSpec,
        device: torch.device,
        lanes: int,
        room: int,
    ) -> None:
        for name, weight in problem.build_model().named_parameters():
            if weight.is_complex():
                raise UserError(
                    f"curvature: the model's {name} is complex: nothing is differentiated by it; "
                    "hold real and imaginary parts (torch.view_as_real), or leave curvature out"
                )
        self._evaluator = evaluator
        self._grid = grid
        self._spec = spec
        self._splits = spec.splits_of(problem.splits)
        self._derivatives = Derivatives(
            problem, plane, evaluator.plan, device, lanes, self._splits, room
        )
        self._try()
        self._layers: Layers | None = None
        if spec.hooks:
            self._layers = Layers(self._derivatives, spec.hooks.patterns, lanes)
        added = spec.columns_of(problem.splits, is_plane=grid.beta is not None)
        self.columns = (*evaluator.columns, *added, *self._columns_of_layers())

    @shortage_named()
    def __call__(
        self, points: NDArray[np.int64], unwanted: Callable[[], bool] = never
    ) -> NDArray[np.float64]:
        """Values of grid points: float64, shape (n, len(columns)).

        Args:
            points: flat indices.
            unwanted: asked between batches; once it is true the points are dropped.

        Raises:
            DroppedError: they are.
        """
        rows = []
        for point in points:
            known = self._evaluator(np.array([point]), unwanted)[0]
            self._derivatives.move(self._grid.at(int(point)), unwanted)
            bent = [x for split in self._splits for x in self._at(split)]
            rows.append(
                [*known, *bent, *(x for split in self._splits for x in self._within(split))]
            )
        return np.array(rows)

    @shortage_named()
    def quadrature(
        self, place: Place, probe: int, unwanted: Callable[[], bool]
    ) -> dict[str, NDArray[np.float64]]:
        """What a probe of the spectrum finds at a place.

        Args:
            place: of the plane.
            probe: its number.
            unwanted: see `__call__`.

        Returns: for each split, shape (2, iterations): see `lossgrid.curvature.spectrum`.
        """
        asked = self._spec.spectrum
        assert asked is not None
        self._derivatives.move(place, unwanted)
        start = self._derivatives.drawn(asked.seed, probe, "spectrum")
        return {
            split: quadrature(partial(self._derivatives.product, split), start, asked.iterations)
            for split in self._splits
        }

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that have results of their own, in the network's order."""
        return tuple(self._layers.names) if self._layers else ()

    @property
    def size(self) -> int:
        """Parameters that the Hessian is by."""
        return self._derivatives.size

    @shortage_named()
    def cost(self) -> Cost:
        """Measure a gradient and a product."""
        derivatives = self._derivatives
        derivatives.move((0.0, 0.0))
        vector = derivatives.drawn(0, 0, "cost")
        eigenvalues, traces = self._spec.eigenvalues, self._spec.trace
        products = min(eigenvalues.iterations, derivatives.size) if eigenvalues else 0
        products += traces.probes if traces else 0
        spectrum = self._spec.spectrum
        return Cost(
            sum(_seconds(partial(derivatives.gradient, split)) for split in self._splits),
            sum(_seconds(partial(derivatives.product, split, vector)) for split in self._splits),
            bool(self._spec.gradient) + 2 * bool(self._spec.hooks),  # a pass is not free
            products,
            min(spectrum.iterations, derivatives.size) if spectrum else 0,
        )

    def _at(self, split: str) -> Iterator[float]:
        """Curvature of one split where we are, in the order of `CurvatureSpec.columns_of`."""
        derivatives, spec = self._derivatives, self._spec
        product = partial(derivatives.product, split)
        if spec.gradient:
            gradient = derivatives.gradient(split)
            yield float(gradient.norm())
            yield from (float(gradient @ direction) for direction in derivatives.directions)
        if spec.eigenvalues:
            asked = spec.eigenvalues
            start = derivatives.drawn(asked.seed, 0, "lanczos")
            found = extremes(product, start, asked.tolerance, asked.iterations)
            yield from (found.largest, found.smallest, found.ratio)
            yield from (found.residual, found.iterations)
        if spec.trace:
            yield from trace(product, self._probes(spec.trace.seed, spec.trace.probes))

    def _within(self, split: str) -> Iterator[float]:
        """Statistics of layers, in the order of `_columns_of_layers`."""
        if self._layers is not None:
            yield from self._layers.activations(split).ravel().tolist()
            yield from self._layers.gradient_norms(self._derivatives.gradient(split))

    def _columns_of_layers(self) -> list[str]:
        if self._layers is None:
            return []
        statistics = [(name, self._layers.names) for name in ACTIVATIONS]
        statistics.append((LAYER_GRADIENT, self._layers.weighted))
        return [
            of_layer(f"{split}_{statistic}", layer)
            for split in self._splits
            for statistic, layers in statistics
            for layer in layers
        ]

    def _probes(self, seed: int, count: int) -> Iterator[Tensor]:
        for number in range(count):
            drawn = self._derivatives.drawn(seed, number, "trace")
            yield torch.where(drawn < 0, -1.0, 1.0).double()

    def _try(self) -> None:
        """See at theta, before anything is spent, whether there are second derivatives."""
        self._derivatives.move((0.0, 0.0))
        for split in self._splits:
            try:
                with shortage_named():
                    self._derivatives.try_batch(split)
            except OutOfMemoryError:
                raise
            except Exception as error:
                raise UserError(
                    f"curvature: model and loss can't be differentiated twice: {summary(error)}; "
                    "use operations that torch can differentiate, or leave curvature out"
                ) from error


def _seconds(work: partial[Tensor]) -> float:
    """Of the second call."""
    work()
    began = time.perf_counter()
    work().sum().item()
    return time.perf_counter() - began
