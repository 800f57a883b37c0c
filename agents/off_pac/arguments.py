"""What the arguments of ``OffPAC`` may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from gymnasium import spaces

from agents.common.action_spaces import check_floats
from agents.common.arguments import check_number, check_whole
from agents.online.arguments import check_step_size

if TYPE_CHECKING:
    from agents.off_pac.off_pac import OffPAC

LINEAR_CRITICS = ("gtd", "tdrc")
DEEP_CRITICS = ("retrace", "vtrace")


def check_action_space(space: spaces.Space) -> None:
    """Refuse actions that a policy cannot have probabilities or densities of as they are counted or bounded.

    Raises:
        ValueError: a Discrete space does not start at 0, or an entry of a Box has a single value.
        AssertionError: a Box of integers.
    """
    if isinstance(space, spaces.Discrete) and space.start != 0:
        raise ValueError(
            f"The action space {space} starts at {space.start}, but actions must count from 0; wrap the environment "
            "so that they do."
        )
    if isinstance(space, spaces.Box):
        check_floats(space)
        low, high = space.low.ravel(), space.high.ravel()
        fixed = np.flatnonzero(~(low < high))
        if fixed.size:
            entry = int(fixed[0])
            raise ValueError(
                f"Action entry {entry} of {space} has low={low[entry]:g} and high={high[entry]:g}, but importance "
                "ratios need a density and a single value has none; leave that entry out of the action space and let "
                "a wrapper such as gymnasium.wrappers.TransformAction add it."
            )


def check_arguments(model: OffPAC) -> None:
    """Refuse what is out of range or does not go with the policy.

    Raises:
        ValueError: names the argument, what it may be, and what to do.
    """
    for name in ("gamma", "trace_decay", "emphasis"):
        check_number(name, getattr(model, name), 0.0, 1.0, remedy="for 99 % write 0.99")
    for name in ("learning_rate", "critic_learning_rate", "secondary_learning_rate"):
        check_step_size(name, getattr(model, name))
    known = LINEAR_CRITICS if model.is_linear else DEEP_CRITICS
    if model.critic is not None and model.critic not in known:
        raise ValueError(
            f"critic={model.critic!r}, but {model.policy_class.__name__} knows {' and '.join(map(repr, known))}; "
            f"choose one "
            "of them or leave critic=None for the default."
        )
    if model.is_linear:
        return
    if model.emphasis or model.secondary_learning_rate is not None:
        raise ValueError(
            f"emphasis={model.emphasis} and secondary_learning_rate={model.secondary_learning_rate}, but deep "
            f"policies learn "
            "from replay and have neither; leave them out, or use LinearPolicy or TileCodingPolicy."
        )
    check_number("rho_bar", model.rho_bar, 0.0, above=True, infinite=True, remedy="1 is usual")
    if model.n_steps is not None:
        check_whole("n_steps", model.n_steps, 1)
    _check_replay(model)


def _check_replay(model: OffPAC) -> None:
    """What only deep policies use; all that SB3's DQN takes in earnest stays allowed."""
    for name in ("buffer_size", "batch_size"):
        check_whole(name, getattr(model, name), 1)
    for name in ("learning_starts", "target_update_interval"):
        check_whole(name, getattr(model, name), 0)
    check_whole("gradient_steps", model.gradient_steps, -1)
    check_number("tau", model.tau, 0.0, 1.0, remedy="1 copies the critic whole")
    check_number("ent_coef", model.ent_coef, remedy="0 leaves entropy out")
    unclipped = 'float("inf") does not clip'
    check_number("max_grad_norm", model.max_grad_norm, 0.0, above=True, infinite=True, remedy=unclipped)
