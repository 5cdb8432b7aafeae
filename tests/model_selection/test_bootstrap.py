import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import make_scorer, mean_pinball_loss

from sklearn_seqcrm._bootstrap import expanded_interval
from sklearn_seqcrm._stored_outputs import StoredOutputs
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.metrics import get_scorer
from sklearn_seqcrm.model_selection import compare_models
from sklearn_seqcrm.model_selection._metrics import Data, read_metrics
from sklearn_seqcrm.model_selection._resampled_scores import (
    FoldScores,
    resampled_scores,
)

RNG = np.random.default_rng(0)
N = 60
X, Y = RNG.normal(size=(N, 3)), RNG.integers(2, size=N)


def stored(model, classes=None, **outputs):
    if classes is not None:
        model.classes_ = classes
    found = StoredOutputs(model).without_model()
    found.outputs.update(outputs)
    return found


def numbers_of(values):
    return stored(DummyRegressor(), predict=values)


def shares_of(values):
    shares = np.column_stack([1 - values, values])
    labels = (values > 0.5).astype(int)
    classes = np.array([0, 1])
    return stored(DummyClassifier(), classes, predict=labels, predict_proba=shares)


# Scores of many weightings ------------------------------------------------------------

CLASSES = [
    "accuracy",
    "average_precision",
    "neg_brier_score",
    "neg_log_loss",
    "roc_auc",
]

NUMBERS = [
    "neg_mean_absolute_error",
    "neg_mean_squared_error",
    "neg_root_mean_squared_error",
    "r2",
]


@pytest.mark.parametrize("digits", [1, 9])
@pytest.mark.parametrize("name", [*CLASSES, *NUMBERS])
def test_fast_scores_are_those_of_scikit_learn(name, digits, monkeypatch):
    """Under any weights, zeros among them, and with ties."""
    values = RNG.random(N).round(digits)
    model = shares_of(values) if name in CLASSES else numbers_of(values)
    weights = RNG.integers(0, 4, size=(20, N)).astype(float)
    [metric] = read_metrics(name)
    scorer = get_scorer(name)
    expected = [scorer(model, X, Y, sample_weight=weight) for weight in weights]
    monkeypatch.setattr(type(metric), "_by_scorer", None)  # never called
    found = metric.on(model, Data(X, Y, {}))(weights)
    assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("labels", [(1, 2), (-1, 1), (False, True), (0.0, 1.0)])
@pytest.mark.parametrize("name", CLASSES)
def test_fast_scores_with_any_labels(name, labels):
    """With labels 1 and 2, its average precision takes 1 as the positive class."""
    classes = np.asarray(labels)
    values, y = RNG.random(N), classes[Y.astype(int)]
    model = shares_of(values)
    outputs = {**model.outputs, "predict": classes[model.outputs["predict"]]}
    model = stored(DummyClassifier(), classes, **outputs)
    weights = RNG.integers(1, 4, size=(5, N)).astype(float)
    try:
        scorer = get_scorer(name)
        expected = [scorer(model, X, y, sample_weight=weight) for weight in weights]
    except ValueError:
        pytest.skip("an older scikit-learn has no Brier score of these labels")
    [metric] = read_metrics(name)
    assert_allclose(metric.on(model, Data(X, y, {}))(weights), expected, rtol=1e-12)


@pytest.mark.parametrize("name", [*CLASSES[1:], *NUMBERS])
def test_missing_predictions_are_errors_as_in_scikit_learn(name):
    values = np.linspace(0, 1, N)
    values[3] = np.nan
    model = shares_of(values) if name in CLASSES else numbers_of(values)
    [metric] = read_metrics(name)
    with pytest.raises(ValueError, match="contains NaN"):
        metric.on(model, Data(X, Y, {}))(np.ones((1, N)))


def test_labels_predicted_as_a_column():
    """A column compared with ``y`` of one dimension would be a square."""
    labels = np.array([0, 1, 1, 1])
    model = stored(DummyClassifier(), np.array([0, 1]), predict=labels[:, None])
    [metric] = read_metrics("accuracy")
    score = metric.on(model, Data(X[:4], np.array([0, 1, 0, 1]), {}))
    assert_allclose(score(np.array([[1.0, 1, 1, 1], [1, 0, 3, 0]])), [0.75, 0.25])


def test_accuracy_of_several_labels():
    """A row is right if all of its labels are."""
    y, predicted = (
        np.array([[0, 1], [1, 1], [0, 0]]),
        np.array([[0, 1], [1, 0], [0, 0]]),
    )
    model = stored(DummyClassifier(), np.array([0, 1]), predict=predicted)
    [metric] = read_metrics("accuracy")
    score = metric.on(model, Data(X[:3], y, {}))
    assert_allclose(score(np.array([[1.0, 1, 1], [1, 2, 1]])), [2 / 3, 0.5])


def test_lists_of_probabilities():
    """As forests return them."""
    rows = RNG.normal(size=(N, 2))
    y = (rows + RNG.normal(size=(N, 2)) > 0).astype(int)
    forest = RandomForestClassifier(5, max_depth=2, random_state=0)
    found = compare_models(
        {"forest": forest}, rows, y, cv=2, scoring="roc_auc", n_resamples=9
    )
    assert found.scores["score"].between(0.6, 1).all()


