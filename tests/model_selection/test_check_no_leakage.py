import datetime
from functools import cache

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_seqcrm import targets
from sklearn_seqcrm._store._columns import Column
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import RFMFeatures
from sklearn_seqcrm.model_selection import check_no_leakage
from sklearn_seqcrm.model_selection._future import Future, _with_new_level
from sklearn_seqcrm.model_selection._outputs import Output, changed_rows
from sklearn_seqcrm.neural_network import HistoryPadder, LSTMClassifier, LSTMRegressor
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.testing._small_data import make_events, make_rows, make_y


def tied_rows():
    """Rows, every other of which has its cutoff at an event of its customer."""
    rows = make_rows().reset_index(drop=True)
    times = make_events().groupby("who")["when"].agg(list)
    for i in range(0, len(rows), 2):
        own = times.get(rows["who"][i], [])
        if len(own):
            rows.loc[i, "at"] = own[i % len(own)]
    return rows


@cache
def _table():
    return EventLog(make_events(), "who", "when").attach(tied_rows(), cutoff="at")


def table():
    """These rows, without the events at their cutoffs."""
    return _table().copy()


SMALL = {"hidden_size": 4, "head_sizes": (4,), "max_epochs": 2, "random_state": 0}


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


def views(X, name="history"):
    array = X[name].array
    return array.log, array.rows


def amounts(log):
    values = log.column("amount").values
    return np.where(np.isfinite(values), values, 0)


def beyond_stop(X):
    """Whether there is one more event after those that the row shows."""
    log, rows = views(X)
    known = rows.codes >= 0
    end = np.where(known, log.timeline.offsets[rows.codes + 1], 0)
    return pd.DataFrame({"leak": end > rows.stop, "fine": rows.stop - rows.start})


def time_to_the_next(X):
    log, rows = views(X)
    times = np.append(log.timeline.times, 0)
    return pd.DataFrame({"leak": times[rows.stop] - rows.cutoff, "fine": 1.0})


def at_the_cutoff(X):
    """Number of events up to the cutoff and at it."""
    log, rows = views(X)
    upto = log.timeline.positions(rows.codes, rows.cutoff, after=True)
    return pd.DataFrame({"leak": upto - rows.start, "fine": rows.stop - rows.start})


def share_of_the_total(X):
    log, rows = views(X)
    counts = np.append(log.timeline.counts, 1)[rows.codes]
    seen = rows.stop - rows.start
    return pd.DataFrame({"leak": seen / counts, "fine": seen})


def global_mean(X):
    """The sum of the amounts of a row, less the mean of the log."""
    log, rows = views(X)
    sums = np.append(0, np.cumsum(amounts(log)))
    seen = sums[rows.stop] - sums[rows.start]
    seen = seen.round(6)
    return pd.DataFrame({"leak": seen - amounts(log).mean(), "fine": seen})


def who_will_come(X):
    """Whether the customer is known to the log, if only from later on."""
    _, rows = views(X)
    return pd.DataFrame({"leak": rows.codes >= 0, "fine": rows.cutoff})


def end_of_record(X):
    log, rows = views(X)
    left = log.timeline.observed_until - rows.cutoff
    return pd.DataFrame({"leak": left, "fine": rows.cutoff})


def next_kind(X):
    """Text: what kind the next event has."""
    log, rows = views(X)
    kind = np.append(log.column("kind").to_pandas().astype(object), None)
    return pd.DataFrame({"leak": kind[rows.stop], "fine": "text"})


def over_all_rows_of_a_customer(X):
    """The number of events of the customer's last row, in all rows."""
    seen = X["history"].array.lengths
    most = pd.Series(seen).groupby(X["who"].to_numpy()).transform("max")
    return pd.DataFrame({"leak": most, "fine": seen})


def codes_of_the_log(X):
    """Codes of all levels, also of those that only later events have."""
    log, rows = views(X)
    codes = np.append(log.column("kind").values, -1)
    last = np.where(rows.stop > rows.start, rows.stop - 1, -1)
    return pd.DataFrame({"leak": codes[last], "fine": rows.stop - rows.start})


LEAKS = [
    beyond_stop,
    time_to_the_next,
    at_the_cutoff,
    share_of_the_total,
    global_mean,
    who_will_come,
    end_of_record,
    next_kind,
    codes_of_the_log,
    over_all_rows_of_a_customer,
]


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


