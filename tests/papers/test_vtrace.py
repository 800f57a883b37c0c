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


# A target network gives V' = (0, 0, 4) of the next observations, where the network that learns has V = (., 2, 3).
APART = {**SEGMENT, "next_values": [0.0, 0.0, 4.0]}


def test_on_policy_the_values_of_a_target_network_inside_the_segment_cancel():
    targets, advantages = vtrace_targets(ratios=[1.0, 1.0, 1.0], terminated=NEVER, cut=NEVER, **APART)
    # v_2 = 2 + .9*4 = 5.6; v_1 = -1 + .9*5.6 = 4.04; v_0 = .5 + .9*4.04 = 4.136; A_t = r_t + .9 v_{t+1} - V_t
    np.testing.assert_allclose(targets, [4.136, 4.04, 5.6])
    np.testing.assert_allclose(advantages, [4.136 - 1, 4.04 - 2, 5.6 - 3])


def test_the_trace_decay_mixes_the_target_networks_value_with_the_rest_of_the_return():
    targets, _ = vtrace_targets(ratios=[1.0, 1.0, 1.0], terminated=NEVER, cut=NEVER, trace_decay=0.5, **APART)
    # G_t = r_t + .9 (V'_t / 2 + G_{t+1} / 2): 5.6; -1 + .9*2.8 = 1.52; .5 + .9*.76 = 1.184
    np.testing.assert_allclose(targets, [1.184, 1.52, 5.6])


def test_small_ratios_keep_a_part_of_the_value_that_is_learned():
    targets, advantages = vtrace_targets(ratios=[0.5, 0.5, 1.0], terminated=NEVER, cut=NEVER, **APART)
    # v_2 = 5.6; v_1 = 2/2 + (-1 + .9*5.6)/2 = 3.02; v_0 = 1/2 + (.5 + .9*3.02)/2 = 2.109
    np.testing.assert_allclose(targets, [2.109, 3.02, 5.6])
    np.testing.assert_allclose(advantages, [0.5 + 0.9 * 3.02 - 1, -1 + 0.9 * 5.6 - 2, 2 + 0.9 * 4 - 3])


@pytest.mark.parametrize(("terminated", "first"), [(True, 0.5), (False, 0.5 + 0.9 * 7.0)])
def test_behind_an_ending_nothing_is_carried_from_a_target_network_either(terminated, first):
    case = {**SEGMENT, "next_values": [7.0, 0.0, 4.0]}
    targets, advantages = vtrace_targets(
        ratios=[1.0, 1.0, 1.0], terminated=[terminated, False, False], cut=[True, False, False], **case
    )
    np.testing.assert_allclose(targets, [first, 4.04, 5.6])
    np.testing.assert_allclose(advantages, [first - 1, 4.04 - 2, 5.6 - 3])


def test_a_chain_is_learned_in_whole_before_the_target_values_have_moved():
    # ten states in a row, reward 1 at the end: on policy and with lambda = 1 every return is 1
    rewards, values, never = np.eye(10)[9], np.zeros(10), np.zeros(10, dtype=bool)
    ended = rewards.astype(bool)
    for _ in range(100):
        targets, _ = vtrace_targets(values, np.zeros(10), rewards, np.ones(10), ended, never, gamma=1.0)
        values += 0.2 * (targets - values)
    np.testing.assert_allclose(values, 1.0, atol=1e-6)
