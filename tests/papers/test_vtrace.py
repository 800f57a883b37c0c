"""V-trace (Espeholt et al., 2018): the numbers of an independent computation, and its identities."""

import numpy as np
import pytest

from agents.common.vtrace import vtrace_targets

SEGMENT = {"values": [1.0, 2.0, 3.0], "next_values": [2.0, 3.0, 4.0], "rewards": [0.5, -1.0, 2.0], "gamma": 0.9}
NEVER = [False, False, False]


def test_on_policy_targets_are_the_n_step_returns():
    targets, _ = vtrace_targets(ratios=[1.0, 1.0, 1.0], terminated=NEVER, cut=NEVER, **SEGMENT)
    np.testing.assert_allclose(targets, [4.136, 4.04, 5.6])
    returns, following = [], 4.0
    for reward in (2.0, -1.0, 0.5):
        following = reward + 0.9 * following
        returns.append(following)
    np.testing.assert_allclose(targets, returns[::-1])


def test_ratios_are_truncated_at_one():
    targets, _ = vtrace_targets(ratios=[0.5, 2.0, 1.2], terminated=NEVER, cut=NEVER, **SEGMENT)
    np.testing.assert_allclose(targets, [2.568, 4.04, 5.6])


def test_advantages_bootstrap_from_the_corrected_value_of_the_next_state():
    _, advantages = vtrace_targets(ratios=[0.5, 2.0, 1.2], terminated=NEVER, cut=NEVER, **SEGMENT)
    np.testing.assert_allclose(advantages, [0.5 + 0.9 * 4.04 - 1, -1 + 0.9 * 5.6 - 2, 2 + 0.9 * 4 - 3])


def test_truncation_levels_above_one_keep_larger_ratios():
    targets, _ = vtrace_targets(
        ratios=[0.5, 2.0, 1.2], terminated=NEVER, cut=NEVER, rho_bar=10.0, c_bar=10.0, **SEGMENT
    )
    v2 = 3 + 1.2 * 2.6
    v1 = 2 + 2.0 * (-0.3) + 0.9 * 2.0 * (v2 - 3)
    v0 = 1 + 0.5 * 1.3 + 0.9 * 0.5 * (v1 - 2)
    np.testing.assert_allclose(targets, [v0, v1, v2])


def test_trace_decay_zero_is_one_step():
    targets, _ = vtrace_targets(ratios=[1.0, 1.0, 1.0], terminated=NEVER, cut=NEVER, trace_decay=0.0, **SEGMENT)
    np.testing.assert_allclose(targets, [0.5 + 1.8, -1 + 2.7, 2 + 3.6])


@pytest.mark.parametrize(("terminated", "first"), [(True, 0.5), (False, 0.5 + 0.9 * 2.0)])
def test_termination_drops_the_next_value_and_truncation_keeps_it(terminated, first):
    targets, _ = vtrace_targets(
        ratios=[1.0, 1.0, 1.0], terminated=[terminated, False, False], cut=[True, False, False], **SEGMENT
    )
    np.testing.assert_allclose(targets, [first, 4.04, 5.6])


def test_batches_are_columns():
    batched = {
        name: np.repeat(np.array(value)[:, None], 2, axis=1) if name != "gamma" else value
        for name, value in SEGMENT.items()
    }
    ratios = np.array([[1.0, 0.5], [1.0, 2.0], [1.0, 1.2]])
    stop = np.zeros((3, 2), dtype=bool)
    targets, _ = vtrace_targets(ratios=ratios, terminated=stop, cut=stop, **batched)
    np.testing.assert_allclose(targets, [[4.136, 2.568], [4.04, 4.04], [5.6, 5.6]])
