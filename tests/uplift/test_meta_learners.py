"""Meta-learners on tables: formulas, simulated truths, and figures of econml."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_seqcrm.uplift import UpliftClassifier, UpliftRegressor, choose_contacts

LEARNERS = ["s", "t", "x", "dr", "r"]
# One model of effects, of rows without weights that the propensities define.
PLAIN = {"calibrate": False, "overlap_weights": False}
POINTS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 2.0]])


def table(n=600, seed=0, confounded=True):
    """Rows whose effect is 1 + x_0 - x_1, and the probability of treatment."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2))
    propensity = 1 / (1 + np.exp(-X[:, 0])) if confounded else np.full(n, 0.5)
    treated = (rng.random(n) < propensity).astype(int)
    y = 2 * X[:, 0] + X[:, 1] + treated * effect(X) + rng.normal(size=n)
    return X, y, treated, propensity


def effect(X):
    return 1 + X[:, 0] - X[:, 1]


def three_folds(n=600):
    fold = np.arange(n) % 3
    return [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(3)]


def linear(learner="dr", **params):
    params = {"propensity_estimator": LogisticRegression(), **params}
    return UpliftRegressor(LinearRegression(), learner=learner, **params)


def test_econml_has_the_same_effects():
    """Of econml 0.17: DRLearner, NonParamDML (the R-learner), XLearner, TLearner.

    With linear models, the known propensity and these folds. The data of a seed and
    least squares are the same to about 12 digits everywhere. XLearner of econml is not
    cross-fitted: two thirds of the rows instead of all move its effects by .01.
    """
    X, y, treated, propensity = table()
    figures = {
        "dr": [1.12942909878, 2.28658317027, 0.11712028769, -2.05234259490],
        "r": [1.13001702106, 2.09269743042, 0.14510773595, -1.80248195852],
        "x": [1.12854898663, 2.18591627111, 0.14534118248, -1.89523390615],
        "t": [1.12854898663, 2.18591627111, 0.14534118248, -1.89523390615],
    }
    for learner, expected in figures.items():
        model = linear(learner, cv=three_folds(), **PLAIN)
        model.fit(X, y, treatment=treated, propensity=propensity)
        tolerance = 0.01 if learner == "x" else 1e-8
        np.testing.assert_allclose(model.predict(POINTS), expected, atol=tolerance)


def pseudo_outcomes(X, y, treated, propensity):
    """Doubly robust pseudo-outcomes with three folds, row by row."""
    pseudo = np.zeros(len(y))
    for train, test in three_folds(len(y)):
        own = [train[treated[train] == arm] for arm in (0, 1)]
        outcome = [LinearRegression().fit(X[rows], y[rows]) for rows in own]
        for i in test:
            m_0, m_1 = (float(one.predict(X[[i]])[0]) for one in outcome)
            pseudo[i] = m_1 - m_0
            if treated[i]:
                pseudo[i] += (y[i] - m_1) / propensity[i]
            else:
                pseudo[i] -= (y[i] - m_0) / (1 - propensity[i])
    return pseudo


@pytest.mark.parametrize("is_weighted", [False, True])
def test_doubly_robust_pseudo_outcomes_by_a_loop(is_weighted):
    X, y, treated, _ = table(60)
    propensity = np.random.default_rng(1).uniform(0.2, 0.8, 60)
    model = linear(
        cv=three_folds(60), calibrate=False, overlap_weights=is_weighted
    ).fit(X, y, treatment=treated, propensity=propensity)
    pseudo = pseudo_outcomes(X, y, treated, propensity)
    weight = propensity * (1 - propensity) if is_weighted else np.ones(60)
    expected = LinearRegression().fit(X, pseudo, weight).predict(POINTS)
    np.testing.assert_allclose(model.predict(POINTS), expected, rtol=1e-9)


def test_overlap_weights_of_an_experiment_change_nothing():
    X, y, treated, _ = table(90)
    half = np.full(90, 0.5)
    one, two = (
        linear(overlap_weights=value, random_state=0)
        .fit(X, y, treatment=treated, propensity=half)
        .predict(X)
        for value in (False, True)
    )
    np.testing.assert_array_equal(one, two)


