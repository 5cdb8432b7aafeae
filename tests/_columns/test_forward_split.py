"""Splits at the latest cutoffs, without rows whose labels were not known by then."""

import json

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from sklearn_seqcrm._columns import (
    Cutoffs,
    NoForwardSplitError,
    SurvivalTargets,
    known_horizon,
    split_forward,
    store_horizon,
)
from sklearn_seqcrm._columns._horizons import endless_gap
from sklearn_seqcrm._columns._survival_split import split_endless
from sklearn_seqcrm._store import Clock
from sklearn_seqcrm.targets import (
    churned,
    future_count,
    stack_horizons,
    time_to_next,
)
from tests.logs import log_of

NUMBERS, FLOATS, SECONDS = Clock("int64"), Clock("float64"), Clock("int64", "s")
N_CUSTOMERS = 60
CUSTOMERS = np.tile(np.arange(N_CUSTOMERS), 8)


def at(*cutoffs, clock=NUMBERS):
    """Return rows of all customers at each cutoff."""
    return [Cutoffs(clock, np.repeat(np.array(cutoffs, clock.dtype), N_CUSTOMERS))]


def split_of(cutoffs, horizon, **options):
    customers = CUSTOMERS[: len(cutoffs[0].ticks)]
    return split_forward(cutoffs, customers, {"horizon": horizon}, **options)


@pytest.mark.parametrize(
    ("horizon", "latest", "last_trained"),
    [(1, 8, 7), (3, 8, 5), (5, 8, 3), (2.5, 8, 5)],
)
def test_training_labels_are_known_at_the_first_validation_cutoff(
    horizon, latest, last_trained
):
    [cutoffs] = at(1, 2, 3, 4, 5, 6, 7, 8)
    split = split_of([cutoffs], horizon)
    assert split.since == latest
    assert_array_equal(np.unique(cutoffs.ticks[split.valid]), [latest])
    assert cutoffs.ticks[split.train].max() == last_trained
    assert (cutoffs.ticks[split.train] + horizon <= latest).all()


@pytest.mark.parametrize(("share", "since"), [("auto", 8), (0.125, 8), (0.13, 7)])
def test_as_many_cutoffs_as_the_share_of_rows_needs(share, since):
    assert split_of(at(1, 2, 3, 4, 5, 6, 7, 8), 1, share=share).since == since


def test_rows_with_cutoffs_of_their_own_are_split_by_share():
    rng = np.random.default_rng(0)
    ticks = rng.random(2000)
    split = split_forward(
        [Cutoffs(FLOATS, ticks)], np.arange(2000), {"horizon": 0.1}, share=0.05
    )
    assert len(split.valid) == 100
    assert ticks[split.valid].min() == split.since
    assert (ticks[split.train] + 0.1 <= split.since).all()
    assert len(split.train) == (ticks + 0.1 <= split.since).sum()


def test_some_validation_customers():
    split = split_of(at(1, 2, 3, 4, 5, 6, 7, 8), 1, share=0.2)
    few = split.limited(CUSTOMERS, 20, seed=0)
    assert_array_equal(few.train, split.train)
    who, n_rows = np.unique(CUSTOMERS[few.valid], return_counts=True)
    assert (len(who), set(n_rows)) == (20, {2})  # all rows of each
    assert set(few.valid) < set(split.valid)
    other = split.limited(CUSTOMERS, 20, seed=1)
    assert set(other.valid) != set(few.valid)
    assert split.limited(CUSTOMERS, 60, seed=0) is split


def test_windows_without_an_end():
    """All earlier rows are for training, each with the time observed by then."""
    [cutoffs] = at(1, 2, 3, 4, 5, 8, 9)
    cutoffs, ticks = cutoffs._replace(end=9), cutoffs.ticks
    split = split_forward(
        [cutoffs],
        CUSTOMERS[: len(ticks)],
        {"horizon": 3, "gap": 1},
        may_be_censored=True,
        gap=1,
    )
    assert split.since == 5  # 8 + 3 + 1 > 9
    assert_array_equal(np.unique(ticks[split.valid]), [5])
    assert_array_equal(np.unique(ticks[split.train]), [1, 2, 3])  # 4 + 1 is not before
    assert_array_equal(split.observed[split.train], 5 - 1 - ticks[split.train])
    assert np.isinf(np.delete(split.observed, split.train)).all()


