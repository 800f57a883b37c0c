"""Algorithms that another package has registered can be tuned, without a file of ours."""

import optuna
import pytest
from stable_baselines3 import A2C

import tuning
from agents import registry
from agents.registry import AgentSpec
from tuning.study import attributes


class Foreign(A2C):
    """An algorithm of another package, with an argument that nobody here has heard of."""

    def __init__(self, policy, env, n_steps=5, gamma=0.9, boldness=0.5, **others):
        super().__init__(policy, env, n_steps=n_steps, gamma=gamma, **others)
        self.boldness = boldness


@pytest.fixture
def foreign(monkeypatch):
    spec = AgentSpec("foreign", Foreign, "MlpPolicy", "", ("Discrete",))
    monkeypatch.setitem(registry._registry._registered, "foreign", spec)


def test_an_algorithm_of_another_package_is_tuned(foreign):
    space = ["boldness=float:0:1", "gamma=one_minus:0.9:0.99"]
    objective = tuning.Objective(
        "foreign", "CartPole-v1", space=space, n_timesteps=40, n_evaluations=1, eval_episodes=1
    )
    # n_steps from the dimensions that many algorithms share, gamma and boldness as given
    assert set(objective.space.dimensions) == {"n_steps", "gamma", "boldness"}
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, n_trials=1)
    assert set(study.trials[0].user_attrs[attributes.CONFIG]["hyperparams"]) == {"n_steps", "gamma", "boldness"}
    assert study.trials[0].user_attrs[attributes.CONSTRUCTOR].startswith("Foreign('MlpPolicy', env, ")
