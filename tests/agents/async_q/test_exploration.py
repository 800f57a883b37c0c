"""How much each worker explores: the draw of its final epsilon, the annealing, and what is refused."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import scipy.stats
from stable_baselines3.common.callbacks import BaseCallback

import agents
from agents.async_q.algorithms import PAPERS_FINAL_EPSILONS
from agents.async_q.exploration import checked_final_epsilon, draw_final_epsilons, epsilon, mean_epsilon
from agents.async_q.learner import ValueLearner
from tests.agents.async_q.valuing import make_policy, make_recipe, make_setting
from tests.agents.toys import Counter

PAPER = {0.1: 0.4, 0.01: 0.3, 0.5: 0.3}


def test_the_default_is_the_papers_distribution() -> None:
    assert dict(PAPERS_FINAL_EPSILONS) == PAPER
    model = agents.AsyncQLearning("MlpPolicy", "CartPole-v1", n_workers=1)
    assert model.exploration_final_eps == PAPER


def test_final_epsilons_are_drawn_with_the_given_probabilities() -> None:
    drawn = draw_final_epsilons(PAPER, 3000, np.random.SeedSequence(0))
    counts = [drawn.count(value) for value in PAPER]
    assert sum(counts) == 3000
    assert scipy.stats.chisquare(counts, [3000 * p for p in PAPER.values()]).pvalue > 0.01


def test_the_draw_is_repeated_for_a_seed_and_differs_between_seeds() -> None:
    draws = [draw_final_epsilons(PAPER, 20, np.random.SeedSequence(seed)) for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


def test_a_float_is_everybodys_final_epsilon() -> None:
    assert draw_final_epsilons(0.2, 3, np.random.SeedSequence(0)) == (0.2, 0.2, 0.2)


def test_a_value_of_probability_0_is_never_drawn_and_probabilities_may_sum_to_1_roughly() -> None:
    drawn = draw_final_epsilons({0.1: 0.0, 0.2: 1.0 - 1e-8}, 100, np.random.SeedSequence(0))
    assert set(drawn) == {0.2}


@pytest.mark.parametrize(
    ("progress", "expected"),
    [(0.0, 1.0), (0.1, 0.8), (0.25, 0.5), (0.5, 0.0), (0.75, 0.0), (1.0, 0.0)],
)
def test_annealing_is_linear_over_the_fraction_and_constant_afterwards(progress: float, expected: float) -> None:
    assert epsilon(1.0, 0.0, 0.5, progress) == pytest.approx(expected)


def test_a_fraction_of_0_is_the_final_epsilon_at_once() -> None:
    assert epsilon(1.0, 0.3, 0.0, 0.0) == 0.3


@pytest.mark.parametrize("final", [0, 1, 0.05, np.float32(0.5), np.float64(0.5), {0.1: 1}, MappingProxyType({0.1: 1})])
def test_numbers_and_mappings_of_any_kind_are_taken(final: Any) -> None:
    model = agents.AsyncQLearning("MlpPolicy", "CartPole-v1", n_workers=1, exploration_final_eps=final)
    expected = {0.1: 1.0} if isinstance(final, Mapping) else float(final)
    assert model.exploration_final_eps == expected
    assert checked_final_epsilon(model.exploration_final_eps) == expected


@pytest.mark.parametrize(
    ("final", "message"),
    [
        (1.5, r"=1\.5, but every value must lie in \[0, 1\]"),
        (float("nan"), r"=nan, but every value must lie in \[0, 1\]"),
        ({-0.1: 1.0}, r"every value must lie in \[0, 1\]"),
        ({}, r"={}, but every value must lie in \[0, 1\]"),
        ({0.1: 0.5}, r"sum to 1; they sum to 0\.5"),
        ({0.1: 1.5, 0.2: -0.5}, r"must be positive and sum to 1"),
        ({0.1: float("nan")}, r"must be positive and sum to 1"),
        ("0.1", r"='0\.1', but it must be a number in \[0, 1\], or \{value: probability\}"),
        (None, r"=None, but it must be a number"),
        ([0.1, 0.2], r"=\[0\.1, 0\.2\], but it must be a number"),
        ({"low": 1.0}, r"=\{'low': 1\.0\}, but it must be a number"),
    ],
)
def test_anything_else_is_refused_with_what_is_allowed(final: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"exploration_final_eps.*{message}"):
        agents.AsyncQLearning("MlpPolicy", "CartPole-v1", n_workers=1, exploration_final_eps=final)


def test_every_worker_anneals_to_its_own_final_epsilon_by_the_global_progress() -> None:
    recipe = make_recipe(initial_epsilon=1.0, final_epsilons=(0.1, 0.01, 0.5), exploration_fraction=0.5)
    setting = make_setting(make_policy(Counter.observation_space), 5, 1, worker=2)
    learner = ValueLearner(recipe, setting)
    learner.begin(250, 0.25)
    assert learner._epsilon == 0.75  # halfway from 1 to .5
    learner.begin(500, 0.5)
    assert learner._epsilon == 0.5


def test_what_is_logged_is_the_mean_over_workers() -> None:
    assert mean_epsilon(1.0, (0.1, 0.01, 0.5), 0.5, 0.25) == pytest.approx((0.55 + 0.505 + 0.75) / 3)


@pytest.mark.parametrize("n_envs", [1, 3])
def test_actions_are_greedy_but_for_a_share_of_epsilon_drawn_uniformly(n_envs: int) -> None:
    setting = make_setting(make_policy(Counter.observation_space, n_actions=4), 50, n_envs)
    learner = ValueLearner(make_recipe(epsilon=0.4), setting)
    setting.segment.observations[:] = 0.5
    counts = np.zeros(4)
    for _ in range(60 // n_envs):
        learner.begin(0, 0.0)
        for t in range(50):
            np.testing.assert_array_equal(learner.act(t), setting.segment.actions[t])
        counts += np.bincount(setting.segment.actions.reshape(-1), minlength=4)
    greedy = int(learner._values.of_row(0)[0].argmax())
    expected = np.full(4, 0.1)
    expected[greedy] += 0.6
    assert scipy.stats.chisquare(counts, expected * counts.sum()).pvalue > 0.01


class WatchRate(BaseCallback):
    """Notes exploration_rate at every segment."""

    def _on_training_start(self) -> None:
        self.rates: list[float] = []

    def _on_rollout_end(self) -> None:
        self.rates.append(self.model.exploration_rate)

    def _on_step(self) -> bool:
        return True


@pytest.mark.parametrize("n_workers", [1, 2])
def test_callbacks_see_exploration_fall_with_the_global_step(n_workers: int) -> None:
    watch = WatchRate()
    model = agents.AsyncNStepQ(
        "MlpPolicy", "CartPole-v1", n_workers=n_workers, exploration_final_eps=0.2, exploration_fraction=0.5, seed=0
    )
    assert model.exploration_rate == 1.0
    model.learn(400, callback=watch)
    if n_workers == 1:
        # segments begin at about 0, 5, 10, ... of 400 steps; 1 - .8 * 2 * progress
        assert watch.rates[0] == 1.0
        assert 0.55 < watch.rates[len(watch.rates) // 4] < 0.65
    assert sorted(watch.rates, reverse=True) == watch.rates
    assert watch.rates[-1] == model.exploration_rate == pytest.approx(0.2)


def test_two_workers_explore_differently_where_they_drew_differently() -> None:
    model = agents.AsyncQLearning("MlpPolicy", "CartPole-v1", n_workers=2, exploration_fraction=0.1, seed=4)
    assert len(set(model._final_epsilons)) == 2  # by this seed
    model.learn(300)
    assert model.exploration_rate == pytest.approx(sum(model._final_epsilons) / 2)


def test_exploration_goes_on_from_the_share_done_when_learning_continues() -> None:
    model = agents.AsyncQLearning(
        "MlpPolicy", gym.make("CartPole-v1"), n_workers=1, exploration_final_eps=0.0, exploration_fraction=1.0, seed=0
    )
    model.learn(100)
    watch = WatchRate()
    model.learn(100, reset_num_timesteps=False, callback=watch)
    assert watch.rates[0] == pytest.approx(0.5)  # at step 100 of 200
    watch = WatchRate()
    model.learn(100, callback=watch)
    assert watch.rates[0] == 1.0
