"""Importance ratios: statistics, drawing, and what a behavior's probabilities must satisfy."""

import math

import numpy as np
import pytest

from agents.common.importance import RatioStatistics, check_support, checked_probabilities, sample_index


def test_effective_sample_size_by_hand():
    statistics = RatioStatistics()
    assert math.isnan(statistics.mean)
    for rho in (1.0, 1.0, 2.0, 0.0):
        statistics.add(rho)
    # (1 + 1 + 2)^2 / (1 + 1 + 4) = 16 / 6 of 4 samples
    assert statistics.effective_sample_size == pytest.approx(16 / 6 / 4)
    assert (statistics.mean, statistics.largest) == (1.0, 2.0)


def test_on_policy_samples_count_fully_and_one_that_outweighs_all_counts_alone():
    equal, dominated = RatioStatistics(), RatioStatistics()
    equal.extend([1.0] * 8)
    dominated.extend([0.0] * 7 + [5.0])
    assert equal.effective_sample_size == 1.0
    assert dominated.effective_sample_size == 1 / 8


def test_adding_one_by_one_equals_adding_many():
    ratios = np.random.default_rng(0).random(100)
    one, many = RatioStatistics(), RatioStatistics()
    for rho in ratios:
        one.add(float(rho))
    many.extend(ratios)
    assert one.effective_sample_size == pytest.approx(many.effective_sample_size)
    assert (one.count, one.largest) == (many.count, many.largest)


@pytest.mark.parametrize(("uniform", "index"), [(0.0, 1), (0.24, 1), (0.25, 2), (0.9999, 2)])
def test_sample_index_inverts_the_cumulative_sum(uniform, index):
    assert sample_index([0.0, 0.25, 0.75], uniform) == index


def test_sample_index_never_gives_an_impossible_action_when_the_sum_rounds_below_one():
    assert sample_index([0.3, 0.7 - 1e-9, 0.0], 1.0 - 1e-12) == 1


def test_float32_probabilities_pass():
    row = np.array([[1 / 3, 1 / 3, 1 / 3]], dtype=np.float32)
    assert checked_probabilities(row, 1, 3, "b").dtype == np.float64


def one_by_one(statistics, ratios):
    for rho in ratios:
        statistics.add(rho)


def together(statistics, ratios):
    statistics.extend(ratios)


@pytest.mark.parametrize("give", [one_by_one, together])
def test_ratios_are_idle_once_enough_in_a_row_were_next_to_nothing_wherever_the_log_is_written(give):
    calls = []
    statistics = RatioStatistics(5, lambda: calls.append(1))

    def told(*ratios):
        before = len(calls)
        give(statistics, ratios)
        return len(calls) - before

    # One that counts is among the first three; the five in a row come after it.
    assert [told(0.0, 0.3, 0.0), told(0.0, 1e-9, 0.0), told(0.0)] == [0, 0, 1]
    statistics.clear()
    assert told(*[0.0] * 20) == 0
    assert [told(1.0, 0.0, 0.0, 0.0, 0.0), told(0.0)] == [0, 1]
    assert told(0.0, 0.3, *[0.0] * 5, 0.3) == 1
    statistics.clear()
    assert [told(*[0.0] * 4), told(0.5), told(*[0.0] * 4)] == [0, 0, 0]
    statistics.restart()
    assert [told(*[0.0] * 4), told(), told(math.nan), told(*[0.0] * 4)] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([[0.5, 0.5], [0.5, 0.4]], "index 1: they add up to 0.9"),
        ([[0.5, 0.5], [np.nan, 1.0]], "index 1: NaN or infinity"),
        ([[1.5, -0.5], [0.5, 0.5]], "index 0: one is negative"),
        ([0.5, 0.5], r"behavior policy.* shape \(2,\).*\(2, 2\).*one row for each observation"),
        ([[0.5, 0.5]], r"shape \(1, 2\): .* index 1 has none.*\(2, 2\)"),
        ([[0.5, 0.5]] * 3, r"shape \(3, 2\): 1 row\(s\) too many.*\(2, 2\)"),
        ([[0.5, 0.25, 0.25]] * 2, r"shape \(2, 3\): .* index 0 has 3 probabilities for 2 actions.*\(2, 2\)"),
    ],
)
def test_bad_probabilities_are_refused_with_the_index(given, message):
    with pytest.raises(ValueError, match=message):
        checked_probabilities(given, 2, 2, "The behavior policy")


def test_missing_support_names_observation_and_action():
    with pytest.raises(ValueError, match="action 1 probability 0 for the observation at index 1"):
        check_support([[0.5, 0.5], [1.0, 0.0]], [[0.5, 0.5], [0.9, 0.1]], "b")
    check_support([[0.5, 0.5], [1.0, 0.0]], [[0.5, 0.5], [1.0, 0.0]], "b")
