"""Search spaces: from data to samples to configurations, and back."""

import math

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FixedTrial

from tuning.errors import UsageError
from tuning.search_space import parse, parse_text
from tuning.search_space.dimensions import TYPES

powers = st.integers(0, 12).map(lambda exponent: 2**exponent)


def pair(low, high):
    return st.tuples(st.floats(low, high), st.floats(low, high)).map(sorted)


NUMBERS = st.one_of(
    pair(-1e6, 1e6).map(lambda p: {"type": "float", "low": p[0], "high": p[1]}),
    pair(1e-8, 1e3).map(lambda p: {"type": "log", "low": p[0], "high": p[1]}),
    pair(0.5, 0.9999).map(lambda p: {"type": "one_minus", "low": p[0], "high": p[1]}),
    st.tuples(st.integers(-50, 50), st.integers(0, 50), st.integers(1, 7)).map(
        lambda t: {"type": "int", "low": t[0], "high": t[0] + t[1], "step": t[2]}
    ),
    st.tuples(st.integers(1, 1000), st.integers(0, 1000)).map(
        lambda t: {"type": "log_int", "low": t[0], "high": t[0] + t[1]}
    ),
    st.tuples(powers, powers).map(sorted).map(lambda p: {"type": "power_of_two", "low": p[0], "high": p[1]}),
)
CHOICES = st.lists(
    st.one_of(st.booleans(), st.integers(2, 9), st.text(max_size=5), st.lists(st.integers(1, 99), max_size=3)),
    min_size=1,
    max_size=5,
    unique_by=repr,
).map(lambda choices: {"type": "categorical", "choices": choices})


def sample(space, seed):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trial = study.ask()
    return space.sample(trial), trial.params


@pytest.fixture(autouse=True)
def _silent():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


@given(NUMBERS, st.integers(0, 2**31 - 1))
def test_a_sample_lies_in_its_range_and_encodes_to_the_parameter_it_came_from(dimension, seed):
    space = parse({"x": dimension})
    values, parameters = sample(space, seed)
    slack = 1e-9 * max(1.0, abs(dimension["low"]), abs(dimension["high"]))
    assert dimension["low"] - slack <= values["x"] <= dimension["high"] + slack
    encoded = space.encode(values)
    (name,) = parameters
    assert encoded.parameters[name] == pytest.approx(parameters[name], rel=1e-6, abs=1e-9)
    assert encoded.moved == {}


@given(CHOICES, st.integers(0, 2**31 - 1))
def test_a_choice_comes_back_as_it_was_written_and_encodes_to_itself(dimension, seed):
    space = parse({"x": dimension})
    values, parameters = sample(space, seed)
    assert any(values["x"] == choice and type(values["x"]) is type(choice) for choice in dimension["choices"])
    assert space.encode(values).parameters == parameters


@given(st.dictionaries(st.sampled_from(["a", "b.c", "d"]), st.one_of(NUMBERS, CHOICES), min_size=1))
def test_a_space_is_read_again_from_its_own_data(dimensions):
    space = parse(dimensions)
    assert parse(space.to_data()) == space


@given(NUMBERS, st.integers(1, 6))
def test_the_grid_lies_in_the_space_and_has_no_more_points_than_asked_for(dimension, points):
    space = parse({"x": dimension})
    ((name, values),) = space.grid(points).items()
    assert 1 <= len(values) <= points
    for value in values:
        with_value = space.sample(FixedTrial({name: value}))  # warns, as error below, where it is outside
        assert math.isfinite(with_value["x"])
        assert space.dimensions["x"].distribution()._contains(value)


def test_a_discount_is_searched_by_its_distance_from_1():
    space = parse({"gamma": {"type": "one_minus", "low": 0.9, "high": 0.999}})
    assert space.sample(FixedTrial({"one_minus_gamma": 0.01})) == {"gamma": 0.99}
    distribution = space.dimensions["gamma"].distribution()
    assert (distribution.low, distribution.high, distribution.log) == (0.001, 0.1, True)


