"""Random tables of events in partitions, and what one process makes of them."""

import os
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pandas.testing import assert_frame_equal

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator, RFMFeatures
from sklearn_seqcrm.partitions import PartitionedLog
from sklearn_seqcrm.preprocessing import HistoryEncoder
from sklearn_seqcrm.targets import future_count

# 200 tables take minutes in one process, and longer in Spark; 0: a few.
N_TABLES = int(os.environ.get("SEQCRM_RANDOM_TABLES", 0))
KINDS = {"order": ["amount", "shop", "flag"], "return": ["amount", "due"]}
START = pd.Timestamp("2023-01-01")


class Case(NamedTuple):
    """A table in partitions, and how rows are made of it."""

    parts: list[pd.DataFrame]
    options: dict[str, Any]  # of PartitionedLog
    cutoffs: list[Any]
    horizon: Any
    statics: pd.DataFrame  # one row per customer, some of whom have no events
    min_events: int
    lookback: Any
    by_attach: bool
    keys: list[str]

    def partitioned(self, events, statics, **options):
        """Return rows by partition."""
        log = PartitionedLog(events, "who", "when", **self.options, **options)
        if self.by_attach:
            return log.attach(statics, cutoff=self.cutoffs[0], lookback=self.lookback)
        return log.snapshots(
            self.cutoffs,
            min_events=self.min_events,
            lookback=self.lookback,
            statics=statics,
        )

    def in_one_process(self):
        """Return rows of one log."""
        table = pd.concat([part for part in self.parts if len(part)])
        options = {"observed_until": self.options["observed_until"]}
        options["categorical"] = self.options["categorical"]
        if "kinds" in self.options:
            logs = {
                kind: EventLog(table[table["event"] == kind], "who", "when", own)
                for kind, own in self.options["kinds"].items()
            }
            log = EventLog.concat(logs, observed_until=options["observed_until"])
        else:
            log = EventLog(table, "who", "when", **options)
        if self.by_attach:
            cutoff = self.cutoffs[0]
            return log.attach(self.statics, cutoff=cutoff, lookback=self.lookback)
        X = log.snapshots(
            self.cutoffs, min_events=self.min_events, lookback=self.lookback
        )
        return X.merge(self.statics, on="who", how="left")

    def labels(self, X):
        """Return the number of events in a horizon, as floats."""
        return future_count(X, self.horizon, kinds=self.kinds).astype("float64")

    @property
    def kinds(self):
        """All kinds of a merged log, which count; None if there are none."""
        return list(self.options["kinds"]) if "kinds" in self.options else None

    def rfm(self):
        """Make the features that partitions learn and compute."""
        return RFMFeatures(amount="amount", kinds=self.kinds)


def random_case(seed, *, ties=False):
    """Return a random case; without `ties`, no customer has two events at a time.

    Engines that shuffle do not keep the order of events at the same time.
    """
    rng = np.random.default_rng(seed)
    n, n_customers = int(rng.integers(30, 150)), int(rng.integers(4, 25))
    ticks = rng.permutation(400 * 24)[:n]
    if ties:
        ticks = ticks // 200 * 200
    who = rng.integers(0, n_customers, n)
    day = pd.Timedelta(days=1)
    times: Any = START.as_unit("us") + pd.to_timedelta(ticks, "h").as_unit("us")
    end, horizon, lookback = START + 420 * day, "20D", "60D"
    cutoffs = [START + 200 * day, START + 333 * day]
    kind_of_time = rng.choice(["naive", "aware", "int", "float"])
    if kind_of_time == "aware":
        times, end = times.tz_localize("UTC"), end.tz_localize("UTC")
        cutoffs = [cutoff.tz_localize("UTC") for cutoff in cutoffs]
    elif kind_of_time != "naive":
        as_type = int if kind_of_time == "int" else float
        times = ticks.astype(as_type)
        end, horizon, lookback = as_type(420 * 24), 480, 1440
        cutoffs = [as_type(200 * 24), as_type(333 * 24)]
    ids = IDS[rng.choice(list(IDS))](np.arange(n_customers + 5))
    table = pd.DataFrame(
        {
            "who": ids[who],
            "when": times,
            "amount": np.where(rng.random(n) < 0.2, np.nan, rng.lognormal(3, 1, n)),
            "shop": rng.choice(np.array(["n", "s", None], dtype=object), n),
            "size": rng.integers(1, 5, n),
            "sku": rng.integers(0, 9, n) * 7,
            "flag": rng.choice(np.array([True, False, None], dtype=object), n),
            "due": START.as_unit("us")
            + pd.to_timedelta(rng.integers(0, 900, n), "D").as_unit("us"),
        }
    )
    table.loc[rng.random(n) < 0.1, "due"] = pd.NaT
    options: dict[str, Any] = {"observed_until": end, "categorical": ["sku"]}
    if rng.random() < 0.4:
        table["event"] = np.where(rng.random(n) < 0.7, "order", "return")
        table.loc[:1, "event"] = ["order", "return"]
        table = table.drop(columns=["size", "sku"])
        options |= {"kinds": KINDS, "categorical": []}
    n_parts = int(rng.integers(1, 5))
    of_customer = rng.integers(0, n_parts, n_customers + 5)
    parts = [table[of_customer[who] == part].copy() for part in range(n_parts)]
    for part in parts:
        if rng.random() < 0.3:  # nothing but missing values
            part["shop"] = None
        if rng.random() < 0.3 and "size" in part:  # beside missing values elsewhere
            part["size"] = part["size"].astype(float)
    statics = pd.DataFrame(
        {
            "who": ids,
            "age": rng.integers(20, 80, len(ids)).astype(float),
            "city": rng.choice(["Oslo", "Rome", "Wien"], len(ids)),
        }
    )
    statics.loc[rng.random(len(ids)) < 0.2, "age"] = np.nan
    return Case(
        parts,
        options,
        cutoffs[: int(rng.integers(1, 3))],
        horizon,
        statics,
        int(rng.integers(0, 2)),
        lookback if rng.random() < 0.4 else None,
        bool(rng.random() < 0.4),
        ["who", "cutoff"],
    )


