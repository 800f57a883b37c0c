"""Memory that several processes share, and the lock over it.

Nothing here has a name in the file system that could be left behind: the memory is a file that is unlinked as soon as
it is open (``multiprocessing.heap``), the lock is a record lock on such a file, which the kernel releases by itself
when its holder dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import tempfile
from collections.abc import Mapping
from multiprocessing import reduction
from multiprocessing.sharedctypes import RawArray
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_ALIGNMENT = 64  # a cache line, so that no two arrays share one

Layout = Mapping[str, tuple[tuple[int, ...], DTypeLike]]


class SharedArrays:
    """Named NumPy arrays in one block of memory; the same memory in every process the object is handed to.

    Args:
        layout: name -> (shape, dtype); the arrays start at 0.
        shared: False takes ordinary memory, for a worker inside the calling process.
    """

    def __init__(self, layout: Layout, shared: bool = True) -> None:
        self._layout = {name: (tuple(shape), np.dtype(dtype)) for name, (shape, dtype) in layout.items()}
        size = sum(_padded(shape, dtype) for shape, dtype in self._layout.values()) + _ALIGNMENT
        self._raw: Any = RawArray("B", size) if shared else np.zeros(size, dtype=np.uint8)
        self._map()

    def _map(self) -> None:
        data = np.frombuffer(self._raw, dtype=np.uint8)
        start = -data.ctypes.data % _ALIGNMENT
        self._arrays: dict[str, NDArray[Any]] = {}
        for name, (shape, dtype) in self._layout.items():
            count = math.prod(shape)
            self._arrays[name] = data[start : start + count * dtype.itemsize].view(dtype).reshape(shape)
            start += _padded(shape, dtype)

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by name."""
        return self._arrays

    def __getstate__(self) -> dict[str, Any]:
        return {"_layout": self._layout, "_raw": self._raw}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._map()


def _padded(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    return -(-math.prod(shape) * dtype.itemsize // _ALIGNMENT) * _ALIGNMENT


class FileLock:
    """A lock between processes that its holder's death releases.

    A semaphore would stay taken when the worker that holds it is killed, and has a name that can leak. Not for threads
    of one process: a record lock belongs to the process.
    """

    def __init__(self) -> None:
        with tempfile.TemporaryFile() as file:
            self._fd = os.dup(file.fileno())

    def __enter__(self) -> None:
        fcntl.lockf(self._fd, fcntl.LOCK_EX)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        fcntl.lockf(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give the file descriptor back; the lock is not usable afterwards."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __getstate__(self) -> dict[str, Any]:
        return {"duplicate": reduction.DupFd(self._fd)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._fd = state["duplicate"].detach()


Lock = FileLock | contextlib.AbstractContextManager[None]
