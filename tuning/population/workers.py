"""Intervals of a generation, one after the other in this process or side by side in others."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing.connection import Connection
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

    Raises:
        KeyboardInterrupt: no worker is left; intervals that were not complete are trained again another time.
    """
    results: dict[int, dict[str, Any]] = {}
    if n_jobs == 1:
        for member, interval in enumerate(intervals):
            results[member] = train_interval(interval)
            done(member, results[member])
        return [results[member] for member in range(len(intervals))]
    context = multiprocessing.get_context("spawn")
    workers_end, our_end = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(n_jobs, context, initializer=_end_with, initargs=(workers_end,))
    try:
        with _children_without_ctrl_c():
            futures = {pool.submit(train_interval, interval): member for member, interval in enumerate(intervals)}
        for future in as_completed(futures):
            results[futures[future]] = future.result()
            done(futures[future], results[futures[future]])
    except BaseException:
        our_end.close()  # else the pool waits until the intervals that were begun are trained to their end
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        our_end.close()
        workers_end.close()
    return [results[member] for member in range(len(intervals))]


@contextmanager
def _children_without_ctrl_c() -> Iterator[None]:
    """Processes that are started here ignore the terminal's Ctrl-C: ending them is for us, without their tracebacks."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may say what signals do
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # which, other than a handler, is inherited
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end_with(pipe: Connection) -> None:
    """Let a worker end when the pipe's other end closes: when its owner gives up or ends, however it ends."""

    def wait() -> None:
        pipe.poll(None)  # nothing is ever sent
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
