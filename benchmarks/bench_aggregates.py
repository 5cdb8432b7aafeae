"""Window aggregates of a million events at twelve cutoffs.

Three implementations on the same sorted events: `HistoryAggregator`; polars (for each
cutoff one filter and `group_by` per window, joined, with all cutoffs collected together
on all cores); and pandas `groupby.apply` with a function of one customer's events, on a
hundredth of the customers, scaled up. They return equal numbers, which is checked. They
run in turn, `--repeat` times after a warm-up, and the table has medians and ratios.
`HistoryAggregator` uses one core; CPU seconds are in a separate column.

The last lines are for one row per event of customers with long histories, whose windows
overlap most, with the peak of memory.
"""

import argparse
import statistics
import time

import numpy as np
import pandas as pd
import polars as pl
from measure import make_events, peak_memory

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator

CUTOFFS = pd.date_range("2020-06-01", periods=12, freq="30D")
WINDOWS = {"_30D": 30, "_90D": 90, "": None}
# A lookback, the next longer one, and the days of both
TRENDS = (("_30D", 30, "_90D", 90), ("_90D", 90, "", np.inf))
SIZES = ("n_events", "active_days", "amount_sum")  # 0 of a window without events
N_LEVELS = 5
DAY = pd.Timedelta("1D")


def aggregator():
    """Compute the aggregates with this library."""
    return HistoryAggregator(
        ["30D", "90D"], half_lives=None, max_levels=N_LEVELS, max_features=None
    )


# polars -------------------------------------------------------------------------------


def prepare_polars(events):
    """Prepare polars once for all cutoffs."""
    day = pl.col("time").dt.date()
    same = (pl.col("customer") == pl.col("customer").shift()) & (day != day.shift())
    gap = (pl.col("time") - pl.col("time").shift()).dt.total_microseconds() / 86_400e6
    return pl.from_pandas(events).with_columns(day=day, gap=pl.when(same).then(gap))


def in_polars(events, levels):
    """Return one table of all rows."""
    return pl.concat(pl.collect_all([_at(events.lazy(), c, levels) for c in CUTOFFS]))


def _at(events, cutoff, levels):
    cutoff = cutoff.to_pydatetime()
    seen = events.filter(pl.col("time") < cutoff)
    time, amount, gap = pl.col("time"), pl.col("amount"), pl.col("gap")
    table = seen.group_by("customer").agg(
        *_of_window("", levels),
        _days(cutoff - time.last()).alias("recency"),
        _days(cutoff - time.first()).alias("tenure"),
        gap.mean().alias("interarrival_mean"),
        gap.std().alias("interarrival_std"),
        gap.max().alias("interarrival_max"),
        gap.drop_nulls().last().alias("interarrival_last"),
        amount.last().alias("amount_last"),
        *(
            _days(cutoff - time.filter(pl.col("category") == level).last()).alias(
                f"category={level}_since_last"
            )
            for level in levels
        ),
    )
    for suffix, length in WINDOWS.items():
        if length is not None:
            start = cutoff - pd.Timedelta(days=length).to_pytimedelta()
            window = seen.filter(time >= start).group_by("customer")
            window = window.agg(*_of_window(suffix, levels))
            table = table.join(window, on="customer", how="left")
    zero = [f"{name}{suffix}" for suffix in WINDOWS for name in SIZES]
    zero += [f"category_n_levels{suffix}" for suffix in WINDOWS]
    return table.with_columns(pl.col(zero).fill_null(0)).with_columns(
        pl.lit(cutoff).alias("cutoff"),
        (pl.col("recency") / pl.col("interarrival_mean")).alias(
            "interarrivals_since_last"
        ),
        *_trends("n_events"),
        *_trends("amount"),
    )


def _of_window(suffix, levels):
    amount, category = pl.col("amount"), pl.col("category")
    return [
        pl.len().alias(f"n_events{suffix}"),
        pl.col("day").n_unique().alias(f"active_days{suffix}"),
        amount.sum().alias(f"amount_sum{suffix}"),
        amount.mean().alias(f"amount_mean{suffix}"),
        amount.std().alias(f"amount_std{suffix}"),
        amount.min().alias(f"amount_min{suffix}"),
        amount.max().alias(f"amount_max{suffix}"),
        category.n_unique().alias(f"category_n_levels{suffix}"),
        *(
            (category == level).mean().alias(f"category={level}_share{suffix}")
            for level in levels
        ),
    ]


def _days(length):
    return length.dt.total_microseconds() / 86_400e6


def _trends(name):
    """Return the rate in a lookback divided by the rate before it."""
    total = "amount_sum" if name == "amount" else "n_events"
    tenure = pl.col("tenure")
    for suffix, length, longer, most in TRENDS:
        reach = pl.min_horizontal(tenure, most)
        now = pl.col(f"{total}{suffix}") / length
        before = pl.col(f"{total}{longer}") - pl.col(f"{total}{suffix}")
        then = pl.when(reach > length).then(before / (reach - length))
        trend = (now - then) / (now.abs() + then.abs())
        yield trend.alias(f"{name}_trend{suffix}")


# pandas -------------------------------------------------------------------------------


def in_pandas(events, levels):
    """Return one table of all rows, by a function of one customer's events."""
    tables = {}
    for cutoff in CUTOFFS:
        seen = events[events["time"] < cutoff]
        groups = seen.groupby("customer", observed=True)
        tables[cutoff] = groups.apply(_of_customer, cutoff, levels)
    return pd.concat(tables, names=["cutoff", "customer"])


