"""Logs of tables in which each event is repeated, as after a join with repeated keys.

Events that `append` adds again are in `test_append.py`.
"""

import warnings

import numpy as np
import pandas as pd
import pytest

from sklearn_seqcrm.events import EventLog

RNG = np.random.default_rng(0)
VISITS = pd.DataFrame(
    {
        "who": RNG.integers(0, 4, 30),
        "day": RNG.integers(0, 9, 30),
        "amount": RNG.normal(size=30).round(1),
        "shop": RNG.choice(["a", None], 30),
        "place": list(RNG.normal(size=(30, 2))),
    }
)


def message_of(table):
    """Return the warning of a log of the table, "" without one."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        EventLog(table, "who", "day")
    return "".join(str(one.message) for one in caught)


@pytest.mark.parametrize("times", [[2] * 30, RNG.integers(2, 4, 30)])
def test_a_table_of_copies_warns(times):
    copies = VISITS.loc[VISITS.index.repeat(times)].sample(frac=1, random_state=0)
    message = f"Each of the first {len(copies)} events is in the table at least twice"
    assert message in message_of(copies)


def test_the_first_events_are_compared():
    """Whole moments of them: 5,000 lie within a moment here."""
    lines = pd.DataFrame({"who": 0, "day": np.arange(9_000) // 7, "item": range(9_000)})
    copies = pd.concat([lines, lines])
    assert "Each of the first 4998 events" in message_of(copies)
    assert message_of(copies[copies["item"] != 3].iloc[1:]) == ""


@pytest.mark.parametrize(
    "table",
    [
        VISITS,
        pd.concat([VISITS, VISITS.iloc[1:]]),  # one event is alone
        pd.concat([VISITS, VISITS.assign(amount=VISITS["amount"] + 1)]),
        pd.concat([VISITS, VISITS.assign(shop="b")]),
        pd.concat([VISITS, VISITS.assign(who=VISITS["who"] + 4)]),
        pd.concat([VISITS[:9]] * 2),  # too few to tell
        pd.concat([VISITS[["who", "day"]]] * 2),  # perhaps two visits on each day
        pd.concat([VISITS[["who", "day", "shop"]].assign(currency="EUR")] * 2),
    ],
    ids=[
        "once",
        "but one",
        "numbers",
        "levels",
        "ids",
        "few",
        "no fields",
        "levels of 2",
    ],
)
def test_other_tables_do_not_warn(table):
    assert message_of(table) == ""
