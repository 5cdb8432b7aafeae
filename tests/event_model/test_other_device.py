"""Event models on a device that is not the CPU have the results of those on the CPU.

No GPU is needed, see `tests.other_device`.
"""

import functools

import numpy as np
import pandas as pd
import pytest
import torch

from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.testing._small_data import make_events, make_table
from tests.other_device import OTHER, OtherTensor, other_device

SMALL = {"hidden_size": 4, "max_epochs": 2, "random_state": 0}
TABLE = make_table(20)
ROWS = TABLE.head(12)


@functools.cache
def make_baskets():
    """Return rows of a log whose events share times."""
    events = make_events(20)
    events["when"] = events["when"].dt.floor("90D")
    log = EventLog(events, "who", "when")
    return log.snapshots([events["when"].max()])


def once_each(X):
    """Return the first row of each customer."""
    return X[~X["who"].duplicated()]


QUESTIONS = {
    "states": lambda model, X: model.transform(X),
    "likelihood": lambda model, X: model.score_samples(X),
    "events": lambda model, X: model.score_events(X),
    "survival": lambda model, X: np.stack(
        [one(np.arange(1.0, 50.0, 7.0)) for one in model.predict_survival_function(X)]
    ),
    "next": lambda model, X: model.predict_next(X, "kind"),
    "unseen": lambda model, X: model.predict_next(X, "kind", exclude_seen=True),
    "within": lambda model, X: model.predict_next(X, "kind", within="60D", n_draws=8),
    "basket": lambda model, X: model.predict_next(X, "kind", basket=True),
    "open basket": lambda model, X: model.predict_next(X, "kind", open_basket=True),
    "sample": lambda model, X: model.sample(X, "60D", n_paths=5, random_state=0),
    "demand": lambda model, X: model.demand(
        once_each(X), "kind", "60D", n_paths=5, random_state=0
    ),
}


def assert_same(found, expected):
    """Compare tables or arrays; numbers differ by the order of sums."""
    if not hasattr(expected, "columns"):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
        return
    numbers = list(expected.select_dtypes("number"))
    np.testing.assert_allclose(
        found[numbers].to_numpy("float64"),
        expected[numbers].to_numpy("float64"),
        rtol=1e-4,
        atol=1e-4,
    )
    # Simulated times depend on these numbers, too; 60 days times 1e-4 is ten minutes.
    times = list(expected.select_dtypes("datetime"))
    for name in times:
        assert found[name].isna().equals(expected[name].isna())
        apart = (found[name] - expected[name]).abs().max()
        assert not apart > pd.Timedelta("10min")
    others = expected.drop(columns=[*numbers, *times])
    assert found.drop(columns=[*numbers, *times]).equals(others)


@pytest.mark.parametrize("form", ["events", "baskets"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_all_questions(form, cell, monkeypatch):
    X = ROWS if form == "events" else make_baskets()
    model = LSTMEventModel(**SMALL, cell=cell, moments=form == "baskets").fit(X)
    expected = {name: ask(model, X) for name, ask in QUESTIONS.items()}
    with other_device(monkeypatch):
        model.set_params(device=OTHER).fit(X)
        weights = model.net_.module_.parameters()
        assert all(isinstance(one, OtherTensor) for one in weights)
        for name, ask in QUESTIONS.items():
            assert_same(ask(model, X), expected[name])


@pytest.mark.parametrize(
    "params", [{"early_stopping": True}, {"copies": False}], ids=str
)
def test_training(params, monkeypatch):
    """Validation, the shrinkage that it chooses, and training that goes on."""
    found = []
    for on in ("cpu", OTHER):
        with other_device(monkeypatch):
            model = LSTMEventModel(**SMALL, **params, device=torch.device(on))
            found.append(model.fit(TABLE).partial_fit(TABLE).score_samples(TABLE))
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-4)
