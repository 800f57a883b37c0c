"""Values in a data set are what the spaces hold, or are refused with the array and the row: nothing is rounded."""

import numpy as np
import pytest
from gymnasium import spaces

from agents.off_pac.dataset import FIELDS, as_dataset

BYTES = spaces.Box(0, 255, (3, 36, 36), np.uint8)
N = 4


def data(space, observations=None, **changed):
    space.seed(0)
    samples = np.array([space.sample() for _ in range(N)])
    given = samples if observations is None else np.asarray(observations)
    rest = {"actions": [0, 1, 2, 0], "rewards": [0.0] * N, "next_observations": samples}
    return {"observations": given, **rest, "terminations": [False] * N, "truncations": [False] * N, **changed}


def checked(space, observations=None, action_space=None, **changed):
    return as_dataset(data(space, observations, **changed), space, action_space or spaces.Discrete(3))


def bytes_with(value, dtype):
    images = np.zeros((N, *BYTES.shape), dtype)
    images[2, 0, 3, 5] = value
    return images


BOX = spaces.Box(-1.0, 1.0, (2,), np.float32)


@pytest.mark.parametrize(
    ("space", "observations", "message"),
    [
        (BYTES, bytes_with(0.5, np.float32), r"observations\[2\] holds 0\.5, but .*whole numbers.* 0 to 255"),
        (BYTES, bytes_with(256, np.int64), r"observations\[2\] holds 256, but"),
        (BYTES, bytes_with(-1, np.int8), r"observations\[2\] holds -1, but"),
        (BYTES, bytes_with(np.nan, np.float32), r"observations\[2\] holds nan, but"),
        (spaces.Discrete(4), [0, 1.7, 2.9, 3], r"observations\[1\] holds 1\.7, but .* 0 to 3"),
        (spaces.Discrete(4), [0, 1, 2, 9], r"observations\[3\] holds 9, but .* 0 to 3"),
        (spaces.Discrete(4, start=2), [2, 3, 5, 1], r"observations\[3\] holds 1, but .* 2 to 5"),
        (spaces.MultiDiscrete([3, 2]), [[2, 1], [2, 2], [0, 0], [0, 0]], r"observations\[1\] holds 2, but .* 0 to 1"),
        (spaces.MultiBinary(2), [[1, 1], [0, 0], [0, 7], [0, 0]], r"observations\[2\] holds 7, but .* 0 to 1"),
        (BOX, [[0, 0], [0, 1e300], [0, 0], [0, 0]], r"observations\[1\] holds 1e\+300, but .* finite"),
        (BOX, np.array([[0, 0], [0, 0], [np.nan, 0], [0, 0]], object), r"observations\[2\] holds nan, but"),
        (BOX, np.ones((N, 2)) * 1j, r"observations holds complex128, but .*numbers"),
        (BOX, [["a", "b"]] * N, r"observations holds <U1, but .*numbers"),
    ],
)
def test_observations_that_the_spaces_type_would_change_are_refused(space, observations, message):
    with pytest.raises(ValueError, match=message):
        checked(space, observations)


def test_the_key_of_a_dictionary_is_named():
    space = spaces.Dict({"room": spaces.Discrete(4)})
    given = {"room": np.array([0, 1, 2, 4])}
    with pytest.raises(ValueError, match=r"observations\['room'\]\[3\] holds 4"):
        as_dataset(data(spaces.Discrete(4)) | {"observations": given}, space, spaces.Discrete(3))


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64])
def test_observations_of_another_type_that_hold_the_same_are_taken(dtype):
    found = checked(BYTES, bytes_with(255, dtype)).observations
    assert (found.dtype, found[2, 0, 3, 5], found.sum()) == (np.uint8, 255, 255)
    assert checked(spaces.Discrete(4), np.array([0, 1, 2, 3], dtype)).observations.tolist() == [0, 1, 2, 3]
    assert checked(spaces.MultiBinary(2), np.ones((N, 2), bool)).observations.dtype == np.int8


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rewards": [0, 0, 1e300, 0]}, r"rewards\[2\] is 1e\+300, but .*finite"),
        ({"rewards": None}, "rewards is None, but .* one number for each row"),
        ({"rewards": ["a"] * N}, "rewards holds <U1, but .*numbers"),
        ({"terminations": [0, np.nan, 0, 0]}, r"terminations\[1\] is nan, but .*True or False"),
        ({"truncations": [0, 0, 7, 0]}, r"truncations\[2\] is 7, but .*True or False"),
        ({"terminations": ["True", "False"] * 2}, r"terminations\[0\] is 'True', but .*True or False"),
        ({"truncations": [None] * N}, r"truncations\[0\] is None, but"),
        ({"actions": [0, np.nan, 0, 0]}, r"actions\[1\] is nan"),
        ({"actions": ["up"] * N}, "actions holds <U2, but"),
        ({"behavior_probabilities": ["x"] * N}, "behavior_probabilities holds <U1, but"),
    ],
)
def test_other_columns_are_refused_as_well(changed, message):
    with pytest.raises(ValueError, match=message):
        checked(BOX, **changed)


@pytest.mark.parametrize("ones", [[True, False, True, False], [1, 0, 1, 0], [1.0, 0.0, 1.0, 0.0]])
def test_flags_may_be_numbers(ones):
    assert checked(BOX, terminations=ones).terminations.tolist() == [True, False, True, False]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"behavior_probabilities": [1.0, np.inf, 1.0, 1.0]}, r"behavior_probabilities\[1\] is inf, but .*finite"),
        ({"actions": [[0.0], [1e300], [0.0], [0.0]]}, r"actions\[1\] holds"),
        ({"actions": 0.3}, r"actions has the shape \(\), but 4 rows"),
    ],
)
def test_box_actions_and_their_densities_are_finite(changed, message):
    with pytest.raises(ValueError, match=message):
        checked(BOX, action_space=spaces.Box(-1, 1, (1,)), **{"actions": np.zeros((N, 1)), **changed})


def test_a_data_set_without_rows_is_refused():
    nothing = {name: np.empty(0) for name in FIELDS}
    with pytest.raises(ValueError, match="no transitions"):
        as_dataset(nothing, BOX, spaces.Discrete(3))
