"""What one rule does to the observations of one key: batch in, batch out, and the space it declares.

A transform works on batches [n, *shape] whatever wrapper it serves: a single environment passes batches of one. Its
result is always a new array, because environments and buffers keep what they are given.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from wrappers.refusals import refuse_numbers, refuse_shape
from wrappers.running_statistics import BLOCK_ROWS, RunningStatistics

Arrays = Mapping[str, np.ndarray]
AnySpace = spaces.Space[Any]

_FLOAT32 = np.dtype(np.float32)

# Frozen statistics work through large batches, such as those of a replay buffer, in pieces that stay in the cache.
PIECE_FLOATS = 1 << 18


class Transform(ABC):
    """One rule for one key.

    Attributes:
        rule: the rule's name.
        name: what is transformed, for messages.
        source: the space of what goes in.
        space: the space of what comes out.
    """

    rule: str

    def __init__(self, name: str, source: AnySpace, space: AnySpace) -> None:
        self.name = name
        self.source = source
        self.space = space

    @abstractmethod
    def __call__(self, batch: np.ndarray, *, update: bool) -> np.ndarray:
        """Transform a batch [n, *source.shape].

        Args:
            batch: not changed.
            update: whether statistics, if there are any, learn from the batch first.

        Raises:
            ValueError: the batch does not fit (shape, numbers that are not finite, categories outside their range).
        """

    def sample_shape(self, array: np.ndarray) -> tuple[int, ...]:
        """Shape of a single sample in an array that has axes for batches before it."""
        return self.source.shape or ()

    @abstractmethod
    def inverse(self, batch: np.ndarray) -> np.ndarray:
        """What the environment gave, as far as clipping left it."""

    @abstractmethod
    def to_arrays(self) -> dict[str, np.ndarray]:
        """What makes this transform differ from others of its rule."""

    @abstractmethod
    def load_arrays(self, arrays: Arrays) -> None:
        """Take over what `to_arrays` gave, or make sure that it agrees.

        Raises:
            ValueError: it belongs to another space.
        """


class Pass(Transform):
    """Leaves observations as they are."""

    rule = "pass"

    def __init__(self, name: str, source: AnySpace) -> None:
        super().__init__(name, source, source)

    def __call__(self, batch: np.ndarray, *, update: bool) -> np.ndarray:
        """Copy the batch."""
        return np.array(batch)

    def inverse(self, batch: np.ndarray) -> np.ndarray:
        """Copy the batch."""
        return np.array(batch)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Nothing: all spaces pass alike."""
        return {}

    def load_arrays(self, arrays: Arrays) -> None:
        """Nothing to take over."""


