import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_seqcrm import targets
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import RFMFeatures
from sklearn_seqcrm.model_selection import check_no_leakage
from sklearn_seqcrm.neural_network import HistoryPadder, LSTMClassifier, LSTMRegressor
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.testing._small_data import make_events, make_y
from tests.model_selection.leaks import (
    LEAKS,
    Estimator,
    at_the_cutoff,
    end_of_record,
    global_mean,
    over_all_rows_of_a_customer,
    share_of_the_total,
    table,
    tied_rows,
    time_to_the_next,
    views,
    who_will_come,
)
from tests.small_networks import SMALL


def add_clicks(X, **options):
    """A second history, of another log with other times."""
    clicks = make_events(seed=5)[["who", "when", "kind"]]
    clicks = clicks.assign(when=clicks["when"].dt.as_unit("s")).rename(
        columns={"who": "id", "when": "clicked"}
    )
    log = EventLog(clicks, "id", "clicked")
    return log.attach(X, customer="who", cutoff="at", name="clicks", **options)


def add_exact(X, **options):
    """A second history of the same log, which shows the events at the cutoff."""
    log = X["history"].array.log
    exact = {"allow_exact_matches": True, "name": "exact"}
    return log.attach(X, cutoff="at", **exact, **options)


def add_earlier(X):
    """A second history of the same log, which ends a hundred days earlier."""
    log = X["history"].array.log
    rows = X.assign(early=X["at"] - pd.Timedelta("100D"))
    return log.attach(rows, cutoff="early", name="earlier")


def numeric_times(X):
    """The same rows in days from 2022 on, as floats."""
    events = make_events()
    day = pd.Timedelta("1D")
    start = pd.Timestamp("2022-01-01")
    log = EventLog(events.assign(when=(events["when"] - start) / day), "who", "when")
    rows = tied_rows().drop(columns="joined")
    return log.attach(rows.assign(at=(rows["at"] - start) / day), cutoff="at")


def from_two_logs(X):
    """Rows of two tables, so that the column views a stacked log."""
    other = EventLog(make_events(), "who", "when").attach(tied_rows(), cutoff="at")
    return pd.concat([X[:20], other[20:]])


def attach_anew(**options):
    return lambda X: X["history"].array.log.attach(
        X.drop(columns="history"), **{"cutoff": "at", **options}
    )


TABLES = {
    "plain": lambda X: X,
    "lookback": attach_anew(lookback="200D"),
    "exact": attach_anew(allow_exact_matches=True),
    "everything known": attach_anew(cutoff=None),
    "one cutoff": attach_anew(cutoff="2023-06-01"),
    "exact and not": lambda X: pd.concat([X, attach_anew(allow_exact_matches=True)(X)]),
    "two logs": add_clicks,
    "one log twice": add_exact,
    "one log, two cutoffs": add_earlier,
    "two logs, three histories": lambda X: add_clicks(add_exact(X), lookback="90D"),
    "stacked": from_two_logs,
    "numbers": numeric_times,
    "one row": lambda X: X[5:6],
    "unknown customers": lambda X: X[X["who"].str.startswith("new")],
    "one index": lambda X: X.set_axis([3] * len(X)),
}
CORRECT = {
    "rfm": RFMFeatures(),
    "rfm-btyd": RFMFeatures(dialect="btyd", period="7D"),
    "encoder": HistoryEncoder(),
    "padder": make_history_pipeline(HistoryPadder()),
    "padder-pre": make_history_pipeline(HistoryPadder(max_length=3, padding="pre")),
    "lstm": make_history_pipeline(LSTMClassifier(**SMALL)),
    "lstm-all": make_history_pipeline(
        LSTMRegressor(
            **SMALL, bidirectional=True, pooling=["last", "mean", "attention"]
        )
    ),
    "boosting": make_pipeline(
        RFMFeatures(), HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=3)
    ),
}


