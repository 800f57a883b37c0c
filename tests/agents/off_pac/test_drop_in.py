"""OffPAC behaves as an algorithm of Stable-Baselines3 does: constructor, learn, callbacks, logger, files, spaces."""

import copy
import csv

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import A2C
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CheckpointCallback,
    EvalCallback,
    StopTrainingOnMaxEpisodes,
)
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import FakeImageEnv, IdentityEnv, IdentityEnvBox, SimpleMultiObsEnv
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from agents.off_pac import OffPAC, TrainingDivergedError
from tests.agents.off_pac.toys import Reach, SmallProcess

BOUNDS = {"low": [-4.8, -3.0, -0.42, -3.5], "high": [4.8, 3.0, 0.42, 3.5]}
TILES = {"n_tilings": 4, "n_tiles": 3, **BOUNDS}


def cart_pole_model(policy, **arguments):
    arguments = {"seed": 0, **arguments}
    if policy == "TileCodingPolicy":
        arguments["policy_kwargs"] = dict(TILES)
    if policy == "MlpPolicy":
        arguments = {"buffer_size": 500, "learning_starts": 20, "policy_kwargs": {"net_arch": [16]}, **arguments}
    return OffPAC(policy, "CartPole-v1", **arguments)


POLICIES = ["LinearPolicy", "TileCodingPolicy", "MlpPolicy"]


@pytest.mark.parametrize("policy", POLICIES)
def test_it_is_a_base_algorithm_and_learns_a_bare_call_to_the_step(policy):
    model = cart_pole_model(policy)
    assert isinstance(model, BaseAlgorithm)
    assert model.learn(64) is model
    assert model.num_timesteps == 64
    model.learn(30, reset_num_timesteps=False)
    assert model.num_timesteps == 94
    model.learn(10)
    assert model.num_timesteps == 10


def test_the_default_budget_is_a_hundred_thousand_steps():
    class Stop(BaseCallback):
        def _on_training_start(self):
            self.total = self.locals["total_timesteps"]

        def _on_step(self):
            return False

    stop = Stop()
    OffPAC("LinearPolicy", SmallProcess()).learn(callback=stop)
    assert stop.total == 100_000


@pytest.mark.parametrize(("policy", "rate"), [("LinearPolicy", 0.1), ("MlpPolicy", 3e-4)])
def test_default_step_sizes(policy, rate):
    model = cart_pole_model(policy)
    assert model.learning_rates()[:2] == (rate, rate)
    if policy == "LinearPolicy":
        assert model.learning_rates()[2] == 1e-4
        assert cart_pole_model(policy, critic="tdrc").learning_rates()[2] == rate
    defaults = (model.gamma, model.trace_decay, model.emphasis, model.behavior_policy)
    assert defaults == (0.99, 0.0, 0.0, "uniform")


@pytest.mark.parametrize("policy", POLICIES)
def test_the_budget_is_rounded_up_to_a_multiple_of_the_environments(policy):
    env = make_vec_env("CartPole-v1", n_envs=3)
    arguments = {"policy_kwargs": dict(TILES)} if policy == "TileCodingPolicy" else {}
    model = OffPAC(policy, env, **arguments)
    model.learn(100)
    assert model.num_timesteps == 102


def test_environments_come_as_id_callable_instance_or_vector():
    given = ["CartPole-v1", lambda: gym.make("CartPole-v1"), gym.make("CartPole-v1"), make_vec_env("CartPole-v1", 2)]
    given.append(lambda: make_vec_env("CartPole-v1", 2))
    for env in given:
        model = OffPAC("LinearPolicy", env)
        model.learn(10)
        assert model.env.get_attr("render_mode")[0] in (None, "rgb_array")
    assert OffPAC("LinearPolicy", "CartPole-v1").env.get_attr("render_mode") == [None]


