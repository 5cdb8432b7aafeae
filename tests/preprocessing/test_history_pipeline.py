import re
from datetime import date
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier, StackingClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from sklearn_seqcrm.events import EventLog, HistoryDtype
from sklearn_seqcrm.feature_extraction import HistoryAggregator
from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMRegressor
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.testing._small_data import make_table
from tests.preprocessing.encoded_logs import assert_same_numbers

EVENTS = pd.DataFrame(
    {
        "who": ["a", "b", "b", "c"],
        "when": pd.to_datetime([f"2024-01-0{day}" for day in (1, 2, 5, 3)]),
        "x": [1.0, 2.0, 3.0, 4.0],
    }
)
LOG = EventLog(EVENTS, "who", "when", observed_until="2024-05-01")


class Keep(BaseEstimator):
    """An estimator that remembers the X that the steps before it make."""

    def fit(self, X, y=None):
        self.X_ = X
        return self

    def predict(self, X):
        return X


class Classes(ClassifierMixin, Keep):
    """The same for a classifier."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return super().fit(X)


def attach(**statics):
    n = len(next(iter(statics.values())))
    rows = pd.DataFrame({"who": [*"abc"][:n], **statics})
    return LOG.attach(rows, cutoff=pd.Timestamp("2024-01-10"))


def statics_of(fit, X=None):
    """What the statics of X become; those in fit and predict are of the same kind."""
    model = make_history_pipeline(Keep()).fit(fit)
    there = model.predict(fit if X is None else X)
    assert isinstance(there["history"].dtype, HistoryDtype)
    assert there["history"].array.log.layout
    return there.drop(columns="history")


def standardised(values):
    """Median for what is missing, then mean 0 and standard deviation 1."""
    values = np.asarray(values, dtype="float64")
    filled = np.where(np.isnan(values), np.nanmedian(values), values)
    return (filled - filled.mean()) / filled.std()


NAN = np.nan
NUMERIC = {
    "int": ([1, 2, 6], [1, 2, 6]),
    "float": ([1.5, -2.0, 6.0], [1.5, -2.0, 6.0]),
    "float32": (np.array([1, 2, 6], "float32"), [1, 2, 6]),
    "missing": ([1.0, NAN, 6.0], [1, NAN, 6]),
    "infinite": ([1.0, -np.inf, 6.0], [1, NAN, 6]),
    "bool": ([True, False, True], [1, 0, 1]),
    "Int64": (pd.array([1, None, 6], "Int64"), [1, NAN, 6]),
    "Float32": (pd.array([1.5, None, 6], "Float32"), [1.5, NAN, 6]),
    "boolean": (pd.array([True, None, False], "boolean"), [1, NAN, 0]),
    "objects": (pd.Series([1.5, None, 6], dtype=object), [1.5, NAN, 6]),
    "NA objects": (pd.Series([1, pd.NA, 6], dtype=object), [1, NAN, 6]),
    "bool objects": (pd.Series([True, None, False], dtype=object), [1, NAN, 0]),
    "decimals": ([Decimal("1.5"), None, Decimal(6)], [1.5, NAN, 6]),
    "arrow": (pd.array([1, None, 6], "int64[pyarrow]"), [1, NAN, 6]),
    "arrow bool": (pd.array([True, None, False], "bool[pyarrow]"), [1, NAN, 0]),
    "timedelta": (pd.to_timedelta(["1D", "36h", None]), [1, 1.5, NAN]),
    # The cutoff is 2024-01-10.
    "datetime": (pd.to_datetime(["2024-01-09", "2024-01-04", None]), [1, 6, NAN]),
    "after": (pd.to_datetime(["2024-01-11", "2024-01-09", "2024-01-10"]), [-1, 1, 0]),
    "dates": ([date(2024, 1, 9), date(2024, 1, 4), None], [1, 6, NAN]),
    "seconds": (
        pd.to_datetime(["2024-01-09", "2024-01-08", "2024-01-04"]).as_unit("s"),
        [1, 2, 6],
    ),
}


@pytest.mark.parametrize("case", NUMERIC)
def test_numbers_and_moments(case):
    values, numbers = NUMERIC[case]
    there = statics_of(attach(v=values))
    assert_allclose(there["v"], standardised(numbers), atol=1e-7)
    missing = np.isnan(np.asarray(numbers, dtype="float64"))
    if missing.any():
        mark = there["missingindicator_v"]
        assert_array_equal(mark > 0, missing)
    assert there.shape[1] == 1 + missing.any()


def test_durations_of_another_library():
    durations = pd.to_timedelta(["1D", "36h", None])
    X, other = attach(v=durations), attach(v=durations.astype("duration[ns][pyarrow]"))
    assert_array_equal(statics_of(X, other), statics_of(X))


def test_statics_are_not_written_to():
    values = {"v": pd.Series([1, None, 6], dtype=object)}
    X = attach(**values, w=pd.to_timedelta(["1D", "36h", None]))
    before = X.copy()
    statics_of(X)
    pd.testing.assert_frame_equal(X, before)


CATEGORICAL = {
    "str": ["x", "y", None],
    "object": pd.Series(["x", "y", None], dtype=object),
    "category": pd.Categorical(["x", "y", None], categories=["w", "x", "y"]),
    "numbers as categories": pd.Categorical([1, 2, None]),
    "string": pd.array(["x", "y", None], "string"),
    "arrow": pd.array(["x", "y", None], "string[pyarrow]"),
    "of strings": pd.Series(["x", "y", None], dtype="string").astype("category"),
}


@pytest.mark.parametrize("case", CATEGORICAL)
def test_categories_are_one_hot_and_missing_is_one(case):
    there = statics_of(attach(v=CATEGORICAL[case]))
    assert_array_equal(there, np.eye(3))


@pytest.mark.parametrize(
    ("training", "values", "levels"),
    [
        *(
            (["x", "y", None], pd.Series(["y", "x", missing], dtype=object), [1, 0, 2])
            for missing in (None, NAN, pd.NA, pd.NaT)
        ),
        # Mixed categories are told apart by their text.
        ([7, "x", None], [7, "x", None], [0, 1, 2]),
        ([7, "x", None], ["x", 7.0, None], [1, 0, 2]),
        # A missing one makes floats of numbers; training had none, so it is no level.
        (pd.Categorical([1, 2, 1]), pd.Categorical([2.0, None, 1.0]), [1, 2, 0]),
    ],
)
def test_equal_levels_of_several_types_are_one(training, values, levels):
    there = statics_of(attach(v=training), attach(v=values))
    assert_array_equal(there, np.eye(3)[levels][:, : there.shape[1]])
    assert there.shape[1] == len(set(training))


def test_an_unseen_level_has_no_column_or_that_of_rare_levels():
    X = attach(v=["x", "y", "y"])
    other = attach(v=["new", "x", None])
    assert_array_equal(statics_of(X, other), [[0, 0], [1, 0], [0, 0]])
    many = pd.concat([attach(v=["x", "x", "y"])] * 150 + [attach(v=["rare", "x"])])
    there = statics_of(many, other)
    assert list(there) == ["v_x", "v_y", "v_infrequent_sklearn"]
    assert_array_equal(there, [[0, 0, 1], [1, 0, 0], [0, 0, 1]])


def test_names_of_columns_and_levels_do_not_collide():
    rare = ["x", "infrequent_sklearn", "x"]
    many = pd.concat([attach(v=rare)] * 150 + [attach(v=["rare", "x", "x"])])
    names = ["v_infrequent_sklearn", "v_x", "v_infrequent_sklearn_"]
    there = statics_of(many, attach(v=["infrequent_sklearn", "x", "new"]))
    assert list(there) == names
    assert_array_equal(there, np.eye(3))
    there = statics_of(attach(a=["b_c", "d", "d"], a_b=["e", "c", "c"]))
    assert list(there) == ["a_b_c", "a_d", "a_b_c_", "a_b_e"]
    assert_array_equal(there, [[1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 1, 0]])
    marked = attach(a=[1.0, NAN, 3.0], missingindicator_a=[1.0, 2.0, 3.0])
    expected = ["a", "missingindicator_a", "missingindicator_a_"]
    assert list(statics_of(marked)) == expected
    # Numbers come first, and keep their names.
    levels = attach(v=["x", "y", "y"], v_x=[1.0, 2.0, 2.0])
    there = statics_of(levels, levels.iloc[::-1])
    assert list(there) == ["v_x", "v_x_", "v_y"]
    assert_allclose(there["v_x"], standardised([1, 2, 2])[::-1])
    assert_array_equal(there[["v_x_", "v_y"]], [[0, 1], [0, 1], [1, 0]])


def test_a_level_is_not_called_like_a_key():
    """Networks leave keys out: the level would have no column."""
    orders = pd.DataFrame({"who": range(9), "when": 1})
    predictions = []
    for cutoff in ("week_end", "other"):
        rows = {"who": range(9), cutoff: 2, "week": ["end", "trial", "full"] * 3}
        X = EventLog(orders, "who", "when").attach(pd.DataFrame(rows), cutoff=cutoff)
        network = LSTMClassifier(hidden_size=4, max_epochs=2, random_state=0)
        model = make_history_pipeline(network).fit(X, [1, 0, 0] * 3)
        predictions.append(model.predict_proba(X))
        level = "week_end_" if cutoff == "week_end" else "week_end"
        names = ["history", level, "week_full", "week_trial"]
        assert list(model[1].get_feature_names_out()) == names
    assert_array_equal(*predictions)


def test_aggregates_with_rare_levels_beside_the_history():
    n = 1000
    rng = np.random.default_rng(0)
    common = rng.choice(["x", "y", "z"], n - 24).tolist()
    shop = [*common, *"wwww", *(f"rare{i}" for i in range(20))]
    events = pd.DataFrame({"who": range(n), "day": 1, "shop": shop})
    log = EventLog(events, "who", "day")
    X = log.attach(pd.DataFrame({"who": range(n)}), cutoff=9)
    model = make_pipeline(
        HistoryAggregator(keep_histories=True, max_levels=4),
        make_history_pipeline(
            LSTMClassifier(max_epochs=1, hidden_size=2, n_networks=1)
        ),
    )
    model.fit(X, rng.integers(2, size=n))
    statics = model[-1].named_steps["statics"].get_feature_names_out()
    twice = ["history__shop_last_infrequent_sklearn"] * 2
    assert [n.rstrip("_") for n in statics if n.startswith(twice[0])] == twice
    assert model.predict_proba(X).shape == (n, 2)


def test_columns_without_a_value():
    none, dates = [None, None, None], pd.to_datetime(["2024-01-01"] * 3)
    text = pd.Series(none, dtype=object)
    X = attach(number=[NAN] * 3, moment=pd.to_datetime(none), text=text)
    full = attach(number=[1.0, 2.0, 3.0], moment=dates, text=["a", "b", "c"])
    for there in (statics_of(X), statics_of(X, full)):
        assert np.isfinite(there.to_numpy(dtype="float64")).all()


def test_missing_at_predict_only():
    X = attach(v=[1.0, 2.0, 6.0])
    there = statics_of(X, attach(v=[NAN, np.inf, 3.0]))
    assert list(there) == ["v"]
    assert there["v"].iloc[0] == there["v"].iloc[1]  # the median
    assert_allclose(there["v"].iloc[0], (2 - 3) / np.std([1, 2, 6]))


@pytest.mark.parametrize("size", [1e300, 1e40, 1.7e18, 0.1, 1e-300])
def test_a_constant_column_is_zero(size):
    """Whatever its size, and also where a sum of it is not a multiple of it."""
    X = attach(v=[size] * 3)
    there = statics_of(X, X)["v"].astype("float32")
    assert_allclose(there, 0, atol=1e-6)
    # Of what did not vary, nothing was learned.
    other = statics_of(X, attach(v=[size, 3 * size, np.nan]))["v"]
    assert_array_equal(other, 0)


@pytest.mark.parametrize(
    ("unknown", "later"),
    [
        ([NAN] * 3, [1e4, 2e4, 3e4]),
        (pd.to_datetime([None] * 3), pd.to_datetime(["2020-01-01"] * 3)),
        (pd.to_timedelta([None] * 3), pd.to_timedelta(["900D"] * 3)),
    ],
)
def test_a_column_without_training_values_is_zero(unknown, later):
    X = attach(v=unknown)
    assert_array_equal(statics_of(X, attach(v=later)), 0)


def test_statics_can_be_centred_without_scaling():
    model = make_history_pipeline(Keep()).set_params(
        statics__numeric__standardscaler__with_std=False
    )
    X = attach(v=[1.0, 2.0, 6.0])
    assert model.fit(X).predict(X)["v"].tolist() == [-2, -1, 3]


def test_numbers_far_outside_of_the_training_are_clipped():
    """By more than the length of its range: an effect would go on without end."""
    X = attach(v=[1.0, 2.0, 6.0], always=[5.0, 5.0, 5.0])
    far = attach(v=[-4.0, -999.0, 1e6], always=[5.0, -999.0, 1e6])
    found = statics_of(X, far)
    spread = np.std([1, 2, 6])
    assert_allclose(found["v"], (np.array([-4, -4, 11]) - 3) / spread, rtol=1e-6)
    assert_array_equal(found["always"], 0)


def test_numbers_of_any_size_are_standardised():
    for values in ([1e300, 1e140, -1e300], [1e-300, 2e-300, 6e-300]):
        there = statics_of(attach(v=values))["v"]
        # A spread so small that its square vanishes counts as none.
        expected = standardised([1, 0, -1]) if values[0] > 1 else 0
        assert_allclose(there, expected, atol=1e-6)


def test_datetimes_are_days_before_the_cutoff_of_their_row():
    rows = pd.DataFrame(
        {
            "who": ["a", "b", "c"],
            "at": pd.to_datetime(["2024-01-10", "2024-02-10", "2024-03-10"]),
            "joined": pd.to_datetime(["2024-01-09", "2024-02-08", "2024-03-01"]),
        },
        index=[5, 3, 4],
    )
    there = statics_of(LOG.attach(rows, cutoff="at"))
    assert list(there) == ["joined"]
    assert list(there.index) == [5, 3, 4]
    assert_allclose(there["joined"], standardised([1, 2, 9]))


def test_zones():
    events = EVENTS.assign(when=EVENTS["when"].dt.tz_localize("UTC"))
    joined = pd.to_datetime(["2024-01-09", "2024-01-08", "2024-01-04"])
    rows = pd.DataFrame({"who": [*"abc"], "v": joined.tz_localize("Asia/Tokyo")})
    X = EventLog(events, "who", "when").attach(
        rows, cutoff=pd.Timestamp("2024-01-10", tz="UTC")
    )
    assert_allclose(statics_of(X)["v"], standardised([1, 2, 6]))
    with pytest.raises(ValueError, match="'v' and the cutoffs are not both naive"):
        statics_of(X.assign(v=joined))


def test_datetimes_beside_cutoffs_of_numbers_are_refused():
    events = EVENTS.assign(when=[1, 2, 3, 4])
    X = EventLog(events, "who", "when").attach(
        pd.DataFrame({"who": ["a", "b"], "v": pd.to_datetime(["2024-01-01"] * 2)}),
        cutoff=9,
    )
    with pytest.raises(ValueError, match=r"cutoffs are plain numbers.*'v'"):
        statics_of(X)


def test_keys_are_left_out():
    X = LOG.attach(
        pd.DataFrame({"client": ["a", "b"], "at": EVENTS["when"][:2], "age": [1, 2]}),
        customer="client",
        cutoff="at",
    )
    more = LOG.attach(
        X.assign(later=pd.Timestamp("2024-05-01"), who=["a", "b"]),
        cutoff="later",
        name="second",
    )
    model = make_history_pipeline(Keep()).fit(more)
    assert list(model[-1].X_) == ["history", "second", "age"]
    # A constant cutoff is no column, so the row's own datetime is a static.
    there = statics_of(LOG.attach(X.drop(columns="history"), "client", "2024-01-09"))
    assert list(there) == ["age", "at"]


@pytest.mark.parametrize("output", ["pandas", "default"])
def test_keys_are_left_out_after_a_column_transformer(output):
    rows = pd.DataFrame({"who": ["a", "b", "c"], "age": [1.0, 2.0, 6.0]})
    rows["at"] = pd.to_datetime(["2024-01-10", "2024-02-10", "2024-03-10"])
    X = LOG.attach(rows, cutoff="at")
    before = ColumnTransformer(
        [("age", StandardScaler(), ["age"])], remainder="passthrough"
    ).set_output(transform=output)
    model = make_pipeline(before, make_history_pipeline(Keep())).fit(X)
    kept = [name.rpartition("__")[2] for name in model.predict(X)]
    assert kept == (["history", "age"] if output == "pandas" else ["x3", "x0"])


def test_keys_are_left_out_of_what_a_stack_passes_on():
    """Its final estimator reads an array of objects, beside predictions."""
    X = make_table()
    stack = StackingClassifier(
        [("half", DummyClassifier(strategy="prior"))],
        make_history_pipeline(Classes()),
        passthrough=True,
        cv=2,
    )
    y = np.arange(len(X)) % 2
    last = stack.fit(X, y).final_estimator_[-1]
    # x0 is the prediction, and x1 and x2 are the customer and the cutoff.
    found = {re.search(r"x\d", name)[0] for name in last.X_}
    assert found == {"x0", "x3", "x4", "x5", "x6", "x7"}
    assert list(X)[:3] == ["who", "at", "age"]


def test_histories_alone():
    X = LOG.attach(pd.DataFrame({"who": ["a", "b"]}))
    model = make_history_pipeline(Keep()).fit(X)
    assert list(model[-1].X_) == ["history"]


@pytest.mark.parametrize(
    "estimator", [HistGradientBoostingClassifier(), LogisticRegression()]
)
@pytest.mark.parametrize("output", ["pandas", "default"])
def test_estimators_that_take_no_histories_are_refused(estimator, output):
    X = make_table()
    model = make_history_pipeline(estimator)
    model["statics"].set_output(transform=output)
    with pytest.raises(
        TypeError,
        match=r"history is not a number.*make_pipeline\(RFMFeatures\(\), estim",
    ):
        model.fit(X, np.arange(len(X)) % 2)


def test_parameters_are_nested():
    model = make_history_pipeline(Keep())
    assert list(model.named_steps) == ["encoder", "statics", "estimator"]
    assert isinstance(model["encoder"], HistoryEncoder)
    model.set_params(
        encoder__max_categories=3, statics__category__onehotencoder__min_frequency=None
    )
    again = clone(model)
    assert again["encoder"].max_categories == 3
    assert again.get_params()["statics__category__onehotencoder__min_frequency"] is None
    assert repr(again["statics"].transformers[1][2]) == "ColumnsOfKind('numeric')"


def test_unknown_parameters_and_methods_get_short_hints():
    model = make_history_pipeline(LSTMRegressor())
    with pytest.raises(ValueError, match="mean 'estimator__dropout'") as caught:
        model.set_params(dropout=0.1)
    assert len(str(caught.value)) < 200
    with pytest.raises(ValueError, match=r"one of .'encoder', 'statics', 'estimator'"):
        model.set_params(drop_out=0.1)
    with pytest.raises(ValueError, match="'drop_out' for estimator LSTMRegressor"):
        model.set_params(estimator__drop_out=0.1)
    hint = "'squared_error' has no predict_quantiles; .*'quantile'"
    with pytest.raises(AttributeError, match=hint):
        model.predict_quantiles  # noqa: B018
    assert not hasattr(model, "predict_quantiles")
    model.set_params(estimator__loss="quantile")
    assert hasattr(model, "predict_quantiles")


@pytest.mark.parametrize("exposure", [pd.Series([1.0]), 3])
def test_an_exposure_is_a_name(exposure):
    # Columns of X have names of text: a number would be a position, of an array.
    message = f"such as exposure='days'; got one of type {type(exposure).__name__}"
    with pytest.raises(TypeError, match=message):
        make_history_pipeline(LSTMRegressor(exposure=exposure))


def test_whole_steps_are_set():
    model, last = make_history_pipeline(Keep()), Keep()
    assert model.set_params(estimator=last)[-1] is last
    assert model.set_params(verbose=True).verbose
    assert len(model.set_params(steps=model.steps[1:]).steps) == 2


def test_new_steps_are_set_with_their_parameters():
    model = make_history_pipeline(Keep())
    steps = [*model.steps[:-1], ("ridge", Ridge())]
    assert model.set_params(steps=steps, ridge__alpha=3.0)["ridge"].alpha == 3
    with pytest.raises(ValueError, match=r"'estimator__x' .*'statics', 'ridge'\]"):
        model.set_params(steps=steps, estimator__x=1)


def test_the_cache_depends_on_the_events_of_the_log(tmp_path, monkeypatch):
    fits, fit = [], HistoryEncoder._learn
    monkeypatch.setattr(HistoryEncoder, "_learn", lambda *X: fits.append(1) or fit(*X))

    def n_fits(events, cutoff="2024-01-04"):
        """How often the encoder is fitted anew for a new log of these events."""
        X = EventLog(events, "who", "when").attach(
            pd.DataFrame({"who": [*"abc"], "age": [1.0, 2.0, 3.0]}), cutoff=cutoff
        )
        fits.clear()
        found = make_history_pipeline(Keep(), memory=str(tmp_path)).fit(X)[-1].X_
        n_fits = len(fits)
        expected = make_history_pipeline(Keep()).fit(X)[-1].X_
        assert_array_equal(found["age"], expected["age"])
        assert_same_numbers(found["history"].array, expected["history"].array)
        return n_fits

    later = EVENTS.assign(x=[1.0, 2.0, 9.0, 4.0])  # on 2024-01-05
    earlier = EVENTS.assign(x=[1.0, 9.0, 3.0, 4.0])
    assert [n_fits(EVENTS), n_fits(EVENTS.copy())] == [1, 0]
    assert n_fits(EVENTS, cutoff="2024-01-10") == 1
    assert [n_fits(earlier), n_fits(later)] == [1, 1]
    assert [n_fits(EVENTS), n_fits(earlier), n_fits(later)] == [0, 0, 0]


def test_object_array():
    """What a ColumnTransformer without set_output hands over."""
    X = attach(
        number=[1.0, NAN, 6.0],
        text=["x", None, "y"],
        moment=pd.to_datetime(["2024-01-09", "2024-01-04", None]),
        flag=[True, False, True],
    ).drop(columns="who")
    objects = X.to_numpy(dtype=object)
    model = make_history_pipeline(Keep()).fit(objects)
    there = model.predict(objects)
    assert [name for name in there if there[name].dtype == HistoryDtype()] == ["x4"]
    expected = statics_of(X)
    assert_allclose(
        there.drop(columns="x4").to_numpy("float64"), expected.to_numpy("float64")
    )


def test_default_output_of_the_statics():
    """Histories survive as objects where a user turns the DataFrame output off."""
    X = make_table()
    model = make_history_pipeline(Keep())
    expected = clone(model).fit(X)[-1].X_
    model["statics"].set_output(transform="default")
    there = model.fit(X)[-1].X_
    assert there.dtype == object
    assert_allclose(there[:, 1:].astype(float), expected.iloc[:, 1:].to_numpy(float))


def test_names_of_outputs():
    X = make_table()
    model = make_history_pipeline(Keep()).fit(X)
    names = list(model[:-1].get_feature_names_out())
    assert names == list(model[-1].X_)
    assert names[0] == "history"
    assert {"age", "missingindicator_age", "joined", "city_Oslo"} <= set(names)


def test_tags_of_the_pipeline():
    assert get_tags(make_history_pipeline(LSTMClassifier())).classifier_tags
    assert get_tags(make_history_pipeline(LSTMRegressor())).regressor_tags


@pytest.mark.parametrize("statics", [{}, {"age": [1.0, 2.0]}, {"name": ["x", "y"]}])
def test_a_fitted_pipeline_shows_itself_in_a_notebook(statics):
    """Also without statics of a kind, where a part of it was never fitted."""
    X = LOG.attach(pd.DataFrame({"who": ["a", "b"], **statics}))
    model = make_history_pipeline(Keep()).fit(X)
    assert "HistoryEncoder" in model._repr_html_()
    names = model[:-1].get_feature_names_out()
    assert list(names) == list(model[:-1].transform(X).columns)
