"""DPG beside a running environment: what is decided and learned in each step of ``agents.online.run``."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from agents.dpg.behavior import Behavior
from agents.dpg.linear_learner import LinearLearner, StepSizes
from agents.dpg.linear_policy import LinearPolicy
from agents.online.final_observations import final_observations
from agents.online.run import OnlineRun, ended_for_good

if TYPE_CHECKING:
    from agents.dpg.dpg import DPG

FloatArray = NDArray[np.float64]


class BehaviorRun(OnlineRun):
    """One call of ``learn``: acting. A subclass knows the means and learns.

    The on-policy variant needs a' before it can learn from s; a' is what is then executed, also across calls of
    ``learn``.

    Args:
        model: the algorithm.
        total_timesteps: where to stop.
        log_interval: episodes between two log entries, None for none.
    """

    model: DPG

    def __init__(self, model: DPG, total_timesteps: int, log_interval: int | None) -> None:
        super().__init__(model, total_timesteps, log_interval)
        self._losses = model.losses
        self._sarsa = model.variant == "on-policy"
        space = cast(spaces.Box, model.action_space)
        self._shape, self._dtype = (-1, *space.shape), space.dtype
        self._low = space.low.astype(np.float64).ravel()
        self._high = space.high.astype(np.float64).ravel()
        self._half_width = 0.5 * (self._high - self._low)
        self._constant = model.constant_step_sizes

    @property
    def _behavior(self) -> Behavior:
        """Who acts now: a callback may have replaced the noise or the policy."""
        return self.model.current_behavior()

    @abstractmethod
    def _means(self, observations: Any) -> FloatArray:
        """[n, m] mu of n observations, as executed, in [-1, 1]."""

    @abstractmethod
    def _means_here(self) -> FloatArray:
        """[n, m] mu of the observations that the run stands at."""

    def _act(self) -> FloatArray:
        """[n, m] actions in [-1, 1]: those chosen before, or new ones of the behavior policy."""
        chosen, self.model.chosen_actions = self.model.chosen_actions, None
        if chosen is not None and not np.isnan(chosen).any():
            return chosen
        behavior = self._behavior
        watched = self.model.raw_observations() if behavior.uses_observations else None
        if chosen is None:
            return behavior.act(watched, self._means_here())
        begun = np.flatnonzero(np.isnan(chosen).any(axis=1))
        means = self._means_here()
        if behavior.uses_observations:
            # Always of all environments: a callable may count on as many rows.
            chosen[begun] = behavior.act(watched, means)[begun]
        else:
            chosen[begun] = behavior.act(None, means[begun], begun)
        return chosen

    def _executable(self, scaled: FloatArray) -> NDArray:
        """[n, ...] in environment units."""
        if np.isnan(scaled).any():
            raise self._not_a_number(scaled)
        # Rounding may carry 1 beyond the upper edge, as -0.1 + 0.2 * 2 > 0.3.
        units = np.minimum(self._low + self._half_width * (scaled + 1.0), self._high)
        return units.reshape(self._shape).astype(self._dtype)

    @abstractmethod
    def _not_a_number(self, scaled: FloatArray) -> Exception:
        """The error of actions [n, m] that hold NaN: of mu(s), or of the noise."""

    def decide(self) -> tuple[NDArray, NDArray]:
        """Let the behavior policy act."""
        self._scaled = self._act()
        executable = self._executable(self._scaled)
        return executable, executable

    def step(self, env: VecEnv, actions: Any) -> VecEnvStepReturn:
        """Where a' is asked of somebody who looks at the environment's own s', that is kept."""
        if self._sarsa and self._behavior.uses_observations:
            return self.model.step_keeping_final_observations(actions)
        return super().step(env, actions)

    def before_callback(self) -> dict[str, Any]:
        """DDPG's names for the actions in [-1, 1], of the space's shape and type, and for the noise."""
        shown = self._scaled.reshape(self._shape).astype(self._dtype)
        return {"buffer_actions": shown, "action_noise": self.model.action_noise}

    def _choose_next(self, final: Any, dones: NDArray) -> FloatArray:
        """[n, m] a' at s'; kept to be executed where the episode goes on."""
        behavior = self._behavior
        watched = self.model.raw_final_observations(final, dones) if behavior.uses_observations else None
        self.model.chosen_actions = chosen = behavior.act(watched, self._means(final))
        return chosen

    def restart(self, env: int) -> None:
        """Noise begins anew, and an action that was chosen for behind the end is forgotten."""
        model = self.model
        model.current_behavior()
        if model.action_noise is not None:
            # A VectorizedActionNoise, which stands for several environments, takes indices.
            model.action_noise.reset(**({"indices": [env]} if model.n_envs > 1 else {}))
        if model.chosen_actions is not None:
            model.chosen_actions[env] = np.nan


