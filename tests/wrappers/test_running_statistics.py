"""Running statistics: exact merges, float64 precision, deltas without a prior, and clear refusals."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.running_mean_std import RunningMeanStd

from wrappers import RunningStatistics
from wrappers.running_statistics import BLOCK_ROWS


def of(data, **options):
    data = np.asarray(data)
    statistics = RunningStatistics(data.shape[1:], **options)
    statistics.update(data)
    return statistics


def exact(data):
    """Mean and population variance in extended precision."""
    data = np.asarray(data, dtype=np.longdouble)
    mean = data.mean(axis=0)
    return mean, ((data - mean) ** 2).mean(axis=0)


def assert_exact(statistics, data):
    """The promise: mean within 1e-12 max|x|, variance within 1e-12 (var + max|x|^2)."""
    mean, var = exact(data)
    largest = np.abs(np.asarray(data, dtype=np.float64)).max()
    assert np.all(np.abs(statistics.mean - mean) <= 1e-12 * largest)
    assert np.all(np.abs(statistics.var - var) <= 1e-12 * (var + largest**2))
    assert statistics.count == statistics.n_samples == len(data)


# magnitudes whose squares neither overflow nor leave the normal numbers
finite = st.floats(1e-100, 1e100) | st.floats(-1e100, -1e-100) | st.just(0.0) | st.floats(999_999.0, 1_000_001.0)


@st.composite
def split_streams(draw):
    rows = draw(st.lists(st.tuples(finite, finite), min_size=1, max_size=40))
    owners = draw(st.lists(st.integers(0, 5), min_size=len(rows), max_size=len(rows)))
    order = draw(st.permutations(range(6)))
    return np.array(rows), [np.array([r for r, o in zip(rows, owners, strict=True) if o == i]) for i in order]


@settings(max_examples=200)
@given(split_streams())
def test_merging_splits_in_any_order_equals_one_pass(streams):
    rows, splits = streams
    merged = RunningStatistics((2,))
    for split in splits:
        merged.merge(of(split.reshape(-1, 2)))
    assert_exact(merged, rows)


@settings(max_examples=100)
@given(st.lists(finite, min_size=1, max_size=40), st.data())
def test_batches_of_any_size_equal_one_pass(numbers, data):
    statistics = RunningStatistics()
    rest = np.array(numbers)
    while len(rest):
        n = data.draw(st.integers(1, len(rest)))
        statistics.update(rest[:n])
        rest = rest[n:]
    assert_exact(statistics, np.array(numbers))


def test_a_long_stream_taken_one_by_one_stays_exact():
    data = np.random.default_rng(0).normal(1e6, 1.0, (100_000, 1))
    one_by_one = RunningStatistics((1,))
    for row in data:
        one_by_one.update(row[None])
    assert_exact(one_by_one, data)
    assert_exact(of(data), data)


@pytest.mark.parametrize("batch", [1, 16, 5000])
def test_float32_numbers_far_from_zero_keep_their_deviation(batch):
    data = np.random.default_rng(1).normal(1e6, 1.0, (20_000, 3)).astype(np.float32)
    statistics = RunningStatistics((3,))
    for start in range(0, len(data), batch):
        statistics.update(data[start : start + batch])
    np.testing.assert_allclose(np.sqrt(statistics.var), data.astype(np.float64).std(axis=0), rtol=1e-6)


def test_hand_computed_moments():
    statistics = of([1.0, 2.0, 4.0])
    assert statistics.mean == pytest.approx(7 / 3)
    assert statistics.var == pytest.approx(14 / 9)
    assert statistics.m2 == pytest.approx(14 / 3)
    assert statistics.count == 3


def test_a_constant_has_exactly_no_variance_whatever_the_way():
    whole = of(np.full((7, 2), 0.1))
    merged = of(np.full((3, 2), 0.1))
    merged.merge(of(np.full((4, 2), 0.1)))
    for statistics in (whole, merged):
        np.testing.assert_array_equal(statistics.var, 0.0)
        np.testing.assert_array_equal(statistics.mean, 0.1)
        np.testing.assert_array_equal(statistics.update_and_center(np.full((2, 2), 0.1)), 0.0)


@pytest.mark.parametrize("offset", [0.0, 1.0, 1e6])
def test_with_a_prior_it_follows_sb3(offset):
    rng = np.random.default_rng(2)
    ours, theirs = RunningStatistics((3,), prior_count=1e-4), RunningMeanStd(shape=(3,))
    for _ in range(200):
        batch = rng.normal(offset, 2.0, (4, 3))
        ours.update(batch)
        theirs.update(batch)
    np.testing.assert_allclose(ours.mean, theirs.mean, rtol=1e-12)
    np.testing.assert_allclose(ours.var, theirs.var, rtol=1e-9)
    assert ours.count == pytest.approx(theirs.count)


def test_single_numbers_give_the_same_as_arrays():
    """Scalars take a way of their own."""
    data = np.random.default_rng(3).normal(5, 2, (300, 4))
    scalar, vector = RunningStatistics(prior_count=1e-4), RunningStatistics((2,), prior_count=1e-4)
    for batch in data:
        scalar.update(batch)
        vector.update(np.stack([batch, batch], axis=1))
    np.testing.assert_allclose(scalar.mean, vector.mean[0], rtol=1e-13)
    np.testing.assert_allclose(scalar.var, vector.var[0], rtol=1e-13)
    np.testing.assert_allclose(scalar.scale(0.5), np.sqrt(scalar.var + 0.5))


def test_a_prior_stands_once_after_a_merge():
    a, b = of([[1.0], [5.0]], prior_count=0.5), of([[2.0], [7.0], [9.0]], prior_count=0.5)
    a.merge(b)
    whole = of([[1.0], [5.0], [2.0], [7.0], [9.0]], prior_count=0.5)
    assert a.count == whole.count == 5.5
    np.testing.assert_allclose(a.mean, whole.mean, rtol=1e-14)
    np.testing.assert_allclose(a.var, whole.var, rtol=1e-14)
    # weight 0.5 of mean 0 and variance 1: mean 24 / 5.5, M2 = 0.5 + sum x^2 - 24^2 / 5.5
    np.testing.assert_allclose(a.mean, 24 / 5.5)
    np.testing.assert_allclose(a.var, (0.5 + 160 - 24**2 / 5.5) / 5.5)
    a.merge(RunningStatistics((1,), prior_count=0.5))
    assert a.count == 5.5


@pytest.mark.parametrize("size", [1, 3, 9000])  # 9000 numbers do not fit the recorder's buffer
def test_two_workers_deltas_make_one_stream(size):
    rng = np.random.default_rng(4)
    first = rng.normal(3, 2, (20, size))
    shared = of(first, prior_count=1e-4)
    workers = [shared.copy(), shared.copy()]
    for worker in workers:
        worker.track_delta()
    streams = [first]
    for _round in range(3):
        for worker in workers:
            streams.append(rng.normal(3, 2, (5, size)))
            for row in streams[-1]:
                worker.update(row[None])
        for worker in workers:
            delta = worker.take_delta()
            assert delta.count == delta.n_samples == 5
            assert delta.prior_count == 0
            shared.merge(delta)
        for worker in workers:
            worker.rebase(shared)
    one_pass = of(np.concatenate(streams), prior_count=1e-4)
    for statistics in (shared, *workers):
        assert statistics.count == pytest.approx(1e-4 + 50, abs=1e-12)
        np.testing.assert_allclose(statistics.mean, one_pass.mean, rtol=1e-12)
        np.testing.assert_allclose(statistics.var, one_pass.var, rtol=1e-12)


def test_a_rebase_keeps_what_was_not_reported_yet():
    worker = of([[1.0], [2.0]], prior_count=1e-4)
    base = worker.copy()
    worker.track_delta()
    worker.update(np.array([[10.0]]))
    base.update(np.array([[4.0]]))
    worker.rebase(base)
    np.testing.assert_allclose(worker.mean, of([[1.0], [2.0], [4.0], [10.0]], prior_count=1e-4).mean)
    assert worker.take_delta().mean == 10.0
    assert worker.take_delta().count == 0


def test_more_rows_than_the_recorder_holds_are_all_reported():
    worker = RunningStatistics((2,))
    worker.track_delta()
    data = np.random.default_rng(5).normal(size=(10_000, 2))
    for start in range(0, 10_000, 37):
        worker.update(data[start : start + 37])
    assert_exact(worker.take_delta(), data)


def test_a_delta_needs_tracking():
    with pytest.raises(RuntimeError, match="track_delta"):
        RunningStatistics().take_delta()


def test_decay_weighs_every_older_sample_less():
    statistics = RunningStatistics(decay=0.5)
    for x in (8.0, 4.0, 2.0):
        statistics.update(np.array([x]))
    # weights 1/4, 1/2, 1
    mean = (8 / 4 + 4 / 2 + 2) / 1.75
    assert statistics.count == 1.75
    assert statistics.mean == pytest.approx(mean)
    assert statistics.var == pytest.approx(((8 - mean) ** 2 / 4 + (4 - mean) ** 2 / 2 + (2 - mean) ** 2) / 1.75)
    assert statistics.n_samples == 3


def test_decay_in_a_merge_counts_the_delta_as_later():
    base = RunningStatistics((2,), decay=0.5, prior_count=0.1)
    base.update(np.full((1, 2), 8.0))
    worker = base.copy()
    worker.track_delta()
    for x in (4.0, 2.0):
        worker.update(np.full((1, 2), x))
    base.merge(worker.take_delta())
    np.testing.assert_allclose(base.mean, worker.mean)
    np.testing.assert_allclose(base.var, worker.var)
    assert base.prior_count == pytest.approx(0.1 / 8)


def test_the_warm_up_changes_nothing_and_then_ends():
    statistics = RunningStatistics((2,), warmup=3)
    batch = np.array([[5.0, 6.0], [7.0, 8.0]])
    np.testing.assert_array_equal(statistics.update_and_center(batch), batch)
    np.testing.assert_array_equal(statistics.scale(1e-8), 1.0)
    assert not statistics.ready
    np.testing.assert_array_equal(statistics.update_and_center(batch), [[-1, -1], [1, 1]])
    assert statistics.ready
    np.testing.assert_array_equal(statistics.scale(0.0), 1.0)
    np.testing.assert_array_equal(statistics.scale(3.0), 2.0)


def test_without_data_nothing_is_changed():
    statistics = RunningStatistics((2,))
    np.testing.assert_array_equal(statistics.center(np.array([[3.0, 4.0]])), [[3, 4]])
    np.testing.assert_array_equal(statistics.scale(0.0), 1.0)
    statistics.update(np.empty((0, 2)))
    assert statistics.count == 0


@pytest.mark.parametrize("tracking", [False, True])
@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused_and_leave_no_trace(shape, bad, tracking):
    good = np.random.default_rng(6).normal(size=(4, *shape))
    statistics = RunningStatistics(shape, name="observation 'speed'")
    statistics.update(good)
    if tracking:
        statistics.track_delta()
    before = statistics.to_flat().copy()
    broken = good.copy()
    broken[(2, *(1 for _ in shape))] = bad
    index = str(tuple(1 for _ in shape)).replace("(", r"\(").replace(")", r"\)")
    message = rf"observation 'speed': {bad} in row 2 of 4 \(index {index}\)"
    for method in (statistics.update, statistics.update_and_center, statistics.center):
        with pytest.raises(ValueError, match=message):
            method(broken)
    with pytest.raises(ValueError, match="in row"):
        statistics.update(np.concatenate([good] * BLOCK_ROWS + [broken]))
    np.testing.assert_array_equal(statistics.to_flat(), before)
    assert not tracking or statistics.take_delta().count == 0


@pytest.mark.filterwarnings("ignore:invalid value")
def test_infinities_of_both_signs_do_not_cancel():
    with pytest.raises(ValueError, match="only finite"):
        RunningStatistics((1,)).update(np.array([[np.inf], [-np.inf]]))


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("shape", [(), (2,)])
def test_finite_numbers_whose_squares_overflow_are_told_apart(shape):
    statistics = RunningStatistics(shape, prior_count=1e-4)
    statistics.update(np.ones((3, *shape)))
    with pytest.raises(ValueError, match="overflow"):
        statistics.update(np.full((1, *shape), 1e200))


def test_another_shape_is_refused_with_both_shapes():
    statistics = RunningStatistics((3,), name="observation 'arm'")
    for method in (statistics.update, statistics.center, statistics.update_and_center):
        with pytest.raises(ValueError, match=r"'arm'.*\(5, 2\).*\(3,\)"):
            method(np.zeros((5, 2)))
    with pytest.raises(ValueError, match=r"\(\).*\(3,\)"):
        statistics.merge(RunningStatistics())
    with pytest.raises(ValueError, match=r"\(4,\).*\(3,\)"):
        statistics.rebase(RunningStatistics((4,)))
    with pytest.raises(ValueError, match=r"\(5, 1\)"):
        of([1.0, 2.0, 3.0]).update(np.zeros((5, 1)))


def test_frozen_statistics_refuse_every_change():
    statistics = of([[1.0], [2.0]], name="observation 'arm'")
    statistics.frozen = True
    changes = [
        lambda: statistics.update(np.zeros((1, 1))),
        lambda: statistics.update_and_center(np.zeros((1, 1))),
        lambda: statistics.merge(of([[3.0]])),
        lambda: statistics.update_from_moments([0.0], [1.0], 3),
        lambda: statistics.set_moments([0.0], [1.0], 3),
        lambda: statistics.load_flat(statistics.to_flat()),
    ]
    for change in changes:
        with pytest.raises(RuntimeError, match=r"'arm'.*frozen"):
            change()
    assert statistics.mean == 1.5
    np.testing.assert_array_equal(statistics.center(np.array([[2.5]])), 1.0)


def test_the_flat_form_goes_round_and_can_live_in_given_memory():
    statistics = of(np.random.default_rng(7).normal(size=(5, 2, 3)), prior_count=1e-4)
    memory = np.zeros(statistics.flat_size)
    assert statistics.to_flat(out=memory) is memory
    again = RunningStatistics.from_flat(memory, (2, 3))
    np.testing.assert_array_equal(again.mean, statistics.mean)
    np.testing.assert_array_equal(again.var, statistics.var)
    assert (again.count, again.n_samples, again.prior_count) == (5 + 1e-4, 5, 1e-4)
    memory[:] = 0  # the statistics are no view of the memory
    assert again.count == 5 + 1e-4
    with pytest.raises(ValueError, match=r"\(15,\).*\(2,\) need \(7,\)"):
        RunningStatistics((2,)).load_flat(statistics.to_flat())


def test_arrays_go_round_to_the_bit_with_every_option():
    statistics = of(np.random.default_rng(8).normal(size=(9, 50)), prior_count=1e-4, decay=0.9, warmup=4)
    arrays = statistics.to_arrays()
    assert all(a.dtype != object for a in arrays.values())
    again = RunningStatistics.from_arrays(arrays, shape=(50,), name="again")
    assert again.prior_count == statistics.prior_count == pytest.approx(1e-4 * 0.9**9)
    for batch in np.random.default_rng(9).normal(size=(3, 4, 50)):
        np.testing.assert_array_equal(again.update_and_center(batch), statistics.update_and_center(batch))
        np.testing.assert_array_equal(again.scale(1e-8), statistics.scale(1e-8))
    assert (again.decay, again.warmup, again.n_samples) == (0.9, 4, 21)
    empty = RunningStatistics.from_arrays(RunningStatistics((2,)).to_arrays())
    assert empty.count == 0


def test_sb3_moments_are_taken_over_to_the_bit():
    theirs = RunningMeanStd(shape=(50,))
    theirs.update_from_moments(np.zeros(50), np.zeros(50), 11)
    theirs.var = np.random.default_rng(10).exponential(size=50)  # not all of them are M2 / count for some M2
    ours = RunningStatistics.from_arrays({"mean": theirs.mean, "var": theirs.var, "count": np.array(theirs.count)})
    np.testing.assert_array_equal(ours.var, theirs.var)
    np.testing.assert_array_equal(ours.copy().var, theirs.var)
    assert ours.n_samples == 11
    assert ours.prior_count == pytest.approx(1e-4)


def test_arrays_of_another_shape_or_incomplete_are_refused():
    arrays = of([[1.0, 2.0]]).to_arrays()
    with pytest.raises(ValueError, match=r"'arm'.*\(2,\).*\(3,\)"):
        RunningStatistics.from_arrays(arrays, shape=(3,), name="observation 'arm'")
    with pytest.raises(ValueError, match=r"\['var'\] are missing"):
        RunningStatistics.from_arrays({"mean": np.zeros(2), "count": np.array(1.0)})
    with pytest.raises(ValueError, match="not negative"):
        RunningStatistics.from_arrays(arrays | {"var": np.array([1.0, -1.0])})
    with pytest.raises(ValueError, match="positive count"):
        RunningStatistics((2,)).set_moments([0.0, 0.0], [1.0, 1.0], 0)
    with pytest.raises(ValueError, match=r"mean has shape \(3,\)"):
        RunningStatistics((2,)).set_moments(np.zeros(3), np.ones(2), 1)


def test_reading_the_variance_does_not_hide_an_update_from_the_scale():
    for shape in ((), (2,)):
        statistics = of(np.zeros((2, *shape)))
        np.testing.assert_array_equal(statistics.scale(0.0), 0.0)
        statistics.update(np.full((2, *shape), 2.0))
        np.testing.assert_array_equal(statistics.var, 1.0)
        np.testing.assert_array_equal(statistics.scale(0.0), 1.0)


CHANGES = {
    "update": lambda s: s.update(np.array([[9.0, 5.0], [1.0, 2.0], [3.0, 3.0]])),
    "merge": lambda s: s.merge(of([[9.0, 5.0]])),
    "moments of a batch": lambda s: s.update_from_moments([9.0, 5.0], [1.0, 4.0], 2),
    "moments": lambda s: s.set_moments([9.0, 5.0], [1.0, 4.0], 2),
    "flat": lambda s: s.load_flat(of([[9.0, 5.0], [1.0, 1.0]]).to_flat()),
    "rebase": lambda s: s.rebase(of([[9.0, 5.0], [1.0, 1.0]])),
    "mean": lambda s: setattr(s, "mean", [4.0, 4.0]),
    "var": lambda s: setattr(s, "var", [4.0, 4.0]),
    "nothing": lambda s: None,
}


@pytest.mark.parametrize("n", [1, 2, 3000])  # each keeps mean and scale in another way
@pytest.mark.parametrize("change", CHANGES)
def test_every_change_shows_in_all_that_is_derived(change, n):
    statistics = of([[1.0, 2.0], [3.0, 7.0]])
    batch = np.random.default_rng(11).normal(size=(n, 2))

    def check(epsilon):
        expected = (batch - statistics.mean) / np.sqrt(statistics.var + epsilon)
        np.testing.assert_allclose(statistics.standardize(batch, epsilon, update=False), expected, rtol=1e-14)
        np.testing.assert_allclose(statistics.scale(epsilon), np.sqrt(statistics.var + epsilon), rtol=1e-14)

    check(0.5)
    CHANGES[change](statistics)
    check(0.5)
    check(0.25)
    statistics.standardize(np.zeros((4, 2)), 0.75, update=False)  # another batch in between
    statistics.scale(0.5)
    check(0.5)


def test_standardizing_with_an_update_equals_one_after_the_other():
    one, two = of([[1.0, 2.0], [3.0, 7.0]]), of([[1.0, 2.0], [3.0, 7.0]])
    for n in (1, 3, 1, 3, 200):
        batch = np.random.default_rng(n).normal(size=(n, 2))
        both = one.standardize(batch, 0.5, update=True).copy()
        two.update(batch)
        np.testing.assert_array_equal(both, two.standardize(batch, 0.5, update=False))


def test_rounding_never_makes_a_variance_negative():
    # 0.1 + 0.1 + 0.1 rounds up, so the mean of the three is larger than each of them
    statistics = RunningStatistics((2,), prior_count=1e-20)
    statistics.update(np.full((3, 2), 0.1))
    assert np.all(statistics.var >= 0)
    np.testing.assert_array_equal(np.isnan(statistics.scale(0.0)), False)


def test_what_is_read_cannot_be_written_to():
    statistics = of([[1.0], [2.0]])
    with pytest.raises(ValueError, match="read-only"):
        statistics.mean[:] = 0
    mean = statistics.mean
    statistics.update(np.array([[9.0]]))
    assert mean == 1.5


def test_it_stands_where_sb3_expects_its_own():
    ours, theirs = of([[1.0], [2.0]]), RunningMeanStd(epsilon=0.0, shape=(1,))
    theirs.update_from_moments(np.array([1.5]), np.array([0.25]), 2)
    assert isinstance(ours, RunningMeanStd)
    other = RunningMeanStd(epsilon=0.0, shape=(1,))
    other.update_from_moments(np.array([6.0]), np.array([4.0]), 3)
    ours.combine(other)
    theirs.combine(other)
    np.testing.assert_allclose([ours.mean, ours.var], [theirs.mean, theirs.var])
    assert ours.count == ours.n_samples == 5
    theirs.combine(ours)
    assert theirs.count == 10


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s)), RunningStatistics.copy])
def test_copies_are_independent(duplicate):
    original = of([[1.0], [2.0]])
    twin = duplicate(original)
    twin.update(np.array([[9.0], [9.0], [9.0]]))
    assert original.mean == 1.5
    assert original.count == 2
    assert twin.count == 5


@pytest.mark.parametrize(
    "options",
    [{"prior_count": -1.0}, {"prior_count": np.inf}, {"decay": 0.0}, {"decay": 1.1}, {"warmup": -1}],
)
def test_options_outside_their_range_are_named(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        RunningStatistics(**options)
