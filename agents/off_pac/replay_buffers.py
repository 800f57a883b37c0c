"""Replay buffers that keep the behavior's probabilities beside each action, and segments of consecutive steps.

The probabilities travel inside the buffer's action vector, so every replay buffer of Stable-Baselines3 can store them:
``[action, log b(.|s)]`` for Discrete actions (all of them, which the bias correction needs), ``[action, log b(a|s)]``
for Box actions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.vec_env import VecNormalize
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer

if TYPE_CHECKING:
    from agents.off_pac.off_pac import OffPAC


class Segments(NamedTuple):
    """[T * B, ...] transitions of B segments of T steps, time first; what lies behind a cut is masked out."""

    observations: Any
    actions: th.Tensor
    next_observations: Any
    terminated: th.Tensor  # [T * B]
    rewards: th.Tensor  # [T * B]
    cut: th.Tensor  # [T * B] the next row does not follow this one
    mask: th.Tensor  # [T * B] 1 where the row belongs to its segment
    n_steps: int


class SegmentMixin:
    """Adds drawing consecutive steps to SB3's replay buffers.

    Attributes:
        breaks: [buffer_size] bool, what is stored behind this row begins anew though no episode has ended: ``learn``
            resets the environments. No ending is stored for it, since the value of the last observation still counts.
    """

    breaks: NDArray[np.bool_]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        buffer: Any = self
        self.breaks = np.zeros(buffer.buffer_size, dtype=bool)

    def __setstate__(self, state: dict[str, Any]) -> None:
        state.setdefault("breaks", np.zeros(state["buffer_size"], dtype=bool))  # pickled before there were any
        restore = getattr(super(), "__setstate__", self.__dict__.update)
        restore(state)

    def add(self, *args: Any, **kwargs: Any) -> None:
        """As SB3's; the row that is overwritten is no break any more."""
        buffer: Any = self
        self.breaks[buffer.pos] = False
        super().add(*args, **kwargs)  # type: ignore[misc]

    def mark_break(self) -> None:
        """Let no segment run from the newest step into the next one that is added."""
        buffer: Any = self
        if buffer.size():
            self.breaks[buffer.pos - 1] = True

    def sample_segments(self, batch_size: int, n_steps: int, env: VecNormalize | None = None) -> Segments:
        """Draw segments that start anywhere; each stops early at an episode's end, a break and the newest step.

        Args:
            batch_size: B, number of segments.
            n_steps: T, their length.
            env: whose statistics normalize observations and rewards.
        """
        buffer: Any = self
        size = buffer.buffer_size if buffer.full else buffer.pos
        # Ages count from the oldest step, so that a ring buffer's seam is never crossed. With memory saved, a full
        # buffer's newest next observation has overwritten the oldest observation.
        oldest, first = (buffer.pos, int(buffer.optimize_memory_usage)) if buffer.full else (0, 0)
        starts = np.random.randint(first, size, size=batch_size)  # noqa: NPY002  (SB3's stream, which a seed sets)
        envs = np.random.randint(0, buffer.n_envs, size=batch_size)  # noqa: NPY002
        ages = starts + np.arange(n_steps)[:, None]
        rows = ((np.minimum(ages, size - 1) + oldest) % size).ravel()
        columns = np.tile(envs, n_steps)
        done = buffer.dones[rows, columns].astype(bool).reshape(n_steps, batch_size)
        timeout = buffer.timeouts[rows, columns].astype(bool).reshape(n_steps, batch_size)
        cut = done | self.breaks[rows].reshape(n_steps, batch_size) | (ages >= size - 1)
        cut[-1] = True
        mask = np.ones_like(cut)
        mask[1:] = ~np.logical_or.accumulate(cut[:-1], axis=0)
        observations, next_observations = self._gather(rows, columns, env)
        rewards = buffer._normalize_reward(buffer.rewards[rows, columns].reshape(-1, 1), env).ravel()
        return Segments(
            observations,
            buffer.to_torch(buffer.actions[rows, columns]),
            next_observations,
            buffer.to_torch((done & ~timeout).ravel().astype(np.float32)),
            buffer.to_torch(rewards),
            buffer.to_torch(cut.ravel()),
            buffer.to_torch(mask.ravel().astype(np.float32)),
            n_steps,
        )

    def _gather(self, rows: NDArray[np.intp], columns: NDArray[np.intp], env: VecNormalize | None) -> tuple[Any, Any]:
        buffer: Any = self
        tensors = []
        if buffer.optimize_memory_usage:
            pairs = ((buffer.observations, rows), (buffer.observations, (rows + 1) % buffer.buffer_size))
        else:
            pairs = ((buffer.observations, rows), (buffer.next_observations, rows))
        for stored, indices in pairs:
            if isinstance(stored, dict):
                picked = buffer._normalize_obs({key: value[indices, columns] for key, value in stored.items()}, env)
                tensors.append({key: buffer.to_torch(value) for key, value in picked.items()})
            else:
                tensors.append(buffer.to_torch(buffer._normalize_obs(stored[indices, columns], env)))
        return tensors[0], tensors[1]


