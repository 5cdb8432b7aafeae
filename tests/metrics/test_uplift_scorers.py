"""Scorers and the display of effects, with an uplift estimator made for the test."""

import numpy as np
import pytest
from matplotlib import pyplot as plt
from numpy.testing import assert_allclose
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.linear_model import LinearRegression
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_seqcrm.metrics import (
    UpliftDisplay,
    bootstrap_interval,
    get_scorer,
    policy_value,
    qini_auc_score,
    qini_curve,
    uplift_at_k,
    uplift_auc_score,
    uplift_curve,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(600, 2))
ARM = RNG.integers(0, 3, 600)
NAMES = np.array(["none", "mail", "call"])  # control first, then not sorted
MAILED = NAMES[ARM]
EFFECT = np.column_stack([X[:, 0], X[:, 1] - 0.5])
OWN = np.where(ARM > 0, EFFECT[np.arange(600), ARM - 1], 0)
Y = OWN + RNG.normal(scale=0.5, size=600)
WEIGHT = RNG.integers(0, 3, 600)


@pytest.fixture(autouse=True)
def _metadata_routing():
    with config_context(enable_metadata_routing=True):
        yield


class Contrasts(BaseEstimator):
    """Fits a linear model to each arm."""

    def __init__(self, control="none", shrink=1.0):
        self.control = control
        self.shrink = shrink

    def fit(self, X, y, *, treatment, sample_weight=None):
        others = sorted(set(treatment) - {self.control})
        self.treatments_ = np.array([self.control, *others])
        y, treatment = np.asarray(y), np.asarray(treatment)
        self.models_ = [
            LinearRegression().fit(X[treatment == one], y[treatment == one])
            for one in self.treatments_
        ]
        return self

    def predict(self, X):
        base, *others = (model.predict(X) for model in self.models_)
        effect = np.column_stack([one - base for one in others]) * self.shrink
        return effect[:, 0] if len(others) == 1 else effect


METRICS = {
    "qini_auc": qini_auc_score,
    "uplift_auc": uplift_auc_score,
    "uplift_at_k": uplift_at_k,
}


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_scorers_are_the_metrics(weight):
    model = Contrasts().fit(X, Y, treatment=MAILED)
    effect = model.predict(X)
    given = {"treatment": MAILED, "sample_weight": weight}
    for name, metric in METRICS.items():
        expected = metric(Y, effect, control="none", **given)
        assert get_scorer(name)(model, X, Y, **given) == pytest.approx(expected)
        assert expected > 0.02
    gains = np.column_stack([np.zeros(600), effect])
    policy = model.treatments_[gains.argmax(axis=1)]
    expected = policy_value(Y, policy, MAILED, control="none", sample_weight=weight)
    found = get_scorer("policy_value")(model, X, Y, **given)
    assert found == pytest.approx(expected.value)
    # The propensities of a trial, and nobody contacted where no effect is above 0.
    shares = np.full((600, 3), 1 / 3)
    given["propensity"] = shares
    assert get_scorer("policy_value")(model, X, Y, **given) == pytest.approx(
        found, rel=0.2
    )
    none = Contrasts(shrink=-0.0).fit(X, Y, treatment=MAILED)
    nobody = policy_value(Y, "none", MAILED, control="none").value
    scorer = get_scorer("policy_value")
    assert scorer(none, X, Y, treatment=MAILED) == pytest.approx(nobody)


def test_effects_of_other_rows_than_the_treatments_are_refused():
    model = Contrasts().fit(X, Y, treatment=MAILED)
    with pytest.raises(ValueError, match="effect has 599 rows, but treatment has 600"):
        get_scorer("policy_value")(model, X[1:], Y, treatment=MAILED)


def test_scorers_in_cross_validation_and_searches():
    model = Contrasts().set_fit_request(treatment=True)
    scoring = {
        name: get_scorer(name).set_score_request(treatment=True)
        for name in [*METRICS, "policy_value"]
    }
    folds = list(StratifiedKFold(3).split(X, MAILED))
    found = cross_validate(
        model, X, Y, cv=folds, scoring=scoring, params={"treatment": MAILED}
    )
    train, test = folds[0]
    model.fit(X[train], Y[train], treatment=MAILED[train])
    effect = model.predict(X[test])
    for name, metric in METRICS.items():
        expected = metric(Y[test], effect, MAILED[test], control="none")
        assert found[f"test_{name}"][0] == pytest.approx(expected)
    assert (found["test_policy_value"] > 0.3).all()
    search = GridSearchCV(
        make_pipeline(StandardScaler(), model),
        {"contrasts__shrink": [-1.0, 1.0]},
        scoring=scoring["qini_auc"],
        cv=folds,
    ).fit(X, Y, treatment=MAILED)
    assert search.best_params_ == {"contrasts__shrink": 1.0}
    # The labels of arms are found inside of the search and the pipeline.
    score = get_scorer("qini_auc")(search, X, Y, treatment=MAILED)
    assert score == pytest.approx(
        qini_auc_score(Y, search.predict(X), MAILED, control="none")
    )


