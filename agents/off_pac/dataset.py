"""A fixed set of transitions, from plain arrays or a Minari data set."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first

from agents.errors import MissingExtraError

FIELDS = ("observations", "actions", "rewards", "next_observations", "terminations", "truncations")


@dataclass(frozen=True)
class Dataset:
    """N transitions in the order they happened; a row whose episode goes on is followed by that episode's next row.

    Attributes:
        observations, next_observations: [N, ...] or a dictionary of such arrays.
        actions: [N] or [N, action_dim], as the behavior policy drew them.
        rewards: [N].
        terminations, truncations: [N] bool.
        log_behavior: [N] log b(a|s), [N, n_actions] log b(.|s), or None where unknown.
    """

    observations: Any
    actions: NDArray
    rewards: NDArray[np.float64]
    next_observations: Any
    terminations: NDArray[np.bool_]
    truncations: NDArray[np.bool_]
    log_behavior: NDArray[np.float64] | None

    def __len__(self) -> int:
        return len(self.rewards)


def as_dataset(given: Any, observation_space: spaces.Space, action_space: spaces.Space) -> Dataset:
    """A checked data set.

    Args:
        given: a mapping with the arrays of ``FIELDS`` and, where known, ``behavior_probabilities`` (densities for Box
            actions; [N] of the action taken, or [N, n_actions] of all), a Minari data set, or the id of one.
        observation_space, action_space: what it must fit.

    Raises:
        ValueError: arrays are missing, of different lengths, of the wrong shape or not finite; an observation that its
            space cannot hold; a flag that is neither 0 nor 1; a probability that is not in (0, 1]. Names the row.
        MissingExtraError: an id was given and Minari is not installed.
        FileNotFoundError: the data set of this id has not been downloaded.
    """
    if isinstance(given, str):
        given = _load_minari(given)
    arrays = _from_minari(given, observation_space) if hasattr(given, "iterate_episodes") else given
    if not isinstance(arrays, Mapping):
        raise ValueError(
            f"The data set is a {type(given).__name__}, but it must be a mapping of arrays or a Minari data set; put "
            f"{', '.join(FIELDS)} into a dictionary."
        )
    missing = [name for name in FIELDS if name not in arrays]
    if missing:
        raise ValueError(f"The data set lacks {', '.join(missing)}, but it needs {', '.join(FIELDS)}; add the arrays.")
    rewards = _rewards(arrays["rewards"])
    n = len(rewards)
    if n == 0:
        raise ValueError("The data set has no transitions, but at least one is needed; check how it was collected.")
    observations = _observations(arrays["observations"], observation_space, n, "observations")
    following = _observations(arrays["next_observations"], observation_space, n, "next_observations")
    actions = _actions(arrays["actions"], action_space, n)
    flags = [_flags(arrays[name], n, name) for name in ("terminations", "truncations")]
    probabilities = arrays.get("behavior_probabilities")
    log_behavior = None if probabilities is None else _log_behavior(probabilities, actions, action_space, n)
    return Dataset(observations, actions, rewards, following, flags[0], flags[1], log_behavior)


def _numbers(given: Any, name: str) -> NDArray:
    """Real numbers, of the type they have."""
    values = np.asarray(given)
    if values.dtype.kind == "O":
        with suppress(TypeError, ValueError):
            values = values.astype(np.float64)
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{name} holds {values.dtype}, but it must be an array of real numbers; convert it.")
    return values


def _rewards(given: Any) -> NDArray[np.float64]:
    if np.ndim(given) == 0:
        raise ValueError(f"rewards is {given!r}, but it must hold one number for each row; give an array.")
    rewards = _numbers(given, "rewards").astype(np.float64).reshape(-1)
    bad = _first_not_finite(rewards)
    if bad is not None:
        raise ValueError(
            f"rewards[{bad}] is {rewards[bad]}, but rewards must be finite, also in float32; remove or correct the row."
        )
    return rewards


def _first_not_finite(values: NDArray, dtype: Any = np.float32) -> int | None:
    """The first row that holds NaN or infinity, or a number that is infinite in another type."""
    if not values.size:
        return None
    with np.errstate(over="ignore"):
        finite = np.isfinite(values.astype(dtype, copy=False)).reshape(len(values), -1).all(axis=1)
    return None if finite.all() else int(np.argmin(finite))


def _observations(given: Any, space: spaces.Space, n: int, name: str) -> Any:
    if isinstance(space, spaces.Dict):
        _check_keys(given, space, name)
        return {key: _observations(given[key], part, n, f"{name}[{key!r}]") for key, part in space.spaces.items()}
    values = _numbers(given, name)
    fitting = (n, *(space.shape or ()))
    allowed = [fitting]
    if _holds_images(space, values):
        # The model's space has the channel in front, put there by SB3's VecTransposeImage; the environment's own may
        # have it last. From a file, the model has no environment that could be asked.
        allowed.append((n, *space.shape[1:], space.shape[0]))  # type: ignore[index]
    if values.shape not in allowed:
        raise ValueError(
            f"{name} has the shape {values.shape}, but {n} rows of {space} need {' or '.join(map(str, allowed))}; "
            f"stack them along the first axis."
        )
    if values.shape != fitting:
        values = np.moveaxis(values, -1, 1)
    return _held(values, space, name)


def _held(values: NDArray, space: spaces.Space, name: str) -> NDArray:
    """Observations [n, ...] in the space's own type, which must change nothing but the precision of fractions.

    Raises:
        ValueError: fractions or values out of bounds in a space of integers; NaN or infinity, also by the conversion.
    """
    assert space.dtype is not None
    if space.dtype.kind == "f":
        bad = _first_not_finite(values, space.dtype)
        if bad is not None:
            with np.errstate(over="ignore"):
                entry = values[bad][~np.isfinite(values[bad].astype(space.dtype))].flat[0]
            raise ValueError(
                f"{name}[{bad}] holds {entry}, but observations must be finite, here in {space.dtype}; remove the row."
            )
        return values.astype(space.dtype, copy=False)
    low, high = _integer_bounds(space)
    if values.dtype == space.dtype and space.dtype.kind == "u" and _covers(low, high, space.dtype):
        return values
    fitting = (values >= low) & (values <= high)
    if values.dtype.kind == "f":
        fitting &= values == np.floor(values)
    if not fitting.all():
        where = tuple(np.argwhere(~fitting)[0].tolist())
        lowest, highest = (np.broadcast_to(bound, values.shape[1:])[where[1:]] for bound in (low, high))
        raise ValueError(
            f"{name}[{where[0]}] holds {values[where]}, but {_shortened(space)} holds whole numbers from {lowest} to "
            f"{highest} there; give observations as the environment shows them, images in bytes."
        )
    return values.astype(space.dtype, copy=False)


def _integer_bounds(space: spaces.Space) -> tuple[Any, Any]:
    """Lowest and highest value, of the space's shape or one for all entries."""
    if isinstance(space, spaces.Discrete):
        return int(space.start), int(space.start + space.n - 1)
    if isinstance(space, spaces.MultiDiscrete):
        return space.start, space.start + space.nvec - 1
    if isinstance(space, spaces.MultiBinary):
        return 0, 1
    assert isinstance(space, spaces.Box)
    return space.low, space.high


