"""Linear Off-PAC on binary features given by their indices: the cost of a step follows the active features.

Numerically the twin of ``DenseLearner``; only what is 0 is left out. With lambda = 0 the traces are rho x and rho psi,
so nothing needs storing. TDRC's shrinking of all of w is carried out lazily, as one factor on the column.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.off_pac.compact_trace import CompactTrace
from agents.off_pac.learner import FloatArray, LearnerSettings, LinearLearner, StepSizes
from agents.online.active_rows import ActiveRows

_SMALLEST_SCALE = 1e-30


class SparseLearner(LinearLearner):
    """Cost per step independent of the number of features.

    Args:
        table: [n_features, n_outputs + 2] float64, changed in place.
        n_envs: number of environments.
        settings: constants.
        n_active: features that are active at once.
    """

    def __init__(self, table: FloatArray, n_envs: int, settings: LearnerSettings, n_active: int) -> None:
        super().__init__(table, n_envs, settings)
        self._rows = ActiveRows(table)
        self._values = table[:, -2]
        self._secondary = table[:, -1]
        self._secondary_scale = 1.0
        self._traced = settings.trace_decay > 0.0
        # The critic's trace is stored twice, as v and w both move along it.
        self._compact = [
            CompactTrace(self.n_features, self.n_outputs + 2, n_active) for _ in range(n_envs if self._traced else 0)
        ]
        self._momentary: list[tuple[NDArray, Sequence[float], float] | None] = [None] * n_envs

    def predict(self, x: NDArray) -> list[float]:
        """Actor outputs, v.x and w.x of the active indices x."""
        outputs = self._rows.total(x)
        outputs[-1] *= self._secondary_scale
        return outputs

    def value(self, x: NDArray) -> float:
        """v.x alone."""
        return self._rows.total_of(self._values, x)

    def _trace(self, env: int, x: NDArray, score: Sequence[float], rho: float, expected: float) -> tuple[Any, float]:
        if not self._traced:
            self._momentary[env] = momentary = (x, score, rho)
            return momentary, rho * expected
        trace = self._compact[env]
        row = np.array([*score, 1.0, 1.0])
        trace.accumulate(x, row, rho, self.settings.gamma * self.settings.trace_decay)
        # Indexed, not take(): that would first copy the whole column, which is not contiguous.
        correlation = self._secondary[trace.support] @ trace.rows[:, -1]
        return trace, float(correlation) * self._secondary_scale

    def apply(self, correction: Any, sizes: StepSizes) -> None:
        """Add the increments of Algorithm 1 where they are not 0."""
        trace, x, next_x, delta, expected, correlation, discount = correction
        secondary = sizes.secondary / self._secondary_scale
        if self._traced:
            steps = np.full(self.n_outputs + 2, sizes.actor * delta)
            steps[-2] = sizes.critic * delta
            steps[-1] = secondary * delta
            self._rows.add_each(trace.support, trace.rows * steps)
            self._secondary[x] -= secondary * expected
        else:
            _, score, rho = trace
            weighted = delta * rho
            actor = sizes.actor * weighted
            row = [actor * part for part in score]
            row.append(sizes.critic * weighted)
            row.append(secondary * (weighted - expected))
            self._rows.add(x, row)
        if discount and correlation:
            self._values[next_x] -= sizes.critic * discount * (1.0 - self.settings.trace_decay) * correlation

    def regularize(self, amount: float) -> None:
        """W shrinks by the factor 1 - amount, through the column's scale where that is safe."""
        factor = 1.0 - amount
        if factor < 0.5:
            self._secondary *= factor
            return
        self._secondary_scale *= factor
        if self._secondary_scale < _SMALLEST_SCALE:
            self.flush()

    def flush(self) -> None:
        """Multiply the pending scale into w."""
        if self._secondary_scale != 1.0:
            self._secondary *= self._secondary_scale
            self._secondary_scale = 1.0

    def reset_trace(self, env: int) -> None:
        """Begin an episode."""
        if self._traced:
            self._compact[env].clear()
        self._momentary[env] = None
        self.carried[env] = 0.0

    def _trace_rows(self, env: int) -> FloatArray:
        if self._traced:
            return self._compact[env].rows[:, :-1]
        momentary = self._momentary[env]
        if momentary is None:
            return np.zeros((0, self.n_outputs + 1))
        x, score, rho = momentary
        return np.tile([*(rho * part for part in score), rho], (len(x), 1))

    def export_traces(self) -> FloatArray:
        """[n_envs, n_features, n_outputs + 1]."""
        traces = np.zeros((self.n_envs, self.n_features, self.n_outputs + 1))
        for env in range(self.n_envs):
            momentary = self._momentary[env]
            if self._traced:
                traces[env, self._compact[env].support] = self._trace_rows(env)
            elif momentary is not None:
                traces[env, momentary[0]] = self._trace_rows(env)
        return traces

    def import_traces(self, traces: FloatArray) -> None:
        """Take up traces of the same shape; with lambda = 0 none of them will be used again."""
        if self._traced:
            for env in range(self.n_envs):
                self._compact[env].read(np.concatenate([traces[env], traces[env, :, -1:]], axis=1))
