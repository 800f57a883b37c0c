"""What a worker tells the calling process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from agents.asynchronous.segment import Observations


@dataclass
class Steps:
    """Every step of one segment, for callbacks that look at steps; the first axis is the step.

    Attributes:
        new_observations: (length, n_envs, *space), or a dict of such arrays.
        actions: (length, n_envs, *space) as the policy gave them.
        clipped_actions: the same as the environment got them.
        rewards: (length, n_envs).
        dones: (length, n_envs).
        infos: by step, by environment.
        extra: what the learner adds: values, log_probs.
    """

    new_observations: Observations
    actions: NDArray[Any]
    clipped_actions: NDArray[Any]
    rewards: NDArray[Any]
    dones: NDArray[Any]
    infos: list[list[dict[str, Any]]]
    extra: dict[str, NDArray[Any]]


@dataclass
class Progress:
    """Whole segments of one worker.

    Attributes:
        worker: index.
        segments: how many.
        timesteps: environment steps in them.
        episodes: (Monitor's record or None, ``is_success`` or None) of the episodes that ended in them.
        statistics: the last segment's numbers for the logger; inside the calling process a function that computes them,
            because most segments are never logged.
        steps: the single steps, where they were asked for (one segment an event then).
    """

    worker: int
    segments: int
    timesteps: int
    episodes: list[tuple[dict[str, Any] | None, Any]] = field(default_factory=list)
    statistics: dict[str, float] | Callable[[], dict[str, float]] = field(default_factory=dict)
    steps: Steps | None = None


@dataclass
class Ready:
    """The worker has its policy and environments and begins to act."""

    worker: int


@dataclass
class Finished:
    """The worker found no step left, or was told to end.

    Attributes:
        worker: index.
        complaint: what its environment raised when it was closed, in words; None where that went well.
    """

    worker: int
    complaint: str | None = None


@dataclass
class Failed:
    """The worker raised.

    Attributes:
        worker: index.
        error: the pickled exception, or None where it cannot be pickled.
        summary: its type and what it says.
        text: its traceback.
    """

    worker: int
    error: bytes | None
    summary: str
    text: str


Event = Progress | Ready | Finished | Failed
