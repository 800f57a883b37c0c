"""Both ways of stepping environments write the same segment, and the segment keeps what it is given."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecFrameStack, VecNormalize, VecTransposeImage

from agents.asynchronous.segment import Segment
from agents.asynchronous.stepping import DirectStepper, FrameStackStepper, Stepper, VecEnvStepper, make_stepper
from tests.agents.toys import Counter, RandomEnv

VECTOR = spaces.Box(-1, 1, (3,), np.float32)
DICT = spaces.Dict({"vector": VECTOR, "kind": spaces.Discrete(4)})


class InPlace(RandomEnv):
    """Shows every observation in one and the same array, as many simulators do."""

    def __init__(self) -> None:
        super().__init__(VECTOR, spaces.Discrete(2), terminate=0.2, truncate=0.2)
        self.shown = np.zeros(3, dtype=np.float32)

    def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        self.shown[:], info = super().reset(**arguments)
        return self.shown, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.shown[:], *rest = super().step(action)
        return self.shown, *rest


def make(kind: str, n_envs: int) -> DummyVecEnv:
    makers = {
        "vector": lambda: RandomEnv(VECTOR, spaces.Discrete(2), terminate=0.2, truncate=0.2),
        "dict": lambda: RandomEnv(DICT, spaces.Discrete(2), terminate=0.2, truncate=0.2),
        "discrete": lambda: RandomEnv(spaces.Discrete(7), spaces.Discrete(2), terminate=0.2, truncate=0.2),
        "in place": InPlace,
    }
    venv = DummyVecEnv([lambda: Monitor(makers[kind]())] * n_envs)
    venv.seed(11)
    return venv


def as_dict(observations: Any) -> dict[str, Any]:
    return observations if isinstance(observations, dict) else {"": observations}


@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("kind", ["vector", "dict", "discrete"])
def test_stepping_directly_writes_what_the_vector_environment_gives(kind: str, n_envs: int) -> None:
    venvs = [make(kind, n_envs) for _ in range(2)]
    hold_against_each_other(DirectStepper(venvs[0], keep_infos=True), VecEnvStepper(venvs[1]), venvs, n_envs)


def hold_against_each_other(direct: Stepper, through: Stepper, venvs: list[VecEnv], n_envs: int) -> None:
    segments = [Segment(venv.observation_space, venv.action_space, 4, n_envs) for venv in venvs]
    for stepper, segment in zip((direct, through), segments, strict=True):
        stepper.start(segment, None)
    actions = np.zeros(n_envs, dtype=np.int64)
    ends = 0
    for _ in range(10):
        for segment in segments:
            segment.begin()
        for t in range(4):
            ended = [s.step(actions, segment, t) for s, segment in zip((direct, through), segments, strict=True)]
            assert ended[0] == ended[1]
            ends += ended[0]
            for ours, theirs in zip(direct.infos(), through.infos(), strict=True):
                assert ours.keys() == theirs.keys()
                assert ours["TimeLimit.truncated"] == theirs["TimeLimit.truncated"]
                if "terminal_observation" in ours:
                    compare(ours["terminal_observation"], theirs["terminal_observation"])
            for segment in segments:
                segment.length = t + 1
        compare(segments[0].observations, segments[1].observations)
        for name in ("rewards", "terminated", "truncated", "episode_starts"):
            np.testing.assert_array_equal(getattr(segments[0], name), getattr(segments[1], name), err_msg=name)
        for ours, theirs in zip(segments[0].final_observations, segments[1].final_observations, strict=True):
            assert ours[:2] == theirs[:2]
            compare(ours[2], theirs[2])
    assert ends > 5
    records = [[(record["r"], record["l"]) for record, _ in stepper.episodes] for stepper in (direct, through)]
    assert records[0] == records[1]
    assert len(records[0]) >= ends


FRAMES: dict[str, tuple[tuple[int, ...], Any, str | None, bool]] = {
    # shape of a frame, dtype, order of the channels, transposed afterwards
    "grey images as SB3 wraps them": ((6, 5, 1), np.uint8, "last", True),
    "colours": ((6, 5, 3), np.uint8, "last", True),
    "not transposed": ((6, 5, 1), np.uint8, "last", False),
    "channels first": ((2, 6, 5), np.uint8, "first", False),
    "vectors": ((3,), np.float32, None, False),
}


def stacked(kind: str, n_envs: int, n_stack: int) -> VecEnv:
    shape, dtype, order, transposed = FRAMES[kind]
    space = spaces.Box(0, 255, shape, dtype)
    stack = VecFrameStack(
        DummyVecEnv([lambda: Monitor(RandomEnv(space, spaces.Discrete(2), terminate=0.15, truncate=0.15))] * n_envs),
        n_stack,
        channels_order=order,
    )
    venv = VecTransposeImage(stack) if transposed else stack
    venv.seed(7)
    return venv


@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("n_stack", [1, 4])
@pytest.mark.parametrize("kind", FRAMES)
def test_stacking_frames_directly_writes_what_the_wrappers_give(kind: str, n_stack: int, n_envs: int) -> None:
    venvs = [stacked(kind, n_envs, n_stack) for _ in range(2)]
    direct = make_stepper(venvs[0], keep_infos=True)
    assert isinstance(direct, FrameStackStepper)
    hold_against_each_other(direct, VecEnvStepper(venvs[1]), venvs, n_envs)


@pytest.mark.parametrize("kind", FRAMES)
def test_whoever_steps_after_the_stepper_finds_its_stacks(kind: str) -> None:
    venvs = [stacked(kind, 2, 4) for _ in range(2)]
    direct, through = make_stepper(venvs[0], keep_infos=False), VecEnvStepper(venvs[1])
    actions = np.zeros(2, dtype=np.int64)
    for stepper, venv in zip((direct, through), venvs, strict=True):
        segment = Segment(venv.observation_space, venv.action_space, 30, 2)
        stepper.start(segment, None)
        for t in range(30):
            stepper.step(actions, segment, t)
        segment.length = 30
        stepper.leave(segment)
    for _ in range(10):
        ours, theirs = (venv.step(actions)[0] for venv in venvs)
        np.testing.assert_array_equal(ours, theirs)


def test_stacks_wrapped_in_any_other_way_are_stepped_through_their_wrappers() -> None:
    inner = DummyVecEnv([lambda: RandomEnv(spaces.Box(0, 255, (6, 5, 1), np.uint8), spaces.Discrete(2))])
    for venv in (
        VecNormalize(VecFrameStack(inner, 2), norm_obs=False),
        VecFrameStack(VecTransposeImage(inner), 2),
        VecTransposeImage(VecTransposeImage(VecFrameStack(inner, 2)), skip=True),
    ):
        assert isinstance(make_stepper(venv, keep_infos=False), VecEnvStepper)


def compare(ours: Any, theirs: Any) -> None:
    for key, array in as_dict(ours).items():
        np.testing.assert_array_equal(array, as_dict(theirs)[key])


def test_the_final_observation_is_kept_although_the_environment_writes_over_it() -> None:
    venv = make("in place", 1)
    stepper = DirectStepper(venv, keep_infos=False)
    segment = Segment(venv.observation_space, venv.action_space, 200, 1)
    stepper.start(segment, None)
    for t in range(200):
        stepper.step(np.zeros(1, dtype=np.int64), segment, t)
    # SB3's DummyVecEnv would show the next episode's first observation here
    finals = np.stack([observation for _, _, observation in segment.final_observations])
    assert len(finals) > 10
    assert len(np.unique(finals, axis=0)) == len(finals)  # had they been views, all would show the last one
    for t, _, final in segment.final_observations:
        assert (final != segment.observations[t + 1, 0]).any()  # the row after it begins the next episode


class Position(gym.Env):
    """Shows its position also in its infos, in one and the same array."""

    observation_space = spaces.Box(-100, 100, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self) -> None:
        self.position = np.zeros(1, dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.position[:] = 0
        return self.position.copy(), {}

    def step(self, action: Any) -> Any:
        self.position += 1
        info = {"position": self.position, "inside": {"position": self.position}}
        return self.position.copy(), 1.0, bool(self.position[0] == 3), False, info


@pytest.mark.parametrize("stack", [False, True])
def test_infos_stay_those_of_their_step_although_the_environment_writes_over_them(stack: bool) -> None:
    plain = DummyVecEnv([Position])
    venv = VecFrameStack(plain, 2) if stack else plain
    stepper = make_stepper(venv, keep_infos=True)
    assert isinstance(stepper, DirectStepper)
    segment = Segment(venv.observation_space, venv.action_space, 5, 1)
    stepper.start(segment, None)
    infos = []
    for t in range(5):
        stepper.step(np.zeros(1, dtype=np.int64), segment, t)
        infos.extend(stepper.infos())
    assert [info["position"].item() for info in infos] == [1, 2, 3, 1, 2]
    assert [info["inside"]["position"].item() for info in infos] == [1, 2, 3, 1, 2]


def test_a_plain_vector_environment_is_stepped_directly_and_a_wrapped_one_is_not() -> None:
    plain = make("vector", 2)
    assert isinstance(make_stepper(plain, keep_infos=False), DirectStepper)
    assert isinstance(make_stepper(VecNormalize(plain), keep_infos=False), VecEnvStepper)

    class Own(DummyVecEnv):
        """May do anything in its step."""

    assert isinstance(make_stepper(Own([Counter]), keep_infos=False), VecEnvStepper)


def test_success_rates_come_with_the_episodes() -> None:
    class Successful(gym.Wrapper):
        def step(self, action: Any) -> Any:
            *rest, info = self.env.step(action)
            return *rest, {**info, "is_success": True}

    for wrap in (lambda venv: venv, lambda venv: VecNormalize(venv)):
        venv = wrap(DummyVecEnv([lambda: Successful(Counter(length=3))]))
        stepper = make_stepper(venv, keep_infos=False)
        segment = Segment(venv.observation_space, venv.action_space, 7, 1)
        stepper.start(segment, None)
        for t in range(7):
            stepper.step(np.zeros(1, dtype=np.int64), segment, t)
        assert stepper.episodes == [(None, True), (None, True)]


def test_a_segment_begins_where_the_last_one_ended_with_clean_flags() -> None:
    segment = Segment(VECTOR, spaces.Discrete(2), n_steps=3, n_envs=2)
    segment.put_observations(0, np.zeros((2, 3)))
    segment.episode_starts[0] = True
    segment.begin()
    for t in range(2):
        segment.put_observations(t + 1, np.full((2, 3), t + 1.0))
    segment.mark_end(0, 1, True, None)
    segment.mark_end(1, 0, False, np.full(3, 9.0))
    segment.length = 2
    assert segment.terminated.tolist() == [[False, True], [False, False], [False, False]]
    assert segment.truncated.tolist() == [[False, False], [True, False], [False, False]]
    np.testing.assert_array_equal(segment.stacked_final_observations(), [[9.0, 9.0, 9.0]])

    segment.begin()
    np.testing.assert_array_equal(segment.observations[0], np.full((2, 3), 2.0))
    assert segment.episode_starts.tolist()[0] == [True, False]
    assert not segment.episode_starts[1:].any()
    assert not (segment.terminated | segment.truncated).any()
    assert segment.final_observations == []
