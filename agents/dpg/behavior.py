"""Who acts while DPG learns: mu with noise, a model, a policy, or any function of the observations.

A deterministic policy says nothing about actions other than its own, so something else must try them. No density is
asked for: the deterministic policy gradient needs no importance ratio.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from operator import add
from typing import Any, Self

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.noise import (
    ActionNoise,
    NormalActionNoise,
    OrnsteinUhlenbeckActionNoise,
    VectorizedActionNoise,
)
from stable_baselines3.common.policies import BasePolicy

from agents.common.deterministic_gradient import clipped
from agents.online.acting import Acting

FloatArray = NDArray[np.float64]
BehaviorPolicy = BaseAlgorithm | BasePolicy | Callable[..., Any] | None

DEFAULT_NOISE = 0.1
"""Standard deviation in units of half the action range: what TD3's authors take, and SB3's documentation."""


class Behavior(ABC):
    """Chooses actions.

    Attributes:
        uses_observations: whether it looks at the environment's own observations.
    """

    uses_observations: bool = True

    @abstractmethod
    def act(self, observations: Any, means: FloatArray, envs: NDArray[np.int_] | None = None) -> FloatArray:
        """[n, m] actions to execute, in [-1, 1].

        Args:
            observations: [n, ...] the environment's own.
            means: [n, m] mu(s), in [-1, 1].
            envs: [n] whose they are, for noise that has a state for each environment; None for all, in order.
        """

    def act_one(self, observation: Any, mean: list[float]) -> list[float]:
        """The same for one environment: [m] numbers."""
        watched = observation[None] if self.uses_observations else None
        return self.act(watched, np.array([mean]))[0].tolist()


class NoisyMean(Behavior):
    """mu(s) plus noise, clipped.

    Args:
        noise: acts in [-1, 1], as in SB3; with several environments a VectorizedActionNoise.
    """

    uses_observations = False

    def __init__(self, noise: ActionNoise) -> None:
        self._noise = noise
        # A subclass may do anything in its call.
        self._draw = _normal(noise) if type(noise) is NormalActionNoise else lambda: _numbers(noise())

    def __reduce__(self) -> tuple[type[Self], tuple[ActionNoise]]:
        # A function made here cannot be pickled, and a copied model would go on drawing from the original's noise.
        return type(self), (self._noise,)

    def act_one(self, observation: Any, mean: list[float]) -> list[float]:
        """[m] in [-1, 1], without the cost of arrays of one number."""
        noise = self._draw()
        if len(noise) != len(mean):
            raise self._misshapen(len(noise), (1, len(mean)))
        return clipped(list(map(add, mean, noise)))

    def act(self, observations: Any, means: FloatArray, envs: NDArray[np.int_] | None = None) -> FloatArray:
        """[n, m] in [-1, 1].

        Raises:
            ValueError: the noise is of another size.
        """
        noise = np.array(self._draw() if envs is None else self._draw_for(envs, means.shape[1]))
        if noise.size != means.size:
            raise self._misshapen(noise.size, means.shape)
        actions = means + noise.reshape(means.shape)
        np.maximum(actions, -1.0, out=actions)
        return np.minimum(actions, 1.0, out=actions)

    def _draw_for(self, envs: NDArray[np.int_], n_entries: int) -> FloatArray:
        """Noise of some of the environments; what the others have is not asked for, it would take a step."""
        if isinstance(self._noise, VectorizedActionNoise):
            return np.array([_numbers(self._noise.noises[env]()) for env in envs.tolist()])
        return np.array(self._draw()).reshape(-1, n_entries)[envs]

    def _misshapen(self, size: int, needed: tuple[int, ...]) -> ValueError:
        return ValueError(
            f"action_noise gave {size} numbers, but {needed[0]} environment(s) with {needed[1]} action entries need "
            f"{needed[0] * needed[1]}; give its mean and sigma one entry for each action entry."
        )


def _numbers(noise: NDArray) -> list[float]:
    numbers: list[float] = np.asarray(noise).ravel().tolist()
    return numbers


def _normal(noise: NormalActionNoise) -> Callable[[], list[float]]:
    """The same numbers as ``noise``, from the same stream, in a third of the time."""
    # One number of the noise's type: to store and to read it rounds in a third of the time that a scalar takes.
    rounded = np.zeros(1, dtype=noise._dtype)
    draw = np.random.standard_normal

    def number(mean: float, deviation: float) -> float:
        rounded[0] = mean + deviation * draw()
        return float(rounded.item())

    def numbers() -> list[float]:
        # Read anew each time: callbacks shrink the noise as learning goes on.
        means, deviations = np.asarray(noise._mu), np.asarray(noise._sigma)
        if means.shape != deviations.shape:
            return _numbers(noise())
        return list(map(number, means.ravel().tolist(), deviations.ravel().tolist()))

    return numbers


class _InEnvironmentUnits(Behavior):
    """Actions come in environment units and are clipped to the box.

    Args:
        action_space: the environment's.
    """

    name: str

    def __init__(self, action_space: spaces.Box) -> None:
        self._low = action_space.low.astype(np.float64).ravel()
        self._high = action_space.high.astype(np.float64).ravel()
        self._movable = self._low < self._high
        self._width = np.where(self._movable, self._high - self._low, 1.0)

    @abstractmethod
    def _draw(self, observations: Any) -> Any:
        """[n, ...] actions in environment units."""

    def act(self, observations: Any, means: FloatArray, envs: NDArray[np.int_] | None = None) -> FloatArray:
        """[n, m] in [-1, 1].

        Raises:
            TypeError: something that is no array of numbers.
            ValueError: wrong shape, NaN or infinity.
        """
        given = self._draw(observations)
        try:
            if given is None:
                raise TypeError("None would be NaN.")
            actions = np.asarray(given.detach().cpu() if hasattr(given, "detach") else given, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"{self.name} returned {type(given).__name__}, but it must return an array of actions, {means.shape} "
                "here; of the pair that predict gives return the first, of a distribution a sample."
            ) from error
        if actions.shape[:1] != means.shape[:1] or actions.size != means.size:
            raise ValueError(
                f"{self.name} returned actions of shape {actions.shape}, but {means.shape[0]} observation(s) and "
                f"{means.shape[1]} action entries need {means.shape}; return one action for each observation, batch "
                "first."
            )
        actions = actions.reshape(means.shape)
        finite = np.isfinite(actions).all(axis=1)
        if not finite.all():
            index = int(np.argmin(finite))
            raise ValueError(
                f"{self.name} gave the action {actions[index].tolist()} for the observation at index {index}, but it "
                "must be finite; correct the policy."
            )
        executed = np.minimum(np.maximum(actions, self._low), self._high)
        scaled = 2.0 * (executed - self._low) / self._width - 1.0
        # An entry of a single value is executed whatever mu says: nothing deviates from mu there.
        return np.where(self._movable, scaled, means)


class GivenFunction(_InEnvironmentUnits):
    """A callable: the environment's own observations, batch first, to actions in environment units."""

    name = "behavior_policy"

    def __init__(self, function: Callable[[Any], Any], action_space: spaces.Box) -> None:
        super().__init__(action_space)
        self._function = function

    def _draw(self, observations: Any) -> Any:
        return self._function(observations)