# Who is known from later on only shows at cutoffs before a customer's first event.
@pytest.mark.parametrize("leak", [leak for leak in LEAKS if leak is not who_will_come])
def test_leaks_fail_with_few_cutoffs(leak):
    with pytest.raises(AssertionError, match="transform, 'leak'"):
        check_no_leakage(FunctionTransformer(leak), table(), n_cutoffs=5)


def dummies_of_the_last(X, levels_of):
    """The kind of the last event as indicators of some levels."""
    log, rows = views(X)
    kinds = np.append(log.column("kind").to_pandas().astype(object), None)
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

    # Rows at 2 and 4 leak, those at 6 may know it.
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


# Forms of outputs ---------------------------------------------------------------------


METHODS = (
    "transform",
    "predict",
    "predict_proba",
    "decision_function",
    "score_samples",
)


class Estimator(TransformerMixin, BaseEstimator):
    """Returns the value of a function of X from the given methods."""

    def __init__(self, make, methods=("transform",)):
        self.make = make
        self.methods = methods

    def fit(self, X, y=None):
        return self

    def __getattribute__(self, name):
        get = object.__getattribute__
        if name in METHODS:
            if name not in get(self, "methods"):
                raise AttributeError(name)
            return get(self, "make")
        return get(self, name)


def leak_and_fine(X):
    return share_of_the_total(X).to_numpy("float64")


OUTPUTS = {
    "array": (leak_and_fine, "1 of 2 .*\n- transform, column 0: "),
    "vector": (lambda X: leak_and_fine(X)[:, 0], "1 of 1 .*\n- transform: "),
    "sparse": (lambda X: csr_array(leak_and_fine(X)), "\n- transform, column 0: "),
    "Series": (lambda X: share_of_the_total(X)["leak"], "1 of 1 .*\n- transform: "),
    "tensor": (
        lambda X: leak_and_fine(X)[:, None, :],
        "1 of 1 outputs .*\n- transform: ",
    ),
    "dict": (
        lambda X: {"a": leak_and_fine(X), "b": np.zeros(len(X))},
        "1 of 3 .*\n- transform, 'a', column 0: ",
    ),
    "list": (
        lambda X: [np.zeros((len(X), 2)), leak_and_fine(X)],
        "1 of 4 .*\n- transform, target 1, column 0: ",
    ),
    "objects": (
        lambda X: share_of_the_total(X).astype(object).to_numpy(),
        "1 of 2 .*\n- transform, column 0: ",
    ),
    "nullable": (
        lambda X: share_of_the_total(X).convert_dtypes(),
        "1 of 2 .*\n- transform, 'leak': ",
    ),
    "columns that come and go": (
        lambda X: pd.DataFrame({len(X["history"].array.log): np.ones(len(X))}),
        "\n- transform, [0-9]+: ",
    ),
    "histories": (
        lambda X: X[["history"]].assign(
            later=X["history"].array.log.attach(X[["who"]])["history"]
        ),
        "\n- transform, 'later', field 'amount': ",
    ),
    "encoded histories": (
        lambda X: HistoryEncoder().fit_transform(
            X["history"].array.log.attach(X[["who"]])
        ),
        r"\n- transform, 'history', row feature 'tenure': ",
    ),
}


def test_columns_of_one_name_are_all_checked():
    """A leak in the first of two columns of one name, and in a matrix of them."""
    X = table()
    leaky = Estimator(lambda X: share_of_the_total(X).set_axis(["a", "a"], axis=1))
    message = r"1 of 2 outputs .*\n- transform, 'a' \(column 0\): "
    with pytest.raises(AssertionError, match=message):
        check_no_leakage(leaky, X, n_cutoffs=4)
    matrix = FunctionTransformer(leak_and_fine, feature_names_out=lambda *_: ["a", "a"])
    with pytest.raises(AssertionError, match=message):
        check_no_leakage(matrix.fit(X), X, n_cutoffs=4)


@pytest.mark.parametrize("case", OUTPUTS)
def test_outputs(case):
    make, message = OUTPUTS[case]
    X = table()
    with pytest.raises(AssertionError, match=f"(?s)uses the future.*{message}"):
        check_no_leakage(Estimator(make), X, n_cutoffs=4)


