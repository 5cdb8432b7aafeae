"""Durations as targets and as arguments of metrics: days, or an error."""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from numpy.testing import assert_array_equal
from scipy.sparse import csr_array
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression
from sklearn.metrics import make_scorer

from sklearn_seqcrm._columns._static_types import static_type_of
from sklearn_seqcrm._durations import as_floats, as_quantities
from sklearn_seqcrm.calibration import ConformalRegressor
from sklearn_seqcrm.ensemble import make_hybrid
from sklearn_seqcrm.metrics import (
    aggregate_bias,
    normalized_gini,
    pit_histogram,
    policy_value,
)
from sklearn_seqcrm.model_selection import compare_models
from sklearn_seqcrm.neural_network import LSTMRegressor, LSTMSurvival

SMALL = {
    "hidden_size": 4,
    "head_sizes": (4,),
    "max_epochs": 1,
    "random_state": 0,
    "n_networks": 1,
}
DAYS = np.array([0.5, 1.0, 2.0, 5.0, 9.0, 30.0])
X = np.arange(6.0)[:, None]
MOMENTS = pd.Timestamp("2024-01-01") + pd.to_timedelta(DAYS, unit="D")


def durations(form):
    found = pd.Series(pd.to_timedelta(DAYS, unit="D"))
    return {
        "series": found,
        "seconds": found.to_numpy().astype("m8[s]"),
        "microseconds": found.to_numpy().astype("m8[us]"),
        "objects": found.astype(object),
        "list": found.tolist(),
        "datetime": [datetime.timedelta(days=day) for day in DAYS],
        "arrow": found.astype(pd.ArrowDtype(pa.duration("ms"))),
    }[form]


FORMS = pytest.mark.parametrize(
    "form",
    ["series", "seconds", "microseconds", "objects", "list", "datetime", "arrow"],
)


@FORMS
def test_metrics_read_durations_as_days(form):
    y = durations(form)
    assert_array_equal(as_floats(y, "y")[0], DAYS)
    assert aggregate_bias(y, DAYS) == 0
    assert aggregate_bias(2 * DAYS, y) == -0.5
    assert normalized_gini(y, DAYS) == 1
    paths = np.sort(np.linspace(0, 31, 24)).reshape(6, 4)
    expected = pit_histogram(DAYS, paths, n_bins=4)
    assert_array_equal(pit_histogram(y, paths, n_bins=4), expected)
    of_paths = (paths * 86_400e6).astype("m8[us]")
    assert_array_equal(pit_histogram(y, of_paths, n_bins=4), expected)


@pytest.mark.parametrize("missing", [None, pd.NaT, pd.NA, np.nan], ids=repr)
def test_missing_values_among_durations_that_are_objects(missing):
    """With pandas 2, pd.NA made them a mixture."""
    column = pd.Series([datetime.timedelta(days=2), missing], dtype=object)
    assert_array_equal(as_floats(column, "y")[0], [2, np.nan])
    assert static_type_of(column) == "numeric"
    with pytest.raises(TypeError, match="y holds durations"):
        as_quantities(column)


def test_missing_values_do_not_hide_the_type_of_objects():
    periods = pd.Series([pd.Period("2020"), pd.NA], dtype=object, name="year")
    with pytest.raises(TypeError, match="Column 'year' holds periods"):
        static_type_of(periods)
    # A missing value of another type is none of ours.
    odd = pd.Series([datetime.timedelta(days=2), Decimal("NaN")], dtype=object)
    with pytest.raises(TypeError, match="y must hold numbers or durations"):
        as_floats(odd, "y")


@FORMS
def test_survival_reads_durations_as_days(form):
    model = LSTMSurvival(**SMALL, bins=[4, 40]).fit(X, durations(form))
    assert model.predict_proba_before(X, "40D").shape == (6,)
    y = pd.DataFrame({"event": True, "time": durations(form)})
    again = LSTMSurvival(**SMALL, bins=[4, 40]).fit(X, y)
    assert_array_equal(again.predict(X), model.predict(X))


