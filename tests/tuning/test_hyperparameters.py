"""Hyperparameters as data become checked constructor arguments."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import TRPO
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike

from tuning.errors import UsageError
from tuning.hyperparameters import argument_names, constructor_arguments

BOX = spaces.Box(-2.0, 2.0, (3,), np.float32)
DISCRETE = spaces.Discrete(2)


def build(cls, action_space=BOX, policy="MlpPolicy", **hyperparams):
    return constructor_arguments(cls, policy, hyperparams, action_space)


def test_plain_values_are_passed_on():
    assert build(PPO, n_steps=20, gamma=0.9, clip_range_vf=None) == {"n_steps": 20, "gamma": 0.9, "clip_range_vf": None}


def test_a_linear_schedule_goes_from_initial_to_final():
    schedule = build(PPO, learning_rate={"schedule": "linear", "initial": 0.4, "final": 0.1})["learning_rate"]
    # SB3 calls schedules with the remaining progress: 1 at the start, 0 at the end
    assert schedule(1.0) == pytest.approx(0.4)
    assert schedule(0.5) == pytest.approx(0.25)
    assert schedule(0.0) == pytest.approx(0.1)
    assert build(PPO, clip_range={"schedule": "linear", "initial": 0.2})["clip_range"](0.0) == 0.0


def test_action_noise_has_one_sigma_for_each_action():
    noise = build(TD3, action_noise={"type": "normal", "sigma": 0.25})["action_noise"]
    assert type(noise) is NormalActionNoise
    np.testing.assert_array_equal(noise._sigma, [0.25, 0.25, 0.25])
    np.testing.assert_array_equal(noise._mu, [0.0, 0.0, 0.0])
    other = build(TD3, action_noise={"type": "ornstein_uhlenbeck", "sigma": 0.5})["action_noise"]
    assert type(other) is OrnsteinUhlenbeckActionNoise
    assert build(TD3, action_noise=None) == {"action_noise": None}


def test_train_freq_in_episodes_becomes_a_tuple():
    assert build(TD3, train_freq=[1, "episode"]) == {"train_freq": (1, "episode")}


def test_policy_kwargs_name_classes():
    given = {"net_arch": {"pi": [8], "vf": [9]}, "activation_fn": "relu", "optimizer_class": "rmsprop_tf_like"}
    assert build(PPO, policy_kwargs=given)["policy_kwargs"] == {
        "net_arch": {"pi": [8], "vf": [9]},
        "activation_fn": torch.nn.ReLU,
        "optimizer_class": RMSpropTFLike,
    }


def test_whole_floats_are_accepted_as_numbers_of_steps():
    arguments = build(PPO, n_steps=1e3)
    assert arguments == {"n_steps": 1000}
    assert type(arguments["n_steps"]) is int


@pytest.mark.parametrize(
    ("cls", "hyperparams", "message"),
    [
        (PPO, {"n_step": 5}, "PPO has no hyperparameter 'n_step'; did you mean n_steps"),
        (PPO, {"buffer_size": 5}, "PPO has no hyperparameter 'buffer_size'"),
        (PPO, {"n_steps": "many"}, "n_steps of PPO is 'many', but it must be int"),
        (PPO, {"n_steps": 2.5}, "n_steps of PPO is 2.5, but it must be int"),
        (PPO, {"n_steps": True}, "n_steps of PPO is True, but it must be int"),
        (PPO, {"use_sde": 1}, "use_sde of PPO is 1, but it must be true or false"),
        (PPO, {"learning_rate": "fast"}, "learning_rate of PPO is 'fast', but it must be float or {schedule: linear"),
        (PPO, {"policy_kwargs": [64]}, "policy_kwargs of PPO is .64., but it must be a mapping or null"),
        (PPO, {"policy_kwargs": {"net_arc": [64]}}, "has the key 'net_arc'; did you mean net_arch"),
        (PPO, {"policy_kwargs": {"activation_fn": "relux"}}, "activation_fn 'relux'; did you mean relu"),
        (PPO, {"policy_kwargs": {"activation_fn": [1]}}, "activation_fn .1."),
        (
            PPO,
            {"learning_rate": {"schedule": "linaer", "initial": 1.0}},
            "schedule 'linaer'; the one there is is linear",
        ),
        (PPO, {"learning_rate": {"schedule": "linear"}}, "lacks the key initial"),
        (PPO, {"learning_rate": {"schedule": "linear", "initial": "x"}}, "initial 'x', which must be a number"),
        (
            PPO,
            {"learning_rate": {"schedule": "linear", "initial": 1.0, "end": 0}},
            "the key 'end'; allowed: end_fraction, final",
        ),
        (PPO, {"learning_rate": {"schedule": "linear", "initial": 1, "end_fraction": 0}}, "must lie in .0, 1."),
        (PPO, {"n_steps": {"schedule": "linear", "initial": 1.0}}, "n_steps of PPO"),
        (PPO, {"seed": 3}, "seed is no hyperparameter of a run; it is set by --seed"),
        (PPO, {"env": "CartPole-v1"}, "set by --env"),
        (TD3, {"action_noise": 0.1}, "action_noise of TD3 is 0.1, but it is written {type: normal, sigma: 0.1}"),
        (TD3, {"action_noise": {"type": "gauss", "sigma": 0.1}}, "type 'gauss'"),
        (TD3, {"action_noise": {"type": "normal"}}, "lacks the key sigma"),
        (TD3, {"action_noise": {"type": "normal", "sigma": -1}}, "sigma -1, which must be a number of at least 0"),
        (SAC, {"train_freq": [1, 2]}, "train_freq of SAC"),
    ],
)
def test_wrong_names_and_types_are_refused_by_name(cls, hyperparams, message):
    with pytest.raises(UsageError, match=message):
        build(cls, **hyperparams)


def test_action_noise_needs_continuous_actions():
    with pytest.raises(UsageError, match="needs continuous actions"):
        build(TD3, action_space=DISCRETE, action_noise={"type": "normal", "sigma": 0.1})


def test_the_place_of_a_wrong_value_is_named():
    with pytest.raises(UsageError, match=r"^ppo\.yml, line 7: n_steps of PPO"):
        constructor_arguments(PPO, "MlpPolicy", {"n_steps": "x"}, BOX, place=lambda path: "ppo.yml, line 7")


class WithTextAnnotations(PPO):
    """As `from __future__ import annotations` leaves them: texts, some of names that exist for type checkers only."""

    def __init__(self, policy, env, known: "int" = 1, unknown: "OnlyForCheckers" = 2, untyped=3, **kwargs):  # noqa: F821
        super().__init__(policy, env, **kwargs)


def test_annotations_that_are_text_are_checked_where_they_can_be():
    assert build(WithTextAnnotations, known=2, unknown="anything", untyped=[1], anything_else=1) == {
        "known": 2,
        "unknown": "anything",
        "untyped": [1],
        "anything_else": 1,
    }
    with pytest.raises(UsageError, match="known of WithTextAnnotations is 'two', but it must be int"):
        build(WithTextAnnotations, known="two")


@pytest.mark.parametrize("cls", [PPO, SAC, DQN, TRPO])
def test_what_a_run_sets_itself_is_no_hyperparameter(cls):
    names = argument_names(cls)
    assert "gamma" in names
    assert not {"self", "policy", "env", "seed", "device", "verbose"} & set(names)
