"""Arguments of `fit`: labels, weights, folds, and bad input."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_seqcrm.uplift import UpliftClassifier, UpliftRegressor
from tests.uplift.small_tables import LEARNERS, POINTS, linear, table


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

    # Here repeated rows are more customers, who determine a slope more exactly.
    calibrates = learner != "x"
    weighted = linear(learner, cv=folds(np.arange(300)), calibrate=calibrates)
    weighted.fit(X, y, treatment=treated, sample_weight=times, propensity=propensity)
    repeated = linear(learner, cv=folds(rows), calibrate=calibrates).fit(
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
    frame = pd.DataFrame(X, index=np.arange(90, 0, -1), columns=["treatment=1", "b"])
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
        ({"treatment": "mail"}, TypeError, "a label for each row; got 'mail'.*X.name"),
        ({"treatment": np.zeros(60)}, ValueError, "all 60 rows have 0.0"),
        (
            {"treatment": np.r_[np.nan, np.arange(59) % 2]},
            ValueError,
            r"in 1 of 60 rows; .*\.fillna\('none'\), with control='none'",
        ),
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
        ({"cv": 61}, ValueError, "cv=61 folds need as many customers, .* have 60 "),
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


@pytest.mark.parametrize("learner", ["x", "dr", "r"])
def test_folds_that_predict_no_row_of_an_arm(learner):
    X, y, _, _ = table(60)
    arms = np.arange(60) % 3
    treated = np.flatnonzero(arms == 1)[:10]
    fold = np.setdiff1d(np.arange(60), treated), treated
    message = r"no row of 2 of 3 treatments; .* are \[0, 10, 0\], control first"
    with pytest.raises(ValueError, match=message):
        linear(learner=learner, cv=[fold], control=0).fit(X, y, treatment=arms)


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
    """No customer of the control arm bought: its classifier has one class."""
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


@pytest.mark.parametrize("dtypes", [(int, bool), (bool, int), (float, bool)])
def test_booleans_are_the_labels_0_and_1(dtypes):
    X, y, treated, _ = table(90)
    labels, others = (np.asarray(treated).astype(dtype) for dtype in dtypes)
    model = linear(random_state=0).fit(X, y, treatment=labels)
    score = model.score(X, y, treatment=labels)
    assert model.score(X, y, treatment=others) == score
    with pytest.raises(ValueError, match="which are not among the known ones"):
        model.score(X, y, treatment=np.asarray(treated) + 1)


def test_labels_of_bytes():
    X, y, treated, _ = table(90)
    labels = np.where(treated, b"mail", b"none")  # NumPy's bytes of fixed length
    model = linear(control=b"none", random_state=0).fit(X, y, treatment=labels)
    expected = linear(random_state=0).fit(X, y, treatment=treated)
    np.testing.assert_array_equal(model.predict(X), expected.predict(X))
    assert model.score(X, y, treatment=labels) == expected.score(
        X, y, treatment=treated
    )


@pytest.mark.parametrize("control", [False, 0.0, np.int8(0)])
def test_labels_keep_the_type_of_the_rows(control):
    """`treatments_` were [False, 1], as objects, with ``control=False``."""
    X, y, treated, _ = table(90)
    model = linear(control=control, random_state=0).fit(X, y, treatment=treated)
    np.testing.assert_array_equal(model.treatments_, [0, 1], strict=True)


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


@pytest.mark.parametrize("unknown", [0.0, 1.0, np.nan])
@pytest.mark.parametrize("n_columns", [1, 2])
def test_rows_of_weight_zero_have_any_propensity(unknown, n_columns):
    X, y, treated, propensity = table(90)
    weight = np.r_[np.zeros(2), np.ones(88)]
    given = np.r_[unknown, unknown, propensity[2:]]
    if n_columns == 2:
        given = np.column_stack([1 - given, given])
    model = linear("dr", random_state=0)
    model.fit(X, y, treatment=treated, sample_weight=weight, propensity=given)
    expected = clone(model).fit(
        X[2:], y[2:], treatment=treated[2:], propensity=given[2:]
    )
    np.testing.assert_allclose(model.predict(X), expected.predict(X), rtol=1e-6)
    with pytest.raises(ValueError, match=r"2 of 90 rows|contains NaN"):
        model.fit(X, y, treatment=treated, propensity=given)


def test_the_default_number_of_folds():
    X, y, treated, _ = table(90)
    one, two = (
        linear(cv=cv, random_state=0).fit(X, y, treatment=treated) for cv in (None, 3)
    )
    np.testing.assert_array_equal(one.predict(X), two.predict(X))


MAILED = np.array(["mail", None] * 30, dtype=object)


@pytest.mark.parametrize(
    "treatment",
    [
        MAILED,
        MAILED.tolist(),
        pd.Series(MAILED, index=range(5, 65)),
        pd.Series(pd.Categorical(MAILED)),
        pd.Series(MAILED, dtype="string"),
        np.where(MAILED == "mail", 1.0, np.nan),
    ],
)
def test_the_advice_for_missing_treatments_works(treatment):
    X, y, _, _ = table(60)
    with pytest.raises(ValueError, match="in 30 of 60 rows") as error:
        linear().fit(X, y, treatment=treatment)
    advice = str(error.value).split("label them: ")[1].split(", with")[0]
    labels = eval(advice, {"pd": pd, "treatment": treatment})
    model = linear(control="none").fit(X, y, treatment=labels)
    assert model.treatments_[0] == "none"


@pytest.mark.parametrize(
    ("learner", "boosting"),
    [(UpliftClassifier, "Classifier"), (UpliftRegressor, "Regressor")],
)
def test_the_default_estimator_needs_histories(learner, boosting):
    X, y, treated, _ = table(60)
    frame = pd.DataFrame(X, columns=["age", "spend"])
    found = r"its columns are \['age', 'spend'\]"
    way = rf"\. .* such as {learner.__name__}\(HistGradientBoosting{boosting}\(\)\)"
    inputs = [
        (frame, found),
        (pl.DataFrame(frame.to_dict("list")), found),
        (X, "its type is ndarray"),
        (X.astype(object), "its type is ndarray"),
        (X.tolist(), "its type is list"),
    ]
    for one, found in inputs:
        with pytest.raises(ValueError, match=found + way):
            learner().fit(one, y > 0, treatment=treated)


def test_tables_of_polars():
    """Categories stay beside the treatment, and a column of it is an error."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"city": pd.Categorical(rng.choice(["a", "b"], 90)), "x": 1.0})
    y, treated = rng.normal(size=90), rng.integers(0, 2, 90)
    trees = HistGradientBoostingRegressor(max_iter=5, min_samples_leaf=5)
    model = UpliftRegressor(trees, learner="s", random_state=0)
    expected = clone(model).fit(X, y, treatment=treated).predict(X)
    found = model.fit(pl.from_pandas(X), y, treatment=pl.Series(treated))
    np.testing.assert_allclose(found.predict(pl.from_pandas(X)), expected)
    with pytest.raises(ValueError, match="'mailed' of X shows the treatment"):
        model.fit(pl.from_pandas(X.assign(mailed=treated)), y, treatment=treated)
