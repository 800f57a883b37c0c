"""The base of the asynchronous algorithms: SB3's ``BaseAlgorithm`` in front, the engine behind.

A subclass gives policies, a recipe for its learner and its own arguments. What all share is here: resolving the
environment, the flat parameter vector and its optimizer, ``learn`` with one worker inside this process or several
beside it, and the state of the model before, during and after.
"""

from __future__ import annotations

import contextlib
import copy
import math
import os
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import MaybeCallback, Schedule
from stable_baselines3.common.vec_env import VecEnv

from agents.asynchronous.budget import StepBudget
from agents.asynchronous.copies import EnvironmentLike, factory_for, resolve
from agents.asynchronous.delivery import Delivery, SegmentProgressBar, record_statistics
from agents.asynchronous.errors import NonFiniteGradientError
from agents.asynchronous.events import Ready
from agents.asynchronous.learner import Recipe
from agents.asynchronous.memory import SharedArrays
from agents.asynchronous.normalization import ModelNormalization
from agents.asynchronous.optimizer import FlatOptimizer, UpdateRule
from agents.asynchronous.processes import warm_up
from agents.asynchronous.supervisor import Supervisor
from agents.asynchronous.supported_spaces import check_spaces
from agents.asynchronous.worker import Task, build_worker, cannot_be_copied, pack
from agents.common.arguments import (
    LARGEST_SEED,
    check_learning_rate,
    check_number,
    check_policy,
    check_verbose,
    check_whole,
)
from agents.common.callback_locals import first_locals
from agents.common.flat import FlatParameters, flatten_buffers
from agents.common.schedules import FollowsLearningRate, constant_of

ALL_ACTION_SPACES = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


def available_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class _Beside:
    """What is there only while workers run beside this process."""

    workers: Supervisor
    arrays: dict[str, NDArray[Any]]
    steps_before: int


