"""Checks of Off-PAC (Degris, White and Sutton, 2012) and its critic against independent computations."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

from agents.common.gtd import secondary_increment, td_error, value_increment
from agents.common.softmax_policy import softmax, softmax_score
from agents.off_pac import OffPAC
from agents.off_pac.dense_learner import DenseLearner
from agents.off_pac.learner import LearnerSettings, StepSizes

WALK_VALUES = [0.06550, 0.14556, 0.25796, 0.42769, 0.69246]


class RandomWalk(gym.Env):
    """States A to E from C; action 0 goes left, 1 right; leaving at the right gives 1."""

    observation_space = spaces.Discrete(5)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = 2
        return self.state, {}

    def step(self, action):
        self.state += 1 if action == 1 else -1
        terminated = self.state in (-1, 5)
        return min(max(self.state, 0), 4), float(self.state == 5), terminated, False, {}


def mostly_right(observations):
    return np.tile([0.35, 0.65], (len(observations), 1))


def rarely_right(observations):
    return np.tile([0.6, 0.4], (len(observations), 1))


@pytest.mark.parametrize(
    ("critic", "behavior", "trace_decay"),
    [
        ("gtd", mostly_right, 0.0),
        ("gtd", mostly_right, 1.0),
        ("gtd", rarely_right, 0.5),
        ("tdrc", mostly_right, 0.5),
    ],
)
def test_values_of_the_random_walk_do_not_depend_on_the_behavior_or_on_lambda(critic, behavior, trace_decay):
    env = DummyVecEnv([RandomWalk] * 4)
    model = OffPAC(
        "LinearPolicy",
        env,
        learning_rate=0.0,
        critic_learning_rate=lambda progress: 0.002 + 0.12 * progress**2,
        gamma=0.9,
        trace_decay=trace_decay,
        behavior_policy=behavior,
        critic=critic,
        seed=1,
    )
    model.learn(24_000, log_interval=None)
    values = model.policy.predict_values(model.policy.obs_to_tensor(np.arange(5))[0]).detach().numpy()
    assert values.shape == (5, 1)
    np.testing.assert_allclose(values.ravel(), WALK_VALUES, atol=0.05)
    # Without ratios the values would be those of the behavior, far outside that tolerance.
    right = behavior([0])[0, 1]
    transitions = np.diag(np.full(4, right), 1) + np.diag(np.full(4, 1 - right), -1)
    of_behavior = np.linalg.solve(np.eye(5) - 0.9 * transitions, right * np.eye(5)[4])
    assert np.abs(of_behavior - WALK_VALUES).max() > 0.08


def test_the_reference_values_solve_the_bellman_equation():
    transitions = np.diag(np.full(4, 0.5), 1) + np.diag(np.full(4, 0.5), -1)
    np.testing.assert_allclose(
        np.linalg.solve(np.eye(5) - 0.9 * transitions, 0.5 * np.eye(5)[4]), WALK_VALUES, atol=5e-6
    )


class Star:
    """Baird's star: seven states, the target policy always goes to the seventh, the behavior rarely."""

    features = np.vstack([np.hstack([2 * np.eye(6), np.zeros((6, 1)), np.ones((6, 1))]), [0, 0, 0, 0, 0, 0, 1, 2]])
    start = np.array([1.0, 1, 1, 1, 1, 1, 10, 1])
    solid = 1 / 7
    gamma = 0.99

    def learn(self, updates, correction=True, wrong_features=False):
        """Value weights after expected updates over uniform states and the behavior's two actions."""
        v, w = self.start.copy(), np.zeros(8)
        for _ in range(updates):
            dv, dw = np.zeros(8), np.zeros(8)
            for x in self.features:
                # Dashed: the target policy never takes it, so rho = 0; where it leads to is of no consequence.
                for probability, rho in ((self.solid, 1 / self.solid), (1 - self.solid, 0.0)):
                    next_x = self.features[6]
                    delta = td_error(0.0, self.gamma, float(v @ next_x), float(v @ x))
                    trace, expected = rho * x, float(w @ x)
                    corrected = x if wrong_features else next_x
                    correlation = float(w @ trace) if correction else 0.0
                    weight = probability / 7
                    dv += weight * value_increment(delta, trace, correlation, corrected, self.gamma, 0.0)
                    dw += weight * secondary_increment(delta, trace, expected, x)
            v, w = v + 0.005 * dv, w + 0.05 * dw
        return v

    def value_error(self, v):
        return float(np.sqrt(np.mean((self.features @ v) ** 2)))

    def projected_bellman_error(self, v):
        x = self.features
        bellman = self.gamma * np.tile(x[6] @ v, 7) - x @ v
        projection = x @ np.linalg.pinv(x)
        return float(np.sqrt(np.mean((projection @ bellman) ** 2)))


