"""Every constructor argument, given wrongly, ends in one error: what was given, what is allowed, what to do."""

import inspect
import re
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.dqn.policies import DQNPolicy

import agents
from agents.common.arguments import check_number
from tests.agents.drop_in import METHODS, each_method, small

NAN = float("nan")
INFINITY = float("inf")

# by argument: what is wrong, and what the message must say is allowed
WRONG: dict[str, tuple[list[Any], str]] = {
    "learning_rate": (
        ["3e-4", None, -1.0, NAN, INFINITY, True, [1e-3]],
        "a finite number of at least 0; a schedule is",
    ),
    "n_steps": ([0, -5, 2.5, "5", True, None], "a whole number of at least 1"),
    "gamma": ([1.1, -0.1, 99, "0.9", None, NAN, True], "a number in [0, 1]; for 99 % write 0.99"),
    "max_grad_norm": ([0, -1.0, "40", NAN], "a positive number; None does not clip"),
    "rms_prop_eps": ([0, -0.1, "0.1", None, NAN, INFINITY], "a finite positive number; the default is 0.1"),
    "rms_prop_alpha": ([1.0, -0.1, "0.9", None, NAN], "a number in [0, 1); the default is 0.99"),
    "shared_optimizer": (["sgd", None, 3, "RMSprop"], "one of 'rmsprop', 'rmsprop-local', 'momentum', 'adam'"),
    "n_workers": ([0, -1, 1.5, "2", True], "a whole number of at least 1"),
    "worker_timeout": ([0, -1.0, "60", NAN], "a positive number; None waits for ever"),
    "stats_window_size": ([0, -1, 2.5, "100", None], "a whole number of at least 1"),
    "tensorboard_log": ([3, ["runs"]], "a folder's name, or None"),
    "policy_kwargs": ([3, "net_arch", [64]], "a dict of the policy's arguments, such as dict(net_arch=[64, 64])"),
    "verbose": (["1", -1, None, 0.5], "a whole number of at least 0"),
    "seed": ([-1, 2.5, "0", 2**32], "a whole number from 0 to 4294967295"),
}
WRONG_FOR_A3C: dict[str, tuple[list[Any], str]] = {
    "gae_lambda": ([1.1, -0.1, "1", None, NAN], "a number in [0, 1]; 1 is the paper's return"),
    "ent_coef": (["auto", None, NAN, INFINITY], "a finite number; the paper's is 0.01"),
    "vf_coef": ([-0.5, "0.5", None, NAN, INFINITY], "a finite number of at least 0; the default is 0.5"),
}
WRONG_FOR_VALUE_METHODS: dict[str, tuple[list[Any], str]] = {
    "target_update_interval": ([0, -1, 2.5, "1000", None], "a whole number of at least 1"),
    "exploration_fraction": ([-0.1, 1.1, "0.1", None, NAN], "a number in [0, 1]"),
    "exploration_initial_eps": ([-0.1, 1.1, "1", None, NAN], "a number in [0, 1]"),
    # exploration_final_eps: tests/agents/async_q/test_exploration.py
}
CASES = [
    pytest.param(cls, name, value, allowed, id=f"{cls.__name__}-{name}-{value!r}")
    for cls, table in (
        (agents.A3C, WRONG | WRONG_FOR_A3C),
        (agents.AsyncNStepQ, WRONG | WRONG_FOR_VALUE_METHODS),
    )
    for name, (values, allowed) in table.items()
    for value in values
]


@pytest.mark.parametrize(("cls", "name", "value", "allowed"), CASES)
def test_a_wrong_argument_is_refused_with_given_allowed_and_remedy(
    cls: Any, name: str, value: Any, allowed: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(f'{name}={value!r}, but it must be {allowed}')}"):
        cls("MlpPolicy", "CartPole-v1", **{"n_workers": 1, name: value})


def test_every_argument_has_been_given_wrongly() -> None:
    elsewhere = {"self", "policy", "env", "device", "exploration_final_eps", "_init_setup_model"}
    for cls in METHODS:
        known = set(WRONG) | set(WRONG_FOR_A3C if cls is agents.A3C else WRONG_FOR_VALUE_METHODS) | elsewhere
        assert set(inspect.signature(cls.__init__).parameters) <= known


