"""Customers who were observed for less than the log, such as until a contract ended."""

from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.targets import (
    churned,
    future_count,
    future_sum,
    next_value,
    time_to_next,
)
from tests.logs import log_of_table
from tests.targets.small_logs import days, shop_log, small_log

DAY = pd.Timedelta("1D")


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


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
@pytest.mark.parametrize(
    "convert",
    [
        lambda ends: ends,
        lambda ends: ends.astype(object),
        lambda ends: ends.astype("category"),
        list,
        lambda ends: [one.to_pydatetime() for one in ends],
        lambda ends: ends.array,
        lambda ends: ends.astype(pd.ArrowDtype(pa.timestamp("us", ends.dt.tz))),
    ],
)
def test_ends_of_days_in_their_own_zone(zone, convert):
    times = pd.Series(days(0, 3)).dt.tz_localize(zone) + pd.Timedelta("9h")
    log = EventLog(pd.DataFrame({"id": ["a", "b"], "at": times}), "id", "at")
    log = log.append(
        log.to_frame(), duplicates="keep", observed_until=times[1] + 60 * DAY
    )
    X = log.attach(pd.DataFrame({"id": list("ab")}), cutoff=times[1] + DAY)
    # The day 8 of the zone ends before the window that ends at 9:00 on the day 9.
    ends = pd.Series(days(8, 9)).dt.tz_localize(zone) + DAY - pd.Timedelta("1s")
    found = future_count(X, "5D", censored="nan", observed_until=convert(ends))
    assert found.isna().tolist() == [True, False]
    whole_day = future_count(X, "4D15h", censored="nan", observed_until=convert(ends))
    assert whole_day.notna().all()


@pytest.mark.parametrize("never", ["9999-12-31", "2400-01-01"])
def test_contracts_without_an_end(never):
    """Nanoseconds end in 2262."""
    events = pd.DataFrame({"id": list("ab"), "at": days(0, 9).astype("M8[ns]")})
    log = EventLog(events, "id", "at")
    X = log.attach(events[["id"]], cutoff=days(2)[0])
    ends = pd.Series(np.array([never, "2024-01-05"], dtype="M8[s]"))
    for one in (ends, ends.astype(object), ends.dt.date):
        found = churned(X, "5D", censored="nan", observed_until=one)
        assert found.isna().tolist() == [False, True]
    numbers = EventLog(pd.DataFrame({"id": list("ab"), "at": [0, 9]}), "id", "at")
    X = numbers.attach(pd.DataFrame({"id": list("ab")}), cutoff=2)
    found = churned(X, 5, censored="nan", observed_until=[np.inf, 4])
    assert found.isna().tolist() == [False, True]


def test_dates_beside_times_of_day_are_a_warning():
    """A cancellation at 15:00 on the last day of the contract did not count."""
    times = days(0, 9) + pd.Timedelta("15h")
    log = EventLog(
        pd.DataFrame({"id": "a", "at": times}),
        "id",
        "at",
        observed_until=times[1] + 60 * DAY,
    )
    X = log.attach(pd.DataFrame({"id": ["a"]}), cutoff=days(5)[0])
    ends = pd.Series(days(9))
    with pytest.warns(UserWarning, match="are midnights, and the events"):
        y = time_to_next(X, "30D", censored="keep", observed_until=ends)
    assert not y["event"].any()
    with pytest.warns(UserWarning, match="are midnights, and the events"):
        time_to_next(X, "30D", censored="keep", observed_until=ends.dt.date)
    whole = ends + pd.Timedelta("1D") - pd.Timedelta("1s")
    y = time_to_next(X, "30D", censored="keep", observed_until=whole)
    assert y["event"].all()
    before = ends - pd.Timedelta("1s")
    y = time_to_next(X, "30D", censored="keep", observed_until=before)
    assert (y["time"] < pd.Timedelta("4D")).all()


def test_rows_are_matched_by_position_and_another_order_is_a_warning():
    X = two_rows().set_axis(["x", "y"])
    ends = pd.Series(days(5, 40), ["y", "x"])
    with pytest.warns(
        UserWarning, match="observed_until has the index of X in another"
    ):
        found = churned(X, "5D", censored="nan", observed_until=ends)
    assert found.isna().tolist() == [True, False]


def test_several_horizons_warn_once():
    X = two_rows().set_axis(["x", "y"])
    ends = pd.Series(days(5, 40), ["y", "x"])
    options = {"observed_until": ends, "kinds": "order", "censored": "nan"}
    for target in (
        lambda: churned(X, ["1D", "2D", "3D"], **options),
        lambda: future_count(X, ["1D", "2D", "3D"], **options),
        lambda: future_sum(X, "price", ["1D", "2D", "3D"], **options),
    ):
        with pytest.warns(UserWarning, match="observed_until has the index") as caught:
            target()
        assert len(caught) == 1


def test_ends_between_whole_numbers_are_errors_on_an_axis_of_them():
    events = pd.DataFrame({"id": list("aab"), "at": [0, 4, 9]})
    match = "has 1 times that are not whole numbers, the first of them 5.5, .*: 5 means"
    log = EventLog(events, "id", "at", observed_until=20.0)
    X = log.attach(pd.DataFrame({"id": list("abb")}), cutoff=2)
    for ends in (
        [5.5, 7, np.nan],
        [Decimal("5.5"), Decimal(7), None],
        pd.array([5.5, 7, None]),
    ):
        with pytest.raises(ValueError, match=match):
            churned(X, 3, censored="nan", observed_until=ends)
    found = churned(X, 3, censored="nan", observed_until=[4.0, np.nan, 99.5])
    assert found.tolist() == [0, 1, 1]
    for one in (9.5, np.float32(9.5), Decimal("9.5")):
        with pytest.raises(ValueError, match=match.replace("5.5", "9.5")[:-8]):
            EventLog(events, "id", "at", observed_until=one)
        with pytest.raises(ValueError, match="not whole numbers"):
            EventLog(events, "id", "at").append(events.assign(at=8), observed_until=one)
        with pytest.raises(ValueError, match="not whole numbers"):
            EventLog.concat({"x": log, "y": log}, observed_until=one)
    floats = EventLog(events.astype({"at": float}), "id", "at", observed_until=9.5)
    assert floats.observed_until == 9.5


@pytest.mark.parametrize(
    ("ends", "match"),
    [
        ("ends", r"a time for each .*X\['contract_end'\]; got str"),
        (days(3)[0], "a time for each row, .*got Timestamp"),
        (pd.DataFrame({"ends": days(3, 4)}), "a pandas Series with .*; got DataFrame"),
        (pl.Series(days(3, 4)), "a pandas Series with .*; got Series"),
        ({3, 4}, "got set"),
        (days(3), "observed_until has 1 times, and X has 2 rows"),
        (
            [3, 4],
            "^times of observed_until are plain numbers, but the times of the log",
        ),
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
