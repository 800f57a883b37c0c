"""Where the parameters live: a worker pulls them and pushes gradients, and knows nothing else.

:class:`MemoryStore` is one flat vector that all workers of a machine share. A store on another machine takes its place
by offering the same two methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from agents.asynchronous.optimizer import UpdateRule

FloatVector = NDArray[np.float32]


class ParameterStore(Protocol):
    """The two methods an asynchronous worker needs."""

    def pull(self, out: FloatVector) -> None:
        """Copy the present parameters into ``out`` (P,)."""

    def push(self, gradient: FloatVector, learning_rate: float) -> None:
        """Let a gradient (P,) change the parameters."""


class MemoryStore:
    """Parameters and optimizer statistics in memory; updates are applied in place, without locks (Hogwild).

    Args:
        arrays: "parameters" (P,) and the rule's statistics, by name.
        rule: how a gradient changes the parameters.
        worker: whose statistics to use where every worker keeps its own.
        lower_bounds: (slice, values) pairs: parameters that an update may not push below a value, each its own.
            Who looks into the memory itself may see an update that is not complete; ``pull`` never gives one.
    """

    def __init__(
        self,
        arrays: Mapping[str, NDArray[Any]],
        rule: UpdateRule,
        worker: int,
        lower_bounds: tuple[tuple[slice, FloatVector], ...] = (),
    ) -> None:
        self.parameters: FloatVector = arrays["parameters"]
        self._update = rule.bind(self.parameters, arrays, worker)
        self._bounds = lower_bounds

    def pull(self, out: FloatVector) -> None:
        """Copy the present parameters into ``out``; nothing to do when it is the store's own vector."""
        if out is not self.parameters:
            np.copyto(out, self.parameters)
            self._raise_to_bounds(out)  # another worker's update may not have been followed by its bounds yet

    def push(self, gradient: FloatVector, learning_rate: float) -> None:
        """Apply a gradient at once."""
        self._update(gradient, learning_rate)
        self._raise_to_bounds(self.parameters)

    def _raise_to_bounds(self, vector: FloatVector) -> None:
        for where, values in self._bounds:
            np.maximum(vector[where], values, out=vector[where])
