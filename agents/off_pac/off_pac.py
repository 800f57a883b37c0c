"""Off-policy actor-critic: Degris, White and Sutton, "Off-Policy Actor-Critic", ICML 2012.

A behavior policy b acts; the target policy pi is learned from its stream with importance ratios rho = pi(a|s) / b(a|s).
Linear policies learn online with eligibility traces and a gradient-TD critic (``online``, ``learner``); deep policies
learn from replay with truncated ratios (``replayed``).
"""

from __future__ import annotations

import pathlib
import warnings
from collections.abc import Sequence
from io import BufferedIOBase
from typing import Any, ClassVar, Self

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import MaybeCallback, RolloutReturn, Schedule, TrainFreq, TrainFrequencyUnit
from stable_baselines3.common.utils import FloatSchedule
from stable_baselines3.common.vec_env import VecEnv

from agents.asynchronous.copies import EnvironmentLike, resolve
from agents.common.callback_locals import first_locals
from agents.common.importance import RatioStatistics
from agents.common.schedules import step_sizes
from agents.off_pac.arguments import check_action_space, check_arguments
from agents.off_pac.behavior import Behavior, BehaviorPolicy, make_behavior
from agents.off_pac.deep_policy import CnnPolicy, DeepPolicy, MlpPolicy, MultiInputPolicy
from agents.off_pac.dense_learner import DenseLearner
from agents.off_pac.learner import LearnerSettings, LinearLearner
from agents.off_pac.linear_policy import LinearPolicy, TileCodingPolicy
from agents.off_pac.offline import learn_from_dataset
from agents.off_pac.online import LinearRun
from agents.off_pac.replay_buffers import SegmentMixin, make_replay_buffer
from agents.off_pac.replayed import act, copy_target, update
from agents.off_pac.sparse_learner import SparseLearner
from agents.online.algorithm import OnlineAlgorithm
from agents.online.arguments import check_shared_arguments
from agents.online.unusable import unusable_observations, unusable_step

IDLE_RATIOS = 1000
"""So many ratios of 0 in a row are no chance, even with a hundred actions of which one is right."""


