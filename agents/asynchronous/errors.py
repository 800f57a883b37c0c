"""What can go wrong in a worker, as exceptions of the calling process."""

from __future__ import annotations


class WorkerError(RuntimeError):
    """A worker ended without finishing: killed, out of memory, or an exception that could not be sent."""


class WorkerTimeoutError(WorkerError):
    """A worker gave no sign of life for ``worker_timeout`` seconds."""


class NonFiniteGradientError(FloatingPointError):
    """A gradient holds NaN or infinity; it was not applied."""


class EnvironmentCopyError(TypeError):
    """An environment instance could be copied into a worker neither by value nor from its registration."""


class RemoteTraceback(Exception):  # noqa: N818 - shown as the cause, never raised
    """Carries the traceback of a worker as text, so that it is printed above the exception raised here."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)

    def __str__(self) -> str:
        """The worker's own traceback."""
        return f'\n"""\n{self.text}"""'
