"""Traces, gradient-TD increments, Retrace, softmax and Gaussian policies: numbers by hand and autograd."""

import numpy as np
import pytest
import torch as th

from agents.common.gaussian_policy import gaussian_log_density, gaussian_score, log_std
from agents.common.gtd import secondary_increment, td_error, value_increment
from agents.common.retrace import retrace_targets
from agents.common.softmax_policy import softmax, softmax_score
from agents.common.traces import accumulate, emphasis_weight, followon_trace


def test_traces_by_hand():
    trace = np.zeros(2)
    accumulate(trace, np.array([1.0, 0.0]), rho=2.0, gamma=0.5, trace_decay=0.5)
    np.testing.assert_array_equal(trace, [2.0, 0.0])
    accumulate(trace, np.array([0.0, 1.0]), rho=3.0, gamma=0.5, trace_decay=0.5)
    # 3 (x + .25 * [2, 0])
    np.testing.assert_array_equal(trace, [1.5, 3.0])


def test_emphasis_by_hand():
    # gamma .5; ratios 2 then 3: F = 1, 1 + .5*2*1 = 2, 1 + .5*3*2 = 4
    carried, seen = 0.0, []
    for rho in (2.0, 3.0, 1.0):
        followon = followon_trace(carried)
        seen.append(followon)
        carried = 0.5 * rho * followon
    assert seen == [1.0, 2.0, 4.0]
    assert [emphasis_weight(4.0, eta) for eta in (0.0, 0.5, 1.0)] == [1.0, 2.5, 4.0]


def test_gradient_td_increments_by_hand():
    delta = td_error(reward=1.0, discount=0.5, next_value=4.0, value=2.0)
    assert delta == 1.0
    trace, x, next_x = np.array([2.0, 0.0]), np.array([1.0, 0.0]), np.array([0.0, 1.0])
    secondary = np.array([0.5, 7.0])
    correlation = float(secondary @ trace)
    # delta e - .5 (1 - .2) * 1 * x'
    np.testing.assert_allclose(value_increment(delta, trace, correlation, next_x, 0.5, 0.2), [2.0, -0.4])
    np.testing.assert_allclose(value_increment(delta, trace, correlation, next_x, 0.5, 1.0), [2.0, 0.0])
    # delta e - (w.x) x, and - w besides for TDRC
    np.testing.assert_allclose(secondary_increment(delta, trace, 0.5, x), [1.5, 0.0])
    np.testing.assert_allclose(secondary_increment(delta, trace, 0.5, x, secondary, 1.0), [1.0, -7.0])


def test_retrace_by_hand():
    # gamma .5, V' = 4, 6; R_1 = 2 + .5*6 = 5; R_0 = 1 + .5*(4 + min(1, 3)*(5 - 3)) = 4; nothing follows the 9
    case = {"next_action_values": [3.0, 9.0], "next_values": [4.0, 6.0], "rewards": [1.0, 2.0], "gamma": 0.5}
    never = [False, False]
    np.testing.assert_allclose(retrace_targets(ratios=[9.0, 3.0], terminated=never, cut=never, **case), [4.0, 5.0])
    half = retrace_targets(ratios=[9.0, 0.5], terminated=never, cut=never, trace_decay=0.5, **case)
    np.testing.assert_allclose(half, [1 + 0.5 * (4 + 0.25 * 2), 5.0])


def test_retrace_drops_the_value_at_termination_and_keeps_it_at_a_cut():
    case = {"next_action_values": [3.0, 9.0], "next_values": [4.0, 6.0], "rewards": [1.0, 2.0], "gamma": 0.5}
    ratios = [1.0, 1.0]
    ended = retrace_targets(ratios=ratios, terminated=[True, False], cut=[True, False], **case)
    truncated = retrace_targets(ratios=ratios, terminated=[False, False], cut=[True, False], **case)
    np.testing.assert_allclose(ended, [1.0, 5.0])
    np.testing.assert_allclose(truncated, [3.0, 5.0])


def test_softmax_score_is_the_gradient_of_the_log_probability():
    preferences = th.tensor([0.3, -1.2, 2.0], dtype=th.float64, requires_grad=True)
    th.log_softmax(preferences, 0)[1].backward()
    probabilities = softmax(preferences.tolist())
    np.testing.assert_allclose(softmax_score(probabilities, 1), preferences.grad)


def test_softmax_of_huge_preferences_stays_finite():
    assert softmax([1e4, 0.0]) == [1.0, 0.0]


def test_gaussian_score_is_the_gradient_of_the_log_density():
    mean = th.tensor([0.2, -0.4], dtype=th.float64, requires_grad=True)
    outputs = th.tensor([0.5, -3.0], dtype=th.float64, requires_grad=True)
    action = np.array([0.7, 0.1])
    sigma = th.exp(-1.0 + 2.0 * th.tanh(outputs / 2.0))
    log_prob = th.distributions.Normal(mean, sigma).log_prob(th.from_numpy(action)).sum()
    log_prob.backward()
    arrays = mean.detach().numpy(), outputs.detach().numpy()
    assert gaussian_log_density(action, arrays[0], log_std(arrays[1])) == pytest.approx(log_prob.item())
    np.testing.assert_allclose(gaussian_score(action, *arrays), [*mean.grad, *outputs.grad])


def test_standard_deviation_can_neither_collapse_nor_explode():
    lowest, highest = np.exp(log_std(np.array([-1e6, 1e6])))
    assert lowest == pytest.approx(np.exp(-3.0))
    assert highest == pytest.approx(np.exp(1.0))