def test_sizes_are_searched_by_their_exponent():
    space = parse({"batch_size": {"type": "power_of_two", "low": 16, "high": 512}})
    assert space.sample(FixedTrial({"log2_batch_size": 5})) == {"batch_size": 32}
    assert space.encode({"batch_size": 64}).parameters == {"log2_batch_size": 6}


def test_values_outside_of_the_space_are_moved_to_the_nearest_and_reported():
    space = parse(
        {
            "n_steps": {"type": "power_of_two", "low": 4, "high": 64},
            "learning_rate": {"type": "log", "low": 1e-4, "high": 1e-2},
            "gae_lambda": {"type": "categorical", "choices": [0.9, 0.95]},
        }
    )
    encoded = space.encode({"n_steps": 5, "learning_rate": 1e-5, "gae_lambda": 1.0})
    assert encoded.parameters == {"log2_n_steps": 2, "learning_rate": 1e-4}
    assert encoded.moved == {"n_steps": (5, 4), "learning_rate": (1e-5, 1e-4), "gae_lambda": (1.0, None)}


def test_a_number_can_be_the_beginning_of_a_schedule_or_the_width_of_a_noise():
    space = parse(
        {
            "learning_rate": {"type": "log", "low": 1e-5, "high": 1e-2, "becomes": "linear_schedule"},
            "action_noise": {"type": "float", "low": 0, "high": 1, "becomes": "normal_noise"},
        }
    )
    values = {
        "learning_rate": {"schedule": "linear", "initial": 1e-3},
        "action_noise": {"type": "normal", "sigma": 0.5},
    }
    assert space.sample(FixedTrial({"learning_rate": 1e-3, "action_noise": 0.5})) == values
    assert space.encode(values) == ({"learning_rate": 1e-3, "action_noise": 0.5}, {})
    constant = space.encode({"learning_rate": 2e-3})
    assert constant.parameters == {"learning_rate": 2e-3}
    assert constant.moved == {"learning_rate": (2e-3, {"schedule": "linear", "initial": 2e-3})}


CONDITIONAL = {
    "sde_sample_freq": {"type": "int", "low": 1, "high": 8, "when": {"use_sde": True}},  # before what it waits for
    "use_sde": {"type": "categorical", "choices": [False, True]},
}


def test_a_conditional_dimension_exists_only_where_its_condition_holds():
    space = parse(CONDITIONAL)
    assert space.is_conditional
    assert space.sample(FixedTrial({"use_sde": False})) == {"use_sde": False}
    assert space.sample(FixedTrial({"use_sde": True, "sde_sample_freq": 4})) == {"use_sde": True, "sde_sample_freq": 4}
    assert space.encode({"use_sde": False, "sde_sample_freq": -1}) == ({"use_sde": False}, {})


def test_what_waits_for_a_dimension_that_does_not_exist_does_not_exist_either():
    chain = CONDITIONAL | {"x": {"type": "int", "low": 0, "high": 1, "when": {"sde_sample_freq": [1, 2]}}}
    assert parse(chain).sample(FixedTrial({"use_sde": False})) == {"use_sde": False}


def test_true_is_no_1():
    space = parse(
        {"x": {"type": "categorical", "choices": [True, 1]}, "y": CONDITIONAL["sde_sample_freq"] | {"when": {"x": 1}}}
    )
    assert "y" not in space.sample(FixedTrial({"x": True, "y": 3}))


