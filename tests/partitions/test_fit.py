"""Transformers that are fitted on the rows of all partitions."""

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator, RFMFeatures
from sklearn_seqcrm.partitions import PartitionedLog
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.targets import next_value
from sklearn_seqcrm.testing._small_data import make_events
from tests.partitions.visits import VISITS, log_of_parts, rows_before_all_events


def test_a_pipeline_is_fitted_up_to_its_estimator():
    people = pd.DataFrame(
        {"who": list("abc"), "age": [1.0, np.nan, 5], "x": list("uvu")}
    )
    rows = log_of_parts().snapshots([5, 7], statics=people)
    found = rows.fit(make_history_pipeline(DummyClassifier()))
    X = EventLog(VISITS, "who", "day").snapshots([5, 7]).merge(people, on="who")
    expected = make_history_pipeline(DummyClassifier())
    expected[:-1].fit(X)
    one, other = found[:-1].transform(X), expected[:-1].transform(X)
    assert_frame_equal(one.drop(columns="history"), other.drop(columns="history"))


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (StandardScaler(), TypeError, "got StandardScaler"),
        (make_pipeline(DummyClassifier()), TypeError, "without transformers"),
        (
            make_pipeline(RFMFeatures(), StandardScaler(), DummyClassifier()),
            TypeError,
            "StandardScaler would have to see the features of all rows",
        ),
        (
            make_history_pipeline(DummyClassifier(), many_levels="target"),
            ValueError,
            "many_levels='one-hot'",
        ),
    ],
)
def test_what_partitions_cannot_fit(model, error, message):
    with pytest.raises(error, match=message):
        log_of_parts().snapshots([5]).fit(model)


def test_no_rows_are_refused_as_in_one_process():
    rows = rows_before_all_events()
    assert len(rows.map(lambda X: X["history"].array.lengths)) == 0
    with pytest.raises(ValueError, match="X has no rows"):
        rows.fit(HistoryEncoder())


@pytest.mark.parametrize("cutoff", [-1, 5])
@pytest.mark.filterwarnings("ignore:.*before the first event")
def test_features_that_no_row_has_are_left_out_as_in_one_process(cutoff):
    # Before all events, only the frequency has values.
    rows = log_of_parts().snapshots([cutoff], min_events=0)
    X = EventLog(VISITS, "who", "day").snapshots([cutoff], min_events=0)
    found, expected = rows.fit(RFMFeatures()), RFMFeatures().fit(X)
    assert_frame_equal(found.transform(X), expected.transform(X))
    assert found.get_feature_names_out()[0] == (
        "history__frequency" if cutoff < 0 else "history__recency"
    )


@pytest.mark.parametrize("dialect", ["marketing", "btyd"])
def test_refunds_of_all_partitions_warn_once(dialect):
    """Only two of the three partitions have some."""
    parts = [VISITS.assign(spend=[-1.0, 2, 3, 4, 5, -6])[i : i + 2] for i in (0, 4, 2)]
    rows = log_of_parts(parts).snapshots([5], min_events=0)
    says = "2 of the first 6 purchases in 'history' have negative amounts 'spend'"
    with pytest.warns(UserWarning, match=says) as caught:
        rows.fit(RFMFeatures(dialect=dialect))
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_a_pretrained_encoder_keeps_its_scales():
    before = HistoryEncoder().fit(EventLog(VISITS, "who", "day").snapshots([9]))
    rows = log_of_parts().snapshots([5, 7])
    found = rows.fit(HistoryEncoder(pretrained=before, half_lives=[2]))
    X = EventLog(VISITS, "who", "day").snapshots([5, 7])
    expected = HistoryEncoder(pretrained=before, half_lives=[2]).fit(X)
    one, other = found.layouts_["history"], expected.layouts_["history"]
    assert one.of_events == other.of_events == before.layouts_["history"].of_events
    assert one.half_lives == other.half_lives


