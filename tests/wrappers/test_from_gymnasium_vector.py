"""Gymnasium's vector environments under SB3: every autoreset mode gives what SB3's own DummyVecEnv gives."""

import copy

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers.vector import NormalizeObservation, RecordEpisodeStatistics
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from wrappers import VecNormalize, from_gymnasium_vector, to_gymnasium_vector

MODES = list(AutoresetMode)


class Count(gym.Env):
    """Tells environment, episode and step; episodes of 2 to 4 steps end by termination, truncation, or both."""

    def __init__(self, number, kind="flat", render_mode="rgb_array"):
        self.metadata = {"render_modes": ["rgb_array"]}
        self.number, self.kind, self.render_mode = number, kind, render_mode
        box = spaces.Box(-np.inf, np.inf, (4,), np.float32)
        self.observation_space = {
            "flat": box,
            "Dict": spaces.Dict({"a": box, "b": spaces.Discrete(50)}),
            "Discrete": spaces.Discrete(50),
        }[kind]
        self.action_space = spaces.Discrete(3)
        self.episode = -1
        self.options = None

    def observe(self):
        row = np.array([self.number, self.episode, self.t, self.noise], np.float32)
        return {"flat": row, "Dict": {"a": row, "b": self.t}, "Discrete": self.t}[self.kind]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.episode, self.options = 0, self.episode + 1, options
        self.noise = self.np_random.uniform()
        return self.observe(), {"began": self.episode, "noise": self.noise}

    def step(self, action):
        self.t += 1
        over = self.t == 2 + (self.episode + self.number) % 3
        ending = self.episode % 3
        info = {"action": int(action), "name": f"{self.number}.{self.episode}.{self.t}", "deep": {"t": self.t}}
        if over:
            info["is_success"] = True
        return self.observe(), self.t + 10.0 * self.number, over and ending != 1, over and ending != 0, info

    def render(self):
        return np.full((2, 2, 3), self.number, np.uint8)

    def double(self, x):
        return 2 * x + self.number


def fns(kind="flat", n=3):
    return [lambda i=i: Count(i, kind) for i in range(n)]