class Running(Transform):
    """(x - running mean) / sqrt(running variance + epsilon), clipped.

    Args:
        name: what is transformed, for messages.
        source: a Box.
        epsilon: added to the variance: a feature that never varies becomes 0, and is clipped when it first varies.
        clip: largest absolute value that comes out.
        prior_count: see `RunningStatistics`, as `decay` and `warmup`.
    """

    rule = "running"

    def __init__(
        self,
        name: str,
        source: spaces.Box,
        *,
        epsilon: float = 1e-8,
        clip: float = 10.0,
        prior_count: float = 1e-4,
        decay: float = 1.0,
        warmup: int = 0,
    ) -> None:
        super().__init__(name, source, spaces.Box(-clip, clip, source.shape, np.float32))
        self.statistics = RunningStatistics(
            source.shape, prior_count=prior_count, decay=decay, warmup=warmup, name=name
        )
        self._is_flat = len(source.shape) == 1
        self.configure(epsilon, clip)

    def configure(self, epsilon: float, clip: float) -> None:
        """Change epsilon and the clipping."""
        self.epsilon, self.clip = epsilon, clip
        # Arrays without dimensions: NumPy converts a Python float anew in every operation.
        self._low, self._high = np.array(-float(clip)), np.array(float(clip))

    def __call__(self, batch: np.ndarray, *, update: bool) -> NDArray[np.float32]:
        """Normalize a batch [n, *shape]."""
        if batch.size <= BLOCK_ROWS:  # most batches are small, and are spared the questions below
            return self._piece(batch, update)
        if update and len(batch) > BLOCK_ROWS:
            self.statistics.update(batch)
            update = False
        if not update and batch.size > PIECE_FLOATS:
            rows = max(1, PIECE_FLOATS // max(1, math.prod(self.statistics.shape)))
            return np.concatenate([self._piece(batch[i : i + rows], False) for i in range(0, len(batch), rows)])
        return self._piece(batch, update)

    def _piece(self, batch: np.ndarray, update: bool) -> NDArray[np.float32]:
        rows = self.statistics.standardize(batch, self.epsilon, update=update)
        np.maximum(rows, self._low, out=rows)
        np.minimum(rows, self._high, out=rows)
        normalized = rows.astype(_FLOAT32)
        return normalized if self._is_flat else normalized.reshape(batch.shape)

    def inverse(self, batch: np.ndarray) -> NDArray[np.float64]:
        """Times sqrt(variance + epsilon), plus the mean."""
        scale = self.statistics.scale(self.epsilon).reshape(self.statistics.shape)
        mean = self.statistics.mean if self.statistics.ready else 0.0
        return batch * scale + mean

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The statistics."""
        return self.statistics.to_arrays()

    def load_arrays(self, arrays: Arrays) -> None:
        """Take over statistics of the same shape."""
        self.statistics = RunningStatistics.from_arrays(arrays, shape=self.statistics.shape, name=self.name)


class Bounds(Transform):
    """Known bounds to [-1, 1]; what lies outside is clipped. A feature whose bounds are equal becomes 0.

    Args:
        name: what is transformed, for messages.
        source: a Box.
        low: of the source's shape, finite.
        high: of the source's shape, finite.
        given: whether the bounds were given, and are not those of the source.
    """

    rule = "bounds"
    target_low, target_high = -1.0, 1.0

    def __init__(
        self, name: str, source: spaces.Box, low: np.ndarray, high: np.ndarray, *, given: bool = False
    ) -> None:
        super().__init__(name, source, spaces.Box(self.target_low, self.target_high, source.shape, np.float32))
        self.low, self.high, self.given = low, high, given
        self._shape: tuple[int, ...] = source.shape
        span = (high - low) / (self.target_high - self.target_low)
        # An infinite span sends a feature that cannot vary to the middle of the target, or to its lower end.
        self._span = np.where(span == 0, np.inf, span)
        self._origin = low - self.target_low * span
        self._is_float = np.issubdtype(source.dtype, np.floating)

    def __call__(self, batch: np.ndarray, *, update: bool) -> NDArray[np.float32]:
        """Rescale a batch [n, *shape]."""
        if batch.shape[1:] != self._shape:
            refuse_shape(self.name, batch, self._shape)
        if self._is_float and not np.isfinite(batch).all():
            refuse_numbers(self.name, batch)
        scaled = batch - self._origin
        scaled /= self._span
        np.clip(scaled, self.target_low, self.target_high, out=scaled)
        return scaled.astype(np.float32)

    def inverse(self, batch: np.ndarray) -> NDArray[np.float64]:
        """Back to the environment's units."""
        return batch * np.where(np.isinf(self._span), 0.0, self._span) + self._origin

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The bounds, whether they were given, and the source's type."""
        return {
            "low": self.low.copy(),
            "high": self.high.copy(),
            "given": np.array(self.given),
            "dtype": np.array(str(self.source.dtype)),
        }

    def load_arrays(self, arrays: Arrays) -> None:
        """Make sure that the bounds are the saved ones."""
        _check_agrees(self.name, arrays, self.to_arrays())


class Image(Bounds):
    """Pixels to [0, 1]."""

    rule = "image"
    target_low, target_high = 0.0, 1.0

    def __init__(self, name: str, source: spaces.Box) -> None:
        super().__init__(name, source, source.low.astype(np.float64), source.high.astype(np.float64))
        self._is_byte = source.dtype == np.uint8 and bool((self.low == 0).all() and (self.high == 255).all())

    def __call__(self, batch: np.ndarray, *, update: bool) -> NDArray[np.float32]:
        """Rescale a batch [n, *shape]."""
        if self._is_byte and batch.dtype == np.uint8 and batch.shape[1:] == self._shape:
            return np.divide(batch, np.float32(255), dtype=np.float32)  # no need of float64 copies eight times as large
        return super().__call__(batch, update=update)


class OneHot(Transform):
    """Categories as unit vectors, those of several dimensions side by side.

    Args:
        name: what is transformed, for messages.
        source: Discrete or MultiDiscrete.
    """

    rule = "one_hot"

    def __init__(self, name: str, source: spaces.Discrete | spaces.MultiDiscrete) -> None:
        if isinstance(source, spaces.Discrete):
            self.sizes, self.start = np.array(int(source.n)), np.array(int(source.start))
        else:
            self.sizes, self.start = source.nvec, source.start
        self.width = int(self.sizes.sum())
        self._sizes, self._start = self.sizes.reshape(-1), self.start.reshape(-1)
        self._offsets = np.cumsum(self._sizes) - self._sizes
        super().__init__(name, source, spaces.Box(0, 1, (self.width,), np.float32))

    def __call__(self, batch: np.ndarray, *, update: bool) -> NDArray[np.float32]:
        """Encode a batch [n, *shape]; what is encoded already, as in buffers, comes back as it is."""
        if self._is_encoded(batch):
            return batch.astype(np.float32)
        if batch.shape[1:] != self.source.shape:
            refuse_shape(self.name, batch, self.source.shape or ())
        categories = batch.reshape(len(batch), len(self._sizes)).astype(np.int64) - self._start
        if ((categories < 0) | (categories >= self._sizes)).any():
            raise ValueError(
                f"{self.name}: a category outside {self.source} among {np.unique(batch)}; "
                "correct the environment's observation space."
            )
        encoded = np.zeros((len(batch), self.width), np.float32)
        np.put_along_axis(encoded, categories + self._offsets, 1.0, axis=1)
        return encoded

    def sample_shape(self, array: np.ndarray) -> tuple[int, ...]:
        """Of a unit vector, or of a category."""
        return (self.width,) if self._is_encoded(array) else super().sample_shape(array)

    def _is_encoded(self, array: np.ndarray) -> bool:
        """Categories are integers, unit vectors are not."""
        return np.issubdtype(array.dtype, np.floating) and array.shape[-1:] == (self.width,)

    def inverse(self, batch: np.ndarray) -> np.ndarray:
        """Copy the encoded batch: buffers, which ask for this, hold categories encoded."""
        return np.array(batch)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """How many categories, and the first of them; of the source's shape."""
        return {"sizes": self.sizes.copy(), "start": self.start.copy()}

    def load_arrays(self, arrays: Arrays) -> None:
        """Make sure that the categories are the saved ones."""
        _check_agrees(self.name, arrays, self.to_arrays())


def _check_agrees(name: str, saved: Arrays, current: Arrays) -> None:
    for what, array in current.items():
        if what not in saved:
            raise ValueError(f"{name}: the array {what!r} is missing; pass what to_arrays returned.")
        if not np.array_equal(saved[what], array):
            raise ValueError(
                f"{name}: saved with {what} {np.asarray(saved[what]).tolist()}, but the environment has "
                f"{array.tolist()}; use the environment the statistics were made with, or normalize anew."
            )