def test_a_lookback_that_cuts_histories_off_is_noticed():
    rows = log_of_parts().snapshots([9], lookback=5)
    assert rows.fit(HistoryEncoder())._learned.cut_off == ["history"]
    assert log_of_parts().snapshots([9]).fit(HistoryEncoder())._learned.cut_off == []


def test_vectors_are_standardised_over_all_partitions():
    table = make_events(20, n_components=3)[["who", "when", "vector"]]
    code = table["who"].astype("category").cat.codes
    parts = [table[code % 3 == i] for i in range(3)]
    log = PartitionedLog(parts, "who", "when")
    found = log.snapshots(["2024-01-01"]).fit(HistoryEncoder())
    X = EventLog(table, "who", "when").snapshots(["2024-01-01"])
    expected = HistoryEncoder().fit(X)
    one, other = (e._encoders["history"].fields["vector"] for e in (found, expected))
    np.testing.assert_allclose(one.center, other.center, rtol=1e-6)
    np.testing.assert_allclose(one.scale, other.scale, rtol=1e-6)


def test_baskets_get_the_vectors_of_levels_of_one_process(monkeypatch):
    from sklearn_seqcrm._encoding import _learn

    monkeypatch.setattr(_learn, "_LEVELS_OF_MOMENTS", 12)
    rng = np.random.default_rng(0)
    lines = pd.DataFrame(
        {
            "who": np.arange(1200) // 20,
            "day": np.arange(1200) // 4 % 5,
            "sku": [f"p{i}" for i in rng.integers(0, 20, 1200)],
        }
    )
    parts = [lines[:400], lines[400:900], lines[900:]]
    found = log_of_parts(parts).snapshots([5]).fit(HistoryEncoder())
    expected = HistoryEncoder().fit(EventLog(lines, "who", "day").snapshots([5]))
    one, other = (
        e._encoders["history"].level_vectors["sku"] for e in (found, expected)
    )
    assert one.levels.equals(other.levels)
    np.testing.assert_allclose(one.vectors, other.vectors, atol=1e-6)


def test_quantiles_are_exact_beyond_what_is_held(monkeypatch):
    from sklearn_seqcrm._ragged import _passes

    monkeypatch.setattr(_passes, "_HELD", 3)
    rows = log_of_parts().snapshots([5, 9])
    X = EventLog(VISITS, "who", "day").snapshots([5, 9])
    one, other = rows.fit(HistoryEncoder()), HistoryEncoder().fit(X)
    scales = [e._encoders["history"].fields["spend"].scale for e in (one, other)]
    assert scales[0] == scales[1]
    chosen = rows.fit(HistoryAggregator(min_rows=2)), HistoryAggregator(min_rows=2)
    assert chosen[0].lookbacks_ == chosen[1].fit(X).lookbacks_


def differing_parts():
    """Two partitions with other levels, and statics of other types."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"who": np.arange(400) % 40, "day": rng.permutation(400) / 4})
    is_first = table["who"] < 20
    letters = np.where(is_first, rng.choice(list("abc"), 400), "x")
    table = table.assign(shop=letters, sku=table["who"] % 7 + 10 * is_first)
    return table, [table[is_first], table[~is_first]]


@pytest.mark.parametrize("field", ["shop", "sku"])
def test_levels_that_only_one_partition_has_stay(field):
    table, parts = differing_parts()

    def following(X):
        return next_value(X, field, censored="nan")

    options = {"categorical": ["sku"]}
    X = EventLog(table, "who", "day", **options).snapshots([80])
    found = log_of_parts(parts, **options).snapshots([80]).map(following)
    expected = following(X).astype(object)
    assert expected.isna().sum() < 20
    same = found[found.columns[2]].astype(object).to_numpy()
    missing = expected.isna().to_numpy()
    assert (pd.isna(same) == missing).all()
    assert same[~missing].tolist() == expected[~missing].tolist()
