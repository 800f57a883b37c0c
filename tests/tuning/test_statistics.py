"""The statistics against hand-computed numbers, their definitions' identities, and scipy where it has a twin."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from tuning import statistics

scores = hnp.arrays(np.float64, st.integers(1, 12), elements=st.floats(-1e3, 1e3).map(lambda x: round(x, 3)))
several_scores = hnp.arrays(np.float64, st.integers(2, 8), elements=st.floats(-1e3, 1e3).map(lambda x: round(x, 3)))


# ---------------------------------------------------------------- point estimates


def test_mean_std_median_by_hand():
    runs = [1.0, 2.0, 3.0, 10.0]
    assert statistics.mean(runs) == 4.0
    assert statistics.median(runs) == 2.5
    # squared deviations 9 + 4 + 1 + 36 = 50, divided by n - 1 = 3, not by 4
    assert statistics.std(runs) == pytest.approx(math.sqrt(50 / 3))


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([7.0], 7.0),
        ([0.0, 9.0], 4.5),
        ([0.0, 3.0, 9.0], 4.0),  # floor(3 / 4) = 0: nothing is cut
        ([100.0, 1.0, 3.0, -50.0], 2.0),  # one at either end
        ([-99.0, 1.0, 2.0, 6.0, 99.0], 3.0),  # still one at either end, not 1.25
        ([-99.0, -99.0, 1.0, 2.0, 3.0, 6.0, 99.0, 99.0], 3.0),
        ([-9.0, -9.0, 1.0, 1.0, 1.0, 3.0, 3.0, 3.0, 9.0, 9.0], 2.0),  # n = 10 keeps six
    ],
)
def test_iqm_cuts_floor_of_a_quarter_at_either_end(runs, expected):
    assert statistics.iqm(runs) == pytest.approx(expected)


@given(scores)
def test_iqm_is_scipys_trimmed_mean_at_a_quarter(runs):
    assert statistics.iqm(runs) == pytest.approx(stats.trim_mean(runs, 0.25), abs=1e-9)


@given(scores)
def test_equal_weights_change_nothing(runs):
    weights = np.full(len(runs), 0.3)
    assert statistics.iqm(runs, weights) == pytest.approx(statistics.iqm(runs), abs=1e-9)
    assert statistics.mean(runs, weights) == pytest.approx(statistics.mean(runs), abs=1e-9)


def test_weighted_iqm_by_hand():
    # n = 4 cuts the share 1/4 at either end; the weights are 0.5, 0.125, 0.125, 0.25. Of the lowest run 0.25 remains,
    # the two in the middle remain, the highest is cut: (0.25 * 0 + 0.125 * 4 + 0.125 * 8) / 0.5
    assert statistics.iqm([0.0, 4.0, 8.0, 100.0], [4, 1, 1, 2]) == pytest.approx(3.0)


def test_an_infinite_outlier_that_is_cut_does_not_turn_the_weighted_iqm_into_nan():
    assert statistics.iqm([-np.inf, 1.0, 3.0, np.inf], [1, 1, 1, 1]) == pytest.approx(2.0)


@given(scores, st.floats(0.1, 10), st.floats(-100, 100))
def test_iqm_follows_a_change_of_unit(runs, scale, shift):
    assert statistics.iqm(runs * scale + shift) == pytest.approx(statistics.iqm(runs) * scale + shift, abs=1e-6)


def test_leading_axes_are_kept():
    runs = np.array([[0.0, 1.0, 2.0, 9.0], [5.0, 5.0, 5.0, 5.0]])
    for statistic in (statistics.mean, statistics.std, statistics.median, statistics.iqm):
        np.testing.assert_allclose(statistic(runs), [statistic(row) for row in runs])
    np.testing.assert_allclose(statistics.iqm(runs, [1, 1, 1, 1]), [1.5, 5.0])


def test_a_nan_score_is_never_trimmed_away():
    # sorted to the end, the NaN would be among the quarter that is cut
    runs = [1.0, 2.0, 3.0, np.nan]
    for statistic in (statistics.mean, statistics.std, statistics.median, statistics.iqm):
        assert math.isnan(statistic(runs))
    assert math.isnan(statistics.iqm(runs, [1, 1, 1, 1]))


@pytest.mark.filterwarnings("error")
def test_no_runs_give_nan_and_one_run_has_no_spread():
    for statistic in (statistics.mean, statistics.std, statistics.median, statistics.iqm):
        assert math.isnan(statistic([]))
    assert math.isnan(statistics.std([3.0]))
    assert statistics.iqm([3.0]) == 3.0


def test_optimality_gap_ignores_what_exceeds_the_reference():
    # gaps 0.75, 0 and 0: the score of 5 does not pay for the 0.25
    assert statistics.optimality_gap([0.25, 1.0, 5.0]) == pytest.approx(0.25)


def test_pooled_environments_count_the_same_when_a_run_is_missing():
    pooled, weights = statistics.pool([[0.0, 0.0, 0.0, 0.0], [1.0, 1.0]])
    assert statistics.mean(pooled, weights) == pytest.approx(0.5)
    assert statistics.mean(pooled) == pytest.approx(1 / 3)  # without weights the smaller one loses


# ---------------------------------------------------------------- bootstrap


def test_bootstrap_interval_of_two_runs_by_hand():
    # resamples of {0, 1}: mean 0 with probability 1/4, 0.5 with 1/2, 1 with 1/4
    assert statistics.interval([0.0, 1.0], statistics.mean, confidence=0.95)[:2] == (0.0, 1.0)
    assert statistics.interval([0.0, 1.0], statistics.mean, confidence=0.4)[:2] == (0.5, 0.5)  # 30 % and 70 %


def test_bootstrap_interval_agrees_with_scipy():
    runs = np.array([3.0, 1.0, 4.0, 1.5, 5.0, 9.0, 2.0, 6.0])
    twin = stats.bootstrap(
        (runs,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(1)
    ).confidence_interval
    ours = statistics.interval(runs, statistics.mean, n_resamples=20_000, rng=2)
    assert ours.n == 8
    assert (ours.low, ours.high) == pytest.approx((twin.low, twin.high), abs=0.1)


@given(several_scores)
def test_interval_lies_within_the_scores(runs):
    low, high, n = statistics.interval(runs, statistics.iqm, n_resamples=200)
    assert n == len(runs)
    assert runs.min() - 1e-9 <= low <= high <= runs.max() + 1e-9


@given(several_scores)
def test_wider_confidence_gives_a_wider_interval(runs):
    narrow = statistics.interval(runs, statistics.mean, confidence=0.5, n_resamples=200)
    wide = statistics.interval(runs, statistics.mean, confidence=0.95, n_resamples=200)
    assert wide.low <= narrow.low <= narrow.high <= wide.high


def test_same_seed_same_interval_other_seed_another():
    runs = np.random.default_rng(3).normal(size=9)
    one = statistics.interval(runs, statistics.mean, rng=5)
    assert one == statistics.interval(runs, statistics.mean, rng=5)
    assert one != statistics.interval(runs, statistics.mean, rng=6)
    assert one == statistics.interval(runs, statistics.mean, rng=np.random.default_rng(5))


def test_one_run_has_no_interval_and_says_n():
    low, high, n = statistics.interval([4.0], statistics.iqm)
    assert math.isnan(low)
    assert math.isnan(high)
    assert n == 1
    assert statistics.interval([], statistics.iqm).n == 0


def test_runs_are_resampled_within_their_environment():
    def pooled_mean(strata):
        return statistics.mean(*statistics.pool(strata))

    # each environment's runs agree, so nothing is left to vary; resampled across environments the mean would
    assert statistics.stratified_interval([[0.0, 0.0], [1.0, 1.0]], pooled_mean) == (0.5, 0.5, 4)
    low, high, _ = statistics.interval([0.0, 0.0, 1.0, 1.0], statistics.mean)
    assert low < 0.5 < high


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(7)
    covered = []
    for _ in range(300):
        low, high, _ = statistics.interval(rng.normal(size=20), statistics.mean, n_resamples=400, rng=rng)
        covered.append(low <= 0.0 <= high)
    # percentile intervals of 20 runs cover about 93 %; three standard errors of 300 trials are 4.4 points
    assert 0.88 < np.mean(covered) < 0.98


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_confidence_in_percent_is_refused(confidence):
    with pytest.raises(ValueError, match=r"write 0\.95"):
        statistics.interval([1.0, 2.0], statistics.mean, confidence=confidence)


def test_band_resamples_whole_runs_and_has_nan_for_one_run():
    curves = np.array([[0.0, 10.0, 5.0], [1.0, 20.0, 5.0]])
    low, high = statistics.band(curves, statistics.mean, confidence=0.95)
    np.testing.assert_allclose(low, [0.0, 10.0, 5.0])
    np.testing.assert_allclose(high, [1.0, 20.0, 5.0])
    alone = statistics.band(curves[:1], statistics.mean)
    assert np.isnan(alone).all()
    # the same resamples at every point: a band scaled by ten is ten times the band
    rng_curves = np.random.default_rng(0).normal(size=(6, 1))
    low, high = statistics.band(np.hstack([rng_curves, 10 * rng_curves]), statistics.iqm)
    np.testing.assert_allclose([10 * low[0], 10 * high[0]], [low[1], high[1]])


# ---------------------------------------------------------------- probability of improvement


def test_probability_of_improvement_by_hand():
    # pairs of (1, 3) against (2, 3): 1<2, 1<3, 3>2, 3=3 -> (0 + 0 + 1 + 0.5) / 4
    assert statistics.probability_of_improvement([1.0, 3.0], [2.0, 3.0]) == 0.375
    assert statistics.probability_of_improvement([5.0], [1.0, 2.0]) == 1.0
    assert statistics.probability_of_improvement([500.0] * 3, [500.0] * 4) == 0.5  # all tied


@given(scores, scores)
def test_probability_of_improvement_is_mann_whitney_and_the_two_directions_sum_to_one(x, y):
    forward = statistics.probability_of_improvement(x, y)
    assert forward == pytest.approx(stats.mannwhitneyu(x, y).statistic / (len(x) * len(y)))
    assert forward + statistics.probability_of_improvement(y, x) == pytest.approx(1.0)


def test_average_improvement_weighs_environments_not_pairs():
    pairs = [([1.0], [0.0]), ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0])]
    assert statistics.average_probability_of_improvement(pairs) == 0.5


def test_improvement_interval_matches_resampling_by_brute_force():
    x, y = np.array([1.0, 4.0, 6.0]), np.array([2.0, 4.0])
    everything = [
        statistics.probability_of_improvement(x[list(i)], y[list(j)])
        for i in product(range(3), repeat=3)
        for j in product(range(2), repeat=2)
    ]
    for confidence in (0.5, 0.8, 0.95):
        expected = np.quantile(everything, [(1 - confidence) / 2, (1 + confidence) / 2], method="inverted_cdf")
        ours = statistics.improvement_interval([(x, y)], confidence=confidence, n_resamples=40_000)
        assert ours.n == 5
        assert (ours.low, ours.high) == pytest.approx(expected, abs=1e-9)


def test_improvement_of_clearly_separated_runs_is_certain_and_of_single_runs_unknown():
    assert statistics.improvement_interval([([5.0, 6.0], [1.0, 2.0])]) == (1.0, 1.0, 4)
    assert math.isnan(statistics.improvement_interval([([5.0], [1.0, 2.0])]).low)
    assert math.isnan(statistics.probability_of_improvement([], [1.0]))
    assert math.isnan(statistics.probability_of_improvement([np.nan], [1.0]))


def test_point_estimates_and_intervals_agree_with_rliable():
    """Numbers of rliable 1.2 (Agarwal et al.) with pandas 2 for the same scores; it draws other resamples."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(1, 0.5, (10, 4)).T, rng.normal(0.8, 0.5, (7, 4)).T  # [environments, runs]
    expected = {
        statistics.iqm: (0.96036566, 0.84018, 1.08925),
        statistics.mean: (0.96977785, 0.85191, 1.08409),
        statistics.optimality_gap: (0.17151133, 0.10471, 0.24852),
    }
    for statistic, (estimate, low, high) in expected.items():

        def pooled(strata, statistic=statistic):
            return statistic(*statistics.pool(strata))

        assert pooled(x) == pytest.approx(estimate, abs=1e-8)
        assert statistics.stratified_interval(x, pooled)[:2] == pytest.approx((low, high), abs=0.01)
    pairs = list(zip(x, y, strict=True))
    assert statistics.average_probability_of_improvement(pairs) == pytest.approx(0.48214286)
    assert statistics.improvement_interval(pairs)[:2] == pytest.approx((0.32857, 0.62857), abs=0.02)


