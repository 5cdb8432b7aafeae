"""Every law catches an estimator that breaks it."""

import random
import warnings
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import check_random_state

from sklearn_seqcrm._recurrent.network import POOLINGS
from sklearn_seqcrm.feature_extraction import RFMFeatures
from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMRegressor, LSTMSurvival
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.testing import (
    _fitted_outputs,
    _laws,
    all_estimators,
    check_history_estimator,
    parametrize_with_history_checks,
)


class Counts(TransformerMixin, BaseEstimator):
    """Correct and plain: the number of events for each history column."""

    def __init__(self, power=1):
        self.power = power

    def fit(self, X, y=None):
        X = self.frame(X)
        self.n_columns_ = X.shape[1]
        return self

    def transform(self, X):
        X = self.frame(X)
        return np.column_stack([self.counts(a) for a in self.arrays(X)]) ** self.power

    @staticmethod
    def frame(X):
        if not isinstance(X, pd.DataFrame):
            X = pd.DataFrame(X).apply(_as_histories)
        return X

    @staticmethod
    def arrays(X):
        return [X[name].array for name in X if hasattr(X[name].array, "lengths")]

    @staticmethod
    def counts(array):
        return array.lengths.astype("float64")


def _as_histories(column):
    try:
        return column.astype("history")
    except (TypeError, ValueError):
        return column


class ReadsPadding(Counts):
    """The state at the last padded step."""

    def transform(self, X):
        counts = super().transform(X)
        return counts + counts.max()


class ReadsPaddingAfterThreeEvents(Counts):
    """The state at the last padded step, for histories of three events only."""

    def transform(self, X):
        counts = super().transform(X)
        return np.where(counts == 3, counts.max(), counts)


class DependsOnItsCustomersOtherRows(Counts):
    def transform(self, X):
        [rows, *_] = [array.rows for array in self.arrays(self.frame(X))]
        n_rows = np.bincount(rows.codes + 1)[rows.codes + 1]
        return super().transform(X) + np.where(rows.codes < 0, 0, n_rows)[:, None]


class DependsOnOrder(Counts):
    def transform(self, X):
        return super().transform(X) + np.arange(len(X))[:, None]


class SeesItsCutoff(Counts):
    """``<=`` instead of ``<``."""

    @staticmethod
    def counts(array):
        log, rows = array.log, array.rows
        stop = log.timeline.positions(rows.codes, rows.cutoff, after=True)
        return (stop - rows.start).astype("float64") * (rows.codes >= 0)


class SeesVectorsOfTheFuture(Counts):
    """Whether any vector of the log is large, whichever row shows it."""

    @staticmethod
    def counts(array):
        column = array.log.columns.get("vector")
        some_large = column is not None and np.nanmax(column.values) > 1e6
        return array.lengths + float(some_large)


class SeesBeforeItsLookback(Counts):
    @staticmethod
    def counts(array):
        rows = array.rows
        first = array.log.timeline.offsets[rows.codes]
        return np.where(rows.codes >= 0, rows.stop - first, 0).astype("float64")


class SeesWhatOtherRowsSee(Counts):
    """Whether another row of the customer shows events before the row's lookback."""

    @staticmethod
    def counts(array):
        start = pd.Series(array.rows.start)
        first = start.groupby(array.rows.codes).transform("min")
        return (start > first).to_numpy("float64")


class ReadsOneHistory(Counts):
    def transform(self, X):
        return super().transform(X)[:, :1]


class NotForTheEmpty(Counts):
    @staticmethod
    def counts(array):
        return 1 / np.where(array.lengths, array.lengths, 0.0)


class NotForTheLong(Counts):
    @staticmethod
    def counts(array):
        with np.errstate(over="ignore", invalid="ignore"):
            grown = np.exp(array.lengths.astype("float32"))
            return (grown - grown.max()).astype("float64")


class RemembersTheFirstFit(Counts):
    def fit(self, X, y=None):
        if not hasattr(self, "n_rows_"):
            self.n_rows_ = len(X)
        return super().fit(X)

    def transform(self, X):
        return super().transform(X) + self.n_rows_


class DrawsFromTheGlobalGenerator(Counts):
    def fit(self, X, y=None):
        self.noise_ = check_random_state(None).normal()
        return super().fit(X)


class DrawsFromPython(Counts):
    def transform(self, X):
        random.random()
        return super().transform(X)


class AddsNoise(DrawsFromTheGlobalGenerator):
    def transform(self, X):
        return super().transform(X) + self.noise_


class WritesToItsInput(Counts):
    def transform(self, X):
        found = super().transform(X)
        if "age" in X:
            X["age"] = 0
        return found


class KeepsTheEvents(Counts):
    def fit(self, X, y=None):
        [self.log_, *_] = [array.log for array in self.arrays(self.frame(X))]
        return super().fit(X)


class WritesToItself(Counts):
    def transform(self, X):
        self.last_ = len(X)
        return super().transform(X)


class ForgetsItself(Counts):
    def __getstate__(self):
        return {"power": 2}


class DoesNotReturnItself(Counts):
    def fit(self, X, y=None):
        super().fit(X)
        return None


