"""The update of linear Off-PAC, independent of how features are represented.

Degris, White and Sutton (2012), Algorithm 1, with the emphasis of Imani, Graves and White (2018)::

    delta = r + gamma' v.x' - v.x            rho = pi(a|s) / b(a|s)
    e_v = rho (x + gamma lambda e_v)         e_u = rho (M psi + gamma lambda e_u)
    v  += alpha_v [delta e_v - gamma' (1 - lambda) (w.e_v) x']
    w  += alpha_w [delta e_v - (w.x) x - beta w]           beta = 0: GTD(lambda), beta = 1: TDRC
    u  += alpha_u delta e_u

All weights live in one table with a row for each feature: the actor's outputs u first, then v, then w. One product with
x gives preferences, value and w.x at once. A step comes in two halves, ``evaluate`` and ``apply``: with several
environments every error is computed from the weights before any of them changes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.common.gtd import td_error
from agents.common.traces import emphasis_weight, followon_trace
from agents.online.divergence import LIMIT, magnitude, unusable_input
from agents.online.errors import TrainingDivergedError

FloatArray = NDArray[np.float64]

_ROOM = 1e4


@dataclass(frozen=True)
class LearnerSettings:
    """What does not change while a linear learner learns."""

    gamma: float
    trace_decay: float  # lambda
    emphasis: float  # eta
    regularization: float  # beta


@dataclass(frozen=True, slots=True)
class StepSizes:
    """alpha_u, alpha_v and alpha_w of one step, already divided by the number of active features."""

    actor: float
    critic: float
    secondary: float


class LinearLearner(ABC):
    """Weights and traces of one linear agent in ``n_envs`` environments.

    Args:
        table: [n_features, n_outputs + 2] float64, changed in place.
        n_envs: number of environments, each with a trace of its own.
        settings: constants.
    """

    def __init__(self, table: FloatArray, n_envs: int, settings: LearnerSettings) -> None:
        self.table = table
        self.n_features = table.shape[0]
        self.n_outputs = table.shape[1] - 2
        self.n_envs = n_envs
        self.settings = settings
        self.expect(0.0)
        self.carried = [0.0] * n_envs
        """gamma rho_{t-1} F_{t-1} of each environment, for the emphasis."""

    @abstractmethod
    def predict(self, x: NDArray) -> list[float]:
        """Actor outputs, v.x and w.x of one feature representation."""

    @abstractmethod
    def value(self, x: NDArray) -> float:
        """v.x alone."""

    @abstractmethod
    def _trace(self, env: int, x: NDArray, score: Sequence[float], rho: float, expected: float) -> tuple[Any, float]:
        """Advance the traces of an environment; a handle on them for ``apply``, and w.e_v."""

    @abstractmethod
    def apply(self, correction: Any, sizes: StepSizes) -> None:
        """Add what ``evaluate`` found to the weights."""

    @abstractmethod
    def regularize(self, amount: float) -> None:
        """Shrink w by the factor 1 - amount; before any ``apply`` of the same step, as all use the old w."""

    @abstractmethod
    def reset_trace(self, env: int) -> None:
        """Begin an episode: e_v = e_u = 0 and F = i."""

    @abstractmethod
    def export_traces(self) -> FloatArray:
        """[n_envs, n_features, n_outputs + 1]: the actor's traces, then the critic's."""

    @abstractmethod
    def import_traces(self, traces: FloatArray) -> None:
        """Take up traces that ``export_traces`` gave."""

    def flush(self) -> None:  # noqa: B027  (only lazy learners have something pending)
        """Bring the table up to date where an update is carried out lazily."""

    def evaluate(
        self,
        env: int,
        x: NDArray,
        outputs: Sequence[float],
        score: Sequence[float],
        rho: float,
        reward: float,
        discount: float,
        next_x: NDArray | None,
    ) -> tuple[Any, ...]:
        """First half of a step: TD error and traces, with the weights as they are.

        Args:
            env: index of the environment.
            x: features of s.
            outputs: what ``predict(x)`` gave.
            score: psi with respect to the actor's outputs, [n_outputs].
            rho: importance ratio.
            reward: r.
            discount: gamma': 0 at termination, gamma otherwise and at truncation.
            next_x: features of s' seen before any reset; not needed where the discount is 0.

        Returns:
            What ``apply`` needs.

        Raises:
            TrainingDivergedError: the TD error is far beyond what the rewards seen so far allow, or a correction has
                left every reasonable range.
        """
        settings = self.settings
        next_value = self.value(next_x) if discount else 0.0  # type: ignore[arg-type]
        delta = td_error(reward, discount, next_value, outputs[-2])
        if self.largest_reward < abs(reward) < LIMIT:
            self.expect(abs(reward))
        if settings.emphasis:
            followon = followon_trace(self.carried[env])
            self.carried[env] = settings.gamma * rho * followon
            weight = emphasis_weight(followon, settings.emphasis)
            score = [weight * part for part in score]
        handle, correlation = self._trace(env, x, score, rho, outputs[-1])
        # Written so that NaN fails as well.
        if not (-self._limit < delta < self._limit and -LIMIT < correlation < LIMIT):
            following = self.predict(next_x) if discount else []  # type: ignore[arg-type]
            raise self._divergence(reward, [*outputs, *following], delta)
        return handle, x, next_x, delta, outputs[-1], correlation, discount

    def expect(self, largest_reward: float) -> None:
        """Make room for the values of rewards up to this; an earlier learner of the same weights may have seen them."""
        self.largest_reward = largest_reward
        self._limit = self._largest_error(max(largest_reward, 1.0))

    @abstractmethod
    def _trace_rows(self, env: int) -> FloatArray:
        """[m, n_outputs + 1] of an environment's traces: the rows that are not 0, in any order."""

    def trace_norms(self) -> tuple[float, float]:
        """Euclidean norms of the critic's and the actor's traces, averaged over the environments."""
        rows = [self._trace_rows(env) for env in range(self.n_envs)]
        critic = np.mean([np.linalg.norm(traces[:, -1]) for traces in rows])
        actor = np.mean([np.linalg.norm(traces[:, :-1]) for traces in rows])
        return float(critic), float(actor)

    def _largest_error(self, largest_reward: float) -> float:
        """Beyond this a TD error is nothing that can still be learned from.

        Values of rewards up to R lie within R / (1 - gamma); so much room is left because corrections with large
        importance ratios overshoot and come back.
        """
        gamma = self.settings.gamma
        return min(_ROOM * 2.0 * largest_reward / (1.0 - gamma), LIMIT) if gamma < 1.0 else LIMIT

    def _divergence(self, reward: float, outputs: Sequence[float], delta: float) -> TrainingDivergedError | ValueError:
        """The error that says what went wrong.

        Args:
            reward: r.
            outputs: what ``predict`` gave, of s and of s' where that counts.
            delta: the TD error.
        """
        self.flush()
        if (unusable := unusable_input(reward)) is not None:
            return unusable
        largest = [magnitude(part) for part in (self.table[:, :-2], self.table[:, -2], self.table[:, -1])]
        actor, critic, secondary = largest
        if max(critic, secondary) > math.sqrt(LIMIT):
            name = "critic_learning_rate" if critic >= secondary else "secondary_learning_rate"
        elif actor > math.sqrt(LIMIT):
            name = "learning_rate"
        elif (unusable := unusable_input(reward, outputs)) is not None:
            return unusable
        elif not -self._limit < delta < self._limit:
            name = "critic_learning_rate" if critic >= secondary else "secondary_learning_rate"
        else:
            return TrainingDivergedError(
                f"The eligibility traces have grown beyond {math.sqrt(LIMIT):.0e}: products of importance ratios "
                f"outgrow "
                f"trace_decay={self.settings.trace_decay}; lower it, or choose a behavior policy closer to the "
                f"target policy."
            )
        regularized = self.settings.regularization > 0.0
        source = ""
        if regularized and name == "secondary_learning_rate":
            source = " (it is critic_learning_rate where it is not given)"
        advice = "choose a behavior policy closer to the target policy" if regularized else 'use critic="tdrc"'
        return TrainingDivergedError(
            f"The weights have diverged (largest actor weight {actor:.1e}, critic {critic:.1e}, secondary "
            f"{secondary:.1e}): {name} is too large for these features and importance ratios{source}; lower it, for "
            f"example by a factor of 10, or {advice}."
        )
