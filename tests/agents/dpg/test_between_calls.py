"""What a caller may change between two calls of ``learn``, or as a model is loaded, and what is refused then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.utils import ConstantSchedule, LinearSchedule

import agents


def linear_model(**arguments: Any) -> agents.DPG:
    return agents.DPG("LinearPolicy", "Pendulum-v1", seed=0, **arguments)


def test_the_actors_step_size_is_changed_as_in_sb3() -> None:
    model = linear_model()
    model.learning_rate = 0.5
    model._setup_lr_schedule()
    assert model.learning_rates() == (0.5, 0.1, 0.1, 0.1)
    model.learning_rate = 0.4
    model.learn(2)
    assert model.learning_rates() == (0.4, 0.1, 0.1, 0.1)
    model.lr_schedule = ConstantSchedule(0.25)
    assert model.learning_rates() == (0.25, 0.1, 0.1, 0.1)


def test_the_critics_step_sizes_are_read_where_learn_begins() -> None:
    model = linear_model()
    model.critic_learning_rate, model.value_learning_rate = 0.05, LinearSchedule(0.2, 0.0, 1.0)
    model.learn(10)
    assert model.learning_rates() == pytest.approx((0.01, 0.05, 0.0, 0.1))


def test_a_schedule_that_was_put_in_place_alone_is_followed_from_step_to_step() -> None:
    model = linear_model(learning_rate=0.0)
    asked: list[float] = []
    model.lr_schedule = lambda progress: asked.append(progress) or 0.0
    model.learn(10)
    assert {round(progress, 6) for progress in asked} >= {1.0, 0.9, 0.5, 0.1}


@pytest.mark.parametrize(("policy", "steps"), [("LinearPolicy", 10), ("MlpPolicy", 10)])
@pytest.mark.parametrize("value", [-0.1, np.nan, np.inf])
def test_a_schedule_that_gives_no_step_size_is_named(policy: str, steps: int, value: float) -> None:
    model = agents.DPG(policy, "Pendulum-v1", seed=0, critic_learning_rate=lambda left: value if left < 0.55 else 0.1)
    with pytest.raises(ValueError, match=rf"^critic_learning_rate is a schedule that gives {value} where 0\.5 of"):
        model.learn(steps)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"gamma": 99.0}, "gamma=99"),
        ({"variant": "opdac"}, "critic was made for variant='copdac-q'"),
        ({"variant": "copdac-gq", "full_gq": True}, "critic was made for variant='copdac-q'"),
        ({"variant": "sarsa"}, "must be one of"),
        ({"critic_learning_rate": -1.0}, "critic_learning_rate=-1"),
    ],
)
@pytest.mark.parametrize("policy", ["LinearPolicy", "MlpPolicy"])
def test_attributes_are_checked_where_learn_begins(policy: str, changed: dict[str, Any], message: str) -> None:
    model = agents.DPG(policy, "Pendulum-v1", seed=0)
    for name, value in changed.items():
        setattr(model, name, value)
    with pytest.raises(ValueError, match=message):
        model.learn(10)
    assert model.num_timesteps == 0


@pytest.mark.parametrize("policy", ["LinearPolicy", "MlpPolicy"])
def test_arguments_of_load_are_checked(policy: str, tmp_path: Path) -> None:
    agents.DPG(policy, "Pendulum-v1", seed=0).save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"^gamma=99"):
        agents.DPG.load(tmp_path / "model", gamma=99.0)
    with pytest.raises(ValueError, match=r"weights do not fit variant='opdac'"):
        agents.DPG.load(tmp_path / "model", variant="opdac")
    assert agents.DPG.load(tmp_path / "model", gamma=0.5).gamma == 0.5


@pytest.mark.parametrize("policy", ["LinearPolicy", "MlpPolicy"])
def test_a_schedule_that_ends_at_zero_may_fall_below_it_by_rounding(policy: str) -> None:
    schedule = LinearSchedule(0.003, 0.0, 0.37)
    assert schedule(0.63) < 0.0  # -4e-19
    model = agents.DPG(policy, "Pendulum-v1", learning_rate=schedule, seed=0).learn(100)
    assert model.learning_rates()[0] == 0.0
