"""Parameters of more types than one."""

import inspect

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from sklearn_seqcrm import neural_network
from sklearn_seqcrm._recurrent.objectives import LOSSES
from sklearn_seqcrm._recurrent.training._parameters import (
    _OF_THE_NETWORK,
    CONSTRAINTS,
)
from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.neural_network import (
    LSTMClassifier,
    LSTMRegressor,
    LSTMSurvival,
    LSTMUpliftRegressor,
)
from sklearn_seqcrm.preprocessing import HistoryEncoder
from sklearn_seqcrm.testing._small_data import make_table, make_y
from tests.small_networks import SMALL

X = HistoryEncoder().fit_transform(make_table())[["history"]]
Y = make_y(X)


@pytest.mark.parametrize(
    "head_sizes",
    [[4], np.array([4]), np.array([4], "int8"), range(4, 5), (np.int64(4),)],
)
def test_head_sizes_of_any_type(head_sizes):
    expected = LSTMClassifier(**SMALL).fit(X, Y).predict_proba(X)
    model = LSTMClassifier(**{**SMALL, "head_sizes": head_sizes})
    assert_array_equal(clone(model).fit(X, Y).predict_proba(X), expected)
    assert "head_sizes" in repr(model)
    search = GridSearchCV(model, {"head_sizes": [np.array([]), head_sizes]}, cv=2)
    search.set_params(estimator__head_sizes=(2,), error_score="raise").fit(X, Y)


@pytest.mark.parametrize(
    "head_sizes", ["64", 4, [4.0], [0], np.array([[4]]), np.array([4.5]), [True, None]]
)
def test_invalid_head_sizes_are_refused(head_sizes):
    with pytest.raises(ValueError, match="head_sizes"):
        LSTMClassifier(**{**SMALL, "head_sizes": head_sizes}).fit(X, Y)


@pytest.mark.parametrize("number", [np.int64, np.int8, np.uint8])
@pytest.mark.parametrize("estimator", [LSTMClassifier, LSTMEventModel])
def test_numbers_of_numpy(estimator, number):
    """A search over np.arange passes them; torch takes none, and int8 overflows."""
    rows = make_table() if estimator is LSTMEventModel else X
    params = {"hidden_size": 4, "bptt_steps": 2, "num_layers": 2, "max_epochs": 1}
    as_numpy = {name: number(one) for name, one in params.items()}
    found, expected = (
        estimator(**one, random_state=0).fit(rows, Y).nets_[0].module_.state_dict()
        for one in (as_numpy, params)
    )
    for name, weights in expected.items():
        assert torch.equal(found[name], weights)


def test_category_dropout_changes_training_only():
    assert X["history"].array.log.layout.n_levels
    expected = LSTMClassifier(**SMALL).fit(X, Y).predict_proba(X)
    model = LSTMClassifier(**SMALL, category_dropout=0.5).fit(X, Y)
    proba = model.predict_proba(X)
    assert np.abs(proba - expected).max() > 1e-5
    assert_array_equal(model.predict_proba(X), proba)


CHANGES = {
    "cell": "gru",
    "hidden_size": 16,
    "num_layers": 2,
    "bidirectional": True,
    "pooling": "last",
    "dropout": 0.7,
    "category_dropout": 0.5,
    "head_sizes": (3,),
    "static_pieces": 4,
    "weight_decay": 0.5,
    "n_networks": 2,
    "n_components": 2,
    "copies": False,
    "moments": False,
    "min_frequency": 3,
    "max_categories": 2,
    "yearly_seasonality": True,
}
# Parameters of the loss and the device, which other tests change.
OF_THE_LOSS = {"loss", "quantile", "exposure", "bins", "control", "device"}
# Parameters of a training, of its validation rows, or of its beginning.
MAY_CHANGE = {
    *("bptt_steps", "precision", "learning_rate", "averaged_steps", "batch_size"),
    *("max_epochs", "early_stopping", "n_iter_no_change", "callbacks", "random_state"),
    *("validation", "horizon", "validation_fraction", "refit", "select_fields"),
    "class_weight",
    *("pretrained", "warm_start", "verbose", "confidence_level"),
}
NETWORKS = [
    *(getattr(neural_network, n) for n in neural_network.__all__ if n[:4] == "LSTM"),
    LSTMEventModel,
]
AS_BEFORE = {"pooling": ["last", "mean", "decay"], "head_sizes": [np.int64(4)]}


