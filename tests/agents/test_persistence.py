"""Saved models act as they did where they were trained, on observations as the environment gives them."""

import copy
import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import cloudpickle
import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, PPO, SAC
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize, VecTransposeImage

import agents
from agents import registry
from agents.registry import AgentSpec
from agents.registry.builtin import BUILTIN_SPECS
from agents.registry.lookup import Registry
from agents.registry.plugins import Plugins
from wrappers import VecNormalize as VecNormalizeByRules
from wrappers import statistics_to_arrays

RECORD = "actorzoo/agent.json"
STATISTICS = "actorzoo/normalization.npz"
OBSERVATIONS = ("flat", "dict", "dict with image")
SMALL = {"net_arch": [8]}
MODES = spaces.Discrete(3, start=4)


class Far(gymnasium.Env):
    """Observations far from 0 and 1, so that a forgotten normalization changes every action.

    They are float64 while the space says float32, as many environments do: vector environments round them first.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, observations="flat", discrete=False, size=3, render_mode=None):
        vector = spaces.Box(-np.inf, np.inf, (size,), np.float32)
        image = spaces.Box(0, 255, (36, 36, 3), np.uint8)
        self.observation_space = {
            "flat": vector,
            "dict": spaces.Dict({"near": spaces.Box(-1, 1, (2,), np.float32), "far": vector}),
            "dict with image": spaces.Dict({"far": vector, "image": image}),
            "image": image,
            "mixed": spaces.Dict({"far": vector, "near": spaces.Box(-1, 1, (2,), np.float32), "mode": MODES}),
        }[observations]
        self.action_space = spaces.Discrete(5) if discrete else spaces.Box(-2, 2, (2,), np.float32)
        self.observations, self.size, self.render_mode, self.closed = observations, size, render_mode, False

    def _observe(self):
        far = 70 + 1000 * self.np_random.standard_normal(self.size) / 3
        image = self.np_random.integers(0, 256, (36, 36, 3), np.uint8)
        near = self.np_random.uniform(-1, 1, 2)
        return {
            "flat": far,
            "dict": {"near": near, "far": far},
            "dict with image": {"far": far, "image": image},
            "image": image,
            "mixed": {"far": far, "near": near, "mode": self.np_random.integers(4, 7)},
        }[self.observations]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self._observe(), {}

    def step(self, action):
        self.steps += 1
        return self._observe(), 100.0, False, self.steps == 7, {}

    def action_masks(self):
        return np.array([False, True, True, False, False])

    def close(self):
        self.closed = True


def normalized(n_envs=2, keys=None, transposed=False, **kwargs):
    venv = DummyVecEnv([lambda: Far(**kwargs)] * n_envs)
    venv = VecNormalize(VecTransposeImage(venv) if transposed else venv, norm_obs_keys=keys, gamma=0.9)
    venv.seed(0)
    return venv


def trained(cls=PPO, observations="flat", **kwargs):
    """A model that has learned a little behind a VecNormalize."""
    discrete = kwargs.pop("discrete", False)
    env = normalized(
        observations=observations,
        discrete=discrete,
        keys=None if observations == "flat" else ["far"],
        # SB3's replay buffer stores what is below VecNormalize, which must be in the policy's layout
        transposed=cls is SAC and observations == "dict with image",
    )
    policy = kwargs.pop("policy", "MlpPolicy" if observations == "flat" else "MultiInputPolicy")
    settings = {"learning_starts": 10, "buffer_size": 100, "batch_size": 8} if cls is SAC else {"n_steps": 8}
    if cls in (PPO, RecurrentPPO, MaskablePPO):
        settings["batch_size"] = 8
    if cls is agents.A3C:
        settings["n_workers"] = 1
    settings = {"policy_kwargs": dict(SMALL)} | settings | kwargs
    model = cls(policy, env, seed=0, device="cpu", **settings)
    return model.learn(32)


def as_in_training(model, n_steps=20):
    """Raw observations, and the actions that the training pipeline itself takes on them (statistics held still)."""
    env = model.get_env()
    vec_normalize = model.get_vec_normalize_env()
    vec_normalize.training = False
    env.seed(1)
    seen = env.reset()
    pairs = []
    for _ in range(n_steps):
        action, _ = model.predict(seen, deterministic=True)
        pairs.append((vec_normalize.get_original_obs(), action))
        seen, *_ = env.step(action)
    vec_normalize.training = True
    return pairs


def parameters(model):
    return {name: value.clone() for name, value in model.policy.state_dict().items()}


def assert_same_parameters(one, other):
    mine, theirs = parameters(one), parameters(other)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def members_of(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(path, changed):
    """The same zip file with some members replaced (bytes) or left out (None)."""
    contents = members_of(path) | changed
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            if content is not None:
                archive.writestr(name, content)


@pytest.fixture(scope="module")
def model():
    return trained()


@pytest.fixture
def path(model, tmp_path):
    agents.save(model, tmp_path / "model.zip")
    return tmp_path / "model.zip"


# --- the same actions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("observations", OBSERVATIONS)
@pytest.mark.parametrize("cls", [PPO, SAC, A2C, agents.A3C])
def test_actions_on_raw_observations_are_those_of_the_training_pipeline_to_the_bit(cls, observations, tmp_path):
    model = trained(cls, observations)
    pairs = as_in_training(model)
    agents.save(model, tmp_path / "model")
    for loaded in (
        model,
        agents.load(tmp_path / "model"),
        agents.load(tmp_path / "model", env=lambda: DummyVecEnv([lambda: Far(observations)] * 2)),
    ):
        for raw, expected in pairs:
            action, state = agents.predict(loaded, raw)
            np.testing.assert_array_equal(action, expected, strict=True)
            assert state is None
    # the test would notice: without normalization the actions are others
    assert any(not np.array_equal(model.predict(raw, deterministic=True)[0], expected) for raw, expected in pairs)


def test_observations_of_higher_precision_are_rounded_first_as_a_vector_environment_does(model, path):
    env = Far()
    raw, _ = env.reset(seed=0)
    assert raw.dtype == np.float64
    expected, _ = model.predict(model.get_vec_normalize_env().normalize_obs(raw.astype(np.float32)), deterministic=True)
    np.testing.assert_array_equal(agents.predict(agents.load(path), raw)[0], expected)
    np.testing.assert_array_equal(agents.predict(agents.load(path), list(raw))[0], expected)


@pytest.mark.parametrize("observations", OBSERVATIONS)
def test_one_observation_gives_one_action_and_a_batch_a_batch(observations, tmp_path):
    model = trained(PPO, observations)
    agents.save(model, tmp_path / "model")
    loaded = agents.load(tmp_path / "model")
    one, _ = Far(observations).reset(seed=0)
    batch = {key: value[None] for key, value in one.items()} if isinstance(one, dict) else one[None]
    assert agents.predict(loaded, one)[0].shape == (2,)
    assert agents.predict(loaded, batch)[0].shape == (1, 2)
    np.testing.assert_array_equal(agents.predict(loaded, one)[0], agents.predict(loaded, batch)[0][0])


def test_sampled_actions_are_those_of_the_same_generator_state(model, path):
    raw, _ = Far().reset(seed=0)
    torch.manual_seed(3)
    expected = agents.predict(model, raw, deterministic=False)[0]
    loaded = agents.load(path)
    torch.manual_seed(3)
    np.testing.assert_array_equal(agents.predict(loaded, raw, deterministic=False)[0], expected)
    assert not np.array_equal(expected, agents.predict(loaded, raw)[0])


def test_recurrent_models_carry_their_state(tmp_path):
    lstm = {"lstm_hidden_size": 4, "net_arch": [4]}
    model = trained(RecurrentPPO, policy="MlpLstmPolicy", policy_kwargs=lstm)
    agents.save(model, tmp_path / "model")
    loaded = agents.load(tmp_path / "model")
    vec_normalize = model.get_vec_normalize_env()
    raw = np.random.default_rng(0).normal(70, 300, (6, 2, 3)).astype(np.float32)
    starts = np.array([[1, 1], [0, 0], [0, 1], [0, 0], [1, 0], [0, 0]], bool)
    state = expected_state = None
    for observation, start in zip(raw, starts, strict=True):
        expected, expected_state = model.predict(
            vec_normalize.normalize_obs(observation), expected_state, start, deterministic=True
        )
        action, state = agents.predict(loaded, observation, state=state, episode_start=start)
        np.testing.assert_array_equal(action, expected)
        np.testing.assert_array_equal(state, expected_state)


def test_action_masks_reach_the_model_that_knows_them(tmp_path):
    model = trained(MaskablePPO, discrete=True)
    agents.save(model, tmp_path / "model")
    loaded = agents.load(tmp_path / "model")
    raw = np.random.default_rng(0).normal(70, 300, (50, 3))
    masks = np.tile(Far().action_masks(), (50, 1))
    chosen = agents.predict(loaded, raw, deterministic=False, action_masks=masks)[0]
    assert set(chosen) == {1, 2}


def test_without_normalization_predict_is_the_models_own(tmp_path):
    model = A2C("CnnPolicy", Far("image"), n_steps=8, device="cpu").learn(16)
    agents.save(model, tmp_path / "model")
    assert STATISTICS not in members_of(tmp_path / "model.zip")
    loaded = agents.load(tmp_path / "model", env=Far("image"))
    assert loaded.get_vec_normalize_env() is None
    for seed in range(5):
        raw, _ = Far("image").reset(seed=seed)  # channels last, as the environment gives it
        np.testing.assert_array_equal(agents.predict(loaded, raw)[0], model.predict(raw, deterministic=True)[0])


def test_rewards_alone_normalized_leave_observations_alone(tmp_path):
    env = VecNormalize(VecTransposeImage(DummyVecEnv([lambda: Far("image")])), norm_obs=False)
    model = A2C("CnnPolicy", env, n_steps=8, device="cpu").learn(16)
    agents.save(model, tmp_path / "model")
    raw, _ = Far("image").reset(seed=0)  # channels last, unlike what VecNormalize sees
    for loaded in (model, agents.load(tmp_path / "model"), agents.load(tmp_path / "model", env=Far("image"))):
        np.testing.assert_array_equal(agents.predict(loaded, raw)[0], model.predict(raw, deterministic=True)[0])


def test_images_left_to_the_policy_are_taken_in_the_environments_layout(tmp_path):
    env = VecNormalizeByRules(DummyVecEnv([lambda: Far("image")]), rules="auto")  # leaves images to the policy
    model = A2C("CnnPolicy", env, n_steps=8, device="cpu").learn(8)
    agents.save(model, tmp_path / "model")
    raw, _ = Far("image").reset(seed=0)
    expected, _ = model.predict(raw, deterministic=True)
    for loaded in (model, agents.load(tmp_path / "model"), agents.load(tmp_path / "model", env=Far("image"))):
        np.testing.assert_array_equal(agents.predict(loaded, raw)[0], expected)
        np.testing.assert_array_equal(agents.predict(loaded, raw[None])[0], expected[None])


def test_a_nan_never_becomes_an_action(path):
    with pytest.raises(ValueError, match="nan"):
        agents.predict(agents.load(path), np.array([70.0, np.nan, 70.0]))


def test_predict_leaves_statistics_and_observation_as_they_were():
    model = trained(PPO, "dict")
    before = statistics_to_arrays(model.get_vec_normalize_env())
    raw, _ = Far("dict").reset(seed=0)
    untouched = copy.deepcopy(raw)
    agents.predict(model, raw)
    after = statistics_to_arrays(model.get_vec_normalize_env())
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert all(np.array_equal(raw[key], untouched[key]) for key in untouched)


# --- the file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [PPO, SAC, agents.A3C])
def test_sb3s_own_load_reads_the_same_file(cls, tmp_path):
    model = trained(cls)
    agents.save(model, tmp_path / "model")
    loaded = cls.load(tmp_path / "model")
    assert_same_parameters(model, loaded)
    loaded.set_parameters(tmp_path / "model.zip")


def test_what_is_added_is_json_and_arrays_without_pickle(model, path):
    added = {name: content for name, content in members_of(path).items() if name.startswith("actorzoo/")}
    assert added.keys() == {RECORD, STATISTICS}
    record = json.loads(added[RECORD])
    assert record == {"format": 1, "algo": "ppo", "class": "stable_baselines3.ppo.ppo.PPO", "normalized": True}
    arrays = np.load(io.BytesIO(added[STATISTICS]), allow_pickle=False)
    expected = statistics_to_arrays(model.get_vec_normalize_env())
    assert set(arrays.files) == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(arrays[name], expected[name], strict=True)


@pytest.mark.parametrize("env", [None, Far], ids=["without an environment", "with one"])
def test_a_model_only_evaluated_is_saved_again_with_exactly_its_statistics(path, tmp_path, env):
    loaded = agents.load(path, env=env)
    if env is not None:
        observation = loaded.get_env().reset()
        for _ in range(10):
            observation, *_ = loaded.get_env().step(loaded.predict(observation)[0])
    agents.save(loaded, tmp_path / "again.zip")
    first, second = members_of(path)[STATISTICS], members_of(tmp_path / "again.zip")[STATISTICS]
    first, second = np.load(io.BytesIO(first)), np.load(io.BytesIO(second))
    assert bool(first["norm_reward"])  # the frozen environment has it switched off
    assert first.files == second.files
    assert all(np.array_equal(first[name], second[name]) for name in first.files)
    raw, _ = Far().reset(seed=0)
    np.testing.assert_array_equal(
        agents.predict(agents.load(tmp_path / "again.zip"), raw)[0], agents.predict(loaded, raw)[0]
    )


def test_a_model_trained_further_is_saved_with_its_new_statistics(path, tmp_path):
    continued = agents.load(path, env=normalized())
    continued.learn(16)
    agents.save(continued, tmp_path / "further.zip")
    count = [np.load(io.BytesIO(members_of(p)[STATISTICS]))["obs_rms/count"] for p in (path, tmp_path / "further.zip")]
    assert count[1] == count[0] + 18  # 8 steps and one reset of two environments


class PolicyAsAWhole(A2C):
    """Keeps its policy in the pickled part of the file, as SBX's JAX algorithms do."""

    def _get_torch_save_params(self):
        return [], []

    def _excluded_save_params(self):
        return [name for name in super()._excluded_save_params() if name != "policy"]

    def _setup_model(self):
        loaded = self.__dict__.get("policy")
        super()._setup_model()
        self.policy = loaded or self.policy


