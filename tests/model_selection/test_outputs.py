import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy.sparse import csr_array
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_seqcrm.model_selection import check_no_leakage
from sklearn_seqcrm.model_selection._outputs import Output, changed_rows
from sklearn_seqcrm.preprocessing import HistoryEncoder
from sklearn_seqcrm.testing._small_data import DAY, START, make_y
from tests.model_selection.leaks import METHODS, Estimator, share_of_the_total, table


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
        (  # infinity is far from any number, and from its opposite
            [[np.inf], [0.5], [np.inf]],
            [[7.0], [np.inf], [-np.inf]],
            [True, True, True],
        ),
        ([["a"], [None], ["b"]], [["a"], [np.nan], ["c"]], [False, False, True]),
        ([[1.0], [np.nan], [0.0]], [["a"], [None], [0.0]], [True, False, False]),
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


@pytest.mark.parametrize("error", [1e-7, 1e-3])
def test_the_tolerance_depends_on_the_spread_in_all_rows(error):
    """The rows at the first cutoff are checked alone, and have the smallest outputs."""

    def years(X):
        since = X["history"].array.cutoffs - START
        # In batches of other sizes, numbers are added up in another order.
        return pd.DataFrame({"years": since / (365 * DAY) + error * (1 + len(X) % 7)})

    X, transformer = table(), FunctionTransformer(years)
    if error < 1e-6:
        check_no_leakage(transformer, X, n_cutoffs=None)
    else:
        with pytest.raises(AssertionError, match="later rows of X are left out"):
            check_no_leakage(transformer, X, n_cutoffs=None)
