"""Off-PAC from a fixed data set: linear policies go through it in order, deep ones draw from it as from replay."""

from __future__ import annotations

import dataclasses
import math
import time
import warnings
from collections import deque
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import MaybeCallback, TrainFreq
from stable_baselines3.common.utils import configure_logger

from agents.common.softmax_policy import softmax, softmax_score
from agents.off_pac.actors import GaussianActor
from agents.off_pac.behavior import ContinuousBehavior
from agents.off_pac.cloning import clone_behavior
from agents.off_pac.dataset import Dataset, as_dataset
from agents.off_pac.learner import LinearLearner, StepSizes
from agents.off_pac.linear_policy import LinearPolicy
from agents.off_pac.replay_buffers import (
    DictSegmentReplayBuffer,
    SegmentReplayBuffer,
    recorded,
    recorded_space,
)
from agents.off_pac.replayed import copy_target
from agents.online.run import is_watched

if TYPE_CHECKING:
    from agents.off_pac.off_pac import OffPAC


def learn_from_dataset(
    model: OffPAC,
    given: Any,
    n_epochs: int,
    callback: MaybeCallback,
    log_interval: int,
    tb_log_name: str,
    reset_num_timesteps: bool,
    progress_bar: bool,
) -> None:
    """What ``OffPAC.learn_from`` does; its arguments."""
    if n_epochs < 1 or log_interval < 1:
        raise ValueError(
            f"n_epochs={n_epochs} and log_interval={log_interval}, but both must be at least 1; use 1 or more."
        )
    dataset = as_dataset(given, model.observation_space, model.action_space)
    if dataset.log_behavior is None:
        warnings.warn(
            "The data set has no behavior_probabilities, so they are estimated by behavior cloning; importance "
            "ratios are "
            "only as good as that estimate. Record the probabilities with the actions where you can.",
            stacklevel=3,
        )
        estimate = clone_behavior(dataset, model.observation_space, model.action_space, model.generator)
        dataset = dataclasses.replace(dataset, log_behavior=estimate)
    _begin(model, n_epochs * len(dataset), tb_log_name, reset_num_timesteps)
    total_timesteps = model._total_timesteps
    callback = model._init_callback(callback, progress_bar)
    callback.on_training_start(locals(), globals())
    if model.is_linear:
        model.clear_traces()
        # The model's own for as long as it lasts: what is saved and logged meanwhile is asked of it.
        model._learner = learner = model.make_learner(1)
        try:
            learn_in_order(model, learner, dataset, n_epochs, callback, log_interval)
        finally:
            learner.flush()
            model.largest_reward = learner.largest_reward
            model._learner = None
            model.clear_traces()
    else:
        learn_from_draws(model, dataset, n_epochs, callback, log_interval)
    callback.on_training_end()


def _begin(model: OffPAC, rows: int, tb_log_name: str, reset_num_timesteps: bool) -> None:
    """What ``_setup_learn`` does, without an environment."""
    model.start_time = time.time_ns()
    if model.ep_info_buffer is None or reset_num_timesteps:
        model.ep_info_buffer = deque(maxlen=model._stats_window_size)
        model.ep_success_buffer = deque(maxlen=model._stats_window_size)
    if reset_num_timesteps:
        model.num_timesteps = 0
        model._episode_num = 0
    model._num_timesteps_at_start = model.num_timesteps
    model._total_timesteps = model.num_timesteps + rows
    model._update_current_progress_remaining(model.num_timesteps, model._total_timesteps)
    model.ratio_statistics.restart()
    if not model._custom_logger:
        model._logger = configure_logger(model.verbose, model.tensorboard_log, tb_log_name, reset_num_timesteps)


