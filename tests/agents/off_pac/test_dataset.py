"""Learning from a fixed data set: what is learned, what is refused, what is estimated."""

import sys
import warnings

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.envs import FakeImageEnv, SimpleMultiObsEnv
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize, VecTransposeImage

from agents.errors import MissingExtraError
from agents.off_pac import OffPAC
from agents.off_pac.cloning import clone_behavior
from agents.off_pac.dataset import FIELDS, as_dataset
from agents.off_pac.offline import filled_buffer
from tests.agents.off_pac.tape import Transition, transcribed
from tests.agents.off_pac.toys import N_ACTIONS, N_STATES, Reach, SmallProcess

B = np.array([0.6, 0.3, 0.1])


def recorded(observe="index", steps=400, seed=0, cap=7):
    """Arrays of a stream from a behavior that does not look at the state."""
    env, random = SmallProcess(observe, cap), np.random.default_rng(seed)
    columns = {name: [] for name in FIELDS}
    observation, _ = env.reset(seed=seed)
    for _ in range(steps):
        action = int(random.choice(3, p=B))
        following, reward, terminated, truncated, _ = env.step(action)
        row = (observation, action, reward, following, terminated, truncated)
        for column, value in zip(columns.values(), row, strict=True):
            column.append(value)
        observation = env.reset()[0] if terminated or truncated else following
    arrays = {name: np.array(column) for name, column in columns.items()}
    return {**arrays, "behavior_probabilities": B[arrays["actions"]]}


def small_model(observe="index", policy="LinearPolicy", **arguments):
    if policy == "MlpPolicy":
        arguments = {"policy_kwargs": {"net_arch": [16]}, "device": "cpu", **arguments}
    return OffPAC(policy, SmallProcess(observe), seed=0, **arguments)


@pytest.mark.parametrize("trace_decay", [0.0, 0.8])
@pytest.mark.parametrize("full", [False, True])
def test_a_linear_agent_learns_from_arrays_what_it_would_have_learned_beside_the_environment(full, trace_decay):
    data = recorded()
    # The transcription knows no epochs, so the data end with an episode.
    n = int(np.flatnonzero(data["terminations"] | data["truncations"])[-1]) + 1
    data = {name: column[:n] for name, column in data.items()}
    if full:
        data["behavior_probabilities"] = np.tile(B, (n, 1))
    model = small_model(gamma=0.9, trace_decay=trace_decay, emphasis=0.5)
    assert model.learn_from(data, n_epochs=2) is model
    columns = list(data.values())[:6]
    steps = [[Transition(0, *row)] for row in zip(*columns, strict=True)]
    expected = transcribed(
        [*steps, *steps],
        lambda s: np.eye(N_STATES)[s],
        N_STATES,
        N_ACTIONS,
        lambda s, pi: B,
        alpha_u=0.1,
        alpha_v=0.1,
        alpha_w=1e-4,
        gamma=0.9,
        trace_decay=trace_decay,
        emphasis=0.5,
    )
    np.testing.assert_allclose(model.policy.table(), np.column_stack(expected), rtol=1e-8, atol=1e-12)
    assert (model.num_timesteps, model._n_updates) == (2 * n, 2 * n)


def test_the_environment_is_not_touched():
    model = small_model()
    model.env.step_async = model.env.reset = None
    model.learn_from(recorded())


def test_epochs_begin_with_fresh_traces():
    data = recorded(steps=5)
    data["terminations"][:] = data["truncations"][:] = False
    once, twice = small_model(trace_decay=0.9), small_model(trace_decay=0.9)
    once.learn_from(data)
    once.learn_from(data)
    twice.learn_from(data, n_epochs=2)
    np.testing.assert_array_equal(once.policy.table(), twice.policy.table())


def test_box_actions_with_densities():
    random = np.random.default_rng(0)
    actions = random.uniform(-2, 6, size=(4000, 1))
    data = {
        "observations": np.ones((4000, 1)),
        "actions": actions,
        "rewards": -((actions[:, 0] - 4.0) ** 2),
        "next_observations": np.ones((4000, 1)),
        "terminations": np.ones(4000, bool),
        "truncations": np.zeros(4000, bool),
        "behavior_probabilities": np.full(4000, 1 / 8),
    }
    model = OffPAC("LinearPolicy", Reach(), learning_rate=0.002, seed=0)
    model.learn_from(data)
    action, _ = model.predict(np.ones(1), deterministic=True)
    assert abs(action[0] - 4.0) < 0.5
    deep = OffPAC("MlpPolicy", Reach(), device="cpu", seed=0, policy_kwargs={"net_arch": [16]})
    deep.learn_from(data)
    assert deep._n_updates == 125