def test_overlap_weights_need_an_estimator_that_takes_weights():
    X, y, treated, propensity = table(90)
    one, two = (
        linear(
            effect_estimator=KNeighborsRegressor(),
            overlap_weights=value,
            random_state=0,
        )
        .fit(X, y, treatment=treated, propensity=propensity)
        .predict(X)
        for value in (False, True)
    )
    np.testing.assert_array_equal(one, two)


def test_calibration_by_a_loop():
    """Models of two thirds of the customers, and a line on the others."""
    X, y, treated, propensity = table(300)
    model = linear(cv=three_folds(300)).fit(
        X, y, treatment=treated, propensity=propensity
    )
    pseudo = pseudo_outcomes(X, y, treated, propensity)
    weight = propensity * (1 - propensity)

    def mean(values):
        return np.average(values, weights=weight)

    def variance(values):
        return mean((values - mean(values)) ** 2)

    each, own = [], np.zeros(300)
    for train, test in three_folds(300):
        line = LinearRegression().fit(X[train], pseudo[train], weight[train])
        each.append(line)
        own[test] = line.predict(X[test]) - mean(line.predict(X))
    of_each = np.array([one.predict(X) for one in each])
    slope = mean(own * (pseudo - mean(pseudo))) / mean(own**2)
    slope *= np.mean([variance(one) for one in of_each])
    slope /= variance(of_each.mean(axis=0))
    intercept = mean(pseudo) - slope * mean(of_each.mean(axis=0))
    found = np.mean([one.predict(POINTS) for one in each], axis=0)
    np.testing.assert_allclose(
        model.predict(POINTS), intercept + slope * found, rtol=1e-9
    )


@pytest.mark.parametrize("learner", ["dr", "r"])
def test_calibration_shrinks_noise(learner):
    """Deep trees find effects that are not there; their slope is about 0."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(900, 3)), rng.normal(size=900)
    treated = rng.integers(0, 2, 900)
    trees = HistGradientBoostingRegressor(max_iter=50, random_state=0)
    plain, calibrated = (
        UpliftRegressor(trees, learner=learner, calibrate=value, random_state=0)
        .fit(X, y, treatment=treated)
        .predict(X)
        for value in (False, True)
    )
    assert plain.std() > 0.5
    assert calibrated.std() < 0.2


@pytest.mark.parametrize("learner", ["dr", "r"])
def test_constant_effects_have_slope_zero(learner):
    X, y, treated, _ = table(300)
    model = linear(
        learner, effect_estimator=DummyRegressor(), propensity="constant"
    ).fit(X, y, treatment=treated)
    [found] = model.learner_.effect
    assert len(found.models) == 3
    assert found.slope == 0
    np.testing.assert_allclose(model.predict(X), found.intercept)


@pytest.mark.parametrize("learner", LEARNERS[1:])
@pytest.mark.parametrize("propensity", ["learned", "constant"])
def test_true_effects_are_found(learner, propensity):
    """Standard errors of a coefficient are about 2 / sqrt(4000) = .03."""
    if propensity == "constant" and learner == "r":
        pytest.skip("With another propensity its effects are weighted averages.")
    X, y, treated, _ = table(4000)
    model = linear(learner, propensity=propensity, random_state=0)
    found = model.fit(X, y, treatment=treated).predict(POINTS)
    np.testing.assert_allclose(found, effect(POINTS), atol=0.25)


def test_one_linear_model_of_all_rows_has_one_effect():
    X, y, treated, _ = table(4000, confounded=False)
    found = linear("s").fit(X, y, treatment=treated).predict(POINTS)
    np.testing.assert_allclose(found, 1.0, atol=0.15)


@pytest.mark.parametrize("learner", LEARNERS)
def test_effects_are_differences_of_outcomes(learner):
    X, y, treated, _ = table(300)
    model = linear(learner, random_state=0).fit(X, y, treatment=treated)
    outcomes = model.predict_outcomes(X)
    assert outcomes.shape == (300, 2)
    np.testing.assert_allclose(np.diff(outcomes)[:, 0], model.predict(X), atol=1e-9)
    # Both arms are predicted near their means, not only their difference.
    for arm in (0, 1):
        own = treated == arm
        assert outcomes[own, arm].mean() == pytest.approx(y[own].mean(), abs=0.3)


@pytest.mark.parametrize("learner", LEARNERS)
def test_several_treatments(learner):
    """Each treatment has its own effect, in the order of treatments_."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 2))
    arm = rng.choice(["none", "mail", "call"], 3000, p=[0.5, 0.3, 0.2])
    y = X[:, 0] + np.select([arm == "mail", arm == "call"], [2.0, -1.0])
    y = y + rng.normal(size=3000)
    model = linear(learner, control="none", random_state=0)
    found = model.fit(X, y, treatment=arm).predict(POINTS)
    assert model.treatments_.tolist() == ["none", "call", "mail"]
    assert found.shape == (4, 2)
    np.testing.assert_allclose(found, np.tile([-1.0, 2.0], (4, 1)), atol=0.35)
    outcomes = model.predict_outcomes(POINTS)
    np.testing.assert_allclose(outcomes[:, 1:] - outcomes[:, :1], found, atol=1e-9)