def test_scorers_of_classes_use_the_second_one():
    bought = np.where(Y > 0, "yes", "no")
    model = Contrasts().fit(X, Y, treatment=MAILED)
    model.classes_ = np.array(["no", "yes"])
    expected = qini_auc_score(Y > 0, model.predict(X), MAILED, control="none")
    assert get_scorer("qini_auc")(model, X, bought, treatment=MAILED) == expected


def test_scorers_without_treatment_or_with_an_unknown_one():
    model = Contrasts().fit(X, Y, treatment=MAILED)
    scorer = get_scorer("qini_auc")
    with pytest.raises(ValueError, match=r"needs the treatment .*set_score_request"):
        scorer(model, X, Y)
    other = np.where(MAILED == "call", "letter", MAILED)
    with pytest.raises(ValueError, match=r"labels \['letter'\], which are not"):
        scorer(model, X, Y, treatment=other)
    few = MAILED != "call"
    with pytest.raises(ValueError, match=r"No row with weight has .* \['call'\]"):
        scorer(model, X[few], Y[few], treatment=MAILED[few])


def test_make_scorer_for_other_options():
    mailed = ARM > 0
    model = Contrasts(control=False).fit(X, Y, treatment=mailed)
    scorer = make_scorer(uplift_at_k, k=0.1)
    expected = uplift_at_k(Y, model.predict(X), mailed, k=0.1)
    assert scorer(model, X, Y, treatment=mailed) == expected


@pytest.fixture
def _close_figures():
    yield
    plt.close("all")


@pytest.mark.usefixtures("_close_figures")
@pytest.mark.parametrize("curve", ["qini", "uplift"])
def test_display(curve):
    of_curve, score = {
        "qini": (qini_curve, qini_auc_score),
        "uplift": (uplift_curve, uplift_auc_score),
    }[curve]
    model = Contrasts().fit(X, Y, treatment=MAILED)
    figure, ax = plt.subplots()
    display = UpliftDisplay.from_estimator(
        model, X, Y, MAILED, curve=curve, arm="mail", sample_weight=WEIGHT, ax=ax
    )
    given = {"control": "none", "arm": "mail", "sample_weight": WEIGHT}
    fraction, gain, _ = of_curve(Y, model.predict(X), MAILED, **given)
    counted = ["mail"] if curve == "qini" else ["mail", "none"]
    scale = WEIGHT[np.isin(MAILED, counted)].sum()
    line, random = ax.get_lines()
    assert line is display.line_
    assert_allclose(line.get_xydata(), np.column_stack([fraction, gain / scale]))
    assert_allclose(random.get_xydata(), [[0, 0], [1, gain[-1] / scale]], atol=1e-12)
    assert display.auc == pytest.approx(score(Y, model.predict(X), MAILED, **given))
    assert display.figure_ is figure
    label = f"Contrasts ({curve.capitalize()} {display.auc:.2f})"
    assert line.get_label() == label
    assert display.band_ is None
    other = display.plot(name="other", curve_kwargs={"color": "red"})
    assert other.line_.get_color() == "red"
    assert "other" in other.line_.get_label()


@pytest.mark.usefixtures("_close_figures")
def test_band_is_over_customers():
    two = MAILED != "call"
    given = Y[two], EFFECT[two, 0], MAILED[two] == "mail"
    band = {"n_resamples": 100, "random_state": 0}
    rows = UpliftDisplay.from_predictions(*given, **band)
    assert rows.band_ in rows.ax_.collections
    lower, upper = rows.band.T
    inside = np.interp(np.linspace(0, 1, 101), rows.fraction, rows.gain)
    assert (lower[1:] < inside[1:]).mean() > 0.9
    assert (inside[1:] < upper[1:]).mean() > 0.9
    assert_allclose(rows.band[0], 0)

    def mean_effect(y, effect, mailed, *, sample_weight):
        given = {"sample_weight": sample_weight}
        return uplift_at_k(y, effect, mailed, k=1, **given)

    ends = bootstrap_interval(mean_effect, *given, n_resamples=100, random_state=0)
    assert_allclose(rows.band[-1], [ends.lower, ends.upper])
    copies = [np.repeat(one, 3) for one in given]
    names = np.repeat(np.arange(two.sum()), 3)
    clusters = UpliftDisplay.from_predictions(*copies, customers=names, **band)
    assert_allclose(clusters.band, rows.band, atol=1e-9)
    with pytest.raises(ValueError, match="'curve'"):
        UpliftDisplay.from_predictions(*given, curve="gini")


@pytest.mark.usefixtures("_close_figures")
def test_display_of_pipelines_and_searches():
    model = Contrasts().set_fit_request(treatment=True)
    pipeline = make_pipeline(StandardScaler(), model)
    scorer = get_scorer("qini_auc").set_score_request(treatment=True)
    search = GridSearchCV(pipeline, {"contrasts__shrink": [1.0]}, cv=2, scoring=scorer)
    for fitted in (pipeline, search):
        fitted.fit(X, Y, treatment=MAILED)
        display = UpliftDisplay.from_estimator(fitted, X, Y, MAILED, arm="mail")
        expected = qini_auc_score(
            Y, fitted.predict(X), MAILED, control="none", arm="mail"
        )
        assert display.auc == pytest.approx(expected)