@pytest.mark.parametrize("space", [spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(3)])
@pytest.mark.parametrize("policy", ["LinearPolicy", "MlpPolicy"])
def test_other_action_spaces_are_an_assertion(policy, space):
    env = SmallProcess("vector")
    env.action_space = space
    with pytest.raises(AssertionError, match="only supports"):
        OffPAC(policy, env)


def test_actions_must_count_from_zero():
    env = SmallProcess()
    env.action_space = spaces.Discrete(3, start=1)
    with pytest.raises(ValueError, match="count from 0"):
        OffPAC("LinearPolicy", env)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gamma": 99}, "gamma=99"),
        ({"trace_decay": -0.1}, "trace_decay=-0.1"),
        ({"emphasis": 2.0}, "emphasis=2.0"),
        ({"learning_rate": -1.0}, "learning_rate=-1.0"),
        ({"critic_learning_rate": float("nan")}, "critic_learning_rate=nan"),
        ({"critic": "vtrace"}, "'gtd' and 'tdrc'"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        OffPAC("LinearPolicy", SmallProcess(), **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"critic": "gtd"}, "'retrace' and 'vtrace'"),
        ({"emphasis": 0.5}, "emphasis=0.5"),
        ({"secondary_learning_rate": 0.1}, "secondary_learning_rate=0.1"),
        ({"rho_bar": 0.0}, "rho_bar=0.0"),
        ({"n_steps": 0}, "n_steps=0"),
    ],
)
def test_deep_policies_refuse_what_they_have_no_use_for(arguments, message):
    with pytest.raises(ValueError, match=message):
        OffPAC("MlpPolicy", SmallProcess(), **arguments)


def test_other_policies_are_refused():
    with pytest.raises(TypeError, match="a subclass of LinearPolicy or DeepPolicy"):
        OffPAC(A2C.policy_aliases["MlpPolicy"], SmallProcess())
    with pytest.raises(ValueError, match="unknown"):
        OffPAC("TablePolicy", SmallProcess())


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(4),
        spaces.MultiDiscrete([2, 3]),
        spaces.MultiBinary(3),
        spaces.Box(-1, 1, (2, 3), dtype=np.float32),
        spaces.Box(-1, 1, (2,), dtype=np.float64),
    ],
)
@pytest.mark.parametrize("policy", ["LinearPolicy", "MlpPolicy"])
@pytest.mark.parametrize("n_envs", [1, 2])
def test_observation_spaces(policy, space, n_envs):
    class Sampled(gym.Env):
        observation_space = space
        action_space = spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return self.observation_space.sample(), {}

        def step(self, action):
            return self.observation_space.sample(), 1.0, bool(self.np_random.random() < 0.3), False, {}

    env = DummyVecEnv([Sampled] * n_envs)
    arguments = {"learning_starts": 8, "buffer_size": 100} if policy == "MlpPolicy" else {}
    model = OffPAC(policy, env, seed=0, **arguments)
    model.learn(60)
    single = space.sample()
    action, state = model.predict(single)
    assert state is None
    assert env.action_space.contains(int(action))
    batch = np.array([space.sample() for _ in range(5)])
    assert model.predict(batch)[0].shape == (5,)
    values = model.policy.predict_values(model.policy.obs_to_tensor(batch)[0])
    assert values.shape == (5, 1)
    assert values.dtype == th.float32


def test_dict_observations_need_the_deep_policy():
    env = SimpleMultiObsEnv(random_start=True)
    with pytest.raises(ValueError, match="MultiInputPolicy"):
        OffPAC("LinearPolicy", env)
    kwargs = {"net_arch": [16], "features_extractor_kwargs": {"cnn_output_dim": 16}}
    model = OffPAC("MultiInputPolicy", env, policy_kwargs=kwargs, learning_starts=10, buffer_size=100, seed=0)
    model.learn(60)
    evaluate_policy(model, model.get_env(), n_eval_episodes=1)


