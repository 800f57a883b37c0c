"""`agents.save`."""

from stable_baselines3.common.base_class import BaseAlgorithm

from agents import registry
from agents.persistence import members
from agents.persistence.files import ModelPath, open_for_writing
from agents.persistence.statistics import statistics_of


def save(model: BaseAlgorithm, path: ModelPath) -> None:
    """Write a model with the name of its algorithm and the normalization statistics of this moment.

    The file is SB3's, readable by the class's own `load`, with additional members. It appears whole or not at all; a
    file of the same name is replaced only when the new one is complete.

    Args:
        model: of a class that is in `agents.registry`.
        path: a name, which gets ".zip" where it has no suffix (missing folders are made), or an open binary stream.

    Raises:
        TypeError: `model` is not an SB3 algorithm, or `path` is neither a name nor a stream.
        ValueError: the model's class is not registered, or its environment is normalized twice.
    """
    contents = members.Contents(
        algo=registry.key_of(model),
        class_name=f"{type(model).__module__}.{type(model).__qualname__}",
        statistics=statistics_of(model),
    )
    with open_for_writing(path) as stream:
        model.save(stream)
        members.append(stream, contents)