def test_recorded_box_actions_count_with_the_ratio_of_both_densities():
    row = {
        "observations": np.ones((1, 1)),
        "actions": np.array([[5.0]]),
        "rewards": np.array([1.0]),
        "next_observations": np.ones((1, 1)),
        "terminations": np.array([True]),
        "truncations": np.array([False]),
        "behavior_probabilities": np.array([0.125]),
    }
    model = OffPAC("LinearPolicy", Reach(), learning_rate=0.5, critic_learning_rate=0.1, seed=0).learn_from(row)
    # The untrained policy: mean 2, standard deviation 4 exp(-1), both over a reach of 4; delta is the reward, 1.
    z = (5.0 - 2.0) / (4.0 * np.exp(-1.0))
    rho = np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi) / (4.0 * np.exp(-1.0)) / 0.125
    score = np.array([z / np.exp(-1.0), z * z - 1.0])
    np.testing.assert_allclose(model.policy.table()[0], [*(0.5 * rho * score), 0.1 * rho, 1e-4 * rho], rtol=1e-6)


def test_normalization_statistics_apply_to_data_sets_as_to_streams():
    env = VecNormalize(DummyVecEnv([lambda: SmallProcess("vector")]), gamma=0.9)
    model = OffPAC("LinearPolicy", env, gamma=0.9, seed=0, learning_rate=0.0)
    model.learn(200)
    env.training = False
    data = recorded("vector", steps=50)
    model.policy.table()[...] = 0.0
    model.learn_from(data)
    plain = OffPAC("LinearPolicy", SmallProcess("vector"), gamma=0.9, seed=0, learning_rate=0.0)
    data["observations"] = env.normalize_obs(data["observations"])
    data["next_observations"] = env.normalize_obs(data["next_observations"])
    data["rewards"] = env.normalize_reward(data["rewards"])
    plain.learn_from(data)
    np.testing.assert_allclose(model.policy.table(), plain.policy.table(), rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("critic", ["retrace", "vtrace"])
@pytest.mark.parametrize("trace_decay", [0.0, 0.9])
@pytest.mark.parametrize("full", [False, True])
def test_deep_agents_draw_from_the_data_set(full, trace_decay, critic):
    data = recorded("vector")
    if full:
        data["behavior_probabilities"] = np.tile(B, (400, 1))
    model = small_model("vector", "MlpPolicy", critic=critic, trace_decay=trace_decay, batch_size=20)
    before = model.policy.parameters_to_vector()
    model.learn_from(data, n_epochs=3)
    assert model.num_timesteps == 1200
    assert model._n_updates == (60 if trace_decay == 0.0 else 6)
    after = model.policy.parameters_to_vector()
    assert np.isfinite(after).all()
    assert not np.array_equal(before, after)
    assert model.replay_buffer.size() == 0


def test_in_replay_a_row_that_was_truncated_goes_on_and_one_that_terminated_does_not():
    data = recorded("vector", steps=4)
    data["terminations"], data["truncations"] = np.array([0, 1, 0, 1], bool), np.array([0, 0, 1, 1], bool)
    model = small_model("vector", "MlpPolicy")
    buffer = filled_buffer(model, as_dataset(data, model.observation_space, model.action_space))
    assert buffer.dones[:, 0].tolist() == [0.0, 1.0, 1.0, 1.0]
    # a time limit that comes with an end of its own is no time limit
    assert buffer.timeouts[:, 0].tolist() == [0.0, 0.0, 1.0, 0.0]


def test_a_deep_agent_finds_the_best_action_in_data_of_a_bad_behavior():
    # A bandit in which the behavior takes the best action least.
    n, random = 3000, np.random.default_rng(0)
    actions = random.choice(3, p=B, size=n)
    data = {
        "observations": np.ones((n, 3)),
        "actions": actions,
        "rewards": np.array([0.0, 0.5, 1.0])[actions],
        "next_observations": np.ones((n, 3)),
        "terminations": np.ones(n, bool),
        "truncations": np.zeros(n, bool),
        "behavior_probabilities": B[actions],
    }
    model = small_model(
        "vector", "MlpPolicy", learning_rate=1e-3, critic_learning_rate=3e-3, batch_size=32, ent_coef=0.01
    )
    model.learn_from(data, n_epochs=6)
    assert model.predict(np.ones(3), deterministic=True)[0] == 2


def test_missing_probabilities_are_estimated_with_a_warning():
    data = recorded(steps=3000)
    given = data.pop("behavior_probabilities")
    model, informed = small_model(), small_model()
    with pytest.warns(UserWarning, match="estimated by behavior cloning"):
        model.learn_from(data)
    informed.learn_from({**data, "behavior_probabilities": given})
    np.testing.assert_allclose(model.policy.table(), informed.policy.table(), rtol=0.2, atol=0.15)


def test_no_warning_where_probabilities_are_given():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small_model().learn_from(recorded())


def test_cloning_recovers_a_behavior_that_looks_at_the_state():
    random = np.random.default_rng(0)
    observations = random.uniform(-50, 50, size=(6000, 1))
    right = 1 / (1 + np.exp(-observations[:, 0] / 10))
    actions = (random.random(6000) < right).astype(int)
    space = spaces.Box(-50, 50, (1,))
    data = {
        "observations": observations,
        "actions": actions,
        "rewards": np.zeros(6000),
        "next_observations": observations,
        "terminations": np.ones(6000, bool),
        "truncations": np.zeros(6000, bool),
    }
    checked = as_dataset(data, space, spaces.Discrete(2))
    estimate = np.exp(clone_behavior(checked, space, spaces.Discrete(2), np.random.default_rng(1)))
    np.testing.assert_allclose(estimate.sum(axis=1), 1.0)
    assert np.abs(estimate[:, 1] - right).mean() < 0.05
    assert estimate.min() >= 0.005


def test_cloning_gives_densities_in_units_of_the_action():
    random = np.random.default_rng(0)
    observations = random.uniform(-1, 1, size=(5000, 1))
    actions = 3 * observations + random.normal(scale=0.5, size=(5000, 1))
    space, actions_space = spaces.Box(-1, 1, (1,)), spaces.Box(-9, 9, (1,))
    data = {
        "observations": observations,
        "actions": actions,
        "rewards": np.zeros(5000),
        "next_observations": observations,
        "terminations": np.ones(5000, bool),
        "truncations": np.zeros(5000, bool),
    }
    estimate = clone_behavior(as_dataset(data, space, actions_space), space, actions_space, np.random.default_rng(1))
    true = -0.5 * ((actions - 3 * observations) / 0.5) ** 2 - np.log(0.5 * np.sqrt(2 * np.pi))
    assert abs(estimate.mean() - true.mean()) < 0.1


# images


def watched(env, steps=40):
    """Arrays of what an environment itself shows under uniform actions; observations stacked, per key of a Dict."""
    columns = {name: [] for name in FIELDS}
    observation, _ = env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(steps):
        action = env.action_space.sample()
        following, reward, terminated, truncated, _ = env.step(action)
        row = (observation, action, reward, following, terminated, truncated)
        for column, value in zip(columns.values(), row, strict=True):
            column.append(value)
        observation = env.reset()[0] if terminated or truncated else following
    arrays = {name: _stacked(column) for name, column in columns.items()}
    return {**arrays, "behavior_probabilities": np.full(steps, 1 / env.action_space.n)}


def _stacked(column):
    if isinstance(column[0], dict):
        return {key: np.array([row[key] for row in column]) for key in column[0]}
    return np.array(column)


def image_env():
    return FakeImageEnv(screen_height=40, screen_width=36, n_channels=3, discrete=True)


def image_model(env):
    is_dict = isinstance(env.observation_space, spaces.Dict)
    extractor = {"cnn_output_dim": 16} if is_dict else {"features_dim": 16}
    kwargs = {"net_arch": [16], "features_extractor_kwargs": extractor}
    arguments = {"policy_kwargs": kwargs, "device": "cpu", "seed": 0, "buffer_size": 50}
    return OffPAC("MultiInputPolicy" if is_dict else "CnnPolicy", env, **arguments)


def channel_first(observations):
    if isinstance(observations, dict):
        return {key: channel_first(part) if part.ndim == 4 else part for key, part in observations.items()}
    return np.moveaxis(observations, -1, 1)


def multi_env():
    return SimpleMultiObsEnv(random_start=False, channel_last=True)


@pytest.mark.parametrize("load", [False, True])
@pytest.mark.parametrize("make", [image_env, multi_env])
def test_images_are_taken_as_the_environment_shows_them(make, load, tmp_path):
    # SB3 moves the channel to the front in the model's space; the environment, which recorded the data, has it last.
    data = watched(make())
    transposed = {**data, **{name: channel_first(data[name]) for name in ("observations", "next_observations")}}
    weights = []
    for given in (data, transposed):
        model = image_model(make())
        if load:
            model.save(tmp_path / "model")
            model = OffPAC.load(tmp_path / "model", device="cpu")
            model.set_random_seed(0)
        before = model.policy.parameters_to_vector()
        weights.append(model.learn_from(given).policy.parameters_to_vector())
        assert not np.array_equal(weights[-1], before)
    np.testing.assert_array_equal(*weights)


def test_cloning_a_behavior_takes_images_as_the_environment_shows_them():
    data = watched(image_env())
    del data["behavior_probabilities"]
    with pytest.warns(UserWarning, match="estimated"):
        assert image_model(image_env()).learn_from(data).num_timesteps == 40


def test_images_are_transposed_also_where_the_models_space_is_that_of_normalized_images():
    def model():
        env = VecNormalize(VecTransposeImage(DummyVecEnv([image_env])), norm_reward=False, training=False)
        kwargs = {"net_arch": [16], "normalize_images": False, "features_extractor_kwargs": {"features_dim": 16}}
        kwargs["features_extractor_kwargs"]["normalized_image"] = True
        return OffPAC("CnnPolicy", env, policy_kwargs=kwargs, device="cpu", seed=0, buffer_size=50)

    data = watched(image_env())
    transposed = {**data, **{name: channel_first(data[name]) for name in ("observations", "next_observations")}}
    weights = [model().learn_from(given).policy.parameters_to_vector() for given in (data, transposed)]
    np.testing.assert_array_equal(*weights)


def test_images_that_fit_neither_way_are_refused_with_both_shapes():
    data = watched(image_env())
    data["observations"] = data["observations"][:, :30]
    with pytest.raises(ValueError, match=r"\(40, 30, 36, 3\), but .* need \(40, 3, 40, 36\) or \(40, 40, 36, 3\)"):
        image_model(image_env()).learn_from(data)


def test_dictionaries_without_a_key_are_refused_with_the_keys():
    data = watched(multi_env())
    del data["next_observations"]["img"]
    with pytest.raises(ValueError, match=r"next_observations has the keys vec, but .* needs img, vec.*img"):
        image_model(multi_env()).learn_from(data)
    data["next_observations"] = [{"img": 0, "vec": 0}] * 40
    with pytest.raises(ValueError, match=r"next_observations is a list, but .* dictionary .* img, vec"):
        image_model(multi_env()).learn_from(data)


def _with(name, index, value):
    def change(data):
        data[name] = data[name].astype(float)
        data[name][index] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("truncations"), "lacks truncations"),
        (lambda d: d.update(actions=d["actions"][:-1]), r"actions has the shape \(399,\)"),
        (lambda d: d.update(terminations=d["terminations"][:-1]), "terminations has 399 rows"),
        (lambda d: d.update(observations=d["observations"][:-1]), r"observations has the shape \(399, 3\)"),
        (_with("rewards", 7, np.nan), r"rewards\[7\]"),
        (_with("observations", (5, 1), np.inf), r"observations\[5\]"),
        (_with("actions", 3, 3), r"actions\[3\] is 3"),
        (_with("behavior_probabilities", 9, 0.0), r"behavior_probabilities\[9\]"),
        (_with("behavior_probabilities", 9, np.nan), r"behavior_probabilities\[9\]"),
        (_with("behavior_probabilities", 9, 1.5), r"behavior_probabilities\[9\]"),
        (
            lambda d: d.update(behavior_probabilities=np.full((400, 2), 0.5)),
            r"behavior_probabilities has the shape \(400, 2\), but .* 400 rows need \(400,\) or \(400, 3\); give one",
        ),
        (lambda d: d.update(behavior_probabilities=np.full((400, 3), 0.5)), r"behavior_probabilities\[0\].*adds up"),
    ],
)
def test_useless_data_sets_are_refused_with_the_array_and_the_row(change, message):
    data = recorded("vector")
    change(data)
    with pytest.raises(ValueError, match=message):
        small_model("vector").learn_from(data)


