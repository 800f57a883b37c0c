"""The loop beside a running environment: one update for each transition, as it comes.

Two loops do the same. ``run`` drives any vector environment and its callbacks. ``run_single`` drives the one
environment inside a plain DummyVecEnv directly when nobody watches the steps: the copies that the vector interface
makes cost more than the update of a linear agent. The tests hold them to the same weights, bit for bit; only what is
put off on binary features (the natural gradient, TDRC's shrinking) rounds differently, as it is brought into the table
when someone looks at it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, TypeGuard

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback, ConvertCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from agents.online.algorithm import OnlineAlgorithm
from agents.online.unusable import unusable_observations, unusable_rewards, unusable_step


class OnlineRun(ABC):
    """One call of ``learn``. A subclass says how to act and to learn; it remembers s and what was decided there.

    Args:
        model: the algorithm; its counters, logger and last observations are used and kept up to date.
        total_timesteps: where to stop.
        log_interval: episodes between two log entries, None for none.
    """

    def __init__(self, model: OnlineAlgorithm, total_timesteps: int, log_interval: int | None) -> None:
        self.model = model
        self.total_timesteps = total_timesteps
        self.log_interval = log_interval

    # any vector environment

    @abstractmethod
    def begin(self, observations: Any) -> None:
        """Start from the observations [n, ...] that the environments show."""

    @abstractmethod
    def decide(self) -> tuple[NDArray, NDArray]:
        """[n, ...] what the behavior policy chose, and what the environments are to execute."""

    @abstractmethod
    def learn(self, new_obs: Any, rewards: NDArray, dones: NDArray, infos: list[dict[str, Any]]) -> None:
        """Update from n transitions, with all errors from the weights as they were, and go on to ``new_obs``."""

    @abstractmethod
    def restart(self, env: int) -> None:
        """An episode has begun in an environment."""

    def before_callback(self) -> dict[str, Any]:
        """Names and values that callbacks find among their locals as well."""
        return {}

    def settle(self) -> None:  # noqa: B027  (only lazy learners have something pending)
        """Bring the model's weights up to date, for callbacks to look at and to change."""

    def step(self, env: VecEnv, actions: Any) -> VecEnvStepReturn:
        """Let the environments execute actions."""
        return env.step(actions)

    def run(self, env: VecEnv, callback: BaseCallback) -> None:
        """Step, call back and learn until the budget is used up or a callback says stop."""
        model, total_timesteps = self.model, self.total_timesteps
        watched = is_watched(callback)
        self._refuse_unusable(model.raw_observations())
        self.begin(model._last_obs)
        while model.num_timesteps < total_timesteps:
            callback.on_rollout_start()
            actions, clipped_actions = self.decide()
            new_obs, rewards, dones, infos = self.step(env, clipped_actions)
            model.num_timesteps += env.num_envs
            # Of every step and nothing but it: in SB3's terms, a rollout is one step long.
            counts = {"num_collected_steps": 1, "num_collected_episodes": 0}
            callback.update_locals({**locals(), **counts, **self.before_callback(), "self": model})
            continue_training = callback.on_step()
            model._update_info_buffer(infos, dones)

            try:
                self.learn(new_obs, rewards, dones, infos)
            except ValueError as error:
                # What was learned from came through a normalization, and says neither where nor when.
                if (unusable := unusable_step(model, new_obs, rewards, dones, infos)) is not None:
                    self._forget_observations()
                    raise unusable from error
                raise
            model._n_updates += env.num_envs
            if watched:
                self.settle()
            model.remember_observations(new_obs, dones)
            model._update_current_progress_remaining(model.num_timesteps, model._total_timesteps)
            ended = np.flatnonzero(dones).tolist()
            for _ in ended:
                self._count_episode()
            # Only now: what is logged tells of the traces as they were.
            for i in ended:
                self.restart(i)
            if ended:
                self._refuse_unusable(model.raw_observations())
            if not continue_training:
                return
            callback.on_rollout_end()

    def _refuse_unusable(self, observations: Any) -> None:
        """Where an episode begins: later nothing tells when NaN or infinity came.

        Raises:
            ValueError: names the environment, its step and the place in the observation.
        """
        if (unusable := unusable_observations(observations, self.model.num_timesteps)) is not None:
            self._forget_observations()
            raise unusable

    def _forget_observations(self) -> None:
        """Let the next ``learn`` call begin with a reset: nothing can be learned from where the environment stands."""
        self.model._last_obs = None

    # one environment, without callbacks

    def begin_one(self, observation: NDArray) -> None:
        """As ``begin``, with one observation."""
        raise NotImplementedError

    def decide_one(self) -> Any:
        """As ``decide``: what the environment is to execute."""
        raise NotImplementedError

    def learn_one(self, observation: NDArray, reward: float, terminated: bool) -> None:
        """As ``learn``; ``observation`` is s', also behind an episode's end."""
        raise NotImplementedError

    def fits_single(self, env: VecEnv) -> TypeGuard[DummyVecEnv]:
        """Whether ``run_single`` can take over: one environment in a plain DummyVecEnv."""
        # A subclass may do anything in its step.
        return type(env) is DummyVecEnv and env.num_envs == 1 and not isinstance(env.observation_space, spaces.Dict)

    def run_single(self, venv: DummyVecEnv) -> None:
        """The same for one environment, without callbacks; see ``fits_single``."""
        model, env, total_timesteps = self.model, venv.envs[0], self.total_timesteps
        if model.num_timesteps >= total_timesteps:
            return
        dtype = venv.observation_space.dtype
        constant = model.constant_step_sizes
        decide, learn, step = self.decide_one, self.learn_one, env.step
        observation: Any = model._last_obs[0]  # type: ignore[index]
        # What stands in a vector environment is rounded to float32.
        rewards, done, info = venv.buf_rews, False, venv.buf_infos[0]
        unusable: ValueError | None = None
        self._refuse_unusable(model.raw_observations())
        self.begin_one(observation)
        try:
            while model.num_timesteps < total_timesteps:
                given, rewards[0], terminated, truncated, info = step(decide())
                observation = np.asarray(given, dtype=dtype)
                done = terminated or truncated
                model.num_timesteps += 1
                learn(observation, rewards.item(), terminated)
                model._n_updates += 1
                info["TimeLimit.truncated"] = truncated and not terminated
                if done:
                    info["terminal_observation"] = observation
                    given, venv.reset_infos[0] = env.reset()
                    observation = np.asarray(given, dtype=dtype)
                    self._refuse_unusable(observation[None])
                    model._update_info_buffer([info], np.array([True]))
                    model._update_current_progress_remaining(model.num_timesteps, model._total_timesteps)
                    self._count_episode()
                    self.restart(0)
                    self.begin_one(observation)
                elif not constant:
                    model._update_current_progress_remaining(model.num_timesteps, model._total_timesteps)
        except ValueError as error:
            # What was learned from it knows neither where nor when.
            now = model.num_timesteps
            unusable = unusable_rewards(rewards, now) or unusable_observations(observation[None], now)
            if unusable is not None:
                raise unusable from error
            raise
        finally:
            # Leave the vector environment and the model as if every step had gone through them.
            venv.buf_dones[0], venv.buf_infos[0] = done, info
            venv._save_obs(0, observation)
            model.remember_observations(venv._obs_from_buf(), np.array([done]))
            if unusable is not None:
                self._forget_observations()
            model._update_current_progress_remaining(model.num_timesteps, model._total_timesteps)

    def _count_episode(self) -> None:
        self.model._episode_num += 1
        if self.log_interval is not None and self.model._episode_num % self.log_interval == 0:
            self.model.dump_logs()


def is_watched(callback: BaseCallback) -> bool:
    """Whether anybody looks: SB3 makes a callback of None as well."""
    return not (isinstance(callback, ConvertCallback) and callback.callback is None)


def ended_for_good(done: bool, info: dict[str, Any]) -> bool:
    """Whether an episode terminated: no bootstrapping; one that was truncated goes on beyond what is seen."""
    return done and not info.get("TimeLimit.truncated", False)
