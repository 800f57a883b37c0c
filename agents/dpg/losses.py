"""What the logger shows of the updates: DDPG's two losses, as means over the transitions since its last entry."""

from __future__ import annotations

from typing import NamedTuple


class Losses(NamedTuple):
    """Means over transitions.

    Attributes:
        actor: -Q(s, mu(s)), by the critic before its update; that is -v(s) where the critic is compatible.
        critic: squared TD error.
    """

    actor: float
    critic: float


class RunningLosses:
    """Sums of losses until somebody asks for their means."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._value = self._squared = 0.0
        self._n = 0

    def add(self, value: float, squared_error: float, n: int = 1) -> None:
        """Count what an update of n transitions found.

        Args:
            value: sum of Q(s, mu(s)).
            squared_error: sum of the squared TD errors.
            n: transitions.
        """
        self._value += value
        self._squared += squared_error
        self._n += n

    def pop(self) -> Losses | None:
        """The means since the last call, or None where there was no update."""
        if not self._n:
            return None
        found = Losses(-self._value / self._n, self._squared / self._n)
        self._forget()
        return found
