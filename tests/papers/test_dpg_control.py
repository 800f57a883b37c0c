"""Silver et al. (2014), section 5.2: all begin alike and are measured by their mean; a stopped command goes on."""

import math

import numpy as np
import pytest
import torch as th

from benchmarks import dpg
from benchmarks.dpg_control import METHODS, CenteredNormal, Settings, Task, learning_curve, make_method

PENDULUM = Task("actorzoo/ContinuousPendulum-v0", gamma=0.99, n_steps=200, n_checkpoints=2, n_episodes=1)
SETTINGS = Settings(0.01, 0.1, 0.1)
OBSERVATIONS = np.array([[0.3, 1.0], [-2.0, -5.0], [3.0, 0.0]], dtype=np.float32)


def test_the_light_normal_is_torchs():
    center, std = np.array([[0.5, -1.0]]), np.array([2.0, 0.3])
    ours = CenteredNormal(center, std, np.random.default_rng(0))
    theirs = th.distributions.Normal(th.from_numpy(center), th.from_numpy(std))
    sample = ours.sample()
    np.testing.assert_allclose(ours.log_prob(sample), theirs.log_prob(sample), rtol=1e-12)
    draws = np.concatenate([ours.sample().numpy() for _ in range(4000)])
    np.testing.assert_allclose(draws.mean(axis=0), center[0], atol=0.15)
    np.testing.assert_allclose(draws.std(axis=0), std, rtol=0.05)


@pytest.mark.parametrize("method", ["off-pac", "sac"])
def test_stochastic_policies_begin_at_half_the_legal_range(method):
    model = make_method(method, PENDULUM, SETTINGS, seed=0).model
    distribution = model.policy.get_distribution(th.from_numpy(OBSERVATIONS)).distribution
    # torques reach from -2 to 2; in units of that reach the variance is 1, half of [-1, 1]
    np.testing.assert_allclose(distribution.stddev.detach(), 2.0, rtol=1e-5)
    np.testing.assert_allclose(distribution.mean.detach(), 0.0, atol=1e-7)


@pytest.mark.parametrize("method", ["copdac-q", "off-pac"])
def test_behavior_has_that_width_around_the_mean_of_now(method):
    learner = make_method(method, PENDULUM, Settings(0.0, 0.1, 0.1), seed=0)
    table = learner.model.policy.table()
    table[-1, 0] = 0.25  # the bias: a mean torque of half a unit everywhere
    received = []
    env = learner.model.get_env().envs[0].unwrapped
    turn = env.turn
    env.turn = lambda torque: (received.append(torque), turn(torque))[1]
    learner.model.learn(3000, log_interval=None)
    inside = [torque for torque in received if abs(torque) < 2]
    assert len(received) == 3000
    # N(.5, 2^2) lies below -2 with probability .106 and above 2 with .227.
    assert np.mean(np.array(received) <= -2) == pytest.approx(0.106, abs=0.025)
    assert np.mean(np.array(received) >= 2) == pytest.approx(0.227, abs=0.035)
    assert len(inside) > 1500


@pytest.mark.parametrize("method", METHODS)
def test_what_is_evaluated_is_what_the_model_predicts(method):
    learner = make_method(method, PENDULUM, SETTINGS, seed=0)
    learner.model.learn(300, log_interval=None)
    for observation in OBSERVATIONS:
        predicted, _ = learner.model.predict(observation, deterministic=True)
        np.testing.assert_allclose(np.clip(learner.mean(observation), -2, 2), predicted, rtol=1e-5, atol=1e-6)


def test_a_curve_has_its_checkpoints_and_is_sampled_at_the_end_only():
    points = learning_curve("sac", PENDULUM, SETTINGS, seed=1)
    assert [point.step for point in points] == [100, 200]
    assert [math.isnan(point.sampled) for point in points] == [True, False]
    assert all(abs(point.mean) <= 5000 for point in points)
    assert [point.mean for point in points] == [p.mean for p in learning_curve("sac", PENDULUM, SETTINGS, seed=1)]


def test_a_run_that_diverges_has_no_returns_and_the_sweep_ranks_it_last():
    points = learning_curve("copdac-q", PENDULUM, Settings(0.1, 1e3, 1e3), seed=0)
    assert [math.isnan(point.mean) for point in points] == [True, True]
    assert dpg.sweep_score(points) == -math.inf


def test_runs_in_the_file_are_not_repeated(tmp_path, monkeypatch):
    output = tmp_path / "runs.csv"
    runs = [dpg.Run("pendulum", method, SETTINGS, 0, 100, 1, 1, 200) for method in ("copdac-q", "sac")]
    first = dpg.complete(runs[:1], output, jobs=1)
    both = dpg.complete(runs, output, jobs=1)
    assert both[runs[0]] == first[runs[0]]
    monkeypatch.setattr(dpg, "execute", None)
    assert dpg.complete(runs, output, jobs=1) == both


def test_every_case_has_settings_from_its_grid():
    assert set(dpg.SETTINGS) == {(task, method) for task in dpg.TASKS for method in METHODS}
    for case, settings in dpg.SETTINGS.items():
        assert settings in dpg.grid(*case)