def endless_of(gap=0, horizon=None, **changes):
    """Split rows at 1 to 8 in a record up to 20; each third row is censored there."""
    [cutoffs] = at(1, 2, 3, 4, 5, 6, 7, 8)
    cutoffs, n = cutoffs._replace(end=21), len(cutoffs.ticks)
    kind = (np.arange(n) % 3 > 0).astype("int64")
    time = np.where(kind, 5.0, 20.0 - gap - cutoffs.ticks)
    targets = SurvivalTargets(kind, time, False)
    found = {name: change(targets, cutoffs.ticks) for name, change in changes.items()}
    return split_endless(
        [cutoffs], CUSTOMERS[:n], targets._replace(**found), gap, horizon
    )


@pytest.mark.parametrize("gap", [0, 2])
def test_follow_up_of_validation_rows(gap):
    """The gap and the median time by default; `horizon` includes the gap."""
    assert endless_of(gap).since == 8
    assert endless_of(gap, horizon=15).since == 6
    split = endless_of(gap, horizon=15)
    assert set(split.observed[split.train]) == set(range(1, 6 - gap))


def test_a_horizon_within_the_gap():
    with pytest.raises(ValueError, match="longer than the gap of y, 3; got 3"):
        endless_of(3, horizon=3)


@pytest.mark.parametrize("factor", [1 / 7, 1.5, 1])
def test_rescaled_times_have_another_unit(factor):
    """With the right one, rows may also be censored before the record ends."""

    def rescaled(targets, _):
        early = (targets.kind == 0) & (np.arange(len(targets.time)) % 4 == 0)
        return np.where(early, 1.0, targets.time) * factor

    def of_events(targets, ticks):
        """Every window ends with an event, at 12 or 20."""
        return (np.where(ticks < 6, 12, 20) - ticks) * factor

    always = {"kind": lambda targets, _: 0 * targets.kind + 1, "time": of_events}
    for changes in ({"time": rescaled}, always):
        if factor == 1:
            assert endless_of(**changes).since == 8
            continue
        with pytest.raises(NoForwardSplitError, match="unit of the times of y may not"):
            endless_of(**changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kind": lambda targets, _: 0 * targets.kind}, "no row has an event"),
        (
            {
                "kind": lambda targets, _: 0 * targets.kind + 1,
                "time": lambda targets, _: 0 * targets.time + 5,
            },
            "unit of the times of y may",
        ),
        ({"time": lambda targets, _: 0 * targets.time}, "came at their cutoffs"),
        # Censored rows of one cutoff end at one moment in any unit; each window of a
        # customer ends with another event.
        (
            {
                "kind": lambda _, ticks: (ticks != 5).astype("int64"),
                "time": lambda _, ticks: np.where(ticks == 5, 15.0, 5.0),
            },
            "unit of the times of y may",
        ),
    ],
    ids=["no events", "events", "at once", "one cutoff"],
)
def test_times_that_cannot_be_compared(changes, reason):
    with pytest.raises(NoForwardSplitError, match=reason):
        endless_of(**changes)


def test_gap_and_horizon_add_up():
    hours = np.arange(8) * 3600
    [cutoffs] = at(*hours, clock=SECONDS)
    lengths = {"horizon": "1h", "gap": pd.Timedelta("30min")}
    split = split_forward([cutoffs], CUSTOMERS, lengths)
    assert split.since == pd.Timestamp("1970-01-01 07:00")
    assert cutoffs.ticks[split.train].max() == 5 * 3600


@pytest.mark.parametrize(
    ("cutoffs", "horizon", "reason"),
    [
        ([], 1, "no history column with cutoffs"),
        (at(5), 1, "all rows have one cutoff"),
        (at(1, 2, 3, 4), 3, "only 60 of 240 rows have a label that was known at 4"),
        (at(1, 2) + at(1, 3), 1, "different cutoffs"),
        (at(1, 2) + at(1, 2, clock=SECONDS), 1, "different cutoffs"),
    ],
    ids=["none", "one", "long", "columns", "clocks"],
)
def test_reasons_against_a_split(cutoffs, horizon, reason):
    customers = CUSTOMERS[: len(cutoffs[0].ticks)] if cutoffs else CUSTOMERS
    with pytest.raises(NoForwardSplitError, match=reason):
        split_forward(cutoffs, customers, {"horizon": horizon})