class OffPAC(OnlineAlgorithm):
    """Off-policy actor-critic with importance ratios.

    ``predict`` acts with the target policy, so ``EvalCallback``'s ``eval/`` is the target's return while
    ``rollout/ep_rew_mean`` is the behavior's.

    Args:
        policy: "LinearPolicy" or "TileCodingPolicy" (online, traces, SGD from zero weights), "MlpPolicy", "CnnPolicy"
            or "MultiInputPolicy" (deep, replay, Adam), or such a class.
        env: id, Gymnasium environment, VecEnv, or a callable that returns either. Discrete or Box actions.
        learning_rate: actor's step size alpha_u, a float or a schedule; None is 0.1 for linear policies and 3e-4 for
            deep ones. A step size of 0.0 leaves its part as it is, bit for bit.
        critic_learning_rate: alpha_v; None as above.
        secondary_learning_rate: alpha_w of the linear critics' second weights; None is 1e-4 for "gtd" and the
            critic's own step size for "tdrc", as in its paper.
        gamma: discount per step.
        trace_decay: lambda; linear: of the eligibility traces, deep: of V-trace's and Retrace's coefficients.
        behavior_policy: "uniform", "target" (b = pi), a float in (0, 1] (that share uniform, the rest pi), an SB3 model
            or policy with a density, or a callable of the environment's own observations (batch first): for Discrete
            actions it returns probabilities [n, n_actions], for Box actions a ``torch.distributions.Distribution`` over
            actions in environment units before clipping. A model is not stored in the file; pass it to ``load`` again.
        critic: linear: "gtd" (GTD(lambda), default) or "tdrc"; deep: "retrace" (default for Discrete actions; action
            values and ACER's bias correction) or "vtrace" (state values; the one for Box actions).
        emphasis: eta; 0.0 is Off-PAC, up to 1.0 ACE (Imani et al., 2018). Linear policies only.
        buffer_size, learning_starts, batch_size, tau, train_freq, gradient_steps, target_update_interval,
            max_grad_norm, replay_buffer_class, replay_buffer_kwargs, optimize_memory_usage: deep policies only, as
            DQN's; target_update_interval=0 does without target network.
        n_steps: deep policies only: length of the segments drawn from replay; None is 1 where trace_decay is 0 (longer
            ones would not be used) and 10 elsewhere.
        rho_bar: deep policies only: where importance ratios are truncated.
        ent_coef: deep policies only: weight of the entropy of pi in the objective, in units of the reward; without it
            a softmax saturates before the critic knows anything, and does not come back.
        stats_window_size, tensorboard_log, policy_kwargs, verbose, seed, device, _init_setup_model: as in SB3; linear
            policies run on the CPU.

    Raises:
        ValueError: an argument out of range, or one that does not go with the policy.
        AssertionError: an action space that is neither Discrete nor Box.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "LinearPolicy": LinearPolicy,
        "TileCodingPolicy": TileCodingPolicy,
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    step_size_names: ClassVar[tuple[str, ...]] = ("learning_rate", "critic_learning_rate", "secondary_learning_rate")

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: EnvironmentLike | None,
        learning_rate: float | Schedule | None = None,
        critic_learning_rate: float | Schedule | None = None,
        secondary_learning_rate: float | Schedule | None = None,
        gamma: float = 0.99,
        trace_decay: float = 0.0,
        behavior_policy: BehaviorPolicy = "uniform",
        critic: str | None = None,
        emphasis: float = 0.0,
        buffer_size: int = 100_000,
        learning_starts: int = 100,
        batch_size: int = 32,
        n_steps: int | None = None,
        tau: float = 1.0,
        train_freq: int | tuple[int, str] = 4,
        gradient_steps: int = 1,
        target_update_interval: int = 1000,
        rho_bar: float = 1.0,
        ent_coef: float = 0.1,
        max_grad_norm: float = 10.0,
        replay_buffer_class: type[ReplayBuffer] | None = None,
        replay_buffer_kwargs: dict[str, Any] | None = None,
        optimize_memory_usage: bool = False,
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
        default_rate = 0.1 if linear else 3e-4
        learning_rate = default_rate if learning_rate is None else learning_rate
        super().__init__(
            policy,
            None if env is None else resolve(env),
            learning_rate=learning_rate,
            buffer_size=buffer_size,
            learning_starts=learning_starts,
            batch_size=batch_size,
            tau=tau,
            gamma=gamma,
            train_freq=1 if linear else train_freq,
            gradient_steps=gradient_steps,
            replay_buffer_class=replay_buffer_class,
            replay_buffer_kwargs=replay_buffer_kwargs,
            optimize_memory_usage=optimize_memory_usage,
            policy_kwargs=policy_kwargs,
            stats_window_size=int(stats_window_size),
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            # A step of a linear policy is a few microseconds of NumPy; a graphics card has nothing to speed up.
            device="cpu" if linear else device,
            support_multi_env=True,
            seed=seed,
            sde_support=False,
            supported_action_spaces=(spaces.Discrete, spaces.Box),
        )
        self.critic_learning_rate = default_rate if critic_learning_rate is None else critic_learning_rate
        self.secondary_learning_rate = secondary_learning_rate
        self.trace_decay = trace_decay
        self.behavior_policy = behavior_policy
        self.critic = critic
        self.emphasis = emphasis
        self.n_steps = n_steps  # type: ignore[assignment]
        self.target_update_interval = target_update_interval
        self.rho_bar = rho_bar
        self.ent_coef = ent_coef
        self.max_grad_norm = max_grad_norm
        self.ratio_statistics = RatioStatistics(IDLE_RATIOS, self._warn_of_idle_ratios)
        self.generator = np.random.default_rng(seed)
        self._n_calls = 0
        self.clear_traces()
        self.largest_reward = 0.0  # in magnitude, of all that linear learners have seen; it bounds what values can be
        self._learner: LinearLearner | None = None
        self._recorded: NDArray[np.float32] | None = None  # what replay is to store of the step under way
        self._check_arguments()
        if _init_setup_model:
            self._setup_model()

    @property
    def is_linear(self) -> bool:
        """Whether the policy is linear and learned online."""
        return issubclass(self.policy_class, LinearPolicy)

    # setting up

    def _setup_model(self) -> None:
        check_action_space(self.action_space)
        self._setup_critic_schedules()
        self.behavior: Behavior = make_behavior(self.behavior_policy, self.action_space)
        if self.is_linear:
            self._setup_linear_model()
        else:
            self._setup_deep_model()

    def _setup_critic_schedules(self) -> None:
        """alpha_v and alpha_w; the actor's is ``lr_schedule``, SB3's name."""
        secondary = self.secondary_learning_rate
        if secondary is None:
            secondary = self.critic_learning_rate if self.critic == "tdrc" else 1e-4
        self.critic_lr_schedule = FloatSchedule(self.critic_learning_rate)
        self.secondary_lr_schedule = FloatSchedule(secondary)

    def _setup_linear_model(self) -> None:
        self.critic = self.critic or "gtd"
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        self._convert_train_freq()
        self.policy = self.policy_class(
            self.observation_space, self.action_space, self.lr_schedule, **self.policy_kwargs
        )

    def _setup_deep_model(self) -> None:
        if self.critic is None:
            self.critic = "retrace" if isinstance(self.action_space, spaces.Discrete) else "vtrace"
        if self.critic == "retrace" and not isinstance(self.action_space, spaces.Discrete):
            raise ValueError(
                f'critic="retrace" needs an action value for every action, but the action space is '
                f"{self.action_space}; use "
                'critic="vtrace".'
            )
        if self.n_steps is None:
            self.n_steps = 1 if self.trace_decay == 0.0 else 10
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        self._convert_train_freq()
        if self.replay_buffer is None:
            self.replay_buffer = make_replay_buffer(self)
        self.policy = self.policy_class(
            self.observation_space, self.action_space, self.lr_schedule, critic=self.critic, **self.policy_kwargs
        ).to(self.device)

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed Python, NumPy, torch, the environment and the stream that actions are drawn from."""
        super().set_random_seed(seed)
        if seed is not None:
            self.generator = np.random.default_rng(seed)

    def save(self, path: str | pathlib.Path | BufferedIOBase, *args: Any, **kwargs: Any) -> None:
        """As SB3's, with the traces of the moment; a behavior policy that is a model is left out."""
        self._export_traces()
        super().save(path, *args, **kwargs)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "behavior", "generator", "ratio_statistics", "_learner", "_recorded"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        if self.is_linear:
            return ["policy"], ["eligibility_traces", "followon_traces"]
        return ["policy", "policy.optimizer"], []

    # learning

    def _check_arguments(self) -> None:
        check_arguments(self)

    def _take_up_attributes(self) -> None:
        """Check what may have been changed since the last call, and follow step sizes that were.

        Raises:
            ValueError: an attribute holds what it may not.
        """
        self._check_arguments()
        if isinstance(self.policy, DeepPolicy) and self.critic != self.policy.critic_kind:
            raise ValueError(
                f"critic={self.critic!r}, but this model's network was made for critic={self.policy.critic_kind!r}; "
                "make a new model for another critic."
            )
        self._follow_learning_rate()
        self._setup_critic_schedules()

    def learn(
        self,
        total_timesteps: int = 100_000,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str = "OffPAC",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Let the behavior policy act for ``total_timesteps`` steps and learn the target policy.

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
                holds what it may not. An environment of a deep agent gave NaN or infinity.
            TrainingDivergedError: a linear agent's weights have grown beyond all use.
        """
        self._check_behavior_is_here()
        self._take_up_attributes()
        self.behavior = make_behavior(self.behavior_policy, self.action_space)
        self.ratio_statistics.restart()
        if not self.is_linear:
            super().learn(total_timesteps, callback, log_interval, tb_log_name, reset_num_timesteps, progress_bar)
            return self
        unwatched = callback is None and not progress_bar
        total_timesteps, callback = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        begin = first_locals(
            self, total_timesteps, callback, log_interval, tb_log_name, reset_num_timesteps, progress_bar
        )
        callback.on_training_start(begin, globals())
        assert self.env is not None
        learner = self.make_learner(self.n_envs)
        run = LinearRun(self, learner, total_timesteps, log_interval)
        self._learner = learner
        try:
            if unwatched and run.fits_single(self.env):
                run.run_single(self.env)
            else:
                run.run(self.env, callback)
        finally:
            self._export_traces()
            self._learner = None
        callback.on_training_end()
        return self

    def learn_from(
        self,
        dataset: Any,
        n_epochs: int = 1,
        callback: MaybeCallback = None,
        log_interval: int = 10_000,
        tb_log_name: str = "OffPAC",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Learn the target policy from a fixed data set; the environment is not touched.

        Args:
            dataset: a mapping of arrays ``observations``, ``actions``, ``rewards``, ``next_observations``,
                ``terminations``, ``truncations`` in the order things happened and ``behavior_probabilities`` (of the
                action taken [N], or of all [N, n_actions]; densities for Box actions), a Minari data set, or its id.
                Without probabilities they are estimated by behavior cloning, with a warning.
            n_epochs: how often to go through it.
            callback: called after every row (linear) or every update (deep).
            log_interval: rows between two log entries.
            tb_log_name, reset_num_timesteps, progress_bar: as in ``learn``; steps are rows.

        Returns:
            The model.

        Raises:
            ValueError: the data set is not usable; names the array and the row. An attribute holds what it may not.
        """
        self._take_up_attributes()
        arguments = (callback, log_interval, tb_log_name, reset_num_timesteps, progress_bar)
        learn_from_dataset(self, dataset, n_epochs, *arguments)
        return self

    # learning with a linear policy

    def clear_traces(self) -> None:
        """Forget the traces that a file would hold."""
        self.eligibility_traces = th.zeros(0)
        self.followon_traces = th.zeros(0)

    def make_learner(self, n_envs: int) -> LinearLearner:
        """A learner on the policy's weights, with the traces that were kept if they fit ``n_envs`` environments."""
        assert isinstance(self.policy, LinearPolicy)
        settings = LearnerSettings(
            gamma=self.gamma,
            trace_decay=self.trace_decay,
            emphasis=self.emphasis,
            regularization=1.0 if self.critic == "tdrc" else 0.0,
        )
        features = self.policy.feature_map
        table = self.policy.table()
        learner: LinearLearner
        if features.sparse:
            learner = SparseLearner(table, n_envs, settings, features.n_active)
        else:
            learner = DenseLearner(table, n_envs, settings)
        traces = self.eligibility_traces.numpy()
        if traces.shape == (n_envs, features.n_features, self.policy.n_outputs + 1):
            learner.import_traces(traces)
        if len(self.followon_traces) == n_envs:
            learner.carried = self.followon_traces.tolist()
        learner.expect(self.largest_reward)
        return learner

    def _export_traces(self) -> None:
        """Bring what is saved up to the learner's state."""
        if self._learner is None:
            return
        self._learner.flush()
        if self.trace_decay > 0.0:
            self.eligibility_traces = th.from_numpy(np.ascontiguousarray(self._learner.export_traces()))
        self.followon_traces = th.tensor(self._learner.carried, dtype=th.float64)
        self.largest_reward = self._learner.largest_reward

    def learning_rates(self) -> tuple[float, float, float]:
        """alpha_u, alpha_v and alpha_w of the moment, undivided.

        Raises:
            ValueError: a schedule gives a number that is no step size.
        """
        schedules = self.lr_schedule, self.critic_lr_schedule, self.secondary_lr_schedule
        actor, critic, secondary = step_sizes(self.step_size_names, schedules, self._current_progress_remaining)
        return actor, critic, secondary

    # learning with a deep policy

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        before = self._last_obs
        found = super()._setup_learn(*args, **kwargs)
        if self._last_obs is not before:
            self._mark_break()
        if not self.is_linear:
            unusable = unusable_observations(self.raw_observations(), self.num_timesteps)
            if unusable is not None:
                raise unusable
        return found

    def load_replay_buffer(self, path: str | pathlib.Path | BufferedIOBase, truncate_last_traj: bool = True) -> None:
        """As SB3's.

        Args:
            path: file or stream.
            truncate_last_traj: no segment goes on from the buffer's newest step into what is added; False where the
                environments continue the very episodes that the buffer ends with.
        """
        super().load_replay_buffer(path, truncate_last_traj)
        if truncate_last_traj:
            self._mark_break()

    def _mark_break(self) -> None:
        """Tell the replay buffer that the next step does not follow its newest one."""
        if isinstance(self.replay_buffer, SegmentMixin):
            self.replay_buffer.mark_break()

    def _store_transition(
        self,
        replay_buffer: ReplayBuffer,
        buffer_action: NDArray,
        new_obs: NDArray | dict[str, NDArray],
        reward: NDArray,
        dones: NDArray,
        infos: list[dict[str, Any]],
    ) -> None:
        # At once: from the buffer it would be drawn at any time, and look as if the networks had diverged.
        unusable = unusable_step(self, new_obs, reward, dones, infos)
        if unusable is not None:
            raise unusable
        assert self._recorded is not None
        super()._store_transition(replay_buffer, self._recorded, new_obs, reward, dones, infos)

    def _sample_action(
        self, learning_starts: int, action_noise: Any = None, n_envs: int = 1
    ) -> tuple[NDArray, NDArray]:
        actions, self._recorded = act(self)
        # Callbacks look for what SB3 shows them, not for the probabilities that replay stores as well.
        shown = self.policy.scale_action(actions) if isinstance(self.action_space, spaces.Box) else actions
        return actions, shown

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, train_freq: TrainFreq, *args: Any, **kwargs: Any
    ) -> RolloutReturn:
        """As SB3's, but a rollout is cut short where the step budget ends."""
        if train_freq.unit == TrainFrequencyUnit.STEP:
            remaining = -(-(self._total_timesteps - self.num_timesteps) // env.num_envs)
            train_freq = TrainFreq(min(train_freq.frequency, remaining), train_freq.unit)
        return super().collect_rollouts(env, callback, train_freq, *args, **kwargs)

    def train(self, gradient_steps: int, batch_size: int) -> None:
        """Draw from the replay buffer and update the networks.

        Args:
            gradient_steps: number of updates.
            batch_size: transitions (or segments) in each.
        """
        update(self, gradient_steps, batch_size)

    def _on_step(self) -> None:
        self._n_calls += 1
        if self.is_linear or self.target_update_interval <= 0:
            return
        if self._n_calls % max(self.target_update_interval // self.n_envs, 1) == 0:
            copy_target(self)

    def record_update(self, means: Sequence[float]) -> None:
        """Log one call of ``train``.

        Args:
            means: actor loss, critic loss and entropy.
        """
        for name, value in zip(("actor_loss", "critic_loss", "entropy"), means, strict=True):
            self.logger.record(f"train/{name}", value)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        actor, critic, _ = self.learning_rates()
        self.logger.record("train/learning_rate", actor)
        self.logger.record("train/critic_learning_rate", critic)

    # logging

    def _warn_of_idle_ratios(self) -> None:
        warnings.warn(
            f"The last {IDLE_RATIOS} importance ratios were all next to 0, so nothing is learned any more: the "
            "target policy has left what the behavior policy does. Begin anew with a smaller step size "
            f"(learning_rate={self.learning_rates()[0]:g}), or with a behavior_policy closer to the target policy.",
            stacklevel=2,
        )

    def dump_logs(self) -> None:
        """Log what is known of the episodes, the ratios, the traces and the step sizes."""
        statistics, record = self.ratio_statistics, self.logger.record
        if statistics.count:
            record("train/rho_mean", statistics.mean)
            record("train/rho_max", statistics.largest)
            record("train/effective_sample_size", statistics.effective_sample_size)
            statistics.clear()
        if self._learner is not None:
            critic, actor = self._learner.trace_norms()
            record("train/critic_trace_norm", critic)
            record("train/actor_trace_norm", actor)
            for name, rate in zip(("", "critic_", "secondary_"), self.learning_rates(), strict=True):
                record(f"train/{name}learning_rate", rate)
            record("train/n_updates", self._n_updates, exclude="tensorboard")
        super().dump_logs()
