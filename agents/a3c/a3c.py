"""A3C behind SB3's interface.

Mnih et al. (2016), "Asynchronous Methods for Deep Reinforcement Learning", Algorithm S3. Departures from the paper,
both optional: ``gae_lambda`` below 1 (Schulman et al. 2016), and several environments a worker, stepped together.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from sb3_contrib.common.recurrent.policies import (
    RecurrentActorCriticCnnPolicy,
    RecurrentActorCriticPolicy,
    RecurrentMultiInputActorCriticPolicy,
)
from stable_baselines3.common.policies import (
    ActorCriticCnnPolicy,
    ActorCriticPolicy,
    BasePolicy,
    MultiInputActorCriticPolicy,
)
from stable_baselines3.common.type_aliases import Schedule

from agents.a3c.recipe import A3CRecipe
from agents.asynchronous.algorithm import ALL_ACTION_SPACES, AsynchronousAlgorithm
from agents.asynchronous.copies import EnvironmentLike
from agents.common.action_spaces import check_floats
from agents.common.arguments import check_number
from agents.common.flat import FlatParameters

# A standard deviation that shrinks without limit ends in infinite log probabilities; below this one the noise of
# an action is lost in clipping and float32 anyway.
SMALLEST_STD = 1e-3


class A3C(AsynchronousAlgorithm):
    """Asynchronous advantage actor-critic.

    Every worker pulls the shared parameters, acts for a segment of ``n_steps``, and pushes the gradient of::

        sum_i [ -log pi(a_i|s_i) (R_i - V(s_i)) - ent_coef * H(pi(s_i)) + vf_coef * (R_i - V(s_i))^2 ]

    with R_i the longest return that the segment allows: 0 after termination, V of the final observation after
    truncation, V of the last observation where the segment ends in between (Mnih et al. 2016, Algorithm S3).

    Gradients are sums, so a learning rate compares with A2C's (means) divided by ``n_steps`` for plain SGD.

    Args:
        policy: "MlpPolicy", "CnnPolicy", "MultiInputPolicy", the same with an LSTM ("MlpLstmPolicy", "CnnLstmPolicy",
            "MultiInputLstmPolicy"), or a class.
        env: environment id, Gymnasium environment, SB3 VecEnv, or a callable that returns either. Every worker owns a
            copy.
        learning_rate: a constant or a callable of the remaining progress. Default 7e-4 (A2C's in SB3; the paper draws
            it from [1e-4, 1e-2] and anneals it to 0).
        n_steps: vectorized steps a segment, t_max (paper: 5).
        gamma: discount (paper: .99).
        gae_lambda: 1.0 is the paper's return.
        ent_coef: beta (paper: .01).
        vf_coef: weight of the squared error (paper's authors: .5).
        max_grad_norm: norm to which gradients are clipped (paper's authors: 40).
        rms_prop_eps: of RMSProp, inside the root (paper's authors: .1).
        rms_prop_alpha: decay of RMSProp and momentum (paper: .99).
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

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": ActorCriticPolicy,
        "CnnPolicy": ActorCriticCnnPolicy,
        "MultiInputPolicy": MultiInputActorCriticPolicy,
        "MlpLstmPolicy": RecurrentActorCriticPolicy,
        "CnnLstmPolicy": RecurrentActorCriticCnnPolicy,
        "MultiInputLstmPolicy": RecurrentMultiInputActorCriticPolicy,
    }

    _policy_kinds = (ActorCriticPolicy,)
    _own_first_locals: ClassVar[dict[str, Any]] = {"iteration": 0}
    _told = (*AsynchronousAlgorithm._told, "gae_lambda", "ent_coef", "vf_coef")

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: EnvironmentLike | None,
        learning_rate: float | Schedule = 7e-4,
        n_steps: int = 5,
        gamma: float = 0.99,
        gae_lambda: float = 1.0,
        ent_coef: float = 0.01,
        vf_coef: float = 0.5,
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
        self.gae_lambda = gae_lambda
        self.ent_coef = ent_coef
        self.vf_coef = vf_coef
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
            supported_action_spaces=ALL_ACTION_SPACES,
            _init_setup_model=_init_setup_model,
        )

    def _check_arguments(self) -> None:
        super()._check_arguments()
        check_number("gae_lambda", self.gae_lambda, 0.0, 1.0, remedy="1 is the paper's return")
        check_number("ent_coef", self.ent_coef, remedy="the paper's is 0.01")
        check_number("vf_coef", self.vf_coef, 0.0, remedy="the default is 0.5")
        # a model that was loaded without an environment only predicts, and may be an old one
        if isinstance(self.action_space, spaces.Box) and self.env is not None:
            check_floats(self.action_space)

    def _recipe(self) -> A3CRecipe:
        return A3CRecipe(gamma=self.gamma, gae_lambda=self.gae_lambda, ent_coef=self.ent_coef, vf_coef=self.vf_coef)

    def _lower_bounds(self, flat: FlatParameters) -> tuple[tuple[slice, NDArray[np.float32]], ...]:
        log_std = getattr(self.policy, "log_std", None)
        if log_std is None or not log_std.requires_grad:
            return ()
        # whoever begins below the bound wants it so: nothing may be pushed up to it
        begin = log_std.numpy(force=True).reshape(-1)
        return ((flat.slice_of(log_std), np.minimum(begin, np.float32(math.log(SMALLEST_STD)))),)
