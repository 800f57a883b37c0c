"""Environments that give NaN or infinity: which one, when, and where in what it gave."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.online.algorithm import OnlineAlgorithm
from agents.online.final_observations import final_observations


def unusable_step(
    model: OnlineAlgorithm, new_obs: Any, rewards: NDArray, dones: NDArray[np.bool_], infos: list[dict[str, Any]]
) -> ValueError | None:
    """The error of an environment whose last step gave NaN or infinity, if one did.

    Args:
        model: the algorithm.
        new_obs, rewards, dones, infos: what its vector environment returned.
    """
    normalizer, step = model.get_vec_normalize_env(), model.num_timesteps
    if normalizer is not None:
        # One NaN, and the statistics make NaN of what every environment gives.
        new_obs, rewards = normalizer.get_original_obs(), normalizer.get_original_reward()
    found = unusable_rewards(rewards, step) or unusable_observations(new_obs, step)
    if found is None and dones.any():
        found = unusable_observations(final_observations(new_obs, dones, infos), step)
    return found


def unusable_rewards(rewards: NDArray, step: int) -> ValueError | None:
    """The error of the first environment whose reward is NaN or infinite, if there is one.

    Args:
        rewards: [n].
        step: when they came, in environment steps.
    """
    finite = np.isfinite(rewards)
    if finite.all():
        return None
    env = int(np.argmin(finite))
    return ValueError(
        f"The environment gave the reward {rewards[env]} in environment {env} at step {step}, but it must be finite; "
        "mend the environment."
    )


def unusable_observations(observations: Any, step: int) -> ValueError | None:
    """The error of the first environment whose observation holds NaN or infinity, if there is one.

    Args:
        observations: [n, ...] or a dictionary of such arrays.
        step: when they came, in environment steps.
    """
    parts = observations.items() if isinstance(observations, dict) else (("", observations),)
    for key, values in parts:
        # Images and indices are integers.
        if values.dtype.kind != "f" or np.isfinite(values).all():
            continue
        env, *index = np.argwhere(~np.isfinite(values))[0].tolist()
        place = f"index {', '.join(map(str, index))}: {values[(env, *index)]}"
        return ValueError(
            f"The {f'entry {key!r} of the ' if key else ''}observation holds NaN or infinity ({place}) in environment "
            f"{env} at step {step}, but it must be finite; mend the environment."
        )
    return None
