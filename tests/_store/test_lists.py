"""Parameters that take one value or several."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from sklearn_seqcrm._store import as_list, check_list
from sklearn_seqcrm.events import EventLog


@pytest.mark.parametrize("one", ["ab", np.str_("ab"), b"ab", 7, 2.5, None])
def test_one_value_is_a_list_of_itself_or_an_error(one):
    assert as_list(one, "kinds") == [one]
    with pytest.raises(TypeError, match=r"kinds must be a list of names; got the "):
        check_list(one, "kinds", "names")


@pytest.mark.parametrize(
    "make", [list, tuple, np.array, pd.Series, pd.Index, pl.Series, pa.array, iter]
)
def test_what_holds_several_is_listed(make):
    assert as_list(make(["ab", "c"]), "kinds") == ["ab", "c"]
    assert check_list(make(["ab", "c"]), "kinds", "names") == ["ab", "c"]


def test_a_table_is_no_list():
    with pytest.raises(TypeError, match=r"kinds must be .* 2 dimensions"):
        as_list(pd.DataFrame({"a": [1]}), "kinds")


@pytest.mark.parametrize("option", ["fields", "categorical"])
@pytest.mark.parametrize("value", ["amount", 5])
def test_columns_are_a_list(option, value):
    events = pd.DataFrame({"who": ["a"], "day": [1], "amount": [2.0]})
    with pytest.raises(TypeError, match=f"{option} must be a list of columns; got the"):
        EventLog(events, "who", "day", **{option: value})
