"""What is in the next basket? `LSTMEventModel` against counts of earlier baskets.

An event is an item that a customer bought on a day, and all items of a day are a
basket. Models are trained on the events before the cutoff, and list ten items for the
first basket of each customer after it. ``--periods 8 --length 7D`` lists them for the
first baskets of eight weeks, at the start of each. The counts use all events until
then. The network is trained before the first period only, and then reads the events
since. With ``--again fit``, a new one is trained before each period; with ``--again
partial_fit``, the first one is trained for one more epoch.

``--task journey``: categories of products of the Complete Journey; ``retail``: stock
codes of Online Retail II, with ``online_retail_II.parquet`` in the folder ``--data``.
``--share 4`` takes each fourth customer, and ``--each 2`` scores the lists of each
second one. The model has its default parameters and ranks by the next event; with
``--basket``, the same model also ranks by the whole next basket.

The baselines are the items of most baskets (``global``), of most of the customer's own
baskets and then of most baskets (``personal``, which is GP-TopFreq), the same with
baskets that decay by a factor chosen on earlier baskets (``recency``), and TIFU-KNN.
For the former see Li, Jullien, Ariannezhad and de Rijke, "A Next Basket Recommendation
Reality Check", ACM TOIS 41(4), 2023; for the latter Hu, He, Gao and Zhang, "Modeling
Personalized Item Frequency Information for Next-basket Recommendation", SIGIR 2020. Its
parameters are those of cornac. ``--cornac PYTHON`` adds cornac's own GPTop and TIFUKNN;
it is the Python of an environment with cornac 3.0.1 (a single period). Intervals are
from a bootstrap over customers, for the difference between the network and each of the
others.

    python benchmarks/recommend.py --task journey --share 4
"""

import argparse
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from futures_data import journey_lines
from scipy.sparse import csr_array

from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.metrics import ndcg_at_k, recall_at_k

N_BEST = 10
N_DRAWS = 1000
FADING = (0.8, 0.9, 0.95, 0.98)


def main():
    """Fit every model, and print scores and intervals."""
    options = read_options()
    torch.set_num_threads(1)
    lines, cutoff = TASKS[options.task](options)
    cutoff = options.cutoff or cutoff
    periods = split(lines, cutoff, options)
    first = periods[0].known
    print(
        f"{first['customer'].nunique():,} customers, {len(first):,} lines of "
        f"{first['item'].nunique():,} things; "
        f"{sum(period.bought['row'].nunique() for period in periods):,} next baskets "
        f"of {sum(len(period.bought) for period in periods):,} lines",
        flush=True,
    )
    found = {}
    for name in options.models:
        for seed in options.seeds if name == "lstm" else options.seeds[:1]:
            start = time.process_time()
            if name == "lstm":
                made = lstm(periods, seed, options)
            else:
                made = [(name, [COUNTS[name](period.known) for period in periods])]
            for key, lists in made:
                took, start = time.process_time() - start, time.process_time()
                found[key] = scores_of(periods, lists)
                means = found[key].mean().round(4).to_dict()
                print(key, means, f"{took:.0f} CPU seconds", flush=True)
    if options.cornac:
        for name, lists in of_cornac(first, options.cornac).items():
            found[name] = scores_of(periods, [lists])
    print(report(found).to_string())


def read_options():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("SEQCRM_DATA"))
    parser.add_argument("--task", choices=TASKS, default="journey")
    parser.add_argument("--share", type=int, default=1)
    models = [*COUNTS, "lstm"]
    parser.add_argument("--models", nargs="+", choices=models, default=models)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--each", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--cutoff", type=pd.Timestamp)
    parser.add_argument("--periods", type=int, default=1)
    parser.add_argument("--length", type=pd.Timedelta, default="7D")
    parser.add_argument("--basket", action="store_true")
    parser.add_argument("--again", choices=["fit", "partial_fit"])
    parser.add_argument("--cornac")
    options = parser.parse_args()
    if options.cornac and options.periods > 1:
        parser.error("--cornac needs a single period")
    return options


# Lines --------------------------------------------------------------------------------


def journey(options):
    """Return the categories that a household bought on a day."""
    lines = journey_lines().rename(columns={"product_category": "item"})
    lines = lines[lines["customer"] % options.share == 0]
    return lines, pd.Timestamp("2017-11-01")


def retail(options):
    """Return the stock codes ordered on a day, without cancellations."""
    path = Path(options.data) / "online_retail_II.parquet"
    lines = pd.read_parquet(path).dropna(subset="Customer ID")
    lines = lines[~lines["Invoice"].str.startswith("C") & (lines["Quantity"] > 0)]
    lines = lines.assign(
        customer=lines["Customer ID"].astype("int64"),
        item=lines["StockCode"].astype(str),
        day=lines["InvoiceDate"].dt.normalize(),
    )
    chosen = lines["customer"] % options.share == 0
    return lines[chosen], pd.Timestamp("2011-09-01")


