"""Every network of the library can be streamed and exported, with all its methods."""

import functools
import inspect

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sklearn_seqcrm import neural_network
from sklearn_seqcrm.distributed import fit_rank
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.serving import StreamingScorer, export_onnx
from tests.serving.streams import AFTER, EVENTS, EXACT, LOG, PEOPLE, ROWS, SMALL

NUMBER = np.arange(len(ROWS))
TIMES = np.rec.fromarrays([NUMBER % 2 == 0, 1.0 + NUMBER % 9], names="event,time")
ARMS = {"estimator__treatment": NUMBER // 2 % 2}
# Parameters, targets and further arguments of `fit`; a new network needs an entry.
FITS = {
    "LSTMClassifier": ({}, NUMBER % 2, {}),
    "LSTMRegressor": ({"loss": "zero_inflated_lognormal"}, NUMBER % 3, {}),
    "LSTMSurvival": ({"bins": [2.0, 5.0, 9.0]}, TIMES, {}),
    "LSTMUpliftClassifier": ({}, NUMBER % 2, ARMS),
    "LSTMUpliftRegressor": ({}, NUMBER % 3, ARMS),
}
NETWORKS = [name for name in neural_network.__all__ if name.startswith("LSTM")]
METHODS = [
    (network, method)
    for network in NETWORKS
    for method in dir(getattr(neural_network, network))
    if method.startswith("predict")
]
OPTIONS = {"predict_proba_before": {"horizon": 4.0}}


@functools.cache
def fitted(name):
    """Return a fitted pipeline, and a scorer that has seen all events."""
    params, y, arguments = FITS[name]
    network = getattr(neural_network, name)(**SMALL, n_networks=2, **params)
    model = make_history_pipeline(network)
    model.fit(LOG.attach(ROWS, cutoff="at"), y, **arguments)
    scorer = StreamingScorer(model, "who", "when")
    scorer.update(EVENTS)
    return model, scorer


def values_of(predictions):
    """Return an array; of functions of time, their values at a time."""
    if predictions.dtype == object:
        return np.array([one(3.0) for one in predictions])
    return predictions


@pytest.mark.parametrize(("network", "method"), METHODS)
def test_streamed_predictions_are_those_of_the_network(network, method):
    model, scorer = fitted(network)
    options = OPTIONS.get(method, {})
    X = model[:-1].transform(LOG.attach(PEOPLE, cutoff=AFTER))
    expected = values_of(getattr(model[-1], method)(X, **options))
    found = values_of(getattr(scorer, method)(PEOPLE, AFTER, **options))
    assert found.shape == expected.shape
    assert_allclose(found, expected, **EXACT)


@pytest.mark.parametrize(("network", "method"), METHODS)
def test_streamed_predictions_have_the_options_of_the_network(network, method):
    of_network = inspect.signature(getattr(getattr(neural_network, network), method))
    of_scorer = inspect.signature(getattr(StreamingScorer, method))
    _, rows, cutoff, *options = of_scorer.parameters
    assert (rows, cutoff) == ("rows", "cutoff")
    assert options == list(of_network.parameters)[2:]


@pytest.mark.parametrize("user", [StreamingScorer, export_onnx, fit_rank])
def test_the_networks_that_can_be_used_are_documented(user):
    assert [name for name in NETWORKS if f"`{name}`" not in user.__doc__] == []


@pytest.mark.parametrize("network", NETWORKS)
def test_networks_are_exported(network, tmp_path):
    exports = pytest.importorskip("tests.serving.exports")
    model, _ = fitted(network)
    X = LOG.attach(PEOPLE, cutoff=AFTER)
    files = export_onnx(model, tmp_path / "model.onnx")
    answers = exports.run(files[0], exports.tensors_of(model, X))
    objective = model[-1]._objective
    encoded = model[:-1].transform(X)
    assert set(answers) == set(objective.predictions)
    for name, predict in objective.predictions.items():
        expected = model[-1]._combined(predict, encoded)
        assert_allclose(answers[name], expected, **exports.CLOSE)
