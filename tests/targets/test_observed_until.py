"""Customers who were observed for less than the log, such as until a contract ended."""

import numpy as np
import pandas as pd
import pytest

from sklearn_seqcrm.targets import (
    churned,
    future_count,
    future_sum,
    next_value,
    time_to_next,
)
from tests.logs import log_of_table
from tests.targets.small_logs import days, shop_log, small_log


def two_rows():
    """Customers a, with orders on the days 3 and 8, and b, without one after day 1."""
    return shop_log().attach(pd.DataFrame({"id": list("ab")}), cutoff=days(2)[0])


def test_what_happens_after_the_end_of_a_contract_does_not_count():
    X, ends = two_rows(), days(5, 40)
    options = {"kinds": "order", "censored": "nan", "observed_until": ends}
    assert churned(X, "4D", **options).tolist() == [0, 1]
    assert np.isnan(churned(X, "5D", **options)).tolist() == [True, False]
    assert future_sum(X, "price", "4D", **options).tolist() == [4, 0]
    assert next_value(X, "size", "4D", **options).tolist() == ["M", np.nan]
    y = time_to_next(X, **{**options, "censored": "keep"})
    assert y["event"].tolist() == [True, False]
    assert (y["time"] / pd.Timedelta("1D")).tolist() == [1, 11]
    after = time_to_next(X, gap="3D", **{**options, "censored": "keep"})
    assert after["time"].tolist() == [pd.Timedelta("0D"), pd.Timedelta("8D")]


def test_an_end_is_at_most_that_of_the_log():
    X = two_rows()
    late = pd.Series(days(99, 99), X.index)
    none = pd.Series([pd.NaT, pd.NaT], X.index)
    for ends in (late, none, [None, None], np.array(["NaT", "NaT"], dtype="M8[s]")):
        pd.testing.assert_series_equal(
            future_count(X, "20D", censored="nan", observed_until=ends),
            future_count(X, "20D", censored="nan"),
        )


def test_the_last_second_of_a_day_means_the_whole_day():
    log = small_log(observed_until=days(30)[0] + pd.Timedelta("1h"))
    X = log.attach(pd.DataFrame({"id": list("ab")}), cutoff=days(1)[0])
    ends = pd.to_datetime(["2024-01-05 23:59:59", "2024-01-05 23:59:58"])
    found = future_count(X, "4D", censored="nan", observed_until=ends)
    assert found.isna().tolist() == [False, True]


def test_rows_are_matched_by_position_and_another_order_is_a_warning():
    X = two_rows().set_axis(["x", "y"])
    ends = pd.Series(days(5, 40), ["y", "x"])
    with pytest.warns(
        UserWarning, match="observed_until has the index of X in another"
    ):
        found = churned(X, "5D", censored="nan", observed_until=ends)
    assert found.isna().tolist() == [True, False]


@pytest.mark.parametrize(
    ("ends", "match"),
    [
        ("ends", r"a time for each row, such as X\['contract_end'\]; got 'ends'"),
        (days(3)[0], "a time for each row"),
        (days(3), "observed_until has 1 times, and X has 2 rows"),
        ([3, 4], "observed_until"),
        (["soon", "late"], "observed_until must be datetimes"),
        (days(3, 4).tz_localize("UTC"), "time-zone aware"),
    ],
)
def test_other_ends_are_errors(ends, match):
    with pytest.raises((TypeError, ValueError), match=match):
        churned(two_rows(), "5D", observed_until=ends)


def test_hazards_are_those_of_customers_under_observation():
    """Half of the customers leave early; an event has a chance of .1 on each day."""
    rng = np.random.default_rng(0)
    n, start = 4000, days(0)[0]
    wait = rng.geometric(0.1, n)
    leave = np.where(rng.random(n) < 0.5, rng.integers(2, 6, n), 60)
    seen = wait <= leave  # events after customers have left are not recorded
    events = pd.DataFrame(
        {
            "id": np.append(np.arange(n), np.flatnonzero(seen)),
            "day": start + pd.to_timedelta(np.append(0 * wait, wait[seen]), unit="D"),
        }
    )
    log = log_of_table(events, observed_until=days(60)[0])
    X = log.snapshots(days(1))
    ends = start + pd.to_timedelta(leave[X["id"]], unit="D")

    def survival(**options):
        """Kaplan and Meier's estimate of no event in the first ten days."""
        y = time_to_next(X, "14D", censored="keep", **options)
        day = (y["time"] // pd.Timedelta("1D")).to_numpy()
        event = y["event"].to_numpy()
        return np.prod(
            [1 - (event & (day == k)).sum() / (day >= k).sum() for k in range(10)]
        )

    assert abs(survival(observed_until=ends) - 0.9**10) < 0.02
    # Otherwise, those who left seem to have waited.
    assert survival() > 0.9**10 + 0.1
