"""Observations of one environment normalized by rules, key by key.

Differs from Gymnasium's NormalizeObservation in what that lacks: Dict and Tuple spaces, rules other than running
statistics, clipping with the space that follows from it, float64 statistics, freezing, files.
"""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs

from wrappers.learning_wrapper import LearningWrapper
from wrappers.observation_tree import ObservationTree, leaves_to_arrays, load_leaves
from wrappers.rules import Rules, RunningOptions, as_data
from wrappers.running_statistics import RunningStatistics

_PREFIX = "observation"


class NormalizeObservation(LearningWrapper):
    """Normalizes observations.

    Args:
        env: the environment.
        rules: a rule, or rules by key: `running`, `bounds`, `image`, `one_hot`, `pass`, `auto` (see `wrappers.rules`).
        epsilon: added to a running variance.
        clip: largest absolute value that the rule `running` lets out; `float("inf")` clips nothing.
        decay: factor by which running statistics weigh older observations less with each new one.
        warmup: observations to be seen before running statistics are used; until then they are only clipped.
        training: whether running statistics learn.

    Raises:
        ValueError: a rule does not fit its space, or an option is outside its range.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        rules: Rules = "auto",
        *,
        epsilon: float = 1e-8,
        clip: float = 10.0,
        decay: float = 1.0,
        warmup: int = 0,
        training: bool = True,
    ) -> None:
        RecordConstructorArgs.__init__(
            self, rules=as_data(rules), epsilon=epsilon, clip=clip, decay=decay, warmup=warmup, training=training
        )
        super().__init__(env)
        options = RunningOptions(epsilon=epsilon, clip=clip, decay=decay, warmup=warmup)
        self._tree = ObservationTree(env.observation_space, rules, options)
        self.observation_space = self._tree.space
        self.training = training

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset; the first observation counts for the statistics as any other."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._tree(observation, update=self.training), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._tree(observation, update=self.training), reward, terminated, truncated, info

    def normalize(self, observation: Any) -> Any:
        """Normalize an observation of the wrapped environment without learning from it."""
        return self._tree(observation, update=False)

    def learning_statistics(self) -> dict[str, RunningStatistics]:
        """Statistics of the keys under the rule `running`, by key ("" for a flat observation)."""
        return {path: transform.statistics for path, transform in self._tree.running().items()}

    def statistics_to_arrays(self) -> dict[str, np.ndarray]:
        """Rule and statistics of every key."""
        return leaves_to_arrays(dict(self._tree.leaves()), _PREFIX)

    def load_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take over what `statistics_to_arrays` gave.

        Raises:
            ValueError: it belongs to another space or other rules; the message names the key.
        """
        load_leaves(dict(self._tree.leaves()), arrays, _PREFIX)
        self.training = self._training  # new statistics are frozen as the old ones were