def test_scores_without_a_fast_formula():
    """Several classes, a custom metric, and a scorer that is not a metric."""
    classes = np.arange(3)
    y = RNG.integers(3, size=N)
    shares = RNG.dirichlet(np.ones(3), size=N)
    model = stored(DummyClassifier(), classes, predict_proba=shares)
    weights = RNG.integers(1, 4, size=(5, N)).astype(float)
    pinball = make_scorer(mean_pinball_loss, greater_is_better=False, alpha=0.9)

    def first_column(model, X, y, sample_weight):
        return np.average(X[:, 0], weights=sample_weight)

    scoring = {"log": "neg_log_loss", "auc": "roc_auc_ovr", "own": first_column}
    for metric in read_metrics(scoring):
        expected = [metric.scorer(model, X, y, sample_weight=w) for w in weights]
        assert_allclose(metric.on(model, Data(X, y, {}))(weights), expected, rtol=1e-12)
    [metric] = read_metrics(pinball)
    model = numbers_of(X[:, 0])
    expected = [
        -mean_pinball_loss(Y, X[:, 0], sample_weight=w, alpha=0.9) for w in weights
    ]
    assert_allclose(metric.on(model, Data(X, Y, {}))(weights), expected)


# Bootstrap of customers ---------------------------------------------------------------


def test_weights_equal_copies_of_customers():
    """Scores equal those of scikit-learn on rows that are really repeated."""
    customers = np.repeat(np.arange(15), 4)
    folds = [np.flatnonzero(np.arange(N) % 2 == i) for i in (0, 1)]
    models = [shares_of(RNG.random(N)) for _ in range(2)]
    names = ["roc_auc", "neg_log_loss", "f1"]
    metrics = read_metrics(names)

    def part(model, rows):
        outputs = {name: values[rows] for name, values in model.outputs.items()}
        return stored(DummyClassifier(), model.classes_, **outputs)

    scored = [
        FoldScores(
            customers[test],
            [
                [m.on(part(model, test), Data(X[test], Y[test], {})) for m in metrics]
                for model in models
            ],
        )
        for test in folds
    ]
    found = resampled_scores(scored, 15, 8, np.random.RandomState(3))
    rng = np.random.RandomState(3)
    for sample in found:
        drawn = rng.randint(15, size=15)
        expected = np.zeros((2, 3))
        for test in folds:
            rows = np.concatenate([test[customers[test] == who] for who in drawn])
            for i, model in enumerate(models):
                for j, name in enumerate(names):
                    score = get_scorer(name)(part(model, rows), X[rows], Y[rows])
                    expected[i, j] += score / 2
        assert_allclose(sample, expected, rtol=1e-12)


def coverage(n_customers, by_row, n_repeats=100):
    """Share of intervals that contain the true difference, which is 1.

    Scores are squared errors of two models; rows of a customer share most noise.
    """
    n_rows, hits = 5, 0
    for seed in range(n_repeats):
        rng = np.random.default_rng(seed)
        customers = np.repeat(np.arange(n_customers), n_rows)
        error = rng.normal(size=n_customers)[customers] + 0.3 * rng.normal(
            size=len(customers)
        )
        # E[(error + 1)**2 - error**2] = 1
        models = [numbers_of(error), numbers_of(error + 1)]
        y = np.zeros(len(customers))
        [metric] = read_metrics("neg_mean_squared_error")
        if by_row:
            customers = np.arange(len(customers))
        scores = [[metric.on(model, Data(None, y, {}))] for model in models]
        fold, n = FoldScores(customers, scores), customers[-1] + 1
        draws = resampled_scores([fold], n, 300, np.random.RandomState(seed))
        lower, upper = expanded_interval(draws[:, 0, 0] - draws[:, 1, 0], 0.95, n)
        hits += lower <= 1 <= upper
    return hits / n_repeats


def test_coverage_of_intervals():
    """95% intervals, within three standard errors (.022 each).

    Intervals from drawn rows, as if each were a customer, are too short.
    """
    assert 0.88 <= coverage(60, by_row=False) <= 0.99
    assert coverage(60, by_row=True, n_repeats=60) < 0.75
    # With few customers, plain quantiles of the samples have a coverage of .85.
    assert 0.88 <= coverage(5, by_row=False, n_repeats=200) <= 0.99


def test_one_customer_has_no_interval():
    log = EventLog(pd.DataFrame({"who": ["a"], "day": [0]}), "who", "day")
    rows = log.attach(pd.DataFrame({"who": ["a"] * N, "x": X[:, 0]}), cutoff=9)
    models = {"one": DummyRegressor(), "other": DummyRegressor(strategy="median")}
    args = {"cv": [(np.arange(9), np.arange(N))], "scoring": "r2", "n_resamples": 9}
    with pytest.warns(UserWarning, match="tests 9 rows that it also trains on"):
        found = compare_models(models, rows, X[:, 1], **args)
    assert found.summary["score"].notna().all()
    assert found.differences[["lower", "upper"]].isna().all(axis=None)
