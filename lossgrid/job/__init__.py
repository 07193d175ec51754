"""What the user wrote: the job file as a checked, immutable value."""

from __future__ import annotations

from lossgrid.job.reading import make_job, read_job, read_training
from lossgrid.job.schema import (
    DATA_ERROR,
    AxisSpec,
    BatchNormSpec,
    CurvatureSpec,
    DirectionsSpec,
    EvaluationSpec,
    GridSpec,
    Job,
    ModelSpec,
    NetworkSpec,
    RandomSpec,
    RuntimeSpec,
    SplitSpec,
    TrajectorySpec,
    metric_name,
    of_draws,
)
from lossgrid.job.training import Training

__all__ = [
    "DATA_ERROR",
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
    "SplitSpec",
    "Training",
    "TrajectorySpec",
    "make_job",
    "metric_name",
    "of_draws",
    "read_job",
    "read_training",
]