def test_policies_without_parameters_in_torch_files_keep_their_statistics_too(tmp_path, monkeypatch):
    fresh = Registry(BUILTIN_SPECS, Plugins(find=list))
    fresh.register(AgentSpec("whole", PolicyAsAWhole, "MlpPolicy", "", ("Box",)))
    monkeypatch.setattr(registry, "get", fresh.get)
    monkeypatch.setattr(registry, "key_of", fresh.key_of)
    model = trained(PolicyAsAWhole)
    agents.save(model, tmp_path / "first")
    agents.save(agents.load(tmp_path / "first"), tmp_path / "second")
    assert "policy.pth" not in members_of(tmp_path / "second.zip")
    # SB3 alone must be able to unpickle it
    assert b"agents.persistence" not in cloudpickle.dumps(agents.load(tmp_path / "second").policy)
    for raw, expected in as_in_training(model):
        np.testing.assert_array_equal(agents.predict(agents.load(tmp_path / "second"), raw)[0], expected)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(cloudpickle.dumps(model))])
def test_a_copied_or_pickled_model_keeps_its_statistics(path, copied):
    loaded = agents.load(path)
    raw, _ = Far().reset(seed=0)
    expected, _ = agents.predict(loaded, raw)
    np.testing.assert_array_equal(agents.predict(copied(loaded), raw)[0], expected)


