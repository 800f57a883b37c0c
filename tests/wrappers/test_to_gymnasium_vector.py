"""SB3's vector environments under Gymnasium: every autoreset mode gives what Gymnasium's SyncVectorEnv gives."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

from wrappers import VecNormalize, to_gymnasium_vector

MODES = list(AutoresetMode)


class Count(gym.Env):
    """Tells environment, episode and step; episodes of 2 to 4 steps end by termination, truncation, or both."""

    def __init__(self, number, kind="flat"):
        self.metadata = {"render_modes": ["rgb_array"]}
        self.number, self.kind, self.render_mode = number, kind, "rgb_array"
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
        return self.observe(), {"began": self.episode}

    def step(self, action):
        self.t += 1
        over = self.t == 2 + (self.episode + self.number) % 3
        # SB3 tells "truncated and terminated" as terminated
        ending = self.episode % 2
        info = {"action": int(action), "deep": {"t": self.t}}
        return self.observe(), self.t + 10.0 * self.number, over and ending == 0, over and ending == 1, info

    def render(self):
        return np.full((2, 2, 3), self.number, np.uint8)

    def double(self, x):
        return 2 * x + self.number


def fns(kind="flat", n=3):
    return [lambda i=i: Count(i, kind) for i in range(n)]


def plain(value):
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, np.ndarray):
        return [plain(part) for part in value] if value.dtype == object else value.tolist()
    return value


def assert_equal(actual, expected):
    if isinstance(expected, dict):
        assert set(actual) == set(expected)
        for key, part in expected.items():
            assert_equal(actual[key], part)
    else:
        np.testing.assert_array_equal(actual, expected)
        assert actual.dtype == expected.dtype


def assert_steps_equal(env, reference, n=25):
    observations, infos = env.reset(seed=7)
    expected, expected_infos = reference.reset(seed=7)
    assert_equal(observations, expected)
    assert plain(infos) == plain(expected_infos)
    disabled = env.metadata["autoreset_mode"] == AutoresetMode.DISABLED
    for t in range(n):
        actions = np.array([t % 3, (t + 1) % 3, 0])[: env.num_envs]
        got, expected = env.step(actions), reference.step(actions)
        for part, expected_part in zip(got[:4], expected[:4], strict=True):
            assert_equal(part, expected_part)
        assert plain(got[4]) == plain(expected[4])
        mask = expected[2] | expected[3]
        if disabled and mask.any():
            got, expected = (e.reset(options={"reset_mask": mask.copy()}) for e in (env, reference))
            assert_equal(got[0], expected[0])
            assert plain(got[1]) == plain(expected[1])


@pytest.mark.parametrize("kind", ["flat", "Dict", "Discrete"])
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_gives_what_gymnasium_gives(mode, kind):
    env = to_gymnasium_vector(DummyVecEnv(fns(kind)), mode)
    reference = SyncVectorEnv(fns(kind), autoreset_mode=mode)
    assert isinstance(env, VectorEnv)
    assert env.metadata["autoreset_mode"] == mode
    for name in ("num_envs", "observation_space", "action_space", "single_observation_space", "single_action_space"):
        assert getattr(env, name) == getattr(reference, name)
    assert_steps_equal(env, reference)


@pytest.mark.parametrize("mode", MODES)
def test_processes_give_the_same(mode):
    env = to_gymnasium_vector(SubprocVecEnv(fns(n=2), start_method="fork"), mode)
    try:
        assert_steps_equal(env, SyncVectorEnv(fns(n=2), autoreset_mode=mode), n=12)
    finally:
        env.close()


def test_the_mode_may_be_given_by_its_value():
    assert to_gymnasium_vector(DummyVecEnv(fns()), "Disabled").metadata["autoreset_mode"] == AutoresetMode.DISABLED


@pytest.mark.parametrize("mode", MODES)
def test_gymnasiums_wrappers_work_around_it(mode):
    env = RecordEpisodeStatistics(to_gymnasium_vector(DummyVecEnv(fns()), mode))
    env.reset(seed=0)
    lengths = []
    for _ in range(20):
        *_, terminated, truncated, infos = env.step(np.zeros(3, int))
        mask = terminated | truncated
        if mask.any():
            lengths += infos["episode"]["l"][mask].tolist()
            if mode == AutoresetMode.DISABLED:
                break  # Gymnasium's wrapper forgets the others' episodes at a partial reset
    assert len(lengths) >= (1 if mode == AutoresetMode.DISABLED else 12)
    assert set(lengths) <= {2, 3, 4}


@pytest.mark.parametrize("mode", MODES)
def test_observations_given_out_are_not_written_to_later(mode):
    env = to_gymnasium_vector(DummyVecEnv(fns()), mode)
    outputs = [env.reset()[0]]
    kept = [outputs[0].copy()]
    for _ in range(12):
        observations, _, terminated, truncated, _ = env.step(np.zeros(3, int))
        outputs.append(observations)
        kept.append(observations.copy())
        observations = None
        if mode == AutoresetMode.DISABLED and (terminated | truncated).any():
            outputs.append(env.reset(options={"reset_mask": terminated | truncated})[0])
            kept.append(outputs[-1].copy())
    np.testing.assert_array_equal(outputs, kept)


def test_in_disabled_mode_a_forgotten_reset_is_refused():
    env = to_gymnasium_vector(DummyVecEnv(fns()), AutoresetMode.DISABLED)
    env.reset()
    env.step(np.zeros(3, int))
    env.step(np.zeros(3, int))
    with pytest.raises(ValueError, match=r"environments \[0\].*reset_mask"):
        env.step(np.zeros(3, int))
    env.reset()  # of all of them
    env.step(np.zeros(3, int))


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.DISABLED])
def test_single_environments_are_reset_in_the_middle_of_an_episode(mode):
    env = to_gymnasium_vector(DummyVecEnv(fns()), mode)
    env.reset()
    env.step(np.zeros(3, int))
    observations, infos = env.reset(options={"reset_mask": np.array([False, True, False]), "level": 3})
    np.testing.assert_array_equal(observations[:, 1:3], [[0, 1], [1, 0], [0, 1]])
    np.testing.assert_array_equal(infos["_began"], [False, True, False])
    assert env.get_attr("options") == (None, {"level": 3}, None)
    np.testing.assert_array_equal(env.step(np.zeros(3, int))[0][1:, 2], [1, 2])


def test_partial_resets_give_out_arrays_of_their_own():
    env = to_gymnasium_vector(DummyVecEnv(fns()), AutoresetMode.DISABLED)
    env.reset()
    first, _ = env.reset(options={"reset_mask": np.array([True, False, False])})
    kept = first.copy()
    env.reset(options={"reset_mask": np.array([True, True, False])})
    np.testing.assert_array_equal(first, kept)


def test_what_stands_still_in_next_step_mode_takes_no_step():
    env = to_gymnasium_vector(DummyVecEnv(fns(n=2)), AutoresetMode.NEXT_STEP)
    env.reset()
    env.step(np.zeros(2, int))
    observations, _, terminated, _, _ = env.step(np.zeros(2, int))
    assert terminated.tolist() == [True, False]
    assert observations[0, 2] == 2  # the last observation
    observations, rewards, terminated, _, infos = env.step(np.zeros(2, int))
    np.testing.assert_array_equal(observations[:, 1:3], [[1, 0], [0, 3]])
    np.testing.assert_array_equal(rewards, [0, 13])
    np.testing.assert_array_equal(infos["_action"], [False, True])
    # the other one ended while it was stepped alone; now it stands still
    assert terminated.tolist() == [False, True]
    observations, rewards, *_ = env.step(np.zeros(2, int))
    np.testing.assert_array_equal(observations[:, 1:3], [[1, 1], [1, 0]])
    np.testing.assert_array_equal(rewards, [1, 0])


def test_seeds_are_counted_up_or_given_one_by_one():
    env = to_gymnasium_vector(DummyVecEnv(fns()))
    noise = env.reset(seed=5)[0][:, 3]
    again = env.reset()[0][:, 3]
    assert (noise != again).all()
    np.testing.assert_array_equal(env.reset(seed=[7, 5, 6])[0][:, 3], noise[[2, 0, 1]])
    np.testing.assert_array_equal(env.reset(seed=[5, None, None])[0][0, 3], noise[0])
    disabled = to_gymnasium_vector(DummyVecEnv(fns()), AutoresetMode.DISABLED)
    disabled.reset()
    mask = np.array([False, True, False])
    assert disabled.reset(seed=5, options={"reset_mask": mask})[0][1, 3] == noise[1]
    for _ in range(2):  # the first environment's episode is over then, and it has been reset without a seed
        disabled.step(np.zeros(3, int))
    assert disabled.reset(seed=5, options={"reset_mask": np.array([True, False, False])})[0][0, 3] == noise[0]
    with pytest.raises(ValueError, match="2 seeds for 3 environments"):
        env.reset(seed=[1, 2])


def test_options_reach_every_environment():
    env = to_gymnasium_vector(DummyVecEnv(fns()))
    env.reset(options={"level": 2})
    assert env.get_attr("options") == ({"level": 2},) * 3
    env.reset()
    assert env.get_attr("options") == (None,) * 3


def test_normalized_environments_offer_the_modes_they_can():
    for mode in (AutoresetMode.SAME_STEP, AutoresetMode.DISABLED):
        env = to_gymnasium_vector(VecNormalize(DummyVecEnv(fns())), mode)
        env.reset(seed=0)
        observations, _, terminated, truncated, infos = [env.step(np.zeros(3, int)) for _ in range(2)][-1]
        final = infos["final_obs"][0] if mode == AutoresetMode.SAME_STEP else observations[0]
        np.testing.assert_array_equal(final[:3], env.venv.normalize_obs(np.array([0, 0, 2, 0], np.float32))[:3])
        if mode == AutoresetMode.DISABLED:
            first, _ = env.reset(options={"reset_mask": terminated | truncated})
            assert not np.array_equal(first[0], final)
            with pytest.raises(ValueError, match=r"Environment 1 was to be reset alone.*VecNormalize"):
                env.reset(options={"reset_mask": np.array([False, True, False])})
    with pytest.raises(ValueError, match=r"NEXT_STEP.*VecNormalize.*SAME_STEP or DISABLED"):
        to_gymnasium_vector(VecNormalize(DummyVecEnv(fns())), AutoresetMode.NEXT_STEP)


@pytest.mark.parametrize(
    "mask", [np.array([True, False]), np.array([1, 0, 0]), np.zeros(3, bool), [True, False]], ids=str
)
def test_masks_of_another_kind_are_refused(mask):
    env = to_gymnasium_vector(DummyVecEnv(fns()), AutoresetMode.DISABLED)
    env.reset()
    with pytest.raises(ValueError, match=r"bool array of shape \(3,\)"):
        env.reset(options={"reset_mask": mask})


def test_other_arguments_are_refused():
    with pytest.raises(TypeError, match=r"got a Count.*make_vec_env"):
        to_gymnasium_vector(Count(0))
    with pytest.raises(ValueError, match="Sometimes"):
        to_gymnasium_vector(DummyVecEnv(fns()), "Sometimes")


def test_attributes_methods_and_pictures():
    env = to_gymnasium_vector(DummyVecEnv(fns()))
    env.reset()
    assert env.call("double", 4) == (8, 9, 10)
    env.set_attr("number", 5)
    assert env.get_attr("number") == (5, 5, 5)
    env.set_attr("number", [6, 7, 8])
    assert env.get_attr("number") == (6, 7, 8)
    with pytest.raises(ValueError, match="2 values of 'number' for 3"):
        env.set_attr("number", [1, 2])
    assert [frame[0, 0, 0] for frame in env.render()] == [6, 7, 8]
    assert env.render_mode == "rgb_array"
