"""Observation and action spaces, images, stacks and Dicts, as SB3's tests ask of A2C and DQN."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import FlattenObservation, TimeLimit
from stable_baselines3.common.envs import BitFlippingEnv, FakeImageEnv, SimpleMultiObsEnv
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecFrameStack,
    VecNormalize,
    VecTransposeImage,
    is_vecenv_wrapped,
)

import agents
from agents.asynchronous.supported_spaces import check_spaces
from tests.agents.drop_in import both_kinds, each_method, each_value_method, one_and_two_workers, small
from tests.agents.toys import Counter, RandomEnv

VECTOR = spaces.Box(-1, 1, (2,), np.float32)
IMAGE = spaces.Box(0, 255, (36, 36, 1), np.uint8)
FEW = {"features_extractor_kwargs": {"features_dim": 8}}
OBSERVATIONS: dict[str, spaces.Space[Any]] = {
    "box": VECTOR,
    "float64": spaces.Box(-1, 1, (2, 2), np.float64),
    "unbounded": spaces.Box(-np.inf, np.inf, (3,), np.float32),
    "discrete": spaces.Discrete(5),
    "multi-discrete": spaces.MultiDiscrete([4, 3]),
    "multi-binary": spaces.MultiBinary(8),
    "multi-binary-of-two-dimensions": spaces.MultiBinary((3, 2)),
}
MIXED = spaces.Dict({"image": IMAGE, "vector": VECTOR, "kind": spaces.Discrete(4)})


@each_value_method
@pytest.mark.parametrize("name", OBSERVATIONS)
def test_value_methods_learn_from_every_observation_space(cls: Any, name: str) -> None:
    env = TimeLimit(RandomEnv(OBSERVATIONS[name], spaces.Discrete(4)), 20)
    model = small(cls, env).learn(64)
    assert model.num_timesteps == 64
    evaluate_policy(model, env, n_eval_episodes=2, warn=False)


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_two_workers_learn_values_from_every_observation_space(name: str) -> None:
    model = small(agents.AsyncSarsa, RandomEnv(OBSERVATIONS[name], spaces.Discrete(4)), n_workers=2)
    assert model.learn(64).num_timesteps == 64


@each_value_method
@pytest.mark.parametrize(
    "action_space",
    [spaces.Box(-1, 1, (2,), np.float32), spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(2)],
    ids=["Box", "MultiDiscrete", "MultiBinary"],
)
def test_value_methods_refuse_all_but_discrete_actions(cls: Any, action_space: spaces.Space[Any]) -> None:
    with pytest.raises(AssertionError, match=r"only supports .*Discrete.* as action spaces but"):
        small(cls, RandomEnv(VECTOR, action_space))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@one_and_two_workers
def test_environments_get_actions_inside_their_box_and_of_its_shape(n_workers: int, dtype: Any) -> None:
    # RandomEnv asserts that its action space contains what it is given
    space = spaces.Box(np.array([[-1, 0], [2, -9]], dtype), np.array([[1, 0.1], [3, 9]], dtype), dtype=dtype)
    model = small(agents.A3C, RandomEnv(VECTOR, space), n_workers=n_workers).learn(60)
    action, _ = model.predict(np.zeros(2, np.float32))
    assert action.shape == (2, 2)
    assert space.contains(action.astype(dtype))


@each_method
@pytest.mark.parametrize("n_envs", [1, 2])
def test_predict_tells_one_observation_from_a_batch(cls: Any, n_envs: int) -> None:
    env = gym.make("CartPole-v1")
    model = small(cls, env)
    observation, _ = env.reset(seed=0)
    for deterministic in (True, False):
        action, state = model.predict(observation, deterministic=deterministic)
        assert state is None
        assert action.shape == ()
        assert env.action_space.contains(action)
        actions, _ = model.predict(np.stack([observation] * n_envs), deterministic=deterministic)
        assert actions.shape == (n_envs,)
        assert all(env.action_space.contains(a) for a in actions)


@each_method
def test_predict_takes_dicts_and_batches_of_them(cls: Any) -> None:
    model = small(cls, RandomEnv(MIXED, spaces.Discrete(3)), "MultiInputPolicy")
    one = {key: space.sample() for key, space in MIXED.spaces.items()}
    for deterministic in (True, False):
        assert model.predict(one, deterministic=deterministic)[0].shape == ()
        batch = {key: np.stack([part] * 3) for key, part in one.items()}
        assert model.predict(batch, deterministic=deterministic)[0].shape == (3,)


@each_method
def test_predict_refuses_an_observation_of_another_shape(cls: Any) -> None:
    with pytest.raises(ValueError, match="Unexpected observation shape"):
        small(cls).predict(np.zeros(5, np.float32))


def test_three_value_methods_predict_greedily_or_explore_each_observation_for_itself() -> None:
    for cls in (agents.AsyncQLearning, agents.AsyncSarsa, agents.AsyncNStepQ):
        model = small(cls)
        observations = np.zeros((400, 4), np.float32)
        greedy, _ = model.predict(observations, deterministic=True)
        assert len(set(greedy)) == 1
        model.exploration_rate = 0.0
        np.testing.assert_array_equal(model.predict(observations)[0], greedy)
        model.exploration_rate = 0.5
        explored, _ = model.predict(observations)
        # every other explores, and every other of these draws the greedy action again: one in four differs
        assert 60 < int((explored != greedy).sum()) < 140


@both_kinds
@one_and_two_workers
def test_images_with_channels_last_are_transposed(cls: Any, n_workers: int) -> None:
    env = FakeImageEnv(screen_height=36, screen_width=36, n_channels=1, discrete=True)
    model = small(cls, env, "CnnPolicy", n_workers=n_workers, policy_kwargs=FEW).learn(10)
    assert is_vecenv_wrapped(model.get_env(), VecTransposeImage)
    assert model.predict(env.reset()[0])[0].shape == ()  # predict transposes, too


@both_kinds
def test_images_with_channels_first_are_left_alone(cls: Any) -> None:
    env = FakeImageEnv(screen_height=36, screen_width=36, n_channels=1, discrete=True, channel_first=True)
    model = small(cls, env, "CnnPolicy", policy_kwargs=FEW).learn(10)
    assert not is_vecenv_wrapped(model.get_env(), VecTransposeImage)


def test_a_stack_with_many_channels_first_may_skip_the_transposition() -> None:
    def make() -> gym.Env:
        return FakeImageEnv(screen_height=41, screen_width=40, n_channels=10, discrete=True, channel_first=True)

    env = VecTransposeImage(VecFrameStack(DummyVecEnv([make]), 5, channels_order="first"), skip=True)
    assert env.reset().shape == (1, 50, 41, 40)
    model = small(agents.A3C, env, "CnnPolicy", n_workers=2, policy_kwargs=FEW).learn(10)
    assert model.predict(env.reset())[0].shape == (1,)


@both_kinds
@one_and_two_workers
def test_frames_are_stacked_and_the_stack_is_emptied_between_episodes(cls: Any, n_workers: int) -> None:
    seen: list[np.ndarray] = []

    def watch(found: dict[str, Any], _: Any) -> bool:
        seen.append(found["new_obs"][0].copy())
        return True

    stack = VecFrameStack(DummyVecEnv([lambda: Counter(length=3)]), 3)
    model = small(cls, stack, n_workers=n_workers)
    model.learn(30, callback=watch)
    steps = {tuple(row.reshape(3, 2)[:, 1]) for row in seen}
    # the numbers of the steps in an episode; 0 also stands for frames before its start
    assert steps == {(0, 0, 0), (0, 0, 1), (0, 1, 2)}


@pytest.mark.parametrize("normalize_images", [True, False])
def test_images_that_are_normalized_already_need_normalize_images_false(normalize_images: bool) -> None:
    def make() -> gym.Env:
        return FakeImageEnv(screen_height=36, screen_width=36, n_channels=1, channel_first=True, discrete=True)

    env = VecNormalize(DummyVecEnv([make]))
    arguments = {"normalize_images": normalize_images, **FEW}
    if normalize_images:
        with pytest.raises(AssertionError, match="images"):
            small(agents.A3C, env, "CnnPolicy", policy_kwargs=arguments)
    else:
        assert small(agents.A3C, env, "CnnPolicy", policy_kwargs=arguments).learn(10).num_timesteps == 10


# Dict observations


@both_kinds
@one_and_two_workers
def test_dicts_of_image_vector_and_category_are_learned_from(cls: Any, n_workers: int) -> None:
    few = {"features_extractor_kwargs": {"cnn_output_dim": 8}}
    env = TimeLimit(RandomEnv(MIXED, spaces.Discrete(3)), 30)
    model = small(cls, env, "MultiInputPolicy", n_workers=n_workers, policy_kwargs=few).learn(15)
    assert model.num_timesteps == 15
    evaluate_policy(model, env, n_eval_episodes=1, warn=False)


@both_kinds
def test_stacks_of_dicts_with_the_channels_order_by_key(cls: Any) -> None:
    inner = DummyVecEnv([lambda: SimpleMultiObsEnv(random_start=True, discrete_actions=True, channel_last=False)])
    env = VecFrameStack(inner, n_stack=2, channels_order={"vec": None, "img": "first"})
    few = {"features_extractor_kwargs": {"cnn_output_dim": 8}}
    model = small(cls, env, "MultiInputPolicy", n_workers=2, policy_kwargs=few).learn(10)
    assert model.num_timesteps == 10


@each_method
def test_a_dict_of_one_vector_is_learned_from_as_the_vector_itself(cls: Any) -> None:
    """NumPy serves the vector, torch the Dict; the same seed must lead to the same policy."""
    dict_env = RandomEnv(spaces.Dict({"v": VECTOR}), spaces.Discrete(3))
    arguments: dict[str, Any] = {"gamma": 0.5, "ent_coef": 0.0} if cls is agents.A3C else {"exploration_final_eps": 0.1}
    models = [
        small(cls, dict_env, "MultiInputPolicy", **arguments),
        small(cls, FlattenObservation(dict_env), "MlpPolicy", **arguments),
    ]
    probes = np.random.default_rng(0).uniform(-1, 1, (20, 2)).astype(np.float32)
    before = [model.policy.state_dict() for model in models]
    assert [tuple(p.shape) for p in before[0].values()] == [tuple(p.shape) for p in before[1].values()]
    actions = [m.predict(x, deterministic=True)[0] for m, x in zip(models, ({"v": probes}, probes), strict=True)]
    np.testing.assert_array_equal(*actions)
    if cls is not agents.A3C:  # A3C's two learners draw their noise from different streams
        for model in models:
            model.learn(100)
        for a, b in zip(models[0].policy.parameters(), models[1].policy.parameters(), strict=True):
            np.testing.assert_allclose(a.detach(), b.detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["MultiInputPolicy", "MultiInputLstmPolicy"])
def test_goal_environments_are_learned_from(name: str) -> None:
    env = BitFlippingEnv(n_bits=3)
    model = small(agents.A3C, env, name, n_workers=2).learn(60)
    evaluate_policy(model, model.get_env(), n_eval_episodes=2)


def test_environments_in_processes_are_stepped_by_one_worker() -> None:
    make = [lambda: RandomEnv(spaces.Dict({"v": VECTOR}), spaces.Discrete(2))] * 2
    env = SubprocVecEnv(make, start_method="fork")  # the others import everything anew, which takes seconds
    try:
        assert small(agents.A3C, env, "MultiInputPolicy").learn(40).num_timesteps == 40
    finally:
        env.close()


# refusals


@pytest.mark.parametrize(
    ("cls", "policy", "fitting"),
    [
        (agents.A3C, "MlpPolicy", "MultiInputPolicy"),
        (agents.A3C, "CnnPolicy", "MultiInputPolicy"),
        (agents.A3C, "MlpLstmPolicy", "MultiInputLstmPolicy"),
        (agents.A3C, "CnnLstmPolicy", "MultiInputLstmPolicy"),
        (agents.AsyncQLearning, "MlpPolicy", "MultiInputPolicy"),
        (agents.AsyncNStepQ, "CnnPolicy", "MultiInputPolicy"),
    ],
)
def test_the_wrong_policy_for_a_dict_is_refused_with_the_right_one(cls: Any, policy: str, fitting: str) -> None:
    with pytest.raises(ValueError, match=f"'{policy}' does not fit observations that are Dict; use '{fitting}'"):
        small(cls, BitFlippingEnv(n_bits=3), policy)


@pytest.mark.parametrize(
    ("policy", "fitting"), [("MultiInputPolicy", "MlpPolicy"), ("MultiInputLstmPolicy", "MlpLstmPolicy")]
)
def test_a_policy_for_dicts_is_refused_for_a_vector(policy: str, fitting: str) -> None:
    with pytest.raises(ValueError, match=rf"'{policy}' does not fit .*other than Dict \(Box\); use '{fitting}'"):
        small(agents.A3C, policy=policy)


@both_kinds
def test_convolutions_are_refused_for_a_vector(cls: Any) -> None:
    with pytest.raises(AssertionError, match="You should use NatureCNN only with images"):
        small(cls, policy="CnnPolicy")


@both_kinds
def test_dicts_in_dicts_are_refused(cls: Any) -> None:
    nested = spaces.Dict({"a": VECTOR, "b": spaces.Dict({"c": VECTOR})})
    with pytest.raises(NotImplementedError, match="Nested observation spaces"):
        small(cls, RandomEnv(nested, spaces.Discrete(2)), "MultiInputPolicy")


@pytest.mark.parametrize(
    "space",
    [
        spaces.Tuple((VECTOR, VECTOR)),
        spaces.Text(3),
        spaces.Sequence(VECTOR),
        spaces.Discrete(3, start=1),
        spaces.MultiDiscrete([3, 3], start=[0, 1]),
        spaces.MultiDiscrete([[2, 3], [4, 5]]),
        spaces.Dict({"a": VECTOR, "b": spaces.Discrete(3, start=-1)}),
    ],
    ids=lambda space: type(space).__name__,
)
def test_observations_that_no_policy_understands_are_refused_with_the_spaces_that_are(space: Any) -> None:
    with pytest.raises(ValueError, match=r"observation space .* is not supported, but only Box, Discrete"):
        small(agents.A3C, RandomEnv(space, spaces.Discrete(2)), "MultiInputPolicy")


def test_the_key_of_what_is_not_supported_is_named() -> None:
    with pytest.raises(ValueError, match=r"Text\(.*\) at key 'name' is not supported"):
        check_spaces("MultiInputPolicy", spaces.Dict({"name": spaces.Text(3)}), spaces.Discrete(2))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Discrete(3, start=1), r"Discrete\(3, start=1\) is not supported, but only one that counts from 0"),
        (spaces.MultiDiscrete([3], start=[2]), "is not supported, but only one that counts from 0"),
        (spaces.MultiDiscrete([[2, 3], [4, 5]]), "has at most one dimension"),
        (spaces.MultiBinary((2, 2)), "Multi-dimensional MultiBinary.* not supported"),
        (spaces.Box(-np.inf, np.inf, (1,), np.float32), "finite lower and upper bound"),
        (spaces.Dict({"a": spaces.Discrete(2)}), "only supports"),
        (spaces.Box(-5, 5, (1,), np.int64), "only supports Box of floats.* int64 cuts off .*TransformAction"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_actions_that_cannot_be_taken_are_an_assertion_error(space: spaces.Space[Any], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        small(agents.A3C, RandomEnv(VECTOR, space))