IDS = {
    "int": lambda i: i * 3 + 1,
    "float": lambda i: i * 3.0,
    "text": lambda i: np.array([f"c{one:03}" for one in i], dtype=object),
    "datetime": lambda i: np.datetime64("2020-01-01", "us") + i.astype("m8[D]"),
}


def expected_of(case):
    """Return labels and features of one process, with the fitted transformers."""
    X = case.in_one_process()
    keys = pd.DataFrame({"who": X["who"], "cutoff": X["history"].array.cutoffs})
    fitted = [case.rfm().fit(X), HistoryAggregator().fit(X)]
    return X, keys, fitted, HistoryEncoder().fit(X)


def assert_same_rows(found, expected):
    """Compare tables whatever the order of their rows and the width of their types."""
    keys = ["who", "cutoff"]
    found = found.sort_values(keys, ignore_index=True)
    expected = expected.sort_values(keys, ignore_index=True)
    assert list(found.columns) == [str(name) for name in expected.columns]
    found = found.astype({str(n): d for n, d in expected.dtypes.items()})
    # Bits, not only values.
    assert_frame_equal(found, expected, check_exact=True)


def assert_same_encoder(found, expected):
    """Compare what two encoders learned: counts to the bit, sums to 1e-9."""
    [one], [other] = found._encoders.values(), expected._encoders.values()
    for name, field in other.fields.items():
        for a, b in zip(one.fields[name].learned(), field.learned(), strict=True):
            if isinstance(b, float):
                np.testing.assert_allclose(a, b, rtol=1e-9)
            else:
                assert a == b
    np.testing.assert_allclose(one.interarrival_scale, other.interarrival_scale)
    np.testing.assert_allclose(one.row_scale, other.row_scale, rtol=1e-9, atol=1e-12)
    names = "channels", "codes", "n_levels", "time_unit", "calendar", "moments"
    for name in (*names, "half_lives", "visits"):
        a, b = getattr(one.layout, name), getattr(other.layout, name)
        assert a == b, name
    assert found.feature_names_in_.tolist() == expected.feature_names_in_.tolist()


def check_case(case, events, statics, to_pandas, **options):
    """Check that labels, features and encoders are those of one process."""
    rows = case.partitioned(events, statics, **options)
    X, keys, fitted, encoder = expected_of(case)
    models = [
        rows.fit(case.rfm()),
        rows.fit(HistoryAggregator()),
    ]

    def all_of(transformers):
        def compute(X):
            own = [case.labels(X).reset_index(drop=True)]
            own += [one.transform(X).reset_index(drop=True) for one in transformers]
            own[1] = own[1].drop(columns=["age", "city"]).add_prefix("rfm_")
            return pd.concat(own, axis=1)

        return compute

    expected = pd.concat([keys, all_of(fitted)(X)], axis=1)
    assert_same_rows(to_pandas(rows.map(all_of(models))), expected)
    assert_same_encoder(rows.fit(HistoryEncoder()), encoder)
    return rows
