"""`normalize` in a run's configuration: one schema for observations, rewards and actions, by key."""

import gymnasium as gym
import numpy as np
import pytest
import yaml
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecTransposeImage
from stable_baselines3.common.vec_env import VecNormalize as SB3VecNormalize

import agents
from tuning import environments
from tuning.config import resolve
from tuning.environments import evaluation_env, make_env, training_env
from tuning.errors import UsageError
from tuning.evaluation import evaluate
from tuning.normalization import Normalize
from tuning.runs import find_runs
from tuning.training import resume, train
from tuning.watching import watch
from wrappers import VecNormalize


class Senses(gym.Env):
    """Episodes of eight steps; what is seen has a kind for every rule, what is done lies in [0, 10]."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 - Gymnasium's convention
    observation_space = spaces.Dict(
        {
            "speed": spaces.Box(-np.inf, np.inf, (2,)),
            "angle": spaces.Box(-4.0, 4.0, (1,)),
            "camera": spaces.Box(0, 255, (36, 36, 3), np.uint8),
            "gear": spaces.Discrete(3),
        }
    )
    action_space = spaces.Box(0.0, 10.0, (1,))

    def __init__(self, render_mode=None):
        self.render_mode = render_mode
        self.actions = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self._observation(), {}

    def step(self, action):
        self.steps += 1
        self.actions.append(float(action[0]))
        return self._observation(), 100.0, False, self.steps == 8, {}

    def render(self):
        return np.zeros((32, 32, 3), np.uint8)

    def _observation(self):
        return {
            "speed": np.array([1000.0 + 50 * self.np_random.normal(), self.steps], np.float32),
            "angle": np.array([2.0], np.float32),
            "camera": np.full((36, 36, 3), 51, np.uint8),
            "gear": self.steps % 3,
        }


class Flat(Senses):
    """Only speed."""

    observation_space = Senses.observation_space["speed"]

    def _observation(self):
        return super()._observation()["speed"]


@pytest.fixture(autouse=True)
def _registered():
    before = dict(gym.registry)
    gym.register("Senses-v0", Senses)
    gym.register("Flat-v0", Flat)
    yield
    gym.registry.clear()
    gym.registry.update(before)


BY_KEY = {"speed": "running", "angle": "bounds", "camera": "image", "gear": "one_hot"}


def made(env_id="Senses-v0", **normalize):
    return make_env(env_id, normalize=Normalize(**normalize), seed=0)


@pytest.mark.parametrize(
    ("normalize", "kind"),
    [
        ({}, DummyVecEnv),
        ({"observation": False, "reward": False}, DummyVecEnv),
        ({"observation": True}, VecNormalize),
        ({"reward": True}, VecNormalize),
        ({"action": True}, DummyVecEnv),
    ],
)
def test_a_vec_normalize_is_there_for_observations_and_rewards(normalize, kind):
    assert type(made("Flat-v0", **normalize)) is kind


def test_every_key_gets_its_rule():
    venv = made(observation=BY_KEY)
    seen = venv.reset()
    assert venv.observation_space.spaces.keys() == BY_KEY.keys()
    np.testing.assert_array_equal(seen["angle"], [[0.5]])
    np.testing.assert_allclose(seen["camera"], np.full((1, 3, 36, 36), 0.2), rtol=1e-6)
    np.testing.assert_array_equal(seen["gear"], [[1, 0, 0]])
    assert np.abs(seen["speed"]).max() < 10
    assert all(venv.observation_space[key].contains(part[0]) for key, part in seen.items())


def test_keys_left_out_are_auto_and_images_are_left_to_the_policy():
    venv = made(observation={"speed": "pass"})
    seen = venv.reset()
    assert seen["speed"][0, 0] > 500
    np.testing.assert_array_equal(seen["angle"], [[0.5]])
    assert seen["camera"].dtype == np.uint8
    assert seen["camera"].shape == (1, 36, 36, 3), "the algorithm transposes images that stay images"


def test_one_rule_serves_all_keys_and_true_means_running():
    assert made("Flat-v0", observation="auto").obs_rms.shape == (2,)
    assert made("Flat-v0", observation=True).obs_rms.shape == (2,)
    bounded = made("Flat-v0", observation={"rule": "bounds", "low": [0, 0], "high": [2000, 8]})
    np.testing.assert_allclose(bounded.reset()[0, 1], -1.0)


def test_images_with_running_statistics_have_their_channels_first():
    venv = made(observation={"speed": "running", "camera": "running"})
    assert venv.observation_space["camera"].shape == (3, 36, 36)
    assert isinstance(venv.venv, VecTransposeImage)


@pytest.mark.parametrize(
    ("measure", "divisor"),
    [(True, None), ("return", None), ("reward", 100.0), ("episode_maximum", 100.0)],
)
def test_rewards_are_divided_by_what_is_configured(measure, divisor):
    venv = made("Flat-v0", reward=measure, clip_reward=1e6)
    assert venv._reward.by == ("return" if measure is True else measure)
    venv.reset()
    reward = venv.step(np.array([[0.0]]))[1][0]
    if divisor is not None:
        assert reward == pytest.approx(100.0 / divisor, rel=1e-3)


def test_options_reach_the_wrapper():
    venv = made("Flat-v0", observation=True, reward=True, decay=0.5, warmup=7, clip_observation=2.0, epsilon=0.1)
    assert (venv.obs_rms.decay, venv.obs_rms.warmup, venv.clip_obs, venv.epsilon) == (0.5, 7, 2.0, 0.1)
    assert (venv.ret_rms.decay, venv.ret_rms.warmup) == (0.5, 7)


def test_actions_are_mapped_to_the_environments_bounds():
    venv = made("Flat-v0", action=True)
    assert venv.action_space == spaces.Box(-1.0, 1.0, (1,), np.float32)
    venv.reset()
    for action in (-1.0, 0.0, 1.0, 3.0):
        venv.step(np.array([[action]]))
    assert venv.get_attr("actions")[0] == [0.0, 5.0, 10.0, 10.0]


def test_evaluation_maps_actions_too_and_leaves_observations_and_rewards():
    config = resolve("ppo", "Flat-v0", normalize={"observation": True, "reward": True, "action": True})
    venv = evaluation_env(config)
    assert type(venv) is DummyVecEnv
    assert venv.action_space.low == -1.0
    venv.reset()
    observation, reward, _, _ = venv.step(np.array([[0.0]]))
    assert observation[0, 0] > 500
    assert reward[0] == 100.0


def test_configurations_from_before_there_were_rules_mean_the_same():
    # as written to config.yml of run folders by the first version of this schema
    before = {
        "observation": True,
        "reward": True,
        "clip_observation": 10.0,
        "clip_reward": 10.0,
        "epsilon": 1.0e-08,
    }
    config = resolve("ppo", "Pendulum-v1", normalize=before)
    assert config.normalize == Normalize(observation=True, reward=True)
    venv = training_env(config)
    assert not venv.has_rules
    assert (venv.norm_obs, venv.norm_reward, venv.clip_obs, venv.clip_reward) == (True, True, 10.0, 10.0)


def test_rules_survive_the_way_through_a_file(tmp_path):
    normalize = {"observation": {"speed": {"rule": "bounds", "low": 0, "high": [1e3, 8]}, "camera": "pass"}}
    config = resolve("ppo", "Senses-v0", normalize=normalize | {"reward": "reward", "action": True})
    path = tmp_path / "config.yml"
    path.write_text(yaml.safe_dump(config.to_data(), sort_keys=False))
    assert resolve(config=path) == config


def test_a_rule_in_full_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "settings.yml"
    path.write_text("defaults:\n  normalize: {observation: {rule: bounds, low: 0, high: 9}}\n")
    changed = resolve("ppo", "Flat-v0", config=path, hyperparams={"normalize.observation": {"rule": "running"}})
    assert changed.normalize.observation == {"rule": "running"}


def test_the_policy_is_chosen_for_what_comes_out(tmp_path):
    assert resolve("ppo", "FrozenLake-v1", normalize={"observation": "one_hot"}).policy == "MlpPolicy"
    assert resolve("ppo", "Senses-v0", normalize={"observation": BY_KEY}).policy == "MultiInputPolicy"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("observation: {spede: running}", 3, "a rule for the key 'spede'.*did you mean 'speed'"),
        ("observation: {speed: runing}", 3, "the rule 'runing'.*did you mean 'running'"),
        ("observation:\n      angle: auto\n      speed: bounds", 5, "'speed'.*not bounded everywhere"),
        ("observation:\n      angle: auto\n      gear: running", 5, "'gear'.*needs a Box.*'one_hot'"),
        ("observation: 3", 3, "normalize.observation is 3, but it must be true, false, a rule"),
        ("observation: {speed: 3}", 3, "'speed'.*the rule 3 of type int"),
        ("observation: {speed: {rule: bounds, lo: 3}}", 3, "'speed'.*entries rule, low and high"),
        ("reward: returns", 3, "normalize.reward is 'returns', but.*did you mean return"),
        ("reward: 2", 3, "normalize.reward is 2, but.*allowed: "),
        ("action: 1", 3, "normalize.action is 1"),
        ("decay: 2.0", 3, "normalize.decay is 2.0"),
        ("warmup: -1", 3, "normalize.warmup is -1"),
        ("actions: true", 3, "no key 'normalize.actions'; did you mean action"),
    ],
)
def test_what_is_wrong_is_said_with_line_and_key(tmp_path, text, line, message):
    path = tmp_path / "settings.yml"
    path.write_text(f"defaults:\n  normalize:\n    {text}\n")
    with pytest.raises(UsageError, match=f"settings.yml, line {line}: .*{message}") as error:
        resolve("ppo", "Senses-v0", config=path)
    assert "\n" not in str(error.value)


def test_actions_that_have_no_bounds_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"normalize\.action is true, but .*Discrete.*leave"):
        resolve("ppo", "CartPole-v1", normalize={"action": True})


@pytest.mark.parametrize("algo", ["ppo", "sac", "a3c"])
def test_every_rule_trains_resumes_evaluates_and_is_watched_alike(tmp_path, algo):
    small = {"policy_kwargs": {"net_arch": [8], "normalize_images": False}}
    own = {
        "ppo": {"n_steps": 16, "batch_size": 16, "n_epochs": 1},
        "sac": {"learning_starts": 8, "buffer_size": 100, "batch_size": 8},
        "a3c": {"n_workers": 1, "n_steps": 8},
    }
    run = train(
        algo,
        "Senses-v0",
        config={"normalize": {"observation": BY_KEY, "reward": "reward", "action": True}},
        hyperparams=small | own[algo],
        n_timesteps=32,
        eval_freq=16,
        eval_episodes=1,
        runs_dir=tmp_path,
        progress=False,
    )
    assert (run.evaluations()["return"] == 800.0).all(), "returns stay unscaled"
    assert (run.episodes()["return"] == 800.0).all()
    assert (evaluate(run.path, 2)["return"] == 800.0).all()
    arrays = {which: statistics(run, which) for which in ("best", "final")}
    assert arrays["best"]["obs_rms/speed/n_samples"] < arrays["final"]["obs_rms/speed/n_samples"]


def statistics(run, which):
    return agents.persistence.statistics.statistics_of(agents.load(run.model_path(which)))


class InterruptAt(BaseCallback):
    """As Ctrl-C at a step."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def _on_step(self):
        if self.num_timesteps == self.step:
            raise KeyboardInterrupt
        return True