def test_the_constructor_takes_numbers_of_numpy_as_its_own() -> None:
    model = agents.A3C(
        "MlpPolicy",
        "CartPole-v1",
        n_workers=np.int64(1),
        n_steps=np.int32(4),
        gamma=np.float32(0.5),
        ent_coef=np.float64(0),
        vf_coef=1,
        max_grad_norm=INFINITY,
        learning_rate=0,
        seed=np.uint32(3),
    )
    assert model.learn(20).num_timesteps == 20


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (lambda: 1e-3, "cannot be called with the remaining progress .* takes 0 positional arguments"),
        (lambda progress: "1e-3", r"learning_rate\(1\.0\)='1e-3', but it must be a finite number of at least 0"),
        (lambda progress: -progress, r"learning_rate\(1\.0\)=-1\.0, but it must be"),
    ],
    ids=["no argument", "text", "negative"],
)
def test_a_schedule_that_gives_no_rate_is_refused(schedule: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(agents.A3C, learning_rate=schedule)


@each_method
@pytest.mark.parametrize("policy", [None, 3, dict, torch.nn.Linear])
def test_what_is_no_policy_is_refused_with_the_aliases(cls: Any, policy: Any) -> None:
    with pytest.raises(TypeError, match=r"policy=.*, but it must be one of 'MlpPolicy', .* or a subclass of"):
        small(cls, policy=policy)


@each_method
def test_an_unknown_alias_is_refused_with_the_known_ones(cls: Any) -> None:
    with pytest.raises(ValueError, match=r"Policy 'MLPPolicy' unknown; it must be one of 'MlpPolicy', 'CnnPolicy'"):
        small(cls, policy="MLPPolicy")


def test_a_policy_of_the_other_kind_is_refused() -> None:
    with pytest.raises(TypeError, match=r"policy=DQNPolicy, but .* a subclass of ActorCriticPolicy"):
        small(agents.A3C, policy=DQNPolicy)
    with pytest.raises(TypeError, match=r"policy=ActorCriticPolicy, but .* a subclass of DQNPolicy"):
        small(agents.AsyncSarsa, policy=ActorCriticPolicy)


@each_method
def test_no_environment_is_refused_where_networks_must_be_built(cls: Any) -> None:
    with pytest.raises(ValueError, match=r"env=None, but the networks are built for an environment's spaces; give"):
        cls("MlpPolicy", None)


@each_method
def test_an_unknown_environment_is_refused_by_gymnasium_with_the_nearest_name(cls: Any) -> None:
    with pytest.raises(Exception, match="CartPoel"):
        small(cls, "CartPoel-v1")


@each_method
def test_an_unknown_argument_of_the_policy_is_named(cls: Any) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'net_architecture'"):
        small(cls, policy_kwargs={"net_architecture": [64]})


@each_method
def test_an_unknown_device_is_refused_by_torch(cls: Any) -> None:
    with pytest.raises(RuntimeError, match="nonsense"):
        small(cls, device="nonsense")


@each_method
@pytest.mark.parametrize("name", ["use_sde", "sde_sample_freq", "use_rms_prop", "normalize_advantage", "buffer_size"])
def test_arguments_of_synchronous_algorithms_are_no_arguments_here(cls: Any, name: str) -> None:
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
        small(cls, **{name: True})


@pytest.mark.parametrize("total", ["1000", None, NAN, INFINITY])
def test_a_budget_that_is_no_number_is_refused_before_anything_starts(total: Any) -> None:
    model = small(agents.A3C)
    with pytest.raises(ValueError, match=f"total_timesteps={total!r}, but it must be a finite number"):
        model.learn(total)
    assert model.num_timesteps == 0


def test_a_budget_may_be_written_as_a_float() -> None:
    # learn(1e6) is what most scripts say
    assert small(agents.A3C).learn(1e2).num_timesteps == 100
    assert small(agents.AsyncNStepQ).learn(19.5).num_timesteps == 20


def test_a_message_about_an_interval_with_open_ends_shows_them() -> None:
    with pytest.raises(ValueError, match=r"x=0, but it must be a number in \(0, 1\)\."):
        check_number("x", 0, 0.0, 1.0, above=True, below=True)