@pytest.mark.parametrize("learner", LEARNERS)
def test_classes_have_differences_of_probabilities(learner):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 2))
    mailed = rng.random(4000) < 0.5
    chance = np.where(mailed & (X[:, 0] > 0), 0.7, 0.3)
    bought = np.where(rng.random(4000) < chance, "yes", "no")
    model = UpliftClassifier(
        LogisticRegression(),
        learner=learner,
        effect_estimator=LinearRegression(),
        random_state=0,
    ).fit(X, bought, treatment=mailed)
    assert model.classes_.tolist() == ["no", "yes"]
    found = model.predict(X)
    assert found.mean() == pytest.approx(0.2, abs=0.05)
    outcomes = model.predict_outcomes(X)
    assert ((outcomes >= 0) & (outcomes <= 1)).all()


def test_random_treatments_have_constant_propensities():
    """Trees that overfit predict the arm at random: the slope is about 0."""
    X, y, treated, _ = table(1500, confounded=False)
    boosting = HistGradientBoostingRegressor(max_iter=50, random_state=0)
    model = UpliftRegressor(boosting, random_state=0).fit(X, y, treatment=treated)
    learned = model.learner_.propensity.of_rows[:, 1]
    assert np.ptp(learned) < 0.1
    assert learned.mean() == pytest.approx(treated.mean(), abs=1e-3)


def test_learned_propensities_are_those_of_the_truth():
    X, y, treated, propensity = table(4000)
    model = linear(random_state=0).fit(X, y, treatment=treated)
    learned = model.learner_.propensity.of_rows
    np.testing.assert_allclose(learned[:, 1], propensity, atol=0.1)
    np.testing.assert_allclose(learned.sum(axis=1), 1)


def test_columns_of_propensities_are_found_by_the_labels():
    X, y, treated, propensity = table(300)
    given = pd.DataFrame({"none": 1 - propensity, "mail": propensity})
    arm = given.columns.to_numpy()[treated]
    for columns in (["none", "mail"], ["mail", "none"]):
        model = linear(control="none", random_state=0)
        model.fit(X, y, treatment=arm, propensity=given[columns])
        np.testing.assert_allclose(model.learner_.propensity.of_rows[:, 1], propensity)
    with pytest.raises(ValueError, match=r"propensity has the names \['no', 'yes'\]"):
        model.fit(X, y, treatment=arm, propensity=given.set_axis(["no", "yes"], axis=1))


def test_constant_propensities_are_the_shares():
    X, y, treated, _ = table(300)
    weight = np.where(treated, 3.0, 1.0)
    model = linear(propensity="constant", random_state=0)
    model.fit(X, y, treatment=treated, sample_weight=weight)
    share = weight[treated == 1].sum() / weight.sum()
    np.testing.assert_allclose(model.learner_.propensity.of_rows[:, 1], share)


