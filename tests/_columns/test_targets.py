from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from pandas.testing import assert_series_equal
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm._columns import (
    read_labels,
    read_numbers,
    warn_other_order,
    with_attrs_of,
)
from sklearn_seqcrm.calibration import ConformalRegressor
from sklearn_seqcrm.ensemble import DiscreteTimeSurvival, HybridRegressor, RateRegressor
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator, RFMFeatures
from sklearn_seqcrm.inspection import history_importance, markov_credit
from sklearn_seqcrm.model_selection import CutoffSplit
from sklearn_seqcrm.neural_network import (
    LSTMRegressor,
    LSTMSurvival,
    LSTMUpliftRegressor,
)
from sklearn_seqcrm.uplift import UpliftRegressor, choose_contacts


@pytest.mark.parametrize(
    "values",
    [np.array([2.0, 1.0]), np.array([True, False]), np.array(["b", "a"], dtype=object)],
    ids=lambda values: values.dtype.name,
)
@pytest.mark.parametrize("form", [pd.Series, pd.DataFrame])
def test_values_stay_and_attrs_are_copied(form, values):
    y = form(values, index=[7, 7])
    assert with_attrs_of(y, values) is values
    y.attrs["horizon"] = "30D"
    found = with_attrs_of(y, values)
    name = None if form is pd.Series else 0
    expected = pd.Series(values, index=[7, 7], dtype=values.dtype, name=name)
    assert_series_equal(found, expected)
    found.attrs["horizon"] = "1D"
    assert y.attrs == {"horizon": "30D"}


def test_arrays_have_no_attrs():
    values = np.arange(3)
    assert with_attrs_of([0, 1, 2], values) is values


@pytest.mark.parametrize("labels", [[1, 2, 1], [True, False, True], [1.0, 0.0]])
def test_numbers_and_booleans_may_be_objects(labels):
    found = read_labels(pd.Series(labels, dtype=object))
    assert found.dtype == np.asarray(labels).dtype
    assert found.tolist() == labels


@pytest.mark.parametrize("labels", [["a", 1, "b"], [1, "a", "b"]])
def test_labels_of_text_and_numbers_are_an_error(labels):
    message = "2 of 3 labels of y are text, such as 'a', and the others .* such as 1."
    with pytest.raises(TypeError, match=message + r".*astype\(str\)"):
        read_labels(np.array(labels, dtype=object))


@pytest.mark.parametrize(
    ("labels", "types"),
    [
        (pd.cut([1, 5], [0, 3, 9]), "Interval"),
        (pd.period_range("2024", periods=2, freq="M"), "Period"),
        ([Decimal(1), Decimal(2)], "Decimal"),
        ([True, 2], "bool and int"),
    ],
)
def test_labels_of_other_objects_are_an_error(labels, types):
    labels = pd.Series(labels)
    with pytest.raises(TypeError, match=rf"got {types}, such as .*astype\(str\)"):
        read_labels(labels)
    assert len(set(read_labels(labels.astype(str)))) == 2


def test_labels_of_text_stay_objects():
    labels = np.array(["b", "a", "1"], dtype=object)
    assert read_labels(labels).tolist() == ["b", "a", "1"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([1, None, 2], dtype=object), "1 of 3 targets are missing"),
        ([0.5, 1.5, 2.0], "continuous"),
        ([], "no targets"),
    ],
)
def test_other_labels_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        read_labels(labels)


@pytest.mark.parametrize("y", [[3, 1], [Decimal(3), Decimal(1)], [[3.0], [1.0]]])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning")
def test_numbers_of_any_type_are_read(y):
    assert_array_equal(read_numbers(y), [3.0, 1.0])


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([1, None, 2], "1 of 3 targets are missing; drop those rows"),
        ([1, np.inf, 2], "1 of 3 targets are infinite"),
        ([], "no targets"),
        ([[1, 2, 3], [4, 5, 6]], "y has 3 targets for each row.*MultiOutputRegressor"),
    ],
)
def test_other_numbers_are_refused(numbers, message):
    with pytest.raises(ValueError, match=message):
        read_numbers(numbers)


ROWS = pd.DataFrame({"x": [1.0, 2.0, 3.0]}, index=["a", "b", "c"])


@pytest.mark.parametrize("form", [pd.Series, pd.DataFrame])
def test_targets_in_another_order_warn(form):
    """They would be those of other rows, without a sign of it."""
    y = form([3.0, 1.0, 2.0], index=["c", "a", "b"])
    with pytest.warns(
        UserWarning, match=r"treatment.loc\[X.index\]; if positions"
    ) as w:
        warn_other_order(ROWS, y, "treatment")
    assert w[0].filename == __file__
    with pytest.warns(UserWarning, match="y has the index of X in another order"):
        warn_other_order(ROWS, y)
    for advised in (y.loc[ROWS.index], y.set_axis(ROWS.index)):
        warn_other_order(ROWS, advised)


def test_new_series_do_not_warn():
    """Their index says nothing; that of a target is the one that X had before."""
    X = ROWS.set_axis([2, 0, 1])
    y = pd.Series([3.0, 1.0, 2.0])
    warn_other_order(X, y)
    y.attrs["horizon"] = "30D"
    with pytest.warns(UserWarning, match="y has the index of X in another order"):
        warn_other_order(X, y)


