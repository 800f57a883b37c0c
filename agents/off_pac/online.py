"""Linear Off-PAC beside a running environment: one update for each transition, as it comes.

Two loops do the same. ``run`` drives any vector environment and its callbacks. ``run_single`` drives the one
environment inside a plain DummyVecEnv directly when nobody watches the steps: the copies that the vector interface
makes cost more than the update. The tests hold them to the same weights, bit for bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from agents.off_pac.actors import make_actor
from agents.off_pac.behavior.base import ContinuousBehavior
from agents.off_pac.behavior.mixture import DiscreteMixture
from agents.off_pac.learner import LinearLearner, StepSizes
from agents.off_pac.linear_policy import LinearPolicy

if TYPE_CHECKING:
    from agents.off_pac.off_pac import OffPAC


class OnlineRun:
    """One call of ``learn`` with a linear policy.

    Args:
        model: the algorithm; its counters, logger and last observations are used and kept up to date.
        learner: weights and traces.
        total_timesteps: where to stop.
        log_interval: episodes between two log entries, None for none.
    """

    def __init__(self, model: OffPAC, learner: LinearLearner, total_timesteps: int, log_interval: int | None) -> None:
        assert isinstance(model.policy, LinearPolicy)
        self.model = model
        self.policy = model.policy
        self.features = model.policy.feature_map
        self.learner = learner
        self.total_timesteps = total_timesteps
        self.log_interval = log_interval
        self.gamma = model.gamma
        self.regularization = learner.settings.regularization
        for env, starts in enumerate(model._last_episode_starts):  # type: ignore[arg-type]
            if starts:
                learner.reset_trace(env)

    def run(self, env: VecEnv, callback: BaseCallback) -> None:
        """Step, call back and learn until the budget is used up or a callback says stop."""
        model, learner = self.model, self.learner
        total_timesteps = self.total_timesteps
        actor = make_actor(model.behavior, model.action_space, self.policy)
        features = [self.features(observation) for observation in model._last_obs]  # type: ignore[union-attr]
        while model.num_timesteps < self.total_timesteps:
            callback.on_rollout_start()
            outputs = [learner.predict(x) for x in features]
            watched = model.raw_observations() if model.behavior.uses_observations else None
            actions, clipped_actions, ratios, scores = actor.decide(watched, outputs, model.generator)
            new_obs, rewards, dones, infos = env.step(clipped_actions)
            model.num_timesteps += env.num_envs
            callback.update_locals(locals())
            continue_training = callback.on_step()
            if self.policy.table() is not learner.table:
                raise AssertionError("the policy's table must not change its place while a run uses it")
            model._update_info_buffer(infos, dones)

            sizes = self._step_sizes()
            following = [self.features(observation) for observation in new_obs]
            corrections = []
            for i, (reward, done, info) in enumerate(zip(rewards.tolist(), dones.tolist(), infos, strict=True)):
                terminated = done and not info.get("TimeLimit.truncated", False)
                # Behind an episode's end new_obs is the next episode's first observation.
                next_x = self.features(info["terminal_observation"]) if done else following[i]
                discount = 0.0 if terminated else self.gamma
                corrections.append(
                    learner.evaluate(i, features[i], outputs[i], scores[i], ratios[i], reward, discount, next_x)
                )
                model.ratio_statistics.add(ratios[i])
            self._apply(corrections, sizes)
            model._n_updates += env.num_envs
            features = following
            model.remember_observations(new_obs, dones)
            model._update_current_progress_remaining(model.num_timesteps, model._total_timesteps)
            for i in np.flatnonzero(dones).tolist():
                learner.reset_trace(i)
                self._count_episode()
            if not continue_training:
                return
            callback.on_rollout_end()

    def fits_single(self, env: VecEnv) -> TypeGuard[DummyVecEnv]:
        """Whether ``run_single`` can take over: one environment in a plain DummyVecEnv.

        Discrete actions need a mixture of uniform and target policy as behavior, Box actions take any.
        """
        # A subclass may do anything in its step.
        plain = type(env) is DummyVecEnv and env.num_envs == 1 and not isinstance(env.observation_space, spaces.Dict)
        return plain and isinstance(self.model.behavior, DiscreteMixture | ContinuousBehavior)

    def _apply(self, corrections: list[tuple[Any, ...]], sizes: StepSizes) -> None:
        """Change the weights, after every error has been computed from the old ones."""
        if self.regularization:
            self.learner.regularize(len(corrections) * sizes.secondary * self.regularization)
        for correction in corrections:
            self.learner.apply(correction, sizes)

    def run_single(self, venv: DummyVecEnv) -> None:
        """The same for one environment, without callbacks; see ``fits_single``."""
        model, learner = self.model, self.learner
        decide = make_actor(model.behavior, model.action_space, self.policy).decide_one
        env, represent, gamma = venv.envs[0], self.features, self.gamma
        dtype = venv.observation_space.dtype
        generator, add_ratio = model.generator, model.ratio_statistics.add
        constant = model.constant_step_sizes
        sizes = self._step_sizes()
        observation: Any = model._last_obs[0]  # type: ignore[index]
        reward, done, info = np.float32(0.0), False, venv.buf_infos[0]
        x = represent(observation)
        try:
            while model.num_timesteps < self.total_timesteps:
                outputs = learner.predict(x)
                action, rho, score = decide(observation, outputs, generator)
                observation, given_reward, terminated, truncated, info = env.step(action)
                observation = np.asarray(observation, dtype=dtype)
                reward, done = np.float32(given_reward), terminated or truncated
                model.num_timesteps += 1
                if not constant:
                    sizes = self._step_sizes()
                next_x = represent(observation)
                discount = 0.0 if terminated else gamma
                correction = learner.evaluate(0, x, outputs, score, rho, float(reward), discount, next_x)
                add_ratio(rho)
                if self.regularization:
                    learner.regularize(sizes.secondary * self.regularization)
                learner.apply(correction, sizes)
                model._n_updates += 1
                info["TimeLimit.truncated"] = truncated and not terminated
                if done:
                    info["terminal_observation"] = observation
                    observation, venv.reset_infos[0] = env.reset()
                    observation = np.asarray(observation, dtype=dtype)
                    next_x = represent(observation)
                    learner.reset_trace(0)
                    model._update_info_buffer([info], np.array([True]))
                    model._update_current_progress_remaining(model.num_timesteps, model._total_timesteps)
                    self._count_episode()
                elif not constant:
                    model._update_current_progress_remaining(model.num_timesteps, model._total_timesteps)
                x = next_x
        finally:
            # Leave the vector environment and the model as if every step had gone through them.
            venv.buf_rews[0], venv.buf_dones[0], venv.buf_infos[0] = reward, done, info
            venv._save_obs(0, observation)
            model.remember_observations(venv._obs_from_buf(), np.array([done]))
            model._update_current_progress_remaining(model.num_timesteps, model._total_timesteps)

    def _step_sizes(self) -> StepSizes:
        """The three step sizes of now, each divided by the number of active features where the policy asks for it."""
        divisor = self.policy.step_size_divisor
        actor, critic, secondary = self.model.learning_rates()
        return StepSizes(actor / divisor, critic / divisor, secondary / divisor)

    def _count_episode(self) -> None:
        self.model._episode_num += 1
        if self.log_interval is not None and self.model._episode_num % self.log_interval == 0:
            self.model.dump_logs()
