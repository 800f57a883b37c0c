"""Uniform actions, the target policy's own, and every mixture of both."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from gymnasium import spaces

from agents.common.importance import sample_index
from agents.off_pac.behavior.base import (
    ContinuousBehavior,
    ContinuousTarget,
    DiscreteBehavior,
    FloatArray,
    Observations,
)


class DiscreteMixture(DiscreteBehavior):
    """b = share / n_actions + (1 - share) pi.

    Args:
        n_actions: number of actions.
        share: of the uniform policy; 1 is uniform, 0 is b = pi.
    """

    uses_observations = False

    def __init__(self, n_actions: int, share: float) -> None:
        self.name = f"The behavior policy ({share:g} uniform)"
        self.n_actions = n_actions
        self.share = share
        self.uses_target = share < 1.0
        self._floor = share / n_actions
        # Where the cumulative sums of the uniform policy's probabilities cut [0, 1).
        self._inner_edges = [*accumulate([self._floor] * (n_actions - 1))]

    def probabilities(self, observations: Observations, target: FloatArray) -> FloatArray:
        """[n, n_actions]; always a distribution with support everywhere pi has it."""
        return self._floor + (1.0 - self.share) * target

    def draw_one(self, target: Sequence[float], uniform: float) -> tuple[int, float]:
        """One action and its probability, from one uniform number."""
        if not self.uses_target:
            return bisect(self._inner_edges, uniform), self._floor
        kept = 1.0 - self.share
        row = [self._floor + kept * probability for probability in target]
        action = sample_index(row, uniform)
        return action, row[action]

    def draw(
        self, observations: Observations, target: Sequence[Sequence[float]], uniforms: Sequence[float]
    ) -> tuple[list[int], list[float]]:
        """Actions of n environments and their probabilities."""
        drawn = [self.draw_one(row, uniform) for row, uniform in zip(target, uniforms, strict=True)]
        return [action for action, _ in drawn], [probability for _, probability in drawn]


class ContinuousMixture(ContinuousBehavior):
    """A uniform action within the bounds with probability ``share``, else one of the target policy.

    Args:
        action_space: its bounds.
        share: of the uniform policy; 1 is uniform, 0 is b = pi.
    """

    uses_observations = False

    def __init__(self, action_space: spaces.Box, share: float) -> None:
        self.name = f"The behavior policy ({share:g} uniform)"
        self.share = share
        self._low = action_space.low.astype(np.float64).ravel()
        self._high = action_space.high.astype(np.float64).ravel()
        self._uniform_log_density = -float(np.log(self._high - self._low).sum())

    def draw(
        self, observations: Observations, target: ContinuousTarget, generator: np.random.Generator
    ) -> tuple[FloatArray, FloatArray]:
        """Actions [n, action_dim] and the log density of the whole mixture at each."""
        if self.share == 0.0:
            actions = target.sample(generator)
            return self.checked(actions, target.log_density(actions))
        n = target.n
        actions = generator.uniform(self._low, self._high, size=(n, self._low.size))
        if self.share == 1.0:
            return actions, np.full(n, self._uniform_log_density)
        from_target = generator.random(n) >= self.share
        actions = np.where(from_target[:, None], target.sample(generator), actions)
        inside = ((actions >= self._low) & (actions <= self._high)).all(axis=1)
        uniform_part = np.where(inside, np.log(self.share) + self._uniform_log_density, -np.inf)
        log_density = np.logaddexp(uniform_part, np.log1p(-self.share) + target.log_density(actions))
        return self.checked(actions, log_density)