class ReadsColumnsByPlace(Counts):
    def transform(self, X):
        X = self.frame(X)
        [first, *_] = np.flatnonzero([hasattr(X[n].array, "lengths") for n in X])
        return super().transform(X) + first


class NoObjects(Counts):
    @staticmethod
    def frame(X):
        if not isinstance(X, pd.DataFrame):
            raise TypeError("no objects")
        return X


class OtherObjects(Counts):
    def transform(self, X):
        return super().transform(X) + isinstance(X, np.ndarray)


class ComesBack(Counts):
    """Whether there is an event after the cutoff: the target itself."""

    @staticmethod
    def counts(array):
        log, rows = array.log, array.rows
        ends = log.timeline.offsets[rows.codes + 1]
        return ((rows.codes >= 0) & (rows.stop < ends)).astype("float64")


class KeepsAFrame(Counts):
    def fit(self, X, y=None):
        self.some_ = X[["age"]] if isinstance(X, pd.DataFrame) else X
        return super().fit(X)


class Sparse(Counts):
    def transform(self, X):
        return csr_array(super().transform(X))


class KeepsHistories(Counts):
    def transform(self, X):
        return X[["history"]] if isinstance(X, pd.DataFrame) else X[:, :1]


class HasNoOutputs(BaseEstimator):
    def fit(self, X, y=None):
        return self


class ReadsTheLastLine(BaseEstimator):
    """The first number of the last event, whose moment may have others."""

    def fit(self, X, y=None):
        self.is_fitted_ = True
        return self

    def predict(self, X):
        array = X["history"].array
        first = np.append(array.log.channels[:, 0], 0)
        return np.where(array.lengths > 0, first[array.rows.stop - 1], 0)


def reads_the_last_line():
    return make_pipeline(HistoryEncoder(moments=True), ReadsTheLastLine())


class ForgetsPickledRows(Counts):
    """Identifies customers by their position in the log."""

    @staticmethod
    def counts(array):
        return array.rows.codes.astype("float64")


def numbers_only(frame):
    return frame.select_dtypes("number")


BROKEN = {
    ReadsPadding: "check_padding_invariance",
    ReadsPaddingAfterThreeEvents: "check_padding_invariance",
    DependsOnItsCustomersOtherRows: "check_prefix_invariance",
    DependsOnOrder: "check_row_order",
    SeesItsCutoff: "check_no_leakage",
    SeesBeforeItsLookback: "check_lookback",
    SeesWhatOtherRowsSee: "check_prefix_invariance",
    ReadsOneHistory: "check_several_histories",
    NotForTheEmpty: "check_short_and_unknown_histories",
    NotForTheLong: "check_very_long_history",
    RemembersTheFirstFit: "check_fit_is_idempotent",
    DrawsFromTheGlobalGenerator: "check_generators_are_untouched",
    DrawsFromPython: "check_generators_are_untouched",
    AddsNoise: "check_random_state_repeats",
    WritesToItsInput: "check_input_is_untouched",
    KeepsTheEvents: "check_holds_no_events",
    WritesToItself: "check_predict_writes_nothing",
    DoesNotReturnItself: "check_clone_and_params",
    ForgetsItself: "check_pickle",
    ReadsColumnsByPlace: "check_order_of_columns",
    OtherObjects: "check_object_array",
    ComesBack: "check_no_leakage",
    KeepsAFrame: "check_holds_no_events",
    ForgetsPickledRows: "check_pickled_rows",
    SeesVectorsOfTheFuture: "check_vectors",
    reads_the_last_line: "check_order_of_lines",
}


@cache
def results_of(kind):
    """Run all checks once for all tests."""
    return check_history_estimator(kind(), on_fail=None)


def names_of(results, status="failed"):
    return [r["check_name"] for r in results if r["status"] == status]


def test_a_correct_estimator_passes():
    assert {r["status"] for r in results_of(Counts)} == {"passed"}


@pytest.mark.parametrize(
    "estimator",
    [
        NoObjects(),
        Sparse(),
        make_pipeline(NoObjects(), LogisticRegression()),
        make_pipeline(
            RFMFeatures(),
            FunctionTransformer(numbers_only),
            RandomForestClassifier(n_estimators=5, random_state=0),
        ),
    ],
)
def test_other_correct_estimators_pass(estimator):
    results = check_history_estimator(estimator)
    assert {r["status"] for r in results} <= {"passed", "skipped"}
    assert set(names_of(results, "skipped")) <= {"check_object_array"}


class SeveralLabels(ClassifierMixin, BaseEstimator):
    """Forests of a label and its opposite, which return a list of probabilities."""

    def __init__(self, features):
        self.features = features

    def fit(self, X, y):
        forest = RandomForestClassifier(n_estimators=3, random_state=0)
        self.forest_ = make_pipeline(clone(self.features), forest)
        self.forest_.fit(X, np.column_stack([y, 1 - y]))
        return self

    def predict_proba(self, X):
        return self.forest_.predict_proba(X)


