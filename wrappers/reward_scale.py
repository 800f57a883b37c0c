"""By how much rewards are divided.

A mean is never subtracted: that would change which behavior is best. Three measures are offered:

| by | a reward is divided by |
|---|---|
| `return` | the standard deviation of the discounted return so far in the episode (Engstrom et al. 2020, section 3) |
| `reward` | the root mean square of the rewards; unlike a deviation it does not vanish for a constant reward |
| `episode_maximum` | the largest absolute sum of rewards that any episode has reached |
"""

import difflib
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from wrappers.refusals import refuse_numbers
from wrappers.running_statistics import RunningStatistics

MEASURES = ("return", "reward", "episode_maximum")


class RewardScale:
    """Learns how large rewards are.

    The sums within an episode belong to the caller, who sets them to 0 where an episode has ended, terminated or
    truncated alike, after its last reward counted.

    Args:
        by: the measure, see the module.
        gamma: discount per step of the measure `return`, in [0, 1].
        prior_count: see `RunningStatistics`, as `decay` and `warmup`; `episode_maximum` knows only the warm-up.
        decay: see there.
        warmup: rewards to be seen before they are scaled.

    Raises:
        ValueError: an option is outside its range.
    """

    def __init__(
        self,
        by: str = "return",
        *,
        gamma: float = 0.99,
        prior_count: float = 1e-4,
        decay: float = 1.0,
        warmup: int = 0,
    ) -> None:
        if by not in MEASURES:
            near = difflib.get_close_matches(str(by), MEASURES, 1)
            hint = f"did you mean {near[0]!r}?" if near else "choose one of them."
            raise ValueError(f"by={by!r}, but a reward is scaled by one of {MEASURES}; {hint}")
        if not 0 <= gamma <= 1:
            raise ValueError(f"gamma={gamma}, but it must lie in [0, 1]; for 99 % write 0.99.")
        self.by = by
        self.gamma = gamma
        self._gamma = np.array(gamma)  # without dimensions: NumPy converts a Python float anew in every operation
        self.statistics = RunningStatistics(prior_count=prior_count, decay=decay, warmup=warmup, name="reward")
        self.largest = 0.0

    def update(self, sums: NDArray[np.float64], rewards: NDArray[np.float64]) -> None:
        """Learn from one step of n environments.

        Args:
            sums: [n], what `by` sums up within an episode; changed in place.
            rewards: [n], unscaled.

        Raises:
            ValueError: a number is not finite.
        """
        if self.by == "return":
            if len(sums) == 1:  # Python's floats beat arrays of one number
                sums[0] = sums.item() * self.gamma + rewards.item()
            else:
                self._gamma[()] = self.gamma
                sums *= self._gamma
                sums += rewards
            self.statistics.update(sums)
            return
        self.statistics.update(rewards)
        if self.by == "episode_maximum":
            sums += rewards
            self.largest = max(self.largest, float(np.abs(sums).max()))

    def divisor(self, epsilon: float) -> float:
        """What rewards are divided by, positive; 1 during the warm-up."""
        if self.by == "return":
            return self.statistics.scale(epsilon).item()
        if not self.statistics.ready:
            return 1.0
        if self.by == "reward":
            return math.sqrt(float(self.statistics.var) + float(self.statistics.mean) ** 2 + epsilon)
        return self.largest or 1.0

    def check(self, rewards: NDArray[np.float64]) -> None:
        """Refuse rewards that are not finite, for callers that do not update.

        Raises:
            ValueError: a number is not finite.
        """
        if not math.isfinite(rewards.dot(rewards)):
            refuse_numbers("reward", rewards)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything learned, by name."""
        return self.statistics.to_arrays() | {"largest": np.array(self.largest), "by": np.array(self.by)}

    def load_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take over what `to_arrays` gave.

        Raises:
            ValueError: it was learned by another measure, or an array is missing.
        """
        saved = str(arrays["by"]) if "by" in arrays else "return"
        if saved != self.by:
            raise ValueError(f"Rewards were scaled by {saved!r}, but now by {self.by!r}; use by={saved!r}.")
        self.statistics = RunningStatistics.from_arrays(arrays, shape=(), name="reward")
        self.largest = float(arrays.get("largest", 0.0))
