"""Who may still take how many environment steps, and who took them.

Workers reserve a segment's steps under one lock and give back what they did not use; every step is counted in the
worker's own slot, which only it writes. So the budget is exact, no lock is taken per step, and a reader sums slots.
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from agents.asynchronous.memory import Layout, Lock

_SLOT = 8  # int64 numbers a worker: one cache line, so that workers do not write into each other's
_RESERVED, _LIMIT, _STOP, _PAUSE = 0, 1, 2, 3
_STEPS, _UPDATES, _BEAT, _STILL = 0, 1, 2, 3
_SECONDS_BETWEEN_LOOKS = 0.001


class StepBudget:
    """Shared counters of one ``learn`` call.

    Args:
        counters: int64 memory of :meth:`layout`'s size, shared by all workers.
        lock: taken once to reserve and once to give back; any context manager for a single worker.
    """

    def __init__(self, counters: NDArray[np.int64], lock: Lock) -> None:
        # item access of a memoryview costs half of NumPy's
        self._numbers = memoryview(counters)  # type: ignore[arg-type]  # NumPy's stubs hide the buffer
        self._array = counters
        self._lock = lock
        self.n_workers = len(counters) // _SLOT - 1

    @staticmethod
    def layout(n_workers: int) -> Layout:
        """The array that the counters of so many workers need."""
        return {"counters": (((n_workers + 1) * _SLOT,), np.int64)}

    def open(self, steps: int) -> None:
        """Set the number of environment steps that may be taken in total."""
        self._numbers[_LIMIT] = steps

    def reserve(self, n_steps: int, n_envs: int) -> int:
        """Take up to ``n_steps`` vectorized steps of ``n_envs`` environments; 0 when none is left or all must stop.

        The last one may exceed the budget by less than ``n_envs``: a vectorized step cannot be cut. A worker that is
        answered 0 may go: whoever gives steps back comes again and takes them itself.
        """
        numbers = self._numbers
        with self._lock:
            reserved = numbers[_RESERVED]
            left = numbers[_LIMIT] - reserved
            if left <= 0 or numbers[_STOP]:
                return 0
            granted = min(n_steps, -(-left // n_envs))
            numbers[_RESERVED] = reserved + granted * n_envs
        return granted

    def stand_still(self, worker: int) -> None:
        """Wait, as a worker between two segments, while there is a pause."""
        numbers = self._numbers
        if not numbers[_PAUSE] % 2:
            return
        slot = (worker + 1) * _SLOT
        while (pause := numbers[_PAUSE]) % 2 and not numbers[_STOP]:
            numbers[slot + _STILL] = pause
            time.sleep(_SECONDS_BETWEEN_LOOKS)
            numbers[slot + _BEAT] += 1
        numbers[slot + _STILL] = 0

    def pause(self) -> None:
        """Let every worker stand still when it has finished its segment.

        Every pause has an odd number of its own: a worker that is just leaving the last one does not count as standing
        still in the next.
        """
        self._numbers[_PAUSE] += 1

    def resume(self) -> None:
        """Let the workers go on."""
        self._numbers[_PAUSE] += 1

    def stands_still(self, worker: int) -> bool:
        """Whether a worker has noticed the present pause."""
        return self._numbers[(worker + 1) * _SLOT + _STILL] == self._numbers[_PAUSE]

    def give_back(self, steps: int) -> None:
        """Return environment steps that were reserved and not taken."""
        with self._lock:
            self._numbers[_RESERVED] -= steps

    def stop(self) -> None:
        """Let every worker end after the segment it is in."""
        self._numbers[_STOP] = 1

    @property
    def stopped(self) -> bool:
        """Whether the workers were told to end."""
        return bool(self._numbers[_STOP])

    @property
    def reserved(self) -> int:
        """Environment steps taken or about to be taken, over all workers: the global step of schedules."""
        return self._numbers[_RESERVED]

    def beat(self, worker: int) -> None:
        """A worker's sign of life."""
        self._numbers[(worker + 1) * _SLOT + _BEAT] += 1

    def count(self, worker: int, steps: int) -> None:
        """Add environment steps to a worker's own slot."""
        self._numbers[(worker + 1) * _SLOT + _STEPS] += steps

    def count_update(self, worker: int) -> None:
        """Add one gradient push to a worker's own slot."""
        self._numbers[(worker + 1) * _SLOT + _UPDATES] += 1

    def beats(self) -> list[int]:
        """Every worker's signs of life so far."""
        return [int(n) for n in self._array[_SLOT + _BEAT :: _SLOT]]

    @property
    def steps(self) -> int:
        """Environment steps taken by all workers."""
        return int(self._array[_SLOT + _STEPS :: _SLOT].sum())

    @property
    def updates(self) -> int:
        """Gradient pushes of all workers."""
        return int(self._array[_SLOT + _UPDATES :: _SLOT].sum())
