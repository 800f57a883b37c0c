"""The normalization statistics that belong to a model.

While a model has an environment with a VecNormalize, that wrapper is the truth: training moves it. A loaded model may
have none. It then carries the arrays of its file, on the policy, whose input they scale: there they go along when a
model is copied or pickled, while SB3's `model.save` does not write them (it stores a policy by its parameters), so that
they cannot go stale in a file.
"""

from collections.abc import Mapping
from weakref import WeakKeyDictionary

import gymnasium
import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize, unwrap_vec_normalize

from wrappers import frozen_from_arrays, source_space, statistics_to_arrays

_ATTRIBUTE = "_normalization_of_file"

# made of carried arrays at first use, because making one costs as much as a prediction
_normalizers: WeakKeyDictionary[BasePolicy, VecNormalize] = WeakKeyDictionary()


def carry(model: BaseAlgorithm, arrays: Mapping[str, np.ndarray]) -> None:
    """Let a loaded model remember the statistics it was saved with."""
    setattr(model.policy, _ATTRIBUTE, dict(arrays))
    _normalizers.pop(model.policy, None)


def statistics_of(model: BaseAlgorithm) -> dict[str, np.ndarray] | None:
    """The statistics to save with a model; None where it sees raw observations.

    A model that was loaded and only evaluated gives back exactly what it was loaded with: its frozen environment no
    longer knows whether rewards were normalized in training.

    Raises:
        ValueError: the model's environment is normalized twice.
    """
    carried = _carried(model)
    live = _live(model)
    if live is None:
        return carried
    arrays = statistics_to_arrays(live)
    if carried is not None and _equal_but_for_freezing(arrays, carried):
        return carried
    return arrays


def normalizer_of(model: BaseAlgorithm) -> VecNormalize | None:
    """Something whose `normalize_obs` turns raw observations into the model's input; None where they are the same.

    Raises:
        ValueError: the model's environment is normalized twice, or the statistics of its file have another shape than
            its observations.
    """
    live = _live(model)
    if live is not None:
        return live
    carried = _carried(model)
    if carried is None:
        return None
    if model.policy not in _normalizers:
        _normalizers[model.policy] = _normalizer(model, carried)
    return _normalizers[model.policy]


def _carried(model: BaseAlgorithm) -> dict[str, np.ndarray] | None:
    return getattr(model.policy, _ATTRIBUTE, None)


def _live(model: BaseAlgorithm) -> VecNormalize | None:
    """The VecNormalize of the model's environment."""
    vec_normalize = model.get_vec_normalize_env()
    if vec_normalize is not None and unwrap_vec_normalize(vec_normalize.venv) is not None:
        raise ValueError(
            "The model's environment is wrapped in two VecNormalize, but a model file holds the statistics of one; "
            "normalize observations and rewards in one wrapper, or use model.save and model.predict."
        )
    return vec_normalize


def _normalizer(model: BaseAlgorithm, arrays: Mapping[str, np.ndarray]) -> VecNormalize:
    """A VecNormalize around nothing but spaces."""
    spaces_only: gymnasium.Env[object, object] = gymnasium.Env()
    spaces_only.observation_space = source_space(model.observation_space, arrays)
    spaces_only.action_space = model.action_space
    try:
        return frozen_from_arrays(DummyVecEnv([lambda: spaces_only]), arrays)
    except ValueError as error:
        raise ValueError(
            f"The statistics of the model's file do not fit the model: {error} Where a wrapper above VecNormalize "
            "changes observations (VecFrameStack), raw observations are not enough: use model.predict in that "
            "environment, made by agents.load(path, env=...)."
        ) from error


def _equal_but_for_freezing(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[name], other[name]) for name in one if name != "norm_reward"
    )