def test_bairds_star():
    star = Star()
    assert star.value_error(star.start) == pytest.approx(5.318, abs=1e-3)
    assert star.value_error(star.learn(1000)) == pytest.approx(1.935, abs=2e-3)
    assert star.value_error(star.learn(1000, correction=False)) == pytest.approx(135, abs=1)


def test_bairds_star_is_not_solved_with_x_in_the_place_of_the_next_features():
    star = Star()
    right, wrong = star.learn(1000), star.learn(1000, wrong_features=True)
    assert star.projected_bellman_error(wrong) == pytest.approx(7.6, abs=0.1)
    assert star.projected_bellman_error(right) < 1.0


class Enumerated:
    """A small process whose expectations are sums: 4 states, 3 actions, discount .8."""

    def __init__(self):
        random = np.random.default_rng(5)
        self.transitions = random.dirichlet(np.ones(4), size=(4, 3))
        self.rewards = random.normal(size=(4, 3))
        self.behavior = random.dirichlet(np.full(3, 2.0), size=4)
        self.preferences = random.normal(size=(4, 3))
        self.pi = np.array([softmax(row) for row in self.preferences.tolist()])
        self.gamma = 0.8
        self.v, self.q = self.values(self.pi)
        chain = np.einsum("sa,san->sn", self.behavior, self.transitions)
        self.d = np.linalg.matrix_power(chain, 500)[0]

    def values(self, pi):
        chain = np.einsum("sa,san->sn", pi, self.transitions)
        v = np.linalg.solve(np.eye(4) - self.gamma * chain, (pi * self.rewards).sum(axis=1))
        return v, self.rewards + self.gamma * self.transitions @ v

    def gradient(self, weights_of_states):
        """Sum over s of weight(s) sum_a grad pi(a|s) Q(s, a), for one-hot features: [4, 3]."""
        result = np.zeros((4, 3))
        for s in range(4):
            for a in range(3):
                score = np.array(softmax_score(self.pi[s].tolist(), a))
                result[s] += weights_of_states[s] * self.pi[s, a] * score * self.q[s, a]
        return result


def test_expected_actor_update_is_the_papers_gradient():
    # E_b[rho psi (Q - V)] = g(u) = sum_s d^b(s) sum_a grad pi(a|s) Q(s, a), here through the learner itself.
    process = Enumerated()
    table = np.hstack([process.preferences, process.v[:, None], np.zeros((4, 1))])
    learner = DenseLearner(table.copy(), 1, LearnerSettings(process.gamma, 0.0, 0.0, 0.0))
    expected = np.zeros((4, 3))
    basis = np.eye(4)
    for s in range(4):
        for a in range(3):
            for n in range(4):
                learner.table[...] = table
                learner.reset_trace(0)
                outputs = learner.predict(basis[s])
                rho = process.pi[s, a] / process.behavior[s, a]
                score = softmax_score(process.pi[s].tolist(), a)
                correction = learner.evaluate(
                    0, basis[s], outputs, score, rho, process.rewards[s, a], process.gamma, basis[n]
                )
                learner.apply(correction, StepSizes(1.0, 0.0, 0.0))
                weight = process.d[s] * process.behavior[s, a] * process.transitions[s, a, n]
                expected += weight * (learner.table - table)[:, :3]
    np.testing.assert_allclose(expected, process.gradient(process.d), atol=1e-12)


def test_forward_and_backward_view_of_the_actor_agree():
    # Over one episode with constant weights, sum_t delta_t e_u(t) equals sum_t rho_t psi_t (R^lambda_t - V(s_t)) with
    # the off-policy lambda-return of the paper, only if the actor's trace decays by gamma lambda.
    random = np.random.default_rng(2)
    steps, gamma, decay = 6, 0.9, 0.7
    values = np.append(random.normal(size=steps), 0.0)
    rewards, ratios = random.normal(size=steps), random.uniform(0.3, 2.0, size=steps)
    scores = random.normal(size=(steps, 2))
    deltas = rewards + gamma * values[1:] - values[:-1]
    forward = np.zeros((steps, 2))
    for t in range(steps):
        weight, error = 1.0, 0.0
        for k in range(t, steps):
            weight *= ratios[k] if k == t else gamma * decay * ratios[k]
            error += weight * deltas[k]
        forward[t] = scores[t] * error
    table = np.zeros((steps + 1, 4))
    table[:, 2] = values
    learner = DenseLearner(table, 1, LearnerSettings(gamma, decay, 0.0, 0.0))
    basis, total = np.eye(steps + 1), np.zeros((steps + 1, 2))
    for t in range(steps):
        last = t == steps - 1
        correction = learner.evaluate(
            0,
            basis[t],
            learner.predict(basis[t]),
            scores[t].tolist(),
            ratios[t],
            rewards[t],
            0.0 if last else gamma,
            basis[t + 1],
        )
        before = learner.table.copy()
        learner.apply(correction, StepSizes(1.0, 0.0, 0.0))
        total += (learner.table - before)[:, :2]
    np.testing.assert_allclose(total[:-1], forward, atol=1e-12)
