"""One-step Q-learning, one-step Sarsa and n-step Q-learning with asynchronous workers, behind SB3's interface.

Mnih et al. (2016), "Asynchronous Methods for Deep Reinforcement Learning", Algorithms 1 and S2, and section
4.2 for Sarsa. The networks and their names are those of SB3's DQN; the loss is the paper's squared error, without
DQN's Huber clipping.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.dqn.policies import CnnPolicy, DQNPolicy, MlpPolicy, MultiInputPolicy

from agents.async_q.exploration import (
    FinalEpsilon,
    are_drawn_from,
    checked_final_epsilon,
    draw_final_epsilons,
    mean_epsilon,
)
from agents.async_q.learner import Method, ValueRecipe
from agents.asynchronous.algorithm import AsynchronousAlgorithm
from agents.asynchronous.copies import EnvironmentLike
from agents.common.arguments import check_number, check_whole
from agents.common.flat import FlatParameters

PAPERS_FINAL_EPSILONS = MappingProxyType({0.1: 0.4, 0.01: 0.3, 0.5: 0.3})


class AsynchronousValueMethod(AsynchronousAlgorithm):
    """What the three value methods share: epsilon-greedy workers and a target network that follows by global steps.

    Args:
        policy: "MlpPolicy", "CnnPolicy", "MultiInputPolicy" (SB3's for DQN) or a class.
        env: environment id, Gymnasium environment, SB3 VecEnv, or a callable that returns either.
        learning_rate: a constant or a callable of the remaining progress.
        n_steps: vectorized steps between two gradient pushes (paper: 5).
        gamma: discount (paper: .99).
        target_update_interval: global steps between two copies into the target network (paper: 40 000 frames of four a
            step).
        exploration_fraction: share of the run over which exploration is annealed (SB3's DQN: .1).
        exploration_initial_eps: epsilon at the start (paper: 1).
        exploration_final_eps: epsilon at the end: a float for all workers, or {value: probability}, drawn per worker
            (paper: .1, .01 and .5 with probabilities .4, .3 and .3).
        max_grad_norm: norm to which gradients are clipped (paper's authors: 40).
        rms_prop_eps: of RMSProp, inside the root (.1).
        rms_prop_alpha: decay of RMSProp and momentum (.99).
        shared_optimizer: "rmsprop", "rmsprop-local", "momentum" or "adam" (beta .9 and .999, epsilon 1e-5).
        n_workers: default the cores available; 1 runs in this process and repeats to the bit for a seed.
        worker_timeout: seconds without a sign of life before a worker counts as stuck; None never. One worker runs
            inside the calling process, which cannot be ended for it: it has none.
        stats_window_size: episodes averaged for the logger.
        tensorboard_log: folder.
        policy_kwargs: of the policy class.
        verbose: 0 nothing, 1 information, 2 debugging.
        seed: of all random streams.
        device: "auto" is the CPU.
        _init_setup_model: build the networks at once.
    """

    policy: DQNPolicy
    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    logs_episodes = True
    _made_anew = (*AsynchronousAlgorithm._made_anew, "_target_flat")
    _policy_kinds = (DQNPolicy,)
    _told = (
        *AsynchronousAlgorithm._told,
        "target_update_interval",
        "exploration_fraction",
        "exploration_initial_eps",
        "exploration_final_eps",
    )
    _method: ClassVar[Method]

    def __init__(
        self,
        policy: str | type[DQNPolicy],
        env: EnvironmentLike | None,
        learning_rate: float | Schedule = 7e-4,
        n_steps: int = 5,
        gamma: float = 0.99,
        target_update_interval: int = 10_000,
        exploration_fraction: float = 0.1,
        exploration_initial_eps: float = 1.0,
        exploration_final_eps: FinalEpsilon = PAPERS_FINAL_EPSILONS,
        max_grad_norm: float | None = 40.0,
        rms_prop_eps: float = 0.1,
        rms_prop_alpha: float = 0.99,
        shared_optimizer: str = "rmsprop",
        n_workers: int | None = None,
        worker_timeout: float | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        self.target_update_interval = target_update_interval
        self.exploration_fraction = exploration_fraction
        self.exploration_initial_eps = exploration_initial_eps
        self.exploration_final_eps = exploration_final_eps
        # the workers' mean epsilon; with the step of the last copy it goes into a model's file
        self.exploration_rate = exploration_initial_eps
        self._target_copied_at = np.zeros(1, dtype=np.int64)
        self._final_epsilons: Sequence[float] = ()  # each worker's, drawn or of a model's file
        super().__init__(
            policy,
            env,
            learning_rate=learning_rate,
            n_steps=n_steps,
            gamma=gamma,
            max_grad_norm=max_grad_norm,
            rms_prop_eps=rms_prop_eps,
            rms_prop_alpha=rms_prop_alpha,
            shared_optimizer=shared_optimizer,
            n_workers=n_workers,
            worker_timeout=worker_timeout,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            seed=seed,
            device=device,
            supported_action_spaces=(spaces.Discrete,),
            _init_setup_model=_init_setup_model,
        )

    def _check_arguments(self) -> None:
        super()._check_arguments()
        check_whole("target_update_interval", self.target_update_interval, 1)
        check_number("exploration_fraction", self.exploration_fraction, 0.0, 1.0)
        check_number("exploration_initial_eps", self.exploration_initial_eps, 0.0, 1.0)
        self.exploration_final_eps = checked_final_epsilon(self.exploration_final_eps)

    def _setup_model(self) -> None:
        super()._setup_model()
        self._draw_final_epsilons()

    def _take_up_changes(self) -> None:
        super()._take_up_changes()
        self._draw_final_epsilons()

    def _draw_final_epsilons(self) -> None:
        if are_drawn_from(self.exploration_final_eps, self._final_epsilons, self.n_workers):
            return
        (seed,) = self._seeds.spawn(1)
        self._final_epsilons = draw_final_epsilons(self.exploration_final_eps, self.n_workers, seed)

    def _flatten_extras(self) -> None:
        """Put the target network into a vector, too."""
        super()._flatten_extras()
        self._target_flat = FlatParameters(self.policy.q_net_target.parameters())
        self._extras |= {
            "target": self._target_flat.vector.numpy(force=True),
            "target_copied_at": self._target_copied_at,
        }

    @staticmethod
    def _learned_parameters(policy: Any) -> Any:
        return policy.q_net.parameters()

    def _recipe(self) -> ValueRecipe:
        # a run that begins anew counts from its own start; one that goes on, from the last copy
        self._target_copied_at[0] = min(self._target_copied_at[0], self.num_timesteps)
        if self._target_flat.vector.device.type != "cpu":
            np.copyto(self._extras["target"], self._target_flat.vector.numpy(force=True))
        return ValueRecipe(
            method=self._method,
            gamma=self.gamma,
            target_update_interval=self.target_update_interval,
            initial_epsilon=self.exploration_initial_eps,
            final_epsilons=tuple(self._final_epsilons),
            exploration_fraction=self.exploration_fraction,
        )

    def _adopt(self, arrays: dict[str, Any]) -> None:
        super()._adopt(arrays)
        if self._target_flat.vector.device.type != "cpu":
            with th.no_grad():
                self._target_flat.vector.copy_(th.from_numpy(self._extras["target"]))

    @property
    def q_net(self) -> Any:
        """The policy's action values, under the name that SB3's DQN has."""
        return self.policy.q_net

    @property
    def q_net_target(self) -> Any:
        """The target network."""
        return self.policy.q_net_target

    def _setup_learn(self, *args: Any, **kwargs: Any) -> Any:
        found = super()._setup_learn(*args, **kwargs)
        self._follow_exploration()
        return found

    def remember_updates(self, updates: int) -> None:
        """Count gradient pushes as they are delivered, and let exploration follow the steps."""
        super().remember_updates(updates)
        self._follow_exploration()

    def update_progress(self, total_timesteps: int) -> None:
        """Set the remaining progress, the learning rate that the optimizer shows, and the rate of exploration."""
        super().update_progress(total_timesteps)
        self._follow_exploration()

    def _follow_exploration(self) -> None:
        progress = self.num_timesteps / max(self._total_timesteps, 1)
        self.exploration_rate = mean_epsilon(
            self.exploration_initial_eps, self._final_epsilons, self.exploration_fraction, progress
        )

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """Epsilon-greedy with the workers' mean epsilon, or greedy if ``deterministic``.

        Args:
            observation: one, or a batch.
            state: unused, as for SB3's DQN.
            episode_start: unused.
            deterministic: never explore.

        Returns:
            The action or actions, and ``state``.
        """
        actions, state = self.policy.predict(observation, state, episode_start, deterministic=True)
        if deterministic:
            return actions, state
        explore = np.random.random(np.shape(actions)) < self.exploration_rate  # noqa: NPY002 - the stream SB3 seeds
        if np.any(explore):
            drawn = [self.action_space.sample() for _ in range(np.size(actions))]
            actions = np.where(explore, np.reshape(drawn, np.shape(actions)), actions)
        return actions, state


class AsyncQLearning(AsynchronousValueMethod):
    """Asynchronous one-step Q-learning: y = r + gamma max_a' Q(s', a'; theta-) (Mnih et al. 2016, Algorithm 1)."""

    _method = "one-step Q"


class AsyncSarsa(AsynchronousValueMethod):
    """Asynchronous one-step Sarsa: y = r + gamma Q(s', a'; theta-), a' taken next (Mnih et al. 2016, 4.2)."""

    _method = "one-step Sarsa"


class AsyncNStepQ(AsynchronousValueMethod):
    """Asynchronous n-step Q-learning: the segment's longest return (Mnih et al. 2016, Algorithm S2)."""

    _method = "n-step Q"


for _cls in (AsyncQLearning, AsyncSarsa, AsyncNStepQ):
    # the arguments are the same; documentation tools and help() show them with each method
    _cls.__doc__ = f"{_cls.__doc__}\n{(AsynchronousValueMethod.__doc__ or '').partition(chr(10))[2]}"
