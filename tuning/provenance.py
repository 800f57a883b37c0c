"""What a result depends on besides its configuration: versions and hardware."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tuning.config import available_cores

PACKAGES = ("actorzoo", "torch", "stable-baselines3", "sb3-contrib", "gymnasium", "numpy")


def versions() -> dict[str, str]:
    """Of Python and the packages that a training's course depends on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # a checkout that is used without having been installed
            found[package] = "not installed"
    return found


def hardware() -> dict[str, Any]:
    """Processor, cores of the machine and those this process may use, memory, platform, graphics processor."""
    return {
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "cores_available": available_cores(),
        "memory_bytes": _memory(),
        "platform": platform.platform(),
        "gpu": _graphics(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # a system without these names
        return None


def _graphics() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None
