"""Starts, watches and stops worker processes.

Whatever happens, no process is left when the ``with`` block is: a worker that raised, was killed or is stuck ends the
others, and so do an exception or Ctrl-C in the block.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from types import TracebackType
from typing import Any

import cloudpickle
import numpy as np

from agents.asynchronous.budget import StepBudget
from agents.asynchronous.errors import RemoteTraceback, WorkerError, WorkerTimeoutError
from agents.asynchronous.events import Event, Failed, Finished, Progress, Ready
from agents.asynchronous.memory import FileLock, SharedArrays
from agents.asynchronous.processes import WorkerProcess, warm_up
from agents.asynchronous.worker import main

# A worker that was told to stop finishes its segment first; one inside a slow environment step is waited for no longer.
_SECONDS_TO_STOP = 2.0
_SECONDS_TO_DIE = 1.0
_SECONDS_BETWEEN_LOOKS = 0.002


@dataclass
class _Closed:
    """A worker's process or pipe has ended."""

    worker: int


class Supervisor:
    """Worker processes of one ``learn`` call, as a context manager.

    Args:
        payload: cloudpickle of (task, policy, environment factory), the same for all.
        shared: memory of parameters, statistics and counters.
        seeds: one a worker.
        worker_timeout: seconds without a sign of life before a worker counts as stuck; None waits for ever.
    """

    def __init__(
        self,
        payload: bytes,
        shared: SharedArrays,
        seeds: Sequence[np.random.SeedSequence],
        worker_timeout: float | None,
    ) -> None:
        self._payload = payload
        self._shared = shared
        self._seeds = seeds
        self._timeout = worker_timeout
        self._lock = FileLock()
        self.budget = StepBudget(shared.arrays["counters"], self._lock)
        self._processes: list[WorkerProcess] = []
        self._pipes: list[connection.Connection] = []
        self._open: set[int] = set()
        self._done: set[int] = set()
        self._backlog: deque[Event | _Closed] = deque()
        self._watch = _Watch(worker_timeout, self.budget)

    def __enter__(self) -> Supervisor:
        warm_up()
        try:
            for index, seed in enumerate(self._seeds):
                receive, send = connection.Pipe(duplex=False)
                self._pipes.append(receive)
                process = WorkerProcess(
                    target=main,
                    name=f"actorzoo-worker-{index}",
                    args=(index, self._payload, self._shared, self._lock, send, seed),
                )
                try:
                    process.start()
                finally:
                    # the worker holds the only writing end now, so its death reads as the end of the pipe
                    send.close()
                self._processes.append(process)
                self._open.add(index)
        except BaseException:
            self._shut_down()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._shut_down()

    def events(self) -> Iterator[Progress | Ready]:
        """Events as they arrive, until every worker has finished.

        Raises:
            WorkerError: a worker was killed or ended without a word.
            WorkerTimeoutError: a worker gave no sign of life for ``worker_timeout`` seconds.
            Exception: what a worker raised, with the worker's traceback as its cause.
        """
        while True:
            while self._backlog:
                event = self._backlog.popleft()
                if isinstance(event, _Closed):
                    if event.worker not in self._done:
                        raise self._unexpected_end(event.worker)
                elif isinstance(event, Finished):
                    self._done.add(event.worker)
                    self._watch.forget(event.worker)
                elif isinstance(event, Failed):
                    raise self._failure(event)
                else:
                    if isinstance(event, Ready):
                        self._watch.begin(event.worker)
                    yield event
            if not self._open:
                return
            self._receive(self._watch.seconds_to_look_again())
            # right after receiving, so that a worker that waited for its full pipe to be read has just been heard
            if (stuck := self._watch.stuck()) is not None:
                raise WorkerTimeoutError(
                    f"Worker {stuck} of {len(self._processes)} (process {self._processes[stuck].pid}) gave no sign of "
                    f"life for worker_timeout={self._timeout} s; its environment's step() or reset() does not return. "
                    "It was stopped. Raise worker_timeout if a step may take that long."
                )

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Let every worker stand still between two segments while the block runs.

        Events that arrive meanwhile are kept for :meth:`events`, which reports failures, too.
        """
        self.budget.pause()
        try:
            while any(worker in self._open and not self.budget.stands_still(worker) for worker in self._open):
                self._receive(_SECONDS_BETWEEN_LOOKS)
                if self._watch.stuck() is not None:
                    break  # it would not answer before its timeout, and has none left; the next event is the error
            yield
        finally:
            self.budget.resume()

    def _receive(self, timeout: float | None) -> None:
        """Wait for events or ends of workers, and put them into the backlog."""
        sentinels = {self._processes[worker].sentinel: worker for worker in self._open}
        pipes: dict[Any, int] = {self._pipes[worker]: worker for worker in self._open}
        ready = connection.wait([*pipes, *sentinels], timeout)
        # a worker that has just died may have said why: its pipe is read before its end is noted
        for worker in {pipes[found] for found in ready if found in pipes}:
            self._watch.heard(worker)
            try:
                self._backlog.append(self._pipes[worker].recv())
            except (EOFError, ConnectionResetError):
                self._close(worker)
        for worker in {sentinels[found] for found in ready if isinstance(found, int)}:
            # its own children may still hold the pipe open, so that it never reads as ended
            if worker in self._open and not self._pipes[worker].poll():
                self._close(worker)

    def _close(self, worker: int) -> None:
        self._open.discard(worker)
        self._backlog.append(_Closed(worker))

    def _unexpected_end(self, worker: int) -> WorkerError:
        process = self._processes[worker]
        process.join(_SECONDS_TO_DIE)
        code = process.exitcode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            how = f"was killed by {name}"
            if -code == signal.SIGKILL:
                how += " (the kernel does that when memory runs out)"
        else:
            how = f"ended with exit code {code}"
        return WorkerError(
            f"Worker {worker} of {len(self._processes)} (process {process.pid}) {how}. The other workers were stopped; "
            "the model holds the parameters they had reached."
        )

    def _failure(self, event: Failed) -> BaseException:
        error: BaseException
        if event.error is None:
            error = WorkerError(f"Worker {event.worker} raised an exception; its traceback is above.")
        else:
            error = cloudpickle.loads(event.error)
        error.__cause__ = RemoteTraceback(f"in worker {event.worker} of {len(self._processes)}:\n{event.text}")
        return error

    def _shut_down(self) -> None:
        """Tell every worker to end, give it a moment, then end it."""
        self.budget.stop()
        deadline = time.monotonic() + _SECONDS_TO_STOP
        try:
            self._drain(deadline)
        finally:
            for process in self._processes:
                if process.is_alive():
                    process.terminate()
            for process in self._processes:
                process.join(_SECONDS_TO_DIE)
                if process.is_alive():
                    process.kill()
                    process.join()
                process.close()
            for pipe in self._pipes:
                pipe.close()
            self._lock.close()

    def _drain(self, deadline: float) -> None:
        """Read and drop what workers still send, so that none blocks on a full pipe, until all have gone."""
        open_pipes: list[Any] = list(self._pipes)
        while open_pipes and (left := deadline - time.monotonic()) > 0:
            for pipe in connection.wait(open_pipes, left):
                with contextlib.suppress(EOFError, OSError):
                    pipe.recv_bytes()  # type: ignore[union-attr]
                    continue
                open_pipes.remove(pipe)


class _Watch:
    """Who has been silent for how long."""

    def __init__(self, timeout: float | None, budget: StepBudget) -> None:
        self._timeout = timeout
        self._budget = budget
        self._last: dict[int, tuple[int, float]] = {}
        self._next_look = 0.0

    def begin(self, worker: int) -> None:
        self._last[worker] = (self._budget.beats()[worker], time.monotonic())

    def heard(self, worker: int) -> None:
        if worker in self._last:
            self.begin(worker)

    def forget(self, worker: int) -> None:
        self._last.pop(worker, None)

    def seconds_to_look_again(self) -> float | None:
        return None if self._timeout is None else max(0.01, self._timeout / 4)

    def stuck(self) -> int | None:
        """The first worker that has been silent too long."""
        now = time.monotonic()
        if self._timeout is None or now < self._next_look:
            return None
        self._next_look = now + self._timeout / 4
        beats = self._budget.beats()
        for worker, (beat, since) in list(self._last.items()):
            if beats[worker] != beat:
                self._last[worker] = (beats[worker], now)
            elif now - since > self._timeout:
                return worker
        return None
