"""Bids for impressions: profit of bidders within a budget, and the time of a bid.

Profit is what the true effects of the won impressions are worth minus their prices, in
euros a day: the luck of single conversions is left out. All bidders have the same
budget and the same pacer. Then one bid is timed: two scores of the visitor by a
`StreamingScorer` and the multiplier of a `BudgetPacer`. On a machine with other
processes, the wall clock includes the time in which these ran instead: a loop in plain
Python of the same length shows how much that is, and times without an interruption
(Linux counts them) show a core of its own. With --seeds 0, bids are timed only.
"""

import argparse
import gc
import os
import resource
import time

import numpy as np
import pandas as pd
from measure import one_thread
from scipy.stats import t as student
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.datasets import make_ad_auctions
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator, RFMFeatures
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.serving import BudgetPacer, StreamingScorer, WinRateCurve
from sklearn_seqcrm.uplift import UpliftClassifier

KEYS = ("customer_id", "timestamp")
START, LIVE, END = (
    pd.Timestamp(one) for one in ("2024-01-01", "2024-01-29", "2024-02-05")
)


class Market:
    """Auctions of five weeks; in the first four, bids are drawn at random."""

    def __init__(self, n_customers, budget, organic, seed):
        self.data = make_ad_auctions(n_customers, organic=organic, random_state=seed)
        since = self.data.rows["timestamp"] - START
        self.day = since.dt.days.to_numpy()
        self.hour = since.dt.seconds.to_numpy() / 3600
        self.budget, self.live = budget, self.day >= 28
        rng = np.random.default_rng(seed)
        self.bids = rng.lognormal(np.log(0.15), 0.5, len(self.day))
        self.won = self.bids > self.data.price
        log = EventLog(self.data.events, *KEYS, observed_until=END)
        self.X = log.attach(self.data.rows, cutoff="timestamp")
        self.y = np.where(self.won, self.data.target, self.data.target_without)

    def fit(self, model):
        """Fit a model on the first three weeks, with the ad as a static."""
        train = self.day < 21
        ad = self.won[train].astype(float)
        return model.fit(self.X[train].assign(ad=ad), self.y[train])

    def values(self, model):
        """Return the values of impressions: by the effect of the ad, and with the ad.

        Those of the last two weeks are computed, others are 0.
        """
        found = np.zeros((2, len(self.day)))
        some = self.day >= 21
        for i, ad in enumerate((0.0, 1.0)):
            found[i, some] = model.predict_proba(self.X[some].assign(ad=ad))[:, 1]
        return self.data.worth * (found[1] - found[0]), self.data.worth * found[1]

    def uplifts(self, learner):
        """Return the values of impressions by a meta-learner; see `values`."""
        train, some = self.day < 21, self.day >= 21
        learner.fit(self.X[train], self.y[train], treatment=self.won[train])
        found = np.zeros(len(self.day))
        found[some] = self.data.worth * learner.predict(self.X[some])
        return found

    def profit(self, won):
        """Return the expected profit of won impressions a day."""
        effect = self.data.probability - self.data.probability_without
        gain = self.data.worth * effect - self.data.price
        return gain[won & self.live].sum() / 7

    def week(self, value, kind="pacer", step=None):
        """Return the auctions that are won; see `main` for the kinds of pacing."""
        bids, won, price = self.bids.copy(), self.won.copy(), self.data.price
        for today in range(28, 35):
            now = np.flatnonzero(self.day == today)
            if kind == "hindsight":
                won[now] = self._best_constant(value[now], price[now])
                continue
            if kind == "none":
                won[now] = value[now] > price[now]
                won[now] &= np.cumsum(price[now] * won[now]) <= self.budget
                continue
            week = (self.day >= today - 7) & (self.day < today)
            curve = WinRateCurve(bids[week], np.where(won, price, np.nan)[week])
            plan = self.budget, self.hour[week], value[week], curve
            pacer = BudgetPacer(*plan, n_periods=7)
            if kind == "steps":
                pacer = GradientPacer(pacer, step)
            for i in now:
                bids[i] = pacer.bid(value[i], self.hour[i])
                won[i] = bids[i] > price[i]
                if won[i]:
                    pacer.pay(price[i])
        return won

    def _best_constant(self, value, price):
        low, high = 0.0, 1.0
        for _ in range(40):
            middle = (low + high) / 2
            won = middle * value > price
            low, high = (
                (low, middle) if price[won].sum() > self.budget else (middle, high)
            )
        return low * value > price


