"""How the loss bends at a grid point: gradient, extreme Hessian eigenvalues, trace."""

from __future__ import annotations

from lossgrid.curvature.evaluator import Cost, CurvatureEvaluator, vectors_bytes

__all__ = ["Cost", "CurvatureEvaluator", "vectors_bytes"]