def _covers(low: Any, high: Any, dtype: np.dtype) -> bool:
    limits = np.iinfo(dtype)
    return bool(np.all(low == limits.min) and np.all(high == limits.max))


def _shortened(space: spaces.Space) -> str:
    return f"{type(space).__name__}{space.shape} of {space.dtype}" if isinstance(space, spaces.Box) else str(space)


def _check_keys(given: Any, space: spaces.Dict, name: str) -> None:
    needed = ", ".join(space.spaces)
    if not isinstance(given, Mapping):
        raise ValueError(
            f"{name} is a {type(given).__name__}, but the observation space is a Dict and needs a dictionary of arrays "
            f"with the keys {needed}; stack the observations key by key."
        )
    missing = [key for key in space.spaces if key not in given]
    if missing:
        raise ValueError(
            f"{name} has the keys {', '.join(map(str, given)) or '(none)'}, but the observation space needs "
            f"{needed}; add {', '.join(missing)}."
        )


def _holds_images(space: spaces.Space, values: NDArray) -> bool:
    """Whether a Box is one of images, channel first, also where VecNormalize has replaced its bounds and its type."""
    images = is_image_space(space) or (is_image_space(space, normalized_image=True) and values.dtype == np.uint8)
    return images and is_image_space_channels_first(space)  # type: ignore[arg-type]


def _actions(given: Any, space: spaces.Space, n: int) -> NDArray:
    values = _numbers(given, "actions")
    if isinstance(space, spaces.Discrete):
        if values.size != n:
            raise ValueError(
                f"actions has the shape {values.shape}, but {n} rows of {space} need ({n},); give one each."
            )
        values = values.reshape(n)
        bad = np.flatnonzero((values < 0) | (values >= space.n) | (values != np.floor(values)))
        if bad.size:
            raise ValueError(
                f"actions[{bad[0]}] is {values[bad[0]]}, but it must be one of 0 to {space.n - 1}; correct the row."
            )
        return values.astype(np.int64)
    size = int(np.prod(space.shape))  # type: ignore[arg-type]
    if values.size != n * size or values.shape[:1] != (n,):
        raise ValueError(
            f"actions has the shape {values.shape}, but {n} rows of {space} need {(n, *(space.shape or ()))}; stack "
            f"them."
        )
    values = values.reshape(n, size).astype(np.float64)
    row = _first_not_finite(values)
    if row is not None:
        raise ValueError(
            f"actions[{row}] holds {values[row].tolist()}, but actions must be finite, also in float32; remove the row."
        )
    return values


