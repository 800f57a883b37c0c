"""Behavior cloning: an estimate of b(.|s) for data that was recorded without probabilities.

A small policy of Stable-Baselines3 is fitted to the data's actions by maximum likelihood; the epoch with the best
likelihood on a tenth of the data that is held out wins. Importance ratios inherit every error of the estimate, which is
why whoever calls this is warned.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticCnnPolicy, ActorCriticPolicy, MultiInputActorCriticPolicy
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.utils import obs_as_tensor

from agents.off_pac.dataset import Dataset

SMALLEST_EPOCHS = 20
SMALLEST_UPDATES = 2000
BATCH_SIZE = 256
LEARNING_RATE = 2e-3
UNIFORM_SHARE = 0.01
"""Mixed into estimated probabilities of Discrete actions, so that no ratio is without bound."""


def clone_behavior(
    dataset: Dataset, observation_space: spaces.Space, action_space: spaces.Space, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Estimated log b: [N, n_actions] for Discrete actions, [N] of the action taken for Box ones.

    Args:
        dataset: transitions.
        observation_space, action_space: the environment's.
        generator: the only source of randomness.
    """
    observations, observation_space = _standardized(dataset.observations, observation_space)
    actions, log_scale = dataset.actions, 0.0
    if isinstance(action_space, spaces.Box):
        mean, deviation = actions.mean(axis=0), actions.std(axis=0) + 1e-6
        actions, log_scale = (actions - mean) / deviation, float(np.log(deviation).sum())
        action_space = spaces.Box(-np.inf, np.inf, mean.shape, dtype=np.float32)
    with th.random.fork_rng(devices=[]):
        th.manual_seed(int(generator.integers(2**31)))
        policy = _policy_class(observation_space)(observation_space, action_space, lambda _: LEARNING_RATE)
        _fit(policy, observations, actions, generator)
    policy.set_training_mode(False)
    parts = []
    with th.no_grad():
        for rows in np.array_split(np.arange(len(dataset)), max(len(dataset) // 4096, 1)):
            distribution = policy.get_distribution(_tensors(observations, rows))
            if isinstance(action_space, spaces.Discrete):
                estimate = distribution.distribution.probs.numpy().astype(np.float64)  # type: ignore[union-attr]
                parts.append(np.log((1.0 - UNIFORM_SHARE) * estimate + UNIFORM_SHARE / estimate.shape[1]))
            else:
                taken = th.as_tensor(actions[rows], dtype=th.float32)
                parts.append(distribution.log_prob(taken).numpy().astype(np.float64) - log_scale)
    return np.concatenate(parts)


def _fit(policy: ActorCriticPolicy, observations: Any, actions: NDArray, generator: np.random.Generator) -> None:
    """Maximum likelihood, keeping the weights that do best on what was held out."""
    order = generator.permutation(len(actions))
    held_out, train = np.split(order, [max(len(order) // 10, 1)])
    train = train if train.size else held_out
    targets = th.as_tensor(actions) if actions.ndim == 1 else th.as_tensor(actions, dtype=th.float32)
    best, best_weights = np.inf, copy.deepcopy(policy.state_dict())
    n_batches = max(len(train) // BATCH_SIZE, 1)
    for _ in range(max(SMALLEST_EPOCHS, SMALLEST_UPDATES // n_batches)):
        policy.set_training_mode(True)
        for rows in np.array_split(generator.permutation(train), n_batches):
            loss = -policy.get_distribution(_tensors(observations, rows)).log_prob(targets[rows]).mean()
            policy.optimizer.zero_grad()
            loss.backward()
            policy.optimizer.step()
        policy.set_training_mode(False)
        with th.no_grad():
            rows = held_out[:4096]
            score = -policy.get_distribution(_tensors(observations, rows)).log_prob(targets[rows]).mean().item()
        if score < best:
            best, best_weights = score, copy.deepcopy(policy.state_dict())
    policy.load_state_dict(best_weights)


def _policy_class(space: spaces.Space) -> type[ActorCriticPolicy]:
    if isinstance(space, spaces.Dict):
        return MultiInputActorCriticPolicy
    return ActorCriticCnnPolicy if is_image_space(space) else ActorCriticPolicy


def _standardized(observations: Any, space: spaces.Space) -> tuple[Any, spaces.Space]:
    """Vectors with mean 0 and deviation 1; everything else as it is."""
    if not isinstance(space, spaces.Box) or is_image_space(space):
        return observations, space
    values = observations.astype(np.float64)
    values = (values - values.mean(axis=0)) / (values.std(axis=0) + 1e-6)
    return values.astype(np.float32), spaces.Box(-np.inf, np.inf, space.shape, dtype=np.float32)


def _tensors(observations: Any, rows: NDArray[np.intp]) -> Any:
    if isinstance(observations, dict):
        return obs_as_tensor({key: value[rows] for key, value in observations.items()}, th.device("cpu"))
    return obs_as_tensor(observations[rows], th.device("cpu"))