def test_images_with_the_convolutional_policy(tmp_path):
    env = FakeImageEnv(screen_height=40, screen_width=40, n_channels=3, discrete=True)
    kwargs = {"features_extractor_kwargs": {"features_dim": 16}}
    model = OffPAC("CnnPolicy", env, policy_kwargs=kwargs, learning_starts=10, buffer_size=60, seed=0)
    model.learn(40)
    model.save(tmp_path / "model")
    loaded = OffPAC.load(tmp_path / "model")
    image = env.observation_space.sample()
    np.testing.assert_array_equal(
        model.predict(image, deterministic=True)[0], loaded.predict(image, deterministic=True)[0]
    )


@pytest.mark.parametrize("policy", POLICIES)
def test_saving_and_loading_keeps_weights_counters_and_actions(policy, tmp_path):
    model = cart_pole_model(policy, gamma=0.9, trace_decay=0.5)
    model.learn(200)
    model.save(tmp_path / "model.zip")
    loaded = OffPAC.load(tmp_path / "model.zip", env="CartPole-v1")
    for name, value in model.policy.state_dict().items():
        assert th.equal(value, loaded.policy.state_dict()[name]), name
    assert (loaded.num_timesteps, loaded.gamma, loaded.trace_decay) == (200, 0.9, 0.5)
    observations = np.random.default_rng(0).uniform(-0.2, 0.2, size=(20, 4)).astype(np.float32)
    np.testing.assert_array_equal(
        model.predict(observations, deterministic=True)[0], loaded.predict(observations, deterministic=True)[0]
    )
    loaded.learn(50, reset_num_timesteps=False)
    assert loaded.num_timesteps == 250
    assert OffPAC.load(tmp_path / "model.zip", env=make_vec_env("CartPole-v1", 3)).learn(9).num_timesteps == 9


def test_training_goes_on_from_a_file_where_it_stopped_in_the_middle_of_an_episode(tmp_path):
    def fresh():
        return OffPAC("LinearPolicy", SmallProcess(cap=10_000), trace_decay=0.8, emphasis=0.4, gamma=0.9, seed=5)

    whole, first = fresh(), fresh()
    whole.learn(300)
    first.learn(137)
    assert first.eligibility_traces.any()
    first.save(tmp_path / "half")
    # The environment and the random streams are those of the process, so they are handed over.
    second = OffPAC.load(tmp_path / "half", env=first.env, force_reset=False)
    second.generator = first.generator
    second.learn(163, reset_num_timesteps=False)
    np.testing.assert_array_equal(second.policy.table(), whole.policy.table())
    np.testing.assert_array_equal(second.eligibility_traces, whole.eligibility_traces)


def test_traces_are_tensors_beside_the_policy_and_not_in_its_parameters():
    model = OffPAC("LinearPolicy", SmallProcess(), trace_decay=0.5, seed=0)
    model.learn(31)
    names, tensors = model._get_torch_save_params()
    assert names == ["policy"]
    assert set(tensors) == {"eligibility_traces", "followon_traces"}
    assert set(model.policy.state_dict()) == {"weights"}
    assert model.eligibility_traces.shape == (1, 6, 4)


def test_checkpoints_in_the_middle_of_learning_hold_the_traces_of_that_moment(tmp_path):
    model = OffPAC("LinearPolicy", SmallProcess(cap=10_000), trace_decay=0.9, gamma=0.95, seed=1)
    model.learn(60, callback=CheckpointCallback(save_freq=30, save_path=tmp_path, name_prefix="m"))
    twin = OffPAC("LinearPolicy", SmallProcess(cap=10_000), trace_decay=0.9, gamma=0.95, seed=1)
    twin.learn(29)
    # A checkpoint is written while step 30 is under way, before its update.
    loaded = OffPAC.load(tmp_path / "m_30_steps.zip")
    np.testing.assert_array_equal(loaded.policy.table(), twin.policy.table())
    np.testing.assert_array_equal(loaded.eligibility_traces, twin.eligibility_traces)


