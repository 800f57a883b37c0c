"""Count, mean and sum of squared deviations of a stream, in float64, with an exact merge.

Three things are asked of running statistics here that a running mean and variance in the data's own type do not give:

* Precision. Sums of squares cancel when the mean is large beside the deviation, and float32 sums stop growing. Here
  every deviation is taken in float64 from a mean that is already close: M2 grows by sum (x - old mean)(x - new mean),
  the batched form of Welford (1962).
* A merge. Parts of a stream seen by different processes are put together as in Chan, Golub & LeVeque (1979), eq. 2.1:
  the result is that of one pass over all of it, in whatever order the parts arrive, up to float64 rounding.
* Deltas. A worker that starts from shared statistics also keeps apart what it has seen itself (`take_delta`), so that
  nothing is counted twice; a prior stands in the shared statistics only.

The class is an SB3 `RunningMeanStd`, so that it can stand wherever SB3 expects one.
"""

import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from stable_baselines3.common.running_mean_std import RunningMeanStd

from wrappers.delta_recorder import DeltaRecorder
from wrappers.refusals import refuse_numbers, refuse_shape
from wrappers.work_arrays import Float64Array, WorkArrays

# Rows handled at once: bounds the memory of a large batch and keeps its plain sums short, so that their rounding stays
# far below the 1e-12 promised.
BLOCK_ROWS = 1024

# Looked up once, and given their output by position: at a few numbers a call, names cost as much as the arithmetic.
_add, _subtract, _multiply, _divide, _sqrt = np.add, np.subtract, np.multiply, np.divide, np.sqrt

_HEADER = 3  # count, n_samples and prior_count stand before mean and M2 in the flat form
_WORK_SIZES = 4  # batch sizes whose work arrays are kept: environment steps, replay batches, single observations