def test_every_method_is_called():
    for method in METHODS:
        with pytest.raises(AssertionError, match=f"\n- {method}, column 0: "):
            check_no_leakage(Estimator(leak_and_fine, (method,)), table(), n_cutoffs=2)
    with pytest.raises(AssertionError, match="5 of 10 outputs"):
        check_no_leakage(Estimator(leak_and_fine, METHODS), table(), n_cutoffs=2)


def test_names_of_classes_and_columns():
    X = table()
    X = X[X["history"].array.rows.codes >= 0]
    model = make_pipeline(FunctionTransformer(share_of_the_total), LogisticRegression())
    model.fit(X, make_y(X, ["no", "yes"]))
    with pytest.raises(AssertionError) as caught:
        check_no_leakage(model, X, n_cutoffs=4)
    message = str(caught.value)
    assert message.startswith("Pipeline uses the future: ")
    for name in ("predict_proba, class 'no'", "predict_proba, class 'yes'"):
        assert f"\n- {name}: " in message
    assert "\n- decision_function: " in message
    named = make_column_transformer(
        (
            FunctionTransformer(
                share_of_the_total, feature_names_out=lambda *_: ["leak", "fine"]
            ),
            ["history"],
        ),
    ).fit(X)
    with pytest.raises(
        AssertionError, match=r"transform, 'functiontransformer__leak': "
    ):
        check_no_leakage(named, X)


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


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([[1, 2], [], [3]], [[1, 2], [], [3]], [False, False, False]),
        ([[1, 2], [], [3]], [[1], [], [4]], [True, False, True]),
        ([[], [1], [2]], [[5], [1], [3]], [True, False, True]),
        (
            [[np.nan], [np.inf], [0]],
            [[np.nan], [np.inf], [np.nan]],
            [False, False, True],
        ),
        (  # each is measured by its own distance from the median, 1
            [[0.0], [1.0], [3e3]],
            [[1e-5], [1.0001], [3e3 + 0.02]],
            [False, True, False],
        ),
        (  # nor does a large constant hide anything
            [[1e9 + 0.5], [1e9 + 9.0], [1e9 + 2.0]],
            [[1e9 + 0.5], [1e9 + 2e3], [1e9 + 3e2]],
            [False, True, False],
        ),
        ([[1e9], [1e9 + 1], [0]], [[1e9], [1e9 + 2], [0]], [False, True, False]),
        ([["a"], [None], ["b"]], [["a"], [np.nan], ["c"]], [False, False, True]),
    ],
)
def test_changed_rows(one, other, expected):
    both = []
    for rows in (one, other):
        row = np.repeat(np.arange(3), [len(values) for values in rows])
        values = [value for values in rows for value in values]
        kind = object if "a" in values else float
        both.append(Output(np.array(values, kind), row))
    assert_array_equal(changed_rows(*both, 3, 1e-5), expected)


def test_rtol():
    def noise(X):
        share = share_of_the_total(X)["leak"].fillna(0)
        return pd.DataFrame({"n": X["history"].array.lengths + 1e-3 * share})

    check_no_leakage(FunctionTransformer(noise), table(), rtol=1e-2)
    with pytest.raises(AssertionError, match="uses the future"):
        check_no_leakage(FunctionTransformer(noise), table())


def test_input_is_untouched():
    X = table()
    before, frame = X["history"].array.copy(), X["history"].array.log.to_frame()
    check_no_leakage(RFMFeatures().fit(X), X)
    for was, now in zip(before.rows[1:], X["history"].array.rows[1:], strict=True):
        assert_array_equal(was, now)
    pd.testing.assert_frame_equal(X["history"].array.log.to_frame(), frame)


