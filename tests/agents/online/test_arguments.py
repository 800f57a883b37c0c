"""Arguments of OffPAC and DPG, given wrongly, end in one error: what was given, what is allowed, what to do."""

import re

import numpy as np
import pytest

import agents

NAN, INFINITY = float("nan"), float("inf")
ENVS = {agents.OffPAC: "CartPole-v1", agents.DPG: "Pendulum-v1"}
BOTH = pytest.mark.parametrize("cls", ENVS, ids=lambda cls: cls.__name__)

STEP_SIZE = "a finite number of at least 0; 0.0 freezes its part"
SHARED = {
    "learning_rate": (["fast", -1.0, NAN, INFINITY, [1e-3]], STEP_SIZE),
    "critic_learning_rate": (["fast", -1.0, NAN], STEP_SIZE),
    "gamma": ([1.1, -0.1, "0.9", None, NAN], "a number in [0, 1]; for 99 % write 0.99"),
    "stats_window_size": ([0, 2.5, "100", None], "a whole number of at least 1"),
    "verbose": (["x", -1, None], "a whole number of at least 0"),
    "seed": ([-1, 2.5, "a", 2**32], "a whole number from 0 to 4294967295"),
}
OFF_PAC = {
    "trace_decay": ([1.1, "0.9", None, NAN], "a number in [0, 1]"),
    "emphasis": ([1.1, "0.9", None, NAN], "a number in [0, 1]"),
    "n_steps": ([0, -1, 2.5, "5"], "a whole number of at least 1"),
    "rho_bar": ([0, -1.0, "1", None, NAN], "a positive number; 1 is usual"),
    "buffer_size": ([0, -1, 2.5, None], "a whole number of at least 1"),
    "batch_size": ([0, -1, "32"], "a whole number of at least 1"),
    "learning_starts": ([-1, 2.5, None], "a whole number of at least 0"),
    "target_update_interval": ([-1, 2.5], "a whole number of at least 0"),
    "gradient_steps": ([-2, 2.5], "a whole number of at least -1"),
    "tau": ([3, -0.1, "1", None, NAN], "a number in [0, 1]"),
    "ent_coef": (["auto", None, NAN, INFINITY], "a finite number"),
    "max_grad_norm": ([0, -1, "10", None, NAN], 'a positive number; float("inf") does not clip'),
}
DPG = {
    "value_learning_rate": (["fast", -1.0, NAN], STEP_SIZE),
    "natural_gradient": (["yes", 1, None], "True or False"),
    "full_gq": (["yes", 1, None], "True or False"),
}
CASES = [
    pytest.param(cls, name, value, allowed, id=f"{cls.__name__}-{name}-{value!r}")
    for cls, table in ((agents.OffPAC, SHARED | OFF_PAC), (agents.DPG, SHARED | DPG))
    for name, (values, allowed) in table.items()
    for value in values
]
SMALL = {"policy_kwargs": {"net_arch": [8]}}


@pytest.mark.parametrize(("cls", "name", "value", "allowed"), CASES)
def test_what_is_out_of_range_is_refused_at_once(cls, name, value, allowed):
    with pytest.raises(ValueError, match=f"^{re.escape(f'{name}={value!r}, but it must be {allowed}')}"):
        cls("MlpPolicy", ENVS[cls], **SMALL, **{name: value})


@BOTH
def test_an_unknown_policy_is_answered_with_those_that_are_known(cls):
    with pytest.raises(ValueError, match=r"^Policy 'Linearpolicy' unknown; it must be one of .*'LinearPolicy'"):
        cls("Linearpolicy", ENVS[cls])


@BOTH
@pytest.mark.parametrize("policy", [None, 42])
def test_what_is_no_policy_at_all_is_refused(cls, policy):
    with pytest.raises(TypeError, match=f"^policy={policy}, but it must be one of"):
        cls(policy, ENVS[cls])


@BOTH
def test_a_model_without_environment_is_refused(cls):
    with pytest.raises(ValueError, match=r"^env=None, but the networks are built for an environment's spaces"):
        cls("LinearPolicy", None)


@BOTH
@pytest.mark.parametrize("policy", ["LinearPolicy", "MlpPolicy"])
@pytest.mark.parametrize("steps", ["x", None, NAN])
def test_a_number_of_steps_that_is_none_is_refused(cls, policy, steps):
    model = cls(policy, ENVS[cls], seed=0)
    with pytest.raises(ValueError, match=f"^total_timesteps={steps!r}, but it must be a finite number"):
        model.learn(steps)
    assert model.learn(8).num_timesteps == 8


@pytest.mark.parametrize("cls", [*ENVS, agents.A3C], ids=lambda cls: cls.__name__)
def test_verbosity_may_be_true_or_false_as_in_sb3(cls):
    for verbose in (True, False):
        model = cls("MlpPolicy", ENVS.get(cls, "CartPole-v1"), **SMALL, verbose=verbose, seed=0)
        assert model.learn(8).num_timesteps == 8


def test_what_sb3_takes_is_taken():
    numbers = {"learning_starts": 0, "target_update_interval": 0, "gradient_steps": -1, "batch_size": np.int64(4)}
    model = agents.OffPAC("MlpPolicy", "CartPole-v1", **SMALL, **numbers, tau=1, max_grad_norm=INFINITY, seed=0)
    assert model.learn(12).num_timesteps == 12
    natural = agents.DPG(
        "LinearPolicy", "Pendulum-v1", natural_gradient=np.True_, seed=np.int64(0), stats_window_size=np.int64(5)
    )
    assert natural.learn(12).num_timesteps == 12
