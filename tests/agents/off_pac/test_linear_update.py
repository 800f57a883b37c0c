"""The linear agent against a slow transcription of the papers, on recorded streams with endings of both kinds.

Every variant is compared weight by weight, so a dropped or inverted ratio, x in the place of x', a bootstrap behind a
termination, none behind a truncation, traces that survive an episode or an actor without its ratio all show here.
"""

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3.common.vec_env import DummyVecEnv

from agents.common.features import TileCoding
from agents.off_pac import OffPAC
from tests.agents.off_pac.tape import Tape, transcribed
from tests.agents.off_pac.toys import N_ACTIONS, N_STATES, SmallProcess

B = np.array([0.6, 0.3, 0.1])
SIZES = {"learning_rate": 0.3, "critic_learning_rate": 0.2, "secondary_learning_rate": 0.05}
ALPHAS = {"alpha_u": 0.3, "alpha_v": 0.2, "alpha_w": 0.05}


def fixed(observations):
    return np.tile(B, (len(observations), 1))


class BoxProcess(gym.ActionWrapper):
    """Two real numbers, of which the larger one's index is the discrete action, or the third when both are negative."""

    def __init__(self):
        super().__init__(SmallProcess("vector"))
        self.action_space = gym.spaces.Box(-1.0, 3.0, (2,), np.float32)

    def action(self, action):
        return 2 if max(action) < 0 else int(np.argmax(action))


def normal_by_observation(observations):
    return th.distributions.Normal(th.from_numpy(observations[:, :2]), 0.7)


def weights(model):
    table = model.policy.table()
    return table[:, :-2], table[:, -2], table[:, -1]


def learned(observe, n_envs=1, steps=300, policy="LinearPolicy", **arguments):
    env = DummyVecEnv([lambda: SmallProcess(observe) for _ in range(n_envs)])
    arguments = {"behavior_policy": fixed, "gamma": 0.9, "seed": 3, **SIZES, **arguments}
    model = OffPAC(policy, env, **arguments)
    tape = Tape()
    model.learn(steps * n_envs, callback=tape)
    return model, tape.steps


def one_hot(observation):
    return np.eye(N_STATES)[int(observation)]


def assert_same(model, expected, rtol=1e-9):
    for ours, theirs in zip(weights(model), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=1e-12)