def test_sb3s_save_of_a_loaded_model_stays_sb3s(path, tmp_path):
    loaded = agents.load(path)
    raw, _ = Far().reset(seed=0)
    agents.predict(loaded, raw)
    loaded.save(tmp_path / "sb3.zip")
    assert_same_parameters(PPO.load(tmp_path / "sb3.zip"), loaded)
    assert not any(name.startswith("actorzoo") for name in members_of(tmp_path / "sb3.zip"))
    assert b"_normalization_of_file" not in members_of(tmp_path / "sb3.zip")["data"]


def test_the_model_goes_on_learning_after_loading(path):
    loaded = agents.load(path, env=normalized())
    before = parameters(loaded)
    loaded.learn(16)
    assert any(not torch.equal(before[name], value) for name, value in parameters(loaded).items())


@pytest.mark.parametrize(
    ("given", "written"), [("model", "model.zip"), ("a/b/model.zip", "a/b/model.zip"), ("model.v1", "model.v1")]
)
@pytest.mark.parametrize("kind", [str, Path])
def test_names_are_completed_as_sb3_does(model, tmp_path, given, written, kind):
    agents.save(model, kind(tmp_path / given))
    assert (tmp_path / written).is_file()
    assert_same_parameters(agents.load(kind(tmp_path / given)), model)


