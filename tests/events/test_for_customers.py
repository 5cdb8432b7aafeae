"""A log of some customers: the same rows, kinds, zone and end of observation."""

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from sklearn_seqcrm.events import EventLog
from tests.logs import log_of

DAYS = pd.to_datetime(["2024-01-01", "2024-01-05", "2024-02-01", "2024-03-01"])
WHO = ["ann", "bob", "ann", "eve"]
END = pd.Timestamp("2024-05-01", tz="UTC")


def merged():
    orders = log_of(
        DAYS.tz_localize("Europe/Berlin"), WHO, fields={"price": [1.0, 2.0, 3.0, 4.0]}
    )
    mails = log_of(DAYS[:2].tz_localize("UTC"), ["eve", "ann"])
    return EventLog.concat({"order": orders, "mail": mails}, observed_until=END)


@pytest.mark.parametrize("on_disk", [False, True])
def test_parts_have_the_histories_of_the_whole_log(tmp_path, on_disk):
    log = merged()
    if on_disk:
        log.to_disk(tmp_path / "log")
        log = EventLog.open(tmp_path / "log")
    for own in (["eve", "bob"], ["ann"]):
        part = log.for_customers(own)
        assert part.customers.tolist() == sorted(own)
        assert (part.kinds, part.kind_field) == (log.kinds, "event")
        assert part.observed_until == END
        rows = pd.DataFrame({"who": own})
        cutoff = "2024-02-01T00:00Z"
        frames = [one.attach(rows, cutoff=cutoff)["history"] for one in (part, log)]
        assert_frame_equal(*(one.array.to_frame() for one in frames))
    # Also a kind without events in a part can be appended to.
    mail = pd.DataFrame({"who": ["bob"], "time": [END]})
    assert len(log.for_customers(["bob"]).append({"mail": mail})) == 2


@pytest.mark.parametrize(
    "customers",
    [
        ["eve", "zoe", "bob", "eve"],
        pd.Series(["eve", "bob"], index=[5, 7], dtype="category"),
        pd.Index(["bob", "eve"]).to_numpy(),
        iter(["bob", "eve"]),
        {"bob", "eve"},
    ],
)
def test_repeated_and_unknown_customers_count_once_and_not_at_all(customers):
    assert merged().for_customers(customers).customers.tolist() == ["bob", "eve"]


def test_one_customer():
    assert merged().for_customers("ann").n_customers == 1
    assert log_of([1, 2, 3], [7, 8, 7]).for_customers(7.0).to_frame()["time"].sum() == 4


@pytest.mark.parametrize(
    ("customers", "error", "match"),
    [
        ([1, 2], TypeError, "customers are of the type int64, but the customers of"),
        (["ann", None], ValueError, "sequence customers has 1 missing values"),
        (["zoe"], ValueError, "None of the 1 customers is in the log"),
        ([], ValueError, "None of the 0 customers is in the log"),
        (pd.DataFrame({"who": WHO}), TypeError, "Give one column"),
    ],
)
def test_bad_customers(customers, error, match):
    with pytest.raises(error, match=match):
        merged().for_customers(customers)