# Each table with a quick transformer, an encoder and a network; the others with two.
PAIRS = [(name, case) for name in ("rfm", "encoder", "lstm") for case in TABLES]
PAIRS += [
    (name, case)
    for name in ("rfm-btyd", "padder", "padder-pre", "lstm-all", "boosting")
    for case in ("exact and not", "two logs, three histories")
]


@pytest.mark.parametrize(("name", "case"), PAIRS)
def test_our_estimators_pass(name, case):
    train = TABLES[case](table())
    if len(train) < 10:  # too few to fit a network
        train = table()
    model = CORRECT[name].fit(train, make_y(train))
    check_no_leakage(model, TABLES[case](table()), n_cutoffs=2)


def test_padding_to_the_longest_row_passes():
    def pad(X):
        lengths = X["history"].array.lengths
        steps = np.arange(lengths.max())
        return {"mask": (steps < lengths[:, None, None]), "lengths": lengths}

    X = table()
    one = X[X["who"] == "c3"].sort_values("at")
    lengths = one["history"].array.lengths
    assert lengths[-1] > lengths[0]
    check_no_leakage(Estimator(pad), one)


@pytest.mark.parametrize("end", ["post", "pre"])
def test_later_rows_in_padded_tensors_fail(end):
    def pad(X, with_later_rows):
        lengths = X["history"].array.lengths
        steps = np.arange(lengths.max())
        if end == "pre":
            steps = steps[::-1]
        value = lengths.max() if with_later_rows else 1
        return np.where(steps[:, None] < lengths[:, None, None], value, 0)

    X = table()
    check_no_leakage(FunctionTransformer(pad, kw_args={"with_later_rows": False}), X)
    leaky = FunctionTransformer(pad, kw_args={"with_later_rows": True})
    with pytest.raises(AssertionError, match="later rows of X are left out"):
        check_no_leakage(leaky, X)


def test_steps_beyond_the_common_ones_must_be_padding():
    def ages_of_all(X):
        """The first steps are those of the row, the others of the rows beside it."""
        lengths = X["history"].array.lengths
        return np.where(
            np.arange(lengths.sum()) < lengths[:, None], 0, np.arange(lengths.sum())
        )[:, :, None]

    X = table()
    with pytest.raises(AssertionError, match="later rows of X are left out"):
        check_no_leakage(FunctionTransformer(ages_of_all), X)


def test_huge_value_does_not_hide_a_leak():
    def days_to_next(X):
        time = targets.time_to_next(X, censored="keep")["time"] / pd.Timedelta("1D")
        return pd.DataFrame({"days": time.where(time < 100, 1e9)})

    X = table()
    assert 0.2 < (days_to_next(X)["days"] < 100).mean() < 0.8
    with pytest.raises(AssertionError, match="'days'"):
        check_no_leakage(FunctionTransformer(days_to_next), X)


def test_last_cutoff_is_always_drawn():
    X = table()
    last = X["history"].array.cutoffs.max()

    def count_at_the_last(X):
        log, _ = views(X)
        is_last = X["history"].array.cutoffs == last
        return pd.DataFrame({"leak": np.where(is_last, len(log), 0)})

    for seed in range(5):
        leaky = FunctionTransformer(count_at_the_last)
        with pytest.raises(AssertionError, match="'leak'"):
            check_no_leakage(leaky, X, n_cutoffs=1, random_state=seed)


def test_arrays_in_cells():
    def cells(X):
        return pd.DataFrame({"n": [np.arange(k) for k in X["history"].array.lengths]})

    check_no_leakage(FunctionTransformer(cells), table(), n_cutoffs=3)


