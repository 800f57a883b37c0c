"""Linear Off-PAC beside a running environment: what is decided and learned in each step of ``agents.online.run``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeGuard

from numpy.typing import NDArray
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from agents.off_pac.actors import make_actor
from agents.off_pac.behavior.base import ContinuousBehavior
from agents.off_pac.behavior.mixture import DiscreteMixture
from agents.off_pac.learner import LinearLearner, StepSizes
from agents.off_pac.linear_policy import LinearPolicy
from agents.online.run import OnlineRun, ended_for_good

if TYPE_CHECKING:
    from agents.off_pac.off_pac import OffPAC


class LinearRun(OnlineRun):
    """One call of ``learn`` with a linear policy.

    Args:
        model: the algorithm.
        learner: weights and traces.
        total_timesteps: where to stop.
        log_interval: episodes between two log entries, None for none.
    """

    model: OffPAC

    def __init__(self, model: OffPAC, learner: LinearLearner, total_timesteps: int, log_interval: int | None) -> None:
        assert isinstance(model.policy, LinearPolicy)
        super().__init__(model, total_timesteps, log_interval)
        self.policy = model.policy
        self.features = model.policy.feature_map
        self.learner = learner
        self.gamma = model.gamma
        self.regularization = learner.settings.regularization
        self._actor = make_actor(model.behavior, model.action_space, self.policy)
        self._constant = model.constant_step_sizes
        self._sizes = self._step_sizes()
        for env, starts in enumerate(model._last_episode_starts):  # type: ignore[arg-type]
            if starts:
                learner.reset_trace(env)

    def begin(self, observations: Any) -> None:
        """Features of the first observations."""
        self._features = [self.features(observation) for observation in observations]

    def decide(self) -> tuple[NDArray, NDArray]:
        """Let the behavior act; ratios and scores are kept."""
        model = self.model
        self._outputs = [self.learner.predict(x) for x in self._features]
        watched = model.raw_observations() if model.behavior.uses_observations else None
        actions, executed, self._ratios, self._scores = self._actor.decide(watched, self._outputs, model.generator)
        return actions, executed

    def before_callback(self) -> dict[str, Any]:
        """Importance ratios and scores of the step."""
        return {"ratios": self._ratios, "scores": self._scores}

    def settle(self) -> None:
        """Carry out what the regularization has put off."""
        self.learner.flush()

    def learn(self, new_obs: Any, rewards: NDArray, dones: NDArray, infos: list[dict[str, Any]]) -> None:
        """One update for each environment."""
        learner, features = self.learner, self._features
        if self.policy.table() is not learner.table:
            raise AssertionError("the policy's table must not change its place while a run uses it")
        sizes = self._step_sizes()
        following = [self.features(observation) for observation in new_obs]
        corrections = []
        for i, (reward, done, info) in enumerate(zip(rewards.tolist(), dones.tolist(), infos, strict=True)):
            # Behind an episode's end new_obs is the next episode's first observation.
            next_x = self.features(info["terminal_observation"]) if done else following[i]
            discount = 0.0 if ended_for_good(done, info) else self.gamma
            ratio = self._ratios[i]
            corrections.append(
                learner.evaluate(i, features[i], self._outputs[i], self._scores[i], ratio, reward, discount, next_x)
            )
            self.model.ratio_statistics.add(ratio)
        # Only now, after every error has been computed from the old weights.
        if self.regularization:
            learner.regularize(len(corrections) * sizes.secondary * self.regularization)
        for correction in corrections:
            learner.apply(correction, sizes)
        self._features = following

    def restart(self, env: int) -> None:
        """Traces begin anew."""
        self.learner.reset_trace(env)

    def fits_single(self, env: VecEnv) -> TypeGuard[DummyVecEnv]:
        """Discrete actions need a mixture of uniform and target policy as behavior, Box actions take any."""
        behavior = self.model.behavior
        return super().fits_single(env) and isinstance(behavior, DiscreteMixture | ContinuousBehavior)

    def begin_one(self, observation: NDArray) -> None:
        """Features of the first observation."""
        self._observation = observation
        self._x = self.features(observation)

    def decide_one(self) -> Any:
        """Let the behavior act; ratio and score are kept."""
        self._output = self.learner.predict(self._x)
        action, self._rho, self._score = self._actor.decide_one(self._observation, self._output, self.model.generator)
        return action

    def learn_one(self, observation: NDArray, reward: float, terminated: bool) -> None:
        """One update."""
        learner, rho = self.learner, self._rho
        sizes = self._sizes if self._constant else self._step_sizes()
        next_x = self.features(observation)
        discount = 0.0 if terminated else self.gamma
        correction = learner.evaluate(0, self._x, self._output, self._score, rho, reward, discount, next_x)
        self.model.ratio_statistics.add(rho)
        if self.regularization:
            learner.regularize(sizes.secondary * self.regularization)
        learner.apply(correction, sizes)
        self._observation, self._x = observation, next_x

    def _step_sizes(self) -> StepSizes:
        """The three step sizes of now, each divided by the number of active features where the policy asks for it."""
        divisor = self.policy.step_size_divisor
        actor, critic, secondary = self.model.learning_rates()
        return StepSizes(actor / divisor, critic / divisor, secondary / divisor)