def _of_customer(events, cutoff, levels):
    age = (cutoff - events["time"]) / DAY
    found = {"recency": age.iloc[-1], "tenure": age.iloc[0]}
    found["amount_last"] = events["amount"].iloc[-1]
    begins = events["time"].dt.floor("D").diff() > pd.Timedelta(0)
    gaps = events["time"].diff()[begins] / DAY
    found["interarrival_mean"], found["interarrival_std"] = gaps.mean(), gaps.std()
    found["interarrival_max"] = gaps.max()
    found["interarrival_last"] = gaps.iloc[-1] if len(gaps) else np.nan
    found["interarrivals_since_last"] = found["recency"] / found["interarrival_mean"]
    for suffix, length in WINDOWS.items():
        inside = events if length is None else events[age <= length]
        found[f"n_events{suffix}"] = len(inside)
        found[f"active_days{suffix}"] = inside["time"].dt.floor("D").nunique()
        for statistic in ("sum", "mean", "std", "min", "max"):
            found[f"amount_{statistic}{suffix}"] = inside["amount"].agg(statistic)
        found[f"category_n_levels{suffix}"] = inside["category"].nunique()
        for level in levels:
            share = (inside["category"] == level).mean()
            found[f"category={level}_share{suffix}"] = share
    for level in levels:
        since = age[events["category"] == level].min()
        found[f"category={level}_since_last"] = since
    return pd.Series(found | _trends_of_customer(found))


def _trends_of_customer(found):
    trends = {}
    for name, total in (("n_events", "n_events"), ("amount", "amount_sum")):
        for suffix, length, longer, most in (
            ("_30D", 30, "_90D", 90),
            ("_90D", 90, "", np.inf),
        ):
            span = min(most, found["tenure"]) - length
            now = found[f"{total}{suffix}"] / length
            before = found[f"{total}{longer}"] - found[f"{total}{suffix}"]
            then = before / span if span > 0 else np.nan
            size = abs(now) + abs(then)
            trends[f"{name}_trend{suffix}"] = (now - then) / size if size else np.nan
    return trends


# All of them --------------------------------------------------------------------------


def check_equal(X, ours, other):
    """Raise an AssertionError unless two tables have the same numbers."""
    ours = ours.rename(columns=lambda name: name.removeprefix("history__"))
    ours = ours.drop(columns="category_last")
    assert set(ours) == set(other), set(ours) ^ set(other)
    keys = pd.MultiIndex.from_frame(X[["cutoff", "customer"]])
    ours = ours.set_axis(keys).loc[other.index]
    for name in ours:
        one, two = (
            table[name].to_numpy("float64", na_value=np.nan) for table in (ours, other)
        )
        # A difference of sums; this library sums the events in between.
        np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-9, err_msg=name)


def timed(function):
    """Return wall-clock and CPU seconds, and the result."""
    wall, processor = time.perf_counter(), time.process_time()
    result = function()
    return time.perf_counter() - wall, time.process_time() - processor, result


def compare(n_events, repeat):
    """Print the three implementations."""
    rng = np.random.default_rng(0)
    events = make_events(n_events, n_events // 20, rng)
    events = events.sort_values(["customer", "time"], ignore_index=True)
    log = EventLog(events, "customer", "time")
    X = log.snapshots(CUTOFFS)
    model = aggregator().fit(X)
    levels = model.levels_["history"]["category"]
    prepared = prepare_polars(events)
    n_columns = len(model.get_feature_names_out())
    print(f"{n_events:,} events, {len(X):,} rows, {n_columns} columns")
    ours, polars, table, frame = [], [], None, None
    for _ in range(1 + repeat):
        del table, frame  # memory to write the next ones into
        *spent, table = timed(lambda: model.transform(X))
        ours.append(spent)
        *spent, frame = timed(lambda: in_polars(prepared, levels))
        polars.append(spent)
    check_equal(X, table, frame.to_pandas().set_index(["cutoff", "customer"]))
    few = events["customer"].unique()[::100]
    part = events[events["customer"].isin(few)]
    wall, processor, frame = timed(lambda: in_pandas(part, levels))
    check_equal(X, table, frame)
    middle = [statistics.median(column) for column in zip(*ours[1:], strict=True)]
    other = [statistics.median(column) for column in zip(*polars[1:], strict=True)]
    for name, spent, scale in (
        ("HistoryAggregator", middle, 1),
        ("polars group_by", other, 1),
        ("pandas groupby.apply, a hundredth", (wall, processor), 100),
    ):
        ratio = scale * spent[0] / middle[0]
        print(f"{name:36s}{spent[0]:8.2f} s{spent[1]:8.2f} s cpu{ratio:10.1f} x")


def compare_row_per_event(n_events):
    """Print seconds with one row per event, for increasing numbers of events."""
    print("\none row per event, which it sees; events of a customer")
    rng = np.random.default_rng(0)
    for length in (20, 200, 2_000, 20_000):
        events = make_events(n_events // 5, n_events // 5 // length, rng)
        X = EventLog(events, "customer", "time").attach(
            events[["customer", "time"]], cutoff="time", allow_exact_matches=True
        )
        model = aggregator().fit(X)
        peak, table = peak_memory(lambda model=model, X=X: model.transform(X))
        own = table.memory_usage(index=False).sum()
        wall, _, _ = timed(lambda model=model, X=X: model.transform(X))
        print(
            f"{length:10,}: {wall:6.2f} s for {len(X):,} rows, "
            f"{peak / 2**20:5.0f} MiB at the peak, the table {own / 2**20:.0f} of them"
        )


def main():
    """Run both and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    compare(options.events, options.repeat)
    compare_row_per_event(options.events)


if __name__ == "__main__":
    main()
