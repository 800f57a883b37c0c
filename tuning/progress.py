"""What a user sees while a run trains: one bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections import deque
from types import TracebackType
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

_EPISODES_SHOWN = 20  # the current return is their mean
_SECONDS_BETWEEN_LINES = 30.0
_SECONDS_BETWEEN_FRAMES = 0.1


class Reporter(Protocol):
    """Shows the progress of one run; a context manager."""

    def __enter__(self) -> "Reporter":
        """Begin to show."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the display as it should stay."""

    def episode(self, value: float) -> None:
        """A training episode ended with this return."""

    def update(self, num_timesteps: int, train_seconds: float) -> None:
        """So many steps are done; called every step, so it must be cheap."""


class Quiet:
    """Shows nothing."""

    def __enter__(self) -> "Quiet":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def episode(self, value: float) -> None:
        """Nothing to show."""

    def update(self, num_timesteps: int, train_seconds: float) -> None:
        """Nothing to show."""


class _Paced:
    """Keeps what is shown, and shows it at a bearable pace."""

    def __init__(self, name: str, total: int, seconds_between: float) -> None:
        self._name = name
        self._total = total
        self._seconds_between = seconds_between
        self._next = time.monotonic() + seconds_between
        self._returns: deque[float] = deque(maxlen=_EPISODES_SHOWN)
        self._last = (0, 0.0)

    def episode(self, value: float) -> None:
        self._returns.append(value)

    def update(self, num_timesteps: int, train_seconds: float) -> None:
        self._last = (num_timesteps, train_seconds)
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self._seconds_between
            self._show(num_timesteps, train_seconds)

    @property
    def _current_return(self) -> str:
        if not self._returns:
            return "return -"
        return f"return {sum(self._returns) / len(self._returns):.1f}"

    def _show(self, num_timesteps: int, train_seconds: float) -> None:
        raise NotImplementedError


class Bar(_Paced):
    """One line with steps, steps a second, the mean return of the last episodes and the time left."""

    def __init__(self, name: str, total: int, console: Console | None = None) -> None:
        super().__init__(name, total, _SECONDS_BETWEEN_FRAMES)
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} steps"),
            TextColumn("{task.fields[speed]}"),
            TextColumn("{task.fields[current_return]}"),
            TimeRemainingColumn(),
            console=console or Console(stderr=True),
        )
        self._task = self._progress.add_task(name, total=total, speed="", current_return="return -")

    def __enter__(self) -> "Bar":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._show(*self._last)
        self._progress.stop()

    def _show(self, num_timesteps: int, train_seconds: float) -> None:
        speed = num_timesteps / train_seconds if train_seconds > 0 else 0.0
        self._progress.update(
            self._task,
            completed=min(num_timesteps, self._total),
            speed=f"{speed:,.0f} steps/s",
            current_return=self._current_return,
        )


class Lines(_Paced):
    """A line every half minute, for logs."""

    def __init__(self, name: str, total: int, stream: TextIO | None = None) -> None:
        super().__init__(name, total, _SECONDS_BETWEEN_LINES)
        self._stream = stream or sys.stderr

    def __enter__(self) -> "Lines":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def _show(self, num_timesteps: int, train_seconds: float) -> None:
        speed = num_timesteps / train_seconds if train_seconds > 0 else 0.0
        left = (self._total - num_timesteps) / speed if speed > 0 else float("nan")
        print(
            f"{self._name}: {num_timesteps:,}/{self._total:,} steps, {speed:,.0f} steps/s, {self._current_return}, "
            f"{left:.0f} s left",
            file=self._stream,
            flush=True,
        )


def reporter(name: str, total: int, wanted: bool = True) -> Reporter:
    """The display that suits where stderr goes.

    Args:
        name: of the run.
        total: its steps.
        wanted: False shows nothing.
    """
    if not wanted:
        return Quiet()
    return Bar(name, total) if sys.stderr.isatty() else Lines(name, total)
