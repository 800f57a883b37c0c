"""Rows of batched observations and infos, as the two kinds of vector environment have them.

A batched observation is an array, or a dict or tuple of batched observations. Gymnasium keeps the infos of all
environments in one dict of arrays, each beside a mask (`_key`) of the environments that have it; SB3 keeps a list of
dicts.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Info = dict[str, Any]


def copy_all(observations: Any) -> Any:
    """A copy of a batch."""
    if isinstance(observations, Mapping):
        return {key: copy_all(part) for key, part in observations.items()}
    if isinstance(observations, tuple):
        return tuple(copy_all(part) for part in observations)
    return np.array(observations)


def take_row(observations: Any, i: int) -> Any:
    """A copy of the observation of environment i."""
    if isinstance(observations, Mapping):
        return {key: take_row(part, i) for key, part in observations.items()}
    if isinstance(observations, tuple):
        return tuple(take_row(part, i) for part in observations)
    return np.array(observations[i])


def put_rows(observations: Any, rows: NDArray[np.intp], source: Any, source_rows: NDArray[np.intp]) -> None:
    """Overwrite rows of a batch by rows of another one."""
    if isinstance(observations, Mapping):
        for key, part in observations.items():
            put_rows(part, rows, source[key], source_rows)
    elif isinstance(observations, tuple):
        for part, source_part in zip(observations, source, strict=True):
            put_rows(part, rows, source_part, source_rows)
    else:
        observations[rows] = source[source_rows]


def put_row(observations: Any, i: int, observation: Any) -> None:
    """Overwrite row i of a batch by a single observation."""
    if isinstance(observations, Mapping):
        for key, part in observations.items():
            put_row(part, i, observation[key])
    elif isinstance(observations, tuple):
        for part, own in zip(observations, observation, strict=True):
            put_row(part, i, own)
    else:
        observations[i] = observation


def split_infos(infos: Mapping[str, Any], n: int) -> list[Info]:
    """Infos of Gymnasium's kind as SB3's.

    Args:
        infos: by key; a key without a mask belongs to all environments.
        n: number of environments.
    """
    split: list[Info] = [{} for _ in range(n)]
    for key, value in infos.items():
        if key.startswith("_") and key[1:] in infos:
            continue
        mask = infos.get(f"_{key}")
        owners = range(n) if mask is None else np.flatnonzero(mask)
        if isinstance(value, Mapping):
            parts = split_infos(value, n)
            for i in owners:
                split[i][key] = parts[i]
        elif isinstance(value, np.ndarray | list | tuple) and len(value) == n:
            for i in owners:
                split[i][key] = value[i]
        else:  # something said once for all
            for i in owners:
                split[i][key] = value
    return split
