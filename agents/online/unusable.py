"""Environments that give NaN or infinity: which one, when, and where in what it gave."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.online.algorithm import OnlineAlgorithm


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
    # One by one: wrappers above a normalization may have given them another shape than what it remembers.
    for env in np.flatnonzero(dones).tolist():
        last = infos[env]["terminal_observation"]
        row = {key: value[None] for key, value in last.items()} if isinstance(last, dict) else np.asarray(last)[None]
        found = found or unusable_observations(row, step, env)
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


def unusable_observations(observations: Any, step: int, first_env: int = 0) -> ValueError | None:
    """The error of the first environment whose observation holds NaN or infinity, if there is one.

    Args:
        observations: [n, ...] or a dictionary of such arrays.
        step: when they came, in environment steps.
        first_env: the environment of the first row.
    """
    parts = observations.items() if isinstance(observations, dict) else (("", observations),)
    for key, values in parts:
        # Images and indices are integers.
        if values.dtype.kind != "f" or np.isfinite(values).all():
            continue
        env, *index = np.argwhere(~np.isfinite(values))[0].tolist()
        place = (f"index {', '.join(map(str, index))}: " if index else "") + str(values[(env, *index)])
        return ValueError(
            f"The {f'entry {key!r} of the ' if key else ''}observation holds NaN or infinity ({place}) in environment "
            f"{first_env + env} at step {step}, but it must be finite; mend the environment."
        )
    return None
