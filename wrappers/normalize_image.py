"""Images of one environment as numbers in [0, 1]; everything else passes.

SB3's CnnPolicy divides images by 255 itself: with this wrapper it needs `policy_kwargs=dict(normalize_images=False)`.
"""

from typing import Any

import gymnasium as gym
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

from wrappers.observation_tree import ObservationTree
from wrappers.rules import Rules, RunningOptions, choose
from wrappers.transforms import AnySpace


class NormalizeImage(gym.ObservationWrapper[Any, Any, Any], RecordConstructorArgs):
    """Maps images to [0, 1] as float32.

    An image is a uint8 Box from 0 to 255 with at least two dimensions.

    Args:
        env: an environment with an image in its observations.

    Raises:
        ValueError: there is no image.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        RecordConstructorArgs.__init__(self)
        super().__init__(env)
        self._tree = ObservationTree(env.observation_space, _only_images(env.observation_space), RunningOptions())
        if not any(transform.rule == "image" for _, transform in self._tree.leaves()):
            raise ValueError(
                f"NormalizeImage got {env.observation_space}, but it needs an image: a uint8 Box from 0 to 255 with at "
                "least two dimensions; for other boxes use NormalizeObservation(rules='bounds')."
            )
        self.observation_space = self._tree.space

    def observation(self, observation: Any) -> Any:
        """The observation with its images in [0, 1]."""
        return self._tree(observation, update=False)


def _only_images(space: AnySpace) -> Rules:
    if isinstance(space, spaces.Dict):
        return {key: _only_images(part) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return [_only_images(part) for part in space.spaces]
    return "image" if choose(space) == "image" else "pass"
