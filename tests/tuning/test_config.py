"""How a run's configuration comes about, and how a wrong one is refused."""

import json
from pathlib import Path

import pytest
import yaml

from tuning import config as config_module
from tuning.config import RunConfig, available_cores, resolve, zoo_environments, zoo_folder
from tuning.errors import UsageError

ZOO = """\
defaults:
  n_timesteps: 5000
  hyperparams:
    gamma: 0.9
    n_steps: 4
environments:
  CartPole-v1:
    n_envs: 2
    hyperparams:
      n_steps: 8
      learning_rate: {schedule: linear, initial: 0.01}
"""


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """A zoo with a file for PPO only; answers that file."""
    folder = tmp_path / "zoo_configs"
    folder.mkdir()
    (folder / "ppo.yml").write_text(ZOO)
    monkeypatch.setattr(config_module, "zoo_folder", lambda: folder)
    return folder / "ppo.yml"


def test_layers_override_each_other_from_schema_to_caller(zoo):
    config = resolve("ppo", "CartPole-v1", hyperparams={"gamma": 0.5}, n_timesteps=700)
    assert config.n_timesteps == 700, "the caller over the zoo's defaults"
    assert config.n_envs == 2, "the environment's entry"
    assert config.reward_scale == 1.0, "the schema's default"
    assert config.hyperparams == {
        "gamma": 0.5,
        "n_steps": 8,
        "learning_rate": {"schedule": "linear", "initial": 0.01},
    }


def test_an_environment_without_entry_gets_the_defaults(zoo):
    config = resolve("ppo", "Acrobot-v1")
    assert config.n_timesteps == 5000
    assert config.hyperparams == {"gamma": 0.9, "n_steps": 4}


def test_an_algorithm_without_file_gets_the_schemas_defaults(zoo):
    config = resolve("a2c", "CartPole-v1")
    assert (config.n_timesteps, config.n_envs, config.hyperparams) == (100_000, 1, {})
    assert config.policy == "MlpPolicy"
    assert config.seed == 0


@pytest.mark.parametrize("name", ["PPO", "ppo", "Ppo"])
def test_the_algorithm_is_written_as_its_key(zoo, name):
    assert resolve(name, "CartPole-v1").algo == "ppo"


def test_dotted_keys_reach_into_mappings_and_into_the_run(zoo):
    config = resolve(
        "ppo",
        "CartPole-v1",
        hyperparams={"policy_kwargs.net_arch": [8], "n_envs": 3, "normalize.reward": True, "n_steps": 16},
    )
    assert config.hyperparams["policy_kwargs"] == {"net_arch": [8]}
    assert config.hyperparams["n_steps"] == 16
    assert config.n_envs == 3
    assert config.normalize.reward
    assert not config.normalize.observation


def test_a_number_in_place_of_a_schedule_replaces_it(zoo):
    assert resolve("ppo", "CartPole-v1", hyperparams={"learning_rate": 0.5}).hyperparams["learning_rate"] == 0.5


def test_a_twentieth_of_the_run_lies_between_evaluations(zoo):
    assert resolve("ppo", "CartPole-v1").eval_freq == 250
    assert resolve("ppo", "CartPole-v1", n_timesteps=7).eval_freq == 1
    assert resolve("ppo", "CartPole-v1", eval_freq=33).eval_freq == 33


@pytest.mark.parametrize("algo", ["ppo", "sac", "recurrentppo"])
def test_a_resolved_configuration_resolves_to_itself(tmp_path, algo):
    # written to a file and read again, as `actorzoo train --config runs/.../config.yml` does
    config = resolve(algo, "Pendulum-v1", hyperparams={"gamma": 1e-5, "policy_kwargs.net_arch": (4, 4)}, seed=3)
    path = tmp_path / "config.yml"
    path.write_text(yaml.safe_dump(config.to_data(), sort_keys=False))
    assert resolve(config=path) == config
    assert resolve(config=config.to_data()) == config


def test_a_given_configuration_takes_the_zoos_place(zoo):
    config = resolve(config={"algo": "ppo", "env": "CartPole-v1", "hyperparams": {"n_epochs": 2}})
    assert config.hyperparams == {"n_epochs": 2}, "nothing of the zoo's"
    assert resolve(config=config.to_data(), seed=9).seed == 9


def test_a_configuration_may_be_laid_out_like_the_zoos(tmp_path):
    path = tmp_path / "mine.yml"
    path.write_text(ZOO)
    assert resolve("ppo", "CartPole-v1", config=path).hyperparams["n_steps"] == 8


