"""Samplers and pruners by name or import path, made with options from a configuration."""

import importlib
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from optuna.exceptions import ExperimentalWarning

from tuning.errors import UsageError, did_you_mean

T = TypeVar("T")


def is_import_path(name: str) -> bool:
    """`package.module:Class` or `package.module.Class`, as opposed to a short name."""
    return ":" in name or "." in name


def import_class(path: str, base: type, option: str) -> type[Any]:
    """The class at an import path.

    Args:
        path: `package.module:Class`; a dot will do for the colon.
        base: what it must be.
        option: the command line's, for messages.

    Raises:
        UsageError: it cannot be imported, or is something else.
    """
    module, _, name = path.rpartition(":" if ":" in path else ".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"{option} {path} cannot be imported ({error}); write package.module:Class of an installed package or of "
            "the current folder"
        ) from error
    if not isinstance(found, type) or not issubclass(found, base):
        raise UsageError(f"{option} {path} is {found!r}, but it must be a subclass of {base.__name__}")
    return found


def construct(cls: type[T], options: Mapping[str, Any], option: str, name: str) -> T:
    """An instance; what its constructor refuses is a mistake in the options.

    Raises:
        UsageError: unknown options, or values that are refused.
    """
    try:
        with warnings.catch_warnings():
            # that its interface may change in another release says nothing about this one, which was asked for by name
            warnings.simplefilter("ignore", ExperimentalWarning)
            return cls(**options)
    except (TypeError, ValueError, ImportError) as error:
        raise UsageError(f"{option} {name} refuses its options {dict(options)}: {error}") from error


def known_name(name: str, known: Iterable[str], option: str) -> None:
    """Make sure that a short name is known.

    Raises:
        UsageError: it is not; the message gives the nearest.
    """
    if name not in known:
        raise UsageError(f"{option} {name!r} is not known; {did_you_mean(name, known)}, or write package.module:Class")