class GivenModel(_InEnvironmentUnits):
    """A model or policy of Stable-Baselines3 or this package; stochastic ones are sampled."""

    def __init__(self, model: BaseAlgorithm | BasePolicy, action_space: spaces.Box) -> None:
        super().__init__(action_space)
        self._acting = Acting(model, action_space)
        self.name = self._acting.name

    def _draw(self, observations: Any) -> Any:
        return self._acting.predict(observations)


def _check_parameters(noise: ActionNoise | None) -> None:
    """Refuse a noise of Stable-Baselines3 that can give nothing finite."""
    of_one = noise.base_noise if isinstance(noise, VectorizedActionNoise) else noise
    if not isinstance(of_one, NormalActionNoise | OrnsteinUhlenbeckActionNoise):
        return
    for name, values in (("mean", of_one._mu), ("sigma", of_one._sigma)):
        if not np.isfinite(values).all():
            raise ValueError(
                f"action_noise={noise!r} has the {name} {np.asarray(values).tolist()}, but it must be finite; give one "
                "finite number for each action entry."
            )


def make_behavior(given: BehaviorPolicy, noise: ActionNoise | None, action_space: spaces.Box, n_envs: int) -> Behavior:
    """The behavior that the arguments stand for.

    Args:
        given: None for mu with noise, a model, a policy, or a callable of the observations.
        noise: for None.
        action_space: the environment's.
        n_envs: number of environments.

    Raises:
        ValueError: a behavior policy and noise, a noise whose mean or sigma is not finite, or a model for other
            actions.
        TypeError: something else was given.
    """
    if noise is not None and not isinstance(noise, ActionNoise):
        raise TypeError(
            f"action_noise={noise!r} is a {type(noise).__name__}, but it must be a noise of Stable-Baselines3, such as "
            "NormalActionNoise(mean, sigma) with one entry for each action entry."
        )
    _check_parameters(noise)
    if given is None:
        shape = (n_envs, int(np.prod(action_space.shape)))
        return NoisyMean(NormalActionNoise(np.zeros(shape), np.full(shape, DEFAULT_NOISE)) if noise is None else noise)
    if noise is not None:
        raise ValueError(
            f"action_noise={noise!r} and behavior_policy={type(given).__name__}, but the noise is for mu itself; leave "
            "one of them out, or add the noise inside a callable."
        )
    if isinstance(given, BaseAlgorithm | BasePolicy):
        return GivenModel(given, action_space)
    if callable(given):
        return GivenFunction(given, action_space)
    raise TypeError(
        f"behavior_policy={given!r} is a {type(given).__name__}, but it must be None (mu plus action_noise), an SB3 "
        "model or policy, or a callable of the observations that returns actions."
    )
