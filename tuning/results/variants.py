"""Names for runs of one algorithm in one environment that were made with different settings.

Pooling them would average over settings as if they were seeds. Each configuration (without its seed and imports) is a
variant of its own, labelled by the settings in which it differs from its siblings.
"""

from collections.abc import Mapping
from typing import Any

from tuning.runs import NO_SETTINGS, make_run_id

MAX_LABEL = 48  # characters; what is longer breaks a table's layout, and the configuration's hash stands for it
_ABSENT = object()


def config_hash(config: Mapping[str, Any]) -> str:
    """The 8 hexadecimal digits that name a configuration, whatever its seed; the same as in a new run's name."""
    return make_run_id(0, dict(config)).partition("-")[2]


def variant_labels(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """A label for each of several configurations of one algorithm in one environment.

    Args:
        configs: configuration by hash.

    Returns:
        Label by hash: "" for the only configuration, otherwise what differs ("n_steps=20"), or the hash itself where
        that would be longer than 48 characters or would not tell two configurations apart.
    """
    if len(configs) == 1:
        return dict.fromkeys(configs, "")
    flat = {key: _flatten(config) for key, config in configs.items()}
    differing = [
        name
        for name in dict.fromkeys(name for settings in flat.values() for name in settings)
        if name not in NO_SETTINGS and len({repr(settings.get(name, _ABSENT)) for settings in flat.values()}) > 1
    ]
    short = _short_names(differing)
    labels = {
        key: ", ".join(_setting(short[name], settings.get(name, _ABSENT)) for name in differing)
        for key, settings in flat.items()
    }
    unique = len(set(labels.values())) == len(labels)
    return {key: label if unique and len(label) <= MAX_LABEL else key for key, label in labels.items()}


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"hyperparams": {"n_steps": 5}} -> {"hyperparams.n_steps": 5}."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _short_names(names: list[str]) -> dict[str, str]:
    """The last part of each dotted name, or the whole name where two share their last part."""
    last = [name.rpartition(".")[2] for name in names]
    return {name: end if last.count(end) == 1 else name for name, end in zip(names, last, strict=True)}


def _setting(name: str, value: Any) -> str:
    return f"{name} unset" if value is _ABSENT else f"{name}={value}"