def test_workers_of_an_asynchronous_algorithm_are_written_down(zoo):
    # the constructor's default, all cores, would make another run of it on another machine
    assert resolve("a3c", "CartPole-v1").hyperparams["n_workers"] == available_cores()
    assert resolve("a3c", "CartPole-v1", hyperparams={"n_workers": 3}).hyperparams["n_workers"] == 3


def test_images_and_dicts_get_policies_that_fit(make_module):
    make_module(
        "envs_for_policies",
        "import gymnasium as gym, numpy as np\n"
        "class Env(gym.Env):\n"
        "    action_space = gym.spaces.Discrete(2)\n"
        "    def __init__(self, image, render_mode=None):\n"
        "        pixels = gym.spaces.Box(0, 255, (36, 36, 3), np.uint8)\n"
        "        self.observation_space = pixels if image else gym.spaces.Dict(pixels=pixels)\n"
        "gym.register('Image-v0', Env, kwargs={'image': True})\n"
        "gym.register('Dict-v0', Env, kwargs={'image': False})\n",
    )
    modules = ["envs_for_policies"]
    assert resolve("a2c", "Image-v0", import_modules=modules).policy == "CnnPolicy"
    assert resolve("a2c", "Dict-v0", import_modules=modules).policy == "MultiInputPolicy"
    assert resolve("recurrentppo", "Image-v0", import_modules=modules).policy == "CnnLstmPolicy"
    assert resolve("a2c", "Image-v0", import_modules=modules, policy="MlpPolicy").policy == "MlpPolicy"


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (("pppo", "CartPole-v1"), {}, "Unknown algorithm 'pppo'; the nearest are ppo"),
        ((None, "CartPole-v1"), {}, "algo is missing.*--algo"),
        (("ppo", None), {}, "env is missing.*--env"),
        (("ppo", "CartPol-v1"), {}, "no environment 'CartPol-v1'; did you mean CartPole-v1"),
        (("ppo", "CartPole"), {}, "no environment 'CartPole'; did you mean CartPole-v1"),
        (("ppo", "LunarLander-v2"), {}, "no environment 'LunarLander-v2'; did you mean LunarLander-v3"),
        (("ppo", "no_such_module:Env-v0"), {}, "The module 'no_such_module'.*cannot be imported"),
        (("ppo", "CartPole-v1"), {"import_modules": ["no_such_module"]}, "The module 'no_such_module'"),
        (("sac", "CartPole-v1"), {}, "CartPole-v1 has Discrete actions, but SAC takes Box only; .*a2c.*ppo"),
        (("dqn", "Pendulum-v1"), {}, "Pendulum-v1 has Box actions, but DQN takes Discrete only"),
        (("ppo", "CartPole-v1"), {"n_timestep": 3}, "'n_timestep' is no setting of a run; did you mean n_timesteps"),
        (("ppo", "CartPole-v1"), {"n_timesteps": -3}, "--n-timesteps: n_timesteps is -3, but input should be greater"),
        (("ppo", "CartPole-v1"), {"n_timesteps": "3"}, "n_timesteps is '3', but input should be a valid integer"),
        (("ppo", "CartPole-v1"), {"seed": -1}, "seed is -1"),
        (("ppo", "CartPole-v1"), {"device": "gpu0"}, "device is 'gpu0', which torch does not know"),
        (("ppo", "CartPole-v1"), {"policy": "MlpPolic"}, "PPO has no policy 'MlpPolic'; did you mean MlpPolicy"),
        (("ppo", "CartPole-v1"), {"hyperparams": {"n_step": 3}}, "--hyperparams n_step: PPO has no .*mean n_steps"),
        (("ppo", "CartPole-v1"), {"hyperparams": {"n_steps": "x"}}, "--hyperparams n_steps: n_steps of PPO is 'x'"),
        (("ppo", "CartPole-v1"), {"hyperparams": {"normalize.rewards": True}}, "no key 'normalize.rewards'; .*reward"),
        (("ppo", "CartPole-v1"), {"hyperparams": {"reward_scale": 0}}, "reward_scale is 0"),
        (("ppo", "CartPole-v1"), {"hyperparams": {"env_kwargs.sutton": 1}}, "does not take env_kwargs {'sutton': 1}"),
        (("ppo", "CartPole-v1"), {"hyperparams": {"env_wrapper": ["atary"]}}, "no wrapper 'atary'; did you mean atari"),
        (
            ("ppo", "CartPole-v1"),
            {"hyperparams": {"env_wrapper": [{"atari": {"x": 1}}]}},
            "atari got .*takes noop_max",
        ),
        (("ppo", "CartPole-v1"), {"hyperparams": {"policy_kwargs": {"activation_fn": dict}}}, "numbers, texts, lists"),
        (("ppo", "CartPole-v1"), {"config": "nowhere.yml"}, "nowhere.yml cannot be read"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments, settings, message):
    with pytest.raises(UsageError, match=message) as error:
        resolve(*arguments, **settings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("n_steps: 8", "n_step: 8", "ppo.yml, line 10: PPO has no hyperparameter 'n_step'; did you mean n_steps"),
        ("n_steps: 8", "n_steps: eight", "ppo.yml, line 10: n_steps of PPO is 'eight', but it must be int"),
        ("initial: 0.01", "inital: 0.01", "ppo.yml, line 11: learning_rate of PPO has the key 'inital'"),
        ("n_envs: 2", "n_env: 2", "ppo.yml, line 8: 'n_env' is no key of an entry; did you mean n_envs"),
        ("n_envs: 2", "n_envs: two", "ppo.yml, line 8: n_envs is 'two'"),
        ("n_envs: 2", "gamma: 0.9", "ppo.yml, line 8: 'gamma' is no key of an entry.*below hyperparams"),
        ("n_envs: 2", "env_wrapper: [atary]", "ppo.yml, line 8: env_wrapper has no wrapper 'atary'"),
        ("n_envs: 2", "normalize: {observations: true}", "ppo.yml, line 8: there is no key 'normalize.observations'"),
        ("gamma: 0.9", "gamma: [0.9]", "ppo.yml, line 4: gamma of PPO is .0.9., but it must be float"),
        ("defaults:", "default:", "ppo.yml, line 1: 'default' is no part of such a file; did you mean defaults"),
        ("  CartPole-v1:\n", "  CartPole-v1: 3\n  Other-v1:\n", "ppo.yml, line 7: environments.CartPole-v1 is 3"),
        ("n_envs: 2", "n_envs: [2", "ppo.yml, line 9: this is no valid YAML"),
    ],
)
def test_a_wrong_file_is_named_with_line_and_key(zoo, old, new, message):
    zoo.write_text(ZOO.replace(old, new, 1))
    with pytest.raises(UsageError, match=message) as error:
        resolve("ppo", "CartPole-v1")
    assert "\n" not in str(error.value)


