"""Training time: seconds that count, with evaluation and set-up left out."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Runs between `start` and `stop`, and not inside of `paused`.

    Args:
        seconds: what has been counted before, in an earlier part of the same run.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self._counted = seconds
        self._since: float | None = None

    @property
    def seconds(self) -> float:
        """Counted until now."""
        running = 0.0 if self._since is None else time.perf_counter() - self._since
        return self._counted + running

    def start(self, seconds_ago: float = 0.0) -> None:
        """Begin to count, as if this had been called some seconds ago; no effect while running."""
        if self._since is None:
            self._since = time.perf_counter() - seconds_ago

    def stop(self) -> None:
        """Stop counting; no effect while stopped."""
        self._counted = self.seconds
        self._since = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count what happens in the block."""
        was_running = self._since is not None
        self.stop()
        try:
            yield
        finally:
            if was_running:
                self.start()
