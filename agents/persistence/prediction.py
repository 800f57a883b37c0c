"""`agents.predict`."""

from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.preprocessing import is_image_space, maybe_transpose
from stable_baselines3.common.utils import is_vectorized_observation
from stable_baselines3.common.vec_env import VecNormalize

from agents.persistence.statistics import normalizer_of


def predict(
    model: BaseAlgorithm,
    raw_observation: np.ndarray | dict[str, np.ndarray],
    deterministic: bool = True,
    *,
    state: tuple[np.ndarray, ...] | None = None,
    episode_start: np.ndarray | None = None,
    action_masks: np.ndarray | None = None,
) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
    """The model's action on an observation as the environment gives it.

    The observation is first normalized with the statistics the model was trained with: those of the VecNormalize of
    its environment, which this does not move, else those of the file it was loaded from. Without statistics this
    equals `model.predict`, which takes observations that are normalized already.

    Args:
        model: any SB3 algorithm.
        raw_observation: one observation or a batch of them (batch first), a dict of such arrays for Dict spaces.
        deterministic: False samples the action.
        state: hidden state of a recurrent policy, as returned by the last call; None at the start.
        episode_start: bool, one per observation: where a recurrent policy's state has to be reset.
        action_masks: valid actions, for MaskablePPO.

    Returns:
        The action, batched like the observation, and the next hidden state (None where the policy has none).

    Raises:
        ValueError: the observation does not fit the model's observation space.
    """
    normalizer = normalizer_of(model)
    observation = raw_observation
    if normalizer is not None and normalizer.norm_obs:
        observation = _normalized(normalizer, raw_observation)
    masks = {} if action_masks is None else {"action_masks": action_masks}
    return model.predict(observation, state=state, episode_start=episode_start, deterministic=deterministic, **masks)


def _normalized(normalizer: VecNormalize, observation: Any) -> Any:
    """What the model would have been given in training.

    Vector environments store observations in the space's own type before they are normalized, hence the conversion.
    """
    space = normalizer.venv.observation_space
    if isinstance(space, spaces.Dict) != isinstance(observation, dict):
        needed = f"a dict with the keys {list(space)}" if isinstance(space, spaces.Dict) else f"an array of {space}"
        raise ValueError(
            f"Got an observation of type {type(observation).__name__}, but the model needs {needed}; "
            "pass what the environment returned (of env.reset() the first of two)."
        )
    if not isinstance(space, spaces.Dict):
        return normalizer.normalize_obs(_typed(space, observation))
    keys = normalizer.norm_obs_keys or []
    missing = [key for key in keys if key not in observation]
    if missing:
        raise ValueError(
            f"Got an observation with the keys {sorted(observation)}, but the model needs {missing} as well; "
            "pass all that the environment returned."
        )
    # the other keys stay out of it: a carried normalizer knows images in the policy's layout, channels first
    return observation | normalizer.normalize_obs({key: _typed(space[key], observation[key]) for key in keys})


def _typed(space: spaces.Space[Any], observation: Any) -> np.ndarray:
    if not isinstance(space, spaces.Box):
        return np.asarray(observation)
    typed = np.asarray(observation, dtype=space.dtype)
    if is_image_space(space):
        typed = maybe_transpose(typed, space)
    # NumPy would broadcast a wrong shape against the statistics
    is_vectorized_observation(typed, space)
    return typed