class GradientPacer:
    """Gradient steps of the dual variable of the budget, Balseiro and Gur (2019).

    The target of each auction is what is left of the budget divided by the number of
    auctions expected until the end of the day. It starts at the multiplier of the plan.
    """

    def __init__(self, plan, step):
        self.plan, self.step, self.paid = plan, step, 0.0
        plan.bid(1.0, 0.0)
        self.dual = 1 / max(plan.multiplier, 1e-3) - 1

    def bid(self, value, hour):
        plan = self.plan
        left = plan.budget - plan.spent
        later = len(plan._times) - plan._times.searchsorted(hour)
        target = left / max(later / plan.n_periods, 1)
        self.dual = max(0.0, self.dual - self.step * (target - self.paid))
        self.paid = 0.0
        return max(0.0, min(value / (1 + self.dual), left))

    def pay(self, price):
        self.plan.pay(price)
        self.paid = price


def trees(features):
    return make_pipeline(
        features,
        HistGradientBoostingClassifier(
            max_iter=100, learning_rate=0.05, max_leaf_nodes=15, random_state=0
        ),
    )


def new_network():
    return make_history_pipeline(
        LSTMClassifier(hidden_size=32, n_networks=1, horizon="7D", random_state=0)
    )


def profits_of(market):
    """Return profits, win rates and errors of values by bidder, and the network."""
    data, won_before = market.data, market.won & (market.day < 21)
    network = new_network()
    models = {
        "RFM and boosting": trees(RFMFeatures(amount="amount")),
        "aggregates and boosting": trees(HistoryAggregator(half_lives="auto")),
        "network": network,
    }
    lost_before = ~market.won & (market.day < 21)
    effect = market.y[won_before].mean() - market.y[lost_before].mean()
    value = {"constant": np.full(len(market.day), data.worth * effect)}
    for name, model in models.items():
        found = market.values(market.fit(model))
        value[name], value[f"{name}, with the ad"] = found
    for name in ("t", "x", "dr"):
        learner = UpliftClassifier(
            trees(HistoryAggregator(half_lives="auto")), learner=name, random_state=0
        )
        value[f"aggregates and boosting, {name.upper()}"] = market.uplifts(learner)
    value["truth, with the ad"] = data.worth * data.probability
    value["truth"] = data.worth * (data.probability - data.probability_without)
    profits, shares, errors = {}, {}, {}
    for name, one in value.items():
        won = market.week(one)
        profits[name] = market.profit(won)
        shares[name] = won[market.live].mean()
        error = (one - value["truth"])[market.live]
        errors[name] = np.sqrt(np.mean(error**2))
    for name in ("network", "truth"):
        for kind in ("none", "hindsight"):
            profits[f"{name}, {kind}"] = market.profit(market.week(value[name], kind))
        for step in (0.1, 0.3, 1.0):
            won = market.week(value[name], "steps", step)
            profits[f"{name}, steps of {step}"] = market.profit(won)
    return profits, shares, errors, network, value["network"]


def print_table(profits, shares, errors):
    """Print means over seeds with 95 % intervals, and paired differences."""
    profits = pd.DataFrame(profits)
    half = student.ppf(0.975, len(profits) - 1) / np.sqrt(len(profits))
    less = profits.sub(profits["network"], axis=0)
    table = pd.DataFrame(
        {
            "profit": profits.mean(),
            "+-": half * profits.std(),
            "to network": less.mean(),
            "+- ": half * less.std(),
            "of truth": profits.mean() / profits["truth"].mean(),
            "win rate": pd.DataFrame(shares).mean(),
            "RMSE of values": pd.DataFrame(errors).mean(),
        }
    ).reindex(profits.columns)
    print(table.round(3).to_string())