def _flags(given: Any, n: int, name: str) -> NDArray[np.bool_]:
    values = np.asarray(given).reshape(-1)
    if len(values) != n:
        raise ValueError(f"{name} has {len(values)} rows, but rewards has {n}; all arrays need the same length.")
    for row, value in enumerate([] if values.dtype == bool else values.tolist()):
        if value not in (0, 1):
            raise ValueError(
                f"{name}[{row}] is {value!r}, but it must be True or False, or 1 or 0; say whether the episode ended."
            )
    return values.astype(bool)


def _log_behavior(given: Any, actions: NDArray, space: spaces.Space, n: int) -> NDArray[np.float64]:
    values = _numbers(given, "behavior_probabilities").astype(np.float64)
    discrete = isinstance(space, spaces.Discrete)
    full = discrete and values.shape == (n, int(space.n))  # type: ignore[attr-defined]
    if not full and values.size != n:
        shapes = f"({n},)" + (f" or ({n}, {space.n})" if isinstance(space, spaces.Discrete) else "")
        raise ValueError(
            f"behavior_probabilities has the shape {values.shape}, but the data set's {n} rows need {shapes}; give one "
            "number for each row, that of the action taken"
            + (", or one for each action." if discrete else " (a density).")
        )
    values = values if full else values.reshape(n)
    taken = values[np.arange(n), actions] if full else values
    highest = 1.0 + 1e-4 if discrete else np.finfo(np.float64).max
    bad = np.flatnonzero(~((taken > 0.0) & (taken <= highest)))
    if full and not bad.size:
        bad = np.flatnonzero(~((values >= 0.0).all(axis=1) & (np.abs(values.sum(axis=1) - 1.0) <= 1e-4)))
    if bad.size:
        raise ValueError(
            f"behavior_probabilities[{bad[0]}] is {values[bad[0]]}, but an action that was taken has a probability "
            f"in (0, 1] "
            "(a positive, finite density for Box actions) and a whole row adds up to 1; correct the row, or leave all "
            "probabilities out to have them estimated."
        )
    # Actions that were never possible get the smallest probability there is, so that the logarithm stays finite.
    return np.log(np.maximum(values, np.finfo(np.float32).tiny))


def _load_minari(dataset_id: str) -> Any:
    try:
        import minari
    except ImportError as error:
        raise MissingExtraError("offline", wanted=f"The data set {dataset_id!r}", package="minari") from error
    try:
        return minari.load_dataset(dataset_id)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"The data set {dataset_id!r} is not on this machine, but it has to be downloaded before it is learned "
            f'from; run `minari download {dataset_id}` (which needs pip install "minari[hf]"; `minari list remote` '
            f"shows what there is). Minari says: {error}"
        ) from error


def _from_minari(given: Any, space: spaces.Space) -> dict[str, Any]:
    """Arrays of a Minari data set, whose episodes hold one observation more than steps."""
    columns: dict[str, list[Any]] = {name: [] for name in FIELDS}
    for episode in given.iterate_episodes():
        columns["observations"].append(_cut(episode.observations, slice(None, -1)))
        columns["next_observations"].append(_cut(episode.observations, slice(1, None)))
        truncations = np.array(episode.truncations, dtype=bool)
        # A recording that stopped in the middle of an episode is cut there like one that a time limit ended.
        truncations[-1] |= not episode.terminations[-1]
        for name, part in (
            ("actions", episode.actions),
            ("rewards", episode.rewards),
            ("terminations", episode.terminations),
            ("truncations", truncations),
        ):
            columns[name].append(part)
    return {name: _joined(parts) for name, parts in columns.items()}


def _cut(observations: Any, rows: slice) -> Any:
    if isinstance(observations, Mapping):
        return {key: _cut(part, rows) for key, part in observations.items()}
    return observations[rows]


def _joined(parts: list[Any]) -> Any:
    if parts and isinstance(parts[0], Mapping):
        return {key: _joined([part[key] for part in parts]) for key in parts[0]}
    return np.concatenate(parts) if parts else np.empty(0)
