"""Does a yearly season make simulated totals better? Rolling origins, one command.

``retail``: 13 weeks of Online Retail II from five cutoffs, with 67 weeks of record and
more: too few for a season by default. ``simulated``: customers who join over three
years and buy at rates of their own times ``exp(.5 cos)`` of the time of year; 13 weeks
from April 2022, in the low season, from July, and from October, in the high season.
Each line has the bias of the total, the mean absolute error of the totals of weeks,
relative to their mean, and the Brier score of any event, for models without a season
(``False``), with one (``True``) and by default (``auto``).

    python benchmarks/futures_season.py --data FOLDER
"""

import argparse
import os

import numpy as np
import pandas as pd
import torch
from futures import HORIZON, WEEK, fitted, real_counts
from futures_data import retail_days

from sklearn_seqcrm.metrics import aggregate_bias

N_PATHS = 30
RETAIL = ("2011-03-07", "2011-04-18", "2011-06-06", "2011-07-18", "2011-08-29")
SIMULATED = ("2022-04-04", "2022-07-04", "2022-10-03")
WAYS = {"False": False, "True": True, "auto": "auto"}


def main():
    """Print a line for each set, cutoff, way and seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("SEQCRM_DATA"))
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--cutoffs", nargs="+")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.sets:
        read, cutoffs = SETS[name]
        events = read(options)
        for cutoff in map(pd.Timestamp, options.cutoffs or cutoffs):
            for way in options.ways:
                for seed in options.seeds:
                    found = scores(events, cutoff, seed, WAYS[way])
                    numbers = " ".join(f"{one:+.4f}" for one in found)
                    print(name, f"{cutoff:%Y-%m-%d}", way, seed, numbers, flush=True)


def simulated(options, n=1000, seed=0):
    """Return the days of customers whose rates have a yearly season."""
    rng, first_day = np.random.default_rng(seed), pd.Timestamp("2020-01-06")
    days = first_day + pd.to_timedelta(np.arange(3 * 365 + 91), unit="D")
    season = np.exp(0.5 * np.cos(2 * np.pi * (days.day_of_year - 330) / 365.25))
    tables = []
    for customer, rate in enumerate(rng.gamma(1.0, 1 / 40, n)):
        first = int(rng.integers(3 * 365))
        came = rng.random(len(days) - first) < rate * season[first:]
        came[0] = True
        own = pd.DataFrame({"day": days[first:][came]})
        tables.append(own.assign(customer=customer, spend=1.0))
    return pd.concat(tables, ignore_index=True)


def scores(events, cutoff, seed, season):
    """Return bias, relative error of weeks and Brier score."""
    model, X = fitted(events, cutoff, seed, yearly_seasonality=season)
    futures = model.sample(X, HORIZON, N_PATHS, 0)
    own = events[events["customer"].isin(X["customer"])]
    own = own[(own["day"] >= cutoff) & (own["day"] < cutoff + HORIZON)]
    came, drawn = (
        np.bincount((days - cutoff) // WEEK, minlength=13)
        for days in (own["day"], futures["day"])
    )
    drawn = drawn / N_PATHS
    share = 1 - np.array([one(91.0) for one in model.predict_survival_function(X)])
    real = real_counts(X, events, cutoff, cutoff + HORIZON) > 0
    return (
        aggregate_bias(came, drawn),
        np.abs(came - drawn).mean() / came.mean(),
        np.square(share - real).mean(),
    )


SETS = {"retail": (retail_days, RETAIL), "simulated": (simulated, SIMULATED)}


if __name__ == "__main__":
    main()
