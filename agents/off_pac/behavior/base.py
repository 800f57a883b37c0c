"""What the learner asks of a behavior policy: actions, and how likely they were."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from agents.common.importance import check_support, sample_index

FloatArray = NDArray[np.float64]
Observations = Any
"""[n, ...] the environment's own observations, or a dictionary of such arrays."""


class DiscreteBehavior(ABC):
    """Behavior over a finite number of actions.

    Attributes:
        name: how errors call it.
        uses_target: whether its probabilities depend on the target policy's.
        uses_observations: whether they depend on the observations.
    """

    name: str
    uses_target: bool = False
    uses_observations: bool = True

    @abstractmethod
    def probabilities(self, observations: Observations, target: FloatArray) -> FloatArray:
        """[n, n_actions] probabilities b(.|s), checked.

        Args:
            observations: [n, ...].
            target: [n, n_actions] pi(.|s).
        """

    def draw_with_rows(
        self, observations: Observations, target: Sequence[Sequence[float]] | FloatArray, uniforms: Sequence[float]
    ) -> tuple[list[int], FloatArray]:
        """Actions of n environments, and b(.|s) in full.

        Args:
            observations: [n, ...].
            target: n rows of pi(.|s).
            uniforms: n uniform numbers in [0, 1), the only randomness.

        Raises:
            ValueError: the probabilities are no distribution, or lack support where pi has it.
        """
        rows = self.probabilities(observations, np.asarray(target))
        check_support(rows, target, self.name)
        actions = [sample_index(row, uniform) for row, uniform in zip(rows.tolist(), uniforms, strict=True)]
        return actions, rows

    def draw(
        self, observations: Observations, target: Sequence[Sequence[float]], uniforms: Sequence[float]
    ) -> tuple[list[int], list[float]]:
        """Actions of n environments and their probabilities under b; arguments and errors as ``draw_with_rows``."""
        actions, rows = self.draw_with_rows(observations, target, uniforms)
        return actions, [float(row[action]) for row, action in zip(rows, actions, strict=True)]


class ContinuousTarget(Protocol):
    """The target policy's distribution for n observations, in environment units before clipping."""

    n: int

    def sample(self, generator: np.random.Generator) -> FloatArray:
        """[n, action_dim] actions."""
        ...

    def log_density(self, actions: FloatArray) -> FloatArray:
        """[n] log densities of actions [n, action_dim]."""
        ...


class ContinuousBehavior(ABC):
    """Behavior over a Box of actions; densities are per environment unit, before clipping."""

    name: str
    uses_observations: bool = True

    @abstractmethod
    def draw(
        self, observations: Observations, target: ContinuousTarget, generator: np.random.Generator
    ) -> tuple[FloatArray, FloatArray]:
        """Actions [n, action_dim] and their log densities [n].

        Raises:
            ValueError: an action or its density is not finite.
        """

    def checked(self, actions: FloatArray, log_density: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Both as they are.

        Raises:
            ValueError: NaN or infinity; names the observation's index.
        """
        valid = np.isfinite(actions).all(axis=1) & np.isfinite(log_density)
        if not valid.all():
            index = int(np.argmin(valid))
            raise ValueError(
                f"{self.name} gave the action {actions[index].tolist()} with log density {log_density[index]} for the "
                f"observation at index {index}, but both must be finite; correct the policy."
            )
        return actions, log_density


Behavior = DiscreteBehavior | ContinuousBehavior
