"""Starting worker processes: a fork server of our own.

``multiprocessing``'s forkserver method starts a clean process once, imports the heavy packages there and forks each
worker from it: 10 ms and a few MB a worker instead of 1.5 s and 143 MB with spawn, and no fork of a process that may
have threads. Two things differ here. The server is ours alone, so its environment can carry one-thread settings before
NumPy and torch are imported (setting them later has no effect) and its preloads cannot be lost to another user of the
global server. And a worker does not import the caller's main module again: a script needs no ``__main__`` guard, a
notebook or ``python -c`` has no main module that could be imported; what is defined there travels by value.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import (
    context,
    forkserver,
    popen_forkserver,
    process,
    reduction,
    resource_tracker,
    spawn,
    util,
)
from typing import Any

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)


@contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    """Set environment variables for what is started inside the block."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Hold Ctrl-C back; what is started inside the block is never interrupted by it.

    It reaches the whole process group: the server would die of it while it imports.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# The pipe to multiprocessing's resource tracker in this fork's parent: its number, and which file that was.
_parents_tracker: tuple[int, tuple[int, int] | None] | None = None


def _remember_the_parents_tracker() -> None:
    global _parents_tracker
    descriptor: int | None = resource_tracker._resource_tracker._fd  # type: ignore[attr-defined]
    _parents_tracker = None if descriptor is None else (descriptor, _file_of(descriptor))


def _forget_the_parents_tracker_if_closed() -> None:
    """Let a tracker of our own be started where the pipe was closed, as a process does that becomes a daemon.

    multiprocessing does not know of it: it would write into what has the number now, or fail where nothing has.
    """
    tracker: Any = resource_tracker._resource_tracker
    if _parents_tracker is None:
        return
    descriptor, file = _parents_tracker
    if tracker._fd == descriptor and _file_of(descriptor) != file:
        tracker._fd = tracker._pid = None


def _file_of(descriptor: int) -> tuple[int, int] | None:
    """What tells an open file from all others; None where there is none of this number."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino


class _WorkerServer(forkserver.ForkServer):
    """The one server of this process; it ends by itself when this process and all its workers have ended."""

    def __init__(self) -> None:
        super().__init__()
        self.set_forkserver_preload(["agents.asynchronous.preload"])

    def ensure_running(self) -> None:
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        _forget_the_parents_tracker_if_closed()
        resource_tracker.ensure_running()  # lets Ctrl-C through when it has started
        with _environment({**ONE_THREAD, "PYTHONPATH": path}), _without_interrupts():
            super().ensure_running()

    def forget(self) -> None:
        """In a fork of this process: the server is its parent's, must not be talked to and may end with the parent."""
        alive: int | None = self._forkserver_alive_fd  # type: ignore[attr-defined]
        if alive is not None:
            os.close(alive)
        self.__init__()  # type: ignore[misc]


_server = _WorkerServer()
_server_start = threading.Lock()
# Writing ends of pipes, open as long as this process is there: workers end when the last copy of theirs is closed.
_lifelines: set[int] = set()


def _let_go_of_the_parents_workers() -> None:
    """In a fork of this process: it may outlive the process that the workers and their server belong to.

    multiprocessing's temporary folder is removed when that process exits: a fork makes its own.
    """
    _server.forget()
    _remember_the_parents_tracker()
    process.current_process()._config.pop("tempdir", None)  # type: ignore[attr-defined]
    for lifeline in _lifelines:
        with contextlib.suppress(OSError):  # a fork that becomes a daemon may have closed everything
            os.close(lifeline)
    _lifelines.clear()


os.register_at_fork(after_in_child=_let_go_of_the_parents_workers)


def warm_up() -> None:
    """Start the server, which goes on importing in the background; returns at once and costs nothing when it runs."""
    with _server_start:
        _server.ensure_running()


def server_id() -> int:
    """The process id of the running server."""
    pid: int = _server._forkserver_pid  # type: ignore[attr-defined]
    return pid


def server_is_alive(pid: int) -> bool:
    """Whether a server, which alone knows how its workers ended, is there."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False  # another one has taken its place


def _close(lifeline: int, sentinel: int) -> None:
    _lifelines.discard(lifeline)
    util.close_fds(lifeline, sentinel)  # type: ignore[attr-defined]


class _Popen(popen_forkserver.Popen):
    """Launches from our server and leaves the caller's main module out of what the worker prepares."""

    def _launch(self, process_obj: process.BaseProcess) -> None:
        preparation = spawn.get_preparation_data(process_obj.name)
        for key in ("init_main_from_name", "init_main_from_path"):
            preparation.pop(key, None)
        message = io.BytesIO()
        context.set_spawning_popen(self)
        try:
            reduction.dump(preparation, message)
            reduction.dump(process_obj, message)
        finally:
            context.set_spawning_popen(None)
        warm_up()
        self.sentinel, write_end = _server.connect_to_new_process(self._fds)  # type: ignore[attr-defined]
        # a duplicate of the write end tells the worker that this process is still there
        kept_open = os.dup(write_end)
        _lifelines.add(kept_open)
        self.finalizer = util.Finalize(self, _close, (kept_open, self.sentinel))
        with open(write_end, "wb", closefd=True) as pipe:
            pipe.write(message.getbuffer())
        self.pid = forkserver.read_signed(self.sentinel)


class WorkerProcess(process.BaseProcess):
    """A process forked from the worker server, with the environment variables that the caller has now.

    The server's are those of its own start, and it serves all later ``learn`` calls.
    """

    _start_method = "forkserver"

    def start(self) -> None:
        """Start the process.

        Raises:
            RuntimeError: this process is daemonic, and may have no children.
        """
        if process.current_process().daemon:
            raise RuntimeError(
                f"This process ({process.current_process().name}) is daemonic, as those of a multiprocessing.Pool are, "
                "and may start no workers. Use n_workers=1, which needs none, or start it with "
                "concurrent.futures.ProcessPoolExecutor or as a Process with daemon=False."
            )
        self._variables = {**os.environ, **ONE_THREAD}
        super().start()

    def run(self) -> None:
        """Run the target, inside the process."""
        for name in os.environ.keys() - self._variables.keys():
            del os.environ[name]
        os.environ.update(self._variables)
        super().run()

    @staticmethod
    def _Popen(process_obj: process.BaseProcess) -> _Popen:  # noqa: N802 - multiprocessing's name
        return _Popen(process_obj)