def test_other_objects_are_refused():
    with pytest.raises(ValueError, match="must be a mapping"):
        small_model().learn_from([1, 2, 3])
    with pytest.raises(ValueError, match="n_epochs=0"):
        small_model().learn_from(recorded(), n_epochs=0)


def test_a_callback_can_stop_it():
    model = small_model()
    model.learn_from(recorded(), callback=lambda locals_, _: locals_["model"].num_timesteps < 30)
    assert model.num_timesteps == 30


@pytest.fixture
def minari_id(tmp_path, monkeypatch):
    """A Minari data set of three episodes, the last one cut off by the end of the recording."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    minari = pytest.importorskip("minari")
    from minari.data_collector import EpisodeBuffer

    random, episodes = np.random.default_rng(0), []
    for number, length in enumerate((4, 7, 3)):
        ends = np.arange(length) == length - 1
        episodes.append(
            EpisodeBuffer(
                id=number,
                observations=random.random((length + 1, 3)),
                actions=random.integers(3, size=length),
                rewards=random.normal(size=length),
                terminations=ends & (number == 0),
                truncations=ends & (number == 1),
                infos={},
            )
        )
    minari.create_dataset_from_buffers(
        "actorzoo-test/small-v0",
        buffer=episodes,
        observation_space=SmallProcess("vector").observation_space,
        action_space=spaces.Discrete(3),
        algorithm_name="uniform",
        code_permalink="none",
        author="nobody",
        author_email="none",
    )
    return "actorzoo-test/small-v0"


def test_minari_data_sets_have_their_episodes_laid_end_to_end(minari_id):
    import minari

    dataset = minari.load_dataset(minari_id)
    episodes = list(dataset.iterate_episodes())
    checked = as_dataset(minari_id, dataset.observation_space, dataset.action_space)
    lengths = [len(episode.rewards) for episode in episodes]
    assert len(checked) == sum(lengths)
    ends = np.cumsum(lengths) - 1
    np.testing.assert_array_equal(np.flatnonzero(checked.terminations | checked.truncations), ends)
    np.testing.assert_array_equal(np.flatnonzero(checked.terminations), [3])
    inside = np.setdiff1d(np.arange(len(checked) - 1), ends)
    np.testing.assert_array_equal(checked.next_observations[inside], checked.observations[inside + 1])
    np.testing.assert_array_equal(checked.next_observations[ends[0]], episodes[0].observations[-1])
    with pytest.warns(UserWarning, match="estimated"):
        small_model("vector").learn_from(minari_id)


def test_minari_data_sets_of_images_are_taken_as_they_were_recorded(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    minari = pytest.importorskip("minari")
    from minari.data_collector import EpisodeBuffer

    env, random, length = image_env(), np.random.default_rng(0), 6
    episode = EpisodeBuffer(
        id=0,
        observations=random.integers(256, size=(length + 1, *env.observation_space.shape), dtype=np.uint8),
        actions=random.integers(env.action_space.n, size=length),
        rewards=random.normal(size=length),
        terminations=np.arange(length) == length - 1,
        truncations=np.zeros(length, bool),
        infos={},
    )
    given = {"observation_space": env.observation_space, "action_space": env.action_space, "algorithm_name": "uniform"}
    name = "actorzoo-test/images-v0"
    minari.create_dataset_from_buffers(
        name, buffer=[episode], code_permalink="none", author="nobody", author_email="none", **given
    )
    model = image_model(image_env())
    with pytest.warns(UserWarning, match="estimated"):
        model.learn_from(name)
    assert model.num_timesteps == length


def test_minari_data_sets_that_are_not_here_come_with_the_command_that_gets_them(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    pytest.importorskip("minari")
    with pytest.raises(FileNotFoundError, match=r"'D4RL/door/human-v2' is not .*minari download D4RL/door/human-v2"):
        small_model().learn_from("D4RL/door/human-v2")


def test_without_minari_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(MissingExtraError, match=r'pip install "actorzoo\[offline\]"'):
        small_model().learn_from("D4RL/door/human-v2")