@pytest.mark.parametrize("learner", LEARNERS)
def test_weights_are_repeated_rows(learner):
    """With given folds, and repeated rows in the fold of the row."""
    X, y, treated, propensity = table(300)
    times = np.random.default_rng(1).integers(0, 3, 300)
    rows = np.repeat(np.arange(300), times)
    fold = np.arange(300) % 3

    def folds(kept):
        own = fold[kept]
        return [(np.flatnonzero(own != i), np.flatnonzero(own == i)) for i in range(3)]

    weighted = linear(learner, cv=folds(np.arange(300)))
    weighted.fit(X, y, treatment=treated, sample_weight=times, propensity=propensity)
    repeated = linear(learner, cv=folds(rows)).fit(
        X[rows], y[rows], treatment=treated[rows], propensity=propensity[rows]
    )
    found = weighted.predict(POINTS)
    np.testing.assert_allclose(found, repeated.predict(POINTS), rtol=1e-9)


def test_effect_learner_needs_weights():
    X, y, treated, _ = table(60)
    model = linear("r", effect_estimator=KNeighborsRegressor())
    with pytest.raises(TypeError, match="takes no sample_weight: KNeighborsRegressor"):
        model.fit(X, y, treatment=treated)


@pytest.mark.parametrize("learner", ["s", "dr"])
def test_inputs_are_read_by_position(learner):
    """Lists, arrays and DataFrames with any index have the same effects."""
    X, y, treated, _ = table(90)
    model = linear(learner, random_state=0)
    expected = clone(model).fit(X, y, treatment=treated).predict(X)
    lists = clone(model).fit(X.tolist(), y.tolist(), treatment=treated.tolist())
    np.testing.assert_allclose(lists.predict(X.tolist()), expected, rtol=1e-9)
    # Columns with the names that the S-learner would give.
    frame = pd.DataFrame(X, index=np.arange(90)[::-1], columns=["treatment=1", "b"])
    found = clone(model).fit(
        frame, pd.Series(y, index=np.arange(90) + 5), treatment=pd.Series(treated)
    )
    np.testing.assert_allclose(found.predict(frame), expected, rtol=1e-9)
    assert found.feature_names_in_.tolist() == ["treatment=1", "b"]


@pytest.mark.parametrize(
    "labels",
    [
        [False, True],
        [0.0, 1.0],
        pd.array([0, 1], dtype="Int64"),
        pd.Categorical([0, 1]),
        np.array([False, True], dtype=object),
    ],
)
def test_labels_of_any_type(labels):
    X, y, treated, _ = table(90)
    expected = linear(random_state=0).fit(X, y, treatment=treated).predict(X)
    column = pd.Series(labels).iloc[treated]
    model = linear(random_state=0).fit(X, y, treatment=column)
    np.testing.assert_array_equal(model.predict(X), expected)
    assert model.treatments_.tolist() == [0, 1]


def test_control_is_named():
    X, y, treated, _ = table(90)
    labels = np.array(["a holdout", "mail"])[treated]
    with pytest.raises(ValueError, match=r"pass control=..., one of \['"):
        linear().fit(X, y, treatment=labels)
    found = linear(control="mail", random_state=0).fit(X, y, treatment=labels)
    assert found.treatments_.tolist() == ["mail", "a holdout"]
    other = linear(control="a holdout", random_state=0).fit(X, y, treatment=labels)
    np.testing.assert_allclose(found.predict(X), -other.predict(X), atol=0.1)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"treatment": None}, ValueError, "UpliftRegressor.fit needs treatment=.*step"),
        ({"treatment": "mail"}, TypeError, "a label for each row; got 'mail'"),
        ({"treatment": np.zeros(60)}, ValueError, "all 60 rows have 0.0"),
        ({"treatment": np.r_[np.nan, np.arange(59) % 2]}, ValueError, "in 1 of 60"),
        ({"treatment": np.arange(59) % 2}, ValueError, "inconsistent"),
        ({"treatment": np.arange(60) % 3}, ValueError, "pass control=..., one of"),
        ({"control": 2}, ValueError, "control=2 is none of the labels"),
        ({"propensity": 0.5}, TypeError, r"got 0.5. .* np.full\(60, 0.5\)"),
        ({"propensity": np.ones(60)}, ValueError, "60 of 60 rows have others"),
        ({"propensity": np.zeros((60, 3))}, ValueError, r"shape \(60, 2\), a column"),
        ({"propensity": np.full((60, 2), 0.4)}, ValueError, "must sum to 1"),
        ({"propensity": np.full(60, np.nan)}, ValueError, "contains NaN"),
        (
            {"sample_weight": np.zeros(60)},
            ValueError,
            "at least one non-zero|zero for all",
        ),
        ({"sample_weight": np.arange(60) % 2}, ValueError, r"labels \[0\]"),
        ({"y": np.full(60, np.nan)}, ValueError, "contains NaN"),
        ({"y": None}, ValueError, "the target y is None"),
        ({"cv": 61}, ValueError, "cv=61 folds need as many customers"),
        ({"learner": "q"}, ValueError, "'learner' parameter"),
        ({"min_propensity": 0.5}, ValueError, "'min_propensity' parameter"),
    ],
)
def test_bad_input(change, error, message):
    X, y, _, _ = table(60)
    params = {k: v for k, v in change.items() if k in linear().get_params()}
    params.pop("propensity", None)
    given = {k: v for k, v in change.items() if k not in params}
    given = {"y": y, "treatment": np.arange(60) % 2, **given}
    with pytest.raises(error, match=message):
        linear(**params).fit(X, **given)


