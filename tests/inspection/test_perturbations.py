"""Perturbed histories, against loops over the frames of single rows."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator
from sklearn_seqcrm.inspection._perturbations import (
    RowEvents,
    keep_last_events,
    keep_last_time,
    permute_field,
)
from sklearn_seqcrm.testing._small_data import make_events, make_table


@pytest.fixture(params=[None, "200D"])
def array(request):
    return make_table(lookback=request.param)["history"].array


def frames(array):
    return [one.to_frame().iloc[:, 1:] for one in array]


def same(one, other):
    pd.testing.assert_frame_equal(
        one.reset_index(drop=True).astype(object),
        other.reset_index(drop=True).astype(object),
    )


def test_row_events_round_trip(array):
    own = RowEvents.of(array).as_histories(array)
    assert (own.lengths == array.lengths).all()
    assert list(own.customers.fillna("")) == list(array.customers.fillna(""))
    assert own.cutoffs.equals(array.cutoffs)
    assert own.dtype == array.dtype
    for one, other in zip(frames(own), frames(array), strict=True):
        same(one, other)


def test_last_events_and_times(array):
    for n in (1, 3, 1000):
        for one, frame in zip(keep_last_events(array, n), frames(array), strict=True):
            same(one.to_frame().iloc[:, 1:], frame.tail(n))
    for days in ("3D", "100D", "9000D"):
        some = keep_last_time(array, days)
        for one, frame in zip(some, frames(array), strict=True):
            kept = frame[frame["when"] >= one.cutoff - pd.Timedelta(days)]
            same(one.to_frame().iloc[:, 1:], kept)
    with pytest.raises(ValueError, match="last_time must be longer than 0"):
        keep_last_time(array, "0D")


def test_last_events_that_divide_a_moment():
    """Aggregates of moments are those of a log with the last events only."""
    lines = pd.DataFrame(
        {
            "who": ["a"] * 5 + ["b"] * 2,
            "day": [1, 1, 2, 2, 2, 3, 3],
            "amount": [1.0, 2, 4, 8, 16, 32, 64],
        }
    )
    rows = pd.DataFrame({"who": ["a", "a", "b", "c"], "at": [2, 3, 4, 4]})
    X = EventLog(lines, "who", "day").attach(rows, cutoff="at")
    model = HistoryAggregator(moments=True, min_rows=0).fit(X)
    for n in (1, 2, 4):
        some = X.assign(history=keep_last_events(X["history"].array, n))
        found = model.transform(some)
        for i, row in rows.iterrows():
            seen = lines[(lines["who"] == row["who"]) & (lines["day"] < row["at"])]
            last = pd.concat([seen.tail(n), lines[lines["who"] == "b"].assign(who="x")])
            one = EventLog(last, "who", "day").attach(rows.iloc[[i]], cutoff="at")
            pd.testing.assert_frame_equal(found.iloc[[i]], model.transform(one))


def test_shuffled_fields(array):
    rng = np.random.RandomState(0)
    before = array.to_frame()
    seen = before.drop_duplicates(["who", "when", "amount", "kind", "due"])
    for field in ("amount", "kind", "due"):
        after = permute_field(array, field, rng).to_frame()
        others = [name for name in before if name != field]
        same(after[others], before[others])
        assert not after[field].equals(before[field])
        if field == "due":  # days after the event
            known = seen["due"].notna()
            gaps = set(seen["due"][known] - seen["when"][known])
            moved = after["due"] - after["when"]
            assert set(moved.dropna()) <= gaps
        else:
            assert set(after[field].astype(object).dropna()) <= set(
                before[field].astype(object).dropna()
            )
    # Each event that is seen has the value of another one, none of them twice.
    last = array[[array.lengths.argmax()]]
    changed = permute_field(last, "amount", rng).to_frame()["amount"]
    assert sorted(changed.fillna(-1)) == sorted(last.to_frame()["amount"].fillna(-1))


def test_fields_of_a_kind_stay_in_it():
    logs = {
        "order": pd.DataFrame(
            {"who": [1, 1, 2], "at": [1, 2, 3], "price": [1.0, 2, 3]}
        ),
        "visit": pd.DataFrame({"who": [1, 2, 2], "at": [1, 4, 5]}),
    }
    log = EventLog.concat({k: EventLog(v, "who", "at") for k, v in logs.items()})
    array = log.attach(pd.DataFrame({"who": [1, 2]}))["history"].array
    for seed in range(5):
        rng = np.random.RandomState(seed)
        frame = permute_field(array, "price", rng).to_frame()
        assert (frame["price"].notna() == (frame["event"] == "order")).all()


def test_order_is_shuffled_within_rows(array):
    events = RowEvents.of(array)
    shuffled = events.with_order_shuffled(np.random.RandomState(0)).as_histories(array)
    moved = 0
    for one, frame in zip(frames(shuffled), frames(array), strict=True):
        assert (one["when"].to_numpy() == frame["when"].to_numpy()).all()
        # A due date keeps its distance from the event.
        facts = [
            sorted(map(str, f.assign(due=f["due"] - f["when"]).to_numpy()[:, 1:]))
            for f in (one, frame)
        ]
        assert facts[0] == facts[1]
        moved += str(one) != str(frame)
    assert moved >= 5


def test_moved_events_keep_their_age(array):
    events, rows = RowEvents.of(array), array.rows
    column = array.log.column("kind")
    which = column.values[events.event] == column.categories.get_loc("order")
    known = np.flatnonzero(rows.codes >= 0)
    to = np.arange(len(array))
    to[known] = np.random.RandomState(1).permutation(known)
    changed = events.with_events_moved(rows.cutoff, which, to).as_histories(array)
    old, new = frames(array), frames(changed)
    for i, one in enumerate(new):
        [donor] = np.flatnonzero(to == i)
        shift = array[i].cutoff - array[donor].cutoff
        given = old[donor][old[donor]["kind"] == "order"]
        given = given.assign(when=given["when"] + shift, due=given["due"] + shift)
        others = old[i][old[i]["kind"] != "order"]
        # As objects, since pandas 2 warns of columns without values.
        expected = pd.concat([others.astype(object), given.astype(object)])
        expected = expected.astype({**others.dtypes, "kind": object})
        expected = expected.sort_values("when", kind="stable")
        same(one, expected)
        assert (one["when"] < array[i].cutoff).all()


def test_events_at_the_cutoff_stay_at_a_cutoff():
    """They are in the history with `allow_exact_matches`."""
    events = pd.DataFrame({"who": list("aabb"), "day": [1, 5, 2, 8], "price": range(4)})
    rows = pd.DataFrame({"who": ["a", "b"], "at": [5, 8]})
    log = EventLog(events, "who", "day")
    X = log.attach(rows, cutoff="at", allow_exact_matches=True)
    array = X["history"].array
    assert [list(one.times) for one in keep_last_time(array, 3)] == [[5], [8]]
    own = RowEvents.of(array)
    everything, swapped = np.ones(4, dtype=bool), np.array([1, 0])
    moved = own.with_events_moved(array.rows.cutoff, everything, swapped)
    changed = moved.as_histories(array)
    assert [list(one.times) for one in changed] == [[-1, 5], [4, 8]]
    assert list(changed.to_frame()["price"]) == [2, 3, 0, 1]


def test_events_that_no_row_sees_are_not_used():
    """Values after the cutoffs are in no altered history."""
    events = make_events()
    cutoff = pd.Timestamp("2023-01-01")
    events["amount"] = np.where(events["when"] < cutoff, 1.0, 1e6)
    log = EventLog(events, "who", "when")
    rows = pd.DataFrame({"who": events["who"].unique()})
    array = log.attach(rows, cutoff=cutoff)["history"].array
    own, rng = RowEvents.of(array), np.random.RandomState(0)
    everything = np.ones(len(own.row), dtype=bool)
    for changed in (
        permute_field(array, "amount", rng),
        own.with_order_shuffled(rng).as_histories(array),
        own.with_events_moved(
            array.rows.cutoff, everything, rng.permutation(len(array))
        ).as_histories(array),
    ):
        frame = changed.to_frame()
        assert (frame["amount"] == 1).all()
        assert (frame["when"] < cutoff).all()


def test_dates_too_far_for_the_unit_of_the_times_keep_their_distance():
    """A contract that ends in 9999, in a log of nanoseconds."""
    day = pd.date_range("2024-01-01", periods=6, unit="ns")
    ends = (day.as_unit("s") + pd.Timedelta("40D").as_unit("s")).to_numpy().copy()
    ends[3] = np.datetime64("9999-12-31")
    events = pd.DataFrame({"who": list("aabbcc"), "day": day, "ends": ends})
    X = EventLog(events, "who", "day").attach(events[["who"]].drop_duplicates())
    changed = permute_field(
        X["history"].array, "ends", np.random.RandomState(1)
    ).log.to_frame()
    distance = [
        sorted((frame["ends"] - frame["day"].dt.as_unit("s")).dt.days)
        for frame in (events, changed)
    ]
    assert distance[0] == distance[1]
    assert changed["ends"].tolist() != events["ends"].tolist()


def test_the_latest_and_earliest_dates_stay():
    """`Timestamp.max` as "never expires", moved beyond it, was in the year 1677."""
    day = pd.date_range("2024-01-01", periods=40, freq="7D", unit="ns")
    first, last = (
        np.datetime64(at.value, "ns") for at in (pd.Timestamp.min, pd.Timestamp.max)
    )
    ends = (day + pd.Timedelta("30D")).to_numpy().copy()
    ends[::4], ends[1::4], ends[2::4] = last, first, np.datetime64("NaT", "us")
    events = pd.DataFrame({"who": "a", "day": day, "ends": ends})
    array = EventLog(events, "who", "day").attach(events[["who"]][:1])["history"].array
    for seed in range(5):
        rng = np.random.RandomState(seed)
        shuffled = RowEvents.of(array).with_order_shuffled(rng)
        for changed in (
            shuffled.as_histories(array),
            permute_field(array, "ends", rng),
        ):
            found = changed.to_frame()["ends"]
            assert found.isna().sum() == 10
            # Dates move by less than 40 weeks.
            years = found.dropna().dt.year
            assert (years >= 2261).sum() == (years <= 1679).sum() == 10


def test_the_last_events_of_long_histories_take_little_memory():
    """Only they are copied, not the 200 million bytes of all visible events."""
    table = pd.DataFrame({"who": "a", "day": np.repeat(np.arange(10_000), 2)})
    rows = pd.DataFrame({"who": ["a"] * 800, "at": np.arange(9_200, 10_000)})
    array = EventLog(table, "who", "day").attach(rows, cutoff="at")["history"].array
    tracemalloc.start()
    found = keep_last_events(array, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3e6
    assert list(found[5].times) == [9203, 9204, 9204]
