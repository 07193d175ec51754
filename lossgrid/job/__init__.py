"""What the user wrote: the job file as a checked, immutable value."""

from __future__ import annotations

from lossgrid.job.curvature import (
    ACTIVATIONS,
    LAYER_GRADIENT,
    CurvatureSpec,
    SpectrumSpec,
)
from lossgrid.job.directions import DirectionsSpec, RandomSpec
from lossgrid.job.evaluation import BatchNormSpec, EvaluationSpec
from lossgrid.job.problem import ModelSpec, NetworkSpec, SplitSpec, metric_name
from lossgrid.job.reading import make_job, read_job, read_training
from lossgrid.job.schema import (
    DATA_ERROR,
    AxisSpec,
    GridSpec,
    Job,
    RuntimeSpec,
    TrajectorySpec,
    of_draws,
)
from lossgrid.job.training import Training

__all__ = [
    "ACTIVATIONS",
    "DATA_ERROR",
    "LAYER_GRADIENT",
    "AxisSpec",
    "BatchNormSpec",
    "CurvatureSpec",
    "DirectionsSpec",
    "EvaluationSpec",
    "GridSpec",
    "Job",
    "ModelSpec",
    "NetworkSpec",
    "RandomSpec",
    "RuntimeSpec",
    "SpectrumSpec",
    "SplitSpec",
    "Training",
    "TrajectorySpec",
    "make_job",
    "metric_name",
    "of_draws",
    "read_job",
    "read_training",
]
