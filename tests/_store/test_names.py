"""Names of columns that the library adds."""

from enum import StrEnum

import numpy as np
import pytest

from sklearn_seqcrm._store import check_name_free, plain_text, unique_names


def test_new_names_are_unique():
    assert unique_names(["a", "b", "a"], ["b", "b_"]) == ["a", "b__", "a_"]
    assert unique_names([], ["b"]) == []


def test_taken_names_are_refused():
    check_name_free("row", ["path"], "The log", "row")
    message = r"The log has a column 'row' already; choose another name with row=\.\.\."
    with pytest.raises(ValueError, match=message):
        check_name_free("row", ["row"], "The log", "row")


@pytest.mark.parametrize("name", [0, ("a", "b"), None])
def test_names_are_text(name):
    with pytest.raises(TypeError, match="row must be text; got "):
        check_name_free(name, ["path"], "The log", "row")


def test_plain_text_has_the_repr_of_text():
    for name in (np.str_("day"), StrEnum("Name", {"DAY": "day"}).DAY, "day"):
        assert repr(plain_text(name)) == "'day'"
    assert plain_text(None) is None
