"""Callbacks, statistics and the logger in the calling process, fed with workers' events.

A callback that looks at single steps gets every step of a segment in a row: ``on_rollout_start``, ``on_step`` for each,
then ``on_rollout_end``. One that does not may say so with a class attribute ``per_step = False``: its
``on_rollout_end`` is then called with what arrived since the last call, and the workers send no single steps, which
costs most of their speed.
"""

from __future__ import annotations

import sys
import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch as th
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback, ProgressBarCallback
from stable_baselines3.common.utils import safe_mean

from agents.asynchronous.events import Progress, Steps

if TYPE_CHECKING:
    from agents.asynchronous.algorithm import AsynchronousAlgorithm


def looks_at_steps(callback: BaseCallback) -> bool:
    """Whether a callback, or one of a list, must be called for every step."""
    if isinstance(callback, CallbackList):
        return any(looks_at_steps(part) for part in callback.callbacks)
    if type(callback) is ConvertCallback:
        return callback.callback is not None
    if isinstance(callback, SegmentProgressBar):
        return False
    return bool(getattr(callback, "per_step", True))


def _count(callback: BaseCallback, num_timesteps: int) -> None:
    """Let a callback count the steps that SB3 lets it count in ``on_step``, which is not called."""
    callback.num_timesteps = num_timesteps
    if isinstance(callback, CallbackList):
        for part in callback.callbacks:
            _count(part, num_timesteps)


class SegmentProgressBar(ProgressBarCallback):
    """SB3's progress bar, moved by segments instead of steps."""

    per_step = False

    def _on_rollout_end(self) -> None:
        self.pbar.update(self.model.num_timesteps - self.pbar.n - self._counted_before)

    def _on_training_start(self) -> None:
        super()._on_training_start()
        # the bar counts this call's steps only
        self._counted_before = self.model.num_timesteps

    def _on_step(self) -> bool:
        return True


