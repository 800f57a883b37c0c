"""Starts, watches and stops worker processes.

Whatever happens, no process is left when the ``with`` block is: a worker that raised, was killed or is stuck ends the
others, and so do an exception or Ctrl-C in the block.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import time
import warnings
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
from agents.asynchronous.processes import WorkerProcess, server_id, server_is_alive, warm_up
from agents.asynchronous.worker import main

# A worker that was told to stop finishes its segment first; one inside a slow environment step is waited for no longer.
_SECONDS_TO_STOP = 2.0
# After a callback has stopped training the workers may finish their segments, for at most so long.
_SECONDS_TO_FINISH = 5.0
# A worker imports and makes its environment before its first step: so much is allowed whatever worker_timeout says.
_SECONDS_TO_START = 30.0
_SECONDS_TO_DIE = 1.0
_SECONDS_BETWEEN_LOOKS = 0.002
# What multiprocessing answers for a worker whose server could not tell how it ended.
_UNKNOWN_EXIT_CODE = 255


@dataclass
class _Closed:
    """A worker's process or pipe has ended."""

    worker: int


class Supervisor:
    """Worker processes of one ``learn`` call, as a context manager.

    Args:
        payload: what ``worker.pack`` answered, the same for all.
        shared: memory of parameters, statistics and counters.
        seeds: one a worker.
        steps: environment steps that the workers may take in total.
        worker_timeout: seconds without a sign of life before a worker counts as stuck; None waits for ever.
    """

    def __init__(
        self,
        payload: bytes,
        shared: SharedArrays,
        seeds: Sequence[np.random.SeedSequence],
        steps: int,
        worker_timeout: float | None,
    ) -> None:
        self._payload = payload
        self._shared = shared
        self._seeds = seeds
        self._timeout = worker_timeout
        self._lock = FileLock()
        self.budget = StepBudget(shared.arrays["counters"], self._lock)
        # before any worker starts: one that found no step to take would go home
        self.budget.open(steps)
        self._processes: list[WorkerProcess] = []
        self._pipes: list[connection.Connection] = []
        self._open: set[int] = set()
        self._done: set[int] = set()
        self._backlog: deque[Event | _Closed] = deque()
        self._watch = _Watch(worker_timeout, self.budget)
        self._deadline: float | None = None  # for finishing the last segments
        self._pauses = 0
        self._server = 0

    def __enter__(self) -> Supervisor:
        warm_up()
        self._server = server_id()
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
                self._watch.start(index)
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
                    self._warn_of_bad_close(event)
                elif isinstance(event, Failed):
                    raise self._failure(event)
                else:
                    if isinstance(event, Ready):
                        self._watch.begin(event.worker)
                    yield event
            if not self._open or self._gave_up():
                return
            self._receive(self._seconds_to_wait())
            # right after receiving, so that a worker that waited for its full pipe to be read has just been heard
            if (stuck := self._watch.stuck()) is not None:
                raise self._timeout_error(stuck)

    def stop(self) -> None:
        """Let every worker end after the segment it is in; :meth:`events` waits for the last ones only so long."""
        self.budget.stop()
        if self._deadline is None:
            self._deadline = time.monotonic() + _SECONDS_TO_FINISH

    def _seconds_to_wait(self) -> float | None:
        look = self._watch.seconds_to_look_again()
        if self._deadline is None:
            return look
        left = max(0.0, self._deadline - time.monotonic())
        return left if look is None else min(look, left)

    def _gave_up(self) -> bool:
        """Whether the time for finishing the last segments is over."""
        if self._deadline is None or time.monotonic() < self._deadline:
            return False
        warnings.warn(
            f"{len(self._open)} of {len(self._processes)} workers had not finished their segment "
            f"{_SECONDS_TO_FINISH:g} s after training was stopped, because their environment's step() or reset() did "
            "not return; they were ended, and those segments are not learned from.",
            UserWarning,
            stacklevel=2,
        )
        return True

    def _warn_of_bad_close(self, event: Finished) -> None:
        if event.complaint is not None:
            warnings.warn(
                f"Worker {event.worker} of {len(self._processes)} had finished when its environment's close() raised "
                f"{event.complaint}. What was learned is kept; what close() should have released may be left behind.",
                UserWarning,
                stacklevel=2,
            )

    def _timeout_error(self, worker: int) -> WorkerTimeoutError:
        who = f"Worker {worker} of {len(self._processes)} (process {self._processes[worker].pid})"
        if self._watch.is_starting(worker):
            seconds = max(_SECONDS_TO_START, self._timeout or 0.0)
            return WorkerTimeoutError(
                f"{who} was not ready after {seconds:g} s (worker_timeout={self._timeout} s, at least "
                f"{_SECONDS_TO_START:g} s for the start); making its environment does not return. It was stopped. "
                "Raise worker_timeout if that may take so long."
            )
        return WorkerTimeoutError(
            f"{who} gave no sign of life for worker_timeout={self._timeout} s; its environment's step() or reset() "
            "does not return. It was stopped. Raise worker_timeout if a step may take that long."
        )

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Let every worker stand still between two segments while the block runs.

        Events that arrive meanwhile are kept for :meth:`events`, which reports failures, too. A block inside of another
        changes nothing.
        """
        self._pauses += 1
        try:
            if self._pauses == 1:
                self.budget.pause()
            while any(worker in self._open and not self.budget.stands_still(worker) for worker in self._open):
                self._receive(_SECONDS_BETWEEN_LOOKS)
                if self._watch.stuck() is not None:
                    break  # it would not answer before its timeout, and has none left; the next event is the error
            yield
        finally:
            self._pauses -= 1
            if self._pauses == 0:
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
                message = self._pipes[worker].recv_bytes()
            except (EOFError, OSError):  # ended, maybe in the middle of a message
                self._close(worker)
            else:
                self._backlog.append(pickle.loads(message))  # noqa: S301 - from our own worker
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
        if code == _UNKNOWN_EXIT_CODE and self._server_has_died():
            return WorkerError(
                "The process that workers are forked from was killed (the kernel does that when memory runs out), and "
                f"with it the word of its {len(self._processes)} workers. They were stopped; the model holds the "
                "parameters they had reached."
            )
        if code is not None and code < 0:
            how = f"was killed by {_signal_name(-code)}"
            if -code == signal.SIGKILL:
                how += " (the kernel does that when memory runs out)"
        else:
            how = f"ended with exit code {code}"
        return WorkerError(
            f"Worker {worker} of {len(self._processes)} (process {process.pid}) {how}. The other workers were stopped; "
            "the model holds the parameters they had reached."
        )

    def _server_has_died(self) -> bool:
        # its pipes end a moment before it is known to have ended
        deadline = time.monotonic() + _SECONDS_TO_DIE
        while (alive := server_is_alive(self._server)) and time.monotonic() < deadline:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        return not alive

    def _failure(self, event: Failed) -> BaseException:
        error: BaseException
        if event.error is None:
            error = WorkerError(
                f"Worker {event.worker} of {len(self._processes)} raised {event.summary}, which cannot be sent as "
                "it is; its traceback is above. The other workers were stopped; the model holds the parameters they "
                "had reached."
            )
        else:
            error = cloudpickle.loads(event.error)
            if isinstance(error, SystemExit):  # raised here it would end the caller's script, without a word at code 0
                error = WorkerError(
                    f"Worker {event.worker} of {len(self._processes)} called sys.exit({error.code!r}), most likely in "
                    "its environment; the traceback is above. The other workers were stopped; the model holds the "
                    "parameters they had reached."
                )
        error.__cause__ = RemoteTraceback(f"in worker {event.worker} of {len(self._processes)}:\n{event.text}")
        return error

    def _shut_down(self) -> None:
        """Tell every worker to end, give it a moment, then end it."""
        self.budget.stop()
        deadline = time.monotonic() + _SECONDS_TO_STOP
        try:
            self._drain(deadline)
        finally:
            self._end_orphans()
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

    def _end_orphans(self) -> None:
        """Kill workers that outlived their server, of which nobody tells any more whether they are alive.

        An open pipe tells: only the worker holds the other end.
        """
        if not self._processes or server_is_alive(self._server):
            return
        for process, pipe in zip(self._processes, self._pipes, strict=False):
            if not _has_ended(pipe):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid or 0, signal.SIGKILL)
        self._drain(time.monotonic() + _SECONDS_TO_DIE)

    def _drain(self, deadline: float) -> None:
        """Read and drop what workers still send, so that none blocks on a full pipe, until all have gone."""
        open_pipes: list[Any] = list(self._pipes)
        while open_pipes and (left := deadline - time.monotonic()) > 0:
            for pipe in connection.wait(open_pipes, left):
                with contextlib.suppress(EOFError, OSError):
                    pipe.recv_bytes()  # type: ignore[union-attr]
                    continue
                open_pipes.remove(pipe)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have none
        return f"signal {number}"


def _has_ended(pipe: connection.Connection) -> bool:
    """Whether nobody holds a pipe's writing end any more."""
    try:
        while pipe.poll():
            pipe.recv_bytes()
    except (EOFError, OSError):
        return True
    return False


class _Watch:
    """Who has been silent for how long."""

    def __init__(self, timeout: float | None, budget: StepBudget) -> None:
        self._timeout = timeout
        self._budget = budget
        self._last: dict[int, tuple[int, float]] = {}
        self._starting: set[int] = set()
        self._next_look = 0.0

    def start(self, worker: int) -> None:
        """A worker's process was started."""
        self._starting.add(worker)
        self._note(worker)

    def begin(self, worker: int) -> None:
        """A worker is ready to act."""
        self._starting.discard(worker)
        self._note(worker)

    def is_starting(self, worker: int) -> bool:
        """Whether a worker has not been ready yet."""
        return worker in self._starting

    def _note(self, worker: int) -> None:
        self._last[worker] = (self._budget.beats()[worker], time.monotonic())

    def heard(self, worker: int) -> None:
        if worker in self._last:
            self._note(worker)

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
            elif now - since > (max(self._timeout, _SECONDS_TO_START) if worker in self._starting else self._timeout):
                return worker
        return None
