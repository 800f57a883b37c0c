"""From one model to another one with other hyperparameters: everything that was learned, nothing that was set.

A model is made anew with its new hyperparameters, because its constructor alone knows what depends on them: a rollout
buffer on `n_steps`, schedules on `learning_rate` and `clip_range`. Then it takes over parameters, optimizer moments,
counters, normalization statistics and replay buffer of the old one.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.save_util import recursive_getattr

from agents.persistence.environments import give_statistics
from agents.persistence.statistics import statistics_of

# of SB3's algorithms: steps, updates, episodes, and calls on which a target network waits
_COUNTERS = ("num_timesteps", "_n_updates", "_episode_num", "_n_calls")


def carry_over(old: BaseAlgorithm, new: BaseAlgorithm) -> None:
    """Let a new model go on from where an old one is.

    Optimizers keep the settings of the new model (learning rate, betas, ...) and take over the old one's moments.

    Args:
        old: a model with the structure of the new one, see `structure_of`.
        new: just made.
    """
    own = new.get_parameters()
    learned = {name: _with_options_of(own.get(name), values) for name, values in old.get_parameters().items()}
    new.set_parameters(learned, exact_match=True, device=new.device)
    for name, variable in _learned_variables(old).items():
        recursive_getattr(new, name).data.copy_(variable.data)
    for name in _COUNTERS:
        if hasattr(old, name):
            setattr(new, name, getattr(old, name))


def carry_statistics(old: BaseAlgorithm, new: BaseAlgorithm) -> None:
    """Let normalization go on from the old model's statistics; the discount, which may have changed, stays the new one.

    Args:
        old: loaded with `agents.load`.
        new: with its training environments.
    """
    arrays, venv = statistics_of(old), new.get_vec_normalize_env()
    if arrays is not None and venv is not None:
        gamma = venv.gamma
        give_statistics(venv, arrays)
        venv.gamma = gamma


def structure_of(model: BaseAlgorithm) -> dict[str, Any]:
    """What two models must have in common for one to go on from the other.

    Shapes of parameters, kinds of optimizers, learned variables, the number of environments, what is normalized, and
    the arrays of the replay buffer.
    """
    found: dict[str, Any] = {}
    for name, values in model.get_parameters().items():
        if _is_optimizer(values):
            found[name] = [sorted(group) for group in values["param_groups"]]
        else:
            found[name] = {key: tuple(np.shape(value)) for key, value in values.items()}
    found["variables"] = {name: tuple(variable.shape) for name, variable in _learned_variables(model).items()}
    venv = model.get_env()
    found["n_envs"] = None if venv is None else venv.num_envs
    normalized = model.get_vec_normalize_env()
    found["normalized"] = None if normalized is None else (normalized.norm_obs, normalized.norm_reward)
    buffer = model.replay_buffer if isinstance(model, OffPolicyAlgorithm) else None
    arrays = {} if buffer is None else {k: v.shape for k, v in vars(buffer).items() if isinstance(v, np.ndarray)}
    found["replay_buffer"] = (type(buffer), arrays)
    return found


def _learned_variables(model: BaseAlgorithm) -> dict[str, torch.Tensor]:
    """Tensors beside the networks that are learned, such as SAC's temperature; one that is set requires no gradient."""
    names = model._get_torch_save_params()[1]
    found = {name: recursive_getattr(model, name) for name in names}
    return {name: value for name, value in found.items() if isinstance(value, torch.Tensor) and value.requires_grad}


def _is_optimizer(values: object) -> bool:
    return isinstance(values, Mapping) and {"state", "param_groups"} <= set(values)


def _with_options_of(new: Any, old: Any) -> Any:
    return {**old, "param_groups": new["param_groups"]} if _is_optimizer(old) and _is_optimizer(new) else old
