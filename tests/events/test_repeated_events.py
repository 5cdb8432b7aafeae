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
    message = f"Each of the {len(copies)} events is in the table at least twice"
    assert message in message_of(copies)


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
    ],
    ids=["once", "but one", "numbers", "levels", "ids", "few", "no fields"],
)
def test_other_tables_do_not_warn(table):
    assert message_of(table) == ""
