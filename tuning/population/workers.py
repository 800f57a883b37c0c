"""Intervals of a generation, one after the other in this process or side by side in others."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

from tuning.population.member import Interval, train_interval

#: Is told each member that is done, and its result.
Done = Callable[[int, dict[str, Any]], None]


def train_all(intervals: Sequence[Interval], n_jobs: int, done: Done) -> list[dict[str, Any]]:
    """Train all members of a generation.

    Args:
        intervals: one a member.
        n_jobs: processes; 1 trains in this one.
        done: told as they end.

    Returns:
        Results, in the order of the members: they do not depend on `n_jobs`.
    """
    results: dict[int, dict[str, Any]] = {}
    if n_jobs == 1:
        for member, interval in enumerate(intervals):
            results[member] = train_interval(interval)
            done(member, results[member])
        return [results[member] for member in range(len(intervals))]
    pool = ProcessPoolExecutor(n_jobs, multiprocessing.get_context("spawn"), initializer=_end_with_parent)
    try:
        futures = {pool.submit(train_interval, interval): member for member, interval in enumerate(intervals)}
        for future in as_completed(futures):
            results[futures[future]] = future.result()
            done(futures[future], results[futures[future]])
    finally:
        pool.shutdown(cancel_futures=True)
    return [results[member] for member in range(len(intervals))]


def _end_with_parent() -> None:
    """Let a worker end when the process that started it was killed: nobody else would end it."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
