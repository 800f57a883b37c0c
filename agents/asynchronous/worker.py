"""The worker: pull parameters, act for a segment, push its gradient, tell the caller.

:class:`Worker` is the loop and runs anywhere; :func:`main` is a worker process around it.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import math
import os
import pickle
import random
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from multiprocessing import connection, process
from typing import Any

import cloudpickle
import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv

from agents.asynchronous.budget import StepBudget
from agents.asynchronous.copies import EnvironmentFactory, travels
from agents.asynchronous.errors import NonFiniteGradientError
from agents.asynchronous.events import Event, Failed, Finished, Progress, Ready, Steps
from agents.asynchronous.learner import Learner, Recipe, Setting
from agents.asynchronous.memory import FileLock, SharedArrays
from agents.asynchronous.normalization import SharedNormalization, shown_space
from agents.asynchronous.optimizer import UpdateRule
from agents.asynchronous.segment import Observations, Segment
from agents.asynchronous.stepping import Stepper, make_stepper
from agents.asynchronous.store import MemoryStore, ParameterStore
from agents.common.arguments import SCHEDULES_GIVE_RATES, check_number
from agents.common.flat import FlatParameters, flatten_buffers
from agents.common.optimizers import clip_gradient
from agents.common.schedules import rounded_to_zero

# Between two events of a process whose caller does not look at single steps: often enough for a progress bar, seldom
# enough to leave the calling process idle.
_SECONDS_BETWEEN_EVENTS = 0.02


@dataclass(frozen=True, kw_only=True)
class Task:
    """What every worker of one ``learn`` call is told.

    Attributes:
        recipe: builds the learner.
        learned_parameters: those of a policy that the workers share, in the order of the vector.
        rule: how a gradient changes the shared parameters.
        learning_rate: a constant, or a function of the remaining progress.
        n_steps: vectorized steps a segment.
        max_grad_norm: gradients are scaled down to this Euclidean norm; None leaves them.
        steps_before: environment steps of earlier ``learn`` calls that count on.
        total_steps: the global step at which ``learn`` ends, for schedules.
        lower_bounds: parameters that must not fall below a value, each its own.
        every_step: whether callbacks look at single steps.
    """

    recipe: Recipe
    learned_parameters: Callable[[BasePolicy], Iterable[th.nn.Parameter]]
    rule: UpdateRule
    learning_rate: float | Callable[[float], float]
    n_steps: int
    max_grad_norm: float | None
    steps_before: int
    total_steps: int
    lower_bounds: tuple[tuple[slice, NDArray[np.float32]], ...]
    every_step: bool


def pack(task: Task, policy: BasePolicy, make_environment: EnvironmentFactory) -> bytes:
    """What :func:`main` unpacks: all that a worker process is told, by value.

    Raises:
        TypeError: a part cannot be pickled.
    """
    try:
        return cloudpickle.dumps((task, policy, make_environment))
    except Exception as error:
        parts = {
            "environment": make_environment,
            "policy": policy,
            **{field.name: getattr(task, field.name) for field in fields(task)},
        }
        name = next((name for name, part in parts.items() if not travels(part)), "model")
        raise cannot_be_copied(name, error) from error


def cannot_be_copied(part: str, error: Exception) -> TypeError:
    """What to raise where a part of what workers are told cannot be copied."""
    return TypeError(
        f"The {part} cannot be copied into workers ({type(error).__name__}: {error}). Leave out what cannot be pickled "
        "(locks, open files, connections), or make it inside of what is called in the worker; n_workers=1 needs no "
        "copies."
    )


class Worker:
    """One actor-learner.

    Args:
        index: from 0.
        task: what to do.
        store: where the parameters live.
        budget: who may still step.
        stepper: its environments.
        segment: memory for one segment.
        learner: how to act and what to learn.
        seconds_between_events: 0 answers an event a segment, for a caller in the same process.
        normalization: statistics of the environments, to be shared with other workers after each segment.
    """

    def __init__(
        self,
        index: int,
        task: Task,
        store: ParameterStore,
        budget: StepBudget,
        stepper: Stepper,
        segment: Segment,
        learner: Learner,
        seconds_between_events: float = 0.0,
        normalization: SharedNormalization | None = None,
    ) -> None:
        self.index = index
        self.task = task
        self.store = store
        self.budget = budget
        self.stepper = stepper
        self.segment = segment
        self.learner = learner
        self._normalization = normalization
        self._lag: int | None = None
        self._inside = seconds_between_events == 0.0
        self._seconds_between_events = 0.0 if task.every_step else seconds_between_events

    def run(
        self, observations: Observations | None = None, episode_starts: NDArray[np.bool_] | None = None
    ) -> Iterator[Progress]:
        """Work until no step is left, or all must stop; an event after every segment, before its gradient is applied.

        Args:
            observations: what the environments show now; None resets them.
            episode_starts: [n_envs], whether that begins an episode; None for all.

        Raises:
            NonFiniteGradientError: a gradient holds NaN or infinity; it is not applied.
            ValueError: the schedule of the learning rate gives none; no gradient is applied with it.
        """
        segment, budget, stepper, learner, task = self.segment, self.budget, self.stepper, self.learner, self.task
        n_envs = stepper.n_envs
        stepper.start(segment, observations, episode_starts)
        pending = Progress(self.index, 0, 0)
        last_event = time.perf_counter()
        while True:
            budget.stand_still(self.index)
            granted = budget.reserve(task.n_steps, n_envs)
            if not granted:
                break
            segment.begin()
            # one segment an event is looked at: summing everybody's counters costs a percent of a segment
            updates_at_pull = budget.updates if self._lag is None else -1
            self.store.pull(learner.parameters)
            step = task.steps_before + budget.reserved - granted * n_envs
            learner.begin(step, min(1.0, step / task.total_steps))
            infos = self._collect(granted)
            taken = segment.length
            if taken < granted:
                budget.give_back((granted - taken) * n_envs)
            if self._normalization is not None:
                self._normalization.exchange()
            gradient = learner.gradient()
            norm = clip_gradient(gradient, task.max_grad_norm)
            if not math.isfinite(norm):
                raise NonFiniteGradientError(self._describe_bad_gradient(norm))
            budget.count(self.index, taken * n_envs)
            pending.segments += 1
            pending.timesteps += taken * n_envs
            now = time.perf_counter()
            if now - last_event >= self._seconds_between_events:
                last_event = now
                yield self._complete(pending, infos)
                pending = Progress(self.index, 0, 0)
                if budget.stopped:
                    return
            if updates_at_pull >= 0:
                self._lag = budget.updates - updates_at_pull
            self.store.push(gradient, self._learning_rate())
            budget.count_update(self.index)
        if self._normalization is not None:
            self._normalization.exchange()  # the reset of a worker that found no step left was seen, too
        if pending.segments:
            yield self._complete(pending, None)

    def _collect(self, granted: int) -> list[list[dict[str, Any]]] | None:
        """Fill the segment; with one environment it ends where the episode ends."""
        segment, stepper, act = self.segment, self.stepper, self.learner.act
        step, beat, index = stepper.step, self.budget.beat, self.index
        alone = stepper.n_envs == 1
        infos: list[list[dict[str, Any]]] | None = [] if self.task.every_step else None
        t = 0
        while t < granted:
            ended = step(act(t), segment, t)
            t += 1
            beat(index)
            if infos is not None:
                infos.append(stepper.infos())
            if ended and alone:
                break
        segment.length = t
        return infos

    def _learning_rate(self) -> float:
        """The rate for the global step.

        Raises:
            ValueError: a schedule gives none; applied, it would spoil the parameters of all workers.
        """
        rate = self.task.learning_rate
        if callable(rate):
            done = (self.task.steps_before + self.budget.reserved) / self.task.total_steps
            remaining = max(0.0, 1.0 - done)
            scheduled = rounded_to_zero(float(rate(remaining)))
            check_number(f"learning_rate({remaining:g})", scheduled, 0.0, remedy=SCHEDULES_GIVE_RATES)
            return scheduled
        return rate

    def _complete(self, event: Progress, infos: list[list[dict[str, Any]]] | None) -> Progress:
        if self.stepper.episodes:
            event.episodes = list(self.stepper.episodes)
            self.stepper.episodes.clear()
        if self._inside:
            event.statistics = self.learner.statistics
        else:
            event.statistics = self.learner.statistics()
            if self._lag is not None:
                event.statistics["policy_lag"] = float(self._lag)
                self._lag = None
        if infos is not None:
            event.steps = self._steps(infos)
        return event

    def _steps(self, infos: list[list[dict[str, Any]]]) -> Steps:
        segment = self.segment
        n = segment.length
        extra = dict(self.learner.step_locals())
        new = segment.observations
        return Steps(
            new_observations={k: rows[1 : n + 1].copy() for k, rows in new.items()}
            if isinstance(new, dict)
            else new[1 : n + 1].copy(),
            actions=segment.actions[:n].copy(),
            clipped_actions=extra.pop("clipped_actions", segment.actions[:n].copy()),
            rewards=segment.rewards[:n].copy(),
            dones=segment.terminated[:n] | segment.truncated[:n],
            infos=infos,
            extra=extra,
        )

    def _describe_bad_gradient(self, norm: float) -> str:
        return (
            f"Worker {self.index} computed a gradient of norm {norm} at global step "
            f"{self.task.steps_before + self.budget.steps} (update {self.budget.updates}). It was not applied. Look "
            "for NaN or infinite observations and rewards first; then lower learning_rate or max_grad_norm, or scale "
            "the rewards."
        )


def build_worker(
    index: int,
    task: Task,
    arrays: dict[str, NDArray[Any]],
    lock: contextlib.AbstractContextManager[None] | FileLock,
    policy: BasePolicy,
    flat: FlatParameters,
    venv: VecEnv,
    seed: np.random.SeedSequence,
    seconds_between_events: float = 0.0,
    normalization: SharedNormalization | None = None,
) -> Worker:
    """Put one worker together, in whatever process it will run."""
    shared = arrays["parameters"]
    if flat.vector.device.type == "cpu":
        parameters = shared if flat.vector.data_ptr() == shared.ctypes.data else flat.vector.numpy()
        gradient = flat.gradient.numpy()
    else:
        parameters, gradient = np.empty_like(shared), np.empty_like(shared)
    segment = Segment(shown_space(venv), venv.action_space, task.n_steps, venv.num_envs)
    setting = Setting(
        policy=policy,
        flat=flat,
        parameters=parameters,
        gradient=gradient,
        segment=segment,
        worker=index,
        seed=seed,
        arrays=arrays,
    )
    return Worker(
        index,
        task,
        MemoryStore(arrays, task.rule, index, task.lower_bounds),
        StepBudget(arrays["counters"], lock),
        make_stepper(venv, keep_infos=task.every_step),
        segment,
        task.recipe.learner(setting),
        seconds_between_events,
        normalization,
    )


def main(
    index: int,
    payload: bytes,
    shared: SharedArrays,
    lock: FileLock,
    pipe: connection.Connection,
    seed: np.random.SeedSequence,
) -> None:
    """A worker process.

    Args:
        index: the worker's, from 0.
        payload: what :func:`pack` answered.
        shared: parameters, statistics, counters.
        lock: of the budget.
        pipe: takes events.
        seed: of all the worker's random streams.
    """
    # Ctrl-C reaches the whole process group; the calling process alone decides what follows
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    th.set_num_threads(1)
    _end_with_parent()
    venv: VecEnv | None = None
    try:
        task, policy, make_environment = cloudpickle.loads(payload)
        env_seed, torch_seed, global_seed, learner_seed = seed.spawn(4)
        th.manual_seed(_number(torch_seed))
        np.random.seed(_number(global_seed))  # noqa: NPY002 - environments may draw from it
        random.seed(_number(global_seed))
        venv = make_environment(index)
        venv.seed(_number(env_seed))
        venv.action_space.seed(_number(env_seed))
        _attach_buffers(policy, shared.arrays)
        flat = FlatParameters(task.learned_parameters(policy))
        normalization = SharedNormalization.of(venv, shared.arrays, lock)
        worker = build_worker(
            index,
            task,
            shared.arrays,
            lock,
            policy,
            flat,
            venv,
            learner_seed,
            _SECONDS_BETWEEN_EVENTS,
            normalization,
        )
        _send(pipe, Ready(index))
        for event in worker.run():
            _send(pipe, event)
        complaint = _close(venv)
        venv = None
        _send(pipe, Finished(index, complaint))
    except BrokenPipeError:
        return  # the calling process has let go: nothing left to tell, and nobody to tell it
    except BaseException as error:
        _send_failure(pipe, index, error)
        raise SystemExit(1) from error
    finally:
        if venv is not None:
            _close(venv)  # what it raises would only hide why the worker ends
        pipe.close()


def _close(venv: VecEnv) -> str | None:
    """Close a worker's environments: their simulators, windows and files are nobody else's.

    Returns:
        The exception that this raised, in words.
    """
    try:
        venv.close()
    except Exception as error:  # noqa: BLE001 - whatever it is, nothing of what was learned depends on it
        return repr(error)
    return None


def _attach_buffers(policy: BasePolicy, arrays: dict[str, NDArray[Any]]) -> None:
    """Let running statistics of the policy's layers be everybody's; on another device they stay the worker's own."""
    if policy.device.type == "cpu":
        prefix = "buffers_"
        shared = {name.removeprefix(prefix): th.from_numpy(a) for name, a in arrays.items() if name.startswith(prefix)}
        flatten_buffers(policy, shared)