def test_rows_by_several_keys_match_no_plain_index():
    """Pandas raises an error where it looks up numbers among tuples."""
    keys = pd.MultiIndex.from_product([["ann", "bob"], ["May", "June"]])
    X = pd.DataFrame({"x": range(4)}, index=keys)
    y = pd.Series([1, 0, 1, 0], index=list("abcd"))
    warn_other_order(X, y)
    warn_other_order(X.set_axis(y.index), y.set_axis(keys))
    with pytest.warns(UserWarning, match="y has the index of X in another order"):
        warn_other_order(X, y.set_axis(keys[::-1]))


@pytest.mark.parametrize(
    "y",
    [
        pd.Series([1, 2, 3]),
        pd.Series([1, 2, 3], index=["a", "b", "d"]),
        pd.Series([1, 2, 3], index=["b", "b", "a"]),
        pd.Series([1, 2], index=["b", "a"]),
        np.arange(3),
        [1, 2, 3],
    ],
    ids=["numbers", "other", "repeated", "short", "array", "list"],
)
def test_targets_of_another_index_do_not_warn(y):
    warn_other_order(ROWS, y)
    warn_other_order(ROWS.to_numpy(), y)
    warn_other_order(ROWS.set_axis(["a", "a", "b"]), pd.Series([1, 2, 3], list("baa")))


def test_functions_warn_of_values_in_another_order():
    X = EventLog(pd.DataFrame({"who": [0, 1], "day": 1, "tv": "a"}), "who", "day")
    X = X.attach(pd.DataFrame({"who": [0, 1]}, index=[7, 8]), cutoff=5)
    y = pd.Series([0, 1], index=[8, 7])
    model = make_pipeline(RFMFeatures(amount=None), LinearRegression()).fit(X, [0, 1])
    says = " has the index of {} in another order"
    for name in ("y", "sample_weight"):
        given = {"y": [0, 1], name: y}
        with pytest.warns(UserWarning, match=name + says.format("X")):
            history_importance(model, X, given.pop("y"), "r2", n_repeats=1, **given)
    with pytest.warns(UserWarning, match="converted" + says.format("X")):
        markov_credit(X, "tv", y)
    effect = pd.Series([0.1, 0.2], index=[7, 8])
    for name in ("value", "cost", "customers"):
        with pytest.warns(UserWarning, match=name + says.format("effect")):
            choose_contacts(effect, **{name: y})
        choose_contacts(effect, **{name: y.loc[effect.index]})


@pytest.mark.parametrize("features", [HistoryAggregator(), RFMFeatures(amount=None)])
def test_trees_on_features_warn_of_targets_in_another_order(features):
    """A pipeline of scikit-learn fitted labels of other rows, without a message."""
    events = pd.DataFrame({"who": range(8), "day": range(8)})
    X = EventLog(events, "who", "day").snapshots([9, 12])
    y = pd.Series([0, 1] * 8, index=X.index[::-1])
    model = make_pipeline(features, DummyClassifier())
    says = "y has the index of X in another order"
    with pytest.warns(UserWarning, match=says) as caught:
        model.fit(X, y)
    with pytest.warns(UserWarning, match=says):
        features.fit(X, y)
    with pytest.warns(UserWarning, match=says):
        cross_val_score(model, X, y, cv=CutoffSplit(1, horizon=1))
    assert [one.filename for one in caught] == [__file__]
    model.fit(X, y.loc[X.index])


def test_estimators_warn_of_values_in_another_order():
    X = pd.DataFrame({"x": np.arange(60.0), "days": 7.0})
    number = pd.Series(np.arange(60.0), index=X.index[::-1])
    label = (number > 30).astype(int)
    survival = pd.DataFrame({"event": label > 0, "time": number})
    arm = pd.Series(np.arange(60) % 2)
    small = {"max_epochs": 1, "n_networks": 1, "hidden_size": 2}
    for model, y in (
        (LSTMRegressor(**small), number),
        (LSTMSurvival(**small), survival),
        (DiscreteTimeSurvival(bins=2), survival),
        (RateRegressor(exposure="days"), number),
        (HybridRegressor(LSTMRegressor(**small), LinearRegression()), number),
        (ConformalRegressor(LinearRegression()), number),
    ):
        with pytest.warns(UserWarning, match="y has the index of X in another order"):
            model.fit(X, y)
    for model, y in (
        (LSTMRegressor(**small), number),
        (DiscreteTimeSurvival(bins=2), survival),
        (RateRegressor(exposure="days"), number),
        (HybridRegressor(LSTMRegressor(**small), LinearRegression()), number),
    ):
        with pytest.warns(UserWarning, match="sample_weight has the index of X in"):
            model.fit(X, y.sort_index(), sample_weight=number + 1)
    for model in (
        LSTMUpliftRegressor(**small),
        UpliftRegressor(LinearRegression(), learner="t"),
    ):
        with pytest.warns(UserWarning, match="treatment has the index of X in another"):
            model.fit(X, number.sort_index(), treatment=arm[::-1])
    model = UpliftRegressor(LinearRegression(), learner="t")
    given = {"treatment": arm, "propensity": np.full(60, 0.5), "sample_weight": arm + 1}
    for name in ("propensity", "sample_weight"):
        values = pd.Series(given[name], index=X.index[::-1])
        with pytest.warns(UserWarning, match=f"{name} has the index of X in another"):
            model.fit(X, number.sort_index(), **given | {name: values})
