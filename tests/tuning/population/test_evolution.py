"""Selection and change, by hand."""

import math

import numpy as np
import pytest

from tuning import search_space
from tuning.population import evolution

INF = math.inf


def dimension(**data):
    return search_space.parse({"x": data}).dimensions["x"]


def rng(seed=0):
    return np.random.default_rng(seed)


def test_the_worst_fifth_copies_one_of_the_best_fifth():
    scores = [5.0, 1.0, 9.0, 4.0, 8.0, 3.0, 2.0, 7.0, 6.0, 0.0]  # worst: 9 and 1; best: 2 and 4
    for seed in range(10):
        parents = evolution.truncation(scores, 0.2, rng(seed))
        assert {parents[9], parents[1]} <= {2, 4}
        assert [parents[i] for i in (0, 2, 3, 4, 5, 6, 7, 8)] == [0, 2, 3, 4, 5, 6, 7, 8]


def test_of_three_members_one_copies_and_equals_stay():
    assert evolution.truncation([2.0, 1.0, 3.0], 0.2, rng()) == [0, 2, 2]
    assert evolution.truncation([1.0, 1.0, 1.0], 0.2, rng()) == [0, 1, 2]


def test_a_failed_member_always_copies_and_is_never_copied():
    assert evolution.truncation([-INF, -INF, 3.0], 0.2, rng()) == [2, 2, 2]
    assert evolution.truncation([-INF, 1.0], 0.5, rng()) == [1, 1]
    for seed in range(20):
        assert evolution.tournament([-INF, 1.0, -INF], 1, False, rng(seed)) == [1, 1, 1]


def test_a_tournament_of_everybody_is_won_by_the_best_and_the_elite_keeps_its_place():
    scores = [1.0, 3.0, 2.0]
    assert evolution.tournament(scores, 200, True, rng()) == [1, 1, 1]
    for seed in range(20):
        parents = evolution.tournament(scores, 1, True, rng(seed))
        assert parents[1] == 1
        drawn = rng(seed).integers(3, size=3)  # tournaments of one member are its own draw
        assert (parents[0], parents[2]) == (drawn[0], drawn[2])


@pytest.mark.parametrize(
    ("data", "value", "factor", "expected"),
    [
        ({"type": "log", "low": 1e-5, "high": 1e-2}, 1e-3, 1.2, 1.2e-3),
        ({"type": "log", "low": 1e-5, "high": 1e-2}, 9e-3, 1.2, 1e-2),
        ({"type": "float", "low": 0.0, "high": 1.0}, 0.5, 0.8, 0.4),
        ({"type": "float", "low": 0.0, "high": 1.0, "step": 0.25}, 0.5, 1.2, 0.5),
        ({"type": "int", "low": 1, "high": 30}, 10, 0.8, 8),
        ({"type": "int", "low": 1, "high": 30}, 1, 1.2, 2),
        ({"type": "int", "low": 0, "high": 2000, "step": 500}, 1000, 1.2, 1500),
        ({"type": "int", "low": -30, "high": -1}, -10, 1.2, -12),
        ({"type": "log_int", "low": 1, "high": 20}, 2, 0.8, 1),
        ({"type": "power_of_two", "low": 8, "high": 2048}, 256, 1.2, 512),
        ({"type": "power_of_two", "low": 8, "high": 2048}, 256, 0.8, 128),
        ({"type": "power_of_two", "low": 8, "high": 2048}, 8, 0.8, 8),
        ({"type": "one_minus", "low": 0.9, "high": 0.999}, 0.99, 1.2, 0.988),
        ({"type": "one_minus", "low": 0.9, "high": 0.999}, 0.99, 0.8, 0.992),
        ({"type": "categorical", "choices": ["a", "b"]}, "a", 1.2, "a"),
        (
            {"type": "log", "low": 1e-5, "high": 1e-2, "becomes": "linear_schedule"},
            {"schedule": "linear", "initial": 1e-3},
            0.8,
            {"schedule": "linear", "initial": 8e-4},
        ),
    ],
)
def test_a_value_is_perturbed_on_its_own_scale_and_stays_inside(data, value, factor, expected):
    found = evolution.perturb(dimension(**data), value, factor)
    assert found == (pytest.approx(expected) if isinstance(expected, float) else expected)
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    "data",
    [
        {"type": "log", "low": 1e-5, "high": 1e-2},
        {"type": "float", "low": -1.0, "high": 1.0, "step": 0.5},
        {"type": "int", "low": 0, "high": 2000, "step": 500},
        {"type": "log_int", "low": 1, "high": 4},
        {"type": "power_of_two", "low": 8, "high": 64},
        {"type": "one_minus", "low": 0.9, "high": 0.999},
        {"type": "categorical", "choices": [True, False, "x"]},
    ],
)
def test_what_is_drawn_is_a_value_of_the_dimension_and_all_ends_are_reached(data):
    one = dimension(**data)
    generator = rng()
    drawn = [evolution.draw(one, generator) for _ in range(200)]
    for value in drawn:
        assert one.decode(one.encode(value)) == pytest.approx(value)
    if data["type"] in ("int", "log_int", "power_of_two", "categorical"):
        ends = data.get("choices") or [data["low"], data["high"]]
        assert all(end in drawn for end in ends)


def test_explore_perturbs_everything_or_draws_everything():
    space = search_space.parse({n: {"type": "log", "low": 1e-6, "high": 1e6} for n in "ab"})
    changed = evolution.explore(space, {"a": 1.0, "b": 10.0}, 0.0, rng())
    assert changed["a"] in (0.8, 1.2)
    assert changed["b"] in (8.0, 12.0)
    drawn = evolution.explore(space, {"a": 1.0, "b": 10.0}, 1.0, rng())
    assert drawn["a"] not in (0.8, 1.2)
    assert drawn["b"] not in (8.0, 12.0)


def test_what_depends_on_another_hyperparameter_comes_and_goes_with_it():
    space = search_space.parse(
        {
            "sde": {"type": "categorical", "choices": [True]},
            "freq": {"type": "int", "low": 1, "high": 9, "when": {"sde": True}},
        }
    )
    assert set(evolution.explore(space, {"sde": False}, 0.0, rng())) == {"sde"}
    assert set(evolution.explore(space, {"sde": True}, 0.0, rng())) == {"sde", "freq"}
    assert evolution.settled(space, {"sde": False, "freq": 3}, rng()) == {"sde": False}


def test_a_mutation_changes_one_hyperparameter_or_none():
    space = search_space.parse({n: {"type": "log", "low": 1e-6, "high": 1e6} for n in "abc"})
    values = {"a": 1.0, "b": 1.0, "c": 1.0}
    assert evolution.mutate(space, values, 0.0, rng()) == values
    for seed in range(10):
        changed = evolution.mutate(space, values, 1.0, rng(seed))
        assert sorted(changed.values())[:] in ([0.8, 1.0, 1.0], [1.0, 1.0, 1.2])
