"""Attributes that are changed between two calls of ``learn``, and what ``load`` puts in the place of stored ones."""

import math

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.utils import LinearSchedule

import agents
from tests.agents.toys import RandomEnv

POLICIES = ["LinearPolicy", "MlpPolicy"]
WRONG = [("gamma", 7.0), ("trace_decay", 3.0), ("critic", "x"), ("learning_rate", math.nan)]


def model_of(policy, **arguments):
    deep = {} if policy == "LinearPolicy" else {"learning_starts": 10, "policy_kwargs": {"net_arch": [8]}}
    return agents.OffPAC(policy, "CartPole-v1", seed=0, **{**deep, **arguments})


def weights(model):
    return np.concatenate([value.detach().numpy().ravel() for value in model.policy.parameters()])


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("name", "value"), WRONG)
def test_an_attribute_out_of_range_is_refused_where_learning_begins(policy, name, value):
    model = model_of(policy)
    model.learn(40)
    setattr(model, name, value)
    with pytest.raises(ValueError, match=f"^{name}="):
        model.learn(40)
    assert model.num_timesteps == 40


def test_an_attribute_out_of_range_is_refused_where_learning_from_data_begins():
    model = model_of("LinearPolicy")
    model.gamma = 7.0
    with pytest.raises(ValueError, match=r"^gamma=7"):
        model.learn_from({})


def test_a_critic_that_the_network_was_not_made_for_is_refused():
    model = model_of("MlpPolicy")
    model.critic = "vtrace"
    with pytest.raises(ValueError, match="made for critic='retrace'"):
        model.learn(40)


@pytest.mark.parametrize("policy", POLICIES)
def test_an_argument_of_load_is_checked_as_one_of_the_constructor(policy, tmp_path):
    model_of(policy).save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"^gamma=5"):
        agents.OffPAC.load(tmp_path / "model", gamma=5.0)


@pytest.mark.parametrize("policy", POLICIES)
def test_step_sizes_that_are_changed_between_two_calls_are_followed(policy):
    model = model_of(policy)
    model.learn(60)
    before = weights(model).copy()
    model.learning_rate = model.critic_learning_rate = 0.0
    if policy == "LinearPolicy":
        model.secondary_learning_rate = 0.0
    model.learn(60)
    np.testing.assert_array_equal(weights(model), before)
    model.critic_learning_rate = LinearSchedule(0.2, 0.1, 1.0)
    model.learn(60)
    assert model.learning_rates()[:2] == pytest.approx((0.0, 0.1))
    assert not np.array_equal(weights(model), before)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_schedule_that_gives_no_step_size_is_named(policy):
    model = model_of(policy, critic_learning_rate=lambda left: math.nan if left < 0.5 else 0.1)
    with pytest.raises(ValueError, match=r"^critic_learning_rate is a schedule that gives nan"):
        model.learn(100)


@pytest.mark.parametrize("policy", POLICIES)
def test_boxes_of_integers_are_refused(policy):
    env = RandomEnv(spaces.Box(-1.0, 1.0, (2,), np.float32), spaces.Box(0, 5, (2,), np.int64))
    with pytest.raises(AssertionError, match="Box of floats"):
        agents.OffPAC(policy, env)