def plain(value):
    """NumPy's scalars and arrays compare badly inside dicts."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def assert_equal(actual, expected):
    if isinstance(expected, dict):
        assert set(actual) == set(expected)
        for key, part in expected.items():
            assert_equal(actual[key], part)
    else:
        np.testing.assert_array_equal(actual, expected)
        assert np.asarray(actual).dtype == np.asarray(expected).dtype


def assert_steps_equal(venv, reference, n=25):
    venv.seed(7)
    reference.seed(7)
    assert_equal(venv.reset(), reference.reset())
    assert plain(dict(enumerate(venv.reset_infos))) == plain(dict(enumerate(reference.reset_infos)))
    for t in range(n):
        actions = np.array([t % 3, (t + 1) % 3, 0])[: venv.num_envs]
        observations, rewards, dones, infos = venv.step(actions)
        expected = reference.step(actions)
        assert_equal(observations, expected[0])
        assert_equal(rewards, expected[1])
        assert_equal(dones, expected[2])
        assert plain(dict(enumerate(infos))) == plain(dict(enumerate(expected[3])))
        assert plain(dict(enumerate(venv.reset_infos))) == plain(dict(enumerate(reference.reset_infos)))


@pytest.mark.parametrize("copies", [True, False])
@pytest.mark.parametrize("kind", ["flat", "Dict", "Discrete"])
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_gives_what_sb3_gives(mode, kind, copies):
    reference = DummyVecEnv(fns(kind))
    venv = from_gymnasium_vector(SyncVectorEnv(fns(kind), copy=copies, autoreset_mode=mode))
    assert venv.observation_space == reference.observation_space
    assert venv.action_space == reference.action_space
    assert_steps_equal(venv, reference)


@pytest.mark.parametrize("mode", MODES)
def test_processes_give_the_same(mode):
    venv = from_gymnasium_vector(AsyncVectorEnv(fns(), autoreset_mode=mode))
    try:
        assert_steps_equal(venv, DummyVecEnv(fns()), n=12)
    finally:
        venv.close()


def test_processes_without_shared_memory_are_refused_where_they_reset_twice():
    env = AsyncVectorEnv(fns(n=1), shared_memory=False)
    try:
        with pytest.raises(ValueError, match="shared_memory=True"):
            from_gymnasium_vector(env)
    finally:
        env.close()


@pytest.mark.parametrize("mode", MODES)
def test_observations_given_out_are_not_written_to_later(mode):
    venv = from_gymnasium_vector(SyncVectorEnv(fns(), copy=False, autoreset_mode=mode))
    outputs = [venv.reset()]
    finals = []
    kept = [outputs[0].copy()]
    for _ in range(12):
        observations, _, dones, infos = venv.step(np.zeros(3, int))
        outputs.append(observations)
        kept.append(observations.copy())
        finals += [(infos[i]["terminal_observation"], infos[i]["name"]) for i in np.flatnonzero(dones)]
    assert_equal(np.array(outputs), np.array(kept))
    for final, name in finals:
        assert name == ".".join(str(int(x)) for x in final[:3])


@pytest.mark.parametrize("algorithm", [A2C, DQN])
def test_dead_transitions_never_reach_a_buffer(algorithm):
    venv = from_gymnasium_vector(SyncVectorEnv(fns(), autoreset_mode=AutoresetMode.NEXT_STEP))
    settings = {"n_steps": 20} if algorithm is A2C else {"learning_starts": 60, "buffer_size": 60, "train_freq": 20}
    model = algorithm("MlpPolicy", venv, device="cpu", **settings)
    model.learn(60)
    buffer = model.rollout_buffer if algorithm is A2C else model.replay_buffer
    if algorithm is A2C:  # which has put the environments one after the other
        observations = buffer.observations.reshape(3, 20, 4).swapaxes(0, 1)
    else:
        observations = buffer.observations[:20].reshape(20, 3, 4)
    number, episode, t = (observations[..., k] for k in range(3))
    if algorithm is A2C:
        cut = (t + 1 == 2 + (episode + number) % 3) & (episode % 3 == 1)
        difference = buffer.rewards - (t + 1 + 10 * number)
        assert (difference[cut] != 0).all()  # the last observation's value is added
        np.testing.assert_array_equal(difference[~cut], 0)
        np.testing.assert_array_equal(buffer.episode_starts, t == 0)
    else:
        np.testing.assert_array_equal(buffer.rewards[:20], t + 1 + 10 * number)
        following = buffer.next_observations[:20].reshape(20, 3, 4)
        np.testing.assert_array_equal(following[..., 1], episode)  # never across two episodes
        np.testing.assert_array_equal(following[..., 2], t + 1)
        over = t + 1 == 2 + (episode + number) % 3
        np.testing.assert_array_equal(buffer.dones[:20], over)
        np.testing.assert_array_equal(buffer.timeouts[:20], over & (episode % 3 == 1))


# ---- one piece -------------------------------------------------------------------------------------------------------


def test_gymnasiums_cart_poles_in_one_piece_match_single_ones():
    venv = from_gymnasium_vector(gym.make_vec("CartPole-v1", num_envs=4, vectorization_mode="vector_entry_point"))
    assert isinstance(venv.env, CartPoleVectorEnv)
    assert venv.render_mode is None
    venv.seed(3)
    observations = venv.reset()
    single = gym.make("CartPole-v1").unwrapped
    rng = np.random.default_rng(0)
    age, ends = np.zeros(4, int), 0
    for _ in range(200):
        before, actions = observations, rng.integers(0, 2, 4)
        observations, rewards, dones, infos = venv.step(actions)
        np.testing.assert_array_equal(rewards, 1.0)  # a dead step would give 0
        age += 1
        for i in range(4):
            single.state, single.steps_beyond_terminated = before[i].astype(np.float64), None
            single._np_random = np.random.default_rng(0)
            expected, _, terminated, _, _ = single.step(actions[i])
            assert dones[i] == terminated
            np.testing.assert_allclose(
                infos[i]["terminal_observation"] if dones[i] else observations[i], expected, rtol=1e-4, atol=1e-5
            )
            if dones[i]:
                ends += 1
                assert np.abs(observations[i]).max() <= 0.05  # the next episode's start
                assert not infos[i]["TimeLimit.truncated"]
                age[i] = 0
        np.testing.assert_array_equal(venv.env.steps, age)
    assert ends > 10


def test_gymnasiums_cart_poles_in_one_piece_are_cut_and_go_on():
    venv = from_gymnasium_vector(CartPoleVectorEnv(num_envs=2, max_episode_steps=5))
    venv.seed(0)
    venv.reset()
    for t in range(1, 16):
        observations, _, dones, infos = venv.step(np.array([t % 2, t % 2]))
        assert dones.all() == dones.any() == (t % 5 == 0)
        if t % 5 == 0:
            assert infos[0]["TimeLimit.truncated"]
            assert np.abs(observations).max() <= 0.05
            assert np.abs(infos[0]["terminal_observation"]).max() > 0.05


def test_one_piece_inside_gymnasiums_wrappers_is_refused_with_a_remedy():
    with pytest.raises(ValueError, match="without Gymnasium's vector wrappers"):
        from_gymnasium_vector(NormalizeObservation(CartPoleVectorEnv(num_envs=2)))


class Native(VectorEnv):
    """A vector environment in one piece, in SAME_STEP mode, whose final observations are one array."""

    def __init__(self, mode=AutoresetMode.SAME_STEP, with_final=True, in_dict=False):
        self.num_envs, self.with_final, self.in_dict = 2, with_final, in_dict
        self.metadata = {"autoreset_mode": mode} if mode else {}
        self.single_observation_space = spaces.Box(-9, 9, (1,), np.float32)
        self.single_action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        self.seen = seed, options
        return np.zeros((2, 1), np.float32), {"level": np.array([3, 4])}

    def step(self, actions):
        infos = {"level": np.array([5, 6]), "_level": np.array([True, True])}
        if self.with_final:
            final = np.array([[7.0], [8.0]], np.float32)
            infos |= {"final_obs": {"a": final} if self.in_dict else final, "final_info": {"x": np.array([1, 2])}}
        return np.ones((2, 1), np.float32), np.ones(2), np.array([False, True]), np.zeros(2, bool), infos


def test_final_observations_in_a_dict_of_arrays_are_understood():
    venv = from_gymnasium_vector(Native(in_dict=True))
    venv.reset()
    assert venv.step(np.zeros(2, int))[3][1]["terminal_observation"] == {"a": 8}


def test_final_observations_in_one_array_are_understood():
    venv = from_gymnasium_vector(Native())
    venv.reset()
    assert venv.reset_infos == [{"level": 3}, {"level": 4}]
    observations, _, _, infos = venv.step(np.zeros(2, int))
    assert infos[1]["terminal_observation"] == 8
    assert infos[1]["x"] == 2
    assert infos[0] == {"level": 5, "TimeLimit.truncated": False}
    assert venv.reset_infos == [{"level": 3}, {"level": 6}]
    np.testing.assert_array_equal(observations, 1)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Native(mode=None), ValueError, "declares the autoreset mode None"),
        (lambda: Native(AutoresetMode.NEXT_STEP), ValueError, "SAME_STEP or DISABLED"),
        (lambda: Count(0), TypeError, "got a Count.*make_vec"),
        (lambda: DummyVecEnv(fns()), TypeError, "got a DummyVecEnv"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_remedy(make, error, message):
    with pytest.raises(error, match=message):
        from_gymnasium_vector(make())


def test_an_episode_without_its_last_observation_is_refused():
    venv = from_gymnasium_vector(Native(with_final=False))
    venv.reset()
    with pytest.raises(ValueError, match=r"\[1\].*without final_obs"):
        venv.step(np.zeros(2, int))


# ---- what belongs to an SB3 VecEnv -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_seeds_and_options_reach_the_next_reset_and_only_that(mode):
    venv = from_gymnasium_vector(SyncVectorEnv(fns(), autoreset_mode=mode))
    assert venv.seed(5) == [5, 6, 7]
    venv.set_options({"level": 2})
    first = venv.reset()
    assert venv.get_attr("options") == [{"level": 2}] * 3
    again = venv.reset()
    assert venv.get_attr("options") == [None] * 3
    assert (first[:, 3] != again[:, 3]).all()
    venv.seed(5)
    np.testing.assert_array_equal(venv.reset()[:, 3], first[:, 3])
    assert len(set(first[:, 3])) == 3
    venv.set_options([{"level": 1}, {"level": 2}, {"level": 3}])
    with pytest.raises(ValueError, match="one dict for all"):
        venv.reset()


def test_attributes_and_methods_of_single_environments():
    venv = from_gymnasium_vector(SyncVectorEnv(fns()))
    assert venv.get_attr("number") == [0, 1, 2]
    assert venv.get_attr("number", indices=[2, 0]) == [2, 0]
    venv.set_attr("number", 9, indices=1)
    assert venv.get_attr("number") == [0, 9, 2]
    assert venv.env_method("double", 5, indices=[0, 1]) == [10, 19]
    assert venv.env_is_wrapped(Monitor) == [False] * 3
    assert from_gymnasium_vector(SyncVectorEnv([lambda: Monitor(Count(0))])).env_is_wrapped(Monitor) == [True]
    assert not venv.has_attr("nonsense")


def test_attributes_and_methods_of_environments_in_processes():
    venv = from_gymnasium_vector(AsyncVectorEnv(fns(n=2)))
    try:
        assert venv.get_attr("number", indices=1) == [1]
        assert venv.env_method("double", 5) == [10, 11]
        venv.set_attr("number", 4)
        assert venv.get_attr("number") == [4, 4]
        assert venv.env_is_wrapped(Monitor) == [False, False]
        for act in (lambda: venv.set_attr("number", 1, indices=0), lambda: venv.env_method("double", 1, indices=[1])):
            with pytest.raises(ValueError, match="only for all"):
                act()
    finally:
        venv.close()


def test_attributes_and_methods_of_one_piece():
    venv = from_gymnasium_vector(CartPoleVectorEnv(num_envs=2))
    assert venv.get_attr("gravity") == [9.8, 9.8]
    venv.set_attr("gravity", 1.0)
    assert venv.env.gravity == 1.0
    with pytest.raises(AttributeError, match="no single environments"):
        venv.env_method("double")
    assert venv.env_is_wrapped(Monitor) == [False, False]


def test_pictures_of_all_environments_are_put_together():
    venv = from_gymnasium_vector(SyncVectorEnv(fns()))
    venv.reset()
    assert venv.render_mode == "rgb_array"
    assert [image[0, 0, 0] for image in venv.get_images()] == [0, 1, 2]
    assert venv.render().shape == (4, 4, 3)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED])
def test_gymnasiums_records_are_refused_where_they_would_be_wrong(mode):
    env = RecordEpisodeStatistics(SyncVectorEnv(fns(), autoreset_mode=mode))
    with pytest.raises(ValueError, match=r"RecordEpisodeStatistics forgets.*VecMonitor.*SAME_STEP"):
        from_gymnasium_vector(env)


def test_episode_records_come_from_either_librarys_wrapper():
    mode = AutoresetMode.SAME_STEP
    inside = from_gymnasium_vector(RecordEpisodeStatistics(SyncVectorEnv(fns(), autoreset_mode=mode)))
    around = VecMonitor(from_gymnasium_vector(SyncVectorEnv(fns(), autoreset_mode=mode)))
    inside.reset()
    around.reset()
    ends = 0
    for _ in range(20):
        _, _, dones, infos = inside.step(np.zeros(3, int))
        for i, expected in enumerate(around.step(np.zeros(3, int))[3]):
            assert ("episode" in infos[i]) == ("episode" in expected) == dones[i]
            if dones[i]:
                ends += 1
                assert infos[i]["episode"]["r"] == expected["episode"]["r"]
                assert infos[i]["episode"]["l"] == expected["episode"]["l"]
                assert set(inside.reset_infos[i]) == {"began", "noise"}
    assert ends > 10


def test_an_algorithm_learns_the_same_as_with_sb3s_own_environments():
    def learn(venv):
        model = PPO("MlpPolicy", venv, n_steps=32, batch_size=32, n_epochs=2, seed=1, device="cpu")
        model.learn(128)
        return model.policy.state_dict()

    expected = learn(VecNormalize(make_vec_env("CartPole-v1", 2)))
    for mode in MODES:
        env = SyncVectorEnv([lambda: gym.make("CartPole-v1")] * 2, autoreset_mode=mode)
        got = learn(VecNormalize(VecMonitor(from_gymnasium_vector(env))))
        for name, parameter in expected.items():
            np.testing.assert_array_equal(got[name], parameter, err_msg=f"{mode} {name}")


@pytest.mark.parametrize("mode", MODES)
def test_there_and_back_again_changes_nothing(mode):
    venv = (
        from_gymnasium_vector(to_gymnasium_vector(DummyVecEnv(fns()), mode))
        if mode != AutoresetMode.NEXT_STEP
        else None
    )
    if venv is None:
        with pytest.raises(ValueError, match="SAME_STEP or DISABLED"):
            from_gymnasium_vector(to_gymnasium_vector(DummyVecEnv(fns()), mode))
        return
    assert_steps_equal(venv, DummyVecEnv(fns()))


def test_infos_are_independent_between_steps():
    venv = from_gymnasium_vector(SyncVectorEnv(fns()))
    venv.reset()
    infos = venv.step(np.zeros(3, int))[3]
    before = copy.deepcopy(plain(dict(enumerate(infos))))
    venv.step(np.zeros(3, int))
    assert plain(dict(enumerate(infos))) == before