class AsynchronousAlgorithm(FollowsLearningRate):
    """Asynchronous actor-learners with a shared optimizer (Mnih et al. 2016).

    Args:
        policy: alias or class.
        env: environment id, Gymnasium environment, SB3 VecEnv, or a callable that returns either; None when loading.
        learning_rate: a constant, or a callable of the remaining progress (from 1 to 0) by the global step.
        n_steps: vectorized environment steps between two gradient pushes; t_max in the paper.
        gamma: discount per step.
        max_grad_norm: gradients, sums over steps and environments, are scaled down to this norm; None leaves them.
        rms_prop_eps: epsilon inside RMSProp's root (the paper's authors: 0.1).
        rms_prop_alpha: decay of RMSProp's average and of momentum.
        shared_optimizer: "rmsprop" (statistics shared), "rmsprop-local" and "momentum" (each worker's own), "adam"
            (shared; beta .9 and .999, epsilon 1e-5 outside the root).
        n_workers: actor-learner processes; 1 runs inside the calling process. Default: the cores available.
        worker_timeout: seconds without a sign of life before a worker counts as stuck; None never. To make its
            environment a worker has at least 30. One worker runs inside the calling process, which cannot be ended for
            it: it has none.
        stats_window_size: episodes averaged for the logger.
        tensorboard_log: folder, or None.
        policy_kwargs: as in SB3, without optimizer_class.
        verbose: as in SB3.
        seed: of all random streams. One worker repeats to the bit; several apply their gradients in the order in which
            they come, which no seed fixes.
        device: of the workers' networks. "auto" is the CPU, for which the method is made.
        supported_action_spaces: what the method can act in.
        _init_setup_model: build the networks at once.

    Raises:
        ValueError: an argument out of range.
        AssertionError: an action space the method does not support.
    """

    policy: Any
    # whether the logger shows the number of episodes, as SB3's off-policy algorithms do
    logs_episodes: ClassVar[bool] = False
    # what callbacks find besides where the training starts, as the method's twin in SB3 shows it
    _own_first_locals: ClassVar[dict[str, Any]] = {}
    # attributes that hold other attributes' memory, or what is there only while learning
    _made_anew: ClassVar[tuple[str, ...]] = ("_flat", "_extras", "_normalization", "_beside", "statistics_now")
    # attributes that the workers are told when learn begins
    _told: ClassVar[tuple[str, ...]] = (
        "learning_rate",
        "lr_schedule",
        "n_steps",
        "gamma",
        "max_grad_norm",
        "rms_prop_eps",
        "rms_prop_alpha",
        "shared_optimizer",
        "n_workers",
    )
    # a given policy class must be one of these, or derived from one
    _policy_kinds: ClassVar[tuple[type[BasePolicy], ...]]

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: EnvironmentLike | None,
        *,
        learning_rate: float | Schedule,
        n_steps: int,
        gamma: float,
        max_grad_norm: float | None,
        rms_prop_eps: float,
        rms_prop_alpha: float,
        shared_optimizer: str,
        n_workers: int | None,
        worker_timeout: float | None,
        stats_window_size: int,
        tensorboard_log: str | None,
        policy_kwargs: dict[str, Any] | None,
        verbose: int,
        seed: int | None,
        device: th.device | str,
        supported_action_spaces: tuple[type[spaces.Space[Any]], ...],
        _init_setup_model: bool,
    ) -> None:
        check_policy(policy, self.policy_aliases, self._policy_kinds)
        check_verbose(verbose)
        resolved = None if env is None else resolve(env)
        if resolved is not None:
            check_spaces(policy, resolved.observation_space, resolved.action_space)
        super().__init__(
            policy,
            resolved,
            learning_rate=learning_rate,
            policy_kwargs=policy_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device="cpu" if device == "auto" else device,
            support_multi_env=True,
            seed=seed,
            supported_action_spaces=supported_action_spaces,
        )
        self.n_steps = n_steps
        self.gamma = gamma
        self.max_grad_norm = max_grad_norm
        self.rms_prop_eps = rms_prop_eps
        self.rms_prop_alpha = rms_prop_alpha
        self.shared_optimizer = shared_optimizer
        self.n_workers = available_cores() if n_workers is None else n_workers
        self.worker_timeout = worker_timeout
        self._given_env = env if isinstance(env, str) or not isinstance(env, gym.Env | VecEnv | None) else None
        self._seeds = np.random.SeedSequence()  # until set_random_seed
        # what workers share besides parameters and statistics, in the calling process's memory; a subclass fills it
        self._extras: dict[str, NDArray[Any]] = {}
        self._normalization: ModelNormalization | None = None
        self._beside: _Beside | None = None
        self._memory: Any = None  # of the learner inside this process, see Learner.memory
        # the learner's numbers, or how to get them, while an event is delivered
        self.statistics_now: dict[str, float] | Callable[[], dict[str, float]] | None = None
        if _init_setup_model:
            self._setup_model()

    # what a subclass brings

    @abstractmethod
    def _recipe(self) -> Recipe:
        """The learner's recipe with the present settings."""

    @staticmethod
    def _learned_parameters(policy: Any) -> Iterator[th.nn.Parameter]:
        """The parameters of a policy that workers share and change, in the order of the vector."""
        return policy.parameters()

    def _lower_bounds(self, flat: FlatParameters) -> tuple[tuple[slice, NDArray[np.float32]], ...]:
        """Parameters that no update may push below a value, each of its own."""
        return ()

    # set-up

    def _setup_model(self) -> None:
        self._check_arguments()
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        self.policy = self.policy_class(
            self.observation_space, self.action_space, self.lr_schedule, **self.policy_kwargs
        )
        self.policy = self.policy.to(self.device)
        self._flatten()
        if self.n_workers > 1 and self.env is not None:  # loaded without one it only predicts
            warm_up()

    def _flatten(self) -> None:
        """Put the policy's parameters and buffers into vectors, and the shared optimizer on top."""
        self._flat = FlatParameters(self._learned_parameters(self.policy))
        self._flatten_extras()
        self.policy.optimizer = FlatOptimizer(
            self._flat, self._update_rule(), lr=self.lr_schedule(1.0), n_workers=self.n_workers
        )

    def _flatten_extras(self) -> None:
        """Put what workers share besides parameters and statistics into vectors."""
        self._extras = {
            f"buffers_{kind}": vector.numpy(force=True) for kind, vector in flatten_buffers(self.policy).items()
        }

    def _take_up_changes(self) -> None:
        """Let the vectors be the policy's again, whatever was done to it since they were made.

        A loss of one's own that was minimized before (behavior cloning), a layer or policy put in another one's place,
        frozen parameters, weights set from a vector, another ``shared_optimizer`` or ``n_workers``. Another
        ``learning_rate`` makes the schedule anew; a schedule put in place by itself is kept.
        """
        self._follow_learning_rate()
        optimizer = self.policy.optimizer
        same = self._flat.consists_of(self._learned_parameters(self.policy))
        if same and not isinstance(optimizer, FlatOptimizer):
            raise ValueError(
                f"policy.optimizer is {type(optimizer).__name__}, but the workers share one that changes a flat "
                "vector. Leave it as it is, and choose it with shared_optimizer='rmsprop', 'rmsprop-local', 'momentum' "
                "or 'adam'."
            )
        if same and optimizer.serves(self._flat, self._update_rule(), self.n_workers):
            self._flat.gather()
            self._flatten_extras()
        else:
            self._flatten()
            if isinstance(optimizer, FlatOptimizer):
                self.policy.optimizer.take_over(optimizer)
        self.policy.optimizer.forget_frozen()

    def __getstate__(self) -> dict[str, Any]:
        # copied or pickled, tensors stop being views of one vector: they travel apart and are put together again
        state = {name: value for name, value in self.__dict__.items() if name not in self._made_anew}
        return {**state, "policy": self._policy_to_send(), "optimizer": self.policy.optimizer.detached_state_dict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        optimizer = state.pop("optimizer")
        self.__dict__.update(state, _normalization=None, _beside=None, statistics_now=None)
        self._flatten()
        self.policy.optimizer.load_state_dict(optimizer)

    def _check_arguments(self) -> None:
        if not hasattr(self, "observation_space"):
            raise ValueError(
                "env=None, but the networks are built for an environment's spaces; give an environment, or load a "
                "model with its class's load()."
            )
        if self._learning_rate_is_new:  # to check a schedule is to ask it
            check_learning_rate(self.learning_rate)
        check_whole("n_steps", self.n_steps, 1)
        check_number("gamma", self.gamma, 0.0, 1.0, remedy="for 99 % write 0.99")
        if self.max_grad_norm is not None:
            check_number(
                "max_grad_norm", self.max_grad_norm, 0.0, above=True, infinite=True, remedy="None does not clip"
            )
        check_whole("n_workers", self.n_workers, 1)
        if self.worker_timeout is not None:
            check_number(
                "worker_timeout", self.worker_timeout, 0.0, above=True, infinite=True, remedy="None waits for ever"
            )
        check_whole("stats_window_size", self._stats_window_size, 1)
        if self.tensorboard_log is not None and not isinstance(self.tensorboard_log, str | os.PathLike):
            raise ValueError(f"tensorboard_log={self.tensorboard_log!r}, but it must be a folder's name, or None.")
        if self.seed is not None:
            check_whole("seed", self.seed, 0, LARGEST_SEED)
        if not isinstance(self.policy_kwargs, Mapping):
            raise ValueError(
                f"policy_kwargs={self.policy_kwargs!r}, but it must be a dict of the policy's arguments, such as "
                "dict(net_arch=[64, 64])."
            )
        if self.policy_kwargs.get("use_sde"):
            raise ValueError(
                "policy_kwargs has use_sde=True, but asynchronous workers draw independent noise every step. Leave it "
                "out, or use agents.A2C or agents.PPO with use_sde=True."
            )
        if "optimizer_class" in self.policy_kwargs or "optimizer_kwargs" in self.policy_kwargs:
            raise ValueError(
                "policy_kwargs names an optimizer, but the workers share one that changes a flat vector. Choose it "
                "with shared_optimizer='rmsprop', 'rmsprop-local', 'momentum' or 'adam'."
            )

    def _update_rule(self) -> UpdateRule:
        return UpdateRule(name=self.shared_optimizer, alpha=self.rms_prop_alpha, eps=self.rms_prop_eps)

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed Python, NumPy, torch, the environment and the streams that workers get theirs from."""
        if seed is None:
            return
        # Python's own generator takes no NumPy integer
        super().set_random_seed(int(seed))
        self._seeds = np.random.SeedSequence(int(seed))

    def set_env(self, env: EnvironmentLike, force_reset: bool = True) -> None:
        """Learn from another environment of the same spaces and number of copies from now on.

        Args:
            env: id, Gymnasium environment, VecEnv, or a callable that returns either.
            force_reset: begin with a reset.
        """
        same = env is self.env
        super().set_env(resolve(env), force_reset)
        if not same:  # the same again is still made by what was given first
            self._given_env = env if isinstance(env, str) or not isinstance(env, gym.Env | VecEnv) else None

    @classmethod
    def load(cls, path: Any, env: EnvironmentLike | None = None, *args: Any, **kwargs: Any) -> Self:
        """As SB3's; ``env`` may also be an id or a callable."""
        model = super().load(path, None if env is None else resolve(env), *args, **kwargs)
        if env is not None and not isinstance(env, gym.Env | VecEnv):
            model._given_env = env
        return model

    # learning

    def learn(
        self,
        total_timesteps: int = 100_000,
        callback: MaybeCallback = None,
        log_interval: int | None = 100,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Train; the workers take exactly ``total_timesteps`` environment steps (or the next multiple of ``n_envs``).

        Args:
            total_timesteps: environment steps over all workers and environments.
            callback: called in this process, a whole segment at a time; see the documentation on callbacks.
            log_interval: segments between two dumps of the logger; None never dumps.
            tb_log_name: name of the run for TensorBoard.
            reset_num_timesteps: count from 0 and reset the environment; else go on (several workers reset their copies,
                which are made anew in every call).
            progress_bar: show one.

        Returns:
            The model.

        Raises:
            ValueError: an attribute was set to what it may not be.
            WorkerError: a worker was killed or is stuck.
            NonFiniteGradientError: a gradient was NaN or infinite; it was not applied.
            Exception: whatever an environment or a callback raised; the model is usable.
        """
        check_number("total_timesteps", total_timesteps)
        if self.env is None:
            raise ValueError("The model has no environment to learn in; call set_env, or load it with env=.")
        self._check_arguments()  # here, too: attributes may have been changed, or an environment been given since
        seen = self._last_obs
        tb_log_name = tb_log_name or type(self).__name__
        total_timesteps, initialized = self._setup_learn(
            math.ceil(total_timesteps), callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        if self._last_obs is not seen:
            self._memory = None  # the environment was reset
        begin = first_locals(
            self, total_timesteps, initialized, log_interval, tb_log_name, reset_num_timesteps, progress_bar
        )
        initialized.on_training_start(begin | self._own_first_locals, globals())
        self._take_up_changes()
        delivery = Delivery(self, initialized, total_timesteps, log_interval)
        steps = total_timesteps - self.num_timesteps
        with _one_torch_thread():
            if steps > 0 and self.n_workers == 1:
                self._learn_inside(steps, delivery)
            elif steps > 0:
                self._learn_beside(steps, delivery)
        self.update_progress(total_timesteps)
        initialized.on_training_end()
        return self

    def _task(self, delivery: Delivery) -> Task:
        constant = constant_of(self.lr_schedule)
        return Task(
            recipe=self._recipe(),
            learned_parameters=self._learned_parameters,
            rule=self._update_rule(),
            learning_rate=self.lr_schedule if constant is None else constant,
            n_steps=self.n_steps,
            max_grad_norm=self.max_grad_norm,
            steps_before=self.num_timesteps,
            total_steps=self._total_timesteps,
            lower_bounds=self._lower_bounds(self._flat),
            every_step=delivery.every_step,
        )

    def _own_arrays(self) -> dict[str, NDArray[Any]]:
        """What the workers share, in this process's memory; on the CPU the model's own."""
        parameters = self._flat.vector.numpy(force=True)
        return {"parameters": parameters, **self.policy.optimizer.arrays, **self._extras}

    def _normalization_arrays(self) -> dict[str, NDArray[Any]]:
        """Statistics of the environment's VecNormalize, where it has one that learns."""
        self._normalization = None
        if self._vec_normalize_env is None or not self._vec_normalize_env.training:
            return {}
        self._normalization = ModelNormalization(self._vec_normalize_env)
        return self._normalization.arrays()

    def _learn_inside(self, steps: int, delivery: Delivery) -> None:
        """One worker in this process, on the model's own environment and parameters."""
        assert self.env is not None
        arrays = SharedArrays(StepBudget.layout(1), shared=False).arrays | self._own_arrays()
        (seed,) = self._seeds.spawn(1)
        worker = build_worker(
            0,
            self._task(delivery),
            arrays,
            contextlib.nullcontext(),
            self.policy,
            self._flat,
            self.env,
            seed,
        )
        worker.budget.open(steps)
        if self._memory is not None:
            worker.learner.memory = self._memory
        before = self.num_timesteps
        updates_before = self._n_updates
        usable = True
        try:
            for event in worker.run(self._last_obs, self._last_episode_starts):
                if not delivery.deliver(event):
                    worker.budget.stop()
        except NonFiniteGradientError:
            usable = False
            raise
        finally:
            self._adopt(arrays)
            segment = worker.segment
            worker.stepper.leave(segment)
            # an exception within a segment leaves the environment somewhere inside it, and what it shows after one that
            # spoiled a gradient may be the cause: the next learn call resets
            goes_on = usable and segment.length > 0
            self._last_obs = copy.deepcopy(segment.observation_row(segment.length)) if goes_on else None
            self._last_episode_starts = segment.episode_starts[segment.length].copy()
            self._memory = worker.learner.memory
            self.num_timesteps = before + worker.budget.steps
            self._n_updates = updates_before + worker.budget.updates

    def _learn_beside(self, steps: int, delivery: Delivery) -> None:
        """Several workers in processes of their own, each on a copy of the environment."""
        assert self.env is not None
        try:
            policy = self._policy_to_send()
        except Exception as error:
            raise cannot_be_copied("policy", error) from error
        payload = pack(self._task(delivery), policy, factory_for(self._given_env, self.env))
        own = self._own_arrays() | self._normalization_arrays()
        layout = {name: (array.shape, array.dtype) for name, array in own.items()}
        shared = SharedArrays({**layout, **StepBudget.layout(self.n_workers)})
        for name, array in own.items():
            shared.arrays[name][:] = array
        before = self.num_timesteps
        updates_before = self._n_updates
        budget: StepBudget | None = None
        try:
            seeds = self._seeds.spawn(self.n_workers)
            with Supervisor(payload, shared, seeds, steps, self.worker_timeout) as workers:
                budget = workers.budget
                self._beside = _Beside(workers, shared.arrays, before)
                self._deliver_all(workers, delivery, shared.arrays)
        finally:
            self._beside = None
            # also when a worker died or the user interrupted: what was learned is kept
            self._adopt(shared.arrays)
            if budget is not None:
                self.num_timesteps = before + budget.steps
                self._n_updates = updates_before + budget.updates

    def _deliver_all(self, workers: Supervisor, delivery: Delivery, arrays: dict[str, NDArray[Any]]) -> None:
        going_on = True
        started = False
        for event in workers.events():
            if isinstance(event, Ready):
                if not started:
                    # starting processes is not training: time/fps tells how fast training is
                    self.start_time = time.time_ns()
                    started = True
            elif going_on:
                # one snapshot for the whole delivery: what a callback evaluates is what it saves
                self._adopt(arrays)
                going_on = delivery.deliver(event)
                if not going_on:
                    workers.stop()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Let the workers stand still while the block runs, for a callback that must see one moment of training.

        Inside, ``policy``, its optimizer and ``num_timesteps`` are those of that moment, with the steps whose events
        have not been delivered yet. With one worker a callback sees one moment anyway, and nothing happens.
        """
        if self._beside is None:
            yield
            return
        delivered = self.num_timesteps
        with self._beside.workers.paused():
            self._adopt(self._beside.arrays)
            self.num_timesteps = self._beside.steps_before + self._beside.workers.budget.steps
            try:
                yield
            finally:
                self.num_timesteps = delivered

    def _policy_to_send(self) -> BasePolicy:
        # without the optimizer; the deep copy's tensors own their memory, views of one vector would each bring it all
        left_out = [self.policy.optimizer]
        if hasattr(self.policy, "action_dist"):
            # of the last evaluation; where that had a graph its tensors cannot be copied
            left_out.append(getattr(self.policy.action_dist, "distribution", None))
        return copy.deepcopy(self.policy, {id(part): None for part in left_out})

    def _adopt(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Copy what workers share into the model; nothing to do where it is the model's own memory."""
        for name, own in self._own_arrays().items():
            if own.ctypes.data != arrays[name].ctypes.data:
                own[:] = arrays[name]
        if self._flat.vector.device.type != "cpu":
            with th.no_grad():
                self._flat.vector.copy_(th.from_numpy(arrays["parameters"]))
        if self._normalization is not None and "normalization" in arrays:
            self._normalization.adopt(arrays)

    # what the delivery of events asks of the model

    def told(self) -> dict[str, Any]:
        """The present values of the attributes that the workers are told when ``learn`` begins, by name."""
        return {name: getattr(self, name) for name in self._told}

    def update_progress(self, total_timesteps: int) -> None:
        """Set the remaining progress, and the learning rate that the optimizer shows."""
        if total_timesteps > 0:
            self._update_current_progress_remaining(self.num_timesteps, total_timesteps)
        for group in self.policy.optimizer.param_groups:
            group["lr"] = self.lr_schedule(self._current_progress_remaining)

    def dump_logs(self, iteration: int = 0) -> None:
        """Write the logger's lines now; SB3's LogEveryNTimesteps calls this.

        Args:
            iteration: segments delivered so far, shown where above 0.
        """
        self.update_progress(self._total_timesteps)
        record_statistics(self, iteration)
        self.logger.dump(step=self.num_timesteps)

    def count_episodes(self, infos: list[dict[str, Any]], dones: NDArray[np.bool_]) -> None:
        """Add the episodes that ended in one step to the statistics of the logger."""
        self._update_info_buffer(infos, dones)

    def remember_updates(self, updates: int) -> None:
        """Count gradient pushes as they are delivered; after ``learn`` the number is exact."""
        self._n_updates += updates

    def _init_callback(self, callback: MaybeCallback, progress_bar: bool = False) -> BaseCallback:
        if progress_bar:
            given = CallbackList(callback) if isinstance(callback, list) else callback
            if not isinstance(given, BaseCallback):
                given = ConvertCallback(given)
            callback = CallbackList([given, SegmentProgressBar()])
        return super()._init_callback(callback)

    # saving

    def _excluded_save_params(self) -> list[str]:
        # without the random streams: a seed makes them anew, and without one every loaded model shall draw its own
        return [*super()._excluded_save_params(), *self._made_anew, "_memory", "_given_env", "_seeds"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer"], []


@contextlib.contextmanager
def _one_torch_thread() -> Iterator[None]:
    before = th.get_num_threads()
    th.set_num_threads(1)
    try:
        yield
    finally:
        th.set_num_threads(before)
