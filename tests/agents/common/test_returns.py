"""Returns and advantages by hand: gamma .1 lets a return be read digit by digit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from agents.common.returns import generalized_advantages, generalized_advantages_of_one, n_step_returns

NO = np.zeros((3, 1), dtype=bool)


def column(*numbers: float) -> NDArray[np.float64]:
    return np.array(numbers, dtype=float)[:, None]


def at(t: int) -> NDArray[np.bool_]:
    flags = NO.copy()
    flags[t] = True
    return flags


def test_each_step_gets_the_longest_return_that_ends_at_the_segments_end() -> None:
    # 4 follows: 3 + .4, 2 + .34, 1 + .234; with the 1-step return all but the last would differ
    returns = n_step_returns(column(1, 2, 3), NO, NO, column(0, 0, 0), [4.0], gamma=0.1)
    np.testing.assert_allclose(returns[:, 0], [1.234, 2.34, 3.4], rtol=1e-15)


def test_termination_cuts_the_return_and_nothing_after_it_leaks_in() -> None:
    # 9 stands for every number that must not show up
    ended = n_step_returns(column(1, 2, 3), at(1), NO, column(9, 9, 9), [4.0], gamma=0.1)
    np.testing.assert_allclose(ended[:, 0], [1.2, 2.0, 3.4], rtol=1e-15)
    last = n_step_returns(column(1, 2, 3), at(2), NO, column(9, 9, 9), [9.0], gamma=0.1)
    np.testing.assert_allclose(last[:, 0], [1.23, 2.3, 3.0], rtol=1e-15)


def test_truncation_bootstraps_from_the_final_observation_not_from_the_reset_one() -> None:
    cut = n_step_returns(column(1, 2, 3), NO, at(1), column(9, 5, 9), [4.0], gamma=0.1)
    np.testing.assert_allclose(cut[:, 0], [1.25, 2.5, 3.4], rtol=1e-15)
    last = n_step_returns(column(1, 2, 3), NO, at(2), column(9, 9, 5), [9.0], gamma=0.1)
    np.testing.assert_allclose(last[:, 0], [1.235, 2.35, 3.5], rtol=1e-15)


def test_a_terminal_state_at_the_time_limit_is_terminal() -> None:
    both = n_step_returns(column(1, 2, 3), at(1), at(1), column(9, 9, 9), [4.0], gamma=0.1)
    np.testing.assert_allclose(both[:, 0], [1.2, 2.0, 3.4], rtol=1e-15)


def test_environments_do_not_mix() -> None:
    rewards = np.array([[1.0, 6.0], [2.0, 7.0]])
    terminated = np.array([[False, True], [False, False]])
    nothing = np.zeros((2, 2))
    returns = n_step_returns(rewards, terminated, nothing.astype(bool), nothing, [3.0, 8.0], gamma=0.1)
    np.testing.assert_allclose(returns, [[1.23, 6.0], [2.3, 7.8]], rtol=1e-15)


def test_advantages_are_returns_less_values_for_lambda_1() -> None:
    advantages, returns = generalized_advantages(
        column(1, 2, 3), column(0.5, 0.25, 0.125), NO, NO, column(0, 0, 0), [4.0], gamma=0.1
    )
    np.testing.assert_allclose(returns[:, 0], [1.234, 2.34, 3.4], rtol=1e-15)
    np.testing.assert_allclose(advantages[:, 0], [0.734, 2.09, 3.275], rtol=1e-15)


def test_lambda_0_is_the_one_step_td_error() -> None:
    advantages, returns = generalized_advantages(
        column(1, 2, 3), column(5, 6, 7), at(1), NO, column(9, 9, 9), [4.0], gamma=0.1, gae_lambda=0.0
    )
    # 1 + .1 * 6 - 5; the terminal step 2 - 6; 3 + .1 * 4 - 7
    np.testing.assert_allclose(advantages[:, 0], [-3.4, -4.0, -3.6], rtol=1e-15)
    np.testing.assert_allclose(returns[:, 0], [1.6, 2.0, 3.4], rtol=1e-15)


def test_lambda_between_is_the_exponential_average_of_td_errors() -> None:
    # deltas: 1 + .1 * 2 - 1 = .2,  2 + .1 * 3 - 2 = .3,  3 + .1 * 4 - 3 = .4;  decay .1 * .5 = .05
    advantages, _ = generalized_advantages(
        column(1, 2, 3), column(1, 2, 3), NO, NO, column(0, 0, 0), [4.0], gamma=0.1, gae_lambda=0.5
    )
    np.testing.assert_allclose(advantages[:, 0], [0.2 + 0.05 * (0.3 + 0.05 * 0.4), 0.3 + 0.05 * 0.4, 0.4], rtol=1e-15)


@pytest.mark.parametrize(
    ("terminated", "truncated", "expected"),
    [
        # the advantage of step 0 must not hold anything of step 1, which belongs to the next episode
        (at(0), NO, [1 - 1, 0.3 + 0.05 * 0.4, 0.4]),
        (NO, at(0), [1 + 0.1 * 7 - 1, 0.3 + 0.05 * 0.4, 0.4]),
    ],
)
def test_an_episodes_advantages_never_reach_into_the_next_episode(
    terminated: NDArray[np.bool_], truncated: NDArray[np.bool_], expected: list[float]
) -> None:
    advantages, _ = generalized_advantages(
        column(1, 2, 3), column(1, 2, 3), terminated, truncated, column(7, 9, 9), [4.0], gamma=0.1, gae_lambda=0.5
    )
    np.testing.assert_allclose(advantages[:, 0], expected, rtol=1e-14, atol=1e-16)


def test_gamma_1_keeps_everything_and_gamma_0_only_the_reward() -> None:
    arguments = (column(1, 2, 3), NO, NO, column(0, 0, 0), [4.0])
    np.testing.assert_array_equal(n_step_returns(*arguments, gamma=1.0)[:, 0], [10, 9, 7])
    np.testing.assert_array_equal(n_step_returns(*arguments, gamma=0.0)[:, 0], [1, 2, 3])


@pytest.mark.parametrize(("name", "value"), [("gamma", 99), ("gamma", -0.1), ("gae_lambda", 95)])
def test_a_discount_outside_0_and_1_is_refused_by_name(name: str, value: float) -> None:
    discounts = {"gamma": 0.9, "gae_lambda": 0.9, name: value}
    with pytest.raises(ValueError, match=rf"{name}={value}, but it must lie in \[0, 1\]"):
        generalized_advantages(column(1, 2, 3), column(1, 2, 3), NO, NO, column(0, 0, 0), [4.0], **discounts)


numbers = st.floats(-100, 100, allow_nan=False)


@given(
    steps=st.lists(st.tuples(numbers, numbers), min_size=1, max_size=12),
    following=numbers,
    end=st.sampled_from(["cut", "terminated", "truncated"]),
    gamma=st.floats(0, 1),
    gae_lambda=st.floats(0, 1),
)
def test_the_version_for_one_environment_gives_the_same_numbers(
    steps: list[tuple[float, float]], following: float, end: str, gamma: float, gae_lambda: float
) -> None:
    rewards, values = [r for r, _ in steps], [v for _, v in steps]
    ends = np.zeros((len(steps), 1), dtype=bool)
    ends[-1] = True
    none = np.zeros_like(ends)
    many = generalized_advantages(
        column(*rewards),
        column(*values),
        ends if end == "terminated" else none,
        ends if end == "truncated" else none,
        np.full((len(steps), 1), following if end == "truncated" else 9e9),
        [following if end == "cut" else 9e9],
        gamma,
        gae_lambda,
    )
    one = generalized_advantages_of_one(rewards, values, 0.0 if end == "terminated" else following, gamma, gae_lambda)
    for array, plain in zip(many, one, strict=True):
        np.testing.assert_allclose(array[:, 0], plain, rtol=1e-12, atol=1e-12)


@given(
    steps=st.lists(st.tuples(numbers, numbers, st.booleans(), st.booleans(), numbers), min_size=1, max_size=8),
    last=numbers,
    gamma=st.floats(0, 1),
)
def test_returns_equal_their_definition_written_as_a_sum(
    steps: list[tuple[float, float, bool, bool, float]], last: float, gamma: float
) -> None:
    rewards, values, terminated, truncated, bootstraps = (list(part) for part in zip(*steps, strict=True))
    _, returns = generalized_advantages(
        column(*rewards),
        column(*values),
        np.array(terminated)[:, None],
        np.array(truncated)[:, None],
        column(*bootstraps),
        [last],
        gamma,
    )
    for t in range(len(steps)):
        total, discount, following = 0.0, 1.0, last
        for k in range(t, len(steps)):
            total += discount * rewards[k]
            discount *= gamma
            if terminated[k] or truncated[k]:
                following = 0.0 if terminated[k] else bootstraps[k]
                break
        assert returns[t, 0] == pytest.approx(total + discount * following, rel=1e-9, abs=1e-9)
