"""The value-based methods that Off-PAC is compared with: updates by hand, runs that share nothing."""

import numpy as np
import pytest
from gymnasium import spaces

import agents.environments  # noqa: F401  (registers the environments)
from agents.common.features import TileCoding
from benchmarks.off_pac_baselines import GAMMA, METHODS, Settings, train

TWO_STATES = TileCoding(spaces.Box(0.0, 1.0, (1,)), n_tilings=1, n_tiles=2, bias=False)
S, T = np.array([[0]]), np.array([[1]])  # features of the two states of one run


def learner(method, **settings):
    made = METHODS[method](TWO_STATES, n_actions=2, n_runs=1, settings=Settings(alpha=0.5, **settings))
    made.theta[0] = [[1.0, 3.0], [2.0, 4.0]]  # Q(s, .), Q(t, .)
    return made


def update(learner, x, action, reward, discount, next_x):
    learner.learn(x, np.array([action]), np.array([reward]), np.array([discount]), next_x)


def test_q_lambda_cuts_its_trace_at_an_action_that_is_not_greedy():
    q = learner("q-lambda", trace_decay=0.5)
    update(q, S, 1, 1.0, GAMMA, T)  # greedy: delta = 1 + .99 * 4 - 3 = 1.96
    np.testing.assert_allclose(q.theta[0], [[1.0, 3.98], [2.0, 4.0]])
    update(q, T, 1, 0.0, GAMMA, S)  # greedy: delta = .99 * 3.98 - 4 = -.0598, trace .495 at (s, 1), 1 at (t, 1)
    np.testing.assert_allclose(q.theta[0], [[1.0, 3.98 - 0.0299 * 0.495], [2.0, 4.0 - 0.0299]])
    before = q.theta[0].copy()
    update(q, T, 0, 1.0, 0.0, S)  # not greedy: delta = 1 - 2 = -1 reaches (t, 0) alone
    np.testing.assert_allclose(q.theta[0] - before, [[0.0, 0.0], [-0.5, 0.0]])


@pytest.mark.parametrize(("method", "next_pi"), [("greedy-gq", [0.0, 1.0]), ("softmax-gq", [0.26894142, 0.73105858])])
def test_gradient_q_corrects_along_the_next_state_under_its_own_target_policy(method, next_pi):
    gq = learner(method, alpha_w=0.1, temperature=2.0)
    gq.w[0] = [[0.0, 0.4], [0.0, 0.0]]
    update(gq, S, 1, 1.0, GAMMA, T)
    delta = 1.0 + GAMMA * (next_pi[0] * 2.0 + next_pi[1] * 4.0) - 3.0
    correction = 0.5 * GAMMA * 0.4
    by_hand = [[1.0, 3.0 + 0.5 * delta], [2.0 - correction * next_pi[0], 4.0 - correction * next_pi[1]]]
    np.testing.assert_allclose(gq.theta[0], by_hand, rtol=1e-7)
    np.testing.assert_allclose(gq.w[0], [[0.0, 0.4 + 0.1 * (delta - 0.4)], [0.0, 0.0]], rtol=1e-7)


def test_nothing_is_bootstrapped_or_corrected_at_termination():
    gq = learner("greedy-gq", alpha_w=0.1)
    gq.w[0] = [[0.0, 0.4], [0.0, 0.0]]
    update(gq, S, 1, 1.0, 0.0, T)
    np.testing.assert_allclose(gq.theta[0], [[1.0, 3.0 + 0.5 * (1.0 - 3.0)], [2.0, 4.0]])


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_run_does_not_depend_on_the_runs_beside_it(method):
    settings = Settings(alpha=0.3, alpha_w=1e-3, trace_decay=0.4)
    alone, _ = train(method, "actorzoo/ContinuousGridWorld-v0", [7], 1, settings)
    beside, _ = train(method, "actorzoo/ContinuousGridWorld-v0", [3, 7], 1, settings)
    assert np.abs(alone.theta).max() > 0
    np.testing.assert_allclose(beside.theta[1], alone.theta[0], rtol=1e-9, atol=1e-12)