def test_an_interrupted_run_goes_on_with_its_statistics_by_rule(tmp_path, monkeypatch):
    normalize = {"observation": "running", "reward": "episode_maximum", "action": True}
    with pytest.raises(KeyboardInterrupt):
        train(
            "ppo",
            "Flat-v0",
            config={"normalize": normalize},
            hyperparams={"n_steps": 16, "batch_size": 16},
            n_timesteps=32,
            runs_dir=tmp_path,
            progress=False,
            callback=InterruptAt(16),
        )
    (run,) = find_runs(tmp_path)
    assert statistics(run, "last")["ret_rms/largest"] == 800.0
    made, real = [], environments.training_env
    monkeypatch.setattr(environments, "training_env", lambda config: made.append(real(config)) or made[-1])
    resume(run.path, progress=False)
    (venv,) = made
    assert venv.training
    assert venv.norm_reward
    assert venv.obs_rms.n_samples == 32 + 2, "32 steps, a reset at the start and one when it went on"
    assert statistics(run, "final")["obs_rms/n_samples"] == 34


@pytest.mark.parametrize(("algo", "own"), [("ppo", {"n_steps": 16, "batch_size": 16}), ("sac", {"learning_starts": 8})])
def test_a_run_whose_statistics_were_sb3s_goes_on_and_is_evaluated(tmp_path, monkeypatch, algo, own):
    def as_sb3(venv, *, rules, reward_by, decay, warmup, **settings):
        return SB3VecNormalize(venv, **settings)

    monkeypatch.setattr("tuning.normalization.VecNormalize", as_sb3)
    with pytest.raises(KeyboardInterrupt):
        train(
            algo,
            "Flat-v0",
            config={"normalize": {"observation": True, "reward": True}},
            hyperparams=own,
            n_timesteps=48,
            eval_freq=16,
            eval_episodes=1,
            runs_dir=tmp_path,
            progress=False,
            callback=InterruptAt(32),
        )
    monkeypatch.setattr("tuning.normalization.VecNormalize", VecNormalize)
    (run,) = find_runs(tmp_path)
    old = statistics(run, "last")
    assert (evaluate(run.path, 1, model="last")["return"] == 800.0).all()
    resume(run.path, progress=False)
    assert statistics(run, "final")["obs_rms/n_samples"] > old["obs_rms/n_samples"] > 0


def test_a_run_with_rules_is_watched(tmp_path):
    run = train(
        "a2c",
        "Senses-v0",
        config={"normalize": {"observation": "auto", "action": True}},
        n_timesteps=10,
        runs_dir=tmp_path,
        progress=False,
    )
    assert watch(run.path, record=tmp_path / "episode.mp4")[0].value == 800.0