@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("emphasis", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("trace_decay", [0.0, 0.7, 1.0])
def test_gradient_td_with_one_hot_features(trace_decay, emphasis, n_envs):
    gamma = 0.9 if not emphasis else 0.6
    model, tape = learned("index", n_envs, trace_decay=trace_decay, emphasis=emphasis, gamma=gamma)
    assert any(t.terminated for step in tape for t in step)
    assert any(t.truncated for step in tape for t in step)
    expected = transcribed(
        tape,
        one_hot,
        N_STATES,
        N_ACTIONS,
        lambda s, pi: B,
        gamma=gamma,
        trace_decay=trace_decay,
        emphasis=emphasis,
        **ALPHAS,
    )
    assert_same(model, expected)


@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("trace_decay", [0.0, 0.7])
def test_gradient_td_with_dense_features(trace_decay, n_envs):
    model, tape = learned("vector", n_envs, trace_decay=trace_decay)
    expected = transcribed(
        tape, np.asarray, 3, N_ACTIONS, lambda s, pi: B, gamma=0.9, trace_decay=trace_decay, **ALPHAS
    )
    assert_same(model, expected)


@pytest.mark.parametrize("observe", ["index", "vector"])
@pytest.mark.parametrize("n_envs", [1, 2])
@pytest.mark.parametrize("trace_decay", [0.0, 0.7])
def test_regularized_corrections(trace_decay, n_envs, observe):
    model, tape = learned(observe, n_envs, trace_decay=trace_decay, critic="tdrc", secondary_learning_rate=None)
    features, size = (one_hot, N_STATES) if observe == "index" else (np.asarray, 3)
    expected = transcribed(
        tape,
        features,
        size,
        N_ACTIONS,
        lambda s, pi: B,
        gamma=0.9,
        trace_decay=trace_decay,
        beta=1.0,
        alpha_u=0.3,
        alpha_v=0.2,
        alpha_w=0.2,
    )
    assert_same(model, expected)


def test_regularization_stays_right_over_many_steps_and_with_large_step_sizes():
    # The sparse learner shrinks w through a common factor, which has to be multiplied in before it underflows.
    for rate, steps in ((0.2, 1500), (0.9, 60)):
        model, tape = learned(
            "index", steps=steps, critic="tdrc", critic_learning_rate=rate, secondary_learning_rate=None
        )
        expected = transcribed(
            tape,
            one_hot,
            N_STATES,
            N_ACTIONS,
            lambda s, pi: B,
            gamma=0.9,
            trace_decay=0.0,
            beta=1.0,
            alpha_u=0.3,
            alpha_v=rate,
            alpha_w=rate,
        )
        assert_same(model, expected)


@pytest.mark.parametrize("trace_decay", [0.0, 0.9])
def test_tile_coding_divides_the_step_sizes_by_the_active_features(trace_decay):
    model, tape = learned(
        "square", 2, policy="TileCodingPolicy", trace_decay=trace_decay, policy_kwargs={"n_tilings": 4, "n_tiles": 5}
    )
    tiling = TileCoding(SmallProcess("square").observation_space, n_tilings=4, n_tiles=5)
    alphas = {name: size / 5 for name, size in ALPHAS.items()}
    expected = transcribed(
        tape,
        lambda s: tiling.dense(s[None])[0],
        101,
        N_ACTIONS,
        lambda s, pi: B,
        gamma=0.9,
        trace_decay=trace_decay,
        **alphas,
    )
    assert_same(model, expected)


def test_linear_policy_takes_features_as_given():
    model, _ = learned("square", policy_kwargs={"features": "tile-coding", "features_kwargs": {"n_tilings": 4}})
    assert model.policy.step_size_divisor == 1
    assert model.policy.feature_map.n_active == 5


def mixture(share):
    return lambda s, pi: share / N_ACTIONS + (1.0 - share) * pi


@pytest.mark.parametrize(("behavior", "share"), [("uniform", 1.0), ("target", 0.0), (0.25, 0.25), (1, 1.0)])
def test_mixtures_of_uniform_and_target(behavior, share):
    model, tape = learned("index", 2, behavior_policy=behavior, trace_decay=0.7)
    expected = transcribed(tape, one_hot, N_STATES, N_ACTIONS, mixture(share), gamma=0.9, trace_decay=0.7, **ALPHAS)
    assert_same(model, expected)


def test_on_policy_without_correction_is_one_step_actor_critic():
    # b = pi, lambda = 0, alpha_w = 0: delta alone drives both, no gamma^t.
    model, tape = learned("index", behavior_policy="target", secondary_learning_rate=0.0)
    u, v = np.zeros((N_STATES, N_ACTIONS)), np.zeros(N_STATES)
    for (t,) in tape:
        s, pi = int(t.observation), np.exp(u[int(t.observation)])
        pi /= pi.sum()
        delta = t.reward + (0.0 if t.terminated else 0.9 * v[int(t.next_observation)]) - v[s]
        v[s] += 0.2 * delta
        u[s] += 0.3 * delta * (np.eye(N_ACTIONS)[t.action] - pi)
    assert_same(model, (u, v, np.zeros(N_STATES)))


def test_ratios_are_exactly_one_on_policy():
    model, _ = learned("index", behavior_policy="target", steps=50)
    model.ratio_statistics.clear()
    model.learn(1000, log_interval=None)
    assert (model.ratio_statistics.mean, model.ratio_statistics.effective_sample_size) == (1.0, 1.0)


@pytest.mark.parametrize("trace_decay", [0.0, 0.8])
@pytest.mark.parametrize("critic", ["gtd", "tdrc"])
@pytest.mark.parametrize("behavior", ["uniform", "target", 0.5])
@pytest.mark.parametrize("observe", ["index", "vector"])
def test_the_unwatched_loop_learns_what_the_watched_one_learns_bit_for_bit(observe, behavior, critic, trace_decay):
    # But where binary features have TDRC's shrinking brought into the table for whoever looks at it.
    rtol = 1e-9 if (observe, critic) == ("index", "tdrc") else 0.0
    assert_both_loops_agree(
        lambda: SmallProcess(observe), rtol, behavior_policy=behavior, critic=critic, trace_decay=trace_decay
    )


@pytest.mark.parametrize("trace_decay", [0.0, 0.8])
@pytest.mark.parametrize("behavior", ["uniform", "target", 0.5, normal_by_observation])
def test_so_it_is_with_box_actions(behavior, trace_decay):
    assert_both_loops_agree(BoxProcess, behavior_policy=behavior, trace_decay=trace_decay)


def assert_both_loops_agree(make_env, rtol=0.0, **arguments):
    models = []
    for callback in (None, lambda *_: True):
        model = OffPAC(
            "LinearPolicy",
            make_env(),
            emphasis=0.3,
            gamma=0.8,
            seed=11,
            learning_rate=lambda progress: 0.1 * progress,
            **arguments,
        )
        model.learn(211, callback=callback)
        model.learn(40, callback=callback, reset_num_timesteps=False)
        models.append(model)
    fast, slow = models
    np.testing.assert_allclose(fast.policy.table(), slow.policy.table(), rtol=rtol, atol=rtol)
    np.testing.assert_array_equal(fast._last_obs, slow._last_obs)
    np.testing.assert_array_equal(fast._last_episode_starts, slow._last_episode_starts)
    np.testing.assert_allclose(fast.eligibility_traces, slow.eligibility_traces, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(fast.followon_traces, slow.followon_traces, rtol=rtol)
    assert fast.num_timesteps == slow.num_timesteps == 251
    assert fast._episode_num == slow._episode_num > 10
    assert [e["r"] for e in fast.ep_info_buffer] == [e["r"] for e in slow.ep_info_buffer]
    assert fast._n_updates == slow._n_updates
    assert fast._current_progress_remaining == slow._current_progress_remaining
    np.testing.assert_array_equal(fast.env.buf_obs[None], slow.env.buf_obs[None])


@pytest.mark.parametrize("observe", ["index", "vector"])
@pytest.mark.parametrize("frozen", ["learning_rate", "critic_learning_rate", "secondary_learning_rate"])
def test_a_step_size_of_zero_freezes_its_part_bit_for_bit(frozen, observe):
    model, _ = learned(observe, 2, trace_decay=0.5, steps=100)
    before = [part.copy() for part in weights(model)]
    setattr(model, frozen, 0.0)
    for name, schedule in (
        ("learning_rate", "lr"),
        ("critic_learning_rate", "critic_lr"),
        ("secondary_learning_rate", "secondary_lr"),
    ):
        if name == frozen:
            setattr(model, f"{schedule}_schedule", lambda _: 0.0)
    model.learn(200)
    index = ["learning_rate", "critic_learning_rate", "secondary_learning_rate"].index(frozen)
    for i, (old, new) in enumerate(zip(before, weights(model), strict=True)):
        assert np.array_equal(old, new) == (i == index)


def test_schedules_move_with_progress():
    seen = []

    def schedule(progress):
        seen.append(progress)
        return 0.1 * progress

    model = OffPAC("LinearPolicy", SmallProcess(), learning_rate=schedule, seed=0)
    seen.clear()
    model.learn(100)
    assert seen[0] == 1.0
    assert min(seen) == pytest.approx(0.01)
    assert len(set(seen)) == 100


@pytest.mark.parametrize("observe", ["index", "vector"])
def test_a_call_that_begins_an_episode_begins_with_fresh_traces(observe):
    def learned_twice(clear, **again):
        model = OffPAC("LinearPolicy", SmallProcess(observe), trace_decay=0.9, emphasis=0.5, seed=0)
        model.learn(2)
        # in the middle of an episode: an end would have cleared them
        assert model.eligibility_traces.any()
        assert model.followon_traces.all()
        if clear:
            model.clear_traces()
        return model.learn(3, **again).policy.table().copy()

    np.testing.assert_array_equal(learned_twice(clear=False), learned_twice(clear=True))
    goes_on = {"reset_num_timesteps": False}
    assert not np.array_equal(learned_twice(clear=False, **goes_on), learned_twice(clear=True, **goes_on))


def test_traces_of_old_features_are_dropped_only_below_rounding():
    # A long episode over many tiles: the compact trace has to prune, and must not be seen to.
    from agents.off_pac.dense_learner import DenseLearner
    from agents.off_pac.learner import LearnerSettings, StepSizes
    from agents.off_pac.sparse_learner import SparseLearner

    settings = LearnerSettings(gamma=0.9, trace_decay=0.9, emphasis=0.0, regularization=0.0)
    random = np.random.default_rng(0)
    n_features, n_active, n_outputs = 3000, 4, 2
    dense = DenseLearner(np.zeros((n_features, n_outputs + 2)), 1, settings)
    sparse = SparseLearner(np.zeros((n_features, n_outputs + 2)), 1, settings, n_active)
    sizes = StepSizes(0.01, 0.01, 0.001)
    x = random.choice(n_features, n_active, replace=False)
    largest_support = 0
    for step in range(1500):
        next_x = random.choice(n_features, n_active, replace=False)
        score, rho, reward = random.normal(size=n_outputs).tolist(), random.uniform(0.0, 2.0), random.normal()
        rho = 0.0 if step == 700 else rho
        vectors = [np.bincount(i, minlength=n_features).astype(float) for i in (x, next_x)]
        dense.apply(
            dense.evaluate(0, vectors[0], dense.predict(vectors[0]), score, rho, reward, 0.9, vectors[1]), sizes
        )
        sparse.apply(sparse.evaluate(0, x, sparse.predict(x), score, rho, reward, 0.9, next_x), sizes)
        largest_support = max(largest_support, len(sparse._compact[0].support))
        x = next_x
    np.testing.assert_allclose(sparse.table, dense.table, rtol=1e-8, atol=1e-11)
    np.testing.assert_allclose(sparse.export_traces(), dense.export_traces(), rtol=1e-8, atol=1e-11)
    assert largest_support < n_features


@pytest.mark.parametrize("critic", ["gtd", "tdrc"])
@pytest.mark.parametrize("trace_decay", [0.0, 0.7])
def test_a_step_never_handles_anything_of_the_tables_size(critic, trace_decay):
    # take() on a column of the table copied all of it at every step; on large tables that was all the time spent.
    import tracemalloc

    kwargs = {"n_tilings": 4, "n_tiles": 400}
    model = OffPAC(
        "TileCodingPolicy", SmallProcess("square"), critic=critic, trace_decay=trace_decay, policy_kwargs=kwargs, seed=0
    )
    temporary = []

    def watch(*_):
        current, peak = tracemalloc.get_traced_memory()
        temporary.append(peak - current)
        tracemalloc.reset_peak()
        return True

    tracemalloc.start()
    try:
        # With log entries: the norm of a trace is known without all the features that it does not hold.
        model.learn(30, callback=watch, log_interval=1)
    finally:
        tracemalloc.stop()
    column = model.policy.feature_map.n_features * 8
    assert column > 5_000_000
    # The first step comes after the reset and the traces' set-up.
    assert max(temporary[1:]) < 200_000
