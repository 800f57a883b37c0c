"""Where Q-learning with the compatible critic diverges, and what gradient TD does about it: Silver et al., section 4.3.

The example is Tsitsiklis and Van Roy's (1997), with actions: two states with the features 1 and 2, so that v is w and
2 w; mu = 1 leads to the second state, -1 to the first; nothing is ever paid, all values are 0. The behavior tosses a
coin. Half of the updates are of the first state, whose target is gamma 2 w where its value is w: plain TD moves away.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import agents


class TwoStates(gym.Env):
    """Features 1 and 2, no rewards, no end."""

    observation_space = spaces.Box(0.0, 2.0, (1,), np.float64)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return np.array([1.0]), {}

    def step(self, action: Any) -> Any:
        second = self.np_random.random() < (1.0 + float(action[0])) / 2.0
        return np.array([1.0 + second]), 0.0, False, False, {}


def value_weight(variant: str, full_gq: bool) -> float:
    """W after 5,000 steps, from 1; mu stands at 1."""
    random = np.random.default_rng(0)
    model = agents.DPG(
        "LinearPolicy",
        TwoStates(),
        variant=variant,
        full_gq=full_gq,
        behavior_policy=lambda rows: np.where(random.random((len(rows), 1)) < 0.5, -1.0, 1.0),
        learning_rate=0.0,
        critic_learning_rate=0.05,
        value_learning_rate=0.01,
        secondary_learning_rate=0.1 if variant == "copdac-gq" else None,
        seed=0,
    )
    table, layout = model.policy.table(), model.policy.layout
    table[0, layout.actor], table[0, layout.value] = 1.0, 1.0
    model.learn(5000, log_interval=None)
    return float(abs(model.policy.table()[0, layout.value]))


@pytest.mark.parametrize("variant", ["copdac-q", "copdac-gq"])
def test_plain_td_of_the_value_diverges_also_in_the_printed_form_of_gq(variant: str) -> None:
    # u . phi(s, a) has the mean 0 over the behavior's actions: the printed correction of v averages out
    assert value_weight(variant, full_gq=False) > 1e4


def test_gq_on_the_concatenated_features_converges() -> None:
    assert value_weight("copdac-gq", full_gq=True) < 0.3
