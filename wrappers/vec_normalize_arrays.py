"""Statistics and settings of a VecNormalize, ours or SB3's, as named plain arrays, and back.

Stable-Baselines3 keeps the statistics of its `VecNormalize` in a pickle of their own, which gets lost or is paired with
the wrong model. Named arrays fit into the model's file, are read without executing anything, and can be compared.
`wrappers.vec_normalize_layout` lists the names.
"""

from collections.abc import Mapping

import numpy as np
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env import VecNormalize as SB3VecNormalize

from wrappers.vec_normalize import VecNormalize, learning_statistics_of
from wrappers.vec_normalize_layout import pack


def statistics_to_arrays(vec_normalize: SB3VecNormalize) -> dict[str, np.ndarray]:
    """Everything needed to rebuild a VecNormalize, as plain arrays.

    Args:
        vec_normalize: the wrapper whose statistics and settings are wanted; it is not changed.

    Returns:
        Independent arrays by name, none of object type.

    Raises:
        TypeError: the argument is not a VecNormalize.
    """
    if not isinstance(vec_normalize, SB3VecNormalize):
        raise TypeError(
            f"statistics_to_arrays got a {type(vec_normalize).__name__}, but only a VecNormalize has statistics; "
            "model.get_vec_normalize_env() gives the one of a model."
        )
    if isinstance(vec_normalize, VecNormalize):
        return vec_normalize.to_arrays()
    groups = {name: statistics.to_arrays() for name, statistics in learning_statistics_of(vec_normalize).items()}
    groups["ret_rms"] |= {"by": np.array("return"), "largest": np.array(0.0)}
    return pack(vec_normalize, groups, None)


def vec_normalize_from_arrays(
    venv: VecEnv, arrays: Mapping[str, np.ndarray], *, training: bool = True, norm_reward: bool | None = None
) -> VecNormalize:
    """A VecNormalize around `venv` that goes on from saved statistics.

    Args:
        venv: the environments, without normalization.
        arrays: what `statistics_to_arrays` gave; an open `.npz` file serves as well.
        training: whether the statistics go on learning.
        norm_reward: whether rewards are scaled; None takes what was saved.

    Returns:
        The wrapper, with the saved settings and rules.

    Raises:
        ValueError: an array is missing, the layout is of another version, or the statistics do not fit the
            observation space of `venv` (the message names the key).
    """
    return VecNormalize.from_arrays(venv, arrays, training=training, norm_reward=norm_reward)


def frozen_from_arrays(venv: VecEnv, arrays: Mapping[str, np.ndarray]) -> VecNormalize:
    """A VecNormalize for evaluation: saved statistics that no longer move, rewards left as they are.

    Args:
        venv: the environments, without normalization.
        arrays: what `statistics_to_arrays` gave; an open `.npz` file serves as well.

    Returns:
        The wrapper, with `training=False` and `norm_reward=False`.

    Raises:
        ValueError: as `vec_normalize_from_arrays`.
    """
    return vec_normalize_from_arrays(venv, arrays, training=False, norm_reward=False)