def test_architectures_have_names_and_a_meaning_where_none_is_given():
    space = parse(
        {"policy_kwargs.net_arch": {"type": "net_arch", "choices": ["tiny", "small", [8, 8]], "default": "small"}}
    )
    assert space.sample(FixedTrial({"policy_kwargs.net_arch": "tiny"})) == {"policy_kwargs.net_arch": [64]}
    assert space.sample(FixedTrial({"policy_kwargs.net_arch": "[8, 8]"})) == {"policy_kwargs.net_arch": [8, 8]}
    assert space.encode({}).parameters == {"policy_kwargs.net_arch": "small"}
    assert space.encode({"policy_kwargs.net_arch": [8, 8]}).parameters == {"policy_kwargs.net_arch": "[8, 8]"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"x": {"type": "flaot", "low": 0, "high": 1}}, "did you mean float"),
        ({"x": {"low": 0, "high": 1}}, "with a type"),
        ({"x": {"type": "float", "low": 0}}, "lacks the key high"),
        ({"x": {"type": "float", "low": 2, "high": 1}}, "low 2.0 is above high 1.0"),
        ({"x": {"type": "log", "low": 0, "high": 1}}, "greater than 0"),
        ({"x": {"type": "one_minus", "low": 0.9, "high": 1}}, "less than 1"),
        ({"x": {"type": "power_of_two", "low": 16, "high": 100}}, "100 is no power of two"),
        ({"x": {"type": "int", "low": 0, "high": 1, "stpe": 1}}, "has no key 'stpe'; did you mean .*step"),
        ({"x": {"type": "categorical", "choices": []}}, "at least 1 item"),
        ({"x": {"type": "categorical", "choices": [1, 1]}}, "twice"),
        ({"x": {"type": "net_arch", "choices": ["huge"]}}, "'huge' is no architecture"),
        ({"x": CONDITIONAL["sde_sample_freq"]}, "waits for 'use_sde'"),
        (CONDITIONAL | {"y": {"type": "int", "low": 0, "high": 1, "when": {"use_sde": "yes"}}}, "none of its choices"),
        ({"policy_kwargs": {"net_arch": {"type": "net_arch", "choices": ["tiny"]}}}, "policy_kwargs.net_arch"),
        (
            {
                "a": {"type": "int", "low": 0, "high": 1, "when": {"b": 1}},
                "b": {"type": "int", "low": 0, "high": 1, "when": {"a": 1}},
            },
            "wait for each other",
        ),
    ],
)
def test_mistakes_are_named(data, message):
    with pytest.raises(UsageError, match=message):
        parse(data)


@pytest.mark.parametrize(
    ("text", "name", "data"),
    [
        ("learning_rate=log:1e-5:1e-2", "learning_rate", {"type": "log", "low": 1e-5, "high": 1e-2}),
        ("n_epochs=int:1:20:5", "n_epochs", {"type": "int", "low": 1, "high": 20, "step": 5}),
        ("use_sde=categorical:true,false", "use_sde", {"type": "categorical", "choices": [True, False]}),
        ("p.net_arch=net_arch:small,[8]", "p.net_arch", {"type": "net_arch", "choices": ["small", [8]]}),
        ("x={type: int, low: 1, high: 2, when: {y: 1}}", "x", {"type": "int", "low": 1, "high": 2, "when": {"y": 1}}),
        ("n_steps=null", "n_steps", None),
    ],
)
def test_the_command_lines_form(text, name, data):
    assert parse_text(text) == (name, data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rate", "takes NAME=TYPE"),
        ("x=lgo:1:2", "did you mean log"),
        ("x=log:1", "log:LOW:HIGH"),
        ("x=log:1:2:3", "log:LOW:HIGH"),
        ("x=[1]", "there is no type"),
    ],
)
def test_mistakes_of_the_command_line_show_the_right_form(text, message):
    with pytest.raises(UsageError, match=message):
        parse_text(text)


def test_a_grid_refuses_conditions():
    with pytest.raises(UsageError, match="a grid takes no conditions"):
        parse(CONDITIONAL).grid(3)


def test_every_type_is_documented():
    from tuning.search_space import dimensions, reading

    assert set(reading._TEXT_FORMS) == set(TYPES)
    assert all(f"`{name}`" in dimensions.__doc__ for name in TYPES)