def test_an_arm_missing_in_a_fold():
    X, y, _, _ = table(60)
    treated = np.zeros(60, dtype=int)
    treated[:2] = 1
    with pytest.raises(ValueError, match="no training row of 1 of 2 treatments"):
        linear(cv=[(np.arange(2, 60), np.arange(2))]).fit(X, y, treatment=treated)
    # Folds of customers are stratified: two rows suffice for two folds.
    UpliftRegressor(
        LinearRegression(), cv=2, propensity="constant", random_state=0
    ).fit(X, y, treatment=treated)


@pytest.mark.parametrize("learner", LEARNERS)
def test_an_arm_of_one_class(learner):
    """Nobody of control has bought: the classifier of this arm has one class."""
    X, _, treated, _ = table(120)
    model = UpliftClassifier(
        LogisticRegression(),
        learner=learner,
        effect_estimator=LinearRegression(),
        random_state=0,
    ).fit(X, treated * (np.arange(120) % 3 > 0), treatment=treated)
    # A model of both arms has an additive effect on the log odds, which it shrinks.
    tolerance = 0.25 if learner == "s" else 0.15
    assert model.predict(X).mean() == pytest.approx(2 / 3, abs=tolerance)


def test_classes_are_two():
    X, _, treated, _ = table(60)
    for y in (np.arange(60) % 3, np.ones(60, dtype=int)):
        with pytest.raises(ValueError, match="UpliftClassifier needs 2 classes"):
            UpliftClassifier(LogisticRegression()).fit(X, y, treatment=treated)


def test_defaults_that_are_not_known():
    X, y, treated, _ = table(60)
    with pytest.raises(ValueError, match="not known for LogisticRegression; pass eff"):
        UpliftClassifier(LogisticRegression()).fit(X, y > 0, treatment=treated)
    with pytest.raises(ValueError, match="not known for LinearRegression; pass prop"):
        UpliftRegressor(LinearRegression()).fit(X, y, treatment=treated)


def test_little_overlap_warns():
    X, y, _, _ = table(600)
    treated = (X[:, 0] > 0).astype(int)
    treated[:4] = [0, 1, 0, 1]
    message = r"rows have a learned propensity below .* for the treatment [01]: custom"
    with pytest.warns(UserWarning, match=message):
        model = linear(random_state=0).fit(X, y, treatment=treated)
    assert 0.045 <= model.learner_.propensity.of_rows.min() < 0.051


def test_unread_treatments_warn():
    class Ignorant(LinearRegression):
        def fit(self, X, y):
            return super().fit(X[:, :2], y)

        def predict(self, X):
            return super().predict(X[:, :2])

    X, y, treated, _ = table(60)
    with pytest.warns(UserWarning, match=r"the columns \['treatment=1'\]"):
        UpliftRegressor(Ignorant(), learner="s").fit(X, y, treatment=treated)


