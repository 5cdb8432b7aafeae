"""Simulated clicks in visits at random times."""

import numpy as np
import pandas as pd

DAY, HOUR = 86400, 3600  # times are in seconds
END = 50 * DAY
# Rates of visits per day are gamma distributed with this shape and this rate.
SHAPE, RATE = 1.5, 10.0


def clicks(n=500, seed=0):
    """Return clicks in visits at random times.

    Visits of one customer have about three clicks, and those of another one twelve.
    """
    rng = np.random.default_rng(seed)
    rate = rng.gamma(SHAPE, 1 / RATE, n)
    who = np.repeat(np.arange(n), rng.poisson(rate * END / DAY))
    begin = rng.uniform(0, END, len(who))
    n_clicks = rng.geometric(1 / rng.uniform(3, 12, n)[who])
    visit = np.repeat(np.arange(len(who)), n_clicks)
    pauses = rng.lognormal(np.log(HOUR / 60), 1, len(visit))
    pauses[np.cumsum(n_clicks) - n_clicks] = 0
    since = pd.Series(pauses).groupby(visit).cumsum().to_numpy()
    events = pd.DataFrame({"who": who[visit], "time": begin[visit] + since})
    events["time"] = events["time"].astype("int64")
    return events.sort_values(["who", "time"], ignore_index=True)


def pauses_of(events):
    """Return the times between successive clicks."""
    return events.groupby("who")["time"].diff().dropna().to_numpy("int64")
