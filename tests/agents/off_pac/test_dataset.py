"""Learning from a fixed data set: what is learned, what is refused, what is estimated."""

import sys
import warnings

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from agents.errors import MissingExtraError
from agents.off_pac import OffPAC
from agents.off_pac.cloning import clone_behavior
from agents.off_pac.dataset import as_dataset
from tests.agents.off_pac.tape import Transition, transcribed
from tests.agents.off_pac.toys import N_ACTIONS, N_STATES, Reach, SmallProcess

B = np.array([0.6, 0.3, 0.1])


def recorded(observe="index", steps=400, seed=0, cap=7):
    """Arrays of a stream from a behavior that does not look at the state."""
    env, random = SmallProcess(observe, cap), np.random.default_rng(seed)
    columns = {
        name: [] for name in ("observations", "actions", "rewards", "next_observations", "terminations", "truncations")
    }
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
        (lambda d: d.update(behavior_probabilities=np.full((400, 2), 0.5)), r"\(400,\) or \(400, 3\)"),
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


def test_without_minari_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(MissingExtraError, match=r'pip install "actorzoo\[offline\]"'):
        small_model().learn_from("D4RL/door/human-v2")
