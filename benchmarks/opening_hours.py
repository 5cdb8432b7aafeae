"""Are events simulated while a shop is closed, and are the next hours predicted?

Simulated customers come at random from 9 to 18 on working days, at rates of their own:
all in one time zone, or half of them in Berlin and half in New York, in a log with
UTC. ``python benchmarks/opening_hours.py`` prints shares of simulated events, and the
probability of an event within some hours beside the true one.
"""

import numpy as np
import pandas as pd
import torch

from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.events import EventLog

N_CUSTOMERS, N_WEEKS, PER_DAY = 1000, 24, 0.1
OPENS, HOURS = 9, 9
START = pd.Timestamp("2024-01-01")  # a Monday
END = START + pd.Timedelta(weeks=N_WEEKS)
ZONES = ["Europe/Berlin", "America/New_York"]
# Weeks before the end, hours since Monday, and hours ahead.
QUESTIONS = {
    "1 hour from Monday, 9 o'clock": (9, 1),
    "9 hours from Monday, 9 o'clock": (9, 9),
    "15 hours from Wednesday, 18 o'clock": (66, 15),
    "24 hours from Friday, 18 o'clock": (114, 24),
}


def main():
    """Print the tables."""
    torch.set_num_threads(1)
    rates = np.random.default_rng(0).gamma(2, PER_DAY / 2, N_CUSTOMERS)
    events = make_events(rates)
    log = EventLog(events, "customer", "time", observed_until=END)
    model = LSTMEventModel(random_state=0).fit(log.snapshots([END]))
    futures = model.sample(log.snapshots([END]), "14D", n_paths=20, random_state=0)
    print("in one zone:", closed(futures["time"]))
    for name, (hours, ahead) in QUESTIONS.items():
        cutoff = END - pd.Timedelta(weeks=1) + pd.Timedelta(hours=hours)
        curves = model.predict_survival_function(log.snapshots([cutoff]))
        found = np.mean([1 - one(ahead / 24) for one in curves])
        open_hours = ahead if hours == OPENS else 0
        true = 1 - np.exp(-rates * open_hours / HOURS)
        print(f"{name}: {found:.4f} (true {true.mean():.4f})")
    zone = events["customer"] % 2
    local = [events["time"].dt.tz_localize(name).dt.tz_convert("UTC") for name in ZONES]
    events["time"] = local[0].where(zone == 0, local[1])
    end = END.tz_localize("UTC")
    log = EventLog(events, "customer", "time", observed_until=end)
    X = log.snapshots([end])
    model = LSTMEventModel(random_state=0).fit(X)
    futures = model.sample(X, "14D", n_paths=20, random_state=0)
    for number, name in enumerate(ZONES):
        some = futures.loc[futures["customer"] % 2 == number, "time"]
        print(f"{name}:", closed(some.dt.tz_convert(name).dt.tz_localize(None)))


def make_events(rates):
    """Draw the events of all customers, at a whole second each."""
    rng = np.random.default_rng(1)
    days = np.arange(7 * N_WEEKS)
    days = days[days % 7 < 5]
    n = rng.poisson(rates * len(days))
    hours = 24.0 * rng.choice(days, n.sum()) + OPENS + HOURS * rng.random(n.sum())
    times = START + pd.to_timedelta(np.round(3600 * hours), "s")
    return pd.DataFrame(
        {"customer": np.repeat(np.arange(len(rates)), n), "time": times}
    )


def closed(times):
    """Return the shares of local times on weekends and in other closed hours."""
    weekend = times.dt.day_of_week >= 5
    closed = ~weekend & ~times.dt.hour.between(OPENS, OPENS + HOURS - 1)
    return f"{weekend.mean():.1%} on weekends, {closed.mean():.1%} at night"


if __name__ == "__main__":
    main()
