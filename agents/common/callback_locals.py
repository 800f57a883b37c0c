"""What callbacks find among their locals where the training starts."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback


def first_locals(
    model: BaseAlgorithm,
    total_timesteps: int,
    callback: BaseCallback,
    log_interval: int | None,
    tb_log_name: str,
    reset_num_timesteps: bool,
    progress_bar: bool,
) -> dict[str, Any]:
    """What ``learn`` of Stable-Baselines3's algorithms shows, under its names, and no more."""
    return {
        "self": model,
        "total_timesteps": total_timesteps,
        "callback": callback,
        "log_interval": log_interval,
        "tb_log_name": tb_log_name,
        "reset_num_timesteps": reset_num_timesteps,
        "progress_bar": progress_bar,
    }
