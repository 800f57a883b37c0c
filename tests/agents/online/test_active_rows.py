"""Rows read and changed by their indices: the same as plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from agents.online.active_rows import ActiveRows


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.mark.parametrize("n_columns", [1, 2, 5])
def test_sums_and_changes_are_those_of_plain_indexing_whatever_the_number_of_rows(random, n_columns):
    plain = random.standard_normal((40, n_columns))
    table = plain.copy()
    rows = ActiveRows(table)
    for n_active in (1, 11, 11, 3, 40, 0):
        x = random.choice(40, n_active, replace=False)
        np.testing.assert_allclose(rows.total(x), plain[x].sum(axis=0), rtol=0, atol=1e-12)
        assert rows.total_of(table[:, -1], x) == pytest.approx(plain[x, -1].sum(), rel=0, abs=1e-12)

        row = random.standard_normal(n_columns).tolist()
        rows.add(x, row)
        plain[x] += row
        np.testing.assert_array_equal(table, plain)

        each = random.standard_normal((n_active, n_columns))
        rows.add_each(x, each)
        plain[x] += each
        np.testing.assert_array_equal(table, plain)


@pytest.mark.parametrize("outside", [-4, 3])
def test_an_index_outside_of_the_table_is_an_error(outside):
    table = np.zeros((3, 2))
    rows, x = ActiveRows(table), np.array([0, outside])
    for act in (lambda: rows.total(x), lambda: rows.add(x, [1.0, 1.0]), lambda: rows.add_each(x, np.ones((2, 2)))):
        with pytest.raises(IndexError):
            act()


def test_a_nan_stays_in_its_column():
    table = np.ones((3, 2))
    table[1, 0] = np.nan
    total = ActiveRows(table).total(np.array([0, 1, 2]))
    assert np.isnan(total[0])
    assert total[1] == 3.0