def test_streams_are_written_and_read(model):
    stream = io.BytesIO()
    agents.save(model, stream)
    raw, _ = Far().reset(seed=0)
    np.testing.assert_array_equal(agents.predict(agents.load(stream), raw)[0], agents.predict(model, raw)[0])


def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(model, path, monkeypatch):
    before = path.read_bytes()

    def fails_midway(stream):
        stream.write(b"half a mod")
        raise OSError("disk full")

    monkeypatch.setattr(model, "save", fails_midway)
    with pytest.raises(OSError, match="disk full"):
        agents.save(model, path)
    stream = io.BytesIO()
    with pytest.raises(OSError, match="disk full"):
        agents.save(model, stream)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]
    assert stream.getvalue() == b""


def test_saving_through_a_symbolic_link_replaces_the_file_behind_it(model, path):
    link = path.with_name("best.zip")
    link.symlink_to(path.name)
    path.write_bytes(b"old")
    agents.save(model, link)
    assert link.is_symlink()
    assert_same_parameters(agents.load(path), model)


def test_a_saved_file_has_the_permissions_of_any_new_file(path):
    path.with_name("other").touch()
    assert path.stat().st_mode == path.with_name("other").stat().st_mode


@pytest.mark.parametrize("wrong", [None, 3, "", b"model.zip", ["model.zip"]])
def test_what_is_no_file_is_a_type_error(model, wrong):
    with pytest.raises(TypeError, match="a file name or an open binary stream is needed"):
        agents.save(model, wrong)
    with pytest.raises(TypeError, match="a file name or an open binary stream is needed"):
        agents.load(wrong)


def test_a_folder_is_no_model(model, tmp_path):
    (tmp_path / "folder.d").mkdir()
    with pytest.raises(IsADirectoryError, match=r"folder\.d is a folder"):
        agents.save(model, tmp_path / "folder.d")
    with pytest.raises(FileNotFoundError, match=r"folder\.d is a folder and .*folder\.d\.zip is no file either"):
        agents.load(tmp_path / "folder.d")
    assert os.listdir(tmp_path) == ["folder.d"]


