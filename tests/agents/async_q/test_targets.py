"""What the three methods learn towards, by hand: gamma .1 keeps digits readable; a 999 must never show in a result."""

import numpy as np
import pytest

from agents.async_q.targets import n_step_targets, one_step_targets


def column(*numbers: float) -> np.ndarray:
    """One environment's steps, (T, 1)."""
    return np.array(numbers, dtype=float)[:, None]


def test_one_step_targets_look_one_step_ahead_and_no_further() -> None:
    found = one_step_targets(column(1, 2, 3), column(40, 50, 60), column(0, 0, 0), gamma=0.1)
    np.testing.assert_allclose(found, column(5, 7, 9))


def test_after_termination_nothing_follows() -> None:
    found = one_step_targets(column(1, 2, 3), column(40, 999, 60), column(0, 1, 0), gamma=0.1)
    np.testing.assert_allclose(found, column(5, 2, 9))


def test_one_step_targets_of_several_environments_do_not_mix() -> None:
    rewards, following = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[10.0, 20.0], [999.0, 40.0]])
    terminated = np.array([[False, False], [True, False]])
    np.testing.assert_allclose(one_step_targets(rewards, following, terminated, 0.1), [[2, 4], [3, 8]])


def test_n_step_targets_run_backwards_from_the_segments_end() -> None:
    # 3 + .1 * 40 = 7; 2 + .1 * 7 = 2.7; 1 + .1 * 2.7 = 1.27: each step gets the longest return there is
    found = n_step_targets(column(1, 2, 3), column(999, 999, 40), column(0, 0, 0), column(0, 0, 0), gamma=0.1)
    np.testing.assert_allclose(found, column(1.27, 2.7, 7))


def test_n_step_targets_begin_anew_at_0_after_termination() -> None:
    found = n_step_targets(column(1, 2, 3), column(999, 999, 40), column(0, 1, 0), column(0, 0, 0), gamma=0.1)
    np.testing.assert_allclose(found, column(1.2, 2, 7))


def test_n_step_targets_begin_anew_at_the_final_observations_value_after_truncation() -> None:
    found = n_step_targets(column(1, 2, 3), column(999, 50, 40), column(0, 0, 0), column(0, 1, 0), gamma=0.1)
    np.testing.assert_allclose(found, column(1.7, 7, 7))


def test_a_segment_that_ends_with_a_termination_does_not_look_at_what_follows() -> None:
    found = n_step_targets(column(1, 2), column(999, 999), column(0, 1), column(0, 0), gamma=0.1)
    np.testing.assert_allclose(found, column(1.2, 2))


def test_a_single_step_makes_the_methods_one() -> None:
    arguments = (column(3), column(40), column(0))
    np.testing.assert_allclose(one_step_targets(*arguments, gamma=0.1), column(7))
    np.testing.assert_allclose(n_step_targets(*arguments, column(0), gamma=0.1), column(7))


@pytest.mark.parametrize("gamma", [-0.1, 1.1])
def test_a_discount_outside_of_0_to_1_is_refused(gamma: float) -> None:
    with pytest.raises(ValueError, match=rf"gamma={gamma}, but it must lie in \[0, 1\]"):
        n_step_targets(column(1), column(1), column(0), column(0), gamma=gamma)
