"""Fields of ids are recognized, and quantities are not mistaken for ids."""

import re
import warnings
from functools import cache

import numpy as np
import pandas as pd
import polars as pl
import pytest

from sklearn_seqcrm.events import EventLog

N = 20_000


def log_of_values(values, convert=lambda table: table, **options):
    """A log of 20 events a customer, in the order of time."""
    n = len(values)
    events = pd.DataFrame({"who": np.arange(n) // 20, "time": range(n), "x": values})
    return EventLog(convert(events), "who", "time", **options)


@cache
def ids(seed=0):
    random = np.random.default_rng(seed)
    baskets = 31_198_459_044 + np.cumsum(random.integers(1, 200_000, N))
    # 40,000 products; the most popular ones are bought again and again.
    popular = (random.pareto(0.8, 10 * N) * 3000).astype(int) % 40_000
    products = random.permutation(40_000 * 37)[:40_000] + 819_000
    return {
        "consecutive": random.permutation(N),
        "few consecutive": random.permutation(1200),
        "sparse": random.permutation(baskets),
        "lines of baskets": np.repeat(random.permutation(baskets), 5),
        "hashes of 32 bits": random.integers(0, 2**32, 150_000),
        "hashes of 64 bits": random.integers(0, 2**63, 3),
        "products": products[popular],
    }


@cache
def quantities(seed=0):
    random = np.random.default_rng(seed)
    price = np.round(np.exp(random.normal(7, 1, 5000))) * 10 + 9
    prices = np.round(np.exp(random.normal(9, 1, 30_000))) * 100 + 99
    return {
        "counter": np.arange(900),
        "years": random.integers(1950, 2025, N),
        "items": random.poisson(3, N),
        "visits so far": np.arange(N) % 20,
        "totals in cents": np.round(np.exp(random.normal(8.5, 1, N))).astype(int),
        "large totals in cents": np.round(np.exp(random.normal(12, 1.5, N))).astype(
            int
        ),
        "few large totals": np.round(np.exp(random.normal(12, 1.5, 2000))).astype(int),
        "prices": price[(random.pareto(0.8, N) * 300).astype(int) % 5000].astype(int),
        "many prices": random.choice(prices, N).astype(int),
        "kilometres": random.integers(0, 200_000, N),
        "flags": random.integers(0, 2, N).astype(bool),
        "floats": random.permutation(N).astype(float),
        "fractions and missing": np.append(np.nan, random.normal(size=N)),
        "infinite": np.append([np.nan, np.inf], random.permutation(N)),
        "missing": np.full(N, np.nan),
        "infinite beside objects": np.array([np.inf, 1, 2, 1] * 9, dtype=object),
    }


WARNING = re.escape(
    "The fields ['x'] look like ids: whole numbers that are hardly ever repeated, or "
    "too many different ones for a quantity. The size of an id has no meaning for a "
    "model. Write categorical=['x'] to keep them as categories, or fields=[...] "
    "without them to leave them out; with categorical=[] they are quantities."
)


@pytest.mark.parametrize("case", ids())
@pytest.mark.parametrize("seed", range(3))
def test_ids_are_a_warning(case, seed):
    with pytest.warns(UserWarning, match=WARNING):
        log_of_values(ids(seed)[case])


@pytest.mark.parametrize("case", quantities())
@pytest.mark.parametrize("seed", range(3))
def test_quantities_are_no_warning(case, seed):
    assert log_of_values(quantities(seed)[case]).column("x").type.name == "numeric"


@pytest.mark.parametrize(
    "convert",
    [
        lambda table: table.assign(x=table["x"].where(table["x"] > 0)),
        lambda table: table.assign(x=table["x"].astype("Int64").replace(0, pd.NA)),
        lambda table: pl.from_pandas(table.replace({"x": {0: None}})),
        lambda table: table.astype({"x": object}),
    ],
)
def test_ids_beside_missing_values_or_in_other_types(convert):
    with pytest.warns(UserWarning, match=WARNING):
        log_of_values(np.arange(N), convert)


def test_the_warning_points_at_the_caller():
    events = pd.DataFrame({"who": "a", "time": range(N), "x": range(N)})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        EventLog(events, "who", "time")
    assert [one.filename for one in caught] == [__file__]


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"categorical": ["x"]}, "categorical"),
        ({"categorical": []}, "numeric"),
        ({"fields": []}, None),
    ],
)
def test_a_given_categorical_is_no_warning(options, kind):
    log = log_of_values(np.arange(N), **options)
    assert (log.column("x").type.name if log.fields else None) == kind


def test_only_fields_that_look_like_ids_are_named():
    columns = {"who": "a", "time": range(N), "id": range(N), "n": 1, "key": range(N)}
    with pytest.warns(UserWarning, match=r"fields \['id', 'key'\] look like ids"):
        EventLog(pd.DataFrame(columns), "who", "time")


# --- Decimal commas ---------------------------------------------------------------