def test_a_wrong_file_of_another_algorithm_does_not_matter(zoo):
    zoo.write_text("[")
    assert resolve("a2c", "CartPole-v1").algo == "a2c"


def test_a_configuration_cannot_be_changed():
    config = resolve("ppo", "CartPole-v1")
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3


def test_a_configuration_is_plain_data():
    json.dumps(resolve("td3", "Pendulum-v1").to_data())
    assert set(resolve("td3", "Pendulum-v1").to_data()) == set(RunConfig.model_fields)


def test_zoo_configs_are_found_in_a_checkout_and_in_an_installed_package(tmp_path, monkeypatch):
    checkout, installed = tmp_path / "checkout", tmp_path / "site-packages"
    for folder in (checkout / "tuning", checkout / "zoo_configs", installed / "tuning" / "zoo_configs"):
        folder.mkdir(parents=True)
    monkeypatch.setattr(config_module, "__file__", str(checkout / "tuning" / "config.py"))
    assert zoo_folder() == checkout / "zoo_configs"
    monkeypatch.setattr(config_module, "__file__", str(installed / "tuning" / "config.py"))
    assert zoo_folder() == installed / "tuning" / "zoo_configs"
    monkeypatch.setattr(config_module, "__file__", str(tmp_path / "nowhere" / "tuning" / "config.py"))
    with pytest.raises(UsageError, match="zoo_configs was not found"):
        zoo_folder()


def test_environments_with_settings_are_listed(zoo):
    assert zoo_environments("ppo") == ["CartPole-v1"]
    assert zoo_environments("a2c") == []


def test_an_algorithms_name_is_no_path(tmp_path: Path, zoo):
    (zoo.parent.parent / "outside.yml").write_text("[")
    with pytest.raises(UsageError, match="Unknown algorithm"):
        resolve("../outside", "CartPole-v1")