@FORMS
def test_regressors_refuse_durations_that_scorers_would_misread(form):
    conformal = ConformalRegressor(LinearRegression())
    for model in (LSTMRegressor(**SMALL), make_hybrid(task="regression"), conformal):
        with pytest.raises(TypeError, match=r"y holds durations.*y / pd.Timedelta\("):
            model.fit(X, durations(form))
    two = pd.DataFrame({"spend": DAYS, "wait": durations(form)})
    with pytest.raises(TypeError, match="y holds durations"):
        LSTMRegressor(**SMALL).partial_fit(X, two)


def test_errors_of_text_as_target_name_numbers_only():
    """Those of tables recommended durations, which targets cannot be."""
    y = pd.DataFrame({"spend": DAYS, "size": ["1", "2", "3", "4", "5", "6"]})
    for text in (y["size"], y):
        with pytest.raises(TypeError, match=r"got text.*pd.to_numeric makes numbers"):
            as_quantities(text)


def test_comparisons_take_durations_only_for_survival():
    models = {"line": LinearRegression(), "mean": DummyRegressor()}
    y = durations("series")
    for scoring in ("r2", "neg_absolute_bias"):
        with pytest.raises(TypeError, match="y holds durations"):
            compare_models(models, X, y, cv=2, scoring=scoring)
    with pytest.raises(TypeError, match="y holds datetimes"):
        compare_models(models, X, MOMENTS, cv=2, scoring="r2")
    own = make_scorer(normalized_gini)
    network = {"network": LSTMSurvival(**SMALL)}
    for scoring in ("concordance", {"gini": own}):
        compare_models(network, X, y, cv=2, scoring=scoring, n_resamples=9)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (MOMENTS, "datetimes"),
        (MOMENTS.astype(object), "datetimes"),
        (MOMENTS.tz_localize("Europe/Berlin"), "datetimes"),
        (MOMENTS.date, "datetimes"),
        (["3 days"] * 6, "text, such as .*pd.to_timedelta makes durations"),
        (pd.Series(["3 days"] * 6, dtype="category"), "text, such as"),
        ([1.0, *durations("list")[1:]], "some values are neither"),
    ],
)
def test_times_of_another_kind_are_refused(y, words):
    networks = LSTMRegressor(**SMALL), LSTMSurvival(**SMALL)
    conformal = ConformalRegressor(LinearRegression())
    for model in (*networks, make_hybrid(task="regression"), conformal):
        with pytest.raises(TypeError, match=words.split(",")[0]):
            model.fit(X, y)
    with pytest.raises(TypeError, match=f"y_true must hold numbers.*{words}"):
        pit_histogram(y, X)
    for metric in (aggregate_bias, normalized_gini):
        with pytest.raises(TypeError, match=r"y_true must hold numbers or durations"):
            metric(y, DAYS)


def test_integers_beyond_the_largest_float_are_refused():
    y = [10**400, 1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="y holds an integer that is too large"):
        LSTMRegressor(**SMALL).fit(X, y)
    with pytest.raises(ValueError, match="y_true holds an integer that is too large"):
        aggregate_bias(y, DAYS)


def test_sparse_and_structured_targets_are_refused():
    """With the way to an array; SciPy and pandas name neither y nor a way."""
    labels = csr_array(np.eye(6)[:, :2])
    with pytest.raises(TypeError, match=r"y is sparse; pass an array, y\.toarray\(\)"):
        LSTMRegressor(**SMALL).fit(X, labels)
    y = np.zeros(6, dtype=[("event", bool), ("time", float)])
    message = r"y_true is a structured array.*choose a field, such as y_true\['event'\]"
    with pytest.raises(TypeError, match=message):
        aggregate_bias(y, DAYS)
    for pos_label in (None, True):
        with pytest.raises(TypeError, match=message):
            policy_value(y, 1, [0, 1] * 3, pos_label=pos_label)


def test_a_missing_duration_is_no_number():
    """NaT is stored as the smallest integer."""
    y = durations("series").where(DAYS > 1)
    with pytest.raises(ValueError, match="y_true has 2 missing values; leave those"):
        pit_histogram(y, X)
    with pytest.raises(ValueError, match="y_true has 2 missing or infinite values"):
        aggregate_bias(y, DAYS)
    with pytest.raises(ValueError, match="2 of 6 times are missing"):
        LSTMSurvival(**SMALL).fit(X, y)