def test_several_logs_whose_cutoffs_are_in_another_order():
    """The last cutoff of the first log does not check the other row; None does."""
    events = pd.DataFrame({"who": ["a", "a"], "day": [1, 9]})
    logs = [EventLog(events, "who", "day") for _ in range(2)]
    rows = pd.DataFrame({"who": "a", "first": [3, 7], "second": [7, 3]})
    X = logs[0].attach(rows, cutoff="first", name="one")
    X = logs[1].attach(X, cutoff="second", name="two")

    def leak_in_the_first_row(X):
        return pd.DataFrame(
            {"n": np.where(X["first"] == 3, len(views(X, "one")[0]), 0)}
        )

    leaky = FunctionTransformer(leak_in_the_first_row)
    check_no_leakage(leaky, X, n_cutoffs=1)
    with pytest.raises(AssertionError, match="'n': 1 of 2 rows"):
        check_no_leakage(leaky, X, n_cutoffs=None)


# Deliberate leaks ---------------------------------------------------------------------


@pytest.mark.parametrize("case", ["plain", "lookback", "two logs", "one index"])
@pytest.mark.parametrize("leak", LEAKS)
def test_leaks_fail(leak, case):
    X = TABLES[case](table())
    with pytest.raises(
        AssertionError, match="1 of 2 outputs depend on events"
    ) as caught:
        check_no_leakage(FunctionTransformer(leak), X, n_cutoffs=8)
    assert "- transform, 'leak': " in str(caught.value)
    assert "fine" not in str(caught.value)


# Customers who appear later show only at cutoffs before their first event.
@pytest.mark.parametrize("leak", [leak for leak in LEAKS if leak is not who_will_come])
def test_leaks_fail_with_few_cutoffs(leak):
    with pytest.raises(AssertionError, match="transform, 'leak'"):
        check_no_leakage(FunctionTransformer(leak), table(), n_cutoffs=5)


def dummies_of_the_last(X, levels_of):
    """The kind of the last event as indicators of some levels."""
    log, rows = views(X)
    kinds = np.append(log.column("kind").to_pandas(aware=False).astype(object), None)
    last = kinds[np.where(rows.stop > rows.start, rows.stop - 1, -1)]
    return pd.get_dummies(pd.Categorical(last, categories=levels_of(log)))


def test_future_levels_fail():
    def of_the_log(log):
        return log.column("kind").categories

    events = pd.DataFrame(
        {"who": list("aabb"), "day": [1, 5, 2, 6], "kind": ["x", "sale", "x", "y"]}
    )
    X = EventLog(events, "who", "day").snapshots([3])
    leaky = FunctionTransformer(dummies_of_the_last, kw_args={"levels_of": of_the_log})
    message = (
        "(?s)'sale': 2 of 2 rows, where events are deleted;.*'y': .*' sale': .*added"
    )
    with pytest.raises(AssertionError, match=message):
        check_no_leakage(leaky, X)
    fixed = {"levels_of": lambda log: ["sale", "x", "y"]}
    check_no_leakage(FunctionTransformer(dummies_of_the_last, kw_args=fixed), X)


def test_number_of_levels_of_the_log_fails():
    def n_levels(X):
        log, _ = views(X)
        n = len(log.column("kind").categories)
        return pd.DataFrame({"leak": np.full(len(X), n)})

    events = pd.DataFrame({"who": "a", "day": [1, 2, 6], "kind": ["x", "y", "x"]})
    X = EventLog(events, "who", "day").snapshots([3])
    message = "'leak': 1 of 1 rows, where events are added"
    with pytest.raises(AssertionError, match=message):
        check_no_leakage(FunctionTransformer(n_levels), X)


def test_levels_of_other_customers_pass():
    def n_levels(X):
        frame = X["history"].array.to_frame()
        n = frame.groupby(level=0)["kind"].agg(lambda kinds: kinds.nunique())
        return pd.DataFrame({"n": n.reindex(range(len(X)), fill_value=0)})

    events = pd.DataFrame({"who": list("aab"), "day": [1, 2, 1], "kind": list("xyz")})
    X = EventLog(events, "who", "day").snapshots([3, 4])
    check_no_leakage(FunctionTransformer(n_levels), X[X["who"] == "a"])


