"""Rows with different exposures."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import PoissonRegressor
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.preprocessing import FunctionTransformer

from sklearn_seqcrm.ensemble import make_hybrid
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.model_selection import CutoffSplit, check_no_leakage
from sklearn_seqcrm.neural_network import HistoryPadder, LSTMRegressor
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.targets import future_count, stack_horizons
from sklearn_seqcrm.testing._small_data import make_events, make_table
from tests.small_networks import SMALL

RATE = {**SMALL, "loss": "poisson", "exposure": "days"}
TABLE = make_table()
DAYS = np.random.default_rng(0).choice([7.0, 30, 90], len(TABLE))
X = TABLE.assign(days=DAYS)
RNG = np.random.default_rng(2)
Y = np.random.default_rng(1).poisson(0.05 * DAYS).astype(float)


@pytest.mark.parametrize("loss", ["poisson", "gamma", "zero_inflated_lognormal"])
def test_means_are_proportional_to_the_exposure(loss):
    model = make_history_pipeline(LSTMRegressor(**{**RATE, "loss": loss}))
    model.fit(X, Y + 1)
    slope = model[-1].net_.module_.slope[0].item()
    assert 0.5 < slope < 0.95  # one of each target comes in any time
    one, two = (model.predict(X.assign(days=days)) for days in (10, 20.0))
    assert np.ptp(one) > 0
    assert_allclose(two, 2**slope * one, rtol=1e-5)
    if loss == "zero_inflated_lognormal":
        zero = [
            model[-1].predict_proba_zero(model[:-1].transform(X.assign(days=days)))
            for days in (10, 20)
        ]
        assert_allclose(zero[1], zero[0] ** 2**slope, rtol=1e-4)


@pytest.mark.parametrize("loss", ["poisson", "zero_inflated_lognormal"])
def test_means_of_several_targets_are_proportional_to_the_exposure(loss):
    model = make_history_pipeline(LSTMRegressor(**{**RATE, "loss": loss}))
    model.fit(X, np.column_stack([Y, 100 * Y]))
    n_parameters = 1 if loss == "poisson" else 3
    slopes = model[-1].net_.module_.slope.numpy()[::n_parameters]
    one, two = (model.predict(X.assign(days=days)) for days in (10, 20.0))
    assert_allclose(two, 2**slopes * one, rtol=1e-5)


@pytest.mark.parametrize("loss", ["poisson", "zero_inflated_lognormal"])
@pytest.mark.parametrize("power", [0.8, 1.0])
def test_it_learns_the_slope_of_the_exposure(loss, power):
    """Customers who leave buy less than twice as much in twice the time."""
    rng = np.random.default_rng(0)
    rows = rng.choice([[10.0, 0], [30, 0], [100, 0]], 6000)
    rows[:, 1] = rng.random(6000) < 0.5
    rate = np.where(rows[:, 1], 0.2, 0.1)
    y = rng.poisson(rate * rows[:, 0] ** power)
    options = {**RATE, "max_epochs": 20, "learning_rate": 0.02, "dropout": 0.0}
    options |= {"exposure": 0, "loss": loss}
    model = LSTMRegressor(**options).fit(rows, y)
    found = model.net_.module_.slope[0].item()
    assert_allclose(found, power, atol=0.06)
    assert_allclose(model.predict(rows).mean(), y.mean(), rtol=0.02)
    before = model.predict(rows)
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.predict(rows), before)


def test_it_learns_rates_of_rows_with_different_exposures():
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"high": rng.random(4000) < 0.5})
    rows["days"] = rng.choice([10.0, 30, 100], 4000)
    rate = np.where(rows["high"], 0.3, 0.1)
    y = rng.poisson(rate * rows["days"])
    model = LSTMRegressor(
        **{**RATE, "max_epochs": 25, "learning_rate": 0.02, "dropout": 0.0}
    )
    model.fit(rows.astype(float), y)
    for days in (10.0, 20, 50, 100):
        found = model.predict(rows.assign(days=days).astype(float))
        assert_allclose(found, rate * days, rtol=0.15)


def test_without_hidden_layers_it_equals_the_glm_of_scikit_learn():
    """scikit-learn's convention is the target y / e with the weights e."""
    plain = np.column_stack([DAYS, RNG.normal(size=len(DAYS))])
    options = {**RATE, "exposure": 0, "head_sizes": ()}
    options |= {"learning_rate": 0.05, "averaged_steps": 1, "weight_decay": 0}
    model = LSTMRegressor(**options, early_stopping=False)
    for _ in range(400):  # each is an epoch, and none learns a slope
        model.partial_fit(plain, Y)
    reference = PoissonRegressor(alpha=0, tol=1e-8).fit(plain[:, 1:], Y / DAYS, DAYS)
    expected = DAYS * reference.predict(plain[:, 1:])
    assert_allclose(model.predict(plain), expected, rtol=1e-3)