def test_too_few_customers_at_the_latest_cutoffs():
    with pytest.raises(NoForwardSplitError, match="only 1 customers have rows"):
        split_forward(at(1, 2), np.zeros(120, "int64"), {"horizon": 1})
    fewest = np.tile(np.arange(60) % 50, 2)
    assert_array_equal(
        split_forward(at(1, 2), fewest, {"horizon": 1}).valid, np.arange(60, 120)
    )
    with pytest.raises(NoForwardSplitError, match=r"only 49 customers .* 50 are"):
        split_forward(at(1, 2), fewest % 49, {"horizon": 1})


@pytest.mark.parametrize("n_shops", [1, 4])
def test_rows_of_several_histories_are_counted_at_the_latest_cutoffs(n_shops):
    """Shops connect the rows of their customers, who count as one customer."""
    connected = np.arange(120) % n_shops
    split = split_forward(at(1, 2) * 2, connected, {"horizon": 1})
    assert_array_equal(split.valid, np.arange(60, 120))
    few = [Cutoffs(NUMBERS, np.repeat([1, 2], [80, 40]))] * 2
    with pytest.raises(NoForwardSplitError, match="only 40 rows are at the latest"):
        split_forward(few, connected, {"horizon": 1})


@pytest.mark.parametrize(
    ("horizon", "error", "match"),
    [(0, ValueError, "longer than 0"), ("9D", TypeError, "horizon must be a number")],
)
def test_lengths_that_do_not_fit(horizon, error, match):
    with pytest.raises(error, match=match):
        split_of(at(1, 2, 3), horizon)


def test_two_history_columns_with_equal_cutoffs_in_other_units():
    hours = [0, 3600, 7200]
    other = at(*(1000 * hour for hour in hours), clock=Clock("int64", "ms", aware=True))
    assert split_of(at(*hours, clock=SECONDS) + other, "1h").since.hour == 2


@pytest.mark.parametrize(("end", "since"), [(9, 7), (10, 8), (7, 5)])
def test_censored_rows_are_in_neither_part(end, since):
    [cutoffs] = at(1, 2, 3, 4, 5, 6, 7, 8)
    cutoffs = cutoffs._replace(end=end)
    options = {"horizon": 2, "may_be_censored": True}
    split = split_of([cutoffs], **options)
    assert set(cutoffs.ticks[split.valid]) == {since}
    assert set(cutoffs.ticks[split.train]) == set(range(1, since - 1))
    # Of two logs, both must have observed the windows.
    assert split_of([cutoffs, cutoffs._replace(end=8)], **options).since <= 6
    assert split_of([cutoffs], 2).since == 8


@pytest.mark.parametrize(
    ("end", "reason"), [(None, "end of the record is unknown"), (2, "no row has a c")]
)
def test_no_complete_windows(end, reason):
    [cutoffs] = at(1, 2, 3)
    with pytest.raises(NoForwardSplitError, match=reason):
        split_of([cutoffs._replace(end=end)], 2, may_be_censored=True)


# The horizon of a target --------------------------------------------------------------


def rows_of(times, cutoffs):
    return log_of(times, observed_until=max(times) * 10).snapshots(cutoffs)


@pytest.mark.parametrize(
    "target",
    [
        churned,
        future_count,
        time_to_next,
        lambda X, *args, **options: 1 - churned(X, *args, **options),
        lambda X, *args, **options: future_count(X, *args, **options)[1:] > 0,
    ],
)
def test_targets_hold_their_horizon(target):
    """pandas keeps `attrs` through arithmetic, comparisons and selections."""
    numbers = target(rows_of([1, 2, 3], [2, 4]), 5, gap=np.int64(1))
    assert known_horizon(numbers) == {"horizon": 5, "gap": 1}
    days = log_of(
        pd.to_datetime(["2024-01-01", "2024-01-05"]), observed_until="2025-01-01"
    )
    y = target(days.snapshots(["2024-01-02", "2024-01-04"]), np.timedelta64(9, "D"))
    assert known_horizon(y) == {"horizon": "9 days 00:00:00", "gap": 0}
    assert set(y.attrs) == {"sklearn_seqcrm"}
    assert json.loads(json.dumps(y.attrs)) == y.attrs


