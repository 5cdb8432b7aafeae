"""Events at fixed times, such as mailings, among events at any time."""

import numpy as np
import pandas as pd

from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.events import EventLog

DAY = pd.Timedelta("1D")
START, CUT = pd.Timestamp("2024-01-01"), 130.0


def scheduled(n, rng):
    """Return visits at any time, with amounts, and a mailing every second Saturday."""
    parts = []
    for who in range(n):
        visits = rng.uniform(0, CUT + 28, rng.poisson(0.1 * (CUT + 28)))
        mailings = np.arange(5.375, CUT + 28, 14)
        kinds = np.repeat(["visit", "mail"], [len(visits), len(mailings)])
        amounts = np.where(kinds == "visit", rng.lognormal(3, 0.5, len(kinds)), np.nan)
        day = np.concatenate([visits, mailings])
        parts.append(
            pd.DataFrame({"who": who, "day": day, "kind": kinds, "amount": amounts})
        )
    events = pd.concat(parts).sort_values(["who", "day"], ignore_index=True)
    return events.assign(time=START + pd.to_timedelta(events["day"], unit="D"))


def test_visits_between_mailings_are_simulated_as_often_as_they_come():
    events, cutoff = scheduled(250, np.random.default_rng(0)), START + CUT * DAY
    seen = events[events["day"] < CUT].drop(columns="day")
    log = EventLog(seen, "who", "time", categorical=["kind"], observed_until=cutoff)
    X = log.snapshots(cutoff)
    model = LSTMEventModel(hidden_size=32, random_state=0).fit(X)
    paths = model.sample(X, 28 * DAY, n_paths=20, random_state=0)
    found = paths["kind"].value_counts() / 20
    assert abs(found["mail"] / 500 - 1) < 0.15
    assert abs(found["visit"] / (250 * 2.8) - 1) < 0.25


def test_the_first_field_does_not_see_the_clock():
    rng = np.random.default_rng(0)
    events = scheduled(30, rng).drop(columns="day").fillna({"amount": 0.0})
    log = EventLog(events, "who", "time", categorical=["kind"])
    model = LSTMEventModel(hidden_size=6, max_epochs=2, random_state=0)
    model.fit(log.snapshots(START + 158 * DAY))
    first = START + pd.to_timedelta([24, 24 + 9, 72 + 20], unit="h")
    ones = pd.DataFrame({"who": range(3), "time": first, "kind": "mail", "amount": 0.0})
    rows = EventLog(ones, "who", "time", categorical=["kind"]).snapshots(
        START + 9 * DAY
    )
    found = model.score_events(rows)
    assert found["log_prob_kind"].nunique() == 1
    assert found["log_prob_amount"].nunique() == 3