@pytest.mark.parametrize("policy", POLICIES)
def test_parameters_can_be_read_and_set(policy):
    one, other = cart_pole_model(policy), cart_pole_model(policy, seed=1)
    one.learn(150)
    other.set_parameters(one.get_parameters(), exact_match=True)
    for name, value in one.policy.state_dict().items():
        assert th.equal(value, other.policy.state_dict()[name])
    other.learn(50)
    with pytest.raises(ValueError, match="do not match"):
        other.set_parameters({}, exact_match=True)


def test_weights_set_from_a_vector_are_the_ones_that_learn():
    frozen = {"learning_rate": 0.0, "critic_learning_rate": 0.0, "secondary_learning_rate": 0.0}
    model = OffPAC("LinearPolicy", SmallProcess(), **frozen, seed=0)
    vector = np.arange(6 * 5, dtype=np.float32)
    model.policy.load_from_vector(vector)
    model.learn(20)
    np.testing.assert_array_equal(model.policy.parameters_to_vector(), vector)
    np.testing.assert_array_equal(model.policy.table().ravel(), vector)


def test_copies_of_the_policy_stand_on_their_own(tmp_path):
    model = OffPAC("LinearPolicy", SmallProcess(), seed=0)
    model.learn(50)
    snapshot = copy.deepcopy(model.policy)
    before = snapshot.table().copy()
    model.learn(100)
    np.testing.assert_array_equal(snapshot.table(), before)
    snapshot.save(str(tmp_path / "policy.pt"))
    loaded = type(snapshot).load(str(tmp_path / "policy.pt"), device="cpu")
    np.testing.assert_array_equal(loaded.table(), before)


def test_a_model_as_behavior_is_not_stored_and_learning_asks_for_it(tmp_path):
    env = SmallProcess()
    helper = A2C("MlpPolicy", env, device="cpu")
    model = OffPAC("LinearPolicy", env, behavior_policy=helper, seed=0)
    model.learn(20)
    model.save(tmp_path / "model")
    loaded = OffPAC.load(tmp_path / "model", env=env)
    loaded.predict(np.int64(0))
    loaded.save(tmp_path / "again")
    for path in ("model", "again"):
        with pytest.raises(ValueError, match=r"saved with a A2C .*behavior_policy="):
            OffPAC.load(tmp_path / path, env=env).learn(10)
    OffPAC.load(tmp_path / "again", env=env, behavior_policy=helper).learn(10)


@pytest.mark.parametrize("given", ["target", 0.5])
def test_other_behaviors_are_stored(given, tmp_path):
    OffPAC("LinearPolicy", SmallProcess(), behavior_policy=given).save(tmp_path / "model")
    assert OffPAC.load(tmp_path / "model").behavior_policy == given


def test_callables_are_stored(tmp_path):
    model = OffPAC("LinearPolicy", SmallProcess(), behavior_policy=lambda o: np.tile([0.2, 0.3, 0.5], (len(o), 1)))
    model.save(tmp_path / "model")
    loaded = OffPAC.load(tmp_path / "model", env=SmallProcess())
    loaded.learn(10)
    np.testing.assert_allclose(loaded.behavior_policy([0]), [[0.2, 0.3, 0.5]])


@pytest.mark.parametrize("policy", POLICIES)
def test_the_same_seed_gives_the_same_weights_and_another_one_others(policy):
    weights = []
    for seed in (3, 3, 4):
        model = cart_pole_model(policy, seed=seed)
        model.learn(150)
        weights.append(model.policy.parameters_to_vector())
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def test_environments_can_be_exchanged():
    model = OffPAC("LinearPolicy", SmallProcess(), trace_decay=0.9, seed=0)
    model.learn(20)
    model.set_env(lambda: SmallProcess())
    model.learn(20, reset_num_timesteps=False)
    assert model.num_timesteps == 40
    with pytest.raises(AssertionError, match="number of environments"):
        model.set_env(DummyVecEnv([SmallProcess] * 2))
    with pytest.raises(ValueError, match="spaces do not match"):
        model.set_env("CartPole-v1")


