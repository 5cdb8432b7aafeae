"""Metrics of ranked lists, compared with a loop over rows and places."""

import math

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.exceptions import UndefinedMetricWarning

from sklearn_seqcrm.metrics import (
    hit_rate_at_k,
    mean_reciprocal_rank,
    ndcg_at_k,
    recall_at_k,
)

METRICS = [recall_at_k, ndcg_at_k, hit_rate_at_k, mean_reciprocal_rank]
of_all = pytest.mark.parametrize("metric", METRICS)


def slow(bought, recommended, k):
    """Compute all metrics of each row with a purchase, in the order of `METRICS`."""
    scores = {}
    for row in dict.fromkeys(bought["row"]):
        basket = set(bought["value"][bought["row"] == row])
        own = recommended[recommended["row"] == row].sort_values("rank")
        right = [value in basket for value in own["value"]][:k]
        gain = sum(1 / math.log2(p + 2) for p, hit in enumerate(right) if hit)
        best = sum(1 / math.log2(p + 2) for p in range(min(k, len(basket))))
        first = right.index(True) + 1 if any(right) else math.inf
        found = sum(right)
        scores[row] = [found / len(basket), gain / best, float(found > 0), 1 / first]
    return pd.DataFrame(scores).T


def small_tables(n_rows=40, n_values=12, seed=0):
    """Return lists of up to eight items, in any order, and baskets of up to three."""
    rng = np.random.default_rng(seed)
    offered = [
        {"row": row, "rank": rank, "value": value}
        for row in range(0, 2 * n_rows, 2)
        for rank, value in enumerate(rng.permutation(n_values)[: rng.integers(9)])
    ]
    had = [
        {"row": row, "value": value}
        for row in rng.permutation(2 * n_rows)
        for value in rng.integers(0, n_values, rng.integers(4))
    ]
    return pd.DataFrame(had), pd.DataFrame(offered).sample(frac=1, random_state=0)


FORMS = {
    "numbers": lambda values: values,
    "text": lambda values: values.astype(str),
    "objects": lambda values: values.astype(str).astype(object),
    "categories": lambda values: values.astype(str).astype("category"),
    "moments": lambda values: pd.to_datetime(values, unit="D"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("k", [1, 3, 100])
def test_every_row_is_that_of_a_loop(k, form):
    had, offered = small_tables()
    expected = slow(had, offered, k)
    had, offered = (
        table.assign(value=FORMS[form](table["value"])) for table in (had, offered)
    )
    assert expected.gt(0).any(axis=None)
    for metric, column in zip(METRICS, expected, strict=True):
        found = metric(had, offered, k, per_row=True)
        assert found.name == metric.__name__
        assert found.index.name == "row"
        assert found.index.tolist() == expected.index.tolist()
        assert_allclose(found, expected[column], rtol=1e-12)
        assert_allclose(metric(had, offered, k), found.mean(), rtol=1e-12)


@of_all
def test_names_and_forms(metric):
    had, offered = small_tables()
    expected = metric(had, offered)
    series = had.set_index("row")["value"]
    assert metric(series, offered) == expected
    names = {"row": "who", "value": "product", "rank": "place"}
    assert metric(had.rename(columns=names), offered.rename(columns=names), **names)
    assert metric(series, offered.rename(columns=names), **names) == expected
    # Purchases may be categories, and lists text.
    one, other = (table.astype({"value": str}) for table in (had, offered))
    assert metric(one.astype({"value": "category"}), other) == expected
    # Repeated purchases count once; ranks may skip numbers.
    twice = pd.concat([had, had])
    assert metric(twice, offered.assign(rank=3 * offered["rank"] - 7)) == expected


@of_all
def test_rows_without_purchases_or_without_lists(metric):
    offered = pd.DataFrame({"row": [1, 2], "rank": [1, 1], "value": ["a", "a"]})
    assert metric(pd.Series(["a"], index=[1]), offered) == 1
    assert metric(pd.Series(["a", "a"], index=[1, 3]), offered) == 0.5
    assert metric(pd.Series(["a"], index=[3]), offered.iloc[:0]) == 0
    with pytest.warns(UndefinedMetricWarning, match="Nothing was bought"):
        assert np.isnan(metric(pd.Series([], dtype=str), offered))
    with pytest.warns(UndefinedMetricWarning, match="Nothing was bought"):
        assert np.isnan(metric(pd.Series([], dtype=object), offered))
    assert metric(pd.Series([], dtype=str), offered, per_row=True).shape == (0,)


def test_reciprocal_rank_of_whole_lists():
    offered = pd.DataFrame({"row": 0, "rank": range(50), "value": range(50)})
    assert mean_reciprocal_rank(pd.Series([39, 45], index=[0, 0]), offered) == 1 / 40


HAD = pd.DataFrame({"row": [1], "value": [7]})
LISTS = pd.DataFrame({"row": [1, 1], "rank": [1, 2], "value": [7, 8]})


@of_all
@pytest.mark.parametrize(
    ("had", "lists", "error", "words"),
    [
        (HAD, LISTS.drop(columns="rank"), ValueError, r"no columns \['rank'\]; it has"),
        (
            HAD.rename(columns={"row": "who"}),
            LISTS,
            ValueError,
            "bought has no col",
        ),
        (HAD, LISTS.assign(rank=1), ValueError, "1 lines with the same .* in row 1;"),
        (HAD, LISTS.assign(value=7), ValueError, "1 lines that repeat a 'value'"),
        (HAD, LISTS.assign(rank=["1", "2"]), TypeError, "must hold numbers, 1 for the"),
        (HAD, LISTS.assign(row=9), ValueError, "such as 1 beside 9"),
        (HAD, LISTS.assign(value=["7", "8"]), TypeError, "string in recommended"),
        (HAD, LISTS.assign(row=["1", "1"]), TypeError, "'row' is integer in bought"),
        (HAD.where(HAD > 5), LISTS, ValueError, "'row' of bought has 1 missing values"),
        (HAD, LISTS.to_numpy(), TypeError, "recommended must be .*; got ndarray"),
        ([7], LISTS, TypeError, "a DataFrame or a Series; got list"),
    ],
)
def test_errors(metric, had, lists, error, words):
    with pytest.raises(error, match=words):
        metric(had, lists)


def test_k_is_a_place():
    had, offered = small_tables()
    for metric in METRICS:
        with pytest.raises(ValueError, match="'k' parameter"):
            metric(had, offered, 0)