class RunningStatistics(RunningMeanStd):
    """Mean and variance of a stream of arrays of one shape.

    Before any data the mean is 0 and the variance 1: data is left as it is until something is known.

    Args:
        shape: shape of one sample; () for a scalar stream.
        prior_count: weight of an imagined sample of mean 0 and variance 1 that the statistics start with (SB3's
            VecNormalize: 1e-4); 0 for none.
        decay: factor in (0, 1] by which everything seen loses weight with every later sample; 1 forgets nothing.
            With less than 1 the order of merges matters, as it must.
        warmup: samples to be seen before `center` and `scale` use the statistics; until then they change nothing.
        name: what the samples are, for messages.

    Attributes:
        frozen: while True, every change of the statistics raises.

    Raises:
        ValueError: an option is outside its range.
    """

    def __init__(
        self,
        shape: tuple[int, ...] = (),
        *,
        prior_count: float = 0.0,
        decay: float = 1.0,
        warmup: int = 0,
        name: str = "statistics",
    ) -> None:
        if not (math.isfinite(prior_count) and prior_count >= 0):
            raise ValueError(f"prior_count={prior_count}, but it must be finite and not negative; 0 means no prior.")
        if not 0 < decay <= 1:
            raise ValueError(f"decay={decay}, but it must lie in (0, 1]; 1 forgets nothing.")
        if warmup < 0:
            raise ValueError(f"warmup={warmup}, but it must not be negative; 0 uses the statistics at once.")
        self.shape = tuple(shape)
        self.decay = decay
        self.warmup = warmup
        self.name = name
        self.frozen = False
        self._size = math.prod(self.shape)
        self._count = self._prior_count = float(prior_count)
        self._n_samples = 0
        self._mean = np.zeros(self._size)
        self._m2 = np.full(self._size, self._prior_count)
        self._var = np.ones(self._size)
        self._scale = np.ones(self._size)
        # Every change of the statistics has a number; what is derived remembers the one it belongs to.
        self._version = self._var_version = 0
        self._scale_version = -1
        self._scale_epsilon = 0.0
        self._delta: DeltaRecorder | None = None
        self._start_work()

    # ---- reading -----------------------------------------------------------------------------------------------------

    @property
    def count(self) -> float:
        """Total weight: the prior's, and one per sample (less where `decay` is below 1)."""
        return self._count

    @count.setter
    def count(self, count: float) -> None:
        """Change the weight of what is known, as SB3's users do; mean and variance stay."""
        self.set_moments(self.mean, self.var, count)

    @property
    def n_samples(self) -> int:
        """Samples seen, without the prior and without decay."""
        return self._n_samples

    @property
    def prior_count(self) -> float:
        """Weight of the prior that is still in `count`."""
        return self._prior_count

    @property
    def mean(self) -> Float64Array:
        """Mean, of the samples' shape; a read-only copy, replaced by assignment."""
        return self._public(self._mean)

    @mean.setter
    def mean(self, mean: ArrayLike) -> None:
        self.set_moments(mean, self.var, self._count, n_samples=self._n_samples, prior_count=self._prior_count)

    @property
    def var(self) -> Float64Array:
        """Population variance M2 / count, of the samples' shape; a read-only copy, replaced by assignment."""
        return self._public(self._current_var())

    @var.setter
    def var(self, var: ArrayLike) -> None:
        self.set_moments(self.mean, var, self._count, n_samples=self._n_samples, prior_count=self._prior_count)

    @property
    def m2(self) -> Float64Array:
        """Weighted sum of squared deviations from the mean, of the samples' shape; a read-only copy."""
        return self._public(self._m2)

    @property
    def ready(self) -> bool:
        """Whether the warm-up is over."""
        return self._n_samples >= self.warmup

    def scale(self, epsilon: float) -> Float64Array:
        """sqrt(var + epsilon), flat; ones during the warm-up. Valid, and not to be changed, until the next update."""
        if self._scale_version == self._version and epsilon == self._scale_epsilon:
            return self._scale
        var = self._var if self._var_version == self._version else self._current_var()
        scale = self._scale
        if self._n_samples < self.warmup:
            scale.fill(1.0)
        elif self._size == 1:
            scale[0] = math.sqrt(var.item() + epsilon)
        else:
            self._epsilon[()] = epsilon
            _add(var, self._epsilon, scale)
            _sqrt(scale, scale)
        self._scale_version, self._scale_epsilon = self._version, epsilon
        self._work.scale_is_current = False
        return scale

    def center(self, batch: np.ndarray) -> Float64Array:
        """Distances from the mean, as rows [n, size]; valid until the next call of any method with a batch.

        Args:
            batch: [n, *shape]; during the warm-up it comes back as it is.

        Raises:
            ValueError: the shape does not fit, or a number is not finite.
        """
        work = self._load(batch)
        deviations = _subtract(work.rows, work.mean, work.deviations)
        sums = work.first if work.n == 1 else work.ones.dot(deviations, work.sums)
        if not math.isfinite(sums.dot(sums)):
            refuse_numbers(self.name, batch)
        return deviations if self._n_samples >= self.warmup else work.rows

    def standardize(self, batch: np.ndarray, epsilon: float, *, update: bool) -> Float64Array:
        """(batch - mean) / sqrt(var + epsilon), as rows; valid until the next call of any method with a batch.

        Args:
            batch: [n, *shape]; with `update` up to about a thousand samples.
            epsilon: added to the variance.
            update: whether to take in the batch first.

        Returns:
            [n, size]; during the warm-up the batch as it is.

        Raises:
            ValueError: the shape does not fit, or a number is not finite; the statistics are then unchanged.
            RuntimeError: `update` is asked for, but the statistics are frozen.
        """
        centered = self.update_and_center(batch) if update else self.center(batch)
        scale, work = self.scale(epsilon), self._work
        if work.tiled and not work.scale_is_current:
            work.tile_scale(scale)
        centered /= work.scale
        return centered

    # ---- learning ----------------------------------------------------------------------------------------------------

    def update(self, arr: np.ndarray) -> None:
        """Take in a batch.

        Args:
            arr: [n, *shape], numbers of any type.

        Raises:
            ValueError: the shape does not fit, or a number is not finite; the statistics are then unchanged.
            RuntimeError: the statistics are frozen.
        """
        n = len(arr)
        if self._size == 1 and 0 < n <= self._count and n <= BLOCK_ROWS and self.decay == 1.0:
            self._update_single_number(arr)
            return
        if n <= BLOCK_ROWS:
            self.update_and_center(arr)
            return
        # All blocks are looked at before the first is taken in, so that a refusal leaves the statistics unchanged.
        blocks = [arr[start : start + BLOCK_ROWS] for start in range(0, n, BLOCK_ROWS)]
        for block in blocks:
            self.center(block)
        for block in blocks:
            self.update_and_center(block)

    def update_and_center(self, batch: np.ndarray) -> Float64Array:
        """Take in a batch and give what `center` would give afterwards, at the price of one.

        Args:
            batch: [n, *shape] with n up to about a thousand; `update` takes more.

        Returns:
            [n, size]; valid until the next call of any method with a batch.

        Raises:
            ValueError: the shape does not fit, or a number is not finite; the statistics are then unchanged.
            RuntimeError: the statistics are frozen.
        """
        if self.frozen:
            self._refuse_if_frozen()
        work = self._load(batch)
        n, rows, deviations, sums = work.n, work.rows, work.deviations, work.sums
        if n == 0:
            return rows
        known = self._count
        # The first sample stands for the mean while there is none: the deviations of a constant are then exactly 0.
        _subtract(rows, work.mean if known else rows[0], deviations)
        total = work.first if n == 1 else work.ones.dot(deviations, sums)
        if not math.isfinite(total.dot(total)):  # one number tells for all: nan and inf survive sums and squares
            refuse_numbers(self.name, batch)
        if not known:
            self._mean[:] = rows[0]
        if self._delta is not None:
            self._delta.add(rows)
        if self.decay != 1.0:
            self._forget(self.decay**n)
            known = self._count
        self._count = known + n
        self._n_samples += n
        self._version += 1
        self._operand[()] = self._count
        _divide(total, self._operand, sums)
        self._mean += sums
        if work.tiled:
            work.tile_mean(self._mean, self._version)
        centered = _subtract(rows, work.mean, work.centered)
        _multiply(deviations, centered, deviations)
        self._m2 += work.first if n == 1 else work.ones.dot(deviations, sums)
        if known < n:  # later the sum above is positive whatever the rounding
            np.maximum(self._m2, 0.0, out=self._m2)
        return centered if self._n_samples >= self.warmup else rows

    def merge(self, other: "RunningStatistics") -> None:
        """Take in what other statistics have seen: Chan, Golub & LeVeque (1979), eq. 2.1.

        Args:
            other: statistics of samples of the same shape; not changed. Its prior is left out, because a prior stands
                once. With `decay` below 1 its samples count as later than all of this object's.

        Raises:
            ValueError: the shapes differ.
            RuntimeError: these statistics are frozen.
        """
        self._refuse_if_frozen()
        if other.shape != self.shape:
            raise ValueError(
                f"{self.name}: statistics of shape {other.shape} cannot be merged into statistics of shape "
                f"{self.shape}; merge only statistics of the same observations."
            )
        if self.decay != 1.0:
            self._forget(self.decay**other.n_samples)
        mean, m2, count = other._without_prior()
        self._merge_moments(mean, m2, count)
        self._n_samples += other.n_samples

    def update_from_moments(self, batch_mean: ArrayLike, batch_var: ArrayLike, batch_count: float) -> None:
        """Take in a batch of which only the moments are known (SB3's interface; no prior is looked for).

        Args:
            batch_mean: of the samples' shape.
            batch_var: population variance, of the samples' shape.
            batch_count: number of samples.

        Raises:
            RuntimeError: the statistics are frozen.
        """
        self._refuse_if_frozen()
        if self.decay != 1.0:
            self._forget(self.decay**batch_count)
        mean, var = self._flat("batch_mean", batch_mean), self._flat("batch_var", batch_var)
        self._merge_moments(mean, var * batch_count, float(batch_count))
        self._n_samples += round(batch_count)

    def set_moments(
        self,
        mean: ArrayLike,
        var: ArrayLike,
        count: float,
        *,
        n_samples: int | None = None,
        prior_count: float | None = None,
    ) -> None:
        """Replace everything known.

        Args:
            mean: of the samples' shape.
            var: population variance, of the samples' shape.
            count: total weight, the prior's included; positive.
            n_samples: samples seen; None takes the whole part of `count`.
            prior_count: the prior's weight within `count`; None takes the rest of `count`.

        Raises:
            ValueError: a shape does not fit, a number is not finite, or the variance is negative.
            RuntimeError: the statistics are frozen.
        """
        self._refuse_if_frozen()
        flat_mean, flat_var = self._flat("mean", mean), self._flat("var", var)
        count = float(count)
        if not (np.isfinite(flat_mean).all() and np.isfinite(flat_var).all() and (flat_var >= 0).all()):
            raise ValueError(f"{self.name}: mean and variance must be finite, and the variance not negative.")
        if not (math.isfinite(count) and count > 0):
            raise ValueError(f"{self.name}: count={count}, but statistics with moments need a positive count.")
        self._n_samples = math.floor(count + 1e-9) if n_samples is None else n_samples
        # What is left over a whole number of samples is the prior; below 1e-9 it is rounding.
        rest = count - self._n_samples
        self._prior_count = (rest if rest > 1e-9 else 0.0) if prior_count is None else float(prior_count)
        self._count = count
        self._mean[:] = flat_mean
        self._var[:] = flat_var
        _multiply(flat_var, count, self._m2)
        self._version += 1
        # The variance stays as given to the last bit: M2 / count need not give it back.
        self._var_version = self._version

    # ---- deltas of workers -------------------------------------------------------------------------------------------

    def track_delta(self) -> None:
        """From now on keep apart what is seen, for `take_delta`. What was kept before is dropped."""
        self._delta = DeltaRecorder(self._new_delta())

    def take_delta(self) -> "RunningStatistics":
        """What was seen since `track_delta` or the last call, without any prior.

        Returns:
            Statistics of their own, to be merged into the shared ones.

        Raises:
            RuntimeError: nobody called `track_delta`.
        """
        if self._delta is None:
            raise RuntimeError(f"{self.name}: no delta is kept apart yet; call track_delta() before the first update.")
        return self._delta.take(self._new_delta())

    def rebase(self, base: "RunningStatistics") -> None:
        """Go on from `base` and what has been seen since the last `take_delta`.

        Args:
            base: the shared statistics, which hold every delta taken so far; not changed.

        Raises:
            ValueError: the shapes differ.
        """
        if base.shape != self.shape:
            raise ValueError(f"{self.name}: the base has shape {base.shape}, but these statistics have {self.shape}.")
        self._count, self._n_samples, self._prior_count = base._count, base._n_samples, base._prior_count
        self._mean[:], self._m2[:] = base._mean, base._m2
        self._version += 1
        if self._delta is not None and self._delta.n_samples:
            self.merge(self._delta.statistics())

    # ---- forms -------------------------------------------------------------------------------------------------------

    @property
    def flat_size(self) -> int:
        """Length of the flat form."""
        return _HEADER + 2 * self._size

    def to_flat(self, out: Float64Array | None = None) -> Float64Array:
        """Everything known as one vector: count, n_samples, prior_count, mean, M2.

        Args:
            out: float64 vector of length `flat_size` to write to, for instance in shared memory.
        """
        if out is None:
            out = np.empty(self.flat_size)
        out[0], out[1], out[2] = self._count, self._n_samples, self._prior_count
        out[_HEADER : _HEADER + self._size] = self._mean
        out[_HEADER + self._size :] = self._m2
        return out

    def load_flat(self, flat: Float64Array) -> Self:
        """Replace everything known by what `to_flat` gave.

        Raises:
            ValueError: the vector's length does not fit the shape.
            RuntimeError: the statistics are frozen.
        """
        self._refuse_if_frozen()
        if flat.shape != (self.flat_size,):
            raise ValueError(
                f"{self.name}: a flat form of shape {flat.shape}, but statistics of shape {self.shape} need "
                f"({self.flat_size},); take it from statistics of the same shape."
            )
        self._count, self._n_samples, self._prior_count = float(flat[0]), round(float(flat[1])), float(flat[2])
        self._mean[:] = flat[_HEADER : _HEADER + self._size]
        self._m2[:] = flat[_HEADER + self._size :]
        self._version += 1
        return self

    @classmethod
    def from_flat(cls, flat: Float64Array, shape: tuple[int, ...], **options: Any) -> Self:
        """New statistics from a flat form; `options` are the constructor's."""
        return cls(shape, **options).load_flat(flat)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything known and every option, by name; independent arrays of plain types."""
        return {
            "count": np.array(self._count),
            "n_samples": np.array(self._n_samples),
            "prior_count": np.array(self._prior_count),
            "mean": self.mean.copy(),
            "var": self.var.copy(),
            "m2": self.m2.copy(),
            "decay": np.array(self.decay),
            "warmup": np.array(self.warmup),
        }

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, np.ndarray], *, shape: tuple[int, ...] | None = None, name: str = "statistics"
    ) -> Self:
        """Statistics from what `to_arrays` gave.

        Args:
            arrays: by name; only `mean`, `var` and `count` must be there, with the rest going on is exact to the bit.
            shape: the shape expected; None takes that of the mean.
            name: what the samples are, for messages.

        Raises:
            ValueError: an array is missing, or does not have the shape expected.
        """
        missing = {"mean", "var", "count"} - set(arrays)
        if missing:
            raise ValueError(f"{name}: the arrays {sorted(missing)} are missing; pass what to_arrays returned.")
        saved = np.shape(arrays["mean"])
        if shape is not None and saved != tuple(shape):
            raise ValueError(
                f"{name}: statistics of shape {saved}, but {tuple(shape)} is needed; use the environment the "
                "statistics were made with, or normalize anew."
            )
        decay, warmup = float(arrays.get("decay", 1.0)), int(arrays.get("warmup", 0))
        statistics = cls(saved, decay=decay, warmup=warmup, name=name)
        if float(arrays["count"]) > 0:
            n_samples = int(arrays["n_samples"]) if "n_samples" in arrays else None
            prior_count = float(arrays["prior_count"]) if "prior_count" in arrays else None
            statistics.set_moments(
                arrays["mean"], arrays["var"], float(arrays["count"]), n_samples=n_samples, prior_count=prior_count
            )
            if "m2" in arrays:
                statistics._m2[:] = statistics._flat("m2", arrays["m2"])
        return statistics

    def copy(self) -> "RunningStatistics":
        """The same statistics and options; no delta is tracked and nothing is frozen."""
        other = RunningStatistics(self.shape, decay=self.decay, warmup=self.warmup, name=self.name)
        other.load_flat(self.to_flat())
        other._var[:] = self._current_var()
        other._var_version = other._version
        return other

    def __getstate__(self) -> dict[str, Any]:
        work = {"_work", "_other_work", "_operand", "_epsilon"}
        return {name: value for name, value in self.__dict__.items() if name not in work}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start_work()

    def __repr__(self) -> str:
        return f"RunningStatistics({self.name!r}, shape={self.shape}, n_samples={self._n_samples})"

    # ---- inside ------------------------------------------------------------------------------------------------------

    def _start_work(self) -> None:
        self._work = WorkArrays(1, self._mean, self._scale)
        self._other_work: dict[int, WorkArrays] = {}
        # Arrays without dimensions: NumPy converts a Python float anew in every operation.
        self._operand, self._epsilon = np.array(1.0), np.array(0.0)

    def _change_work(self, n: int) -> None:
        if len(self._other_work) >= _WORK_SIZES:
            self._other_work.clear()
        self._other_work[self._work.n] = self._work
        self._work = self._other_work.pop(n) if n in self._other_work else WorkArrays(n, self._mean, self._scale)
        self._work.scale_is_current = False

    def _load(self, batch: np.ndarray) -> WorkArrays:
        """Copy a batch into float64 rows, and have the mean ready beside them."""
        if batch.shape[1:] != self.shape:
            refuse_shape(self.name, batch, self.shape)
        n = batch.shape[0]
        if self._work.n != n:
            self._change_work(n)
        work = self._work
        # Assignment converts four times faster than an operation on mixed types.
        work.rows[...] = batch if batch.ndim == 2 else batch.reshape(n, self._size)
        if work.tiled and work.mean_version != self._version:
            work.tile_mean(self._mean, self._version)
        return work

    def _update_single_number(self, batch: np.ndarray) -> None:
        """`update` for samples of one number, such as a return, at a third of the price of the general way.

        M2 grows by sum d^2 - (sum d)^2 / count, d from the old mean. At least half of the weight is old, so that the
        second term is at most half of the first and nothing cancels.
        """
        if self.frozen:
            self._refuse_if_frozen()
        shape = batch.shape
        if shape[1:] != self.shape:
            refuse_shape(self.name, batch, self.shape)
        line = batch if len(shape) == 1 else batch.reshape(-1)
        n = shape[0]
        mean = self._mean.item()
        if n == 1:
            total = line.item() - mean
            squares = total * total
        else:
            if self._work.n != n:
                self._change_work(n)
            work = self._work
            self._operand[()] = mean
            _subtract(line, self._operand, work.line)
            total, squares = work.ones_and_line.dot(work.line).tolist()
        if not math.isfinite(squares):
            refuse_numbers(self.name, batch)
        if self._delta is not None:
            self._delta.add(line.reshape(n, 1))
        self._count = count = self._count + n
        self._n_samples += n
        self._version += 1
        step = total / count
        self._mean[0] = mean + step
        self._m2[0] = self._m2.item() + squares - total * step

    def _refuse_if_frozen(self) -> None:
        if self.frozen:
            raise RuntimeError(
                f"{self.name}: the statistics are frozen and must not change; leave the freeze() block first, "
                "or work on a copy()."
            )

    def _forget(self, factor: float) -> None:
        self._count *= factor
        self._prior_count *= factor
        self._m2 *= factor

    def _merge_moments(self, mean: Float64Array, m2: Float64Array, count: float) -> None:
        if count == 0:
            return
        total = self._count + count
        delta = mean - self._mean
        self._mean += delta * (count / total)
        self._m2 += m2 + delta * delta * (self._count * count / total)
        self._count = total
        self._version += 1

    def _without_prior(self) -> tuple[Float64Array, Float64Array, float]:
        """Mean, M2 and count of the data alone: the merge with the prior (mean 0, variance 1), undone."""
        prior = self._prior_count
        if not prior:
            return self._mean, self._m2, self._count
        count = self._count - prior
        if self._n_samples == 0 or count <= 0:
            return np.zeros(self._size), np.zeros(self._size), 0.0
        mean = self._mean * (self._count / count)
        m2 = self._m2 - prior - self._mean**2 * (prior * self._count / count)
        return mean, np.maximum(m2, 0.0), count

    def _current_var(self) -> Float64Array:
        if self._var_version != self._version:
            if not self._count:
                self._var.fill(1.0)
            elif self._size == 1:  # Python's floats beat arrays of one number
                self._var[0] = self._m2.item() / self._count
            else:
                self._operand[()] = self._count
                _divide(self._m2, self._operand, self._var)
            self._var_version = self._version
        return self._var

    def _new_delta(self) -> "RunningStatistics":
        return RunningStatistics(self.shape, decay=self.decay, name=self.name)

    def _public(self, flat: Float64Array) -> Float64Array:
        array = flat.reshape(self.shape).copy()
        # Writing to a copy would be lost without a word.
        array.setflags(write=False)
        return array

    def _flat(self, what: str, array: ArrayLike) -> Float64Array:
        values = np.asarray(array, dtype=np.float64)
        if values.shape != self.shape:
            raise ValueError(
                f"{self.name}: {what} has shape {values.shape}, but {self.shape} is needed; take it from statistics "
                "of the same observations."
            )
        return values.reshape(self._size)
