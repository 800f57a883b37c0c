"""What an algorithm brings to the engine: how it acts and what gradient it takes from a segment.

The engine calls, once a segment: ``store.pull(learner.parameters)``, :meth:`Learner.begin`, :meth:`Learner.act` before
every step, :meth:`Learner.gradient`, then pushes the answer. A learner never sees a process, a lock or another worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy

from agents.asynchronous.segment import Segment
from agents.common.flat import FlatParameters


@dataclass(frozen=True)
class Setting:
    """What a learner is built from, in the worker.

    Attributes:
        policy: the worker's own copy, or the model's policy for the worker inside the calling process.
        flat: the policy's parameters and gradients as vectors, on the policy's device.
        parameters: (P,) where pulled parameters arrive; the flat vector itself on the CPU.
        gradient: (P,) where the gradient is answered; the flat gradient itself on the CPU.
        segment: the memory that the engine fills.
        worker: index of the worker, from 0.
        seed: of the worker's own random stream.
        arrays: shared arrays that the algorithm asked for (its recipe's ``layout``), by name.
    """

    policy: BasePolicy
    flat: FlatParameters
    parameters: NDArray[np.float32]
    gradient: NDArray[np.float32]
    segment: Segment
    worker: int
    seed: np.random.SeedSequence
    arrays: Mapping[str, NDArray[Any]]


class Learner(Protocol):
    """An acting rule and a loss.

    Attributes:
        parameters: (P,) where pulled parameters arrive.
        memory: what must go on, beside observations, where a later ``learn`` call goes on in the same episodes; None
            where nothing must.
    """

    parameters: NDArray[np.float32]
    memory: Any

    def begin(self, step: int, progress: float) -> None:
        """A segment begins at a global step; ``progress`` is that step's share of the run, in [0, 1]."""

    def act(self, t: int) -> NDArray[Any]:
        """Choose actions for the observations in row ``t``, store them in the segment, answer what to step with."""

    def gradient(self) -> NDArray[np.float32]:
        """Gradient (P,) of the loss summed over the segment's steps and environments."""

    def step_locals(self) -> dict[str, NDArray[Any]]:
        """Arrays (length, n_envs, ...) for callbacks' locals, after :meth:`gradient`: values, log_probs, ..."""

    def statistics(self) -> dict[str, float]:
        """Numbers of the last gradient for the logger, without the ``train/`` prefix."""


class Recipe(Protocol):
    """Builds learners; travels to the workers, so it holds plain settings only."""

    def learner(self, setting: Setting) -> Learner:
        """A learner for one worker."""