def test_several_labels():
    _laws.check_row_order(SeveralLabels(Counts()))
    _laws.check_padding_invariance(SeveralLabels(Counts()))
    with pytest.raises(AssertionError, match="outputs do not follow the order"):
        _laws.check_row_order(SeveralLabels(DependsOnOrder()))


def test_a_parameter_that_a_clone_changes_is_named():
    class Callback:  # its repr has an address
        pass

    with pytest.raises(
        AssertionError, match=r"other parameters, \['power'\]: __init__"
    ):
        _laws.check_clone_and_params(Counts(power=Callback()))


def with_moments(kind, period=True, **params):
    small = {"hidden_size": 4, "head_sizes": (4,), "max_epochs": 2, "random_state": 0}
    pipeline = make_history_pipeline(kind(**{**small, "n_networks": 1, **params}))
    return pipeline.set_params(encoder__moments=period)


@pytest.mark.parametrize(
    ("period", "params"),
    [
        (True, {}),
        ("1D", {"cell": "gru", "pooling": POOLINGS}),
        ("200D", {"cell": "rnn", "pooling": POOLINGS, "bidirectional": True}),
        *((True, {"pooling": pooling}) for pooling in POOLINGS),
    ],
)
@pytest.mark.parametrize("kind", [LSTMClassifier, LSTMRegressor, LSTMSurvival])
def test_the_order_of_lines_changes_no_bit(kind, period, params):
    _laws.check_order_of_lines(with_moments(kind, period, **params))


def test_the_order_of_lines_without_moments():
    with pytest.raises(AssertionError, match="the order of the events of a moment"):
        _laws.check_order_of_lines(reads_the_last_line())
    # Step by step, the law does not apply.
    estimator = with_moments(LSTMClassifier, period=False)
    _laws.check_order_of_lines(estimator)
    assert not _laws._joins_moments(
        _fitted_outputs.fitted(estimator, _fitted_outputs.standard_rows().copy())
    )


def test_transformer_that_returns_histories():
    failed = names_of(results_of(KeepsHistories))
    assert failed == ["check_several_histories", "check_object_array"]


def test_no_outputs():
    with pytest.raises(TypeError, match="HasNoOutputs has none of predict_proba, pre"):
        check_history_estimator(HasNoOutputs())


def test_generators_are_restored_after_an_error():
    before = _fitted_outputs.generator_states()
    with pytest.raises(KeyError), _fitted_outputs.other_generators(3):
        raise KeyError
    assert _fitted_outputs.generator_states() == before


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("kind", BROKEN)
def test_broken_estimators_fail_with_a_message(kind):
    assert BROKEN[kind] in names_of(results_of(kind))
    for result in results_of(kind):
        if result["status"] == "failed":
            assert str(result["exception"]).strip()


def test_events_that_other_rows_show_break_two_laws():
    failed = set(names_of(results_of(SeesWhatOtherRowsSee)))
    assert failed >= {"check_lookback", "check_prefix_invariance"}


def test_every_check_catches_something():
    assert {check.__name__ for check in _laws.ALL_CHECKS} == set(BROKEN.values())


def test_the_first_failure_is_raised_with_its_name():
    with pytest.raises(AssertionError) as caught:
        check_history_estimator(DependsOnOrder())
    assert "check_history_estimator: check_" in caught.value.__notes__[0]


def test_warnings():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_history_estimator(DependsOnOrder(), on_fail="warn")
    messages = [str(warning.message) for warning in caught]
    assert any("check_row_order failed with AssertionError" in m for m in messages)


def test_expected_failures():
    reason = {"check_holds_no_events": "It is a dictionary of events."}
    results = check_history_estimator(KeepsTheEvents(), expected_failed_checks=reason)
    [found] = [r for r in results if r["status"] == "xfail"]
    assert found["check_name"] == "check_holds_no_events"
    assert found["expected_to_fail_reason"] == "It is a dictionary of events."
    assert isinstance(found["exception"], AssertionError)
    results = check_history_estimator(Counts(), expected_failed_checks=reason)
    [found] = [r for r in results if r["status"] != "passed"]
    assert (found["check_name"], found["status"]) == ("check_holds_no_events", "xpass")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_fail": "cry"}, "on_fail must be one of .* got 'cry'"),
        ({"expected_failed_checks": {"check_x": ""}}, r"no checks \['check_x'\]"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        check_history_estimator(Counts(), **options)


def test_parametrize():
    mark = parametrize_with_history_checks(
        [RFMFeatures(), Counts()],
        expected_failed_checks=lambda estimator: (
            {"check_pickle": "why"} if isinstance(estimator, Counts) else {}
        ),
    )
    cases = mark.args[1]
    assert len(cases) == 2 * len(_laws.ALL_CHECKS)
    assert cases[0].id == f"RFMFeatures()-{_laws.ALL_CHECKS[0].__name__}"
    [case] = [case for case in cases if case.marks]
    assert case.id == "Counts()-check_pickle"
    assert case.marks[0].kwargs == {"reason": "why", "strict": True}


def test_all_estimators_are_public_classes():
    found = dict(all_estimators())
    assert found["RFMFeatures"] is RFMFeatures
    assert list(found) == sorted(found)
    assert all(isinstance(kind, type) for kind in found.values())