def test_a_file_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing does not exist and .*nothing\.zip is no file either"):
        agents.load(tmp_path / "nothing")


def test_a_subclass_that_is_not_registered_is_not_saved_as_something_else(tmp_path):
    class Mine(A2C):
        pass

    mine = Mine("MlpPolicy", Far(), device="cpu")
    with pytest.raises(ValueError, match=r"Mine is not registered.*agents\.registry\.register"):
        agents.save(mine, tmp_path / "model")
    assert os.listdir(tmp_path) == []
    with pytest.raises(TypeError, match="derived from SB3's BaseAlgorithm"):
        agents.save(mine.policy, tmp_path / "model")
    # SB3's own way stays open
    mine.save(tmp_path / "model")
    assert type(agents.load(tmp_path / "model", algo=Mine)) is Mine


# --- environments -----------------------------------------------------------------------------------------------------


@pytest.fixture
def far_id():
    gymnasium.register("Far-v0", entry_point=Far, disable_env_checker=True)
    yield "Far-v0"
    del gymnasium.registry["Far-v0"]


KINDS = {
    "an id": lambda env_id: env_id,
    "an Env": lambda env_id: Far(),
    "a monitored Env": lambda env_id: Monitor(Far()),
    "a VecEnv": lambda env_id: DummyVecEnv([Far, Far, Far]),
    "a class": lambda env_id: Far,
    "a callable giving a VecEnv": lambda env_id: lambda: DummyVecEnv([Far, Far, Far]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_environment_of_any_kind_is_wrapped_once_and_frozen(kind, model, path, far_id):
    given = KINDS[kind](far_id)
    loaded = agents.load(path, env=given)
    env = loaded.get_env()
    assert isinstance(env, VecNormalize)
    assert type(env.venv) is DummyVecEnv
    assert env.num_envs == loaded.n_envs == (3 if "VecEnv" in kind else 1)
    assert (env.training, env.norm_reward) == (False, False)
    assert env.render_mode is None
    assert env.env_is_wrapped(Monitor) == ([True] if env.num_envs == 1 else [False] * 3)
    before = statistics_to_arrays(env)
    env.reset()
    _, rewards, *_ = env.step(agents.predict(loaded, env.get_original_obs())[0])
    assert set(rewards) == {100.0}
    after = statistics_to_arrays(env)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    trained_with = statistics_to_arrays(model.get_vec_normalize_env())
    assert all(np.array_equal(trained_with[name], after[name]) for name in after if name != "norm_reward")


def test_a_monitored_environment_is_not_monitored_twice(path):
    monitored = Monitor(Far())
    assert agents.load(path, env=monitored).get_env().venv.envs == [monitored]


def test_images_beside_normalized_vectors_are_transposed_outside_of_the_statistics(tmp_path):
    model = trained(PPO, "dict with image")
    agents.save(model, tmp_path / "model")
    env = agents.load(tmp_path / "model", env=lambda: Far("dict with image")).get_env()
    assert type(env) is VecTransposeImage
    assert isinstance(env.venv, VecNormalize)


def test_a_given_vecnormalize_takes_over_the_statistics_and_is_not_wrapped_again(model, path):
    given = VecNormalize(DummyVecEnv([Far, Far]), norm_reward=False, clip_obs=3, clip_reward=4, gamma=0.5, epsilon=0.1)
    given.seed(0)
    given.reset()
    loaded = agents.load(path, env=given)
    assert loaded.get_env() is given
    assert given.training  # training can go on
    assert not given.norm_reward  # as the caller asked
    expected = statistics_to_arrays(model.get_vec_normalize_env())
    found = statistics_to_arrays(given)
    assert found.keys() == expected.keys()
    for name in expected.keys() - {"norm_reward"}:
        np.testing.assert_array_equal(found[name], expected[name])
    for raw, action in as_in_training(model):
        np.testing.assert_array_equal(agents.predict(loaded, raw)[0], action)


def test_a_given_vecnormalize_is_untouched_where_loading_fails(path):
    class Other(Far):
        def __init__(self):
            super().__init__(discrete=True)

    given = VecNormalize(DummyVecEnv([Other]), clip_obs=3.0)
    given.reset()
    before = statistics_to_arrays(given)
    with pytest.raises(ValueError, match=r"^Action spaces do not match"):
        agents.load(path, env=given)
    after = statistics_to_arrays(given)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_file_without_statistics_leaves_a_given_vecnormalize_alone(tmp_path):
    model = A2C("MlpPolicy", Far(), device="cpu")
    agents.save(model, tmp_path / "model")
    given = VecNormalize(DummyVecEnv([Far]), clip_obs=3.0)
    assert agents.load(tmp_path / "model", env=given).get_env() is given
    assert given.clip_obs == 3.0


def test_another_environment_set_later_is_no_reason_to_forget(model, path):
    loaded = agents.load(path, env=Far())
    loaded.set_env(Far())
    raw, _ = Far().reset(seed=0)
    np.testing.assert_array_equal(agents.predict(loaded, raw)[0], agents.predict(model, raw)[0])


@pytest.mark.parametrize("wrong", [3, [Far], lambda: 3], ids=["a number", "a list", "a callable giving a number"])
def test_what_is_no_environment_is_a_type_error(path, wrong):
    with pytest.raises(TypeError, match=r"as env, but an environment id, a gymnasium\.Env"):
        agents.load(path, env=wrong)


def test_an_environment_that_does_not_fit_the_statistics_is_refused_with_both_shapes(path):
    with pytest.raises(ValueError, match=r"shape \(3,\), but the environment's have \(4,\)"):
        agents.load(path, env=Far(size=4))
    with pytest.raises(ValueError, match="belong to flat observations, but the environment has Dict"):
        agents.load(path, env=Far("dict"))


def test_environments_made_by_load_are_closed_where_it_fails_and_others_left_open(path):
    made = []

    def make():
        made.append(Far(size=4))
        return made[0]

    with pytest.raises(ValueError, match="shape"):
        agents.load(path, env=make)
    assert made[0].closed
    mine = Far(size=4)
    with pytest.raises(ValueError, match="shape"):
        agents.load(path, env=mine)
    assert not mine.closed
    agents.load(path, env=lambda: made.append(Far()) or made[-1])
    assert not made[-1].closed


def test_the_device_is_the_one_asked_for(path, monkeypatch):
    asked_for = []
    load = PPO.load

    def spy(*args, device, **kwargs):
        asked_for.append(device)
        return load(*args, device="cpu", **kwargs)

    monkeypatch.setattr(PPO, "load", spy)
    assert agents.load(path, device="cuda:1").device == torch.device("cpu")
    agents.load(path, env=Far(), device="mps")
    agents.load(path, env=normalized())
    assert asked_for == ["cuda:1", "mps", "auto"]


# --- rules by key -----------------------------------------------------------------------------------------------------


def by_rules(rules="auto"):
    venv = VecNormalizeByRules(DummyVecEnv([lambda: Far("mixed")] * 2), rules=rules)
    venv.seed(0)
    return venv


@pytest.fixture(scope="module")
def model_by_rules():
    """Trained on running statistics, known bounds and one-hot categories beside each other."""
    settings = {"n_steps": 8, "batch_size": 8, "seed": 0, "device": "cpu", "policy_kwargs": dict(SMALL)}
    return PPO("MultiInputPolicy", by_rules(), **settings).learn(32)


def mixed_observations_and_actions(model):
    """As `as_in_training`, with categories as the environment gives them."""
    pairs = []
    for seed in range(10):
        raw, _ = Far("mixed").reset(seed=seed)
        batch = {
            key: np.asarray(value, model.get_env().venv.observation_space[key].dtype) for key, value in raw.items()
        }
        seen = model.get_vec_normalize_env().normalize_obs({key: value[None] for key, value in batch.items()})
        pairs.append((raw, model.predict(seen, deterministic=True)[0][0]))
    return pairs


def test_rules_by_key_travel_with_the_model(model_by_rules, tmp_path):
    agents.save(model_by_rules, tmp_path / "model")
    loaded = agents.load(tmp_path / "model")
    agents.save(loaded, tmp_path / "again")
    for model in (
        model_by_rules,
        loaded,
        agents.load(tmp_path / "model", env=lambda: Far("mixed")),
        agents.load(tmp_path / "model", env=by_rules()),
        agents.load(tmp_path / "again"),
    ):
        for raw, expected in mixed_observations_and_actions(model_by_rules):
            np.testing.assert_array_equal(agents.predict(model, raw)[0], expected)


def test_categories_encoded_already_as_in_buffers_are_taken_too(model_by_rules):
    for raw, expected in mixed_observations_and_actions(model_by_rules):
        encoded = raw | {"mode": np.eye(3, dtype=np.float32)[raw["mode"] - MODES.start]}
        np.testing.assert_array_equal(agents.predict(model_by_rules, encoded)[0], expected)


def test_a_given_wrapper_with_rules_takes_over_the_statistics_and_learns_on(model_by_rules, tmp_path):
    agents.save(model_by_rules, tmp_path / "model")
    given = by_rules()
    assert agents.load(tmp_path / "model", env=given).get_env() is given
    expected = model_by_rules.get_vec_normalize_env().to_arrays()
    found = given.to_arrays()
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert given.training


def bounded(low):
    return {"rule": "bounds", "low": low, "high": 1000.0}


@pytest.mark.parametrize(
    ("trained_with", "cls", "settings", "message"),
    [
        (
            bounded(-1000.0),
            VecNormalizeByRules,
            {"rules": bounded(-500.0)},
            "observation: saved with low .*, but the env",
        ),
        ("pass", VecNormalizeByRules, {"norm_obs": False}, "normalizes no observations, but .* observations by rules;"),
        ("pass", VecNormalize, {}, "env normalizes observations, but .* normalizes observations by rules; give"),
    ],
    ids=["other bounds", "nothing normalized", "SB3's, which knows no rules"],
)
def test_a_given_wrapper_that_normalizes_something_else_is_refused(trained_with, cls, settings, message, tmp_path):
    env = VecNormalizeByRules(DummyVecEnv([Far]), rules=trained_with)
    agents.save(A2C("MlpPolicy", env, device="cpu"), tmp_path / "model")
    wrapper = cls(DummyVecEnv([Far]), clip_obs=3.0, **settings)
    before = statistics_to_arrays(wrapper)
    with pytest.raises(ValueError, match=message):
        agents.load(tmp_path / "model", env=wrapper)
    after = statistics_to_arrays(wrapper)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_given_wrapper_of_other_keys_is_refused(tmp_path):
    agents.save(trained(PPO, "dict"), tmp_path / "model")
    for given, normalizes in (
        (VecNormalize(DummyVecEnv([lambda: Far("dict")])), r"observations \['far', 'near'\]"),
        (VecNormalize(DummyVecEnv([lambda: Far("dict")]), norm_obs=False), "no observations"),
    ):
        with pytest.raises(
            ValueError, match=rf"normalizes {normalizes}, but .* normalizes observations \['far'\]; give"
        ):
            agents.load(tmp_path / "model", env=given)
        assert given.ret_rms.count == 1e-4


# --- which algorithm --------------------------------------------------------------------------------------------------


def test_sb3s_files_need_the_algorithm_named(model, tmp_path):
    model.save(tmp_path / "sb3.zip")
    with pytest.raises(
        ValueError, match=r"sb3\.zip does not name its algorithm.*give algo=, one of a2c, .*ppo, .*trpo"
    ):
        agents.load(tmp_path / "sb3.zip")
    for algo in ("ppo", "PPO", PPO):
        assert_same_parameters(agents.load(tmp_path / "sb3.zip", algo=algo), model)


def test_sb3s_file_with_the_wrong_algorithm_named_says_what_to_check(model, tmp_path):
    model.save(tmp_path / "sb3.zip")
    with pytest.raises(ValueError, match=r"sb3\.zip cannot be loaded as SAC .*check that algo= and env="):
        agents.load(tmp_path / "sb3.zip", algo="sac")


def test_another_algorithm_than_the_recorded_one_is_refused(path):
    for algo in ("a2c", A2C):
        with pytest.raises(ValueError, match=r"holds a model of the algorithm 'ppo', but algo=.* leave algo= out"):
            agents.load(path, algo=algo)
    for algo in ("ppo", "PPO", PPO):
        assert type(agents.load(path, algo=algo)) is PPO
    with pytest.raises(ValueError, match="Unknown algorithm 'ppq'; the nearest are ppo"):
        agents.load(path, algo="ppq")
    with pytest.raises(TypeError, match="algo=3, but a registry key"):
        agents.load(path, algo=3)


def test_an_algorithm_that_is_not_installed_is_named_with_its_class(path):
    record = {"format": 1, "algo": "sbx_ppo", "class": "sbx.ppo.ppo.PPO", "normalized": True}
    rewrite(path, {RECORD: json.dumps(record).encode()})
    with pytest.raises(ValueError, match=r"algorithm 'sbx_ppo' \(class sbx\.ppo\.ppo\.PPO\), which is not available"):
        agents.load(path)


def test_a_class_that_happens_to_have_the_recorded_name_is_not_taken_for_it(path, monkeypatch):
    mine = Registry(BUILTIN_SPECS, Plugins(find=list))
    mine.register(AgentSpec("mine", type("Yours", (A2C,), {}), "MlpPolicy", "", ("Box",)))
    monkeypatch.setattr(registry, "get", mine.get)
    record = {"format": 1, "algo": "yours", "class": "your_package.Yours", "normalized": True}
    rewrite(path, {RECORD: json.dumps(record).encode()})
    with pytest.raises(ValueError, match=r"class your_package\.Yours.*not available here: There is only 'mine'"):
        agents.load(path)


# --- damage -----------------------------------------------------------------------------------------------------------


def test_a_file_cut_off_anywhere_is_refused(path):
    whole = path.read_bytes()
    for tenth in range(10):
        path.write_bytes(whole[: len(whole) * tenth // 10])
        with pytest.raises(ValueError, match=r"model\.zip .* may have been cut off while being copied"):
            agents.load(path)


def test_a_changed_byte_never_gives_another_model(model, path):
    whole = path.read_bytes()
    refused = harmless = 0
    for position in np.linspace(0, len(whole) - 1, 200).astype(int):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        try:
            loaded = agents.load(io.BytesIO(bytes(damaged)))
        except ValueError as error:
            refused += str(error).startswith("The stream ")  # our own message, not one from the depths of a loader
        else:  # in a date or the like
            harmless += 1
            assert_same_parameters(loaded, model)
            raw, _ = Far().reset(seed=0)
            np.testing.assert_array_equal(agents.predict(loaded, raw)[0], agents.predict(model, raw)[0])
    assert refused + harmless == 200
    assert refused > 150


def test_other_zip_files_are_no_models(tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("photo.png", b"")
    with pytest.raises(ValueError, match=r"photos\.zip holds no model: it is a zip file, but"):
        agents.load(tmp_path / "photos.zip")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (b"{", "cannot be read"),
        (b"[]", "cannot be read"),
        (b'{"format": 1}', "cannot be read .KeyError: 'algo'"),
        (b'{"format": 1, "algo": ["ppo"], "class": "", "normalized": false}', "cannot be read .*algo is .'ppo'"),
        (b'{"format": 2, "shape": "unknown"}', "written in format 2, but this version of actorzoo reads format 1"),
    ],
)
def test_a_damaged_or_newer_record_is_refused(path, record, message):
    rewrite(path, {RECORD: record})
    with pytest.raises(ValueError, match=message):
        agents.load(path)


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ("code_was_run",)


@pytest.mark.parametrize(
    "content",
    [None, b"", b"text", npz(obs=np.array([RunsCode()], dtype=object)), pickle.dumps(RunsCode())],
    ids=["missing", "empty", "text", "npz with an object", "pickle"],
)
def test_statistics_that_are_no_plain_arrays_are_refused_and_run_nothing(path, content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rewrite(path, {STATISTICS: content})
    with pytest.raises(ValueError, match=r"holds no normalization statistics .* that are plain arrays"):
        agents.load(path)
    assert not Path("code_was_run").exists()


def test_statistics_of_another_model_are_refused_with_both_shapes(path, tmp_path):
    other = VecNormalize(DummyVecEnv([lambda: Far(size=4)]))
    rewrite(path, {STATISTICS: npz(**statistics_to_arrays(other))})
    loaded = agents.load(path)
    with pytest.raises(ValueError, match=r"do not fit the model: .*shape \(4,\), but the environment's have \(3,\)"):
        agents.predict(loaded, np.zeros(3))
    with pytest.raises(ValueError, match=r"shape \(4,\), but the environment's have \(3,\)"):
        agents.load(path, env=Far())


# --- observations that do not fit -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (4,), (3, 1), (1, 3, 3)])
def test_a_wrong_shape_is_refused_before_numpy_broadcasts_it(path, shape):
    with pytest.raises(ValueError, match="Unexpected observation shape"):
        agents.predict(agents.load(path), np.zeros(shape))


def test_an_observation_of_the_wrong_kind_is_refused(path, tmp_path):
    with pytest.raises(ValueError, match="type dict, but the model needs an array of Box"):
        agents.predict(agents.load(path), {"far": np.zeros(3)})
    agents.save(trained(PPO, "dict"), tmp_path / "dict")
    loaded = agents.load(tmp_path / "dict")
    with pytest.raises(ValueError, match=r"type ndarray, but the model needs a dict with the keys \['far', 'near'\]"):
        agents.predict(loaded, np.zeros(3))
    with pytest.raises(ValueError, match=r"type tuple, .*of env\.reset\(\) the first of two"):
        agents.predict(loaded, Far("dict").reset())
    with pytest.raises(ValueError, match=r"the keys \['near'\], but the model needs \['far'\] as well"):
        agents.predict(loaded, {"near": np.zeros(2)})


def test_frames_stacked_above_the_statistics_need_the_environment(tmp_path):
    env = VecFrameStack(normalized(n_envs=1), 2)
    model = A2C("MlpPolicy", env, n_steps=8, device="cpu").learn(8)
    agents.save(model, tmp_path / "model")
    loaded = agents.load(tmp_path / "model")
    with pytest.raises(ValueError, match=r"VecFrameStack.*use model\.predict in that environment"):
        agents.predict(loaded, np.zeros(6))
    inside = agents.load(tmp_path / "model", env=VecFrameStack(normalized(n_envs=1), 2))
    for raw, action in as_in_training(model):
        seen = model.get_vec_normalize_env().normalize_obs(raw)
        np.testing.assert_array_equal(inside.get_vec_normalize_env().normalize_obs(raw), seen)
        assert action.shape == (1, 2)


def test_an_environment_normalized_twice_is_refused(tmp_path):
    model = A2C("MlpPolicy", VecNormalize(normalized()), n_steps=8, device="cpu")
    with pytest.raises(ValueError, match="wrapped in two VecNormalize"):
        agents.save(model, tmp_path / "model")
    with pytest.raises(ValueError, match="wrapped in two VecNormalize"):
        agents.predict(model, np.zeros(3))
    assert os.listdir(tmp_path) == []