def time_bids(market, network, value, n_calls, freeze):
    """Print the time of a bid with wall clock and processor, and of an empty loop."""
    data = market.data
    scorer = StreamingScorer(network, *KEYS)
    past = data.events["timestamp"] < LIVE
    scorer.update(EventLog(data.events[past], *KEYS))
    rows = data.rows[market.live]
    stream = pd.concat([rows, data.events[~past]])
    stream = stream.sort_values("timestamp", kind="stable")
    week = (market.day >= 21) & (market.day < 28)
    curve = WinRateCurve(
        market.bids[week], np.where(market.won, data.price, np.nan)[week]
    )
    hour, expected = market.hour[market.live], value[market.live]
    plan = 7 * market.budget, market.hour[week], value[week], curve
    pacer = BudgetPacer(*plan, n_periods=7)
    bids, updates, loops, worst, i = [], [], [], 0.0, 0
    # The collector would walk over the log and the states of all visitors.
    gc.collect()
    if freeze:
        gc.freeze()
    for record in stream.to_dict("records"):
        start = _clocks()
        if isinstance(record["event"], str):
            scorer.update([{name: record[name] for name in data.events}])
            updates.append(_clocks() - start)
            continue
        if i == n_calls:
            break
        who, now = record["customer_id"], record["timestamp"]
        with_ad, without = (
            scorer.score_one(who, None, {**record, "ad": ad}, cutoff=now)[1]
            for ad in (1.0, 0.0)
        )
        found = data.worth * (with_ad - without)
        pacer.bid(found, hour[i])
        bids.append(_clocks() - start)
        worst = max(worst, abs(found - expected[i]))
        i += 1
        start = _clocks()
        sum(range(20_000))
        loops.append(_clocks() - start)
    print_calmest(bids, loops)
    print(f"load of the machine, {os.cpu_count()} cores: {os.getloadavg()}")
    print(f"largest difference of a value to the batch: {worst:.1e} euros")
    aggregates = time_aggregates(market)
    for name, times in {
        "bid": bids,
        "event": updates,
        "empty loop": loops,
        "aggregates": aggregates,
    }.items():
        wall, processor, switches = np.transpose(times[len(times) // 50 :])
        for clock, column in {
            "wall clock": wall,
            "without interruption": wall[switches == 0],
            "processor": processor,
        }.items():
            if not len(column):  # each call is longer than a time slice
                continue
            half, most, highest = 1000 * np.quantile(column, [0.5, 0.99, 1])
            print(
                f"{name:12s}{clock:22s} p50 {half:6.2f} ms, p99 {most:6.2f}, "
                f"largest {highest:6.1f}, {len(column):,} times"
            )


def print_calmest(bids, loops, size=500):
    """Print wall clocks of the calmest window of calls.

    It is the one whose empty loops have the lowest 99 % quantile: a choice by the bids
    themselves would make them look faster than they are.
    """
    bids, loops = (1000 * np.array(times)[:, 0] for times in (bids, loops))
    starts = range(size, len(bids) - size + 1, size)  # the first calls warm up
    high = [np.quantile(loops[i : i + size], 0.99) for i in starts]
    if high:
        i = starts[int(np.argmin(high))]
        found = np.quantile([bids[i : i + size], loops[i : i + size]], [0.5, 0.99], 1)
        print(f"calmest {size} of {len(bids):,} calls, wall clock, p50 and p99 in ms:")
        print(f"  bid {found[:, 0].round(2)}, empty loop {found[:, 1].round(2)}")


def time_aggregates(market, n_calls=500):
    """Return clocks of values by boosted trees, with the histories in a log."""
    model = market.fit(trees(HistoryAggregator(half_lives="auto")))
    times = []
    for i in np.flatnonzero(market.live)[:n_calls]:
        rows = market.X.iloc[[i, i]].assign(ad=[1.0, 0.0])
        start = _clocks()
        model.predict_proba(rows)
        times.append(_clocks() - start)
    return times


def _clocks():
    """Return wall clock, processor time, and interruptions by other processes."""
    switches = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
    return np.array([time.perf_counter(), time.thread_time(), switches])


def main():
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=2000)
    parser.add_argument("--budget", type=float, default=40.0, help="euros a day")
    parser.add_argument("--organic", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--no-freeze", action="store_true", help="no gc.freeze()")
    options = parser.parse_args()
    one_thread()
    profits, shares, errors = [], [], []
    for seed in range(options.seeds):
        market = Market(options.customers, options.budget, options.organic, seed)
        found, won, error, network, value = profits_of(market)
        profits.append(found), shares.append(won), errors.append(error)
        print(seed, {name: round(one, 1) for name, one in found.items()}, flush=True)
    if profits:
        print_table(profits, shares, errors)
    else:
        market = Market(options.customers, options.budget, options.organic, 0)
        network = market.fit(new_network())
        value, _ = market.values(network)
    time_bids(market, network, value, options.calls, not options.no_freeze)


if __name__ == "__main__":
    main()
