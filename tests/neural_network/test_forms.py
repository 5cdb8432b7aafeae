"""The three forms of X, each used with scikit-learn and skorch."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from skorch import NeuralNetClassifier
from skorch.helper import SliceDict

from sklearn_seqcrm._recurrent.network._poolings import POOLINGS
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import HistoryPadder, LSTMClassifier, LSTMRegressor
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.testing._small_data import make_events, make_table, make_y

# All rows in one batch, so that no form has other batches than another.
SMALL = {
    "hidden_size": 4,
    "head_sizes": (4,),
    "max_epochs": 3,
    "learning_rate": 0.02,
    "dropout": 0.0,
    "random_state": 0,
    "n_networks": 1,
}
# The float32 of log1p(age) costs a digit of the ages, and sums have another order.
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}


def make_forms(raw=None, **options):
    """The same rows as a DataFrame and as padded tensors."""
    raw = make_table() if raw is None else raw
    frame = make_history_pipeline(HistoryPadder()).fit(raw)[:-1].transform(raw)
    return frame, HistoryPadder(**options).fit_transform(frame)


FRAME, PADDED = make_forms()
Y = make_y(FRAME)


def two_histories():
    events = make_events(seed=5)[["who", "when", "kind"]]
    return EventLog(events, "who", "when").attach(make_table(), cutoff="at", name="b")


@pytest.mark.parametrize("padding", ["post", "pre"])
@pytest.mark.parametrize(
    "raw", [make_table, two_histories, lambda: make_table(lookback="200D")]
)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_rows_have_the_same_outputs_in_both_forms(raw, padding, bidirectional):
    frame, padded = make_forms(raw(), padding=padding)
    model = LSTMClassifier(**SMALL, pooling=POOLINGS, bidirectional=bidirectional)
    of_frame = clone(model).fit(frame, Y)
    of_padded = clone(model).fit(padded, Y)
    expected = of_frame.predict_proba(frame)
    assert np.ptp(expected[:, 0]) > 0.01
    assert_allclose(of_frame.predict_proba(padded), expected, **TOLERANCE)
    assert_allclose(of_padded.predict_proba(padded), expected, **TOLERANCE)
    assert_allclose(of_padded.predict_proba(frame), expected, **TOLERANCE)


def test_a_slice_of_tensors_has_the_outputs_of_its_rows():
    model = LSTMRegressor(**SMALL).fit(PADDED, Y)
    rows = np.array([7, 3, 30])
    assert_allclose(
        model.predict(PADDED[rows]), model.predict(PADDED)[rows], **TOLERANCE
    )
    assert_allclose(
        model.predict(FRAME.iloc[rows]), model.predict(PADDED)[rows], **TOLERANCE
    )


def test_fitted_attributes_of_columns_depend_on_the_form_of_x():
    model = LSTMClassifier(**SMALL).fit(FRAME, Y)
    assert list(model.feature_names_in_) == list(FRAME)
    model.fit(PADDED, Y)
    assert not hasattr(model, "n_features_in_")
    assert not hasattr(model, "feature_names_in_")
    plain = PADDED["static"]
    assert model.fit(plain, Y).n_features_in_ == plain.shape[1]


@pytest.mark.parametrize("make", [dict, lambda t: SliceDict(**t)])
def test_user_made_tensors_are_accepted(make):
    """Without a layout, only the tensors determine codes, ages and customers."""
    tensors = make({name: PADDED[name] for name in PADDED})
    model = LSTMClassifier(**SMALL).fit(tensors, Y)
    assert model.predict_proba(tensors).shape == (len(Y), 2)
    few = make({name: PADDED[name][:5] for name in PADDED})
    assert_allclose(
        model.predict_proba(few), model.predict_proba(tensors)[:5], **TOLERANCE
    )


def test_torch_tensors_are_read():
    arrays = {name: PADDED[name] for name in PADDED}
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    of_arrays = LSTMClassifier(**SMALL).fit(arrays, Y).predict_proba(arrays)
    of_tensors = LSTMClassifier(**SMALL).fit(tensors, Y).predict_proba(tensors)
    assert_array_equal(of_tensors, of_arrays)


def test_values_in_padding_have_no_effect():
    tensors = {name: PADDED[name].copy() for name in PADDED}
    model = LSTMClassifier(**SMALL).fit(tensors, Y)
    expected = model.predict_proba(tensors)
    step = np.arange(tensors["values"].shape[1])
    padding = step >= tensors["lengths"][:, None]
    assert padding.any()
    tensors["values"][padding] = np.nan
    tensors["codes"][padding] = 99
    assert_array_equal(model.predict_proba(tensors), expected)


def test_new_codes_in_tensors_count_as_unseen():
    tensors = {name: PADDED[name].copy() for name in PADDED}
    model = LSTMClassifier(**SMALL).fit(tensors, Y)
    row = tensors["lengths"].argmax()
    tensors["codes"][row, 0, 0] = 0
    unseen = model.predict_proba(tensors)
    tensors["codes"][row, 0, 0] = 99
    assert_array_equal(model.predict_proba(tensors), unseen)


def test_values_and_lengths_are_enough():
    tensors = {"values": PADDED["values"], "lengths": PADDED["lengths"]}
    model = LSTMRegressor(**SMALL).fit(tensors, Y)
    assert model.predict(tensors).shape == (len(Y),)


def test_plain_numbers_are_statics():
    X = PADDED["static"]
    model = LSTMClassifier(**SMALL).fit(X, Y)
    assert_array_equal(
        model.predict_proba(pd.DataFrame(X).to_numpy()), model.predict_proba(X)
    )
    names = [f"s{i}" for i in range(X.shape[1])]
    for columns in (
        names,
        range(X.shape[1]),
        pd.MultiIndex.from_product([["s"], names]),
    ):
        named = pd.DataFrame(X, columns=columns)
        assert_array_equal(
            LSTMClassifier(**SMALL).fit(named, Y).predict_proba(named),
            model.predict_proba(X),
        )


@pytest.mark.parametrize("head_sizes", [(), (64,), (64, 32)])
def test_rows_without_histories_have_equal_outputs_in_any_batch(head_sizes):
    """Outputs agree to the last digits of float64, although weights are float32."""
    rows = np.random.default_rng(0).normal(size=(1500, 40))
    y = rows[:, 0] + rows[:, 1:].mean(axis=1)
    model = LSTMRegressor(
        max_epochs=2, head_sizes=head_sizes, random_state=0, n_networks=1
    )
    model.fit(rows, y)
    whole = model.predict(rows)
    parts = [model.predict(rows[i : i + n]) for i, n in ((0, 1), (1, 7), (8, 1492))]
    # Sums of 64 numbers of size 1.
    assert_allclose(np.concatenate(parts), whole, rtol=0, atol=64 * 2.2e-16)


class Mean(torch.nn.Module):
    """The mean of the outputs of an LSTM over the real steps, and the statics."""

    def __init__(self, n_channels=11, n_static=29, hidden_size=4):
        super().__init__()
        self.lstm = torch.nn.LSTM(n_channels, hidden_size, batch_first=True)
        self.head = torch.nn.Linear(hidden_size + n_static, 2)

    def forward(self, values, codes, lengths, static):
        steps = self.lstm(values)[0]
        real = torch.arange(steps.shape[1]) < lengths[:, None]
        mean = (steps * real[:, :, None]).sum(1) / lengths[:, None].clamp(min=1)
        return self.head(torch.cat([mean, static], dim=1))


def plain_net(**options):
    return NeuralNetClassifier(
        Mean,
        module__n_channels=PADDED["values"].shape[2],
        module__n_static=PADDED["static"].shape[1],
        criterion=torch.nn.CrossEntropyLoss,
        max_epochs=2,
        lr=0.1,
        train_split=None,
        verbose=0,
        **options,
    )


def net_of_ours():
    return LSTMClassifier(**{**SMALL, "max_epochs": 2})


@pytest.mark.parametrize(
    ("make_net", "grid"),
    [
        (net_of_ours, {"hidden_size": [3, 5]}),
        (plain_net, {"module__hidden_size": [3, 5]}),
    ],
    ids=["ours", "skorch"],
)
def test_padded_form_through_pipeline_and_search(make_net, grid):
    torch.manual_seed(0)
    raw = make_table()
    model = make_history_pipeline(make_pipeline(HistoryPadder(), make_net()))
    last = type(make_net()).__name__.lower()
    grid = {f"estimator__{last}__{name}": values for name, values in grid.items()}
    grid["estimator__historypadder__max_length"] = [4, None]
    search = GridSearchCV(model, grid, cv=2, error_score="raise", scoring="roc_auc")
    search.fit(raw, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.predict_proba(raw).shape == (len(raw), 2)


@pytest.mark.parametrize("make_net", [net_of_ours, plain_net], ids=["ours", "skorch"])
def test_padded_form_is_searched_over(make_net):
    torch.manual_seed(0)
    name = "hidden_size" if make_net is net_of_ours else "module__hidden_size"
    search = GridSearchCV(make_net(), {name: [3, 5]}, cv=2, error_score="raise")
    search.fit(PADDED, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    scores = cross_val_score(make_net(), PADDED, Y, cv=2, error_score="raise")
    assert np.isfinite(scores).all()


def test_padded_form_in_worker_processes():
    model = net_of_ours()
    alone = cross_val_predict(model, PADDED, Y, cv=2, method="predict_proba")
    workers = cross_val_predict(
        model, PADDED, Y, cv=2, method="predict_proba", n_jobs=2
    )
    assert_allclose(workers, alone, **TOLERANCE)


def test_tensors_of_another_encoder_are_refused():
    raw = make_table()
    model = LSTMClassifier(**SMALL).fit(FRAME, Y)
    other = FRAME.assign(
        history=HistoryEncoder(max_categories=1).fit_transform(raw)["history"]
    )
    with pytest.raises(ValueError, match="Use the encoder that was fitted with it"):
        model.predict(other)


def test_columns_are_found_by_name():
    X = HistoryEncoder().fit_transform(make_table()[["history", "age"]].fillna(40))
    X["spend"] = np.arange(len(X), dtype="float32")
    model = LSTMClassifier(**SMALL).fit(X, make_y(X))
    expected = model.predict_proba(X)
    moved = X[["spend", "age", "history"]].assign(more="text")
    assert_array_equal(model.predict_proba(moved), expected)
    tensors = HistoryPadder().fit(X)
    assert_array_equal(
        tensors.transform(moved)["static"], tensors.transform(X)["static"]
    )


def test_numeric_objects_and_durations_are_statics():
    X = HistoryEncoder().fit_transform(make_table()[["history"]])
    days = np.arange(len(X), dtype=float)
    plain = X.assign(paid=days, since=days)
    model = LSTMClassifier(**SMALL).fit(plain, make_y(X))
    other = X.assign(
        paid=[Decimal(int(day)) for day in days],
        since=pd.to_timedelta(days, unit="D"),
    )
    assert_array_equal(model.predict_proba(other), model.predict_proba(plain))
    again = LSTMClassifier(**SMALL).fit(other, make_y(X))
    assert_array_equal(again.predict_proba(plain), model.predict_proba(plain))
    # Also without histories.
    alone = [table.drop(columns="history") for table in (plain, other)]
    model = LSTMClassifier(**SMALL).fit(alone[0], make_y(X))
    assert_array_equal(model.predict_proba(alone[1]), model.predict_proba(alone[0]))
