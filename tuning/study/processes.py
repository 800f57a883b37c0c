"""Which process owns a trial, said so that a later reader can tell whether it still lives.

A process number alone does not do: it is given out again, on this machine and on every other one.
"""

import os
import socket
from pathlib import Path
from typing import Any


def this_process() -> dict[str, Any]:
    """Host, boot, process number and the time at which it started, in clock ticks since boot; plain data."""
    return {"host": socket.gethostname(), "boot": _boot(), "pid": os.getpid(), "started": started(os.getpid())}


def is_dead(process: dict[str, Any]) -> bool | None:
    """Whether the process has ended; None where that cannot be seen from here, because it runs on another machine.

    Args:
        process: what `this_process` said there.
    """
    if process["host"] != socket.gethostname():
        return None
    # after the machine, or the container of this name, was started anew nothing of before is left
    return process["boot"] != _boot() or started(process["pid"]) != process["started"]


def started(pid: int) -> int | None:
    """When a process was started, in clock ticks since boot; None if there is no such process, or only its remains."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    return None if state in "ZX" else int(fields[18])


def _boot() -> str:
    """Differs between boots of a machine, and between containers."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
