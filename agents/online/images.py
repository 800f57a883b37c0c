"""Images as the environment gives them, for behavior policies that look at them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecTransposeImage, unwrap_vec_wrapper

Observations = NDArray | dict[str, NDArray]


def untransposed(observations: Observations, env: VecEnv) -> Observations:
    """Undo what ``VecTransposeImage`` did; everything else as it is.

    Args:
        observations: [n, ...] or a dictionary of such arrays, images with the channel first.
        env: the vector environment that they come from.
    """
    transposer = unwrap_vec_wrapper(env, VecTransposeImage)
    if transposer is None:
        return observations
    if isinstance(observations, dict):
        images = transposer.image_space_keys or []
        return {key: np.moveaxis(value, 1, -1) if key in images else value for key, value in observations.items()}
    return np.moveaxis(observations, 1, -1)
