import joblib
import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.metrics import make_scorer, mean_squared_error
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import RFMFeatures
from sklearn_seqcrm.inspection import HistoryImportanceDisplay, history_importance
from sklearn_seqcrm.metrics import normalized_gini
from sklearn_seqcrm.preprocessing import HistoryEncoder

matplotlib.use("agg")


class ThirdLast(ClassifierMixin, BaseEstimator):
    """Decides by the amount of the third last event of kind "A"."""

    def fit(self, X, y):
        self.classes_ = np.array([0, 1])
        return self

    def decision_function(self, X):
        return third_last(X)

    def predict(self, X):
        return (self.decision_function(X) > 0).astype(int)


def third_last(X):
    frame = X["history"].array.to_frame()
    amounts = frame["amount"][(frame["kind"] == "A").to_numpy()]
    from_end = amounts.groupby(level=0).cumcount(ascending=False)
    return amounts[from_end == 2].reindex(range(len(X)), fill_value=0.0).to_numpy()


def totals(X):
    amounts = X["history"].array.to_frame()["amount"]
    return amounts.groupby(level=0).sum().reindex(range(len(X)), fill_value=0.0)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    n, length = 400, 12
    events = pd.DataFrame(
        {
            "who": np.repeat(np.arange(n), length),
            "day": np.tile(np.arange(length), n),
            "amount": rng.normal(size=n * length),
            "noise": rng.normal(size=n * length),
            "kind": rng.choice(list("AB"), n * length),
        }
    )
    X = EventLog(events, "who", "day").attach(
        pd.DataFrame({"who": np.arange(n)}), cutoff=length
    )
    return X, (third_last(X) > 0).astype(int)


def test_informative_parts_have_importance(data):
    X, y = data
    model = ThirdLast().fit(X, y)
    found = history_importance(
        model,
        X,
        y,
        "roc_auc",
        kind_field="kind",
        last_events=[2, 6, 11, 40],
        last_time=[2, 11],
        n_repeats=3,
    )
    assert found.baseline_score == 1
    table = found.table.set_index(["group", "name"])["importance"]
    # A score by chance is .5.
    for aspect in [
        ("history", "all events"),
        ("field", "amount"),
        ("kind", "A"),
        ("last events", 2),
        ("last time", 2),
    ]:
        assert table[aspect] == pytest.approx(0.5, abs=0.08)
    assert table["order", "order"] > 0.3
    assert table["field", "kind"] > 0.2
    # Other amounts of B, and other positions of theirs, are nothing to it.
    assert table["field", "noise"] == table["kind", "B"] == 0
    assert 0 <= table["last events", 11] < table["last events", 6] < 0.5
    # Times are days here, so that both see the same.
    assert table["last events", 11] == table["last time", 11]
    assert ("last events", 40) not in table.index
    assert found.importances.shape == (len(table), 3)
    assert (found.importances_mean == found.table["importance"]).all()
    same = found.table["group"].str.startswith("last").to_numpy()
    assert (found.importances_std[same] == 0).all()


def test_independent_of_n_jobs(data):
    X, y = data
    model = ThirdLast().fit(X, y)
    options = {"last_events": [5], "n_repeats": 2, "fields": ["amount"]}
    with joblib.parallel_config("threading"):  # processes take seconds to begin
        found = [
            history_importance(model, X, y, "accuracy", **options, **more)
            for more in ({}, {"n_jobs": 2}, {"random_state": 1})
        ]
    pd.testing.assert_frame_equal(found[0].table, found[1].table)
    assert (found[0].importances != found[2].importances).any()
    assert len(np.unique(found[0].importances[1])) == 2


def test_coverage_of_intervals(data):
    """For a mean over rows, the jackknife gives the variance of the mean."""

    class ByAge(RegressorMixin, BaseEstimator):
        def fit(self, X, y):
            self.fitted_ = True
            return self

        def predict(self, X):
            return totals(X).to_numpy()

    X, _ = data
    y = totals(X).to_numpy()
    found = history_importance(
        ByAge().fit(X, y),
        X,
        y,
        make_scorer(mean_squared_error, greater_is_better=False),
        last_events=[11],
        fields=[],
        n_repeats=1,
    )
    first = X["history"].array.to_frame()["amount"].to_numpy()[::12]
    line = found.table.iloc[-1]
    assert line["importance"] == pytest.approx(np.mean(first**2))
    error = np.std(first**2, ddof=1) / np.sqrt(len(y))
    # The t of 19 degrees; the variance of 20 parts varies by a third.
    assert (line["upper"] - line["importance"]) / 2.09 == pytest.approx(error, rel=0.35)
    assert line["upper"] + line["lower"] == pytest.approx(2 * line["importance"])