def test_kinds_of_a_merged_log_pass():
    def n_kinds(X):
        return pd.DataFrame({"n": np.full(len(X), len(X["history"].array.log.kinds))})

    log = EventLog(pd.DataFrame({"who": "a", "day": [1, 6]}), "who", "day")
    X = EventLog.concat({"x": log, "y": log}).snapshots([3])
    check_no_leakage(FunctionTransformer(n_kinds), X)


def test_codes_of_a_frame_depend_on_other_rows():
    def codes(X):
        frame = X["history"].array.to_frame()
        last = frame["kind"].cat.codes.groupby(frame.index).last()
        return pd.DataFrame({"code": last.reindex(range(len(X)), fill_value=-1)})

    events = pd.DataFrame({"who": "a", "day": [1, 3, 5], "kind": list("zyx")})
    X = EventLog(events, "who", "day").snapshots([2, 4])
    check_no_leakage(FunctionTransformer(codes), X[:1])
    with pytest.raises(AssertionError, match="where later rows of X are left out;"):
        check_no_leakage(FunctionTransformer(codes), X)


def test_leaks_about_unknown_customers_fail():
    X = TABLES["unknown customers"](table())
    with pytest.raises(AssertionError, match=r"'leak'.*where events are deleted"):
        check_no_leakage(FunctionTransformer(end_of_record), X)


def test_events_at_the_cutoff_pass_if_the_row_shows_them():
    X = TABLES["exact"](table())
    shown = X["history"].array.lengths > table()["history"].array.lengths
    assert shown.sum() > 2
    check_no_leakage(FunctionTransformer(at_the_cutoff), X[shown])
    # Each of them beside a row of the same customer that does not see them.
    X = TABLES["exact and not"](table()[shown])
    message = f"transform, 'leak': {shown.sum()} of {2 * shown.sum()} rows"
    with pytest.raises(AssertionError, match=message):
        check_no_leakage(FunctionTransformer(at_the_cutoff), X, n_cutoffs=None)


def test_each_row_has_its_own_cutoff():
    events = pd.DataFrame({"who": ["a", "a", "b"], "day": [1, 4, 3]})
    X = EventLog(events, "who", "day").snapshots([2, 4, 6], min_events=0)
    X = X.set_axis(list("uvwxyz"))

    def knows_day_four(X):
        log, rows = views(X)
        upto = log.timeline.positions(rows.codes, np.full(len(X), 5))
        return pd.DataFrame({"n": upto - rows.start})

    # Rows at 2 and 4 leak, those at 6 may see them.
    message = r"n': 4 of 6 rows, where events are .*added; rows 'u', 'v', 'w', \.\.\.$"
    with pytest.raises(AssertionError, match=message):
        check_no_leakage(FunctionTransformer(knows_day_four), X)


def test_earlier_events_of_other_customers_pass():
    def traffic(X):
        log, rows = views(X)
        return pd.DataFrame(
            {"n_before": np.searchsorted(np.sort(log.timeline.times), rows.cutoff)}
        )

    check_no_leakage(FunctionTransformer(traffic), table(), n_cutoffs=None)


def test_earlier_rows_pass():
    def number_of_the_row(X):
        order = X["at"].rank(method="first")
        return pd.DataFrame({"n": order.groupby(X["who"]).rank()})

    check_no_leakage(FunctionTransformer(number_of_the_row), table())


def test_events_hidden_by_a_lookback_pass():
    def all_before(X):
        log, rows = views(X)
        return pd.DataFrame(
            {
                "n": log.timeline.positions(rows.codes, rows.cutoff)
                - log.timeline.offsets[rows.codes]
            }
        )

    X = TABLES["lookback"](table())
    X = X[X["history"].array.rows.codes >= 0]
    # The number of events of earlier days stays, though the row does not see them all.
    known = X["history"].array.lengths > 0
    check_no_leakage(FunctionTransformer(all_before), X[known])


