"""What the arguments of ``DPG`` may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from gymnasium import spaces

from agents.common.action_spaces import check_floats
from agents.common.arguments import check_number
from agents.dpg.layout import COMPATIBLE_VARIANTS, VARIANTS
from agents.online.arguments import check_bool, check_step_size

if TYPE_CHECKING:
    from agents.dpg.deep_policy import DeepPolicy
    from agents.dpg.dpg import DPG
    from agents.dpg.linear_policy import LinearPolicy


def check_action_space(space: spaces.Space) -> None:
    """Refuse what has no gradient.

    Raises:
        AssertionError: no Box of floats; names algorithms that take the space, or what to make of it.
    """
    if isinstance(space, spaces.Discrete):
        advice = "Use OffPAC, DQN or A3C for Discrete actions."
    elif isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary):
        advice = "Use A3C, A2C or PPO, which take it."
    else:
        advice = "None of the algorithms here takes it; wrap the environment in a wrapper that makes a Box of it."
    given = (
        f"The algorithm only supports Box as action space but {space} was provided: a deterministic policy gradient "
    )
    assert isinstance(space, spaces.Box), f"{given}needs actions that can be moved a little. {advice}"
    check_floats(space)


def check_arguments(model: DPG) -> None:
    """Refuse what is out of range or does not go together.

    Raises:
        ValueError: names the argument, what it may be, and what to do.
    """
    for name in ("natural_gradient", "full_gq"):
        check_bool(name, getattr(model, name))
    check_number("gamma", model.gamma, 0.0, 1.0, remedy="for 99 % write 0.99")
    if model.variant not in VARIANTS:
        raise ValueError(f"variant={model.variant!r}, but it must be one of {', '.join(map(repr, VARIANTS))}.")
    for name in model.step_size_names:
        check_step_size(name, getattr(model, name))
    if model.natural_gradient and model.variant not in COMPATIBLE_VARIANTS:
        raise ValueError(
            f"natural_gradient=True, but variant={model.variant!r} has no compatible critic, whose weights w the "
            'natural gradient is; use variant="copdac-q" or "copdac-gq".'
        )
    if model.full_gq and model.variant != "copdac-gq":
        raise ValueError(f'full_gq=True, but variant={model.variant!r}; it belongs to variant="copdac-gq".')
    if model.secondary_learning_rate is not None and model.variant != "copdac-gq":
        raise ValueError(
            f"secondary_learning_rate={model.secondary_learning_rate}, but variant={model.variant!r} has no secondary "
            'weights; leave it out, or use variant="copdac-gq".'
        )
    if model.value_learning_rate is not None and not model.is_linear and model.variant not in COMPATIBLE_VARIANTS:
        raise ValueError(
            f"value_learning_rate={model.value_learning_rate}, but with variant={model.variant!r} a deep critic is one "
            "network of state and action; its step size is critic_learning_rate."
        )


def check_layout(model: DPG) -> None:
    """Refuse a critic of another form than the one that the policy has.

    Raises:
        ValueError: names the argument that was changed after the policy had been made.
    """
    layout = cast("DeepPolicy | LinearPolicy", model.policy).layout
    for name, made in (("variant", layout.variant), ("full_gq", layout.full_gq)):
        if getattr(model, name) != made:
            raise ValueError(
                f"{name}={getattr(model, name)!r}, but this model's critic was made for {name}={made!r} and cannot "
                f"become another; make a new model. model.policy.actor can be copied into it."
            )