def test_rows_of_a_customer_and_weights(data):
    """Pipelines on raw X, several rows of a customer, and a fold of all of them."""
    X, _ = data
    log = X["history"].array.log
    X = log.snapshots([4, 9]).sample(frac=1, random_state=0)
    y = X["history"].array.lengths * 1.0
    model = make_pipeline(RFMFeatures(amount="amount"), LinearRegression()).fit(X, y)
    weight = np.where(y > 5, 1.0, 0.0)
    options = {"scoring": "neg_mean_absolute_error", "n_repeats": 1, "last_events": [3]}
    found = history_importance(model, X, y, **options, sample_weight=weight)
    part = X[y > 5]
    alone = history_importance(model, part, y[y > 5], **options)
    lines = [one.table["importance"].iloc[-1] for one in (found, alone)]
    assert lines[0] == pytest.approx(lines[1], rel=1e-6)
    assert lines[0] > 1
    one = history_importance(model, part[:1], y[y > 5][:1], **options)
    assert one.table["lower"].isna().all()
    # Without one of two customers there is no R2.
    two = history_importance(model, X[:2], y[:2], "r2", n_repeats=1)
    assert two.table["lower"].isna().all()
    assert two.table["importance"].notna().all()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"fields": ["price"]}, KeyError, "no field 'price'"),
        ({"kind_field": "amount"}, ValueError, "'amount' is numeric"),
        ({"last_events": [0]}, ValueError, "whole numbers of 1 or more; got 0"),
        ({"last_events": [True]}, ValueError, "whole numbers of 1 or more; got True"),
        ({"last_time": ["2D"]}, TypeError, "must be a number"),
        ({"history": "story"}, KeyError, "no column 'story'"),
        ({"n_repeats": 0}, ValueError, "n_repeats"),
        ({"scoring": "gini"}, ValueError, r"no scorer 'gini'; .* 'normalized_gini'"),
        ({"scoring": mean_squared_error}, ValueError, "a metric function rather than"),
        ({"y": [1]}, ValueError, "inconsistent numbers"),
        ({"estimator": ThirdLast()}, NotFittedError, "not fitted"),
    ],
)
def test_errors(data, change, error, message):
    X, y = data
    args = {
        "estimator": ThirdLast().fit(X, y),
        "X": X,
        "y": y,
        "scoring": "accuracy",
    }
    with pytest.raises(error, match=message):
        history_importance(**{**args, **change})


def test_scores_may_have_names_of_this_package(data):
    X, y = data
    model = ThirdLast().fit(X, y)
    found = history_importance(model, X, y, "normalized_gini", n_repeats=1)
    assert found.baseline_score == normalized_gini(y, model.predict(X)) == 1


def test_encoded_histories_are_refused(data):
    X, y = data
    with pytest.raises(TypeError, match="history_importance needs raw histories"):
        history_importance(
            ThirdLast().fit(X, y), HistoryEncoder().fit_transform(X), y, "accuracy"
        )


def test_display(data):
    X, y = data
    found = history_importance(
        ThirdLast().fit(X, y), X, y, "accuracy", kind_field="kind", n_repeats=1
    )
    _, ax = plt.subplots()
    display = HistoryImportanceDisplay.from_importance(found, ax=ax)
    assert display.ax_ is ax
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels[:2] == ["All of the history", "Fields"]
    assert labels.index("amount") < labels.index("noise")
    assert labels[-4:] == ["1", "2", "5", "10"]
    assert len(ax.patches) == len(found.table)
    widths = [bar.get_width() for bar in ax.patches]
    assert sorted(widths) == sorted(found.table["importance"])
    with pytest.raises(TypeError, match="what history_importance returns"):
        HistoryImportanceDisplay.from_importance(found.table)
    plt.close("all")


class SumOfFirst(RegressorMixin, BaseEstimator):
    """Adds up the first component of the vectors."""

    def fit(self, X, y):
        self.fitted_ = True
        return self

    def predict(self, X):
        return sums_of_first(X)


def sums_of_first(X):
    frame = X["history"].array.to_frame()
    first = frame["vector"].map(lambda vector: vector[0])
    return first.groupby(level=0).sum().reindex(range(len(X)), fill_value=0.0)


def test_a_vector_is_shuffled_as_one_field():
    rng = np.random.default_rng(0)
    events = pd.DataFrame({"who": np.repeat(np.arange(50), 4), "noise": 1.0})
    events["day"] = np.tile(np.arange(4), 50)
    events["vector"] = list(rng.normal(size=(200, 3)))
    rows = pd.DataFrame({"who": np.arange(50)})
    X = EventLog(events, "who", "day").attach(rows)
    y = sums_of_first(X)
    model = SumOfFirst().fit(X, y)
    table = history_importance(model, X, y, "r2", n_repeats=2).table
    fields = table[table["group"] == "field"].set_index("name")["importance"]
    assert set(fields.index) == {"noise", "vector"}
    assert fields["vector"] > 0.5
    assert fields["noise"] == 0