class Journal(BaseCallback):
    def __init__(self):
        super().__init__()
        self.events, self.names = [], set()

    def _on_training_start(self):
        self.events.append("training start")

    def _on_rollout_start(self):
        self.events.append("rollout start")

    def _on_step(self):
        self.events.append("step")
        self.names |= set(self.locals)
        assert self.num_timesteps == self.model.num_timesteps
        assert self.locals["self"] is self.model
        return True

    def _on_rollout_end(self):
        self.events.append("rollout end")

    def _on_training_end(self):
        self.events.append("training end")


@pytest.mark.parametrize("policy", ["LinearPolicy", "MlpPolicy"])
def test_callbacks_come_in_sb3s_order_with_its_locals(policy):
    journal = Journal()
    arguments = {"train_freq": 1} if policy == "MlpPolicy" else {}
    OffPAC(policy, SmallProcess("vector"), **arguments).learn(2, callback=journal)
    rollout = ["rollout start", "step", "rollout end"]
    assert journal.events == ["training start", *rollout, *rollout, "training end"]
    assert {"self", "env", "callback", "actions", "new_obs", "rewards", "dones", "infos"} <= journal.names


def test_a_callback_that_says_no_ends_learning_at_that_step():
    model = OffPAC("LinearPolicy", SmallProcess(), seed=0)
    model.learn(1000, callback=lambda locals_, _: locals_["self"].num_timesteps < 17)
    assert model.num_timesteps == 17


def test_stopping_after_a_number_of_episodes():
    model = OffPAC("LinearPolicy", SmallProcess(), seed=0)
    model.learn(10_000, callback=StopTrainingOnMaxEpisodes(max_episodes=5))
    assert model._episode_num == 5


def test_evaluation_is_of_the_target_policy_and_rollout_of_the_behavior(tmp_path):
    env = IdentityEnv(dim=3, ep_length=20)
    model = OffPAC("LinearPolicy", Monitor(env), learning_rate=1.0, gamma=0.0, seed=0)
    logger = configure(str(tmp_path), ["csv"])
    model.set_logger(logger)
    evaluation = EvalCallback(IdentityEnv(dim=3, ep_length=20), eval_freq=1500, n_eval_episodes=5, verbose=0)
    model.learn(3000, callback=evaluation, log_interval=1)
    assert evaluation.last_mean_reward > 17
    assert np.mean([episode["r"] for episode in model.ep_info_buffer]) < 10


@pytest.mark.parametrize("watched", [True, False])
def test_logger_keys(watched, tmp_path):
    model = OffPAC("LinearPolicy", SmallProcess(), trace_decay=0.5, seed=0)
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(300, callback=(lambda *_: True) if watched else None)
    header = (tmp_path / "progress.csv").read_text().splitlines()[0].split(",")
    assert {
        "rollout/ep_rew_mean",
        "rollout/ep_len_mean",
        "time/fps",
        "time/episodes",
        "time/total_timesteps",
        "train/rho_mean",
        "train/rho_max",
        "train/effective_sample_size",
        "train/critic_trace_norm",
        "train/actor_trace_norm",
        "train/learning_rate",
        "train/critic_learning_rate",
        "train/secondary_learning_rate",
        "train/n_updates",
    } <= set(header)