class LinearRun(BehaviorRun):
    """With a linear policy.

    Args:
        model: the algorithm.
        learner: weights.
        total_timesteps: where to stop.
        log_interval: episodes between two log entries, None for none.
    """

    def __init__(self, model: DPG, learner: LinearLearner, total_timesteps: int, log_interval: int | None) -> None:
        assert isinstance(model.policy, LinearPolicy)
        super().__init__(model, total_timesteps, log_interval)
        self.policy = model.policy
        self.features = model.policy.feature_map
        self.learner = learner
        self.gamma = model.gamma
        self._sizes = self._step_sizes()
        self._edges = self._low.tolist(), self._half_width.tolist(), self._high.tolist()
        shape = cast(spaces.Box, model.action_space).shape
        self._space_shape = None if shape == self._low.shape else shape

    def settle(self) -> None:
        """Carry out what the natural gradient has put off."""
        self.learner.flush()

    def begin(self, observations: Any) -> None:
        """Features of the first observations."""
        self._features = [self.features(observation) for observation in observations]

    def _not_a_number(self, scaled: FloatArray) -> Exception:
        return self.learner.divergence(0.0, [part for row in self._outputs for part in row], scaled.ravel().tolist())

    def _means(self, observations: Any) -> FloatArray:
        learner = self.learner
        return np.array([learner.mean(learner.predict(self.features(observation))) for observation in observations])

    def _means_here(self) -> FloatArray:
        return np.array([self.learner.mean(row) for row in self._outputs])

    def _act(self) -> FloatArray:
        self._outputs = [self.learner.predict(x) for x in self._features]
        return super()._act()

    def learn(self, new_obs: Any, rewards: NDArray, dones: NDArray, infos: list[dict[str, Any]]) -> None:
        """One update for each environment."""
        learner = self.learner
        if self.policy.table() is not learner.table:
            raise AssertionError("the policy's table must not change its place while a run uses it")
        sizes = self._step_sizes()
        final = final_observations(new_obs, dones, infos)
        next_actions = self._choose_next(final, dones).tolist() if self._sarsa else [None] * len(infos)
        following = [self.features(observation) for observation in final]
        corrections = []
        for i, (reward, done, info) in enumerate(zip(rewards.tolist(), dones.tolist(), infos, strict=True)):
            discount = 0.0 if ended_for_good(done, info) else self.gamma
            action, next_action = self._scaled[i].tolist(), next_actions[i]
            corrections.append(
                learner.evaluate(
                    self._features[i], self._outputs[i], action, reward, discount, following[i], next_action, sizes
                )
            )
        # Only now, after every error has been computed from the old weights.
        if learner.natural_gradient:
            learner.advance_actor(len(corrections) * sizes.actor)
        for correction in corrections:
            learner.apply(correction)
            self._losses.add(correction.mean_value, correction.delta * correction.delta)
        for i in np.flatnonzero(dones).tolist():
            following[i] = self.features(new_obs[i])
        self._features = following

    def begin_one(self, observation: NDArray) -> None:
        """Features of the first observation."""
        self._act_one = self._behavior.act_one
        self._observation = observation
        self._x = self.features(observation)

    def decide_one(self) -> Any:
        """Let the behavior policy act; numbers of one action are cheaper in a list than in an array."""
        self._output = self.learner.predict(self._x)
        chosen, self.model.chosen_actions = self.model.chosen_actions, None
        if chosen is None or np.isnan(chosen).any():
            self._action = self._act_one(self._observation, self.learner.mean(self._output))
        else:
            self._action = chosen[0].tolist()
        total = sum(self._action)
        # NaN, which a sum of numbers in [-1, 1] keeps, is not equal to itself.
        if total != total:
            raise self.learner.divergence(0.0, self._output, self._action)
        executable = np.array(list(map(_in_units, self._action, *self._edges)), dtype=self._dtype)
        return executable if self._space_shape is None else executable.reshape(self._space_shape)

    def learn_one(self, observation: NDArray, reward: float, terminated: bool) -> None:
        """One update."""
        learner = self.learner
        sizes = self._sizes if self._constant else self._step_sizes()
        next_x = self.features(observation)
        next_action = None
        if self._sarsa:
            next_action = self._act_one(observation, learner.mean(learner.predict(next_x)))
            self.model.chosen_actions = np.array([next_action])
        discount = 0.0 if terminated else self.gamma
        correction = learner.evaluate(self._x, self._output, self._action, reward, discount, next_x, next_action, sizes)
        if learner.natural_gradient:
            learner.advance_actor(sizes.actor)
        learner.apply(correction)
        self._losses.add(correction.mean_value, correction.delta * correction.delta)
        self._observation, self._x = observation, next_x

    def _step_sizes(self) -> StepSizes:
        """The step sizes of now, each divided by the number of active features where the policy asks for it."""
        divisor = self.policy.step_size_divisor
        return StepSizes(*(rate / divisor for rate in self.model.learning_rates()))


def _in_units(part: float, low: float, half_width: float, high: float) -> float:
    """One entry of an action, from [-1, 1]; rounding may carry 1 beyond the edge, as -0.1 + 0.2 * 2 > 0.3."""
    units = low + half_width * (part + 1.0)
    return high if units > high else units
