"""Linear DPG against a slow transcription of the paper, on recorded streams with endings of both kinds.

Every variant is compared weight by weight, so compatible features of the wrong sign or from the action before
clipping, a target with another action, a lost grad mu, a bootstrap behind a termination or none behind a truncation all
show here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise, VectorizedActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv

from agents.common.features import TileCoding
from agents.dpg import DPG
from agents.dpg.layout import Layout
from agents.dpg.linear_learner import DenseLearner, LinearLearner, SparseLearner, StepSizes
from tests.agents.dpg.toys import HIGH, LOW, N_STATES, BoxProcess, scaled
from tests.agents.dpg.transcription import transcribed
from tests.agents.off_pac.tape import Tape, Transition

SIZES = {"learning_rate": 0.3, "critic_learning_rate": 0.2, "value_learning_rate": 0.15}
ALPHAS = {"alpha_theta": 0.3, "alpha_w": 0.2, "alpha_v": 0.15}
VARIANTS: list[dict[str, Any]] = [
    {"variant": "copdac-q"},
    {"variant": "copdac-q", "natural_gradient": True},
    {"variant": "copdac-gq"},
    {"variant": "copdac-gq", "natural_gradient": True},
    {"variant": "copdac-gq", "full_gq": True},
    {"variant": "opdac"},
    {"variant": "on-policy"},
]
each_variant = pytest.mark.parametrize("arguments", VARIANTS, ids=lambda given: "-".join(map(str, given.values())))


def wide_noise(n: int = 2) -> NormalActionNoise:
    """About a third of the actions leave the box."""
    return NormalActionNoise(np.zeros(n), np.full(n, 0.9), dtype=np.float64)


def by_state(observations: Any) -> np.ndarray:
    """A fixed behavior, in environment units; some of its actions need clipping."""
    turns = np.sin(3.0 * np.asarray(observations, dtype=np.float64).reshape(len(observations), -1).sum(axis=1))
    return LOW + (HIGH - LOW) * np.stack([0.5 + 0.7 * turns, 0.5 - 0.3 * turns], axis=1)


def make(observe: str, n_envs: int = 1, policy: str = "LinearPolicy", **arguments: Any) -> DPG:
    # Actions in float64: the transcription sees them to the last digit.
    env = DummyVecEnv([lambda: BoxProcess(observe, dtype=np.float64) for _ in range(n_envs)])
    if "behavior_policy" not in arguments:
        arguments.setdefault("action_noise", wide_noise())
    return DPG(policy, env, **{"gamma": 0.9, "seed": 3, **SIZES, **arguments})


def weights(model: Any) -> dict[str, np.ndarray]:
    table, layout = model.policy.table(), model.policy.layout
    parts = {"theta": layout.actor, "v": layout.value, "w": layout.critic, "u": layout.secondary}
    return {name: table[:, columns].copy() for name, columns in parts.items()}


def one_hot(observation: Any) -> np.ndarray:
    return np.eye(N_STATES)[int(observation)]


def same(observation: Any) -> np.ndarray:
    return np.asarray(observation)


@each_variant
@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize(("observe", "features", "size"), [("index", one_hot, N_STATES), ("vector", same, 3)])
def test_every_weight_is_that_of_the_paper(
    arguments: dict[str, Any], n_envs: int, observe: str, features: Any, size: int
) -> None:
    given, alphas = dict(arguments), dict(ALPHAS)
    if given["variant"] == "copdac-gq":
        given["secondary_learning_rate"] = alphas["alpha_u"] = 0.1
    if given["variant"] == "on-policy":
        # a' is looked up by the transcription, behind a truncation as well
        given["behavior_policy"] = by_state
    model, tape = make(observe, n_envs, **given), Tape()
    model.learn(300 * n_envs, callback=tape)

    def next_action(transition: Transition, _: Any) -> np.ndarray:
        return np.clip(scaled(by_state(np.array([transition.next_observation]))[0]), -1.0, 1.0)

    expected = transcribed(tape.steps, features, size, next_action=next_action, **alphas, **arguments)
    found = weights(model)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6, atol=1e-8, err_msg=name)
    endings = [transition for entries in tape.steps for transition in entries]
    assert {(t.terminated, t.truncated) for t in endings} == {(False, False), (True, False), (False, True)}
    edges = np.abs([scaled(t.action) for t in endings]) > 1.0 - 1e-9
    # b of the on-policy case has an action for each state, and states as indices are none at an edge
    assert 0.05 < edges.mean() < 0.9 or given["variant"] == "on-policy"


@pytest.mark.parametrize("n_envs", [1, 3])
def test_sarsas_noise_is_added_to_the_mean_at_the_next_state(n_envs: int) -> None:
    # Noise that is always the same tells what it was added to, behind a time limit as well.
    always = np.array([0.3, -0.2])
    noise = NormalActionNoise(always, np.zeros(2), dtype=np.float64)
    tape, model = Tape(), make("vector", n_envs, variant="on-policy", action_noise=noise)
    model.learn(200 * n_envs, callback=tape)

    def next_action(_: Any, mean: np.ndarray) -> np.ndarray:
        return np.clip(mean + always, -1.0, 1.0)

    expected = transcribed(tape.steps, same, 3, "on-policy", next_action=next_action, **ALPHAS)
    found = weights(model)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6, atol=1e-8, err_msg=name)
    endings = {(t.terminated, t.truncated) for entries in tape.steps for t in entries}
    assert endings == {(False, False), (True, False), (False, True)}


@each_variant
@pytest.mark.parametrize("observe", ["index", "vector", "square"])
@pytest.mark.parametrize("noise", ["normal", "ornstein-uhlenbeck", "callable"])
def test_the_unwatched_loop_learns_what_the_watched_one_learns_bit_for_bit(
    arguments: dict[str, Any], observe: str, noise: str
) -> None:
    results = []
    for callback in (None, lambda *_: True):
        given = dict(arguments)
        if noise == "callable":
            given["behavior_policy"] = by_state
        elif noise == "ornstein-uhlenbeck":
            given["action_noise"] = OrnsteinUhlenbeckActionNoise(np.zeros(2), np.full(2, 0.5))
        model = make(observe, **given)
        model.learn(150, callback=callback)
        model.learn(60, callback=callback, reset_num_timesteps=False)
        results.append((model.policy.table().copy(), model._last_obs, model._episode_num, model.chosen_actions))
    if arguments.get("natural_gradient") and observe == "index":
        # Looking at the policy settles what is pending; sums in another order round otherwise.
        np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-9, atol=1e-12)
    else:
        np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])
    assert results[0][2] == results[1][2]
    assert (results[0][3] is None) == (arguments["variant"] != "on-policy")


@each_variant
def test_sparse_and_dense_learners_are_twins(arguments: dict[str, Any]) -> None:
    random = np.random.default_rng(0)
    layout = Layout(2, arguments["variant"], arguments.get("full_gq", False))
    natural = arguments.get("natural_gradient", False)
    start = 0.3 * random.normal(size=(20, layout.n_columns))
    sparse, dense = SparseLearner(start.copy(), layout, natural), DenseLearner(start.copy(), layout, natural)
    sizes = StepSizes(0.03, 0.02, 0.04, 0.01)
    for _ in range(200):
        corrections: list[Any] = [[], []]
        for _ in range(2):
            x, next_x = (random.choice(20, size=4, replace=False) for _ in range(2))
            action, next_action = random.uniform(-1.0, 1.0, size=(2, 2)).tolist()
            reward, discount = random.normal(), float(random.choice([0.0, 0.9]))
            for i, learner in enumerate((sparse, dense)):
                here, there = (rows if i == 0 else np.eye(20)[rows].sum(axis=0) for rows in (x, next_x))
                outputs = learner.predict(here)
                given = (here, outputs, action, reward, discount, there, next_action, sizes)
                corrections[i].append(learner.evaluate(*given))
        for learner, found in zip((sparse, dense), corrections, strict=True):
            if natural:
                learner.advance_actor(2 * sizes.actor)
            for correction in found:
                learner.apply(correction)
    sparse.flush()
    np.testing.assert_allclose(sparse.table, dense.table, rtol=1e-9, atol=1e-10)


# one step by hand: x = (1, 2), x' = (0, 1), theta = (.1, .2), so mu = .5; v = (1, -1), w = (.5, .25); a = .9, r = 2,
# gamma' = .5; step sizes .1 (theta), .2 (w), .3 (v), .4 (u)

X, NEXT_X = np.array([1.0, 2.0]), np.array([0.0, 1.0])
THETA, V, W = [0.1, 0.2], [1.0, -1.0], [0.5, 0.25]


def one_step(layout: Layout, columns: list[list[float]], natural: bool = False) -> np.ndarray:
    learner: LinearLearner = DenseLearner(np.array(columns).T.copy(), layout, natural)
    sizes = StepSizes(0.1, 0.2, 0.3, 0.4)
    outputs = learner.predict(X)
    next_action = [-0.4] if layout.variant == "on-policy" else None
    correction = learner.evaluate(X, outputs, [0.9], 2.0, 0.5, NEXT_X, next_action, sizes)
    if natural:
        learner.advance_actor(0.1)
    learner.apply(correction)
    return learner.table.T


def test_one_step_of_copdac_q_by_hand() -> None:
    # delta = 2 + .5 (-1) - (.4 * 1 + (-1)) = 2.1
    expected = [[0.2, 0.4], [1.63, 0.26], [0.668, 0.586]]
    np.testing.assert_allclose(one_step(Layout(1), [THETA, V, W]), expected)


def test_one_step_of_the_natural_gradient_by_hand() -> None:
    # theta += .1 w, with w from before the step
    expected = [[0.15, 0.225], [1.63, 0.26], [0.668, 0.586]]
    np.testing.assert_allclose(one_step(Layout(1), [THETA, V, W], natural=True), expected)


def test_one_step_of_copdac_gq_by_hand() -> None:
    # phi = .4 x, phi.u = .4; v loses .3 * .5 * .4 x', u gains .4 (2.1 - .4) phi
    expected = [[0.2, 0.4], [1.63, 0.2], [0.668, 0.586], [1.272, 0.544]]
    np.testing.assert_allclose(one_step(Layout(1, "copdac-gq"), [THETA, V, W, [1.0, 0.0]]), expected)


def test_one_step_of_full_gq_by_hand() -> None:
    # f.u = .4 + 1.5 = 1.9; v loses .3 * .5 * 1.9 x', u gains .4 (2.1 - 1.9) f
    expected = [[0.2, 0.4], [1.63, -0.025], [0.668, 0.586], [1.032, 0.064], [-0.42, 1.16]]
    columns = [THETA, V, W, [1.0, 0.0], [-0.5, 1.0]]
    np.testing.assert_allclose(one_step(Layout(1, "copdac-gq", True), columns), expected)


def test_one_step_of_opdac_by_hand() -> None:
    # Q(s,a) = -1 + .9 - .5 * .81 = -.505; mu(s') = .2, Q(s', mu(s')) = -1 + .25 * .2 - .3 * .04 = -.962
    # delta = 2 - .481 + .505 = 2.024; grad_a Q at mu(s) = 1 + 2 (-.5) .5 = .5
    expected = [[0.15, 0.3], [1.6072, 0.2144], [0.86432, 0.97864], [0.427888, 0.355776]]
    np.testing.assert_allclose(one_step(Layout(1, "opdac"), [THETA, V, W, [0.1, -0.3]]), expected)


def test_one_step_of_the_on_policy_variant_by_hand() -> None:
    # a' = -.4: Q(s', a') = -1 - .1 - .3 * .16 = -1.148, delta = 2 - .574 + .505 = 1.931
    expected = [[0.15, 0.3], [1.5793, 0.1586], [0.84758, 0.94516], [0.412822, 0.325644]]
    np.testing.assert_allclose(one_step(Layout(1, "on-policy"), [THETA, V, W, [0.1, -0.3]]), expected)


# step sizes


def test_tile_coding_divides_the_step_sizes_by_the_active_features() -> None:
    kwargs = {"n_tilings": 4, "n_tiles": 3}
    model, tape = make("square", policy="TileCodingPolicy", policy_kwargs=kwargs), Tape()
    model.learn(200, callback=tape)
    tiles = TileCoding(model.observation_space, **kwargs)
    alphas = {name: alpha / 5 for name, alpha in ALPHAS.items()}

    def features(observation: Any) -> np.ndarray:
        return tiles.dense([observation])[0]

    expected = transcribed(tape.steps, features, tiles.n_features, "copdac-q", **alphas)
    for name, value in expected.items():
        np.testing.assert_allclose(weights(model)[name], value, rtol=1e-7, atol=1e-9, err_msg=name)


@pytest.mark.parametrize(
    ("name", "part"), [("learning_rate", "theta"), ("critic_learning_rate", "w"), ("value_learning_rate", "v")]
)
@pytest.mark.parametrize("natural", [False, True])
def test_a_step_size_of_zero_freezes_its_part_bit_for_bit(name: str, part: str, natural: bool) -> None:
    model = make("index", natural_gradient=natural, **{name: 0.0})
    model.policy.table()[...] = np.random.default_rng(1).normal(size=model.policy.table().shape)
    before = weights(model)
    model.learn(100)
    after = weights(model)
    for key in ("theta", "v", "w"):
        assert np.array_equal(before[key], after[key]) == (key == part)


def test_schedules_move_with_progress() -> None:
    seen = []

    def schedule(progress: float) -> float:
        seen.append(progress)
        return 0.1 * progress

    for callback in (None, lambda *_: True):
        seen.clear()
        make("index", critic_learning_rate=schedule).learn(100, callback=callback)
        assert seen[0] == 1.0
        assert min(seen) <= 0.02
        assert len(set(seen)) >= 99


# the box


def test_beyond_the_box_a_mean_is_pushed_back_and_never_further_out() -> None:
    layout, sizes = Layout(1), StepSizes(0.1, 0.0, 0.0, 0.0)
    for mean, slope, moves in [(1.5, 1.0, False), (1.5, -1.0, True), (-1.5, -1.0, False), (-1.5, 1.0, True)]:
        learner = SparseLearner(np.array([[mean, 0.0, slope]]), layout, False)
        x = np.array([0])
        learner.apply(learner.evaluate(x, learner.predict(x), [0.2], 0.0, 0.0, x, None, sizes))
        assert (learner.table[0, 0] != mean) == moves
        assert abs(learner.table[0, 0]) <= abs(mean)


def test_predict_stays_in_the_box_where_a_mean_has_left_it() -> None:
    # The first state's means are 1.5 and -3, the second's 0.5 and -0.25: -1 + 4 * 0.75 and 0 + 0.5 * 0.375.
    model = make("index")
    policy: Any = model.policy
    policy.table()[:2, policy.layout.actor] = [[1.5, -3.0], [0.5, -0.25]]
    actions, _ = model.predict(np.array([0, 1]))
    np.testing.assert_allclose(actions, [[HIGH[0], LOW[1]], [2.0, 0.1875]])
    means = policy(policy.obs_to_tensor(np.array([0, 1]))[0])
    np.testing.assert_allclose(means.detach(), [[1.0, -1.0], [0.5, -0.25]])


@pytest.mark.parametrize("n_envs", [1, 3])
def test_noise_acts_in_units_of_half_the_range_and_is_clipped_at_the_edges(n_envs: int) -> None:
    model = make("index", n_envs, learning_rate=0.0, action_noise=wide_noise())
    assert model.env is not None
    model.learn(6000)
    received = np.concatenate([np.array(env.unwrapped.received) for env in model.env.envs])  # type: ignore[attr-defined]
    inside = np.clip(0.9 * np.random.default_rng(0).standard_normal(200_000), -1.0, 1.0)
    np.testing.assert_allclose(scaled(received).std(axis=0), inside.std(), rtol=0.03)
    for entry in range(2):
        assert received[:, entry].min() == LOW[entry]
        assert received[:, entry].max() == HIGH[entry]
        at_edge = np.isin(received[:, entry], [LOW[entry], HIGH[entry]]).mean()
        assert at_edge == pytest.approx(0.2665, abs=0.02)  # 2 (1 - Phi(1 / .9))


@pytest.mark.parametrize("watched", [False, True])
def test_rounding_does_not_carry_an_action_out_of_the_box(watched: bool) -> None:
    # -0.1 + 0.2 (1 + 1) is 0.30000000000000004; the process asserts that its actions are in the box.
    process = BoxProcess("index")
    process.action_space = spaces.Box(np.full(2, -0.1), np.full(2, 0.3), dtype=np.float64)
    model = DPG("LinearPolicy", DummyVecEnv([lambda: process]), learning_rate=0.0, action_noise=wide_noise(), seed=0)
    model.learn(60, callback=(lambda *_: True) if watched else None)
    np.testing.assert_array_equal(np.array(process.received).max(axis=0), 0.3)


def test_noise_that_a_callback_shrinks_is_smaller_from_the_next_step_on() -> None:
    noise = wide_noise()
    model = make("index", learning_rate=0.0, action_noise=noise)
    scaled_actions = []

    def shrink(local_variables: dict[str, Any], _: Any) -> bool:
        scaled_actions.append(local_variables["buffer_actions"].copy())
        noise._sigma = np.zeros(2)
        return True

    model.learn(5, callback=shrink)
    assert (scaled_actions[0] != 0.0).all()
    np.testing.assert_array_equal(np.concatenate(scaled_actions[1:]), 0.0)


@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("policy", ["LinearPolicy", "MlpPolicy"])
def test_noise_that_a_callback_replaces_acts_from_the_next_step_on(policy: str, n_envs: int) -> None:
    env = DummyVecEnv([lambda: BoxProcess("vector", cap=1, dtype=np.float64) for _ in range(n_envs)])
    model = DPG(policy, env, learning_rate=0.0, action_noise=NormalActionNoise(np.zeros(2), np.ones(2)), seed=0)
    seen = []

    def replace(local_variables: dict[str, Any], _: Any) -> bool:
        seen.append(local_variables["buffer_actions"].copy())
        # Every step ends an episode, so that the new noise is also begun anew at once.
        model.action_noise = NormalActionNoise(np.full(2, 0.25), np.zeros(2))
        return True

    model.learn(4 * n_envs, callback=replace)
    with_noise = np.array(seen) - np.array(seen[1:]).mean(axis=0)
    assert (np.abs(with_noise[0]) > 1e-3).all()
    if policy == "LinearPolicy":
        np.testing.assert_array_equal(np.array(seen[1:]), 0.25)
    assert isinstance(model.action_noise, VectorizedActionNoise) == (n_envs > 1)


def test_a_behavior_policy_that_a_callback_replaces_acts_from_the_next_step_on() -> None:
    model = make("vector", behavior_policy=by_state)

    def replace(*_: Any) -> bool:
        model.behavior_policy = lambda observations: np.tile(HIGH, (len(observations), 1))
        return True

    model.learn(5, callback=replace)
    assert model.env is not None
    received = np.array(model.env.envs[0].unwrapped.received)  # type: ignore[attr-defined]
    assert not np.array_equal(received[0], HIGH)
    np.testing.assert_array_equal(received[1:], np.tile(HIGH, (4, 1)))


def test_replacing_by_what_does_not_go_together_is_refused_in_the_middle_of_a_run() -> None:
    model = make("vector", behavior_policy=by_state)

    def replace(*_: Any) -> bool:
        model.action_noise = wide_noise()
        return True

    with pytest.raises(ValueError, match="leave one of them out"):
        model.learn(5, callback=replace)


def test_noise_of_sb3_is_drawn_from_its_own_stream() -> None:
    noise = NormalActionNoise(np.array([0.1, -0.1]), np.array([0.2, 0.3]))
    model = make("index", action_noise=noise, learning_rate=0.0)
    np.random.seed(5)  # noqa: NPY002
    drawn = [noise() for _ in range(20)]
    np.random.seed(5)  # noqa: NPY002
    model.learn(20)
    assert model.env is not None
    received = model.env.envs[0].unwrapped.received  # type: ignore[attr-defined]
    np.testing.assert_allclose(scaled(received), np.clip(drawn, -1.0, 1.0), atol=1e-12)