class Delivery:
    """Hands events on, in the order in which synchronous algorithms do.

    Args:
        model: whose callbacks, statistics and logger.
        callback: the initialized callback.
        total_timesteps: of this ``learn`` call, for the callbacks' locals.
        log_interval: segments between two dumps of the logger; None never dumps.
    """

    def __init__(
        self, model: AsynchronousAlgorithm, callback: BaseCallback, total_timesteps: int, log_interval: int | None
    ) -> None:
        self.model = model
        self.callback = callback
        self.every_step = looks_at_steps(callback)
        self._has_callback = not (type(callback) is ConvertCallback and callback.callback is None)
        self._total_timesteps = total_timesteps
        self._log_interval = log_interval
        self._segments = 0
        self._told = model.told() if self._has_callback else {}

    def deliver(self, event: Progress) -> bool:
        """Hand one event on; whether training shall go on."""
        model = self.model
        model.statistics_now = event.statistics
        try:
            return self._deliver(event)
        finally:
            model.statistics_now = None

    def _deliver(self, event: Progress) -> bool:
        model = self.model
        if event.steps is not None:
            if not self._deliver_steps(event, event.steps):
                return False
        else:
            model.num_timesteps += event.timesteps
            if self._has_callback:
                _count(self.callback, model.num_timesteps)
                infos = [{"episode": record} for record, _ in event.episodes if record is not None]
                self.callback.update_locals(
                    {"infos": infos, "total_timesteps": self._total_timesteps, "statistics": event.statistics}
                )
                self.callback.on_rollout_start()
                self.callback.on_rollout_end()
        model._episode_num += len(event.episodes)
        self._count_episodes(event)
        self._log(event)
        self._warn_of_changes()
        return True

    def _warn_of_changes(self) -> None:
        """Say once that a callback set what the workers will not hear of before the next ``learn`` call."""
        changed = [name for name, value in self._told.items() if getattr(self.model, name) != value]
        if not changed:
            return
        before = ", ".join(f"{name}={self._told[name]!r}" for name in changed)
        warnings.warn(
            f"A callback has changed {', '.join(changed)} of the model, but the workers go on with what they were told "
            f"when learn began ({before}); the change takes effect at the next learn call. Call learn once for every "
            "value, with reset_num_timesteps=False, or give learning_rate as a schedule.",
            UserWarning,
            stacklevel=2,
        )
        self._told = {}

    def _deliver_steps(self, event: Progress, steps: Steps) -> bool:
        model, callback = self.model, self.callback
        n_steps = len(steps.rewards)
        n_envs = event.timesteps // n_steps
        # tensors, as A2C's locals have them
        extra = {name: th.from_numpy(array) for name, array in steps.extra.items()}
        callback.on_rollout_start()
        for t in range(n_steps):
            model.num_timesteps += n_envs
            new = steps.new_observations
            found: dict[str, Any] = {name: values[t] for name, values in extra.items()}
            found.update(
                self=model,
                env=model.env,
                new_obs={key: rows[t] for key, rows in new.items()} if isinstance(new, dict) else new[t],
                actions=steps.actions[t],
                clipped_actions=steps.clipped_actions[t],
                rewards=steps.rewards[t],
                dones=steps.dones[t],
                infos=steps.infos[t],
                total_timesteps=self._total_timesteps,
                n_steps=t,
                worker=event.worker,
            )
            callback.update_locals(found)
            if not callback.on_step():
                model.count_episodes(steps.infos[t], steps.dones[t])
                return False
            model.count_episodes(steps.infos[t], steps.dones[t])
        callback.on_rollout_end()
        return True

    def _count_episodes(self, event: Progress) -> None:
        if event.steps is not None:
            return
        model = self.model
        assert model.ep_info_buffer is not None
        assert model.ep_success_buffer is not None
        for record, success in event.episodes:
            if record is not None:
                model.ep_info_buffer.append(record)
            if success is not None:
                model.ep_success_buffer.append(success)

    def _log(self, event: Progress) -> None:
        model = self.model
        before, self._segments = self._segments, self._segments + event.segments
        model.remember_updates(event.segments)
        if not self._log_interval or before // self._log_interval == self._segments // self._log_interval:
            return
        model.dump_logs(self._segments)


def record_statistics(model: AsynchronousAlgorithm, segments: int) -> None:
    """Hand the logger what A2C hands it, and what the learner knows of the event that is being delivered.

    Args:
        model: whose logger.
        segments: delivered by this ``learn`` call; 0 leaves their number out.
    """
    logger = model.logger
    assert model.ep_info_buffer is not None
    assert model.ep_success_buffer is not None
    seconds = max((time.time_ns() - model.start_time) / 1e9, sys.float_info.epsilon)
    if segments > 0:
        logger.record("time/iterations", segments, exclude="tensorboard")
    if model.logs_episodes:
        logger.record("time/episodes", model._episode_num, exclude="tensorboard")
    if len(model.ep_info_buffer) > 0 and len(model.ep_info_buffer[0]) > 0:
        logger.record("rollout/ep_rew_mean", safe_mean([record["r"] for record in model.ep_info_buffer]))
        logger.record("rollout/ep_len_mean", safe_mean([record["l"] for record in model.ep_info_buffer]))
    if len(model.ep_success_buffer) > 0:
        logger.record("rollout/success_rate", safe_mean(model.ep_success_buffer))
    logger.record("time/fps", int((model.num_timesteps - model._num_timesteps_at_start) / seconds))
    logger.record("time/time_elapsed", int(seconds), exclude="tensorboard")
    logger.record("time/total_timesteps", model.num_timesteps, exclude="tensorboard")
    logger.record("train/learning_rate", model.lr_schedule(model._current_progress_remaining))
    logger.record("train/n_updates", model._n_updates, exclude="tensorboard")
    statistics = model.statistics_now or {}
    for name, value in (statistics() if callable(statistics) else statistics).items():
        if np.isfinite(value):
            logger.record(name if "/" in name else f"train/{name}", value)
