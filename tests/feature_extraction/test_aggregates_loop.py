"""Aggregates against a loop over events, and their rounding errors."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal

from sklearn_seqcrm._ragged import _segments
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction._aggregates import label_of
from sklearn_seqcrm.model_selection import check_no_leakage
from sklearn_seqcrm.testing._small_data import make_events, make_rows
from tests.feature_extraction.features import Aggregator, aggregates
from tests.logs import log_of_table

RARE = "infrequent_sklearn"


# Against a loop -----------------------------------------------------------------------


def slow_aggregates(history, lookbacks, half_lives, unit, levels):
    """Compute the aggregates of one History, event by event."""
    events, cutoff = history.to_frame(), history.cutoff
    time = events.columns[1]
    ages = [(cutoff - t) / unit for t in events[time]]
    number = [t // unit for t in _since_zero(events[time])]
    new = [True] + [b != a for a, b in pairwise(number)]
    found = {
        "recency": min(ages, default=np.nan),
        "tenure": max(ages, default=np.nan),
        "recency_past": min([age for age in ages if age > 0], default=np.nan),
        "n_events_now": ages.count(0),
    }
    gaps = [
        a - b for (a, b), begins in zip(pairwise(ages), new[1:], strict=True) if begins
    ]
    found |= {f"interarrival_{name}": value for name, value in _summary(gaps).items()}
    found["interarrival_last"] = gaps[-1] if gaps else np.nan
    mean = found["interarrival_mean"]
    found["interarrivals_since_last"] = _divide(found["recency"], mean)
    windows = {"": np.inf, **{f"_{label_of(x)}": x / unit for x in lookbacks}}
    reach = [x / unit for x in lookbacks] + [np.inf]
    finite = events["amount"].where(np.isfinite(events["amount"]))
    sums = finite.groupby(events[time].to_numpy()).sum(min_count=1)
    recorded = sums.dropna().tolist()
    found["amount_moment_mean"] = _summary(recorded)["mean"]
    found["amount_moment_last"] = recorded[-1] if recorded else np.nan
    begins = pd.Series([1.0] + [float(a != b) for a, b in pairwise(ages)], dtype=float)
    begins = begins.iloc[: len(ages)].set_axis(events.index)
    for suffix, length in windows.items():
        inside = [i for i, age in enumerate(ages) if age <= length]
        found[f"n_moments{suffix}"] = len({ages[i] for i in inside})
        found[f"n_events{suffix}"] = len(inside)
        found[f"active{suffix}"] = len({number[i] for i in inside})
        amounts = [a for a in events["amount"].iloc[inside] if np.isfinite(a)]
        found |= {f"amount_{n}{suffix}": v for n, v in _summary(amounts).items()}
        known = events["kind"].iloc[inside].dropna().tolist()
        found[f"kind_n_levels{suffix}"] = len(set(known))
        for level in levels:
            share = known.count(level) / len(known) if known else np.nan
            found[f"kind={level}_share{suffix}"] = share
        if suffix:
            following = min(x for x in reach if x > length)
            before = [i for i, age in enumerate(ages) if length < age <= following]
            span = min(following, max(ages, default=0)) - length
            for name, values in (
                ("n_events", pd.Series(1.0, events.index)),
                ("n_moments", begins),
                ("amount", events["amount"].where(np.isfinite(events["amount"]), 0)),
            ):
                now = values.iloc[inside].sum() / length
                then = values.iloc[before].sum() / span if span > 0 else np.nan
                trend = _divide(now - then, abs(now) + abs(then))
                found[f"{name}_trend{suffix}"] = trend
    recorded = [a for a in events["amount"] if np.isfinite(a)]
    found["amount_last"] = recorded[-1] if recorded else np.nan
    for length in half_lives:
        fade = [0.5 ** (age * unit / length) for age in ages]
        amounts = [a if np.isfinite(a) else 0 for a in events["amount"]]
        found[f"n_events_decayed_{label_of(length)}"] = sum(fade)
        found[f"amount_decayed_sum_{label_of(length)}"] = np.dot(fade, amounts)
    for level in levels:
        own = [
            age for age, kind in zip(ages, events["kind"], strict=True) if kind == level
        ]
        found[f"kind={level}_since_last"] = min(own, default=np.nan)
    known = events["kind"].dropna().tolist()
    last = known[-1] if known else np.nan
    found["kind_last"] = last if last in [*levels, np.nan] else RARE
    now = np.array(ages, dtype=float) == 0
    return found | _slow_now(events[now], events[~now])


def _slow_now(now, past):
    amounts = [[a for a in x["amount"] if np.isfinite(a)] for x in (now, past)]
    mine, usual = map(_summary, amounts)
    past_kinds = past["kind"].dropna().tolist()
    shares = [
        past_kinds.count(kind) / len(past_kinds) if past_kinds else np.nan
        for kind in now["kind"].dropna()
    ]
    return {
        "amount_now_ratio": _divide(mine["mean"], usual["mean"]),
        "amount_now_zscore": _divide(mine["mean"] - usual["mean"], usual["std"]),
        "kind_now_share": np.mean(shares) if shares else np.nan,
    }


def _since_zero(times):
    if times.dtype.kind in "if":
        return times
    return times - pd.Timestamp(0, tz=times.dt.tz)


def _divide(one, other):
    return one / other if other != 0 else np.nan


def _summary(values):
    return {
        "sum": float(sum(values)),
        "mean": sum(values) / len(values) if values else np.nan,
        "std": np.std(values, ddof=1) if len(values) > 1 else np.nan,
        "min": min(values, default=np.nan),
        "max": max(values, default=np.nan),
    }


START = pd.Timestamp("2024-01-01")
AXES = {
    "hours": (lambda t: START + pd.to_timedelta(t, "h"), pd.Timedelta(1, "h")),
    "aware": (
        lambda t: START.tz_localize("Asia/Tokyo") + pd.to_timedelta(t, "h"),
        pd.Timedelta(1, "h"),
    ),
    "integers": (lambda t: np.asarray(t), 1),
    "floats": (lambda t: np.asarray(t) / 4, 0.25),
}


def compare(events, rows, axis, unit, lookbacks, half_lives, *, moments=True, **attach):
    """Compare all columns with the loop, and return them."""
    times, hour = AXES[axis]
    events = events.assign(time=times(events["time"]))
    log = log_of_table(events)
    if "lookback" in attach:
        attach["lookback"] = attach["lookback"] * hour
    X = log.attach(rows.assign(at=times(rows["at"])), cutoff="at", **attach)
    lookbacks, half_lives = ([x * hour for x in xs] for xs in (lookbacks, half_lives))
    unit = unit * hour
    model = Aggregator(
        lookbacks, half_lives=half_lives, time_unit=unit, moments=moments, max_levels=2
    ).fit(X[["history"]])
    found = model.transform(X).rename(columns=lambda n: n.removeprefix("history__"))
    found = found.rename(columns=lambda name: name.replace("active_days", "active"))
    found = found.rename(columns=lambda name: name.replace("active_periods", "active"))
    expected = pd.DataFrame(
        [
            slow_aggregates(
                h, lookbacks, half_lives, unit, model.levels_["history"]["kind"]
            )
            for h in X["history"]
        ],
        index=X.index,
    )
    expected = expected.drop(columns=["interarrival_sum", "interarrival_min"])
    if "n_events_now" not in found:
        expected = expected.drop(
            columns=expected.columns[expected.columns.str.contains("now|past")]
        )
    if not moments:
        expected = expected.drop(
            columns=expected.columns[expected.columns.str.contains("moment")]
        )
    if not model.levels_["history"]["kind"]:
        expected = expected.drop(columns="kind_last")
    assert set(found) == set(expected)
    for name in found.columns.drop("kind_last", errors="ignore"):
        assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-9, err_msg=name)
    if "kind_last" in found:
        one, two = (table["kind_last"].astype(object) for table in (found, expected))
        assert one.fillna("none").tolist() == two.fillna("none").tolist()
    return found


def random_table(n_events, n_customers, n_rows, seed=0):
    rng = np.random.default_rng(seed)
    amount = rng.lognormal(size=n_events).round(2) * rng.choice([1, -1], n_events)
    amount[rng.random(n_events) < 0.2] = np.nan
    amount[rng.random(n_events) < 0.05] = np.inf
    kind = pd.Series(rng.choice(list("abc"), n_events, p=[0.6, 0.3, 0.1]))
    events = pd.DataFrame(
        {
            "id": rng.integers(0, n_customers, n_events),
            "time": rng.choice(300, n_events),
            "amount": amount,
            "kind": kind.mask(rng.random(n_events) < 0.1, None),
        }
    )
    rows = pd.DataFrame(
        {
            "id": rng.integers(0, n_customers + 2, n_rows),
            "at": np.append(rng.choice(320, n_rows - 1), events["time"][0]),
        }
    )
    rows.loc[n_rows - 1, "id"] = events["id"][0]
    return events, rows


@pytest.mark.parametrize(
    "attach", [{}, {"lookback": 90}, {"allow_exact_matches": True}], ids=str
)
@pytest.mark.parametrize(
    ("axis", "block"),
    [("hours", 16), ("aware", 2**18), ("integers", 2**18), ("floats", 16)],
)
def test_equal_to_a_loop(axis, attach, block, monkeypatch):
    monkeypatch.setattr(_segments, "BLOCK", block)
    events, rows = random_table(150, 8, 45)
    found = compare(events, rows, axis, 24, [10, 70], [5, 50], **attach)
    assert found.notna().any().all()


@pytest.mark.parametrize("attach", [{}, {"lookback": 150, "allow_exact_matches": True}])
def test_long_histories_equal_a_loop(attach):
    """Windows contain chunks of 16 and of 256 events."""
    events, rows = random_table(1500, 2, 25)
    found = compare(events, rows, "integers", 5, [40, 200], [30], **attach)
    assert found["n_events"].max() > 280


@settings(max_examples=15)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.integers(0, 40),
            st.sampled_from([1.0, 2.5, -3.0, np.nan, np.inf]),
            st.sampled_from(["a", "b", "c", None]),
        ),
        min_size=1,
        max_size=60,
    ),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 45)), min_size=1, max_size=9),
    st.booleans(),
    st.sampled_from([{}, {"lookback": 12}]),
)
def test_any_events_and_rows(events, rows, exact, attach):
    events = pd.DataFrame(events, columns=["id", "time", "amount", "kind"])
    rows = pd.DataFrame(rows, columns=["id", "at"])
    events["kind"] = events["kind"].astype(pd.CategoricalDtype(list("abc")))
    compare(
        events, rows, "integers", 4, [3, 11], [6], allow_exact_matches=exact, **attach
    )


# Later events and large numbers change no digit ---------------------------------------


def test_later_events_change_no_digit():
    events = make_events(mean_events=60)
    rows = make_rows(n_cutoffs=3)
    moment = rows["at"].median()
    rows = rows[rows["at"] <= moment]
    huge = events.assign(amount=events["amount"].mask(events["when"] >= moment, 1e17))
    options = {"cutoff": "at", "allow_exact_matches": True}
    X, other = (
        EventLog(table, "who", "when").attach(rows, **options)
        for table in (events[events["when"] <= moment], huge)
    )
    model = Aggregator(moments=True).fit(X)
    assert_frame_equal(model.transform(X), model.transform(other), check_exact=True)
    alone = pd.concat([model.transform(X.iloc[[i]]) for i in range(len(X))])
    assert_allclose(
        alone.select_dtypes("number"),
        model.transform(X).select_dtypes("number"),
        rtol=1e-12,
    )


def test_a_large_amount_before_a_window_spoils_no_digit_in_it():
    events = pd.DataFrame({"id": "a", "time": range(40), "amount": [1e17] + 39 * [0.1]})
    X = log_of_table(events).snapshots([40])
    found = aggregates(X, lookbacks=[35], half_lives=None).iloc[0]
    assert found["amount_sum_35"] == pytest.approx(3.5, rel=1e-15)
    assert found["amount_std_35"] == pytest.approx(0, abs=1e-15)
    assert found["amount_std"] == pytest.approx(1e17 / 40**0.5, rel=1e-12)


@pytest.mark.parametrize("amounts", [[1e20, 0, 1, 2, 3], [1e20, -1, 0, 0, 0]])
def test_a_large_amount_before_a_row_starts_spoils_no_decayed_sum(amounts):
    events = pd.DataFrame({"id": "a", "time": [0, 1, 50, 51, 52], "amount": amounts})
    rows = pd.DataFrame({"id": "a", "at": [5, 60]})
    X = log_of_table(events).attach(rows, cutoff="at", lookback=20)
    options = {"lookbacks": None, "half_lives": [30]}
    found = aggregates(X, **options)["amount_decayed_sum_30"]
    expected = np.sum(np.array(amounts[2:]) * 2 ** (-np.array([10, 9, 8]) / 30))
    assert found[0] == pytest.approx(1e20 * 2 ** (-5 / 30), rel=1e-15)
    assert found[1] == pytest.approx(expected, rel=1e-14)


def test_huge_amounts_are_no_infinities():
    amounts = [1e300, -1e300, 1e-300, 1.7e308]
    events = pd.DataFrame({"id": "a", "time": range(4), "amount": amounts})
    log = log_of_table(events)
    X = log.attach(events[["id", "time"]], cutoff="time", allow_exact_matches=True)
    assert not np.isinf(aggregates(X).to_numpy(float)).any()


def test_huge_amounts_in_long_histories_are_no_infinities():
    """Sums of chunks of 65,536 events are 6.6e154, whose square is too large."""
    amounts = np.repeat([1e300, -1e300], 65536)
    events = pd.DataFrame({"id": "a", "time": range(len(amounts)), "amount": amounts})
    X = log_of_table(events).snapshots([len(amounts)])
    found = aggregates(X, lookbacks=None).iloc[0]
    assert found["amount_std"] == pytest.approx(1e150, rel=1e-5)


def test_no_leakage():
    """Of columns of moments, for rows that see the events at their cutoff."""
    log = EventLog(make_events(), "who", "when")
    X = log.attach(make_rows(), cutoff="at", allow_exact_matches=True)
    check_no_leakage(Aggregator(moments=True).fit(X), X, n_cutoffs=3)
