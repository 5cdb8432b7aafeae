"""Vectors of levels: what stands in one basket has similar vectors."""

import numpy as np
import pandas as pd
import pytest

from sklearn_seqcrm._encoding import _level_vectors
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.preprocessing import HistoryEncoder

N_LEVELS, N_GROUPS = 240, 6


def baskets_of_groups(seed=0, n_baskets=1500):
    """Return lines of baskets whose products are of one of six groups."""
    rng = np.random.default_rng(seed)
    basket = np.repeat(np.arange(n_baskets), 6)
    group = rng.integers(0, N_GROUPS, n_baskets)[basket]
    product = group + N_GROUPS * rng.integers(0, N_LEVELS // N_GROUPS, len(basket))
    return pd.DataFrame(
        {
            "who": basket % 100,
            "time": basket // 100,
            "product": [f"p{one:03}" for one in product],
        }
    )


def rows_of(lines):
    """Return a row for each customer after all baskets."""
    return EventLog(lines, "who", "time").snapshots([12])


@pytest.fixture(scope="module")
def fitted():
    """Return an encoder of baskets and the rows that it was fitted on."""
    X = rows_of(baskets_of_groups())
    return HistoryEncoder(moments="auto").fit(X), X


def test_levels_of_one_basket_have_similar_vectors(fitted):
    vectors = fitted[0]._encoders["history"].level_vectors["product"]
    assert len(vectors.levels) == N_LEVELS
    group = np.array([int(one[1:]) % N_GROUPS for one in vectors.levels])
    unit = vectors.vectors / np.linalg.norm(vectors.vectors, axis=1, keepdims=True)
    cosine = unit @ unit.T
    same = group[:, None] == group
    assert cosine[same].mean() > 0.8 > 0.2 > cosine[~same].mean()


def test_vectors_are_small_channels_with_mean_0(fitted):
    encoder, X = fitted
    layout = encoder.layouts_["history"]
    assert layout.vectors == (("product", 8),)
    assert layout.n_levels == (3,)  # missing, unseen and others: no level has a code
    log = encoder.transform(X)["history"].array.log
    channels = log.channels[:, layout.of_fields["product"].values]
    np.testing.assert_allclose(channels.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(channels.std(axis=0), 0.1, atol=0.002)  # some clipped
    assert layout.sources.count("product") == 9


def test_only_baskets_with_many_levels_have_vectors(fitted):
    X = fitted[1]
    for options in ({"moments": False}, {"moments": True, "max_categories": 50}):
        assert not HistoryEncoder(**options).fit(X).layouts_["history"].vectors
    lines = baskets_of_groups()
    few = lines[lines["product"] < "p100"]
    layout = HistoryEncoder(moments=True).fit(rows_of(few)).layouts_["history"]
    assert not layout.vectors
    assert layout.n_levels == (102,)


def test_unseen_and_missing_levels_have_zeros(fitted):
    encoder, _ = fitted
    lines = pd.DataFrame(
        {"who": 1, "time": [1, 1, 2], "product": ["new", None, "p000"]}
    )
    log = encoder.transform(rows_of(lines))["history"].array.log
    places = encoder.layouts_["history"].of_fields["product"].values
    is_zero = (log.channels[:, places] == 0).all(axis=1)
    np.testing.assert_array_equal(is_zero, [True, True, False])


def test_vectors_depend_on_events_of_training_rows_alone(fitted):
    lines = baskets_of_groups()
    later = lines.assign(time=lines["time"] + 12, product="p000")
    X = EventLog(pd.concat([lines, later]), "who", "time").snapshots([12])
    digest = HistoryEncoder(moments="auto").fit(X).layouts_["history"].digest
    assert digest == fitted[0].layouts_["history"].digest


@pytest.mark.filterwarnings("ignore:Each of the first .* at least twice")
@pytest.mark.parametrize(
    ("share", "has_vectors"), [(0.0, False), (0.1, False), (1, True)]
)
def test_levels_that_stand_alone_keep_codes(share, has_vectors):
    lines = baskets_of_groups()
    alone = lines.drop_duplicates(["who", "time"]).sort_values(["who", "time"])
    twice = pd.concat([alone, alone])  # two equal lines: no pair of levels
    is_alone = alone["who"] >= share * 100
    twice = twice[twice["who"].isin(alone.loc[is_alone, "who"])]
    # Products of one group stand with others, the rest alone.
    paired = lines[lines["who"] < share * 100].assign(
        product=lambda x: "b" + x["product"]
    )
    encoder = HistoryEncoder(moments=True).fit(rows_of(pd.concat([twice, paired])))
    layout = encoder.layouts_["history"]
    assert bool(layout.vectors) == has_vectors
    assert layout.n_levels == ((3,) if has_vectors else (103,))


def test_a_field_with_one_level_in_most_moments_has_codes():
    # A store for each invoice, which few invoices have a second one of.
    lines = baskets_of_groups()
    first = lines.groupby(["who", "time"])["product"].transform("first")
    rng = np.random.default_rng(0)
    is_other = (lines["time"] == 3) & (rng.random(len(lines)) < 0.5)
    lines = lines.assign(store=first.where(~is_other, lines["product"]))
    layout = HistoryEncoder(moments=True).fit(rows_of(lines)).layouts_["history"]
    assert dict(zip(layout.codes, layout.n_levels, strict=True)) == {
        "product": 3,
        "store": 103,
    }
    assert layout.vectors == (("product", 8),)


def test_a_fit_repeats_exactly_where_pairs_fall_into_groups():
    # Each product stands with its accessory only: equal singular values.
    rng = np.random.default_rng(0)
    product = rng.integers(0, 120, 2000)
    lines = pd.DataFrame(
        {
            "who": np.arange(2000) % 50,
            "time": np.arange(2000) // 50,
            "product": [f"p{one:03}" for one in product],
        }
    )
    accessory = lines.assign(product=lines["product"] + "+")
    X = EventLog(pd.concat([lines, accessory]), "who", "time").snapshots([50])
    digests = {
        HistoryEncoder(moments=True).fit(X).layouts_["history"].digest for _ in range(4)
    }
    assert len(digests) == 1


def test_pairs_are_counted_among_the_most_frequent_levels(monkeypatch, fitted):
    monkeypatch.setattr(_level_vectors, "_MOST_LEVELS", 150)
    encoder = HistoryEncoder(moments=True).fit(fitted[1])
    vectors = encoder._encoders["history"].level_vectors["product"]
    counts = baskets_of_groups()
    counts = counts.loc[counts["time"] < 12, "product"].value_counts()
    assert len(vectors.levels) == 150
    assert counts[vectors.levels].min() >= counts.drop(vectors.levels).max()
