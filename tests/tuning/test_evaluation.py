"""Evaluation: fair episodes, the model's own statistics, seeds apart from training."""

import gymnasium as gym
import numpy as np
import pytest
from sb3_contrib import MaskablePPO, RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import agents
from tuning import seeds
from tuning.environments import make_env
from tuning.errors import UsageError
from tuning.evaluation import EpisodeResult, evaluate, evaluate_model
from tuning.training import train


class Corridor(gym.Env):
    """Episodes of a fixed length, 1 a step; the observation tells the length and the step."""

    observation_space = gym.spaces.Box(0.0, 100.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, length):
        self.length = length
        self.seeds = []

    def reset(self, *, seed=None, options=None):
        self.seeds.append(seed)
        self.steps = 0
        return np.array([self.length, 0], np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.array([self.length, self.steps], np.float32), 1.0, self.steps == self.length, False, {}


def corridors(*lengths):
    return DummyVecEnv([lambda length=length: Monitor(Corridor(length)) for length in lengths])


@pytest.fixture(scope="module")
def model():
    return PPO("MlpPolicy", corridors(3), n_steps=8, batch_size=8, seed=0)


def test_short_episodes_are_not_favored(model):
    # the first 4 episodes to end would be three of length 2 and one of length 5
    results = evaluate_model(model, corridors(2, 5), 4, seed=0)
    assert results == [EpisodeResult(2.0, 2)] * 2 + [EpisodeResult(5.0, 5)] * 2


@pytest.mark.parametrize("n_episodes", [1, 2, 3, 7])
def test_exactly_as_many_episodes_as_asked_for(model, n_episodes):
    assert len(evaluate_model(model, corridors(2, 3, 4), n_episodes, seed=0)) == n_episodes


def test_environments_are_seeded_from_the_given_seed_upwards(model):
    venv = corridors(2, 2)
    evaluate_model(model, venv, 2, seed=70)
    assert [env.unwrapped.seeds[0] for env in venv.envs] == [70, 71]


def test_the_models_own_statistics_normalize_and_do_not_move():
    venv = VecNormalize(make_env("CartPole-v1"))
    model = PPO("MlpPolicy", venv, n_steps=64, batch_size=64, seed=0).learn(64)
    seen = []
    predict, model.predict = model.predict, lambda observation, **rest: seen.append(observation) or predict(observation)
    before = (venv.obs_rms.mean.copy(), venv.obs_rms.count)
    raw = make_env("CartPole-v1")
    evaluate_model(model, raw, 1, seed=3)
    raw.seed(3)
    np.testing.assert_allclose(seen[0], venv.normalize_obs(raw.reset()))
    np.testing.assert_array_equal(venv.obs_rms.mean, before[0])
    assert venv.obs_rms.count == before[1]


def test_recurrent_policies_keep_their_state_within_an_episode_only(monkeypatch):
    recurrent = RecurrentPPO("MlpLstmPolicy", corridors(3), n_steps=8, batch_size=8, seed=0)
    calls = []
    real = agents.predict

    def predict(model, observation, deterministic, **rest):
        calls.append((rest["state"] is None, list(rest["episode_start"])))
        return real(model, observation, deterministic, **rest)

    monkeypatch.setattr(agents, "predict", predict)
    evaluate_model(recurrent, corridors(2), 2, seed=0)
    assert calls == [(True, [True]), (False, [False]), (False, [True]), (False, [False])]


def test_forbidden_actions_are_masked():
    class OnlyOne(Corridor):
        def action_masks(self):
            return np.array([False, True])

        def step(self, action):
            assert action == 1
            return super().step(action)

    venv = DummyVecEnv([lambda: Monitor(OnlyOne(5))])
    masked = MaskablePPO("MlpPolicy", venv, n_steps=8, batch_size=8, seed=0)
    assert len(evaluate_model(masked, venv, 3, seed=0, deterministic=False)) == 3


def test_sampled_actions_are_not_the_deterministic_ones(model):
    actions = []
    venv = corridors(40)
    step, venv.step = venv.step, lambda chosen: actions.append(int(chosen[0])) or step(chosen)
    evaluate_model(model, venv, 1, seed=0, deterministic=True)
    deterministic = actions[:]
    actions.clear()
    evaluate_model(model, venv, 1, seed=0, deterministic=False)
    assert actions != deterministic


def test_evaluation_seeds_lie_where_no_training_seed_can():
    for seed in (0, 1, 2**31 - 1):
        for stream in ((0,), (100,), (100, 1)):
            assert 2**31 <= seeds.evaluation_seed(seed, *stream) < 2**32 - 2**15
            assert 0 <= seeds.derived_seed(seed, *stream) < 2**31 - 2**15
    assert seeds.derived_seed(1, 2) == seeds.derived_seed(1, 2)
    assert len({seeds.derived_seed(*stream) for stream in ((1, 2), (2, 1), (1, 3), (1, 2, 1))}) == 4


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    hyperparams = {"n_steps": 16, "n_envs": 2, "normalize.observation": True}
    folder = tmp_path_factory.mktemp("runs")
    return train(
        "a2c", "CartPole-v1", n_timesteps=64, eval_freq=64, hyperparams=hyperparams, runs_dir=folder, progress=False
    )


def test_a_saved_run_can_be_evaluated_again(run):
    files = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    table = evaluate(run.path, 5)
    assert list(table.columns) == ["episode", "return", "length", "sampled"]
    assert list(table["episode"]) == [0, 1, 2, 3, 4]
    assert not table["sampled"].any()
    assert table.equals(evaluate(str(run.path), 5)), "the same every time"
    assert not table.equals(evaluate(run.path, 5, seed=1))
    assert evaluate(run.path, 3, sampled=True)["sampled"].all()
    assert evaluate(run.path, 3, sampled=True).equals(evaluate(run.path, 3, sampled=True))
    assert len(evaluate(run.path, 2, model="best")) == 2
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == files, "the run is left as it is"


def test_fresh_episodes_are_not_those_of_the_runs_own_evaluation(run):
    assert list(evaluate(run.path, 10)["return"]) != list(run.evaluations()["return"])


def test_a_model_file_that_is_damaged_or_missing_is_a_usage_error(run):
    with pytest.raises(UsageError, match="has no model 'last'; it has best, final"):
        evaluate(run.path, 1, model="last")
    content = run.model_path("best").read_bytes()
    run.model_path("best").write_bytes(content[: len(content) // 2])
    try:
        with pytest.raises(UsageError, match=r"best\.zip (is not|holds no)"):
            evaluate(run.path, 1, model="best")
    finally:
        run.model_path("best").write_bytes(content)
