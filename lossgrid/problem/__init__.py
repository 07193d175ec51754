"""The problem that a job poses: a trained model, its data, its loss."""

from __future__ import annotations

from lossgrid.problem.checkpoint import (
    State,
    find_checkpoints,
    load_checkpoint,
    open_checkpoint,
    read_checkpoint,
    read_content,
    save_checkpoint,
)
from lossgrid.problem.factory import inside, load_callable
from lossgrid.problem.problem import Problem, load_model, load_problem
from lossgrid.problem.recipe import prepare_checkpoint
from lossgrid.problem.splits import shuffled

__all__ = [
    "Problem",
    "State",
    "find_checkpoints",
    "inside",
    "load_callable",
    "load_checkpoint",
    "load_model",
    "load_problem",
    "open_checkpoint",
    "prepare_checkpoint",
    "read_checkpoint",
    "read_content",
    "save_checkpoint",
    "shuffled",
]