def test_rows_of_weight_zero_have_no_exposure():
    weight = (np.arange(len(X)) % 2).astype(float)
    other = X.assign(days=np.where(weight, DAYS, 1e9))
    model = make_history_pipeline(LSTMRegressor(**RATE))
    fits = [
        clone(model).fit(rows, Y, estimator__sample_weight=weight)[-1]
        for rows in (X, other)
    ]
    assert fits[0]._exposure == fits[1]._exposure


def test_the_exposure_is_found_in_every_form_of_x():
    pipeline = make_history_pipeline(LSTMRegressor(**RATE)).fit(X, Y)
    encoded = pipeline[:-1].transform(X)
    padded = HistoryPadder().fit_transform(encoded)
    expected = pipeline.predict(X)
    assert_allclose(pipeline[-1].predict(padded), expected, rtol=1e-4)
    assert_allclose(pipeline.predict(X[X.columns[::-1]]), expected, rtol=1e-6)
    place = (
        padded["static"].shape[1] - 1 - list(reversed(encoded.columns)).index("days")
    )
    with pytest.raises(
        ValueError, match=r"'days' is the name .* no names.* in 'static'"
    ):
        LSTMRegressor(**RATE).fit(padded, Y)
    by_place = LSTMRegressor(**{**RATE, "exposure": place}).fit(padded, Y)
    assert by_place.predict(padded).shape == (len(Y),)
    length = X.assign(days=pd.to_timedelta(DAYS, unit="D"))
    by_length = clone(pipeline).fit(length, Y)
    assert_allclose(by_length.predict(length), expected, rtol=1e-6)


def test_continued_training_and_copies_keep_the_exposure():
    encoded = make_history_pipeline(LSTMRegressor(**RATE)).fit(X, Y)[:-1].transform(X)
    model = LSTMRegressor(**RATE).partial_fit(encoded, Y)
    before = model._exposure
    model.partial_fit(encoded.assign(days=3.0), Y)
    assert model._exposure == before
    back = pickle.loads(pickle.dumps(model))
    assert_array_equal(back.predict(encoded), model.predict(encoded))
    again = copy.deepcopy(model).set_params(exposure=None)
    with pytest.raises(ValueError, match="continues with exposure='days'; got None"):
        again.partial_fit(encoded, Y)


