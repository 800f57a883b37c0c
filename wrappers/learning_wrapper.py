"""What every Gymnasium wrapper with statistics can do: freeze, save, load, and say that it learns."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils import RecordConstructorArgs

from wrappers.running_statistics import RunningStatistics
from wrappers.statistics_file import read_arrays, write_arrays


class LearningWrapper(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs, ABC):
    """A wrapper whose statistics learn from what passes through it.

    Subclasses record their constructor's arguments (`training` among them), set up their statistics, and then set
    `self.training`.
    """

    _training = True

    @abstractmethod
    def learning_statistics(self) -> Mapping[str, RunningStatistics]:
        """The statistics that learn, by name; the objects themselves."""

    @abstractmethod
    def statistics_to_arrays(self) -> dict[str, np.ndarray]:
        """Everything learned, as named arrays of plain types."""

    @abstractmethod
    def load_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take over what `statistics_to_arrays` gave.

        Raises:
            ValueError: it belongs to another space or other rules; the message names the key.
        """

    @property
    def training(self) -> bool:
        """Whether the statistics learn; while False they are frozen, and changing them directly raises."""
        return self._training

    @training.setter
    def training(self, training: bool) -> None:
        self._training = training
        for statistics in self.learning_statistics().values():
            statistics.frozen = not training

    @contextmanager
    def freeze(self) -> Iterator[Self]:
        """Statistics stay as they are inside the `with` block."""
        before = self.training
        self.training = False
        try:
            yield self
        finally:
            self.training = before

    def save_statistics(self, path: str | os.PathLike[str]) -> None:
        """Write the statistics to an `.npz` file."""
        write_arrays(path, self.statistics_to_arrays())

    def load_statistics(self, path: str | os.PathLike[str]) -> None:
        """Take over the statistics that `save_statistics` wrote.

        Raises:
            ValueError: the file is no such file, or belongs to another space or other rules.
        """
        self.load_arrays(read_arrays(path))

    @property
    def spec(self) -> EnvSpec | None:  # type: ignore[override]  # Gymnasium's own Wrapper makes it a property
        """As for every wrapper; while statistics learn, the same seed does not give the same numbers twice."""
        spec = super().spec
        if spec is not None and self._saved_kwargs["training"] and self.learning_statistics():
            spec.nondeterministic = True
        return spec
