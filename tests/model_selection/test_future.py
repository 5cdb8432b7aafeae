import datetime

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from sklearn_seqcrm._store._columns import Column
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.model_selection._future import Future, _with_new_level


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_futures_against_the_events_table(seed, exact):
    """Events that rows show stay; all others are removed or changed."""
    rng = np.random.RandomState(seed)
    events = pd.DataFrame(
        {
            "id": rng.randint(0, 5, 40),
            "time": rng.randint(0, 12, 40),
            "x": rng.choice([np.nan, np.inf, -1.0, 0.0, 3.0], 40),
            "kind": rng.choice(["a", "b", None], 40),
            "day": pd.to_datetime(rng.randint(0, 9, 40), unit="D"),
        }
    )
    log = EventLog(events, "id", "time")
    rows = pd.DataFrame({"id": [0, 1, 4, 9]})
    array = log.attach(rows, cutoff=6, allow_exact_matches=exact)["history"].array
    future = Future.of(log, 6, [array])
    table = log.to_frame()
    seen = (table["time"] < 6) | (
        exact & (table["time"] == 6) & table["id"].isin([0, 1, 4])
    )
    deleted, rewritten, added = future.deleted(), future.rewritten(), future.added(rng)
    pd.testing.assert_frame_equal(
        deleted.to_frame(), table[seen].reset_index(drop=True)
    )
    assert deleted.observed_until == 6
    after = rewritten.to_frame()
    pd.testing.assert_frame_equal(after[seen], table[seen])
    for name in ("time", "x", "kind", "day"):
        one, other = after[name][~seen], table[name][~seen]
        assert not ((one == other) | (one.isna() & other.isna())).any()
    assert (after["time"] > 6)[~seen].all()
    more = added.to_frame()
    counts = table["id"].value_counts()
    assert (more["id"].value_counts() == counts + 3).all()
    new = more["time"].value_counts() - table["time"].value_counts().reindex(
        more["time"].unique(), fill_value=0
    )
    assert new.min() >= 0
    assert new[new.index < 6].sum() == 0
    for who in (0, 1, 4):
        known = exact and ((table["id"] == who) & (table["time"] == 6)).any()
        one, other = (
            ((frame["id"] == who) & (frame["time"] == 6 + known)).sum()
            for frame in (more, table)
        )
        assert one == other + 2  # the first two of three; the third is a tick later
    assert deleted.column("kind").categories.isin(table["kind"][seen]).all()
    kinds = more["kind"].value_counts()
    assert kinds.index.difference(table["kind"]).tolist() == [" a"]
    assert kinds[" a"] == more["id"].nunique()
    for other in (deleted, rewritten, added):
        moved = future.views_of(other, array)
        pd.testing.assert_frame_equal(moved.to_frame(), array.to_frame())
        assert_array_equal(moved.cutoffs, array.cutoffs)
        assert (
            np.diff(other.timeline.times)[np.diff(other.customer_index()) == 0] >= 0
        ).all()


@pytest.mark.parametrize(
    ("levels", "new"),
    [
        (["b", "c"], " b"),
        ([3, 5], 2),
        ([0.5], -0.5),
        ([datetime.date(2024, 3, 1)], datetime.date(2024, 2, 29)),
        (pd.to_datetime(["2024-03-01"]), pd.Timestamp("2024-02-29")),
        ([False, True], None),
        ([("a", 1)], None),
    ],
)
def test_new_levels_come_first(levels, new):
    levels = pd.Index(levels, tupleize_cols=False)
    column = Column(np.array([0, -1, len(levels) - 1], "int32"), levels)
    before = column.to_pandas(aware=False).tolist()
    after = _with_new_level(column, np.array([False, True, False]))
    if new is None:
        assert after is column
    else:
        assert after.categories.tolist() == [new, *levels]
        assert after.categories.dtype == levels.dtype
        assert after.to_pandas(aware=False).tolist() == [before[0], new, before[2]]


@pytest.mark.parametrize(
    ("levels", "new"),
    [
        (["", "a"], "a "),
        (["\t"], "\t "),
        ([b"a", b"b"], b"b "),
        (np.array([0, 4], "uint8"), 5),
        ([datetime.date.min], datetime.date(1, 1, 2)),
        (pd.DatetimeIndex([pd.Timestamp.min]), pd.Timestamp.min + pd.Timedelta("1D")),
    ],
)
def test_new_levels_come_last_if_none_can_come_first(levels, new):
    levels = pd.Index(levels)
    column = Column(np.array([0, -1, len(levels) - 1], "int32"), levels)
    after = _with_new_level(column, np.array([False, True, False]))
    assert after.categories.tolist() == [*levels, new]
    assert after.categories.dtype == levels.dtype
    assert after.values.tolist() == [0, len(levels), len(levels) - 1]
