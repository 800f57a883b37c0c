"""Deterministic policy gradient: Silver, Lever, Heess, Degris, Wierstra and Riedmiller, ICML 2014.

A behavior policy acts; the deterministic policy mu is learned from its stream, without importance ratios. Every
transition is used once, as it comes: there is no replay and no target network, which is what DDPG adds.
"""

from __future__ import annotations

import pathlib
from io import BufferedIOBase
from typing import Any, ClassVar, Self

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import ActionNoise, VectorizedActionNoise
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import MaybeCallback, Schedule
from stable_baselines3.common.utils import FloatSchedule

from agents.asynchronous.copies import EnvironmentLike, resolve
from agents.common.callback_locals import first_locals
from agents.common.schedules import step_sizes
from agents.dpg.arguments import check_action_space, check_arguments, check_layout
from agents.dpg.behavior import Behavior, BehaviorPolicy, make_behavior
from agents.dpg.deep_policy import CnnPolicy, DeepPolicy, MlpPolicy, MultiInputPolicy
from agents.dpg.deep_run import DeepRun
from agents.dpg.layout import COMPATIBLE_VARIANTS
from agents.dpg.linear_learner import LinearLearner, make_learner
from agents.dpg.linear_policy import LinearPolicy, TileCodingPolicy
from agents.dpg.losses import RunningLosses
from agents.dpg.online import BehaviorRun, LinearRun
from agents.online.algorithm import OnlineAlgorithm
from agents.online.arguments import check_shared_arguments

LINEAR_RATES = (0.01, 0.1, 0.1, 0.1)
"""Default step sizes of linear policies: actor, w, v, u. The critic has to be faster than the actor."""
DEEP_RATE = 3e-4