@pytest.mark.parametrize("call", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    "kind", [LSTMClassifier, LSTMRegressor, LSTMSurvival, LSTMEventModel]
)
def test_continued_training_refuses_other_architectures(kind, call):
    """Regression test: a changed size had no effect but was shown by get_params."""
    params = {"hidden_size": 4, "max_epochs": 1, "random_state": 0, "warm_start": True}
    model, rows, y = kind(**params), X, Y + 1.0
    if kind is LSTMEventModel:
        rows, y = make_table(), None
    else:
        model.set_params(head_sizes=(4,))
    model.fit(rows, y)
    known = model.get_params()
    for name in CHANGES.keys() & known.keys():
        model.set_params(**{name: CHANGES[name]})
        with pytest.raises(ValueError, match=f"continues with {name}=.*; got .*Set it"):
            getattr(model, call)(rows, y)
        model.set_params(**{name: known[name]})
    # A refused call changes nothing, and other types of a value are the same one.
    model.set_params(**{k: AS_BEFORE[k] for k in AS_BEFORE.keys() & known.keys()})
    getattr(model, call)(rows, y)
    assert len(model.net_.history) == 2
    # Without warm_start all parameters may change.
    model.set_params(warm_start=False, hidden_size=16).fit(rows, y)
    assert len(model.net_.history) == 1
    assert getattr(model.set_params(warm_start=True), call)(rows, y) is model


@pytest.mark.parametrize("kind", NETWORKS)
def test_each_parameter_is_one_of_the_network_or_may_change(kind):
    """A new parameter belongs into `_OF_THE_NETWORK` and CHANGES, or into a set above.

    In neither, a change would have no effect on a network whose training continues.
    """
    assert kind().get_params().keys() <= {*CHANGES, *OF_THE_LOSS, *MAY_CHANGE}
    assert {*CHANGES} == {*_OF_THE_NETWORK} - OF_THE_LOSS


@pytest.mark.parametrize("kind", NETWORKS[:-1])
def test_networks_have_the_same_parameters_and_defaults(kind):
    expected = {name: LSTMClassifier().get_params()[name] for name in CONSTRAINTS}
    assert expected.items() <= kind().get_params().items()


@pytest.mark.parametrize("kind", [LSTMRegressor, LSTMUpliftRegressor])
def test_losses_with_a_falling_learning_rate_are_documented(kind):
    text = inspect.getdoc(kind).split("\nrefit : ")[1].split("\nn_iter_no_change : ")[0]
    falling = [name for name, loss in LOSSES.items() if loss.lowers_rate]
    assert [name for name in LOSSES if f'"{name}"' in text] == falling


def test_a_device_of_torch():
    expected = LSTMClassifier(**SMALL).fit(X, Y).predict_proba(X)
    model = LSTMClassifier(**SMALL, device=torch.device("cpu"), warm_start=True)
    model = clone(model).fit(X, Y)
    assert_array_equal(model.predict_proba(X), expected)
    assert model.set_params(device="cpu").fit(X, Y).n_iter_ == 4
    model.set_params(device=torch.device("meta"))
    with pytest.raises(ValueError, match="its device, 'cpu'; got device='meta'"):
        model.fit(X, Y)


def test_methods_are_those_of_the_loss_of_the_fit():
    """A parameter that is set afterwards applies to the next fit."""
    y = np.arange(len(X), dtype="float64")
    model = LSTMRegressor(**SMALL, loss="quantile", quantile=[0.1, 0.9]).fit(X, y)
    expected = model.predict_quantiles(X)
    model.set_params(loss="poisson")
    assert_array_equal(model.predict_quantiles(X), expected)
    in_other_order = model.predict_quantiles(X, model.quantile[::-1])
    assert_array_equal(in_other_order, expected[:, ::-1])
    with pytest.raises(ValueError, match="between 0 and 1, neither of them"):
        model.predict_quantiles(X, 1.0)
    model.fit(X, y).set_params(loss="quantile")
    assert not hasattr(model, "predict_quantiles")
    assert hasattr(clone(model), "predict_quantiles")