def test_message_names_the_changes():
    found = {}
    for leak in (share_of_the_total, global_mean, over_all_rows_of_a_customer):
        with pytest.raises(AssertionError) as caught:
            check_no_leakage(FunctionTransformer(leak), table())
        found[leak.__name__] = (
            str(caught.value).partition("where ")[2].partition(";")[0]
        )
    assert found == {
        "share_of_the_total": "events are deleted or added",
        "global_mean": "events are deleted or rewritten or added",
        "over_all_rows_of_a_customer": "later rows of X are left out",
    }


def test_input_is_untouched():
    X = table()
    before, frame = X["history"].array.copy(), X["history"].array.log.to_frame()
    check_no_leakage(RFMFeatures().fit(X), X)
    for was, now in zip(before.rows[1:], X["history"].array.rows[1:], strict=True):
        assert_array_equal(was, now)
    pd.testing.assert_frame_equal(X["history"].array.log.to_frame(), frame)


def test_no_event_before_the_cutoff():
    events = pd.DataFrame({"who": ["a", "b"], "day": [5, 9]})
    X = EventLog(events, "who", "day").snapshots([3], min_events=0)
    check_no_leakage(RFMFeatures().fit(X), X)
    with pytest.raises(AssertionError, match="events are deleted or rewritten"):
        check_no_leakage(FunctionTransformer(time_to_the_next), X)


# Errors -------------------------------------------------------------------------------

X = table()


FITTED = RFMFeatures().fit(X)


