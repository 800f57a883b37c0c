"""Resetting some environments of a Gymnasium vector environment while the others stand still.

SB3's vector environments show, in the very step that ends an episode, the first observation of the next one. Where a
Gymnasium vector environment resets only in the step after (NEXT_STEP), or leaves it to the caller (DISABLED), the
adapter resets the finished ones at once; the step in which NEXT_STEP would throw an action away then never takes place.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv, VectorWrapper
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from numpy.typing import NDArray

# Takes the numbers of the finished environments; gives observations, the row of each of them therein, and infos.
PartialReset = Callable[[NDArray[np.intp]], tuple[Any, NDArray[np.intp], dict[str, Any]]]


def find_partial_reset(env: VectorEnv, mode: AutoresetMode) -> PartialReset:
    """How to reset some of the environments.

    Args:
        env: a Gymnasium vector environment, possibly wrapped.
        mode: NEXT_STEP or DISABLED.

    Raises:
        ValueError: there is no way.
    """
    if has_wrapper(env, RecordEpisodeStatistics):
        raise ValueError(
            f"In {mode.name} mode single environments are reset by request, at which Gymnasium's "
            "RecordEpisodeStatistics forgets the episodes of all of them; put SB3's VecMonitor around the result "
            "instead, or make the environments with autoreset_mode=SAME_STEP."
        )
    inner = env.unwrapped
    if mode == AutoresetMode.NEXT_STEP:
        if isinstance(env, CartPoleVectorEnv):
            cart_poles = env
            return lambda finished: _reset_cart_poles(cart_poles, finished)
        if isinstance(inner, AsyncVectorEnv) and not inner.shared_memory:
            raise ValueError(
                "An AsyncVectorEnv with shared_memory=False and NEXT_STEP autoreset resets an environment a second "
                "time after it was reset by request; make it with shared_memory=True, or autoreset_mode=SAME_STEP."
            )
        if not isinstance(inner, SyncVectorEnv | AsyncVectorEnv):
            raise ValueError(
                f"{env} resets an environment in the step after its episode (NEXT_STEP) and cannot reset single ones "
                "by request, but an SB3 VecEnv must show the next episode's first observation at once; make it with "
                "autoreset_mode SAME_STEP or DISABLED, from single environments with SyncVectorEnv, or without "
                "Gymnasium's vector wrappers."
            )
    return lambda finished: _reset_by_mask(env, finished)


def has_wrapper(env: VectorEnv, kind: type[VectorWrapper]) -> bool:
    """Whether a Gymnasium vector wrapper of this kind is somewhere around the environment."""
    while isinstance(env, VectorWrapper):
        if isinstance(env, kind):
            return True
        env = env.env
    return False


def _reset_by_mask(env: VectorEnv, finished: NDArray[np.intp]) -> tuple[Any, NDArray[np.intp], dict[str, Any]]:
    mask = np.zeros(env.num_envs, dtype=np.bool_)
    mask[finished] = True
    observations, infos = env.reset(options={"reset_mask": mask})
    return observations, finished, infos


def _reset_cart_poles(
    env: CartPoleVectorEnv, finished: NDArray[np.intp]
) -> tuple[Any, NDArray[np.intp], dict[str, Any]]:
    """What the environment itself would do in the next step."""
    assert env.state is not None
    env.state[:, finished] = env.np_random.uniform(low=env.low, high=env.high, size=(4, len(finished)))
    env.steps[finished] = 0
    env.prev_done[finished] = False
    return env.state.T.astype(np.float32), finished, {}
