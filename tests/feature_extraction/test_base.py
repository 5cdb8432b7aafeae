"""What RFMFeatures and HistoryAggregator share: columns, rows, names and errors."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from pandas.testing import assert_frame_equal
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import NotFittedError

from sklearn_seqcrm.feature_extraction import HistoryAggregator, RFMFeatures
from sklearn_seqcrm.preprocessing import HistoryEncoder
from sklearn_seqcrm.testing._small_data import make_table
from tests.feature_extraction.features import MARKETING
from tests.logs import log_of_table


@pytest.fixture(
    name="model",
    params=[RFMFeatures(), RFMFeatures(dialect="btyd"), HistoryAggregator(min_rows=0)],
    ids=["marketing", "btyd", "aggregates"],
)
def each_model(request):
    return clone(request.param)


STATICS = ["age", "city", "joined", "member"]


# Columns ------------------------------------------------------------------------------


def test_names(model):
    X = make_table()
    table = model.fit_transform(X)
    names = model.get_feature_names_out().tolist()
    assert table.columns.tolist() == names
    assert model.get_feature_names_out(X.columns).tolist() == names
    # Without the keys.
    assert names[-4:] == model.static_columns_ == STATICS
    assert all(name.startswith("history__") for name in names[:-4])
    assert model.n_features_in_ == 7
    assert model.feature_names_in_.tolist() == X.columns.tolist()
    with pytest.raises(ValueError, match="not equal to feature_names_in_"):
        model.get_feature_names_out([*"abcdefg"])


def test_other_columns_may_be_dropped(model):
    X = make_table()
    whole = clone(model).fit_transform(X)
    model.set_params(remainder="drop").fit(X)
    found = model.transform(X[["history"]])
    assert_frame_equal(found, whole.drop(columns=STATICS))


def test_statics_without_a_value_are_left_out(model):
    """Boosting of scikit-learn 1.9, the default of a hybrid, fails on such columns."""
    X = make_table().assign(age=np.nan, joined=pd.NaT, city=None)
    X["member"] = pd.array([None] * len(X), dtype="boolean")
    X.loc[::2, "age"] = np.inf  # in the output, infinite numbers are missing
    table = model.fit_transform(X)
    assert model.static_columns_ == ["city"]
    HistGradientBoostingClassifier(max_iter=2).fit(table, np.arange(len(X)) % 2)
    assert list(model.transform(make_table())) == list(table)
    assert "age" in model.fit(X.iloc[:0]).static_columns_


def test_columns_are_found_by_name_and_keys_under_any_name(model):
    X = make_table()
    expected = model.fit_transform(X)
    moved = X[X.columns[::-1]].assign(segment="new")
    renamed = X.rename(columns={"who": "household", "at": "day"})
    for other in (moved, renamed, X.drop(columns=["who", "at"])):
        assert_frame_equal(model.transform(other), expected)
    assert_frame_equal(clone(model).fit_transform(renamed), expected)


def test_a_key_whose_name_is_a_number(model):
    """scikit-learn takes no names of several types, and a key is not read."""
    X = rows_with("plain numbers").rename(columns={"who": 0})
    assert model.fit(X).feature_names_in_.tolist() == ["history"]
    assert len(model.transform(X)) == 2


def test_object_array(model):
    X = make_table()[["age", "city", "history"]].reset_index(drop=True)
    expected = clone(model).fit_transform(X)
    table = model.fit_transform(X.to_numpy(dtype=object))
    assert table.columns[-2:].tolist() == ["x0", "x1"]
    names = expected.columns.str.replace("history__", "x2__")
    table = table.rename(columns={"x0": "age", "x1": "city"})
    assert_frame_equal(table, expected.set_axis(names, axis=1))


def test_polars_output(model):
    pytest.importorskip("polars")
    X = make_table()
    expected = clone(model).fit_transform(X)
    table = model.set_output(transform="polars").fit_transform(X)
    assert table.columns == expected.columns.tolist()
    name = "history__recency"
    assert_array_equal(table[name].to_numpy(), expected[name])


# Rows ---------------------------------------------------------------------------------


def test_rows_keep_their_index(model):
    X = make_table().set_axis(np.repeat(range(24), 2))
    assert model.fit_transform(X).index.equals(X.index)
    assert model.transform(X).index.equals(X.index)


def test_missing_histories_and_no_rows(model):
    X = make_table()
    expected = model.fit_transform(X)
    first, last = X.index[[0, -1]]
    gap = model.transform(X.reindex([first, 999, last]))
    assert_frame_equal(gap.loc[[first, last]], expected.loc[[first, last]])
    assert gap.loc[999].isna().all()
    nothing = model.transform(X.iloc[:0])
    assert nothing.dtypes.equals(expected.dtypes)
    assert len(nothing) == 0
    assert len(clone(model).fit(X.iloc[:0]).transform(X)) == len(X)


# Errors -------------------------------------------------------------------------------


def test_not_fitted(model):
    with pytest.raises(NotFittedError):
        model.transform(make_table())
    with pytest.raises(NotFittedError):
        model.get_feature_names_out()


def test_no_history(model):
    X = make_table()
    with pytest.raises(ValueError, match=r"X has no history column; EventLog\.attach"):
        model.fit(X[["age"]])
    with pytest.raises(TypeError, match=r"must be a pandas DataFrame.*numpy\.ndarray"):
        model.fit(X[["age"]].to_numpy())


def test_encoded_histories(model):
    X = make_table()
    encoded = HistoryEncoder().fit_transform(X)
    message = rf"{type(model).__name__} needs raw histories.*HistoryEncoder"
    for refuse in (clone(model).fit, model.fit(X).transform):
        with pytest.raises(TypeError, match=message):
            refuse(encoded)


def test_other_columns_in_transform(model):
    X = make_table()
    model.fit(X)
    with pytest.raises(ValueError, match=r"lacks 1 of the 5 columns.*'past'"):
        model.transform(X.rename(columns={"history": "past"}))
    with pytest.raises(ValueError, match=r"lacks 1 of the 5 columns.*'age'"):
        model.transform(X.drop(columns="age"))
    swapped = X.assign(history=1, age=X["history"])
    with pytest.raises(TypeError, match=r"Column 'history' must hold histories.*int64"):
        model.transform(swapped)


def test_a_name_that_is_taken(model):
    X = make_table().assign(history__recency=1)
    message = r"names of other columns of X: \['history__rec"
    with pytest.raises(ValueError, match=message):
        model.fit(X)
    table = model.set_params(remainder="drop").fit_transform(X)
    assert {f"history__{name}" for name in MARKETING[::3]} < set(table)


NUMBERS = pd.Series([1, 5, 2, 9])
TIMES = {
    "plain numbers": NUMBERS,
    "naive datetimes": pd.Timestamp("2024-01-01") + pd.to_timedelta(NUMBERS, unit="D"),
    "time-zone aware datetimes": (
        pd.Timestamp("2024-01-01", tz="Asia/Tokyo") + pd.to_timedelta(NUMBERS, unit="D")
    ),
}


def rows_with(times):
    events = pd.DataFrame({"who": list("aabb"), "time": TIMES[times], "x": 1.0})
    return log_of_table(events).attach(pd.DataFrame({"who": ["a", "b"]}))


@pytest.mark.parametrize("in_fit", TIMES)
@pytest.mark.parametrize("later", TIMES)
def test_times_of_another_type(model, in_fit, later):
    model.fit(rows_with(in_fit))
    X = rows_with(later)
    if (in_fit == "plain numbers") == (later == "plain numbers"):
        assert len(model.transform(X)) == 2
        return
    message = (
        f"histories in 'history' are {later}, but those that "
        f"{type(model).__name__} saw in fit were {in_fit}; build both logs"
    )
    with pytest.raises(ValueError, match=message):
        model.transform(X)