def test_several_horizons_hold_the_longest():
    y = future_count(rows_of([1, 2, 3], [2, 4]), [2, 5, 3])
    X = rows_of([1, 2, 3], [2, 4])
    _, stacked = stack_horizons(X, y)
    _, of_two = stack_horizons(X, y[[2, 3]])
    for known in (y, y[[2, 3]], y[3], stacked, stacked[1:], of_two):
        assert known_horizon(known) == {"horizon": 5, "gap": 0}


def test_columns_of_a_target_have_its_horizon():
    y = time_to_next(rows_of([1, 2, 3], [2, 4]), 5)
    for known in (y, y["event"], y["time"], y[["time"]]):
        assert known_horizon(known) == {"horizon": 5, "gap": 0}


def computed_targets():
    """Return targets that have the `attrs` of another one, some with names."""
    X = rows_of([1, 2, 3], [2, 4])
    short, long = future_count(X, 1), future_count(X, 5)
    several = future_count(X, [2, 5])
    frame = short.to_frame("short")
    frame["long"] = long
    added = several.copy()
    added["long"] = long
    return [
        short.rename("target"),
        churned(X, 1) & (long == 0),
        long.gt(0) & churned(X, 1),
        frame,
        frame["long"],
        added,
        added["long"],
        stack_horizons(X, added.rename(columns={"long": 7}))[1],
    ]


def test_targets_under_other_names_have_no_known_horizon():
    """`attrs` of results of pandas may be those of a target with a shorter horizon."""
    for y in computed_targets():
        with pytest.raises(NoForwardSplitError, match="horizon of the target is unkno"):
            known_horizon(y)
        assert known_horizon(y, 5) == {"horizon": 5}


@pytest.mark.parametrize("value", ["1 month", "", True, np.inf, [1], {"days": 1}])
@pytest.mark.parametrize("name", ["horizon", "gap"])
def test_attrs_that_are_no_lengths(name, value):
    y = pd.Series([0, 1])
    store_horizon(y, {"horizon": 1, "gap": 0, name: value})
    with pytest.raises(NoForwardSplitError, match=f"attrs of y have {name}="):
        known_horizon(y)


@pytest.mark.parametrize(
    "attrs",
    [
        {"horizon": "1 month"},
        {"horizon": 12, "gap": None},
        {"sklearn_seqcrm": 3},
        {"sklearn_seqcrm": {"horizon": None}},
    ],
)
def test_attrs_of_other_tools(attrs):
    y = pd.Series([0, 1])
    y.attrs.update(attrs)
    with pytest.raises(NoForwardSplitError, match="horizon of the target is unknown"):
        known_horizon(y)


def test_windows_without_an_end_have_no_horizon():
    y = time_to_next(rows_of([1, 2, 3], [1, 2]))
    for unknown, why in ((y, "without one"), ([0, 1], "np"), (pd.Series([0, 1]), "np")):
        match = f"horizon of the target is unknown: .*{why}"
        with pytest.raises(NoForwardSplitError, match=match):
            known_horizon(unknown)
        assert known_horizon(unknown, 3) == {"horizon": 3}


def test_a_target_that_lost_its_attrs_has_no_horizon():
    """All splits forward in time give this reason, such as that of CutoffSplit."""
    y = time_to_next(rows_of([1, 2, 3], [1, 2]), 1)["event"]
    assert known_horizon(y) == {"horizon": 1, "gap": 0}
    lost = np.where(y, "yes", "no")
    for unknown in (lost, pd.Series(lost, y.index)):
        with pytest.raises(NoForwardSplitError, match=r"np.where drop .*: set horizon"):
            known_horizon(unknown)


def test_only_both_columns_of_windows_without_an_end_have_their_gap():
    y = pd.DataFrame({"event": [True], "time": [1.0]})
    assert endless_gap(y) is None
    store_horizon(y, {"horizon": None, "gap": "2 days"})
    assert endless_gap(y) == "2 days"
    for other in (y["time"], y.assign(cost=0.0), y.to_numpy()):
        assert endless_gap(other) is None
    for lengths in ({"horizon": "9 days", "gap": 0}, {"horizon": None, "gap": "soon"}):
        store_horizon(y, lengths)
        assert endless_gap(y) is None
    store_horizon(y, {})
    assert not y.attrs