def test_treatments_of_the_last_rows_only_do_not_warn():
    """Effects of rows after the first 1,000: new customers, for example."""

    class Late(LinearRegression):
        def predict(self, X):
            return X[:, -1] * (X[:, 0] > 0)

    X, y, treated, _ = table(1500)
    X[:, 0] = np.arange(1500) >= 1400
    UpliftRegressor(Late(), learner="s").fit(X, y, treatment=treated)


def test_weights_that_an_estimator_does_not_take():
    X, y, treated, _ = table(90)
    model = UpliftRegressor(
        make_pipeline(StandardScaler(), KNeighborsRegressor()), learner="t"
    )
    with pytest.raises(TypeError, match=r"takes none: Pipeline\("):
        model.fit(X, y, treatment=treated, sample_weight=np.ones(90))


def test_intervals_contain_the_truth():
    """Of linear models without bias: 90% of the intervals, here of 4 points."""
    covered = []
    for seed in range(8):
        X, y, treated, propensity = table(300, seed)
        model = linear(n_bootstraps=30, random_state=seed)
        model.fit(X, y, treatment=treated, propensity=propensity)
        interval = model.predict_interval(POINTS)
        assert interval.shape == (4, 2)
        covered.append(
            (interval[:, 0] < effect(POINTS)) & (effect(POINTS) < interval[:, 1])
        )
    assert 0.7 < np.mean(covered) <= 1


def test_samples_have_the_given_folds():
    """Folds by masks and positions, which count the rows that fit gets."""
    X, y, treated, propensity = table(90)
    masks = [(np.arange(90) % 3 != i, np.arange(90) % 3 == i) for i in range(3)]
    one, two = (
        linear(cv=cv, n_bootstraps=2, random_state=0)
        .fit(X, y, treatment=treated, propensity=propensity)
        .predict_interval(X)
        for cv in (three_folds(90), iter(masks))
    )
    np.testing.assert_array_equal(one, two)


def test_intervals_of_several_treatments_and_processes():
    X, y, _, _ = table(90)
    arm = np.arange(90) % 3
    one, two = (
        linear(control=0, n_bootstraps=3, n_jobs=n, random_state=0).fit(
            X, y, treatment=arm
        )
        for n in (1, 2)
    )
    assert one.predict_interval(X).shape == (90, 2, 2)
    np.testing.assert_array_equal(one.predict_interval(X), two.predict_interval(X))
    assert (np.diff(one.predict_interval(X)) >= 0).all()
    samples = one.predict_samples(X)
    assert samples.shape == (3, 90, 2)
    ends = np.moveaxis(np.quantile(samples, [0.05, 0.95], axis=0), 0, -1)
    np.testing.assert_allclose(one.predict_interval(X), ends)
    plan = choose_contacts(one.predict(X), value=1, effect_samples=samples)
    assert plan.lower <= plan.upper
    # The effects themselves do not depend on the number of samples.
    none = linear(control=0, random_state=0).fit(X, y, treatment=arm)
    np.testing.assert_array_equal(none.predict(X), one.predict(X))
    with pytest.raises(ValueError, match="set n_bootstraps to 50 or more"):
        none.predict_interval(X)
    with pytest.raises(ValueError, match="set n_bootstraps to 50 or more"):
        none.predict_samples(X)


def test_propensities_of_a_rare_arm_are_not_raised_to_the_least():
    X, y, _, _ = table(1000)
    treated = (np.arange(1000) % 50 == 0).astype(int)  # 2 percent
    model = linear(random_state=0).fit(X, y, treatment=treated)
    mean = model.learner_.propensity.of_rows.mean(axis=0)
    np.testing.assert_allclose(mean, [0.98, 0.02], atol=0.002)
    given = np.full(1000, 0.02)
    model = linear(random_state=0).fit(X, y, treatment=treated, propensity=given)
    np.testing.assert_allclose(model.learner_.propensity.of_rows[:, 1], 0.02)


def rare(n_rare):
    """Rows of three arms, of which one has few rows."""
    X, y, treated, _ = table(200)
    arm = treated.astype(object)
    arm[:n_rare] = 2
    return X, y, arm