# ---------------------------------------------------------------- curves


def test_area_under_curve_by_hand():
    # trapezoids: 10 * (0 + 4) / 2 = 20 and 30 * (4 + 8) / 2 = 180, over 40 steps
    assert statistics.area_under_curve([10, 20, 50], [0.0, 4.0, 8.0]) == 5.0


@given(st.lists(st.integers(1, 10**6), min_size=2, max_size=9, unique=True), st.floats(-500, 500))
def test_area_under_a_constant_curve_is_the_constant(steps, value):
    assert statistics.area_under_curve(sorted(steps), [value] * len(steps)) == pytest.approx(value, abs=1e-6)


def test_area_under_one_evaluation_is_unknown():
    assert math.isnan(statistics.area_under_curve([100], [3.0]))


def test_evaluations_out_of_order_are_refused():
    with pytest.raises(ValueError, match="strictly increase"):
        statistics.area_under_curve([20, 10], [1.0, 2.0])


def test_first_reaching_is_the_first_evaluation_at_or_above_and_does_not_interpolate():
    assert statistics.first_reaching([100, 200, 300], [10.0, 475.0, 300.0], 475.0) == 200
    assert math.isnan(statistics.first_reaching([100, 200], [10.0, 474.9], 475.0))
    assert math.isnan(statistics.first_reaching([100], [10.0], float("nan")))


