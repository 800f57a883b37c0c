"""Rewards of one environment divided by a measure of their size.

Gymnasium's NormalizeReward lets the discounted return of one episode run into the next after a truncation and after a
reset. Here it starts from 0 with every episode, after the last reward of the episode before has counted.
"""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs

from wrappers.learning_wrapper import LearningWrapper
from wrappers.reward_scale import RewardScale
from wrappers.running_statistics import RunningStatistics

_PREFIX = "reward"


class NormalizeReward(LearningWrapper):
    """Scales rewards; the unscaled reward stays in `info`.

    `info["unscaled_reward"]` holds every step's reward, and `info["unscaled_return"]` the sum over the episode at its
    end, so that `Monitor(env, info_keywords=("unscaled_return",))` around this wrapper records the true return. A
    Monitor inside it sees true rewards anyway.

    Args:
        env: the environment.
        by: `return`, `reward` or `episode_maximum` (see `wrappers.reward_scale`).
        gamma: discount per step of the measure `return`; the one the agent uses.
        epsilon: added to a variance.
        clip: largest absolute value that comes out; `float("inf")` clips nothing.
        decay: factor by which older rewards weigh less with each new one.
        warmup: rewards to be seen before they are scaled; until then they are only clipped.
        training: whether the measure learns.

    Attributes:
        episode_sum: discounted return of the episode so far, as the measure `return` sees it (undiscounted for
            `episode_maximum`); 0 before an episode's first reward.

    Raises:
        ValueError: an option is outside its range.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        by: str = "return",
        *,
        gamma: float = 0.99,
        epsilon: float = 1e-8,
        clip: float = 10.0,
        decay: float = 1.0,
        warmup: int = 0,
        training: bool = True,
    ) -> None:
        RecordConstructorArgs.__init__(
            self, by=by, gamma=gamma, epsilon=epsilon, clip=clip, decay=decay, warmup=warmup, training=training
        )
        super().__init__(env)
        if not epsilon > 0:
            raise ValueError(f"epsilon={epsilon}, but it must be positive to keep the scale of a constant finite.")
        if not clip > 0:
            raise ValueError(f"clip={clip}, but it must be positive; float('inf') clips nothing.")
        self.epsilon, self.clip = epsilon, clip
        self._scale = RewardScale(by, gamma=gamma, decay=decay, warmup=warmup)
        self._sums = np.zeros(1)
        self._unscaled_return = 0.0
        self._episode_is_over = False
        self.training = training

    @property
    def episode_sum(self) -> float:
        """See the class."""
        return float(self._sums[0])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset; what was summed up of an unfinished episode is forgotten."""
        self._start_episode()
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if self._episode_is_over:  # an environment inside that resets itself
            self._start_episode()
        unscaled = float(reward)
        rewards = np.array([unscaled])
        if self.training:
            self._scale.update(self._sums, rewards)
        else:
            self._scale.check(rewards)
        scaled = min(max(unscaled / self._scale.divisor(self.epsilon), -self.clip), self.clip)
        self._unscaled_return += unscaled
        self._episode_is_over = bool(terminated or truncated)
        info["unscaled_reward"] = unscaled
        if self._episode_is_over:
            info["unscaled_return"] = self._unscaled_return
        return observation, scaled, terminated, truncated, info

    def learning_statistics(self) -> dict[str, RunningStatistics]:
        """Statistics of the returns, or of the rewards, as the measure has it."""
        return {_PREFIX: self._scale.statistics}

    def statistics_to_arrays(self) -> dict[str, np.ndarray]:
        """The measure and what it has learned."""
        return {f"{_PREFIX}/{name}": array for name, array in self._scale.to_arrays().items()}

    def load_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take over what `statistics_to_arrays` gave.

        Raises:
            ValueError: it was learned by another measure, or an array is missing.
        """
        start = f"{_PREFIX}/"
        self._scale.load_arrays({name[len(start) :]: a for name, a in arrays.items() if name.startswith(start)})
        self.training = self._training  # new statistics are frozen as the old ones were

    def _start_episode(self) -> None:
        self._sums[:] = 0.0
        self._unscaled_return = 0.0
        self._episode_is_over = False