class DPG(OnlineAlgorithm):
    """Deterministic policy gradient.

    ``predict`` acts with mu, so ``EvalCallback``'s ``eval/`` is mu's return while ``rollout/ep_rew_mean`` is the
    behavior's.

    Args:
        policy: "LinearPolicy" or "TileCodingPolicy" (SGD from zero weights), "MlpPolicy", "CnnPolicy" or
            "MultiInputPolicy" (networks, Adam), or such a class.
        env: id, Gymnasium environment, VecEnv, or a callable that returns either. Box actions, floats.
        learning_rate: actor's step size alpha_theta, a float or a schedule; None is 0.01 for linear policies and 3e-4
            for deep ones. A step size of 0.0 leaves its part as it is, bit for bit.
        critic_learning_rate: alpha_w, of the critic's action part (for deep "opdac" and "on-policy" of all of it); None
            is 0.1 for linear policies and 3e-4 for deep ones.
        value_learning_rate: alpha_v, of the critic's state part; None as above.
        secondary_learning_rate: alpha_u of "copdac-gq"; None as above.
        gamma: discount per step.
        variant: "copdac-q" (compatible critic, Q-learning), "copdac-gq" (the same with gradient TD), "opdac"
            (Q-learning with a critic that is not compatible: a polynomial of degree 2 in the action, or a network),
            "on-policy" (the same with Sarsa).
        natural_gradient: theta += alpha w, for the compatible variants, as printed. With a linear policy nothing holds
            theta where mu(s) is at the edge of the box already: while w points out of it, the mean goes on growing
            unseen, and comes back as slowly. Where optimal actions lie at an edge, prefer the plain gradient.
        full_gq: of "copdac-gq": the secondary weights cover the state's features as well, as in GQ on the concatenated
            features; False is the form printed in the paper. The printed form's u sees only the compatible features,
            whose mean is near 0: v is learned by plain TD, and can diverge off-policy where full GQ does not.
        behavior_policy: who acts. None is mu plus ``action_noise``; else an SB3 model or policy (stochastic ones are
            sampled), or a callable of the environment's own observations (batch first) that returns actions in
            environment units, which are clipped. A model is not stored in the file; pass it to ``load`` again.
        action_noise: acts in [-1, 1], as in SB3; None is normal with standard deviation 0.1. It and
            ``behavior_policy`` may be replaced by a callback; what is new acts from the next step on.
        stats_window_size, tensorboard_log, policy_kwargs, verbose, seed, device, _init_setup_model: as in SB3; linear
            policies run on the CPU.

    Raises:
        ValueError: an argument out of range, or one that does not go with the others.
        AssertionError: an action space that is not a Box of floats.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "LinearPolicy": LinearPolicy,
        "TileCodingPolicy": TileCodingPolicy,
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    step_size_names: ClassVar[tuple[str, ...]] = (
        "learning_rate",
        "critic_learning_rate",
        "value_learning_rate",
        "secondary_learning_rate",
    )

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: EnvironmentLike | None,
        learning_rate: float | Schedule | None = None,
        critic_learning_rate: float | Schedule | None = None,
        value_learning_rate: float | Schedule | None = None,
        secondary_learning_rate: float | Schedule | None = None,
        gamma: float = 0.99,
        variant: str = "copdac-q",
        natural_gradient: bool = False,
        full_gq: bool = False,
        behavior_policy: BehaviorPolicy = None,
        action_noise: ActionNoise | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        numbers = {"verbose": verbose, "stats_window_size": stats_window_size, "seed": seed}
        lacks_env = env is None and _init_setup_model
        check_shared_arguments(policy, self.policy_aliases, (LinearPolicy, DeepPolicy), lacks_env, numbers)
        policy_class = self._get_policy_from_name(policy) if isinstance(policy, str) else policy
        linear = issubclass(policy_class, LinearPolicy)
        actor_rate = LINEAR_RATES[0] if linear else DEEP_RATE
        super().__init__(
            policy,
            None if env is None else resolve(env),
            learning_rate=actor_rate if learning_rate is None else learning_rate,
            # What SB3 calls off-policy has a replay buffer; it is never made here.
            buffer_size=1,
            gamma=gamma,
            action_noise=action_noise,
            policy_kwargs=policy_kwargs,
            stats_window_size=int(stats_window_size),
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            # A step of a linear policy is a few microseconds of NumPy; a graphics card has nothing to speed up.
            device="cpu" if linear else device,
            support_multi_env=True,
            seed=seed,
            sde_support=False,
        )
        self.critic_learning_rate = critic_learning_rate
        self.value_learning_rate = value_learning_rate
        self.secondary_learning_rate = secondary_learning_rate
        self.variant = variant
        self.natural_gradient = natural_gradient
        self.full_gq = full_gq
        self.behavior_policy = behavior_policy
        self.chosen_actions: NDArray[np.float64] | None = None
        """[n_envs, m] a', which the on-policy variant has learned from already and will execute next."""
        self._learner: LinearLearner | None = None
        if env is not None:
            check_action_space(self.action_space)
        self._check_arguments()
        if _init_setup_model:
            self._setup_model()

    @property
    def is_linear(self) -> bool:
        """Whether the policy is linear."""
        return issubclass(self.policy_class, LinearPolicy)

    # setting up

    def _setup_model(self) -> None:
        self._setup_lr_schedule()
        self._setup_critic_schedules()
        self.set_random_seed(self.seed)
        self._convert_train_freq()
        self.behavior: Behavior = self._make_behavior()
        self.losses = RunningLosses()
        self.policy = self.policy_class(
            self.observation_space,
            self.action_space,
            self.lr_schedule,
            variant=self.variant,
            full_gq=self.full_gq,
            **self.policy_kwargs,
        ).to(self.device)

    def _setup_critic_schedules(self) -> None:
        """alpha_w, alpha_v and alpha_u; the actor's is ``lr_schedule``, SB3's name."""
        defaults = LINEAR_RATES[1:] if self.is_linear else (DEEP_RATE,) * 3
        given = (self.critic_learning_rate, self.value_learning_rate, self.secondary_learning_rate)
        self.critic_schedules = [
            FloatSchedule(default if rate is None else rate) for rate, default in zip(given, defaults, strict=True)
        ]

    def _make_behavior(self) -> Behavior:
        assert isinstance(self.action_space, spaces.Box)
        self._behaving = self.behavior_policy, self.action_noise
        return make_behavior(self.behavior_policy, self.action_noise, self.action_space, self.n_envs)

    def current_behavior(self) -> Behavior:
        """Who acts; made anew where ``behavior_policy`` or ``action_noise`` was replaced in the middle of a run."""
        policy, noise = self._behaving
        if policy is not self.behavior_policy or noise is not self.action_noise:
            self._spread_noise()
            self.behavior = self._make_behavior()
        return self.behavior

    def _spread_noise(self) -> None:
        """A noise of its own for each environment, as SB3 makes them where ``learn`` begins."""
        noise = self.action_noise
        if isinstance(noise, VectorizedActionNoise) and noise.n_envs != self.n_envs:
            # From a file, or of an environment given before.
            noise = noise.base_noise
        if isinstance(noise, ActionNoise) and not isinstance(noise, VectorizedActionNoise) and self.n_envs > 1:
            noise = VectorizedActionNoise(noise, self.n_envs)
        self.action_noise = noise

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "behavior", "_behaving", "_learner", "losses"]

    @classmethod
    def load(
        cls,
        path: str | pathlib.Path | BufferedIOBase,
        env: EnvironmentLike | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Self:
        """As SB3's; ``env`` may also be an id or a callable.

        A behavior policy that was a model is not in the file: pass it as ``behavior_policy`` before learning goes on.

        Raises:
            ValueError: an argument is out of range, or the stored weights do not fit it.
        """
        try:
            return super().load(path, env, *args, **kwargs)
        except RuntimeError as error:
            if changed := sorted({"variant", "full_gq", "policy_kwargs"} & kwargs.keys()):
                raise ValueError(
                    f"The file's weights do not fit {', '.join(f'{name}={kwargs[name]!r}' for name in changed)}; load "
                    "the model as it was saved, or make a new one."
                ) from error
            raise

    def save(self, path: str | pathlib.Path | BufferedIOBase, *args: Any, **kwargs: Any) -> None:
        """As SB3's; a behavior policy that is a model is left out."""
        if self._learner is not None:
            self._learner.flush()
        super().save(path, *args, **kwargs)

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return (["policy"] if self.is_linear else ["policy", "policy.optimizer"]), []

    # learning

    def _check_arguments(self) -> None:
        check_arguments(self)

    def learn(
        self,
        total_timesteps: int = 100_000,
        callback: MaybeCallback = None,
        log_interval: int | None = 4,
        tb_log_name: str = "DPG",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Let the behavior policy act for ``total_timesteps`` steps and learn mu from each of them.

        Args:
            total_timesteps: environment steps, rounded up to a multiple of the number of environments.
            callback: called at every vector step.
            log_interval: episodes between two log entries.
            tb_log_name: name of the run for TensorBoard.
            reset_num_timesteps: begin to count, and an episode, anew.
            progress_bar: show one.

        Returns:
            The model.

        Raises:
            ValueError: the behavior policy is not usable, or was not saved with a model that was loaded; an attribute
                holds what it may not.
            TrainingDivergedError: the weights have grown beyond all use.
        """
        self._check_behavior_is_here()
        # Here and not only at construction: the attributes are free to be changed between two calls.
        self._check_arguments()
        check_layout(self)
        self._follow_learning_rate()
        self._setup_critic_schedules()
        unwatched = callback is None and not progress_bar
        if reset_num_timesteps or self._last_obs is None:
            self.chosen_actions = None
        self._spread_noise()
        total_timesteps, callback = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        self.behavior = self._make_behavior()
        begin = first_locals(
            self, total_timesteps, callback, log_interval, tb_log_name, reset_num_timesteps, progress_bar
        )
        callback.on_training_start(begin, globals())
        self._run(total_timesteps, callback, log_interval, unwatched)
        callback.on_training_end()
        return self

    def _run(self, total_timesteps: int, callback: BaseCallback, log_interval: int | None, unwatched: bool) -> None:
        assert self.env is not None
        if not self.is_linear:
            run: BehaviorRun = DeepRun(self, total_timesteps, log_interval)
            run.run(self.env, callback)
            return
        learner = self.make_learner()
        run = LinearRun(self, learner, total_timesteps, log_interval)
        self._learner = learner
        try:
            if unwatched and run.fits_single(self.env):
                run.run_single(self.env)
            else:
                run.run(self.env, callback)
        finally:
            learner.flush()
            self._learner = None

    def make_learner(self) -> LinearLearner:
        """A learner on the weights of a linear policy."""
        policy = self.policy
        assert isinstance(policy, LinearPolicy)
        return make_learner(policy.table(), policy.layout, policy.feature_map.sparse, self.natural_gradient)

    def learning_rates(self) -> tuple[float, float, float, float]:
        """alpha_theta, alpha_w, alpha_v and alpha_u of the moment, undivided.

        Raises:
            ValueError: a schedule gives a number that is no step size.
        """
        schedules: list[Schedule] = [self.lr_schedule, *self.critic_schedules]
        actor, critic, value, secondary = step_sizes(self.step_size_names, schedules, self._current_progress_remaining)
        return actor, critic, value, secondary

    # logging

    def dump_logs(self) -> None:
        """Log what is known of the episodes, the step sizes and the losses of the updates since the last entry."""
        record = self.logger.record
        if self._learner is not None:
            self._learner.flush()
        unused = set() if self.variant == "copdac-gq" else {"secondary_learning_rate"}
        if not self.is_linear and self.variant not in COMPATIBLE_VARIANTS:
            unused.add("value_learning_rate")
        for name, rate in zip(self.step_size_names, self.learning_rates(), strict=True):
            if name not in unused:
                record(f"train/{name}", rate)
        if (losses := self.losses.pop()) is not None:
            record("train/actor_loss", losses.actor)
            record("train/critic_loss", losses.critic)
        record("train/n_updates", self._n_updates, exclude="tensorboard")
        super().dump_logs()
