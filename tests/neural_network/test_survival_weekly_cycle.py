"""A simulator with a weekly cycle, whose hazards are known."""

import numpy as np
import pandas as pd
from numpy.testing import assert_array_equal

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import LSTMSurvival
from sklearn_seqcrm.preprocessing import HistoryEncoder
from sklearn_seqcrm.targets import time_to_next
from sklearn_seqcrm.testing._small_data import DAY


def simulate(n, n_days, seed):
    """Rows at any weekday, whose daily chance depends on a plan and on the weekday.

    The plan is known from the one event before the cutoff alone, and the weekday, as a
    cycle, from the cutoff. Returns rows, targets and the true chances.
    """
    rng = np.random.default_rng(seed)
    start = np.datetime64("2024-01-01")
    cutoff, plan = rng.integers(7, 14, n), rng.integers(0, 2, n)
    phase = 2 * np.pi * (cutoff[:, None] + np.arange(n_days)) / 7
    chance = 1 / (1 + np.exp(2.5 - 1.2 * plan[:, None] - 1.5 * np.cos(phase)))
    came = rng.random((n, n_days)) < chance
    first, comes = came.argmax(axis=1), came.any(axis=1)
    who = np.arange(n)
    day = start + rng.integers(0, 7, n).astype("m8[D]")
    before = pd.DataFrame({"who": who, "day": day, "plan": plan.astype(str)})
    day = start + (cutoff + first).astype("m8[D]")
    after = pd.DataFrame({"who": who, "day": day, "plan": "0"})[comes]
    log = EventLog(
        pd.concat([before, after]), "who", "day", observed_until="2024-02-15"
    )
    rows = pd.DataFrame({"who": who, "at": start + cutoff.astype("m8[D]")})
    rows = log.attach(rows, cutoff="at")
    return rows, time_to_next(rows, f"{n_days}D"), chance


def test_hazard_with_a_weekly_cycle_is_recovered():
    """Bins of a day. The error is that of shares of as many rows, or less."""
    n_days = 14
    rows, y, chance = simulate(3000, n_days, seed=0)
    model = LSTMSurvival(
        bins="1D",
        head_sizes=(),
        hidden_size=4,
        pooling="last",
        dropout=0.0,
        learning_rate=0.02,
        batch_size=300,
        averaged_steps=20,
        max_epochs=25,
        early_stopping=False,
        random_state=0,
        n_networks=1,
    )
    encoded = HistoryEncoder().fit_transform(rows)[["history"]]
    model.fit(encoded, y)
    assert_array_equal(model.unique_times_, np.arange(n_days + 1))
    hazard = model.predict_cumulative_hazard_function(encoded, return_array=True)
    found = -np.expm1(-np.diff(hazard, axis=1))
    days = (y["time"] / DAY).to_numpy()
    errors, by_counting = [], []
    groups = pd.factorize(pd.Series(map(bytes, chance)))[0]  # plan and weekday
    for group in range(14):
        own = groups == group
        for day in range(n_days):
            n_left = (days[own] >= day).sum()
            true = chance[own][0, day]
            share = (y["event"][own] & (days[own] == day)).sum() / n_left
            error = np.sqrt(true * (1 - true) / n_left)
            errors.append((found[own, day].mean() - true) / error)
            by_counting.append((share - true) / error)
    assert 0.9 < np.std(by_counting) < 1.1  # the simulator matches its formula
    assert np.std(errors) < 0.8
    assert np.abs(errors).max() < 3
