"""ACE (Imani, Graves and White, 2018): the emphasis makes the update the gradient of the excursion objective."""

import numpy as np
import pytest

from agents.common.softmax_policy import softmax, softmax_score
from agents.off_pac.dense_learner import DenseLearner
from agents.off_pac.learner import LearnerSettings, StepSizes

GAMMA = 0.5


class Process:
    """3 states, 2 actions; the target policy's values and the behavior's stationary distribution, exactly."""

    def __init__(self):
        random = np.random.default_rng(11)
        self.transitions = random.dirichlet(np.full(3, 0.5), size=(3, 2))
        self.rewards = random.normal(size=(3, 2))
        self.behavior = np.array([[0.7, 0.3], [0.4, 0.6], [0.5, 0.5]])
        self.preferences = random.normal(size=(3, 2))
        chain = np.einsum("sa,san->sn", self.behavior, self.transitions)
        self.d = np.linalg.matrix_power(chain, 500)[0]

    def policy(self, preferences):
        return np.array([softmax(row) for row in preferences.tolist()])

    def values(self, pi):
        chain = np.einsum("sa,san->sn", pi, self.transitions)
        return np.linalg.solve(np.eye(3) - GAMMA * chain, (pi * self.rewards).sum(axis=1))

    def objective(self, preferences):
        """J(u) = sum_s d^b(s) V^pi(s)."""
        return float(self.d @ self.values(self.policy(preferences)))

    def numerical_gradient(self):
        gradient, step = np.zeros((3, 2)), 1e-6
        for index in np.ndindex(3, 2):
            shift = np.zeros((3, 2))
            shift[index] = step
            gradient[index] = (self.objective(self.preferences + shift) - self.objective(self.preferences - shift)) / (
                2 * step
            )
        return gradient


@pytest.fixture(scope="module")
def average_updates():
    """Average actor update along one long behavior stream with frozen weights, for eta = 0 and 1."""
    process = Process()
    random = np.random.default_rng(0)
    pi = process.policy(process.preferences)
    table = np.hstack([process.preferences, process.values(pi)[:, None], np.zeros((3, 1))])
    learners = {eta: DenseLearner(table.copy(), 1, LearnerSettings(GAMMA, 0.0, eta, 0.0)) for eta in (0.0, 1.0)}
    totals = {eta: np.zeros((3, 2)) for eta in learners}
    basis, steps, s = np.eye(3), 60_000, 0
    ratios, scores = pi / process.behavior, [[softmax_score(row.tolist(), a) for a in range(2)] for row in pi]
    uniforms = random.random((steps, 2))
    cumulative = process.transitions.cumsum(axis=2)
    for action_draw, state_draw in uniforms:
        a = int(action_draw >= process.behavior[s, 0])
        n = int(np.searchsorted(cumulative[s, a], state_draw))
        for eta, learner in learners.items():
            correction = learner.evaluate(
                0,
                basis[s],
                table[s].tolist(),
                scores[s][a],
                ratios[s, a],
                process.rewards[s, a],
                GAMMA,
                basis[n],
            )
            before = learner.table[s, :2].copy()
            learner.apply(correction, StepSizes(1.0, 0.0, 0.0))
            totals[eta][s] += learner.table[s, :2] - before
            learner.table[...] = table
        s = n
    return process, {eta: total / steps for eta, total in totals.items()}


def test_full_emphasis_follows_the_true_gradient(average_updates):
    process, averages = average_updates
    truth = process.numerical_gradient()
    assert np.linalg.norm(averages[1.0] - truth) < 0.08 * np.linalg.norm(truth)


def test_without_emphasis_the_update_is_another_vector(average_updates):
    process, averages = average_updates
    truth = process.numerical_gradient()
    assert np.linalg.norm(averages[0.0] - truth) > 0.3 * np.linalg.norm(truth)


def test_the_followon_trace_starts_at_one_after_every_episode():
    learner = DenseLearner(np.zeros((2, 3)), 1, LearnerSettings(0.5, 0.0, 1.0, 0.0))
    x = np.array([1.0, 0.0])
    weights = []
    for step in range(4):
        if step == 2:
            learner.reset_trace(0)
        correction = learner.evaluate(0, x, [0.0, 0.0, 0.0], [1.0], 2.0, 1.0, 0.5, x)
        learner.table[...] = 0.0
        learner.apply(correction, StepSizes(1.0, 0.0, 0.0))
        weights.append(learner.table[0, 0])
        learner.table[...] = 0.0
    # delta = 1, rho = 2, psi = 1: 2 F with F = 1, 1 + .5 * 2 * 1 = 2, then anew
    assert weights == [2.0, 4.0, 2.0, 4.0]