@pytest.mark.parametrize("watched", [True, False])
@pytest.mark.parametrize("observe", ["index", "square"])
def test_logged_trace_norms_are_those_at_the_episodes_end_and_not_of_cleared_traces(observe, watched, tmp_path):
    # Uniform pi, rho = 1 and lambda = 0: e_v = x and e_u = psi = (2/3, -1/3, -1/3), on each active feature.
    policy, kwargs = ("LinearPolicy", {}) if observe == "index" else ("TileCodingPolicy", {"n_tiles": 3})
    frozen = {"learning_rate": 0.0, "critic_learning_rate": 0.0, "secondary_learning_rate": 0.0}
    model = OffPAC(policy, SmallProcess(observe), policy_kwargs=kwargs, seed=0, **frozen)
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(100, callback=(lambda *_: True) if watched else None, log_interval=1)
    with (tmp_path / "progress.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 10
    n_active = model.policy.feature_map.n_active
    for row in rows:
        assert float(row["train/critic_trace_norm"]) == pytest.approx(np.sqrt(n_active))
        assert float(row["train/actor_trace_norm"]) == pytest.approx(np.sqrt(n_active * 2 / 3))


def test_tile_coding_logs_the_step_sizes_as_they_were_given(tmp_path):
    model = OffPAC("TileCodingPolicy", "CartPole-v1", learning_rate=0.5, policy_kwargs=dict(TILES), seed=0)
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(300)
    names, values = ((tmp_path / "progress.csv").read_text().splitlines()[i].split(",") for i in (0, 1))
    assert float(values[names.index("train/learning_rate")]) == 0.5


def test_tile_coding_of_an_unbounded_box_asks_for_bounds():
    with pytest.raises(ValueError, match=r"no finite bounds .*low=\[\.\.\.\]"):
        OffPAC("TileCodingPolicy", "CartPole-v1")


def test_normalized_observations_are_what_is_learned_from():
    env = VecNormalize(DummyVecEnv([lambda: SmallProcess("vector") for _ in range(2)]))
    model = OffPAC("LinearPolicy", env, seed=0)
    model.learn(100)
    assert model.get_vec_normalize_env() is env
    assert np.abs(model._last_obs).max() > 1.0
    assert np.abs(model._last_original_obs).max() <= 1.0


def test_threads_of_torch_stay_as_they_were():
    before = th.get_num_threads()
    cart_pole_model("MlpPolicy").learn(50)
    assert th.get_num_threads() == before


def test_box_actions_are_learned():
    model = OffPAC("LinearPolicy", Reach(), learning_rate=0.002, critic_learning_rate=0.1, seed=0)
    model.learn(3000)
    action, _ = model.predict(np.ones(1, dtype=np.float32), deterministic=True)
    assert abs(action[0] - 4.0) < 0.5
    assert action.dtype == np.float32


def test_box_actions_of_several_dimensions():
    env = IdentityEnvBox(eps=0.5)
    model = OffPAC("LinearPolicy", DummyVecEnv([lambda: Reach(3)] * 1), trace_decay=0.3, seed=0)
    model.learn(100)
    assert model.predict(np.ones((4, 1), dtype=np.float32))[0].shape == (4, 3)
    assert OffPAC("LinearPolicy", env, seed=0).learn(50).num_timesteps == 50


@pytest.mark.parametrize(
    ("sizes", "name"),
    [
        ({"critic_learning_rate": 5.0, "secondary_learning_rate": 0.0}, "critic_learning_rate"),
        ({"critic_learning_rate": 0.1, "secondary_learning_rate": 9.0}, "secondary_learning_rate"),
    ],
)
@pytest.mark.parametrize("observe", ["vector", "index"])
def test_divergence_stops_the_run_and_names_the_step_size(sizes, name, observe):
    model = OffPAC("LinearPolicy", SmallProcess(observe), seed=0, trace_decay=0.5, **sizes)
    with pytest.raises(TrainingDivergedError, match=f"{name} is too large"):
        model.learn(50_000)
    assert np.isfinite(model.policy.table()).all()


def test_the_grid_world_with_long_traces_stays_finite_or_names_the_step_size_that_is_too_large():
    # Scaled down from a million steps: ten times the zoo's step sizes blow up after some thousand.
    def long_traces(factor):
        sizes = {"learning_rate": 0.005, "critic_learning_rate": 0.1, "secondary_learning_rate": 1e-4}
        scaled = {name: factor * size for name, size in sizes.items()}
        return OffPAC("TileCodingPolicy", "actorzoo/ContinuousGridWorld-v0", trace_decay=0.9, seed=0, **scaled)

    too_large = long_traces(10.0)
    with pytest.raises(TrainingDivergedError, match="critic_learning_rate is too large"):
        too_large.learn(20_000, log_interval=None)
    # Values lie within the largest reward over 1 - gamma, some thousand; what is left can still be looked at.
    assert np.abs(too_large.policy.table()).max() < 1e12
    usual = long_traces(0.1)
    usual.learn(5_000, log_interval=None)
    assert np.abs(usual.policy.table()).max() < 1e4


@pytest.mark.parametrize("observe", ["vector", "index"])
def test_values_far_beyond_what_the_rewards_allow_are_divergence(observe):
    def learn(value):
        env = SmallProcess(observe)
        env.rewards[:] = 2.0
        model = OffPAC("LinearPolicy", env, gamma=0.5, critic_learning_rate=0.0, secondary_learning_rate=0.0)
        model.policy.table()[:, -2] = value
        model.learn(20)

    learn(1e3)  # rewards of 2 make values of 4 and errors of 8; there is room for errors of 80 000
    with pytest.raises(TrainingDivergedError, match="critic_learning_rate is too large"):
        learn(1e7)


class RareReward(gym.Env):
    """Five states in a row, left and right; leaving at the right end pays a million, all else nothing."""

    observation_space = gym.spaces.Discrete(5)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = 2
        return self.state, {}

    def step(self, action):
        self.state += 1 if action else -1
        left = self.state in (-1, 5)
        reward = 1e6 if self.state == 5 else 0.0
        return min(max(self.state, 0), 4), reward, left, False, {}


@pytest.mark.parametrize("go_on", ["learn", "load", "learn_from"])
def test_values_of_rewards_seen_in_an_earlier_call_are_no_divergence(go_on, tmp_path):
    model = OffPAC("LinearPolicy", RareReward(), gamma=0.9, seed=0, learning_rate=0.0, critic_learning_rate=0.2)
    model.learn(5_000)
    # errors of 800 000 without a reward, where a learner that has seen none has room for 200 000
    assert model.policy.table()[4, -2] > 5e5
    if go_on == "load":
        model.save(tmp_path / "model")
        model = OffPAC.load(tmp_path / "model", env=RareReward())
    if go_on == "learn_from":
        fields = {"observations": 3, "actions": 1, "rewards": 0.0, "next_observations": 4}
        fields |= {"terminations": False, "truncations": True, "behavior_probabilities": 0.5}
        model.policy.table()[3, -2] = 0.0
        model.learn_from({name: [value] * 5 for name, value in fields.items()})
    else:
        model.learn(2_000, reset_num_timesteps=False)
    assert np.abs(model.policy.table()[:, -2]).max() < 2e6


def test_a_reward_that_is_not_a_number_is_the_environments_fault():
    env = SmallProcess()
    env.rewards[:] = np.nan
    with pytest.raises(ValueError, match="reward nan"):
        OffPAC("LinearPolicy", env).learn(5)


def test_an_observation_that_is_not_a_number_is_the_environments_fault():
    env = SmallProcess("vector")
    env.points[:] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        OffPAC("LinearPolicy", env).learn(5)


def test_an_interrupt_leaves_a_usable_model():
    model = OffPAC("LinearPolicy", SmallProcess(), seed=0, trace_decay=0.5)

    def interrupt(locals_, _):
        if locals_["self"].num_timesteps == 30:
            raise KeyboardInterrupt
        return True

    with pytest.raises(KeyboardInterrupt):
        model.learn(100, callback=interrupt)
    model.predict(np.int64(1))
    model.learn(10)