BAD = {
    "no methods": (BaseEstimator(), X, {}, TypeError, "transform, .*got BaseEstimator"),
    "a class": (RFMFeatures, X, {}, TypeError, "an estimator with.*got <class .*RFMF"),
    "not fitted": (RFMFeatures(), X, {}, NotFittedError, "not fitted yet"),
    "an array": (FITTED, np.zeros((2, 2)), {}, TypeError, "X must be a pandas Data"),
    "no history": (FITTED, X[["age"]], {}, ValueError, "X has no history column"),
    "no rows": (FITTED, X[:0], {}, ValueError, "X has no rows; check_no_leakage"),
    "encoded": (
        FITTED,
        HistoryEncoder().fit_transform(X),
        {},
        TypeError,
        "check_no_leakage needs raw histories, but those in 'history' are",
    ),
    "all missing": (
        FITTED,
        X.assign(history=X["history"].where(np.zeros(len(X), bool))),
        {},
        ValueError,
        "All histories are missing",
    ),
    "one number": (
        FunctionTransformer(lambda X: 7),
        X,
        {},
        TypeError,
        "a value for each row; got int",
    ),
    "n_cutoffs": (FITTED, X, {"n_cutoffs": 0}, ValueError, "'n_cutoffs' parameter"),
    "rtol": (FITTED, X, {"rtol": -1.0}, ValueError, "'rtol' parameter"),
    "random_state": (FITTED, X, {"random_state": "x"}, ValueError, "'random_state'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    fitted, rows, options, error, message = BAD[case]
    with pytest.raises(error, match=message):
        check_no_leakage(fitted, rows, **options)


def test_missing_histories_pass():
    some = X.assign(history=X["history"].where(np.arange(len(X)) > 5))
    check_no_leakage(FITTED, some)
    with pytest.raises(AssertionError, match="'leak'"):
        check_no_leakage(FunctionTransformer(end_of_record), some)


def test_random_outputs():
    rng = np.random.default_rng(0)
    guess = FunctionTransformer(lambda X: rng.random((len(X), 1)))
    message = "FunctionTransformer is not deterministic: 1 of 1 .*\n.* called twice"
    with pytest.raises(AssertionError, match=message):
        check_no_leakage(guess, X)


def test_errors_with_another_future_have_a_note():
    n_events = len(X["history"].array.log)

    def picky(X):
        if len(X["history"].array.log) < n_events:
            raise KeyError("gone")
        return X[["age"]]

    with pytest.raises(KeyError) as caught:
        check_no_leakage(FunctionTransformer(picky), X[X["who"].str.startswith("c")])
    assert (
        "after the events at and after the cutoffs had been deleted"
        in (caught.value.__notes__[0])
    )


# The labels in X ----------------------------------------------------------------------


def labelled_rows(n=40):
    events = pd.DataFrame({"who": range(n), "day": 1})
    X = EventLog(events, "who", "day").snapshots([3])
    return X, np.random.default_rng(0).random(n)


@pytest.mark.parametrize(
    ("column", "y"),
    {
        "the same": (lambda y: y > 0.5, lambda y: y > 0.5),
        "text": (lambda y: np.where(y > 0.5, "no", "yes"), lambda y: (y > 0.5) * 1),
        "with missing values": (
            lambda y: np.where(y > 0.5, np.nan, 1.0),
            lambda y: pd.Series(y > 0.5, name="late"),
        ),
        "numbers": (lambda y: y, lambda y: y),
        "numbers in the reverse order": (lambda y: -(y**3), lambda y: y),
        "numbers, some missing": (
            lambda y: np.where(y > 0.8, np.nan, -y),
            lambda y: np.where(y > 0.8, np.nan, y),
        ),
        "durations": (
            lambda y: np.where(y == y[3], np.nan, y * 9),
            lambda y: pd.Series(pd.to_timedelta(y * 9, unit="D")).mask(y == y[3]),
        ),
        "one of two targets": (lambda y: y > 0.5, lambda y: np.c_[y, y > 0.5]),
        "sparse labels": (
            lambda y: y > 0.5,
            lambda y: csr_array(np.c_[y < 2, y > 0.5]),
        ),
    }.values(),
)
def test_columns_that_hold_the_labels_are_named(column, y):
    X, numbers = labelled_rows()
    X = X.assign(label=column(numbers), noise=numbers.round(1) > 0.3)
    rfm = RFMFeatures().fit(X)
    with pytest.raises(AssertionError, match=r"The columns \['label'\] of X hold y"):
        check_no_leakage(rfm, X, y(numbers))
    # A column that the model does not take is no leak.
    check_no_leakage(RFMFeatures().fit(X.drop(columns="label")), X, y(numbers))
    check_no_leakage(rfm, X)
    few = X[:19]
    check_no_leakage(rfm, few, y(numbers)[:19])


def test_columns_that_no_output_depends_on_pass():
    X, numbers = labelled_rows()
    X = X.assign(label=numbers > 0.5)
    model = make_column_transformer((RFMFeatures(), ["history"])).fit(X)
    assert "label" in model.feature_names_in_
    check_no_leakage(model, X, X["label"])


def test_one_label_of_another_value_is_found():
    X, _ = labelled_rows()
    X = X.assign(label=np.arange(40) == 7)
    rfm = RFMFeatures().fit(X)
    with pytest.raises(AssertionError, match=r"\['label'\] of X hold y"):
        check_no_leakage(rfm, X, X["label"])
    # Rows are matched by position: another order hides the column.
    with pytest.warns(UserWarning, match="y has the index of X in another order"):
        check_no_leakage(rfm, X, X["label"].iloc[::-1])


def test_columns_that_only_explain_the_labels_pass():
    X, numbers = labelled_rows()
    X = X.assign(
        other=np.random.default_rng(1).random(40),  # differs from row to row, as y
        finer=numbers.round(1),  # y is a function of it, not the reverse
        near=(numbers > 0.5) ^ (np.arange(40) == 3),
    )
    rfm = RFMFeatures().fit(X)
    for y in (numbers > 0.5, numbers, np.ones(40)):
        check_no_leakage(rfm, X, y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        check_no_leakage(rfm, X, numbers[:3])
