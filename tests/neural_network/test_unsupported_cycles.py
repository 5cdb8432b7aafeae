"""Networks do not see cycles of the calendar that the cutoffs do not cover."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMRegressor, LSTMSurvival
from sklearn_seqcrm.neural_network._unsupported_cycles import _least_share_of_half
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.targets import churned, future_count, time_to_next

START = pd.Timestamp("2024-01-01")  # a Monday
SMALL = {"hidden_size": 4, "max_epochs": 3, "n_networks": 2, "random_state": 0}
SPREAD = [0, 2, 4, 7, 9, 11, 14, 16, 18]  # days of cutoffs, on three weekdays
MONDAYS = [0, 7, 14]


def visits(n_weeks=14, n_customers=60):
    """Return visits on the favourite weekday of each customer, in most weeks."""
    rng = np.random.default_rng(0)
    weekday = np.arange(n_customers) % 7
    came = rng.random((n_customers, n_weeks)) < 0.8
    who, week = came.nonzero()
    hours = 24 * (7 * week + weekday[who]) + rng.integers(4, 20, len(who))
    times = START + pd.to_timedelta(hours, unit="h")
    return pd.DataFrame({"who": who, "time": times})


def rows(days, shift="0D", events=None, n_weeks=8):
    """Return rows some days after `n_weeks` weeks; all times are shifted."""
    events = visits() if events is None else events
    shift = pd.Timedelta(shift)
    log = EventLog(events.assign(time=events["time"] + shift), "who", "time")
    first = START + pd.Timedelta(weeks=n_weeks) + shift
    return log.snapshots([first + pd.Timedelta(days=day) for day in days])


def left_out(model):
    return model[-1].validation_["left_out_cycles"]


def probabilities(model, X):
    if hasattr(model, "predict_proba"):
        return model.predict_proba(X)
    if hasattr(model, "predict_survival_function"):
        return model.predict_survival_function(X, return_array=True)
    return model.predict(X)


NETWORKS = {
    "classes": (LSTMClassifier(**SMALL), lambda X: churned(X, "3D")),
    "fields": (
        LSTMClassifier(**SMALL, select_fields=False, early_stopping=False),
        lambda X: churned(X, "3D"),
    ),
    "counts": (
        LSTMRegressor(**SMALL, loss="poisson"),
        lambda X: future_count(X, "10D"),
    ),
    "parameter": (
        LSTMClassifier(**SMALL, horizon="3D"),
        lambda X: churned(X, "3D").to_numpy(),
    ),
    "survival": (LSTMSurvival(**SMALL), lambda X: time_to_next(X, censored="keep")),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_predictions_do_not_depend_on_the_weekday(name):
    """They would by 0.02 to 0.3, as those of networks with other cutoffs do."""
    network, target = NETWORKS[name]
    for days in (MONDAYS, SPREAD):
        X = rows(days)
        model = make_history_pipeline(network).fit(X, target(X))
        here, later = (probabilities(model, rows([0], s)) for s in ("0D", "3D"))
        if days is MONDAYS:
            assert "weekday" in left_out(model)["history"]
            assert_allclose(here, later, rtol=1e-5, atol=1e-6)
        else:
            assert "weekday" not in left_out(model).get("history", [])
            assert np.abs(here - later).max() > 1e-3


def test_visitors_of_a_weekday_are_found_at_cutoffs_of_others():
    """Who comes within three days, by chances that the weekday alone decides."""
    X = rows(MONDAYS)
    network = LSTMClassifier(
        hidden_size=8, max_epochs=40, early_stopping=False, n_networks=1, random_state=0
    )
    model = make_history_pipeline(network).fit(X, churned(X, "3D"))
    later = rows([24])  # a Thursday
    comes = churned(later, "3D") == 0
    chance = 1 - model.predict_proba(later)[:, 1]
    assert chance[comes].mean() > chance[~comes].mean() + 0.1


@pytest.mark.parametrize(
    ("horizon", "cycles"),
    [("6h", ["hour", "weekday"]), ("3D", ["weekday"]), ("7D", []), ("14D", [])],
)
def test_cycles_of_which_the_horizon_is_a_whole_number_stay(horizon, cycles):
    """A week has the same weekdays after any cutoff, and a day the same hours."""
    X = rows(MONDAYS)
    network = LSTMClassifier(**{**SMALL, "n_networks": 1})
    model = make_history_pipeline(network).fit(X, churned(X, horizon))
    assert left_out(model).get("history", []) == cycles


def test_targets_of_several_horizons():
    """Only the longest is known, and three days are no week."""
    X = rows(MONDAYS)
    model = make_history_pipeline(LSTMRegressor(**SMALL))
    model.fit(X, future_count(X, ["3D", "14D"]))
    assert left_out(model) == {"history": ["hour", "weekday"]}


def test_weights_of_a_pretrained_network_depend_on_the_weekday():
    X = rows(MONDAYS)
    events = LSTMEventModel(hidden_size=4, max_epochs=1, random_state=0).fit(X)
    model = make_history_pipeline(LSTMClassifier(**SMALL, pretrained=events))
    assert left_out(model.fit(X, churned(X, "3D"))) == {}


def test_labels_without_a_horizon():
    """The weekday of events may tell a label that does not depend on the cutoff."""
    X = rows([0])
    y = (X["who"] % 7 >= 5).to_numpy()
    network = LSTMClassifier(
        hidden_size=8,
        max_epochs=60,
        learning_rate=0.02,
        early_stopping=False,
        n_networks=1,
        random_state=0,
    )
    model = make_history_pipeline(network).fit(X, y)
    assert left_out(model) == {}
    assert model.score(X, y) > 0.95


def test_a_season_that_the_cutoffs_do_not_cover():
    events = visits(n_weeks=170)
    network = make_history_pipeline(LSTMClassifier(**SMALL))
    months = [28 * k for k in range(6)]
    for days, cycles in [(months, ["year"]), ([2 * d for d in months], [])]:
        X = rows([*days, 1, 3, 5], events=events, n_weeks=110)
        found = left_out(network.fit(X, churned(X, "10D"))).get("history", [])
        assert found == cycles


def test_training_in_parts():
    X = rows(MONDAYS)
    encoder = HistoryEncoder()
    encoded, y = encoder.fit_transform(X), churned(X, "3D")
    network = LSTMClassifier(**SMALL).partial_fit(encoded, y, classes=[0, 1])
    network.partial_fit(encoded, y)
    here, later = (
        network.predict_proba(encoder.transform(rows([0], shift)))
        for shift in ("0D", "3D")
    )
    assert_allclose(here, later, rtol=1e-5, atol=1e-6)


def test_weights_stay_where_all_cycles_are_covered():
    """Bit-equal to a network that is given no horizon."""
    X = rows(SPREAD)
    y = churned(X, "3D")
    network = LSTMClassifier(**SMALL, early_stopping=False)
    one = make_history_pipeline(network).fit(X, y).predict_proba(X)
    other = make_history_pipeline(network).fit(X, y.to_numpy()).predict_proba(X)
    assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("phases", "share"),
    [
        ([0], 0),
        ([0, 3], 0),
        ([0, 2, 4], 1 / 3),
        ([0, 0, 3, 4], 1 / 4),
        (list(range(7)), 3 / 7),
    ],
)
def test_share_of_the_emptiest_half(phases, share):
    day = 86_400 * 10**9
    for ticks in (np.array(phases) * day, np.array(phases) * float(day)):
        late = ticks + 7 * day * np.arange(len(ticks))
        assert _least_share_of_half(late, 7 * day) == pytest.approx(share)
