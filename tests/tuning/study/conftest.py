"""Studies that cost no training: a trial's evaluations come from a function of its configuration."""

import optuna
import pytest

from tuning import search_space
from tuning.evaluation import EpisodeResult
from tuning.study import objective as objective_module
from tuning.study.plan import plan_study

SPACE = {"learning_rate": {"type": "float", "low": 0.0, "high": 1.0}}


@pytest.fixture(autouse=True)
def _silent():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


@pytest.fixture
def plan():
    """Plan a small study of A2C in which the learning rate alone is searched."""

    def make(**settings):
        only = dict.fromkeys(search_space.find("a2c", "CartPole-v1").dimensions)  # None leaves a dimension out
        settings = {"n_timesteps": 100, "n_evaluations": 5, "space": only | SPACE, "sampler": "random"} | settings
        return plan_study("a2c", "CartPole-v1", **settings)

    return make


@pytest.fixture
def train_by(monkeypatch):
    """Replace training: `curve(config)` gives the mean return of each of the five evaluations, or raises."""

    def replace(curve):
        def train(config, training, report):
            for index, value in enumerate(curve(config), start=1):
                step = index * config.eval_freq
                training.add(step, 0.01 * step, [EpisodeResult(value, 1)])
                report(step, value)

        monkeypatch.setattr(objective_module, "train_for_trial", train)

    return replace
