"""Step sizes that may be schedules, functions of the remaining progress as Stable-Baselines3 has them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.utils import ConstantSchedule


def constant_of(schedule: Schedule) -> float | None:
    """The number that a schedule always gives, which need not be asked for in every step; None for others."""
    inner = getattr(schedule, "value_schedule", schedule)
    return float(inner.val) if type(inner) is ConstantSchedule else None


def rounded_to_zero(step_size: float) -> float:
    """0 where a schedule has fallen below it by rounding, as SB3's LinearSchedule does where it ends at 0."""
    return 0.0 if -1e-12 < step_size < 0.0 else step_size


def step_sizes(names: Sequence[str], schedules: Sequence[Schedule], progress: float) -> tuple[float, ...]:
    """What the schedules give where ``progress`` of the training remains (from 1 to 0).

    Raises:
        ValueError: a number that is no step size; names the argument.
    """
    sizes = tuple(rounded_to_zero(schedule(progress)) for schedule in schedules)
    for name, size in zip(names, sizes, strict=True):
        if not 0.0 <= size < math.inf:
            raise ValueError(
                f"{name} is a schedule that gives {size} where {progress:.3g} of the progress remains, but a step "
                "size must be finite and not negative; correct the schedule."
            )
    return sizes


class FollowsLearningRate(BaseAlgorithm):
    """Takes up a ``learning_rate`` that was changed between two calls of ``learn``.

    SB3 makes ``lr_schedule`` of it once. A schedule that is put in place by itself is kept.
    """

    def _setup_lr_schedule(self) -> None:
        super()._setup_lr_schedule()
        self._scheduled = self.learning_rate

    @property
    def _learning_rate_is_new(self) -> bool:
        return "_scheduled" not in vars(self) or self.learning_rate != self._scheduled

    def _follow_learning_rate(self) -> None:
        if self._learning_rate_is_new:
            self._setup_lr_schedule()

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_scheduled"]
