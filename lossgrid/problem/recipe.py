"""The checkpoint that a job can make for itself."""

from __future__ import annotations

import os

from lossgrid.job import Job
from lossgrid.problem.checkpoint import check_finite, save_checkpoint
from lossgrid.problem.factory import call
from lossgrid.problem.problem import make_model


def prepare_checkpoint(job: Job) -> bool:
    """Train and save the model's checkpoint if it is missing and the job has a recipe for it.

    The recipe is called with the model, whose factory and itself start from generators seeded
    with 0. One rank alone must call this.

    Returns:
        whether a checkpoint was made.

    Raises:
        UserError: if the recipe fails or leaves weights that are not finite, or if the
            checkpoint cannot be written.
    """
    spec = job.model
    if spec.recipe is None or spec.checkpoint is None or os.path.exists(spec.checkpoint):
        return False
    model = make_model(spec, job.folder)
    call("model.recipe", spec.recipe, job.folder, 0, model)
    check_finite(model, f"model.recipe {spec.recipe!r}")
    save_checkpoint(model.state_dict(), spec.checkpoint)
    return True