TASKS = {"journey": journey, "retail": retail}


@dataclass
class Period:
    """A time whose first baskets are listed at its start.

    Parameters
    ----------
    start : Timestamp
    known : DataFrame
        Columns ``customer``, ``day`` and ``item``: all lines before `start`.
    bought : DataFrame
        Columns ``row``, which is the customer, and ``value``, which is the item: the
        first basket of each customer in the period.
    """

    start: pd.Timestamp
    known: pd.DataFrame
    bought: pd.DataFrame


def split(lines, cutoff, options):
    """Return the periods after the cutoff, with baskets of customers known before it.

    The last period has no end. The lines of a basket have no order, and are shuffled:
    sorted ones would teach what is first in the alphabet.
    """
    lines = lines[["customer", "day", "item"]].dropna().drop_duplicates()
    lines = lines.assign(item=lines["item"].astype(str))
    lines = lines.sample(frac=1, random_state=0).sort_values(
        ["customer", "day"], kind="stable", ignore_index=True
    )
    customers = lines.loc[lines["day"] < cutoff, "customer"].unique()
    lines = lines[lines["customer"].isin(customers)]
    starts = [cutoff + options.length * i for i in range(options.periods)]
    columns = {"customer": "row", "item": "value"}
    periods = []
    for start, end in zip(starts, [*starts[1:], pd.Timestamp.max], strict=True):
        later = lines[(lines["day"] >= start) & (lines["day"] < end)]
        first = later.groupby("customer")["day"].transform("min")
        bought = later.loc[later["day"] == first, list(columns)].rename(columns=columns)
        buyers = bought["row"].unique()[:: options.each]
        bought = bought[bought["row"].isin(buyers)]
        periods.append(Period(start, lines[lines["day"] < start], bought))
    return periods


def scores_of(periods, lists):
    """Return both metrics for each period and customer."""
    scores = {
        period.start: pd.DataFrame(
            {
                "recall": recall_at_k(period.bought, some, N_BEST, per_row=True),
                "ndcg": ndcg_at_k(period.bought, some, N_BEST, per_row=True),
            }
        )
        for period, some in zip(periods, lists, strict=True)
    }
    return pd.concat(scores, names=["start", "customer"])


def report(found):
    """Return means, and intervals of the differences to the network."""
    ways = {name: scores for name, scores in found.items() if not isinstance(name, str)}
    others = {name: scores for name, scores in found.items() if isinstance(name, str)}
    table = {name: scores.mean().to_dict() for name, scores in others.items()}
    for way in dict.fromkeys(way for way, _ in ways):
        own = [scores for (one, _), scores in ways.items() if one == way]
        mean = sum(own) / len(own)
        table[way] = mean.mean().to_dict()
        customers = mean.groupby("customer").size()
        rng = np.random.default_rng(0)
        draws = rng.integers(len(customers), size=(N_DRAWS, len(customers)))
        n_baskets = customers.to_numpy()[draws].sum(axis=1)
        for name, scores in others.items():
            for metric in mean:
                ahead = mean[metric] - scores[metric]
                sums = ahead.groupby("customer").sum().to_numpy()[draws].sum(axis=1)
                low, high = np.quantile(sums / n_baskets, [0.025, 0.975])
                table[name][f"{way} is ahead in {metric} by"] = (
                    f"{ahead.mean():+.4f} [{low:+.4f}, {high:+.4f}]"
                )
    return pd.DataFrame(table).T


# Models -------------------------------------------------------------------------------


def lstm(periods, seed, options):
    """Rank by the network's probability of the next event, and of the next basket."""
    params = {"max_epochs": options.epochs, "random_state": seed, "verbose": 1}
    ways = {"event": False, "basket": True} if options.basket else {"event": False}
    tables = {way: [] for way in ways}
    for i, period in enumerate(periods):
        X = rows_of(period)
        if i == 0 or options.again == "fit":
            model = LSTMEventModel(**params).fit(X)
        elif options.again == "partial_fit":
            model.partial_fit(X)
        X = X[X["customer"].isin(period.bought["row"])]
        for way, basket in ways.items():
            lists = model.predict_next(X, "item", N_BEST, basket=basket)
            tables[way].append(lists.assign(row=lists["customer"]))
    for way, lists in tables.items():
        yield (way, seed), lists


def rows_of(period):
    """Return all customers at the start of a period."""
    end = period.start - pd.Timedelta("1D")
    log = EventLog(period.known, "customer", "day", observed_until=end)
    return log.snapshots([period.start])


