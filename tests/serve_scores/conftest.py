"""The module of the service, its model, and a function that starts it."""

import importlib
import sys

import joblib
import numpy as np
import pytest

from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline
from tests.serve_scores.service import (
    CUTOFF,
    EXAMPLES,
    N_EVENTS,
    PEOPLE,
    Web,
    event,
    log_of_events,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return the file of a model, and the model."""
    X = log_of_events(map(event, range(N_EVENTS))).attach(PEOPLE, cutoff=CUTOFF)
    X["age"] = [30.0, 40, 50, 60, 70]
    estimator = LSTMClassifier(
        hidden_size=4, max_epochs=1, random_state=0, n_networks=1
    )
    fitted = make_history_pipeline(estimator).fit(X, np.arange(5) % 2)
    path = tmp_path_factory.mktemp("service") / "model.joblib"
    joblib.dump(fitted, path)
    return path, fitted


@pytest.fixture(scope="module")
def example():
    """Return the module of the service; the journal is imported next to it."""
    for name in ("fastapi", "httpx", "uvicorn"):
        pytest.importorskip(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        yield importlib.import_module("serve_scores")
        for name in ("serve_scores", "event_journal"):
            sys.modules.pop(name)


@pytest.fixture
def start(example, model, tmp_path):
    """Return a function that starts a service in a folder and stops the last one."""
    running = []

    def start(folder=tmp_path, **options):
        stop()
        running.append(Web(example, model[0], folder, **options))
        return running[0]

    def stop():
        while running:
            running.pop().service.journal.close()

    yield start
    stop()
