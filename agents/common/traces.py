"""Eligibility traces with importance ratios, and the emphasis of ACE.

Degris, White and Sutton (2012), "Off-Policy Actor-Critic", Algorithm 1; Imani, Graves and White (2018), "An Off-policy
Policy Gradient Theorem Using Emphatic Weightings".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def accumulate(
    trace: NDArray[np.float64], gradient: NDArray[np.float64], rho: float, gamma: float, trace_decay: float
) -> NDArray[np.float64]:
    """Let e <- rho (gradient + gamma lambda e), in place.

    The actor's trace decays by gamma lambda as the critic's does. (The authors' published library leaves gamma out of
    the actor's; the forward view of the paper's appendix needs it.)

    Args:
        trace: e of the step before, 0 at an episode's start; any shape.
        gradient: x for the critic, psi (times the emphasis) for the actor; same shape.
        rho: importance ratio of the step's action.
        gamma: discount at the step's state, which is not terminal.
        trace_decay: lambda.

    Returns:
        The trace.
    """
    trace *= gamma * trace_decay
    trace += gradient
    trace *= rho
    return trace


def followon_trace(carried: float, interest: float = 1.0) -> float:
    """F_t = i + gamma rho_{t-1} F_{t-1}, the discounted ratio-weighted count of ways to have come here.

    Args:
        carried: gamma rho_{t-1} F_{t-1}; 0 at every episode's start, after truncation as well.
        interest: i, how much the state's value matters.
    """
    return interest + carried


def emphasis_weight(followon: float, emphasis: float, interest: float = 1.0) -> float:
    """M_t = (1 - eta) i + eta F_t.

    1 for Off-PAC (eta = 0), F_t for the true gradient of the excursion objective (eta = 1), at a higher variance.
    """
    return (1.0 - emphasis) * interest + emphasis * followon
