"""The end of observation of a log, and which horizons it completes."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.targets import churned, time_to_next
from tests.logs import log_of

MIDNIGHTS = pd.date_range("2020-01-01", periods=1500, freq="D")


def test_one_time_within_a_day_makes_a_log_of_moments():
    """Wherever it is, here after a long run of midnights."""
    moments = MIDNIGHTS.insert(1200, MIDNIGHTS[1200] + pd.Timedelta("10h"))
    for times, is_complete in ((MIDNIGHTS, True), (moments, False)):
        log = log_of(times)
        X = log.attach(pd.DataFrame({"who": ["a"]}), cutoff=MIDNIGHTS[-1])
        y = churned(X, "24h", censored="nan")
        assert np.isfinite(y).tolist() == [is_complete]


@pytest.mark.parametrize("zone", [None, "Asia/Kolkata"])
def test_the_last_day_stays_whole_in_a_finer_unit(zone):
    """A log of seconds until "23:59:59" is observed to midnight, also when merged."""
    times = pd.DatetimeIndex(["2024-03-01 10:00:00", "2024-03-30 11:30:05"], tz=zone)
    until = pd.Timestamp("2024-03-31 23:59:59", tz=zone)
    logs = {
        unit: log_of(times.as_unit(unit), observed_until=until) for unit in ("s", "us")
    }
    merged = EventLog.concat(logs)
    assert merged.timeline.observation.limited_by is None
    for log, kinds in ((logs["s"], None), (logs["us"], None), (merged, ["s", "us"])):
        cutoff = pd.Timestamp("2024-03-25", tz=zone)
        X = log.attach(pd.DataFrame({"who": ["a"]}), cutoff=cutoff)
        assert churned(X, "7D", kinds=kinds).tolist() == [0]
        assert churned(X, "604801s", kinds=kinds, censored="nan").isna().all()


# --- One kind that ends before the others --- -------------------------------------


WEEKS = pd.date_range("2024-01-01", "2024-12-30", freq="7D")
ORDERS = log_of(WEEKS)
COMPLAINT = log_of([pd.Timestamp("2024-02-03")])


def test_a_kind_that_ends_early_limits_the_log_with_a_warning():
    text = (
        "The last event of kind 'complaint' is at 2024-02-03 00:00:00, and other kinds "
        "last until 2024-12-30 00:00:00.*EventLog.concat.*observed_until='2024-12-30 "
        "00:00:00'.*; if not, observed_until='2024-02-03 00:00:00' confirms the end"
    )
    with pytest.warns(UserWarning, match=text) as caught:
        log = EventLog.concat({"order": ORDERS, "complaint": COMPLAINT})
    assert caught[0].filename == __file__
    assert log.observed_until == pd.Timestamp("2024-02-03")
    assert log.timeline.observation.limited_by == "complaint"


@pytest.mark.parametrize(
    ("logs", "options", "limit"),
    [
        ({"a": ORDERS, "b": COMPLAINT}, {"observed_until": "2024-12-30"}, None),
        ({"a": ORDERS, "b": COMPLAINT}, {"observed_until": "2024-02-03"}, None),
        ({"a": ORDERS, "b": log_of(WEEKS[:6], observed_until="2024-03-01")}, {}, "b"),
        ({"a": ORDERS, "b": log_of(WEEKS[:-5])}, {}, "b"),
        ({"a": ORDERS, "b": log_of(WEEKS[3:])}, {}, None),
    ],
)
def test_a_kind_may_end_a_little_early_or_where_given(logs, options, limit):
    log = EventLog.concat(logs, **options)
    assert log.timeline.observation.limited_by == limit


def test_errors_of_incomplete_windows_name_the_limiting_kind(tmp_path):
    with pytest.warns(UserWarning, match="complaint"):
        log = EventLog.concat({"order": ORDERS, "complaint": COMPLAINT})
    log.to_parquet(tmp_path / "log.parquet")
    text = (
        "its record ends at 2024-02-03 00:00:00 with the events of kind 'complaint', "
        "before those of other kinds: .*observed_until=... to EventLog.concat or append"
    )
    parts = {
        "log": log,
        "file": EventLog.from_parquet(tmp_path / "log.parquet"),
        "customers": log.subset(np.array([0])),
    }
    for part in parts.values():
        X = part.snapshots("2024-06-01")
        with pytest.raises(ValueError, match=text):
            churned(X, "28D", kinds=["order", "complaint"])
        with pytest.raises(ValueError, match=text):
            time_to_next(X, kinds="complaint")
        assert len(churned(X, "28D", kinds="order", censored="drop")) == 0


def test_newer_events_lift_the_limit():
    with pytest.warns(UserWarning, match="complaint"):
        log = EventLog.concat({"order": ORDERS, "complaint": COMPLAINT})
    more = pd.DataFrame(
        {"who": "a", "time": WEEKS[-1:] + pd.Timedelta("7D"), "event": "complaint"}
    )
    longer = log.append(more)
    # Orders were recorded until their last one at least.
    assert longer.observed_until == WEEKS[-1]
    assert longer.timeline.observation.limited_by == "order"
    earlier = log.append(more.assign(time=WEEKS[0]))
    assert earlier.observed_until == log.observed_until
    assert earlier.timeline.observation.limited_by == "complaint"


# --- Cutoffs long past the record --- ---------------------------------------------

ROWS = pd.DataFrame({"who": ["a", "b"]})


@pytest.mark.parametrize(
    "look",
    [
        lambda log: log.attach(ROWS, cutoff="2025-12-30"),
        lambda log: log.attach(
            ROWS.assign(at=pd.to_datetime(["2024-06-01", "2025-12-30"])), cutoff="at"
        ),
        lambda log: log.snapshots(["2024-06-01", "2025-12-30"]),
        lambda log: log.snapshots_every("182D", end="2025-12-30", start="2025-12-30"),
    ],
)
def test_a_cutoff_a_year_after_observation_is_a_warning(look):
    text = (
        "cutoffs lie after 2024-12-30 00:00:00, the last time that the log has "
        r"recorded, up to 2025-12-30 00:00:00, .*log.append\(...\).*observed_until="
    )
    with pytest.warns(UserWarning, match=text) as caught:
        look(ORDERS)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        look(log_of(WEEKS, observed_until="2025-12-29"))


@pytest.mark.parametrize(
    ("times", "cutoff"),
    [
        (["2024-05-01 09:00", "2024-05-01 09:05"], "2024-05-02 12:00"),
        (["2024-05-01"], "2024-05-31"),
        (["2024-01-01", "2024-05-01"], "2024-06-01"),
        (["2014-01-01", "2024-05-01"], "2025-05-01"),
    ],
)
def test_a_cutoff_soon_after_observation_is_no_warning(times, cutoff):
    X = log_of(pd.to_datetime(times)).attach(ROWS, cutoff=cutoff)
    assert X["history"].array.lengths.tolist() == [len(times), 0]


def test_plain_numbers_warn_beyond_a_whole_span():
    log = log_of(np.arange(100))
    log.attach(ROWS, cutoff=200)
    with pytest.warns(UserWarning, match="2 of 2 cutoffs lie after 99, .* up to 201"):
        log.attach(ROWS, cutoff=201)
    # Spans below 20 and few events are no scale to judge by.
    log_of(np.arange(100) % 5).attach(ROWS, cutoff=24)
    log_of(range(20)).attach(ROWS, cutoff=999)


def test_the_advice_on_an_early_end_can_be_written():
    logs = {
        name: log_of(range(n), 0) for name, n in {"order": 100, "complaint": 5}.items()
    }
    with pytest.warns(UserWarning, match="all kinds were recorded") as caught:
        EventLog.concat(logs)
    advice = re.findall(r"observed_until=([^\s)]+)", str(caught[0].message))
    assert advice == ["99", "4"]
    assert EventLog.concat(logs, observed_until=99).observed_until == 99
