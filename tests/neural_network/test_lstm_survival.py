"""Predictions, targets and further training of survival models."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_score

from sklearn_seqcrm._columns import read_survival_targets
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.model_selection import CutoffSplit
from sklearn_seqcrm.neural_network import LSTMSurvival
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.targets import time_to_next
from sklearn_seqcrm.testing._small_data import DAY, make_table
from tests.small_networks import SMALL

TABLE = make_table()
X = HistoryEncoder().fit_transform(TABLE)[["history"]]
Y = time_to_next(TABLE, censored="keep")
DAYS = Y["time"].to_numpy() / DAY.to_timedelta64()
# Kinds of events that compete: 0 for none, 1 and 2.
KINDS = Y.assign(event=np.where(Y["event"], 1 + np.arange(len(Y)) % 2, 0))
FITTED = LSTMSurvival(**SMALL, bins=6).fit(X, Y)
COMPETING = LSTMSurvival(**SMALL, bins=6).fit(X, KINDS)


# Predictions --------------------------------------------------------------------------


def test_functions_arrays_and_quantiles_agree():
    edges = FITTED.unique_times_
    assert edges[0] == 0
    assert edges[-1] == DAYS.max()
    survival = FITTED.predict_survival_function(X, return_array=True)
    assert survival.shape == (len(X), len(edges))
    assert_array_equal(survival[:, 0], 1)
    assert (np.diff(survival, axis=1) < 0).all()
    curves = FITTED.predict_survival_function(X)
    cumulative = FITTED.predict_cumulative_hazard_function(X)
    times = np.linspace(0, edges[-1], 50)
    values = np.array([curve(times) for curve in curves])
    assert_allclose([curve(times) for curve in cumulative], -np.log(values), atol=1e-9)
    assert_allclose([curve.y for curve in curves], survival)
    assert curves[0].domain == (0, edges[-1])
    # Between edges the hazard is constant.
    middle = (edges[1:] + edges[:-1]) / 2
    expected = np.sqrt(survival[:, 1:] * survival[:, :-1])
    assert_allclose([curve(middle) for curve in curves], expected)
    # Quantiles are the inverse.
    for q, column in zip(
        (0.1, 0.25), FITTED.predict_quantile(X, [0.1, 0.25]).T, strict=True
    ):
        assert_allclose([c(t) for c, t in zip(curves, column, strict=True)], 1 - q)
        assert_array_equal(FITTED.predict_quantile(X, q), column)
    late = FITTED.predict_quantile(X, 0.999999)
    assert_array_equal(late, np.inf)
    before = FITTED.predict_proba_before(X, times[7])
    assert_allclose(before, 1 - values[:, 7])


def test_no_quantiles_are_refused():
    with pytest.raises(ValueError, match=r"one or several numbers.*got \[\]"):
        FITTED.predict_quantile(X, [])


@pytest.mark.parametrize(
    "horizon",
    [
        "36h",
        pd.Timedelta("36h"),
        np.timedelta64(36, "h"),
        1.5,
        np.array(1.5),
        np.full(len(X), 1.5),
        pd.Series([DAY * 1.5] * len(X)),
        ["36h"] * len(X),
    ],
)
def test_horizons_of_any_type(horizon):
    expected = [1 - curve(1.5) for curve in FITTED.predict_survival_function(X)]
    assert_allclose(FITTED.predict_proba_before(X, horizon), expected)


@pytest.mark.parametrize(
    ("time", "days"),
    [
        ("36h", 1.5),
        (pd.Timedelta("36h"), 1.5),
        (np.timedelta64(36, "h"), 1.5),
        (["36h", "7D"], [1.5, 7]),
        (pd.to_timedelta(["36h", "7D"]), [1.5, 7]),
        ([["36h"], ["7D"]], [[1.5], [7]]),
        (range(3), [0, 1, 2]),
        (np.array(1.5), 1.5),
    ],
)
def test_curves_at_times_of_any_type(time, days):
    curve = FITTED.predict_survival_function(X)[0]
    assert_array_equal(curve(time), curve(np.array(days, dtype=float)))
    incidence = COMPETING.predict_cumulative_incidence
    if np.ndim(days) < 2:
        expected = incidence(X, np.atleast_1d(days))
        assert_array_equal(incidence(X, time), expected)


def test_times_in_a_table_are_refused():
    with pytest.raises(TypeError, match="times must be one value or a list of them"):
        COMPETING.predict_cumulative_incidence(X, pd.DataFrame({"day": [1.0]}))


def test_labels_given_as_times_warn():
    labels = (np.arange(len(X)) % 2).astype(float)
    match = r"0 and 1 alone, .*targets\.time_to_next\(X"
    with pytest.warns(UserWarning, match=match) as found:
        LSTMSurvival(**SMALL).fit(X, labels)
    assert [one.filename for one in found] == [__file__]  # the line of the user


def test_events_of_1_and_2_alone_warn():
    """R codes censored rows as 1 and events as 2."""
    coded = Y.assign(event=Y["event"].astype(int) + 1)
    read_survival_targets(coded)  # of time_to_next, which has other codes
    coded.attrs = {}
    with pytest.warns(UserWarning, match="If 1 means censored, subtract 1") as found:
        LSTMSurvival(**SMALL).fit(X, coded)
    assert [one.filename for one in found] == [__file__]
    read_survival_targets(coded.assign(event=coded["event"] - 1))
    read_survival_targets(coded.assign(event=np.arange(len(Y)) % 3))


def test_times_of_a_target_without_its_events_warn():
    """Censored rows would count as rows with an event at the end of the record."""
    model = LSTMSurvival(**SMALL)
    with pytest.warns(UserWarning, match="without its column 'event'") as found:
        model.fit(X, Y["time"])
    assert [one.filename for one in found] == [__file__]
    with pytest.raises(TypeError, match="without times"):
        model.fit(X, Y["event"])
    model.fit(X, Y["time"].to_numpy())


@pytest.mark.parametrize("unit", [None, "D"])
@pytest.mark.parametrize("censored", ["drop", "nan", "keep", "raise"])
@pytest.mark.parametrize("horizon", [None, 3])
def test_times_warn_only_if_rows_may_be_censored(horizon, censored, unit):
    """Where rows without an event are left out, times alone are what is known."""
    events = pd.DataFrame({"who": list("aaaabbb"), "time": [0, 1, 2, 4, 0, 5, 8]})
    rows = pd.DataFrame({"who": list("aabb"), "at": [3, 5, 1, 6]})  # 5: no event after
    end = 9
    if unit is not None:
        events["time"], rows["at"], end = (
            pd.to_datetime(one, unit=unit) for one in (events["time"], rows["at"], end)
        )
    log = EventLog(events, "who", "time", observed_until=end)
    rows = log.attach(rows[2:] if censored == "raise" else rows, cutoff="at")
    length = horizon if unit is None or horizon is None else f"{horizon}D"
    y = time_to_next(rows, length, censored=censored).dropna()
    has_event = y["event"].astype(bool)
    assert has_event.all() == (horizon is None and censored != "keep")
    may_be = ["keep"] if horizon is None else ["keep", "drop", "nan", "raise"]
    if censored in may_be:
        with pytest.warns(UserWarning, match="of rows without an event, if there are"):
            read_survival_targets(y["time"])
    if censored != "keep":  # filters make errors of warnings
        read_survival_targets(y.loc[has_event, "time"])


def test_horizons_row_by_row():
    horizon = np.linspace(0, FITTED.unique_times_[-1], len(X))
    curves = FITTED.predict_survival_function(X)
    expected = [1 - curve(t) for curve, t in zip(curves, horizon, strict=True)]
    assert_allclose(FITTED.predict_proba_before(X, horizon), expected, atol=1e-12)


def test_hazards_of_kinds_add_up_to_that_of_any_event():
    assert_array_equal(COMPETING.event_types_, [1, 2])
    times = np.linspace(0, COMPETING.unique_times_[-1], 30)
    found = COMPETING.predict_cumulative_incidence(X, times)
    assert found.shape == (len(X), 3, 30)
    assert_allclose(found.sum(axis=1), 1)
    assert (np.diff(found[:, 1:], axis=2) > 0).all()
    assert_array_equal(found[:, 1:, 0], 0)
    curves = COMPETING.predict_survival_function(X)
    assert_allclose(found[:, 0], [curve(times) for curve in curves])
    at_edges = COMPETING.predict_cumulative_incidence(X)
    assert at_edges.shape == (len(X), 3, len(COMPETING.unique_times_))
    # One kind is the chance of any event.
    [_, any_event] = FITTED.predict_cumulative_incidence(X, ["7D"])[3]
    assert_allclose(any_event, FITTED.predict_proba_before(X, "7D")[3])


def test_incidence_without_inputs_is_the_aalen_johansen_estimate():
    """Without inputs, predictions at edges are the Aalen-Johansen estimate."""
    rng = np.random.default_rng(0)
    time, kind = rng.integers(0, 10, 4000) * 1.0, rng.integers(0, 3, 4000)
    y = pd.DataFrame({"event": kind, "time": time})
    model = LSTMSurvival(
        bins=np.arange(1, 10), head_sizes=(), max_epochs=1, n_networks=1
    )
    model.set_params(learning_rate=1e-9, early_stopping=False)
    found = model.fit(np.zeros((4000, 1)), y).predict_cumulative_incidence([[0.0]])[0]
    left, incidence = 1.0, np.zeros(2)
    for day in range(9):
        at_risk = time >= day
        shares = [((time == day) & (kind == k)).sum() / at_risk.sum() for k in (1, 2)]
        incidence += left * np.array(shares)
        left *= 1 - sum(shares)
        assert_allclose(found[:, day + 1], [left, *incidence], rtol=1e-5)


def test_risk_is_the_probability_to_precede_a_random_event():
    survival = FITTED.predict_survival_function(X, return_array=True)
    expected = np.zeros(len(X))
    for mass, low, high in zip(
        FITTED._objective.mass, survival[:, 1:].T, survival[:, :-1].T, strict=True
    ):
        expected += mass * (1 - (low + high) / 2)
    assert_allclose(FITTED.predict(X), expected)
    # A higher risk means an earlier event.
    order = np.argsort(FITTED.predict(X))
    median = FITTED.predict_quantile(X, 0.3)
    assert median[order[0]] > median[order[-1]]


# Targets ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "y",
    [
        Y.assign(time=DAYS),
        Y[["time", "event"]],
        Y.rename(columns={"event": "back", "time": "duration"}),
        Y.assign(event=Y["event"].astype(int)),
        Y.assign(event=Y["event"].astype(float), time=DAYS),
        Y.assign(time=DAYS).to_records(index=False),
        Y.assign(time=DAYS)[["time", "event"]].to_records(index=False),
        np.array(
            list(zip(Y["event"], DAYS, strict=True)), dtype=[("e", "?"), ("t", "f8")]
        ),
        Y.to_records(index=False),
    ],
)
def test_forms_of_y(y):
    found = LSTMSurvival(**SMALL, bins=6).fit(X, y)
    assert_array_equal(found.predict(X), FITTED.predict(X))
    assert found.score(X, Y if found._objective.in_days else y) == FITTED.score(X, y)


def test_times_without_indicator_are_uncensored():
    time = DAYS + 1
    y = pd.DataFrame({"event": True, "time": time})
    expected = LSTMSurvival(**SMALL).fit(X, y)
    found = LSTMSurvival(**SMALL).fit(X, time)
    assert_array_equal(found.predict(X), expected.predict(X))
    assert_array_equal(found.event_types_, [1])


@pytest.mark.parametrize(
    "bins",
    [
        "7D",
        pd.Timedelta("7D"),
        np.timedelta64(7, "D"),
        pd.offsets.Day(7),
        ["7D", "14D", "21D"],
        pd.timedelta_range(0, "21D", 4),
    ],
)
def test_bins_as_durations(bins):
    y = Y.assign(time=Y["time"].clip(upper=20 * DAY))
    model = LSTMSurvival(**SMALL, bins=bins).fit(X, y)
    assert_array_equal(model.unique_times_, [0, 7, 14, 21])
    again = clone(model).set_params(warm_start=True).fit(X, y).fit(X, y)
    assert again.n_iter_ == 4


# Continued training -------------------------------------------------------------------


def test_the_first_partial_fit_is_a_fit_of_one_epoch():
    one = LSTMSurvival(**SMALL, bins=6).partial_fit(X, Y)
    whole = LSTMSurvival(**{**SMALL, "max_epochs": 1}, bins=6, early_stopping=False)
    whole.fit(X, Y).net_.module_.set_shift(None)  # learned at the end of `fit` only
    assert_array_equal(one.predict(X), whole.predict(X))
    # Later calls have the bins of the first.
    one.partial_fit(X[:9], Y[:9])
    assert_array_equal(one.unique_times_, whole.unique_times_)
    assert one.n_iter_ == 2


def test_bins_of_a_kind_start_with_similar_weights():
    model = clone(COMPETING).set_params(hidden_size=32, head_sizes=(400,))
    last = model.set_params(learning_rate=1e-9).fit(X, KINDS).net_.module_.head[-1]
    n_bins = len(model.unique_times_) - 1
    correlation = np.corrcoef(last.weight.detach().numpy())
    of_kinds = np.repeat([0, 1], n_bins)
    is_same_kind = of_kinds[:, None] == of_kinds
    assert (correlation[is_same_kind] > 0.35).all()
    assert (np.abs(correlation[~is_same_kind]) < 0.2).all()


def test_a_common_risk_is_learned_from_few_customers():
    rng = np.random.default_rng(0)
    n_customers, n_events = 400, 5
    events = pd.DataFrame(
        {
            "customer": np.repeat(np.arange(n_customers), n_events),
            "day": np.tile(np.arange(n_events), n_customers),
            "level": rng.choice(list("abcdefghij"), n_customers * n_events),
        }
    )
    log = EventLog(events, customer="customer", time="day")
    rows = log.snapshots([n_events])
    # The hazard depends on the last level: 0.1 a day or, after "a" to "e", 1.
    last = events["level"].to_numpy()[n_events - 1 :: n_events]
    time = rng.exponential(np.where(last < "f", 1, 10))
    target = pd.DataFrame({"event": time < 10, "time": time.clip(max=10)})
    model = make_history_pipeline(LSTMSurvival(n_networks=1, random_state=0))
    risk = model.fit(rows, target).predict_proba_before(rows, 1.0)
    assert roc_auc_score(last < "f", risk) > 0.9


def test_warm_start_refuses_other_bins_and_kinds():
    model = LSTMSurvival(**SMALL, bins=[100.0, 400.0], warm_start=True).fit(X, Y)
    assert model.fit(X, Y).n_iter_ == 4
    with pytest.raises(ValueError, match=r"bins=\(100.0, 400.0\); got 8. Set it back"):
        model.set_params(bins=8).fit(X, Y)
    model.set_params(bins=np.array([100.0, 400.0]))
    with pytest.raises(ValueError, match=r"kinds \[2\], which were not in the first"):
        model.fit(X, KINDS)


def test_kinds_of_weight_zero_do_not_count():
    kept = np.arange(len(X)) % 5 > 0
    y = Y.assign(event=np.where(kept, Y["event"], 2))
    model = LSTMSurvival(**SMALL, early_stopping=False, warm_start=True)
    for _ in range(2):
        model.fit(X, y, kept * 1.0)
    model.partial_fit(X, y, kept * 1.0)
    assert_array_equal(model.event_types_, [1])
    assert len(model.net_.history) == 5


def test_an_integer_weight_equals_copies_of_the_row():
    """A weight of 0 is no copy. In full batches steps are equal up to rounding."""
    weight = np.arange(len(X)) % 4
    copies = np.repeat(np.arange(len(X)), weight)
    model = LSTMSurvival(**SMALL, dropout=0.0, batch_size=1000, early_stopping=False)
    of_copies = clone(model).fit(X.iloc[copies], KINDS.iloc[copies])
    model.fit(X, KINDS, sample_weight=weight)
    assert_allclose(model.unique_times_, of_copies.unique_times_)
    assert_allclose(model.predict(X), of_copies.predict(X), rtol=1e-4)
    found = model.score(X, KINDS, sample_weight=weight)
    expected = model.score(X.iloc[copies], KINDS.iloc[copies])
    # Rows without a history have equal risks, but for rounding.
    assert_allclose(found, expected, atol=2e-3)
    assert abs(model.score(X, KINDS) - expected) > 5e-3


def test_pickles_predict_the_same():
    back = pickle.loads(pickle.dumps(COMPETING))
    assert_array_equal(back.predict(X), COMPETING.predict(X))
    assert_array_equal(back.unique_times_, COMPETING.unique_times_)


# With scikit-learn --------------------------------------------------------------------


@pytest.mark.parametrize("y", [Y, Y.assign(time=DAYS).to_records(index=False)])
def test_search_and_split_in_time_with_a_raw_x(y):
    order = np.argsort(TABLE["at"].to_numpy(), kind="stable")
    rows = TABLE.iloc[order]
    y = y.iloc[order] if isinstance(y, pd.DataFrame) else y[order]
    pipeline = make_history_pipeline(LSTMSurvival(**SMALL, early_stopping=False))
    search = GridSearchCV(
        pipeline,
        {"estimator__bins": [3, 5]},
        cv=CutoffSplit(2, test_size=8, horizon="30D"),
        error_score="raise",
    )
    search.fit(rows, y)
    scores = search.cv_results_["mean_test_score"]
    assert ((scores > 0) & (scores < 1)).all()
    assert search.predict(rows).shape == (len(rows),)
    folds = CutoffSplit(2, test_size=8, horizon="30D")
    again = cross_val_score(
        search.best_estimator_, rows, y, cv=folds, error_score="raise"
    )
    assert_allclose(again.mean(), search.best_score_)


def test_a_pipeline_has_the_methods_of_its_last_step():
    pipeline = make_history_pipeline(LSTMSurvival(**SMALL))
    assert hasattr(clone(pipeline), "predict_quantile")
    assert not hasattr(pipeline, "predict_proba")
    assert not hasattr(pipeline, "predict_weather")
    pipeline.fit(TABLE, Y)
    back = pickle.loads(pickle.dumps(pipeline))
    encoded = pipeline[:-1].transform(TABLE)
    expected = pipeline[-1].predict_proba_before(encoded, "30D")
    assert_array_equal(back.predict_proba_before(TABLE, horizon="30D"), expected)
    survival = pipeline.predict_survival_function(TABLE, return_array=True)
    assert survival.shape == (len(TABLE), len(pipeline[-1].unique_times_))


def test_metrics_and_scorers_of_scikit_survival():
    metrics = pytest.importorskip("sksurv.metrics")
    y = Y.assign(time=DAYS).to_records(index=False)
    found = metrics.concordance_index_censored(y["event"], DAYS, FITTED.predict(X))
    assert_allclose(FITTED.score(X, y), found[0])
    times = np.linspace(20, 300, 8)
    curves = FITTED.predict_survival_function(X)
    survival = np.array([curve(times) for curve in curves])
    scorer = metrics.as_integrated_brier_score_scorer(LSTMSurvival(**SMALL), times)
    assert scorer.fit(X, y).score(X, y) < 0
    assert 0 < metrics.integrated_brier_score(y, y, survival, times) < 1
    scorer = metrics.as_concordance_index_ipcw_scorer(LSTMSurvival(**SMALL), tau=300)
    assert 0 < scorer.fit(X, y).score(X, y) < 1