def learn_in_order(
    model: OffPAC, learner: LinearLearner, dataset: Dataset, n_epochs: int, callback: BaseCallback, log_interval: int
) -> None:
    """One update for each row, from the first to the last, ``n_epochs`` times."""
    policy = cast(LinearPolicy, model.policy)
    represent, divisor = policy.feature_map, policy.step_size_divisor
    normalizer = model.get_vec_normalize_env()
    observations, following, rewards = dataset.observations, dataset.next_observations, dataset.rewards
    if normalizer is not None:
        observations, following = normalizer.normalize_obs(observations), normalizer.normalize_obs(following)
        rewards = normalizer.normalize_reward(rewards).astype(np.float64)
    discrete = isinstance(model.action_space, spaces.Discrete)
    log_behavior = cast("np.ndarray", dataset.log_behavior)
    if log_behavior.ndim == 2:
        log_behavior = log_behavior[np.arange(len(dataset)), dataset.actions]
    gaussian = None
    if not discrete:
        gaussian = GaussianActor(cast(ContinuousBehavior, model.behavior), cast(spaces.Box, model.action_space), policy)
    watched = is_watched(callback)
    for _ in range(n_epochs):
        learner.reset_trace(0)
        for row in range(len(dataset)):
            x = represent(observations[row])
            outputs = learner.predict(x)
            action = dataset.actions[row]
            if gaussian is None:
                target = softmax(outputs[:-2])
                rho = target[int(action)] / math.exp(log_behavior[row])
                score = softmax_score(target, int(action))
            else:
                log_density, score = gaussian.judge(action, outputs)
                rho = math.exp(log_density - log_behavior[row])
            terminated = bool(dataset.terminations[row])
            discount = 0.0 if terminated else model.gamma
            sizes = StepSizes(*(rate / divisor for rate in model.learning_rates()))
            correction = learner.evaluate(
                0, x, outputs, score, rho, float(rewards[row]), discount, represent(following[row])
            )
            if learner.settings.regularization:
                learner.regularize(sizes.secondary * learner.settings.regularization)
            learner.apply(correction, sizes)
            model.ratio_statistics.add(rho)
            if watched:
                learner.flush()
            if not _advance(model, 1, callback, log_interval):
                return
            # Only now: what is logged tells of the traces as they were.
            if terminated or dataset.truncations[row]:
                learner.reset_trace(0)


def learn_from_draws(model: OffPAC, dataset: Dataset, n_epochs: int, callback: BaseCallback, log_interval: int) -> None:
    """As many updates as batches make up ``n_epochs`` data sets."""
    own, model.replay_buffer = model.replay_buffer, filled_buffer(model, dataset)
    frequency = cast(TrainFreq, model.train_freq).frequency
    between_copies = max(model.target_update_interval // frequency, 1) if model.target_update_interval > 0 else 0
    rows = model.batch_size * int(model.n_steps)
    try:
        for step in range(1, math.ceil(n_epochs * len(dataset) / rows) + 1):
            model.train(1, model.batch_size)
            if between_copies and step % between_copies == 0:
                copy_target(model)
            if not _advance(model, min(rows, model._total_timesteps - model.num_timesteps), callback, log_interval):
                return
    finally:
        model.replay_buffer = own


def filled_buffer(model: OffPAC, dataset: Dataset) -> SegmentReplayBuffer | DictSegmentReplayBuffer:
    """A replay buffer that holds the data set and nothing else."""
    is_dict = isinstance(model.observation_space, spaces.Dict)
    buffer_class: Any = DictSegmentReplayBuffer if is_dict else SegmentReplayBuffer
    n = len(dataset)
    buffer = buffer_class(n, model.observation_space, recorded_space(model.action_space), device=model.device, n_envs=1)
    for stored, given in (
        (buffer.observations, dataset.observations),
        (buffer.next_observations, dataset.next_observations),
    ):
        if isinstance(stored, dict):
            for key, part in stored.items():
                part[:, 0] = given[key].reshape(part[:, 0].shape)
        else:
            stored[:, 0] = given.reshape(stored[:, 0].shape)
    log_behavior = cast("np.ndarray", dataset.log_behavior)
    if isinstance(model.action_space, spaces.Discrete) and log_behavior.ndim == 1:
        # What is unknown is NaN, and goes without bias correction.
        rows = np.full((n, int(model.action_space.n)), np.nan)
        rows[np.arange(n), dataset.actions] = log_behavior
        log_behavior = rows
    buffer.actions[:, 0] = recorded(dataset.actions, log_behavior)
    buffer.rewards[:, 0] = dataset.rewards
    buffer.dones[:, 0] = dataset.terminations | dataset.truncations
    buffer.timeouts[:, 0] = dataset.truncations & ~dataset.terminations
    buffer.full = True
    return cast(SegmentReplayBuffer | DictSegmentReplayBuffer, buffer)


def _advance(model: OffPAC, rows: int, callback: BaseCallback, log_interval: int) -> bool:
    """Count rows, call back and log; whether to go on."""
    before = model.num_timesteps
    model.num_timesteps += rows
    if model.is_linear:
        model._n_updates += rows
    model._update_current_progress_remaining(model.num_timesteps, model._total_timesteps)
    callback.update_locals(locals())
    go_on = callback.on_step()
    if before // log_interval != model.num_timesteps // log_interval:
        model.dump_logs()
    return go_on