def test_censored_runs_count_as_late_and_are_not_left_out():
    nan = float("nan")
    assert statistics.censored_median([100.0, 300.0, nan]) == 300.0  # not 200, the mean of those that arrived
    assert math.isnan(statistics.censored_median([100.0, nan, nan]))
    assert math.isnan(statistics.censored_median([100.0, nan]))  # half arrived: the median is between 100 and unknown
    assert math.isnan(statistics.censored_median([]))


def test_common_grid_keeps_shared_steps_and_spans_only_what_all_runs_cover():
    np.testing.assert_array_equal(statistics.common_grid([[10, 20, 50], [10, 20, 50]]), [10, 20, 50])
    np.testing.assert_allclose(statistics.common_grid([[10, 20, 50], [12, 48]]), [12, 30, 48])
    assert statistics.common_grid([[10, 20], [30, 40]]).size == 0
    np.testing.assert_array_equal(statistics.common_grid([[10, 20], [20, 40]]), [20])


def test_interpolate_is_linear_and_never_extrapolates():
    np.testing.assert_allclose(statistics.interpolate([0, 10], [0.0, 100.0], [0, 2.5, 10]), [0.0, 25.0, 100.0])
    with pytest.raises(ValueError, match="common_grid"):
        statistics.interpolate([0, 10], [0.0, 100.0], [11])