class Baskets:
    """Sparse matrix of baskets, with the number of later baskets of the customer."""

    def __init__(self, known):
        by = known.groupby(["customer", "day"], sort=True).ngroup().to_numpy()
        item, self.items = pd.factorize(known["item"])
        ones = np.ones(len(known), dtype="float32")
        self.matrix = csr_array((ones, (by, item)), (by.max() + 1, len(self.items)))
        days = (
            known[["customer", "day"]]
            .drop_duplicates()
            .sort_values(["customer", "day"])
        )
        self.customer, self.customers = pd.factorize(days["customer"])
        self.lag = days.groupby("customer").cumcount(ascending=False).to_numpy()
        self.n_baskets = np.bincount(self.customer)
        # Below any count of a customer: ranks items without purchases.
        popularity = np.asarray(self.matrix.sum(axis=0)).ravel()
        self.popularity = popularity / popularity.max() * 1e-4

    def weighted(self, weight):
        """Sum the baskets of each customer, shape (n_customers, n_items), sparse."""
        rows = np.arange(len(weight))
        shape = (len(self.customers), len(weight))
        return csr_array((weight, (self.customer, rows)), shape) @ self.matrix

    def lists(self, sums):
        """Return the top items of each customer, filled up by popular ones."""
        tables = []
        for i, customer in enumerate(self.customers):
            score = self.popularity.copy()
            own = slice(sums.indptr[i], sums.indptr[i + 1])
            score[sums.indices[own]] += sums.data[own]
            top = np.argsort(-score, kind="stable")[:N_BEST]
            tables.append((np.full(len(top), customer), np.arange(len(top)), top))
        row, rank, top = (np.concatenate(part) for part in zip(*tables, strict=True))
        return pd.DataFrame({"row": row, "rank": rank, "value": self.items[top]})


def most_popular(known):
    """Return the same ten items for everyone."""
    baskets = Baskets(known)
    return baskets.lists(baskets.weighted(np.zeros(len(baskets.lag))))


def personal(known):
    """Rank by the number of the customer's baskets with the item."""
    baskets = Baskets(known)
    return baskets.lists(baskets.weighted(np.ones(len(baskets.lag))))


def recency(known):
    """Rank by counts that decay per basket; the factor is chosen on last baskets."""
    last = known.groupby("customer")["day"].transform("max") == known["day"]
    has_more = known["customer"].isin(known.loc[~last, "customer"])
    columns = {"customer": "row", "item": "value"}
    bought = known.loc[last & has_more, list(columns)].rename(columns=columns)

    def lists(some, factor):
        baskets = Baskets(some)
        return baskets.lists(baskets.weighted(factor**baskets.lag))

    scores = [ndcg_at_k(bought, lists(known[~last], factor)) for factor in FADING]
    return lists(known, FADING[int(np.argmax(scores))])


def tifu_knn(known):
    """Combine frequencies in groups of baskets with those of similar customers."""
    n_groups, within, between, alpha, n_near = 7, 0.9, 0.7, 0.7, 300
    baskets = Baskets(known)
    n_near = min(n_near, len(baskets.customers) - 1)
    n = baskets.n_baskets[baskets.customer]
    # Groups have equal sizes if possible, larger ones last; the latest counts most.
    size = np.maximum(n / n_groups, 1)
    group = np.minimum((baskets.lag / size).astype(int), n_groups - 1)
    in_group = baskets.lag - np.ceil(group * size)
    keys = baskets.customer * n_groups + group
    of_group = np.bincount(keys, minlength=len(baskets.customers) * n_groups)[keys]
    used = np.minimum(n, n_groups)
    weight = within**in_group * between**group / of_group / used
    own = baskets.weighted(weight)
    dense = own.toarray()
    squares = (dense**2).sum(axis=1)
    mixed = np.empty_like(dense)
    for some in np.array_split(np.arange(len(dense)), max(1, len(dense) // 500)):
        distance = squares - 2 * (dense[some] @ dense.T)
        near = np.argpartition(distance, n_near, axis=1)[:, :n_near]
        pick = csr_array(
            (
                np.full(near.size, 1 / n_near, dtype="float32"),
                (np.repeat(np.arange(len(some)), n_near), near.ravel()),
            ),
            (len(some), len(dense)),
        )
        mixed[some] = alpha * dense[some] + (1 - alpha) * (pick @ own).toarray()
    return baskets.lists(csr_array(mixed))


def of_cornac(known, python):
    """Return lists of cornac's models, from a process in its environment."""
    script = Path(__file__).with_name("rival_cornac.py")
    with tempfile.TemporaryDirectory() as folder:
        source, result = (Path(folder) / name for name in ("known.csv", "lists.csv"))
        known.to_csv(source, index=False)
        subprocess.run([python, script, source, result], check=True)
        lists = pd.read_csv(result, dtype={"value": str})
    return {name: own.drop(columns="model") for name, own in lists.groupby("model")}


COUNTS = {
    "global": most_popular,
    "personal": personal,
    "recency": recency,
    "tifu_knn": tifu_knn,
}


if __name__ == "__main__":
    main()