@pytest.mark.parametrize("learner", LEARNERS)
def test_samples_have_rows_of_a_rare_arm(learner):
    """One draw in 50 or so of customers lacks an arm of 4, or has it in one fold."""
    X, y, arm = rare(4)
    model = linear(learner, control=0, propensity="constant", n_bootstraps=40, cv=2)
    model.set_params(random_state=0).fit(X, y, treatment=arm)
    assert model.predict_interval(X).shape == (200, 2, 2)


@pytest.mark.parametrize("learner", ["s", "dr"])
def test_an_arm_that_samples_lack_is_named(learner, monkeypatch):
    monkeypatch.setattr("sklearn_seqcrm.uplift._base._MOST_DRAWS", 1)
    X, y, arm = rare(2)
    model = linear(learner, control=0, propensity="constant", n_bootstraps=40, cv=2)
    with pytest.raises(ValueError, match=r"Bootstrap sample \d+ .* 2: 2}\. Leave"):
        model.set_params(random_state=0).fit(X, y, treatment=arm)


def test_a_fit_that_fails_leaves_the_last_one():
    X, y, treated, _ = table(90)
    model = linear(cv=91, random_state=0)
    with pytest.raises(ValueError, match="cv=91"):
        model.fit(X, y, treatment=treated)
    assert not [name for name in vars(model) if name.endswith("_")]
    with pytest.raises(NotFittedError):
        model.predict(X)
    expected = model.set_params(cv=3).fit(X, y, treatment=treated).predict(X)
    with pytest.raises(ValueError, match="cv=91"):
        model.set_params(cv=91, control=2).fit(
            np.c_[X, y], y, treatment=np.arange(90) % 3
        )
    np.testing.assert_array_equal(model.predict(X), expected)
    assert model.treatments_.tolist() == [0, 1]
    assert model.n_features_in_ == 2


@pytest.mark.parametrize("as_labels", [list, lambda one: np.array(one, dtype=object)])
def test_labels_of_text_and_numbers(as_labels):
    X, y, treated, _ = table(90)
    labels = as_labels([["none", 1][code] for code in treated])
    model = linear(control="none", random_state=0).fit(X, y, treatment=labels)
    assert model.treatments_.tolist() == ["none", 1]
    expected = linear(random_state=0).fit(X, y, treatment=treated)
    np.testing.assert_array_equal(model.predict(X), expected.predict(X))
    with pytest.raises(ValueError, match=r"2 rows with the labels \['1'\]"):
        model.score(X[:2], y[:2], treatment=["1", "1"])


def test_rows_of_weight_zero_have_any_label():
    X, y, treated, _ = table(90)
    weight = np.r_[np.zeros(2), np.ones(88)]
    strange = treated.astype(object)
    strange[:2] = ["unknown", None]
    model = linear(random_state=0)
    model.fit(X, y, treatment=strange, sample_weight=weight)
    assert model.treatments_.tolist() == [0, 1]
    expected = clone(model).fit(X[2:], y[2:], treatment=treated[2:])
    np.testing.assert_allclose(model.predict(X), expected.predict(X), rtol=1e-6)
    with pytest.raises(ValueError, match=r"all rows with the labels \['unknown'\]"):
        model.set_params(control="unknown").fit(
            X, y, treatment=strange, sample_weight=weight
        )


def test_the_default_number_of_folds():
    X, y, treated, _ = table(90)
    one, two = (
        linear(cv=cv, random_state=0).fit(X, y, treatment=treated) for cv in (None, 3)
    )
    np.testing.assert_array_equal(one.predict(X), two.predict(X))


@pytest.mark.parametrize("learner", ["x", "dr", "r"])
def test_effects_on_probabilities_are_at_most_one(learner):
    rng = np.random.default_rng(0)
    X, treatment = rng.normal(size=(400, 1)), rng.integers(0, 2, 400)
    bought = rng.random(400) < 0.4 + 0.2 * treatment * X[:, 0].clip(-1, 1)
    model = UpliftClassifier(
        LogisticRegression(),
        learner=learner,
        effect_estimator=LinearRegression(),
        calibrate=False,
        n_bootstraps=2,
        random_state=0,
    ).fit(X, bought, treatment=treatment)
    far = np.array([[-1000.0], [1000.0]])
    assert model.predict(far).tolist() == [-1, 1]
    assert np.abs(model.predict_interval(far)).max() == 1