def _number(seed: np.random.SeedSequence) -> int:
    return int(seed.generate_state(1)[0])


def _send(pipe: connection.Connection, event: Event) -> None:
    """Send an event; infos may hold what only the caller's main module defines, which then travels by value.

    Raises:
        TypeError: infos, or what a Monitor took from them, cannot be pickled.
    """
    try:
        message = pickle.dumps(event, pickle.HIGHEST_PROTOCOL)
    except Exception:  # noqa: BLE001 - any class may refuse to be pickled, in any way
        try:
            message = cloudpickle.dumps(event)
        except Exception as error:
            raise TypeError(
                f"{_unsendable(event)} cannot be sent to the calling process ({type(error).__name__}: {error}). Leave "
                "it out, let callbacks that look at no single step say so with per_step = False, so that no infos are "
                "sent, or use n_workers=1, which sends nothing."
            ) from error
    pipe.send_bytes(message)


def _unsendable(event: Event) -> str:
    """What of an event cannot be pickled, in words."""
    if isinstance(event, Progress):
        infos = list(itertools.chain.from_iterable(event.steps.infos)) if event.steps is not None else []
        # where no step is looked at, what a Monitor took from the last info of each episode
        infos += [{**(record or {}), "is_success": success} for record, success in event.episodes]
        for info in infos:
            for key, value in info.items():
                if not travels(value):
                    return f"infos[{key!r}] of the environment, a {type(value).__name__},"
    return f"A {type(event).__name__} event"


def _send_failure(pipe: connection.Connection, index: int, error: BaseException) -> None:
    summary = "".join(traceback.format_exception_only(error)).strip()
    text = "".join(traceback.format_exception(error))
    pickled: bytes | None
    try:
        pickled = cloudpickle.dumps(error)
        cloudpickle.loads(pickled)
    except Exception as problem:  # noqa: BLE001 - any class may refuse to be pickled, in any way; the text still arrives
        pickled = None
        text += f"(the exception itself could not be sent: {problem!r})\n"
    with contextlib.suppress(BrokenPipeError):
        _send(pipe, Failed(index, pickled, summary, text))


def _end_with_parent() -> None:
    """End this process when the calling process is gone, however it went.

    The kernel does it: a thread of this process would wait for an environment that does not let go of the interpreter.
    """
    parent = process.parent_process()
    assert parent is not None
    sentinel = parent.sentinel
    fcntl.fcntl(sentinel, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(sentinel, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(sentinel, fcntl.F_SETFL, fcntl.fcntl(sentinel, fcntl.F_GETFL) | os.O_ASYNC)
    if connection.wait([sentinel], 0):  # it went before
        os._exit(1)
