"""Optuna's dashboard of a study, on this machine only: `actorzoo tune --dashboard`.

It is served by a process of its own, so that a search in this process does not make the pages wait.
"""

import importlib.util
import os
import socket
import subprocess
import sys
import time
from types import TracebackType
from typing import Self

from agents.errors import MissingExtraError
from tuning.errors import UsageError
from tuning.study.storage import PASSWORD_VARIABLE, database_url, journal_path, open_storage, safe_url

HOST = "127.0.0.1"
PORT = 8080
_PORTS_TRIED = 20
_START_SECONDS = 30.0


class Dashboard:
    """Serves while the block runs; a context manager.

    Args:
        storage: the study's, as `tuning.study.storage.open_storage` takes it.

    Raises:
        MissingExtraError: optuna-dashboard is not installed.
    """

    def __init__(self, storage: str) -> None:
        if importlib.util.find_spec("optuna_dashboard") is None:
            raise MissingExtraError("dashboard", wanted="--dashboard", package="optuna-dashboard")
        self._storage = storage
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where it is served."""
        return f"http://{HOST}:{self._port}"

    def __enter__(self) -> Self:
        own = [sys.executable, "-m", "tuning.study.dashboard", safe_url(self._storage), str(self._port)]
        environment = dict(os.environ)
        if journal_path(self._storage) is None and "://" in self._storage and not self._storage.startswith("grpc"):
            password = database_url(self._storage).password
            if password is not None:
                environment[PASSWORD_VARIABLE] = password
        self._process = subprocess.Popen(
            own, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + _START_SECONDS
        while not answers(self._port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.close()
                raise UsageError(
                    f"the dashboard did not start at {self.address}; try it by hand: {' '.join(own[:3])} STORAGE PORT"
                )
            time.sleep(0.1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def wait(self) -> None:
        """Serve until it ends or the user presses Ctrl-C, which is how one leaves and no error."""
        assert self._process is not None
        try:
            self._process.wait()
        except KeyboardInterrupt:
            return

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()


def free_port() -> int:
    """The first port from 8080 on where nothing answers.

    Raises:
        UsageError: all that were tried are taken.
    """
    for port in range(PORT, PORT + _PORTS_TRIED):
        if not answers(port):
            return port
    raise UsageError(f"the ports {PORT} to {PORT + _PORTS_TRIED - 1} are all taken; end another dashboard first")


def answers(port: int) -> bool:
    """Whether something listens at a port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0


def main(storage: str, port: int) -> None:
    """What the process does."""
    import optuna_dashboard

    optuna_dashboard.run_server(open_storage(storage), host=HOST, port=port)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
