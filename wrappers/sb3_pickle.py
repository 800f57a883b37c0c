"""Statistics out of the pickles that SB3's `VecNormalize.save` writes, without executing what stands in them.

A pickle names classes and functions to call. Here only the few that put together NumPy arrays are called; everything
else (the wrapper, its spaces, their random generators) becomes an inert placeholder that merely keeps its state.
"""

import os
import pickle
from typing import Any, NoReturn, Self

import numpy as np

_ARRAY_PARTS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy.core.multiarray", "_reconstruct"),  # written with NumPy 1
    ("numpy.core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),
}
_SETTINGS = ("norm_obs", "norm_reward", "clip_obs", "clip_reward", "gamma", "epsilon", "training")
_MOMENTS = ("mean", "var", "count")
_FORMAT = 1


def is_pickle(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as pickles do that are not older than Python 3."""
    with open(path, "rb") as file:
        return file.read(1) == b"\x80"


def read_sb3_pickle(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Statistics and settings of a pickled SB3 VecNormalize, in the layout of `wrappers.vec_normalize_layout`.

    Args:
        path: a file that SB3's `VecNormalize.save` wrote.

    Raises:
        ValueError: the file is damaged, or holds something else.
    """
    try:
        with open(path, "rb") as file:
            wrapper = _ArraysOnly(file).load()
        return _to_arrays(vars(wrapper))
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise ValueError(
            f"{os.fspath(path)} is no pickle of an SB3 VecNormalize ({type(error).__name__}: {error}); "
            "give a file that VecNormalize.save wrote."
        ) from error


class _Placeholder:
    """Stands for any class or function of a pickle: takes every argument and state, does nothing."""

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        return super().__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, item: object) -> None:
        """Take an item of a list-like object."""

    def extend(self, items: object) -> None:
        """Take items of a list-like object."""

    def add(self, item: object) -> None:
        """Take an item of a set-like object."""

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it has bytes in the encoding {encoding!r}")
    return text.encode("latin1")


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ARRAY_PARTS:
            return super().find_class(module, name)
        if (module, name) == ("_codecs", "encode"):  # how protocols before 3 write bytes
            return _latin1
        return _Placeholder

    def persistent_load(self, pid: object) -> NoReturn:
        raise pickle.UnpicklingError("it refers to objects outside the file")


def _to_arrays(state: dict[str, Any]) -> dict[str, np.ndarray]:
    arrays = {"format": np.array(_FORMAT)}
    arrays |= {name: np.array(state[name]) for name in _SETTINGS}
    found = {"ret_rms": state["ret_rms"]}
    if state["norm_obs"]:
        obs_rms = state["obs_rms"]
        if isinstance(obs_rms, dict):
            arrays["norm_obs_keys"] = np.array(list(obs_rms), dtype=np.str_)
            found |= {f"obs_rms/{key}": statistics for key, statistics in obs_rms.items()}
        else:
            found["obs_rms"] = obs_rms
    for prefix, statistics in found.items():
        arrays |= {f"{prefix}/{name}": np.array(vars(statistics)[name], dtype=np.float64) for name in _MOMENTS}
    return arrays
