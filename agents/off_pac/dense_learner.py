"""Linear Off-PAC on dense feature vectors: the equations of the papers, line by line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.common.gtd import secondary_increment, value_increment
from agents.common.traces import accumulate
from agents.off_pac.learner import FloatArray, LearnerSettings, LinearLearner, StepSizes


class DenseLearner(LinearLearner):
    """Every step costs time in proportion to the number of features."""

    def __init__(self, table: FloatArray, n_envs: int, settings: LearnerSettings) -> None:
        super().__init__(table, n_envs, settings)
        self._traces = np.zeros((n_envs, self.n_features, self.n_outputs + 1))

    def predict(self, x: NDArray) -> list[float]:
        """Actor outputs, v.x and w.x of a feature vector."""
        return (x @ self.table).tolist()

    def value(self, x: NDArray) -> float:
        """v.x alone."""
        return float(x @ self.table[:, -2])

    def _trace(self, env: int, x: NDArray, score: Sequence[float], rho: float, expected: float) -> tuple[Any, float]:
        gradient = np.outer(x, [*score, 1.0])
        trace = accumulate(self._traces[env], gradient, rho, self.settings.gamma, self.settings.trace_decay)
        return trace, float(self.table[:, -1] @ trace[:, -1])

    def apply(self, correction: Any, sizes: StepSizes) -> None:
        """Add the increments of Algorithm 1 to u, v and w."""
        trace, x, next_x, delta, expected, correlation, discount = correction
        critic_trace = trace[:, -1]
        following = next_x if discount else np.zeros_like(x)
        value = value_increment(delta, critic_trace, correlation, following, discount, self.settings.trace_decay)
        secondary = secondary_increment(delta, critic_trace, expected, x)
        self.table[:, -2] += sizes.critic * value
        self.table[:, -1] += sizes.secondary * secondary
        self.table[:, :-2] += (sizes.actor * delta) * trace[:, :-1]

    def regularize(self, amount: float) -> None:
        """W shrinks by the factor 1 - amount."""
        self.table[:, -1] *= 1.0 - amount

    def reset_trace(self, env: int) -> None:
        """Begin an episode."""
        self._traces[env] = 0.0
        self.carried[env] = 0.0

    def _trace_rows(self, env: int) -> FloatArray:
        return self._traces[env]

    def export_traces(self) -> FloatArray:
        """[n_envs, n_features, n_outputs + 1]."""
        return self._traces.copy()

    def import_traces(self, traces: FloatArray) -> None:
        """Take up traces of the same shape."""
        self._traces[...] = traces
