"""The updates of linear DPG: Silver, Lever, Heess, Degris, Wierstra and Riedmiller (2014), sections 4.1 to 4.3.

With features x of s, x' of s', gamma' = gamma (0 at termination), grad mu = x, and d = a - mu(s)::

    copdac-q     delta = r + gamma' v.x' - Q(s,a),   Q(s,a) = d^T grad mu^T w + v.x
                 theta += alpha_theta grad mu (grad mu^T w)        natural gradient: theta += alpha_theta w
                 w     += alpha_w delta grad mu d
                 v     += alpha_v delta x
    copdac-gq    v     += alpha_v [delta x - gamma' x' (phi.u)]    the same of w is 0, as phi(s', mu(s')) = 0
                 u     += alpha_u (delta - phi.u) phi,             phi = grad mu d; full GQ: phi = (grad mu d, x)
    opdac        delta = r + gamma' Q(s', mu(s')) - Q(s,a)
                 theta += alpha_theta grad mu grad_a Q(s, mu(s))
    on-policy    delta = r + gamma' Q(s', a') - Q(s,a), the rest as opdac

All weights live in one table with a row for each feature (see ``Layout``); an update adds the same numbers to every
feature's row, times the feature. A step comes in two halves, ``evaluate`` and ``apply``: with several
environments every error is computed from the weights before any of them changes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from operator import mul
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.common.deterministic_gradient import (
    action_features,
    action_gradient,
    clipped,
    compatible_value,
    deviation,
    inward,
)
from agents.common.gtd import td_error
from agents.dpg.layout import Layout
from agents.online.active_rows import ActiveRows
from agents.online.divergence import LIMIT, magnitude, unusable_input
from agents.online.errors import TrainingDivergedError

FloatArray = NDArray[np.float64]


class StepSizes(NamedTuple):
    """alpha_theta, alpha_w, alpha_v and alpha_u of one step, already divided by the number of active features."""

    actor: float
    critic: float
    value: float
    secondary: float


class Correction(NamedTuple):
    """What one transition adds to the table."""

    x: NDArray
    row: list[float]  # [n_columns], to be multiplied by x
    next_x: NDArray | None
    next_value: float  # what v loses for each x'
    delta: float
    mean_value: float  # Q(s, mu(s))


class LinearLearner(ABC):
    """Weights of one linear agent.

    Args:
        table: [n_features, n_columns] float64, changed in place.
        layout: what its columns are.
        natural_gradient: theta += alpha w in place of theta += alpha grad mu grad mu^T w.
    """

    def __init__(self, table: FloatArray, layout: Layout, natural_gradient: bool) -> None:
        self.table = table
        self.layout = layout
        self.natural_gradient = natural_gradient
        self._actor, self._critic, self._secondary = layout.actor, layout.critic, layout.secondary
        self._value = layout.value
        self._compatible, self._gradient_td, self._full_gq = layout.compatible, layout.gradient_td, layout.full_gq

    @abstractmethod
    def predict(self, x: NDArray) -> list[float]:
        """[n_columns] all linear functions of one feature representation."""

    @abstractmethod
    def value(self, x: NDArray) -> float:
        """v.x alone."""

    @abstractmethod
    def advance_actor(self, amount: float) -> None:
        """Natural gradient, theta += amount w; before any ``apply`` of the same step, as all use the old w."""

    @abstractmethod
    def apply(self, correction: Correction) -> None:
        """Add what ``evaluate`` found to the weights."""

    def flush(self) -> None:  # noqa: B027  (only lazy learners have something pending)
        """Bring the table up to date where an update is carried out lazily."""

    def mean(self, outputs: Sequence[float]) -> list[float]:
        """[m] mu(s) as it is executed, in [-1, 1]."""
        return clipped(outputs[self._actor])

    def evaluate(
        self,
        x: NDArray,
        outputs: Sequence[float],
        action: Sequence[float],
        reward: float,
        discount: float,
        next_x: NDArray,
        next_action: Sequence[float] | None,
        sizes: StepSizes,
    ) -> Correction:
        """First half of a step: the TD error and what follows from it, with the weights as they are.

        Args:
            x: features of s.
            outputs: what ``predict(x)`` gave.
            action: [m] executed, in [-1, 1].
            reward: r.
            discount: gamma': 0 at termination, gamma otherwise and at truncation.
            next_x: features of s' seen before any reset.
            next_action: [m] a', for the on-policy variant.
            sizes: step sizes of now.

        Raises:
            TrainingDivergedError: the weights have left every reasonable range.
            ValueError: a reward or an observation is not finite.
        """
        if self._compatible:
            correction = self._compatible_correction(x, outputs, action, reward, discount, next_x, sizes)
        else:
            correction = self._general_correction(x, outputs, action, reward, discount, next_x, next_action, sizes)
        # Written so that NaN fails as well.
        if not (-LIMIT < correction.delta < LIMIT and -LIMIT < sum(outputs) < LIMIT):
            raise self.divergence(reward, [*outputs, *self.predict(next_x)], next_action or ())
        return correction

    def _compatible_correction(
        self,
        x: NDArray,
        outputs: Sequence[float],
        action: Sequence[float],
        reward: float,
        discount: float,
        next_x: NDArray,
        sizes: StepSizes,
    ) -> Correction:
        mean, gradient = outputs[self._actor], outputs[self._critic]
        deviations = deviation(action, mean)
        # Q(s', mu(s')) is v.x' alone: the compatible features are 0 where a' is mu(s').
        next_value = self.value(next_x) if discount else 0.0
        value = outputs[self._value]
        delta = td_error(reward, discount, next_value, compatible_value(value, gradient, deviations))
        slopes = [0.0] * len(mean) if self.natural_gradient else inward(gradient, mean)
        row = [sizes.actor * slope for slope in slopes]
        row.append(sizes.value * delta)
        weighted = sizes.critic * delta
        row += [weighted * part for part in deviations]
        if not self._gradient_td:
            return Correction(x, row, None, 0.0, delta, value)
        features = [*deviations, 1.0] if self._full_gq else deviations
        # phi.u, as phi is the outer product of x and the features of the action
        expected = sum(map(mul, features, outputs[self._secondary]))
        weighted = sizes.secondary * (delta - expected)
        row += [weighted * part for part in features]
        return Correction(x, row, next_x, sizes.value * discount * expected, delta, value)

    def _general_correction(
        self,
        x: NDArray,
        outputs: Sequence[float],
        action: Sequence[float],
        reward: float,
        discount: float,
        next_x: NDArray,
        next_action: Sequence[float] | None,
        sizes: StepSizes,
    ) -> Correction:
        mean, features = outputs[self._actor], action_features(action)
        executed = clipped(mean)
        next_value = 0.0
        if discount:
            following = self.predict(next_x)
            chosen = self.mean(following) if next_action is None else next_action
            next_value = self._polynomial_value(following, action_features(chosen))
        delta = td_error(reward, discount, next_value, self._polynomial_value(outputs, features))
        gradient = inward(action_gradient(outputs[self._critic], executed), mean)
        row = [sizes.actor * slope for slope in gradient]
        row.append(sizes.value * delta)
        weighted = sizes.critic * delta
        row += [weighted * part for part in features]
        mean_value = self._polynomial_value(outputs, action_features(executed))
        return Correction(x, row, None, 0.0, delta, mean_value)

    def _polynomial_value(self, outputs: Sequence[float], features: Sequence[float]) -> float:
        return compatible_value(outputs[self._value], outputs[self._critic], features)

    def divergence(
        self, reward: float, outputs: Sequence[float], action: Sequence[float] = ()
    ) -> TrainingDivergedError | ValueError:
        """The error that says what went wrong.

        Args:
            reward: r.
            outputs: what ``predict`` gave, of s and of s' where that has been seen.
            action: what the behavior policy chose with such outputs.
        """
        self.flush()
        table, layout = self.table, self.layout
        largest = {
            "critic_learning_rate": magnitude(table[:, layout.critic]),
            "value_learning_rate": magnitude(table[:, layout.value]),
            "secondary_learning_rate": magnitude(table[:, layout.secondary]),
            "learning_rate": magnitude(table[:, layout.actor]),
        }
        name = max(largest, key=lambda argument: largest[argument])
        finite = largest[name] < math.sqrt(LIMIT)
        if (unusable := unusable_input(reward, *((outputs, action) if finite else ()))) is not None:
            return unusable
        guarded = layout.full_gq and layout.gradient_td
        advice = "" if guarded else ', or use variant="copdac-gq" with full_gq=True'
        return TrainingDivergedError(
            f"The weights have diverged (largest actor weight {largest['learning_rate']:.1e}, critic "
            f"{largest['critic_learning_rate']:.1e}, value {largest['value_learning_rate']:.1e}, secondary "
            f"{largest['secondary_learning_rate']:.1e}): {name} is too large for these features and rewards; lower it, "
            f"for example by a factor of 10{advice}."
        )


class DenseLearner(LinearLearner):
    """On dense feature vectors: every step costs time in proportion to the number of features."""

    def predict(self, x: NDArray) -> list[float]:
        """All columns times a feature vector."""
        return (x @ self.table).tolist()

    def value(self, x: NDArray) -> float:
        """v.x alone."""
        return float(x @ self.table[:, self._value])

    def advance_actor(self, amount: float) -> None:
        """Theta += amount w."""
        self.table[:, self._actor] += amount * self.table[:, self._critic]

    def apply(self, correction: Correction) -> None:
        """Add x row^T, and take the gradient correction from v."""
        self.table += np.outer(correction.x, correction.row)
        if correction.next_value:
            self.table[:, self._value] -= correction.next_value * correction.next_x  # type: ignore[operator]


class SparseLearner(LinearLearner):
    """On binary features given by their indices: the cost of a step follows the active features.

    Numerically the twin of ``DenseLearner``; only what is 0 is left out. The natural gradient changes all of theta in
    every step; it is carried out lazily, theta = (what is stored) + pending * w, and brought into the table from time
    to time.
    """

    def __init__(self, table: FloatArray, layout: Layout, natural_gradient: bool) -> None:
        super().__init__(table, layout, natural_gradient)
        self._rows = ActiveRows(table)
        self._values = table[:, layout.value]
        self._pending = 0.0
        self._postponed = 0

    def predict(self, x: NDArray) -> list[float]:
        """All columns, summed over the active indices x."""
        outputs = self._rows.total(x)
        if self._pending:
            for i, weight in enumerate(outputs[self._critic]):
                outputs[i] += self._pending * weight
        return outputs

    def value(self, x: NDArray) -> float:
        """v.x alone."""
        return self._rows.total_of(self._values, x)

    def advance_actor(self, amount: float) -> None:
        """Theta += amount w, later."""
        self._pending += amount
        self._postponed += 1
        if self._postponed >= len(self.table):
            self.flush()

    def apply(self, correction: Correction) -> None:
        """Add the row to that of every active feature."""
        row = correction.row
        if self._pending:
            # What is pending must not take part of the change of w: that comes after it.
            row = row.copy()
            for i, change in enumerate(row[self._critic]):
                row[i] -= self._pending * change
        self._rows.add(correction.x, row)
        if correction.next_value:
            self._values[correction.next_x] -= correction.next_value

    def flush(self) -> None:
        """Add the pending multiple of w to theta."""
        if self._pending:
            self.table[:, self._actor] += self._pending * self.table[:, self._critic]
            self._pending = 0.0
        self._postponed = 0


def make_learner(table: FloatArray, layout: Layout, sparse: bool, natural_gradient: bool) -> LinearLearner:
    """The learner for features that are indices (sparse) or vectors."""
    return (SparseLearner if sparse else DenseLearner)(table, layout, natural_gradient)
