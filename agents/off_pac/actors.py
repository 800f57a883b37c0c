"""From the linear outputs of each environment's state to actions, importance ratios and score vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from agents.common.gaussian_policy import gaussian_log_density, gaussian_score, log_std
from agents.common.softmax_policy import softmax, softmax_score
from agents.off_pac.behavior import Behavior, ContinuousBehavior, DiscreteBehavior
from agents.off_pac.behavior.mixture import DiscreteMixture
from agents.off_pac.linear_policy import LinearPolicy

FloatArray = NDArray[np.float64]


class Decision(NamedTuple):
    """What was decided in n environments."""

    actions: NDArray  # [n, ...] as the behavior policy drew them
    executed: NDArray  # [n, ...] as the environment takes them: Box actions clipped
    ratios: list[float]  # [n] rho
    scores: list[list[float]]  # [n][n_outputs] psi with respect to the actor's linear outputs


class SoftmaxActor:
    """Discrete actions."""

    def __init__(self, behavior: DiscreteBehavior, n_actions: int) -> None:
        self._behavior = behavior
        self._executable = [np.int64(action) for action in range(n_actions)]

    def decide(self, observations: Any, outputs: Sequence[Sequence[float]], generator: np.random.Generator) -> Decision:
        """Let the behavior act in n environments.

        Args:
            observations: [n, ...] the environment's own, for behaviors that look at them.
            outputs: n rows of preferences, value and w.x.
            generator: for the uniform number that each action takes.
        """
        target = [softmax(row[:-2]) for row in outputs]
        uniforms = [generator.random() for _ in target]
        actions, probabilities = self._behavior.draw(observations, target, uniforms)
        taken = list(zip(target, actions, probabilities, strict=True))
        ratios = [row[action] / probability for row, action, probability in taken]
        drawn = np.array(actions, dtype=np.int64)
        return Decision(drawn, drawn, ratios, [softmax_score(row, action) for row, action, _ in taken])

    def decide_one(
        self, observation: Any, outputs: Sequence[float], generator: np.random.Generator
    ) -> tuple[Any, float, list[float]]:
        """The same for one environment and a mixture as behavior: executed action, ratio and score."""
        assert isinstance(self._behavior, DiscreteMixture)
        target = softmax(outputs[:-2])
        action, probability = self._behavior.draw_one(target, generator.random())
        return self._executable[action], target[action] / probability, softmax_score(target, action)


class GaussianTarget:
    """The linear Gaussian policy at n observations, in environment units.

    Args:
        mean, log_sigma: [n, action_dim].
    """

    def __init__(self, mean: FloatArray, log_sigma: FloatArray) -> None:
        self.n = len(mean)
        self._mean = mean
        self._log_sigma = log_sigma

    def sample(self, generator: np.random.Generator) -> FloatArray:
        """[n, action_dim] actions."""
        return self._mean + np.exp(self._log_sigma) * generator.standard_normal(self._mean.shape)

    def log_density(self, actions: FloatArray) -> FloatArray:
        """[n] log densities."""
        return gaussian_log_density(actions, self._mean, self._log_sigma)


class GaussianActor:
    """Box actions."""

    def __init__(self, behavior: ContinuousBehavior, action_space: spaces.Box, policy: LinearPolicy) -> None:
        self._behavior = behavior
        self._space = action_space
        self._center = policy.action_center
        self._reach = policy.action_reach
        self._log_reach = np.log(policy.action_reach)

    def decide(self, observations: Any, outputs: Sequence[Sequence[float]], generator: np.random.Generator) -> Decision:
        """Let the behavior act in n environments; the ratio is that of the action before clipping."""
        half = self._center.size
        linear = np.array(outputs)
        means, spreads = linear[:, :half], linear[:, half : 2 * half]
        target = GaussianTarget(self._center + self._reach * means, log_std(spreads) + self._log_reach)
        actions, log_density = self._behavior.draw(observations, target, generator)
        ratios = np.exp(target.log_density(actions) - log_density).tolist()
        standardized = (actions - self._center) / self._reach
        scores = [gaussian_score(*row).tolist() for row in zip(standardized, means, spreads, strict=True)]
        shaped = actions.reshape((-1, *self._space.shape))
        executed = np.clip(shaped, self._space.low, self._space.high).astype(self._space.dtype)
        return Decision(shaped, executed, ratios, scores)

    def decide_one(
        self, observation: Any, outputs: Sequence[float], generator: np.random.Generator
    ) -> tuple[Any, float, list[float]]:
        """The same for one environment: executed action, ratio and score."""
        decision = self.decide(observation[None], [outputs], generator)
        return decision.executed[0], decision.ratios[0], decision.scores[0]

    def judge(self, action: FloatArray, outputs: Sequence[float]) -> tuple[float, list[float]]:
        """Log density of a recorded action in environment units, and its score.

        Args:
            action: [action_dim].
            outputs: means and spreads, value and w.x of the observation.
        """
        half = self._center.size
        linear = np.array(outputs)
        mean, spread = linear[:half], linear[half : 2 * half]
        standardized = (action - self._center) / self._reach
        log_density = gaussian_log_density(standardized, mean, log_std(spread)) - self._log_reach.sum()
        return float(log_density), gaussian_score(standardized, mean, spread).tolist()


def make_actor(behavior: Behavior, action_space: spaces.Space, policy: LinearPolicy) -> SoftmaxActor | GaussianActor:
    """The actor that fits the action space."""
    if isinstance(behavior, DiscreteBehavior):
        assert isinstance(action_space, spaces.Discrete)
        return SoftmaxActor(behavior, int(action_space.n))
    assert isinstance(action_space, spaces.Box)
    return GaussianActor(behavior, action_space, policy)
