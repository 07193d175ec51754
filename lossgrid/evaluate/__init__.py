"""The loss at one grid point, fast and exact; knows nothing of other ranks."""

from __future__ import annotations

from lossgrid.evaluate.adaptive import AdaptiveEvaluator
from lossgrid.evaluate.batches import Member
from lossgrid.evaluate.check import Checked, check
from lossgrid.evaluate.evaluator import GridEvaluator
from lossgrid.evaluate.memory import available, fitted, needed, smaller
from lossgrid.evaluate.plan import Plan, choose_plan, dtype_of, hardware

__all__ = [
    "AdaptiveEvaluator",
    "Checked",
    "GridEvaluator",
    "Member",
    "Plan",
    "available",
    "check",
    "choose_plan",
    "dtype_of",
    "fitted",
    "hardware",
    "needed",
    "smaller",
]