# The futures themselves ---------------------------------------------------------------


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_futures_against_the_events_table(seed, exact):
    """Events that rows show stay; all others are removed or changed."""
    rng = np.random.RandomState(seed)
    events = pd.DataFrame(
        {
            "id": rng.randint(0, 5, 40),
            "time": rng.randint(0, 12, 40),
            "x": rng.choice([np.nan, np.inf, -1.0, 0.0, 3.0], 40),
            "kind": rng.choice(["a", "b", None], 40),
            "day": pd.to_datetime(rng.randint(0, 9, 40), unit="D"),
        }
    )
    log = EventLog(events, "id", "time")
    rows = pd.DataFrame({"id": [0, 1, 4, 9]})
    array = log.attach(rows, cutoff=6, allow_exact_matches=exact)["history"].array
    future = Future.of(log, 6, [array])
    table = log.to_frame()
    seen = (table["time"] < 6) | (
        exact & (table["time"] == 6) & table["id"].isin([0, 1, 4])
    )
    deleted, rewritten, added = future.deleted(), future.rewritten(), future.added(rng)
    pd.testing.assert_frame_equal(
        deleted.to_frame(), table[seen].reset_index(drop=True)
    )
    assert deleted.observed_until == 6
    after = rewritten.to_frame()
    pd.testing.assert_frame_equal(after[seen], table[seen])
    for name in ("time", "x", "kind", "day"):
        one, other = after[name][~seen], table[name][~seen]
        assert not ((one == other) | (one.isna() & other.isna())).any()
    assert (after["time"] > 6)[~seen].all()
    more = added.to_frame()
    counts = table["id"].value_counts()
    assert (more["id"].value_counts() == counts + 3).all()
    first = 7 if exact else 6
    new = more["time"].value_counts() - table["time"].value_counts().reindex(
        more["time"].unique(), fill_value=0
    )
    assert new.min() >= 0
    assert new[new.index < 6].sum() == 0
    assert new.get(first) >= 3
    assert deleted.column("kind").categories.isin(table["kind"][seen]).all()
    kinds = more["kind"].value_counts()
    assert kinds.index.difference(table["kind"]).tolist() == [" a"]
    assert kinds[" a"] == more["id"].nunique()
    for other in (deleted, rewritten, added):
        moved = future.views_of(other, array)
        pd.testing.assert_frame_equal(moved.to_frame(), array.to_frame())
        assert_array_equal(moved.cutoffs, array.cutoffs)
        assert (
            np.diff(other.timeline.times)[np.diff(other.customer_index()) == 0] >= 0
        ).all()


@pytest.mark.parametrize(
    ("levels", "new"),
    [
        (["b", "c"], " b"),
        ([3, 5], 2),
        ([0.5], -0.5),
        ([datetime.date(2024, 3, 1)], datetime.date(2024, 2, 29)),
        (pd.to_datetime(["2024-03-01"]), pd.Timestamp("2024-02-29")),
        ([False, True], None),
        ([("a", 1)], None),
    ],
)
def test_new_levels_come_first(levels, new):
    levels = pd.Index(levels, tupleize_cols=False)
    column = Column(np.array([0, -1, len(levels) - 1], "int32"), levels)
    before = column.to_pandas().tolist()
    after = _with_new_level(column, np.array([False, True, False]))
    if new is None:
        assert after is column
    else:
        assert after.categories.tolist() == [new, *levels]
        assert after.categories.dtype == levels.dtype
        assert after.to_pandas().tolist() == [before[0], new, before[2]]


@pytest.mark.parametrize(
    ("levels", "new"),
    [
        (["", "a"], "a "),
        (["\t"], "\t "),
        ([b"a", b"b"], b"b "),
        (np.array([0, 4], "uint8"), 5),
        ([datetime.date.min], datetime.date(1, 1, 2)),
        (pd.DatetimeIndex([pd.Timestamp.min]), pd.Timestamp.min + pd.Timedelta("1D")),
    ],
)
def test_new_levels_come_last_if_none_can_come_first(levels, new):
    levels = pd.Index(levels)
    column = Column(np.array([0, -1, len(levels) - 1], "int32"), levels)
    after = _with_new_level(column, np.array([False, True, False]))
    assert after.categories.tolist() == [*levels, new]
    assert after.categories.dtype == levels.dtype
    assert after.values.tolist() == [0, len(levels), len(levels) - 1]


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
    "not fitted": (RFMFeatures(), X, {}, NotFittedError, "not fitted yet"),
    "an array": (FITTED, np.zeros((2, 2)), {}, TypeError, "X must be a pandas Data"),
    "no history": (FITTED, X[["age"]], {}, ValueError, "X has no history column"),
    "no rows": (FITTED, X[:0], {}, ValueError, "X has no rows; check_no_leakage"),
    "encoded": (
        FITTED,
        HistoryEncoder().fit_transform(X),
        {},
        TypeError,
        "check_no_leakage reads raw histories, but those in 'history' are",
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