class SegmentReplayBuffer(SegmentMixin, ReplayBuffer):
    """SB3's replay buffer, from which segments can be drawn."""


class DictSegmentReplayBuffer(SegmentMixin, DictReplayBuffer):
    """The same for Dict observations."""


def recorded_space(action_space: spaces.Space) -> spaces.Box:
    """Space of the vector that is stored as a transition's action."""
    if isinstance(action_space, spaces.Discrete):
        length = 1 + int(action_space.n)
    else:
        length = int(np.prod(action_space.shape)) + 1  # type: ignore[arg-type]
    return spaces.Box(-np.inf, np.inf, (length,), dtype=np.float32)


def recorded(actions: NDArray, log_behavior: NDArray[np.float64]) -> NDArray[np.float32]:
    """[n, length] what is stored for n actions.

    Args:
        actions: [n] or [n, action_dim].
        log_behavior: [n, n_actions] log b(.|s) for Discrete actions, [n] log b(a|s) for Box ones.
    """
    n = len(actions)
    left, right = actions.reshape(n, -1), log_behavior.reshape(n, -1)
    stored = np.empty((n, left.shape[1] + right.shape[1]), dtype=np.float32)
    stored[:, : left.shape[1]] = left
    stored[:, left.shape[1] :] = right
    return stored


def make_replay_buffer(model: OffPAC) -> ReplayBuffer:
    """The buffer that the model's arguments ask for.

    Raises:
        ValueError: segments of several steps are wanted from a buffer class that cannot give them, or the class sums
            rewards of actions that the target policy would not have taken.
    """
    if model.replay_buffer_class is None:
        is_dict = isinstance(model.observation_space, spaces.Dict)
        model.replay_buffer_class = DictSegmentReplayBuffer if is_dict else SegmentReplayBuffer
    if model.n_steps > 1 and not issubclass(model.replay_buffer_class, SegmentMixin):
        raise ValueError(
            f"n_steps={model.n_steps} needs consecutive steps, but {model.replay_buffer_class.__name__} draws "
            f"single ones; use "
            "n_steps=1 (trace_decay=0.0) or derive the class from SegmentReplayBuffer."
        )
    if issubclass(model.replay_buffer_class, NStepReplayBuffer):
        raise ValueError(
            f"replay_buffer_class={model.replay_buffer_class.__name__} adds up rewards of several steps without "
            f"importance "
            "ratios, but the behavior's later actions are not the target policy's; use n_steps=... with "
            "trace_decay=... instead."
        )
    arguments = dict(model.replay_buffer_kwargs)
    if issubclass(model.replay_buffer_class, HerReplayBuffer):
        assert model.env is not None, "You must pass an environment when using `HerReplayBuffer`"
        arguments["env"] = model.env
    return model.replay_buffer_class(
        model.buffer_size,
        model.observation_space,
        recorded_space(model.action_space),
        device=model.device,
        n_envs=model.n_envs,
        optimize_memory_usage=model.optimize_memory_usage,
        **arguments,
    )