@pytest.mark.parametrize(
    ("days", "message"),
    [
        (0.0, "larger than 0; 2 of 48 in 'days' are not"),
        (-3.0, "larger than 0; 2 of 48 in 'days' are not"),
        (np.nan, "must be known; 2 of 48 in 'days' are missing or infinite"),
        (np.inf, "must be known; 2 of 48 in 'days' are missing or infinite"),
    ],
)
def test_exposures_that_are_not_positive_are_refused(days, message):
    pipeline = make_history_pipeline(LSTMRegressor(**RATE)).fit(X, Y)
    wrong = X.assign(days=np.where(np.arange(len(X)) < 2, days, DAYS))
    for call in (
        lambda: pipeline.predict(wrong),
        lambda: clone(pipeline).fit(wrong, Y),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_exposures_of_rows_of_weight_zero_may_be_zero():
    encoded = make_history_pipeline(LSTMRegressor(**RATE)).fit(X, Y)[:-1].transform(X)
    weight = np.arange(len(X)) % 3 > 0
    wrong = encoded.assign(days=np.where(weight, DAYS, 0))
    model = LSTMRegressor(**RATE).fit(wrong, Y, sample_weight=weight)
    others = LSTMRegressor(**RATE).fit(encoded[weight], Y[weight])
    assert_allclose(model.predict(encoded), others.predict(encoded), rtol=1e-5)
    model.partial_fit(wrong, Y, sample_weight=weight)
    with pytest.raises(ValueError, match="Exposures must be larger than 0; 16 of 48"):
        model.predict(wrong)


def test_units_of_exposures_stay_as_in_fit():
    lengths = X.assign(days=pd.to_timedelta(DAYS, unit="D"))
    model = make_history_pipeline(LSTMRegressor(**RATE))
    numbers = clone(model).fit(X, Y)
    with pytest.raises(TypeError, match="'days' are durations, and were plain numbers"):
        numbers.predict(lengths)
    days = clone(model).fit(lengths, Y)
    assert_array_equal(days.predict(lengths), days.predict(X))  # numbers are days
    # Padded tensors have no unit, nor has a network that was trained on them.
    encoded, with_lengths = (numbers[:-1].transform(one) for one in (X, lengths))
    statics = [one for one in encoded if one != "history"]
    padded = HistoryPadder().fit_transform(encoded)
    place = statics.index("days") - len(statics)
    refitted = numbers[-1].set_params(exposure=place).fit(padded, Y)
    found = refitted.predict(HistoryPadder().fit_transform(with_lengths))
    assert_array_equal(found, refitted.predict(padded))
    assert_allclose(refitted.predict(with_lengths), found, rtol=1e-4)
    # Tables without histories.
    names = ["member", "days"]
    table = X[names]
    alone = LSTMRegressor(**RATE).fit(table, Y)
    with pytest.raises(TypeError, match="'days' are durations, and were plain numbers"):
        alone.predict(lengths[names])


def test_a_missing_duration_is_refused_as_exposure():
    days = pd.Series(pd.to_timedelta(DAYS, unit="D"), X.index)
    pipeline = make_history_pipeline(LSTMRegressor(**RATE))
    of_days = clone(pipeline).fit(X.assign(days=days), Y).predict(X)
    assert_array_equal(of_days, clone(pipeline).fit(X, Y).predict(X))
    with pytest.raises(ValueError, match="must be known; 1 of 48 in 'days'"):
        pipeline.fit(X.assign(days=days.where(np.arange(48) > 0)), Y)


@pytest.mark.parametrize(
    ("days", "what"),
    [
        ("30 days", "values of type .*'30 days', '30 days'.*pd.to_timedelta"),
        ("30", "values of type .*pd.to_numeric"),
        (pd.Timestamp("2024-01-01"), "datetimes, such as"),
    ],
)
def test_exposures_of_other_types_are_refused(days, what):
    pipeline = make_history_pipeline(LSTMRegressor(**RATE))
    with pytest.raises(TypeError, match=f"'days' must hold .*; it holds {what}"):
        pipeline.fit(X.assign(days=days), Y)


def test_absent_exposure_columns_are_refused():
    pipeline = make_history_pipeline(LSTMRegressor(**RATE))
    with pytest.raises(ValueError, match="no column 'days' to be the exposure; its st"):
        pipeline.fit(TABLE, Y)
    with pytest.raises(ValueError, match=r"exposure=7 is no position .* X has 2"):
        LSTMRegressor(**{**RATE, "exposure": 7}).fit(np.ones((48, 2)), Y)
    late = make_history_pipeline(LSTMRegressor(**{**RATE, "exposure": None}))
    late[-1].exposure = "days"
    with pytest.raises(ValueError, match="If a step before has scaled the column"):
        late.fit(X, Y)


@pytest.mark.parametrize(
    ("before", "after"), [(None, "days"), ("days", None), ("days", "twice")]
)
def test_the_statics_follow_the_exposure_that_is_set(before, after):
    """As in a pipeline that was made with the exposure, also in a search."""
    table = X.assign(twice=2 * DAYS)
    of = {one: LSTMRegressor(**{**RATE, "exposure": one}) for one in (before, after)}
    mean = {"statics__numeric__simpleimputer__strategy": "mean"}
    expected = make_history_pipeline(of[after]).set_params(**mean)
    expected = expected.fit(table, Y).predict(table)
    for params in ({"estimator__exposure": after}, {"estimator": of[after]}):
        model = make_history_pipeline(of[before]).set_params(**mean)
        found = model.set_params(**params).fit(table, Y).predict(table)
        assert_array_equal(found, expected)
    searched = GridSearchCV(of[before], {"exposure": [after]}, cv=2)
    nested = make_history_pipeline(searched)
    nested.set_params(estimator__estimator__exposure=after, estimator__param_grid={})
    assert_array_equal(nested.set_params(**mean).fit(table, Y).predict(table), expected)


def test_statics_that_the_user_chose_are_kept():
    table = X.assign(twice=2 * DAYS, other=1.0)
    model = make_history_pipeline(LSTMRegressor(**RATE))
    parts = model["statics"].transformers
    parts = [(*one[:2], ["twice"]) if one[0] == "numeric" else one for one in parts]
    absolute = FunctionTransformer(np.abs)
    model.set_params(statics__transformers=parts)
    model.set_params(statics__exposure=absolute)
    model.set_params(estimator__exposure="twice")
    name, part, columns = model["statics"].transformers[1]
    assert (name, part, columns(table)) == ("exposure", absolute, ["twice"])
    columns_of = {name: columns for name, _, columns in model["statics"].transformers}
    assert columns_of["numeric"] == ["twice"]
    # Given steps are taken as they are.
    steps = make_history_pipeline(LSTMRegressor()).steps
    model.set_params(steps=steps, estimator__exposure="days")
    assert "exposure" not in model["statics"].get_params()


def test_after_a_wrong_exposure_a_right_one_can_be_set():
    model = make_history_pipeline(LSTMRegressor(**{**RATE, "exposure": None}))
    model.set_params(estimator__exposure=[1.0, 2.0])
    with pytest.raises(ValueError, match="exposure"):
        model.fit(X, Y)
    model[-1].exposure = "days"
    model.set_params(estimator__exposure="days").fit(X, Y)


# On a grid of horizons, as users write it ---------------------------------------------

LOG = EventLog(make_events(n_customers=16), "who", "when")


def make_rows():
    start, end = LOG.time_span
    cutoffs = pd.date_range(start, end, periods=7)[1:-1]
    known = LOG.snapshots(cutoffs)
    horizons = [(end - start) / 30, (end - start) / 10]
    return stack_horizons(known, future_count(known, horizons, censored="nan"))


def test_rows_of_several_horizons_are_split_searched_and_blended():
    rows, y = make_rows()
    model = make_history_pipeline(LSTMRegressor(**{**RATE, "exposure": "horizon"}))
    cv = CutoffSplit(2, horizon=rows["horizon"].max())
    for train, test in cv.split(rows):
        moments = [set(rows["cutoff"].iloc[part]) for part in (train, test)]
        assert not moments[0] & moments[1]
    scores = cross_val_score(model, rows, y, cv=cv, scoring="neg_mean_poisson_deviance")
    assert np.isfinite(scores).all()
    search = GridSearchCV(model, {"estimator__hidden_size": [2, 4]}, cv=cv)
    far = rows.assign(horizon=4 * rows["horizon"])
    search.fit(rows, y)
    assert (search.predict(far) > search.predict(rows)).all()
    trees = HistGradientBoostingRegressor(loss="poisson", max_iter=3)
    hybrid = make_hybrid(
        LSTMRegressor(**{**RATE, "exposure": "horizon"}), trees, random_state=0
    )
    assert np.isfinite(hybrid.fit(rows, y).predict(far)).all()
    check_no_leakage(search.best_estimator_, rows)


def test_repeated_fits_keep_the_slope():
    """The slope is shrunken towards 1 as a whole, not by its change in each fit."""
    rng = np.random.default_rng(0)
    exposure = rng.uniform(1, 4, 40)
    y = rng.poisson(2 * exposure) + 1.0
    X = np.c_[rng.normal(size=40), exposure]
    again = LSTMRegressor(
        loss="poisson",
        exposure=1,
        hidden_size=2,
        head_sizes=(),
        max_epochs=1,
        early_stopping=False,
        learning_rate=1e-12,
        warm_start=True,
        random_state=0,
        n_networks=1,
    )
    slopes = [again.fit(X, y).net_.module_.slope.item() for _ in range(5)]
    assert slopes[0] != 1
    np.testing.assert_allclose(slopes, slopes[0], rtol=1e-4)
